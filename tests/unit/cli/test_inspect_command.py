"""The inspect command on files as other people export them."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from reprise.cli.inspect.main import command
from reprise.event_files.exceptions import MissingColumnsError
from reprise.event_files.importer import import_events
from reprise.event_files.inspection import Inspection, inspect_events
from reprise.event_files.options import ImportOptions
from support.train_command import run_import

RETAILROCKET = (
    "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332117,257597,view,355908,\n1433224214164,992329,addtocart,248676,\n"
    "1433223236124,257597,transaction,318965,4000\n"
)


def inspect(tmp_path: Path, content: str | bytes, name: str = "in put.csv") -> Inspection:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return inspect_events(path, ImportOptions(), "256MiB")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (RETAILROCKET, ["1 cart, 1 purchase, 1 view", "not cart", "milliseconds", "257597 has 66.7%"]),
        (
            "user_id,product_id,timestamp\nu,p,2026-01-01\n",
            ["1 purchase", "every row is taken as a purchase"],
        ),
        ("userid;sku;date;price\nu;p;31.1.2026;5\n", ["1 purchase", "2026-01-31"]),
        (
            "user_id,product_id,timestamp,event_type\nu,p,1767225600,PV\nu,p,1767225600,buy\nv,,1,buy\n",
            ["1 purchase, 1 view", "product_id: missing", "seconds"],
        ),
        ("user_id,product_id,timestamp\nJürgen,p,2026-01-01\n".encode("latin-1"), ["1 purchase"]),
        ("user_id,product_id,timestamp\nu,p,2026-01-01\n".encode("utf-16"), ["1 purchase"]),
        (
            "Customer ID,StockCode,InvoiceDate,Quantity,Price\n1,a,2026-01-01,2,2.5\n1,a,2026-01-02,-1,2.5\n",
            ["1 purchase, 1 return", "not return"],
        ),
        ("user,item,date,amount\nu,p,1/2/2026,3\nu,p,3/4/2026,3\n", ["2 purchase"]),
    ],
)
def test_command_line_reads_what_is_shown(tmp_path: Path, content: str | bytes, expected: list[str]) -> None:
    inspection = inspect(tmp_path, content)
    report = run_import(inspection.command, tmp_path / "out.parquet").render().splitlines()
    assert report == inspection.report.render().splitlines()
    assert not [part for part in expected if part not in "\n".join(report)]


def test_columns_have_types_fields_and_examples(tmp_path: Path) -> None:
    columns = {column.name: column for column in inspect(tmp_path, RETAILROCKET).columns}
    assert (columns["itemid"].kind, columns["itemid"].field) == ("VARCHAR", "product_id")
    assert columns["event"].field == "event_type"
    assert (columns["transactionid"].field, columns["transactionid"].example) == (None, "4000")
    assert columns["transactionid"].filled == pytest.approx(1 / 3)


def test_dates_that_two_formats_read_are_named(tmp_path: Path) -> None:
    inspection = inspect(tmp_path, "user_id,product_id,timestamp\nu,p,1/2/2026\n")
    assert any("%d/%m/%Y" in text and "%m/%d/%Y" in text for text in inspection.assumed)


@pytest.mark.parametrize(
    ("content", "blank", "said"),
    [
        ("who,what,timestamp\n1,2,2026-01-01\n", "--column 'user_id=<column>'", "no column for user_id"),
        (
            "user_id,product_id,timestamp,event\nu,p,2026-01-01,0\n",
            "--event-type '<type>=0'",
            "event_type: not a name",
        ),
        ("user_id,product_id,timestamp\nu,p,0511\n", None, "MMDD without a year"),
        ("user_id,product_id\n", "--column 'timestamp=<column>'", "no column for timestamp"),
        ("", None, "the file is empty"),
        ("user_id,product_id,timestamp\nu,p,2026-01-01\r\n", None, "its lines end in different ways"),
    ],
)
def test_what_only_a_person_knows_is_left_blank(
    tmp_path: Path, content: str, blank: str | None, said: str
) -> None:
    inspection = inspect(tmp_path, content)
    assert said in inspection.problem
    assert "reprise inspect" not in inspection.problem
    assert blank is None or blank in inspection.command


def test_text_and_page_show_the_same_and_the_status_tells_a_refusal(tmp_path: Path) -> None:
    good, bad, page = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "page.html"
    good.write_text(RETAILROCKET)
    bad.write_text("a<b>,c\n1,2\n")
    alone = CliRunner().invoke(command, [str(good)])
    assert alone.exit_code == 0, alone.output
    both = CliRunner().invoke(command, [str(good), str(bad), "--html", str(page)])
    assert both.exit_code == 1
    html = page.read_text()
    assert "<script" not in html
    assert "http" not in html
    for text in (
        "reprise train --events",
        "visitorid",
        "1 cart, 1 purchase, 1 view",
        "no column for user_id",
    ):
        assert text in both.output
        assert text in html
    assert "a&lt;b&gt;" in html
    nowhere = CliRunner().invoke(command, [str(good), "--html", str(tmp_path / "missing" / "page.html")])
    assert f"Error: {tmp_path / 'missing' / 'page.html'}: " in nowhere.output


def test_refusal_points_to_inspect(tmp_path: Path) -> None:
    path = tmp_path / "in put.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(MissingColumnsError) as caught:
        import_events(path, tmp_path / "out.parquet")
    assert f"reprise inspect '{path}'" in str(caught.value)
