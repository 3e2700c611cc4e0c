"""The checks: what each asks an installation, and the remedy where it fails.

Every check raises ``CheckFailedError`` with what it found, and ``CheckSkippedError`` where it does not apply.
"""
