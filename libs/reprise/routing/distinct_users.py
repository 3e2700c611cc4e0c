"""Counts distinct users in bounded memory."""


class DistinctUsers:
    """A set of at most ``capacity`` users, at about 100 bytes each.

    Once it is full, nobody is new any more. Which users are counted then depends on when they came and not on their
    arm, so the counts remain a fair sample.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._hashes: set[int] = set()

    def is_new(self, user_id: str) -> bool:
        """Add a user; return whether the user is new."""
        hashes = self._hashes
        # Python caches the 64-bit hash in the string. A collision loses one user.
        hashed = hash(user_id)
        if hashed in hashes or len(hashes) >= self._capacity:
            return False
        hashes.add(hashed)
        return True

    def reset(self) -> None:
        """Remove all users."""
        self._hashes = set()
