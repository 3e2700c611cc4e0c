"""Model bundles: format, content-addressed store, verification."""

from reprise.bundle.bundle import MANIFEST, METADATA, MODEL, MODEL_CARD, Bundle, BundleFiles
from reprise.bundle.digest import Digest, digest_of, parse_digest, sha256_hex
from reprise.bundle.exceptions import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    InvalidBundleError,
    InvalidDigestError,
    StoreAddressError,
)
from reprise.bundle.manifest import (
    FORMAT,
    DataSnapshot,
    Evaluation,
    Histogram,
    Importance,
    InputColumn,
    Manifest,
    ModelFile,
    Parity,
    ReliabilityBin,
    Scores,
    SliceReport,
    Window,
    canonical_json,
)
from reprise.bundle.storage import Storage, open_storage
from reprise.bundle.store import BundleStore

__all__ = [
    "FORMAT",
    "MANIFEST",
    "METADATA",
    "MODEL",
    "MODEL_CARD",
    "Bundle",
    "BundleCorruptError",
    "BundleError",
    "BundleFiles",
    "BundleNotFoundError",
    "BundleStore",
    "DataSnapshot",
    "Digest",
    "Evaluation",
    "Histogram",
    "Importance",
    "InputColumn",
    "InvalidBundleError",
    "InvalidDigestError",
    "Manifest",
    "ModelFile",
    "Parity",
    "ReliabilityBin",
    "Scores",
    "SliceReport",
    "Storage",
    "StoreAddressError",
    "Window",
    "canonical_json",
    "digest_of",
    "open_storage",
    "parse_digest",
    "sha256_hex",
]
