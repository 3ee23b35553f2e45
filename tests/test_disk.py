"""Work on files: where they go, and that half a file is never taken for the whole."""

import tempfile
from pathlib import Path

import pytest

from omni_async.disk import refusal, replacing, state_folder


def test_the_users_folder_of_state(monkeypatch, tmp_path):
    """Or that of temporary files for a container's user who has no home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "omni-async"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "omni-async"

    def homeless():
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert state_folder() == Path(tempfile.gettempdir())


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, error):
    """What was there stays until the end, and what was begun goes."""
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def fail():
        with replacing(path) as new:
            new.write_text("ha")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    with replacing(path) as new:
        new.write_text("new")
        assert path.read_text() == "old"
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_a_folder_is_tried_with_a_file_that_goes_again(tmp_path):
    """What the system says is given, not raised."""
    assert refusal(tmp_path / "deep" / "er") is None
    assert list((tmp_path / "deep" / "er").iterdir()) == []
    (tmp_path / "file").touch()
    assert isinstance(refusal(tmp_path / "file"), OSError)
