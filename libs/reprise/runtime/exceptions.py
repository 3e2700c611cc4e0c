"""The root of all errors of ours, and the errors of this package."""

from collections.abc import Sequence


class RepriseError(Exception):
    """Root of every package's errors; a command ends with its message and exit status 1."""


class RuntimeLibraryError(RepriseError):
    """Root of this package's errors."""


class InvalidDurationError(RuntimeLibraryError, ValueError):
    """A text is not a duration."""


class InvalidSettingsError(RuntimeLibraryError):
    """Settings are missing or invalid; the message has one line for each variable."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("invalid configuration\n" + "\n".join(f"  {line}" for line in self.problems))
