"""Work on files off the event loop: in a worker thread, to its end, and with errors in the user's words."""

import asyncio
import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import anyio.to_thread

from .errors import DownloadError, OmniError
from .lifetime import to_the_end

T = TypeVar("T")

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a full disk or quota says."""
NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""What a process, or the system, with too many open files says."""
FAR = 2**40 - 2
"""The byte that is locked on Windows, where nobody else could read what is: behind every file, in 32 bits as well."""
PRIVATE = 0o600
"""Results hold prompts and URLs: the user's own data."""


def state_folder() -> Path:
    """The user's folder for what a program keeps between runs; else one of its own among the temporary files."""
    base = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_STATE_HOME")
    if base:
        return Path(base) / "omni-async"
    if sys.platform != "win32":
        with contextlib.suppress(RuntimeError):  # a container's user may have no home
            return Path.home() / ".local" / "state" / "omni-async"
    return _last_resort()


def _last_resort() -> Path:
    """Named by the user where all users have one folder of temporary files."""
    user = f"-{os.getuid()}" if sys.platform != "win32" else ""
    return Path(tempfile.gettempdir()) / f"omni-async{user}"


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may read, unless it is there.

    Raises:
        OSError: It cannot be made. Or it is to be among the temporary files, where anybody can have made one of its
            name: it, or the state folder that it is in, is not the user's alone.
    """
    shared = _last_resort()
    if sys.platform != "win32" and shared in (folder, *folder.parents):
        shared.mkdir(mode=0o700, exist_ok=True)
        there = shared.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o077:
            raise PermissionError(errno.EPERM, "it is not yours alone", str(shared))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def private(path: Path, *, append: bool = False) -> int:
    """A descriptor of a file for writing that only its owner may read."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), PRIVATE)


@contextlib.contextmanager
def or_nothing(path: Path) -> Iterator[None]:
    """What is written to `path` meanwhile goes again unless it comes to its end: half is not taken for the whole."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError):
            path.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write does not say where
        raise


@contextlib.contextmanager
def replacing(path: Path, put: Callable[[Path, Path], object] = Path.replace) -> Iterator[Path]:
    """A name beside `path` to write to. What is written is put in the place of `path` when it is whole, or goes again.

    Args:
        path: What is there stays until then.
        put: Puts the one file in the place of the other.
    """
    new = path.with_name(f"{path.name}.new")
    with or_nothing(new):
        yield new
        put(new, path)


def refusal(folder: Path) -> OSError | ValueError | None:
    """What the system says to a small file in a folder, made if need be; the file is removed again."""
    probe = folder / f".omni-async-{token_hex(8)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _write_byte(probe)
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()
    except (OSError, ValueError) as error:
        return error
    return None


def _write_byte(path: Path) -> None:
    descriptor = private(path)
    try:
        os.write(descriptor, b"\0")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run `function` in a worker thread, to its end even if this is cancelled meanwhile.

    A native `Task.cancel()` goes through anyio's shield: the descriptor would be closed under a running write.
    """
    work = asyncio.ensure_future(anyio.to_thread.run_sync(function, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await _ended(work)
        raise


async def _ended(work: asyncio.Future[Any]) -> None:
    """Wait for `work` however often this is cancelled meanwhile; its result interests nobody any more."""
    with contextlib.suppress(asyncio.CancelledError):
        await to_the_end(work)
    if not work.cancelled():
        work.exception()  # looked at, so that the loop does not warn


async def on_disk(path: Path, function: Callable[..., T], *args: Any) -> T:
    """`in_thread` for a file that is being written; what the disk says stays as the error's `__cause__`.

    Raises:
        DownloadError: The disk refused, with what to do about it.
    """
    try:
        return await in_thread(function, *args)
    except OmniError:
        raise
    except (OSError, ValueError) as error:
        raise _refused(path, error) from error


def reason(error: Exception) -> str:
    """What the system says is the matter, without a path; else the error's own words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _refused(path: Path, error: OSError | ValueError) -> DownloadError:
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return DownloadError(f"no space left for {path}: free some and download again, which costs nothing")
    if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS:
        return DownloadError(f"{path} cannot be written ({error.strerror}): allow more (ulimit -n) and download again")
    return DownloadError(f"{path} cannot be written ({reason(error)}): choose another place and download again")
