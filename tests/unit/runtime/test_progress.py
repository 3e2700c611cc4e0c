import pytest

from reprise.runtime.progress import progress


@pytest.fixture(autouse=True)
def _spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPRISE_PROGRESS", raising=False)


def test_without_a_terminal_quick_work_is_a_first_and_a_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Folding", 3000, "events") as bar:
        for _ in range(3):
            bar.advance(1000)
    first, last = capsys.readouterr().err.splitlines()
    assert first == "Folding: 0 of 3,000 events"
    assert last.startswith("Folding: 3,000 of 3,000 events, done in ")


def test_work_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with progress("Folding", None, "events") as bar:
            bar.advance()
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert capsys.readouterr().err.splitlines()[-1].startswith("Folding: 1 events, stopped in ")


def test_environment_silences_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_PROGRESS", "off")
    with progress("Folding", 3, "events") as bar:
        bar.advance()
    assert capsys.readouterr().err == ""
