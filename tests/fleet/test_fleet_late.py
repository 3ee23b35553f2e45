"""Creates that the database has held up while they were written down: they lose their places in time."""

import needed  # noqa: F401 - skips

from omni_async.fleet.budget import Budget, FleetLimiter
from omni_async.lifetime import loop_time
from omni_async.limiter import Kind
from omni_async.policies import Limits
from tests.warp import WarpLoop

LOOP = WarpLoop


class Dealt(Budget):
    """A budget whose places are given beforehand, in seconds from now."""

    def __init__(self, *seconds, even=True):
        super().__init__("jimmy", None)
        now = loop_time()
        self.places, self._even = [now + later for later in seconds], even

    @property
    def even(self):
        """Whether it has a rate."""
        return self._even

    async def place(self, _kind):
        """The next of them."""
        return self.places.pop(0)


async def test_a_create_whose_writing_took_too_long_takes_another_place():
    """Else all that the database has held up would go together."""
    budget = Dealt(-1.0, 0.01)
    limiter = FleetLimiter(budget, Limits())
    await limiter.acquire(Kind.CREATE)
    assert await limiter.on_time()
    assert not budget.places


async def test_a_create_in_time_keeps_its_place():
    """One place a create."""
    budget = Dealt(0.01, 99.0)
    limiter = FleetLimiter(budget, Limits())
    await limiter.acquire(Kind.CREATE)
    assert await limiter.on_time()
    assert len(budget.places) == 1


async def test_a_create_is_not_sent_into_a_pause_that_came_while_it_was_written():
    """It is given back instead."""
    budget = Dealt(0.0)
    limiter = FleetLimiter(budget, Limits())
    await limiter.acquire(Kind.CREATE)
    budget._paused[Kind.CREATE] = loop_time() + 60
    assert not await limiter.on_time()


async def test_what_was_not_sent_leaves_its_place_to_nobody():
    """The next create has one of its own."""
    budget = Dealt(0.0, 0.2)
    limiter = FleetLimiter(budget, Limits())
    limiter.unused(await limiter.acquire(Kind.CREATE))
    assert not limiter._places
    await limiter.acquire(Kind.CREATE)
    assert await limiter.on_time()


async def test_without_a_rate_nobody_waits():
    """Then each worker finds its own."""
    budget = Dealt(-1.0, even=False)
    limiter = FleetLimiter(budget, Limits())
    await limiter.acquire(Kind.CREATE)
    assert await limiter.on_time()
