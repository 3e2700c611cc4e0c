import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reprise.http.exceptions import InvalidKeysError
from reprise.http.middleware.api_keys import ApiKeys
from reprise.http.middleware.rate_limit import RateLimit, TokenBucket, charge


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", b"Bearer " + key.encode())]


def header(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-api-key", key.encode())]


def test_each_of_several_keys_is_known_by_its_name() -> None:
    keys = ApiKeys([f"shop:{digest('one')}", digest("two").upper(), f"shop:{digest('three')}"])
    assert keys.caller(bearer("one")) == "shop"
    assert keys.caller(header("two")) == digest("two")[:8]
    assert keys.caller(header("three")) == "shop"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer("other"),
        header(""),
        header(digest("one")),
        [(b"authorization", b"Basic b25l")],
        [(b"authorization", b"one")],
        [(b"authorization", b"Bearer")],
        [(b"x-api-key", b"\xff\xfe")],
    ],
)
def test_anything_else_is_nobody(headers: list[tuple[bytes, bytes]]) -> None:
    assert ApiKeys([digest("one")]).caller(headers) is None


def test_scheme_is_read_in_any_case_and_a_good_key_beside_a_bad_one_counts() -> None:
    keys = ApiKeys([f"shop:{digest('one')}"])
    assert keys.caller([(b"authorization", b"bEARER  one ")]) == "shop"
    assert keys.caller([*bearer("wrong"), *header("one")]) == "shop"


@pytest.mark.parametrize("entry", ["secret-key-itself", "shop:", f"a b:{'0' * 64}", "0" * 63, f"{'0' * 64}x"])
def test_entry_that_is_none_is_refused_without_showing_it(entry: str) -> None:
    with pytest.raises(InvalidKeysError, match="entry 2 is neither") as caught:
        ApiKeys([digest("one"), entry])
    assert entry not in str(caught.value)


def test_no_entry_at_all_lets_nobody_in_rather_than_everybody(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# none yet\n\n")
    with pytest.raises(InvalidKeysError, match="holds no key"):
        ApiKeys([], file)
    with pytest.raises(InvalidKeysError, match="cannot be read"):
        ApiKeys([], tmp_path / "missing")
    assert ApiKeys.of([], None) is None


def test_rotation_through_the_file_needs_no_restart(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop {digest('old')}  # until June\n")
    keys = ApiKeys([f"ops:{digest('ops')}"], file)
    file.write_text(f"shop {digest('old')}\nshop {digest('new')}\n")
    keys.refresh()
    assert [keys.caller(header(key)) for key in ("old", "new", "ops")] == ["shop", "shop", "ops"]
    file.write_text(f"shop {digest('new')}\n")
    keys.refresh()
    assert [keys.caller(header(key)) for key in ("old", "new", "ops")] == [None, "shop", "ops"]


def test_broken_file_leaves_the_keys_as_they_were_and_is_logged(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(digest("one"))
    keys = ApiKeys([], file)
    for broken in ("not a digest", ""):
        file.write_text(broken)
        with capture_logs() as logs:
            keys.refresh()
        assert [line["event"] for line in logs] == ["api_keys_refused"]
        assert "not a digest" not in str(logs)
        assert keys.caller(header("one")) is not None


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_bucket_admits_its_burst_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=10, burst=3, clock=clock)
    assert [bucket.admit() for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    clock.now += 0.1
    assert bucket.admit() == 0
    clock.now += 100
    assert [bucket.admit() == 0 for _ in range(4)] == [True, True, True, False]


def test_bucket_that_was_overdrawn_is_to_be_paid_back_first() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=10, burst=3, clock=clock)
    assert bucket.admit() == 0
    bucket.charge(99)
    assert bucket.admit() == pytest.approx(9.8)
    clock.now += 9.7
    assert bucket.admit() > 0
    clock.now += 0.2
    assert bucket.admit() == 0


def test_callers_have_buckets_of_their_own_and_a_batch_is_charged_in_full() -> None:
    limit = RateLimit(rate=1, burst=2, clock=Clock())
    scope: dict[str, object] = {}
    assert limit.admit("a", scope) == 0
    charge(scope, 2)
    assert limit.admit("a", {}) > 0
    assert limit.admit("b", {}) == 0
    charge({}, 1000)
