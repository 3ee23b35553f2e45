"""A worker's journal: its own file first, then the shared tables.

What came back for a create is on this machine's disk before the network is asked to keep it. What the database could
not take is told it again as soon as it is back.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

import attrs

from ..errors import JournalError, OmniError
from ..journal import Answer, Entry, Intent, NotNow, SqliteJournal, State
from ..journal.ledger import Ledger
from ..journal.pgstore import ServerJournal
from ..journal.pgtables import open_postgres
from ..journal.postgres import FLEET, SessionOwner
from ..journal.seam import UNWRITTEN
from ..journal.session import Session
from ..journal.states import FINAL, UNPAID
from ..lifetime import loop_time
from ..models import VideoTask
from .tables import GONE, LOCAL, FleetLedger

logger = logging.getLogger("omni_async")

TOGETHER = 200
"""Rows told to the shared journal in one transaction."""
STALE = 2.0
"""Seconds after which a create that was not sent yet is looked at again first."""
PAUSED, TAKEN_OVER = "nothing was sent: the fleet pauses", "nothing was sent: its worker stood still and was given up"
NAME, TOLD = "journal of a fleet's machine", "told to the fleet"
"""Notes of this machine's journal: what the shared one calls it, and when it was last told of a row that ended."""


class SharedJournal(ServerJournal[FleetLedger]):
    """The fleet's journal in PostgreSQL.

    Args:
        dsn: Where.
        gateway: Whose rows.
        name: Of the worker; None for one that only looks on or enters rows.
    """

    def __init__(self, dsn: str, *, gateway: str, name: str | None = None) -> None:
        super().__init__(dsn, gateway=gateway, name=f"{FLEET}{name}" if name else None, follow_others=False)
        self._ledger: FleetLedger | None = None

    def ledger(self, session: Session) -> FleetLedger:
        """See `ServerJournal.ledger`."""
        open_postgres(session)
        self._ledger = FleetLedger(session, self.gateway)
        return self._ledger

    def now(self) -> float:
        """The database's clock, by which rows are timed; see `PostgresLedger.now`."""
        return self._ledger.now() if self._ledger is not None else time.time()

    async def alive(self, name: str) -> bool:
        """Whether the worker whose rows carry this name has a connection."""
        return await self.run(lambda _: isinstance(self._owner, SessionOwner) and self._owner.held(name))


class FleetBook:
    """The three calls of a worker's creates.

    Args:
        local: This machine's journal.
        shared: The fleet's.
        on_time: Waits for a create's place in time; False if it is not to be sent now.
    """

    def __init__(
        self, local: SqliteJournal, shared: SharedJournal, on_time: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        self.local, self.shared, self._on_time = local, shared, on_time
        self.behind: set[str] = set()
        """Rows of which the shared journal does not know yet what the local one knows."""
        self.unsent: set[str] = set()
        """Rows that may stand there as being sent by this worker, although nothing of them was accepted."""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """The shared row decides who sends; then it is written down here, and waits for its place in time."""
        began = loop_time()
        try:
            known, row = await self.shared.run(lambda ledger: _intended(ledger, intent, self.shared.owner))
        except NotNow as hold:
            raise (_elsewhere(intent, hold.why) if hold.sent else hold) from None
        except JournalError as error:
            if error.kind in UNWRITTEN:  # or the answer to the commit was lost
                self.unsent.add(intent.key)
            raise
        self.unsent.discard(intent.key)
        if row is None:
            return known
        try:
            here = await self.local.run(lambda ledger: _intended_here(ledger, intent, row, self.local.owner))
        except BaseException:
            await self._unsent(intent, "nothing was sent: the worker's own journal failed")
            raise
        if here is not None:
            await self._paid_here(intent, here)
        if self._on_time is not None and not await self._on_time():
            await self.settle(intent, State.PLANNED, PAUSED)
            raise NotNow(PAUSED, 0.0)
        if loop_time() - began > STALE:
            await self._still_ours(intent)
        return None

    async def _paid_here(self, intent: Intent, here: Entry) -> NoReturn:
        """The database has forgotten what this machine has paid, as an old copy of it would."""
        if here.state is State.SUBMITTING:
            raise _elsewhere(intent, LOCAL)
        await self._unsent(intent, LOCAL)
        now = await self.shared.run(lambda ledger: ledger.merge(here))
        if now.state in UNPAID:
            raise JournalError(f"row {intent.key!r}: {LOCAL}", kind="failed", may_have_charged=False)
        raise NotNow(LOCAL, 0.0)

    async def _still_ours(self, intent: Intent) -> None:
        """A worker that stood still may have been given up meanwhile, and its row settled."""
        entry = await self.shared.run(lambda ledger: ledger.entry(intent.key))
        if entry is None or (entry.state, entry.owner) != (State.SUBMITTING, self.shared.owner):
            await self.local.settle(intent, State.PLANNED, TAKEN_OVER)
            self.unsent.add(intent.key)
            raise _elsewhere(intent, TAKEN_OVER)

    async def _unsent(self, intent: Intent, why: str) -> None:
        try:
            await self.shared.run(lambda ledger: ledger.settle(intent.key, State.PLANNED, why))
        except JournalError:
            self.unsent.add(intent.key)
            raise

    async def answered(self, intent: Intent, answer: Answer) -> str:
        """On this machine's disk first; the database may be away. If it is the disk that fails, the database has it."""
        try:
            state = await self.local.answered(intent, answer)
        except JournalError as error:
            logger.warning("row %s: %s", intent.key, error.args[0])
            return await self.shared.answered(intent, answer)
        try:
            return await self.shared.run(lambda ledger: ledger.answered(intent.key, answer))
        except OmniError as error:
            self._behind(intent.key, state, error)
            return state

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """As `answered`."""
        try:
            await self.local.settle(intent, state, detail, task_id=task_id)
        except JournalError as error:
            logger.warning("row %s: %s", intent.key, error.args[0])
            return await self.shared.settle(intent, state, detail, task_id=task_id)
        try:
            await self.shared.run(lambda ledger: ledger.settle(intent.key, State(state), detail, task_id))
        except OmniError as error:
            self._behind(intent.key, state, error)

    def _behind(self, key: str, state: str, error: OmniError) -> None:
        (self.unsent if state in UNPAID else self.behind).add(key)
        logger.warning("row %s stands in this machine's journal and not yet in the fleet's: %s", key, error.args[0])

    # --- beyond the three ------------------------------------------------------------------------------------

    async def finished(self, task: VideoTask) -> Entry | None:
        """A task's end, in both; the shared row's download is queued in the same transaction.

        If it is this machine's disk that fails, the database has it, and the seat is free.
        """
        try:
            entry = await self.local.finished(task)
        except JournalError as error:
            logger.warning("task %s: %s", task.task_id, error.args[0])
            entry = None
        if entry is None:  # or another worker's create: this machine has no row of it
            return await self.shared.run(lambda ledger: _ended(ledger, task))
        self.behind.add(entry.key)
        await self.heal([entry.key])
        return entry

    async def heal(self, keys: Sequence[str] | None = None) -> int:
        """Tell the shared journal what it does not know yet; how many rows that changed.

        Args:
            keys: Which; None for all that this machine has not told of to the end, and for all it has ever told of if
                the database has forgotten that.
        """
        if self.unsent:
            taken_back = tuple(self.unsent)
            await self.shared.run(partial(_taken_back, keys=taken_back, owner=self.shared.owner))
            self.unsent.difference_update(taken_back)
        if keys is None:
            await self.local.claim()  # creates of workers that died here are uncertain
            name, told = await self.local.run(_mark)
            known = await self.shared.run(lambda ledger: ledger.note(name))
            keys = await self.local.run(partial(_untold, told=float(known or 0.0) < told))
        changed = 0
        for start in range(0, len(keys), TOGETHER):
            changed += await self._tell(keys[start : start + TOGETHER])
        return changed

    async def _tell(self, keys: Sequence[str]) -> int:
        rows, (name, _) = await self.local.run(lambda ledger: (_rows(ledger, keys), _mark(ledger)))
        mark = (name, time.time())
        stand = await self.shared.run(partial(_merged, known=rows, mark=mark))
        await self.local.run(partial(_told, known=rows, stand=[now for _, now in stand], mark=mark))
        self.behind.difference_update(keys)
        return sum(before != now for before, now in stand)


def own_file(folder: Path, gateway: str) -> Path:
    """A machine's own journal, which all its workers share, in their folder."""
    return folder / f"fleet-{gateway}.sqlite3"


def _rows(ledger: Ledger, keys: Sequence[str]) -> list[Entry]:
    return [entry for entry in map(ledger.entry, keys) if entry is not None]


def _elsewhere(intent: Intent, why: str) -> JournalError:
    """It is not for this create to be sent: the row is to be looked at again."""
    return JournalError(f"row {intent.key!r}: {why}", kind="conflict", custom_id=intent.custom_id)


def _intended(ledger: FleetLedger, intent: Intent, owner: str) -> tuple[VideoTask | None, Entry | None]:
    """The task that is known already, or the row as it is to be sent."""
    here = ledger.entry(intent.key)
    if here is None or (here.state in UNPAID and here.fingerprint != intent.fingerprint):
        raise _elsewhere(intent, "it has other inputs now, or is gone")
    known = ledger.intend(intent, owner=owner)
    return known, ledger.entry(intent.key) if known is None else None


def _intended_here(ledger: Ledger, intent: Intent, row: Entry, owner: str) -> Entry | None:
    """Write the intent down on this machine; gives this machine's row instead if it knows of a payment that the shared
    one does not.
    """
    here = ledger.entry(intent.key)
    if here is not None and _paid_since(here, row):
        return here
    if here is not None and (here.state not in UNPAID or here.round != row.round):
        ledger.settled_elsewhere(here.key, row.round)  # a person has had it sent again
    ledger.intend(attrs.evolve(intent, inputs=row.inputs, round=row.round), owner=owner, notify=True)
    ledger.connection.execute(  # what a database that is lost for good would have known
        "UPDATE item SET attempts = ?, kind = ?, target = ?, carried = ?, position = ? WHERE key = ?",
        (row.attempts, row.kind, row.target, row.carried, row.position, row.key),
    )
    return None


def _paid_since(here: Entry, row: Entry) -> bool:
    """Whether this machine has sent, or is sending, a create that the shared row does not count."""
    if here.state in UNPAID or here.fingerprint != row.fingerprint or here.round < row.round:
        return False
    return here.attempts + (here.state is State.SUBMITTING) > row.attempts or here.round > row.round


def _ended(ledger: FleetLedger, task: VideoTask) -> Entry | None:
    """A task's end, with the job that stores it."""
    before = ledger.of_task(task.task_id)
    entry = ledger.finished(ledger.gateway, task)
    if before is not None and entry is not None and entry.state is not before.state:
        ledger.seen_to(entry)
    return entry


def _taken_back(ledger: FleetLedger, *, keys: Sequence[str], owner: str) -> None:
    """What this worker did not send, or what was surely not accepted, may be sent; also what was given up meanwhile."""
    for entry in filter(None, map(ledger.entry, keys)):
        given_up = entry.state is State.UNCERTAIN and entry.detail == GONE
        if entry.owner == owner and (entry.state is State.SUBMITTING or given_up):
            ledger.settle(entry.key, State.PLANNED, "surely not accepted; that could not be written at once")
            ledger.seen_to(attrs.evolve(entry, state=State.PLANNED))


def _mark(ledger: Ledger) -> tuple[str, float]:
    """What the shared journal calls this one, and when it was last told of rows that ended."""
    name = ledger.note(NAME)
    if name is None:
        name = secrets.token_hex(8)
        ledger.write_note(NAME, name)
    return f"told by {name}", float(ledger.note(TOLD) or 0.0)


def _untold(ledger: Ledger, *, told: bool) -> list[str]:
    """Rows whose last word the shared journal may not have: `notify` marks them, as for `on_finished`."""
    which = "" if told else " WHERE notify = 1"
    return [key for (key,) in ledger.connection.execute(f"SELECT key FROM item{which} ORDER BY rowid")]  # noqa: S608


def _merged(
    ledger: FleetLedger, *, known: Sequence[Entry], mark: tuple[str, float]
) -> list[tuple[Entry | None, Entry]]:
    """Each row as it stood and as it stands."""
    stand = [(ledger.entry(row.key), ledger.merge(row)) for row in known]
    name, now = mark
    ledger.write_note(name, str(max(float(ledger.note(name) or 0.0), now)))
    return stand


def _told(ledger: Ledger, *, known: Sequence[Entry], stand: Sequence[Entry], mark: tuple[str, float]) -> None:
    for row, now in zip(known, stand, strict=True):
        ended = now.task_id == row.task_id and now.state in FINAL
        if ended or row.finished_at is not None or row.state in UNPAID:
            ledger.told(row.key)
    ledger.write_note(TOLD, str(max(float(ledger.note(TOLD) or 0.0), mark[1])))
