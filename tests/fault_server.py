"""A gateway on a raw socket that does what no web framework can be made to do, and a ledger of what it charged.

It charges a create when its request is fully read and accepted, before the first byte of any answer: the ground truth
that every test of the paid path is held against. What it does is scripted, one `Act` per request.
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs

from omni_async import OmniClient
from omni_async.journal import Answer, Intent
from omni_async.models import VideoTask

KEY = "CANARY-KEY-7f3a"
VIDEO = "https://video.example/v.mp4"
JIMMY_CREATE, FLAT = "/api/open-api/v1/gemini/omni/videos", "/v1/videos/generations"


@attrs.frozen(kw_only=True)
class Act:
    """What the server does with one request.

    `raw` is written as it stands (`@ID` is the new task's id), then the connection is kept, closed, reset or left to
    hang. `unread` drops it after the request line; `delay` is a silence before the first byte, in seconds.
    """

    raw: bytes = b""
    charge: bool = True
    then: str = "keep"
    unread: bool = False
    delay: float = 0.0
    flood: bytes = b""


def http(status=200, body=b"", *, headers=(), framing="length", line=None, **act):
    """An answer that is HTTP: `framing` is `length`, `chunked` or `none` (the end of the connection is the end)."""
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode() if not isinstance(body, str) else body.encode()
    head = [line or f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in dict(headers).items())]
    if framing == "length":
        head.append(f"Content-Length: {len(body.replace(b'@ID', b'x' * ID_LENGTH))}")
    if framing == "chunked":
        head.append("Transfer-Encoding: chunked")
        size = len(body.replace(b"@ID", b"x" * ID_LENGTH))
        body = (b"%x\r\n" % size) + body + b"\r\n0\r\n\r\n" if size else b"0\r\n\r\n"
    act.setdefault("then", "close" if framing == "none" else "keep")
    act.setdefault("charge", 200 <= status < 300)
    return Act(raw="\r\n".join(head).encode() + b"\r\n\r\n" + body, **act)


ID_LENGTH = 12
CREATED = {"code": "20000", "msg": "ok", "data": {"task_id": "@ID", "status": "queued", "model": "Gemini-Omini"}}
FLAT_CREATED = {"id": "@ID", "status": "queued", "model": "gemini_omni", "created_at": 1767000000}
ACCEPT, FLAT_ACCEPT = http(body=CREATED), http(body=FLAT_CREATED)
DROP = Act(then="close")
HANG = Act(then="hang")
HTML = "<html><body>Bad gateway</body></html>"
INTERNAL = http(500, {"error": {"code": "internal_error", "message": "try later"}}, headers={"x-request-id": "req-500"})


def envelope(code, msg="no", status=200, **act):
    """An answer of jimmy's with a code of its own."""
    return http(status, {"code": code, "msg": msg, "data": None}, charge=False, **act)


def cut(phase, framing="length"):
    """An accepted create whose answer ends at a phase: `before` it, in the `status` line, `headers` or `body`."""
    raw = http(body=CREATED, framing=framing).raw
    head = raw.index(b"\r\n\r\n") + 4
    ends = {"before": 0, "status": 8, "headers": head - 9, "after headers": head, "body": raw.index(b"task_id") + 3}
    return Act(raw=raw[: ends[phase]], then="close")


def bomb(size=3_000_000):
    """A little gzip that becomes a lot."""
    return http(body=gzip.compress(b" " * size), headers={"Content-Encoding": "gzip"})


@attrs.frozen
class Seen:
    """A request that was fully read."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self):
        """Its body, decoded."""
        return json.loads(self.body)


class FaultServer:
    """The server; `posts`, `gets` and `connects` are what was read, `charges` the ids that were paid for."""

    def __init__(self, creates: Iterable[Act] = (), polls: Iterable[Act] = (), connects: Iterable[Act] = (), tls=None):
        self.script = {"POST": deque(creates), "GET": deque(polls), "CONNECT": deque(connects)}
        self.always: dict[str, Act | None] = {"POST": None, "GET": None, "CONNECT": None}
        self.seen: list[Seen] = []
        self.charges: list[str] = []
        self.started: list[str] = []
        self.connections = 0
        self.by_business_id: dict[str, str] = {}
        self._tls: ssl.SSLContext | None = tls
        self._handlers: set[asyncio.Task] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server = None
        self.port = 0

    @property
    def url(self):
        """Where it is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def posts(self):
        """POSTs fully read."""
        return [seen for seen in self.seen if seen.method == "POST"]

    @property
    def gets(self):
        """GETs fully read."""
        return [seen for seen in self.seen if seen.method == "GET"]

    async def start(self):
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self._tls, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        """Break all connections and listen no more."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)
        await asyncio.sleep(0)

    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *_):
        await self.stop()

    def _accept(self, reader, writer):
        handler = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        try:
            while await self._one(reader, writer, number):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader, writer, number):
        line = (await reader.readline()).decode()
        if not line:
            return False
        method, path, _ = line.split(" ", 2)
        self.started.append(method)
        act = self._next(method)
        if act is not None and act.unread:
            return False
        headers = {}
        while (header := (await reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        seen = Seen(method, path, headers, body, number)
        self.seen.append(seen)
        act = act or self._usual(seen)
        task_id = self._charged(seen) if method == "POST" and act.charge else ""
        if act.delay:
            await asyncio.sleep(act.delay)
        return await self._play(act, writer, task_id)

    def _next(self, method):
        queue = self.script[method]
        return queue.popleft() if queue else self.always[method]

    def _charged(self, seen):
        name = seen.json.get("client_business_id")
        if name in self.by_business_id:
            return self.by_business_id[name]
        task_id = f"task-{len(self.charges) + 1:07d}"
        self.charges.append(task_id)
        if name:
            self.by_business_id[name] = task_id
        return task_id

    def _usual(self, seen):
        flat = seen.path.startswith("/v1/")
        if seen.method == "POST":
            return FLAT_ACCEPT if flat else ACCEPT
        if seen.method == "CONNECT":
            return http(502)
        name = seen.path.rpartition("/")[2]
        task_id = self.by_business_id.get(name, name)
        if task_id not in self.charges:
            missing = (
                {"error": {"code": "task_not_found", "message": "no"}} if flat else {"code": "20002", "msg": NO_TASK}
            )
            return http(404 if flat else 200, missing)
        return finished(task_id, flat=flat)

    async def _play(self, act, writer, task_id):
        writer.write(act.raw.replace(b"@ID", task_id.encode()))
        await writer.drain()
        while act.flood:
            writer.write(act.flood)
            await writer.drain()
            await asyncio.sleep(1.0)
        if act.then == "hang":
            await asyncio.Event().wait()
        if act.then == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return act.then == "keep"


NO_TASK = "task not found"


def finished(task_id, *, flat=False, **fields):
    """The answer about a task that has its video."""
    if flat:
        return http(body={"id": task_id, "status": "completed", "result": {"data": [{"url": VIDEO}]}})
    data = {"task_id": task_id, "status": "completed", "progress": 100, "result": {"video_url": VIDEO}, **fields}
    return http(body={"code": "20000", "msg": "ok", "data": data})


def running(task_id, progress=10, word="processing"):
    """The answer about a task that runs."""
    return http(body={"code": 20000, "data": {"task_id": task_id, "status": word, "progress": progress}})


class RecordingJournal:
    """The three calls, remembered: `states` are the words a create came to, in order."""

    def __init__(self):
        self.calls: list[tuple[str, ...]] = []
        self.answers: list[Answer] = []
        self.fail: dict[str, Exception] = {}
        self.known: VideoTask | None = None

    @property
    def states(self):
        """What its creates came to."""
        return [call[-2] for call in self.calls if call[0] in ("settle", "answered")]

    def _note(self, name, *rest):
        self.calls.append((name, *rest))
        if name in self.fail:
            raise self.fail[name]

    async def intend(self, intent: Intent):
        """Noted."""
        self._note("intend", intent.key)
        return self.known

    async def answered(self, intent: Intent, answer: Answer):
        """Noted."""
        self.answers.append(answer)
        self._note("answered", answer.task_id or answer.candidate or "", answer.state, answer.detail)
        return answer.state

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None):
        """Noted."""
        self._note("settle", task_id or "", state, detail)


@attrs.define
class Scene:
    """A client against a server, and what both noted."""

    server: FaultServer
    client: OmniClient
    journal: RecordingJournal
    events: list

    async def submit(self, prompt="a cat", **fields):
        """One create with an id of its own."""
        return await self.client.submit(prompt, **{"custom_id": "mine", "metadata": {"order": 7}, **fields})

    def told(self, kind):
        """The events of a class."""
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def scene(*creates, polls=(), gateway="jimmy", running=0, server=None, **settings) -> AsyncIterator[Scene]:
    """A client against a scripted server. At the end nothing is in flight, `running` slots are held (None: any)."""
    journal, events = RecordingJournal(), []
    settings = {"api_key": KEY, "proxy": None, "journal": journal, "on_event": events.append, **settings}
    async with server or FaultServer(creates, polls) as server:
        settings.setdefault("base_url", server.url)
        async with OmniClient(gateway, **settings) as client:
            yield Scene(server, client, journal, events)
        load = client.limiter.load()
        assert (load.in_flight, load.waiting_creates, load.waiting_polls) == (0, 0, 0)
        assert running in (None, load.running), load
        assert len(server.charges) <= len(server.posts)
