"""A bundle, its files and its digest."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NewType

from reprise.bundle.exceptions import InvalidBundleError, InvalidDigestError
from reprise.bundle.manifest import Manifest

MODEL = "model.onnx"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
METADATA = "metadata.json"
MODEL_CARD = "model_card.html"
EVALUATED = "evaluated.onnx"
"""The graph that the evaluation is of, in a bundle whose model was refit on later rows."""
USERS = "users.onnx"
EVALUATED_USERS = "evaluated-users.onnx"
"""The graphs of the users' model, if the manifest has one: published and evaluated."""
HORIZON = "horizon-{}.onnx"
EVALUATED_HORIZON = "evaluated-horizon-{}.onnx"
"""The graphs of each further horizon, by its seconds: published and evaluated."""

Digest = NewType("Digest", str)
"""``sha256:`` and the 64 lower-case hexadecimal digits of the manifest's sha256."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    digest: Digest  # Its address
    manifest: Manifest  # The model's inputs, plan and evaluation
    model: bytes = field(repr=False)  # Bytes of the ONNX graph
    # When and how long it was trained; not covered by the digest, empty where absent
    metadata: Mapping[str, Any] = field(repr=False)
    # Bytes of the ONNX graphs of further horizons, by their seconds
    horizons: Mapping[int, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """The files of a bundle before it is published."""

    manifest: bytes = field(repr=False)  # Bytes of ``manifest.json``
    model: bytes = field(repr=False)  # Bytes of ``model.onnx``
    # Bytes by name of other files; the digest covers only the graphs, whose sha256 the manifest has
    attachments: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in self.attachments:
            if name in (MODEL, MANIFEST, SIGNATURE) or "/" in name or name.startswith("."):
                raise InvalidBundleError(f"{name!r} cannot be the name of an attachment")

    @property
    def digest(self) -> Digest:
        """The digest of the bundle."""
        return digest_of(self.manifest)


def sha256_hex(data: bytes) -> str:
    """Return the sha256 of the bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(manifest: bytes) -> Digest:
    """Return the digest of the bundle that has these manifest bytes."""
    return Digest(f"sha256:{sha256_hex(manifest)}")


def parse_digest(text: object) -> Digest:
    """Return the text as a digest.

    It raises ``InvalidDigestError`` unless that is ``sha256:`` and 64 lower-case hexadecimal digits.
    """
    if not isinstance(text, str) or _DIGEST.fullmatch(text) is None:
        raise InvalidDigestError(text)
    return Digest(text)


def directory_name(digest: Digest) -> str:
    """Return the name of the bundle's directory: not every file system allows the digest's colon."""
    return digest.replace(":", "-", 1)
