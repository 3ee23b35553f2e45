"""What can happen to a paid POST, row by row of the fault table: one POST on the wire, no more charges than items.

Time jumps in these tests: two minutes of silence and ladders of pauses take no time.
"""

import asyncio
import contextlib
import errno
import json
import logging
import shutil
import socket
import ssl
import subprocess
import warnings

import aiohttp
import attrs
import pytest

from omni_async import (
    AuthenticationError,
    DecodeError,
    GatewayError,
    InvalidRequestError,
    JournalError,
    Limits,
    NotFoundError,
    NotSentError,
    OmniClient,
    QuotaError,
    RateLimitError,
    RejectedError,
    Retried,
    RetryPolicy,
    SubmissionUncertainError,
    Submitted,
    Throttled,
    Uncertain,
    VideoRequest,
    flights,
)
from omni_async.dialects import Jimmy
from omni_async.models import VideoTask
from tests.fault_server import (
    ACCEPT,
    CREATED,
    DROP,
    HANG,
    HTML,
    INTERNAL,
    KEY,
    Act,
    FaultServer,
    bomb,
    cut,
    envelope,
    http,
    running,
    scene,
)
from tests.warp import WarpLoop

FRESH, REUSED = "fresh connection", "reused connection"

LOOP = WarpLoop


def carried(error):
    """Asserts that the caller's own data came back with the error."""
    assert error.custom_id == "mine"
    assert error.metadata == {"order": 7}
    assert error.gateway in ("jimmy", "toapis", "gemini_omni")
    return error


async def uncertain(act, *, charges, gateway="jimmy", posts=1, **settings):
    """Submit against one act: the outcome is uncertain, was told, and the POST went out just once."""
    async with scene(act, gateway=gateway, running=1, **settings) as here:
        with pytest.raises(SubmissionUncertainError) as caught:
            await here.submit()
        error = carried(caught.value)
        assert error.may_have_charged
        assert "console or bill" in str(error)
        assert len(here.server.posts) == posts
        assert here.server.started.count("POST") == 1
        assert len(here.server.charges) == charges
        assert here.journal.states == ["UNCERTAIN"]
        assert [event.custom_id for event in here.told(Uncertain)] == ["mine"]
        assert not here.told(Retried)
        assert here.client.stats().uncertain == 1
    return error


async def refused(act, kind, *, gateway="jimmy", **settings):
    """Submit against one act: a clean refusal, sent once, nothing charged, no slot held."""
    async with scene(act, gateway=gateway, **settings) as here:
        with pytest.raises(kind) as caught:
            await here.submit()
        error = carried(caught.value)
        assert type(error) is kind
        assert not error.may_have_charged
        assert len(here.server.posts) == 1
        assert not here.server.charges
        assert here.journal.states == ["REJECTED"]
    return error


async def unsent(*, tries, **settings):
    """Submit where nothing can be sent: not sent, nothing charged, the row is as before."""
    async with scene(**settings) as here:
        with pytest.raises(NotSentError) as caught:
            await here.submit()
        error = carried(caught.value)
        assert not error.may_have_charged
        assert not here.server.posts
        assert here.journal.states == ["PLANNED"] * tries
        assert len(here.told(Retried)) == tries - 1
        assert {event.metadata["order"] for event in here.told(Retried)} <= {7}
    return error


# --- rows 1 to 3: never sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [socket.gaierror(socket.EAI_NONAME, "unknown"), OSError("odd")])
async def test_row_1_a_name_that_does_not_resolve_is_tried_again_and_then_not_sent(monkeypatch, trouble):
    """Row 1: DNS failure is proved unsent, tried three times, and ends as NotSentError."""

    async def fail(*_args, **_kwargs):
        raise trouble

    monkeypatch.setattr(WarpLoop, "getaddrinfo", fail)
    error = await unsent(tries=3, base_url="http://gateway.example")
    assert "could not be resolved" in str(error)


async def test_row_1_a_refused_connection_is_tried_again_and_then_not_sent():
    """Row 1: nobody listens."""
    server = await FaultServer().start()
    await server.stop()
    await unsent(tries=3, base_url=server.url)


async def test_row_1_no_route_is_tried_again_and_then_not_sent(monkeypatch):
    """Row 1: the network is unreachable."""

    async def fail(*_args, **_kwargs):
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(WarpLoop, "sock_connect", fail)
    await unsent(tries=3, base_url="http://127.0.0.1:9")


async def test_row_1_a_gateway_that_comes_up_meanwhile_gets_the_create_once():
    """Row 1: tried again after a proved failure, it is accepted, and charged once."""
    async with scene(running=1) as here:
        await here.server.stop()
        asyncio.get_running_loop().call_later(0.5, lambda: asyncio.ensure_future(here.server.start()))
        task = await here.submit()
        assert task.task_id == here.server.charges[0]
        assert len(here.server.posts) == 1
        assert here.journal.states == ["PLANNED", "SUBMITTED"]


@pytest.mark.parametrize("answers_first", [True, False])
async def test_row_1_many_outlast_minutes_in_which_a_gateway_that_has_answered_cannot_be_reached(answers_first):
    """Row 1: none of the rows fails, and hardly more is tried; one that never answered may be misspelt: told soon."""
    async with scene(running=None) as here:
        loop = asyncio.get_running_loop()

        async def rows():
            for number in range(40):
                yield f"cat {number}"
                await asyncio.sleep(10)

        loop.call_later(15 if answers_first else 0, lambda: asyncio.ensure_future(here.server.stop()))
        await asyncio.sleep(0 if answers_first else 1)
        loop.call_later(320, lambda: asyncio.ensure_future(here.server.start()))
        began = loop.time()
        all_rows = [(loop.time() - began, one.error) async for one in here.client.generate_many(rows())]
        failed = [(at, type(error), error.may_have_charged) for at, error in all_rows if error is not None]
        assert len(here.server.posts) == len(here.server.charges) == 40 - len(failed)
        assert len(here.told(Retried)) <= 60
        if answers_first:
            assert not failed
        else:
            assert failed[0][0] < 60
            assert failed[0][1:] == (NotSentError, False)


@pytest.mark.parametrize("lent", [False, True])
@pytest.mark.parametrize("act", [http(407), http(502, HTML), http(403)], ids=["407", "502", "403"])
async def test_row_1b_a_proxy_that_refuses_connect_sent_nothing(act, lent):
    """Row 1b: 407, 502 or 403 at CONNECT."""
    async with FaultServer() as proxy, _session(lent) as session:
        proxy.always["CONNECT"] = act
        settings = {"base_url": "https://gateway.example", "proxy": proxy.url, "session": session}
        await unsent(tries=3, **settings)
        assert len(proxy.seen) == 3


async def test_row_1b_a_proxy_that_drops_before_the_tunnel_sent_nothing():
    """Row 1b: no connection was ever obtained, say the trace hooks."""
    async with FaultServer() as proxy:
        proxy.always["CONNECT"] = DROP
        await unsent(tries=3, base_url="https://gateway.example", proxy=proxy.url)


async def test_row_1b_a_proxy_that_answers_garbage_sent_nothing():
    """Row 1b: what is not HTTP at CONNECT proves the same."""
    async with FaultServer() as proxy:
        proxy.always["CONNECT"] = Act(raw=b"\x00\x01 garbage\r\n\r\n", then="close")
        await unsent(tries=3, base_url="https://gateway.example", proxy=proxy.url)


async def test_row_1b_a_proxy_that_is_down_sent_nothing():
    """Row 1b: the proxy refuses the connection."""
    proxy = await FaultServer().start()
    await proxy.stop()
    await unsent(tries=3, base_url="https://gateway.example", proxy=proxy.url)


async def test_row_1_a_name_is_asked_for_anew_after_a_connection_that_was_not_to_be_had(monkeypatch):
    """Row 1: the gateway has moved, and its old address refuses."""
    addresses, asked = ["127.0.0.2", "127.0.0.1"], []

    async def resolve(_loop, host, port, **_):
        asked.append(addresses[0])
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (addresses.pop(0) if addresses[1:] else addresses[0], port))
        ]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    async with FaultServer() as server, scene(running=2, base_url=f"http://gateway.example:{server.port}") as here:
        await here.submit(custom_id="first")
        assert asked == ["127.0.0.2", "127.0.0.1"]
        assert len(server.posts) == 1
        await asyncio.sleep(10)
        await here.submit(custom_id="second")
        assert len(asked) == 2


async def test_row_1b_a_plain_http_proxy_may_have_passed_it_on():
    """Row 1b: without a tunnel the create itself went to the proxy, so its 502 proves nothing."""
    async with (
        FaultServer([http(502, HTML)]) as proxy,
        scene(running=1, base_url="http://a.example", proxy=proxy.url) as s,
    ):
        with pytest.raises(SubmissionUncertainError):
            await s.submit()
        assert len(proxy.posts) == 1


async def test_row_1b_a_borrowed_session_has_no_hooks_and_so_no_such_proof():
    """Row 1b: a proxy's drop through a borrowed session could have come later: uncertain rather than sent twice."""
    async with FaultServer() as proxy, aiohttp.ClientSession() as session:
        proxy.always["CONNECT"] = DROP
        settings = {"base_url": "https://gateway.example", "proxy": proxy.url, "session": session}
        async with scene(running=1, **settings) as here:
            with pytest.raises(SubmissionUncertainError):
                await here.submit()
        assert len(proxy.seen) == 1


@contextlib.asynccontextmanager
async def _session(lent):
    if not lent:
        yield None
        return
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A context with a certificate that nobody signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=elsewhere.example"]
    subprocess.run([*make, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize("lent", [False, True])
async def test_row_2_a_bad_certificate_is_a_matter_of_configuration(certificate, lent):
    """Row 2: never sent, not tried again, and the message says what to look at."""
    async with FaultServer(tls=certificate) as server, _session(lent) as session:
        error = await unsent(tries=1, base_url=server.url, session=session)
        assert error.configuration
        assert "certificate was not accepted" in str(error)
        assert "self-signed certificate" in str(error).replace("self signed", "self-signed")
        assert "sending it again cannot help" in error.explain()
        assert "重发也没有用" in error.explain("zh")
        assert not server.seen


@pytest.mark.parametrize("lent", [False, True])
@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x50"], ids=["503", "alert"]
)
async def test_row_2_a_handshake_that_breaks_off_is_like_a_connection_that_does(greeting, lent):
    """Row 2: a load balancer that has lost its servers, an alert of internal_error: tried again, as it may pass."""
    async with silent_port(greeting) as port, _session(lent) as session:
        error = await unsent(tries=3, base_url=f"https://127.0.0.1:{port}", session=session)
        assert not error.configuration
        assert "the TLS handshake broke off" in str(error)
        assert "safe to send again" in error.explain()


@contextlib.asynccontextmanager
async def silent_port(greeting=b""):
    """A port that takes connections and says nothing beyond a greeting."""
    writers = []

    def accept(_, writer):
        writers.append(writer)
        writer.write(greeting)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("lent", [False, True])
async def test_row_3_a_connection_not_had_in_time_sent_nothing(lent):
    """Row 3: TLS that never comes about, three times ten seconds."""
    async with silent_port() as port, _session(lent) as session:
        began = asyncio.get_running_loop().time()
        await unsent(tries=3, base_url=f"https://127.0.0.1:{port}", session=session)
        assert 30 <= asyncio.get_running_loop().time() - began <= 40


async def test_row_3_waiting_for_the_pool_in_vain_sent_nothing():
    """Row 3: a borrowed session whose only connection is taken."""
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session, scene(HANG, session=session, running=1) as here:
        stuck = asyncio.ensure_future(here.submit(custom_id="first"))
        await asyncio.sleep(0.5)
        with pytest.raises(NotSentError, match="no connection in time"):
            await here.submit()
        assert len(here.server.posts) == 1
        with pytest.raises(SubmissionUncertainError):
            await stuck


async def test_row_3_a_closed_session_sent_nothing():
    """Row 3: a borrowed session that its owner has closed already."""
    async with aiohttp.ClientSession() as session:
        pass
    error = await unsent(tries=1, session=session)
    assert error.configuration


async def test_row_3_a_session_with_an_auth_of_its_own_sent_nothing():
    """Row 3: aiohttp sends no two keys, and raises a ValueError before there is a connection."""
    with warnings.catch_warnings(action="ignore"):  # newer aiohttp deprecates it
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    async with session:
        error = await unsent(tries=1, session=session)
    assert error.configuration
    assert "auth=" in str(error)


def test_row_3_a_session_of_another_loop_sent_nothing():
    """Row 3: a session made when the program started, on a loop that has ended since."""

    async def make():
        return aiohttp.ClientSession()

    with asyncio.Runner() as earlier:
        session = earlier.run(make())
        error = asyncio.run(unsent(tries=1, session=session))
        earlier.run(session.close())
    assert error.configuration
    assert "another event loop" in str(error)


async def test_row_3_a_session_that_trips_after_the_body_went_out_may_have_sent_it():
    """Row 3: a borrowed session's own hook raises at the answer."""

    async def trip(*_):
        raise ValueError("mine")

    hooks = aiohttp.TraceConfig()
    hooks.on_request_end.append(trip)
    async with aiohttp.ClientSession(trace_configs=[hooks]) as session, scene(session=session, running=1) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


async def test_row_3_a_closed_connector_sent_nothing():
    """Row 3: our own session whose connector is gone."""
    async with scene() as here:
        await here.client.studio.exchange.transport._session().connector.close()
        with pytest.raises(NotSentError):
            await here.submit()


# --- rows 4 to 7: the answer is lost -------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_row_4_a_disconnect_after_accept_is_uncertain(then):
    """Row 4: charged, no byte of an answer, fresh connection."""
    error = await uncertain(Act(then=then), charges=1)
    assert "answer was lost" in error.evidence["reason"]


async def test_row_4_a_disconnect_before_reading_is_uncertain():
    """Row 4: nobody can tell whether it was read."""
    await uncertain(Act(unread=True), charges=0, posts=0)


async def test_row_5_a_stale_connection_is_uncertain():
    """Row 5: the server closes the idle connection as the second POST comes: it is not sent again."""
    async with scene(ACCEPT, Act(unread=True), running=2) as here:
        await here.submit(custom_id="first")
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert here.server.started == ["POST", "POST"]
        assert here.server.connections == 1
        assert len(here.server.charges) == 1


@pytest.mark.parametrize("unasked", [http(body=CREATED, charge=False), http(400, "no"), http(408, "idle")])
async def test_row_5_an_answer_to_nothing_is_not_taken_for_that_of_a_create(unasked):
    """Row 5: it came on an idle connection: the create goes out on another, and its own answer counts."""
    async with scene(running=2) as here:
        first = await here.submit(custom_id="first")
        for writer in here.server._writers:
            writer.write(unasked.raw.replace(b"@ID", b"task-another"))
            await writer.drain()
        await asyncio.sleep(0.01)
        assert [first.task_id, (await here.submit()).task_id] == here.server.charges
        assert here.server.connections == 2


async def test_row_5_a_server_that_always_speaks_unasked_is_sent_no_create(monkeypatch):
    """Row 5: after a few connections the create is known not to be sent, which is proved."""
    monkeypatch.setattr(flights, "_has_spoken", lambda _connection: True)
    async with scene() as here:
        with pytest.raises(NotSentError) as caught:
            await here.submit()
        assert not caught.value.may_have_charged
        assert here.server.started == []


async def test_row_5_a_connection_that_the_machine_slept_with_carries_no_create(monkeypatch):
    """Row 5, made rare: a laptop was shut for a night, the server has closed all connections, and nobody heard it."""
    monkeypatch.setattr(flights, "UNASKED", 1)  # however many there are
    async with scene(running=3) as here:
        await here.submit(custom_id="first")
        monkeypatch.setattr(flights, "asleep", lambda: 8 * 3600.0)
        await here.submit(custom_id="second")
        assert here.server.connections == 2
        await here.submit()
        assert here.server.connections == 2


async def test_row_5_idle_connections_are_given_up_before_servers_do():
    """Row 5, made rare: our own connections live for less than the five idle seconds of many servers."""
    async with scene(running=1) as here:
        await here.submit()
        assert here.client.studio.exchange.transport._session().connector._keepalive_timeout == 4.0


async def test_row_5_a_create_goes_on_no_connection_that_was_idle_for_long():
    """Row 5, made rare: some servers keep one for two seconds, and on what they have just closed it would be lost."""
    async with scene(polls=[running("task-0000001")], running=4) as here:
        task = await here.submit(custom_id="first")
        await asyncio.sleep(flights.FRESH - 0.1)
        await here.submit(custom_id="second")
        assert here.server.connections == 1
        await asyncio.sleep(flights.FRESH + 0.1)
        await here.client.query(task)
        assert here.server.connections == 1
        await asyncio.sleep(flights.FRESH + 0.1)
        await here.submit(custom_id="third")
        await here.submit(custom_id="fourth")
        assert here.server.connections == 2


async def test_row_5_a_create_that_takes_long_wears_out_no_connection():
    """It is idle from its answer on: creates one after the other share one, however long each takes."""
    async with scene(*[attrs.evolve(ACCEPT, delay=20.0)] * 3, running=3) as here:
        for name in ("first", "second", "third"):
            await here.submit(custom_id=name)
        assert here.server.connections == 1


async def test_row_5_a_look_that_takes_long_wears_out_no_connection():
    """A create right after it goes on the same one."""
    slow = attrs.evolve(running("task-0000001"), delay=20.0)
    async with scene(polls=[slow], running=2) as here:
        task = await here.submit(custom_id="first")
        await here.client.query(task)
        await here.submit(custom_id="second")
        assert here.server.connections == 1


async def test_row_6_a_silent_connection_is_kept_known_on_the_way():
    """Row 6, made rare: some NATs forget what is silent for a minute; the system asks each half minute who is there."""
    async with scene(running=1) as here:
        await here.submit()
        (((protocol, _),),) = here.client.studio.exchange.transport._session().connector._conns.values()
        made = protocol.transport.get_extra_info("socket")
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if idle := getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None)):
            assert made.getsockopt(socket.IPPROTO_TCP, idle) == flights.SILENT <= 45


async def test_row_6_no_answer_in_time_is_uncertain():
    """Row 6: two minutes of silence after sending."""
    error = await uncertain(HANG, charges=1)
    assert "no answer in time" in error.evidence["reason"]


async def test_row_6_silence_in_the_middle_of_the_answer_is_uncertain():
    """Row 6: the head came, the body does not."""
    head = ACCEPT.raw[: ACCEPT.raw.index(b"\r\n\r\n") + 4]
    error = await uncertain(Act(raw=head + b'{"code": "20000"', then="hang"), charges=1)
    assert error.evidence["body"] == b'{"code": "20000"'
    assert error.evidence["status"] == 200


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
async def test_row_7_an_answer_cut_inside_the_id_is_uncertain_and_kept(framing):
    """Row 7: the raw bytes are the evidence."""
    error = await uncertain(cut("body", framing), charges=1)
    assert error.evidence["body"].startswith(b'{"code": "20000"')
    assert error.evidence["candidate"] is None


def _cut_after_the_id(framing="length", task_id=b"@ID"):
    raw = http(body=CREATED, framing=framing).raw.replace(b"@ID", task_id)
    return Act(raw=raw[: raw.index(task_id) + len(task_id) + 12], then="close")


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
async def test_row_7_an_id_whole_in_a_broken_answer_is_salvaged(framing):
    """Row 7: believed after one query, and returned as if nothing had happened."""
    async with scene(_cut_after_the_id(framing), running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert task.custom_id == "mine"
        assert task.metadata == {"order": 7}
        assert len(here.server.posts) == len(here.server.gets) == 1
        assert here.journal.answers[0].candidate == task.task_id
        assert here.journal.calls[1:] == [
            ("answered", task.task_id, "UNCERTAIN", here.journal.answers[0].detail),
            ("settle", task.task_id, "SUBMITTED", "found by looking it up"),
        ]


BEHIND = {
    "space": b" ",
    "nul": b"\0",
    "brace": b"}",
    "comment": b"<!-- served by a cache -->\r\n",
    "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept", "to be closed"])
@pytest.mark.parametrize("lent", [False, True])
async def test_row_7_a_whole_answer_is_read_whatever_is_behind_it(behind, headers, lent):
    """Row 7: in the same segment as well, where aiohttp sees both at once; the connection is not used again."""
    sound = http(body=CREATED, headers=headers)
    acts = [attrs.evolve(sound, raw=sound.raw + BEHIND[behind]), ACCEPT]
    async with _session(lent) as session, scene(*acts, session=session, running=2) as here:
        tasks = [await here.submit(custom_id=name) for name in ("one", "two")]
        assert [task.task_id for task in tasks] == here.server.charges
        assert here.journal.states == ["SUBMITTED"] * 2
        assert (len(here.server.gets), here.server.connections) == (0, 2)


async def test_row_7_a_whole_answer_is_read_over_tls_whatever_is_behind_it(certificate):
    """Row 7: there aiohttp's protocol stands behind another one."""
    acts = [attrs.evolve(ACCEPT, raw=ACCEPT.raw + b"}"), ACCEPT]
    server, connector = FaultServer(acts, tls=certificate), aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        scene(server=server, session=session, running=2) as here,
    ):
        tasks = [await here.submit(custom_id=name) for name in ("one", "two")]
        assert [task.task_id for task in tasks] == here.server.charges


@pytest.mark.parametrize("end", [b"zz\r\n\r\n", b"-1\r\n", b"0\r\n\0\r\n", b"<br />\r\n"])
@pytest.mark.parametrize("then", ["keep", "close"])
@pytest.mark.parametrize("lent", [False, True])
async def test_row_7_a_whole_body_in_a_broken_framing_is_read_at_once(end, then, lent):
    """Row 7: a chunk behind it that has no size, in the same segment; nobody waits for what cannot come any more."""
    sound, now = http(body=CREATED, framing="chunked"), asyncio.get_running_loop().time
    act = attrs.evolve(sound, raw=sound.raw.removesuffix(b"0\r\n\r\n") + end, then=then)
    async with _session(lent) as session, scene(act, session=session, running=1) as here:
        began = now()
        assert [(await here.submit()).task_id] == here.server.charges
        assert now() - began < 1.0
        assert here.journal.states == ["SUBMITTED"]


async def test_row_7_a_broken_framing_in_a_later_segment_is_the_end_of_the_answer():
    """Row 7: by then the rest of the body is waited for, and it never comes."""
    head, now = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", asyncio.get_running_loop().time
    began = now()
    error = await uncertain(Act(raw=head + b"5\r\n{", flood=b"  \r\n"), charges=1)  # where its end is due stands "  "
    assert now() - began < 5.0
    assert error.evidence["body"].startswith(b"{  \r\n")


async def test_row_7_without_an_id_in_sight_nothing_is_looked_up(caplog):
    """Row 7: there is nothing to ask about where the gateway takes no key either."""
    caplog.set_level(logging.INFO, "omni_async")
    async with scene(DROP, running=1) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert not here.server.gets
    assert "look up" not in caplog.text


async def test_row_7_an_id_that_no_query_knows_stays_a_candidate():
    """Row 7: what the gateway does not know is evidence, not a task."""
    error = await uncertain(_cut_after_the_id(task_id=b"task-of-nobody"), charges=1)
    assert error.evidence["candidate"] == error.task_id == "task-of-nobody"


NAMING = {
    "minus one": http(body={"code": "-1", "msg": "server error", "data": {"id": "@ID"}}),
    "minus one, 502": http(502, {"code": -1, "msg": "server error", "data": {"taskId": "@ID"}}, charge=True),
    "queued": http(body={"code": "20010", "msg": "请求过多，已进入排队", "data": {"id": "@ID"}}),
    "too many, cut": http(429, b'{"deep": {"task_id": "@ID"}, "sta', charge=True),
}


@pytest.mark.parametrize("answer", NAMING)
async def test_row_1_a_refusal_that_names_a_task_which_is_there_is_not_sent_again(answer):
    """Rows 1, 10: an id in sight counts, although the code would have it sent again; the gateway says whose it is."""
    async with scene(NAMING[answer], running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert len(here.server.posts) == 1
        assert here.journal.states == ["SUBMITTING", "UNCERTAIN", "SUBMITTED"]


@pytest.mark.parametrize(
    "answer",
    [
        http(429, {"job": {"task_id": "@ID"}, "message": "queue"}, charge=True),
        http(429, b"", headers={"Location": "/api/open-api/v1/videos/@ID"}, charge=True),
        http(402, {"msg": "余额不足", "data": {"id": "@ID"}}, charge=True),
    ],
    ids=["rate", "location", "quota"],
)
async def test_row_42_a_task_that_a_refusal_names_may_be_unknown_for_a_minute(answer):
    """Rows 1, 42: new ids are not to be seen at once; whatever would be sent again later waits for that, too."""
    unknown = [http(body={"code": "20002", "msg": "task not found"})] * 6
    async with scene(answer, polls=unknown, running=1) as here:
        began = asyncio.get_running_loop().time()
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert 59 < asyncio.get_running_loop().time() - began < 90
        assert here.journal.states == ["SUBMITTING", "UNCERTAIN", "SUBMITTED"]


async def test_row_19b_a_refusal_that_names_a_task_which_nobody_knows_is_sent_again():
    """Rows 16, 19b: the gateway says for a minute that there is no such task."""
    said = {"code": "-1", "msg": "server error", "data": {"id": "task-of-nobody"}}
    async with scene(http(body=said, charge=False), ACCEPT, running=1) as here:
        began = asyncio.get_running_loop().time()
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert len(here.server.posts) == 2
        assert asyncio.get_running_loop().time() - began > 59
        assert here.journal.states == ["SUBMITTING", "PLANNED", "SUBMITTED"]


class Stumbling(Jimmy):
    """A caller's own dialect that cannot ask for every id."""

    def query(self, task_id):
        """Raises."""
        raise ValueError("no such form of an id")


@pytest.mark.parametrize("answer", ["minus one", "too many, cut"])
async def test_row_1_a_task_that_a_dialect_cannot_ask_about_is_uncertain(answer):
    """Nothing but an `OmniError` reaches the caller, the id is told, and the row has its recorded end."""
    async with scene(NAMING[answer], gateway=Stumbling(), running=None) as here:
        with pytest.raises(SubmissionUncertainError) as caught:
            await here.submit()
        assert [caught.value.task_id] == here.server.charges
        assert here.journal.states == ["SUBMITTING", "UNCERTAIN"]


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        ("jimmy", envelope("20002", "无效的任务ID")),
        ("toapis", http(400, {"error": {"code": "invalid_request_error", "message": "Invalid task_id"}})),
        ("toapis", http(404, {"error": {"code": "task_not_found", "message": "invalid task id"}})),
    ],
    ids=range(3),
)
async def test_row_19b_that_an_id_is_none_of_the_gateways_proves_nothing(gateway, told):
    """Rows 16, 19b: what a refusal names can be the task's number elsewhere, so that it is not sent again."""
    error = {"code": "internal_error", "message": "no", "task": {"id": "t-7"}}
    said = {"code": "-1", "msg": "server error", "data": {"id": "t-7"}} if gateway == "jimmy" else {"error": error}
    async with scene(http(200 if gateway == "jimmy" else 500, said), gateway=gateway, running=None) as here:
        here.server.always["GET"] = told
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


QUEUED = "并发任务数已达上限，任务已进入排队"
UNASKABLE = {
    "busy, a number": ("jimmy", 200, {"code": 200, "msg": QUEUED, "data": {"task_id": 10293}}, "10293"),
    "busy, another name": ("jimmy", 200, {"code": 200, "msg": QUEUED, "data": {"video_id": "v_abc"}}, None),
    "busy, a bare result": ("jimmy", 200, {"code": 22, "msg": "排队过多", "result": "1400193"}, "1400193"),
    "minus one, a number": ("jimmy", 200, {"code": -1, "msg": "timeout", "data": {"task_id": 7}}, "7"),
    "minus one, a bare text": ("jimmy", 502, {"code": -1, "msg": "timeout", "data": "t1abc"}, "t1abc"),
    "429, a bare text": ("toapis", 429, {"code": "queued", "data": "t1"}, "t1"),
    "internal error, a number": ("toapis", 500, {"error": {"code": "internal_error"}, "task_id": 12345}, "12345"),
}


@pytest.mark.parametrize("answer", UNASKABLE)
async def test_row_1_a_refusal_that_tells_of_a_task_in_no_known_form_is_not_sent_again(answer):
    """Rows 1, 16, 19b: that the gateway does not know it under that id proves nothing: it can have another."""
    gateway, status, body, candidate = UNASKABLE[answer]
    lookups = 1 if candidate else 0
    async with scene(http(status, body, charge=True), gateway=gateway, running=None) as here:
        here.server.always["GET"] = http(404, {"error": {"code": "task_not_found", "message": "no"}})
        with pytest.raises(SubmissionUncertainError, match="tells of something that may be a task") as caught:
            await here.submit()
        assert caught.value.may_have_charged
        assert caught.value.evidence["candidate"] == candidate
        assert len(here.server.posts) == 1
        assert len(here.server.gets) == lookups + (3 if gateway == "toapis" else 0)
        assert here.journal.states == ["UNCERTAIN"]


@pytest.mark.parametrize("answer", [answer for answer in UNASKABLE if UNASKABLE[answer][3]])
async def test_row_1_the_task_that_it_tells_of_is_returned_where_it_can_be_asked_about(answer):
    """It runs under that id: confirmed by a query like any other candidate."""
    gateway, status, body, candidate = UNASKABLE[answer]
    async with scene(http(status, body, charge=True), gateway=gateway, running=1) as here:
        here.server.always["GET"] = http(body={"status": "processing", "progress": 5})
        task = await here.submit()
        assert task.task_id == candidate
        assert len(here.server.posts) == 1
        assert here.journal.states == ["UNCERTAIN", "SUBMITTED"]


async def test_row_16_a_refusal_for_the_rate_slows_also_where_it_tells_of_a_task():
    """The create is uncertain, and the next one waits as after any 429."""
    busy = http(429, {"code": "queued", "data": {"job": 51234}}, headers={"Retry-After": "9"})
    async with scene(busy, running=None) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert [event.pause for event in here.told(Throttled)] == [pytest.approx(9, rel=0.2)]


async def test_row_1_words_alone_do_not_prove_that_there_is_no_such_task():
    """A look that is refused in nobody's form, such as by a program before the gateway: it is not sent again."""
    async with scene(NAMING["minus one"], running=None) as here:
        here.server.always["GET"] = http(400, {"message": "no such task"})
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("word", ["failed", "error", "completed"])
async def test_row_1_a_look_that_tells_of_a_state_does_not_prove_that_there_is_no_such_task(word):
    """However odd it is otherwise: it is not sent again."""
    refusal = http(500, {"error": {"code": "internal_error", "message": "m", "task_id": "t-1"}})
    async with scene(refusal, gateway="gemini_omni", running=None) as here:
        here.server.always["GET"] = http(body={"status": word, "error": {"code": "task_not_found"}})
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("look", [envelope("20001", "bad key", status=401), http(403, HTML)], ids=["key", "firewall"])
async def test_row_1_a_look_that_is_refused_for_the_key_does_not_prove_that_there_is_no_such_task(look):
    """The key was good for the create, which may be paid: it is not sent again."""
    async with scene(NAMING["minus one"], running=None) as here:
        here.server.always["GET"] = look
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


async def test_row_14_a_refused_key_made_no_task_that_its_refusal_names():
    """Looks are refused like the create: nothing was charged."""
    said = {"code": "20001", "msg": "bad key", "data": {"id": "t-7"}}
    async with scene(http(401, said)) as here:
        here.server.always["GET"] = envelope("20001", "bad key", status=401)
        with pytest.raises(AuthenticationError) as caught:
            await here.submit()
        assert not caught.value.may_have_charged
        assert here.journal.states == ["SUBMITTING", "REJECTED"]


async def test_row_1_a_refusal_that_names_a_task_which_cannot_be_looked_up_is_uncertain():
    """With the id as evidence: it is not sent again before somebody knows."""
    async with scene(NAMING["minus one"], running=None) as here:
        here.server.always["GET"] = HANG
        with pytest.raises(SubmissionUncertainError) as caught:
            await here.submit()
        assert [caught.value.evidence["candidate"]] == here.server.charges
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("status", [201, 202, 303])
async def test_row_9_a_task_that_only_a_location_names_is_found(status):
    """Rows 9, 21: nothing is followed there; the gateway is asked about the id, as about any candidate."""
    headers = {"Location": "/api/open-api/v1/videos/@ID"}
    async with scene(http(status, b"", headers=headers, charge=True), running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert here.journal.states == ["UNCERTAIN", "SUBMITTED"]


# --- rows 8 to 13: what a 200 says ---------------------------------------------------------------------------


async def test_row_8_a_sound_answer_is_a_task():
    """Row 8: one POST, one charge, the ids where they belong."""
    async with scene(http(body=CREATED, headers={"X-Request-Id": "req-1"}), running=1) as here:
        task = await here.submit()
        assert (task.task_id, task.custom_id, task.request_id) == (here.server.charges[0], "mine", "req-1")
        assert here.journal.calls[0] == ("intend", "mine")
        assert here.journal.states == ["SUBMITTED"]
        (event,) = here.told(Submitted)
        assert (event.task_id, event.custom_id, event.metadata) == (task.task_id, "mine", {"order": 7})
        assert event.request_id == "req-1"
        assert not here.client.unclaimed()


@pytest.mark.parametrize("odd", [None, "", "  ", 12345, {}, []], ids=repr)
async def test_row_9_success_without_a_usable_id_is_uncertain(odd):
    """Row 9: null, empty or not a text; the raw answer is kept."""
    data = {"code": "20000", "msg": "ok", "data": {"task_id": odd, "status": "queued"}}
    error = await uncertain(http(body=data), charges=1)
    assert json.loads(error.evidence["body"]) == data


async def test_row_9_success_without_an_id_at_all_is_uncertain():
    """Row 9: no such field, and no data at all."""
    await uncertain(http(body={"code": "20000", "data": {"status": "queued"}}), charges=1)
    await uncertain(http(body={"code": "20000", "msg": "ok"}), charges=1)


async def test_row_10_an_id_beside_an_error_code_is_a_task(caplog):
    """Row 10: money may be spent, so the id is kept, and the log says so."""
    async with scene(http(body={**CREATED, "code": "20002", "msg": "odd"}), running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
    assert "and an error code; the id is kept" in caplog.text


@pytest.mark.parametrize("code", ["20000", 20000])
async def test_row_11_the_code_is_an_int_or_a_text_of_digits(code):
    """Row 11: both forms are the documented ones."""
    async with scene(http(body={**CREATED, "code": code}), running=1) as here:
        assert (await here.submit()).task_id


@pytest.mark.parametrize("code", [20000.0, True, "0", 0, 0.0], ids=repr)
async def test_row_11_an_odd_code_without_an_id_is_uncertain(code):
    """Row 11: a float or a bool is malformed, and proves no refusal."""
    await uncertain(http(body={"code": code, "msg": "?", "data": None}), charges=1)


async def test_row_12_a_bad_parameter_is_rejected():
    """Row 12: the gateway's own words, and its request id."""
    error = await refused(envelope("20002", "duration is wrong", headers={"x-request-id": "req-9"}), RejectedError)
    assert (error.code, error.status_code, error.request_id, error.moderated) == ("20002", 200, "req-9", False)
    assert "duration is wrong" in str(error)


async def test_row_12_moderation_is_rejected():
    """Row 12: and never to be resent unchanged."""
    error = await refused(envelope("20002", "内容违规"), RejectedError)
    assert error.moderated
    flat = {"error": {"code": "content_policy_violation", "message": "no"}}
    assert (await refused(http(422, flat), RejectedError, gateway="toapis")).moderated


async def test_row_13_an_unknown_code_is_uncertain():
    """Row 13: until somebody classifies it."""
    error = await uncertain(envelope("20777", "half done"), charges=0)
    assert "unknown code 20777" in error.evidence["reason"]


# --- rows 14 to 20: refusals and 5xx -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_row_14_a_bad_key_is_an_authentication_error(status):
    """Row 14: with the gateway's envelope or without."""
    error = await refused(envelope("20001", "bad key", status=status), AuthenticationError)
    assert (error.status_code, error.code) == (status, "20001")
    await refused(http(status, HTML), AuthenticationError)


async def test_row_14_a_bad_key_in_a_200_is_an_authentication_error():
    """Row 14: the envelope alone says it."""
    await refused(envelope("20001", "bad key"), AuthenticationError)


async def test_row_15_no_balance_is_a_quota_error():
    """Row 15: told by the message on jimmy, by the status elsewhere."""
    assert "top it up" in str(await refused(envelope("20099", "余额不足"), QuotaError))
    await refused(http(402, HTML), QuotaError, gateway="toapis")


async def test_row_15_an_unlisted_text_is_uncertain():
    """Row 15: no pattern, so row 13."""
    await uncertain(envelope("20099", "钱包空了"), charges=0)


RATE = [http(429, HTML), http(429, {"error": {"code": "x"}}), envelope("20055", "请求过于频繁")]


@pytest.mark.parametrize("act", RATE, ids=["429 html", "429 error", "200 with words"])
async def test_row_16_a_rate_refusal_waits_and_goes_on(act):
    """Row 16: a pause, then accepted; one charge."""
    async with scene(act, act, ACCEPT, running=1) as here:
        began = asyncio.get_running_loop().time()
        assert (await here.submit()).task_id
        assert asyncio.get_running_loop().time() - began >= 3.0
        assert len(here.server.posts) == 3
        assert len(here.server.charges) == 1
        assert [event.kind for event in here.told(Throttled)] == ["create", "create"]
        assert here.journal.states == ["PLANNED", "PLANNED", "SUBMITTED"]


@pytest.mark.parametrize(("after", "least", "most"), [("7", 7, 8), ("9999999", 120, 121), ("-5", 1, 2), ("nan", 1, 2)])
async def test_row_16_the_gateways_own_pause_is_obeyed_and_bounded(after, least, most):
    """Row 16: Retry-After in seconds, clamped to the policy's `max_wait`; nonsense counts as not said."""
    async with scene(http(429, headers={"Retry-After": after}), running=1) as here:
        began = asyncio.get_running_loop().time()
        await here.submit()
        assert least <= asyncio.get_running_loop().time() - began <= most


BUSY = {"error": {"code": "rate_limit_exceeded", "message": "busy: please retry in 7.2s"}}


@pytest.mark.parametrize(
    ("gateway", "act"), [("jimmy", envelope("429", "请求过于频繁，请在7秒后重试")), ("toapis", http(429, BUSY))]
)
async def test_row_16_a_pause_named_in_the_body_is_obeyed(gateway, act):
    """Row 16: where no header names one, as when a gateway passes on the words of the one behind it."""
    async with scene(act, gateway=gateway, running=1) as here:
        began = asyncio.get_running_loop().time()
        await here.submit()
        assert 7 <= asyncio.get_running_loop().time() - began <= 8.2


async def test_row_16_after_max_wait_it_is_a_rate_limit_error():
    """Row 16: nothing was sent any more, and when to come again is estimated."""
    async with scene(http(429, headers={"Retry-After": "60"})) as here:
        with pytest.raises(RateLimitError) as caught:
            await here.submit(max_wait=5)
        error = carried(caught.value)
        assert not error.may_have_charged
        assert 50 <= error.retry_after <= 61
        assert len(here.server.posts) == 1


async def test_row_16_the_error_after_max_wait_holds_the_gateways_own_refusal():
    """Row 16: it was sent and refused, and what the gateway said of that is what the caller has to go by."""
    refusal = {"error": {"code": "rate_limit_exceeded", "message": "come back tomorrow"}}
    act = http(429, refusal, headers={"Retry-After": "60", "X-Request-Id": "R-1"})
    async with scene(act, gateway="toapis") as here:
        with pytest.raises(RateLimitError, match=r"come back tomorrow.*; try again in about") as caught:
            await here.submit(max_wait=5)
        error = carried(caught.value)
        assert (error.status_code, error.code, error.message) == (429, "rate_limit_exceeded", "come back tomorrow")
        assert (error.request_id, error.may_have_charged) == ("R-1", False)
        assert 50 <= error.retry_after <= 61
        assert "nothing was sent" not in str(error)


async def test_row_16_a_lone_create_that_is_always_refused_gives_up_and_explains():
    """Row 16: with none of ours running there is no finish to wait for; the seed's three causes are named."""
    async with scene() as here:
        here.server.always["POST"] = http(429)
        with pytest.raises(RateLimitError, match=r"request rate, concurrency \(running tasks\) or quota"):
            await here.submit()
        assert len(here.server.posts) <= 5
        assert not here.server.charges


async def test_row_17_a_storm_of_refusals_is_met_with_a_steady_trickle():
    """Row 17: ten minutes of 429 for twenty rows cost at most a probe per pause, and then all go through."""
    async with scene(running=0) as here:
        server, loop = here.server, asyncio.get_running_loop()
        server.always["POST"] = http(429)
        loop.call_later(590.0, lambda: server.always.update(POST=None))
        times = []
        taken = server._next
        server._next = lambda method: (times.append(loop.time()) if method == "POST" else None, taken(method))[1]
        rows = [VideoRequest(prompt=f"cat {n}", custom_id=str(n)) for n in range(20)]
        outcomes = [outcome async for outcome in here.client.generate_many(rows, timeout=None)]
        storm = [moment for moment in times if moment < times[0] + 590.0]
        assert all(outcome.error is None for outcome in outcomes)
        assert len(server.charges) == 20
        assert len(storm) <= 60
        late = [moment for moment in storm if moment > times[0] + 300.0]
        assert len(late) <= 300.0 / 10.0


@pytest.mark.parametrize("status", [400, 404, 405, 411, 413, 414, 415, 421, 422, 431])
async def test_row_18_a_clean_status_with_html_is_rejected(status):
    """Row 18: refused by the status alone, no code."""
    error = await refused(http(status, HTML), NotFoundError if status == 404 else RejectedError)
    assert error.code is None
    assert error.status_code == status


FIVES = [500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 408, 409, 425, 499]


@pytest.mark.parametrize("status", FIVES)
async def test_row_19_a_5xx_without_the_gateways_word_is_uncertain(status):
    """Row 19: HTML or nothing at all, from a CDN or whoever; some 4xx prove as little."""
    await uncertain(http(status, HTML, charge=True), charges=1)
    await uncertain(http(status, charge=False), charges=0)


async def test_row_19_an_internal_error_in_a_502_is_uncertain():
    """Row 19: only the documented pair of status and name is the gateway's own word."""
    error = {"error": {"code": "internal_error", "message": "no"}}
    async with scene(http(502, error), gateway="gemini_omni", running=1) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.posts) == 1


@pytest.mark.parametrize(("gateway", "act"), [("gemini_omni", INTERNAL), ("jimmy", envelope(-1, "upstream"))])
async def test_row_19b_the_gateways_own_word_that_it_failed_is_tried_thrice(gateway, act):
    """Row 19b: seed's 2-3 retries with short delays, then GatewayError with the request id."""
    async with scene(act, act, act, gateway=gateway) as here:
        with pytest.raises(GatewayError) as caught:
            await here.submit()
        error = carried(caught.value)
        assert not error.may_have_charged
        assert error.request_id == ("req-500" if gateway == "gemini_omni" else None)
        assert len(here.server.posts) == 3
        assert not here.server.charges
        assert here.journal.states == ["PLANNED"] * 3
        assert [event.attempt for event in here.told(Retried)] == [1, 2]


@pytest.mark.parametrize(
    ("gateway", "act"),
    [
        ("toapis", attrs.evolve(INTERNAL, raw=INTERNAL.raw.replace(b"\r\n", b"\r\nRetry-After: 6\r\n", 1))),
        ("jimmy", envelope(-1, "系统繁忙，请在6秒后重试")),
    ],
)
async def test_row_19b_the_pause_that_the_gateway_asks_for_is_kept(gateway, act):
    """Row 19b: before each try, unless `max_wait` is over before."""
    async with scene(act, act, act, gateway=gateway) as here:
        with pytest.raises(GatewayError):
            await here.submit()
        assert [event.delay for event in here.told(Retried)] == [6, 6]
        assert len(here.server.posts) == 3
    async with scene(act, act, act, gateway=gateway) as here:
        began = asyncio.get_running_loop().time()
        with pytest.raises(GatewayError):
            await here.submit(max_wait=5)
        assert asyncio.get_running_loop().time() - began < 1
        assert len(here.server.posts) == 1


async def test_row_19b_one_failure_of_the_gateways_is_not_noticed():
    """Row 19b: the second try is accepted."""
    async with scene(envelope("-1", "upstream"), ACCEPT, running=1) as here:
        assert (await here.submit()).task_id
        assert len(here.server.charges) == 1


async def test_row_19b_charged_then_internal_error_is_what_the_switch_is_for():
    """Row 19b, the named cell: a gateway that charges and then says it failed; off, the create is uncertain."""
    lying = http(500, {"error": {"code": "internal_error", "message": "no"}}, charge=True)
    retry = RetryPolicy(create_on_internal_error=False)
    error = await uncertain(lying, charges=1, gateway="gemini_omni", retry=retry)
    assert "create_on_internal_error is off" in error.evidence["reason"]


async def test_row_20_503_with_retry_after_is_uncertain():
    """Row 20: a pause is asked for, yet nobody says that the create was not taken."""
    await uncertain(http(503, HTML, headers={"Retry-After": "3"}, charge=True), charges=1)


# --- rows 21 to 25: what is not an answer ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_row_21_a_redirect_is_never_followed(status):
    """Row 21: the other origin sees neither the paid body nor the key; its host alone is named."""
    async with FaultServer() as elsewhere:
        where = f"{elsewhere.url}/take?sig=SECRET"
        error = await uncertain(http(status, headers={"Location": where}, charge=True), charges=1)
        assert not elsewhere.connections
        assert "a redirect to 127.0.0.1" in str(error)
        assert "SECRET" not in str(error)


@pytest.mark.parametrize("code", [100, 102, 103])
async def test_row_22_provisional_answers_and_then_nothing_is_uncertain(code):
    """Row 22: 100-continue, then the connection closes."""
    await uncertain(Act(raw=f"HTTP/1.1 {code} Wait\r\n\r\n".encode(), then="close"), charges=1)


async def test_row_22_a_flood_of_provisional_answers_is_uncertain():
    """Row 22: it ends with the create's own timeout."""
    await uncertain(Act(flood=b"HTTP/1.1 100 Continue\r\n\r\n"), charges=1)


GARBAGE = [b"\x16\x03\x01 what\r\n\r\n", b"HTTP/9.9 abc\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\r\n\r\n\x00\xff" * 10]


@pytest.mark.parametrize("raw", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("lent", [False, True])
async def test_row_23_garbage_is_uncertain(raw, lent):
    """Row 23: aiohttp calls it a 400, which would look like a clean refusal."""
    async with _session(lent) as session:
        await uncertain(Act(raw=raw, then="close"), charges=1, session=session)


async def test_row_23_oversized_headers_are_uncertain():
    """Row 23: 9 kB in one header."""
    await uncertain(http(body=CREATED, headers={"X-Long": "x" * 9000}), charges=1)


async def test_row_24_a_login_page_is_uncertain():
    """Row 24: 200 and HTML, as a captive portal says it."""
    error = await uncertain(http(200, HTML, headers={"Content-Type": "text/html"}), charges=1)
    assert "is not JSON" in error.evidence["reason"]


async def test_row_24_a_chat_answer_is_uncertain_and_explained():
    """Row 24, the seed's FAQ: a chat route was called; its id is not a task's."""
    chat = {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3}}
    for gateway in ("jimmy", "gemini_omni"):
        error = await uncertain(http(body=chat), charges=1, gateway=gateway)
        assert "a chat route was called" in str(error)
        assert error.evidence["candidate"] is None


async def test_row_25_a_body_without_end_is_kept_up_to_64_kib():
    """Row 25: the rest is never read."""
    error = await uncertain(http(body=b"x" * 200_000), charges=1)
    assert len(error.evidence["body"]) == 64 * 1024


async def test_row_25_an_id_at_the_head_of_a_huge_body_is_salvaged():
    """Row 25: confirmed by a query like any other candidate."""
    body = json.dumps({"code": "20000", "data": {"task_id": "@ID", "pad": "x" * 100_000}}).encode()
    async with scene(http(body=body), running=1) as here:
        assert (await here.submit()).task_id == here.server.charges[0]
        assert len(here.server.gets) == 1


async def test_row_25_a_gzip_bomb_is_uncertain():
    """Row 25: it is not let go off."""
    error = await uncertain(bomb(), charges=1)
    assert len(error.evidence["body"]) <= 64 * 1024


async def test_row_25_what_is_not_gzip_at_all_is_uncertain_and_kept():
    """Row 25: a body that its own header is wrong about; if it is the plain answer, its id counts."""
    wrong = {"Content-Encoding": "gzip"}
    error = await uncertain(http(body=b"nothing packed", headers=wrong), charges=1)
    assert error.evidence["body"] == b"nothing packed"
    async with scene(http(body=CREATED, headers=wrong), running=1) as here:
        assert [(await here.submit()).task_id] == here.server.charges


# --- rows 26 to 29 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["jimmy", "toapis", "gemini_omni"])
async def test_row_26_two_items_with_one_id_are_noticed(gateway):
    """Row 26: the second has no task that is surely its own."""
    body = {"code": "20000", "data": {"task_id": "same"}} if gateway == "jimmy" else {"id": "same", "status": "queued"}
    async with scene(http(body=body), http(body=body), gateway=gateway, running=1) as here:
        await here.submit(custom_id="first")
        with pytest.raises(DecodeError, match="another create") as caught:
            await here.submit()
        assert carried(caught.value).may_have_charged
        assert caught.value.task_id == "same"
        assert here.journal.states == ["SUBMITTED", "UNCERTAIN"]
        assert len(here.server.posts) == 2
        assert [(event.custom_id, event.candidate) for event in here.told(Uncertain)] == [("mine", "same")]
        assert here.client.stats().uncertain == 1


async def test_row_26_ids_of_long_ago_are_forgotten(monkeypatch):
    """Row 26: what is remembered is bounded."""
    monkeypatch.setattr("omni_async.submit.creates.REMEMBERED", 2)
    async with scene(running=5) as here:
        for number in range(5):
            await here.submit(custom_id=str(number))
        assert len(here.client.studio.submitter._issued._owners) == 2


async def test_row_27_cancelled_while_waiting_for_a_slot_leaves_nothing():
    """Row 27: no intent, no POST, no slot."""
    async with scene(limits=Limits(max_running_tasks=1), running=1, polls=[]) as here:
        here.server.always["GET"] = HANG
        await here.submit(custom_id="first")
        waiting = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(here.server.posts) == 1
        assert not here.client.unclaimed()


async def test_row_28_cancelled_during_the_post_it_goes_on_to_a_recorded_end(caplog):
    """Row 28: the caller is gone at once; events, the log and `unclaimed()` tell of the task."""
    slow = Act(raw=ACCEPT.raw, delay=30.0)
    async with scene(slow, running=1) as here:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.submit(), 1.0)
        assert asyncio.get_running_loop().time() - began < 1.5
        await asyncio.sleep(40)
        (outcome,) = here.client.unclaimed()
        assert outcome.task.task_id == here.server.charges[0]
        assert outcome.request.custom_id == "mine"
        assert here.journal.states == ["SUBMITTED"]
        assert [event.task_id for event in here.told(Submitted)] == here.server.charges
        assert here.client.stats().unclaimed == 1
    assert here.server.charges[0] in caplog.text


async def test_row_28_cancelled_during_a_post_that_gets_lost_it_is_unclaimed_as_an_error():
    """Row 28: what may have been charged is told in the same places."""
    async with scene(HANG, running=1) as here:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.submit(), 1.0)
    (outcome,) = here.client.unclaimed()
    assert isinstance(outcome.error, SubmissionUncertainError)
    assert outcome.task is None
    assert len(here.told(Uncertain)) == 1


async def test_row_28_cancelled_during_a_post_that_is_refused_there_is_nothing_to_claim():
    """Row 28: no money, no news."""
    async with scene(delayed(envelope("20002"), 5.0)) as here:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.submit(), 1.0)
        await asyncio.sleep(10)
        assert not here.client.unclaimed()
        assert here.journal.states == ["REJECTED"]


def delayed(act, seconds):
    """The act after a silence."""
    return Act(raw=act.raw, charge=act.charge, then=act.then, delay=seconds)


async def test_row_29_aclose_drains_what_is_in_flight():
    """Row 29: as an app's shutdown must reach it: all are settled, none is uncertain."""
    slow = Act(raw=ACCEPT.raw, delay=60.0)
    async with scene(slow, slow, running=2) as here:
        rows = [asyncio.ensure_future(here.submit(custom_id=str(n))) for n in range(2)]
        await asyncio.sleep(2.0)
        await here.client.aclose()
        assert here.journal.states == ["SUBMITTED"] * 2
        assert {(await row).task_id for row in rows} == set(here.server.charges)


# --- the journal's seam --------------------------------------------------------------------------------------


async def test_the_intent_is_written_before_the_first_byte():
    """A journal that cannot be written sends nothing, and says so; the slot is free again."""
    async with scene() as here:
        here.journal.fail["intend"] = OSError(errno.ENOSPC, "No space left")
        with pytest.raises(JournalError, match="before anything was sent") as caught:
            await here.submit()
        assert not carried(caught.value).may_have_charged
        assert not here.server.started
        here.journal.fail["intend"] = JournalError("locked")
        with pytest.raises(JournalError, match="locked"):
            await here.submit()
        assert not here.server.started


FAILING = {
    "answered": (ACCEPT, "answered", "jimmy"),
    "answered in pieces": (_cut_after_the_id(), "answered", "jimmy"),
    "found": (_cut_after_the_id(), "settle", "jimmy"),
    "looked up": (DROP, "settle", "toapis"),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("failure", [OSError(errno.EIO, "I/O error"), JournalError("disk full")], ids=repr)
async def test_a_journal_that_fails_after_the_post_loses_no_id(caplog, case, failure):
    """The error carries the task id, and the log shouts it; the POST is not repeated."""
    act, call, gateway = FAILING[case]
    async with scene(act, gateway=gateway, running=1) as here:
        here.journal.fail[call] = failure
        with pytest.raises(JournalError) as caught:
            await here.submit()
        error = carried(caught.value)
        assert error.may_have_charged
        assert [error.task_id] == here.server.charges
        assert len(here.server.posts) == 1
    loud = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert here.server.charges[0] in loud[0].getMessage()


async def test_a_journal_that_fails_after_a_lost_answer_is_told_too():
    """There is no id to tell; the slot is held for the usual time and nothing leaks."""
    async with scene(DROP, running=1) as here:
        here.journal.fail["answered"] = OSError(errno.EIO, "I/O error")
        with pytest.raises(JournalError) as caught:
            await here.submit()
        assert caught.value.may_have_charged


async def test_a_known_create_is_given_back_without_paying():
    """The journal knows the task: no request, no slot."""
    async with scene() as here:
        here.journal.known = VideoTask(task_id="known")
        assert (await here.submit()).task_id == "known"
        assert not here.server.started


# --- every fault at every phase, on a fresh and on a reused connection ------------------------------------------

PHASES = ["before", "status", "headers", "after headers", "body"]
ENDS = ["close", "reset", "hang"]


@pytest.mark.parametrize("connection", [FRESH, REUSED])
@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("then", ENDS)
@pytest.mark.parametrize("phase", PHASES)
async def test_an_answer_that_breaks_off_anywhere_was_sent_once(phase, then, framing, connection):
    """Fault x phase x connection: exactly one POST in every cell, charged once, and uncertain."""
    broken = Act(raw=cut(phase, framing).raw, then=then)
    before = [ACCEPT] if connection == REUSED else []
    async with scene(*before, broken, running=1 + len(before)) as here:
        for number in range(len(before)):
            await here.submit(custom_id=f"before {number}")
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert here.server.connections == 1
        assert here.server.started.count("POST") == len(here.server.posts) == 1 + len(before)
        assert len(here.server.charges) == 1 + len(before)


INSERTED = {"garbage": b"\x00\xfe\x01\r\n\r\n", "long header": b"X-Long: " + b"y" * 9000 + b"\r\n\r\n", "1xx": b""}


@pytest.mark.parametrize("connection", [FRESH, REUSED])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("fault", INSERTED)
async def test_garbage_anywhere_was_sent_once(fault, phase, connection):
    """Rows 22 and 23 at each phase: one POST, whatever comes of it."""
    inserted = INSERTED[fault] or b"HTTP/1.1 102 Processing\r\n\r\n"
    broken = Act(raw=cut(phase).raw + inserted, then="close")
    before = [ACCEPT] if connection == REUSED else []
    async with scene(*before, broken, running=1 + len(before)) as here:
        for number in range(len(before)):
            await here.submit(custom_id=f"before {number}")
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert here.server.started.count("POST") == 1 + len(before)
        assert len(here.server.charges) == 1 + len(before)


# --- toapis: a lost answer can be looked up -------------------------------------------------------------------


async def test_toapis_a_lost_answer_is_settled_by_looking_it_up():
    """Row 4 where there is an idempotency key: found by it, no second POST, the task is returned."""
    async with scene(DROP, gateway="toapis", running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert task.custom_id == "mine"
        assert len(here.server.posts) == 1
        business_id = here.server.posts[0].json["client_business_id"]
        assert here.server.gets[0].path.endswith(business_id)
        assert here.journal.states == ["UNCERTAIN", "SUBMITTED"]
        assert here.journal.calls[-1] == ("settle", task.task_id, "SUBMITTED", "found by looking it up")
        assert not here.told(Uncertain)
        assert here.client.stats().uncertain == 0


TELLS_NO_TASK = {
    "error": {"status": "error", "message": "task not exist"},
    "fail": {"status": "fail", "message": "task not exist"},
    "not found": {"status": "not_found"},
    "running, whose": {"status": "processing"},
    "failed, no id": {"id": "", "status": "failed", "error": {"code": "task_not_found"}},
}


@pytest.mark.parametrize("answer", TELLS_NO_TASK)
async def test_toapis_a_look_up_that_names_no_task_finds_none(answer):
    """Row 4: such an answer can be about the question; an invented id would be a paid task that is lost for good."""
    async with scene(DROP, gateway="toapis", running=None) as here:
        here.server.always["GET"] = http(body=TELLS_NO_TASK[answer])
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert here.journal.states == ["UNCERTAIN"]
        assert len(here.server.posts) == 1


@pytest.mark.parametrize(("word", "found"), [("queued", True), ("completed", True), ("failed", False), ("odd", False)])
async def test_toapis_a_name_that_comes_back_as_the_id_counts_for_a_task_that_has_not_failed(word, found):
    """Some gateways repeat what they were asked about, also to say that they do not know it."""
    async with scene(DROP, gateway="toapis", running=None) as here:
        await here.submit()
        name = here.server.posts[0].json["client_business_id"]
    async with scene(DROP, gateway="toapis", running=None) as here:
        here.server.always["GET"] = http(body={"status": word, "id": name, "url": "https://a.example/v.mp4"})
        if found:
            assert (await here.submit()).task_id == name
        else:
            with pytest.raises(SubmissionUncertainError):
                await here.submit()


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"status": "processing"}, True),
        ({"status": "completed", "url": "https://a.example/v.mp4"}, True),
        ({"task_id": "req-123", "status": "failed"}, True),
        ({"status": "error", "message": "no such task"}, False),
        ({"status": "canceled"}, False),
        ({"status": "odd"}, False),
        ({"status": ""}, False),
        ({"task_id": "other", "status": "failed"}, False),
    ],
    ids=str,
)
async def test_row_7_a_candidate_is_confirmed_by_its_own_id_or_by_a_task_that_has_not_failed(told, found):
    """Row 7: a failure of nobody can be that of the question."""
    act = http(body={"id": "req-123", "code": 50000, "msg": "unknown"})
    async with scene(act, running=None) as here:
        here.server.always["GET"] = http(body=told)
        if found:
            assert (await here.submit()).task_id == "req-123"
        else:
            with pytest.raises(SubmissionUncertainError) as caught:
                await here.submit()
            assert caught.value.evidence["candidate"] == "req-123"
        assert len(here.server.posts) == 1


async def test_toapis_a_create_that_never_arrived_stays_uncertain():
    """Three looks find nothing: that proves nothing, it may come up later."""
    async with scene(Act(unread=True), gateway="toapis", running=1) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert len(here.server.gets) == 3
        assert not here.server.charges


async def test_toapis_a_wrong_candidate_does_not_hide_the_task():
    """An id in the pieces that nobody knows: the idempotency key finds the task all the same."""
    raw = http(body={"object": {"id": "req_of_nobody"}, "pad": "x" * 50}).raw
    async with scene(Act(raw=raw[:-20], then="close"), gateway="toapis", running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges


async def test_toapis_an_outage_bounds_the_looking_up():
    """A gateway that is gone altogether keeps a closing client for a minute at most."""
    async with scene(DROP, gateway="toapis", running=1) as here:
        here.server.always["GET"] = HANG
        began = asyncio.get_running_loop().time()
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        assert asyncio.get_running_loop().time() - began <= 61


async def test_toapis_the_same_item_twice_is_one_task_and_one_charge():
    """`client_business_id` follows from custom id and inputs: the gateway replays the task."""
    async with scene(gateway="toapis", running=1) as here:
        first, second = await here.submit(), await here.submit()
        assert first.task_id == second.task_id
        assert len(here.server.charges) == 1
        ids = [post.json["client_business_id"] for post in here.server.posts]
        assert ids[0] == ids[1]


async def test_toapis_other_inputs_or_no_custom_id_are_other_tasks():
    """Without a custom id each submit pays; with one, other inputs are another create."""
    async with scene(gateway="toapis", running=4) as here:
        await here.submit("a cat")
        await here.submit("a dog")
        await here.client.submit("a cat")
        await here.client.submit("a cat")
        assert len(here.server.charges) == 4
        assert len({post.json["client_business_id"] for post in here.server.posts}) == 4


async def test_toapis_the_callers_own_business_id_is_replayed():
    """Given through `extra`, it names the create: no false alarm about an id given out twice."""
    async with scene(gateway="toapis", running=1) as here:
        own = {"extra": {"client_business_id": "order-7"}}
        first = await here.client.submit("a cat", **own)
        second = await here.client.submit("a cat", **own)
        assert first.task_id == second.task_id
        assert here.server.posts[0].json["client_business_id"] == "order-7"


# --- borrowed sessions (63c) --------------------------------------------------------------------------------------


async def _again(request, handler):
    response = await handler(request)
    if response.status >= 400:
        response = await handler(request)
    return response


@pytest.mark.parametrize("settings", [{"raise_for_status": True}, {"middlewares": (_again,)}], ids=["raise", "retry"])
async def test_row_63c_a_borrowed_sessions_habits_do_not_touch_a_paid_post(settings):
    """Row 63c: still one POST, still our errors, and the session stays open."""
    async with aiohttp.ClientSession(**settings) as session:
        await uncertain(http(502, HTML, charge=True), charges=1, session=session)
        await refused(http(400, HTML), RejectedError, session=session)
        assert not session.closed


async def test_an_invalid_request_sends_nothing():
    """Refused before any I/O, with the ids."""
    async with scene() as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.submit(duration=7)
        assert not carried(caught.value).may_have_charged
        assert not here.server.connections


async def test_a_client_can_be_opened_anywhere_and_is_ended_once():
    """Constructed with no call made, it closes without ado; closed, it says so."""
    client = OmniClient(api_key=KEY)
    await client.aclose()
    with pytest.raises(Exception, match="this client is closed"):
        await client.submit("a cat")
