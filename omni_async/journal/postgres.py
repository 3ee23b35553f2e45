"""A journal in PostgreSQL, for processes on several machines: the same ledger over another connection.

As in SQLite one transaction writes at a time, here by an advisory lock; so everything that the ledger does in one holds
here too. Extra `[pg]`.
"""

import functools
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs

from ..errors import JournalError
from ..models import VideoTask
from .entries import COLUMNS, Entry, entry_of
from .ledger import Ledger
from .seam import Answer, Intent
from .session import Session, postgres_error
from .states import State

T = TypeVar("T")

OWNERS, WRITING = 0x6F6D6E, 0x6F6D6E69
"""Keys of our advisory locks: one an owner (beside a hash of his name), and the one of whoever writes."""
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
    f" SELECT pg_advisory_xact_lock({WRITING});"
    " SELECT pg_current_xact_id()::text, date_part('epoch', clock_timestamp())"
)
"""Whatever the database's defaults: what is read after the lock is what the one before has written."""
CAME_TRUE = "SELECT CASE WHEN %s::xid8 < pg_current_xact_id() THEN pg_xact_status(%s::xid8) = 'committed' END"
LEARN = 5.0
"""Seconds in which to learn what became of a COMMIT whose answer was lost, before it is told as an error."""
PAUSE = 0.2
"""Seconds between two questions about it."""
LAPSE = 15.0
"""Seconds after a server's start or the loss of one's own connection in which nobody counts as dead: the others may not
have come back yet. A client looks every 5 s."""
LONGEST = 2000
"""Bytes of an id at most: PostgreSQL's indexes take 2,700 of a row."""
UNSENT = "the journal failed before it was sent"
PAGE = 2000
"""Rows fetched at a time where all are asked for."""

FLEET = "fleet:"
"""How names of fleet workers begin: their queue decides who goes on with what they left, no client does."""


@attrs.define
class Written:
    """What one transaction says, for the case that nobody hears whether it came true.

    Args:
        xid: The server's name of the transaction.
        intents: Keys of creates that may be sent now, each with who sends it.
        touched: Keys of rows that their owner is to follow from now on.
        calls: What was said of creates, and what it gave.
    """

    xid: str
    intents: list[tuple[str, str]] = attrs.Factory(list)
    touched: list[str] = attrs.Factory(list)
    calls: dict[tuple[Any, ...], Any] = attrs.Factory(dict)


class PostgresLedger(Ledger):
    """The ledger in PostgreSQL.

    A COMMIT whose answer is lost may have happened. The server is asked for that as soon as it can be; until then it
    counts as failed, and what was told as failed is put right afterwards: an intent is withdrawn, since nothing was
    sent, and an answer that is said once more is not entered twice.

    Args:
        session: To its database.
    """

    connection: Session  # type: ignore[assignment]
    _own = f" AND coalesce(left(owner, {len(FLEET)}), '') <> '{FLEET}'"

    def __init__(self, session: Session) -> None:
        super().__init__(session, clock=self.now)  # type: ignore[arg-type]
        self._zero = time.time() - time.monotonic()
        self._written = Written("")
        self._doubts: list[Written] = []
        self._true: dict[tuple[Any, ...], Any] = {}

    # --- transactions ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to write, with a new connection if the old one was lost."""
        self._begin()
        if self._doubts:
            self._put_right()
            self.connection.commit()
            self._doubts = []
            self._begin()

    def _begin(self) -> None:
        xid, now = self.connection.begin(BEGIN)
        self._zero = now - time.monotonic()
        self._written = Written(xid)

    def now(self) -> float:
        """The database's clock, in seconds since 1970, as the last transaction saw it: those of hosts differ."""
        return self._zero + time.monotonic()

    def commit(self) -> None:
        """Make it durable."""
        written = self._written
        try:
            self.connection.commit()
        except Exception:
            if not self.connection.lost or not self._came_through(written):
                raise
        for call in written.calls if self._true else ():
            self._true.pop(call, None)

    def rollback(self) -> None:
        """Undo what was not committed."""
        self.connection.rollback()

    def _came_through(self, written: Written) -> bool:
        """Whether a transaction was committed whose COMMIT got no answer; False also if that cannot be learned now."""
        until = time.monotonic() + LEARN
        while True:
            try:
                self.connection.begin(BEGIN)
                return self._is_true(written)
            except Exception:
                if time.monotonic() >= until:
                    self._doubts.append(written)
                    return False
            finally:
                self.connection.rollback()
            time.sleep(PAUSE)

    def _is_true(self, written: Written) -> bool:
        """Inside a transaction, so that nobody else's is still on its way."""
        return bool(self.connection.raw.execute(CAME_TRUE, (written.xid, written.xid)).fetchone()[0])  # type: ignore[index]

    def _put_right(self) -> None:
        """What was told as failed and came true."""
        for written in self._doubts:
            if self._is_true(written):
                for key, owner in written.intents:
                    self._withdraw(key, owner)
                for key in written.touched:
                    self._give_up(key)
                self._true.update(written.calls)

    def _withdraw(self, key: str, owner: str) -> None:
        entry = self.entry(key)
        if entry is not None and (entry.state, entry.owner) == (State.SUBMITTING, owner):
            super().settle(key, State.PLANNED, UNSENT)

    def _give_up(self, key: str) -> None:
        """Its owner does not know that it is his: the next look takes it over, unless a fleet's queue has it."""
        entry = self.entry(key)
        if entry is not None and entry.state is not State.SUBMITTING and not (entry.owner or "").startswith(FLEET):
            self.disown(key)

    def _once(self, call: tuple[Any, ...], work: Callable[[], T]) -> T:
        if call in self._true:
            result: T = self._true[call]
        else:
            result = work()
        self._written.calls[call] = result
        return result

    # --- what is said of a create ------------------------------------------------------------------------------

    def intend(self, intent: Intent, *, owner: str, room: int | None = None, notify: bool = False) -> VideoTask | None:
        """See `Ledger.intend`."""
        _check_length(intent.key, sent=False)
        known = super().intend(intent, owner=owner, room=room, notify=notify)
        if known is None:
            self._written.intents.append((intent.key, owner))
            self._true = {call: result for call, result in self._true.items() if call[1] != intent.key}
        return known

    def answered(self, key: str, answer: Answer) -> State:
        """See `Ledger.answered`."""
        _check_length(answer.task_id)
        self._written.touched.append(key)
        return self._once(("answered", key, answer), functools.partial(super().answered, key, answer))

    def settle(self, key: str, state: State, detail: str = "", task_id: str | None = None) -> None:
        """See `Ledger.settle`."""
        _check_length(task_id)
        work = functools.partial(super().settle, key, state, detail, task_id)
        self._once(("settle", key, state, detail, task_id), work)

    def found(self, key: str, how: str, task_id: str, *, owner: str | None = None) -> Entry:
        """See `Ledger.found`."""
        self._written.touched.append(key)
        return super().found(key, how, task_id, owner=owner)

    def take_over(self, owner: str, dead: Sequence[str], gateway: str, *, untold: bool = True) -> list[Entry]:
        """See `Ledger.take_over`."""
        taken = super().take_over(owner, dead, gateway, untold=untold)
        self._written.touched += [entry.key for entry in taken]
        return taken

    # --- the words of PostgreSQL -------------------------------------------------------------------------------

    def trouble(self, error: Exception) -> JournalError:
        """What PostgreSQL says, in the user's words."""
        return postgres_error(error)

    def entries(self, states: Iterable[State] | None = None) -> Iterator[Entry]:
        """All rows, or those in certain states, in the order of the sheet or of entering, page by page."""
        named, place = [str(state) for state in states] if states is not None else None, (-2, 0)
        query = f"SELECT {_PLACE}, rowid, {', '.join(COLUMNS)} FROM item WHERE ({_PLACE}, rowid) > (?, ?)"  # noqa: S608
        if named is not None:
            query += f" AND state IN ({', '.join('?' * len(named))})" if named else " AND false"
        query += f" ORDER BY {_PLACE}, rowid LIMIT {PAGE}"
        while rows := self.connection.execute(query, (*place, *(named or ()))).fetchall():
            place = rows[-1][:2]
            yield from (entry_of(row[2:]) for row in rows)


def has_place(name: str | None) -> bool:
    """Whether an id is short enough for an index."""
    return name is None or len(name.encode("utf-8", "replace")) <= LONGEST


def _check_length(name: str | None, *, sent: bool = True) -> None:
    """Refuse an id before it spoils a transaction; what was paid is noted beside the journal then."""
    if not has_place(name):
        told = f"an id of more than {LONGEST} bytes has no place in this database"
        raise JournalError(told, kind="conflict", may_have_charged=sent)


_PLACE = "coalesce(position, -1)"


@attrs.define
class SessionOwner:
    """One client instance's place: a lock that the server drops when the connection ends, however it ends.

    Args:
        session: Whose connection holds it.
        name: What its rows carry.
    """

    session: Session
    name: str = attrs.field(factory=lambda: secrets.token_hex(8))
    _taken: int = attrs.field(default=0, init=False)
    _since: float = attrs.field(default=-LAPSE, init=False)

    def take(self) -> None:
        """Take the place, with each new connection; shared, for the server may not know yet that the old one broke."""
        self.session.raw.execute("SELECT pg_advisory_lock_shared(%s, %s)", (OWNERS, _number(self.name)))
        self._taken += 1
        if self._taken > 1:
            self._since = time.monotonic()

    def alive(self, name: str) -> bool:
        """Whether the instance of that name lives, as far as clients have to know."""
        return name == self.name or name.startswith(FLEET) or self.held(name)

    def held(self, name: str) -> bool:
        """Whether the instance of that name has a connection, or may be on its way back to one."""
        if time.monotonic() - self._since < LAPSE:
            return True
        return bool(self.session.raw.execute(HELD, (LAPSE, OWNERS, _number(name))).fetchone()[0])  # type: ignore[index]

    def discard(self, name: str) -> None:
        """A dead instance has left nothing but its rows."""

    def release(self) -> None:
        """Give the place up."""
        self.session.close()


HELD = (
    "SELECT clock_timestamp() - pg_postmaster_start_time() < %s * interval '1 second' OR EXISTS ("
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid = %s AND objid = %s"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


def _number(name: str) -> int:
    return zlib.crc32(name.encode()) >> 1
