"""Key, timeouts, proxies and base URL: how a call goes out, and what is found wrong with the settings."""

import asyncio
import gzip
import json
import tracemalloc
import zlib

import aiohttp
import pytest
from yarl import URL

from omni_async import (
    AnswerLostError,
    AuthenticationError,
    InvalidRequestError,
    NotSentError,
    OmniClient,
    RetryPolicy,
    SubmissionUncertainError,
    Timeouts,
    ToApis,
)
from omni_async.dialects import Call, CallKind, Jimmy
from omni_async.keys import Key, sound_key
from omni_async.transport import Transport, checked_base_url
from tests.fault_server import ACCEPT, HANG, KEY, Act, FaultServer, envelope, http, scene
from tests.warp import WarpLoop

LOOP = WarpLoop


UNAUTHORIZED = envelope("20001", "expired", status=401)


# --- the key -------------------------------------------------------------------------------------------------


async def test_a_plain_key_is_sent_as_it_is_without_its_line_break():
    """Keys are copied with what stands around them."""
    assert await Key(" abc\n").get() == " abc\n"
    async with scene(api_key=f" {KEY}\n", running=1) as here:
        await here.submit()
        assert here.server.posts[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("bad", ["", "  ", "a\nb", "schlüssel", None, 5])
def test_a_key_that_no_header_carries_is_refused(bad):
    """Before any I/O."""
    with pytest.raises(AuthenticationError) as caught:
        sound_key(bad)
    assert not caught.value.may_have_charged


def test_a_key_is_not_shown():
    """Its repr says nothing, and a plain one cannot be renewed."""
    key = Key(KEY)
    key.renew()
    assert repr(key) == "<Key>"
    assert not key.renewable
    assert Key(lambda: KEY).renewable


def _keys(*values):
    """A callable that gives one after the other, and its count of calls."""
    calls = []

    def give():
        calls.append(1)
        return values[min(len(calls), len(values)) - 1]

    return give, calls


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_after_a_401_the_callable_is_asked_once_more(asynchronous):
    """The create goes out again with the new key: the first was refused, so it is charged once."""
    give, calls = _keys("old", "new")

    async def later():
        await asyncio.sleep(0.1)
        return give()

    async with scene(UNAUTHORIZED, ACCEPT, api_key=later if asynchronous else give, running=1) as here:
        await here.submit()
        assert [post.headers["authorization"] for post in here.server.posts] == ["Bearer old", "Bearer new"]
        assert len(calls) == 2
        assert len(here.server.charges) == 1


async def test_a_second_401_is_the_end():
    """Asked once more, not for ever."""
    give, calls = _keys("old", "new")
    async with scene(api_key=give) as here:
        here.server.always["POST"] = UNAUTHORIZED
        with pytest.raises(AuthenticationError) as caught:
            await here.submit()
        assert caught.value.status_code == 401
        assert len(here.server.posts) == len(calls) == 2


async def test_a_plain_key_is_not_tried_twice():
    """There is no other."""
    async with scene(UNAUTHORIZED) as here:
        with pytest.raises(AuthenticationError):
            await here.submit()
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("call", ["query", "balance"])
async def test_free_calls_ask_once_more_too(call):
    """A query and a balance with an expired key."""
    give, calls = _keys("old", "new")
    balance = http(body={"code": 20000, "data": {"available": 5, "balance": 5}})
    good = balance if call == "balance" else http(body={"code": 20000, "data": {"task_id": "t", "status": "queued"}})
    async with scene(polls=[UNAUTHORIZED, good], api_key=give) as here:
        await (here.client.balance() if call == "balance" else here.client.query("t"))
        assert [get.headers["authorization"] for get in here.server.gets] == ["Bearer old", "Bearer new"]
        assert len(calls) == 2


async def test_many_calls_refused_at_once_ask_for_one_new_key():
    """A stampede costs one call of the callable."""
    give, calls = _keys("old", "new")

    async def slow():
        await asyncio.sleep(1)
        return give()

    key = Key(slow)
    assert set(await asyncio.gather(*(key.get() for _ in range(20)))) == {"old"}
    for _ in range(20):
        key.renew()
    assert set(await asyncio.gather(*(key.get() for _ in range(20)))) == {"new"}
    assert len(calls) == 2


async def _never():
    await asyncio.sleep(10**6)


@pytest.mark.parametrize("source", [lambda: 1 / 0, lambda: None, lambda: "a\nb", _never], ids=range(4))
async def test_a_callable_that_gives_no_key_sends_nothing(source):
    """It fails, gives nothing, gives no key, or never comes back: nothing was sent, the slot is free."""
    async with scene(api_key=source) as here:
        for wanted in (here.submit, here.client.balance, lambda: here.client.query("t")):
            with pytest.raises(AuthenticationError) as caught:
                await wanted()
            assert caught.value.status_code is None
        assert not here.server.started
        assert here.journal.states == ["PLANNED"]


# --- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://a.example", "http://127.0.0.1:80/prefix", "https://[::1]:8443"])
def test_a_base_url_is_a_plain_origin_with_or_without_a_prefix(url):
    """Its trailing slash goes."""
    assert checked_base_url(url + "/") == url


BAD_URLS = [
    "",
    "a.example",
    "http://a\u2100b",
    "ftp://a.example",
    "https://",
    "https://u:p@a.example",
    "https://a.example?x=1",
]


@pytest.mark.parametrize(
    "url",
    [*BAD_URLS, "https://a.example#x", "https://a:0", "http://[::1", "http://a:99999", 5, None],
)
def test_any_other_base_url_is_refused(url):
    """No host, a user, a query, a fragment, a port that is none."""
    with pytest.raises(InvalidRequestError) as caught:
        checked_base_url(url)
    assert caught.value.faults[0].field == "base_url"


async def test_a_prefix_is_kept():
    """`http://host/prefix` stands before every path."""
    async with FaultServer() as server:
        async with scene(base_url=server.url + "/prefix/", running=1) as here:
            await here.submit()
        assert server.posts[0].path.startswith("/prefix/api/")


@pytest.mark.parametrize("base", ["https://a.example", "http://127.0.0.1:80/pre%20fix", "https://[::1]:8443/a/../b"])
@pytest.mark.parametrize("path", ["/v1/t-1", "/v1/a%2Fb/../c", "//x", "/v1?id=t-1", "/v1#t-1", "/v\n1", "/ü"])
def test_any_path_stands_behind_the_base_url(base, path):
    """Set into it or parsed with it, a path leads to the same place."""
    transport = Transport(dialect=Jimmy(), base_url=base, key=Key(KEY))
    assert transport._address(path) == URL(base + path, encoded=True)
    assert transport._address(path).raw_path_qs == URL(base + path, encoded=True).raw_path_qs


def test_timeouts_are_the_callers():
    """Each kind of call has its own."""
    limits = Timeouts(connect=1, create=2, query=3, read=4)
    transport = Transport(dialect=Jimmy(), base_url="https://a.example", key=Key(KEY), timeouts=limits)
    bounds = transport._bounds
    assert bounds[CallKind.CREATE].watched == 2
    assert bounds[CallKind.QUERY].watched == bounds[CallKind.BALANCE].watched == 3
    assert bounds[CallKind.UPLOAD].watched == 2
    assert {bound.timeout.connect for bound in bounds.values()} == {1}


async def test_a_query_is_given_up_after_its_time():
    """Its own timeout, not that of a create."""
    async with scene(http_timeout=Timeouts(query=3)) as here:
        here.server.always["GET"] = HANG
        began = asyncio.get_running_loop().time()
        with pytest.raises(Exception, match="no answer in time"):
            await here.client.query("t")
        assert asyncio.get_running_loop().time() - began == pytest.approx(3, abs=0.01)


async def test_the_environments_proxy_is_used_and_loopback_goes_direct(monkeypatch):
    """`proxy="env"`."""
    async with FaultServer() as proxy, FaultServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with scene(base_url=server.url, proxy="env", running=1) as here:
            await here.submit()
        assert not proxy.connections
        proxy.always["CONNECT"] = http(403)
        async with scene(base_url="https://gateway.example", proxy="env") as here:
            with pytest.raises(NotSentError, match="proxy"):
                await here.submit()
        assert {seen.path for seen in proxy.seen} == {"gateway.example:443"}
        async with scene(base_url="http://gateway.example", proxy="env", running=1) as here:
            await here.submit()
        assert proxy.posts[0].path.startswith("http://gateway.example/")


async def test_a_proxy_that_cannot_be_used_sends_nothing():
    """A scheme that is not a proxy's, found by the client or at the latest by its first call."""
    transport = Transport(dialect=Jimmy(), base_url="https://gateway.example", key=Key(KEY), proxy="socks9://x")
    with pytest.raises(InvalidRequestError):
        await transport.send(Jimmy().query("t"))


async def test_a_borrowed_session_is_left_open_and_an_own_one_is_closed():
    """Close only what you own."""
    async with aiohttp.ClientSession() as session:
        async with scene(session=session, running=1) as here:
            await here.submit()
        assert not session.closed
    async with scene(running=1) as here:
        await here.submit()
        own = here.client.studio.exchange.transport._session()
    assert own.closed


@pytest.mark.parametrize("lent", [False, True])
async def test_what_cannot_be_put_together_was_not_sent(lent):
    """A body that is not JSON, or a dialect that trips over the key: proved unsent, on a borrowed session too."""

    class Tripping(ToApis):
        def auth(self, key):
            raise KeyError(key)

    async with FaultServer() as server, aiohttp.ClientSession() as session:
        settings = {"base_url": server.url, "key": Key(KEY), "session": session if lent else None, "proxy": None}
        calls = [Call(kind=CallKind.CREATE, method="POST", path="/x", body={"odd": odd}) for odd in (object(), 1e999)]
        for dialect, call in [(ToApis(), calls[0]), (ToApis(), calls[1]), (Tripping(), calls[0])]:
            transport = Transport(dialect=dialect, **settings)
            with pytest.raises(NotSentError) as caught:
                await transport.send(call)
            assert caught.value.configuration
            await transport.aclose()
        assert not server.started


async def test_a_resend_of_aiohttps_own_is_asked_for():
    """A GET dropped once is repeated by aiohttp itself, if the budget has something left; else it is lost."""
    async with FaultServer(polls=[Act(then="close")]) as server:
        transport = Transport(dialect=Jimmy(), base_url=server.url, key=Key(KEY), proxy=None)
        asked = []

        def resend():
            asked.append(len(server.gets))
            return len(asked) == 1

        reply = await transport.send(Jimmy().query("t"), resend=resend)
        assert reply.status == 200
        assert len(server.gets) == 2
        server.always["GET"] = Act(then="close")
        with pytest.raises(AnswerLostError):
            await transport.send(Jimmy().query("t"), resend=resend)
        await transport.aclose()
        assert len(server.gets) == 3
        assert asked == [1, 3]


async def test_only_so_much_of_any_answer_is_read():
    """64 KiB of a create's, a megabyte of another's."""
    async with scene(polls=[http(body=b"x" * 3_000_000)]) as here:
        reply = await here.client.studio.exchange.transport.send(here.client.dialect.query("t"))
        assert len(reply.body) == 1024 * 1024
        assert not reply.complete


def _packed(document):
    """An answer as a server sends it that packs everything."""
    return http(body=gzip.compress(json.dumps(document).encode()), headers={"Content-Encoding": "gzip"})


async def test_a_packed_answer_is_unpacked():
    """Only gzip is asked for, whatever the caller's own headers say."""
    created = {"code": "20000", "data": {"task_id": "packed", "status": "queued"}}
    async with scene(_packed(created), headers={"Accept-Encoding": "br"}, running=1) as here:
        assert (await here.submit()).task_id == "packed"
        assert here.server.posts[0].headers["accept-encoding"] == "gzip"


async def test_an_answer_packed_in_pieces_is_unpacked_whole():
    """A gzip may have several members, and padding behind them; one of ever so many is not unpacked to its end."""
    created = json.dumps({"code": "20000", "data": {"task_id": "packed", "status": "queued"}}).encode()
    pieces = gzip.compress(created[:20]) + gzip.compress(created[20:]) + bytes(64)
    async with scene(http(body=pieces, headers={"Content-Encoding": "gzip"}), running=1) as here:
        assert (await here.submit()).task_id == "packed"
    endless = http(body=gzip.compress(b"") * 3000 + gzip.compress(created), headers={"Content-Encoding": "gzip"})
    async with scene(endless, running=1) as here:
        with pytest.raises(SubmissionUncertainError, match="broke off"):
            await here.submit()


@pytest.mark.parametrize("bits", [zlib.MAX_WBITS, -zlib.MAX_WBITS])
async def test_a_deflated_answer_is_unpacked_with_its_head_and_without(bits):
    """Nobody asked for it; a server that sends it may leave out what should stand around it (RFC 9110 §8.4.1.2)."""
    packing = zlib.compressobj(wbits=bits)
    created = json.dumps({"code": "20000", "data": {"task_id": "packed", "status": "queued"}}).encode()
    body = packing.compress(created) + packing.flush()
    async with scene(http(body=body, headers={"Content-Encoding": "deflate"}), running=1) as here:
        assert (await here.submit()).task_id == "packed"


async def test_a_bomb_takes_no_memory():
    """Unpacked under the cap, on every version of aiohttp: a little gzip does not become a third of a gigabyte."""
    body = gzip.compress(bytes(100_000_000))
    act = http(body=body, headers={"Content-Encoding": "gzip"})
    async with FaultServer(polls=[act]) as server:
        transport = Transport(dialect=Jimmy(), base_url=server.url, key=Key(KEY), proxy=None)
        tracemalloc.start()
        reply = await transport.send(Jimmy().query("t"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await transport.aclose()
        assert (len(reply.body), reply.complete) == (1024 * 1024, False)
        assert peak < 10_000_000


@pytest.mark.parametrize("end", [60, -4])
async def test_what_is_left_of_a_packed_answer_is_unpacked(end):
    """Cut off, it still shows what came."""
    act = _packed({"code": "20000", "data": {"pad": [str(n) for n in range(30)]}})
    head = act.raw.index(b"\r\n\r\n") + 4
    async with scene(Act(raw=act.raw[: head + end] if end > 0 else act.raw[:end], then="close"), running=1) as here:
        with pytest.raises(SubmissionUncertainError) as caught:
            await here.submit()
        assert caught.value.evidence["body"].startswith(b'{"code": "20000"')


# --- how long an upload takes ----------------------------------------------------------------------------------

NEVER_WHOLE = {
    "interim": Act(flood=b"HTTP/1.1 102 Processing\r\n\r\n", charge=False),
    "header": Act(raw=b"HTTP/1.1 200 OK\r\nX-A: ", flood=b"a", charge=False),
    "body": Act(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", flood=b" ", charge=False),
}


@pytest.mark.parametrize("act", NEVER_WHOLE.values(), ids=NEVER_WHOLE)
async def test_an_uploads_answer_comes_in_time_or_is_lost(act, tmp_path):
    """However busily a server sends what is not an answer; a free call, it is tried again."""
    path, loop = tmp_path / "cat.png", asyncio.get_running_loop()
    path.write_bytes(b"\x89PNG")
    async with scene() as here:
        here.server.always["POST"] = act
        began = loop.time()
        with pytest.raises(AnswerLostError) as caught:
            await here.client.upload(path)
        assert caught.value.timed_out
        assert not caught.value.may_have_charged
        assert len(here.server.posts) == 3
        assert 3 * 120 <= loop.time() - began < 3 * 120 + 10


async def test_an_upload_that_nobody_takes_in_is_given_up(tmp_path):
    """A server that takes the connection and reads nothing holds a file for two minutes, not for ever."""
    path, opened = tmp_path / "cat.png", []
    with path.open("wb") as file:
        file.truncate(50_000_000)
    server = await asyncio.start_server(lambda *streams: opened.append(streams), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with OmniClient("jimmy", api_key=KEY, base_url=url, proxy=None, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(AnswerLostError, match="no answer in time"):
            await client.upload(path)
    for _, writer in opened:
        writer.transport.abort()
    server.close()


class Slow(aiohttp.BytesPayload):
    """A body that goes letter by letter, with a pause before each."""

    def __init__(self, letters, pause, moved):
        super().__init__(letters)
        self._pause, self._moved = pause, moved

    async def write_with_length(self, writer, content_length):
        """Each letter is told of."""
        for letter in self._value:
            await asyncio.sleep(self._pause)
            await writer.write(bytes([letter]))
            self._moved()


@pytest.mark.parametrize(("pause", "whole"), [(100, True), (130, False)])
async def test_an_upload_may_take_long_if_it_moves(pause, whole):
    """Each piece has as long again as `create` says, and so has the answer; all of them together may take more."""
    async with FaultServer([http(body={"code": 20000}, delay=100, charge=False)]) as server:
        transport = Transport(dialect=Jimmy(), base_url=server.url, key=Key(KEY), proxy=None)
        sending = transport.send(Jimmy().upload(), data=lambda moved: Slow(b"12345", pause, moved), resend=lambda: True)
        if whole:
            assert (await sending).document == {"code": 20000}
        else:
            with pytest.raises(AnswerLostError):
                await sending
        await transport.aclose()
