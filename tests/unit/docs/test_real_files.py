"""The commands of docs/real-files.md on small files of the public data sets' shapes."""

import re
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from support.train_command import run_import

PAGE = (Path(__file__).parents[3] / "docs" / "real-files.md").read_text()
COMMANDS = re.findall(r"^reprise train .*$", PAGE, re.MULTILINE)

FILES = {
    "online_retail_II.csv": (
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
        "489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom\n"
        "C489449,22087,BUNTING,-2,2009-12-01 10:33:00,2.95,13085.0,Australia\n"
        "489464,21733,lost,-96,2009-12-01 10:52:00,0.0,,United Kingdom\n"
        "A506401,B,Adjust bad debt,1,2010-04-29 13:36:00,-53594.36,13085.0,United Kingdom\n"
    ),
    "events.csv": (
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
        "1433224214164,257597,addtocart,248676,\n1433223236124,257597,transaction,318965,4000\n"
    ),
    "transactions_train.csv": (
        "t_dat,customer_id,article_id,price,sales_channel_id\n2018-09-20,000058a1,0663713001,0.0508,2\n"
    ),
    "orders.csv": (
        "order_id,user_id,eval_set,order_number,order_dow,order_hour_of_day,days_since_prior_order\n"
        "10,1,prior,1,2,08,\n11,1,prior,2,3,07,15.0\n12,1,train,3,3,12,21.0\n"
    ),
    "order_products__prior.csv": (
        "order_id,product_id,add_to_cart_order,reordered\n10,196,1,0\n11,196,1,1\n"
    ),
    "transaction_data.csv": (
        "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID,RETAIL_DISC,TRANS_TIME,WEEK_NO\n"
        "2375,26984851472,1,1004906,1,1.39,364,-0.6,1631,1\n"
    ),
}
EXPECTED = {
    "online_retail_II.csv": [
        ("13085", "85048", "purchase", 83.4, "2009-12-01 07:45:00"),
        ("13085", "22087", "return", 5.9, "2009-12-01 10:33:00"),
    ],
    "events.csv": [
        ("257597", "355908", "view", None, "2015-06-02 05:02:12.117000"),
        ("257597", "318965", "purchase", None, "2015-06-02 05:33:56.124000"),
        ("257597", "248676", "cart", None, "2015-06-02 05:50:14.164000"),
    ],
    "transactions_train.csv": [("000058a1", "0663713001", "purchase", 0.0508, "2018-09-20 00:00:00")],
    "instacart.parquet": [
        ("1", "196", "purchase", None, "2017-11-26 08:00:00"),
        ("1", "196", "purchase", None, "2017-12-11 07:00:00"),
    ],
    "transaction_data.csv": [("2375", "1004906", "purchase", 1.39, "2016-01-01 00:00:00")],
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[3])
def test_command_of_the_page_reads_a_file_of_its_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    if "instacart" in command:
        [statement] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
        duckdb.sql(statement)
    run_import(command, Path("out.parquet"))
    events = [
        (row["user_id"], row["product_id"], row["event_type"], row["amount"], str(row["timestamp"])[:-6])
        for row in pq.read_table("out.parquet").to_pylist()
    ]
    expected = EXPECTED[command.split()[3]]
    assert [event[:3] + event[4:] for event in events] == [event[:3] + event[4:] for event in expected]
    assert [event[3] for event in events] == pytest.approx([event[3] for event in expected])


def test_every_data_set_has_a_command() -> None:
    assert {command.split()[3] for command in COMMANDS} == set(EXPECTED)
