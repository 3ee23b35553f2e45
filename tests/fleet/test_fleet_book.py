"""A worker's two journals: whichever fails, what was paid is known and is not paid again."""

import contextlib

import needed  # noqa: F401 - skips
import pytest

from omni_async.errors import JournalError
from omni_async.fleet import book as books
from omni_async.fleet.book import FleetBook, SharedJournal
from omni_async.journal import Answer, NotNow, SqliteJournal, State
from omni_async.models import TaskStatus, VideoTask
from tests.journal.books import accepted, intent, lost

AWAY = JournalError("away", kind="failed")


class Shared(SharedJournal):
    """The fleet's journal, whose database can be taken away; `loses` is an answer that is lost after the commit."""

    away = loses = False

    async def run(self, work):
        """As it is, or not at all."""
        if self.away:
            raise AWAY
        done = await super().run(work)
        if self.loses:
            raise AWAY
        return done


class Machine:
    """One worker's book, and what stands in its two journals."""

    def __init__(self, dsn, folder, name):
        folder.mkdir(exist_ok=True)
        self.shared = Shared(dsn, gateway="jimmy", name=name)
        self.local = SqliteJournal(folder / "fleet.sqlite3", gateway="jimmy", notify=True, follow_others=False)
        self.book = FleetBook(self.local, self.shared)

    async def plan(self, *keys):
        """Rows to be sent."""
        columns = (
            "INSERT INTO item (key, gateway, fingerprint, state, owner, inputs) VALUES (?, 'jimmy', 'f', ?, '', ?)"
        )
        for key in keys:
            await self.shared.run(lambda ledger, key=key: ledger.connection.execute(columns, (key, "PLANNED", "{}")))

    async def there(self, key="k"):
        """Its row in the shared journal."""
        return await self.shared.run(lambda ledger: ledger.entry(key))

    async def here(self, key="k"):
        """Its row in this machine's own."""
        return await self.local.run(lambda ledger: ledger.entry(key))

    async def paid(self, key="k"):
        """A create, sent and accepted."""
        asked = wish(key)
        assert await self.book.intend(asked) is None
        await self.book.answered(asked, accepted(f"task-{key}"))
        return asked

    async def set(self, key="k", **columns):
        """Make the shared row what it was, or what a person made of it."""
        await self.shared.run(lambda ledger: ledger._set(key, columns))

    async def aclose(self):
        """Close both."""
        await self.shared.aclose()
        await self.local.aclose()


def wish(key="k"):
    """An intent."""
    return intent(key, fingerprint="f")


def ended(key="k", status=TaskStatus.SUCCEEDED):
    """A task's end."""
    return VideoTask(task_id=f"task-{key}", status=status, gateway="jimmy", video_url="https://example.org/v.mp4")


@pytest.fixture
async def machines(postgres, tmp_path):
    """Make a machine of a fleet by its name; one name is one folder."""
    from omni_async.fleet.admin import set_up

    dsn = postgres.database()
    await set_up(dsn, "jimmy")
    async with contextlib.AsyncExitStack() as open_:

        def made(name, *, worker=None):
            machine = Machine(dsn, tmp_path / name, worker or name)
            open_.push_async_callback(machine.aclose)
            return machine

        yield made


@pytest.fixture
async def one(machines):
    """A machine, and a row to be sent."""
    machine = machines("one")
    await machine.plan("k")
    return machine


# --- the database is away ----------------------------------------------------------------------------------------


async def test_an_answer_that_comes_while_the_database_is_away_is_kept_here_and_told_it_afterwards(one):
    """The task id is on this machine's disk at once."""
    await one.book.intend(wish())
    one.shared.away = True
    assert await one.book.answered(wish(), accepted("task-k")) == State.SUBMITTED
    assert (await one.here()).task_id == "task-k"
    assert one.book.behind == {"k"}
    one.shared.away = False
    assert (await one.there()).state is State.SUBMITTING
    await one.book.heal(list(one.book.behind))
    assert ((await one.there()).state, (await one.there()).task_id) == (State.SUBMITTED, "task-k")
    assert not one.book.behind


async def test_what_a_dead_worker_had_not_told_is_told_by_the_next_of_its_machine(machines):
    """Its answer stands in the journal that both have."""
    dead = machines("one", worker="dead")
    await dead.plan("k")
    await dead.book.intend(wish())
    dead.shared.away = True
    await dead.book.answered(wish(), accepted("task-k"))
    await dead.aclose()
    living = machines("one", worker="living")
    assert await living.book.heal() == 1
    assert (await living.there()).task_id == "task-k"


async def test_an_intent_whose_commit_was_not_confirmed_is_taken_back(one):
    """Nothing was sent, and this worker knows it: the row is not uncertain."""
    one.shared.loses = True
    with pytest.raises(JournalError):
        await one.book.intend(wish())
    one.shared.loses = False
    assert (await one.there()).state is State.SUBMITTING
    await one.book.heal([])
    assert (await one.there()).state is State.PLANNED
    await one.paid()


async def test_what_was_not_sent_is_taken_back_although_it_was_given_up_meanwhile(one, machines):
    """Another worker found its sender gone, and called it uncertain."""
    one.shared.loses = True
    with pytest.raises(JournalError):
        await one.book.intend(wish())
    one.shared.loses = False
    await machines("two").shared.run(lambda ledger: ledger.taken_over("k"))
    assert (await one.there()).state is State.UNCERTAIN
    await one.book.heal([])
    assert (await one.there()).state is State.PLANNED


async def test_a_row_that_another_worker_sends_meanwhile_is_not_taken_back(one, machines):
    """By a person's word it was sent again: that one may be paid."""
    one.book.unsent.add("k")
    assert await machines("two").book.intend(wish()) is None
    await one.book.heal([])
    assert (await one.there()).state is State.SUBMITTING


async def test_a_refusal_that_could_not_be_written_there_leaves_the_row_to_be_sent(one):
    """Surely not accepted is not uncertain."""
    await one.book.intend(wish())
    one.shared.away = True
    await one.book.answered(wish(), Answer(state="PLANNED", status=429, detail="refused for now"))
    one.shared.away = False
    await one.book.heal([])
    assert (await one.there()).state is State.PLANNED


async def test_an_end_that_this_machines_disk_does_not_take_goes_to_the_database(one, monkeypatch):
    """Else its task would keep a seat of the fleet's until somebody makes room there."""
    await one.paid()
    with monkeypatch.context() as patch:

        async def full(*_):
            raise JournalError("no space", kind="full")

        patch.setattr(one.local, "finished", full)
        await one.book.finished(ended())
    assert (await one.there()).state is State.SUCCEEDED
    await one.book.heal()
    assert ((await one.there()).state, (await one.here()).state) == (State.SUCCEEDED, State.SUBMITTED)


async def test_an_answer_that_this_machines_disk_does_not_take_goes_to_the_database(one, monkeypatch):
    """Either of them is enough."""
    await one.book.intend(wish())

    async def full(*_):
        raise JournalError("no space", kind="full")

    monkeypatch.setattr(one.local, "answered", full)
    assert await one.book.answered(wish(), accepted("task-k")) == State.SUBMITTED
    assert (await one.there()).task_id == "task-k"


async def test_nothing_is_sent_if_this_machines_journal_fails(one, monkeypatch):
    """The shared row is to be sent again, by another."""

    async def full(_):
        raise JournalError("no space", kind="full")

    monkeypatch.setattr(one.local, "run", full)
    with pytest.raises(JournalError, match="no space"):
        await one.book.intend(wish())
    assert (await one.there()).state is State.PLANNED


async def test_a_row_that_another_sends_is_not_waited_for_in_line(one, machines):
    """Each try would take a place in time, and nobody would see that its sender has died."""
    await machines("two").book.intend(wish())
    with pytest.raises(JournalError) as held:
        await one.book.intend(wish())
    assert held.value.kind == "conflict"


async def test_a_row_that_was_edited_meanwhile_is_sent_with_its_new_inputs(one):
    """What was read of it before is not sent, nor put back."""
    await one.set(fingerprint="edited")
    with pytest.raises(JournalError) as held:
        await one.book.intend(wish())
    assert held.value.kind == "conflict"
    assert (await one.there()).state is State.PLANNED


# --- the database is an old one ----------------------------------------------------------------------------------


async def test_an_old_copy_of_the_database_does_not_lead_to_a_second_payment(one):
    """This machine knows that it has paid, and tells it."""
    await one.paid()
    await one.set(state="PLANNED", task_id=None, attempts=0)
    with pytest.raises(NotNow):
        await one.book.intend(wish())
    assert (await one.there()).task_id == "task-k"
    assert (await one.book.intend(wish())).task_id == "task-k"


async def test_nor_does_one_from_before_a_second_attempt(one, machines):
    """Each journal counts all attempts, also those of other machines."""
    await one.book.intend(wish())
    await one.book.answered(wish(), lost())
    await one.shared.run(lambda ledger: ledger.resolve("k", State.PLANNED, "not charged"))
    other = machines("two")
    await other.paid()
    await other.set(state="PLANNED", task_id=None, attempts=1)
    with pytest.raises(NotNow):
        await other.book.intend(wish())
    assert (await other.there()).task_id == "task-k"


async def test_nor_while_the_create_is_still_in_flight(one):
    """The row waits for its answer."""
    await one.book.intend(wish())
    await one.set(state="PLANNED", owner="")
    with pytest.raises(JournalError) as held:
        await one.book.intend(wish())
    assert held.value.kind == "conflict"
    await one.book.answered(wish(), accepted("task-k"))
    assert (await one.there()).task_id == "task-k"


async def test_a_database_that_forgot_a_create_in_flight_is_told_of_it(one, machines):
    """As after a failover that lost the last intents: nobody else sends it."""
    await one.book.intend(wish())
    await one.set(state="PLANNED", owner="")
    await one.book.heal()
    assert (await one.there()).state is State.SUBMITTING
    with pytest.raises(JournalError) as held:
        await machines("two").book.intend(wish())
    assert held.value.kind == "conflict"


async def test_an_old_copy_is_told_of_all_that_it_has_forgotten_before_anything_is_sent(one):
    """Also of what had been told to the end, and is settled here."""
    await one.paid()
    await one.book.finished(ended())
    assert (await one.there()).state is State.SUCCEEDED
    assert not (await one.here()).notify
    assert await one.book.heal() == 0
    await one.set(state="PLANNED", task_id=None, attempts=0, task=None, finished_at=None)
    await one.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM note WHERE name LIKE 'told by %%'"))
    assert await one.book.heal() == 1
    assert (await one.there()).state is State.SUCCEEDED


async def test_an_empty_database_gets_the_rows_with_what_they_came_to(one):
    """A create that was in flight is uncertain there: nobody may have its journal any more."""
    await one.plan("l")
    await one.paid()
    await one.book.intend(wish("l"))
    await one.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM item"))
    await one.book.heal(["k", "l"])
    assert (await one.there()).task_id == "task-k"
    assert (await one.there("l")).state is State.UNCERTAIN
    await one.book.answered(wish("l"), accepted("task-l"))
    assert (await one.there("l")).task_id == "task-l"


async def test_a_database_that_never_had_a_row_is_not_given_it_to_be_sent(one):
    """It may be another fleet's, and the row still stands in its own."""
    await one.book.intend(wish())
    await one.book.settle(wish(), State.PLANNED, "the fleet pauses")
    await one.shared.run(lambda ledger: ledger.connection.execute("DELETE FROM item"))
    await one.book.heal(["k"])
    assert await one.there() is None


# --- a person's word ---------------------------------------------------------------------------------------------


async def test_a_person_who_has_it_paid_again_is_obeyed(one):
    """The first attempt stays on record."""
    await one.book.intend(wish())
    await one.book.answered(wish(), lost("task-1"))
    await one.shared.run(lambda ledger: ledger.resolve("k", State.PLANNED, "pay again"))
    await one.paid()
    assert (await one.there()).attempts == 2


async def test_a_new_round_is_not_undone_by_what_an_old_journal_knows(one):
    """The task that failed has failed; this machine's word is older than the person's."""
    await one.paid()
    await one.local.finished(ended(status=TaskStatus.FAILED))
    await one.book.heal(["k"])
    await one.shared.run(lambda ledger: ledger.anew("k", "retried"))
    await one.book.heal(["k"])
    assert ((await one.there()).state, (await one.there()).round) == (State.PLANNED, 1)


async def test_a_late_id_of_a_row_that_was_given_back_is_taken_instead_of_paying_again(one, machines):
    """What was paid stands, whatever was believed meanwhile."""
    await one.book.intend(wish())
    other = machines("two")
    await other.shared.run(lambda ledger: ledger.taken_over("k"))
    await other.shared.run(lambda ledger: ledger.resolve("k", State.PLANNED, "not charged"))
    await one.book.answered(wish(), accepted("task-k"))
    await one.book.heal(list(one.book.behind))
    assert ((await one.there()).state, (await one.there()).task_id) == (State.SUBMITTED, "task-k")


async def test_a_row_that_was_paid_twice_by_a_persons_word_keeps_both_ids(one, machines):
    """The later one is on record."""
    await one.book.intend(wish())
    other = machines("two")
    await other.shared.run(lambda ledger: ledger.taken_over("k"))
    await other.shared.run(lambda ledger: ledger.resolve("k", State.PLANNED, "not charged"))
    await other.book.intend(wish())
    await other.book.answered(wish(), accepted("task-2"))
    await one.book.answered(wish(), accepted("task-1"))
    for _ in range(2):
        await one.book.heal(["k"])
    records = await one.shared.run(lambda ledger: ledger.records("k"))
    assert (await one.there()).task_id == "task-2"
    assert [record.task_id for record in records if record.what == "another task"] == ["task-1"]


# --- a worker that stood still -----------------------------------------------------------------------------------


async def test_a_worker_that_stood_still_before_it_sent_looks_whether_the_row_is_still_its_own(
    one, machines, monkeypatch
):
    """It was given up and settled meanwhile: sending it now would pay twice."""
    monkeypatch.setattr(books, "STALE", 0.0)
    other = machines("two")

    async def still():
        await other.shared.run(lambda ledger: ledger.taken_over("k"))
        await other.shared.run(lambda ledger: ledger.resolve("k", State.PLANNED, "not charged"))
        await other.paid()
        return True

    book = FleetBook(one.local, one.shared, still)
    with pytest.raises(JournalError) as held:
        await book.intend(wish())
    assert held.value.kind == "conflict"
    assert (await one.there()).task_id == "task-k"
    assert (await one.here()).state is State.PLANNED


async def test_a_create_that_meets_a_pause_is_given_back(one):
    """In both journals: no row is uncertain for a pause."""

    async def paused():
        return False

    with pytest.raises(NotNow) as held:
        await FleetBook(one.local, one.shared, paused).intend(wish())
    assert not held.value.sent
    assert (await one.there()).state is (await one.here()).state is State.PLANNED
    await one.paid()
