"""The emulator as a server: opening, closing, outages, and clients that leave."""

import asyncio
import io
import sys

import aiohttp
import pytest

from omni_async.emulator import Emulator, InjectedFault, Scenario

from .conftest import CREATE, FLAT, JIMMY_CREATE, QUERY


async def test_started_and_stopped_in_different_tasks():
    """No scope ties the two together; stopping twice is harmless."""
    emulator = Emulator()
    await asyncio.create_task(emulator.start())
    async with aiohttp.ClientSession() as session, session.get(emulator.url + "/_emulator/health") as response:
        assert await response.json() == {"ok": True}
    await asyncio.create_task(emulator.stop())
    await asyncio.create_task(emulator.stop())


async def test_no_url_before_the_start():
    """The port is not known yet."""
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = emulator.url
    assert repr(emulator) == "<Emulator stopped, 0 running, 0 charged>"


async def test_started_twice():
    """The second start is an error and disturbs nothing."""
    async with Emulator() as emulator:
        with pytest.raises(RuntimeError, match="already"):
            await emulator.start()
        assert repr(emulator).startswith(f"<Emulator {emulator.url}, ")


async def test_a_taken_port():
    """OSError, and nothing left open."""
    async with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await Emulator(port=port).start()


async def test_an_ipv6_host():
    """The URL is written with brackets."""
    emulator = Emulator(host="::1", port=1234)
    assert emulator.url == "http://[::1]:1234"


async def test_fields_replace_those_of_the_scenario():
    """Keywords are fields of the scenario; unknown ones are an error."""
    assert Emulator(Scenario(price=2, latency=1), price=3).scenario == Scenario(price=3, latency=1)
    with pytest.raises(TypeError):
        Emulator(prize=3)


async def test_an_outage(talk):
    """Stop and start again: same port, same tasks, and time went on."""
    async with talk(task_seconds=0.2, task_sigma=0) as client:
        task_id = await client.create()
        url = client.emulator.url
        await client.emulator.stop()
        with pytest.raises(aiohttp.ClientError):
            await client.query(task_id)
        await asyncio.sleep(0.2)
        await client.emulator.start()
        assert client.emulator.url == url
        assert (await client.query(task_id))["status"] == "completed"
        times = [at for at, _ in client.emulator.ledger.running]
        assert times[-1] - times[-2] == pytest.approx(0.2, abs=0.01)


async def test_the_ledger_stands_still_after_the_stop(talk):
    """What it tells does not change when everything is over."""
    async with talk(task_seconds=50, task_sigma=0) as client:
        await client.create()
        await client.emulator.stop()
        client.emulator.skip(60)
        assert client.emulator.ledger.running_now == 1


async def test_clients_that_leave_log_nothing(talk, caplog):
    """A client gone before the answer, or in the middle of its own request, is not an error of ours."""
    async with talk(latency=0.2) as client:
        with pytest.raises(TimeoutError):
            await client.post(CREATE, FLAT, timeout=aiohttp.ClientTimeout(total=0.05))
        host, port = client.emulator.url.removeprefix("http://").split(":")
        head = f"POST {JIMMY_CREATE} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
        upload = (
            b"POST /v1/uploads/images HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        for sent in (head, upload, b"POST"):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            await writer.drain()
            await asyncio.sleep(0.03)
            writer.transport.abort()
        await asyncio.sleep(0.25)
        assert len(client.emulator.ledger.charges) == 1
    assert not caplog.records


async def test_a_client_of_http_1_0(talk):
    """Without a Host header URLs name the emulator's own address."""
    async with talk() as client:
        task_id = await client.create()
        host, port = client.emulator.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        path = "/api/open-api/v1/videos/" + task_id
        writer.write(f"GET {path} HTTP/1.0\r\nAuthorization: Bearer k\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert f'"video_url":"{client.emulator.url}/files/'.encode() in answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/open-api/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("DELETE", CREATE, 405),
        ("GET", JIMMY_CREATE, 405),
    ],
)
async def test_unknown_paths_and_methods_in_the_gateways_words(talk, method, path, status):
    """404 and 405 are JSON in the shape of the gateway nearest to the path; 405 tells what is allowed."""
    async with talk() as client, client.session.request(method, path) as response:
        assert response.status == status
        answer = await response.json()
        assert set(answer) == ({"code", "msg"} if path.startswith("/api/") else {"error"})
        assert ("Allow" in response.headers) == (status == 405)


async def test_an_oversized_body(talk):
    """A create of many megabytes is a 413 in JSON."""
    async with (
        talk() as client,
        client.session.post(CREATE, data=io.BytesIO(b" " * 9_000_000)) as response,
    ):
        assert response.status == 413
        assert "error" in await response.json()


async def test_each_answer_has_an_id(talk):
    """The seed says to keep the request id, so there is one, each time another."""
    async with talk() as client:
        ids = set()
        for _ in range(3):
            async with client.session.get(QUERY + "x") as response:
                ids.add(response.headers["X-Request-Id"])
        assert len(ids) == 3


async def test_latency_is_added_to_each_answer(talk):
    """Refusals take their time, too."""
    async with talk(latency=0.1, keys=("other",)) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.get("/v1/balance"))[0] == 401
        assert asyncio.get_running_loop().time() - began >= 0.09


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist there")
async def test_the_whole_way_on_uvloop(talk):
    """Create, query, download in pieces, a dropped and a hanging answer: uvloop's transports behave alike."""
    faults = [
        InjectedFault("drop", on="balance"),
        InjectedFault("truncated_video", first=1),
        InjectedFault("hang", on="upload"),
    ]
    async with talk(faults=faults, latency=0.01, video_bytes=400_000) as client:
        for gateway in ("jimmy", "gemini_omni", "toapis"):
            url = await client.url(await client.create(gateway), gateway)
            if gateway == "jimmy":
                with pytest.raises(aiohttp.ClientPayloadError):
                    await client.fetch(url)
            assert len((await client.fetch(url, Range="bytes=1-"))[1]) == 399_999
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await client.get("/v1/balance")
        hanging = asyncio.ensure_future(client.post("/v1/uploads/images", {}))
        await asyncio.sleep(0.05)
        await client.emulator.stop()
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await hanging


async def test_a_thousand_tasks(talk):
    """A thousand creates at once are a thousand charges, and all are running."""
    async with talk(task_seconds=60, task_sigma=0) as client:
        ids = await asyncio.gather(*(client.create("toapis") for _ in range(1000)))
        assert len(set(ids)) == 1000
        assert client.emulator.ledger.running_now == 1000
        assert client.emulator.ledger.running[-1][1] == 1000


def test_a_misspelt_field_is_told_with_the_one_that_was_meant():
    """As the command line and the marker tell it."""
    with pytest.raises(TypeError, match="no field 'task_secs'; did you mean 'task_seconds'"):
        Emulator(task_secs=1)
