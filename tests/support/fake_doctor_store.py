"""The online store as the doctor sees it, without a Redis."""

from collections.abc import Sequence

from reprise.doctor.redis_probe import RedisProbe
from reprise.store.exceptions import StoreError


class FakeDoctorStore(RedisProbe):
    """Two primaries that do as they are told; ``refused`` has the commands that a user is refused, by its name."""

    def __init__(self) -> None:
        self.failure: StoreError | None = None
        self.dry_run_failure: StoreError | None = None
        self.writable = True
        self.refused: dict[str, set[bytes]] = {}
        self.removed: list[bytes] = []

    def close(self) -> None:
        """There is no connection."""

    def primaries(self) -> list[str]:
        self._fail()
        return ["one:6379", "two:6379"]

    def write_and_remove(self, prefix: str, primaries: int) -> None:
        self._fail()

    def may_write(self, key: bytes) -> bool:
        self._fail()
        return self.writable

    def dry_run(self, user: str, command: Sequence[bytes]) -> list[str]:
        if self.dry_run_failure is not None:
            raise self.dry_run_failure
        refused = command[0] in self.refused.get(user, set())
        return [f"{at}: NOPERM" for at in self.primaries()] if refused else []

    def remove(self, keys: Sequence[bytes]) -> int:
        self._fail()
        self.removed += keys
        return len(keys)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
