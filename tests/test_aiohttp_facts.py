"""What was measured of aiohttp, pinned: an upgrade that changes one of these facts is noticed here, not in a bill.

The paid path is built on them; each is asked of aiohttp itself, without this library in between.
"""

import asyncio
import gzip
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.fault_server import ACCEPT, DROP, FLAT, HANG, Act, FaultServer, cut, http
from tests.warp import WarpLoop

SAFE = {"raise_for_status": False, "middlewares": (), "allow_redirects": False}

LOOP = WarpLoop


@asynccontextmanager
async def asked(*acts, method="POST", session=None, **options):
    """A response to one request, from a server that acts so; gives the server, too."""
    async with FaultServer() as server:
        for verb in ("POST", "GET"):
            server.script[verb].extend(acts)
        async with (
            aiohttp.ClientSession(**(session or {})) as client,
            client.request(method, server.url + FLAT, json={}, **options) as response,
        ):
            yield response, server


async def failure(*acts, method="POST", **options):
    """What a request raises, body included, and the requests that were begun."""
    async with FaultServer() as server, aiohttp.ClientSession() as client:
        for verb in ("POST", "GET"):
            server.script[verb].extend(acts)

        async def whole():
            async with client.request(method, server.url + FLAT, json={}, **options) as response:
                async for _ in response.content.iter_any():
                    pass

        with pytest.raises(Exception) as caught:
            await whole()
        return caught.value, server.started


DISCONNECTS = {
    "before reading": Act(unread=True),
    "closed after accept": DROP,
    "reset after accept": Act(then="reset"),
    "in the status line": cut("status"),
    "in the headers": cut("headers"),
}


@pytest.mark.parametrize("name", DISCONNECTS)
@pytest.mark.parametrize("connection", ["fresh", "reused"])
async def test_a_post_is_never_resent(name, connection):
    """Whatever the disconnect, fresh or reused: one POST is begun."""
    acts = [ACCEPT] * (connection == "reused") + [DISCONNECTS[name]]
    async with FaultServer(acts) as server, aiohttp.ClientSession() as client:
        for _ in acts[1:]:
            async with client.post(server.url + FLAT, json={}) as response:
                await response.read()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.post(server.url + FLAT, json={})
        assert server.started == ["POST"] * len(acts)
        assert server.connections == 1


@pytest.mark.parametrize("name", ["before reading", "closed after accept", "reset after accept"])
async def test_a_get_is_resent_once(name):
    """Even on a fresh connection: two GETs on the wire, which the budget has to count."""
    act = DISCONNECTS[name]
    error, started = await failure(act, act, act, method="GET")
    assert isinstance(error, aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
    assert started == ["GET", "GET"]


async def test_the_resent_get_can_succeed():
    """Which is what it is for."""
    async with asked(DROP, http(), method="GET") as (response, server):
        assert response.status == 200
        assert server.started == ["GET", "GET"]


async def test_a_resend_is_seen_by_the_trace_hooks():
    """Each try obtains a connection, and the hooks tell of each."""
    obtained = []
    config = aiohttp.TraceConfig()

    async def note(_session, _context, _params):
        obtained.append(1)

    config.on_connection_create_end.append(note)
    config.on_connection_reuseconn.append(note)
    async with asked(DROP, http(), method="GET", session={"trace_configs": [config]}):
        assert len(obtained) == 2


@pytest.mark.parametrize("status", [400, 429, 500, 502])
async def test_raise_for_status_of_a_session_is_overruled_per_request(status):
    """`raise_for_status=False` in the request wins over the session's True."""
    session = {"raise_for_status": True}
    async with asked(http(status), session=session, **SAFE) as (response, _):
        assert response.status == status


async def test_a_retrying_middleware_of_a_session_is_overruled_per_request():
    """`middlewares=()` in the request keeps one create from becoming two."""

    async def again(request, handler):
        response = await handler(request)
        return await handler(request) if response.status >= 500 else response

    session = {"middlewares": (again,)}
    async with asked(http(502), session=session, **SAFE) as (_, server):
        assert server.started == ["POST"]
    async with asked(http(502), http(502), session=session) as (_, server):
        assert server.started == ["POST", "POST"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_unless_it_is_forbidden(status):
    """307 and 308 resend the body to the new origin; with `allow_redirects=False` nothing goes there."""
    async with FaultServer() as elsewhere:
        elsewhere.always.update(POST=http(), GET=http())
        act = http(status, headers={"Location": elsewhere.url + "/x"})
        async with asked(act, **SAFE) as (response, _):
            assert response.status == status
        assert not elsewhere.connections
        headers = {"Authorization": "Bearer k", "X-API-Key": "k"}
        async with asked(act, headers=headers):
            (seen,) = elsewhere.seen
        assert seen.method == ("POST" if status in (307, 308) else "GET")
        assert (seen.body == b"{}") is (status in (307, 308))
        # Another port of one host counts as another origin: the one header is dropped, the other is not.
        assert "authorization" not in seen.headers
        assert seen.headers["x-api-key"] == "k"


def test_the_classes_of_what_proves_not_sent():
    """A connector error is an OS error to aiohttp: the clauses have to be ordered."""
    assert issubclass(aiohttp.ClientConnectorError, aiohttp.ClientOSError)
    assert issubclass(aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorError)
    assert issubclass(aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorError)
    assert issubclass(aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorError)
    assert issubclass(aiohttp.ConnectionTimeoutError, TimeoutError)
    assert issubclass(aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionError)
    assert not issubclass(aiohttp.ServerDisconnectedError, aiohttp.ClientConnectorError)
    assert not issubclass(aiohttp.SocketTimeoutError, aiohttp.ConnectionTimeoutError)


async def test_a_refused_connection_is_a_connector_error():
    """Raised before anything is sent."""
    server = await FaultServer().start()
    await server.stop()
    async with aiohttp.ClientSession() as client:
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.post(server.url, json={})


async def test_waiting_for_the_pool_ends_as_a_connection_timeout():
    """`connect` covers the wait for a free connection."""
    async with FaultServer() as server, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
        server.always["POST"] = HANG
        timeout = aiohttp.ClientTimeout(total=60, connect=5)
        first = asyncio.ensure_future(client.post(server.url + FLAT, json={}, timeout=timeout))
        await asyncio.sleep(1)
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await client.post(server.url + FLAT, json={}, timeout=timeout)
        assert len(server.posts) == 1
        with pytest.raises(TimeoutError):
            await first


@pytest.mark.parametrize("act", [http(407), http(502)], ids=["407", "502"])
async def test_a_proxy_that_refuses_connect_has_an_error_of_its_own(act):
    """And the hooks of an obtained connection stay silent."""
    obtained = []
    config = aiohttp.TraceConfig()

    async def note(_session, _context, _params):
        obtained.append(1)

    config.on_connection_create_end.append(note)
    async with FaultServer(connects=[act]) as proxy, aiohttp.ClientSession(trace_configs=[config]) as client:
        with pytest.raises(aiohttp.ClientHttpProxyError):
            await client.post("https://gateway.example/x", json={}, proxy=proxy.url)
        assert not obtained


async def test_a_proxy_that_drops_before_the_tunnel_is_told_by_the_hooks_alone():
    """The exception is that of any disconnect."""
    obtained = []
    config = aiohttp.TraceConfig()

    async def note(_session, _context, _params):
        obtained.append(1)

    config.on_connection_create_end.append(note)
    async with FaultServer(connects=[DROP]) as proxy, aiohttp.ClientSession(trace_configs=[config]) as client:
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            await client.post("https://gateway.example/x", json={}, proxy=proxy.url)
        assert not isinstance(caught.value, aiohttp.ClientConnectorError)
        assert not obtained


@pytest.mark.parametrize(
    "raw",
    [b"garbage\r\n\r\n", b"HTTP/9.9 abc\r\n\r\n", http(headers={"X": "y" * 9000}).raw],
    ids=["garbage", "odd version", "9 kB header"],
)
async def test_garbage_looks_like_a_clean_refusal(raw):
    """ClientResponseError with status 400: an exception from the request call is never a rejection."""
    error, started = await failure(Act(raw=raw, then="close"))
    assert isinstance(error, aiohttp.ClientResponseError)
    assert error.status == 400
    assert started == ["POST"]


async def test_the_total_timeout_is_plain_and_the_read_timeout_is_not():
    """TimeoutError itself against SocketTimeoutError."""
    error, _ = await failure(HANG, timeout=aiohttp.ClientTimeout(total=5))
    assert type(error) is TimeoutError
    error, _ = await failure(HANG, timeout=aiohttp.ClientTimeout(total=None, sock_read=5))
    assert isinstance(error, aiohttp.SocketTimeoutError)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_cut_short_is_a_payload_error(framing):
    """Where its length is known, one way or the other."""
    error, _ = await failure(cut("body", framing))
    assert isinstance(error, aiohttp.ClientPayloadError)


async def test_a_body_cut_short_without_any_framing_is_no_error():
    """A 200 and a short body."""
    async with asked(cut("body", "none")) as (response, _):
        body = await response.read()
        assert response.status == 200
        assert body.startswith(b'{"code"')


async def test_an_empty_body_decodes_to_none():
    """`json()` returns None."""
    async with asked(http(body=b"", headers={"Content-Type": "application/json"})) as (response, _):
        assert await response.json() is None


async def test_a_bomb_is_capped_by_iterating():
    """Little comes in at a time, however much it would become: the loop can stop at its cap."""
    body = gzip.compress(b"\0" * 50_000_000)
    async with asked(http(body=body, headers={"Content-Encoding": "gzip"})) as (response, _):
        taken = 0
        async for chunk in response.content.iter_any():
            taken += len(chunk)
            if taken > 64 * 1024:
                break
        assert len(body) < 60_000
        assert taken <= 50_000_000
        response.close()


async def test_provisional_answers_are_passed_over_and_101_is_not():
    """A 102 before a 200 is not seen; a 101 is an answer."""
    flood = b"HTTP/1.1 102 Processing\r\n\r\n" * 50
    async with asked(Act(raw=flood + http(body=b"x").raw)) as (response, _):
        assert (response.status, await response.read()) == (200, b"x")
    async with asked(Act(raw=b"HTTP/1.1 101 Switching\r\nConnection: close\r\n\r\n", then="close")) as (response, _):
        assert response.status == 101


async def test_a_closed_session_raises_before_it_sends():
    """A RuntimeError, and `closed` tells beforehand."""
    async with aiohttp.ClientSession() as client:
        pass
    assert client.closed
    with pytest.raises(RuntimeError):
        await client.post("http://127.0.0.1:9", json={})


async def test_of_two_spellings_of_a_header_the_later_goes_out():
    """One header, so that a caller's own `authorization` is not a second key."""
    headers = {"authorization": "one", "Authorization": "two"}
    async with asked(http(), headers=headers) as (_, server):
        assert server.posts[0].headers["authorization"] == "two"


async def test_a_line_break_in_a_header_is_found_out_only_with_a_connection():
    """So a bad header of the caller's must be refused beforehand: by then it looks like a lost answer."""
    error, started = await failure(ACCEPT, headers={"X-Odd": "a\nb"})
    assert isinstance(error, ValueError)
    assert not started
