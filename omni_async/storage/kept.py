"""What every storage of videos is, and how they are named there."""

import hashlib
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import attrs

from ..client import OmniClient
from ..disk import in_thread, on_disk, reason, refusal
from ..errors import Fault, TargetExistsError, invalid_argument
from ..models import VideoTask
from ..targets import target_of
from ..uploads import file_hash


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


def part_of(task: VideoTask, scratch: Path) -> Path:
    """Where a task's video is whole first."""
    return scratch / f"{hashlib.sha256(f'{task.gateway} {task.task_id}'.encode()).hexdigest()[:32]}.mp4"


async def fetched(client: OmniClient, task: VideoTask, part: Path, *, patience: float | None) -> None:
    """Have a task's whole video at `part`; one that an earlier attempt left there serves.

    Raises:
        DownloadError: See `Delivery.download`.
    """
    if not await on_disk(part, is_file, part):
        await client.studio.download(task, part, overwrite=False, patience=patience)


async def measured(path: Path, place: str) -> Stored:
    """A whole file, as it is kept at `place`."""
    size, digest = await on_disk(path, lambda: (path.stat().st_size, file_hash(path)))
    return Stored(place, size, digest)


async def writable(folder: Path) -> None:
    """See whether files can be written there.

    Raises:
        InvalidRequestError: They cannot.
    """
    refused = await in_thread(refusal, folder)
    if refused is not None:
        raise invalid_argument(Fault("out", f"the folder {str(folder)!r} cannot be written: {reason(refused)}"))


def is_file(path: Path) -> bool:
    """Whether a plain file is there, and no link."""
    return path.is_file() and not path.is_symlink()


def removed(path: Path) -> None:
    """Have no file there."""
    path.unlink(missing_ok=True)


def taken(place: str) -> TargetExistsError:
    """The error of a name that something else has."""
    return TargetExistsError(f"{place} exists already and is another video")
