"""The images are made of what is in the repository, and alike."""

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted(
    [*ROOT.glob("services/*/Dockerfile"), *ROOT.glob("jobs/*/Dockerfile"), ROOT / "feature_repo/Dockerfile"]
)
FIXTURES = sorted(ROOT.glob("k8s/e2e/*/Dockerfile"))


def _component(file: Path) -> str:
    return "feast" if file.parent.name == "feature_repo" else file.parent.name


def _steps(file: Path) -> list[list[str]]:
    """The instructions of a Dockerfile, each as its words."""
    text = re.sub(
        r"\\\n", " ", "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
    )
    return [line.split() for line in text.splitlines() if line.strip()]


def _sources(file: Path) -> list[str]:
    return [
        source
        for step in _steps(file)
        if step[0] == "COPY" and not any(word.startswith("--from") for word in step)
        for source in step[1:-1]
    ]


def _shared(file: Path) -> list[str]:
    """The steps without what is the component's own."""
    kept = []
    for step in _steps(file):
        line = " ".join(step)
        if line.startswith(
            (
                "ARG OTEL",
                "COPY requirements/otel.txt",
                "COPY libs/",
                "COPY services/",
                "COPY jobs/",
                "COPY feature_repo",
                "LABEL",
                "ENTRYPOINT",
            )
        ):
            continue
        if line.startswith(("ENV REPRISE_FEATURE_REPO", "WORKDIR /srv/reprise/feature_repo")):
            continue
        line = re.sub(r"requirements/(?!images)[a-z]+\.txt", "requirements/COMPONENT.txt", line)
        line = re.sub(r' \$\(\[ "\$OTEL" = 0 \] \|\| echo [^)]+\)', "", line)
        line = re.sub(r"(--wheel-dir /wheels)( \./\S+)+", r"\1 FOLDERS", line)
        kept.append(re.sub(r"(/tmp/try-imports).+", r"\1 MODULES", line) if line.startswith("RUN") else line)
    return kept


def test_dockerfiles_are_as_the_generator_writes_them() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/dockerfiles", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_with_a_command_of_its_own_has_an_image() -> None:
    packages = {
        path.parent for path in [*ROOT.glob("services/*/pyproject.toml"), *ROOT.glob("jobs/*/pyproject.toml")]
    }
    assert packages - {ROOT / "jobs/reprise"} == {file.parent for file in FILES} - {ROOT / "feature_repo"}


@pytest.mark.parametrize("file", FILES, ids=_component)
def test_images_differ_only_in_what_they_hold(file: Path) -> None:
    assert _shared(file) == _shared(FILES[0])


@pytest.mark.parametrize("file", FILES, ids=_component)
def test_an_image_takes_its_own_requirements_by_hash(file: Path) -> None:
    assert f"requirements/{_component(file)}.txt" in _sources(file)
    for source in _sources(file):
        if source.startswith("requirements/"):
            pinned = re.findall(r"^\S+==", (ROOT / source).read_text(), re.MULTILINE)
            assert pinned
            assert (ROOT / source).read_text().count("--hash=sha256:") >= len(pinned)
    text = file.read_text()
    assert text.count("--require-hashes") == 2
    assert "index-url" not in text


TRACED = [ROOT / "services/predictor/Dockerfile", ROOT / "services/producer/Dockerfile"]


def test_what_exports_traces_is_in_an_image_only_where_it_is_asked_for() -> None:
    assert [file for file in FILES if "otel" in file.read_text()] == TRACED
    for file in TRACED:
        steps = _steps(file)
        assert [step for step in steps if step[:2] == ["ARG", "OTEL=0"]] == [["ARG", "OTEL=0"]] * 2
        [install] = [
            " ".join(step) for step in steps if "--require-hashes" in step and "uv" in " ".join(step)
        ]
        assert '$([ "$OTEL" = 0 ] || echo --requirement /tmp/otel.txt)' in install
        assert "opentelemetry-sdk" not in (ROOT / f"requirements/{_component(file)}.txt").read_text()


@pytest.mark.parametrize("file", TRACED, ids=_component)
def test_what_exports_traces_is_pinned_as_the_component_pins_it(file: Path) -> None:
    pins = {
        name: dict(
            re.findall(r"^(\S+)==(\S+)", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE)
        )
        for name in (_component(file), "otel")
    }
    own, otel = pins[_component(file)], pins["otel"]
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= otel.keys()
    assert {name: own[name] for name in own.keys() & otel.keys()} == {
        name: otel[name] for name in own.keys() & otel.keys()
    }


@pytest.mark.parametrize("file", [*FILES, *FIXTURES], ids=lambda file: f"{file.parent.name}")
def test_what_an_image_copies_is_there_and_not_ignored(file: Path) -> None:
    for source in _sources(file):
        if file in FIXTURES:
            # what .ci/kafka fetches, and .ci/kube-state-metrics compiles
            assert source in {"libs", "kube-state-metrics"} or (file.parent / source).exists()
            continue
        assert (ROOT / source).exists(), source
        allowed = [
            line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
        ]
        assert any(
            fnmatch(source, rule) or fnmatch(rule, f"{source}/*") or fnmatch(f"{source}/src", rule)
            for rule in allowed
        )


@pytest.mark.parametrize("file", [*FILES, *FIXTURES], ids=lambda file: f"{file.parent.name}")
def test_no_image_runs_as_root_or_needs_a_frontend(file: Path) -> None:
    last = [step for step in _steps(file) if step[0] == "USER"][-1]
    assert last == ["USER", "10001:10001"]
    assert "syntax=" not in file.read_text()
    assert _steps(file)[0][0] == "ARG"
    assert _steps(file)[0][1].startswith("BASE=")


@pytest.mark.parametrize("file", FILES, ids=_component)
def test_the_entry_point_is_a_command_of_the_component(file: Path) -> None:
    entry = next(step for step in _steps(file) if step[0] == "ENTRYPOINT")
    name = shlex.split(" ".join(entry[1:]).strip("[]"))[0]
    scripts = tomllib.loads((file.parent / "pyproject.toml").read_text())["project"]["scripts"]
    assert name in scripts or (_component(file), name) == ("feast", "feast")


def test_the_predictor_holds_nothing_of_training() -> None:
    text = (ROOT / "requirements/predictor.txt").read_text()
    names = set(re.findall(r"^([a-z0-9._-]+)==", text, re.MULTILINE))
    assert not names & {
        "feast",
        "featuretools",
        "scikit-learn",
        "pandas",
        "scipy",
        "duckdb",
        "pyarrow",
        "matplotlib",
        "joblib",
    }
