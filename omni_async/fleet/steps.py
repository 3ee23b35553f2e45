"""What a worker does for one row, from where it stands to the end of its task; `storing` has the rest."""

import asyncio
import enum
import logging
from collections.abc import Coroutine
from typing import Any

from ..breaker import Breaker, Shutout
from ..client import OmniClient
from ..errors import (
    AuthenticationError,
    DecodeError,
    JournalError,
    NotFoundError,
    OmniError,
    QuotaError,
    RateLimitError,
    RejectedError,
    SubmissionUncertainError,
    TaskFailedError,
    WaitTimeoutError,
)
from ..journal import Entry, NotNow, State
from ..journal.entries import request_of, sent_again
from ..journal.ledger import LEASE
from ..lifetime import loop_time
from ..submit import find_lost, recover
from .book import FleetBook

logger = logging.getLogger("omni_async")

SENDING = 150.0
"""Seconds after which a create that somebody sent has ended, one way or the other: the POST's own timeout, and some."""
GLANCE = 1.0
"""Seconds between two looks at a row that another worker may still complete."""
LATER, MUCH_LATER, LONGEST = 5.0, 300.0, 300.0
"""Seconds before a row is tried again: soon; after its task has run longer than any should; and at most."""

Later = float | OmniError | None
"""When a row is to be looked at again, in seconds; the error for which its worker has to end; or never."""


class _GoOn(enum.Enum):
    """Look at once where the row stands now."""

    GO_ON = enum.auto()


class Steps:
    """The steps of one worker's rows. Each gives None when nothing is left to be done, or the seconds until the next
    try, or the error for which the worker has to end.

    Args:
        book: Both journals.
        client: Pays, follows.
        breaker: Holds creates back when too many end uncertain.
    """

    def __init__(self, book: FleetBook, client: OmniClient, breaker: Breaker) -> None:
        self._book, self._breaker, self._studio = book, breaker, client.studio
        self._shutout = Shutout()
        self._halt: asyncio.Future[None] | None = None
        self.at_hand = self.sent = 0

    # --- letting go ----------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Work, until the next halt."""
        self._halt = asyncio.get_running_loop().create_future()

    def halt(self) -> None:
        """Let go of every row. What is on its way to the gateway goes on to its recorded end."""
        if self._halt is not None and not self._halt.done():
            self._halt.set_result(None)

    async def until_halted(self, step: Coroutine[Any, Any, Later]) -> Later:
        """Do a step, unless the worker lets go meanwhile: then it is for the next who takes the job."""
        work = asyncio.ensure_future(step)
        ends: set[asyncio.Future[Any]] = {work} if self._halt is None else {work, self._halt}
        self.at_hand += 1
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            self.at_hand -= 1
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        return 0.0

    # --- a video -------------------------------------------------------------------------------------------------

    async def video(self, key: str, tries: int) -> Later:
        """From a row to the end of its task. What it waits for grows with the number of its tries."""
        later: Later | _GoOn = _GoOn.GO_ON
        while later is _GoOn.GO_ON:
            later = await self._step(await self._entry(key))
        return min(later * 2 ** min(tries, 10), LONGEST) if isinstance(later, float) else later

    async def _step(self, entry: Entry | None) -> "Later | _GoOn":
        """One step of a row, by where it stands."""
        if entry is None:
            return None
        if entry.state is State.PLANNED or sent_again(entry):
            return await self._send(entry)
        if entry.state is State.SUBMITTING:
            return await self._sent_by_another(entry)
        if entry.state is State.UNCERTAIN:
            return await self._uncertain(entry)
        return await self._follow(entry) if entry.state is State.SUBMITTED else None

    async def _entry(self, key: str) -> Entry | None:
        return await self._book.shared.run(lambda ledger: ledger.entry(key))

    async def _send(self, entry: Entry) -> "Later | _GoOn":
        """Pay for it, at most once: the shared row is SUBMITTING before anything is sent."""
        request = request_of(entry)
        if request is None:
            logger.error("row %s has no inputs: it cannot be sent", entry.key)
            return None
        self.sent += 1
        try:
            await self._studio.submit(request, planned=entry.fingerprint, breaker=self._breaker)
            self._shutout.accepted()
        except (NotNow, SubmissionUncertainError):
            return _GoOn.GO_ON
        except JournalError as error:
            return _GoOn.GO_ON if error.kind == "conflict" else LATER
        except (AuthenticationError, QuotaError) as error:
            return error if self._shutout.is_for_all(error) else LATER
        except RateLimitError as error:
            return float(error.retry_after or LATER)
        except OmniError as error:
            now = await self._entry(entry.key)
            if now is not None and now.state is State.PLANNED:  # it surely was not accepted
                logger.info("row %s could not be sent: %s", entry.key, type(error).__name__)
                why = f"not sent: {error.args[0]}"
                await self._book.shared.run(lambda ledger: ledger.noted(entry.key, why))
                return LATER
        return _GoOn.GO_ON

    async def _sent_by_another(self, entry: Entry) -> "Later | _GoOn":
        """Somebody is at it, or was: never sent again. Wait for what comes of it, as long as it can come."""
        ends = self._after(entry, SENDING)
        while loop_time() < ends and await self._lives(entry):
            await asyncio.sleep(GLANCE)
            now = await self._entry(entry.key)
            if now is None or now.state is not State.SUBMITTING:
                return _GoOn.GO_ON
        await self._book.shared.run(lambda ledger: ledger.taken_over(entry.key))
        return _GoOn.GO_ON

    def _after(self, entry: Entry, seconds: float) -> float:
        """The loop's time when so many seconds since its create are over: the database's clock may be set meanwhile."""
        return loop_time() + min((entry.sent_at or 0.0) + seconds - self._book.shared.now(), seconds)

    async def _lives(self, entry: Entry) -> bool:
        """Whether the worker that sends it has a connection: one that was frozen may still bring an answer."""
        return await self._book.shared.alive(entry.owner or "")

    async def _uncertain(self, entry: Entry) -> "Later | _GoOn":
        """Look it up where that can be done; else it keeps its seat for as long as its task would run."""
        ends = self._after(entry, max(self._studio.exchange.limiter.run_time, SENDING))
        if loop_time() < ends and await self._found(entry):
            return _GoOn.GO_ON
        while loop_time() < ends:
            await asyncio.sleep(GLANCE)
            row = await self._entry(entry.key)
            if row is None or row.state is not State.UNCERTAIN:
                return _GoOn.GO_ON
        return None

    async def _found(self, entry: Entry) -> bool:
        """Whether the gateway knows a task of it."""
        try:
            return await recover(self._studio.exchange, self._book.shared, entry) is not None
        except JournalError as error:
            if error.kind != "conflict":
                raise
        return True

    async def _prove(self, key: str, task_id: str) -> None:
        """Note that the gateway knows a row's task that a person named, or that was not to be seen."""
        if await find_lost(self._studio.exchange, candidate=task_id, name=None) is not None:
            await self._book.shared.run(lambda ledger: ledger.sighted(key, task_id))
            await self._noted(task_id, None)

    async def _noted(self, task_id: str, why: str | None) -> None:
        await self._book.shared.run(lambda ledger: ledger.unfollowed(ledger.gateway, task_id, why))

    async def _follow(self, entry: Entry) -> float | None:
        """To the end of its task; one that runs longer than any should gives its seat back and is looked at later."""
        if entry.unproved or entry.unfollowed:
            await self._prove(entry.key, str(entry.task_id))
        now = self._book.shared.now()
        left = min((entry.sent_at or now) + LEASE - now, LEASE)
        try:
            ended = await self._studio.wait(entry.video_task or str(entry.task_id), max(left, SENDING))
        except TaskFailedError as error:
            ended = error.task
        except (WaitTimeoutError, NotFoundError, RejectedError, DecodeError) as error:
            if not isinstance(error, WaitTimeoutError):
                await self._noted(str(entry.task_id), str(error.args[0]))
            logger.warning("task %s of row %s: %s", entry.task_id, entry.key, type(error).__name__)
            return MUCH_LATER
        while True:
            try:
                await self._book.finished(ended)
            except JournalError as error:
                logger.warning("the end of task %s could not be written down: %s", entry.task_id, error.args[0])
                await asyncio.sleep(GLANCE)
            else:
                return None
