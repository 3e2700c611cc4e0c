"""The one Dockerfile builds every component's image from the repository and the lock."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "Dockerfile"
FIXTURES = sorted(ROOT.glob("k8s/e2e/*/Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPONENTS = subprocess.run(
    [ROOT / "k8s/images", "list"], capture_output=True, text=True, check=True
).stdout.split()
LOCK = (ROOT / "requirements.txt").read_text()


def steps(file: Path) -> list[list[str]]:
    """The instructions of a Dockerfile, each as its words."""
    text = re.sub(
        r"\\\n", " ", "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
    )
    return [line.split() for line in text.splitlines() if line.strip()]


def sources(file: Path) -> list[str]:
    return [
        source
        for step in steps(file)
        if step[0] == "COPY" and not any(word.startswith("--from") for word in step)
        for source in step[1:-1]
    ]


def extra(name: str) -> set[str]:
    """The libraries that an extra asks for, with those of the extras that it includes."""
    found: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        if included := re.fullmatch(r"reprise\[(.+)\]", requirement):
            found.update(*(extra(each) for each in included[1].split(",")))
        else:
            found.add(re.match(r"[A-Za-z0-9_.-]+", requirement)[0])  # type: ignore[index]
    return found


def test_every_component_has_an_image_and_an_extra() -> None:
    folders = {path.name for part in ("services", "jobs") for path in (ROOT / part / "reprise").iterdir()}
    assert set(COMPONENTS) == folders - {"cli", "dlq", "__pycache__"} | {"feast"}
    assert set(COMPONENTS) <= PROJECT["optional-dependencies"].keys()


@pytest.mark.parametrize("component", sorted(set(COMPONENTS) - {"feast"}))
def test_an_image_has_one_command_its_components_own(component: str) -> None:
    own = [name for name, target in PROJECT["scripts"].items() if target.startswith(f"reprise.{component}.")]
    assert len(own) == 1


def test_the_lock_pins_every_requirement_by_hash_and_names_no_index() -> None:
    pins = re.findall(r"^[a-z0-9._-]+==.*?(?=^\S)", LOCK + "\nend", re.MULTILINE | re.DOTALL)
    assert len(pins) == len(re.findall(r"^[a-z0-9._-]+==", LOCK, re.MULTILINE)) > 100
    assert all("--hash=sha256:" in pin for pin in pins)
    assert "://" not in LOCK
    names = {pin.partition("==")[0] for pin in pins}
    wanted = {name.lower() for each in PROJECT["optional-dependencies"] for name in extra(each)}
    assert wanted <= names


def test_everything_is_installed_within_the_lock() -> None:
    installs = [
        " ".join(step) for step in steps(DOCKERFILE) if step[0] == "RUN" and " install " in " ".join(step)
    ]
    third_party = [line for line in installs if "--no-deps" not in line and "apt-get" not in line]
    assert len(third_party) == 2
    assert all("--require-hashes --constraint requirements.txt" in line for line in third_party)
    assert "index-url" not in DOCKERFILE.read_text()


def test_what_exports_traces_is_in_an_image_only_where_it_is_asked_for() -> None:
    assert not any(name.startswith("opentelemetry") for component in COMPONENTS for name in extra(component))
    [install] = [" ".join(step) for step in steps(DOCKERFILE) if "--extra" in step]
    assert '$([ "$OTEL" = 0 ] || echo --extra otel)' in install
    assert ["ARG", "OTEL=0"] in steps(DOCKERFILE)


def test_spark_and_its_java_are_in_an_image_only_where_they_are_asked_for() -> None:
    assert not any("pyspark" in extra(component) for component in COMPONENTS)
    [install] = [" ".join(step) for step in steps(DOCKERFILE) if "--extra" in step]
    assert '$([ "$SPARK" = 0 ] || echo --extra spark)' in install
    assert ["ARG", "SPARK=0"] in steps(DOCKERFILE)
    stage, installed = "", {}
    for step in steps(DOCKERFILE):
        stage = step[-1] if step[0] == "FROM" else stage
        installed[" ".join(step)] = stage
    assert {at for line, at in installed.items() if "jre" in line} == {"base-1"}
    assert {at for line, at in installed.items() if "hadoop-aws" in line} == {"packages-1"}


def test_the_client_of_another_object_store_is_in_an_image_only_where_it_is_asked_for() -> None:
    clients = {"gcs": "gcsfs", "azure": "adlfs"}
    assert not any(extra(component) & set(clients.values()) for component in COMPONENTS)
    assert all(client in extra(store) for store, client in clients.items())
    [install] = [" ".join(step) for step in steps(DOCKERFILE) if "--extra" in step]
    assert '$([ "$STORE" = s3 ] || echo --extra "$STORE")' in install
    assert ["ARG", "STORE=s3"] in steps(DOCKERFILE)


# k8s/images fetches the jars
@pytest.mark.parametrize("source", [each for each in sources(DOCKERFILE) if each != "build/hadoop-aws"])
def test_what_an_image_copies_exists_and_is_not_ignored(source: str) -> None:
    path = source.replace("${COMPONENT}", "predictor")
    [found] = ROOT.glob(path)
    rules = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    name = str(found.relative_to(ROOT))
    assert any(fnmatch(name, rule) or f"{name}/" in rule or name.startswith(f"{rule}/") for rule in rules)


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.parent.name)
def test_what_a_fixture_copies_exists(file: Path) -> None:
    # .ci/kafka fetches the first, .ci/kube-state-metrics compiles the second, k8s/images copies the third
    assert all(
        source in {"libs", "kube-state-metrics", "requirements.txt"} or (file.parent / source).exists()
        for source in sources(file)
    )


@pytest.mark.parametrize("file", [DOCKERFILE, *FIXTURES], ids=lambda file: file.parent.name)
def test_no_image_runs_as_root_or_needs_a_frontend(file: Path) -> None:
    last = [step for step in steps(file) if step[0] == "USER"][-1]
    assert last == ["USER", "10001:10001"]
    assert "syntax=" not in file.read_text()
    assert steps(file)[0][0] == "ARG"
    assert steps(file)[0][1].startswith("BASE=")


def test_the_predictor_holds_nothing_of_training() -> None:
    assert not extra("predictor") & {
        "feast", "featuretools", "scikit-learn", "pandas", "scipy", "duckdb", "pyarrow", "matplotlib", "joblib",
    }  # fmt: skip
