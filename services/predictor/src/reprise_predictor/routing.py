"""Which models answer whom."""

from reprise_predictor.arms import BASELINE, Routes, ServedArm
from reprise_predictor.holder import ModelHolder
from reprise_predictor.metrics import PredictorMetrics


class Routing:
    """Knows the arms, and exchanges all of them at once.

    Args:
        models: The model that answers everybody where nothing else is said.
        metrics: Where arms are counted.
    """

    def __init__(self, models: ModelHolder, metrics: PredictorMetrics) -> None:
        self._models = models
        self._baseline = metrics.of_arm(BASELINE)
        self._routes: Routes | None = None

    @property
    def current(self) -> Routes:
        """Who is answered by which arm.

        Raises:
            NoModelError: There is no model yet.
        """
        model = self._models.current
        routes = self._routes
        if routes is None or routes.arms[0].model is not model:
            routes = self._routes = Routes((ServedArm(BASELINE, model, self._baseline),))
        return routes
