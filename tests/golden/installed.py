"""What is installed: the console scripts, and the sources of each process's package."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

ROOT_COMMAND = "reprise"
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "VIRTUAL_ENV")


@cache
def scripts() -> dict[str, EntryPoint]:
    """Return the console scripts of the platform by name."""
    found = {each.name: each for each in entry_points(group="console_scripts")}
    return {name: found[name] for name in sorted(found) if name.split("-")[0] == ROOT_COMMAND}


def package_of(module: str) -> ModuleType:
    """Return the package that belongs to a process or library, by any module in it."""
    parts = module.split(".")
    return importlib.import_module(".".join(parts[: 2 if parts[0] == ROOT_COMMAND else 1]))


def sources(package: ModuleType) -> dict[str, str]:
    """Return the source of every module of a package, by the module's name; nothing is imported but packages."""
    found = {}
    for folder in package.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package.__name__, *(part for part in inner if part != "__init__")))
            if inner[-1] != "__main__":
                found[name] = path.read_text()
    return found


def objects_of(package: ModuleType, mentioning: str) -> Iterator[tuple[str, object]]:
    """Yield the module-level names and objects of the modules whose source mentions a text."""
    for name, source in sources(package).items():
        if mentioning in source:
            yield from vars(importlib.import_module(name)).items()


@contextmanager
def clean_environment(**variables: str) -> Iterator[None]:
    """Inside, the process has no settings but these."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT}
    with patch.dict(os.environ, {**kept, "REPRISE_PROGRESS": "off", **variables}, clear=True):
        yield
