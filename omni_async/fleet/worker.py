"""A worker: takes rows from the queue, makes their videos with an ordinary client, and stores them.

A job of the queue holds one of the account's seats from the moment it is taken until its task was seen finished. Its
handler never raises what the queue would take for an end: it returns when nothing is left to be done, or asks for the
job to be queued again.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Unpack

import psycopg
from pgqueuer.errors import FailingListenerError, RetryRequested
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.types import QueueEntrypoint

from ..breaker import Breaker
from ..client import OmniClient
from ..dialects import Dialect
from ..errors import DownloadError, InvalidRequestError, JournalError, OmniError
from ..journal import SqliteJournal
from ..journal.session import postgres_error
from ..making import ClientOptions
from ..policies import Limits
from ..settings import dialect_of
from ..storage import Storage
from .book import FleetBook, SharedJournal, own_file
from .budget import Budget, FleetLimiter
from .looking import check_set_up
from .queue import AWAY, FleetDriver, FleetQueries, connect
from .steps import Later, Steps
from .storing import Storing
from .tables import download_job, video_job

logger = logging.getLogger("omni_async")

HEARTBEAT = 30.0
"""Seconds without a sign of life after which another worker takes a job over."""
LOOK = 2.0
"""Seconds between two looks for jobs whose worker has died."""
REFRESH = 1.0
"""Seconds between two looks at the limits."""
RESTORE, SIGN = 30.0, 3.0
"""Seconds between two looks for rows without a job, and between two lines in the table of workers."""
BATCH = 50
"""Jobs taken at a time."""
FIRST, LONGEST = 0.5, 15.0
"""Seconds before the database is tried again."""
AT_ONCE = timedelta(seconds=-1)
"""For a job that is given back. Before now by any clock: the queue compares with the time at which a look for jobs
began, and what it does not see as due leaves its free seat to another."""

Step = Callable[[str, int], Coroutine[Any, Any, Later]]
"""What is done for a row, by its key, that was tried so often."""


class Worker:
    """One worker of a fleet. `await worker.run()` until `stop()` is called or the key is refused.

    Args:
        dsn: The fleet's database.
        gateway: Whose rows.
        storage: Where videos go.
        state: Folder of this machine's own journal, which all its workers share.
        heartbeat: Seconds without a sign of life after which another worker takes over.
        concurrency: Rows this worker has in hand at most, 2 or more; None for as many as the account has seats.
        downloads: Videos fetched at the same time.
        limits: Of the account, as far as they are known and not set for the whole fleet.
        options: Further keywords of `OmniClient`.
    """

    def __init__(
        self,
        dsn: str,
        *,
        gateway: str | Dialect = "jimmy",
        storage: Storage,
        state: Path,
        heartbeat: float = HEARTBEAT,
        concurrency: int | None = None,
        downloads: int = 8,
        limits: Limits | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self.dialect = dialect_of(gateway)
        self.name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        self._dsn, self._storage, self._heartbeat = dsn, storage, heartbeat
        self._hands = max(concurrency, 2) if concurrency else None  # the queue demands twice the batch
        name = self.dialect.name
        self.shared = SharedJournal(dsn, gateway=name, name=self.name)
        self.local = SqliteJournal(
            own_file(state, name), clock=self.shared.now, gateway=name, notify=True, follow_others=False
        )
        self.budget = Budget(name, self._ask)
        limits = limits or Limits()
        limiter = FleetLimiter(self.budget, limits)
        self.book = FleetBook(self.local, self.shared, limiter.on_time)
        self.client = OmniClient(self.dialect, journal=self.book, limits=limits, limiter=limiter, **options)
        self.steps = Steps(self.book, self.client, Breaker())
        self.storing = Storing(self.book, self.client, storage, downloads, self._hands)
        self._connection: Any = None
        self._asking = asyncio.Lock()
        self._queue: QueueManager | None = None
        self._stopping = self._worked = False
        self._stopped = asyncio.Event()
        self.failure: OmniError | None = None

    # --- running and stopping ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop()`; a database that goes away is waited for.

        Raises:
            OmniError: The key is refused, videos cannot be stored there, or the tables are not set up or not its own.
        """
        await self._check_storage()
        pause = FIRST
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            await self.client.__aenter__()
            await self.local.open()
            while not self._stopping:
                self._worked = False
                try:
                    await self._serve()
                except Exception as error:
                    told = postgres_error(error) if isinstance(error, psycopg.Error) else error
                    if not _is_away(error):
                        raise told from None
                    logger.warning("the fleet's database went away (%s): trying again", _name(told))
                pause = FIRST if self._worked else min(pause * 2, LONGEST)
                if not self._stopping:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stopped.wait(), pause)
        if self.failure is not None:
            raise self.failure

    async def _check_storage(self) -> None:
        """See that videos can be stored. What cannot be used now may be in a minute: no slip of the caller's."""
        try:
            await self._storage.check()
        except InvalidRequestError as error:
            raise DownloadError("; ".join(fault.problem for fault in error.faults)) from None

    async def stop(self, failure: OmniError | None = None) -> None:
        """Take no more, let creates in flight come to their recorded end, and give back what is only waited for."""
        if self._stopping:
            return
        self._stopping, self.failure = True, failure
        self._stopped.set()
        if self._queue is not None:
            self._queue.shutdown.set()
        self.budget.end()
        await self.client.studio.drain()
        self.steps.halt()

    async def _close(self) -> None:
        await self.budget.aclose()
        await self.client.aclose()
        with suppress(Exception):
            await self.book.heal()
        await self.shared.aclose()
        await self.local.aclose()

    # --- one connection's time ---------------------------------------------------------------------------------

    async def _serve(self) -> None:
        """Work as long as the database is there."""
        lost = asyncio.Event()
        self.steps.go_on()
        async with AsyncExitStack() as stack:
            asking, listening, own = [await stack.enter_async_context(await connect(self._dsn)) for _ in range(3)]
            self._connection = own
            await self._prepare()
            if self._stopping:
                return
            self._worked = True
            driver = FleetDriver(asking, listening, lost.set)
            queue = self._manager(FleetQueries(driver))
            self._queue = queue
            running = asyncio.ensure_future(self._run_queue(queue))
            beside = [
                asyncio.ensure_future(work) for work in (self._keep_limits(queue), self._keep_rows(), lost.wait())
            ]
            try:
                await asyncio.wait({running, *beside}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    driver.lose()
                    self.steps.halt()
                    queue.shutdown.set()
                failed = [task for task in beside[:2] if task.done() and not task.cancelled() and task.exception()]
                await running
                for task in failed:
                    task.result()
            finally:
                if not running.done():
                    driver.lose()  # the queue takes a cancelled job for one that has ended
                for task in (running, *beside):
                    task.cancel()
                await asyncio.wait({running, *beside})
                with suppress(Exception):
                    await self._sign("gone" if self._stopping else "away")
                self._queue, self._connection = None, None

    async def _prepare(self) -> None:
        """What this machine knows goes into the tables first; then every row has its job."""
        await self.shared.run(check_set_up)
        await self.budget.refresh()
        healed = await self.book.heal()
        if healed:
            logger.warning("%d rows of the fleet were completed from this machine's journal", healed)
        await self.shared.run(lambda ledger: ledger.restore())
        await self._sign("working")

    def _manager(self, queries: FleetQueries) -> QueueManager:
        queue = QueueManager(queries)
        allowed = self.budget.allowed
        name = self.dialect.name
        queue.entrypoint(video_job(name), concurrency_limit=allowed.running if allowed else 0)(
            self._handler(self.steps.video)
        )
        queue.entrypoint(download_job(name))(self._handler(self.storing.download))
        return queue

    async def _run_queue(self, queue: QueueManager) -> None:
        try:
            await queue.verify_structure()
        except RuntimeError:  # in words of the queue's own program
            raise JournalError(
                "the queue's tables are missing or old: omni-async fleet init --dsn …", kind="setup"
            ) from None
        most = self._hands
        await queue.run(
            dequeue_timeout=timedelta(seconds=LOOK),
            batch_size=min(BATCH, most // 2) if most else BATCH,
            max_concurrent_tasks=most,
            heartbeat_timeout=timedelta(seconds=self._heartbeat),
        )

    def _handler(self, step: Step) -> Callable[[Job], Awaitable[None]]:
        async def handle(job: Job) -> None:
            key = (job.payload or b"").decode()
            try:
                again = await self.steps.until_halted(_insisting(step, key, job.attempts))
            except Exception as error:  # nothing may end a job but its own end
                logger.exception("row %s: an unexpected error; it is tried again", key)
                raise RetryRequested(timedelta(seconds=LONGEST), type(error).__name__) from None
            if isinstance(again, OmniError):
                await self.stop(again)
                again = 0.0
            if again is not None:
                raise RetryRequested(timedelta(seconds=again) if again else AT_ONCE, "later")

        return handle

    # --- beside --------------------------------------------------------------------------------------------------

    async def _keep_limits(self, queue: QueueManager) -> None:
        """The limits of the row hold from the next second on."""
        seats = queue.entrypoint_registry[QueueEntrypoint(video_job(self.dialect.name))].parameters
        while True:
            await asyncio.sleep(REFRESH)
            seats.concurrency_limit = (await self.budget.refresh()).running

    async def _keep_rows(self) -> None:
        """Rows without a job get one; what the tables missed is told them; and this worker is seen to live."""
        restored = time.monotonic()
        while True:
            late = self.book.behind or self.book.unsent
            await asyncio.sleep(REFRESH if late else SIGN)
            if late:
                await self.book.heal(list(self.book.behind))
            if time.monotonic() - restored > RESTORE:
                restored = time.monotonic()
                await self.shared.run(lambda ledger: ledger.restore(every=RESTORE))
            await self._sign("working")

    async def _sign(self, state: str) -> None:
        await self._ask(
            "INSERT INTO omni_worker (name, gateway, host, state, following, sent, uncertain)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET state = excluded.state,"
            " following = excluded.following, sent = excluded.sent, uncertain = excluded.uncertain,"
            " seen_at = clock_timestamp() RETURNING 1",
            self.name,
            self.dialect.name,
            socket.gethostname(),
            state,
            self.steps.at_hand,
            self.steps.sent,
            self.client.studio.submitter.uncertain,
        )

    async def _ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement on this worker's own connection."""
        connection = self._connection
        if connection is None:
            raise JournalError("the fleet's database is away", kind="failed")
        async with self._asking:
            cursor = await connection.execute(statement, values)
            return list(await cursor.fetchall())


async def _insisting(step: Step, key: str, tries: int) -> Later:
    """What a step comes to. While the database is away it keeps its job: a seat given back may be a running task's."""
    while True:
        try:
            return await step(key, tries)
        except Exception as error:
            if not _is_away(error):
                raise
            logger.info("row %s is tried again: %s", key, _name(error))
        await asyncio.sleep(REFRESH)


def _is_away(error: BaseException) -> bool:
    """Whether it is the database that went away: then waiting helps."""
    if isinstance(error, JournalError):
        return error.kind in ("failed", "locked", "full")
    return isinstance(error, (*AWAY, FailingListenerError, OSError))


def _name(error: BaseException) -> str:
    return str(error.args[0]) if isinstance(error, OmniError) else type(error).__name__
