"""Dead letters as people list, correct and replay them, on the embedded log."""

import base64
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from reprise.dlq.main import command
from reprise.log import DEAD_LETTERS, EVENTS, EventLogSettings, Record, open_consumer, open_producer
from reprise.materializer.batch_fold import InvalidRecord
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.worker import send_dead_letters

EVENT = {
    "event_id": "e",
    "user_id": "u",
    "product_id": "p",
    "event_type": "purchase",
    "amount": -1,
    "timestamp": "2026-01-01T00:00:00Z",
    "posted_by": "anonymous",
}


def letter(offset: int, value: bytes, reason: str = "amount: expected a number, got -1") -> bytes:
    source = {"topic": EVENTS.name, "partition": 3, "offset": offset, "timestamp_ms": 1_767_225_600_000}
    try:
        record = {"value": value.decode()}
    except UnicodeDecodeError:
        record = {"value_base64": base64.b64encode(value).decode()}
    return orjson.dumps({"reason": reason, **source, **record})


class Shop:
    """An embedded log with dead letters."""

    def __init__(self, folder: Path) -> None:
        self.settings = EventLogSettings(log_dir=folder)

    def write(self, *letters: bytes) -> None:
        log = open_producer(self.settings)
        for each in letters:
            log.append(DEAD_LETTERS.name, b"u", each).result(10)
        log.close(10)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, [*arguments, "--log-dir", str(self.settings.log_dir)])

    def events(self) -> list[dict[str, object]]:
        with closing(open_consumer(self.settings, EVENTS, "test")) as consumer:
            polled = [r for _ in range(2) for rs in consumer.poll(100, 0.01).values() for r in rs]
        return [orjson.loads(record.value) for record in polled]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    value = orjson.dumps(EVENT)
    shop.write(
        letter(7, value), letter(7, value), letter(8, b"\xff", "event: expected a JSON object"), b"junk"
    )
    return shop


def test_letters_are_listed_once_and_shown_with_their_record(shop: Shop) -> None:
    listed = shop.run("list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["0:0", "0:2", "0:3"]
    assert f"{EVENTS.name} 3:7  amount: expected a number, got -1" in listed.stdout
    assert len(shop.run("list", "--reason", "event: expected a JSON").stdout.splitlines()) == 1
    shown = shop.run("show", "0:0").stdout
    assert "offset     7" in shown
    assert orjson.dumps(EVENT).decode() in shown
    assert "\\xff" in shop.run("show", "0:2").stdout
    missing = shop.run("show", "0:9")
    assert missing.exit_code == 1
    assert "0:9" in missing.stderr


def test_a_letter_of_a_part_of_its_record_says_so(shop: Shop) -> None:
    invalid = InvalidRecord(Record(0, 0, 0, b"u", b"x" * 200_000), ValueError("too large"))
    log = open_producer(shop.settings)
    send_dead_letters(log, MaterializerMetrics(CollectorRegistry()), [invalid])
    log.close(10)
    assert "the first 131,072 of 200,000 bytes" in shop.run("show", "0:4").stdout
    assert shop.run("replay", "0:4").exit_code == 1
    assert "bytes" not in shop.run("show", "0:0").stdout


def test_corrected_letter_is_replayed_once(shop: Shop) -> None:
    refused = shop.run("replay", "0:0")
    assert refused.exit_code == 1
    assert "0:0: amount: expected" in refused.stderr
    dry = shop.run("replay", "0:0", "--set", "amount=12.5", "--dry-run")
    assert (dry.exit_code, shop.events()) == (0, [])
    assert '"amount":12.5' in dry.stdout
    for _ in range(2):
        assert shop.run("replay", "0:0", "--set", "amount=12.5").exit_code == 0
    (event,) = shop.events()
    assert (event["event_id"], event["amount"], event["posted_by"]) == ("e", 12.5, "anonymous")
    assert not shop.run("list").stdout.startswith("0:0 ")
    assert shop.run("list", "--all").stdout.startswith("0:0 ")


def test_replacement_file_gets_an_id_of_the_records_position(shop: Shop, tmp_path: Path) -> None:
    unreadable = shop.run("replay", "0:2", "--set", "amount=1")
    assert unreadable.exit_code == 1
    file = tmp_path / "event.json"
    file.write_bytes(orjson.dumps({**EVENT, "event_id": None, "amount": 3}))
    assert shop.run("replay", "0:2", "--file", str(file)).exit_code == 0
    (event,) = shop.events()
    assert event["event_id"] == "dlq-3-8-1767225600000"


def test_all_replays_what_is_valid_and_reports_the_rest(shop: Shop) -> None:
    replayed = shop.run("replay", "--all", "--set", "amount=2")
    assert replayed.exit_code == 1
    assert [line.split()[0] for line in replayed.stdout.splitlines()] == ["0:0:"]
    assert [line.split()[0] for line in replayed.stderr.splitlines()] == ["0:2:", "0:3:"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "0:0", "--all"],
        ["replay", "--all", "--file", __file__],
        ["replay", "0:0", "--set", "amount"],
    ],
)
def test_contradictory_options_are_usage_errors(shop: Shop, arguments: list[str]) -> None:
    assert shop.run(*arguments).exit_code == 2


@pytest.mark.parametrize("change", ["amuont=1", "amount=12,5"])
def test_correction_of_an_unknown_field_or_of_no_json_is_refused(shop: Shop, change: str) -> None:
    refused = shop.run("replay", "0:0", "--set", change)
    assert refused.exit_code == 1
    assert change.partition("=")[0] in refused.stderr
    assert shop.events() == []
