"""Errors of the feature engine."""

from reprise.runtime.exceptions import RepriseError


class FeatureEngineError(RepriseError):
    """Root of this package's errors."""


class PlanError(FeatureEngineError):
    """A plan cannot be read, or is inconsistent."""


class DefinitionError(FeatureEngineError):
    """The definition is inconsistent, or names a feature that is not discovered or refused."""


class RefusedFeatureError(FeatureEngineError):
    """The compiler refuses a discovered feature; the message is the reason."""


class NotEnoughEventsError(FeatureEngineError):
    """The events are too few, or span too little time."""


class ExecutorUnavailableError(FeatureEngineError):
    """What an executor runs on is missing, or does not start."""


class CollidingStatesError(FeatureEngineError):
    """State fields were read from Feast without full names, and several views share a name."""
