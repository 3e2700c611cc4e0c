"""Errors of this package."""

from pathlib import Path

from reprise.runtime.exceptions import RepriseError


class BundleError(RepriseError):
    """Root of this package's errors."""


class InvalidDigestError(BundleError):
    """A value is no digest."""

    def __init__(self, text: object) -> None:
        super().__init__(f"digest: expected sha256: and 64 lower-case hexadecimal digits, got {text!r}")


class InvalidBundleError(BundleError):
    """A bundle breaks the format: an unreadable manifest, an unknown version, a bad file name."""


class BundleNotFoundError(BundleError):
    """The store lacks a bundle, or no bundle is marked as the latest."""


class BundleCorruptError(BundleError):
    """Stored bytes differ from the published ones."""

    def __init__(self, location: str, *, expected: str, actual: str) -> None:
        self.location = location
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"{location}: expected sha256 {expected}, got {actual}; publish the bundle again to restore it"
        )


class UnusableModelError(BundleError):
    """The model's graph has an operator that is not allowed, or ONNX Runtime cannot run it."""


class UnfinishedRehearsalError(BundleError):
    """The rehearsal of a bundle did not come to an end in time."""


class UntrustedBundleError(BundleError):
    """A manifest, or a document, is not signed by a trusted key."""


class InvalidKeyFileError(BundleError):
    """A file has no key for signatures, or one of another kind."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
