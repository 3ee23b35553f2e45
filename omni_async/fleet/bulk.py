"""Many rows into the shared journal at once, by way of a passing table: 40,000 a second and more."""

import json
from collections.abc import Sequence
from typing import Any

import attrs

from ..batch.targets import target_key
from ..errors import Fault
from ..journal import Entry, State
from ..journal.entries import COLUMNS
from ..journal.session import plain
from ..journal.states import UNPAID
from .tables import FleetLedger

_CARRIED = tuple(name for name in COLUMNS if name not in ("owner", "notify", "run", "target_key"))
_NAMES = ", ".join((*_CARRIED, "target_key"))
_UNPAID = ", ".join(f"'{state}'" for state in sorted(UNPAID))


@attrs.frozen(kw_only=True)
class Enqueued:
    """What rows came to, or (of a dry run) would come to.

    Args:
        new: Entered.
        known: There already, with the same inputs; a journal that knows more of one has told it.
        updated: There already and not sent yet: they have the new inputs now.
        kept: There already and paid: their edits were not taken.
        states: How many of the new ones stand where.
        kinds: The new ones that are to be paid, by kind.
        bad: Lines left out for their faults.
    """

    new: int = 0
    known: int = 0
    updated: int = 0
    kept: int = 0
    states: dict[State, int] = attrs.field(factory=dict)
    kinds: dict[str, int] = attrs.field(factory=dict)
    bad: int = 0

    def __add__(self, other: "Enqueued") -> "Enqueued":
        """Both together."""
        return Enqueued(
            new=self.new + other.new,
            known=self.known + other.known,
            updated=self.updated + other.updated,
            kept=self.kept + other.kept,
            states=_sum(self.states, other.states),
            kinds=_sum(self.kinds, other.kinds),
            bad=self.bad + other.bad,
        )


def _sum(one: dict[Any, int], other: dict[Any, int]) -> dict[Any, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def last_place(ledger: FleetLedger) -> int:
    """The place of the last row of the sheets so far: those of the next come behind it."""
    row = ledger.connection.execute("SELECT coalesce(max(position), 0) FROM item").fetchone()
    return int(row[0]) if row is not None else 0


def looked_at(ledger: FleetLedger, some: Sequence[Entry]) -> tuple[Enqueued, list[Fault]]:
    """What rows would come to, and those whose file is another row's; nothing is changed."""
    _bring(ledger, some)
    told = Enqueued()
    query = (
        "SELECT brought.state, brought.kind, here.state, here.fingerprint = brought.fingerprint, count(*)"
        " FROM brought LEFT JOIN omni_item here USING (key) GROUP BY 1, 2, 3, 4"
    )
    for state, kind, here, same, count in ledger.connection.execute(query):
        told += _group(State(state), kind or "", here, same=bool(same), count=count)
    query = (
        "SELECT brought.key, brought.target, here.key FROM brought JOIN omni_item here USING (target_key)"
        " WHERE here.key <> brought.key"
    )
    faults = [
        Fault(f"row {key!r}: file", f"{target!r} is the file of row {other!r}, which the fleet has already")
        for key, target, other in ledger.connection.execute(query)
    ]
    return told, faults


def _group(state: State, kind: str, here: str | None, *, same: bool, count: int) -> Enqueued:
    if here is None:
        kinds = {kind: count} if state is State.PLANNED else {}
        return Enqueued(new=count, states={state: count}, kinds=kinds)
    if same:
        return Enqueued(known=count)
    if here in UNPAID and state is State.PLANNED:
        return Enqueued(updated=count)
    return Enqueued(kept=count)


def entered(ledger: FleetLedger, some: Sequence[Entry], *, base: int, whole: bool) -> None:
    """Enter rows with their jobs, in one transaction.

    Args:
        ledger: The shared one.
        some: Rows.
        base: The place before the first of them.
        whole: Whether they come with what they came to: then a row that is here already is told what they know more.
    """
    _bring(ledger, some)
    execute = ledger.connection.execute
    execute("UPDATE brought SET position = position + ?", (base,))
    new = {key for (key,) in execute(
        f"INSERT INTO omni_item ({_NAMES}, owner) SELECT {_NAMES}, '' FROM brought ON CONFLICT (key) DO NOTHING"  # noqa: S608
        " RETURNING key"
    )}  # fmt: skip
    changed = set()
    if whole:
        for entry in some:
            if entry.key not in new:
                ledger.merge(entry)
    else:
        changed = {key for (key,) in execute(
            "UPDATE omni_item here SET state = 'PLANNED', fingerprint = brought.fingerprint, inputs = brought.inputs,"  # noqa: S608
            " kind = brought.kind, metadata = brought.metadata, carried = brought.carried, again = 0, detail = NULL"
            " FROM brought WHERE here.key = brought.key AND here.fingerprint <> brought.fingerprint"
            f" AND here.state IN ({_UNPAID}) RETURNING here.key"
        )}  # fmt: skip
    ledger.give_jobs([entry for entry in some if entry.key in new | changed and entry.state in WORK])


WORK = frozenset({State.PLANNED, State.SUBMITTED, State.SUCCEEDED})
"""Where a row stands of which something is left to be done without a person's word."""


def add_columns(ledger: FleetLedger, names: Sequence[str]) -> None:
    """Note carried columns, for the results."""
    known = json.loads(ledger.note("columns") or "[]")
    if set(names) - set(known):
        ledger.write_note("columns", json.dumps(list(dict.fromkeys([*known, *names])), ensure_ascii=False))


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
