"""Errors of this package."""

from reprise.runtime.exceptions import RepriseError


class BundleError(RepriseError):
    """Root of this package's errors."""


class InvalidDigestError(BundleError):
    """A value is no digest."""

    def __init__(self, text: object) -> None:
        self.text = text
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
    """ONNX Runtime cannot run the model's graph."""
