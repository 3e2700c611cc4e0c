"""Everything that the documentation names exists: links, headings, files, modules, make targets and commands."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from reprise.cli.main import command as reprise
from reprise.status.scrape.scraper import OPTIONAL_SERVICE
from reprise.status.settings import StatusSettings

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
MADE_BY_COMMANDS = {"feature_repo/data/states"}
"""Paths that a page names and a command creates."""

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_PATH = re.compile(
    r"^(?:libs|services|jobs|feature_repo|charts|k8s|tests|docs|\.ci)/[\w./-]*$"
    r"|^(?:[\w-]+\.(?:toml|txt|yaml|md)|Dockerfile|Tiltfile|Makefile)$"
)
_FOLDERS = ("", "docs", "charts/reprise", "feature_repo", "feature_repo/plan", "tests/integration/kafka")
_MODULE = re.compile(r"\breprise(?:\.[a-z_]+)+\b(?!/)")
_MAKE = re.compile(r"\bmake ([a-z][a-z0-9-]*)\b")
_SHELL = re.compile(r"^ *```(?:bash|sh)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    return [" ".join(code.split()) for code in _CODE.findall(_FENCE.sub("", text))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> list[list[str]]:
    """The words of every ``reprise`` command of a page, from shell blocks and inline code."""
    lines = [
        line for block in _SHELL.findall(text) for line in block.replace("\\\n", " ").splitlines()
    ] + inline_code(text)
    found = []
    for line in lines:
        match = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*reprise ([a-z].*)", line)
        if match:
            found.append(shlex.split(match[1].split(" #")[0].replace("…", ""), comments=True))
    return found


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words name, and its arguments."""
    found: click.Command = reprise
    rest = list(words)
    while isinstance(found, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None, f"reprise {' '.join(words)}: there is no command {name}"
        found = inner
    return found, rest


def chart_templates() -> set[str]:
    texts = [path.read_text() for path in (ROOT / "charts/reprise/templates").rglob("*.tpl")]
    return set(re.findall(r'define "([\w.]+)"', "".join(texts)))


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(file), f"{name}: {link}"


@pytest.mark.parametrize("name", NAMES)
def test_paths_and_modules_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = {code for code in inline_code(text) if _PATH.match(code)} - MADE_BY_COMMANDS
    assert {
        path for path in paths if not any((ROOT / folder / path).exists() for folder in _FOLDERS)
    } == set()
    modules = set(_MODULE.findall(" ".join(inline_code(text)))) - chart_templates()
    assert {module for module in modules if not _is_importable(module)} == set()


def _is_importable(name: str) -> bool:
    parent, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ImportError:
        return hasattr(importlib.import_module(parent), attribute)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / name).read_text()
    code = "\n".join([*inline_code(text), *_SHELL.findall(text)])
    assert set(_MAKE.findall(code)) <= targets


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str) -> None:
    for words in commands((ROOT / name).read_text()):
        found, arguments = resolve(words)
        options = {
            option
            for each in found.get_params(click.Context(found))
            for option in (*each.opts, *each.secondary_opts)
        } | {"--help"}
        given = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
        assert given <= options, f"{name}: reprise {' '.join(words)}"


def test_commands_are_found_on_the_pages() -> None:
    assert sum(len(commands((ROOT / name).read_text())) for name in NAMES) > 30


def test_every_package_is_named_in_the_readme() -> None:
    packages = {
        str(path.relative_to(ROOT))
        for folder in ("libs", "feature_repo", "services", "jobs")
        for path in (ROOT / folder / "reprise").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert packages <= set(inline_code((ROOT / "README.md").read_text()))


def test_site_builds_without_a_broken_link(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site/search/search_index.json").exists()
    page = (tmp_path / "site/index.html").read_text()
    assert re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?:[^"]+)"', page) == []


def test_the_steps_of_the_readme_start_every_service_that_the_status_page_expects() -> None:
    steps = (ROOT / "README.md").read_text().split("\n## Step by step\n")[1].split("\n#")[0]
    lines = _SHELL.search(steps)
    assert lines is not None
    background = [line for line in lines[0].splitlines() if re.search(r" &($| )", line)]
    started = {
        str(resolve(words)[0].callback.__module__).split(".")[1]
        for words in commands("\n".join(["```bash", *background, "```"]))
    }
    expected = {target.service for target in StatusSettings().targets}
    assert expected - {OPTIONAL_SERVICE} == started
