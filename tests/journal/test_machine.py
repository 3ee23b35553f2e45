"""Whatever happens to a journal, in whatever order: it stands as a model in plain Python says, and no money is lost.

    JOURNAL_EXAMPLES=10000 python -m pytest tests/journal/test_machine.py

is the long run; the ordinary one tries 500, and a tenth of it on PostgreSQL.
"""

import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path

import attrs
import pytest
from books import Book, PostgresBook, accepted, cut, intent, lost, refused, task, writing
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from omni_async.errors import JournalError, OmniError, SubmissionUncertainError
from omni_async.journal import Answer, NotNow, State, fallback
from omni_async.journal.states import FINAL, UNPAID
from omni_async.journal.store import resolve
from omni_async.models import TaskStatus

KEYS = st.sampled_from("abcd")
PRINTS = st.sampled_from(("print", "print", "print", "other"))
TASKS = st.sampled_from([f"t{n}" for n in range(6)])
ENDS = {"SUCCEEDED": TaskStatus.SUCCEEDED, "FAILED": TaskStatus.FAILED, "CANCELED": TaskStatus.CANCELED}
TOLD = st.sampled_from(["SUBMITTED", "REJECTED", "PLANNED", "UNCERTAIN"])
WORDS = st.sampled_from(["task", "not charged", "pay again"])


@attrs.define
class Row:
    """What a row is, in plain words; `leave` counts how often it might be sent, `unpaid` how often that was nothing.

    Nothing is what was refused or never sent, and what a person wants to be sent again.
    """

    fingerprint: str
    owner: str
    state: State = State.SUBMITTING
    task_id: str | None = None
    notify: bool = False
    leave: int = 1
    unpaid: int = 0
    round: int = 0
    doubtful: bool = False


@functools.cache
def empty():
    """A journal in which nothing stands yet."""
    with tempfile.TemporaryDirectory() as folder:
        Book(Path(folder) / "j").close()
        return (Path(folder) / "j").read_bytes()


class Journals(RuleBasedStateMachine):
    """Two instances at one journal; one of them may die at any moment, and a new one comes in its place."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self._made()
        self.rows: dict[str, Row] = {}
        self.named = 0
        self.alive = {place: self._opened() for place in (0, 1)}

    def _made(self):
        (self.folder / "j").write_bytes(empty())

    def _book(self):
        book = Book(self.folder / "j")
        book.ledger.connection.execute("PRAGMA synchronous = OFF")  # what is committed is there, which is enough here
        return book

    def _entries(self, book):
        return list(book.ledger.entries())

    def _sound(self, book):
        return book.ledger.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    def _opened(self):
        book = self._book()
        self.named += 1
        book.name = f"owner {self.named}"
        return book

    def teardown(self):
        """The file is sound, and can be read."""
        for book in self.alive.values():
            assert self._sound(book)
            book.close()
        shutil.rmtree(self.folder)

    # --- a create ---------------------------------------------------------------------------------------------

    @rule(place=st.sampled_from([0, 1]), key=KEYS, fingerprint=PRINTS, notify=st.booleans())
    def intend(self, place, key, fingerprint, notify):
        """Leave to send is given for what is new or unpaid, and for nothing else."""
        book, row = self.alive[place], self.rows.get(key)
        if row is not None and row.state not in UNPAID:
            return self._not_sent(book, key, fingerprint, row)
        round_ = row.round if row is not None else 0
        assert book.intend(key, owner=book.name, fingerprint=fingerprint, notify=notify, round=round_) is None
        if row is None:
            self.rows[key] = Row(fingerprint, book.name, notify=notify)
        else:
            row.state, row.fingerprint, row.owner, row.leave = State.SUBMITTING, fingerprint, book.name, row.leave + 1
            row.notify = row.notify or notify
        return None

    def _not_sent(self, book, key, fingerprint, row):
        try:
            known = book.intend(key, owner=book.name, fingerprint=fingerprint)
        except JournalError:
            assert fingerprint != row.fingerprint
        except NotNow:
            assert row.state is State.SUBMITTING
        except SubmissionUncertainError:
            assert row.state is State.UNCERTAIN
        else:
            assert fingerprint == row.fingerprint
            assert known.task_id == row.task_id

    def _pick(self, key, *states):
        """A row in one of these states, the named one if it is."""
        fit = [name for name, row in self.rows.items() if row.state in states]
        return (key if key in fit else fit[0]) if fit else None

    def _taken(self, key, task_id):
        return any(row.task_id == task_id for other, row in self.rows.items() if other != key)

    @rule(place=st.sampled_from([0, 1]), key=KEYS, task_id=TASKS)
    def accept(self, place, key, task_id):
        """An id, of which only the first has the good; the rest are uncertain."""
        key = self._pick(key, State.SUBMITTING)
        if key is None:
            return
        row, taken = self.rows[key], self._taken(key, task_id)
        state = self.alive[place].answered(key, accepted(task_id))
        assert state == ("UNCERTAIN" if taken else "SUBMITTED")
        row.state, row.task_id = state, None if taken else task_id

    @rule(place=st.sampled_from([0, 1]), key=KEYS, how=st.sampled_from(["refused", "lost", "for now", "not sent"]))
    def come_to_nothing(self, place, key, how):
        """A refusal, a lost answer, a refusal for now, or it never went."""
        key = self._pick(key, State.SUBMITTING)
        if key is None:
            return
        book, row = self.alive[place], self.rows[key]
        if how == "not sent":
            book.settle(key, State.PLANNED, "never sent")
        else:
            answer = {"refused": refused(), "lost": lost("t9"), "for now": Answer(state="PLANNED")}[how]
            book.answered(key, answer)
        row.state = {"refused": State.REJECTED, "lost": State.UNCERTAIN}.get(how, State.PLANNED)
        row.unpaid += how != "lost"

    @rule(
        place=st.sampled_from([0, 1]),
        key=KEYS,
        state=TOLD,
    )
    def answer_out_of_turn(self, place, key, state):
        """For a row that is not on its way: refused, unless it brings the task of an uncertain one."""
        row = self.rows.get(key)
        if row is None or row.state is State.SUBMITTING:
            return
        book, answer = self.alive[place], Answer(state=state, task_id="late" if state == "SUBMITTED" else None)
        if row.state is State.UNCERTAIN and state == "SUBMITTED" and not self._taken(key, "late"):
            book.answered(key, answer)
            row.state, row.task_id = State.SUBMITTED, "late"
            return
        if row.state is State.UNCERTAIN and state == "SUBMITTED":
            assert book.answered(key, answer) is State.UNCERTAIN
            return
        with contextlib.suppress(JournalError):
            book.answered(key, answer)
            raise AssertionError

    @rule(key=KEYS, task_id=TASKS, state=TOLD)
    def note(self, key, task_id, state):
        """What could not be written is noted beside it, and entered by the next look."""
        key = self._pick(key, State.SUBMITTING, State.UNCERTAIN)
        if key is None:
            return
        row, sure = self.rows[key], state == "SUBMITTED"
        self._append(key, row, state, task_id if sure else None)
        fits = row.state is State.SUBMITTING or sure
        if fits and not (sure and self._taken(key, task_id)):
            row.state, row.owner = State(state), ""
            row.task_id = task_id if sure else None
            row.unpaid += state in UNPAID
        self._look(0)

    def _append(self, key, row, state, task_id):
        one = intent(key, fingerprint=row.fingerprint, round=row.round)
        fallback.append(self.folder / "j", one, Answer(state=state, task_id=task_id))

    @rule(key=KEYS, task_id=TASKS, state=TOLD)
    def note_of_what_is_not_known(self, key, task_id, state):
        """Of a row that is to be sent, or was forgotten: a task or a doubt keeps it from that, a refusal does not."""
        row, sure = self.rows.get(key), state == "SUBMITTED"
        if row is not None and row.state not in UNPAID:
            return
        paid, taken = state not in UNPAID, sure and self._taken(key, task_id)
        self._append(key, row or Row("print", ""), state, task_id if sure else None)
        if row is None and paid and not taken:
            row = self.rows[key] = Row("print", "")
        if row is not None and paid:
            row.state = State.UNCERTAIN if taken else State(state)
            row.owner, row.leave, row.task_id = "", row.leave + 1, None if taken or not sure else task_id
            row.unpaid += 1  # the model knows of no create but those that it has sent
        self._look(0)

    # --- its end ----------------------------------------------------------------------------------------------

    @rule(place=st.sampled_from([0, 1]), key=KEYS, end=st.sampled_from(sorted(ENDS)), notify=st.booleans())
    def finish(self, place, key, end, notify):
        """Whoever sees it; the first end stands."""
        key = self._pick(key, State.SUBMITTED, *FINAL)
        if key is None:
            return
        row = self.rows[key]
        seen = self.alive[place].finished("jimmy", task(row.task_id, ENDS[end]), notify=notify)
        if row.state is State.SUBMITTED:
            row.state, row.notify = State(end), row.notify or notify
        assert seen.state is row.state

    @rule(place=st.sampled_from([0, 1]), key=KEYS)
    def tell(self, place, key):
        """`on_finished` has returned."""
        key = self._pick(key, *FINAL)
        if key is not None:
            self.alive[place].told(key)
            self.rows[key].notify = False

    # --- dying, and taking over -------------------------------------------------------------------------------

    @rule(place=st.sampled_from([0, 1]), busy=st.booleans(), key=KEYS)
    def crash(self, place, busy, key):
        """In the middle of a transaction, or between two; a new one comes, and the living look."""
        dead = self.alive[place]
        if busy:
            with contextlib.suppress(OmniError, NotNow):
                dead.ledger.begin()
                dead.ledger.intend(intent(key), owner=dead.name)
        dead.close()
        self.alive[place] = self._opened()
        self._look(place)

    @rule(place=st.sampled_from([0, 1]))
    def look(self, place):
        """Whoever looks takes what nobody follows, and only that."""
        self._look(place)

    def _look(self, place):
        book, names = self.alive[place], {other.name for other in self.alive.values()}
        with writing(book.ledger):
            fallback.merge(self.folder / "j", book.ledger)
            dead = [name for name in book.ledger.owners() if name not in names]
            taken = {entry.key for entry in book.ledger.take_over(book.name, dead, "jimmy")}
        for key, row in self.rows.items():
            open_ = row.state in (State.SUBMITTING, State.SUBMITTED) or (row.notify and row.state in FINAL)
            assert (key in taken) == (open_ and row.owner not in names)
            if key in taken:
                row.owner = book.name
                row.state = State.UNCERTAIN if row.state is State.SUBMITTING else row.state

    # --- a person's word --------------------------------------------------------------------------------------

    @rule(place=st.sampled_from([0, 1]), key=KEYS, word=WORDS, task_id=TASKS)
    def settle(self, place, key, word, task_id):
        """Only what is uncertain, or whose task a person alone has named; a task of another row is refused."""
        book, row = self.alive[place], self.rows.get(key)
        entry = book.ledger.entry(key)
        settles = row is not None and (row.state is State.UNCERTAIN or entry.unproved)
        answer = {"task": {"task_id": task_id}, "not charged": {"not_charged": True}, "pay again": {"pay_again": True}}
        try:
            with writing(book.ledger):
                resolve(book.ledger, key, **answer[word])
        except JournalError:
            taken = word == "task" and self._taken(key, task_id)
            assert not settles or taken
            return
        assert settles
        row.state = State.SUBMITTED if word == "task" else State.PLANNED
        row.unpaid += word != "task"
        row.doubtful |= word == "pay again"
        row.task_id = task_id if word == "task" else None
        row.owner = "" if word == "task" else row.owner

    @rule(place=st.sampled_from([0, 1]), key=KEYS, task_id=TASKS)
    def find(self, place, key, task_id):
        """The task of a lost create is looked up."""
        key = self._pick(key, State.UNCERTAIN)
        if key is None:
            return
        try:
            self.alive[place].found(key, "looked up", task_id)
        except JournalError:
            assert self._taken(key, task_id)
        else:
            self.rows[key].state, self.rows[key].task_id = State.SUBMITTED, task_id

    @rule(place=st.sampled_from([0, 1]), key=KEYS)
    def attempt_anew(self, place, key):
        """A new payment, by a person's word."""
        key = self._pick(key, *FINAL, State.REJECTED)
        if key is None:
            return
        row = self.rows[key]
        self.alive[place].anew(key, "retried")
        row.unpaid += row.state is not State.REJECTED
        row.state, row.task_id, row.round = State.PLANNED, None, row.round + 1

    @precondition(lambda self: any(row.state in FINAL for row in self.rows.values()))
    @rule(place=st.sampled_from([0, 1]))
    def prune(self, place):
        """What is over and told is forgotten; never what may cost money."""
        unpaid = (State.REJECTED, State.PLANNED)
        gone = {key for key, row in self.rows.items() if row.state in unpaid and not row.doubtful}
        gone |= {key for key, row in self.rows.items() if row.state in FINAL and not row.notify}
        assert self.alive[place].prune(1e12) == len(gone)
        for key in gone:
            del self.rows[key]

    # --- what always holds ------------------------------------------------------------------------------------

    @invariant()
    def it_stands_as_the_model_says(self):
        """Each row's state, task, inputs and owner, for both instances."""
        for book in self.alive.values():
            found = {entry.key: entry for entry in self._entries(book)}
            assert found.keys() == self.rows.keys()
            for key, row in self.rows.items():
                entry = found[key]
                assert (entry.state, entry.task_id, entry.fingerprint) == (row.state, row.task_id, row.fingerprint)
                assert (entry.owner, entry.notify) == (row.owner, row.notify)

    @invariant()
    def nothing_is_sent_twice(self):
        """Each further leave to send stands on a word that nothing was paid, or that it is to be paid again."""
        for row in self.rows.values():
            assert row.leave <= 1 + row.unpaid

    @invariant()
    def each_task_is_one_rows(self):
        """And each submitted row has one."""
        ids = [row.task_id for row in self.rows.values() if row.task_id is not None]
        assert len(set(ids)) == len(ids)
        for row in self.rows.values():
            assert (row.task_id is not None) == (row.state in {State.SUBMITTED, *FINAL})


class PostgresJournals(Journals):
    """The same in PostgreSQL, over connections that break."""

    dsn = ""

    def _made(self):
        PostgresBook(self.dsn).empty().close()

    def _book(self):
        return PostgresBook(self.dsn)

    def _entries(self, book):
        session = book.ledger.connection
        lose, session.lose = session.lose, None  # that is for what a rule writes
        with writing(book.ledger):
            found = list(book.ledger.entries())
        session.lose = lose
        return found

    def _sound(self, book):
        return book.ledger._doubts == [] and book.ledger._true == {}

    @rule(place=st.sampled_from([0, 1]), when=st.sampled_from(["now", "after"]))
    def break_off(self, place, when):
        """At once, or when the next COMMIT has been done and its answer is on its way: nobody notices."""
        session = self.alive[place].ledger.connection
        if when == "now":
            cut(session)
        else:
            session.lose = when


@pytest.fixture
def shared(postgres):
    """The database of this run."""
    PostgresJournals.dsn = postgres.database()


EXAMPLES = int(os.environ.get("JOURNAL_EXAMPLES", "500"))

TestJournals = Journals.TestCase
TestJournals.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.usefixtures("shared")
class TestPostgresJournals(PostgresJournals.TestCase):
    """A server is slower than a file."""

    settings = settings(TestJournals.settings, max_examples=EXAMPLES // 10)
