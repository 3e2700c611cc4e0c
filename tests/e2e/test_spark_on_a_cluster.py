"""A training whose rows executors of Spark compute, in pods of their own; ``make e2e-spark`` runs it."""

from __future__ import annotations

import json
import os

import pytest

from e2e.conftest import TAG
from e2e.support.cluster import Platform

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("REPRISE_E2E_SPARK" not in os.environ, reason="make e2e-spark builds the image"),
]
NAMESPACE_SUFFIX = "-spark"
PLATFORM = {
    "extra_values": ("spark.yaml",),
    "fixtures": ("s3.yaml",),
    "awaited_fixture": "deployment/s3",
    "workloads": (),
    "image_tag": f"{TAG}-spark",
}
S3 = """
import boto3
s3 = boto3.client(
    "s3",
    endpoint_url="http://localhost:9000",
    region_name="us-east-1",
    aws_access_key_id="e2e",
    aws_secret_access_key="e2e-secret",
)
def keys(prefix):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="e2e", Prefix=prefix)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]
"""
EVENTS = """
for key in keys("events/"):
    print(s3.get_object(Bucket="e2e", Key=key)["Body"].read().decode(), end="")
"""
OF_THE_RUN = ("executor", "took", "bundle", "model card")
"""How lines of the trainer's summary begin that two runs do not share."""


def on_s3(platform: Platform, program: str) -> str:
    return platform.kubectl("exec", "deployment/s3", "--", "python", "-c", S3 + program)


def summary(log: str) -> list[str]:
    """Return the lines after those of progress that two runs share."""
    lines = log[log.index(" rows read from ") :].splitlines()
    return [line for line in lines if not line.startswith(OF_THE_RUN)]


def test_two_executors_compute_the_rows_that_duckdb_computes(platform: Platform) -> None:
    # Spark creates no folder for its event logs
    on_s3(platform, 's3.create_bucket(Bucket="e2e"); s3.put_object(Bucket="e2e", Key="events/")')
    platform.run_job("datagen")
    on_duckdb = platform.run_job("trainer", TRAINER_EXECUTOR="duckdb")
    assert on_s3(platform, EVENTS) == ""
    on_spark = platform.run_job("trainer")
    assert summary(on_spark) == summary(on_duckdb)
    assert ("executor    duckdb" in on_duckdb, "executor    spark" in on_spark) == (True, True)
    assert any(line.startswith("evaluated   grown on ") for line in summary(on_spark))

    happened = [json.loads(line) for line in on_s3(platform, EVENTS).splitlines()]
    ended = [each for each in happened if each["Event"] == "SparkListenerTaskEnd"]
    assert {each["Task Info"]["Executor ID"] for each in ended} == {"1", "2"}
    assert {each["Task End Reason"]["Reason"] for each in ended} == {"Success"}
    # Pods and tables do not outlive the run
    assert platform.pods("trainer-executor") == []
    assert on_s3(platform, 'print(*keys("spark/"))').strip() == ""
