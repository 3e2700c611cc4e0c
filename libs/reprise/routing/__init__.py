"""Routing of users to models: the routing document, the assignment of users, reports and evidence."""

from reprise.routing.assignment import DistinctUsers, Ranges, Share, allocate, assign, bucket_of
from reprise.routing.document import (
    BASELINE,
    BUCKETS,
    Arm,
    ArmReport,
    RoutingDocument,
    RoutingReport,
    count_buckets,
    document_key,
)
from reprise.routing.evidence import CandidateEvidence, EvidenceVerdict, RolloutEvidence, evidence_key
from reprise.routing.exceptions import InvalidRoutingError, InvalidSharesError, RoutingError

__all__ = [
    "BASELINE",
    "BUCKETS",
    "Arm",
    "ArmReport",
    "CandidateEvidence",
    "DistinctUsers",
    "EvidenceVerdict",
    "InvalidRoutingError",
    "InvalidSharesError",
    "Ranges",
    "RolloutEvidence",
    "RoutingDocument",
    "RoutingError",
    "RoutingReport",
    "Share",
    "allocate",
    "assign",
    "bucket_of",
    "count_buckets",
    "document_key",
    "evidence_key",
]
