"""``reprise features`` as a person at a terminal uses it."""

from datetime import timedelta
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from reprise.features.discovery.planner import PlanningResult
from reprise.features.main import command
from reprise.features.plan import Plan
from support.plans import REPOSITORY, checked_in_plan, with_other_names


@pytest.fixture(autouse=True)
def at_the_top_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where people run it, and where ``--repository`` is found by default."""
    monkeypatch.chdir(REPOSITORY.parent)


def features(*arguments: object) -> Result:
    return CliRunner().invoke(
        command, [str(argument) for argument in arguments], env={"REPRISE_PROGRESS": "off"}
    )


def done(*arguments: object) -> str:
    """Run the command, which succeeds, and return what it prints."""
    result = features(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object, status: int = 1) -> str:
    """Run the command, which fails, and return what it prints."""
    result = features(*arguments)
    assert result.exit_code == status, result.output
    return result.output


def built(source: Path, out: Path, *options: object) -> str:
    """Build training rows, and return what it prints."""
    return done("build", "--events", source, "--out", out, "--horizon", "7d", *options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


@pytest.mark.slow
@pytest.mark.soak
def test_planning_by_the_sample_makes_the_checked_in_plan(repository: Path) -> None:
    output, plan = done("plan", "--dry-run", "--repository", repository), checked_in_plan()
    assert f"plan {plan.hash[:12]}, schema {plan.schema_hash[:12]}" in output
    assert f"{len(plan.inputs)} inputs" in output


def test_planning_says_what_was_found_refused_dropped_and_kept_and_writes_the_same_plan_every_time(
    repository: Path, few_users: Path, planned: PlanningResult
) -> None:
    (repository / "plan" / "plan.json").unlink()
    output = done("plan", "--repository", repository, "--events", few_users, "--until", "2099-01-01")
    for said in (
        "users: 1,",
        "selected by the rows before 2099-01-01 00:00 UTC",
        "median has no bounded state",
        "unused num_true: no column here is of a type that it takes",
        "a forest finds thresholds of a number automatically",
        "near-duplicate of another",
        "total_spend",
        "NUM_TRUE(user_products.COUNT(purchases) > 1)",
        f"wrote {repository}/plan/plan.json",
        f"plan {planned.plan.hash[:12]}",
    ):
        assert said in output
    assert Plan.load(repository / "plan" / "plan.json").hash == planned.plan.hash


FEW_FEATURES = """
FEW = (Count(), Sum(), Mean(), Median(), NumTrue(), TimeSinceLast(unit="days"), AvgTimeBetween(unit="days"))
DEFINITION = replace(
    DEFINITION,
    **{
        name: replace(getattr(DEFINITION, name), aggregations=FEW)
        for name in ("users", "products", "user_products")
    },
)
"""


def test_all_lists_each_refused_feature_with_its_reason_and_a_dry_run_writes_nothing(
    repository: Path, few_users: Path
) -> None:
    path = repository / "definitions.py"
    path.write_text("from dataclasses import replace\n" + path.read_text() + FEW_FEATURES)
    before = files(repository)
    output = done("plan", "--dry-run", "--all", "--repository", repository, "--events", few_users)
    assert "refused MEDIAN(purchases.amount): median has no bounded state" in output
    assert "dropped " in output
    assert files(repository) == before


def test_build_writes_one_row_for_each_event_also_of_a_file_with_columns_of_its_own(
    tmp_path: Path, some_csv: Path
) -> None:
    theirs = tmp_path / "theirs.csv"
    text = some_csv.read_text().replace('"user_id"', '"customer"', 1).replace('"purchase"', '"buy"')
    theirs.write_text(text)
    mapped = ("--column", "user_id=customer", "--event-type", "purchase=buy", "--event-type", "view=view")
    tables = []
    for source, out, options in ((some_csv, "ours.parquet", ()), (theirs, "theirs.parquet", mapped)):
        path = tmp_path / out
        assert f"{path}: 1,500 rows;" in built(source, path, *options)
        tables.append(pq.read_table(path))
    ours, other = tables
    assert set(checked_in_plan().input_names) < set(ours.column_names)
    assert ours.equals(other)


@pytest.mark.parametrize("name", ["build", "check"])
@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("u,p,2026-01-01,cart", "no event is of a type that makes features"),
        ("u,,2026-01-01,view", "product_id"),
        ("u,p,someday,view", "someday"),
    ],
)
def test_refused_file_is_to_be_inspected(tmp_path: Path, name: str, line: str, complaint: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user_id,product_id,timestamp,event_type\n{line}\n")
    out = ("--out", tmp_path / "rows.csv") if name == "build" else ()
    output = refused(name, "--events", path, *out).rstrip()
    assert complaint in output
    assert list(tmp_path.iterdir()) == [path]
    assert output.endswith(f"reprise inspect {path}")


def test_build_labels_no_row_by_a_stray_event_after_a_gap(tmp_path: Path, some_csv: Path) -> None:
    text = some_csv.read_text()
    last = pacsv.read_csv(some_csv)["timestamp"].to_pylist()[-1]
    names = text.partition("\n")[0].replace('"', "").split(",")
    stray = {"event_id": "stray", "user_id": "u", "product_id": "p", "event_type": "view"}
    stray["timestamp"] = f"{last + timedelta(days=45):%Y-%m-%d %H:%M:%SZ}"
    theirs = tmp_path / "theirs.csv"
    theirs.write_text(text + ",".join(stray.get(name, "") for name in names) + "\n")
    tables = []
    for source in (some_csv, theirs):
        path = tmp_path / f"{source.stem}.parquet"
        output = built(source, path)
        tables.append(pq.read_table(path))
    assert "1 events from " in output
    assert tables[0].equals(tables[1])
    assert tables[0]["label"].null_count > 0


def test_build_may_leave_returned_purchases_out_of_the_labels(tmp_path: Path) -> None:
    source, out = tmp_path / "events.csv", tmp_path / "rows.csv"
    days = ["01-01,view", "01-02,purchase", "01-04,return", "01-20,view"]
    lines = [f"u,p,2026-{day}" for day in days]
    source.write_text("user_id,product_id,timestamp,event_type\n" + "\n".join(lines) + "\n")
    labels = []
    for options in ((), ("--refund-window", "3d")):
        built(source, out, *options)
        labels.append(pacsv.read_csv(out)["label"].to_pylist()[0])
    assert labels == [True, False]


def test_build_without_a_plan_says_what_to_run(tmp_path: Path, some_csv: Path) -> None:
    out = tmp_path / "rows.csv"
    output = refused("build", "--events", some_csv, "--out", out, "--repository", tmp_path)
    assert "plan.json: cannot be read" in output
    assert "`reprise features plan` writes it" in output


def test_check_finds_no_mismatch_and_says_how_much_it_compared(some_csv: Path) -> None:
    output, plan = done("check", "--events", some_csv, "--reference-rows", "6"), checked_in_plan()
    finished = len(plan.inputs) - len(plan.request_inputs)
    assert f"{6 * finished:,}" in output
    assert f"{1500 * len(plan.inputs):,}" in output
    assert "The reference computed 6 of 1,500 rows" in output
    assert "lists: sorted, batch and stream" in output


def test_check_takes_a_history_of_decades(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    rows = ("purchase,5,1990-01-01T00:00:00Z", "view,,2006-01-01", "purchase,7,2026-01-01T23:59:59.999999Z")
    path.write_text(
        "user_id,product_id,event_type,amount,timestamp\n" + "".join(f"u,p,{row}\n" for row in rows)
    )
    output = done("check", "--events", path, "--reference-rows", "all")
    assert f"{3 * len(checked_in_plan().inputs):,}" in output


def test_check_takes_a_shop_that_calls_purchases_orders(
    repository: Path, tmp_path: Path, some_csv: Path
) -> None:
    definition = repository / "definitions.py"
    text = definition.read_text().replace("purchases", "orders")
    definition.write_text(text.replace('"view": "views", "purchase"', '"view": "pageviews", "order"'))
    plan = with_other_names(checked_in_plan())
    (repository / "plan" / "plan.json").write_bytes(plan.dumps())
    path = tmp_path / "events.csv"
    path.write_text(some_csv.read_text().replace('"purchase"', '"order"'))
    output = done("check", "--repository", repository, "--events", path, "--reference-rows", "4")
    assert f"{1500 * len(plan.inputs):,}" in output


WRONG_SUM = '''
from featuretools.primitives import Sum as RightSum


class Sum(RightSum):
    """Calls itself sum, and is not."""

    def get_function(self):
        return lambda amounts: amounts.sum() * (1 + 1e-6)


AGGREGATIONS = ('''


def test_check_fails_when_an_executor_computes_something_else(repository: Path, some_csv: Path) -> None:
    """A primitive that is called sum but sums wrongly: the reference believes it, batch and stream do not."""
    path = repository / "definitions.py"
    path.write_text(path.read_text().replace("\nAGGREGATIONS = (", WRONG_SUM))
    output = refused("check", "--repository", repository, "--events", some_csv, "--reference-rows", "8")
    assert "reference and batch: total_spend, row" in output
    assert "… and " in output
    assert "batch and stream: " not in output


@pytest.mark.parametrize("rows", ["many", "0"])
def test_check_refuses_a_number_of_rows_that_is_none(some_csv: Path, rows: str) -> None:
    output = refused("check", "--events", some_csv, "--reference-rows", rows, status=2)
    assert f"'{rows}' is neither a number of at least 1 nor all" in output


@pytest.mark.parametrize(("command", "out"), [("build", "missing/rows.csv"), ("states", "file/states")])
def test_output_that_cannot_be_written_is_named(
    tmp_path: Path, some_csv: Path, command: str, out: str
) -> None:
    (tmp_path / "file").write_text("")
    output = refused(command, "--events", some_csv, "--out", tmp_path / out)
    assert f"Error: {tmp_path / out}: " in output


@pytest.mark.parametrize(
    ("definitions", "complaint"),
    [
        (None, "definitions.py: not found; --repository names the folder"),
        ("DEFINITION = 7", "must define DEFINITION"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
    ],
)
def test_a_repository_without_a_definition_is_refused_by_name(
    tmp_path: Path, few_users: Path, definitions: str | None, complaint: str
) -> None:
    if definitions is not None:
        (tmp_path / "definitions.py").write_text(definitions)
    assert complaint in refused("plan", "--repository", tmp_path, "--events", few_users)
