"""Errors of this service."""


class ProducerError(Exception):
    """Root of this service's errors."""


class BurstIncompleteError(ProducerError):
    """Some events of a burst were not acknowledged; says how many."""


class SimulatorFailedError(ProducerError):
    """The simulator ended for a reason of its own."""
