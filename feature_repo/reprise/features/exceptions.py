"""Errors of the feature engine."""

from reprise.runtime.exceptions import RepriseError


class FeatureEngineError(RepriseError):
    """Root of this package's errors."""


class PlanError(FeatureEngineError):
    """A plan cannot be read, or does not fit together."""


class DefinitionError(FeatureEngineError):
    """The definition asks for something that discovery does not find or the compiler refuses."""


class RefusedFeatureError(FeatureEngineError):
    """The compiler refuses a discovered feature; the message is the reason."""


class NotEnoughEventsError(FeatureEngineError):
    """The events are too few, or too short in time, for what is asked of them."""


class CollidingStatesError(FeatureEngineError):
    """Rows of states carry their fields without the view's name, which several views share."""
