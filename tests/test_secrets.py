"""Row 62: the key is nowhere; prompts and signed queries are in no log, repr, event, pickle, handle or traceback.

Everything the library lets out is collected over a mix of successes and failures, with locals in the tracebacks, and
searched for canaries.
"""

import asyncio
import contextlib
import copy
import json
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest

from omni_async import InvalidRequestError, OmniClient, OmniError, RetryPolicy, TaskFailedError, VideoRequest
from omni_async.dialects import Call, CallKind, Reply
from tests.fault_server import (
    ACCEPT,
    CREATED,
    DROP,
    HANG,
    Act,
    FaultServer,
    bomb,
    cut,
    envelope,
    http,
    scene,
)
from tests.warp import WarpLoop

KEY = "CANARY-KEY/7f3a+secret"
PROMPT = "CANARY-PROMPT a heron at dawn"
QUERY = "X-Sig=CANARY-QUERY"
SIGNED = f"https://cdn.example/v.mp4?{QUERY}"
WORDS = ("CANARY-KEY", "CANARY-PROMPT", "CANARY-QUERY")

LOOP = WarpLoop


class Net:
    """Collects what comes out, and finds canaries in it."""

    def __init__(self):
        self.caught: list[tuple[str, str]] = []

    def look(self, where, text):
        """Remember what leaks there."""
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        self.caught += [(where, text[max(text.index(word) - 300, 0) :][:600]) for word in WORDS if word in text]

    def error(self, where, error):
        """Message, repr, pickle, copy, chain and tracebacks with locals."""
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.look(f"{where}: traceback of {type(error).__name__}", "\n".join(_frames(shown)))
        pickled = pickle.dumps(error)
        for other in (error, copy.copy(error), pickle.loads(pickled)):  # noqa: S301 - made a line above
            self.look(f"{where}: text", f"{other} {other!r} {other.args!r}")
        self.look(f"{where}: pickle", pickled)
        seen, links = set(), [error]
        while links:
            link = links.pop()
            if link is None or id(link) in seen:
                continue
            seen.add(id(link))
            self.look(f"{where}: chain", f"{link!r} {link}")
            links += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]

    def value(self, where, value):
        """A result or an event: its repr and its pickle."""
        self.look(f"{where}: repr", f"{value!r} {value}")
        self.look(f"{where}: pickle", pickle.dumps(value))

    def scene(self, where, here, caplog):
        """The logs, the events and the objects a user can print."""
        formatter = logging.Formatter("%(name)s %(message)s")
        self.look(f"{where}: log", "\n".join(map(formatter.format, caplog.records)))
        for record in caplog.records:
            if record.exc_info and record.exc_info[1]:
                self.error(f"{where}: logged", record.exc_info[1])
        for event in here.events:
            self.value(f"{where}: event {type(event).__name__}", event)
        client = here.client
        studio, exchange = client.studio, client.studio.exchange
        things = [client, client.limiter, client.stats(), exchange.transport, exchange.transport.key, exchange]
        things += [studio.submitter, studio.poller, exchange.budget, client.dialect]
        self.look(f"{where}: objects", repr(things))
        for outcome in client.unclaimed():
            self.look(f"{where}: outcome", repr(outcome))
        assert not self.caught, self.caught[0]


def _frames(shown):
    """The locals in a traceback and all it hangs on, but for the test's own frames, which know the canaries."""
    for frame in shown.stack:
        if frame.filename != __file__ and "fault_server" not in frame.filename:
            yield f"{frame.filename}:{frame.lineno} {frame.name} {frame.line} {frame.locals}"
    for link in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if link is not None:
            yield from _frames(link)


@pytest.fixture
def net(caplog):
    """A net, with all loggers at DEBUG."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio", "omni_async"):
        caplog.set_level(logging.DEBUG, logger=name)
    return Net()


SAID = f"bad prompt '{PROMPT}' with key {KEY} and Bearer {KEY}, see {SIGNED}"
ESCAPED = json.dumps(KEY)[1:-1].replace("/", "\\/")
SPELT = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
ECHOES = {
    "rejected": envelope("20002", SAID),
    "auth": envelope("20001", SAID, status=401),
    "quota": envelope("20099", "余额不足 " + SAID),
    "rate": envelope("20055", "请求过于频繁 " + SAID),
    "429": http(429, {"error": {"code": "rate_limit_exceeded", "message": SAID}}),
    "unknown": envelope("20777", SAID),
    "unknown route": envelope("20778", "invalid apitype: -1 " + SAID),
    "minus one": envelope("-1", SAID),
    "html": http(400, f"<p>{SAID}</p>"),
    "502": http(502, f"<p>{SAID}</p>"),
    "escaped": http(401, f'{{"code": "20001", "msg": "{ESCAPED} {PROMPT}"}}'),
    "escaped alike": http(401, f'{{"code": "20001", "msg": "{SPELT} {PROMPT}"}}'),
    "escaped alike, uncertain": http(500, f'{{"code": "20777", "msg": "{SPELT} {quote(KEY, safe="")}"}}'),
    "utf-16": http(400, json.dumps({"code": "20002", "msg": SAID}).encode("utf-16")),
    "utf-16, uncertain": http(500, json.dumps({"code": "20777", "msg": SAID}).encode("utf-16-le")),
    "request id in a query": http(400, SAID, headers={"X-Request-Id": quote(KEY, safe="")}),
    "redirect": http(307, SAID, headers={"Location": SIGNED}),
    "request id": http(400, SAID, headers={"X-Request-Id": f"req-{KEY}"}),
    "odd id": http(body={"code": "20000", "data": {"task_id": 5, "prompt": PROMPT, "url": SIGNED}}),
    "chat": http(body={"choices": [{"text": SAID}], "usage": {"prompt_tokens": 3}}),
    "drop": DROP,
    "hang": HANG,
    "cut": cut("body"),
    "garbage": Act(raw=f"HTTP/1.1 what {KEY}\r\n\r\n".encode(), then="close"),
    "long header": http(body=CREATED, headers={"X-Long": KEY * 900}),
    "bomb": bomb(),
    "unread": Act(unread=True),
    "accept": ACCEPT,
    "id and code": http(body={**CREATED, "code": "20002", "msg": SAID}),
    "odd but an id": http(body={"code": [SAID], "data": {"task_id": "@ID", "status": {"p": SAID}, "u": SIGNED}}),
}


@pytest.mark.parametrize("name", ECHOES)
async def test_row_62_creates_leak_nothing(net, caplog, name):
    """Row 62: whatever a gateway answers to a create, its own echo of key and prompt included."""
    act = ECHOES[name]
    async with _any_scene(act) as here:
        here.server.always["POST"] = act
        for fields in ({"custom_id": "mine"}, {"metadata": {"n": 1}}):
            try:
                task = await here.client.submit(PROMPT, **fields)
            except OmniError as error:
                net.error(name, error)
            else:
                net.value(name, task)
                net.look("handle", task.to_json())
        net.scene(name, here, caplog)


@contextlib.asynccontextmanager
async def _any_scene(*creates, **settings):
    """A scene without a view on how many slots are held in the end."""
    settings = {"api_key": KEY, "retry": RetryPolicy(attempts=2), **settings}
    with contextlib.suppress(_EnoughError):
        async with scene(*creates, **settings) as here:
            yield here
            raise _EnoughError


class _EnoughError(Exception):
    """The end of a scene whose last checks are for others."""


POLLS = {
    "finished": http(
        body={"code": 20000, "data": {"task_id": "t", "status": "completed", "result": {"video_url": SIGNED}}}
    ),
    "failed": http(body={"code": 20000, "data": {"task_id": "t", "status": "failed", "error_message": f"no {KEY}"}}),
    "signed failure": http(
        body={"code": 20000, "data": {"task_id": "t", "status": "failed", "error_message": f"no {SIGNED}"}}
    ),
    "no url": http(body={"code": 20000, "data": {"task_id": "t", "status": "completed", "u": SIGNED}}),
    "odd": http(body={"code": 20000, "data": {"task_id": "t", "status": [SIGNED, KEY]}}),
    "rejected": envelope("20002", SAID.replace(PROMPT, "")),
    "401": envelope("20001", SAID.replace(PROMPT, ""), status=401),
    "unknown": envelope("20777", SAID.replace(PROMPT, "")),
    "unknown failure": envelope("20777", SAID.replace(PROMPT, ""), status=500),
    "500": http(500, SAID),
    "redirect": http(302, headers={"Location": SIGNED}),
    "drop": DROP,
    "hang": HANG,
    "garbage": Act(raw=KEY.encode() * 30 + b"\r\n\r\n", then="close"),
}


@pytest.mark.parametrize("call", ["query", "wait", "watch", "balance"])
@pytest.mark.parametrize("name", list(POLLS))
async def test_row_62_free_calls_leak_nothing(net, caplog, name, call):
    """Row 62: queries, waits, iterators and balances, with what a gateway may say."""
    async with _any_scene() as here:
        here.server.always["GET"] = POLLS[name]
        try:
            value = await _called(here.client, call)
        except (OmniError, ExceptionGroup) as error:
            net.error(name, error)
        else:
            net.value(name, value)
        net.scene(name, here, caplog)


async def _called(client, call):
    if call == "query":
        return await client.query("t")
    if call == "wait":
        return await client.wait("t", timeout=300)
    if call == "watch":
        return [task async for task in client.watch("t", timeout=300)]
    return await client.balance()


@pytest.mark.parametrize("quoted", [PROMPT, PROMPT[:20], f"{PROMPT}' and again '{PROMPT[:15]}…"])
@pytest.mark.parametrize("call", ["wait", "generate", "many", "download"])
async def test_row_62_a_failed_task_may_quote_its_prompt(net, caplog, call, quoted, tmp_path):
    """Row 62: what a gateway says of a task that failed is told without its prompt, quoted whole or in part."""
    async with _any_scene(ACCEPT) as here:
        here.server.always["GET"] = http(
            body={
                "code": 20000,
                "data": {"task_id": "task-0000001", "status": "failed", "error_message": f"no '{quoted}' here"},
            }
        )
        error = await _failure(here.client, call, tmp_path)
        assert "no '…" in str(error)
        assert "' here" in str(error)
        net.error(call, error)
        net.scene(call, here, caplog)


@pytest.mark.parametrize("quoted", [PROMPT, PROMPT[:20]])
@pytest.mark.parametrize(
    ("code", "status"), [("20002", 200), ("-1", 200), ("20055", 429), ("20777", 200), ("20777", 502)]
)
async def test_row_62_a_look_that_is_refused_may_quote_the_prompt(net, caplog, code, status, quoted):
    """Row 62: whatever a gateway says to a look at a task of ours, with a code that is known or not."""
    async with _any_scene(ACCEPT) as here:
        task = await here.client.submit(PROMPT)
        here.server.always["GET"] = envelope(code, f"no '{quoted}' here", status=status)
        for look in (here.client.query(task), here.client.wait(task, timeout=60)):
            with pytest.raises(OmniError) as caught:
                await look
            net.error(code, caught.value)
        net.scene(code, here, caplog)


async def _failure(client, call, folder):
    if call == "many":
        return [outcome.error async for outcome in client.generate_many([PROMPT])].pop()
    if call == "generate":
        ended = client.generate(PROMPT)
    else:
        task = await client.submit(PROMPT)
        ended = client.wait(task) if call == "wait" else client.download(task.task_id, folder / "v.mp4")
    with pytest.raises(TaskFailedError) as caught:
        await ended
    return caught.value


@pytest.mark.parametrize("address", ["https://10.0.0.1/v.mp4", "http://cdn.example/v.mp4", "https://[::1"])
async def test_row_62_a_bare_url_leaks_no_signature(net, caplog, address, tmp_path):
    """Row 62: the caller's own URL is as secret as a task's, in every frame of the client."""
    async with _any_scene() as here:
        with pytest.raises(OmniError) as caught:
            await here.client.download(f"{address}?{QUERY}", tmp_path / "v.mp4")
        net.error("download", caught.value)
        net.scene("download", here, caplog)


@pytest.mark.parametrize("call", ["query", "balance", "submit"])
async def test_row_62_a_cancelled_call_leaks_nothing(net, caplog, call):
    """Row 62: a cancellation's own traceback ends above the frames that hold the key."""
    async with _any_scene() as here:
        here.server.always.update(GET=HANG, POST=HANG)
        wanted = here.client.submit(PROMPT) if call == "submit" else _called(here.client, call)
        try:
            async with asyncio.timeout(1):
                await wanted
        except TimeoutError as error:
            net.error(call, error)
        net.scene(call, here, caplog)


async def test_row_62_nothing_leaks_where_nothing_can_be_sent(net, caplog):
    """Row 62: refused connections, proxies with a password, bad settings."""
    server = await FaultServer().start()
    await server.stop()
    async with _any_scene(base_url=server.url, proxy=None) as here:
        with pytest.raises(OmniError) as caught:
            await here.client.submit(PROMPT)
        net.error("refused", caught.value)
        net.scene("refused", here, caplog)
    async with _any_scene(
        base_url="https://gateway.example", proxy=f"http://u:CANARY-KEY@127.0.0.1:{server.port}"
    ) as here:
        with pytest.raises(OmniError) as caught:
            await here.client.submit(PROMPT)
        net.error("proxy", caught.value)
        net.scene("proxy", here, caplog)
    with pytest.raises(OmniError) as caught:
        OmniClient("jimmy", api_key=f"{KEY}\nmore")
    net.look("bad key", str(caught.value))


async def test_row_62_invalid_requests_leak_nothing(net, caplog):
    """Row 62: refused before any I/O, the prompt stays out of the message and the frames."""
    async with _any_scene() as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.client.submit(PROMPT, duration=7, image_urls=[SIGNED, SIGNED])
        net.error("invalid", caught.value)
        request = VideoRequest(prompt=PROMPT, image_urls=(SIGNED,), extra={"a": PROMPT})
        net.look("request", repr(request))
        call = here.client.dialect.create(request)
        net.look("call", repr(call))
        net.look("reply", repr(Reply(status=200, headers={"a": KEY}, body=PROMPT.encode(), url=SIGNED)))
        net.scene("invalid", here, caplog)


async def test_row_62_a_key_that_cannot_be_had_leaks_nothing(net, caplog):
    """Row 62: a callable that fails with the key in its own message."""

    def fail():
        raise RuntimeError(f"the vault said {KEY}")

    async with _any_scene(api_key=fail) as here:
        with pytest.raises(OmniError, match="raised RuntimeError") as caught:
            await here.client.submit(PROMPT)
        net.error("callable", caught.value)
        net.scene("callable", here, caplog)


async def test_row_62_a_dialect_or_header_that_trips_leaks_nothing(net, caplog):
    """Row 62: what goes wrong while a request is put together holds the key in its frames, and stays there."""
    async with _any_scene() as here:
        call = Call(kind=CallKind.CREATE, method="POST", path="/x", body={"prompt": PROMPT, "odd": object()})
        with pytest.raises(OmniError, match="never sent") as caught:
            await here.client.studio.exchange.transport.send(call)
        net.error("body", caught.value)
        net.scene("body", here, caplog)


async def test_row_62_a_mixed_run_leaks_nothing(net, caplog):
    """Row 62: many at once, some good, some not; outcomes too."""
    async with _any_scene(
        *[ECHOES[name] for name in ("rejected", "accept", "drop", "odd but an id", "unknown")]
    ) as here:
        here.server.always["POST"] = ACCEPT
        rows = [VideoRequest(prompt=PROMPT, custom_id=str(n)) for n in range(8)]
        async for outcome in here.client.generate_many(rows):
            net.look("outcome", repr(outcome))
            if outcome.error is not None:
                net.error("outcome", outcome.error)
            if outcome.task is not None:
                net.value("outcome", outcome.task)
        net.scene("many", here, caplog)
        assert here.server.charges


def test_the_net_catches_what_leaks():
    """The test of the test: a canary in a local variable, a chain and a log is found."""
    source = "def fail(error, local):\n    raise error from ValueError(local)"
    space = {}
    exec(compile(source, "elsewhere.py", "exec"), space)
    net = Net()
    try:
        space["fail"](OmniError("no"), KEY)
    except OmniError as error:
        net.error("here", error)
    assert {where.split(": ")[1].split()[0] for where, _ in net.caught} == {"traceback", "chain"}
