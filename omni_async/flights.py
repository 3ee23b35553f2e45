"""The calls in flight: how far each came, and one timer for all their deadlines.

What runs for every look at every task is kept to a few dictionary operations: trace hooks cost a tenth of a call, and
so does a timer of its own for each (`benchmarks/polling.py`).
"""

import asyncio
import contextlib
import math
import socket
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from .lifetime import CATCH_UP, HELD_UP

UNASKED = 8
"""Connections given up for one call because their server has spoken unasked."""
NAP = 5.0
"""Seconds of sleep that a kept connection outlives; servers keep one for some more."""
FRESH = 1.0
"""Seconds for which a connection may have been idle that carries a create. Some servers close theirs after two, as
gunicorn does, and the word of that is half a round trip behind; a handshake costs less than to settle a create."""
SILENT = 30
"""Seconds of silence, as of a create that is being worked on, after which the system asks whether the other end is
there: some NATs forget a connection after a minute."""


class Kept:
    """What is known of a connection.

    Args:
        slept: Seconds that the machine had slept when it was first given away.
    """

    __slots__ = ("idle", "slept", "used")

    def __init__(self, slept: float) -> None:
        self.slept = slept
        self.idle = -math.inf
        """Seconds that it was idle before it was given away the last time; negative the first time."""
        self.used = math.inf

    def given(self) -> None:
        """It is given to a call."""
        now = asyncio.get_running_loop().time()
        self.idle, self.used = now - self.used, now

    def released(self) -> None:
        """The call that it was given to is over."""
        self.used = asyncio.get_running_loop().time()


class Flight:
    """How far one call came: before a connection was obtained, nothing was sent.

    Args:
        task: The task that makes it.
        resend: Asked when aiohttp repeats a free call by itself after a disconnect, which it does once.
    """

    __slots__ = ("begun", "cancelling", "connected", "due", "kept", "late", "lines", "resend", "task")

    def __init__(self, task: "asyncio.Task[Any]", resend: Callable[[], bool] | None) -> None:
        self.task, self.resend = task, resend
        self.due = math.inf  # loop time at which it has taken too long
        self.cancelling = task.cancelling()
        self.begun = self.connected = self.late = False
        self.lines: Linewise | None = None
        self.kept: Kept | None = None
        """The connection that it was given, if it is the client's own session."""

    @property
    def paid(self) -> bool:
        """Whether it matters that nothing was sent."""
        return self.resend is None

    @property
    def overdue(self) -> bool:
        """Whether it is cancelled for having taken too long, and by nobody else besides."""
        return self.late and self.task.cancelling() <= self.cancelling + 1

    def may_connect(self) -> bool:
        """A connection is asked for; a second one is for a repeat. Returns whether that may be.

        Of a free call this much is taken for the connection: to learn more costs it a coroutine.
        """
        if self.resend is None:
            return True
        again, self.connected = self.connected, True
        return not again or self.resend()


class Flights:
    """All calls in flight of one transport, by the task that makes each."""

    __slots__ = ("_armed_for", "_expected", "_flights", "_timer")

    def __init__(self) -> None:
        self._flights: dict[asyncio.Task[Any], Flight] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = self._expected = math.inf

    def begin(self, resend: Callable[[], bool] | None) -> Flight:
        """The current task makes a call."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is made by a task")
        flight = self._flights[task] = Flight(task, resend)
        return flight

    def watch(self, flight: Flight, seconds: float) -> None:
        """Cancel the call if it takes longer than so many seconds from now."""
        loop = flight.task.get_loop()
        flight.due = loop.time() + seconds
        if flight.due < self._armed_for:
            self._arm(loop, flight.due)

    def end(self, flight: Flight) -> bool:
        """The call is over; True if it was cancelled for having taken too long, and by nobody else besides."""
        self._flights.pop(flight.task, None)
        if flight.lines is not None:
            flight.lines.end()
        if flight.kept is not None:
            flight.kept.released()
        return flight.late and flight.task.uncancel() <= flight.cancelling

    def of(self, task: "asyncio.Task[Any] | None") -> Flight | None:
        """The call that a task makes."""
        return self._flights.get(task) if task is not None else None

    def _arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Wake up when a call is due, and a while before: that this comes late tells that the loop stands still."""
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for, before = due, due - HELD_UP
        self._expected = before if before > loop.time() else due
        self._timer = loop.call_at(self._expected, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is overdue; wake up again for what is due next."""
        now, due = loop.time(), self._armed_for
        self._timer, self._armed_for = None, math.inf
        if now - self._expected >= HELD_UP:  # the answer, with its paid id, may lie there unread
            due = now + CATCH_UP
        if due > now:
            self._arm(loop, due)
            return
        for flight in self._flights.values():
            if flight.due <= now:
                flight.late, flight.due = True, math.inf
                flight.task.cancel()
        due = min((flight.due for flight in self._flights.values()), default=math.inf)
        if due < math.inf:
            self._arm(loop, due)

    def clear(self) -> None:
        """No timer is left behind, unless calls are in flight: on a borrowed session nothing else ends them."""
        if self._timer is not None and not self._flights:
            self._timer.cancel()
            self._timer, self._armed_for = None, math.inf

    def __repr__(self) -> str:
        return f"<Flights {len(self._flights)} in flight>"


def _kept_alive(address: Any) -> socket.socket:
    """A socket for an address that is dialled, with TCP keep-alive (RFC 9293 §3.8.4) as far as the system has it."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))  # the second is macOS's name
    with contextlib.suppress(OSError):  # it is an aid only
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if idle is not None:
            made.setsockopt(socket.IPPROTO_TCP, idle, SILENT)
    return made


class WaryConnector(aiohttp.TCPConnector):
    """Gives away no kept connection on which the server has spoken unasked, or that the machine has slept with.

    Its words would be taken for the answer of the next call, that answer for the one after it, and so on. And of a
    connection that was closed meanwhile, unheard, aiohttp knows nothing: the clock by which it would be too old stood
    still. A create on it would be lost. A name is asked for anew after a connection that was not to be had.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._kept: weakref.WeakKeyDictionary[aiohttp.client_proto.ResponseHandler, Kept] = weakref.WeakKeyDictionary()

    async def connect(self, *arguments: Any, **options: Any) -> aiohttp.connector.Connection:
        """As aiohttp's own.

        Raises:
            aiohttp.ServerDisconnectedError: The server always speaks first.
        """
        trouble = 0
        while trouble < UNASKED:
            try:
                connection = await super().connect(*arguments, **options)
            except KeyError:  # aiohttp reads a turn later what it found: another call had it forgotten, as below
                trouble += 1
                continue
            except BaseException:  # whatever it is: a timeout comes as a cancellation
                self.clear_dns_cache()
                raise
            spoken = _has_spoken(connection)
            if not (self._slept_with(connection) or spoken):
                return connection
            connection.close()
            trouble += spoken
        raise aiohttp.ServerDisconnectedError

    def _slept_with(self, connection: aiohttp.connector.Connection) -> bool:
        """Whether the machine slept since the connection was first given away."""
        now, protocol = asleep(), connection.protocol
        if protocol is None:
            return False
        kept = self._kept.get(protocol)
        if kept is None:
            self._kept[protocol] = kept = Kept(now)
        self._given(kept)
        return abs(now - kept.slept) > NAP

    def _given(self, kept: Kept) -> None:
        """A connection is given to the call of the current task."""
        kept.given()


def asleep() -> float:
    """Seconds that only grow while the machine sleeps (or wall time is set: then a connection is made too many)."""
    return time.time() - time.monotonic()


def _has_spoken(connection: aiohttp.connector.Connection) -> bool:
    return connection.protocol is not None and connection.protocol.should_close


class Connector(WaryConnector):
    """Gives a paid flight a connection that is new, or was idle for a moment only, and tells it so.

    Through a proxy it does after its CONNECT.

    Args:
        flights: Where the flights are found.
        options: As for aiohttp's own.
    """

    def __init__(self, flights: Flights, **options: Any) -> None:
        super().__init__(socket_factory=_kept_alive, **options)
        self._flights = flights

    def connect(self, *arguments: Any, **options: Any) -> Coroutine[Any, Any, aiohttp.connector.Connection]:
        """As aiohttp's own.

        Raises:
            aiohttp.ServerDisconnectedError: It is for a repeat that may not be.
        """
        flight = self._flights.of(asyncio.current_task())
        if flight is not None and not flight.may_connect():
            raise aiohttp.ServerDisconnectedError
        if flight is not None and flight.paid:
            return self._told(flight, *arguments, **options)
        return super().connect(*arguments, **options)

    def _given(self, kept: Kept) -> None:
        super()._given(kept)
        flight = self._flights.of(asyncio.current_task())
        if flight is not None:
            flight.kept = kept  # a callback of the connection would cost a look 4 % of all its instructions

    async def _told(self, flight: Flight, *arguments: Any, **options: Any) -> aiohttp.connector.Connection:
        connection = await super().connect(*arguments, **options)
        while flight.kept is not None and flight.kept.idle > FRESH:  # those that were idle for longest come first
            connection.close()
            connection = await super().connect(*arguments, **options)
        flight.connected = True
        return connection


class Linewise(asyncio.Protocol):
    """Hands aiohttp what a connection receives line by line.

    Over what is wrong in a segment its parser forgets the sound answer that stands before it, with the paid id: a
    letter behind the body, a chunk of no size. So the end of the head is handed over before that comes.

    Args:
        transport: The connection's.
        heir: aiohttp's protocol.
    """

    def __init__(self, transport: asyncio.Transport, heir: asyncio.Protocol) -> None:
        self._transport, self._heir = transport, heir
        self._body: aiohttp.StreamReader | None = None
        self._refused = False
        self.broken = False
        """Whether the body is at its end for what is wrong behind it."""
        transport.set_protocol(self)

    def read_into(self, body: aiohttp.StreamReader) -> None:
        """The head is there, and this is what the answer's body is read from."""
        self._body = body
        self._break()

    def _break(self) -> None:
        """aiohttp takes no more and tells its reader nothing (measured, 3.12 to 3.14): what came is all that comes.

        No error: one would hide what is there to be read.
        """
        if self._refused and self._body is not None and not self._body.is_eof():
            self.broken = True
            self._body.feed_eof()

    def end(self) -> None:
        """What comes from now on goes straight to aiohttp."""
        if not self._transport.is_closing() and self._transport.get_protocol() is self:
            self._transport.set_protocol(self._heir)

    def data_received(self, data: bytes) -> None:
        """A segment, which may hold several answers."""
        for line in data.splitlines(keepends=True):
            self._heir.data_received(line)
            if self._transport.is_closing():  # by aiohttp: it takes no more
                self._refused = True
                self._break()
                return

    def eof_received(self) -> bool | None:
        """As aiohttp's own."""
        return self._heir.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As aiohttp's own."""
        self._heir.connection_lost(exc)

    def pause_writing(self) -> None:
        """As aiohttp's own."""
        self._heir.pause_writing()

    def resume_writing(self) -> None:
        """As aiohttp's own."""
        self._heir.resume_writing()


class Body(aiohttp.BytesPayload):
    """A paid call's body. A connection alone asks for it: of a borrowed session nothing else tells that there was one.

    Args:
        document: The bytes.
        flight: The call it is for.
    """

    def __init__(self, document: bytes, flight: Flight) -> None:
        super().__init__(document)
        self._flight = flight

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As aiohttp's own."""
        self._goes_to(writer)
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As aiohttp's own."""
        self._goes_to(writer)
        await super().write_with_length(writer, content_length)

    def _goes_to(self, writer: AbstractStreamWriter) -> None:
        self._flight.connected = True
        if isinstance(writer, StreamWriter) and writer.transport is not None:
            self._flight.lines = Linewise(writer.transport, writer.protocol)
