"""Which model answers which user: the routing document, the assignment of users, and what is reported back."""

from reprise.routing.allocation import Ranges, Share, allocate
from reprise.routing.assignment import assign, bucket_of
from reprise.routing.distinct_users import SeenUsers
from reprise.routing.document import BASELINE, BUCKETS, Arm, RoutingDocument, width
from reprise.routing.evidence import CandidateEvidence, RolloutEvidence, Verdict
from reprise.routing.exceptions import InvalidRoutingError, InvalidSharesError, RoutingError
from reprise.routing.keys import document_key, evidence_key
from reprise.routing.report import ArmReport, RoutingReport

__all__ = [
    "BASELINE",
    "BUCKETS",
    "Arm",
    "ArmReport",
    "CandidateEvidence",
    "InvalidRoutingError",
    "InvalidSharesError",
    "Ranges",
    "RolloutEvidence",
    "RoutingDocument",
    "RoutingError",
    "RoutingReport",
    "SeenUsers",
    "Share",
    "Verdict",
    "allocate",
    "assign",
    "bucket_of",
    "document_key",
    "evidence_key",
    "width",
]
