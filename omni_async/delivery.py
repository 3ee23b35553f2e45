"""A finished task to a file: which URL, which name, and a fresh URL when the old one expired."""

import contextlib
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import attrs

from .arguments import OnProgress, is_foreign, own
from .disk import in_thread, reason
from .errors import DownloadError, NotFoundError, OmniError, ResultExpiredError
from .events import Downloaded, Event
from .files import Downloader, OnWhole, Patience, Rest
from .models import TaskStatus, VideoTask, without_query
from .safety import file_name


class Delivery:
    """Brings videos to disk.

    Args:
        query: One look at a task.
        downloader: Fetches URLs.
        base_url: The gateway's, for relative links.
        failed: Makes the error for a task without a video.
        emit: Takes the `Downloaded` events.
        gateway: The gateway's name, for events and errors about a bare URL.
        clock: Monotonic seconds; given by tests.
        now: Wall time, used for a URL's expiry alone; given by tests.
    """

    def __init__(
        self,
        *,
        query: Callable[[str], Awaitable[VideoTask]],
        downloader: Downloader,
        base_url: str,
        failed: Callable[[VideoTask], OmniError],
        emit: Callable[[Event], None] | None = None,
        gateway: str = "",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._query, self._downloader, self._base_url = query, downloader, base_url
        self._emit, self._gateway, self._failed = emit, gateway, failed
        self._clock, self._now = clock, now

    async def download(
        self,
        task_or_url: VideoTask | str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
        on_whole: OnWhole | None = None,
        patience: float | None = 0.0,
        rest: Rest | None = None,
    ) -> Path:
        """Store a task's video.

        Args:
            task_or_url: A task, a task id, or a URL, which is fetched as it is.
            path: The file to make; in a folder (one that is there, or a path that ends in a separator) it is named
                after the task.
            overwrite: Replace what is there.
            on_progress: Called with the bytes stored and the length of the whole, or None where that is not known.
            on_whole: Awaited with the whole video's path before it gets its name.
            patience: How long a server that cannot be reached, or fails, is tried; see `files.Patience`.
            rest: What waits between two attempts; see there, too.

        Returns:
            The file.

        Raises:
            TargetExistsError: Checked before anything is asked for.
            TaskFailedError: The task ended without a video.
            InvalidRequestError: A task of another gateway, of which no URL is known.
            ResultExpiredError: The URL no longer works, and neither did a fresh one.
            DownloadError: The task is still running, or any other reason; see `files.Downloader.fetch`.
        """
        task = _task_of(task_or_url)
        wanted = _Download(
            overwrite, on_progress, on_whole, Patience(patience, rest), url="" if task else str(task_or_url)
        )
        del task_or_url  # a traceback shown with locals must not show a signature
        known = self.whose(task)
        started = self._clock()
        try:
            wanted.target = await in_thread(file_in, path, wanted.name(task))
            await self._downloader.refuse_existing(wanted.target, overwrite=overwrite)
            found = await self._bring(wanted, task)
            size = await in_thread(lambda: found.stat().st_size)
        except OmniError as error:
            error.about(**known)
            raise
        except (OSError, ValueError) as error:
            raise DownloadError(f"{os.fspath(path)!r} cannot be used: {reason(error)}", **known) from error
        if self._emit is not None:
            self._emit(_event(known, found, size, self._clock() - started))
        return found

    async def target(self, path: str | os.PathLike[str], name: str) -> Path:
        """The file meant by `path`; see `file_in`."""
        return await in_thread(file_in, path, name)

    async def refuse_existing(self, target: Path, *, overwrite: bool) -> None:
        """Refuse a target that can be no new file.

        Raises:
            TargetExistsError: It is there, and may not be replaced.
        """
        await self._downloader.refuse_existing(target, overwrite=overwrite)

    async def aclose(self) -> None:
        """Close the connections; downloads under way end with an error and can be resumed."""
        await self._downloader.aclose()

    def whose(self, task_or_url: VideoTask | str | None) -> dict[str, Any]:
        """Whose download it is, for errors and events."""
        task = _task_of(task_or_url) if isinstance(task_or_url, str) else task_or_url
        if task is None:
            return {"gateway": self._gateway or None}
        gateway, metadata = task.gateway or self._gateway or None, task.metadata or None
        return {"task_id": task.task_id, "gateway": gateway, "custom_id": task.custom_id, "metadata": metadata}

    async def _bring(self, wanted: "_Download", task: VideoTask | None) -> Path:
        """Fetch a URL, or a task's, asking the gateway for a fresh one once if need be."""
        if task is None:
            return await self._fetch(wanted)
        expired = task.video_url is not None and task.expires_at is not None and task.expires_at <= self._now()
        if task.video_url is None:
            own(task, self._gateway)
            task = await self._look(task)
        refused = ResultExpiredError("the video's URL is past its time") if expired else await self._tried(wanted, task)
        foreign = is_foreign(task, self._gateway)
        if isinstance(refused, ResultExpiredError) and not foreign:
            with contextlib.suppress(NotFoundError):  # a task that is gone has no fresh URL
                refused = await self._tried(wanted, await self._look(task))
        if isinstance(refused, ResultExpiredError):
            no_other = "the gateway has no other: it keeps videos for a limited time"
            no_other = f"only a client of gateway {task.gateway} can ask for another" if foreign else no_other
            refused.args = (f"{refused.args[0]}, and {no_other}",)
            raise refused
        return refused

    async def _tried(self, wanted: "_Download", task: VideoTask) -> Path | ResultExpiredError:
        """The file, or the error that a fresh URL can mend: as a value, so that it hangs in no other's context."""
        wanted.url = self._link(task)
        try:
            return await self._fetch(wanted)
        except ResultExpiredError as error:
            return error

    async def _fetch(self, wanted: "_Download") -> Path:
        return await self._downloader.fetch(
            wanted.url,
            wanted.target,
            overwrite=wanted.overwrite,
            on_progress=wanted.on_progress,
            on_whole=wanted.on_whole,
            patience=wanted.patience,
        )

    async def _look(self, task: VideoTask) -> VideoTask:
        """The task as the gateway tells it now; what only the caller knows of it is carried over."""
        found = await self._query(task.task_id)
        custom_id, metadata = found.custom_id or task.custom_id, found.metadata or task.metadata
        return attrs.evolve(found, custom_id=custom_id, metadata=metadata)

    def _link(self, task: VideoTask) -> str:
        """The task's URL, relative ones joined to the gateway's (seen on older servers)."""
        if task.status in (TaskStatus.FAILED, TaskStatus.CANCELED):
            raise self._failed(task)
        if task.video_url is None and not task.status.finished:
            told = f"the task is still running ({task.status.value}): wait for it first"
            raise DownloadError(told, temporary=True, still="running")
        if task.video_url is None:
            raise DownloadError("the task is finished and the gateway tells no URL: query it again later")
        try:
            return urljoin(self._base_url, task.video_url)
        except ValueError:
            return task.video_url  # the downloader refuses it in its own words


@attrs.define
class _Download:
    """One download: what is wanted, and where from at the moment."""

    overwrite: bool
    on_progress: OnProgress | None
    on_whole: OnWhole | None
    patience: Patience
    url: str = attrs.field(repr=False)
    target: Path = Path()

    def name(self, task: VideoTask | None) -> str:
        """What a file in a folder is called: the task's id. A URL's own name was chosen by its server: a hash of it."""
        if task is not None:
            return file_name(task.task_id)
        return file_name(f"video-{hashlib.sha256(without_query(self.url).encode(errors='replace')).hexdigest()[:12]}")


def _task_of(task_or_url: VideoTask | str) -> VideoTask | None:
    """A task, of which only the id may be known; None for a URL."""
    if isinstance(task_or_url, VideoTask):
        return task_or_url
    return None if "://" in task_or_url else VideoTask(task_id=task_or_url)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is meant: one that is there, or a path that ends in a separator."""
    if os.fspath(path).endswith(tuple(filter(None, (os.sep, os.altsep)))):
        return True
    return os.path.isdir(path)  # noqa: PTH112 - pathlib's raises for a name that is too long


def file_in(path: str | os.PathLike[str], name: str) -> Path:
    """The file meant by `path`: itself, or `name` in it if it is a folder."""
    return Path(path, name) if is_folder(path) else Path(path)


def _event(known: dict[str, Any], path: Path, size: int, seconds: float) -> Downloaded:
    return Downloaded(
        gateway=known["gateway"] or "",
        custom_id=known.get("custom_id"),
        metadata=known.get("metadata") or {},
        task_id=known.get("task_id"),
        path=path,
        size=size,
        seconds=seconds,
    )
