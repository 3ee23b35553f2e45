"""When a video is gone for good: a refusal alone does not tell that."""

from datetime import UTC, datetime

import attrs
import pytest

from omni_async.journal.entries import Entry, write_task
from omni_async.journal.expiry import has_expired, task_to_fetch, told_end, url_dies
from omni_async.journal.states import State
from omni_async.models import TaskStatus, VideoTask

DAY = 86400.0
ROW = Entry(key="a", gateway="g", fingerprint="f", state=State.SUCCEEDED, task_id="t", sent_at=100.0, finished_at=1e3)


def with_task(**times):
    """The row, with the times that its gateway tells."""
    told = {name: datetime.fromtimestamp(at, UTC) for name, at in times.items()}
    row = attrs.evolve(ROW, task=write_task(VideoTask(task_id="t", status=TaskStatus.SUCCEEDED, **told)))
    return attrs.evolve(row, expires_at=times.get("expires_at"))


@pytest.mark.parametrize(("completed", "ended"), [(None, 1e3), (500.0, 500.0), (5000.0, 1e3), (50.0, 1e3)])
def test_without_the_gateways_word_a_url_lives_as_its_documents_say_from_the_end_of_its_task(completed, ended):
    """By the gateway's own time if that can be true, else from when it was seen."""
    row = with_task(completed_at=completed) if completed else ROW
    assert url_dies(row, 3 * DAY) == ended + 3 * DAY
    assert not has_expired(row, DAY, now=ended + DAY - 1)
    assert has_expired(row, DAY, now=ended + DAY)


def test_the_gateways_word_counts():
    """Whether it is earlier or later."""
    row = with_task(expires_at=1234.0)
    assert (told_end(row), url_dies(row, DAY)) == (1234.0, 1234.0)
    assert [has_expired(row, DAY, now=now) for now in (1233.0, 1234.0)] == [False, True]
    assert task_to_fetch(row) == row.video_task


def test_an_end_before_the_beginning_is_no_word():
    """A gateway that counts from now would have a video expire at once, and its URL left untried."""
    row = with_task(expires_at=99.0)
    assert (told_end(row), url_dies(row, DAY)) == (None, 1e3 + DAY)
    assert task_to_fetch(row).expires_at is None
    assert task_to_fetch(attrs.evolve(ROW, task_id=None)) is None
