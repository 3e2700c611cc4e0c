"""Refactoring changes no externally visible contract. After a deliberate change: ``make golden``.

A hash stands for a text that ``build/golden`` keeps under that hash, on the machine that computed it.
"""

import difflib

import pytest

from golden.contracts import CONTRACTS, expected_file
from support.chart import helm_path
from support.redis import MISSING, redis_server_path

_NEEDS_HELM = {"chart_manifests"}
_NEEDS_REDIS = {"online_store"}


@pytest.mark.parametrize("name", CONTRACTS)
def test_contract_is_unchanged(name: str) -> None:
    if name in _NEEDS_HELM and helm_path() is None:
        pytest.skip("Helm 4 is not on PATH, and .ci/helm could not fetch it")
    if name in _NEEDS_REDIS and redis_server_path() is None:
        pytest.skip(MISSING)
    expected, found = expected_file(name).read_text(), CONTRACTS[name]()
    diff = difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", "", "", 2, "")
    if expected != found:
        pytest.fail("\n".join(diff), pytrace=False)
