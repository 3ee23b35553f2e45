"""Rows that are to be paid again: what they are until their create is sent, and when it is refused."""

import pytest

from omni_async.journal import Answer, NotNow, SheetLedger, State, open_journal
from omni_async.journal.anew import REDO, RETRY, Wish
from omni_async.journal.entries import SENT_AGAIN
from tests.journal.books import Book, accepted, intent, lost, refused, task, writing

DOG = '{"prompt": "a dog"}'


class SheetBook(Book):
    """A book of a batch."""

    def opened(self):
        """The ledger at its path; whatever was wished before is gone."""
        return SheetLedger(open_journal(self.path), clock=self.clock)

    def again(self):
        """The create of the row, with what it asks for now."""
        return self.intend("k", fingerprint="dog", inputs=DOG, round=1)


@pytest.fixture
def book(tmp_path):
    """A row with its video, which is to be paid again as a dog."""
    found = SheetBook(tmp_path / "j")
    found.submitted()
    found.finished("jimmy", task())
    found.arriving("k", 4, "hash")
    found.stored("k", 4)
    found.wish(Wish(key="k", wish=REDO, fingerprint="dog", inputs=DOG, kind="dogs", target="dog.mp4"))
    yield found
    found.close()


def test_until_its_create_is_sent_it_stands_as_it_stood(book):
    """To be sent is what it asks for now; the row itself has its old task, file and inputs."""
    assert (book.entry("k").state, book.entry("k").inputs, book.entry("k").round) == (
        State.DONE,
        '{"prompt": "a cat"}',
        0,
    )
    (asked,) = book.ledger.wished([State.PLANNED])
    assert (asked.state, asked.inputs, asked.fingerprint, asked.kind, asked.target, asked.round) == (
        State.PLANNED, DOG, "dog", "dogs", "dog.mp4", 1
    )  # fmt: skip
    assert book.put_off() == {REDO: 1}
    assert not book.records("k")[1:]


def test_a_wish_does_not_outlive_its_run(book):
    """Killed, declined or stopped, it leaves nothing."""
    before = book.entry("k")
    book.close()
    book.ledger = book.opened()
    assert book.entry("k") == before
    assert book.put_off() == {}
    assert not list(book.ledger.wished([State.PLANNED]))


def test_it_goes_into_its_new_round_with_its_intent(book):
    """An intent of the old round is told the new one; the old attempt stays on record, the file's hash is kept."""
    with pytest.raises(NotNow) as caught:
        book.intend("k", fingerprint="dog", inputs=DOG)
    assert caught.value.round == 1
    assert book.entry("k").state is State.DONE
    assert book.again() is None
    entry = book.entry("k")
    assert (entry.state, entry.round, entry.inputs, entry.target) == (State.SUBMITTING, 1, DOG, "dog.mp4")
    assert (entry.task_id, entry.size, entry.sha256) == (None, None, "hash")
    assert [(record.what, record.task_id) for record in book.records("k")][1:] == [("anew", "task-k")]
    book.answered("k", accepted("task-2"))
    assert (book.entry("k").state, book.entry("k").task_id, book.put_off()) == (State.SUBMITTED, "task-2", {})
    assert book.note("before k") is None


@pytest.mark.parametrize("more", [{}, {"round": 1, "room": 0}], ids=["old round", "no room"])
def test_put_off_it_is_what_it_was(book, more):
    """Other rows are written in the same transaction, which goes on: one that may not be sent yet changes nothing."""
    before, room = book.entry("k"), more.pop("room", None)
    with writing(book.ledger), pytest.raises(NotNow):
        book.ledger.intend(intent("k", fingerprint="dog", inputs=DOG, **more), owner="me", room=room)
    assert book.entry("k") == before
    assert book.put_off() == {REDO: 1}


def test_to_be_sent_are_those_behind_a_place(book):
    """In pieces, each from the place of the last one before it."""
    for key in ("l", "m"):
        book.submitted(key)
        book.wish(Wish(key=key, wish=RETRY))
    with writing(book.ledger):
        book.ledger.connection.execute("UPDATE item SET run = 1")
    ((first, entry),) = book.planned(1, -1, 1)
    rest = book.planned(1, first, 9)
    assert [entry.key, *(entry.key for _, entry in rest)] == ["k", "l", "m"]
    assert book.planned(1, rest[-1][0], 9) == []


@pytest.mark.parametrize("answer", [Answer(state="PLANNED", status=429), refused(again=SENT_AGAIN)])
def test_refused_for_now_it_is_what_it_was(book, answer):
    """Nothing was paid: the next run without the option has nothing to send. This one may try again."""
    before = book.entry("k")
    for named in (False, True):
        book.again()
        if named:  # a task, and the gateway denies it
            book.answered("k", Answer(state="SUBMITTING", candidate="task-x", status=429))
        book.answered("k", answer)
        assert book.entry("k") == before
        assert book.put_off() == {REDO: 1}
    assert book.records("k")[-1].what == "put back"
    book.again()
    assert book.answered("k", accepted("task-2")) is State.SUBMITTED


def test_never_sent_it_is_what_it_was(book):
    """A create that surely did not leave is settled so."""
    before = book.entry("k")
    book.again()
    book.settle("k", State.PLANNED, "not sent")
    assert book.entry("k") == before


@pytest.mark.parametrize(("state", "task_id"), [(State.UNCERTAIN, None), (State.SUBMITTED, "task-2")])
def test_what_may_have_been_paid_is_not_put_back(book, state, task_id):
    """It is settled by what is known of its new create, which stands in the place of the old one."""
    book.again()
    book.settle("k", state, "found out", task_id)
    assert (book.entry("k").state, book.entry("k").task_id, book.entry("k").round) == (state, task_id, 1)
    assert book.records("k")[-1].what == "settled"


def test_refused_for_what_it_asks_it_is_rejected(book):
    """That is the row's own trouble, and its history has the rest."""
    book.again()
    book.answered("k", refused(again=0))
    assert (book.entry("k").state, book.put_off()) == (State.REJECTED, {})


@pytest.mark.parametrize("killed", [False, True])
def test_uncertain_it_waits_for_a_persons_word(book, killed):
    """Who says that it may be sent means this row as it is now: it is PLANNED, whatever is refused afterwards."""
    book.again()
    if killed:
        book.close()
        book.ledger = book.opened()
        book.take_over("", ["me"], "jimmy")
    else:
        book.answered("k", lost())
    assert book.entry("k").state is State.UNCERTAIN
    book.resolve("k", State.PLANNED, "pay again")
    assert (book.entry("k").state, book.entry("k").inputs) == (State.PLANNED, DOG)
    book.again()
    book.answered("k", Answer(state="PLANNED", status=429))
    assert book.entry("k").state is State.PLANNED


def test_what_a_crash_left_unwritten_is_entered_into_the_old_row(book):
    """A refusal that only the file beside the journal has puts the row back in the next run."""
    before = book.entry("k")
    book.again()
    book.close()
    book.ledger = book.opened()
    book.settle("k", State.PLANNED, "found in the file of what could not be written")
    assert book.entry("k") == before


def test_a_retried_row_asks_for_what_it_asked(tmp_path):
    """Only its round is new."""
    book = SheetBook(tmp_path / "j")
    book.intend()
    book.answered("k", refused())
    book.wish(Wish(key="k", wish=RETRY))
    (asked,) = book.ledger.wished([State.PLANNED])
    assert (asked.inputs, asked.fingerprint, asked.round) == ('{"prompt": "a cat"}', "print", 1)
    assert not list(book.ledger.wished([State.REJECTED]))
    assert book.intend(round=1) is None
    assert book.records("k")[-1].detail == "retried"
    book.close()


def test_a_create_that_nobody_wished_anew_takes_three_statements(tmp_path):
    """Its intent, its end and its record: whether it was wished or paid before is not asked for."""
    book, said = SheetBook(tmp_path / "j"), []
    with writing(book.ledger):
        book.ledger.connection.set_trace_callback(said.append)
        book.ledger.intend(intent("k"), owner="me")
        book.ledger.answered("k", accepted("t-1"))
        book.ledger.connection.set_trace_callback(None)
    assert [" ".join(statement.split()[:2]) for statement in said] == ["INSERT INTO", "UPDATE item", "INSERT INTO"]
    entry = book.entry("k")
    assert (entry.state, entry.task_id, entry.attempts, entry.metadata) == (State.SUBMITTED, "t-1", 1, None)
    assert [(record.what, record.detail) for record in book.records("k")] == [("answer", None)]
    book.close()
