"""A journal file as the client uses it: opened by its first call, insisting where money is at stake."""

import asyncio
import json
import logging
import sys
import threading

import pytest
from books import Book, accepted, intent, lost, rows, sound, states, task
from children import child, kill

from omni_async.errors import Fault, InvalidRequestError, JournalError, OmniError, SubmissionUncertainError
from omni_async.journal import Answer, NotNow, SqliteJournal, State, fallback, store
from omni_async.models import TaskStatus
from tests.warp import WarpLoop, now

LOOP = WarpLoop


@pytest.fixture
async def make(tmp_path):
    """Makes journals on one file, all closed at the end."""
    made = []

    def journal(**settings):
        made.append(SqliteJournal(tmp_path / "j", **{"gateway": "jimmy", **settings}))
        return made[-1]

    yield journal
    for one in made:
        await one.aclose()


# --- opening and closing -----------------------------------------------------------------------------------------


async def test_it_is_opened_by_its_first_call_and_once(make, tmp_path, disk):
    """Made by nobody before; by many calls at once only one file, one lock, one thread."""
    journal = make()
    assert list(tmp_path.iterdir()) == []
    assert journal.owner == ""
    before = threading.active_count()
    await asyncio.gather(*(journal.intend(intent(f"k{n}")) for n in range(20)), journal.open())
    assert threading.active_count() == before + 1
    assert len(list(tmp_path.glob("j.owner-*"))) == 1
    assert {row["owner"] for row in rows(tmp_path / "j").values()} == {journal.owner}
    assert disk.commits < 10
    await journal.aclose()
    await journal.aclose()
    assert threading.active_count() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j", "j.lock"]
    with pytest.raises(JournalError, match="the journal is closed"):
        await journal.intend(intent())


@pytest.mark.skipif(sys.platform == "win32", reason="making a link takes a privilege there")
async def test_a_link_to_a_journal_is_that_journal(make, tmp_path):
    """A client that came by the link is refused what one that came by the name is sending, and both have one path."""
    (tmp_path / "link").symlink_to(tmp_path / "j")
    one, two = make(), SqliteJournal(tmp_path / "link", gateway="jimmy")
    await one.intend(intent())
    assert await two.claim() == []
    with pytest.raises(NotNow):
        await two.intend(intent())
    assert two.path == one.path
    await two.aclose()


async def test_a_journal_that_cannot_be_opened_has_charged_nothing(make, tmp_path):
    """Nothing is sent before it is open; what a damaged one tells of payments is another matter."""
    (tmp_path / "j.lock").mkdir()
    with pytest.raises(JournalError, match="see to its disk and permissions") as caught:
        await make().open()
    assert not caught.value.may_have_charged
    (tmp_path / "j.lock").rmdir()
    (tmp_path / "j").write_bytes(b"this is a shopping list" * 100)
    with pytest.raises(JournalError, match="is damaged") as caught:
        await make().open()
    assert caught.value.may_have_charged


async def test_closed_before_it_was_opened(make, tmp_path):
    """Nothing is made; nor is it opened any more."""
    journal = make()
    await journal.aclose()
    with pytest.raises(JournalError, match=r"^the journal is closed$") as caught:
        await journal.open()
    assert not caught.value.may_have_charged
    assert list(tmp_path.iterdir()) == []


async def test_closed_while_it_is_being_opened(make, tmp_path):
    """It is opened to the end, and then closed; whoever waited gets the error or his answer."""
    journal = make()
    opening = asyncio.ensure_future(journal.open())
    await asyncio.sleep(0)
    await journal.aclose()
    await asyncio.gather(opening, return_exceptions=True)
    assert list(tmp_path.glob("j.owner-*")) == []


async def test_an_opening_that_a_framework_cancels_is_begun_again(make, tmp_path):
    """One that ends every task it finds cancels no caller but those; the thread and its place are given up."""
    journal, before, others = make(exclusive=True), threading.active_count(), asyncio.all_tasks()
    opening = asyncio.ensure_future(journal.open())
    await asyncio.sleep(0)
    found = asyncio.all_tasks() - others - {opening}
    for one in found:
        one.cancel()
    await opening
    assert found
    assert threading.active_count() == before + 1
    await journal.intend(intent("k"))
    await journal.aclose()
    assert threading.active_count() == before
    assert list(tmp_path.glob("j.owner-*")) == []


async def test_an_opening_that_is_cancelled_leaves_nothing_behind(make, tmp_path):
    """Closed after that, nothing is held."""
    journal, before, others = make(), threading.active_count(), asyncio.all_tasks()
    opening = asyncio.ensure_future(journal.open())
    await asyncio.sleep(0)
    for one in asyncio.all_tasks() - others:
        one.cancel()
    await asyncio.wait([opening])
    await journal.aclose()
    assert opening.cancelled()
    assert threading.active_count() == before
    assert list(tmp_path.glob("j.owner-*")) == []


async def test_whoever_goes_while_it_is_opened_spoils_it_for_nobody(make):
    """The opening is everybody's."""
    journal = make()
    first, second = (asyncio.ensure_future(journal.intend(intent(key))) for key in "ab")
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None


async def test_what_cannot_be_opened_can_be_tried_again(make, tmp_path, monkeypatch):
    """The lock is free again meanwhile, and nothing is left."""
    monkeypatch.setattr("omni_async.journal.schema.MIGRATIONS", ())
    Book(tmp_path / "j").close()
    monkeypatch.undo()
    (tmp_path / "j").write_bytes(b"no database at all, but somebody's notes\n" * 50)
    journal = make()
    for _ in range(2):
        with pytest.raises(JournalError, match="damaged"):
            await journal.open()
    assert list(tmp_path.glob("j.owner-*")) == []
    (tmp_path / "j").unlink()
    await journal.intend(intent())


async def test_a_folder_that_is_not_there(tmp_path):
    """Said as such, and not as a lock that cannot be had."""
    journal = SqliteJournal(tmp_path / "no" / "j", gateway="jimmy")
    with pytest.raises(JournalError, match="its folder does not exist") as caught:
        await journal.open()
    assert not caught.value.may_have_charged
    await journal.aclose()


async def test_row_36_a_batchs_journal_is_its_own(make):
    """Row 36: everybody else is refused as long as it is open."""
    batch = make(exclusive=True)
    await batch.open()
    for exclusive in (False, True):
        with pytest.raises(JournalError, match="is in use") as caught:
            await make(exclusive=exclusive).open()
        assert caught.value.kind == "locked"
    await batch.aclose()
    await make().open()


# --- the three calls ---------------------------------------------------------------------------------------------


async def test_a_create_from_intent_to_end(make, tmp_path):
    """Intended, answered, finished, told."""
    journal = make(notify=True)
    assert await journal.intend(intent("k", metadata={"n": 1})) is None
    assert states(tmp_path / "j") == {"k": "SUBMITTING"}
    assert rows(tmp_path / "j")["k"]["notify"]
    assert await journal.answered(intent("k"), accepted("t-1")) == "SUBMITTED"
    known = await journal.known("k", "print")
    assert (known.task_id, known.metadata) == ("t-1", {"n": 1})
    assert (await journal.intend(intent("k"))).task_id == "t-1"
    assert await journal.finished(task("t-1", TaskStatus.RUNNING)) is None
    assert states(tmp_path / "j") == {"k": "SUBMITTED"}
    entry = await journal.finished(task("t-1"))
    assert (entry.key, entry.state, journal.tells(entry)) == ("k", State.SUCCEEDED, True)
    await journal.told("k")
    assert not rows(tmp_path / "j")["k"]["notify"]
    assert await journal.finished(task("t-none")) is None


async def test_who_tells(make):
    """Who was asked to, of his own rows, when they are over, and once."""
    tells, silent = make(notify=True), make()
    await silent.intend(intent("l"))
    await silent.answered(intent("l"), accepted("t-2"))
    assert not (await silent.finished(task("t-2"))).notify
    await silent.intend(intent("m"))
    await silent.answered(intent("m"), accepted("t-3"))
    assert (await tells.finished(task("t-3"))).notify
    await tells.intend(intent("k"))
    await tells.answered(intent("k"), accepted("t-1"))
    entry = await tells.run(lambda ledger: ledger.entry("k"))
    assert not tells.tells(entry)
    entry = await tells.finished(task("t-1"))
    assert tells.tells(entry)
    assert not silent.tells(entry)
    other = make(notify=True)
    await other.open()
    assert not other.tells(entry)
    await tells.told("k")
    assert not tells.tells(await tells.run(lambda ledger: ledger.entry("k")))


async def test_what_is_to_be_told_comes_to_one_who_tells(make, tmp_path):
    """A client without `on_finished` follows it, and then gives it away; it keeps nothing from being told."""
    dead = make(notify=True)
    for key in ("runs", "over"):
        await dead.intend(intent(key))
        await dead.answered(intent(key), accepted(f"t-{key}"))
    await dead.finished(task("t-over"))
    await dead.aclose()
    silent = make()
    assert [entry.key for entry in await silent.claim()] == ["runs"]
    assert not silent.tells(await silent.finished(task("t-runs")))
    assert await silent.claim() == []
    teller = make(notify=True)
    assert {entry.key for entry in await teller.claim()} == {"runs", "over"}
    assert all(teller.tells(entry) for entry in await teller.claim()) is True
    assert {row["owner"] for row in rows(tmp_path / "j").values()} == {teller.owner}


async def test_where_it_is_does_not_change_with_the_working_folder(tmp_path, monkeypatch, disk):
    """A relative path is what it was when the client was made, also for what cannot be written."""
    monkeypatch.chdir(tmp_path)
    journal = SqliteJournal("j", gateway="jimmy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    await journal.intend(intent("k"))
    disk.fail("full")
    with pytest.raises(JournalError):
        await journal.answered(intent("k"), accepted("t-1"))
    disk.mend()
    assert [entry.task_id for entry in await journal.claim()] == ["t-1"]
    await journal.aclose()
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_room_is_everybodys(make):
    """Tasks of all who share the file count."""
    one, two = make(room=2), make(room=2)
    await one.intend(intent("a"))
    await two.intend(intent("b"))
    with pytest.raises(NotNow):
        await one.intend(intent("c"))


async def test_the_uncertain_of_ones_own_gateway(make):
    """Others are others' to settle."""
    journal = make()
    await journal.intend(intent("c"))
    for key, gateway in (("a", "jimmy"), ("b", "toapis")):
        await journal.intend(intent(key, gateway=gateway))
        await journal.answered(intent(key), lost())
    assert [entry.key for entry in await journal.uncertain()] == ["a"]


# --- taking over -------------------------------------------------------------------------------------------------


async def test_rows_of_the_living_stay_theirs(make, tmp_path):
    """Only what a closed or killed one left is taken, once, and its file is discarded."""
    one, two, three = make(), make(), make()
    for key, journal in (("a", one), ("b", two)):
        await journal.intend(intent(key))
        await journal.answered(intent(key), accepted(f"t-{key}"))
    assert await three.claim() == []
    await two.aclose()
    assert [entry.key for entry in await three.claim()] == ["b"]
    assert await three.claim() == await one.claim() == []
    assert rows(tmp_path / "j")["b"]["owner"] == three.owner


async def test_what_a_killed_process_left(make, tmp_path):
    """Its lock is free, its rows are taken, what it was sending is uncertain, and nothing of it lies about."""
    program = """
        import asyncio, sys
        from books import accepted, intent
        from omni_async.journal import SqliteJournal

        async def main():
            journal = SqliteJournal(sys.argv[1], gateway="jimmy")
            await journal.intend(intent("sending"))
            await journal.intend(intent("sent"))
            await journal.answered(intent("sent"), accepted("t-sent"))
            elsewhere = SqliteJournal(sys.argv[1], gateway="toapis")
            await elsewhere.intend(intent("elsewhere", gateway="toapis"))
            print(journal.owner, elsewhere.owner, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    with child(program, tmp_path / "j") as other:
        journal = make()
        await journal.open()
        mine, theirs = journal.owner, other.first.split()
        with pytest.raises(NotNow):
            await journal.intend(intent("sending"))
        assert await journal.claim() == []
        kill(other)
    assert {entry.key: entry.state for entry in await journal.claim()} == {"sending": "UNCERTAIN", "sent": "SUBMITTED"}
    with pytest.raises(SubmissionUncertainError):
        await journal.intend(intent("sending"))
    files = {path.name.rpartition("-")[2] for path in tmp_path.glob("j.owner-*")}
    assert files == {mine, theirs[1]}  # the other gateway's rows still name theirs
    assert sound(tmp_path / "j")


async def test_two_that_look_at_once_share_no_row(make):
    """Of many claims at the same moment just one gets it."""
    dead = make()
    for n in range(30):
        await dead.intend(intent(f"k{n}"))
        await dead.answered(intent(f"k{n}"), accepted(f"t-{n}"))
    living = [make() for _ in range(4)]
    for one in living:
        await one.open()
    await dead.aclose()
    taken = await asyncio.gather(*(one.claim() for one in living))
    keys = [entry.key for some in taken for entry in some]
    assert sorted(keys) == sorted(f"k{n}" for n in range(30))


# --- what cannot be written --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "failed", "locked"])
async def test_row_35_an_answer_is_written_as_soon_as_it_can_be(make, tmp_path, disk, kind):
    """Row 35: tried again every half second, for half a minute."""
    journal = make()
    await journal.intend(intent("k"))
    disk.fail(kind, times=20)
    began = now()
    assert await journal.answered(intent("k"), accepted("t-1")) == "SUBMITTED"
    assert 10 <= now() - began < 11
    assert states(tmp_path / "j") == {"k": "SUBMITTED"}
    assert not fallback.fallback_of(tmp_path / "j").exists()


LATE = [
    (accepted("t-1"), True, "SUBMITTED", "t-1"),
    (lost("t-9"), True, "UNCERTAIN", None),
    (Answer(state="REJECTED"), False, "REJECTED", None),
    (Answer(state="PLANNED"), False, "PLANNED", None),
]


@pytest.mark.parametrize(("answer", "charged", "state", "task_id"), LATE, ids=lambda value: getattr(value, "state", ""))
async def test_row_35_what_cannot_be_written_is_noted_beside_it(make, tmp_path, disk, answer, charged, state, task_id):
    """Row 35: after half a minute, with the place in the error; the next look enters it, here or elsewhere."""
    journal, other = make(), make()
    await journal.intend(intent("k"))
    await other.open()
    disk.fail("full")
    began = now()
    with pytest.raises(JournalError, match="no space left") as caught:
        await journal.answered(intent("k"), answer)
    assert 30 <= now() - began < 31
    assert caught.value.may_have_charged is charged
    path = fallback.fallback_of(tmp_path / "j")
    assert f"; what came back for the create is noted in {path}" in str(caught.value)
    assert json.loads(path.read_text())["state"] == answer.state
    disk.mend()
    taken = await other.claim()
    assert states(tmp_path / "j") == {"k": state}
    assert rows(tmp_path / "j")["k"]["task_id"] == task_id
    assert [entry.key for entry in taken] == (["k"] if state == "SUBMITTED" else [])


async def test_row_35_whoever_cancels_every_task_has_it_noted_at_once(make, tmp_path, disk):
    """Row 35: tried once more, and then it is in the file beside the journal."""
    journal = make()
    await journal.intend(intent("k"))
    disk.fail("full")
    began = now()
    answering = asyncio.ensure_future(journal.answered(intent("k"), accepted("t-1")))
    await asyncio.sleep(5)
    answering.cancel()
    with pytest.raises(JournalError, match="is noted in"):
        await answering
    assert now() - began < 6
    disk.mend()
    await journal.claim()
    assert rows(tmp_path / "j")["k"]["task_id"] == "t-1"


async def test_an_answer_is_written_though_its_task_is_cancelled_meanwhile(make, tmp_path):
    """The thread writes it all the same; whose it is is told, and an intent that was written is known as such."""
    journal = make()
    await journal.open()
    for work, came in [
        (journal.intend(intent("k")), None),
        (journal.answered(intent("k"), accepted("t-1")), "SUBMITTED"),
    ]:
        writing = asyncio.ensure_future(work)
        await asyncio.sleep(0)
        writing.cancel()
        assert await writing == came
    assert rows(tmp_path / "j")["k"]["task_id"] == "t-1"


async def test_row_35_the_next_opening_enters_it(make, tmp_path, disk):
    """Row 35: also by another process, before it looks at whose rows are whose."""
    journal = make()
    await journal.intend(intent("k"))
    disk.fail("failed")
    with pytest.raises(JournalError, match="disk I/O error"):
        await journal.answered(intent("k"), accepted("t-1"))
    disk.mend()
    await journal.aclose()
    other = make()
    await other.open()
    assert states(tmp_path / "j") == {"k": "SUBMITTED"}
    assert [entry.key for entry in await other.claim()] == ["k"]


async def test_row_35_a_disk_that_takes_nothing_anywhere(make, disk, monkeypatch):
    """Row 35: then the error alone tells."""
    journal = make()
    await journal.intend(intent("k"))
    disk.fail("full")
    monkeypatch.setattr(fallback, "append", lambda *_: None)
    with pytest.raises(JournalError) as caught:
        await journal.answered(intent("k"), accepted("t-1"))
    assert "noted" not in str(caught.value)
    assert caught.value.may_have_charged
    disk.mend()


async def test_what_can_never_be_written_is_not_tried_for_long(make, tmp_path):
    """The row has moved on: the answer is noted at once."""
    journal = make()
    await journal.intend(intent("k"))
    await journal.answered(intent("k"), accepted("t-1"))
    began = now()
    with pytest.raises(JournalError, match="cannot become") as caught:
        await journal.answered(intent("k"), accepted("t-2"))
    assert now() - began < 1
    assert "is noted in" in str(caught.value)
    assert caught.value.kind == "conflict"
    await journal.claim()
    assert rows(tmp_path / "j")["k"]["task_id"] == "t-1"


@pytest.mark.parametrize("times", [3, None])
async def test_a_create_that_was_never_sent_is_settled_as_insistently(make, tmp_path, disk, times):
    """Else its id would wait for ever for a create that nobody sends."""
    journal = make()
    await journal.intend(intent("k"))
    disk.fail("full", times=times)
    if times:
        await journal.settle(intent("k"), "PLANNED", "never sent")
    else:
        with pytest.raises(JournalError) as caught:
            await journal.settle(intent("k"), "PLANNED", "never sent")
        assert not caught.value.may_have_charged
        disk.mend()
        await journal.claim()
    assert states(tmp_path / "j") == {"k": "PLANNED"}
    assert await journal.intend(intent("k")) is None


async def test_a_task_of_another_row_is_a_conflict_and_nothing_to_note(make, tmp_path):
    """What was looked up belongs to another create."""
    journal = make()
    await journal.intend(intent("a"))
    await journal.answered(intent("a"), accepted("t-1"))
    await journal.intend(intent("b"))
    await journal.answered(intent("b"), lost())
    with pytest.raises(JournalError, match="belongs to another row") as caught:
        await journal.settle(intent("b"), "SUBMITTED", "found", task_id="t-1")
    assert caught.value.kind == "conflict"
    assert not fallback.fallback_of(tmp_path / "j").exists()
    await journal.settle(intent("b"), "SUBMITTED", "found", task_id="t-2")
    row = rows(tmp_path / "j")["b"]
    assert (row["task_id"], row["detail"]) == ("t-2", "found")


async def test_row_35_what_was_looked_up_is_noted_too(make, tmp_path, disk):
    """Row 35: with its task, which the next look enters."""
    journal = make()
    await journal.intend(intent("k"))
    await journal.answered(intent("k"), lost())
    disk.fail("full")
    with pytest.raises(JournalError) as caught:
        await journal.settle(intent("k"), "SUBMITTED", "found", task_id="t-1")
    assert caught.value.may_have_charged
    disk.mend()
    assert [entry.task_id for entry in await journal.claim()] == ["t-1"]


def test_what_it_is_unless_told(tmp_path):
    """Shared, without a limit, telling nobody, and following what others left."""
    journal = SqliteJournal(str(tmp_path / "j"), gateway="jimmy")
    assert journal.path == tmp_path / "j"
    assert (journal.exclusive, journal.room, journal.notify, journal.follow_others) == (False, None, False, True)
    assert not SqliteJournal(tmp_path / "j", gateway="jimmy", follow_others=False).follow_others


@pytest.mark.parametrize("word", [{"task_id": "t"}, {"not_charged": True}, {"pay_again": True}])
def test_settled_without_a_loop(tmp_path, word):
    """As the command line does it."""
    book = Book(tmp_path / "j")
    book.uncertain("k")
    book.ledger.begin()
    entry = store.resolve(book.ledger, "k", **word)
    book.ledger.commit()
    assert entry.state == ("SUBMITTED" if word == {"task_id": "t"} else "PLANNED")
    assert book.entry("k").owner == ("" if word == {"task_id": "t"} else "me")
    book.close()


async def test_settling_needs_no_words(make, tmp_path):
    """Then none are kept."""
    journal = make()
    await journal.intend(intent("k"))
    await journal.settle(intent("k"), "PLANNED")
    assert rows(tmp_path / "j")["k"]["detail"] is None


async def test_row_34_an_intent_that_cannot_be_written_is_not_insisted_on(make, tmp_path, disk):
    """Row 34: nothing was sent, so the caller is told at once."""
    journal = make()
    await journal.open()
    disk.fail("full")
    began = now()
    with pytest.raises(JournalError, match=f"no space left for {tmp_path / 'j'}: free some") as caught:
        await journal.intend(intent("k"))
    assert caught.value.kind == "full"
    assert now() == began
    disk.mend()
    assert states(tmp_path / "j") == {}


async def test_a_disk_that_cannot_take_what_was_noted_keeps_the_journal_shut(make, tmp_path, disk):
    """Rather than leave it out; the database is closed, the lock is free, and the next try enters it."""
    journal = make()
    await journal.intend(intent("k"))
    fallback.append(tmp_path / "j", intent("k"), accepted("t-1"))
    await journal.aclose()
    disk.fail("full", times=1)
    again = make()
    with pytest.raises(JournalError, match=f"no space left for {tmp_path / 'j'}") as caught:
        await again.open()
    assert caught.value.kind == "full"
    assert list(tmp_path.glob("j.owner-*")) == []
    assert not (tmp_path / "j-wal").exists()
    await again.open()
    assert states(tmp_path / "j") == {"k": "SUBMITTED"}


# --- a person's word ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state", "detail"),
    [
        ({"task_id": "t-1"}, "SUBMITTED", "settled by a person: it is this task"),
        ({"not_charged": True}, "PLANNED", "settled by a person: it was not charged"),
        ({"pay_again": True}, "PLANNED", "settled by a person: pay again"),
    ],
)
async def test_settled_three_ways_and_each_is_recorded(make, word, state, detail):
    """With who said so; an adopted task is anybody's to follow."""
    journal = make()
    await journal.intend(intent("k"))
    await journal.answered(intent("k"), lost())
    entry = await journal.resolve("k", **word)
    assert (entry.state, entry.detail, entry.task_id) == (state, detail, word.get("task_id"))
    told = await journal.run(lambda ledger: ledger.records("k")[-1])
    assert (told.what, told.state, told.detail, told.task_id) == ("settled", state, detail, word.get("task_id"))
    assert [one.key for one in await journal.claim()] == (["k"] if state == "SUBMITTED" else [])


WRONG = [{}, {"not_charged": True, "pay_again": True}, {"task_id": "t", "pay_again": True}]


@pytest.mark.parametrize("word", [*WRONG, {"task_id": ""}, {"task_id": ".."}, {"task_id": 7}], ids=repr)
async def test_not_exactly_one_answer_settles_nothing(make, word, tmp_path):
    """Nor does what is not a task id."""
    journal = make()
    await journal.intend(intent("k"))
    await journal.answered(intent("k"), lost())
    fault = Fault("settle", "say one of task_id, not_charged and pay_again")
    with pytest.raises(InvalidRequestError) as caught:
        await journal.resolve("k", **word)
    assert caught.value.faults == ((fault,) if word in WRONG else (Fault("task_id", "is not a task id"),))
    assert caught.value.may_have_charged
    assert states(tmp_path / "j") == {"k": "UNCERTAIN"}


async def test_what_a_job_gives_back_or_raises(make):
    """`run` gives what the work gave, and raises what it raised."""
    journal = make()
    assert await journal.run(lambda ledger: ledger.running()) == 0

    def fail(_):
        raise OmniError("no")

    with pytest.raises(OmniError, match="no"):
        await journal.run(fail)


async def test_nothing_is_logged_by_it(make, caplog):
    """Whoever calls it tells."""
    caplog.set_level(logging.DEBUG, logger="omni_async")
    journal = make()
    await journal.intend(intent("k"))
    await journal.answered(intent("k"), accepted("t-1"))
    assert [record for record in caplog.records if record.name == "omni_async"] == []
