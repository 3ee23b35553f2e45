"""The journal's core: what can happen to a row, as plain functions of one database connection. No loop, no thread.

Each call is part of a transaction that the caller begins and commits. A call looks before it writes: one that raises
has changed nothing.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from ..errors import JournalError
from ..models import VideoTask
from .entries import ADOPTED, SIGHTED, UNFOLLOWED, Entry, known_task, seconds_of, unanswered_error, write_task
from .rows import DOUBTFUL, LIVE, RECORD, Rows
from .schema import journal_error, opened_file
from .seam import TAKEN, Answer, Intent, NotNow, write_metadata
from .states import FINAL, OF_STATUS, UNPAID, State, check_end, check_way

ROOM = 1.0
"""Seconds after which to ask again for room."""
LEASE = 1800.0
"""Seconds after which a task nobody saw finish no longer counts as running, as in the limiter (docs: give up then)."""
BODY = 64 * 1024
LOST = "the process ended before the answer was written down"

_UNTAKEN = (
    " AND NOT EXISTS (SELECT 1 FROM item other"
    " WHERE other.gateway = item.gateway AND other.task_id = ? AND other.key <> item.key)"
)
_ACCEPT = (
    "UPDATE item SET state = 'SUBMITTED', task_id = ?, candidate = NULL, detail = NULL, again = 0,"  # noqa: S608 - our own words
    f" attempts = attempts + 1 WHERE key = ? AND state = 'SUBMITTING' AND round = 0{_UNTAKEN}"
)


class Ledger(Rows):
    """The rows, and what happens to them.

    Args:
        connection: To the journal's database.
        clock: Wall time, in seconds since 1970.
        present: Raises a JournalError if what is written would not be kept; see `schema.presence`.
    """

    _own: ClassVar[str] = ""
    """Leaves out rows whose gateway's room is not counted here."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        clock: Callable[[], float] = time.time,
        present: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connection)
        self._clock, self._present = clock, present

    # --- transactions ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to write; nobody else does meanwhile."""
        self._present()
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable."""
        self.connection.execute("COMMIT")

    def trouble(self, error: Exception) -> JournalError:
        """What the database says, in the user's words."""
        return error if isinstance(error, JournalError) else journal_error(error, opened_file(self.connection))

    def rollback(self) -> None:
        """Undo what was not committed."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    # --- a create ----------------------------------------------------------------------------------------------

    def intend(self, intent: Intent, *, owner: str, room: int | None = None, notify: bool = False) -> VideoTask | None:
        """See `Journal.intend`; `room` is how many tasks may run at once."""
        entry = self.entry(intent.key) if room is not None else None  # else the insert itself tells whether it is new
        if entry is None:
            self._check_room(room)
            if self._insert(intent, owner, notify=notify):
                return None
            entry = self._must(intent.key)
        known = known_task(entry, intent.fingerprint)
        if known is None:
            if entry.round != intent.round:
                raise NotNow("it is to be paid anew", 0.0, round=entry.round)
            self._check_room(room)
            self._send_again(intent, owner, notify=notify or entry.notify)
        return known

    def _check_room(self, room: int | None) -> None:
        if room is not None and self.running() >= room:
            raise NotNow(f"{room} tasks of this journal are running", ROOM)

    def _insert(self, intent: Intent, owner: str, *, notify: bool) -> bool:
        """Enter a row; False if there is one of this key."""
        # The driver takes as long over a None, a bool or an enum's member as over a look-up: texts and ints instead.
        now, metadata = self._clock(), write_metadata(intent.metadata)
        inserted = self.connection.execute(
            "INSERT INTO item (key, gateway, fingerprint, state, custom_id, owner, notify, inputs, metadata,"
            " planned_at, sent_at) VALUES (?, ?, ?, 'SUBMITTING', ?, ?, ?, ?, nullif(?, ''), ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            (intent.key, intent.gateway, intent.fingerprint, intent.custom_id, owner, int(notify), intent.inputs,
             metadata or "", now, now),
        )  # fmt: skip
        return inserted.rowcount == 1

    def _send_again(self, intent: Intent, owner: str, *, notify: bool) -> None:
        """What was not paid is sent, with the inputs it has now."""
        self.connection.execute(
            "UPDATE item SET state = 'SUBMITTING', gateway = ?, fingerprint = ?, owner = ?, notify = ?, sent_at = ?,"
            " inputs = coalesce(?, inputs), metadata = coalesce(?, metadata), detail = NULL WHERE key = ?",
            (intent.gateway, intent.fingerprint, owner, notify, self._clock(), intent.inputs,
             write_metadata(intent.metadata), intent.key),
        )  # fmt: skip

    def known(self, key: str, fingerprint: str) -> VideoTask | None:
        """The task of an id, without sending anything; None if it may be sent.

        Raises:
            NotNow: It is being sent.
            SubmissionUncertainError: It was sent before, and nobody knows what came of it.
            JournalError: It is known with other inputs.
        """
        entry = self.entry(key)
        return None if entry is None else known_task(entry, fingerprint)

    def find(self, key: str) -> VideoTask | None:
        """As `known`, for whoever does not send it, whatever its inputs were; None if nothing was paid for it."""
        entry = self.entry(key)
        task = None if entry is None else known_task(entry, None)
        if task is None and entry is not None and self.paid_before(entry):
            raise unanswered_error(entry)
        return task

    def answered(self, key: str, answer: Answer) -> State:
        """See `Journal.answered`."""
        if not self._accept(key, answer):
            return self._weigh(key, answer)
        self._record(key, "answer", State.SUBMITTED, "", answer.task_id, answer)
        return State.SUBMITTED

    def _accept(self, key: str, answer: Answer) -> bool:
        """What most answers say of most rows, in one statement; False, and nothing written, if there is more to it.

        So it is with a task that another row has, and with a row that was paid before: see `SheetLedger`.
        """
        if answer.task_id is None or answer.state != State.SUBMITTED or answer.detail or answer.candidate:
            return False
        return self.connection.execute(_ACCEPT, (answer.task_id, key, answer.task_id)).rowcount == 1

    def _weigh(self, key: str, answer: Answer) -> State:
        """Any answer, by what the row is."""
        here, state = self._state(key), State(answer.state)
        task_id, candidate, detail = answer.task_id, answer.candidate, answer.detail
        if here is state is State.SUBMITTING:
            self.connection.execute("UPDATE item SET candidate = ? WHERE key = ?", (candidate, key))
            self._record(key, "answer", state, detail, candidate, answer)
            return state
        check_end(key, here, state)
        if not self._end(key, state, task_id, candidate, detail, answer.again):
            state, task_id, candidate, detail = State.UNCERTAIN, None, answer.task_id, TAKEN
            self._end(key, state, task_id, candidate, detail, 0)
        self._record(key, "answer", state, detail, task_id or candidate, answer)
        return state

    def _state(self, key: str) -> State:
        row = self.connection.execute("SELECT state FROM item WHERE key = ?", (key,)).fetchone()
        return State(row[0]) if row is not None else self._must(key).state

    def _end(self, key: str, state: State, task_id: str | None, candidate: str | None, detail: str, again: int) -> bool:
        """A create's end; False, and nothing written, if its task is another row's."""
        query = "UPDATE item SET state = ?, task_id = ?, candidate = ?, detail = ?, again = ?, attempts = attempts + ?"
        values = (state, task_id, candidate, detail or None, again, state is not State.PLANNED, key)
        if task_id is None:
            ended = self.connection.execute(f"{query} WHERE key = ?", values)
        else:
            ended = self.connection.execute(f"{query} WHERE key = ?{_UNTAKEN}", (*values, task_id))
        return ended.rowcount == 1

    def settle(self, key: str, state: State, detail: str = "", task_id: str | None = None) -> None:
        """See `Journal.settle`."""
        entry = self._must(key)
        if entry.state is state and task_id in (None, entry.task_id, entry.candidate):
            return
        check_end(key, entry.state, state, settled=True)
        self._check_free(entry, state, task_id)
        self._record(key, "settled", state, detail, task_id)
        sure = task_id if state is State.SUBMITTED else None
        tried = entry.state is State.SUBMITTING and state not in UNPAID
        self._move(key, state, task_id=sure, candidate=None if sure else task_id, detail=detail, tried=tried)

    def _check_free(self, entry: Entry, state: State, task_id: str | None) -> None:
        if state is State.SUBMITTED and (task_id is None or self._taken(entry, task_id)):
            raise JournalError(f"task {task_id} belongs to another row", kind="conflict", custom_id=entry.custom_id)

    def _taken(self, entry: Entry, task_id: str) -> bool:
        """Whether the task is another row's."""
        query = "SELECT 1 FROM item WHERE gateway = ? AND task_id = ? AND key != ?"
        return self.connection.execute(query, (entry.gateway, task_id, entry.key)).fetchone() is not None

    def _move(
        self, key: str, state: State, *, task_id: str | None, candidate: str | None, detail: str, tried: bool
    ) -> None:
        self.connection.execute(
            "UPDATE item SET state = ?, task_id = ?, candidate = ?, detail = ?, attempts = attempts + ? WHERE key = ?",
            (state, task_id, candidate, detail or None, tried, key),
        )

    # --- a task's end ------------------------------------------------------------------------------------------

    def finished(self, gateway: str, task: VideoTask, *, notify: bool = False) -> Entry | None:
        """Record a task's end; the first one that is seen stands. Gives its row, or None if it has none."""
        entry = self.by_task(gateway, task.task_id)
        if entry is None or entry.state is not State.SUBMITTED:
            return entry
        self.connection.execute(
            "UPDATE item SET state = ?, task = ?, finished_at = ?, expires_at = ?, detail = ?,"
            " notify = CASE WHEN ? = 1 THEN 1 ELSE notify END WHERE key = ?",
            (OF_STATUS[task.status], write_task(task), self._clock(), seconds_of(task.expires_at), task.error_message,
             notify, entry.key),
        )  # fmt: skip
        return self.entry(entry.key)

    def arriving(self, key: str, size: int, sha256: str) -> None:
        """A video is whole and about to get its name: what is found under that name is known by this afterwards."""
        self.connection.execute("UPDATE item SET size = ?, sha256 = ? WHERE key = ?", (size, sha256, key))

    def stored(self, key: str, size: int) -> Entry:
        """The video is on disk."""
        check_way(key, self._must(key).state, State.DONE)
        query = "UPDATE item SET state = 'DONE', size = ?, detail = NULL WHERE key = ?"
        self.connection.execute(query, (size, key))
        return self._must(key)

    def unstored(self, key: str, state: State, detail: str) -> Entry:
        """The video is not on disk: not yet, no more, or (EXPIRED) never."""
        if state is not self._must(key).state:
            check_way(key, self._must(key).state, state)
        self.connection.execute("UPDATE item SET state = ?, detail = ? WHERE key = ?", (state, detail or None, key))
        return self._must(key)

    def told(self, key: str) -> None:
        """`on_finished` has returned for this row."""
        self.connection.execute("UPDATE item SET notify = 0 WHERE key = ?", (key,))

    # --- whose rows --------------------------------------------------------------------------------------------

    def owners(self) -> list[str]:
        """Who has rows that are unfinished, or finished and untold."""
        query = (
            f"SELECT owner FROM item WHERE {LIVE}"  # noqa: S608
            " UNION SELECT owner FROM item WHERE notify = 1 AND finished_at IS NOT NULL"
        )
        return [name for (name,) in self.connection.execute(query) if name is not None]

    def take_over(self, owner: str, dead: Sequence[str], gateway: str, *, untold: bool = True) -> list[Entry]:
        """Make the rows of dead owners one's own; what they were sending is uncertain. Gives those rows.

        Finished ones that are `untold` are left to others by one who tells nobody.
        """
        keys = [key for name in dead for key in self._unfinished(name, gateway, untold=untold)]
        for key, state in keys:
            if state is State.SUBMITTING:
                named = self._must(key).candidate  # by a refusal that was being looked into
                self._record(key, "taken over", State.UNCERTAIN, LOST, named)
                self._move(key, State.UNCERTAIN, task_id=None, candidate=named, detail=LOST, tried=True)
            self.connection.execute("UPDATE item SET owner = ? WHERE key = ?", (owner, key))
        return [self._must(key) for key, _ in keys]

    def _unfinished(self, owner: str, gateway: str, *, untold: bool) -> list[tuple[str, State]]:
        query = (
            f"SELECT key, state FROM item WHERE gateway = ? AND owner = ? AND ({LIVE}"  # noqa: S608
            " OR (? = 1 AND notify = 1 AND finished_at IS NOT NULL))"
        )
        return [(key, State(state)) for key, state in self.connection.execute(query, (gateway, owner, untold))]

    def running(self) -> int:
        """Rows that may be running at their gateway."""
        query = f"SELECT count(*) FROM item WHERE {LIVE} AND sent_at > ?{self._own}"  # noqa: S608
        return int(self.connection.execute(query, (self._clock() - LEASE,)).fetchone()[0])

    # --- a person's word ---------------------------------------------------------------------------------------

    def resolve(self, key: str, state: State, what: str, task_id: str | None = None) -> Entry:
        """Settle an uncertain row by what a person found out, recorded as such.

        A task id is taken back that a person named before, unless the gateway has shown that task: it may be mistyped.
        So is one that cannot be followed: sent again, that row is a new create to the gateway, too.

        Raises:
            JournalError: There is no such row, it is not uncertain, or the task id is another row's.
        """
        entry = self.entry(key)
        if entry is None:
            raise JournalError(f"there is no row {key!r} in this journal", may_have_charged=False)
        if entry.unproved or entry.unfollowed:
            self._check_free(entry, state, task_id)
            why = (entry.detail or "") if entry.unfollowed else "by a person"
            self._record(key, "taken back", State.UNCERTAIN, why, entry.task_id)
            self._move(key, State.UNCERTAIN, task_id=None, candidate=None, detail="taken back", tried=False)
            if entry.unfollowed and state is State.PLANNED:
                self.connection.execute("UPDATE item SET round = round + 1 WHERE key = ?", (key,))
        elif entry.state is not State.UNCERTAIN:
            raise JournalError(f"row {key!r} is {entry.state}, not UNCERTAIN: there is nothing to settle")
        self.settle(key, state, what, task_id)
        return self._must(key)

    def sighted(self, key: str, task_id: str) -> None:
        """The gateway has shown the task that a person named for a row: that is not taken back any more."""
        query = "UPDATE item SET detail = ? WHERE key = ? AND task_id = ? AND state = 'SUBMITTED' AND detail = ?"
        self.connection.execute(query, (SIGHTED, key, task_id, ADOPTED))

    def unfollowed(self, gateway: str, task_id: str, why: str | None) -> None:
        """Note why a task cannot be followed, where the row is that waits for its end; None: it is to be seen again."""
        query = "UPDATE item SET detail = ? WHERE gateway = ? AND task_id = ? AND state = 'SUBMITTED'"
        if why is None:
            self.connection.execute(f"{query} AND detail LIKE ?", (None, gateway, task_id, f"{UNFOLLOWED}%"))
        else:
            self.connection.execute(query, (f"{UNFOLLOWED}{why}", gateway, task_id))

    def found(self, key: str, how: str, task_id: str, *, owner: str | None = None) -> Entry:
        """The task of a lost create was found, by the owner who follows it from now on; gives its row."""
        self.settle(key, State.SUBMITTED, how, task_id)
        self.connection.execute("UPDATE item SET owner = coalesce(?, owner) WHERE key = ?", (owner, key))
        return self._must(key)

    def anew(self, key: str, why: str) -> None:
        """A new attempt for a row that was paid or refused, by a person's word; the old one stays on record."""
        entry = self._must(key)
        check_way(key, entry.state, State.PLANNED)
        self._afresh(entry, why, entry.round + 1)

    def settled_elsewhere(self, key: str, round: int) -> None:  # noqa: A002 - the field's name
        """A new attempt, by what a person said to the journal that this one follows."""
        self._afresh(self._must(key), "to be sent again: settled in the journal that this one follows", round)

    def _afresh(self, entry: Entry, why: str, number: int) -> None:
        self._record(entry.key, "anew", State.PLANNED, why, entry.task_id)
        self.connection.execute(
            "UPDATE item SET state = 'PLANNED', task_id = NULL, candidate = NULL, task = NULL, finished_at = NULL,"
            " expires_at = NULL, detail = NULL, again = 0, round = ? WHERE key = ?",
            (number, entry.key),
        )

    def disown(self, key: str) -> None:
        """Nobody follows the row: the next client that looks takes it over."""
        self.connection.execute("UPDATE item SET owner = '' WHERE key = ?", (key,))

    # --- noting, cleaning --------------------------------------------------------------------------------------

    def noted(self, key: str, detail: str) -> Entry:
        """Note why a row that is still to be sent was not; gives the row as it stands."""
        self.connection.execute("UPDATE item SET detail = ? WHERE key = ? AND state = 'PLANNED'", (detail, key))
        return self._must(key)

    def _record(
        self, key: str, what: str, state: State, detail: str, task_id: str | None = None, answer: Answer | None = None
    ) -> None:
        status, request_id = (answer.status, answer.request_id) if answer else (None, None)
        body = answer.body[:BODY] if answer and answer.body else None
        self.connection.execute(
            f"INSERT INTO record (key, {', '.join(RECORD)}) VALUES (?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?)",  # noqa: S608
            (key, self._clock(), what, str(state), detail, task_id, status, request_id, body),
        )

    def prune(self, before: float) -> int:
        """Forget rows that ended before a time and have been told of; how many. What may cost money stays.

        Raises:
            JournalError: A batch's journal: without it the batch would be paid again.
        """
        if self.note("batch") is not None:
            raise JournalError("a batch's journal is what keeps its rows from being paid again: it is not pruned")
        marks = ", ".join(f"'{state}'" for state in sorted(FINAL))
        unpaid = f"state IN ('REJECTED', 'PLANNED') AND sent_at < ? AND key NOT IN ({DOUBTFUL})"
        over = f"(state IN ({marks}) AND notify = 0 AND finished_at < ?) OR ({unpaid})"
        keys, times = f"SELECT key FROM item WHERE {over}", (before, before)  # noqa: S608
        self.connection.execute(f"DELETE FROM record WHERE key IN ({keys})", times)  # noqa: S608
        return self.connection.execute(f"DELETE FROM item WHERE {over}", times).rowcount  # noqa: S608

    def write_columns(self, names: Sequence[str]) -> None:
        """Note the carried columns, each once."""
        self.write_note("columns", json.dumps(list(dict.fromkeys(names)), ensure_ascii=False))

    def write_note(self, name: str, value: str) -> None:
        """Note something."""
        self.connection.execute(
            "INSERT INTO note VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
        )
