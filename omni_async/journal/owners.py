"""Who is alive: OS locks on small files beside the journal. No heartbeat, no clock, no pid.

Each client instance holds a lock on a file of its own, and its rows carry that file's name: rows whose lock can be
taken have nobody who follows them. A batch holds one more, which keeps everybody else out.
"""

import contextlib
import os
import secrets
import sys
import time
import weakref
from pathlib import Path

from ..errors import JournalError

TRIES, PAUSE = 20, 0.01
"""A look at whether a lock is held takes it for a moment; so one that is surely free is asked for more than once."""
NAME = "[0-9a-f]" * 16
"""Pattern of a client instance's name."""


class FileLock:
    """An exclusive lock on a file of its own; the system drops it when the process ends, however it ends.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, *, make: bool = True) -> bool:
        """Take the lock if it is free; whether it was. With `make=False` a missing file counts as free."""
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if make else 0)
        try:
            file = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            if make:
                raise
            return True
        try:
            free = _locked(file) and self._is_there(file)
        except BaseException:
            os.close(file)
            raise
        if not free:
            os.close(file)
            return False
        self._file = file
        _held.add(self)
        return True

    def _is_there(self, file: int) -> bool:
        """Whether what was locked still bears the name: somebody may have removed it in between."""
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except OSError:
            return False

    def release(self, *, remove: bool = False) -> None:
        """Give it back. What is removed is removed under the lock: who comes for it then makes a new file."""
        file, self._file = self._file, None
        if remove and sys.platform != "win32":
            self._unlink()
        if file is not None:
            _unlock(file)
            os.close(file)
        if remove and sys.platform == "win32":  # an open file cannot be removed there, by nobody else either
            self._unlink()

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()

    def forget(self) -> None:
        """In a child after a fork: the lock is the parent's, and must not outlive it here."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _locked(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        """Closing it is enough."""
else:
    import fcntl

    def _locked(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        """Also where a child of a fork still has the file."""
        fcntl.flock(file, fcntl.LOCK_UN)


_held: "weakref.WeakSet[FileLock]" = weakref.WeakSet()


def _forked() -> None:
    for lock in tuple(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Ownership:
    """One client instance's place at a journal.

    Args:
        journal: The journal's file.
        exclusive: Whether everybody else is kept out, as by a batch.

    Raises:
        JournalError: A batch has it, or (`exclusive`) anybody.
    """

    def __init__(self, journal: Path, *, exclusive: bool) -> None:
        self._journal = journal
        self.name = secrets.token_hex(8)
        self._own = FileLock(self._file(self.name))
        self._batch = FileLock(beside(journal, "lock"))
        if not _insist(self._own):
            raise JournalError(f"{self._own.path} cannot be locked", may_have_charged=False)
        try:
            self._keep_out(exclusive=exclusive)
        except BaseException:
            self.release()
            raise

    def _file(self, name: str) -> Path:
        return beside(self._journal, f"owner-{name}")

    def _keep_out(self, *, exclusive: bool) -> None:
        """Take the batch's lock, for as long as this lives or just to see that nobody has it."""
        free = _insist(self._batch)
        pattern = self._file("")
        files = pattern.parent.glob(_literal(pattern.name) + NAME)
        names = {path.name.rpartition("-")[2] for path in files} - {self.name}
        if free and exclusive:
            free = not any(self.alive(name) for name in names)
        elif free:
            self._batch.release()
        if not free:
            raise JournalError(
                f"{self._journal} is in use by another process: end that one, or wait for it "
                "(commands that only read, such as `omni-async journal`, work meanwhile)",
                kind="locked",
                may_have_charged=False,
            )
        for name in names:
            self.discard(name)

    def alive(self, name: str) -> bool:
        """Whether the client instance of that name still lives."""
        if name == self.name:
            return True
        probe = FileLock(self._file(name))
        free = probe.acquire(make=False)
        probe.release()
        return not free

    def discard(self, name: str) -> None:
        """Remove what a dead instance left; a name without a file is a dead one's, too. The living stay."""
        lock = FileLock(self._file(name))
        with contextlib.suppress(OSError):
            if lock.acquire(make=False):
                lock.release(remove=True)

    def release(self) -> None:
        """Give the place up: what is unfinished may be taken over."""
        self._batch.release()
        self._own.release(remove=True)


def beside(journal: Path, ending: str) -> Path:
    """A lock's file: beside the journal itself, whatever link leads there."""
    there = Path(os.path.realpath(journal))
    return there.with_name(f"{there.name}.{ending}")


def _insist(lock: FileLock) -> bool:
    for _ in range(TRIES):
        if lock.acquire():
            return True
        time.sleep(PAUSE)
    return False


def _literal(name: str) -> str:
    """A file name as a glob pattern that means just that name."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
