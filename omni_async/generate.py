"""From a described video to a file: check, upload references, submit, wait, download; one, or many at once."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import attrs

from .arguments import MANY, OnProgress, TaskOrId, check_iterable, check_seconds, id_of, own, refuse_waiting
from .breaker import Breaker
from .dialects import Checked
from .errors import (
    Fault,
    JournalError,
    OmniError,
    RateLimitError,
    SubmissionUncertainError,
    TaskFailedError,
    invalid_argument,
    invalid_request,
)
from .exchange import Exchange
from .fields import local_references
from .identity import by_content, fingerprint, fingerprint_of
from .journal import NotNow
from .lazy import Late
from .lifetime import Lifetime, cut_short, loop_time
from .many import Callbacks, Many, Requests
from .models import Balance, Outcome, Stats, TaskStatus, VideoRequest, VideoTask
from .poller import Poller, traits_of
from .poller.iterators import Completed, Watch
from .poller.waiting import deadline_after, failure_of, wait_for
from .references import References, check_request, contents
from .refusing import changed, nothing_sent, recognized, tell_unsent
from .safety import file_name
from .snapshot import snapshot
from .submit import Create, Submitter, intent_of
from .turns import PATIENCE

if TYPE_CHECKING:  # loaded with the first video that is stored, and the first client that keeps a journal's file
    from .delivery import Delivery
    from .files import OnWhole
    from .following import Follower
    from .journal import Ledger, LedgerJournal

logger = logging.getLogger("omni_async")


@attrs.frozen(kw_only=True, eq=False)
class Studio:
    """The steps of making videos with one client.

    Args:
        exchange: What calls go through.
        submitter: Pays.
        poller: Follows.
        references: Uploads.
        delivery: Stores videos.
        follower: Of the journal file, if there is one.
        keep: Whether it keeps inputs.
        strict: Whether what breaks the documents' rules is refused.
        room: Tasks that `many` may have running at most, if that was set.
        life: From the client's first call to its end.
    """

    exchange: Exchange
    submitter: Submitter
    poller: Poller
    references: References
    delivery: "Late[Delivery]"
    follower: "Follower | None"
    keep: bool
    strict: bool
    room: int | None
    life: Lifetime

    def __repr__(self) -> str:
        return f"<Studio of {self.exchange.dialect.name}>"

    @property
    def journal(self) -> "LedgerJournal[Ledger] | None":
        """The journal file, if there is one."""
        return self.follower.journal if self.follower is not None else None

    def followed(self) -> "Follower":
        """Who follows the journal's tasks.

        Raises:
            JournalError: There is no journal file.
        """
        if self.follower is None:
            what = "this client keeps no journal file: OmniClient(journal=PATH) does, in PostgreSQL too"
            told = f"{what}; a journal of your own is asked and told by submit alone"
            raise JournalError(told, may_have_charged=False)
        return self.follower

    def accepted(self, task: VideoTask, request: VideoRequest) -> None:
        """A create went through: its task holds a slot while it runs, and a journalled one is followed to its end."""
        try:
            if task.status.finished:  # a replay of an order, say: how long it took is not to be learned from that
                self.exchange.limiter.finished(task.task_id, seen=False)
            else:
                self.poller.submitted(task, traits_of(task, request))
            if self.follower is not None:
                self.follower.follow(task)
        except Exception:  # it is paid for: whoever submitted it must get its id
            logger.exception("task %s was accepted, and cannot be followed", task.task_id)

    async def drain(self) -> None:
        """Begin no more, and wait until every create in flight has its recorded end."""
        await self.submitter.drain()

    async def open(self) -> None:
        """Open the journal."""
        if self.journal is not None:
            await self.journal.open()

    async def unfollow(self) -> None:
        """Follow the journal's tasks no more."""
        if self.follower is not None:
            await self.follower.aclose()

    def check(self, asked: VideoRequest, **seconds: float | None) -> Checked:
        """Check a request against the gateway's rules and the disk; sends nothing. Gives what is doubtful.

        Args:
            asked: The request.
            seconds: How long is waited for what, by the argument's name.

        Raises:
            InvalidRequestError: With every fault.
        """
        dialect = self.exchange.dialect
        checked = check_request(asked, dialect, strict=self.strict)
        if faults := (*checked.faults, *check_seconds(least=0, **seconds)):
            custom_id = asked.custom_id if isinstance(asked.custom_id, str) else None
            raise invalid_request(
                dict.fromkeys(faults), gateway=dialect.name, custom_id=custom_id, metadata=asked.metadata
            )
        for warning in checked.warnings:
            logger.warning("gateway %s: %s", dialect.name, warning)
        return checked

    async def refuse(self, asked: VideoRequest, **seconds: float | None) -> None:
        """As `check`; the error tells what the journal knows of the id."""
        try:
            self.check(asked, **seconds)
        except OmniError as error:
            await tell_unsent(error, asked, self.exchange.dialect.name, self.journal)
            raise

    async def submit(
        self,
        asked: VideoRequest,
        *,
        max_wait: float | None = None,
        patience: float = 0.0,
        breaker: Breaker | None = None,
        planned: str | None = None,
        on_leave: Callable[[], None] = lambda: None,
    ) -> VideoTask:
        """Upload what is local, then pay; a custom id that the journal knows gives its task instead.

        Args:
            asked: Checked.
            max_wait: See `Submitter.submit`.
            patience: See `Submitter.submit`.
            breaker: See `Submitter.submit`.
            planned: The fingerprint of a row that is in the journal already, to be sent.
            on_leave: Called when it may be sent, or its files are uploaded: at least once, unless nothing is sent.
        """
        ends, local = deadline_after(max_wait), any(local_references(asked))
        hashes: dict[str, str] = {}
        if local and planned is None:
            async with self.nothing_sent(asked):
                hashes = await contents(asked)
        create = self._unsent(asked, planned, hashes)
        # A create that goes at once asks the journal itself.
        own_id = self.journal is not None and asked.custom_id is not None and planned is None
        look, held = own_id and (local or self.exchange.limiter.busy), False
        while True:
            try:
                if look and (known := await self._known(asked, create.intent.fingerprint, sent=held)) is not None:
                    return known
                if local:
                    on_leave()
                    create = await self._published(create)
                    await self._refuse_changed(asked, planned)
                left = None if max_wait is None else max(ends - loop_time(), 0.0)
                return await self.submitter.submit(
                    create, max_wait=left, patience=patience, breaker=breaker, on_leave=on_leave
                )
            except NotNow as hold:
                await self._sent_elsewhere(asked, hold, ends)
                look = held = True
            except SubmissionUncertainError as doubt:
                if self.follower is None or "sent_before" not in doubt.evidence:
                    raise
                return await self.follower.found_again(create.intent.key, doubt)

    def _unsent(self, asked: VideoRequest, planned: str | None, hashes: dict[str, str]) -> Create:
        """A create as it is asked for, with its row; local references are still to be uploaded."""
        dialect = self.exchange.dialect
        call = dialect.create(by_content(asked, hashes))
        digest = planned or (fingerprint(dialect.name, call) if self.submitter.tells_apart else "")
        return Create(asked, intent_of(dialect, asked, digest, keep=self.keep and self.journal is not None), call)

    async def _published(self, create: Create) -> Create:
        """A create with a public URL in place of each local reference."""
        ready = await self.references.published(create.request)
        return Create(ready, create.intent, self.exchange.dialect.create(ready))

    async def _refuse_changed(self, asked: VideoRequest, planned: str | None) -> None:
        """Refuse a planned row whose local files are others by now: paid, it would count as edited, and be paid twice.

        Looked at after the upload, which may wait long for its turn.
        """
        if planned is not None and await self.fingerprint(asked) != planned:
            raise changed(asked)

    async def _known(self, asked: VideoRequest, digest: str, *, sent: bool) -> VideoTask | None:
        """The task that the journal knows by this custom id."""
        if self.journal is None or asked.custom_id is None:
            return None
        return await self.journal.known(asked.custom_id, digest, sent=sent)

    async def _sent_elsewhere(self, asked: VideoRequest, hold: NotNow, ends: float) -> None:
        """Somebody else is just sending this id: wait a little for what comes of it. It may be paid already."""
        try:
            if loop_time() + hold.seconds > ends:
                raise RateLimitError(f"{hold.why}, and max_wait is over", retry_after=hold.seconds)
            await self.submitter.waits.until(anyio.sleep, hold.seconds)
        except OmniError as error:
            error.may_have_charged = True
            raise error.about(gateway=self.exchange.dialect.name, custom_id=asked.custom_id)  # noqa: B904 - the same one

    async def fingerprint(self, asked: VideoRequest) -> str:
        """What makes it the same request again: local references count by their content.

        Raises:
            InvalidRequestError: One of them cannot be read.
        """
        return fingerprint_of(self.exchange.dialect, asked, await contents(asked))

    def stats(self) -> Stats:
        """A snapshot of where the client stands."""
        return snapshot(self.exchange, self.poller, self.submitter)

    async def balance(self, scope: str) -> Balance:
        """What the account or the key has left."""
        dialect = self.exchange.dialect
        if scope not in ("account", "key"):
            raise invalid_argument(Fault("scope", f"{scope!r} is not known", ("account", "key")), gateway=dialect.name)
        try:
            return await self.exchange.ask(dialect.balance(scope), dialect.read_balance)
        except OmniError as error:
            error.may_have_charged = False
            raise

    async def query(self, task: TaskOrId) -> VideoTask:
        """A task as one GET tells it, with what is the caller's own."""
        origin = own(task, self.exchange.dialect.name)
        whose: dict[str, Any] = {} if origin is None else {"custom_id": origin.custom_id, "metadata": origin.metadata}
        try:
            async with recognized(task, self.journal):
                return self.poller.queried(attrs.evolve(await self.exchange.query(id_of(task)), **whose))
        except OmniError as error:
            raise error.about(**whose)  # noqa: B904 - the same one

    def watch(self, task: TaskOrId, *, min_interval: float, timeout: float | None) -> Watch:
        """An iterator over a task's changes."""
        refuse_waiting(check_seconds(min_interval=min_interval, timeout=timeout))
        own(task, self.exchange.dialect.name)
        told = partial(recognized, task, self.journal)
        return Watch(self.poller, task, min_interval=min_interval, timeout=timeout, told=told)

    def as_completed(self, tasks: Iterable[TaskOrId], *, timeout: float | None) -> Completed:
        """An iterator over many tasks as they finish."""
        refuse_waiting([*check_iterable("tasks_or_ids", tasks), *check_seconds(timeout=timeout)])
        tasks = list(tasks)
        for task in tasks:
            own(task, self.exchange.dialect.name)
        return Completed(self.poller, tasks, timeout=timeout)

    async def wait(self, task: TaskOrId, timeout: float | None) -> VideoTask:
        """The finished task; TaskFailedError for one without a video."""
        refuse_waiting(check_seconds(timeout=timeout))
        origin = own(task, self.exchange.dialect.name)
        if origin is not None and origin.status.finished:
            return self.finished(origin)
        async with recognized(task, self.journal):
            seen = await wait_for(self.poller, task, timeout)
        if self.journal is not None:
            try:  # also of another process's row: the first who sees the end writes it
                await self.journal.finished(seen)
            except JournalError as error:  # the task is there all the same, and its follower goes on trying
                logger.error("the end of task %s could not be written down: %s", seen.task_id, error)
        return self.finished(seen)

    def finished(self, task: VideoTask) -> VideoTask:
        """A finished task with a video; TaskFailedError for one without."""
        if task.status is not TaskStatus.SUCCEEDED:
            raise self.failure(task)
        self.exchange.prompts.forget(task.task_id)
        return task

    def failure(self, task: VideoTask) -> TaskFailedError:
        """The error for a task that ended without a video."""
        private = self.exchange.prompts.of(task.task_id)
        return failure_of(task, moderated=self.exchange.dialect.moderated, private=private)

    async def download(
        self,
        task_or_url: TaskOrId,
        path: Path | str,
        *,
        overwrite: bool,
        on_progress: OnProgress | None = None,
        on_whole: "OnWhole | None" = None,
        patience: float | None = PATIENCE,
    ) -> Path:
        """Store a video, with one of the places for transfers; `patience` is that of `files.Patience`, in seconds."""
        try:
            async with self.exchange.transfer(closed=cut_short) as place:
                return await self.delivery().download(
                    task_or_url,
                    path,
                    overwrite=overwrite,
                    on_progress=on_progress,
                    on_whole=on_whole,
                    patience=patience,
                    rest=place.rest,
                )
        except OmniError as error:
            raise error.about(**self.delivery().whose(task_or_url))  # noqa: B904 - the same one

    async def one(
        self, asked: VideoRequest, *, timeout: float | None, output: str | None, overwrite: bool, max_wait: float | None
    ) -> VideoTask:
        """Submit, wait and store one video; the target is checked before anything is paid."""
        await self.refuse(asked, timeout=timeout, max_wait=max_wait)
        if output is not None:
            unknown = os.urandom(8).hex()  # stands for a task id that nobody knows yet
            target = await self.delivery().target(output, file_name(asked.custom_id or unknown))
            output = str(target) if asked.custom_id else output  # named as in `many`
            await self.refuse_existing(target, asked, overwrite=overwrite)
        task = await self.submit(asked, max_wait=max_wait)
        try:
            task = await self.wait(task, timeout)
            if output is not None:
                await self.download(task, output, overwrite=overwrite)
        except asyncio.CancelledError:  # an error would tell its id
            self.submitter.posts.left([Outcome(request=asked, task=task)])
            raise
        return task

    def many(self, requests: Requests, *, timeout: float | None, folder: Path | None, overwrite: bool) -> Many:
        """An iterator over the outcomes of many requests.

        Raises:
            InvalidRequestError: `timeout` is negative or no number, or `requests` a single one.
        """
        if faults := [*check_iterable("requests", requests, kinds=MANY), *check_seconds(least=0, timeout=timeout)]:
            raise invalid_argument(*faults, gateway=self.exchange.dialect.name)
        from .filed import Names, Rows

        rows = Rows(studio=self, folder=folder, overwrite=overwrite, names=Names(journalled=self.journal is not None))
        callbacks = Callbacks(
            request=rows.request,
            submit=rows.submit,
            follow=lambda task, row: self.poller.follow(task.task_id, row, origin=task) or task,
            let_go=self.poller.let_go,
            missed=self.poller.missed,
            finished=rows.finished,
            waits=self.exchange.waits,
            left=self.submitter.posts.left,
            download=None if folder is None else rows.store,
        )
        return Many(requests, callbacks, outstanding=self.room, timeout=timeout)

    def nothing_sent(self, asked: VideoRequest) -> AbstractAsyncContextManager[None]:
        """An error in here comes before anything is sent; it tells what the journal knows of the id."""
        return nothing_sent(asked, self.exchange.dialect.name, self.journal)

    async def refuse_existing(self, target: Path, asked: VideoRequest, *, overwrite: bool) -> None:
        """Refuse a target that can be no new file, before anything is paid."""
        async with self.nothing_sent(asked):
            await self.delivery().refuse_existing(target, overwrite=overwrite)
