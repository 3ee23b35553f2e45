"""Videos in object storage: there whole, or not at all."""

import errno
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, TypeVar

import attrs

from ..client import OmniClient
from ..disk import NO_SPACE, in_thread, on_disk
from ..errors import DownloadError, Fault, IntegrityError, OmniError, TargetExistsError, invalid_argument
from ..models import VideoTask
from .kept import OnStore, Stored, fetched, kept_name, measured, part_of, removed, taken, writable
from .objectstore import PART, FileSystem, Found, Upload, found, object_hash, storage_reason, upload_to

T = TypeVar("T")

logger = logging.getLogger("omni_async")


@attrs.frozen
class ObjectStorage:
    """Videos in object storage.

    Args:
        url: Of the place, as the user gave it.
        system: Speaks to it.
        root: The place as `system` knows it.
        scratch: Where videos are whole first.
        patience: See `storage_of`.
    """

    url: str
    system: FileSystem = attrs.field(repr=False)
    root: str
    scratch: Path
    patience: float | None = 0.0

    async def check(self) -> None:
        """See `Storage.check`. Begins an object and gives it up."""
        await writable(self.scratch)
        path = f"{self.root}/omni-async-{token_hex(8)}.mp4"
        upload = upload_to(self.system, path, sha256="")
        try:
            try:
                await self._ask("written", _begun, upload)
            finally:
                await self._ask("written", upload.abandon)
            await self._ask("looked up", found, self.system, path)
        except DownloadError as error:
            refused = invalid_argument(Fault("out", str(error.args[0])))
        else:
            return
        raise refused

    async def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        there = await self._found(kept_name(name))
        return None if there is None else there.size

    async def store(
        self,
        client: OmniClient,
        task: VideoTask,
        name: str,
        *,
        sha256: str | None = None,
        on_whole: OnStore | None = None,
    ) -> Stored:
        """See `Storage.store`."""
        name, part = kept_name(name), part_of(task, self.scratch)
        try:
            there = await self._found(name)
            if there is not None and sha256 is not None:
                stored = await self._same(name, there, sha256)
            else:
                await fetched(client, task, part, patience=self.patience)
                stored = await self._kept(part, name, there, on_whole)
        except OmniError as error:
            if isinstance(error, TargetExistsError | IntegrityError):  # it waits for nothing, or is not to be trusted
                await on_disk(part, removed, part)
            error.about(task_id=task.task_id, gateway=task.gateway, custom_id=task.custom_id)
            raise
        await on_disk(part, removed, part)
        return stored

    async def _kept(self, part: Path, name: str, there: Found | None, on_whole: OnStore | None) -> Stored:
        """A whole file as an object, which it may be already."""
        stored = await measured(part, f"{self.url}/{name}")
        if on_whole is not None:
            await on_whole(stored)
        if there is not None:
            return await self._same(name, there, stored.sha256)
        refused = await self._uploaded(part, name, stored)
        there = await self._found(name)
        if there is None:
            raise refused or IntegrityError(f"{stored.place} was written and is not there: store it again")
        if there.size != stored.size:
            raise taken(stored.place)
        # An answer that was lost does not matter if this is what was sent.
        return stored if refused is None and there.sha256 is None else await self._same(name, there, stored.sha256)

    async def _uploaded(self, part: Path, name: str, stored: Stored) -> DownloadError | None:
        """Send a file, part by part; what stood in the way, as a value."""
        upload = upload_to(self.system, self._path(name), sha256=stored.sha256)
        try:
            await self._ask("written", upload.begin)
            await self._send(part, upload, stored)
            await self._ask("written", upload.finish)
        except BaseException as error:
            await self._abandon(upload)
            if not isinstance(error, DownloadError):
                raise
            error.args = (f"{error.args[0]}: the video waits in {part}, and storing it again costs nothing",)
            return error
        return None

    async def _send(self, part: Path, upload: Upload, stored: Stored) -> None:
        digest = hashlib.sha256()
        file: BinaryIO = await on_disk(part, part.open, "rb")
        try:
            while data := await on_disk(part, file.read, PART):
                digest.update(data)
                await self._ask("written", upload.write, data)
        finally:
            file.close()  # read-only: nothing is flushed
        if digest.hexdigest() != stored.sha256:
            raise IntegrityError(f"{part} was changed while it was sent to {stored.place}: store it again")

    async def _abandon(self, upload: Upload) -> None:
        """Leave nothing, as far as that goes: what is left is seen by nobody."""
        try:
            await self._ask("given up", upload.abandon)
        except DownloadError as error:
            logger.warning("an upload that was cut short may be left in parts: %s", error)

    async def _same(self, name: str, there: Found, sha256: str) -> Stored:
        """What is there, if it is the video of this hash. Read only where no metadata tells."""
        stored = Stored(f"{self.url}/{name}", there.size, sha256)
        if (there.sha256 or await self._read_hash(name)) != sha256:
            raise taken(stored.place)
        return stored

    async def _read_hash(self, name: str) -> str:
        reading = object_hash(self.system, self._path(name))
        while (digest := await self._ask("read", next, reading)) is None:
            pass
        return str(digest)

    async def _found(self, name: str) -> Found | None:
        return await self._ask("looked up", found, self.system, self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    async def _ask(self, doing: str, function: Callable[..., T], *args: Any) -> T:
        """Have a worker thread ask the storage.

        Raises:
            DownloadError: It refused. Nothing of its own error hangs on it: that can hold keys and signed requests.
        """
        try:
            return await in_thread(function, *args)
        except Exception as error:
            refused = DownloadError(f"{self.url} cannot be {doing} ({storage_reason(error)})")
            full = isinstance(error, OSError) and error.errno in NO_SPACE
        if full:  # as of a disk, for whoever waits until there is space
            refused.__cause__ = OSError(errno.ENOSPC, "no space left")
        raise refused


def _begun(upload: Upload) -> None:
    upload.begin()
    upload.write(b"\0")
    upload.flush()
