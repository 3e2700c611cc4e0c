from datetime import timedelta

import pytest

from reprise.runtime.exceptions import InvalidSettingsError
from reprise.trainer.settings import TrainerSettings


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
        ("0s", "at least one second"),
        ("soon", "no duration"),
    ],
)
def test_horizons_that_cannot_be_told_apart_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSettingsError, match=f"TRAINER_HORIZON: .*{message}"):
        TrainerSettings.load(events="e", out="m", horizon=text)


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
