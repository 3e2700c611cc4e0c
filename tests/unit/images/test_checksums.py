"""What `.ci` fetches is compared with a table of checksums that has every architecture."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[3] / ".ci"
TABLE = [
    tuple(line.split()) for line in (CI / "checksums").read_text().splitlines() if not line.startswith("#")
]


def test_the_table_has_both_architectures_of_everything() -> None:
    names = {name for name, _, _ in TABLE}
    assert sorted((name, machine) for name, machine, _ in TABLE) == sorted(
        (name, machine) for name in names for machine in ("x86_64", "aarch64")
    )
    assert {name.partition("-")[0] for name in names} == {"hadoop", "helm", "kafka", "kube"}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}|h1:[A-Za-z0-9+/]{43}=", each[2]) for each in TABLE)


@pytest.mark.parametrize(("machine", "listed"), [("x86_64", "x86_64"), ("arm64", "aarch64")])
def test_only_what_the_table_has_for_the_machine_is_accepted(
    tmp_path: Path, machine: str, listed: str
) -> None:
    (tmp_path / "uname").write_text(f"#!/bin/sh\necho {machine}\n")
    (tmp_path / "uname").chmod(0o755)
    shutil.copy(CI / "verify", tmp_path)
    (tmp_path / "checksums").write_text(f"# comment\ntool-1  {listed}  sha256:a\ntool-1  other  sha256:b\n")

    def verify(*arguments: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(
            [tmp_path / "verify", *arguments], env=path, capture_output=True, text=True, check=False
        )

    assert verify("tool-1", "sha256:a").returncode == 0
    assert "expected sha256:a" in verify("tool-1", "sha256:b").stderr
    unknown = verify("tool-2", "sha256:a")
    assert unknown.returncode == 1
    assert "no checksum" in unknown.stderr


@pytest.mark.parametrize("is_trusted", [True, False])
def test_helm_is_compiled_for_arm64_from_a_module_with_the_checksum(tmp_path: Path, is_trusted: bool) -> None:
    [checksum] = [found for name, of, found in TABLE if name.startswith("helm-") and of == "aarch64"]
    module = f'{{\n\t"Dir": "{tmp_path}",\n\t"Sum": "{checksum if is_trusted else "h1:other"}"\n}}'
    programs = {
        "uname": 'case $1 in -sm) echo "Linux aarch64" ;; -m) echo aarch64 ;; esac',
        "helm": "echo v3.0.0",  # an old one, which is not used
        "go": f"""if [ "$1" = mod ]; then echo '{module}'; exit; fi
            while [ "$1" != -o ]; do shift; done
            echo compiled >"$2" && chmod +x "$2\"""",
    }
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([CI / "helm"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if is_trusted else 1), done.stderr
    found = [path.read_text() for path in tmp_path.glob("cache/reprise/helm-*/helm")]
    assert found == (["compiled\n"] if is_trusted else [])
    assert is_trusted is ("expected h1:" not in done.stderr)


def test_every_script_that_fetches_refuses_what_has_no_checksum() -> None:
    scripts = {path.name: path.read_text() for path in CI.iterdir() if path.is_file()}
    fetching = r"pip (download|install)|\bmvn --|go mod download|curl |wget |npm "
    commands = {
        name: [line for line in text.splitlines() if not line.startswith("#") and re.search(fetching, line)]
        for name, text in scripts.items()
    }
    assert {name for name, lines in commands.items() if lines} == {"helm", "jars", "go-program", "setup"}
    for name in ("helm", "jars", "go-program"):
        assert '"$(dirname "$0")/verify" ' in scripts[name]
    assert "--strict-checksums" in scripts["jars"]
    own = "--no-deps --no-build-isolation --editable ."  # Installs Reprise itself
    installs = [line for line in commands["setup"] if own not in line]
    assert len(installs) == len(commands["setup"]) - 1 >= 2
    assert "--require-hashes" in scripts["setup"].partition("uv pip sync")[2].splitlines()[0]
    assert all("--require-hashes" in line for line in installs)
