"""OmniClient: the one object a user holds. It puts the layers together and passes calls on to them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self, Unpack

import aiohttp

from .arguments import FilePath, Link, OnProgress, TaskOrId, id_of, path_of
from .dialects import Checked, Dialect
from .events import OnEvent, OnFinished
from .fields import RequestFields
from .generate import Studio
from .journal import Journal
from .keys import KeySource
from .limiter import Limiter
from .making import make
from .many import Asked, Many, Requests
from .models import Balance, Outcome, Stats, VideoRequest, VideoTask
from .orders import Orders
from .policies import Limits, PollPolicy, Recording, RetryPolicy, Timeouts
from .poller import Completed, Watch
from .webhooks import WebhookEvent


class OmniClient(Orders):
    """Client of one gateway account.

    Works as `async with`, or constructed anywhere, started by the first call and ended by `await aclose()`. It belongs
    to the event loop and the process that started it.

    Args:
        gateway: `jimmy`, `gemini_omni`, `toapis`, or a `Dialect` of your own.
        api_key: The key, or a plain or async function that gives it (asked again once after a 401); None reads the
            gateway's environment variable.
        base_url: Where the gateway is; None reads its environment variable, else takes its own address.
        session: A borrowed aiohttp session for API calls; it is left open.
        journal: File in which creates are written down, shared by an app's processes on one machine, or an address of
            PostgreSQL (`postgresql://…`) for several; each account and each app takes its own. With None a crash can
            lose an id. An object of your own may answer the calls of `journal.Journal`; `find`, `pending`, `resume`,
            `settle` and `on_finished` need a file or PostgreSQL.
        limits: What is known of the account's limits; the rest is found out.
        limiter: Another client's, to share the account's limits. Beside it only `max_running_tasks` of `limits` counts.
        poll: When to look at running tasks.
        retry: How often what may be repeated is repeated.
        http_timeout: Seconds for single HTTP calls.
        proxy: `env` for the environment's proxies, a proxy's URL, or None.
        allow_hosts: Origins that downloads may reach although they are private or plain http.
        headers: Extra headers for API calls.
        strict: Whether a request that breaks the documents' rules is refused; False sends it and warns in the log.
        keep_requests: Whether the journal keeps inputs; without them `resume()` cannot tell what was asked.
        on_event: Called with each event; a plain function, for it is not awaited.
        on_finished: Called, or awaited, with each finished task of the journal, at least once, until it returns; also
            with those of processes that died, so all sharers give the same. Without `async with`, begun by `pending()`.
        record: Folder in which exchanges are kept as samples for `Emulator(replay=…)`, without keys, signed queries
            and prompts; a `Recording` can keep prompts. It never fails a call.

    Raises:
        AuthenticationError: No key; names the variable.
        InvalidRequestError: A malformed setting.

    Attributes:
        dialect: How the gateway is spoken to: its `name`, its `abilities`, its table of models.
        limiter: What was found of the account's limits; give it to another client of the same account.
    """

    def __init__(
        self,
        gateway: str | Dialect = "jimmy",
        *,
        api_key: KeySource | None = None,
        base_url: str | None = None,
        session: aiohttp.ClientSession | None = None,
        journal: Journal | FilePath | None = None,
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
        record: Recording | FilePath | None = None,
    ) -> None:
        given = {**locals()}  # as `making.Settings` lists them
        del given["self"]
        self.studio = make(**given)  # for the layers above
        self.dialect, self.limiter = self.studio.exchange.dialect, self.studio.exchange.limiter

    async def submit(
        self, request: Asked, *, max_wait: float | None = None, **fields: Unpack[RequestFields]
    ) -> VideoTask:
        """Ask for one video. This pays.

        The POST is sent at most once, in a task of the client's: cancelled meanwhile, it goes on to a recorded end,
        which `unclaimed()`, `on_event` and the log tell; cancelled before, while it waits for a slot, nothing is sent.

        Args:
            request: A `VideoRequest`, or a text with the request's fields as keywords.
            max_wait: Seconds to wait at most for a free slot or the end of a pause; None for as long as it takes.
            fields: `model`, `duration`, `resolution`, `aspect_ratio`, `orientation`, `image_urls`, `images`,
                `video_urls`, `generation_type`, `mode`, `extra`, `custom_id`, `metadata`; see `help(VideoRequest)`.

        Returns:
            The task, as the gateway accepted it; with a journal that knows its `custom_id` the task it had, unpaid.

        Raises:
            InvalidRequestError: Refused before any I/O, with every fault.
            RateLimitError: `max_wait` is over, or the account allows nothing at all; nothing was charged.
            SubmissionUncertainError: It may have been charged; with the evidence.
            OmniError: Anything else; see `may_have_charged`.
        """
        studio, request = self._begun(), VideoRequest.of(request, fields, "max_wait")
        del fields  # no prompt may stay in a frame that a traceback shows
        await studio.refuse(request, max_wait=max_wait)
        return await studio.submit(request, max_wait=max_wait)

    def check(self, request: Asked, **fields: Unpack[RequestFields]) -> Checked:
        """Check a request against the gateway's rules and the disk; sends nothing.

        Args:
            request: As in `submit`.
            fields: `model`, `duration`, `resolution`, `aspect_ratio`, `orientation`, `image_urls`, `images`,
                `video_urls`, `generation_type`, `mode`, `extra`, `custom_id`, `metadata`; see `help(VideoRequest)`.

        Returns:
            What is doubtful but not refused.

        Raises:
            InvalidRequestError: With every fault.
        """
        return self.studio.check(VideoRequest.of(request, fields))

    async def query(self, task_or_id: TaskOrId) -> VideoTask:
        """Look at a task: one GET.

        Args:
            task_or_id: A task, or its id.

        Returns:
            The task as it stands now, failed ones too, with what is the caller's own of a task that was given.

        Raises:
            NotFoundError: The gateway does not know it.
            OmniError: No usable answer, or a failure that may be another task's (DecodeError): asking again settles it.
        """
        return await self._begun().query(task_or_id)

    async def wait(self, task_or_id: TaskOrId, *, timeout: float | None = 1800.0) -> VideoTask:
        """Wait for a task to finish; ids from anywhere can be waited for.

        Args:
            task_or_id: A task, or its id.
            timeout: Seconds for the whole wait; None waits for ever.

        Returns:
            The finished task, with a video.

        Raises:
            TaskFailedError: It ended without a video.
            WaitTimeoutError: Still running: not a failure.
            NotFoundError: The gateway does not know it, for a minute already.
            InvalidRequestError: No task id, or `timeout` is not a number.
            OmniError: Any other reason for which it cannot be followed, such as a refused key.
        """
        return await self._begun().wait(task_or_id, timeout)

    def watch(self, task_or_id: TaskOrId, *, min_interval: float = 0.0, timeout: float | None = 1800.0) -> Watch:
        """Follow a task from change to change; a failed one is an item, too, and no error.

        Args:
            task_or_id: A task, or its id.
            min_interval: Seconds between items at least, with changes in between told as one; the last comes at once.
            timeout: Seconds for the whole wait; None waits for ever.

        Returns:
            An async iterator with an item per change of status or progress, the finished task last.

        Raises:
            InvalidRequestError: No task id, or `min_interval` or `timeout` is not a number.
            OmniError: From the iterator, as by `wait`: WaitTimeoutError, or it cannot be followed.
        """
        return self._begun().watch(task_or_id, min_interval=min_interval, timeout=timeout)

    def as_completed(self, tasks_or_ids: Iterable[TaskOrId], *, timeout: float | None = 1800.0) -> Completed:
        """Wait for many tasks; failed ones are items, too, and no errors.

        Args:
            tasks_or_ids: Tasks, ids, or both.
            timeout: Seconds for the whole wait; None waits for ever.

        Returns:
            An async iterator over the finished tasks, in order of finishing.

        Raises:
            InvalidRequestError: A single id, what is not a task id, or `timeout` is not a number.
            OmniError: From the iterator, last, for what runs still or cannot be followed; several as `ExceptionGroup`.
        """
        return self._begun().as_completed(tasks_or_ids, timeout=timeout)

    async def generate(
        self,
        request: Asked,
        *,
        timeout: float | None = 1800.0,
        output: FilePath | None = None,
        overwrite: bool = False,
        max_wait: float | None = None,
        **fields: Unpack[RequestFields],
    ) -> VideoTask:
        """Submit, wait, and download if `output` is given. This pays.

        Args:
            request: As in `submit`.
            timeout: Seconds for the wait after the submit.
            output: File to write, or a folder as in `download`; checked before anything is paid.
            overwrite: Whether an existing file is replaced.
            max_wait: As in `submit`.
            fields: `model`, `duration`, `resolution`, `aspect_ratio`, `orientation`, `image_urls`, `images`,
                `video_urls`, `generation_type`, `mode`, `extra`, `custom_id`, `metadata`; see `help(VideoRequest)`.

        Returns:
            The finished task. Its video is the file `output`, or in that folder `<custom_id or task id>.mp4`, of which
            letters that a file system could refuse become `_`.

        Raises:
            OmniError: As `submit`, `wait` and `download`.
        """
        studio, request = self._begun(), VideoRequest.of(request, fields, "timeout", "output", "overwrite", "max_wait")
        del fields
        target = None if output is None else path_of("output", output)
        return await studio.one(request, timeout=timeout, output=target, overwrite=overwrite, max_wait=max_wait)

    def generate_many(
        self,
        requests: Requests,
        *,
        timeout: float | None = 1800.0,
        output: FilePath | None = None,
        overwrite: bool = False,
    ) -> Many:
        """Make many videos, pulled only as fast as they can be run; one's error never ends it. This pays.

        Args:
            requests: Any iterable or async iterable of what `submit` takes.
            timeout: Seconds for each row's wait after its submit.
            output: Folder for the videos, each named as by `generate` and its own; None downloads nothing.
            overwrite: Whether existing files are replaced.

        Returns:
            An async iterator over an `Outcome` per request, in order of finishing; `path` is where the video is.

        Raises:
            InvalidRequestError: `timeout` is not a number from 0, or `requests` a single one. An outcome tells a row's.
            Exception: From the iterator, last: AuthenticationError or QuotaError, with which no more is pulled, or what
                `requests` itself raised.
        """
        studio, folder = self._begun(), None if output is None else Path(path_of("output", output))
        return studio.many(requests, timeout=timeout, folder=folder, overwrite=overwrite)

    async def download(
        self, task_or_url: TaskOrId, path: FilePath, *, overwrite: bool = False, on_progress: OnProgress | None = None
    ) -> Path:
        """Store a video; interrupted, it is resumed by the next call.

        Args:
            task_or_url: A task, a task id, or a URL.
            path: File to write, or a folder: one that is there, or a path that ends in a separator.
            overwrite: Whether an existing file is replaced.
            on_progress: Called with bytes so far and bytes in all (None if not told).

        Returns:
            The file; in a folder it is named after the task, `<task id>.mp4`, or by a hash of the URL.

        Raises:
            DownloadError: Not stored; its subclasses say why. Downloading again costs nothing.
            OmniError: The task ended without a video, or the gateway does not tell its URL.
        """
        studio, task_or_url = self._begun(), Link.of(task_or_url)
        return await studio.download(task_or_url, path_of("path", path), overwrite=overwrite, on_progress=on_progress)

    async def upload(
        self, path: FilePath | bytes, *, name: str | None = None, on_progress: OnProgress | None = None
    ) -> str:
        """Upload a reference image or video; this costs nothing.

        Args:
            path: The local file, or the bytes of one that is in memory.
            name: What bytes are called, such as `photo.png`: its ending tells what they are, as a file's does.
            on_progress: Called with bytes so far and bytes in all.

        Returns:
            Its public URL, for `image_urls` or `video_urls`.

        Raises:
            InvalidRequestError: Not there, too large, of a kind the gateway does not take, or bytes without a name.
            OmniError: No usable answer.
        """
        file = path if isinstance(path, bytes) else Path(path_of("path", path))
        return await self._begun().references.upload(file, name=name, on_progress=on_progress)

    async def balance(self, *, scope: Literal["account", "key"] = "account") -> Balance:
        """Ask what the account or the key has left.

        Args:
            scope: `account` or `key`; toapis knows one balance, whatever the scope.

        Returns:
            What is left and what was used, in the gateway's own unit.

        Raises:
            InvalidRequestError: Another scope, or a gateway that tells none.
            OmniError: No usable answer.
        """
        return await self._begun().balance(scope)

    def notify(self, event: WebhookEvent | TaskOrId) -> None:
        """Have a task looked at at once, as when a webhook says that it has ended; returns without waiting.

        What an event says is not believed: the look tells. So a forged one costs a GET, a lost one time. However many
        come, there is one look at a time. Ids that this client does not follow are passed over.

        Args:
            event: What `verify_webhook` gave, a task, or its id.

        Raises:
            InvalidRequestError: Neither of these.
        """
        self._begun().poller.notice(event.task_id if isinstance(event, WebhookEvent) else id_of(event))

    def stats(self) -> Stats:
        """A snapshot of where the client stands."""
        return self.studio.stats()

    def unclaimed(self) -> tuple[Outcome, ...]:
        """The last 10,000 creates that ended after their caller had gone: its task, or an error that may charge."""
        return tuple(self.studio.submitter.posts.unclaimed)

    async def aclose(self) -> None:
        """End the client: POSTs in flight are waited for, tasks go on at the gateway.

        Cancelled meanwhile, it goes on to the end and raises `asyncio.CancelledError` afterwards.
        """
        await self.studio.life.close()

    async def __aenter__(self) -> Self:
        await self.studio.life.open(self.studio.open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _begun(self) -> Studio:
        self.studio.life.enter()
        return self.studio

    def __repr__(self) -> str:
        return f"<OmniClient {self.dialect.name} {self.studio.life.state}, {self.limiter!r}>"
