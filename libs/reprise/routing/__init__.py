"""Routing of users to models: the routing document, the assignment of users, reports and evidence."""

from reprise.routing.assignment import DistinctUsers as DistinctUsers
from reprise.routing.assignment import InvalidSharesError as InvalidSharesError
from reprise.routing.assignment import Ranges as Ranges
from reprise.routing.assignment import Share as Share
from reprise.routing.assignment import allocate as allocate
from reprise.routing.assignment import assign as assign
from reprise.routing.assignment import bucket_of as bucket_of
from reprise.routing.document import BASELINE as BASELINE
from reprise.routing.document import BUCKETS as BUCKETS
from reprise.routing.document import Arm as Arm
from reprise.routing.document import ArmReport as ArmReport
from reprise.routing.document import InvalidRoutingError as InvalidRoutingError
from reprise.routing.document import RoutingDocument as RoutingDocument
from reprise.routing.document import RoutingReport as RoutingReport
from reprise.routing.document import count_buckets as count_buckets
from reprise.routing.document import document_key as document_key
from reprise.routing.evidence import CandidateEvidence as CandidateEvidence
from reprise.routing.evidence import RolloutEvidence as RolloutEvidence
from reprise.routing.evidence import evidence_key as evidence_key
from reprise.routing.signatures import DocumentKeys as DocumentKeys
from reprise.routing.signatures import signature_key as signature_key
