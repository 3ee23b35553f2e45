"""Each fault does what its name says, to the requests it is meant for and to no others."""

import asyncio
import json

import aiohttp
import pytest

from omni_async.emulator import InjectedFault

from .conftest import BODIES, CREATE, FLAT, GUIDE, JIMMY, JIMMY_CREATE, JIMMY_QUERY, QUERY

GATEWAYS = ["jimmy", "gemini_omni", "toapis"]
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_drop_after_accept(talk, gateway):
    """The create is charged and runs, and not one byte of answer comes."""
    async with talk(faults=[InjectedFault("drop_after_accept")]) as client:
        path, body = BODIES[gateway]
        with pytest.raises(LOST):
            await client.post(path, body)
        (charge,) = client.emulator.ledger.charges
        assert (await client.query(charge.task_id, gateway))["status"] == "completed"


@pytest.mark.parametrize("on", ["create", "query", "upload", "balance"])
async def test_drop(talk, on):
    """The connection is aborted and nothing accepted."""
    async with talk(faults=[InjectedFault("drop", on=on)]) as client:
        calls = {
            "create": lambda: client.post(CREATE, FLAT),
            "query": lambda: client.get(QUERY + "x"),
            "upload": lambda: client.post("/v1/uploads/images", {}),
            "balance": lambda: client.get("/v1/balance"),
        }
        for kind, call in calls.items():
            if kind != on:
                await call()
        charged = len(client.emulator.ledger.charges)
        with pytest.raises(LOST):
            await calls[on]()
        assert len(client.emulator.ledger.charges) == charged


async def test_hang_until_the_client_leaves(talk, caplog):
    """A hanging create is charged; leaving it logs nothing."""
    async with talk(faults=[InjectedFault("hang")]) as client:
        with pytest.raises(TimeoutError):
            await client.post(CREATE, FLAT, timeout=aiohttp.ClientTimeout(total=0.1))
        assert len(client.emulator.ledger.charges) == 1
    assert not caplog.records


async def test_hang_until_the_emulator_stops(talk):
    """Stopping ends what hangs at once."""
    loop = asyncio.get_running_loop()
    async with talk(faults=[InjectedFault("hang", on="query")]) as client:
        hanging = asyncio.ensure_future(client.get(QUERY + "x"))
        await asyncio.sleep(0.05)
        began = loop.time()
        await client.emulator.stop()
        assert loop.time() - began < 1
        with pytest.raises(LOST):
            await hanging


async def test_hang_for_a_while(talk):
    """With `seconds` the answer comes late; an uncharged create is dropped instead."""
    faults = [
        InjectedFault("hang", on="query", seconds=0.1),
        InjectedFault("hang", on="create", seconds=0.05, charged=False),
    ]
    async with talk(faults=faults) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.get(QUERY + "x"))[0] == 404
        assert asyncio.get_running_loop().time() - began >= 0.09
        with pytest.raises(LOST):
            await client.post(CREATE, FLAT)
        assert not client.emulator.ledger.charges


async def test_rate_limited(talk):
    """A 429 out of nothing, with its own Retry-After, and counted as refused."""
    async with talk(faults=[InjectedFault("rate_limited", first=1, seconds=3)]) as client:
        async with client.session.post(CREATE, json=FLAT) as response:
            assert response.status == 429
            assert response.headers["Retry-After"] == "3"
        assert (await client.post(CREATE, FLAT))[0] == 200
        assert client.emulator.ledger.refused_by == {"fault": 1}


@pytest.mark.parametrize(("kind", "status", "charged"), [("html_502", 502, 0), ("html_200", 200, 1)])
async def test_html_for_an_answer(talk, kind, status, charged):
    """A proxy's page instead of JSON: the 502 charges nothing, the 200 did."""
    async with talk(faults=[InjectedFault(kind)]) as client:
        async with client.session.post(JIMMY_CREATE, json=JIMMY) as response:
            assert response.status == status
            assert response.content_type == "text/html"
        assert len(client.emulator.ledger.charges) == charged


async def test_faults_that_charge_need_something_to_charge(talk):
    """A bad request is refused as ever; there is no accepted answer to disturb."""
    async with talk(faults=[InjectedFault("html_200")]) as client:
        assert (await client.post(JIMMY_CREATE, {}))[0] == 400


@pytest.mark.parametrize("charged", [False, True])
async def test_internal_error(talk, charged):
    """The gateway's own well-formed word, nothing charged unless the scenario says so."""
    async with talk(faults=[InjectedFault("internal_error", charged=charged)]) as client:
        status, answer = await client.post(CREATE, FLAT)
        assert (status, answer["error"]["code"]) == (500, "internal_error")
        assert (await client.post(JIMMY_CREATE, JIMMY))[1]["code"] == "-1"
        assert len(client.emulator.ledger.charges) == 2 * charged


@pytest.mark.parametrize("charged", [True, False])
async def test_truncated_json(talk, charged):
    """A whole HTTP answer whose JSON is cut short."""
    async with talk(faults=[InjectedFault("truncated_json", charged=charged)]) as client:
        async with client.session.post(CREATE, json=FLAT) as response:
            text = await response.text()
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        assert len(client.emulator.ledger.charges) == charged


@pytest.mark.parametrize("charged", [True, False])
async def test_drop_mid_answer(talk, charged):
    """Fewer bytes than promised, then the end of the connection."""
    async with talk(faults=[InjectedFault("drop_mid_answer", charged=charged)]) as client:
        with pytest.raises((aiohttp.ClientPayloadError, *LOST)):
            await client.post(CREATE, FLAT)
        assert len(client.emulator.ledger.charges) == charged


@pytest.mark.parametrize("charged", [True, False])
async def test_slow(talk, charged):
    """The body drips over so many seconds, and is whole in the end."""
    async with talk(faults=[InjectedFault("slow", seconds=0.2, charged=charged)]) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.post(CREATE, FLAT))[0] == (200 if charged else 500)
        assert asyncio.get_running_loop().time() - began >= 0.15


async def test_slow_by_itself_takes_a_second(talk):
    """Without `seconds` a slow file takes a second."""
    async with talk(faults=[InjectedFault("slow", on="file")]) as client:
        began = asyncio.get_running_loop().time()
        assert (await client.fetch(await client.url(await client.create())))[0] == 200
        assert asyncio.get_running_loop().time() - began >= 0.9


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_no_id(talk, gateway):
    """A success without its task id."""
    async with talk(faults=[InjectedFault("no_id")]) as client:
        status, answer = await client.post(*BODIES[gateway])
        assert status == 200
        assert not {"id", "task_id"} & set(answer.get("data", answer))
        assert len(client.emulator.ledger.charges) == 1


async def test_no_id_uncharged(talk):
    """The same without the task."""
    async with talk(faults=[InjectedFault("no_id", charged=False)]) as client:
        assert (await client.post(CREATE, FLAT))[0] == 500
        assert (await client.post(JIMMY_CREATE, JIMMY))[0] == 500
        assert not client.emulator.ledger.charges


async def test_refuse_moderation(talk):
    """A create refused for its prompt, in each gateway's words, uncharged."""
    async with talk(faults=[InjectedFault("refuse_moderation", prompt="cat")]) as client:
        assert "MODERATION" in (await client.post(JIMMY_CREATE, JIMMY))[1]["msg"]
        status, answer = await client.post(CREATE, FLAT)
        assert (status, answer["error"]["code"]) == (422, "content_policy_violation")
        assert (await client.post(CREATE, GUIDE))[0] == 422
        assert (await client.post(CREATE, {**FLAT, "prompt": "a dog"}))[0] == 200
        assert len(client.emulator.ledger.charges) == 1


@pytest.mark.parametrize(
    ("kind", "jimmy", "code"),
    [
        ("fail", "Read timed out", "generation_failed"),
        ("moderation", "PROVIDER_MODERATION_ERROR: ", "content_policy_violation"),
    ],
)
async def test_failed_tasks(talk, kind, jimmy, code):
    """jimmy: progress back to 0 and error_message; the others: HTTP 200, status failed, error with code."""
    async with talk(faults=[InjectedFault(kind)]) as client:
        data = await client.query(await client.create())
        assert (data["status"], data["progress"]) == ("failed", 0)
        assert data["error_message"].startswith(jimmy)
        for gateway in ("toapis", "gemini_omni"):
            data = await client.query(await client.create(gateway), gateway)
            assert data["status"] == "failed"
            assert data["error"]["code"] == code
            assert "result" not in data


async def test_canceled_tasks(talk):
    """A task can end canceled, in the spelling of its gateway."""
    async with talk(faults=[InjectedFault("cancel")]) as client:
        assert (await client.query(await client.create()))["status"] == "canceled"
        assert (await client.query(await client.create("toapis"), "toapis"))["status"] == "cancelled"


async def test_never_ends(talk):
    """A task that runs for good creeps on, and counts as running."""
    async with talk(faults=[InjectedFault("never_ends", first=1)], running_tasks=1, queue_seconds=0) as client:
        data = await client.query(await client.create())
        assert (data["status"], data["progress"]) == ("processing", 1)
        assert (await client.post(CREATE, FLAT))[0] == 429
        assert client.emulator.ledger.running_now == 1


async def test_unknown_status(talk):
    """A word nobody knows while it runs; the end is as ever."""
    faults = [InjectedFault("unknown_status")]
    async with talk(faults=faults, task_seconds=100, task_sigma=0) as client:
        task_id, other = await client.create(), await client.create("gemini_omni")
        assert (await client.query(task_id))["status"] == "warming_up"
        assert (await client.query(other, "gemini_omni"))["status"] == "warming_up"
        client.emulator.skip(110)
        assert (await client.query(task_id))["status"] == "completed"


async def test_flapping(talk):
    """Now and then the status is one step back."""
    faults = [InjectedFault("flapping", every=2)]
    async with talk(faults=faults, task_seconds=300, task_sigma=0, queue_seconds=100, progress=False) as client:
        task_id = await client.create()
        words = [(await client.query(task_id))["status"] for _ in range(2)]
        client.emulator.skip(150)
        words += [(await client.query(task_id))["status"] for _ in range(2)]
        client.emulator.skip(200)
        words += [(await client.query(task_id))["status"] for _ in range(2)]
        assert words == ["queued", "queued", "processing", "queued", "completed", "processing"]


async def test_missing_url(talk):
    """Completed, without the video."""
    async with talk(faults=[InjectedFault("missing_url", first=1)]) as client:
        task_id = await client.create()
        assert "result" not in await client.query(task_id)
        assert "result" in await client.query(task_id)


@pytest.mark.parametrize(("fields", "misses"), [({}, 1), ({"first": 2}, 2)])
async def test_not_found_at_first(talk, fields, misses):
    """The first queries of each task find nothing; an id that never was stays unknown."""
    async with talk(faults=[InjectedFault("not_found_at_first", **fields)]) as client:
        for task_id in (await client.create(), await client.create()):
            found = [(await client.get(JIMMY_QUERY + task_id))[0] for _ in range(4)]
            assert found == [404] * misses + [200] * (4 - misses)
        assert (await client.get(JIMMY_QUERY + "nope"))[0] == 404


async def test_not_found_for_a_while(talk):
    """Or nothing is found for so many seconds."""
    async with talk(faults=[InjectedFault("not_found_at_first", seconds=100)]) as client:
        task_id = await client.create()
        assert (await client.get(JIMMY_QUERY + task_id))[0] == 404
        client.emulator.skip(110)
        assert (await client.get(JIMMY_QUERY + task_id))[0] == 200


async def test_truncated_video(talk):
    """Half the bytes, then the connection closes; the next request gets the rest."""
    async with talk(faults=[InjectedFault("truncated_video", first=1)]) as client:
        url = await client.url(await client.create())
        async with client.session.get(url) as response:
            size = response.content_length
            received = await response.content.readexactly(size // 2)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read(1)
        status, rest, _ = await client.fetch(url, Range=f"bytes={len(received)}-")
        assert status == 206
        assert len(received + rest) == size


async def test_html_video(talk):
    """A page in place of the video, with 200."""
    async with talk(faults=[InjectedFault("html_video")]) as client:
        status, data, headers = await client.fetch(await client.url(await client.create()))
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert data.startswith(b"<!DOCTYPE html>")


async def test_expired_url(talk):
    """The URL of each task is dead however often it is asked; the one of a fresh query works."""
    async with talk(faults=[InjectedFault("expired_url")]) as client:
        for _ in range(2):
            task_id = await client.create()
            url = await client.url(task_id)
            assert [(await client.fetch(url))[0] for _ in range(2)] == [403, 403]
            assert (await client.fetch(await client.url(task_id)))[0] == 200
        assert (await client.fetch("/files/nope.mp4"))[0] == 403


async def test_file_faults_of_one_prompt_and_gateway(talk):
    """`prompt` and `gateway` choose whose files are concerned."""
    faults = [InjectedFault("html_video", prompt="dog"), InjectedFault("html_video", gateway="toapis")]
    async with talk(faults=faults) as client:
        kinds = []
        for gateway, prompt in (("jimmy", "a cat"), ("jimmy", "a dog"), ("toapis", "a cat")):
            url = await client.url(await client.create(gateway, prompt=prompt), gateway)
            kinds.append((await client.fetch(url))[2]["Content-Type"].partition(";")[0])
        assert kinds == ["video/mp4", "text/html", "text/html"]


async def test_every_and_first(talk):
    """Each third request, and only among the first five."""
    async with talk(faults=[InjectedFault("html_502", on="balance", every=3, first=5)]) as client:
        found = []
        for _ in range(9):
            async with client.session.get("/v1/balance") as response:
                found.append(response.status)
        assert found == [200, 200, 502, 200, 200, 200, 200, 200, 200]


async def test_probability_is_seeded(talk):
    """The same seed strikes the same requests."""
    runs = []
    for seed in (1, 1, 2):
        async with talk(faults=[InjectedFault("html_502", on="balance", probability=0.5)], seed=seed) as client:
            runs.append([(await client.session.get("/v1/balance")).status for _ in range(20)])
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 502}


async def test_a_prompt_that_is_none(talk):
    """A fault by prompt passes over requests that have none."""
    async with talk(faults=[InjectedFault("drop", prompt="cat")]) as client:
        for body in ([], {"prompt": 5}, {"input": {"prompt": 5}}):
            assert (await client.post(CREATE, body))[0] == 400
