"""How long tasks take, and that their state is a function of the time."""

import statistics

import pytest

from omni_async.emulator import Scenario
from omni_async.emulator.clock import Clock
from omni_async.emulator.tasks import Order, TaskBook

ORDER = Order(gateway="jimmy", model="m", prompt="p", seconds=6, resolution="720p", ratio="16:9")


def times(count=1, seed=0, **fields):
    """So many run times drawn from a new book."""
    book, scenario = TaskBook(seed, Clock()), Scenario(**fields)
    drafts = [book.draft(ORDER, 10.0, scenario) for _ in range(count)]
    return [draft.ends - draft.created for draft in drafts]


def test_exact_times():
    """With no spread each task takes the median, scaled."""
    assert times(3, task_seconds=4, task_sigma=0, time_scale=0.5) == [2.0, 2.0, 2.0]


def test_drawn_times():
    """Lognormal around the median, the same for the same seed."""
    drawn = times(2000, task_seconds=4, task_sigma=0.35)
    assert statistics.median(drawn) == pytest.approx(4, rel=0.05)
    assert drawn == times(2000, task_seconds=4, task_sigma=0.35)
    assert drawn[:5] != times(5, seed=1, task_seconds=4, task_sigma=0.35)


def test_queueing_takes_at_most_half():
    """A short task is not queued all its life."""
    book = TaskBook(0, Clock())
    draft = book.draft(ORDER, 0.0, Scenario(task_seconds=1, task_sigma=0, queue_seconds=9))
    assert (draft.starts, draft.ends) == (0.5, 1.0)


def test_states_follow_the_time():
    """Nobody has to look for a task to go on."""
    book, scenario = TaskBook(0, Clock()), Scenario(task_seconds=10, task_sigma=0, queue_seconds=2)
    draft = book.draft(ORDER, 0.0, scenario)
    seen = [
        (book.look(draft, at, scenario).status, book.look(draft, at, scenario).progress) for at in (0, 2, 6, 9.99, 10)
    ]
    assert seen == [("queued", 0), ("running", 1), ("running", 50), ("running", 99), ("completed", 100)]


def test_ids_differ_between_books_of_one_seed():
    """A journal that outlives the emulator meets no id twice."""
    drafts = {TaskBook(0, Clock()).draft(ORDER, 0.0, Scenario()).task_id for _ in range(50)}
    assert len(drafts) == 50


async def test_the_clock():
    """Zero before the start, then the loop's time, with wall time beside it."""
    clock = Clock()
    assert clock.now() == 0.0
    clock.start()
    assert 0 <= clock.now() < 1
    assert clock.wall(5.0) - clock.wall(0.0) == 5.0
