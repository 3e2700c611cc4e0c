"""A class of FastAPI routes that counts and times requests, including those that FastAPI rejects."""

import time
from collections.abc import Awaitable, Callable

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from reprise.http.problems import INTERNAL_ERROR, INVALID_REQUEST, ProblemError
from reprise.predictor.metrics import PredictorMetrics


def measured_route(metrics: PredictorMetrics) -> type[APIRoute]:
    """Return a class of routes; its label ``endpoint`` is the path without parameters."""

    class MeasuredRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()
            endpoint = self.path.partition("/{")[0]
            observe_duration = metrics.duration.of(endpoint)

            async def measured(request: Request) -> Response:
                start = time.perf_counter()
                outcome = INTERNAL_ERROR.slug
                try:
                    response = await handle(request)
                except RequestValidationError:
                    outcome = INVALID_REQUEST.slug
                    raise
                except ProblemError as problem:
                    outcome = problem.kind.slug
                    raise
                else:
                    outcome = "ok"
                    return response
                finally:
                    metrics.requests.labels(endpoint, outcome).inc()
                    observe_duration(time.perf_counter() - start)

            return measured

    return MeasuredRoute
