"""Who is alive, told by locks: other instances, other processes, forks, batches."""

import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from children import child, kill

from omni_async.errors import JournalError
from omni_async.journal import owners
from omni_async.journal.owners import FileLock, Ownership

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="forks and flock are POSIX")

HOLDER = """
    import sys
    from pathlib import Path
    from omni_async.journal.owners import Ownership
    owner = Ownership(Path(sys.argv[1]), exclusive=sys.argv[2] == "batch")
    print(owner.name, flush=True)
    if sys.stdin.read().startswith("release"):
        owner.release()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is held stays held: there is no need to ask for long."""
    monkeypatch.setattr(owners, "PAUSE", 0.0)


@pytest.fixture
def journal(tmp_path):
    """Where a journal would lie."""
    return tmp_path / "j"


def open_files():
    """How many this process has, where the system tells."""
    return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0


def names(journal):
    """The files beside it."""
    return sorted(path.name for path in journal.parent.iterdir())


# --- the lock ----------------------------------------------------------------------------------------------------


def test_a_lock_is_one_persons(tmp_path):
    """Also of two in one process; given back, it is free."""
    one, two = FileLock(tmp_path / "l"), FileLock(tmp_path / "l")
    assert one.acquire()
    assert not two.acquire()
    assert not two.acquire(make=False)
    one.release()
    assert two.acquire()
    two.release(remove=True)
    assert names(tmp_path / "l") == []
    two.release(remove=True)


def test_a_lock_whose_file_is_missing(tmp_path):
    """Counts as free where it is only looked at, and is made where it is taken, readable by its owner alone."""
    lock = FileLock(tmp_path / "l")
    assert lock.acquire(make=False)
    assert names(tmp_path / "l") == []
    assert lock.acquire()
    if sys.platform != "win32":
        assert (tmp_path / "l").stat().st_mode & 0o777 == 0o600
    lock.release()
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "no" / "l").acquire()


@POSIX
def test_a_lock_is_no_link(tmp_path):
    """What a name leads to elsewhere is not touched."""
    (tmp_path / "l").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "l").acquire()
    assert not (tmp_path / "elsewhere").exists()


@POSIX
def test_a_lock_that_cannot_be_had_leaves_no_file_open(tmp_path, monkeypatch):
    """Held by another, or refused by the system."""
    held = FileLock(tmp_path / "l")
    held.acquire()
    before = open_files()

    def fail(file):
        raise OSError("no locks available")

    assert not FileLock(tmp_path / "l").acquire()
    monkeypatch.setattr(owners, "_locked", fail)
    with pytest.raises(OSError, match="no locks"):
        FileLock(tmp_path / "l").acquire()
    assert open_files() == before
    held.release()


# --- instances ---------------------------------------------------------------------------------------------------


def test_instances_share_a_journal(journal):
    """Each has a name and a file of its own; each knows who lives."""
    one, two = Ownership(journal, exclusive=False), Ownership(journal, exclusive=False)
    assert one.name != two.name
    assert len(one.name) == 16
    assert names(journal) == sorted([f"j.owner-{one.name}", f"j.owner-{two.name}", "j.lock"])
    assert one.alive(two.name)
    assert two.alive(one.name)
    assert one.alive(one.name)
    assert not one.alive("nobody")
    two.release()
    assert not one.alive(two.name)
    assert names(journal) == sorted([f"j.owner-{one.name}", "j.lock"])
    one.release()
    assert names(journal) == ["j.lock"]


def test_a_look_whether_somebody_lives_does_no_harm(journal):
    """He goes on living, and one who is dead can be looked at again and again."""
    one, two = Ownership(journal, exclusive=False), Ownership(journal, exclusive=False)
    two._own.release()
    for _ in range(3):
        assert not one.alive(two.name)
    assert two.alive(one.name)
    one.release()
    two.release()


def test_a_process_that_was_killed_is_dead(journal):
    """Its lock goes with it; its file stays until it is discarded."""
    mine = Ownership(journal, exclusive=False)
    with child(HOLDER, journal, "client") as other:
        assert mine.alive(other.first)
        kill(other)
        assert not mine.alive(other.first)
        assert f"j.owner-{other.first}" in names(journal)
        mine.discard(other.first)
        mine.discard(other.first)
        assert f"j.owner-{other.first}" not in names(journal)
        assert not mine.alive(other.first)
    mine.release()


@pytest.mark.parametrize("exclusive", [False, True])
def test_row_36_a_batch_keeps_everybody_out(journal, exclusive):
    """Row 36: clients and other batches, with what to do; killed, it keeps out nobody."""
    with child(HOLDER, journal, "batch") as other:
        before = names(journal)
        with pytest.raises(JournalError, match="is in use by another process") as caught:
            Ownership(journal, exclusive=exclusive)
        assert caught.value.kind == "locked"
        assert not caught.value.may_have_charged
        assert "end that one, or wait for it" in str(caught.value)
        assert names(journal) == before
        kill(other)
    Ownership(journal, exclusive=exclusive).release()


@pytest.mark.parametrize("here", [False, True])
def test_a_batch_is_kept_out_by_anybody(journal, here):
    """By a client of another process, or of this one; what the dead left keeps nobody out."""
    with child(HOLDER, journal, "client") as other:
        mine = None
        if here:
            mine = Ownership(journal, exclusive=False)
            kill(other)
        with pytest.raises(JournalError, match="is in use by another process"):
            Ownership(journal, exclusive=True)
        if mine is not None:
            mine.release()
        else:
            other.communicate("release\n")
    batch = Ownership(journal, exclusive=True)
    with pytest.raises(JournalError):
        Ownership(journal, exclusive=False)
    batch.release()
    Ownership(journal, exclusive=True).release()


def test_journals_of_one_folder_do_not_meddle(tmp_path):
    """One's name may begin as another's, and hold what means something in patterns."""
    one = Ownership(tmp_path / "j", exclusive=True)
    odd = Ownership(tmp_path / "j[a]*?", exclusive=True)
    more = Ownership(tmp_path / "j.owner", exclusive=False)
    with pytest.raises(JournalError):
        Ownership(tmp_path / "j[a]*?", exclusive=False)
    for owner in (one, odd, more):
        owner.release()
    assert owners._literal("a*[?]b") == "a[*][[][?]]b"


def test_who_only_looks_is_waited_for(journal, monkeypatch):
    """The batch's lock is taken for a moment to see whether it is free: that is no reason to be kept out."""
    monkeypatch.setattr(owners, "PAUSE", 0.01)
    looking = FileLock(journal.with_name("j.lock"))
    assert looking.acquire()
    timer = threading.Timer(0.03, looking.release)
    timer.start()
    Ownership(journal, exclusive=False).release()
    timer.join()


def test_asked_for_so_often_and_no_more(journal, monkeypatch):
    """Twenty times, with a pause between two."""
    pauses = []
    monkeypatch.setattr(owners.time, "sleep", pauses.append)
    held = FileLock(journal)
    held.acquire()
    assert not owners._insist(FileLock(journal))
    assert len(pauses) == owners.TRIES == 20
    held.release()
    free = FileLock(journal)
    assert owners._insist(free)
    assert len(pauses) == 20
    free.release()


def test_a_name_that_is_taken_is_told(journal, monkeypatch):
    """As good as impossible, and then no reason to go on."""
    one = Ownership(journal, exclusive=False)
    monkeypatch.setattr(owners.secrets, "token_hex", lambda _: one.name)
    with pytest.raises(JournalError, match=f"j.owner-{one.name} cannot be locked") as caught:
        Ownership(journal, exclusive=False)
    assert not caught.value.may_have_charged
    one.release()


# --- forks -------------------------------------------------------------------------------------------------------


@POSIX
def test_a_child_does_not_keep_its_parents_lock(journal):
    """Forked while the lock is held: the parent ends, the child lives on, and the rows are free."""
    program = """
        import os, sys, time
        from pathlib import Path
        from omni_async.journal.owners import Ownership
        owner = Ownership(Path(sys.argv[1]), exclusive=True)
        heard, ready = os.pipe()
        if not os.fork():
            os.write(ready, b"!")
            sys.stdin.read()  # lives on
            os._exit(0)
        os.read(heard, 1)
        print(owner.name, flush=True)
        time.sleep(100)
    """
    mine = Ownership(journal.with_name("other"), exclusive=False)
    with child(program, journal) as parent:
        theirs = FileLock(journal.with_name(f"j.owner-{parent.first}"))
        assert not theirs.acquire(make=False)
        kill(parent)
        assert theirs.acquire(make=False)
        theirs.release()
        Ownership(journal, exclusive=True).release()
    mine.release()


@POSIX
def test_a_child_that_closes_its_copies_leaves_the_parents_lock(journal):
    """The child forgets; the parent still holds."""
    owner = Ownership(journal, exclusive=False)
    pid = os.fork()
    if not pid:
        os._exit(owner._own._file is not None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not FileLock(owner._own.path).acquire(make=False)
    owner.release()


@POSIX
def test_a_lock_given_back_is_free_whatever_a_fork_took_along(journal):
    """A copy of the open file in a child that has not forgotten it."""
    lock = FileLock(journal)
    lock.acquire()
    copy = os.dup(lock._file)  # the same open file, as a child has it
    lock.release()
    other = FileLock(journal)
    assert other.acquire()
    other.release()
    os.close(copy)


# --- elsewhere ---------------------------------------------------------------------------------------------------


def test_on_windows_no_posix_module_is_needed(tmp_path, monkeypatch):
    """The branch for Windows, on what stands in for its module: `fcntl` cannot be had there, nor its flags."""
    locked = set()

    def locking(file, mode, count):
        assert (mode, count) == ("try", 1)
        if os.fstat(file).st_ino in locked:
            raise OSError(13, "Permission denied")
        locked.add(os.fstat(file).st_ino)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK="try"))
    monkeypatch.setitem(sys.modules, "fcntl", None)
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "register_at_fork"):
        monkeypatch.delattr(os, name, raising=False)
    spec = importlib.util.spec_from_file_location("omni_async.journal.elsewhere", owners.__file__)
    elsewhere = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "platform", "win32")
    spec.loader.exec_module(elsewhere)
    assert "fcntl" not in vars(elsewhere)
    one, two = elsewhere.FileLock(tmp_path / "l"), elsewhere.FileLock(tmp_path / "l")
    assert one.acquire()
    assert not two.acquire()
    locked.clear()
    one.release(remove=True)
    assert names(tmp_path / "l") == []


@pytest.mark.parametrize("exclusive", [False, True])
def test_who_comes_next_sweeps_away_what_dead_ones_left(journal, exclusive):
    """Killed while no row carried its name, an owner's file is nobody's any more; no other file is touched."""
    left, other = (journal.with_name(f"{journal.name}.owner-{name}") for name in ("0123456789abcdef", "s-manual.txt"))
    left.touch()
    other.touch()
    Ownership(journal, exclusive=exclusive).release()
    assert not left.exists()
    assert other.exists()


def test_an_owner_whose_file_is_swept_away_before_it_is_locked_makes_another(journal, monkeypatch):
    """Open and not yet locked it looks like a dead one's."""
    lock, swept = owners._locked, []

    def locked(file):
        monkeypatch.setattr(owners, "_locked", lock)
        swept.append(Ownership(journal, exclusive=False))
        return lock(file)

    monkeypatch.setattr(owners, "_locked", locked)
    mine = Ownership(journal, exclusive=False)
    assert swept[0].alive(mine.name)
    assert f"j.owner-{mine.name}" in names(journal)
    mine.release()
    swept[0].release()


@POSIX
def test_who_comes_by_a_link_meets_those_who_came_by_the_name(journal, tmp_path):
    """Locks lie beside the file itself: the living are seen to live, and a batch keeps out whoever takes the link."""
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(journal)
    journal.touch()
    one, two = Ownership(journal, exclusive=False), Ownership(link, exclusive=False)
    assert two.alive(one.name)
    assert one.alive(two.name)
    with pytest.raises(JournalError, match="is in use by another process"):
        Ownership(link, exclusive=True)
    one.release()
    two.release()
    batch = Ownership(link, exclusive=True)
    with pytest.raises(JournalError, match="is in use by another process"):
        Ownership(journal, exclusive=False)
    batch.release()
    assert names(link) == ["link"]
