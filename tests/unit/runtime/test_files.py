from pathlib import Path

import pytest

from reprise.runtime.files import atomic_write


def test_file_appears_whole_under_its_name(tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    with atomic_write(target) as path:
        path.write_text("new")
        assert not target.exists()
        assert path.parent == tmp_path
        assert path.suffix == ".parquet"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_write(tmp_path / "a"):
        pass


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), atomic_write(tmp_path / "absent" / "a"):
        pass
