"""Routing of users to models: the routing document, the assignment of users, reports and evidence."""

from reprise.routing.allocation import Ranges, Share, allocate
from reprise.routing.assignment import assign, bucket_of
from reprise.routing.distinct_users import DistinctUsers
from reprise.routing.document import BASELINE, BUCKETS, Arm, RoutingDocument, count_buckets, document_key
from reprise.routing.evidence import CandidateEvidence, EvidenceVerdict, RolloutEvidence, evidence_key
from reprise.routing.exceptions import InvalidRoutingError, InvalidSharesError, RoutingError
from reprise.routing.report import ArmReport, RoutingReport

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
