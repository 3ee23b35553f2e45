"""Work on files: where they go, and that half a file is never taken for the whole."""

import os
import tempfile
from pathlib import Path

import pytest

from omni_async.disk import make_private, refusal, replacing, state_folder


def test_the_users_folder_of_state(monkeypatch, tmp_path):
    """Or one of its own among the temporary files for a container's user who has no home."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "omni-async"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "omni-async"

    _homeless(monkeypatch)
    assert state_folder() == Path(tempfile.gettempdir()) / f"omni-async-{os.getuid()}"


def _homeless(monkeypatch):
    def home():
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)


def test_a_state_folder_among_temporary_files_is_the_users_alone(monkeypatch, tmp_path):
    """Whoever may read it, or may have put something there, is kept out; folders in it are as safe as it is."""
    _homeless(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = state_folder()
    make_private(folder / "fleet")
    make_private(folder / "fleet")
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / "fleet")] == [0o700] * 2
    folder.chmod(0o770)
    with pytest.raises(PermissionError, match="not yours alone"):
        make_private(folder / "fleet")
    folder.chmod(0o700)
    folder.rename(tmp_path / "mine")
    folder.symlink_to(tmp_path / "mine")
    with pytest.raises(PermissionError, match="not yours alone"):
        make_private(folder)


def test_a_state_folder_of_somebody_elses_is_refused(monkeypatch, tmp_path):
    """Among temporary files anybody can make one with the user's name."""
    _homeless(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder, me = state_folder(), os.getuid()
    folder.with_name(f"omni-async-{me + 1}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    with pytest.raises(PermissionError, match="not yours alone"):
        make_private(state_folder())


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
