"""What is stored: the plan, the rows in Redis, the files of the archive."""

import hashlib
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from prometheus_client import CollectorRegistry
from redis import Redis

from golden.text import as_text, digest
from reprise.events import ArrivalWindow, Event, encode_event
from reprise.log import Record
from reprise.materializer.batch_fold import BatchFold
from reprise.materializer.metrics import MaterializerMetrics
from reprise.materializer.worker import send_dead_letters
from reprise.store.online_store import OnlineStore
from support.archived import MemoryLog, archive_worker, event_records, files_under
from support.fake_log import FakeLogProducer
from support.histories import PROJECT, as_partitions, make_events
from support.plans import PLAN_FILE, checked_in_plan
from support.redis import running_redis

_TOPIC_ID = bytes(range(16))
_SHOWN_ROWS = 3


def plan() -> str:
    found = checked_in_plan()
    inputs = [f"{each.name} of {each.entity}: {digest(each.finish)[:16]}" for each in found.inputs]
    views = {
        entity.view.name: {
            "keys": entity.view.join_keys,
            "fields": [f"{field.name} {field.kind}" for field in entity.view.fields],
            "empty": entity.empty,
        }
        for entity in found.entities
    }
    content = {
        "plan.json": hashlib.sha256(PLAN_FILE.read_bytes()).hexdigest(),
        "hash": found.hash,
        "schema hash": found.schema_hash,
        "inputs": inputs,
        "views": views,
    }
    return as_text(content) + "\n"


def online_store() -> str:
    log = FakeLogProducer()
    metrics = MaterializerMetrics(CollectorRegistry())
    refuse = partial(send_dead_letters, log, metrics)
    with running_redis() as server:
        settings = server.settings()
        with OnlineStore.connect(settings) as store:
            arrivals, duplicates = ArrivalWindow(300.0), timedelta(days=1)
            fold = BatchFold(checked_in_plan(), store, PROJECT, metrics, duplicates, arrivals, refuse)
            for partition, records in _history().items():
                for at in range(0, len(records), 37):
                    fold.fold(_TOPIC_ID, {partition: records[at : at + 37]})
        with server.client() as client:
            content: dict[str, object] = _keys(client)
    content["dead letters"] = [f"{topic} {key!r} {_letter(value)}" for topic, key, value in log.appended]
    (family,) = metrics.events.collect()
    samples = family.samples
    content["outcomes"] = {s.labels["outcome"]: s.value for s in samples if s.name.endswith("_total")}
    return as_text(content) + "\n"


def archive() -> str:
    rng = np.random.default_rng(5)
    records: dict[int, list[Record]] = {}
    events = make_events(120, seed=5)
    for partition in range(2):
        instants = np.cumsum(rng.choice([0, 10, 900, 25_000], 60)) + rng.integers(0, 800, 60)
        instants[30:] += 86_400_000
        own = event_records(partition, events[partition * 60 : (partition + 1) * 60], instants.tolist())
        own[7] = own[7]._replace(value=b"broken \xff")
        records[partition] = own
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        worker, _ = archive_worker(MemoryLog(records, _TOPIC_ID), root)
        worker.run_until_idle(threading.Event(), 0.01)
        files = {name: _segment(root / name, data) for name, data in sorted(files_under(root).items())}
        about = pq.ParquetFile(root / next(iter(files)))
        content = {
            "written by": about.metadata.created_by,
            "row groups": about.metadata.num_row_groups,
            "compression": about.metadata.row_group(0).column(0).compression,
            "schema": str(about.schema_arrow).splitlines(),
            "files": files,
        }
    return as_text(content) + "\n"


def _segment(path: Path, data: bytes) -> list[str]:
    """Return what a file holds: its rows, and its bytes where no row holds the wording of a problem."""
    rows = pq.read_table(path).to_pylist()
    worded = [row for row in rows if row["problem"] is not None]
    for row in worded:
        row["problem"] = "…"
    return [f"rows {digest(rows)}", "holds a problem" if worded else f"bytes {digest(data)}"]


def _letter(value: bytes) -> str:
    """Return a dead letter without the wording of its reason."""
    letter = json.loads(value)
    return json.dumps(letter | {"reason": f"… {type(letter['reason']).__name__}"})


def _history() -> dict[int, list[Record]]:
    """Return views and purchases with ties, duplicates, a late event, an unplanned type, and broken records."""
    events: list[Event] = make_events(300)
    events += [events[10], events[200], events[200]]
    events.append(replace(events[150], event_id="late", timestamp_us=events[0].timestamp_us - 86_400_000_000))
    events.append(replace(events[151], event_id="cart", event_type="cart", amount=None))
    partitions = as_partitions(events, 3)
    for partition, value in ((0, b"broken \xff"), (1, b"{}"), (2, encode_event(events[5])[:-1])):
        records = partitions[partition]
        records.append(Record(partition, len(records), 1_767_225_600_000, b"u1", value))
    return partitions


def _keys(client: "Redis[bytes]") -> dict[str, object]:
    """Return each hash's sha256 by its key, a few in full, and all other keys as one sha256 for each type."""
    rows: dict[str, str] = {}
    shown: dict[str, dict[str, str]] = {}
    others: dict[str, list[str]] = {}
    kinds: Counter[str] = Counter()
    for key in sorted(client.keys()):
        kind = client.type(key).decode()
        kinds[kind + (" that expires" if client.ttl(key) > 0 else "")] += 1
        if kind != "hash":
            assert kind == "string", f"{key!r} is a {kind}"
            others.setdefault(kind, []).append(f"{key!r} {client.get(key)!r}")
            continue
        fields = {field.hex(): value.hex() for field, value in sorted(client.hgetall(key).items())}
        rows[repr(key)[2:-1]] = digest(fields)
        if sum(len(each) == len(fields) for each in shown.values()) == 0 and len(shown) < _SHOWN_ROWS:
            shown[key.hex()] = fields
    return {
        "kinds": dict(sorted(kinds.items())),
        "rows": rows,
        "rows in hex": shown,
        "others": {kind: digest(_joined(lines)) for kind, lines in others.items()},
    }


def _joined(lines: Sequence[str]) -> bytes:
    return "\n".join(lines).encode()
