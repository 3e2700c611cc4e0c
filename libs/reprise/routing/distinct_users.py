"""Counting users once, in bounded memory."""


class SeenUsers:
    """Tells whether a user is seen for the first time since the last reset.

    Once as many users as it has room for are seen, nobody is new any more: which users it counts then depends on
    when they came and not on their arm, so that what is counted remains a fair sample.

    Args:
        capacity: How many users it remembers; each takes about a hundred bytes.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._seen: set[int] = set()

    def is_new(self, user_id: str) -> bool:
        """Return whether the user is new, and remember the user."""
        seen = self._seen
        # Python's own hash: 64 bits, kept in the string once computed; a collision counts one user less.
        hashed = hash(user_id)
        if hashed in seen or len(seen) >= self._capacity:
            return False
        seen.add(hashed)
        return True

    def reset(self) -> None:
        """Forget everybody; for when another document is applied."""
        self._seen = set()
