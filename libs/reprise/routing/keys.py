"""Where routing is in Redis, beside the features of the same Feast project.

Feast's keys are serialized entity keys, which begin with a byte that is no letter and carry the project's name at
their end; what the materializer remembers of events begins with ``seen:``. These begin with ``routing:``.
"""


def document_key(project: str) -> str:
    """Return the key of the project's :class:`RoutingDocument`."""
    return f"routing:{project}:document"


def evidence_key(project: str) -> str:
    """Return the key of the project's :class:`RolloutEvidence`."""
    return f"routing:{project}:evidence"
