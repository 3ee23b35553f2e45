"""The calls in flight, and the one timer for all of them."""

import asyncio

from omni_async.flights import Flights
from tests.warp import WarpLoop

LOOP = WarpLoop


async def call(flights, takes, *, may_take=None):
    """One call: what it came to, and after how many seconds."""
    loop = asyncio.get_running_loop()
    began, came = loop.time(), "answer"
    flight = flights.begin(None)
    try:
        if may_take is not None:
            flights.watch(flight, may_take)
        await asyncio.sleep(takes)
    except asyncio.CancelledError:
        came = "cancelled"
    finally:
        late = flights.end(flight)
    return ("late" if late else came), round(loop.time() - began, 6)


async def test_each_call_ends_at_its_own_time():
    """Calls of several lengths, begun at several times, share one timer, and none is ended early or late."""
    flights = Flights()

    async def begun(after, *arguments, **options):
        await asyncio.sleep(after)
        return await call(flights, *arguments, **options)

    came = await asyncio.gather(
        begun(0, 100, may_take=30),
        begun(1, 100, may_take=5),
        begun(2, 4, may_take=30),
        begun(3, 100, may_take=30),
        begun(3, 40),
    )
    assert came == [("late", 30), ("late", 5), ("answer", 4), ("late", 30), ("answer", 40)]
    assert not flights._flights


async def test_where_the_loop_stood_still_what_came_meanwhile_is_read_first():
    """A stopped process, a machine that slept: the timer finds the call overdue, its answer lies there unread."""
    flights, loop = Flights(), asyncio.get_running_loop()
    answered = asyncio.create_task(call(flights, 61, may_take=30))
    silent = asyncio.create_task(call(flights, 1000, may_take=30))
    await asyncio.sleep(1)
    loop._warp.now += 59
    assert await answered == ("answer", 61)
    assert (await silent)[0] == "late"
    assert not flights._flights


async def test_a_call_that_somebody_else_cancels_is_not_late():
    """Its canceller's word stands, also when the deadline comes at the same moment."""
    flights = Flights()
    task = asyncio.create_task(call(flights, 100, may_take=30))
    await asyncio.sleep(1)
    task.cancel()
    assert await task == ("cancelled", 1)
    both = asyncio.create_task(call(flights, 100, may_take=30))
    asyncio.get_running_loop().call_later(30, both.cancel)
    assert await both == ("cancelled", 30)


async def test_no_timer_is_left_behind():
    """An idle client wakes nobody; a closed one leaves nothing on the loop."""
    flights = Flights()
    await call(flights, 1, may_take=30)
    assert flights._timer is not None
    await asyncio.sleep(60)
    assert flights._timer is None
    await call(flights, 1, may_take=30)
    flights.clear()
    assert flights._timer is None


async def test_a_second_connection_is_a_repeat():
    """aiohttp repeats a free call by itself after a disconnect: it is asked for, each time."""
    answers = [True, False]
    flights = Flights()
    flight = flights.begin(lambda: answers.pop(0))
    assert flights.of(asyncio.current_task()) is flight
    assert not flight.connected
    assert flight.may_connect()
    assert flight.connected
    assert flight.may_connect()
    assert not flight.may_connect()
    assert answers == []
    assert not flights.end(flight)
    assert flights.of(asyncio.current_task()) is None
    assert flights.of(None) is None


async def test_a_paid_call_that_asks_for_a_connection_has_none_yet():
    """Until it is there nothing was sent: only then is that a proof."""
    flights = Flights()
    flight = flights.begin(None)
    assert flight.paid
    assert flight.may_connect()
    assert not flight.connected


async def test_a_closed_client_still_ends_what_is_in_flight():
    """On a borrowed session nothing else would: the deadline outlives `clear`."""
    flights = Flights()
    task = asyncio.create_task(call(flights, 100, may_take=30))
    await asyncio.sleep(1)
    flights.clear()
    assert await task == ("late", 30)
