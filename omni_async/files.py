"""Streams down: a server's URL to a file, which appears whole or not at all.

`answers` decides what an answer means for the file, `partfile` keeps the disk's side, `connections` the network's;
here the three meet, attempt after attempt. `uploads` is the other direction.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urljoin

import attrs
from aiohttp.abc import AbstractResolver
from yarl import URL

from .answers import Setback, broken, opening, validator
from .arguments import OnProgress
from .connections import Connections, VideoResponse
from .disk import in_thread, on_disk
from .errors import DownloadError, IntegrityError, OmniError, UnsafeURLError
from .models import without_query
from .partfile import PartFile, Tag, refuse_existing, source_of
from .policies import RetryPolicy, Timeouts
from .retry import backoff, is_temporary, pause_within
from .safety import Origin, check_url, judge_url
from .uploads import heard

OnWhole = Callable[[Path], Awaitable[None]]
Rest = Callable[[float], Awaitable[None]]

CHUNK = 128 * 1024
"""Bytes kept in memory of each download: what a crash loses, and a server sends twice."""
MAX_BYTES = 4 * 1024**3
MIN_RATE = 1024.0
WATCH_SECONDS = 60.0
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _Watch:
    """Whether bytes come fast enough: a drip never trips a read timeout."""

    def __init__(self, clock: Callable[[], float], min_rate: float) -> None:
        self._clock, self._min_rate = clock, min_rate
        self._since, self._count = clock(), 0

    def too_slow(self, received: int) -> bool:
        self._count += received
        seconds = self._clock() - self._since
        if seconds < WATCH_SECONDS:
            return False
        slow = self._count < self._min_rate * seconds
        self._since, self._count = self._since + seconds, 0
        return slow


@attrs.frozen
class Patience:
    """How long a server that cannot be reached, or fails, is tried.

    Args:
        seconds: Without progress, at least; never less often than `RetryPolicy.attempts`. None: its first failure that
            follows no progress is told at once, to whoever fetches others meanwhile and tries again.
        rest: Waits between two attempts, if the downloader's own `sleep` is not to.
    """

    seconds: float | None = 0.0
    rest: Rest | None = None


@attrs.define
class _Job:
    """One `fetch`: where from, where to, and how it stands since the last progress."""

    url: str = attrs.field(repr=False)
    part: PartFile
    tell: OnProgress
    patience: Patience
    on_whole: OnWhole | None = None
    afresh: bool = False
    best: int = 0
    outages: int = 0
    faults: int = 0
    waited: float = 0.0
    grew: bool = False

    @property
    def tries(self) -> int:
        """Attempts that failed."""
        return self.outages + self.faults

    def failed(self, error: OmniError, *, seconds: float, min_rate: float) -> None:
        """Count an attempt that took so many seconds; progress starts the count anew."""
        grown = self.part.size - self.best
        self.grew = grown > 0 and grown >= min_rate * seconds  # a drip is no progress: it would never end
        if self.grew:
            self.outages, self.faults, self.waited = 0, 0, 0.0
        else:
            self.waited += seconds
        self.best = max(self.best, self.part.size)
        if is_temporary(error):
            self.outages += 1
        else:
            self.faults += 1

    def next_in(self, setback: Setback, attempts: int, pause: float) -> float | None:
        """Seconds until the next attempt, `pause` if the server asks for no more; None if the last was made."""
        asked, outage, patience = setback.pause or 0.0, is_temporary(setback.error), self.patience.seconds
        if outage and patience is None and not self.grew:
            return None
        last = pause_within((patience or 0.0) - self.waited, pause, asked) if outage and attempts > 1 else None
        made = self.tries if outage else self.faults
        return max(pause, asked) if last is None and made < attempts else last


class Downloader:
    """Fetches videos. Constructing needs no running loop; connections are made by the first `fetch`.

    Args:
        allowed: Origins that are asked whatever their address: the gateway's own and the caller's exceptions.
        proxy: `"env"`, None, or a proxy's URL; see `safety.proxy_for`.
        timeouts: `connect` and `read` hold here.
        retry: `attempts` without progress end a download, unless it is the server that fails and a `Patience` says
            otherwise; `max_wait` bounds a server's Retry-After.
        max_bytes: Longer than this is not a video.
        min_rate: Slower than this, in bytes per second over a minute, is given up and tried again.
        sleep: Waits; given by tests.
        rng: Jitter; given by tests.
        clock: Monotonic seconds; given by tests.
        resolver: Turns names into addresses; aiohttp's own unless given. Not closed here.
    """

    def __init__(
        self,
        *,
        allowed: frozenset[Origin] = frozenset(),
        proxy: str | None = "env",
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        max_bytes: int = MAX_BYTES,
        min_rate: float = MIN_RATE,
        sleep: Rest = asyncio.sleep,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._connections = Connections(
            allowed=allowed, proxy=proxy, timeouts=timeouts or Timeouts(), resolver=resolver
        )
        self._allowed, self._retry = allowed, retry or RetryPolicy()
        self._max_bytes, self._min_rate = max_bytes, min_rate
        self._sleep, self._rng, self._clock = sleep, rng or random.Random(), clock

    def __repr__(self) -> str:
        return f"<Downloader {'closed' if self._connections.closed else 'ready'}>"

    async def aclose(self) -> None:
        """Close the connections; a download under way ends with an error and can be resumed."""
        await self._connections.aclose()

    async def refuse_existing(self, target: Path, *, overwrite: bool = False) -> None:
        """Raise TargetExistsError if `target` is there and may not be replaced."""
        await on_disk(target, lambda: refuse_existing(target, overwrite=overwrite))

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
        on_whole: OnWhole | None = None,
        patience: Patience = Patience(),
    ) -> Path:
        """Store what is at `url` as `target`, going on from an earlier `.part` if it is the same video.

        Args:
            url: Where the video is.
            target: The file to make; folders above it are made, too.
            overwrite: Replace what is there.
            on_progress: Called with the bytes stored and the length of the whole, or None where that is not known.
            on_whole: Awaited with the `.part` when it is whole, before it gets its name.
            patience: How long a server that cannot be reached, or fails, is tried.

        Raises:
            TargetExistsError: Checked before anything is asked for.
            UnsafeURLError: The URL, or where it leads, is not a place for a download.
            ResultExpiredError: It no longer works; the gateway may give a fresh one.
            IntegrityError: What arrived, in every attempt, is not the whole or not a video.
            DownloadError: Anything else; `__cause__` is the disk's OSError if it was the disk.
        """
        part = PartFile(target, overwrite=overwrite)
        job = _Job(url, part, heard(on_progress, "download"), patience, on_whole)
        del url  # a traceback shown with locals must not show a signature
        try:
            await self.refuse_existing(target, overwrite=overwrite)
            check_url(job.url, self._allowed)
            await on_disk(target, part.open)
            job.best = part.size
            return await self._insist(job)
        finally:
            await in_thread(part.close)

    async def _insist(self, job: _Job) -> Path:
        """Attempt after attempt until the video is there or the budget is gone."""
        while True:
            started = self._clock()
            setback = await self._attempt(job)
            if setback is None and job.on_whole is not None:
                await job.on_whole(job.part.path)
            if setback is None:
                return await on_disk(job.part.target, job.part.publish)
            if setback.discard:
                await on_disk(job.part.target, job.part.restart, Tag())
            job.afresh = setback.afresh
            job.failed(setback.error, seconds=self._clock() - started, min_rate=self._min_rate)
            pause = job.next_in(setback, self._retry.attempts, backoff(job.tries - 1, self._rng))
            if not setback.again or pause is None:
                raise setback.error
            job.waited += pause
            await self._rest(job, pause)

    async def _rest(self, job: _Job, seconds: float) -> None:
        """Wait without the file: of those that rest there may be more than a process can have open."""
        await in_thread(job.part.rest)
        await (self._sleep if job.patience.rest is None else job.patience.rest)(seconds)
        await on_disk(job.part.target, job.part.open)

    async def _attempt(self, job: _Job) -> Setback | None:
        """One try. None if the file is whole, else what stood in the way; only disk errors are raised."""
        answer = await self._follow(job)
        if isinstance(answer, Setback):
            return answer
        try:
            return await self._receive(answer, job)
        finally:
            answer.close()

    async def _follow(self, job: _Job) -> VideoResponse | Setback:
        """The answer at the end of the redirects, every hop judged like the first URL."""
        place, secure = job.url, False
        for _ in range(MAX_REDIRECTS + 1):
            url = judge_url(place, self._allowed)
            if isinstance(url, UnsafeURLError):
                return Setback(url, again=False)
            if secure and url.scheme != "https":
                shown = without_query(str(url))
                return Setback(UnsafeURLError(f"the video's URL was redirected from https to {shown!r}"), again=False)
            answer = await self._connections.ask(url, self._headers(job))
            if isinstance(answer, Setback) or answer.status not in _REDIRECTS:
                return answer
            answer.close()
            place, secure = _joined(url, answer.headers.get("location", "")), url.scheme == "https"
        return Setback(UnsafeURLError(f"the video's URL was redirected more than {MAX_REDIRECTS} times"), again=False)

    def _headers(self, job: _Job) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if self._resumes(job):
            headers["Range"] = f"bytes={job.part.size}-"
            headers["If-Range"] = job.part.tag.validator or ""
        return headers

    def _resumes(self, job: _Job) -> bool:
        return job.part.size > 0 and not job.afresh and job.part.tag.resumes(source_of(URL(job.url)))

    async def _receive(self, answer: VideoResponse, job: _Job) -> Setback | None:
        """Take the body, and say what is wrong with it or with the whole."""
        part, ranged = job.part, self._resumes(job)
        headers, max_wait = answer.headers, self._retry.max_wait
        tag = part.tag
        begin = opening(
            answer.status,
            headers,
            size=part.size,
            ranged=ranged,
            total=tag.total,
            known=tag.validator,
            max_wait=max_wait,
        )
        if isinstance(begin, Setback):
            return begin
        pending = bytearray()
        if begin.restart:
            fault = await self._first(answer, pending)
            if fault is not None:
                return fault
            await on_disk(part.target, part.restart, Tag(validator(headers), begin.total, source_of(URL(job.url))))
        fault = None if begin.whole else await self._store(answer, job, begin.total, pending)
        return fault or await self._verdict(job, begin.total, framed=begin.framed)

    async def _first(self, answer: VideoResponse, pending: bytearray) -> Setback | None:
        """Enough of a new body to see that it is a video: an error page must not cost what is stored already."""
        while len(pending) < 8:
            try:
                data = await answer.read()
            except Exception as error:
                return broken(error, begun=True)
            if not data:
                break
            pending += data
        return None if pending[4:8] == b"ftyp" else _no_video()

    async def _store(self, answer: VideoResponse, job: _Job, total: int | None, pending: bytearray) -> Setback | None:
        """The body into the file; what came before a break or a cancellation is stored, too."""
        try:
            return await self._stream(answer, job, total, pending)
        finally:
            if pending:
                await on_disk(job.part.target, job.part.write, pending)

    async def _stream(self, answer: VideoResponse, job: _Job, total: int | None, pending: bytearray) -> Setback | None:
        """The body through `pending` into the file, in pieces of `CHUNK`."""
        watch, part = _Watch(self._clock, self._min_rate), job.part
        while True:
            job.tell(part.size + len(pending), total)
            if max(part.size + len(pending), total or 0) > self._max_bytes:
                error = IntegrityError(f"the server sends more than {self._max_bytes} bytes: no video is that long")
                return Setback(error, again=False, discard=True)
            if len(pending) >= CHUNK:
                piece = bytes(pending)
                pending.clear()
                await on_disk(part.target, part.write, piece)
            try:
                data = await answer.read()
            except Exception as error:
                return broken(error, begun=True)
            if not data:
                return None
            pending += data
            if watch.too_slow(len(data)):
                told = "the server sends too slowly: download again later to go on from there"
                return Setback(DownloadError(told, temporary=True))

    async def _verdict(self, job: _Job, total: int | None, *, framed: bool) -> Setback | None:
        """Whether what is stored is the whole, and a video."""
        part = job.part
        if total is not None and part.size != total:
            error = IntegrityError(f"{part.size} of {total} bytes arrived: download again to go on from there")
            return Setback(error, discard=part.size > total)
        if (await on_disk(part.target, part.head))[4:8] != b"ftyp":
            return attrs.evolve(_no_video(), discard=True)
        if not framed and not await on_disk(part.target, part.is_whole):
            return Setback(IntegrityError("the connection ended within the video: download again"), afresh=True)
        return None


def _no_video() -> Setback:
    return Setback(IntegrityError("what the server sent is not an MP4 video, perhaps an error page"))


def _joined(url: URL, place: str) -> str:
    try:
        return urljoin(str(url), place)
    except ValueError:
        return place
