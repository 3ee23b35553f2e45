"""Where finished videos are kept: a folder, or a place in object storage. Each is there whole, or not at all."""

import errno
import hashlib
import logging
import os
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, Protocol, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import attrs

from .client import OmniClient
from .disk import NO_SPACE, in_thread, on_disk, reason, refusal
from .errors import DownloadError, Fault, IntegrityError, OmniError, TargetExistsError, invalid_argument
from .models import VideoTask
from .objectstore import PART, FileSystem, Found, Upload, file_system, found, object_hash, storage_reason, upload_to
from .partfile import PartFile
from .targets import target_of
from .uploads import file_hash

T = TypeVar("T")

logger = logging.getLogger("omni_async")


@attrs.frozen
class Stored:
    """A video as it is kept.

    Args:
        place: Its path or URL.
        size: In bytes.
        sha256: Of its content, in hex.
    """

    place: str
    size: int
    sha256: str


OnStore = Callable[[Stored], Awaitable[None]]


class Storage(Protocol):
    """Keeps videos under names as a batch plans them: relative, `EP01/SC03.mp4`, on no account outside."""

    async def check(self) -> None:
        """See whether videos can be kept here, which leaves nothing behind; to be asked before anything is paid.

        Raises:
            InvalidRequestError: They cannot.
        """

    async def size(self, name: str) -> int | None:
        """Bytes of what is kept under `name`; None if nothing is.

        Raises:
            InvalidRequestError: It is no such name.
            DownloadError: It cannot be looked up.
        """

    async def store(
        self,
        client: OmniClient,
        task: VideoTask,
        name: str,
        *,
        sha256: str | None = None,
        on_whole: OnStore | None = None,
    ) -> Stored:
        """Fetch a finished task's video and keep it; the very same video that is there already counts as stored.

        Args:
            client: Fetches it.
            task: Finished.
            name: Under which it is kept.
            sha256: What `on_whole` told of this task's video before, in hex: then a stored one is not fetched again.
            on_whole: Awaited with what is about to be stored before it appears.

        Raises:
            InvalidRequestError: It is no such name.
            TargetExistsError: Something else has the name, and keeps it.
            DownloadError: It could not be fetched or not be kept; trying again costs nothing and goes on from there.
        """


def storage_of(out: str | os.PathLike[str], *, scratch: Path, options: Mapping[str, Any] | None = None) -> Storage:
    """Where `out` says that videos are kept. Asks nothing of it yet; see `Storage.check`.

    For a URL it imports what speaks to it, which takes a moment: call it once, at the start.

    Args:
        out: A folder, or the URL of one in anything that fsspec speaks to: `s3://bucket/prefix`. Credentials, region
            and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …).
        scratch: A folder on a disk of this machine: what goes to object storage is whole there first. A video that
            could not be kept stays there for the next attempt.
        options: For fsspec's file system, over the environment: `endpoint_url`, `key`, `secret`, `profile`, ….

    Raises:
        InvalidRequestError: The URL cannot be used, or fsspec is not installed.
    """
    text = os.fspath(out)
    if "://" not in text:
        return FolderStorage(Path(text), scratch)
    if urlsplit(text).scheme == "file":
        return FolderStorage(_local(text), scratch)
    opened = file_system(text, options or {})
    del options  # a traceback shown with locals must not show a secret
    if isinstance(opened, Fault):
        raise invalid_argument(opened)
    system, place = opened
    return ObjectStorage(text if text.endswith("://") else text.rstrip("/"), system, place, scratch)


def _local(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.strip("/"):
        raise invalid_argument(
            Fault("out", f"{url!r} is not a folder on this machine: write it like file:///srv/videos")
        )
    return Path(url2pathname(parts.path))


def kept_name(name: str) -> str:
    """The name itself, in Unicode's composed form.

    Raises:
        InvalidRequestError: It is not one that a batch plans: every file system takes those, and none leads elsewhere.
    """
    target = target_of(name)
    if isinstance(target, Fault):
        raise invalid_argument(
            Fault("file", f"{name!r} is not a name for a video: it {target.problem}", target.allowed)
        )
    if target != unicodedata.normalize("NFC", name):
        raise invalid_argument(Fault("file", f"{name!r} is not a name for a video; one like it is {target!r}"))
    return target


@attrs.frozen
class FolderStorage:
    """Videos in a folder of this machine.

    Args:
        folder: Made when it is checked or first used.
        scratch: Where a video is compared with one that has its name.
    """

    folder: Path
    scratch: Path

    async def check(self) -> None:
        """See `Storage.check`."""
        await _writable(self.folder)

    async def size(self, name: str) -> int | None:
        """See `Storage.size`."""
        target = self.folder / kept_name(name)
        return await on_disk(target, _size, target)

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
        target = self.folder / kept_name(name)
        if await on_disk(target, os.path.lexists, target):
            return await self._same(client, task, target, sha256)

        stored: Stored | None = None

        async def whole(part: Path) -> None:
            nonlocal stored
            stored = await _measured(part, str(target))
            if on_whole is not None:
                await on_whole(stored)

        await client.studio.download(task, target, overwrite=False, on_whole=whole)
        return stored or await _measured(target, str(target))

    async def _same(self, client: OmniClient, task: VideoTask, target: Path, sha256: str | None) -> Stored:
        """What is there, if it is this task's video."""
        there = await on_disk(target, _is_file, target)
        if there and sha256 is None:
            part = part_of(task, self.scratch)
            await fetched(client, task, part)
            sha256 = (await _measured(part, "")).sha256
            await on_disk(part, _removed, part)
        stored = await _measured(target, str(target)) if there else None
        if stored is None or stored.sha256 != sha256:
            raise _taken(str(target)).about(task_id=task.task_id, custom_id=task.custom_id)
        await on_disk(target, PartFile(target, overwrite=False).discard)  # left by a crash after it got its name
        return stored


@attrs.frozen
class ObjectStorage:
    """Videos in object storage.

    Args:
        url: Of the place, as the user gave it.
        system: Speaks to it.
        root: The place as `system` knows it.
        scratch: Where videos are whole first.
    """

    url: str
    system: FileSystem = attrs.field(repr=False)
    root: str
    scratch: Path

    async def check(self) -> None:
        """See `Storage.check`. Begins an object and gives it up."""
        await _writable(self.scratch)
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
                await fetched(client, task, part)
                stored = await self._kept(part, name, there, on_whole)
        except OmniError as error:
            if isinstance(error, TargetExistsError | IntegrityError):  # it waits for nothing, or is not to be trusted
                await on_disk(part, _removed, part)
            error.about(task_id=task.task_id, gateway=task.gateway, custom_id=task.custom_id)
            raise
        await on_disk(part, _removed, part)
        return stored

    async def _kept(self, part: Path, name: str, there: Found | None, on_whole: OnStore | None) -> Stored:
        """A whole file as an object, which it may be already."""
        stored = await _measured(part, f"{self.url}/{name}")
        if on_whole is not None:
            await on_whole(stored)
        if there is not None:
            return await self._same(name, there, stored.sha256)
        refused = await self._uploaded(part, name, stored)
        there = await self._found(name)
        if there is None:
            raise refused or IntegrityError(f"{stored.place} was written and is not there: store it again")
        if there.size != stored.size:
            raise _taken(stored.place)
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
            raise _taken(stored.place)
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


def part_of(task: VideoTask, scratch: Path) -> Path:
    """Where a task's video is whole first."""
    return scratch / f"{hashlib.sha256(f'{task.gateway} {task.task_id}'.encode()).hexdigest()[:32]}.mp4"


async def fetched(client: OmniClient, task: VideoTask, part: Path) -> None:
    """Have a task's whole video at `part`; one that an earlier attempt left there serves.

    Raises:
        DownloadError: See `Delivery.download`.
    """
    if not await on_disk(part, _is_file, part):
        await client.studio.download(task, part, overwrite=False)


async def _measured(path: Path, place: str) -> Stored:
    size, digest = await on_disk(path, lambda: (path.stat().st_size, file_hash(path)))
    return Stored(place, size, digest)


async def _writable(folder: Path) -> None:
    refused = await in_thread(refusal, folder)
    if refused is not None:
        raise invalid_argument(Fault("out", f"the folder {str(folder)!r} cannot be written: {reason(refused)}"))


def _begun(upload: Upload) -> None:
    upload.begin()
    upload.write(b"\0")
    upload.flush()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _removed(path: Path) -> None:
    path.unlink(missing_ok=True)


def _taken(place: str) -> TargetExistsError:
    return TargetExistsError(f"{place} exists already and is another video")
