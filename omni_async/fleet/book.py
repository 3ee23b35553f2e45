"""A worker's journal: its own file first, then the shared tables.

What came back for a create is on this machine's disk before the network is asked to keep it. What the database could
not take is told it again as soon as it is back.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import attrs

from ..errors import OmniError
from ..journal import Answer, Entry, Intent, NotNow, SqliteJournal, State
from ..journal.ledger import Ledger
from ..journal.pgstore import PostgresJournal
from ..journal.postgres import FLEET, Session, SessionOwner
from ..journal.states import UNPAID
from ..models import VideoTask
from .tables import LOCAL, FleetLedger

T = TypeVar("T")
logger = logging.getLogger("omni_async")

TOGETHER = 200
"""Rows told to the shared journal in one transaction."""


class SharedJournal(PostgresJournal):
    """The fleet's journal in PostgreSQL.

    Args:
        dsn: Where.
        gateway: Whose rows.
        name: Of the worker; None for one that only looks on or enters rows.
    """

    def __init__(self, dsn: str, *, gateway: str, name: str | None = None) -> None:
        super().__init__(dsn, gateway=gateway, name=f"{FLEET}{name}" if name else None, follow_others=False)

    def ledger(self, session: Session) -> FleetLedger:
        """See `PostgresJournal.ledger`."""
        super().ledger(session)
        return FleetLedger(session, self.gateway)

    async def alive(self, name: str) -> bool:
        """Whether the worker whose rows carry this name has a connection."""
        return await self.run(lambda _: isinstance(self._owner, SessionOwner) and self._owner.held(name))

    async def fleet(self, work: Callable[[FleetLedger], T]) -> T:
        """As `run`, with the fleet's ledger."""
        return await self.run(cast("Callable[[Ledger], T]", work))


class FleetBook:
    """The five calls of a worker's creates.

    Args:
        local: This machine's journal.
        shared: The fleet's.
    """

    def __init__(self, local: SqliteJournal, shared: SharedJournal) -> None:
        self.local, self.shared = local, shared
        self.behind: set[str] = set()
        """Rows of which the shared journal does not know yet what the local one knows."""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """The shared row decides who sends; then it is written down here."""
        known, row = await self.shared.fleet(lambda ledger: _intended(ledger, intent, self.shared.owner))
        if row is None:
            return known
        try:
            here = await self.local.run(lambda ledger: _intended_here(ledger, intent, row, self.local.owner))
        except BaseException:
            await self._unsent(intent, "nothing was sent: the worker's own journal failed")
            raise
        if here is not None:  # the database has forgotten what this machine has paid, as an old copy of it would
            await self._unsent(intent, LOCAL)
            await self.shared.fleet(lambda ledger: ledger.merge(here))
            raise NotNow(LOCAL, 0.0)
        return None

    async def _unsent(self, intent: Intent, why: str) -> None:
        await self.shared.run(lambda ledger: ledger.settle(intent.key, State.PLANNED, why))

    async def answered(self, intent: Intent, answer: Answer) -> str:
        """On this machine's disk first; the database may be away."""
        state = await self.local.answered(intent, answer)
        try:
            return str(await self.shared.run(lambda ledger: ledger.answered(intent.key, answer)))
        except OmniError as error:
            self._behind(intent.key, error)
            return state

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """As `answered`."""
        await self.local.settle(intent, state, detail, task_id=task_id)
        try:
            await self.shared.run(lambda ledger: ledger.settle(intent.key, State(state), detail, task_id))
        except OmniError as error:
            self._behind(intent.key, error)

    async def claim(self) -> Sequence[Any]:
        """The queue decides who goes on with what."""
        return ()

    async def pending(self) -> Sequence[VideoTask]:
        """The queue knows."""
        return ()

    def _behind(self, key: str, error: OmniError) -> None:
        self.behind.add(key)
        logger.warning("row %s stands in this machine's journal and not yet in the fleet's: %s", key, error.args[0])

    # --- beyond the five -------------------------------------------------------------------------------------

    async def finished(self, task: VideoTask) -> Entry | None:
        """A task's end, in both; the shared row's download is queued in the same transaction."""
        entry = await self.local.finished(task)
        if entry is None:  # another worker's create: this machine has no row of it
            return await self.shared.fleet(lambda ledger: _ended(ledger, task))
        self.behind.add(entry.key)
        await self.heal([entry.key])
        return entry

    async def heal(self, keys: Sequence[str] | None = None) -> int:
        """Tell the shared journal what it does not know yet; how many rows that changed.

        Args:
            keys: Which; None for all that this machine has not told of to the end.
        """
        if keys is None:
            await self.local.claim()  # creates of workers that died here are uncertain
            keys = await self.local.run(_untold)
        changed = 0
        for start in range(0, len(keys), TOGETHER):
            some = keys[start : start + TOGETHER]
            known = await self.local.run(partial(_rows, keys=some))
            changed += await self.shared.fleet(partial(_merged, known=known))
            await self.local.run(partial(_told, known=known))
            self.behind.difference_update(some)
        return changed


def _rows(ledger: Ledger, *, keys: Sequence[str]) -> list[Entry]:
    return [entry for entry in map(ledger.entry, keys) if entry is not None]


def _intended(ledger: FleetLedger, intent: Intent, owner: str) -> tuple[VideoTask | None, Entry | None]:
    """The task that is known already, or the row as it is to be sent."""
    known = ledger.intend(intent, owner=owner)
    return known, ledger.entry(intent.key) if known is None else None


def _intended_here(ledger: Ledger, intent: Intent, row: Entry, owner: str) -> Entry | None:
    """Write the intent down on this machine; gives this machine's row instead if it knows of a payment that the shared
    one does not.
    """
    here = ledger.entry(intent.key)
    if here is not None and here.state not in UNPAID:
        if here.attempts > row.attempts:
            return here
        ledger.settled_elsewhere(here.key, row.round)  # a person has had it sent again
    elif here is not None and here.round != row.round:
        ledger.settled_elsewhere(here.key, row.round)
    ledger.intend(attrs.evolve(intent, inputs=row.inputs, round=row.round), owner=owner, notify=True)
    ledger.connection.execute(  # what a database that is lost for good would have known
        "UPDATE item SET target = ?, carried = ?, kind = ?, position = ? WHERE key = ?",
        (row.target, row.carried, row.kind, row.position, row.key),
    )
    return None


def _ended(ledger: FleetLedger, task: VideoTask) -> Entry | None:
    """A task's end, with the job that stores it."""
    before = ledger.of_task(task.task_id)
    entry = ledger.finished(ledger.gateway, task)
    if before is not None and entry is not None and entry.state is not before.state:
        ledger.seen_to(entry)
    return entry


def _untold(ledger: Ledger) -> list[str]:
    """Rows whose last word the shared journal may not have: `notify` marks them, as for `on_finished`."""
    return [key for (key,) in ledger.connection.execute("SELECT key FROM item WHERE notify = 1 ORDER BY rowid")]


def _merged(ledger: FleetLedger, *, known: Sequence[Entry]) -> int:
    return sum(ledger.entry(row.key) != ledger.merge(row) for row in known)


def _told(ledger: Ledger, *, known: Sequence[Entry]) -> None:
    for row in known:
        if row.finished_at is not None or row.state in (State.REJECTED, State.PLANNED):
            ledger.told(row.key)
