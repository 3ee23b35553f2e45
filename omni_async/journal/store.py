"""A journal file as the client uses it: every call waits until what it says is on disk."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import anyio
import anyio.to_thread

from ..dialects.wire import ident
from ..errors import Fault, JournalError, OmniError, RateLimitError, invalid_argument
from ..lifetime import background, is_cancelled, outlasted
from ..models import VideoTask
from . import fallback
from .anew import SheetLedger
from .entries import ADOPTED, PAY_AGAIN, Entry
from .ledger import Ledger
from .owners import Ownership
from .rows import ReadCreate
from .schema import journal_error, open_journal, presence
from .seam import UNWRITTEN, Answer, Intent, NotNow
from .states import FINAL, UNPAID, State
from .writer import L, Writer

T = TypeVar("T")
logger = logging.getLogger("omni_async")

INSIST = 30.0
"""Seconds for which an answer that cannot be written is tried again: it may be all that is known of a payment."""
INSIST_EVERY = 0.5
"""Seconds between two of those tries."""
MENDABLE = frozenset({"full", "failed", "locked"})
"""Kinds of trouble that may be over soon."""
NOT_CHARGED = "settled by a person: it was not charged"


class Owner(Protocol):
    """A client instance's place at a journal; see `owners.Ownership`."""

    @property
    def name(self) -> str:
        """What its rows carry."""

    def alive(self, name: str) -> bool:
        """Whether the instance of that name still lives."""

    def discard(self, name: str) -> None:
        """Remove what a dead instance left."""

    def release(self) -> None:
        """Give the place up."""


class LedgerJournal(Generic[L]):
    """A journal kept by a ledger in a thread of its own, opened by its first call.

    Args:
        gateway: Whose rows are followed.
        exclusive: Keep every other process out, as a batch does.
        room: How many tasks may run at once, over all processes that share it; None for no limit.
        notify: Whether finished tasks are to be told to `on_finished`.
        follow_others: Whether what other clients left is taken over and followed without being asked for.
    """

    path: Path
    """The file itself, or one beside which what cannot be written is noted."""

    def __init__(
        self,
        *,
        gateway: str,
        exclusive: bool = False,
        room: int | None = None,
        notify: bool = False,
        follow_others: bool = True,
    ) -> None:
        self.gateway, self.exclusive, self.room, self.notify = gateway, exclusive, room, notify
        self.follow_others = follow_others
        self.read: ReadCreate | None = None
        """How the answer to a create is read, to tell of a known task what was told of it first."""
        self.noted: dict[Path, None] = {}
        """Files in which this client has noted what came back for creates."""
        self._owner: Owner | None = None
        self._started: Writer[L] | None = None
        self._writer: Writer[L] | None = None  # the same, once it is open
        self._starting: asyncio.Task[Writer[L]] | None = None
        self._closed = False

    def open_ledger(self) -> tuple[L, "Owner"]:
        """In the writer's thread: the place at the journal first, then the ledger.

        Raises:
            JournalError: It cannot be opened.
        """
        raise NotImplementedError

    # --- opening and closing -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open it, once.

        Raises:
            JournalError: Locked, damaged, newer, or not to be used for another reason.
        """
        await self._get_writer()

    async def _get_writer(self) -> Writer[L]:
        if self._writer is not None:
            return self._writer
        if self._closed:
            raise JournalError("the journal is closed", may_have_charged=False)
        if self._starting is None or (self._starting.done() and _failed(self._starting)):
            self._starting = background(self._start_writer())
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if is_cancelled() or not starting.cancelled():
                raise
        return await self._get_writer()  # by somebody who ends every task that he finds

    async def _start_writer(self) -> Writer[L]:
        if self._started is not None:  # cut short: its place is given up first
            await self._started.aclose()
        self._started = writer = Writer(self._take_place)
        try:
            await writer.open()
        except JournalError as error:
            if error.kind in UNWRITTEN:
                error.may_have_charged = False  # nothing is sent before it is open
            raise
        self._writer = writer
        return writer

    def _take_place(self) -> tuple[L, Callable[[], None]]:
        ledger, owner = self.open_ledger()
        self._owner = owner
        return ledger, owner.release

    async def run(self, work: Callable[[L], T]) -> T:
        """Do `work` on the ledger, and give what it gives once that is durable."""
        writer = self._writer or await self._get_writer()
        return await writer.run(work)

    async def aclose(self) -> None:
        """Close it; what is unfinished may be taken over by another client."""
        self._closed = True
        if self._starting is not None and not self._starting.done():
            await asyncio.wait({self._starting})
        if self._started is not None:
            await self._started.aclose()

    @property
    def owner(self) -> str:
        """The name that this client's rows carry."""
        return self._owner.name if self._owner is not None else ""

    # --- the three calls ---------------------------------------------------------------------------------------

    async def intend(self, intent: Intent) -> VideoTask | None:
        """See `Journal.intend`."""

        def work(ledger: Ledger) -> VideoTask | None:
            known = ledger.intend(intent, owner=self.owner, room=self.room, notify=self.notify)
            return self._recalled(ledger, intent.key, known)

        return await self._written(work)

    def _recalled(self, ledger: Ledger, key: str, known: VideoTask | None) -> VideoTask | None:
        return known if known is None or self.read is None else ledger.recalled(key, known, self.read)

    async def answered(self, intent: Intent, answer: Answer) -> str:
        """See `Journal.answered`. Tried again for half a minute; then it goes where it can still be read.

        Raises:
            JournalError: It is not in the journal; it is in the file beside it if any disk takes it.
        """
        try:
            return await self._insist(lambda ledger: ledger.answered(intent.key, answer))
        except JournalError as error:
            await self._note(intent, answer, error)
            raise

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """See `Journal.settle`. Insists as `answered` does."""
        try:
            await self._insist(lambda ledger: ledger.settle(intent.key, State(state), detail, task_id))
        except JournalError as error:
            if error.kind != "conflict":
                await self._note(intent, Answer(state=state, task_id=task_id, detail=detail), error)
            raise

    async def _written(self, work: Callable[[Ledger], T]) -> T:
        """As `run`, also for a task that is cancelled: the thread does it all the same, and what came of it counts."""
        writer = self._writer or await self._get_writer()
        return await outlasted(writer.insist(work))

    async def _insist(self, work: Callable[[Ledger], T]) -> T:
        now = asyncio.get_running_loop().time
        deadline = now() + INSIST
        while True:
            try:
                return await self._written(work)
            except JournalError as error:
                if error.kind not in MENDABLE or now() >= deadline or is_cancelled():
                    raise
            with contextlib.suppress(asyncio.CancelledError):  # once more, and what fails then is noted
                await anyio.sleep(INSIST_EVERY)

    async def _note(self, intent: Intent, answer: Answer, error: JournalError) -> None:
        """Where it can still be read: the next look for what others left enters it."""
        place = await anyio.to_thread.run_sync(fallback.append, self.path, intent, answer)
        if place is not None:
            self.noted[place] = None
            error.args = (f"{error.args[0]}; what came back for the create is noted in {place}",)
        error.may_have_charged = answer.state not in UNPAID

    # --- what a client does beyond -----------------------------------------------------------------------------

    async def claim(self) -> Sequence[Entry]:
        """Take over what nobody follows: unfinished rows, and finished ones that `on_finished` was not told of."""
        return await self.run(self._claim)

    def _claim(self, ledger: Ledger) -> list[Entry]:
        owner = self._owner
        if owner is None:
            return []
        self.enter(ledger)
        dead = [name for name in ledger.owners() if not name or not owner.alive(name)]
        taken = ledger.take_over(owner.name, dead, self.gateway, untold=self.notify)
        left = set(ledger.owners())
        for name in dead:
            if name and name not in left:
                owner.discard(name)
        return taken

    def enter(self, ledger: Ledger) -> None:
        """Enter what could not be written before, as part of a transaction."""
        fallback.merge(self.path, ledger)

    async def known(self, key: str, fingerprint: str, *, sent: bool = True) -> VideoTask | None:
        """See `Ledger.known`; `sent` is whether somebody may have sent it, whatever the journal can tell."""
        try:
            return await self.run(lambda ledger: self._recalled(ledger, key, ledger.known(key, fingerprint)))
        except JournalError as error:
            if error.kind in UNWRITTEN:
                error.may_have_charged = sent
            raise

    async def find(self, key: str) -> VideoTask | None:
        """See `Ledger.find`; of any trouble it may be paid."""
        try:
            return await self.run(lambda ledger: self._recalled(ledger, key, ledger.find(key)))
        except NotNow as hold:
            failure: OmniError = RateLimitError(f"{hold.why}: ask again", retry_after=hold.seconds)
        except OmniError as error:
            failure = error
        failure.may_have_charged = True
        raise failure.about(gateway=self.gateway, custom_id=key)

    async def finished(self, task: VideoTask) -> Entry | None:
        """Record a task's end; gives its row, or None if it has none here."""
        if not task.status.finished:
            return None
        return await self.run(lambda ledger: self._finished(ledger, task))

    def _finished(self, ledger: Ledger, task: VideoTask) -> Entry | None:
        entry = ledger.finished(self.gateway, task, notify=self.notify)
        if entry is not None and entry.notify and entry.owner == self.owner and not self.notify:
            ledger.disown(entry.key)  # taken over from one who tells, for the next who does
        return entry

    async def told(self, key: str) -> None:
        """`on_finished` has returned for this row."""
        await self.run(lambda ledger: ledger.told(key))

    async def resolve(
        self, key: str, *, task_id: str | None = None, not_charged: bool = False, pay_again: bool = False
    ) -> Entry:
        """Settle an uncertain row; see `ledger.Ledger.resolve`."""
        return await self.run(
            lambda ledger: resolve(ledger, key, task_id=task_id, not_charged=not_charged, pay_again=pay_again)
        )

    async def uncertain(self) -> list[Entry]:
        """The rows of this gateway that wait to be settled."""
        rows = await self.run(lambda ledger: list(ledger.entries([State.UNCERTAIN])))
        return [entry for entry in rows if self.has(entry)]

    def has(self, entry: Entry) -> bool:
        """Whether a row is of this gateway's clients: others' may stand beside it."""
        return entry.gateway == self.gateway

    async def has_task(self, task_id: str) -> bool:
        """Whether a task of this gateway has a row, ended or not."""
        return await self.run(lambda ledger: ledger.by_task(self.gateway, task_id)) is not None

    async def recall(self) -> str | None:
        """What was learned of the gateway, as the last client that learned wrote it; None if nothing can be read."""
        try:
            return await self.run(lambda ledger: ledger.note(self._learned))
        except JournalError as error:
            logger.info("what was learned of %s cannot be read: %s", self.gateway, error)
            return None

    async def remember(self, text: str) -> None:
        """Keep what was learned of the gateway. It is worth less than any row: what fails is logged and forgotten."""
        try:
            await self.run(lambda ledger: ledger.write_note(self._learned, text))
        except JournalError as error:
            logger.info("what was learned of %s cannot be kept: %s", self.gateway, error)

    @property
    def _learned(self) -> str:
        return f"learned:{self.gateway}"

    def tells(self, entry: Entry) -> bool:
        """Whether `on_finished` is to be told of this row by this client."""
        return self.notify and entry.notify and entry.state in FINAL and entry.owner == self.owner


class SqliteJournal(LedgerJournal[SheetLedger]):
    """A journal in one SQLite file.

    Args:
        path: Its file.
        clock: Wall time, in seconds since 1970.
        more: As for `LedgerJournal`.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.time, **more: Any) -> None:
        super().__init__(**more)
        self._clock = clock
        self.path = Path(os.path.realpath(path))  # the working folder may be another by the time it is opened, or fails

    def open_ledger(self) -> tuple[SheetLedger, Owner]:
        """See `LedgerJournal.open_ledger`."""
        path = self.path
        if not path.parent.is_dir():
            raise JournalError(f"the journal {path} cannot be made: its folder does not exist", may_have_charged=False)
        owner = Ownership(path, exclusive=self.exclusive)
        try:
            connection = open_journal(path)
            ledger = SheetLedger(connection, clock=self._clock, present=presence(path))
            merge(path, ledger)
        except BaseException:
            owner.release()
            raise
        return ledger, owner


def _failed(starting: "asyncio.Task[Writer[Any]]") -> bool:
    return starting.cancelled() or starting.exception() is not None


def resolve(
    ledger: Ledger, key: str, *, task_id: str | None = None, not_charged: bool = False, pay_again: bool = False
) -> Entry:
    """Settle an uncertain row by what a person found out: exactly one of the three; see `Ledger.resolve`.

    Args:
        ledger: Where it stands.
        key: Its id.
        task_id: The task was found in the gateway's console or bill: it is followed.
        not_charged: It surely was not accepted: it may be sent.
        pay_again: Nobody can tell, and a second payment is accepted: it may be sent.

    Raises:
        JournalError: No such row, or there is nothing to settle.
        InvalidRequestError: Not exactly one was said.
    """
    words = [word for word, said in ((NOT_CHARGED, not_charged), (PAY_AGAIN, pay_again)) if said]
    if len(words) + (task_id is not None) != 1:
        raise invalid_argument(Fault("settle", "say one of task_id, not_charged and pay_again"), may_have_charged=True)
    if task_id is not None and (not ident(task_id) or any(map(str.isspace, task_id))):
        raise invalid_argument(Fault("task_id", "is not a task id"), may_have_charged=True)
    if task_id is None:
        return ledger.resolve(key, State.PLANNED, words[0])
    entry = ledger.resolve(key, State.SUBMITTED, ADOPTED, task_id)
    ledger.disown(key)
    return entry


def merge(path: Path, ledger: Ledger) -> None:
    """Enter what could not be written before; a journal that cannot take it is not opened."""
    try:
        ledger.begin()
        fallback.merge(path, ledger)
        ledger.commit()
    except BaseException as error:
        ledger.connection.close()
        raise (journal_error(error, path) if isinstance(error, sqlite3.Error) else error) from None
