"""The emulator itself: one HTTP server that speaks for all three gateways."""

import asyncio
import functools
import itertools
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from aiohttp import hdrs, web

from . import jimmy, toapis
from .clock import Clock
from .desk import GATEWAYS, Call, Desk
from .files import missing
from .gateway import Gateway, Site
from .ledger import Ledger, SeenRequest
from .limits import Limits
from .notices import Webhooks
from .openapi import document
from .replay import Replay, load
from .response import Response, send
from .scenario import Scenario, known_fields
from .uploads import read_upload

LARGEST_JSON = 8 * 1024 * 1024
SHUTDOWN_SECONDS = 0.2

JIMMY, TOAPIS, GUIDE = GATEWAYS["jimmy"], GATEWAYS["toapis"], GATEWAYS["gemini_omni"]

# method, path, kind, gateway, detail; at a shared path the body or the task tells which of the two it is.
ROUTES: tuple[tuple[str, str, str, Gateway, str], ...] = (
    (hdrs.METH_POST, jimmy.CREATE, "create", JIMMY, ""),
    (hdrs.METH_GET, jimmy.QUERY, "query", JIMMY, ""),
    (hdrs.METH_POST, jimmy.UPLOAD, "upload", JIMMY, ""),
    (hdrs.METH_GET, jimmy.USER_BALANCE, "balance", JIMMY, "user"),
    (hdrs.METH_GET, jimmy.KEY_BALANCE, "balance", JIMMY, "key"),
    (hdrs.METH_POST, toapis.CREATE, "create", TOAPIS, ""),
    (hdrs.METH_GET, toapis.QUERY, "query", TOAPIS, ""),
    (hdrs.METH_POST, toapis.UPLOAD, "upload", TOAPIS, ""),
    (hdrs.METH_GET, toapis.BALANCE, "balance", TOAPIS, "user"),
)


class Emulator:
    """Three gateways on one port, charging nobody.

    Args:
        scenario: how it behaves; all defaults unless given.
        host, port: where it listens; port 0 picks a free one, kept over a stop and start.
        replay: a folder that `OmniClient(record=…)` wrote; its answers are given instead, in their order and without
            waiting, and the scenario's faults rest. ValueError if it holds none.
        scenario_fields: fields of the scenario, replacing the given one's.

    Works as `async with`, or by `start()` and `stop()` from any task of one loop. `scenario` may be replaced
    while it runs. Tasks, charges and time outlive a stop, so stop and start make an outage.
    """

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        replay: str | os.PathLike[str] | None = None,
        **scenario_fields: Any,
    ) -> None:
        try:
            known_fields(Scenario, scenario_fields)
        except ValueError as error:
            raise TypeError(str(error)) from None
        scenario = attrs.evolve(scenario or Scenario(), **scenario_fields)
        self._host, self._port = host, port
        self._clock = Clock()
        self.ledger = Ledger(self._clock.now)
        self._desk = Desk(scenario, self._clock, self.ledger)
        played = None if replay is None else Replay(load(Path(replay)), self.ledger, scenario.price)
        self._serve = self._desk.serve if played is None else played.serve
        self._limits = Limits()
        self._webhooks = Webhooks(self._clock, self.ledger)
        self._desk.on_finish = self._webhooks.plan
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self._request_ids = itertools.count(1)
        self._in_flight = 0
        self._readers: Mapping[str, Callable[[Call], Awaitable[None]]] = {
            "create": self._read_create,
            "query": self._read_query,
            "upload": self._read_upload,
        }

    def __repr__(self) -> str:
        state = self.url if self._runner is not None else "stopped"
        return f"<Emulator {state}, {self.ledger.running_now} running, {len(self.ledger.charges)} charged>"

    @property
    def scenario(self) -> Scenario:
        """How it behaves; a new one rules from the next request on, and new tasks."""
        return self._desk.scenario

    @scenario.setter
    def scenario(self, scenario: Scenario) -> None:
        self._desk.scenario = scenario

    @property
    def url(self) -> str:
        """Scheme, host and port, without a slash at the end; RuntimeError before the first start."""
        if not self._port:
            raise RuntimeError("the emulator has no URL before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. OSError if the port is taken; RuntimeError if it runs already."""
        if self._runner is not None:
            raise RuntimeError("the emulator is running already")
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,  # a hanging answer ends when its client leaves
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        self._stopping = asyncio.Event()  # a new one, since an event belongs to the loop that first waits for it
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, backlog=1024).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._clock.start()
        self._runner, self._port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        """Abort what hangs, cancel planned webhooks and stop listening; nothing to do if it does not run."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._stopping.set()
        await self._webhooks.close()
        await runner.cleanup()
        self._clock.stop()

    def skip(self, seconds: float) -> None:
        """Let so much time go by for the gateways alone: tasks run on, URLs grow old, planned webhooks do not move."""
        self._clock.skip(seconds)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_JSON, middlewares=[self._in_own_words])
        for method, path, kind, gateway, detail in ROUTES:
            handler = functools.partial(self._api, kind, gateway, detail)
            app.router.add_route(method, path, handler)
        app.router.add_get("/files/{task_id}.mp4", self._file)
        app.router.add_get("/files/uploads/{name}", self._uploaded_file)
        app.router.add_get("/openapi.json", self._openapi)
        app.router.add_get("/_emulator/ledger", self._show_ledger)
        app.router.add_get("/_emulator/health", self._health)
        return app

    async def _api(self, kind: str, gateway: Gateway, detail: str, request: web.Request) -> web.StreamResponse:
        self._arrived(kind)
        self._in_flight += 1
        self.ledger.peak_in_flight = max(self.ledger.peak_in_flight, self._in_flight)
        try:
            call = await self._read(kind, gateway, detail, request)
            refusal = self._refusal(call)
            if refusal is not None:
                return await self._answer(call, refusal)
            self._limits.in_flight += 1
            try:
                return await self._answer(call, self._serve(call))
            finally:
                self._limits.in_flight -= 1
        finally:
            self._in_flight -= 1

    def _refusal(self, call: Call) -> Response | None:
        """What turns the call away before anybody looks at what it wants: key, then limits."""
        if not _has_key(call.request, self.scenario):
            return call.gateway.unauthorised()
        limit = self._limits.refusing(self.scenario, call.kind, call.now)
        return None if limit is None else self._desk.limited(call, limit)

    async def _answer(self, call: Call, answer: Response) -> web.StreamResponse:
        answer.headers["X-Request-Id"] = f"req_{next(self._request_ids):012d}"
        if self.scenario.latency:
            await asyncio.sleep(self.scenario.latency)
        return await send(call.request, answer, self._stopping)

    async def _read(self, kind: str, gateway: Gateway, detail: str, request: web.Request) -> Call:
        now = self._clock.now()
        call = Call(request, kind, gateway, now, Site(self._clock, self._base(request)), detail=detail)
        if kind in self._readers:
            await self._readers[kind](call)
        seen = {name: value for name, value in request.headers.items() if name.lower() != "authorization"}
        self.ledger.last_requests.append(SeenRequest(request.method, request.raw_path, seen, call.body))
        call.now = self._clock.now()
        return call

    async def _read_create(self, call: Call) -> None:
        try:
            call.body = json.loads(await call.request.read())
        except (ValueError, RecursionError, web.RequestPayloadError):  # the last: not packed as its header says
            call.bad = True
            return
        call.bad = not isinstance(call.body, dict)
        if call.gateway is TOAPIS and not call.bad and ("input" in call.body or "mode" in call.body):
            call.gateway = GUIDE

    async def _read_query(self, call: Call) -> None:
        call.task = self._desk.tasks.find(call.request.match_info["task_id"], call.gateway.family)
        if call.task is not None:
            self.ledger.per_task[call.task.task_id] += 1

    async def _read_upload(self, call: Call) -> None:
        limit = self.scenario.upload_bytes
        call.upload = await read_upload(call.request, call.gateway.upload_bytes if limit is None else limit)

    def _arrived(self, kind: str) -> None:
        self.ledger.requests[kind] += 1
        server = None if self._runner is None else self._runner.server
        if server is not None:
            self.ledger.peak_connections = max(self.ledger.peak_connections, len(server.connections))

    def _base(self, request: web.Request) -> str:
        """Scheme and host as the client reached us, which behind 0.0.0.0 we cannot know ourselves."""
        host = request.headers.get(hdrs.HOST)
        return f"http://{host}" if host else self.url

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._arrived("file")
        self.ledger.keys_at_files += hdrs.AUTHORIZATION in request.headers
        site = Site(self._clock, self._base(request))
        call = Call(request, "file", JIMMY, self._clock.now(), site)
        call.task = self._desk.tasks.find(request.match_info["task_id"], GATEWAYS)
        return await send(request, self._serve(call), self._stopping)

    async def _uploaded_file(self, request: web.Request) -> web.StreamResponse:
        kept = self._desk.shelf.get(request.match_info["name"])
        answer = missing() if kept is None else Response(200, kept[0], content_type=kept[1])
        return await send(request, answer, self._stopping)

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(document(self.scenario, self._base(request)))

    async def _show_ledger(self, request: web.Request) -> web.Response:
        return web.json_response(self.ledger.as_dict())

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    @web.middleware
    async def _in_own_words(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Unknown paths, methods and oversized bodies answered in JSON, as the gateways do."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            gateway = JIMMY if request.path.startswith("/api/") else TOAPIS
            answer = _wrong_route(gateway, error, request)
            answer.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
            return await send(request, answer, self._stopping)


def _wrong_route(gateway: Gateway, error: web.HTTPException, request: web.Request) -> Response:
    if request.path == toapis.CHAT:
        return gateway.invalid("invalid apitype: -1")  # seed FAQ: a video model asked for over the chat route
    return gateway.unknown_path(error.status, error.reason)


def _has_key(request: web.Request, scenario: Scenario) -> bool:
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        return False
    return scenario.keys is None or key.strip() in scenario.keys
