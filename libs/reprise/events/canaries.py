"""Users that no shop has: those by which an installation is tried."""

from typing import Final

CANARY_PREFIX: Final = "reprise-doctor-"
"""How the ids of canaries begin, users and products; a shop's own must not.

Their events are folded and their predictions answered like anybody's. Whoever reads the archive leaves them out.
"""


def is_canary(user_id: str) -> bool:
    """Return whether a user is a canary."""
    return user_id.startswith(CANARY_PREFIX)
