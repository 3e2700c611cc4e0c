"""A nightly run as of the CronJob: archive, models and output on S3, told by the environment."""

import json

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from reprise.archive import OfflineStore
from reprise.events import Event
from reprise.runtime.durations import EPOCH, microseconds
from reprise.runtime.storage import open_storage
from reprise.scoring.main import nightly_command as command
from reprise.status.nightly_report import REPORT, ReportReader
from support.archived import START_MS, event_records
from support.demand_shop import AT, publish_model, purchases
from support.offline import put
from support.s3 import s3_bucket

OLD = "date=2026-01-01/model=0123456789ab/_manifest.json"


def test_results_of_archived_events_are_written_beside_the_archive_and_old_scores_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = purchases().to_pylist()
    events = [
        Event(
            event_id=row["event_id"],
            user_id=row["user_id"],
            product_id=row["product_id"],
            event_type="purchase",
            timestamp_us=microseconds(row["timestamp"] - EPOCH),
            amount=row["amount"],
        )
        for row in rows
    ]
    with s3_bucket("reprise-nightly-test") as bucket:
        offline, models = f"{bucket}/offline", publish_model(f"{bucket}/models")
        appended = [event.timestamp_us // 1000 - START_MS for event in events]
        put(OfflineStore(offline), event_records(0, events, appended))
        out = open_storage(f"{offline}/scores")
        out.write(OLD, b"{}")
        monkeypatch.setenv("MODEL_STORE", models)
        monkeypatch.setenv("SCORING_OUT", f"{offline}/scores")
        monkeypatch.setenv("REPRISE_PROGRESS", "off")
        arguments = ["--offline", offline, "--backtests", "2", "--at", AT.isoformat()]
        first = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert first.exit_code == 0, first.output
        paths = out.files("")
        assert OLD not in paths
        [scores] = [path for path in paths if path.endswith("/_manifest.json")]
        [demand] = [path for path in paths if path.startswith("demand-") and path.endswith(".json")]
        bought = {(row["user_id"], row["product_id"]) for row in rows if row["timestamp"] < AT}
        assert json.loads(out.read(scores))["pairs"] == len(bought)
        manifest = json.loads(out.read(demand))
        with out.open(manifest["file"]) as opened:
            assert len(pq.read_table(opened)) == manifest["products"] == 4
        reader = ReportReader(f"{offline}/scores", 60)
        reader.refresh()
        assert b"What to expect" in (reader.latest.page or b"")
        out.write(REPORT, b"a newer one")
        reader.refresh()
        assert reader.latest.page == b"a newer one"
        again = CliRunner().invoke(command, arguments, catch_exceptions=False)
        assert again.output.count("nothing to do") == 2
