"""Which file is a row's video, and which is somebody else's."""

import hashlib
from datetime import UTC, datetime

import attrs
import pytest

from omni_async import Jimmy
from omni_async.batch.folder import Folder
from omni_async.batch.storing import GoneError, Store, _is, _set_aside, full, lasting, missing, video_path
from omni_async.errors import DownloadError, JournalError, TargetExistsError
from omni_async.journal.entries import Entry, write_task
from omni_async.journal.states import State
from omni_async.models import TaskStatus, VideoTask

DATA = b"a video"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def folder(tmp_path):
    """A batch's folder."""
    found = Folder(tmp_path)
    found.make()
    return found


def test_where_a_video_goes(folder):
    """Where the sheet says, else after the id."""
    assert video_path(folder, "a", None) == folder.videos / "a.mp4"
    assert video_path(folder, "a", "EP01/SC03.mov") == folder.videos / "EP01" / "SC03.mov"


def test_a_file_is_known_by_size_and_hash(folder):
    """Either alone is not enough, and a link is nobody's video."""
    path = folder.videos / "a.mp4"
    assert not _is(path, len(DATA), DIGEST)
    path.write_bytes(DATA)
    assert _is(path, len(DATA), DIGEST)
    assert not _is(path, None, DIGEST)
    assert not _is(path, len(DATA), "other")
    link = folder.videos / "b.mp4"
    link.symlink_to(path)
    assert not _is(link, len(DATA), DIGEST)
    assert not _is(folder.videos, folder.videos.stat().st_size, DIGEST)


def test_missing_files(folder):
    """Gone, or of another size."""
    for name in ("a", "b", "d"):
        (folder.videos / f"{name}.mp4").write_bytes(DATA)
    rows = [(1, "a", None, 7), (2, "b", "b.mp4", 8), (3, "c", "c.mp4", 7), (4, "d", "d.mp4", None)]
    assert missing(folder, rows) == ["b", "c", "d"]


def test_an_old_video_makes_way(folder):
    """It is known by its hash, and gets a name that is free; whatever else lies there stays."""
    path = folder.videos / "a.mp4"
    _set_aside(path, DIGEST)
    for _ in range(2):
        path.write_bytes(DATA)
        _set_aside(path, DIGEST)
    path.write_bytes(b"mine")
    _set_aside(path, DIGEST)
    assert sorted(p.name for p in folder.videos.iterdir()) == ["a.mp4", "a.old-1.mp4", "a.old-2.mp4"]
    assert path.read_bytes() == b"mine"
    path.unlink()
    path.symlink_to(folder.videos / "a.old-1.mp4")
    _set_aside(path, DIGEST)
    assert path.is_symlink()


def test_what_an_error_means():
    """A full disk is waited for, a file in the way is not tried again."""
    error = DownloadError("no space left")
    assert not full(error)
    error.__cause__ = OSError(28, "No space left on device")
    assert full(error)
    assert full(JournalError("no space", kind="full"))
    assert not full(JournalError("odd", kind="failed"))
    assert lasting(TargetExistsError("there"))
    assert lasting(GoneError("gone"))
    assert not lasting(error)


@pytest.fixture
def store(folder):
    """Knows its dialect alone."""

    @attrs.frozen
    class Exchange:
        dialect = Jimmy()

    @attrs.frozen
    class Studio:
        exchange = Exchange()

    return Store(folder, Studio(), None)


def test_when_a_url_dies(store):
    """As the gateway tells, else as its documents do."""
    row = Entry(key="a", gateway="jimmy", fingerprint="f", state=State.SUCCEEDED, finished_at=1000.0)
    assert store.expiry(row) == 1000.0 + 3 * 86_400
    assert store.expiry(attrs.evolve(row, expires_at=1234.0)) == 1234.0
    assert store.expiry(attrs.evolve(row, expires_at=1234.0, sent_at=900.0)) == 1234.0


@pytest.mark.parametrize(
    ("expires", "created", "believed"),
    [(899.0, None, False), (900.0, None, False), (901.0, None, True), (850.0, 800.0, True), (800.0, 800.0, False)],
    ids=["before it was sent", "at once", "later", "of a task sent before", "as it was made"],
)
def test_a_url_does_not_die_before_its_task_began(store, expires, created, believed):
    """Such a time is none: it is taken to live as long as the documents say."""
    made = None if created is None else datetime.fromtimestamp(created, UTC)
    task = write_task(VideoTask(task_id="t", status=TaskStatus.SUCCEEDED, created_at=made))
    row = Entry(key="a", gateway="jimmy", fingerprint="f", state=State.SUCCEEDED, task_id="t", task=task, sent_at=900.0)
    row = attrs.evolve(row, finished_at=1000.0, expires_at=expires)
    assert store.expiry(row) == (expires if believed else 1000.0 + 3 * 86_400)
