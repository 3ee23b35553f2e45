"""Videos of a batch to disk: those first whose URLs die first, and each once."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

from ..disk import NO_SPACE, on_disk
from ..errors import (
    DownloadError,
    GatewayError,
    JournalError,
    OmniError,
    RateLimitError,
    ResultExpiredError,
    TargetExistsError,
    TransportError,
)
from ..generate import Studio
from ..journal import SqliteJournal
from ..journal.entries import Entry, file_of
from ..journal.expiry import has_expired, task_to_fetch, told_end, url_dies
from ..journal.ledger import Ledger
from ..journal.states import State
from ..partfile import PartFile
from ..retry import is_temporary
from ..uploads import file_hash
from .folder import Folder

CHUNK = 5000
"""Stored rows whose files are looked at in one go."""

GONE = (
    "its file has gone and its URL has died: put the file back in its place and run again,"
    " or, to pay for another video, give the row another id"
)

StoredRow = tuple[int, str, str | None, int | None]
"""A stored row: its place, key, target and size."""


class GoneError(DownloadError):
    """A video that was stored is not in its place, and cannot be fetched again. It may come back: a disk is mounted."""


class Wall:
    """Wall time, in seconds since 1970, that a clock which is set forward meanwhile does not hurry.

    By that a video whose URL does not work yet would count as expired. A machine that sleeps lets it stand still: then
    the next run says what has expired.
    """

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now."""
        return min(time.time(), self._ahead + time.monotonic())


@attrs.frozen
class Store:
    """Stores one video and writes down that it is stored.

    Args:
        folder: Of the batch.
        studio: Fetches.
        journal: Remembers.
        wall: Wall time, in seconds since 1970.
    """

    folder: Folder
    studio: Studio
    journal: SqliteJournal
    wall: Callable[[], float] = attrs.field(factory=Wall)

    async def check(self) -> None:
        """Look whether the stored videos are there, by their sizes; what has gone is to be stored again."""
        place = 0
        while rows := await self.journal.run(partial(stored_rows, after=place)):
            keys = await on_disk(self.folder.videos, missing, self.folder, rows)
            if keys:
                await self.journal.run(partial(_to_be_stored, keys=keys))
            place = rows[-1][0]

    async def store(self, entry: Entry, *, again: bool = False) -> Entry:
        """Bring a finished task's video to disk. Gives its row: DONE, or EXPIRED if there is no video any more.

        Args:
            entry: The row.
            again: Whether that was tried before: the journal may know more of it by now.

        Raises:
            DownloadError: It could not be stored; trying again costs nothing. A `GoneError` if it was, and has gone.
        """
        if again:
            known: Entry | None = await self.journal.run(lambda ledger: ledger.entry(entry.key))
            entry = known or entry
        target = video_path(self.folder, entry.key, entry.target)
        if await on_disk(target, _is, target, entry.size, entry.sha256):
            await on_disk(target, PartFile(target, overwrite=False).discard)  # left by a crash after it got its name
            return await self._done(entry, target)
        if entry.size is None and entry.sha256 is not None:
            await on_disk(target, _set_aside, target, entry.sha256)
        try:
            await self._fetch(entry, target)
        except ResultExpiredError as error:
            if not has_expired(entry, self._lifetime, now=self.wall()):
                raise  # it may not have reached the store from which it is fetched
            if entry.size is not None:
                raise GoneError(GONE, custom_id=entry.key, task_id=entry.task_id) from error
            why = str(error.args[0])
            return await self.journal.run(lambda ledger: ledger.unstored(entry.key, State.EXPIRED, why))
        return await self._done(entry, target)

    @property
    def _lifetime(self) -> float:
        return self.studio.exchange.dialect.abilities.url_lifetime

    def expiry(self, entry: Entry) -> float:
        """When a video's URL dies, in seconds since 1970: as the gateway tells, or as its documents do."""
        return url_dies(entry, self._lifetime)

    def left(self, entry: Entry) -> float:
        """Seconds until a video's URL dies, if the gateway tells that: no more than its documents do, else 0."""
        told = told_end(entry)
        return 0.0 if told is None else min(max(told - self.wall(), 0.0), self._lifetime)

    async def _fetch(self, entry: Entry, target: Path) -> None:
        task = task_to_fetch(entry)
        if task is None:
            raise DownloadError("the row has no task", custom_id=entry.key)
        if await on_disk(target, target.is_dir):  # `download` would put the video into it
            raise TargetExistsError(f"{target} is a folder: move it away and run again", custom_id=entry.key)

        async def whole(part: Path) -> None:
            size, digest = await on_disk(part, lambda: (part.stat().st_size, file_hash(part)))
            await self.journal.run(lambda ledger: ledger.arriving(entry.key, size, digest))

        await self.studio.download(task, target, overwrite=False, on_whole=whole, patience=None)  # others wait

    async def _done(self, entry: Entry, target: Path) -> Entry:
        size = await on_disk(target, lambda: target.stat().st_size)
        return await self.journal.run(lambda ledger: ledger.stored(entry.key, size))


def full(error: OmniError) -> bool:
    """Whether the disk is full, for the video or for the journal."""
    if isinstance(error, JournalError):
        return error.kind == "full"
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in NO_SPACE


def lasting(error: OmniError) -> bool:
    """Whether trying again in this run cannot help."""
    return isinstance(error, TargetExistsError | GoneError)


def passing(error: OmniError) -> bool:
    """Whether it is the network, or a server that fails: trying again later can help."""
    return is_temporary(error) or isinstance(error, TransportError | GatewayError | RateLimitError)


def video_path(folder: Folder, key: str, target: str | None) -> Path:
    """Where a row's video goes."""
    return folder.videos / file_of(key, target)


def stored_rows(ledger: Ledger, *, after: int) -> list[StoredRow]:
    """Some of the rows whose videos are stored, from a place on."""
    query = "SELECT rowid, key, target, size FROM item WHERE state = 'DONE' AND rowid > ? ORDER BY rowid LIMIT ?"
    return ledger.connection.execute(query, (after, CHUNK)).fetchall()


def missing(folder: Folder, rows: Sequence[StoredRow]) -> list[str]:
    """Keys of those whose file is gone or has another size: finished files are checked, not fetched again."""
    return [key for _, key, target, size in rows if _size(video_path(folder, key, target)) != size]


def _to_be_stored(ledger: Ledger, *, keys: Sequence[str]) -> None:
    for key in keys:
        ledger.unstored(key, State.SUCCEEDED, "its file has gone")


def find_again(folder: Folder, ledger: Ledger) -> None:
    """Expired rows whose stored videos are in their places after all: a folder that was away is back."""
    for entry in list(ledger.entries([State.EXPIRED])):
        if _is(video_path(folder, entry.key, entry.target), entry.size, entry.sha256):
            ledger.stored(entry.key, entry.size or 0)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether a file is the very one that was about to get this name."""
    known = size is not None and _size(path) == size and path.is_file() and not path.is_symlink()
    return known and file_hash(path) == sha256


def _set_aside(path: Path, sha256: str) -> None:
    """A new attempt's video takes the name; the old one was paid for, too, and is kept beside it."""
    if path.is_symlink() or not path.is_file() or file_hash(path) != sha256:
        return
    number = 1
    while os.path.lexists(old := path.with_stem(f"{path.stem}.old-{number}")):
        number += 1
    path.rename(old)
