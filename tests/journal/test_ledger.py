"""The journal's core, call by call: no loop, no thread, the clock told."""

import sqlite3
import time
from datetime import UTC, datetime

import attrs
import pytest
from books import Book, Clock, PostgresBook, accepted, intent, lost, refused, rows, task, writing

from omni_async.errors import JournalError, SubmissionUncertainError
from omni_async.journal import Answer, NotNow, State
from omni_async.journal.entries import ADOPTED, PAY_AGAIN, WAIT
from omni_async.journal.ledger import BODY, LOST, ROOM
from omni_async.models import TaskStatus


@pytest.fixture(scope="module")
def database(postgres):
    """An empty database."""
    return postgres.database()


@pytest.fixture(params=["sqlite", "postgres"])
def book(request, tmp_path):
    """An empty journal, of each kind: the ledger promises the same of both."""
    if request.param == "sqlite":
        book = Book(tmp_path / "j")
    else:
        book = PostgresBook(request.getfixturevalue("database")).empty()
    yield book
    book.close()


def at(book, state, key="k"):
    """Bring a row to a state."""
    ends = {"SUCCEEDED": TaskStatus.SUCCEEDED, "FAILED": TaskStatus.FAILED, "CANCELED": TaskStatus.CANCELED}
    if state == "UNCERTAIN":
        book.uncertain(key)
    elif state in ("SUBMITTING", "PLANNED", "REJECTED"):
        book.intend(key)
        if state == "PLANNED":
            book.settle(key, State.PLANNED)
        if state == "REJECTED":
            book.answered(key, refused())
    else:
        book.submitted(key)
        if state in ("DONE", "EXPIRED"):
            book.finished("jimmy", task(f"task-{key}"))
            book.unstored(key, State.EXPIRED, "gone") if state == "EXPIRED" else book.stored(key, 7)
        elif state in ends:
            book.finished("jimmy", task(f"task-{key}", ends[state]))
    assert book.entry(key).state == state
    return book.entry(key)


# --- intend ------------------------------------------------------------------------------------------------------


def test_an_intent_is_a_row(book):
    """All that is known before the first byte, with its times and its owner."""
    given = {"metadata": {"who": "李"}, "owner": "me", "notify": True}
    assert book.intend("k", custom_id="mine", fingerprint="f", gateway="toapis", **given) is None
    row = book.entry("k")
    assert row.planned_at == row.sent_at == book.clock.now
    told = attrs.asdict(row, filter=lambda _, value: value not in (None, 0, False))
    assert told == {
        "key": "k",
        "gateway": "toapis",
        "fingerprint": "f",
        "state": State.SUBMITTING,
        "custom_id": "mine",
        "owner": "me",
        "notify": True,
        "inputs": '{"prompt": "a cat"}',
        "metadata": '{"who": "李"}',
        "planned_at": book.clock.now,
        "sent_at": book.clock.now,
    }
    assert book.records("k") == []


def test_an_intent_that_keeps_little_and_data_that_json_spells_otherwise(book):
    """No inputs, no metadata; what comes back is what was given, but for tuples."""
    book.intend("k", inputs=None)
    assert (book.entry("k").inputs, book.entry("k").metadata, book.entry("k").notify) == (None, None, False)
    book.intend("l", metadata={"state": State.DONE, "deep": [{"a": (1, None, 2.5, True)}]})
    assert book.entry("l").data == {"state": "DONE", "deep": [{"a": [1, None, 2.5, True]}]}
    book.intend("m", metadata={"name": "half \ud83d a smile"})
    assert book.entry("m").data == {"name": "half \ud83d a smile"}


def test_what_is_on_its_way_is_to_be_waited_for(book):
    """Somebody is sending it: ask again soon, and nothing is changed."""
    book.intend("k")
    before = book.entry("k")
    with pytest.raises(NotNow, match="on its way") as caught:
        book.intend("k", owner="other")
    assert caught.value.seconds == WAIT
    assert caught.value.why == "a create of this id is on its way"
    assert book.entry("k") == before


def test_what_is_uncertain_is_not_sent(book):
    """Whoever asks."""
    book.uncertain("k", candidate="t-9")
    with pytest.raises(SubmissionUncertainError) as caught:
        book.intend("k", owner="other")
    assert caught.value.task_id == "t-9"


@pytest.mark.parametrize("state", ["SUBMITTED", "SUCCEEDED", "FAILED", "CANCELED", "DONE", "EXPIRED"])
def test_what_was_submitted_gives_its_task(book, state):
    """Whatever it came to, and also when there is no room for one more."""
    at(book, state)
    assert book.intend("k", room=0).task_id == "task-k"
    assert book.intend("k", room=0).custom_id == "k"
    assert book.entry("k").state == state


@pytest.mark.parametrize("state", ["SUBMITTING", "UNCERTAIN", "SUBMITTED", "SUCCEEDED", "FAILED", "DONE", "EXPIRED"])
def test_other_inputs_under_a_known_id_are_a_conflict(book, state):
    """The error says which row, and what to do; nothing is changed."""
    before = at(book, state)
    with pytest.raises(JournalError) as caught:
        book.intend("k", fingerprint="other")
    error = caught.value
    assert error.kind == "conflict"
    assert "give the changed request an id of its own" in str(error)
    assert (error.custom_id, error.gateway, error.task_id) == ("k", "jimmy", before.task_id)
    assert book.entry("k") == before


@pytest.mark.parametrize("state", ["PLANNED", "REJECTED"])
def test_what_was_not_paid_is_sent_with_what_it_is_now(book, state):
    """Other inputs, gateway and owner; the row is as if new, and remembers when it was planned."""
    before = at(book, state)
    book.intend("k", fingerprint="other", gateway="toapis", inputs='{"prompt": "b"}', metadata={"n": 2}, owner="you")
    row = book.entry("k")
    assert (row.state, row.fingerprint, row.gateway, row.owner) == (State.SUBMITTING, "other", "toapis", "you")
    assert (row.inputs, row.data, row.detail) == ('{"prompt": "b"}', {"n": 2}, None)
    assert row.planned_at == before.planned_at < row.sent_at == book.clock.now
    assert not row.notify


def test_what_is_sent_again_keeps_what_is_not_said_anew(book):
    """Inputs and metadata that are not given, and that it is to be told of."""
    book.intend("k", metadata={"n": 1}, notify=True)
    book.settle("k", State.PLANNED)
    book.intend("k", inputs=None, metadata={}, notify=False)
    row = book.entry("k")
    assert (row.inputs, row.data, row.notify) == ('{"prompt": "a cat"}', {"n": 1}, True)
    book.settle("k", State.PLANNED)
    book.intend("l")
    book.settle("l", State.PLANNED)
    book.intend("l", notify=True)
    assert book.entry("l").notify


def test_room_counts_what_may_be_running(book):
    """Rows on their way and submitted ones, of whomever; with none left nothing is written."""
    book.intend("a", room=2)
    book.submitted("b", owner="other", gateway="toapis")
    at(book, "UNCERTAIN", "c")
    at(book, "SUCCEEDED", "d")
    assert book.running() == 2
    with pytest.raises(NotNow, match="2 tasks of this journal are running") as caught:
        book.intend("e", room=2)
    assert caught.value.seconds == ROOM
    assert book.entry("e") is None
    book.intend("e", room=3)
    at_once = at(book, "PLANNED", "f")
    with pytest.raises(NotNow):
        book.intend("f", room=3)
    assert book.entry("f") == at_once
    book.intend("f", room=None)


# --- known -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_what_is_known_of_an_id_without_sending_anything(book, state):
    """A task, or nothing, or the error that submitting it would give."""
    at(book, state)
    before = rows(book.path)
    if state is State.UNCERTAIN:
        with pytest.raises(SubmissionUncertainError):
            book.known("k", "print")
    elif state is State.SUBMITTING:
        with pytest.raises(NotNow, match="on its way") as told:
            book.known("k", "print")
        assert told.value.sent
    elif state in ("PLANNED", "REJECTED"):
        assert book.known("k", "print") is None
    else:
        assert book.known("k", "print").task_id == "task-k"
        with pytest.raises(JournalError, match="with other inputs"):
            book.known("k", "other")
    assert rows(book.path) == before


def test_of_an_unknown_id_nothing_is_known(book):
    """No row, no task."""
    assert book.known("k", "print") is None


# --- answered ----------------------------------------------------------------------------------------------------


def test_an_accepted_create(book):
    """State, task and evidence in one write."""
    book.intend("k")
    body = b"\x00\xff" * BODY
    assert book.answered("k", accepted("t-1", status=202, request_id="req-1", body=body, detail="odd")) == "SUBMITTED"
    row = book.entry("k")
    assert (row.state, row.task_id, row.candidate, row.detail, row.attempts) == ("SUBMITTED", "t-1", None, "odd", 1)
    (record,) = book.records("k")
    assert (record.what, record.state, record.task_id, record.detail) == ("answer", "SUBMITTED", "t-1", "odd")
    assert (record.status, record.request_id, record.at) == (202, "req-1", book.clock.now)
    assert record.body == body[:BODY]
    assert "ff" not in repr(record)


def test_an_uncertain_create(book):
    """The candidate is kept as one."""
    book.uncertain("k", candidate="t-9")
    row = book.entry("k")
    assert (row.state, row.task_id, row.candidate, row.attempts) == ("UNCERTAIN", None, "t-9", 1)
    assert row.detail == "the answer was lost"
    (record,) = book.records("k")
    assert (record.state, record.task_id, record.status, record.body) == ("UNCERTAIN", "t-9", None, None)


@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_rejected_create(book, again):
    """With whether it may be sent again: what was said of an earlier attempt counts no more."""
    book.intend("k")
    book.answered("k", refused(again=2))
    book.intend("k")
    assert book.answered("k", refused(again=again)) is State.REJECTED
    row = book.entry("k")
    assert (row.state, row.again, row.attempts, row.detail) == ("REJECTED", again, 2, "bad prompt")


def test_a_refusal_for_now_counts_as_no_attempt(book):
    """The row is PLANNED again, with what was said on record."""
    book.intend("k")
    assert book.answered("k", Answer(state="PLANNED", status=429, detail="refused for now")) is State.PLANNED
    row = book.entry("k")
    assert (row.state, row.attempts, row.detail) == ("PLANNED", 0, "refused for now")
    assert [record.status for record in book.records("k")] == [429]


def test_row_26_a_task_that_is_another_rows(book):
    """The second is uncertain, with the id as candidate; at another gateway the same id is another task."""
    book.submitted("a", "t-1")
    book.intend("b")
    assert book.answered("b", accepted("t-1")) is State.UNCERTAIN
    row = book.entry("b")
    assert (row.task_id, row.candidate, row.detail) == (None, "t-1", "another row has this task id")
    assert (row.again, row.attempts) == (0, 1)
    (record,) = book.records("b")
    assert (record.state, record.task_id, record.body) == ("UNCERTAIN", "t-1", b'{"ok": 1}')
    book.intend("c", gateway="toapis")
    assert book.answered("c", accepted("t-1")) is State.SUBMITTED


def test_the_table_itself_refuses_one_task_twice(book):
    """UNIQUE, whatever the code above it does."""
    book.submitted("a", "t-1")
    book.submitted("b", "t-2")
    with pytest.raises(Exception, match=r"(?i)unique"), writing(book.ledger):
        book.ledger.connection.execute("UPDATE item SET task_id = 't-1' WHERE key = 'b'")


@pytest.mark.parametrize("state", sorted(set(State) - {"SUBMITTING", "UNCERTAIN"}))
def test_an_answer_for_what_was_not_on_its_way_is_refused(book, state):
    """Before anything is written."""
    before, told = at(book, state), len(book.records("k"))
    for answer in (accepted("t-new"), lost(), refused(), Answer(state="PLANNED")):
        with pytest.raises(JournalError, match=f"is {state}; it cannot become"):
            book.answered("k", answer)
    for end in ("PLANNED", "REJECTED", "UNCERTAIN"):
        if end != state:
            with pytest.raises(JournalError, match=f"is {state}; it cannot become {end}"):
                book.settle("k", State(end))
    assert book.entry("k") == before
    assert len(book.records("k")) == told


def test_an_answer_that_comes_after_all(book):
    """The row was taken for lost already: a task id is believed, nothing else changes it."""
    book.uncertain("k")
    for answer in (lost(), refused(), Answer(state="PLANNED")):
        with pytest.raises(JournalError, match="row 'k' is UNCERTAIN; it cannot become"):
            book.answered("k", answer)
    assert book.answered("k", accepted("t-1")) is State.SUBMITTED


def test_a_row_that_is_not_there(book):
    """Every call that needs one says so."""
    calls = [
        lambda: book.answered("k", lost()),
        lambda: book.settle("k", State.PLANNED),
        lambda: book.anew("k", "again"),
        lambda: book.stored("k", 1),
        lambda: book.unstored("k", State.EXPIRED, ""),
        lambda: book.found("k", "how", "t"),
    ]
    for call in calls:
        with pytest.raises(JournalError, match="'k' has gone from the journal"):
            call()
    assert book.entry("k") is None
    assert book.finished("jimmy", task()) is None


# --- settle, resolve, found, anew --------------------------------------------------------------------------------


def test_settling_is_recorded(book):
    """What it came to, and how it is known."""
    book.intend("k")
    book.settle("k", State.PLANNED, "never sent")
    assert (book.entry("k").state, book.entry("k").detail, book.entry("k").attempts) == ("PLANNED", "never sent", 0)
    book.intend("k")
    book.settle("k", State.REJECTED)
    assert (book.entry("k").attempts, book.entry("k").detail) == (0, None)
    book.intend("k")
    book.settle("k", State.UNCERTAIN, "lost", "t-9")
    row = book.entry("k")
    assert (row.state, row.task_id, row.candidate, row.attempts) == ("UNCERTAIN", None, "t-9", 1)
    book.settle("k", State.SUBMITTED, "found", "t-9")
    row = book.entry("k")
    assert (row.state, row.task_id, row.candidate, row.attempts) == ("SUBMITTED", "t-9", None, 1)
    told = [(record.what, record.state, record.detail, record.task_id) for record in book.records("k")]
    assert told == [
        ("settled", "PLANNED", "never sent", None),
        ("settled", "REJECTED", None, None),
        ("settled", "UNCERTAIN", "lost", "t-9"),
        ("settled", "SUBMITTED", "found", "t-9"),
    ]


def test_settling_twice_is_once(book):
    """The same again changes nothing; another task for a submitted row is refused."""
    book.uncertain("k", candidate="t-8")
    book.settle("k", State.UNCERTAIN, "again")
    book.settle("k", State.UNCERTAIN, "again", "t-8")
    assert book.entry("k").detail == "the answer was lost"
    book.settle("k", State.SUBMITTED, "found", "t-9")
    book.settle("k", State.SUBMITTED, "found again", "t-9")
    assert len(book.records("k")) == 2
    with pytest.raises(JournalError, match="row 'k' is SUBMITTED; it cannot become SUBMITTED"):
        book.settle("k", State.SUBMITTED, "found another", "t-10")
    assert book.entry("k").task_id == "t-9"


def test_a_task_of_another_row_settles_nothing(book):
    """A conflict that names the task; submitted without a task id is none."""
    book.submitted("a", "t-1")
    book.uncertain("k")
    for task_id in ("t-1", None):
        with pytest.raises(JournalError, match=f"task {task_id} belongs to another row") as caught:
            book.settle("k", State.SUBMITTED, "found", task_id)
        assert caught.value.kind == "conflict"
        assert caught.value.custom_id == "k"
    assert book.entry("k").state is State.UNCERTAIN
    assert len(book.records("k")) == 1


def test_a_persons_word(book):
    """Given for an uncertain row only; the error says how it stands."""
    book.uncertain("k")
    row = book.resolve("k", State.SUBMITTED, "by hand", "t-1")
    assert (row.state, row.task_id) == ("SUBMITTED", "t-1")
    assert [record.detail for record in book.records("k")] == ["the answer was lost", "by hand"]
    with pytest.raises(JournalError, match="row 'k' is SUBMITTED, not UNCERTAIN: there is nothing to settle"):
        book.resolve("k", State.PLANNED, "again")
    with pytest.raises(JournalError, match="there is no row 'x' in this journal") as caught:
        book.resolve("x", State.PLANNED, "again")
    assert not caught.value.may_have_charged
    book.uncertain("l")
    assert book.resolve("l", State.PLANNED, "pay again").state is State.PLANNED
    assert book.intend("l") is None


@pytest.mark.parametrize("word", ["t-2", None])
def test_a_task_id_that_a_person_mistyped_is_taken_back(book, word):
    """By another, or so that it may be sent; what was said before is on record."""
    book.uncertain("k")
    book.resolve("k", State.SUBMITTED, ADOPTED, "t-1")
    state = State.PLANNED if word is None else State.SUBMITTED
    row = book.resolve("k", state, "said anew", word)
    assert (row.state, row.task_id, row.detail, row.attempts) == (state, word, "said anew", 1)
    told = [(record.what, record.task_id) for record in book.records("k")]
    assert told[1:] == [("settled", "t-1"), ("taken back", "t-1"), ("settled", word)]


def test_a_task_id_is_taken_back_for_no_other_rows_task(book):
    """The row stays as it was said to be, until that is put right."""
    book.submitted("a", "t-9")
    book.uncertain("k")
    book.resolve("k", State.SUBMITTED, ADOPTED, "t-1")
    with pytest.raises(JournalError, match="task t-9 belongs to another row"):
        book.resolve("k", State.SUBMITTED, ADOPTED, "t-9")
    assert book.entry("k").task_id == "t-1"
    assert len(book.records("k")) == 2


@pytest.mark.parametrize("how", ["given", "found", "sighted", "finished"])
def test_a_task_that_the_gateway_gave_or_has_shown_is_not_taken_back(book, how):
    """Else it would be paid twice, or lost."""
    if how == "given":
        book.submitted("k", "t-1")
    else:
        book.uncertain("k")
    if how == "found":
        book.found("k", "looked up", "t-1")
    elif how != "given":
        book.resolve("k", State.SUBMITTED, ADOPTED, "t-1")
        book.sighted("k", "t-2")
        assert book.entry("k").unproved
    if how == "sighted":
        book.sighted("k", "t-1")
    elif how == "finished":
        book.finished("jimmy", task("t-1"))
    assert not book.entry("k").unproved
    with pytest.raises(JournalError, match="there is nothing to settle"):
        book.resolve("k", State.PLANNED, "not charged")
    assert book.entry("k").task_id == "t-1"


@pytest.mark.parametrize("word", ["t-2", "t-1", None])
def test_a_task_that_cannot_be_followed_is_settled_by_a_person(book, word):
    """As an uncertain one; what was known of it is on record, and sent again it is a new create to the gateway."""
    book.submitted("k", "t-1")
    book.unfollowed("jimmy", "t-1", "no such task")
    assert book.entry("k").detail == "cannot be followed: no such task"
    row = book.resolve("k", State.PLANNED if word is None else State.SUBMITTED, "said", word)
    assert (row.state, row.task_id, row.detail) == ("PLANNED" if word is None else "SUBMITTED", word, "said")
    assert (row.round, row.attempts) == (int(word is None), 1)
    told = [(record.what, record.task_id, record.detail) for record in book.records("k")]
    assert told[1:] == [("taken back", "t-1", "cannot be followed: no such task"), ("settled", word, "said")]


def test_a_task_that_is_seen_again_is_settled_by_nobody(book):
    """Neither is one that has ended, nor another row's."""
    for key in ("k", "l", "m"):
        book.submitted(key, f"t-{key}")
        if key != "m":
            book.unfollowed("jimmy", f"t-{key}", "no such task")
    book.unfollowed("jimmy", "t-k", None)
    book.unfollowed("jimmy", "t-m", None)
    book.finished("jimmy", task("t-l"))
    book.unfollowed("jimmy", "t-l", "too late")
    for key in ("k", "l", "m"):
        with pytest.raises(JournalError, match="there is nothing to settle"):
            book.resolve(key, State.PLANNED, "not charged")
    assert book.entry("k").detail is None


def test_what_is_found(book):
    """The row of a lost create whose task was found."""
    book.uncertain("k", candidate="t-8")
    row = book.found("k", "looked up", "t-9")
    assert (row.state, row.task_id, row.candidate, row.detail) == ("SUBMITTED", "t-9", None, "looked up")


@pytest.mark.parametrize("state", ["FAILED", "EXPIRED", "DONE", "REJECTED", "SUBMITTED"])
def test_a_new_attempt_forgets_the_old_one_but_on_record(book, state):
    """Nothing of the old task clings to the new create."""
    old = at(book, state)
    book.anew("k", "retried")
    row = book.entry("k")
    assert row.state is State.PLANNED
    assert (row.task_id, row.candidate, row.task, row.finished_at, row.expires_at, row.detail) == (None,) * 6
    assert (row.notify, row.again, row.attempts) == (False, 0, old.attempts)
    record = book.records("k")[-1]
    assert (record.what, record.state, record.detail, record.task_id) == ("anew", "PLANNED", "retried", old.task_id)
    with pytest.raises(NotNow) as told:
        book.intend("k")
    assert (told.value.round, told.value.seconds) == (1, 0.0)
    book.submitted("k", "t-second", round=1)
    assert book.entry("k").video_task.status is TaskStatus.QUEUED
    assert book.entry("k").attempts == old.attempts + 1


def test_what_is_planned_is_not_attempted_anew(book):
    """There is nothing to forget."""
    at(book, "PLANNED")
    with pytest.raises(JournalError, match="row 'k' is PLANNED; it cannot become PLANNED"):
        book.anew("k", "again")


# --- finished, told, stored --------------------------------------------------------------------------------------


def test_the_first_end_stands(book):
    """With its time, its URL and its expiry; later ones change nothing."""
    book.submitted("k", "t-1", metadata={"n": 1})
    row = book.finished("jimmy", task("t-1", error_message="odd"))
    assert (row.key, row.state, row.finished_at, row.detail) == ("k", State.SUCCEEDED, book.clock.now, "odd")
    assert row.video_task.video_url == "https://cdn.example/v.mp4?sig=1"
    assert row.video_task.metadata == {"n": 1}
    assert row.expires_at is None
    assert book.finished("jimmy", task("t-1", TaskStatus.FAILED)) == row
    assert book.entry("k") == row
    assert book.finished("toapis", task("t-1")) is None
    assert book.finished("jimmy", task("t-2")) is None


@pytest.mark.parametrize("status", [TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED])
def test_each_end_has_its_state(book, status):
    """And its expiry."""
    book.submitted("k")
    row = book.finished("jimmy", task(status=status, expires_at=datetime(2026, 8, 1, tzinfo=UTC)))
    assert row.state == status.upper()
    assert row.expires_at == datetime(2026, 8, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("asked", "sees", "told"), [(False, False, False), (True, False, True), (False, True, True)])
def test_whether_it_is_to_be_told(book, asked, sees, told):
    """If whoever sent it or whoever sees its end wants to be told; once told, it is not."""
    book.submitted("k", notify=asked)
    assert book.finished("jimmy", task(), notify=sees).notify is told
    book.told("k")
    assert not book.entry("k").notify
    assert book.entry("k").state is State.SUCCEEDED


def test_a_stored_video(book):
    """Its size and hash are known before it has its name; it can be lost again, and found."""
    book.submitted("k", notify=True)
    with pytest.raises(JournalError, match="row 'k' is SUBMITTED; it cannot become DONE"):
        book.stored("k", 7)
    with pytest.raises(JournalError, match="row 'k' is SUBMITTED; it cannot become EXPIRED"):
        book.unstored("k", State.EXPIRED, "")
    book.finished("jimmy", task())
    book.arriving("k", 7, "abc")
    assert (book.entry("k").size, book.entry("k").sha256, book.entry("k").state) == (7, "abc", State.SUCCEEDED)
    row = book.stored("k", 8)
    assert (row.state, row.size, row.sha256, row.notify, row.detail) == (State.DONE, 8, "abc", True, None)
    assert book.unstored("k", State.SUCCEEDED, "the file has gone").detail == "the file has gone"
    assert book.unstored("k", State.SUCCEEDED, "").detail is None
    assert book.unstored("k", State.EXPIRED, "too late").state is State.EXPIRED
    with pytest.raises(JournalError, match="cannot become SUCCEEDED"):
        book.unstored("k", State.SUCCEEDED, "")
    assert book.stored("k", 8).state is State.DONE


# --- owners ------------------------------------------------------------------------------------------------------


def test_who_has_unfinished_rows(book):
    """On its way, submitted, or finished and untold; nobody else."""
    book.intend("a", owner="sends")
    book.submitted("b", owner="follows")
    book.submitted("c", owner="tells", notify=True)
    book.finished("jimmy", task("task-c"))
    book.submitted("d", owner="has told")
    book.finished("jimmy", task("task-d"))
    book.uncertain("e", owner="asks")
    book.intend("f", owner="is refused")
    book.answered("f", refused())
    book.intend("g", owner="plans", notify=True)
    book.settle("g", State.PLANNED)
    assert sorted(book.owners()) == ["follows", "sends", "tells"]
    book.disown("b")
    assert sorted(book.owners()) == ["", "sends", "tells"]


def test_taking_over(book):
    """Rows of dead owners at one gateway; what was being sent is uncertain, with the reason on record."""
    for owner in ("dead", "dead too", "alive"):
        book.intend(f"{owner} sends", owner=owner)
        book.submitted(f"{owner} follows", owner=owner)
        book.submitted(f"{owner} tells", owner=owner, notify=True)
        book.finished("jimmy", task(f"task-{owner} tells"))
        book.submitted(f"{owner} elsewhere", owner=owner, gateway="toapis")
        book.uncertain(f"{owner} asks", owner=owner)
    taken = {row.key: row for row in book.take_over("me", ["dead", "dead too", "unknown"], "jimmy")}
    assert {key: str(row.state) for key, row in taken.items()} == {
        f"{owner} {what}": state
        for owner in ("dead", "dead too")
        for what, state in (("sends", "UNCERTAIN"), ("follows", "SUBMITTED"), ("tells", "SUCCEEDED"))
    }
    assert all(row.owner == "me" for row in taken.values())
    lost_one = taken["dead sends"]
    assert (lost_one.detail, lost_one.attempts, lost_one.task_id, lost_one.candidate) == (LOST, 1, None, None)
    (record,) = book.records("dead sends")
    assert (record.what, record.state, record.detail) == ("taken over", "UNCERTAIN", LOST)
    assert sorted(book.owners()) == ["alive", "dead", "dead too", "me"]  # those of the other gateway
    assert book.take_over("me", ["dead", "dead too"], "jimmy") == []
    assert book.take_over("me", [], "jimmy") == []


DOUBTFUL = Answer(state="SUBMITTING", candidate="task-x", detail="refused, and names a task", status=429, body=b"{}")


def test_a_refusal_that_names_a_task_is_written_down_before_it_is_looked_into(book):
    """The row is on its way still; whoever takes it over from a dead process finds the id and the answer."""
    book.intend("a", owner="dead")
    assert book.answered("a", DOUBTFUL) is State.SUBMITTING
    assert (book.entry("a").state, book.entry("a").candidate, book.entry("a").task_id) == (
        State.SUBMITTING, "task-x", None
    )  # fmt: skip
    (taken,) = book.take_over("me", ["dead"], "jimmy")
    assert (taken.state, taken.candidate) == (State.UNCERTAIN, "task-x")
    assert [(record.what, record.task_id) for record in book.records("a")] == [
        ("answer", "task-x"), ("taken over", "task-x")
    ]  # fmt: skip


@pytest.mark.parametrize("end", [lost("task-x"), refused(), Answer(state="PLANNED", status=429)])
def test_it_comes_to_whatever_was_found_out(book, end):
    """As if it had not been written down before; nothing but its history tells of it."""
    for key in ("a", "b"):
        book.intend(key)
    book.answered("a", DOUBTFUL)
    ends = [book.answered(key, end) for key in ("a", "b")]
    assert ends == [State(end.state)] * 2
    here, plain = book.entry("a"), book.entry("b")
    assert (here.state, here.candidate, here.detail, here.attempts, here.again) == (
        plain.state, plain.candidate, plain.detail, plain.attempts, plain.again
    )  # fmt: skip


def test_what_has_its_end_is_not_looked_into_any_more(book):
    """Somebody settled it meanwhile, or took it over."""
    book.uncertain("a")
    with pytest.raises(JournalError) as caught:
        book.answered("a", DOUBTFUL)
    assert caught.value.kind == "conflict"


def test_who_tells_nobody_leaves_what_is_to_be_told(book):
    """He follows what runs; what is over and untold waits for one who tells."""
    book.submitted("runs", owner="dead", notify=True)
    book.submitted("over", owner="dead", notify=True)
    book.finished("jimmy", task("task-over"))
    assert [row.key for row in book.take_over("silent", ["dead"], "jimmy", untold=False)] == ["runs"]
    assert book.entry("over").owner == "dead"
    assert [row.key for row in book.take_over("teller", ["dead"], "jimmy")] == ["over"]


# --- looking, cleaning -------------------------------------------------------------------------------------------


def test_rows_in_order(book):
    """Of the sheet, else of entering; all, or those in certain states."""
    for key in "cab":
        at(book, {"c": "SUBMITTED", "a": "UNCERTAIN", "b": "SUBMITTED"}[key], key)
    assert [row.key for row in book.ledger.entries()] == ["c", "a", "b"]
    assert [row.key for row in book.ledger.entries([State.SUBMITTED])] == ["c", "b"]
    assert [row.key for row in book.ledger.entries([State.SUBMITTED, State.UNCERTAIN])] == ["c", "a", "b"]
    assert list(book.ledger.entries([])) == []
    with writing(book.ledger):
        for position, key in enumerate("abc"):
            book.ledger.connection.execute("UPDATE item SET position = ? WHERE key = ?", (position, key))
    assert [row.key for row in book.ledger.entries()] == ["a", "b", "c"]
    assert book.counts() == {State.SUBMITTED: 2, State.UNCERTAIN: 1}


def test_notes(book):
    """Kept by name, and overwritten."""
    assert book.note("a") is None
    book.write_note("a", "1")
    book.write_note("b", "2")
    book.write_note("a", "3")
    assert (book.note("a"), book.note("b")) == ("3", "2")


def test_pruning(book):
    """What ended before a time and was told is forgotten with its records; what may cost money stays."""
    for state in State:
        at(book, state, str(state))
    book.submitted("untold", notify=True)
    book.finished("jimmy", task("task-untold"))
    later = book.clock.now + 100
    assert book.prune(0) == 0
    assert book.prune(later) == 7
    left = set(rows(book.path))
    assert left == {"SUBMITTING", "SUBMITTED", "UNCERTAIN", "untold"}
    assert {state for state in left if book.records(state)} == left - {"SUBMITTING"}
    assert book.records("DONE") == []
    book.told("untold")
    assert book.prune(later) == 1


def test_pruning_goes_by_the_time(book):
    """To the second in which it ended, or was sent."""
    at(book, "FAILED", "a")
    at(book, "REJECTED", "r")
    ended, sent = book.entry("a").finished_at, book.entry("r").sent_at
    assert book.prune(ended) == 0
    assert book.prune(ended + 0.5) == 1
    assert book.prune(sent) == 0
    assert book.prune(sent + 0.5) == 1


def test_what_was_settled_as_pay_again_is_not_forgotten(book):
    """Its first create may have been charged, and only its row tells; once a task came of it, it ends as others do."""
    for key, answer in (("anew", PAY_AGAIN), ("free", "settled by a person: it was not charged")):
        at(book, "UNCERTAIN", key)
        book.resolve(key, State.PLANNED, answer)
    later = book.clock.now + 100
    assert book.prune(later) == 1
    with pytest.raises(SubmissionUncertainError, match="pay_again"):
        book.find("anew")
    assert book.find("free") is None
    assert book.entry("free") is None
    book.submitted("anew")
    book.finished("jimmy", task("task-anew"))
    assert book.prune(later) == 1


def test_a_batchs_journal_is_not_pruned(book):
    """Without it the batch would be paid again."""
    at(book, "DONE")
    book.write_note("batch", "jimmy")
    with pytest.raises(JournalError) as caught:
        book.prune(book.clock.now + 100)
    assert str(caught.value) == "a batch's journal is what keeps its rows from being paid again: it is not pruned"
    assert book.entry("k") is not None


def test_the_next_rows_to_be_sent(book):
    """Those of a run that are planned, in the order of entering, a few at a time."""
    for key in "abcdef":
        at(book, "SUBMITTED" if key == "c" else "PLANNED", key)
    with writing(book.ledger):
        book.ledger.connection.execute("UPDATE item SET run = CASE WHEN key = 'd' THEN 1 ELSE 2 END")
    first = book.planned(2, 0, 2)
    assert [(place, row.key, row.run) for place, row in first] == [(1, "a", 2), (2, "b", 2)]
    assert [row.key for _, row in book.planned(2, 2, 9)] == ["e", "f"]
    assert [row.key for _, row in book.planned(1, 0, 9)] == ["d"]
    assert book.planned(3, 0, 9) == []


def test_why_a_row_was_not_sent(book):
    """Noted while it is still to be sent; of others it changes nothing."""
    at(book, "PLANNED", "a")
    assert book.noted("a", "no balance").detail == "no balance"
    before = at(book, "UNCERTAIN", "b")
    assert book.noted("b", "no balance") == before
    with pytest.raises(JournalError, match="'x' has gone"):
        book.noted("x", "no balance")


# --- transactions ------------------------------------------------------------------------------------------------


def test_what_is_not_committed_is_not_there(tmp_path):
    """Rolled back, or the process died: also for another connection."""
    book, other = Book(tmp_path / "j"), Book(tmp_path / "j")
    book.ledger.begin()
    book.ledger.intend(intent(), owner="me")
    assert other.ledger.entry("k") is None
    book.ledger.rollback()
    book.ledger.rollback()
    assert book.entry("k") is None
    book.ledger.begin()
    book.ledger.intend(intent(), owner="me")
    book.ledger.commit()
    assert other.ledger.entry("k").state is State.SUBMITTING
    book.close()
    other.close()


def test_who_writes_keeps_others_from_writing(tmp_path):
    """From the beginning on, not only from the first write."""
    book, other = Book(tmp_path / "j"), Book(tmp_path / "j")
    other.ledger.connection.execute("PRAGMA busy_timeout = 0")
    book.ledger.begin()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.ledger.begin()
    book.ledger.rollback()
    other.intend("k")
    book.close()
    other.close()


def test_the_clock_is_the_systems_unless_told(tmp_path):
    """Seconds since 1970."""
    book = Book(tmp_path / "j", clock=time.time)
    book.intend("k")
    assert abs(book.entry("k").sent_at - time.time()) < 60
    book.close()
    assert Clock()() > 1e9


def test_an_intent_is_told_of_only_if_that_is_asked_for(book):
    """By whoever enters it."""
    with writing(book.ledger) as ledger:
        ledger.intend(intent("k"), owner="me")
    assert not book.entry("k").notify


def test_a_row_to_be_paid_anew_says_so(book):
    """With the round to ask again with."""
    at(book, "FAILED")
    book.anew("k", "retried")
    with pytest.raises(NotNow) as caught:
        book.intend("k")
    assert (caught.value.why, caught.value.seconds, caught.value.round) == ("it is to be paid anew", 0.0, 1)


# --- a journal of years ------------------------------------------------------------------------------------------


def steps(book, ask):
    """How many steps of SQLite's machine a question takes."""
    counted = []
    book.ledger.connection.set_progress_handler(lambda: counted.append(1), 1)
    ask(book.ledger)
    book.ledger.connection.set_progress_handler(None, 1)
    return len(counted)


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.find("ended 20 1"),
        lambda ledger: ledger.find("refused"),
        lambda ledger: ledger.records("ended 20 1"),
        lambda ledger: list(ledger.entries([State.SUBMITTED])),
        lambda ledger: list(ledger.entries([State.UNCERTAIN])),
        lambda ledger: ledger.running(),
        lambda ledger: ledger.owners(),
        lambda ledger: ledger.take_over("me", ["nobody"], "jimmy"),
    ],
    ids=["an order", "a refused order", "its history", "what runs", "what is uncertain", "room", "owners", "the left"],
)
def test_a_question_takes_as_long_after_thousands_of_finished_rows_as_after_a_few(tmp_path, ask):
    """A web app asks for an order, or for what runs, with each page; and its journal is never begun anew."""
    taken, book = [], Book(tmp_path / "j")
    book.submitted("running")
    book.uncertain("uncertain")
    at(book, "REJECTED", "refused")
    for count in (20, 2000):
        with writing(book.ledger) as ledger:
            for number in range(count):
                ledger.intend(intent(f"ended {count} {number}"), owner="me")
                ledger.answered(f"ended {count} {number}", accepted(f"t{count}-{number}"))
                ledger.finished("jimmy", task(f"t{count}-{number}"))
        taken.append(steps(book, ask))
    book.close()
    assert taken[1] <= taken[0] + 20
