"""The calls in flight, and the one timer for all of them."""

import asyncio
import socket

import aiohttp
import pytest

from omni_async.flights import Flights, Linewise, WaryConnector
from omni_async.lifetime import CATCH_UP
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


@pytest.mark.parametrize("after", [0.0, 0.5, 0.875, 1.125])
async def test_what_came_while_the_loop_stood_still_is_read_however_short_before_its_end_the_time_was_over(after):
    """It is the standing still that counts, not how late the timer is."""
    flights, loop = Flights(), asyncio.get_running_loop()
    answered = asyncio.create_task(call(flights, 10, may_take=30))
    silent = asyncio.create_task(call(flights, 1000, may_take=30))
    await asyncio.sleep(1)
    loop._warp.now += 29 + after
    assert await answered == ("answer", 30 + after)
    assert await silent == ("late", 30 + after + CATCH_UP)


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


class Ear(asyncio.Protocol):
    """Keeps what it is told, and closes its connection at a word."""

    def __init__(self):
        self.told, self.transport = [], None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.told.append(data)
        if data == b"stop\n":
            self.transport.close()

    def eof_received(self):
        self.told.append("end")

    def connection_lost(self, exc):
        self.told.append("lost")


async def _told(*segments):
    """What a protocol is told of segments that come linewise at first."""
    ear, loop = Ear(), asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(lambda: ear, sock=ours)
    lines = Linewise(transport, ear)
    for segment in segments:
        if segment is None:
            lines.end()
            continue
        theirs.sendall(segment)
        await asyncio.sleep(1)
    theirs.close()
    await asyncio.sleep(1)
    lines.end()
    return ear.told


async def test_lines_are_handed_over_one_by_one_until_the_call_ends():
    """Nothing is added or left out, and the next call on the connection is told as ever."""
    told = await _told(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}", b"x\n", None, b"a\nb\n")
    assert told == [b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", b"\r\n", b"{}", b"x\n", b"a\nb\n", "end", "lost"]


async def test_a_connection_that_is_closed_meanwhile_is_told_no_more():
    """As a transport does: what is behind the line over which it was closed is not handed over."""
    assert await _told(b"go\nstop\nmore\n") == [b"go\n", b"stop\n", "lost"]


async def test_only_the_last_of_two_calls_on_a_connection_takes_itself_off():
    """The end of a call that is long over does not end another's."""
    ear = Ear()
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: ear, sock=ours)
    first, second = Linewise(transport, ear), Linewise(transport, ear)
    first.end()
    assert transport.get_protocol() is second
    second.end()
    assert transport.get_protocol() is ear
    transport.close()
    theirs.close()


class SlowNames(aiohttp.abc.AbstractResolver):
    """A resolver that takes its time; when it is done, `at_end` comes before anybody has read what it found."""

    def __init__(self):
        self.asked, self.at_end = 0, None

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        await asyncio.sleep(12.0)
        if self.asked == 1:
            asyncio.get_running_loop().call_soon(self.at_end)
        found = {"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}
        return [found]

    async def close(self):
        pass


async def test_a_name_that_is_forgotten_in_the_moment_in_which_it_is_found_is_asked_for_again():
    """Two calls wait for one slow look-up; as it ends, a third one's failure has all names asked for anew."""
    names = SlowNames()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    connector = WaryConnector(resolver=names)
    names.at_end = connector.clear_dns_cache
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call():
            try:
                await session.post(f"http://slow.example:{port}")
            except aiohttp.ServerDisconnectedError:
                return "connected"

        assert await asyncio.gather(call(), call()) == ["connected", "connected"]
    assert names.asked == 2
    server.close()
