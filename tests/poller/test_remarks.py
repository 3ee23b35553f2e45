"""What the log is told of looks that go wrong."""

from omni_async import DecodeError, Jimmy
from omni_async.poller.remarks import MOST, MOST_WORDS, REPEAT_AFTER, Remarks


def test_the_same_trouble_is_told_again_after_a_while(caplog):
    """One outage is one line, the next one another."""
    remarks = Remarks()
    for now in (0.0, 1.0, REPEAT_AFTER - 1.0, REPEAT_AFTER, REPEAT_AFTER + 1.0):
        remarks.unseen("task_1", DecodeError("odd"), now)
    assert len(caplog.records) == 2


def test_reasons_that_are_worded_anew_each_time_are_bounded(caplog):
    """A gateway may put a number of its own into each answer."""
    remarks = Remarks()
    for number in range(1000):
        remarks.unseen(f"task_{number}", DecodeError(f"request {number}"), 0.0)
    assert len(caplog.records) == MOST


def test_unknown_words_are_told_once_each_and_bounded(caplog):
    """Known ones are not told."""
    remarks = Remarks()
    for number in range(2 * MOST_WORDS):
        for _ in range(2):
            remarks.word(f"stage {number}", Jimmy())
            remarks.word("running", Jimmy())
    assert len(caplog.records) == MOST_WORDS
