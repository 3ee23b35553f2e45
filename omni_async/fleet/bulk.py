"""Many rows into the shared journal at once, by way of a passing table: tens of thousands a second."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from ..batch.columns import at_line
from ..errors import Fault
from ..journal import Entry, State
from ..journal.entries import COLUMNS, entry_of
from ..journal.postgres import FLEET, LONGEST, has_place
from ..journal.session import plain
from ..journal.staging import FAILED
from ..journal.states import OPEN, UNPAID
from ..safety import target_key
from .tables import RANK, FleetLedger

_CARRIED = tuple(name for name in COLUMNS if name not in ("owner", "notify", "run", "target_key"))
_NAMES = ", ".join((*_CARRIED, "target_key"))
_UNPAID = ", ".join(f"'{state}'" for state in sorted(UNPAID))
_HERE = ", ".join(f"here.{name}" for name in COLUMNS)
_MOVABLE = "here.target IS NULL OR here.state IN ('PLANNED', 'REJECTED', 'SUBMITTING', 'SUBMITTED', 'UNCERTAIN')"
"""Where a row's video can still get another name."""

IsRefused = Callable[[Entry], bool]
"""Whether trying a failed row again would not help."""


@attrs.frozen(kw_only=True)
class Enqueued:
    """What rows came to, or (before they are entered) would come to.

    Args:
        new: Entered.
        known: There already, with the same inputs.
        told: Of those, how many a journal knows more of than the fleet did.
        updated: There already and not sent yet: they have the new inputs now.
        kept: There already and paid: their edits were not taken.
        retried: Failed or expired, and tried again.
        unsent: Of a journal, and not entered: they were not sent, and are no more to be sent from it.
        states: How many of the new ones stand where.
        kinds: Those that are to be paid, by kind.
        bad: Lines left out for their faults.
    """

    new: int = 0
    known: int = 0
    told: int = 0
    updated: int = 0
    kept: int = 0
    retried: int = 0
    unsent: int = 0
    states: dict[State, int] = attrs.field(factory=dict)
    kinds: dict[str, int] = attrs.field(factory=dict)
    bad: int = 0

    def __add__(self, other: "Enqueued") -> "Enqueued":
        """Both together."""
        theirs = attrs.asdict(other)
        both: dict[str, Any] = {
            name: _sum(count, theirs[name]) if isinstance(count, dict) else count + theirs[name]
            for name, count in attrs.asdict(self).items()
        }
        return Enqueued(**both)

    @property
    def rows(self) -> int:
        """Rows that are looked at."""
        return self.new + self.known + self.updated + self.kept

    @property
    def to_pay(self) -> int:
        """Videos that workers will pay for because of this."""
        return sum(self.kinds.values())


def _sum(one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def last_place(ledger: FleetLedger) -> int:
    """The place of the last row of the sheets so far: those of the next come behind it."""
    row = ledger.connection.execute("SELECT coalesce(max(position), 0) FROM item").fetchone()
    return int(row[0]) if row is not None else 0


# --- looking ---------------------------------------------------------------------------------------------------------


def looked_at(
    ledger: FleetLedger, some: Sequence[Entry], *, whole: bool, refused: IsRefused | None = None
) -> tuple[Enqueued, list[Fault]]:
    """What rows would come to, and those that cannot be entered; nothing is changed.

    Args:
        ledger: The shared one.
        some: Rows.
        whole: Whether they come with what they came to.
        refused: With it, those that failed are tried again, unless it says that this would not help.
    """
    _bring(ledger, some)
    told = Enqueued()
    query = (
        "SELECT brought.state, brought.kind, here.state, here.fingerprint = brought.fingerprint, count(*)"
        " FROM brought LEFT JOIN omni_item here USING (key) GROUP BY 1, 2, 3, 4"
    )
    for state, kind, here, same, count in ledger.connection.execute(query):
        told += _group(State(state), kind or "", here, same=bool(same), whole=whole, count=count)
    if refused is not None:
        told += counted(failed(ledger, some, refused))
    long = Fault("id", f"is longer than {LONGEST} bytes")
    return told, [*(_at(row.position, long) for row in some if not has_place(row.key)), *_faults(ledger)]


def _group(state: State, kind: str, here: str | None, *, same: bool, whole: bool, count: int) -> Enqueued:
    kinds = {kind: count}
    if here is None:
        return Enqueued(new=count, states={state: count}, kinds=kinds if state is State.PLANNED else {})
    if same:
        more = whole and state not in OPEN - {State.SUBMITTED} and RANK[state] > RANK[State(here)]
        return Enqueued(known=count, told=count * more)
    if here in UNPAID and not whole:
        return Enqueued(updated=count, kinds=kinds)
    return Enqueued(kept=count)


def _faults(ledger: FleetLedger) -> list[Fault]:
    execute = ledger.connection.execute
    files = execute(
        "SELECT brought.position, brought.target, here.key FROM brought JOIN omni_item here USING (target_key)"
        " WHERE here.key <> brought.key ORDER BY 1"
    )
    faults = [
        _at(line, Fault("file", f"{target!r} is the file of row {key!r}, which the fleet has already"))
        for line, target, key in files
    ]
    foreign = execute(
        "SELECT brought.position, key, here.gateway FROM brought JOIN omni_item here USING (key)"
        " WHERE here.gateway <> brought.gateway ORDER BY 1"
    )
    told = "{!r} is the id of a row for {} in this database: one id is one video"
    return [*faults, *(_at(line, Fault("id", told.format(key, gateway))) for line, key, gateway in foreign)]


def _at(line: int | None, fault: Fault) -> Fault:
    return at_line(line, fault) if line else fault


def failed(ledger: FleetLedger, some: Sequence[Entry], refused: IsRefused) -> list[Entry]:
    """Of rows that were brought, those to be tried again: failed or expired, in the fleet or in their own journal."""
    cursor = ledger.connection.execute(
        f"SELECT {_HERE} FROM brought JOIN omni_item here USING (key)"  # noqa: S608 - our own names
        " WHERE here.fingerprint = brought.fingerprint"
    )
    here = {row[0]: entry_of(row) for row in cursor}
    return [entry for row in some if can_be_tried(entry := here.get(row.key, row), refused)]


def can_be_tried(entry: Entry, refused: IsRefused) -> bool:
    """Whether a row failed or expired, and a new attempt may help."""
    if entry.state is State.REJECTED:
        return entry.again == 1
    return entry.state in FAILED and not refused(entry)


def counted(entries: Iterable[Entry]) -> Enqueued:
    """Rows that are tried again."""
    told = Enqueued()
    for entry in entries:
        told += Enqueued(retried=1, kinds={entry.kind or "": 1})
    return told


# --- entering --------------------------------------------------------------------------------------------------------


def entered(
    ledger: FleetLedger, some: Sequence[Entry], *, base: int, whole: bool, refused: IsRefused | None = None
) -> None:
    """Enter rows with their jobs, in one transaction.

    Args:
        ledger: The shared one.
        some: Rows.
        base: The place before the first of them.
        whole: Whether they come with what they came to: then a row that is here already is told what they know more.
        refused: See `looked_at`.
    """
    _bring(ledger, some)
    execute = ledger.connection.execute
    execute("UPDATE brought SET position = coalesce(position, 0) + ?", (base,))
    new = {key for (key,) in execute(
        f"INSERT INTO omni_item ({_NAMES}, owner) SELECT {_NAMES}, '{FLEET}' FROM brought"  # noqa: S608
        " ON CONFLICT (key) DO NOTHING RETURNING key"
    )}  # fmt: skip
    queued = set(new)
    if whole:
        for entry in some:
            if entry.key not in new:
                ledger.merge(entry)
    elif len(new) < len(some):
        queued |= _updated(ledger)
    if len(new) < len(some):
        _describe(ledger, whole=whole)
    ledger.give_jobs([entry for entry in some if entry.key in queued and entry.state in WORK])
    if refused is not None:
        try_again(ledger, failed(ledger, some, refused))


WORK = frozenset({State.PLANNED, State.SUBMITTED, State.SUCCEEDED})
"""Where a row stands of which something is left to be done without a person's word."""


def _updated(ledger: FleetLedger) -> set[str]:
    """Rows edited before they were sent get their new inputs; gives which."""
    return {key for (key,) in ledger.connection.execute(
        "UPDATE omni_item here SET state = 'PLANNED', fingerprint = brought.fingerprint, inputs = brought.inputs,"  # noqa: S608
        " kind = brought.kind, again = 0, detail = NULL"
        " FROM brought WHERE here.key = brought.key AND here.fingerprint <> brought.fingerprint"
        f" AND here.state IN ({_UNPAID}) RETURNING here.key"
    )}  # fmt: skip


def _describe(ledger: FleetLedger, *, whole: bool) -> None:
    """What a sheet says beside what is asked for holds for rows that are here already; a journal only fills gaps."""
    new, old = ("here", "brought") if whole else ("brought", "here")
    ledger.connection.execute(
        f"UPDATE omni_item here SET carried = coalesce({new}.carried, {old}.carried),"  # noqa: S608 - our own names
        f" metadata = coalesce({new}.metadata, {old}.metadata), kind = coalesce(here.kind, brought.kind),"
        " position = coalesce(nullif(here.position, 0), brought.position),"
        f" target = CASE WHEN {_MOVABLE} THEN coalesce({new}.target, {old}.target) ELSE here.target END,"
        f" target_key = CASE WHEN {_MOVABLE} THEN coalesce({new}.target_key, {old}.target_key) ELSE here.target_key END"
        " FROM brought WHERE here.key = brought.key AND ((here.carried, here.metadata, here.target) IS DISTINCT FROM"
        " (brought.carried, brought.metadata, brought.target) OR coalesce(here.position, 0) = 0)"
    )


def try_again(ledger: FleetLedger, entries: Iterable[Entry]) -> None:
    """A new attempt, on record, for rows that failed; a worker sends them."""
    for entry in entries:
        ledger.anew(entry.key, "retried")
        ledger.connection.execute("UPDATE item SET size = NULL, sha256 = NULL WHERE key = ?", (entry.key,))


def tried_again(ledger: FleetLedger, refused: IsRefused, *, keys: Sequence[str]) -> int:
    """A new attempt for those of some rows that may still have one; how many."""
    entries = [entry for entry in map(ledger.entry, keys) if entry is not None and can_be_tried(entry, refused)]
    try_again(ledger, entries)
    return len(entries)


def _bring(ledger: FleetLedger, some: Sequence[Entry]) -> None:
    """The rows into a passing table of this connection's."""
    raw = ledger.connection.raw
    raw.execute("DROP TABLE IF EXISTS brought")
    raw.execute("CREATE TEMP TABLE brought (LIKE omni_item) ON COMMIT DROP")
    raw.execute("ALTER TABLE brought DROP COLUMN rowid, DROP COLUMN owner, DROP COLUMN notify, DROP COLUMN run")
    with raw.cursor() as cursor, cursor.copy(f"COPY brought ({_NAMES}) FROM STDIN") as copy:
        for entry in some:
            copy.write_row(_values(entry))


def _values(entry: Entry) -> list[Any]:
    told = {name: getattr(entry, name) for name in _CARRIED}
    if entry.state is State.SUBMITTING:  # of a journal that nobody has any more
        told["state"] = State.UNCERTAIN
    target = entry.target
    return [plain(told[name]) for name in _CARRIED] + [plain(target_key(target)) if target else None]
