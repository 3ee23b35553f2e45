"""OmniClient: the one object a user holds. It puts the layers together and passes calls on to them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import anyio

from .admission import Kind
from .delivery import Delivery
from .dialects import DIALECTS, Checked, Dialect
from .dialects.rules import check_fields
from .errors import AuthenticationError, Fault, InvalidRequestError, JournalError, OmniError
from .exchange import Exchange, OnEvent, Reporter
from .files import Downloader
from .journal import Journal, NoJournal
from .limiter import Limiter
from .many import Many, Steps
from .models import Balance, Outcome, Stats, VideoRequest, VideoTask, invalid
from .policies import Limits, PollPolicy, RetryPolicy, Timeouts
from .poller import Poller
from .references import References, check_references
from .safety import file_name, origins
from .schedule import Schedule
from .submit import Submitter
from .transport import Key, KeySource, Transport, checked_base_url, sound_key
from .waiting import Completed, Handle, Watch, id_of, video_or_error, wait_for

logger = logging.getLogger("omni_async")

Progress = Callable[[int, int | None], None]
Asked = VideoRequest | str | Mapping[str, Any]
OnFinished = Callable[[VideoTask], Awaitable[None]]

SAME_GATEWAY = frozenset({"gemini_omni", "toapis"})
PATIENCE = 600.0
"""Seconds a row of many goes on trying although the account allows nothing at all."""


class OmniClient:
    """Client of one gateway account.

    Works as `async with`, or constructed anywhere, started by the first call and ended by `await aclose()`, also from
    another task. It belongs to the event loop and the process that started it.

    Args:
        gateway: `jimmy`, `gemini_omni`, `toapis`, or a `Dialect` of your own.
        api_key: The key, or a plain or async function that gives it (asked again once after a 401); None reads the
            gateway's environment variable.
        base_url: Where the gateway is; None reads its environment variable, else takes its own address.
        session: A borrowed aiohttp session for API calls; it is left open.
        journal: Where creates are written down; None keeps nothing, and then a crash can lose an id.
        limits: What is known of the account's limits; the rest is found out.
        limiter: Another client's `limiter`, to share the account's limits with it.
        poll: When to look at running tasks.
        retry: How often what may be repeated is repeated.
        http_timeout: Seconds for single HTTP calls.
        proxy: `env` for the environment's proxies, a proxy's URL, or None.
        allow_hosts: Origins that downloads may reach although they are private or plain http.
        headers: Extra headers for API calls.
        strict: Whether a request that breaks the documents' rules is refused; False sends it, with a warning in the log.
        keep_requests: Whether a journal keeps the inputs.
        on_event: Called with each event, synchronously.
        on_finished: Awaited with each finished task of the journal.

    Raises:
        AuthenticationError: No key; names the variable.
        InvalidRequestError: A malformed setting.
    """

    def __init__(
        self,
        gateway: str | Dialect = "jimmy",
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        session: aiohttp.ClientSession | None = None,
        journal: Journal | None = None,
        limits: Limits | None = None,
        limiter: Limiter | None = None,
        poll: PollPolicy | None = None,
        retry: RetryPolicy | None = None,
        http_timeout: Timeouts | None = None,
        proxy: str | None = "env",
        allow_hosts: Iterable[str] = (),
        headers: Mapping[str, str] | None = None,
        strict: bool = True,
        keep_requests: bool = True,
        on_event: OnEvent | None = None,
        on_finished: OnFinished | None = None,
    ) -> None:
        self.dialect = dialect_of(gateway)
        self.limiter = limiter or Limiter(limits)
        self.strict = strict
        self.keep_requests = keep_requests
        self._limits = limits or Limits()
        retry, timeouts = retry or RetryPolicy(), http_timeout or Timeouts()
        where = checked_base_url(base_url or os.environ.get(self.dialect.base_url_variable) or self.dialect.base_url)
        report = Reporter(on_event)
        self._transport = Transport(
            dialect=self.dialect,
            base_url=where,
            key=Key(_key_of(self.dialect, api_key)),
            session=session,
            timeouts=timeouts,
            proxy=proxy,
            headers=headers,
        )
        self._exchange = Exchange(
            dialect=self.dialect, transport=self._transport, limiter=self.limiter, retry=retry, report=report
        )
        self._poller = Poller(self._exchange, _schedule(self.dialect, poll or PollPolicy()), workers=self._limits.max_connections)
        self._submitter = Submitter(self._exchange, _journal(journal, on_finished), self._poller.submitted)
        self._references = References(self._exchange)
        self._downloader = Downloader(allowed=origins(where, allow_hosts), proxy=proxy, timeouts=timeouts, retry=retry)
        self._delivery = Delivery(
            query=self.query,
            downloader=self._downloader,
            base_url=where,
            emit=report if report.wanted else None,
            gateway=self.dialect.name,
            failed=self._failure_of,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    # --- one video ---------------------------------------------------------------------------------------------

    async def submit(self, request: Asked, *, max_wait: float | None = None, **fields: Any) -> VideoTask:
        """Ask for one video. This pays.

        The POST is sent at most once, in a task of the client's: cancelled meanwhile, it goes on to a recorded end, which
        `unclaimed()`, `on_event` and the log tell.

        Args:
            request: A `VideoRequest`, or a text with the request's fields as keywords.
            max_wait: Seconds to wait at most for a free slot or the end of a pause; None for as long as it takes.
            fields: Fields of the request.

        Raises:
            InvalidRequestError: Refused before any I/O, with every fault.
            RateLimitError: `max_wait` is over, or the account allows nothing at all; nothing was charged.
            SubmissionUncertainError: It may have been charged; with the evidence.
            OmniError: Anything else; see `may_have_charged`.
        """
        self._enter()
        asked, fields = VideoRequest.of(request, fields), {}
        request = asked
        self.check(asked)
        ready = await self._references.published(asked)
        return await self._submitter.submit(ready, max_wait=max_wait)

    def check(self, request: Asked, **fields: Any) -> Checked:
        """Check a request against the gateway's rules and the disk; sends nothing.

        Returns:
            What is doubtful but not refused.

        Raises:
            InvalidRequestError: With every fault.
        """
        asked = VideoRequest.of(request, fields)
        checked = self.dialect.check(asked)
        faults, doubtful = (*checked.faults, *check_references(asked, self.dialect)), checked.warnings
        if not self.strict:
            broken = (*check_fields(asked, known=()), *check_references(asked, self.dialect))
            faults, doubtful = tuple(broken), (*doubtful, *(fault for fault in faults if fault not in broken))
        if faults:
            raise invalid(
                dict.fromkeys(faults),
                gateway=self.dialect.name,
                custom_id=asked.custom_id if isinstance(asked.custom_id, str) else None,
                metadata=asked.metadata or None,
            )
        for warning in doubtful:
            logger.warning("gateway %s: %s", self.dialect.name, warning)
        return Checked((), tuple(doubtful))

    async def query(self, task_or_id: Handle) -> VideoTask:
        """Look at a task: one GET.

        Raises:
            NotFoundError: The gateway does not know it.
            OmniError: No usable answer.
        """
        self._enter()
        task_id, origin = self._own(task_or_id)
        ticket = await self.limiter.acquire(Kind.POLL)
        try:
            task = await self._exchange.look(ticket, task_id)
        except OmniError as error:
            failure = error.about(task_id=task_id)
        else:
            if task.status.finished:
                self.limiter.finished(task_id)
            return _with_own(task, origin)
        failure.may_have_charged = True
        raise failure

    async def wait(self, task_or_id: Handle, *, timeout: float | None = 1800.0) -> VideoTask:
        """Wait for a task to finish; ids from anywhere can be waited for.

        Args:
            task_or_id: A task, or its id.
            timeout: Seconds for the whole wait; None waits for ever.

        Raises:
            TaskFailedError: It ended without a video.
            WaitTimeoutError: Still running: not a failure.
            NotFoundError: The gateway does not know it, for a minute already.
        """
        self._enter()
        _, origin = self._own(task_or_id)
        if origin is not None and origin.status.finished:
            return self._finished(origin)
        return self._finished(await wait_for(self._poller, task_or_id, timeout))

    def watch(self, task_or_id: Handle, *, min_interval: float = 0.0, timeout: float | None = 1800.0) -> Watch:
        """Follow a task: an async iterator with an item per change of status or progress, the finished task last.

        Args:
            task_or_id: A task, or its id.
            min_interval: Seconds between two items at least; changes in between are told as one.
            timeout: Seconds for the whole wait; None waits for ever.
        """
        self._enter()
        self._own(task_or_id)
        return Watch(self._poller, task_or_id, min_interval=min_interval, timeout=timeout)

    def as_completed(self, tasks_or_ids: Iterable[Handle], *, timeout: float | None = 1800.0) -> Completed:
        """Wait for many: an async iterator over finished tasks in order of finishing; failed ones are items too.

        Ids that could not be followed are raised after the others, several as an `ExceptionGroup`.
        """
        self._enter()
        tasks = list(tasks_or_ids)
        for task in tasks:
            self._own(task)
        return Completed(self._poller, tasks, timeout=timeout)

    async def generate(
        self,
        request: Asked,
        *,
        timeout: float | None = 1800.0,
        output: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        max_wait: float | None = None,
        **fields: Any,
    ) -> VideoTask:
        """Submit, wait, and download if `output` is given. This pays.

        Args:
            request: As in `submit`.
            timeout: Seconds for the wait after the submit.
            output: File to write, or a folder; checked before anything is paid.
            overwrite: Whether an existing file is replaced.
            max_wait: As in `submit`.
            fields: Fields of the request.

        Raises:
            OmniError: As `submit`, `wait` and `download`.
        """
        self._enter()
        asked, fields = VideoRequest.of(request, fields), {}
        request = asked
        self.check(asked)
        if output is not None and not Path(output).is_dir():
            await self._refuse_existing(Path(output), asked, overwrite=overwrite)
        task = await self.wait(await self.submit(asked, max_wait=max_wait), timeout=timeout)
        if output is not None:
            await self.download(task, output, overwrite=overwrite)
        return task

    def generate_many(
        self,
        requests: Iterable[Asked] | AsyncIterable[Asked],
        *,
        timeout: float | None = 1800.0,
        output: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> Many:
        """Many videos: an async iterator over an `Outcome` per request, in order of finishing. This pays.

        Requests are pulled only as fast as they can be run; one row's error never ends it.

        Args:
            requests: Any iterable or async iterable of what `submit` takes.
            timeout: Seconds for each row's wait after its submit.
            output: Folder for the videos, `<custom_id or task id>.mp4`; None downloads nothing.
            overwrite: Whether existing files are replaced.
        """
        self._enter()
        folder = None if output is None else Path(output)

        async def submit(item: Any) -> tuple[VideoRequest, VideoTask]:
            self._enter()
            asked = VideoRequest.of(item, {})
            self.check(asked)
            if folder is not None and asked.custom_id:
                await self._refuse_existing(folder / file_name(asked.custom_id), asked, overwrite=overwrite)
            ready = await self._references.published(asked)
            return asked, await self._submitter.submit(ready, patience=PATIENCE)

        async def download(task: VideoTask, request: VideoRequest) -> Path:
            assert folder is not None
            name = file_name(request.custom_id or task.task_id)
            return await self.download(task, folder / name, overwrite=overwrite)

        steps = Steps(
            submit=submit,
            follow=lambda task, waiter: self._poller.follow(task.task_id, waiter, origin=task),
            let_go=self._poller.let_go,
            finished=self._finished,
            closed=lambda: self._closed,
            download=None if folder is None else download,
        )
        return Many(requests, steps, outstanding=self._limits.max_running_tasks, timeout=timeout)

    # --- files and balance -------------------------------------------------------------------------------------

    async def download(
        self,
        task_or_url: Handle,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        on_progress: Progress | None = None,
    ) -> Path:
        """Store a video; interrupted, it is resumed by the next call.

        Args:
            task_or_url: A task, a task id, or a URL.
            path: File to write, or a folder.
            overwrite: Whether an existing file is replaced.
            on_progress: Called with bytes so far and bytes in all (None if not told).

        Raises:
            DownloadError: Not stored; its subclasses say why. Downloading again costs nothing.
        """
        self._enter()
        place = await self.limiter.acquire(Kind.TRANSFER)
        try:
            return await self._delivery.download(task_or_url, path, overwrite=overwrite, on_progress=on_progress)
        finally:
            self.limiter.unused(place)

    async def upload(self, path: str | os.PathLike[str], *, on_progress: Progress | None = None) -> str:
        """Upload a reference image or video and give its public URL.

        Raises:
            InvalidRequestError: Not there, too large, or of a kind the gateway does not take.
        """
        self._enter()
        return await self._references.upload(Path(path), on_progress=on_progress)

    async def balance(self, *, scope: str = "account") -> Balance:
        """What the account, or with `scope="key"` the key, has left."""
        self._enter()
        if scope not in ("account", "key"):
            raise invalid([Fault("scope", f"{scope!r} is not known", ("account", "key"))], gateway=self.dialect.name)
        try:
            return await self._exchange.ask(self.dialect.balance(scope), self.dialect.read_balance)
        except OmniError as error:
            error.may_have_charged = False
            raise

    # --- looking in, and the end -------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """A snapshot of where the client stands."""
        load = self.limiter.load()
        resumes = datetime.now(UTC) + timedelta(seconds=load.paused_for) if load.paused_for else None
        return Stats(
            gateway=self.dialect.name,
            in_flight=load.in_flight,
            window=load.window,
            running=load.running,
            slots=load.slots,
            pace=load.pace,
            create_pace=load.create_pace,
            paused_until=resumes,
            following=self._poller.following,
            waiting_creates=load.waiting_creates,
            uncertain=self._submitter.uncertain,
            unclaimed=len(self._submitter.unclaimed),
        )

    def unclaimed(self) -> tuple[Outcome, ...]:
        """Creates that ended after their caller had gone: with a task that runs, or an error that may have charged."""
        return tuple(self._submitter.unclaimed)

    async def aclose(self) -> None:
        """End the client: POSTs in flight are waited for, tasks go on at the gateway.

        Cancelled meanwhile, it goes on to the end and raises `CancelledError` afterwards.
        """
        if self._loop is None:
            self._closed = True
            return
        self._check_loop()
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not self._closing.done():
                try:
                    await asyncio.wait({self._closing})
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled
        self._closing.result()

    async def _close(self) -> None:
        await self._submitter.drain()
        await self._references.aclose()
        await self._poller.aclose()
        await self._downloader.aclose()
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _enter(self) -> None:
        """Start with the first call; later ones must come from the same loop and process."""
        if self._closed:
            raise OmniError("this client is closed; make a new one", gateway=self.dialect.name, may_have_charged=False)
        if self._loop is None:
            try:
                self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
            except RuntimeError:
                running = False
            else:
                running = True
            if not running:
                raise OmniError("no event loop runs: call this from async code", may_have_charged=False)
        self._check_loop()

    def _check_loop(self) -> None:
        if os.getpid() != self._pid:
            raise OmniError(
                "this client was started in another process; make one after the fork", may_have_charged=False
            )
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is not self._loop:
            raise OmniError("this client belongs to another event loop; make one per loop", may_have_charged=False)

    def _own(self, task_or_id: Handle) -> tuple[str, VideoTask | None]:
        """The id of what was given; a task of another gateway is a mistake."""
        task_id = id_of(task_or_id)
        if not isinstance(task_or_id, VideoTask):
            return task_id, None
        theirs, ours = task_or_id.gateway, self.dialect.name
        if theirs and theirs != ours and not {theirs, ours} <= SAME_GATEWAY:
            fault = Fault("task", f"it runs at gateway {theirs}, and this client speaks to {ours}")
            raise InvalidRequestError(str(fault), faults=(fault,), task_id=task_id, may_have_charged=True)
        return task_id, task_or_id

    def _finished(self, task: VideoTask) -> VideoTask:
        return video_or_error(task, moderated=self.dialect.moderated)

    def _failure_of(self, task: VideoTask) -> OmniError:
        try:
            self._finished(task)
        except OmniError as error:
            return error
        return OmniError("the task has a video after all", task_id=task.task_id)

    async def _refuse_existing(self, target: Path, request: VideoRequest, *, overwrite: bool) -> None:
        try:
            await self._downloader.refuse_existing(target, overwrite=overwrite)
        except OmniError as error:
            error.may_have_charged = False
            raise error.about(gateway=self.dialect.name, custom_id=request.custom_id, metadata=request.metadata or None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._loop is None else "open"
        return f"<OmniClient {self.dialect.name} {state}, {self.limiter!r}>"


def dialect_of(gateway: str | Dialect) -> Dialect:
    """The dialect of a gateway's name, or the caller's own.

    Raises:
        InvalidRequestError: No such gateway.
    """
    if isinstance(gateway, Dialect):
        return gateway
    if isinstance(gateway, str) and gateway in DIALECTS:
        return DIALECTS[gateway]()
    raise invalid([Fault("gateway", f"{gateway!r} is not known", tuple(DIALECTS))])


def _key_of(dialect: Dialect, api_key: KeySource | None) -> KeySource:
    if callable(api_key):
        return api_key
    given = api_key if api_key is not None else os.environ.get(dialect.key_variable)
    if given is None:
        raise AuthenticationError(
            f"no API key for gateway {dialect.name}: set the environment variable {dialect.key_variable} or pass api_key=… "
            "(the emulator takes any key)",
            gateway=dialect.name,
            may_have_charged=False,
        )
    return sound_key(given)


def _schedule(dialect: Dialect, poll: PollPolicy) -> Schedule:
    advice = dialect.abilities
    shortest = poll.min_interval if poll.min_interval is not None else advice.min_interval
    longest = max(poll.max_interval if poll.max_interval is not None else advice.max_interval, shortest)
    shortest = min(shortest, longest) if poll.min_interval is not None else min(shortest, poll.max_interval or shortest)
    first = min(max(advice.first_look, shortest), longest) if poll.min_interval is None else shortest
    return Schedule(first=min(first, longest), shortest=shortest, longest=longest, fixed=poll.fixed)


def _journal(journal: Journal | None, on_finished: OnFinished | None) -> Journal:
    if isinstance(journal, str | os.PathLike):
        raise JournalError(
            "this version keeps no journal file yet: leave journal=None, or pass an object that answers its five calls",
            may_have_charged=False,
        )
    if on_finished is not None and journal is None:
        raise invalid([Fault("on_finished", "it is called for the tasks of a journal, and there is none")])
    return journal if journal is not None else NoJournal()


def _with_own(task: VideoTask, origin: VideoTask | None) -> VideoTask:
    if origin is None or (origin.custom_id is None and not origin.metadata):
        return task
    import attrs

    return attrs.evolve(task, custom_id=origin.custom_id, metadata=origin.metadata)
