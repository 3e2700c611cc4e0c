"""Stable codes: problems of the APIs, checks of the doctor, findings of the status page, reasons of the operator."""

import ast
import re
from unittest.mock import MagicMock

from golden.installed import objects_of, package_of, scripts, sources
from golden.text import as_text
from reprise.doctor.installation import Installation
from reprise.http.problems import ProblemType
from reprise.rollout.resource.status import RolloutStatus
from reprise.status.analysis.findings import overall_status
from support.chart import ROOT

_REASON = re.compile(r"([A-Z][a-z]+)+")


def codes() -> str:
    checks = {
        check.name: {"needs": check.needs, "follows": check.follows, "section": check.remedy.section}
        for check in Installation(MagicMock(), *[MagicMock()] * 4).checks()
    }
    found = {
        "problems": _problems(),
        "checks of the doctor": checks,
        "anchors of findings on the status page": sorted(_constants(overall_status.__module__) & _anchors()),
        "reasons, phases and conditions of the operator": sorted(
            filter(_REASON.fullmatch, _constants(RolloutStatus.__module__))
        ),
    }
    return as_text(found) + "\n"


def _problems() -> list[str]:
    packages = {package_of(script.module) for script in scripts().values()}
    found = {
        f"{kind.status} {kind.uri}"
        for package in packages | {package_of(ProblemType.__module__)}
        for _, kind in objects_of(package, "ProblemType(")
        if isinstance(kind, ProblemType)
    }
    return sorted(found)


def _anchors() -> set[str]:
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _constants(module: str) -> set[str]:
    """Return the texts in the source of a package, but not the names of its classes."""
    nodes = [node for source in sources(package_of(module)).values() for node in ast.walk(ast.parse(source))]
    classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return texts - classes
