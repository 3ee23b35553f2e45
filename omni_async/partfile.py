"""A download on its way to disk: `.part` beside the target, and how it becomes the target. Synchronous, no network.

    open ──▶ write* ──▶ publish       the target appears whole, in one step, or not at all
      │ ▲      │
      │ └ rest ┤                      closed for a while; another process may go on meanwhile, this one may not
      └────────┴──▶ close             `.part` and `.part.tag` stay: another process goes on from there
               └──▶ discard           they hold nothing worth keeping

`.part.tag` says what `.part` is the beginning of, so that going on never glues two different videos together.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from yarl import URL

from .disk import FAR, NO_SPACE
from .errors import DownloadError, TargetExistsError
from .safety import is_reserved

if sys.platform == "win32":
    import msvcrt

    _HELD = PermissionError
else:
    import fcntl

    _HELD = BlockingIOError

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.EINVAL}
)
_TAG_BYTES = 4096
_HEADER_VALUE = re.compile(r"[ -~]{1,1000}")

_busy: dict[str, "PartFile"] = {}
"""Targets being written in this process: its file locks alone would not tell where the system has none."""


@attrs.frozen
class Tag:
    """What a `.part` is the beginning of.

    Args:
        validator: A strong ETag, else a Last-Modified; None if the server gave neither, and then nothing is resumed.
        total: Length of the whole in bytes, where the server told.
        source: Which URL it came from, as a hash of it without the query.
    """

    validator: str | None = None
    total: int | None = None
    source: str = ""

    def resumes(self, source: str) -> bool:
        """Whether a download from `source` may go on from here: a date tells nothing about another URL's file."""
        return self.validator is not None and (self.validator.startswith('"') or self.source == source)


def source_of(url: URL) -> str:
    """A hash of the URL without its query: a fresh signature does not change it."""
    return hashlib.sha256(f"{url.scheme}://{url.raw_authority}{url.raw_path}".encode()).hexdigest()


def _tag_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.tag")


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raise for a target that can be no new file, before anything is paid or asked for.

    Raises:
        TargetExistsError: There is something, a dangling link included, that may not be replaced.
        DownloadError: Its folder takes no files, or cannot be made.
        OSError: Its name, or that of what stands beside it for a while, is too long.
        ValueError: It cannot be the name of a file.
    """
    if sys.platform == "win32" and (":" in target.name or is_reserved(target.name.partition(".")[0].rstrip(" "))):
        raise ValueError("Windows takes such a name for a device, or for a part of another file")
    if target.is_dir() and not target.is_symlink():
        raise TargetExistsError(f"{target} is a folder: name the file to write")
    if not overwrite and os.path.lexists(target):
        raise TargetExistsError(f"{target} exists already: overwrite=True replaces it")
    if target.exists() and not (target.is_file() or target.is_symlink()):  # such as /dev/null, gone for everybody
        raise TargetExistsError(f"{target} is not an ordinary file and is not replaced: name another")
    folder = next((above for above in target.absolute().parents if os.path.lexists(above)), None)
    if folder is not None and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        why = "may not be written to" if folder.is_dir() else "is not a folder"
        raise DownloadError(f"{target} cannot be written ({folder} {why}): choose another place")
    for path in (target, (folder or target.parent) / _tag_of(target).name):
        with contextlib.suppress(FileNotFoundError):
            path.lstat()


class PartFile:
    """The `.part` of one target, held by one writer at a time.

    Args:
        target: The file it becomes.
        overwrite: Whether it may replace what is there. A link is replaced itself, never written through.
    """

    def __init__(self, target: Path, *, overwrite: bool = False) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.tag_path = _tag_of(target)
        self.overwrite = overwrite
        self.size = 0
        self.tag = Tag()
        self._fd: int | None = None
        self._doomed = False
        self._key = os.path.normcase(target.parent.resolve() / target.name)

    def __repr__(self) -> str:
        return f"<PartFile of {self.target}: {self.size} bytes, {'closed' if self._fd is None else 'open'}>"

    def open(self) -> None:
        """Take hold of the `.part`, made if need be with the folders above it, and learn how far it got.

        Raises:
            TargetExistsError: The target is there and may not be replaced.
            DownloadError: Somebody else is writing it, or something odd is in its place.
        """
        self._doomed = False
        refuse_existing(self.target, overwrite=self.overwrite)
        if _busy.setdefault(self._key, self) is not self:
            raise self._taken()
        with self._clears_when_full():
            self.target.parent.mkdir(parents=True, exist_ok=True)
            while not self._grab():
                self._let_go()
            refuse_existing(self.target, overwrite=self.overwrite)
            self.tag = _read_tag(self.tag_path)

    def _grab(self) -> bool:
        """Open and lock; False if what was opened is not, or should not be, the file of that name any more."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        if self.path.is_symlink():  # where O_NOFOLLOW does not exist
            raise DownloadError(f"{self.path} is a link: remove it, then download again")
        self._fd = os.open(self.path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
        opened = os.fstat(self._fd)
        ordinary = stat.S_ISREG(opened.st_mode)
        if not ordinary or not _lock(self._fd):
            self._let_go()  # it is not ours: closing must not remove it
            odd = DownloadError(f"{self.path} is not an ordinary file: remove it, then download again")
            raise self._taken() if ordinary else odd
        if opened.st_nlink > 1:  # a crash between link and unlink: writing on would change the published video
            if sys.platform == "win32":  # an open file cannot be removed there
                self._let_go()
            self.path.unlink()
            return False
        self.size = opened.st_size
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(opened, self.path.lstat())
        return False

    def _taken(self) -> DownloadError:
        told = f"{self.target} is being downloaded already: wait for that, or choose another name"
        return DownloadError(told, temporary=True, still="storing")

    def write(self, data: bytes | bytearray) -> None:
        """Append all of `data`."""
        with self._clears_when_full(), memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += self._put(rest[done:])

    def _put(self, data: memoryview) -> int:
        os.lseek(self._held, self.size, os.SEEK_SET)
        written = os.write(self._held, data)
        self.size += written
        return written

    def restart(self, tag: Tag) -> None:
        """Begin again from the first byte. The tag comes after the truncation: a crash between them resumes nothing."""
        with self._clears_when_full():
            os.ftruncate(self._held, 0)
            self.size = 0
            self.tag = tag
            self.tag_path.unlink(missing_ok=True)
            if tag.validator is not None:
                _write_tag(self.tag_path, tag)

    def head(self, size: int = 12) -> bytes:
        """Its first bytes."""
        os.lseek(self._held, 0, os.SEEK_SET)
        return os.read(self._held, size)

    def is_whole(self) -> bool:
        """Whether the file ends where its last MP4 box does (ISO/IEC 14496-12 §4.2), and has its index and its media.

        A break between two boxes is told by what is missing.
        """
        place, kinds = 0, set()
        while place + 8 <= self.size:
            os.lseek(self._held, place, os.SEEK_SET)
            header = os.read(self._held, 16)
            length = int.from_bytes(header[:4])
            kinds.add(header[4:8])
            if length == 0:  # the last box, up to the end of the file
                place = self.size
                break
            if length == 1:
                length = int.from_bytes(header[8:16])
            place += max(length, 8)
        return place == self.size and kinds >= {b"moov", b"mdat"}

    def publish(self) -> Path:
        """Make it the target, durably and in one step.

        Raises:
            TargetExistsError: A file of that name came up meanwhile; `.part` stays, whole.
        """
        with self._clears_when_full():
            os.fsync(self._held)
        if sys.platform == "win32":  # an open file cannot be renamed there
            self._close_fd()
        refuse_existing(self.target, overwrite=self.overwrite)
        if self.overwrite:
            self.path.replace(self.target)
        else:
            _link(self.path, self.target)
        self.tag_path.unlink(missing_ok=True)
        _sync_folder(self.target.parent)
        return self.target

    def discard(self) -> None:
        """Remove `.part` and its tag; whatever cannot be removed is left."""
        self._doomed = True
        for path in (self.path, self.tag_path):
            with contextlib.suppress(OSError):
                path.unlink()

    def rest(self) -> None:
        """Close the file until the next `open`; an empty one goes. In this process nobody else writes it meanwhile."""
        worthless = self._fd is not None and (self._doomed or self.size == 0)
        if worthless and sys.platform != "win32":  # under the lock: after it, the name can be another's
            self.discard()
        self._let_go()
        if worthless and sys.platform == "win32":  # an open file cannot be removed there
            self.discard()

    def close(self) -> None:
        """Let go. An empty `.part` is worth nothing and goes, too."""
        self.rest()
        if _busy.get(self._key) is self:
            del _busy[self._key]

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):  # close(2) releases the descriptor whatever it says
            self._close_fd()

    def _close_fd(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    @property
    def _held(self) -> int:
        if self._fd is None:
            raise DownloadError(f"{self.path} is not open")
        return self._fd

    @contextlib.contextmanager
    def _clears_when_full(self) -> Iterator[None]:
        """A full disk is not kept full by half a video."""
        try:
            yield
        except OSError as error:
            if error.errno in NO_SPACE:
                self.discard()
            raise


def _lock(fd: int) -> bool:
    """Whether no other process holds the file; True where the file system knows no locks."""
    try:
        if sys.platform == "win32":
            os.lseek(fd, FAR, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except _HELD:
        return False
    except OSError:
        return True
    return True


def _link(source: Path, target: Path) -> None:
    """Give `source` the name `target`, never replacing what may have come up there."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise TargetExistsError(f"{target} exists already: overwrite=True replaces it") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        with contextlib.suppress(OSError):  # the video is there; `_grab` knows what to do with a second name
            source.unlink()
        return
    refuse_existing(target, overwrite=False)
    source.rename(target)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where folders can be synced at all."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _read_tag(path: Path) -> Tag:
    """The tag as it was written; an empty one if there is none, or none that makes sense."""
    try:
        if path.is_symlink() or path.stat().st_size > _TAG_BYTES:
            return Tag()
        stored: Any = json.loads(path.read_bytes())
        tag = Tag(stored["validator"], stored["total"], stored["source"])
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return Tag()
    sound = isinstance(tag.validator, str) and _HEADER_VALUE.fullmatch(tag.validator) and isinstance(tag.source, str)
    return tag if sound and (tag.total is None or type(tag.total) is int) else Tag()


def _write_tag(path: Path, tag: Tag) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    fd = os.open(path, flags, 0o666)
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(attrs.asdict(tag)).encode())
