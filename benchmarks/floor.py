"""Floors: what a client on aiohttp, or on bare sockets, cannot go below.

This code does not change when the package does, and imports nothing of it: the headers, connector settings, timeouts
and decoder of the package are written down here once more. If the package changes one of these for good reasons, that
is noted here by hand, so that a faster ratio is never a slower floor.

- `bare`: aiohttp, one heap of due times, a fixed set of workers; an answer is decoded to dicts.
- `attrs`: the same, and each answer structured by cattrs into a small attrs class: the floor of "CPU per poll".
- `lean`: `attrs` without a total timeout on its GETs. aiohttp starts a timer and enters a context for one at each
  request; a client can bound its requests for less (the package watches all that are under way with one timer). The
  floor proper keeps aiohttp's; this one shows what of a ratio comes from there.
- `coroutines`: aiohttp, one coroutine for each task, as many requests at once as the others send.
- `protocol`: one heap over hand-written connections that know nothing of HTTP but what this server sends.
"""

import asyncio
import heapq
import importlib
import itertools
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import aiohttp
import attrs
import cattrs
from multidict import CIMultiDict
from runs import KEY, Run
from yarl import URL

loads: Callable[[bytes], Any] = json.loads
with suppress(ImportError):
    loads = importlib.import_module("orjson").loads

HEADERS = CIMultiDict(
    [
        ("user-agent", "omni-async/0.1.0 Python/3.11 aiohttp/3.14.5"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("authorization", f"Bearer {KEY}"),
    ]
)
KEEPALIVE = 10.0
QUERY = aiohttp.ClientTimeout(total=30, connect=10)
UNTIMED = aiohttp.ClientTimeout(total=None, connect=10)
CREATE = aiohttp.ClientTimeout(total=120, connect=10)
LOOK_PATH = "/api/open-api/v1/videos/"
CREATE_PATH = "/api/open-api/v1/gemini/omni/videos"
BODY = {"model": "Gemini-Omini", "prompt": "a paper boat", "duration": 6}

Read = Callable[[Any], bool]
"""Whether an answer's document says that its task is finished."""


@attrs.frozen
class Look:
    """A task as an answer tells it."""

    task_id: str
    status: str
    progress: int


CONVERTER = cattrs.Converter()


def as_dicts(document: Any) -> bool:
    """Read an answer as it was decoded."""
    return bool(document["data"]["status"] == "completed")


def as_attrs(document: Any) -> bool:
    """Read an answer by way of an attrs class."""
    return CONVERTER.structure(document["data"], Look).status == "completed"


def opened() -> aiohttp.ClientSession:
    """A session as the package makes it."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE, ttl_dns_cache=60)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def look(session: aiohttp.ClientSession, gateway: str, task_id: str, timeout: aiohttp.ClientTimeout) -> Any:
    """One GET."""
    url = URL(gateway + LOOK_PATH + task_id, encoded=True)
    async with session.get(url, headers=HEADERS, timeout=timeout, allow_redirects=False) as response:
        return loads(await response.read())


async def create(session: aiohttp.ClientSession, gateway: str) -> str:
    """One POST; gives the task's id."""
    url = URL(gateway + CREATE_PATH, encoded=True)
    headers = HEADERS.copy()
    headers["content-type"] = "application/json"
    body = json.dumps(BODY).encode()
    async with session.post(url, data=body, headers=headers, timeout=CREATE, allow_redirects=False) as response:
        return str(loads(await response.read())["data"]["task_id"])


class _Heap:
    """One heap of due times, and what a worker does with it."""

    def __init__(self, run: Run, read: Read, timeout: aiohttp.ClientTimeout) -> None:
        self.run, self.read, self.timeout = run, read, timeout
        self.loop, self.number, self.over = asyncio.get_running_loop(), itertools.count(), asyncio.Event()
        self.interval = run.interval or 1.0
        ready = [] if run.rate else run.ids or [""] * run.tasks
        self.heap = [(self.loop.time(), next(self.number), task_id) for task_id in ready]

    async def work(self, session: aiohttp.ClientSession) -> None:
        """Take what is due first, wait until it is due, look, put it back."""
        heap, loop = self.heap, self.loop
        while True:
            if not heap:
                await asyncio.sleep(0.001 if self.run.rate else self.interval / 4)
                continue
            due, _, task_id = heapq.heappop(heap)
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not task_id:
                task_id = await create(session, self.run.gateway)
            elif self.read(await look(session, self.run.gateway, task_id, self.timeout)):
                self.finish(task_id)
                continue
            heapq.heappush(heap, (loop.time() + self.interval, next(self.number), task_id))

    def finish(self, task_id: str) -> None:
        """One is finished, perhaps the last."""
        self.run.finished(task_id)
        if len(self.run.lags) == self.run.tasks:
            self.over.set()

    async def feed(self) -> None:
        """Put each id on the heap when it appears."""
        async for task_id in self.run.arrivals():
            heapq.heappush(self.heap, (self.loop.time(), next(self.number), task_id))


async def one_heap(run: Run, read: Read, *, timeout: aiohttp.ClientTimeout = QUERY) -> None:
    """Create what has no id yet and look at all until they are finished, from one heap."""
    heap = _Heap(run, read, timeout)
    async with opened() as session:
        tasks = [asyncio.create_task(heap.work(session)) for _ in range(run.connections)]
        if run.rate:
            tasks.append(asyncio.create_task(heap.feed()))
        await heap.over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def coroutines(run: Run, read: Read) -> None:
    """Create and follow each task in a coroutine of its own."""
    room = asyncio.Semaphore(run.connections)

    async def one(session: aiohttp.ClientSession, task_id: str) -> None:
        while True:
            async with room:
                if not task_id:
                    task_id = await create(session, run.gateway)
                elif read(await look(session, run.gateway, task_id, QUERY)):
                    run.finished(task_id)
                    return
            await asyncio.sleep(run.interval or 1.0)

    async with opened() as session:
        await asyncio.gather(*(one(session, task_id) for task_id in run.ids or [""] * run.tasks))


async def posts(run: Run) -> None:
    """Creates alone, so many in flight."""
    numbers = iter(range(run.tasks))

    async def work(session: aiohttp.ClientSession) -> None:
        for _ in numbers:
            run.finished(await create(session, run.gateway))

    async with opened() as session:
        await asyncio.gather(*(work(session) for _ in range(run.connections)))


class _Line(asyncio.Protocol):
    """One connection: sends a request, hands on the body of its answer."""

    def __init__(self, answered: Callable[["_Line", bytes], None]) -> None:
        self.answered = answered
        self.task_id = ""
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        end = data.find(b"\r\n\r\n")
        start = data.find(b"Content-Length: ") + 16
        if end < 0 or len(data) < end + 4 + int(data[start : data.find(b"\r", start)]):
            self.rest = data
            return
        self.rest = b""
        self.answered(self, data[end + 4 :])


class _Lines:
    """One heap of due times over a fixed set of such connections."""

    def __init__(self, run: Run) -> None:
        self.run, self.loop, self.number = run, asyncio.get_running_loop(), itertools.count()
        self.heap = [(self.loop.time(), next(self.number), task_id) for task_id in run.ids or [""] * run.tasks]
        self.idle: deque[_Line] = deque()
        self.over = asyncio.Event()
        headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        self.tail = f" HTTP/1.1\r\nhost: 127.0.0.1:{run.port}\r\n{headers}\r\n"
        body = json.dumps(BODY)
        self.post = f"POST {CREATE_PATH}{self.tail[:-2]}content-length: {len(body)}\r\n\r\n{body}".encode()
        self.timer: asyncio.TimerHandle | None = None

    def pump(self) -> None:
        """Send what is due on idle connections, and come back when the next is."""
        now = self.loop.time()
        while self.heap and self.idle and self.heap[0][0] <= now:
            self.send(self.idle.popleft(), heapq.heappop(self.heap)[2])
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_at(self.heap[0][0], self.pump) if self.heap and self.idle else None

    def send(self, line: _Line, task_id: str) -> None:
        """One request."""
        line.task_id = task_id
        line.transport.write(f"GET {LOOK_PATH}{task_id}{self.tail}".encode() if task_id else self.post)

    def answered(self, line: _Line, body: bytes) -> None:
        """An answer: plan the next look, and use the connection for what is due."""
        data, now = loads(body)["data"], self.loop.time()
        if data["status"] == "completed":
            self.run.finished(line.task_id)
            if len(self.run.lags) == self.run.tasks:
                self.over.set()
        else:
            heapq.heappush(self.heap, (now + (self.run.interval or 1.0), next(self.number), data["task_id"]))
        if self.heap and self.heap[0][0] <= now:
            self.send(line, heapq.heappop(self.heap)[2])
            return
        self.idle.append(line)
        if self.timer is None or len(self.idle) == 1:
            self.pump()


async def protocol(run: Run) -> None:
    """Create and follow over hand-written connections."""
    lines = _Lines(run)
    opening = (
        lines.loop.create_connection(lambda: _Line(lines.answered), "127.0.0.1", run.port)
        for _ in range(run.connections)
    )
    opened = await asyncio.gather(*opening)
    lines.idle.extend(line for _, line in opened)
    lines.pump()
    await lines.over.wait()
    for transport, _ in opened:
        transport.close()
