"""``reprise audience`` draws a campaign's users and its holdout, and ``audience lift`` compares what both did."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.evaluation.proportion_difference import Group, share_difference
from reprise.routing import bucket_of
from reprise.scoring.audience.main import command
from reprise.scoring.output import SCHEMA as PAIRS
from reprise.scoring.output import PairScoresManifest, ScoreDirectory
from reprise.scoring.retention.output import SCHEMA, RetentionManifest

AT = datetime(2026, 5, 1, tzinfo=UTC)
USERS = 3_000
RNG = np.random.default_rng(7)
MODEL = "sha256:" + "ab" * 32
SPECIAL = {
    "often": {"usual_gap_days": 12.0, "days_since_last": 30.2, "purchases": 9},
    "once": {"usual_gap_days": None, "days_since_last": 1.2, "purchases": 1},
    'one "day",\n': {"usual_gap_days": None, "days_since_last": 40.0, "purchases": 3},
    "daily": {"usual_gap_days": 1.0, "days_since_last": 0.4, "purchases": 80},
    "gone": {"probability": 0.35, "probability_before": 0.8, "drop": 0.45, "usual_gap_days": 5.0},
}


def scores() -> pa.Table:
    probability = RNG.uniform(0, 1, USERS)
    before = np.where(np.arange(USERS) % 10, RNG.uniform(0, 1, USERS), np.nan)
    rows = [
        {
            "user_id": f"{number:05}",  # Digits that a CSV must keep
            "probability": probability[number],
            "probability_before": None if np.isnan(before[number]) else before[number],
            "drop": None if np.isnan(before[number]) else before[number] - probability[number],
            "usual_gap_days": 7.0,
            "days_since_last": 20.0,
            "purchases": 4,
            "value": None if number % 7 == 0 else 10.0 + number % 90,
            "last_purchase": AT - timedelta(days=20),
        }
        for number in range(USERS)
    ]
    rows += [{**rows[1], "user_id": user, **values} for user, values in SPECIAL.items()]
    return pa.Table.from_pylist(rows, SCHEMA)


SCORES = scores()


def write_scores(
    out: Path, at: datetime = AT, model: str = MODEL, kind: str = "csv", refund_seconds: int = 0
) -> None:
    directory = ScoreDirectory(str(out / "retention"), at, model, RetentionManifest, SCHEMA)
    names = [f"part-{number}.{kind}" for number in range(2)]
    for number, name in enumerate(names):
        directory.write(name, SCORES.slice(number * 2_000, 2_000).to_batches(), out, lambda _: None)
    directory.finish(
        RetentionManifest(
            at=at, model=model, format=kind, horizon_seconds=2_592_000, chunk=2_000, events=9, last_event=at,
            files=names, users=len(SCORES), purchase_type="order",
            refund_window_seconds=refund_seconds, bands=[], wanted_backtests=0, backtests=[],
            model_knows_until="2026-04-01T00:00:00Z",
        )
    )  # fmt: skip


def run(out: Path, *arguments: str) -> Result:
    environment = {"REPRISE_PROGRESS": "off", "SCORING_OUT": str(out)}
    return CliRunner(env=environment).invoke(command, arguments, catch_exceptions=False)


def files(out: Path, campaign: str) -> dict[str, list[dict[str, Any]]]:
    types = pacsv.ConvertOptions(column_types={"user_id": pa.string()})
    options = pacsv.ParseOptions(newlines_in_values=True)
    return {
        path.stem: pacsv.read_csv(path, parse_options=options, convert_options=types).to_pylist()
        for path in (out / "campaigns" / campaign).glob("*.csv")
    }


def manifest(out: Path, campaign: str, name: str = "_manifest.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "campaigns" / campaign / name).read_bytes())
    return content


def lift(out: Path, campaign: str, events: Path, *more: str) -> tuple[Result, list[dict[str, Any]]]:
    """Return the result of ``audience lift`` in July, and its bands."""
    at = () if "--at" in more else ("--at", "2026-07-01")
    result = run(out, "lift", "--campaign", campaign, "--events", str(events), *at, *more)
    return result, [] if result.exit_code else manifest(out, campaign, "lift.json")["bands"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_scores(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_user_is_in_one_file_by_band_or_held_out_by_the_hash(tmp_path: Path, kind: str) -> None:
    write_scores(tmp_path, kind=kind)
    result = run(tmp_path, "--campaign", "spring", "--bands", "0.25,0.5")
    assert result.exit_code == 0, result.output
    found = files(tmp_path, "spring")
    assert set(found) == {"write-0-0.25", "write-0.25-0.5", "write-0.5-up", "holdout"}
    probabilities = dict(zip(SCORES["user_id"].to_pylist(), SCORES["probability"].to_pylist(), strict=True))
    bounds = {"0-0.25": (0, 0.25), "0.25-0.5": (0.25, 0.5), "0.5-up": (0.5, 1.1)}
    users = []
    for name, rows in found.items():
        for row in rows:
            users.append(row["user_id"])
            assert (bucket_of("campaign:spring", row["user_id"]) < 1_000) == (name == "holdout")
            assert name in ("holdout", f"write-{row['band']}")
            low, high = bounds[row["band"]]
            assert low <= probabilities[row["user_id"]] < high
            assert row["probability"] == pytest.approx(probabilities[row["user_id"]], abs=1e-6)
    assert sorted(users) == sorted(probabilities)
    assert abs(len(found["holdout"]) - 300) < 4 * np.sqrt(300 * 0.9)
    bands = {band["name"]: band for band in manifest(tmp_path, "spring")["bands"]}
    for name, band in bands.items():
        assert band["written"] == len(found[f"write-{name}"])
        assert band["held_out"] == sum(row["band"] == name for row in found["holdout"])


def test_reasons_are_plain_words(out: Path) -> None:
    assert run(out, "--campaign", "spring", "--holdout", "0%").exit_code == 0
    reasons = {row["user_id"]: row["reason"] for rows in files(out, "spring").values() for row in rows}
    assert reasons["often"] == "usually buys every 12 days, last bought 30 days ago"
    assert reasons["once"] == "bought once, 1 day ago"
    assert reasons['one "day",\n'] == "bought 3 times on one day, 40 days ago"
    assert reasons["daily"] == "usually buys every day, last bought today"
    assert reasons["gone"].endswith("; the probability fell from 80% to 35% within 30d")
    assert files(out, "spring")["holdout"] == []


def test_suppressed_users_are_in_no_file_and_counted(out: Path, tmp_path: Path) -> None:
    listed = [f"{number:05}" for number in range(0, 1_000, 2)]
    with (tmp_path / "never.csv").open("w", encoding="utf-8-sig", newline="") as opened:
        csv.writer(opened).writerows(
            [["user_id", "why"], *([user, "asked"] for user in listed), ["stranger", ""]]
        )
    result = run(out, "--campaign", "spring", "--suppress", str(tmp_path / "never.csv"))
    assert result.exit_code == 0, result.output
    assert "500 more users are on the list" in result.output
    users = {row["user_id"] for rows in files(out, "spring").values() for row in rows}
    assert users == set(SCORES["user_id"].to_pylist()) - set(listed)
    assert manifest(out, "spring")["suppressed"] == 500


def test_a_campaign_stays_as_it_is_whatever_scores_there_are_and_another_choice_is_refused(out: Path) -> None:
    spring = ("--campaign", "spring", "--by", "value")
    first, before = run(out, *spring), files(out, "spring")
    (out / "campaigns" / "spring" / "_manifest.json").unlink()
    assert run(out, *spring).output == first.output
    write_scores(out, AT + timedelta(days=1), model="sha256:" + "cd" * 32)
    assert run(out, *spring).output == f"nothing to do: {first.output}"
    rmtree(out / "retention")
    assert run(out, *spring).output == f"nothing to do: {first.output}"
    others = {"--holdout": "20%", "--at": "2026-05-02", "--bands": "5", "--format": "parquet"}
    names = ("holdout", "at", "quartiles, edges", "format")
    for other, name in zip(others.items(), names, strict=True):
        result = run(out, *spring, *other)
        assert result.exit_code == 1
        assert f"written with another choice ({name})" in result.output
    assert files(out, "spring") == before


def test_a_list_of_ids_that_are_unknown_is_refused(out: Path, tmp_path: Path) -> None:
    (tmp_path / "never.csv").write_text("user_id\nann@example.com\nbob@example.com\n")
    result = run(out, "--campaign", "spring", "--suppress", str(tmp_path / "never.csv"))
    assert result.exit_code == 1
    assert "none of its 2 ids is among" in result.output
    assert not (out / "campaigns").exists()


def test_bands_by_value_are_quartiles_of_probability_times_spend_times_margin(out: Path) -> None:
    assert run(out, "--campaign", "spring", "--by", "value", "--margin", "0.3", "--at-risk").exit_code == 0
    chosen = [row for row in SCORES.to_pylist() if row["drop"] is not None and row["drop"] >= 0.2]
    expected = {row["user_id"]: row["probability"] * (row["value"] or 0) * 0.3 for row in chosen}
    found = {row["user_id"]: row for rows in files(out, "spring").values() for row in rows}
    assert found.keys() == expected.keys()
    for user, row in found.items():
        assert row["expected_value"] == pytest.approx(expected[user], abs=1e-6)
    edges = manifest(out, "spring")["edges"]
    np.testing.assert_allclose(edges, np.quantile(list(expected.values()), [0.25, 0.5, 0.75]), rtol=0.01)


def test_the_latest_scores_are_taken_and_several_models_of_an_instant_are_not_guessed(out: Path) -> None:
    write_scores(out, AT - timedelta(days=30), kind="parquet")
    run(out, "--campaign", "spring")
    assert datetime.fromisoformat(manifest(out, "spring")["at"]) == AT
    run(out, "--campaign", "earlier", "--at", "2026-04-01")
    assert datetime.fromisoformat(manifest(out, "earlier")["at"]) == AT - timedelta(days=30)
    other = "sha256:" + "cd" * 32
    write_scores(out, model=other)
    assert "choose one with --model" in run(out, "--campaign", "summer").output
    assert run(out, "--campaign", "summer", "--model", other).exit_code == 0
    assert manifest(out, "summer")["model"] == other


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "Missing option '--campaign'"),
        (("--campaign", "../up"), 2, "expected letters, digits"),
        (("--campaign", "x", "--holdout", "half"), 2, "not a percentage"),
        (("--campaign", "x", "--holdout", "95%"), 2, "not a percentage"),
        (("--campaign", "x", "--bands", "0.5,0.2"), 2, "not rising"),
        (("--campaign", "x", "--bands", "0.1,0.10000001,0.10000002"), 2, "equal in six digits"),
        (("--campaign", "x", "--bands", "20,50"), 2, "probabilities are below 1"),
        (("--campaign", "x", "--at", "2020-01-01"), 1, "run reprise retention first"),
        (("--campaign", "x", "--product", "p"), 1, "run reprise score first"),
        (("--campaign", "x", "--product", "p", "--at-risk"), 2, "leave it out with --product"),
        (("lift", "--campaign", "x", "--events", "e.csv"), 1, "no such campaign"),
        (("lift", "--events", "e.csv"), 2, "Missing option '--campaign'"),
    ],
)
def test_bad_input_is_named(out: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    result = run(out, *arguments)
    assert result.exit_code == status
    assert message in result.output
    assert not (out / "campaigns").exists()


def purchases(out: Path, bought: dict[str, float], days: float) -> Path:
    """Orders some days after the instant, views, an order of the very instant and one after the horizon."""
    rows = [(user, "order", AT + timedelta(days=days), amount) for user, amount in bought.items()]
    others = [("00001", "view", 1), ("00002", "order", 0), ("00003", "order", 31)]
    rows += [(user, kind, AT + timedelta(days=day), None) for user, kind, day in others]
    table = pa.table(
        {
            "event_id": [f"e{at}" for at in range(len(rows))] + ["e0"],  # The first event twice
            "user_id": [row[0] for row in rows] + [rows[0][0]],
            "product_id": ["p"] * (len(rows) + 1),
            "event_type": [row[1] for row in rows] + [rows[0][1]],
            "amount": pa.array([row[3] for row in rows] + [rows[0][3]], pa.float64()),
            "timestamp": pa.array([row[2] for row in rows] + [rows[0][2]], pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, out / "events.parquet")
    return out / "events.parquet"


def test_lift_is_the_difference_between_those_written_to_and_those_held_out(out: Path) -> None:
    run(out, "--campaign", "spring", "--bands", "0.5", "--holdout", "20%")
    chosen = files(out, "spring")
    rng = np.random.default_rng(3)
    bought = {
        row["user_id"]: float(rng.uniform(5, 20))
        for name, rows in chosen.items()
        for row in rows
        if row["user_id"] > "00003" and rng.random() < (0.1 if name == "holdout" else 0.2)
    }
    events = purchases(out, bought, days=9)
    result, bands = lift(out, "spring", events)
    assert result.exit_code == 0, result.output
    written = [row for name, rows in chosen.items() if name != "holdout" for row in rows]
    for band in bands:
        groups = [
            [row["user_id"] for row in rows if band["band"] in ("all", row["band"])]
            for rows in (written, chosen["holdout"])
        ]
        buyers = [[bought[user] for user in group if user in bought] for group in groups]
        assert (band["written"], band["held_out"]) == tuple(map(len, groups))
        assert (band["written_buyers"], band["held_out_buyers"]) == tuple(map(len, buyers))
        expected = share_difference(
            *(Group(len(group), len(own)) for group, own in zip(groups, buyers, strict=True))
        )
        assert band["conversion"]["value"] == pytest.approx(expected.value)
        assert band["conversion"]["lower"] == pytest.approx(expected.lower)
        spend = [np.zeros(len(group)) for group in groups]
        for mine, own in zip(spend, buyers, strict=True):
            mine[: len(own)] = own
        assert band["spend"]["value"] == pytest.approx(spend[0].mean() - spend[1].mean())
        if min(map(len, buyers)) >= 30:
            error = 1.96 * np.sqrt(sum(each.var(ddof=1) / len(each) for each in spend))
            assert band["spend"]["upper"] - band["spend"]["value"] == pytest.approx(error)
    assert [band["band"] for band in bands] == ["all", "0.5-up", "0-0.5"]
    assert re.search(r"\+\d+ buyers by writing .*: the campaign won buyers", result.output)
    assert "numbers will change" not in result.output


def write_pair_scores(out: Path) -> None:
    """Two users who bought the product, at different instants, one of them another product too."""
    bought = [("u1", "p", 0.6, 3, 20.0, 12), ("u1", "other", 0.1, 1, 5.0, 2), ("u2", "p", 0.2, 1, None, 40)]
    rows = [(*row[:5], AT - timedelta(days=row[5])) for row in bought]
    table = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), PAIRS, strict=True)],
        schema=PAIRS,
    )
    directory = ScoreDirectory(str(out), AT, MODEL, PairScoresManifest)
    directory.write("part-0.csv", table.to_batches(), out, lambda _: None)
    directory.finish(
        PairScoresManifest(
            at=AT, model=MODEL, format="csv", horizon_seconds=2_592_000, chunk=2_000, events=9, last_event=AT,
            files=["part-0.csv"], pairs=len(table), purchase_type="order",
        )
    )  # fmt: skip


def test_the_buyers_of_a_product_are_chosen_by_its_pairs_and_its_purchases_alone_are_lift(out: Path) -> None:
    write_pair_scores(out)
    assert "nobody is left to write to" in run(out, "--campaign", "x", "--product", "no").output
    result = run(out, "--campaign", "beans", "--product", "p", "--bands", "0.5", "--holdout", "0%")
    assert "buyers of p at 2026-05-01" in result.output
    [first], [second] = (files(out, "beans")[name] for name in ("write-0.5-up", "write-0-0.5"))
    assert (first["user_id"], first["expected_value"]) == ("u1", pytest.approx(12.0))
    assert first["reason"] == "bought p 3 times, last 12 days ago"
    assert (second["user_id"], second["reason"]) == ("u2", "bought p once, 40 days ago")
    events = purchases(out, {"u1": 9.0, "u2": 7.0}, days=3)
    table = pq.read_table(events)
    of_another = pc.if_else(pc.equal(table["user_id"], "u2"), "other", table["product_id"])
    pq.write_table(table.set_column(2, "product_id", of_another), events)
    result, [everyone, *_] = lift(out, "beans", events)
    assert "beans: purchases of p within" in result.output
    assert (everyone["written"], everyone["written_buyers"]) == (2, 1)


def test_a_list_of_users_none_of_whom_is_chosen_suppresses_nobody_and_is_not_refused(
    out: Path, tmp_path: Path
) -> None:
    write_pair_scores(out)
    listed = tmp_path / "never.csv"
    listed.write_text("u1\n")
    only_u1 = run(out, "--campaign", "other", "--product", "other", "--suppress", str(listed))
    assert only_u1.exit_code == 1
    both = run(out, "--campaign", "p", "--product", "p", "--suppress", str(listed))
    assert (both.exit_code, manifest(out, "p")["suppressed"]) == (0, 1)
    listed.write_text("often\n")  # Scored, not at risk
    risky = run(out, "--campaign", "risk", "--at-risk", "--suppress", str(listed))
    assert (risky.exit_code, manifest(out, "risk")["suppressed"]) == (0, 0)


def test_purchases_that_are_returned_within_the_refund_window_are_no_lift(tmp_path: Path) -> None:
    write_scores(tmp_path, refund_seconds=5 * 86_400)
    run(tmp_path, "--campaign", "spring", "--holdout", "0%")
    users = ["00010", "00011", "00012"]
    events = pq.read_table(purchases(tmp_path, dict.fromkeys(users, 5.0), days=9))
    returns = [
        {"event_id": f"r{user}", "user_id": user, "product_id": "p", "event_type": "return", "amount": None,
         "timestamp": AT + timedelta(days=9 + after)}
        for user, after in zip(users, (4, 6, 5), strict=True)
    ]  # fmt: skip
    pq.write_table(
        pa.concat_tables([events, pa.Table.from_pylist(returns, events.schema)]), tmp_path / "events.parquet"
    )
    for at, buyers in (("2026-05-14T00:00:00Z", 3), ("2026-07-01", 1)):  # The first return is not yet known
        assert (
            lift(tmp_path, "spring", tmp_path / "events.parquet", "--at", at)[1][0]["written_buyers"]
            == buyers
        )


def test_a_window_that_is_not_over_is_said_and_nothing_before_the_start_counts(out: Path) -> None:
    run(out, "--campaign", "spring")
    events = purchases(out, {f"{number:05}": 5.0 for number in range(10, 400)}, days=9)
    early, _ = lift(out, "spring", events, "--at", "2026-05-15")
    assert "numbers will change" in early.output
    late, [everyone, *_] = lift(out, "spring", events, "--start", "2026-05-11")
    assert "no effect is shown" in late.output
    # Only the order of day 31 is within the horizon from then
    assert everyone["written_buyers"] + everyone["held_out_buyers"] == 1
    after, _ = lift(out, "spring", events, "--start", "2026-06-10")
    assert after.exit_code == 1
    assert "no event after" in after.output
