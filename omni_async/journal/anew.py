"""What is to be paid again: until its create is sent, a row that was paid stands as it stood.

That it is to be paid again is a wish of one run, and lives as long as its connection: declined, stopped or killed, it
leaves nothing behind. The row goes into its new round together with the intent. What it was is noted there, and comes
back when the create turns out not to have been accepted, for whatever concerns not the row itself.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from ..models import VideoTask
from .entries import COLUMNS, SENT_AGAIN, Entry, entry_of
from .ledger import Ledger
from .seam import Answer, Intent, NotNow
from .states import State

REDO, RETRY = "redo_edited", "retry_failed"
WHY = {REDO: "redone: edited after it was paid", RETRY: "retried"}
"""The options by which a person wishes it, and what the row's history tells then."""
BEFORE = "before "
"""How the note of what a row was begins."""
PUT_BACK = "nothing was paid: it stands as it stood"

_ASKED = ("fingerprint", "inputs", "kind", "target", "target_key")
_OWN = (
    "state", "task_id", "candidate", "task", "finished_at", "expires_at", "detail", "again", "notify", "round", "size",
    "sent_at", "owner", "attempts", *_ASKED,
)  # fmt: skip
_WISHED = {
    **{name: f"item.{name}" for name in COLUMNS},
    **{name: f"coalesce(anew.{name}, item.{name})" for name in _ASKED if name in COLUMNS},
    "round": "max(item.round, coalesce(anew.round, 0))",
    "state": "CASE WHEN anew.round > item.round THEN 'PLANNED' ELSE item.state END",
}
_COLUMNS = ", ".join(f"{_WISHED[name]} AS {name}" for name in COLUMNS)
_TABLES = (
    "CREATE TEMP TABLE anew (key TEXT NOT NULL PRIMARY KEY, round INTEGER NOT NULL, wish TEXT NOT NULL,"
    f" {', '.join(f'{name} TEXT' for name in _ASKED)}) WITHOUT ROWID",
    "CREATE INDEX temp.anew_target ON anew (target_key) WHERE target_key IS NOT NULL",
    f"CREATE TEMP VIEW sheet AS SELECT item.rowid AS place, {_COLUMNS}"  # noqa: S608 - column names of our own
    " FROM item LEFT JOIN temp.anew ON anew.key = item.key",
)
_SHEET = f"SELECT place, {', '.join(COLUMNS)} FROM temp.sheet"  # noqa: S608
_DUE = "FROM temp.anew JOIN item ON item.key = anew.key WHERE anew.round > item.round"


@attrs.frozen(kw_only=True)
class Wish:
    """A row is to be paid again. What is None stays as it is.

    Args:
        key: Of the row.
        wish: The option that asks for it.
        fingerprint: Of other inputs.
        inputs: Other inputs.
        kind: What they are in a few words.
        target: Another file.
        target_key: The same in a form in which equal names are equal.
    """

    key: str
    wish: str
    fingerprint: str | None = None
    inputs: str | None = None
    kind: str | None = None
    target: str | None = None
    target_key: str | None = None


class SheetLedger(Ledger):
    """A ledger whose rows can be wished to be paid again; the arguments are those of `Ledger`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._wished = False  # whether anything was, ever: most creates are asked for by nobody's wish
        for table in _TABLES:
            self.connection.execute(table)

    # --- wishes ------------------------------------------------------------------------------------------------

    def forget_wishes(self) -> None:
        """Another sheet: what was wished with the last one is wished no more."""
        self.connection.execute("DELETE FROM temp.anew")

    def wish(self, wish: Wish) -> None:
        """The row is to be paid again in this run."""
        self._wished = True
        asked = [getattr(wish, name) for name in _ASKED]
        self.connection.execute(
            "INSERT INTO temp.anew SELECT key, round + 1, ?, ?, ?, ?, ?, ? FROM item WHERE key = ?",
            (wish.wish, *asked, wish.key),
        )

    def put_off(self) -> dict[str, int]:
        """How many rows are still to be paid again, by the option that asks for it."""
        return dict(self.connection.execute(f"SELECT wish, count(*) {_DUE} GROUP BY wish").fetchall())

    def wished_for(self, target_key: str, but: str) -> str | None:
        """The key of another row than `but` that is to be made anew into this file."""
        query = "SELECT key FROM temp.anew WHERE target_key = ? AND key != ?"
        found = self.connection.execute(query, (target_key, but)).fetchone()
        return None if found is None else str(found[0])

    # --- rows as they are wished -------------------------------------------------------------------------------

    def wished(self, states: Iterable[State]) -> Iterator[Entry]:
        """As `entries`; those that are to be paid again are PLANNED, with what is asked for now."""
        values = [str(state) for state in states]
        query = f"{_SHEET} WHERE state IN ({', '.join('?' * len(values))}) ORDER BY position, place"
        for row in self.connection.execute(query, values):
            yield entry_of(row[1:])

    def planned(self, run: int, after: int, count: int) -> list[tuple[int, Entry]]:
        """See `Ledger.planned`; with those that are to be paid again."""
        query = f"{_SHEET} WHERE state = 'PLANNED' AND run = ? AND place > ? ORDER BY place LIMIT ?"
        return [(row[0], entry_of(row[1:])) for row in self.connection.execute(query, (run, after, count))]

    # --- their creates -----------------------------------------------------------------------------------------

    def intend(self, intent: Intent, *, owner: str, room: int | None = None, notify: bool = False) -> VideoTask | None:
        """See `Ledger.intend`; a row that is to be paid again goes into its new round with it."""
        due = self._due(intent.key) if self._wished else None
        if due is not None:
            if due[0] != intent.round:
                raise NotNow("it is to be paid anew", 0.0, round=due[0])
            self._check_room(room)
            self._go_anew(intent.key, *due[1:])
        return super().intend(intent, owner=owner, room=room, notify=notify)

    def _due(self, key: str) -> tuple[Any, ...] | None:
        """The new round of a row that is to be paid again, by which option, and what it asks for then."""
        asked = ", ".join(f"anew.{name}" for name in _ASKED)
        row: tuple[Any, ...] | None = self.connection.execute(
            f"SELECT anew.round, anew.wish, {asked} {_DUE} AND item.key = ?", (key,)
        ).fetchone()
        return row

    def _go_anew(self, key: str, wish: str, *asked: str | None) -> None:
        """Into the new round; a file that is there is the old one's, and known by its hash alone from now on."""
        row = self.connection.execute(f"SELECT {', '.join(_OWN)} FROM item WHERE key = ?", (key,)).fetchone()  # noqa: S608
        self.write_note(BEFORE + key, json.dumps(dict(zip(_OWN, row, strict=True))))
        self.anew(key, WHY[wish])
        changes = ", ".join(f"{name} = coalesce(?, {name})" for name in _ASKED)
        self.connection.execute(f"UPDATE item SET size = NULL, {changes} WHERE key = ?", (*asked, key))  # noqa: S608

    def _weigh(self, key: str, answer: Answer) -> State:
        """See `Ledger._weigh`; a row of round 0 was never anything else."""
        state = super()._weigh(key, answer)
        if state is not State.SUBMITTING:
            self._went(key, back=state is State.PLANNED or (state is State.REJECTED and answer.again == SENT_AGAIN))
        return state

    def settle(self, key: str, state: State, detail: str = "", task_id: str | None = None) -> None:
        """See `Ledger.settle`; a person's word that an uncertain row may be sent is no wish of a run's, and stays."""
        sending = self._state(key) is State.SUBMITTING
        super().settle(key, state, detail, task_id)
        self._went(key, back=sending and state is State.PLANNED)

    def _went(self, key: str, *, back: bool) -> None:
        """The create of a row has its end; `back` if it is as good as never sent: the row is what it was before."""
        before = self.note(BEFORE + key)
        if before is None:
            return
        self.connection.execute("DELETE FROM note WHERE name = ?", (BEFORE + key,))
        if back:
            was = json.loads(before)
            values = ", ".join(f"{name} = ?" for name in _OWN)
            self.connection.execute(
                f"UPDATE item SET {values} WHERE key = ?",  # noqa: S608
                (*(was[name] for name in _OWN), key),
            )
            self._record(key, "put back", State(was["state"]), PUT_BACK, was["task_id"])
