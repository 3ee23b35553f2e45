"""Journalled tasks: followed to their end without a waiter, also after a restart, and told to `on_finished`.

What another client instance left when it died is taken over: its rows carry the name of a lock that is free now.
"""

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from .arguments import check_seconds, refuse_waiting
from .errors import DecodeError, JournalError, NotFoundError, OmniError, RejectedError, SubmissionUncertainError
from .events import OnFinished
from .exchange import Exchange, is_unauthorized
from .journal import Entry, Ledger, LedgerJournal, State
from .journal.entries import request_of
from .learned import Memory
from .lifetime import background, is_cancelled
from .lockout import Lockout
from .models import VideoTask
from .poller import Poller, Resumed, traits_of
from .submit import find_lost, recover

logger = logging.getLogger("omni_async")


EVERY = 5.0
"""Seconds between two looks for rows whose owner has died."""
AT_ONCE = 32
"""Calls of `on_finished` at the same time."""
TOGETHER = 100
"""Rows taken over in one turn of the loop."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before `on_finished` is called again after it raised, and before a journal that failed is tried again."""
DEFINITE = (NotFoundError, RejectedError, DecodeError)
"""What the poller gives a task up for that is about this task alone: a refused key says nothing of it."""
LATER, MUCH_LATER = 60.0, 3600.0
"""Seconds before a task is looked at again that could not be followed."""
CLOSING_GRACE = 10.0
"""Seconds for `on_finished` to end when the client closes; cut short, it is called again after the next start."""
LAST = 1.0
"""Seconds for what was cut short to end: it may be what closes the client, or take no cancellation."""


class _Sighting:
    """Waits for one good look at a task that could not be followed.

    Args:
        poller: Looks.
        seen: Told of it, once.
    """

    every = True
    deadline = math.inf

    def __init__(self, poller: Poller, seen: Callable[[str], None]) -> None:
        self._poller, self._tell = poller, seen

    def wait_for(self, task: VideoTask) -> None:
        """Begin."""
        self._poller.follow(task.task_id, self, origin=task)

    def changed(self, task: VideoTask) -> None:
        """The poller: it was seen, if the gateway's word is there; its end is written down by itself."""
        if task.raw_status and not task.status.finished:
            self._poller.let_go(task.task_id, self)
            self._tell(task.task_id)

    def failed(self, task_id: str, error: OmniError) -> None:
        """The poller: still not."""


class Follower:
    """Follows the tasks of one client's journal.

    Args:
        journal: Where they stand.
        poller: Looks at them.
        exchange: What look-ups of lost creates go through.
        memory: Of what the poller has learned of the gateway.
        on_finished: Called with each finished task, and awaited if it is async, until it returns.
    """

    deadline = math.inf
    every = False

    def __init__(
        self,
        journal: LedgerJournal[Ledger],
        poller: Poller,
        exchange: Exchange,
        memory: Memory,
        on_finished: OnFinished | None = None,
    ) -> None:
        self.journal = journal
        self._poller, self._exchange, self._memory, self._on_finished = poller, exchange, memory, on_finished
        self.recorded: Callable[[Entry], None] | None = None
        self.lost: Callable[[str, OmniError], None] | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self._telling = 0
        self._taking = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._left: dict[str, None] = {}  # keys alone: nobody may ever ask for them
        self._failures: dict[str, int] = {}
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._lockout = Lockout(self._again)
        self._closed = self._searched = False

    # --- starting, and taking over -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for what others left; with the client's first call."""
        if self._closed:
            return
        self._memory.start()
        if self._watch is None and self.journal.follow_others:
            self._watch = background(self._watching())

    async def _watching(self) -> None:
        complained = False
        while True:
            try:
                await self.take_over()
                complained = False
            except OmniError as error:
                if not complained:
                    logger.warning("the journal cannot be searched for unfinished tasks: %s", error)
                complained = True
            except Exception:  # of a caller's own dialect, when a lost create is looked up
                logger.exception("an unexpected error while looking for unfinished tasks; it is done again")
            if self.journal.exclusive:
                return  # nobody else can leave anything
            await anyio.sleep(EVERY)

    async def take_over(self, *, search: bool = False) -> None:
        """Take over what nobody follows; creates whose answer was lost are looked up where that can be done.

        In a task of its own: what was claimed has an owner, and a caller who is cancelled must not leave it to nobody.

        Args:
            search: Whether rows that were found uncertain before are looked up once more.
        """
        taking = self._begun(self._take_over(search=search))
        taking.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to see it
        await asyncio.shield(taking)

    async def _take_over(self, *, search: bool) -> None:
        async with self._taking:  # who comes second finds what the first has taken
            entries = await self.journal.claim()
            for place, entry in enumerate(entries, 1):
                self._taken(entry)
                if place % TOGETHER == 0:  # of tens of thousands it must not hold up the loop
                    await asyncio.sleep(0)
            lost = {entry.key: entry for entry in entries if entry.state is State.UNCERTAIN}
            if self.journal.follow_others and (search or not self._searched):
                self._searched = True
                lost = {entry.key: entry for entry in await self.journal.uncertain()} | lost
            for entry in await asyncio.gather(*map(self._look_up, lost.values())):
                if entry.state is State.SUBMITTED:
                    self._taken(entry)

    def _taken(self, entry: Entry) -> None:
        self._left[entry.key] = None
        try:
            if self.journal.follow_others:
                self._adopt(entry)
        except JournalError as error:  # no reason to lose sight of the others
            logger.error("a task of the journal cannot be followed: %s", error)

    async def _look_up(self, entry: Entry) -> Entry:
        """An uncertain row that the gateway knows by its idempotency key, or its candidate, finds its task again."""
        try:
            return await recover(self._exchange, self.journal, entry, owner=self.journal.owner) or entry
        except OmniError as error:
            logger.warning("a lost create could not be looked up, or its task could not be entered: %s", error)
        return entry

    async def found_again(self, key: str, doubt: SubmissionUncertainError) -> VideoTask:
        """The task of a row that is uncertain, if the gateway shows it by now; else the doubt about it is raised.

        Who sent it may be looking it up at this moment, too. In a task of its own: a look-up outlasts being cancelled,
        which its caller must not.
        """
        entry = await self.journal.run(lambda ledger: ledger.entry(key))
        if entry is not None and entry.state is State.UNCERTAIN:
            await asyncio.wait({self._begun(self._find_again(entry))})
            entry = await self.journal.run(lambda ledger: ledger.entry(key))
        task = entry.video_task if entry is not None and entry.state is not State.UNCERTAIN else None
        if task is None:
            raise doubt
        return task

    async def _find_again(self, entry: Entry) -> None:
        if (found := await self._look_up(entry)).state is State.SUBMITTED:
            self._taken(found)

    def _adopt(self, entry: Entry) -> None:
        task = entry.video_task
        if task is not None and entry.state is State.SUBMITTED:
            if entry.unproved:
                self._spawn(self._prove(entry.key, task.task_id))
            self._exchange.limiter.occupy(task.task_id)
            self._follow_on(entry, task)
        elif self.journal.tells(entry):
            self._spawn(self._tell(entry))

    async def _prove(self, key: str, task_id: str) -> None:
        """Note that the gateway knows the task that a person named for a row: until then it may be taken back."""
        if await find_lost(self._exchange, candidate=task_id, name=None) is not None:
            await self._insist(lambda: self.journal.run(lambda ledger: ledger.sighted(key, task_id)))

    def _follow_on(self, entry: Entry, task: VideoTask) -> None:
        """Follow a task of an earlier run: how long it has run tells when it may end."""
        if not self._closed:
            if entry.unfollowed:
                _Sighting(self._poller, self._seen).wait_for(task)
            age = max(self._exchange.wall().timestamp() - entry.sent_at, 0.0) if entry.sent_at is not None else None
            traits = traits_of(task, request_of(entry))
            self._poller.follow(task.task_id, self, origin=task, traits=traits, age=age)

    async def left_over(self) -> list[Entry]:
        """What earlier runs left unfinished and nobody has been given yet, as it stands now; each once."""
        await self.take_over(search=True)
        keys = list(self._left)
        entries = await self.journal.run(lambda ledger: [e for e in map(ledger.entry, keys) if e is not None])
        for key in keys:  # only now: a caller may be cancelled while he waits
            self._left.pop(key, None)
        return entries

    async def pending(self) -> list[VideoTask]:
        """The journal's tasks that were submitted and not seen finished, whoever follows them."""
        await self.take_over()  # creates whose answer was lost are looked up first
        rows = await self.journal.run(lambda ledger: list(ledger.entries([State.SUBMITTED])))
        mine = [entry.video_task for entry in rows if self.journal.has(entry)]
        return [task for task in mine if task is not None]

    async def uncertain(self) -> list[Entry]:
        """The rows of creates that may have been charged and have no id."""
        await self.take_over(search=True)
        return list(await self.journal.uncertain())

    def resumed(self, finished: Callable[[VideoTask], VideoTask], timeout: float | None) -> Resumed:
        """What earlier runs left unfinished, as it finishes; see `Resumed`."""
        refuse_waiting(check_seconds(timeout=timeout))
        return Resumed(self, self._poller, finished, timeout=timeout)

    async def settle(self, key: str, *, task_id: str | None, not_charged: bool, pay_again: bool) -> VideoTask | None:
        """Answer for an uncertain row; see `OmniClient.settle`."""
        await self.take_over()  # a row whose sender has died may not have been found uncertain yet
        entry = await self.journal.resolve(key, task_id=task_id, not_charged=not_charged, pay_again=pay_again)
        await self.take_over()
        return entry.video_task

    # --- following ---------------------------------------------------------------------------------------------

    def follow(self, task: VideoTask) -> None:
        """Follow a task to its end, whether or not anybody waits for it."""
        if not self._closed:
            self._poller.follow(task.task_id, self, origin=task)

    def changed(self, task: VideoTask) -> None:
        """The poller: the task changed."""
        if task.status.finished:
            self._failures.pop(task.task_id, None)
            self._lockout.answered(task.task_id)
            self._spawn(self._record(task))
            self._memory.finished()

    def failed(self, task_id: str, error: OmniError) -> None:
        """The poller: the task cannot be followed just now. It was paid for, so it is not given up."""
        if not self._closed:
            self._spawn(self._unfollowed(task_id, error))

    async def _unfollowed(self, task_id: str, error: OmniError) -> None:
        """Its row says why nothing is seen of it, and it is looked at again later: by the next run, or by this one."""
        if isinstance(error, DEFINITE):
            await self._noted(task_id, str(error.args[0]))
        if self.lost is not None:
            self.lost(task_id, error)
            return
        known = VideoTask(
            task_id=task_id, gateway=self._poller.gateway, custom_id=error.custom_id, metadata=error.metadata
        )
        if is_unauthorized(error):
            self._lockout.refused(known)
            return
        self._lockout.answered(task_id)
        failures = self._failures[task_id] = self._failures.get(task_id, 0) + 1
        pause = min(LATER * 2.0 ** (failures - 1), MUCH_LATER)
        logger.warning("task %s cannot be followed (%s); the next look is in %.0f s", task_id, error, pause)
        # No task: a loop that ends without `aclose` would find it after it has cancelled all there were.
        self._resting[task_id] = asyncio.get_running_loop().call_later(pause, self._rested, known)

    def _rested(self, task: VideoTask) -> None:
        """It is time to look again at a task that could not be followed."""
        self._resting.pop(task.task_id, None)
        self._again(task)

    def _again(self, task: VideoTask) -> None:
        if not self._closed:
            _Sighting(self._poller, self._seen).wait_for(task)
        self.follow(task)

    def _seen(self, task_id: str) -> None:
        """A task that could not be followed is to be seen again."""
        self._lockout.answered(task_id)
        self._spawn(self._noted(task_id, None))

    async def _noted(self, task_id: str, why: str | None) -> None:
        """See `Ledger.unfollowed`: it helps a person, and a journal that cannot take it just now holds nothing up."""
        try:
            await self.journal.run(lambda ledger: ledger.unfollowed(self.journal.gateway, task_id, why))
        except JournalError as error:
            logger.warning("why a task cannot be followed could not be noted: %s", error)

    async def _record(self, task: VideoTask) -> None:
        entry = await self._insist(lambda: self.journal.finished(task))
        if entry is not None and self.recorded is not None:
            self.recorded(entry)
        if entry is not None and self.journal.tells(entry):
            await self._tell(entry)

    async def _tell(self, entry: Entry) -> None:
        """Call `on_finished` until it returns, then note that."""
        task, pause = entry.video_task, FIRST_PAUSE
        while self._on_finished is not None and task is not None:
            try:
                await self._told(task)
                break
            except asyncio.CancelledError:
                if self._closed or is_cancelled():
                    raise
                logger.warning("on_finished was cancelled for task %s; it is called again", task.task_id)
            except Exception:
                logger.exception("on_finished raised for task %s; it is called again in %.0f s", task.task_id, pause)
            await anyio.sleep(pause)
            pause = min(2.0 * pause, LONGEST_PAUSE)
        await self._insist(lambda: self.journal.told(entry.key))

    async def _told(self, task: VideoTask) -> None:
        async with self._room:
            self._telling += 1
            try:
                if self._on_finished is not None:
                    told = self._on_finished(task)
                    if inspect.isawaitable(told):
                        await told
            finally:
                self._telling -= 1

    async def _insist(self, write: Callable[[], Awaitable[Any]]) -> Any:
        """Write until it can be written: what fails here is known to the gateway, and can wait."""
        pause = FIRST_PAUSE
        while True:
            try:
                return await write()
            except JournalError as error:
                if self._closed:
                    return None
                logger.error("a task's end could not be written down (%s); tried again in %.0f s", error, pause)
            await anyio.sleep(pause)
            pause = min(2.0 * pause, LONGEST_PAUSE)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
        else:
            self._begun(work)

    def _begun(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = background(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    # --- the end -----------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop following; what is unfinished is followed by the next client."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSING_GRACE if self._telling else 0.1)
        self._closed = True
        self._lockout.close()
        for timer in self._resting.values():
            timer.cancel()
        for task in tuple(self._work):
            task.cancel()
        if self._work:
            await asyncio.wait(self._work, timeout=LAST)
        await self._memory.aclose()
