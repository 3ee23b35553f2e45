"""The ledger in PostgreSQL when connections break: nothing is sent twice, and nothing is entered twice."""

import os
import signal
import threading
import time

import pytest
from books import Clock, Wire, accepted, cut, intent, lost, refused, rows, states, task, writing
from children import child

from omni_async.errors import JournalError, SubmissionUncertainError
from omni_async.journal import Answer, NotNow, State, pgtables, postgres
from omni_async.journal.pgtables import MIGRATIONS, VERSION, open_postgres
from omni_async.journal.postgres import FLEET, SessionOwner
from omni_async.journal.session import Session
from tests.postgres import ask

FOR_NOW = Answer(state="PLANNED", status=429, detail="refused for now")
EMPTY = "TRUNCATE omni_item, omni_record, omni_note RESTART IDENTITY"
OURS = f"INSERT INTO omni_note VALUES ('{VERSION}', '{len(MIGRATIONS)}')"  # noqa: S608


@pytest.fixture(scope="module")
def database(postgres):
    """A database with our tables."""
    dsn = postgres.database()
    open_postgres(Session(dsn)).connection.close()
    return dsn


@pytest.fixture
def make(database, monkeypatch):
    """Makes ledgers of one empty journal; what became of a COMMIT is asked for only once."""
    ask(database, EMPTY, OURS)
    monkeypatch.setattr(postgres, "LEARN", 0.0)
    monkeypatch.setattr(postgres, "LAPSE", 0.0)
    made = []

    def ledger():
        made.append(open_postgres(Wire(database)))
        made[-1]._clock = Clock()
        return made[-1]

    yield ledger
    for one in made:
        one.connection.close()


@pytest.fixture
def ledger(make):
    """One of them."""
    return make()


def do(ledger, *calls):
    """In one transaction; what the last call gives."""
    with writing(ledger):
        return [call(ledger) for call in calls][-1]


def intend(key="k", owner="me", **more):
    """A call."""
    return lambda ledger: ledger.intend(intent(key, **more), owner=owner)


def answered(key, answer):
    """A call."""
    return lambda ledger: ledger.answered(key, answer)


def settle(key, state, *words):
    """A call."""
    return lambda ledger: ledger.settle(key, State(state), *words)


def lose(ledger, *calls, when="after", away=True):
    """The same, and the answer to its COMMIT is lost; with `away` nobody can be asked what became of it, either."""
    ledger.connection.lose, ledger.connection.away = when, 2 if away else 0
    with pytest.raises(Exception, match=r"terminat|closed|undone"):
        do(ledger, *calls)
    ledger.connection.away = 0


# --- a COMMIT whose answer is lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [intend("new"), answered("k", accepted()), settle("k", "PLANNED", "never sent")])
def test_a_commit_that_happened_is_learned_of_at_once(ledger, database, call):
    """The server is there: it was only the connection that broke, and the call is a success."""
    do(ledger, intend())
    ledger.connection.lose = "after"
    do(ledger, call)
    assert len(rows(database)) == 2 or states(database)["k"] in ("SUBMITTED", "PLANNED")
    assert ledger._doubts == []


def test_a_commit_that_did_not_happen_is_an_error_and_no_row(ledger, database):
    """The same call once more does it."""
    lose(ledger, intend(), when="before", away=False)
    assert rows(database) == {}
    assert do(ledger, intend()) is None
    lose(ledger, answered("k", accepted()), when="before")
    assert states(database) == {"k": "SUBMITTING"}
    assert do(ledger, answered("k", accepted())) is State.SUBMITTED


def test_an_intent_that_was_told_as_failed_is_withdrawn(ledger, database):
    """Nothing was sent for it: the caller may try again, and waits for nobody."""
    lose(ledger, intend("a"), intend("b"))
    assert states(database) == {"a": "SUBMITTING", "b": "SUBMITTING"}
    assert do(ledger, intend("a")) is None
    assert states(database) == {"a": "SUBMITTING", "b": "PLANNED"}
    assert [record.detail for record in do(ledger, lambda it: it.records("b"))] == [postgres.UNSENT]


def test_an_intent_that_another_has_taken_over_is_not_withdrawn(make, database):
    """It is uncertain now, or being sent by somebody: that is not ours to say."""
    one, other = make(), make()
    lose(one, intend())
    do(other, lambda it: it.take_over("other", ["me"], "jimmy"))
    with pytest.raises(SubmissionUncertainError):
        do(one, intend())
    do(other, lambda it: it.resolve("k", State.PLANNED, "not charged"))
    do(other, intend(owner="other"))
    with pytest.raises(NotNow):
        do(one, intend())
    assert rows(database)["k"]["owner"] == "other"


ANSWERS = [accepted(), accepted(body=b"\x00" * 65536), lost("t-9"), refused(), FOR_NOW]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.state} {len(answer.body)}")
def test_an_answer_that_is_said_once_more_is_entered_once(ledger, database, answer):
    """It was there already, and the row may not be asked: what it is now may be another's doing."""
    do(ledger, intend())
    lose(ledger, answered("k", answer))
    before = rows(database)
    for _ in range(2):  # the first of the two may be undone, with others of its transaction
        ledger.begin()
        assert ledger.answered("k", answer) == answer.state
        ledger.rollback()
    assert do(ledger, answered("k", answer)) == answer.state
    assert {**rows(database)["k"], "owner": "me"} == before["k"]
    assert len(do(ledger, lambda it: it.records("k"))) == 1
    assert ledger._true == {}


@pytest.mark.parametrize(
    "call", [answered("k", FOR_NOW), settle("k", "PLANNED", "never sent")], ids=["answered", "settle"]
)
def test_a_repeated_word_does_not_undo_what_another_is_sending(make, database, call):
    """It was not paid, so another process sends it: a second "not paid" of ours would let a third one send it too."""
    one, other = make(), make()
    do(one, intend())
    lose(one, call)
    do(other, intend(owner="other"))
    do(one, call)
    assert (rows(database)["k"]["state"], rows(database)["k"]["owner"]) == ("SUBMITTING", "other")


def test_what_was_said_before_is_forgotten_with_the_next_attempt(ledger, database):
    """The same refusal of another create is another one."""
    do(ledger, intend())
    lose(ledger, answered("k", FOR_NOW))
    do(ledger, intend())
    do(ledger, answered("k", FOR_NOW))
    assert states(database) == {"k": "PLANNED"}
    assert len(do(ledger, lambda it: it.records("k"))) == 2


@pytest.mark.parametrize("how", ["taken over", "found", "answered"])
def test_rows_whose_owner_does_not_know_it_are_taken_over_again(ledger, how):
    """Else nobody would follow them."""
    do(ledger, intend(owner="dead"))
    if how == "taken over":
        do(ledger, answered("k", accepted()))
        lose(ledger, lambda it: it.take_over("me", ["dead"], "jimmy"))
    elif how == "found":
        do(ledger, answered("k", lost()))
        lose(ledger, lambda it: it.found("k", "looked up", "t-1", owner="me"))
    else:
        lose(ledger, answered("k", accepted()))
    assert do(ledger, lambda it: it.owners()) == [""]
    assert [entry.key for entry in do(ledger, lambda it: it.take_over("me", [""], "jimmy"))] == ["k"]


def test_a_fleets_rows_stay_its_own(ledger):
    """Its queue decides who goes on with them."""
    do(ledger, intend(owner=f"{FLEET}1"))
    lose(ledger, answered("k", accepted()))
    assert do(ledger, lambda it: it.owners()) == [f"{FLEET}1"]


def test_putting_right_may_be_cut_off_too(ledger, database):
    """Then it is done the next time."""
    lose(ledger, intend("a"))
    ledger.connection.lose = "before"
    with pytest.raises(Exception, match="terminat"):
        ledger.begin()
    ledger.rollback()
    ledger.connection.lose = "after"
    with pytest.raises(Exception, match="terminat"):
        ledger.begin()
    ledger.rollback()
    do(ledger, intend("c"))
    assert states(database) == {"a": "PLANNED", "c": "SUBMITTING"}
    assert ledger._doubts == []


def test_a_server_that_has_never_heard_of_it(ledger, database):
    """After a switch to a standby: what was committed last may not be there."""
    lose(ledger, intend("a"))
    ledger._doubts[0].xid = str(2**60)
    do(ledger, intend("c"))
    assert states(database)["c"] == "SUBMITTING"


def test_a_database_that_crashes_in_the_middle(postgres, make, database):
    """Within a transaction and between two: what was committed is there, and the next begins as if nothing was."""
    ledger = make()
    do(ledger, intend("a"))
    ledger.begin()
    ledger.intend(intent("b"), owner="me")
    postgres.crash()
    with pytest.raises(Exception, match=r"closed|terminat|server"):
        ledger.intend(intent("c"), owner="me")
    ledger.rollback()
    with pytest.raises(Exception, match=r"refused|closed"):
        ledger.begin()
    postgres.start()
    ledger.connection._refused = None
    assert states(database) == {"a": "SUBMITTING"}
    do(ledger, intend("c"))
    postgres.crash()
    postgres.start()
    do(ledger, answered("a", accepted()))
    assert states(database) == {"a": "SUBMITTED", "c": "SUBMITTING"}


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP there")
def test_a_process_that_freezes_inside_a_transaction_is_undone(make, database):
    """The others go on when the server has ended it; thawed, it is told."""
    ledger = make()
    with child(FROZEN, database, str(postgres.__file__)) as frozen:
        assert frozen.first == "inside"
        os.kill(frozen.pid, signal.SIGSTOP)
        began = time.monotonic()
        do(ledger, intend("k", owner="me"))
        assert time.monotonic() - began < 30
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.stdin.write("\n")
        frozen.stdin.flush()
        assert frozen.stdout.readline().strip() == "failed"
    assert rows(database)["k"]["owner"] == "me"


FROZEN = """
import sys
from books import intent
from omni_async.journal import session
from omni_async.journal.pgtables import open_postgres

session.SESSION = session.SESSION.replace("transaction_session_timeout=5s", "transaction_session_timeout=700ms")
ledger = open_postgres(session.Session(sys.argv[1]))
ledger.begin()
ledger.intend(intent("k"), owner="frozen")
print("inside", flush=True)
sys.stdin.readline()
try:
    ledger.commit()
except Exception:
    print("failed", flush=True)
ledger.connection.close()
"""


# --- text --------------------------------------------------------------------------------------------------------


def test_what_postgresql_has_no_form_for(ledger):
    """NUL and halves of a character pair, anywhere: something readable stands there, and ids find their rows."""
    odd = "a\x00b\ud800c\U0001f600"
    do(ledger, intend(odd, inputs=f'{{"prompt": "{odd}"}}', metadata={odd: odd}))
    do(
        ledger,
        answered(odd, Answer(state="SUBMITTED", task_id=odd, detail=odd, request_id=odd, body=bytes(range(256)))),
    )
    (entry,) = do(ledger, lambda it: list(it.entries()))
    assert entry.task_id == entry.key == "a\ufffdb?c\U0001f600"
    assert do(ledger, lambda it: it.known(odd, "print")).task_id == entry.task_id
    (record,) = do(ledger, lambda it: it.records(odd))
    assert record.body == bytes(range(256))
    ended = do(ledger, lambda it: it.finished("jimmy", task(entry.task_id, error_message=odd)))
    assert ended.state is State.SUCCEEDED


# --- who lives ---------------------------------------------------------------------------------------------------


def owner_of(ledger, name=None):
    """A client's place."""
    owner = SessionOwner(ledger.connection, name) if name else SessionOwner(ledger.connection)
    ledger.connection.on_open = owner.take
    owner.take()
    return owner


def test_who_is_connected_lives(make):
    """And nobody else; a fleet's workers are never taken for dead here."""
    one, other = make(), make()
    mine, theirs = owner_of(one), owner_of(other)
    assert mine.alive(mine.name)
    assert mine.alive(theirs.name)
    theirs.discard(mine.name)
    assert theirs.alive(mine.name)
    theirs.release()
    assert not mine.alive(theirs.name)
    assert not mine.alive("nobody")
    assert mine.alive("fleet:anybody")


def test_a_place_is_taken_again_with_the_next_connection(make):
    """Also while the server does not know that the old one has broken."""
    one, other = make(), make()
    mine, theirs = owner_of(one), owner_of(other)
    old, one.connection._connection = one.connection._connection, None
    do(one, intend())  # another connection; the old one still holds the place
    assert theirs.alive(mine.name)
    old.execute("SELECT pg_advisory_unlock_all()")
    old.close()
    assert theirs.alive(mine.name)
    one.connection.close()
    assert not theirs.alive(mine.name)


def test_after_a_break_nobody_is_taken_for_dead_too_soon(make, monkeypatch):
    """The others may be on their way back: from a loss of one's own connection, and from a start of the server."""
    ledger = make()
    mine = owner_of(ledger)
    monkeypatch.setattr(postgres, "LAPSE", 1e9)  # the server has started within that time
    assert mine.alive("nobody")
    monkeypatch.setattr(postgres, "LAPSE", 0.0)
    assert not mine.alive("nobody")
    cut(ledger.connection)
    do(ledger, intend())
    monkeypatch.setattr(postgres, "LAPSE", 1e-3)
    mine._since = time.monotonic() + 100
    assert mine.alive("nobody")


# --- the tables --------------------------------------------------------------------------------------------------


def test_many_make_them_at_once(postgres):
    """One does, the others wait for it."""
    dsn, failures = postgres.database(), []

    def opening():
        try:
            open_postgres(Session(dsn)).connection.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ask(dsn, "SELECT * FROM omni_note") == [(VERSION, str(len(MIGRATIONS)))]


def test_tables_of_an_older_version_are_brought_up_to_date(make, database, monkeypatch):
    """With their rows; once."""
    do(make(), intend())
    monkeypatch.setattr(pgtables, "MIGRATIONS", (*MIGRATIONS, "CREATE TEMPORARY TABLE newer (x INT)"))
    later = open_postgres(Session(database))
    assert do(later, lambda it: it.note(VERSION)) == str(len(MIGRATIONS) + 1)
    later.connection.raw.execute("SELECT x FROM newer")
    later.connection.close()
    open_postgres(Session(database)).connection.close()
    assert states(database) == {"k": "SUBMITTING"}


@pytest.mark.parametrize("raced", [False, True])
def test_tables_of_a_newer_version_are_left_alone(make, database, monkeypatch, raced):
    """Also if they became newer while we were about to bring them up to date."""
    ledger = make()
    do(ledger, lambda it: it.write_note(VERSION, "99"))
    if raced:
        told = iter([0, 99])
        monkeypatch.setattr(pgtables, "_version", lambda _: next(told))
    with pytest.raises(JournalError, match="have version 99, and this library knows 1: upgrade it") as caught:
        open_postgres(Session(database))
    assert caught.value.kind == "newer"
    assert do(ledger, lambda it: it.note(VERSION)) == "99"


def test_tables_of_somebody_else(postgres):
    """Of the same name: they are left as they are."""
    dsn = postgres.database()
    ask(dsn, "CREATE TABLE omni_item (x INT)")
    with pytest.raises(JournalError, match="not as this library made them") as caught:
        open_postgres(Session(dsn))
    assert caught.value.kind == "damaged"
    assert ask(dsn, "SELECT to_regclass('omni_note')") == [(None,)]


def test_all_rows_page_by_page(make, monkeypatch):
    """In their order, each once, whatever is asked for."""
    monkeypatch.setattr(postgres, "PAGE", 3)
    ledger = make()
    do(ledger, *(intend(f"k{n}") for n in range(8)))
    do(ledger, answered("k3", accepted("t")))
    assert [entry.key for entry in do(ledger, lambda it: list(it.entries()))] == [f"k{n}" for n in range(8)]
    found = do(ledger, lambda it: list(it.entries([State.SUBMITTED, State.DONE])))
    assert [entry.key for entry in found] == ["k3"]
    assert do(ledger, lambda it: list(it.entries([]))) == []
