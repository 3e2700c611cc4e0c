"""docs/api.md lists every setting and every problem. To generate its tables again:

REPRISE_WRITE_DOCS=1 python -m pytest tests/unit/predictor/test_api_docs.py
"""

import ast
import os
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from reprise.http.problems import (
    FORBIDDEN,
    HEADERS_TOO_LARGE,
    INTERNAL_ERROR,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    REQUEST_TIMEOUT,
    TOO_MANY_REQUESTS,
    UNAUTHENTICATED,
    ProblemType,
)
from reprise.predictor.handlers.endpoint import NO_PRODUCT_LIST, PREDICTION_PROBLEMS
from reprise.predictor.settings import PredictorSettings
from reprise.runtime.durations import format_duration

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
WRITE = os.environ.get("REPRISE_WRITE_DOCS") == "1"
EVERYWHERE = (
    *(UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS, NOT_FOUND, METHOD_NOT_ALLOWED),
    *(HEADERS_TOO_LARGE, REQUEST_TIMEOUT, NOT_READY, INTERNAL_ERROR),
)


def settings_table() -> Iterable[str]:
    yield "| variable | default | |"
    yield "| --- | --- | --- |"
    names = PredictorSettings.env_names()
    for field, info in PredictorSettings.model_fields.items():
        yield f"| `{names[field]}` | {shown(info.default)} | {info.description} |"


def shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "needed"
    if default is None or isinstance(default, SecretStr):
        return ""
    if isinstance(default, timedelta):
        default = format_duration(default)
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def problems_table() -> Iterable[str]:
    yield "| status | `type`, after `urn:reprise:problem:` | when |"
    yield "| --- | --- | --- |"
    kinds: dict[str, ProblemType] = {
        kind.slug: kind for kind in (*PREDICTION_PROBLEMS, NO_PRODUCT_LIST, *EVERYWHERE)
    }
    for kind in sorted(kinds.values(), key=lambda kind: (kind.status, kind.slug)):
        yield f"| {kind.status} | `{kind.slug}` | {kind.title}. |"


def holds(mark: str, table: Iterable[str]) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    wanted = "\n".join([begin, *table, end])
    text = PAGE.read_text()
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", text, re.DOTALL)
    if WRITE:
        PAGE.write_text(text.replace(found[0] if found else begin, wanted))
        return
    assert found is not None
    assert found[0] == wanted, f"docs/api.md is behind: {__doc__}"


def test_page_lists_every_setting_with_its_default() -> None:
    holds("settings", settings_table())


def test_page_lists_every_problem() -> None:
    holds("problems", problems_table())


def test_python_of_the_page_can_be_read() -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 6
    for example in examples:
        ast.parse(example)


def test_page_shows_every_address_with_curl_and_python() -> None:
    text = PAGE.read_text()
    for address in (
        "predict",
        "predict/batch",
        "users/u-1042/buy-again",
        "rank",
        "features/",
        "model/info",
        "ready",
    ):
        assert re.search(rf"^curl .*localhost:8000/{address}", text, re.MULTILINE), address
        assert f"http://localhost:8000/{address}" in "".join(
            re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        )
