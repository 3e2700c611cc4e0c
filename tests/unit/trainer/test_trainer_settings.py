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
    shared = {"log_level", "log_json", "pushgateway_url", "pushgateway_grouping", "trusted_keys_file"}
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
    assert settings.horizon == (settings.default_horizon,) == (timedelta(hours=36),)
    assert settings.seed == 3
    assert not settings.set_latest
    assert settings.jobs >= 1


def test_first_of_several_horizons_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HORIZON", "30d,7d,14d")
    settings = TrainerSettings.load(events="e", out="m")
    assert settings.default_horizon == timedelta(days=30)
    assert settings.further_horizons == (timedelta(days=7), timedelta(days=14))
    assert settings.label_span == timedelta(days=30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7d,7d", "each horizon once"),
        ("30d,0s", "at least one second"),
        ("30d,1500ms", "whole seconds"),
        ("30d,", "no duration"),
    ],
)
def test_horizons_that_cannot_be_told_apart_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSettingsError, match=f"TRAINER_HORIZON: .*{message}"):
        TrainerSettings.load(events="e", out="m", horizon=text)


def test_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_HORIZN", "30d")
    with pytest.raises(InvalidSettingsError, match="did you mean TRAINER_HORIZON"):
        TrainerSettings.load(events="e", out="m")


@pytest.mark.parametrize("rule", ["f1", "cost:1,5", "cost:0.5,2", "precision:0.8", "precision:1", "top:10%"])
def test_threshold_rule_is_read(rule: str) -> None:
    assert TrainerSettings.load(events="e", out="m", threshold_rule=rule).threshold_rule == rule


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "f2",
        "cost:1",
        "cost:0,5",
        "cost:1,-5",
        "precision:80",
        "precision:0",
        "top:10",
        "top:100%",
        "top:0%",
    ],
)
def test_unknown_threshold_rule_is_refused_with_what_is_expected(rule: str) -> None:
    with pytest.raises(InvalidSettingsError, match="TRAINER_THRESHOLD_RULE: expected f1, cost:FP,FN"):
        TrainerSettings.load(events="e", out="m", threshold_rule=rule)


def test_fixed_threshold_and_a_rule_exclude_each_other() -> None:
    with pytest.raises(InvalidSettingsError, match=r"top:10% and a fixed threshold exclude each other"):
        TrainerSettings.load(events="e", out="m", threshold=0.3, threshold_rule="top:10%")


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
