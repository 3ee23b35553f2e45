"""A finished task to a file: which URL, which name, and a fresh URL when the old one expired."""

import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin

import attrs

from .disk import in_thread
from .errors import DownloadError, OmniError, ResultExpiredError, TaskFailedError
from .events import Downloaded, Event
from .models import TaskStatus, VideoTask, without_query
from .safety import file_name

Progress = Callable[[int, int | None], None]


class Fetcher(Protocol):
    """What a delivery needs of `files.Downloader`."""

    async def refuse_existing(self, target: Path, *, overwrite: bool = False) -> None:
        """Raise TargetExistsError if `target` is there and may not be replaced."""

    async def fetch(
        self, url: str, target: Path, *, overwrite: bool = False, on_progress: Progress | None = None
    ) -> Path:
        """Store what is at `url` as `target`."""


def failure_of(task: VideoTask) -> TaskFailedError:
    """The error for a task that ended without a video."""
    reason = task.error_message or task.error_code or "no reason given"
    return TaskFailedError(f"the task ended as {task.status.value} and has no video: {reason}", task=task)


class Delivery:
    """Brings videos to disk.

    Args:
        query: One look at a task.
        downloader: What fetches a URL; see `files.Downloader`.
        base_url: The gateway's, for relative links.
        emit: Takes the `Downloaded` events.
        gateway: The gateway's name, for events and errors about a bare URL.
        failed: Makes the error for a task without a video.
        clock: Monotonic seconds; given by tests.
        now: Wall time, used for a URL's expiry alone; given by tests.
    """

    def __init__(
        self,
        *,
        query: Callable[[str], Awaitable[VideoTask]],
        downloader: Fetcher,
        base_url: str,
        emit: Callable[[Event], None] | None = None,
        gateway: str = "",
        failed: Callable[[VideoTask], OmniError] = failure_of,
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
        on_progress: Progress | None = None,
    ) -> Path:
        """Store a task's video.

        Args:
            task_or_url: A task, a task id, or a URL, which is fetched as it is.
            path: The file to make; in a folder (one that is there, or a path that ends in a separator) it is named
                after the task.
            overwrite: Replace what is there.
            on_progress: Called with the bytes stored and the length of the whole, or None where that is not known.

        Returns:
            The file.

        Raises:
            TargetExistsError: Checked before anything is asked for.
            TaskFailedError: The task ended without a video.
            ResultExpiredError: The URL no longer works, and neither did a fresh one.
            DownloadError: The task is still running, or any other reason; see `files.Downloader.fetch`.
        """
        task, url = _told(task_or_url)
        known: dict[str, Any] = {"gateway": self._gateway or None}
        if task is not None:
            whose = {"custom_id": task.custom_id, "metadata": task.metadata or None}
            known = {"task_id": task.task_id, "gateway": task.gateway or self._gateway or None, **whose}
        started = self._clock()
        try:
            target = await in_thread(_target, path, task.task_id if task else None, url)
            await self._downloader.refuse_existing(target, overwrite=overwrite)
            errand = _Errand(target, overwrite, on_progress)
            found = await self._bring(errand, task, url)
            size = await in_thread(lambda: found.stat().st_size)
        except OmniError as error:
            error.about(**known)
            raise
        except (OSError, ValueError) as error:
            raise DownloadError(f"{os.fspath(path)!r} cannot be used: {_reason(error)}", **known) from error
        if self._emit is not None:
            self._emit(_event(known, found, size, self._clock() - started))
        return found

    async def _bring(self, errand: "_Errand", task: VideoTask | None, url: str) -> Path:
        """Fetch a URL, or a task's, asking the gateway for a fresh one once if need be."""
        if task is None:
            return await self._fetch(url, errand)
        expired = task.expires_at is not None and task.expires_at <= self._now()
        if task.video_url is None or expired:
            task = await self._look(task)
        refused = await self._tried(self._link(task), errand)
        if isinstance(refused, ResultExpiredError) and not expired:
            refused = await self._tried(self._link(await self._look(task)), errand)
        if isinstance(refused, ResultExpiredError):
            refused.args = (f"{refused.args[0]}, and the gateway has no other: it keeps videos for a limited time",)
            raise refused
        return refused

    async def _tried(self, url: str, errand: "_Errand") -> Path | ResultExpiredError:
        """The file, or the error that a fresh URL can mend: as a value, so that it hangs in no other's context."""
        try:
            return await self._fetch(url, errand)
        except ResultExpiredError as error:
            return error

    async def _fetch(self, url: str, errand: "_Errand") -> Path:
        return await self._downloader.fetch(
            url, errand.target, overwrite=errand.overwrite, on_progress=errand.on_progress
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
            raise DownloadError(f"the task is still running ({task.status.value}): wait for it first")
        if task.video_url is None:
            raise DownloadError("the task is finished and the gateway tells no URL: query it again later")
        try:
            return urljoin(self._base_url, task.video_url)
        except ValueError:
            return task.video_url  # the downloader refuses it in its own words


@attrs.frozen
class _Errand:
    """What stays the same from one URL to the next."""

    target: Path
    overwrite: bool
    on_progress: Progress | None


def _told(task_or_url: VideoTask | str) -> tuple[VideoTask | None, str]:
    """A task (of which only the id may be known), or a URL."""
    if isinstance(task_or_url, VideoTask):
        return task_or_url, ""
    return (None, task_or_url) if "://" in task_or_url else (VideoTask(task_id=task_or_url), "")


def _target(path: str | os.PathLike[str], task_id: str | None, url: str) -> Path:
    """The file meant by `path`. A URL's own name is never used (its server chose it): a hash of it is."""
    given = os.fspath(path)
    separators = tuple(filter(None, (os.sep, os.altsep)))
    target = Path(given)
    if not given.endswith(separators) and not target.is_dir():
        return target
    name = task_id or f"video-{hashlib.sha256(without_query(url).encode(errors='replace')).hexdigest()[:12]}"
    return target / file_name(name)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _event(known: dict[str, Any], path: Path, size: int, seconds: float) -> Downloaded:
    return Downloaded(
        gateway=known["gateway"] or "",
        custom_id=known.get("custom_id"),
        metadata=known.get("metadata") or {},
        task_id=known.get("task_id"),
        path=str(path),
        size=size,
        seconds=seconds,
    )
