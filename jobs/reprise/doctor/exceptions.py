"""What a check ends with, other than with what it has seen."""

from reprise.runtime.exceptions import RepriseError


class DoctorError(RepriseError):
    """Root of this package's errors."""


class CheckFailedError(DoctorError):
    """Something is not as it should be.

    Args:
        seen: What was seen.
        advice: What a person does about it.
        section: The section of docs/operations.md that has more, by its anchor.
    """

    def __init__(self, seen: str, advice: str, section: str) -> None:
        self.seen = seen
        self.advice = advice
        self.section = section
        super().__init__(seen)


class CheckSkippedError(DoctorError):
    """There is nothing to be checked here, and why."""


class UnknownCheckError(DoctorError):
    """A check was named that there is not."""

    def __init__(self, names: list[str], known: list[str]) -> None:
        super().__init__(f"no check is called {', '.join(names)}; there are {', '.join(known)}")


class RegistryError(DoctorError):
    """Feast's registry cannot be read."""
