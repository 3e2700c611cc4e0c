import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from reprise.runtime.exceptions import InvalidSettingsError
from reprise.trainer.main import command
from reprise.trainer.settings import TrainerSettings


def test_every_setting_is_an_option_of_the_same_name_and_variable() -> None:
    options = {option.name: option for option in command.options}
    shared = {"log_level", "log_json", "pushgateway_url"}
    names = TrainerSettings.env_names()
    assert set(options) == set(names) - shared
    for name in set(names) - shared:
        assert options[name].envvar == names[name]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EVENTS": "e.csv",
        "OUT": "s3://b/m",
        "HORIZON": "1d12h",
        "SET_LATEST": "false",
    }.items():
        monkeypatch.setenv(f"TRAINER_{name}", value)
    settings = TrainerSettings.load(seed=3)
    assert settings.events == Path("e.csv")
    assert settings.horizon == timedelta(hours=36)
    assert settings.seed == 3
    assert not settings.set_latest
    assert settings.jobs >= 1


def test_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HORIZN", "30d")
    with pytest.raises(InvalidSettingsError, match="did you mean TRAINER_HORIZON"):
        TrainerSettings.load(events="e", out="m")


@pytest.mark.parametrize(
    ("name", "value"), [("horizon", "0s"), ("horizon", "soon"), ("threshold", 1.0), ("max_rows", 5)]
)
def test_senseless_setting_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidSettingsError, match=f"TRAINER_{name.upper()}"):
        TrainerSettings.load(events="e", out="m", **{name: value})


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, reprise.trainer.main; heavy = {'sklearn', 'onnx', 'matplotlib', 'numpy', 'duckdb'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
