"""What incidents on a cluster run as the runbook's commands stands in the runbook, also where there is no cluster."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e.support import on_call
from e2e.support.on_call import RUNBOOK, section_of

ROOT = Path(__file__).parents[3]
INCIDENTS = sorted((ROOT / "tests/e2e/watched").glob("test_*.py"))
PAGE = RUNBOOK.read_text()


def calls(method: str) -> Iterator[str]:
    """Every literal that is the argument of a call of this name in the incidents, also by a constant's name."""
    for path in INCIDENTS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) == method:
                [argument] = node.args
                if isinstance(argument, ast.Constant):
                    yield str(argument.value)
                elif value := _constants(path).get(_name(argument)) or getattr(
                    on_call, _name(argument), None
                ):
                    yield str(value)


def _constants(path: Path) -> dict[str, object]:
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


@pytest.mark.parametrize("command", sorted({*calls("runs"), *calls("runs_with_kafka")}))
def test_a_command_that_mends_an_incident_stands_in_the_runbook(command: str) -> None:
    assert command in PAGE


@pytest.mark.parametrize("heading", sorted(set(calls("on_call"))))
def test_an_incident_is_of_a_section_of_the_runbook(heading: str) -> None:
    assert section_of(PAGE, heading)


def test_every_alert_is_made_on_a_cluster() -> None:
    rules = yaml.safe_load((ROOT / "charts/reprise/files/rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    incidents = "".join(path.read_text() for path in INCIDENTS)
    # of cert-manager, Strimzi and KEDA, which need their operators, or of the kubelet's volumes
    foreign = {
        "RepriseKafkaUnderReplicated",
        "RepriseKafkaOffline",
        "RepriseScalerFails",
        "RepriseVolumeFull",
    }
    # tests/alerts only; a broker refuses to store what cannot be decoded
    simulated = {
        "RepriseCompactionMissed", "RepriseScoringMissed", "RepriseArchiveLate", "ReprisePartitionUnreadable",
        "RepriseArchivePartitionUnreadable",
    }  # fmt: skip
    missing = {name for name in alerts if f'"{name}"' not in incidents}
    assert missing == {"RepriseCertificateExpires", *foreign, *simulated}


def test_there_are_such_commands() -> None:
    assert len({*calls("runs"), *calls("runs_with_kafka")}) > 10
