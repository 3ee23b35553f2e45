"""What `submit` sees of a journal: whatever it raises is ours, and what was paid and not written is told loudly."""

import asyncio
import logging
import math
from datetime import UTC, datetime

import pytest
from books import accepted, intent, lost, refused

from omni_async.errors import InvalidRequestError, JournalError, SubmissionUncertainError
from omni_async.journal import Answer, GuardedJournal, NoJournal, NotNow
from omni_async.journal.seam import write_metadata
from omni_async.models import VideoTask
from tests.fault_server import RecordingJournal, scene
from tests.warp import WarpLoop

LOOP = WarpLoop


class Odd(RecordingJournal):
    """Remembers the intents, and gives what it is told to."""

    def __init__(self):
        super().__init__()
        self.intents = []

    async def answered(self, intent, answer):
        """Another state than that of the answer."""
        self.intents.append(intent)
        await super().answered(intent, answer)
        return "UNCERTAIN"

    async def settle(self, intent, state, detail="", *, task_id=None):
        """Noted."""
        self.intents.append(intent)
        await super().settle(intent, state, detail, task_id=task_id)


async def test_what_it_says_is_passed_on():
    """Arguments and answers."""
    journal = Odd()
    journal.known = VideoTask(task_id="t")
    book = GuardedJournal(journal)
    assert await book.intend(intent("k")) is journal.known
    assert await book.answered(intent("k"), accepted("t-1", detail="fine")) == "UNCERTAIN"
    assert await book.settle(intent("k"), "SUBMITTED", "found", task_id="t-2") is None
    assert await book.settle(intent("k"), "PLANNED") is None
    assert journal.calls == [
        ("intend", "k"),
        ("answered", "t-1", "SUBMITTED", "fine"),
        ("settle", "t-2", "SUBMITTED", "found"),
        ("settle", "", "PLANNED", ""),
    ]
    assert journal.intents == [intent("k")] * 3


CALLS = {
    "intend": (lambda book: book.intend(intent("k")), None, False),
    "accepted": (lambda book: book.answered(intent("k"), accepted("t-1")), "t-1", True),
    "lost": (lambda book: book.answered(intent("k"), lost()), None, True),
    "candidate": (lambda book: book.answered(intent("k"), lost("t-9")), "t-9", True),
    "refused": (lambda book: book.answered(intent("k"), refused()), None, False),
    "for now": (lambda book: book.answered(intent("k"), Answer(state="PLANNED")), None, False),
    "found": (lambda book: book.settle(intent("k"), "SUBMITTED", "found", task_id="t-2"), "t-2", True),
    "not sent": (lambda book: book.settle(intent("k"), "PLANNED", "not sent"), None, False),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["full", "failed", "locked", "foreign", "other"])
async def test_what_it_raises_is_ours_and_tells_what_may_have_been_paid(caplog, call, kind):
    """With the task id; loudly, where money may have gone and nobody has written it down."""
    wanted, task_id, paid = CALLS[call]
    journal = RecordingJournal()
    error = OSError(5, "private") if kind == "foreign" else JournalError("said", kind=kind)
    journal.fail = dict.fromkeys(("intend", "answered", "settle"), error)
    with pytest.raises(JournalError) as caught:
        await wanted(GuardedJournal(journal))
    told = caught.value
    assert told.task_id == task_id
    if kind == "foreign":
        then = "before anything was sent" if call == "intend" else "after the create was sent: note its task id"
        assert told.args[0] == f"the journal failed {then} (OSError)"
    else:
        assert told is error
    if kind != "other":
        assert told.may_have_charged is paid
    loud = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
    line = f"the create of row 'k' was sent and could not be written down; its task id is {task_id or 'not known'}"
    assert loud == ([line] if paid else [])
    assert "private" not in f"{told}{caplog.text}"


@pytest.mark.parametrize("call", CALLS)
async def test_a_journal_of_ones_own_that_is_cut_short_is_told_of_where_it_may_have_cost_money(caplog, call):
    """By whoever cancels every task: what was paid, and may not be written down, does not end as if it had not been."""
    wanted, task_id, paid = CALLS[call]
    journal = RecordingJournal()
    journal.fail = dict.fromkeys(("intend", "answered", "settle"), asyncio.CancelledError())
    with pytest.raises(JournalError if paid else asyncio.CancelledError) as caught:
        await wanted(GuardedJournal(journal))
    if paid:
        assert caught.value.task_id == task_id
        assert caught.value.may_have_charged
        assert "its task id is" in caplog.text


async def test_what_is_no_failure_is_passed_on_as_it_is(caplog):
    """Somebody else is at it; or it is uncertain from before."""
    journal = RecordingJournal()
    journal.fail["intend"] = hold = NotNow("wait", 2.0)
    with pytest.raises(NotNow) as caught:
        await GuardedJournal(journal).intend(intent())
    assert caught.value is hold
    assert (hold.why, hold.seconds, str(hold)) == ("wait", 2.0, "wait")
    journal.fail["intend"] = SubmissionUncertainError("lost")
    with pytest.raises(SubmissionUncertainError) as told:
        await GuardedJournal(journal).intend(intent())
    assert told.value.may_have_charged
    assert not caplog.records


@pytest.mark.parametrize("charged", [True, False])
async def test_what_a_conflict_tells_of_money_is_passed_on(charged):
    """The id is known with other inputs: what was paid for it is its row's affair, though nothing was sent now."""
    journal = RecordingJournal()
    journal.fail["intend"] = JournalError("known with other inputs", kind="conflict", may_have_charged=charged)
    with pytest.raises(JournalError) as caught:
        await GuardedJournal(journal).intend(intent())
    assert caught.value.may_have_charged is charged


async def test_nothing_is_kept_by_no_journal():
    """Every call is answered."""
    book = GuardedJournal(NoJournal())
    assert await book.intend(intent()) is None
    assert await book.answered(intent(), accepted()) == "SUBMITTED"
    assert await book.settle(intent(), "PLANNED") is None


RING: dict[str, object] = {}
RING["me"] = RING


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, "datetime is not plain data"),
        ({"chat": {"who": object()}}, "object is not plain data"),
        ({"some": {1}}, "set is not plain data"),
        ({1: 2}, "a key is not text"),
        ({"users": [{"a": ({7: "x"},)}]}, "a key is not text"),
        ({"pair": {(1, 2): 3}}, "keys must be"),
        ({"rate": math.nan}, "not JSON compliant"),
        (RING, "Circular reference"),
    ],
)
def test_data_that_would_come_back_changed_is_refused(data, why):
    """Before anything is sent, with what to do about it."""
    with pytest.raises(InvalidRequestError, match="nothing was sent") as caught:
        write_metadata(data)
    (fault,) = caught.value.faults
    assert fault.field == "metadata"
    assert "the journal keeps plain JSON data: make texts of the rest" in str(fault)
    assert why in str(fault)
    assert not caught.value.may_have_charged


async def test_data_that_no_journal_could_keep_is_refused_where_one_is_kept_and_carried_where_none_is(tmp_path):
    """Nothing is paid for it; in memory it comes back as it is."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    async with scene(running=None, journal=tmp_path / "j") as here:
        with pytest.raises(InvalidRequestError, match="plain JSON data"):
            await here.client.submit("a cat", custom_id="mine", metadata={"at": moment})
        assert not here.server.posts
        assert here.client.limiter.load().in_flight == 0
    async with scene(running=None, journal=None) as here:
        assert (await here.client.submit("a cat", metadata={"at": moment})).metadata == {"at": moment}


def test_what_is_private_is_in_no_repr():
    """Inputs, metadata and bodies."""
    shown = repr([intent(inputs="CANARY", metadata={"a": "CANARY"}), accepted(body=b"CANARY")])
    assert "CANARY" not in shown
    assert "task-k" in shown
