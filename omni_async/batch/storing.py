"""Videos of a batch to disk: those first whose URLs die first, and each once."""

import hashlib
import os
from pathlib import Path

import attrs

from ..disk import NO_SPACE, in_thread
from ..errors import DownloadError, OmniError, ResultExpiredError, TargetExistsError
from ..generate import Studio
from ..journal import SqliteJournal
from ..journal.entries import Entry
from ..journal.states import State
from ..partfile import PartFile
from .folder import Folder

PIECE = 1024 * 1024


@attrs.frozen
class Store:
    """Stores one video and writes down that it is stored.

    Args:
        folder: Of the batch.
        studio: Fetches.
        journal: Remembers.
    """

    folder: Folder
    studio: Studio
    journal: SqliteJournal

    async def store(self, entry: Entry) -> Entry:
        """Bring a finished task's video to disk. Gives its row: DONE, or EXPIRED if there is no video any more.

        Raises:
            DownloadError: It could not be stored; trying again costs nothing.
        """
        target = self.folder.videos / (entry.target or f"{entry.key}.mp4")
        if await in_thread(_is, target, entry.size, entry.sha256):
            await in_thread(PartFile(target, overwrite=False).discard)  # left by a crash after it had got its name
            return await self._done(entry, target)
        if entry.attempts > 1:
            await in_thread(_set_aside, target)
        try:
            await self._fetch(entry, target)
        except ResultExpiredError as error:
            why = str(error.args[0])
            return await self.journal.run(lambda ledger: ledger.unstored(entry.key, State.EXPIRED, why))
        return await self._done(entry, target)

    async def _fetch(self, entry: Entry, target: Path) -> None:
        task = entry.video_task
        if task is None:
            raise DownloadError("the row has no task", custom_id=entry.key)

        async def whole(part: Path) -> None:
            size, digest = await in_thread(_measured, part)
            await self.journal.run(lambda ledger: ledger.arriving(entry.key, size, digest))

        await self.studio.download(task, target, overwrite=False, on_whole=whole)

    async def _done(self, entry: Entry, target: Path) -> Entry:
        size = await in_thread(lambda: target.stat().st_size)
        return await self.journal.run(lambda ledger: ledger.stored(entry.key, size))


def full(error: OmniError) -> bool:
    """Whether the disk is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in NO_SPACE


def lasting(error: OmniError) -> bool:
    """Whether trying again in this run cannot help."""
    return isinstance(error, TargetExistsError)


def missing(folder: Folder, entries: list[Entry]) -> list[Entry]:
    """Stored rows whose file is gone or has another size: finished files are checked, not fetched again."""
    return [entry for entry in entries if _size(folder.videos / (entry.target or f"{entry.key}.mp4")) != entry.size]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _is(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether a file is the very one that was about to get this name."""
    return size is not None and _size(path) == size and not path.is_symlink() and _measured(path)[1] == sha256


def _measured(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _set_aside(path: Path) -> None:
    """A new attempt's video takes the name; the old one was paid for, too, and is kept beside it."""
    number = 1
    while os.path.lexists(path):
        old = path.with_stem(f"{path.stem}.old-{number}")
        if not os.path.lexists(old):
            path.rename(old)
        number += 1
