"""What was learned is kept in the journal: now and then, at the end, and never at the cost of anything else."""

import asyncio
import logging

import pytest

from omni_async.following import Follower
from omni_async.journal import SqliteJournal
from omni_async.learned import Memory
from tests.journalled import booked, rows
from tests.warp import WarpLoop, now

LOOP = WarpLoop


class Notebook:
    """In the journal's place: remembers when it was told what."""

    def __init__(self, text=None, *, takes=0.0):
        self.text, self.takes, self.written = text, takes, []

    async def recall(self):
        """After a while."""
        await asyncio.sleep(self.takes)
        return self.text

    async def remember(self, text):
        """After a while."""
        await asyncio.sleep(self.takes)
        self.text = text
        self.written.append((now(), text))

    @property
    def times(self):
        """When it was written."""
        return [time for time, _ in self.written]


class Learner:
    """In the schedule's place: counts what it is told."""

    def __init__(self):
        self.count, self.read = 0, []

    def to_json(self):
        """As text."""
        return str(self.count)

    def load(self, text):
        """From text."""
        self.read.append(text)
        self.count = int(text)


def started(notebook, learner):
    """A memory at work."""
    memory = Memory(notebook, learner)
    memory.start()
    return memory


def finish(memory, learner, count=1):
    """So many tasks end."""
    for _ in range(count):
        learner.count += 1
        memory.finished()


# --- reading -----------------------------------------------------------------------------------------------------


async def test_what_an_earlier_run_learned_is_learned_again():
    """Once, with the start; starting twice is starting once."""
    notebook, learner = Notebook("7"), Learner()
    memory = started(notebook, learner)
    memory.start()
    assert learner.read == []  # nobody waited
    await asyncio.sleep(1)
    assert learner.read == ["7"]
    await memory.aclose()
    assert notebook.written == []


async def test_with_nothing_written_nothing_is_learned():
    """The first run of all."""
    learner = Learner()
    memory = started(Notebook(), learner)
    await asyncio.sleep(1)
    assert learner.read == []
    await memory.aclose()


async def test_what_cannot_be_read_is_passed_over_and_written_anew(caplog):
    """A text of another time: told in the log, not to the user."""
    caplog.set_level(logging.INFO, "omni_async")
    notebook, learner = Notebook("no number"), Learner()
    memory = started(notebook, learner)
    await asyncio.sleep(1)
    assert "what an earlier run had learned cannot be used" in caplog.text
    finish(memory, learner)
    await memory.aclose()
    assert notebook.text == "1"


# --- writing -----------------------------------------------------------------------------------------------------


async def test_it_is_written_with_every_fifty_finished_tasks():
    """At once, and when it is closed."""
    notebook, learner = Notebook(), Learner()
    memory = started(notebook, learner)
    for _ in range(120):
        await asyncio.sleep(1)
        finish(memory, learner)
    await asyncio.sleep(1)
    assert [text for _, text in notebook.written] == ["50", "100"]
    await memory.aclose()
    assert notebook.text == "120"


async def test_it_is_not_written_more_often_than_every_ten_seconds():
    """However fast tasks end."""
    notebook, learner = Notebook(), Learner()
    memory = started(notebook, learner)
    for _ in range(3000):
        await asyncio.sleep(0.01)
        finish(memory, learner)
    first = notebook.times[0]
    assert notebook.times == [pytest.approx(first + 10 * turn) for turn in range(3)]
    await memory.aclose()
    assert notebook.text == "3000"


async def test_it_is_written_five_minutes_after_the_first_that_is_new():
    """Also if only one task ended, and not again while nothing ends."""
    notebook, learner = Notebook(), Learner()
    memory = started(notebook, learner)
    await asyncio.sleep(1000)
    began = now()
    finish(memory, learner)
    await asyncio.sleep(200)
    finish(memory, learner)
    await asyncio.sleep(3600)
    assert notebook.times == [pytest.approx(began + 300)]
    assert notebook.text == "2"
    await memory.aclose()
    assert len(notebook.written) == 1


async def test_an_idle_client_does_not_undo_what_a_busy_one_learned():
    """Who has seen no task end writes nothing, not even at its end; nor does one that was never started."""
    notebook, learner = Notebook("7"), Learner()
    idle = started(notebook, learner)
    await asyncio.sleep(1)
    notebook.text = "8"
    await asyncio.sleep(3600)
    await idle.aclose()
    await Memory(notebook, learner).aclose()
    assert (notebook.text, notebook.written) == ("8", [])


async def test_what_cannot_be_put_into_words_is_not_written(caplog):
    """And the next time is tried again."""
    caplog.set_level(logging.INFO, "omni_async")
    notebook, learner = Notebook(), Learner()

    def told():
        return str(1 // (learner.count - 1))

    learner.to_json = told
    memory = Memory(notebook, learner)
    memory.start()
    await asyncio.sleep(1)
    finish(memory, learner)
    await asyncio.sleep(400)
    assert "what was learned cannot be put into words" in caplog.text
    assert notebook.written == []
    finish(memory, learner)
    await memory.aclose()
    assert notebook.text == "1"


async def test_a_journal_that_hangs_holds_the_end_up_for_a_second():
    """And the start not at all; what was learned is lost, no more."""
    notebook, learner = Notebook(takes=3600.0), Learner()
    memory = started(notebook, learner)
    finish(memory, learner)
    await asyncio.sleep(1)
    began = now()
    await memory.aclose()
    assert now() - began == pytest.approx(1.0)
    assert notebook.written == []


# --- in the journal, by the follower -----------------------------------------------------------------------------


async def test_the_journal_keeps_what_was_learned_of_each_gateway(tmp_path):
    """Over its closing; the last that was written stands; another gateway's is another's."""
    for gateway, text in (("jimmy", "one"), ("jimmy", "two"), ("toapis", "three")):
        journal = SqliteJournal(tmp_path / "j", gateway=gateway)
        await journal.remember(text)
        await journal.aclose()
    for gateway, text in (("jimmy", "two"), ("toapis", "three"), ("gemini_omni", None)):
        journal = SqliteJournal(tmp_path / "j", gateway=gateway)
        assert await journal.recall() == text
        await journal.aclose()


async def test_a_journal_in_trouble_only_forgets(tmp_path, caplog, disk):
    """Nothing is raised to anybody; the log has it at INFO."""
    caplog.set_level(logging.INFO, "omni_async")
    journal = SqliteJournal(tmp_path / "j", gateway="jimmy")
    await journal.remember("kept")
    disk.fail("full")
    await journal.remember("lost")
    assert await journal.recall() is None
    disk.mend()
    assert await journal.recall() == "kept"
    assert {record.levelname for record in caplog.records} == {"INFO"}
    assert [record.getMessage() for record in caplog.records] == [
        f"what was learned of jimmy cannot be kept: no space left for {tmp_path / 'j'}: free some",
        f"what was learned of jimmy cannot be read: no space left for {tmp_path / 'j'}: free some",
    ]
    await journal.aclose()
    await journal.remember("too late")
    assert caplog.messages[-1] == "what was learned of jimmy cannot be kept: the journal is closed"


async def test_the_follower_learns_again_and_writes_at_its_end(tmp_path):
    """Beside the client's own: what a task's end taught is in the file when it is closed."""
    learner = Learner()
    async with booked(tmp_path) as here:
        await here.client.studio.journal.remember("7")
        client = here.client
        memory = Memory(client.studio.journal, learner)
        follower = Follower(client.studio.journal, client.studio.poller, client.studio.exchange, memory)
        follower.start()
        task = await here.submit()
        follower.follow(task)
        await asyncio.sleep(300)
        assert learner.read == ["7"]
        learner.count += 1
        assert await client.studio.journal.recall() == "7"
        await follower.aclose()
        assert await client.studio.journal.recall() == "8"
    assert rows(tmp_path)["mine"].state == "SUCCEEDED"
