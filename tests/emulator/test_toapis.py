"""The shared path in its two shapes: flat, and the guide's with mode and input."""

import re

import pytest

from .conftest import BODIES, CREATE, FLAT, GUIDE, QUERY

PICTURES = [f"https://example.com/{n}.jpg" for n in range(4)]
FLASH = {"model": "gemini_omni_flash"}


async def test_flat_create(talk):
    """`id`, `object`, Unix seconds."""
    async with talk(task_seconds=5) as client:
        status, answer = await client.post(CREATE, FLAT)
        assert status == 200
        assert set(answer) == {"id", "object", "model", "status", "created_at"}
        assert answer["status"] == "queued"
        assert isinstance(answer["created_at"], int)


async def test_guide_create(talk):
    """The seed's minimal answer: task_id, model, mode, status, ISO 8601 with milliseconds and Z."""
    async with talk(task_seconds=5) as client:
        status, answer = await client.post(CREATE, GUIDE)
        assert status == 200
        assert set(answer) == {"task_id", "model", "mode", "status", "created_at"}
        assert (answer["model"], answer["mode"]) == ("gemini_omni", "text-to-video")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answer["created_at"])


async def test_flat_runs_to_its_video(talk):
    """in_progress, then completed with result.data[0].url, expires_at a day later and completed_at."""
    async with talk(task_seconds=200, task_sigma=0, queue_seconds=0) as client:
        task_id = await client.create("toapis")
        client.emulator.skip(50)
        assert (await client.query(task_id, "toapis"))["status"] == "in_progress"
        client.emulator.skip(150)
        done = await client.query(task_id, "toapis")
        assert (done["status"], done["progress"]) == ("completed", 100)
        assert 86_400 <= done["expires_at"] - done["completed_at"] <= 86_410
        assert (await client.fetch(done["result"]["data"][0]["url"]))[0] == 200


async def test_guide_runs_to_its_video(talk):
    """The same in the guide's shape: times as text."""
    async with talk() as client:
        done = await client.query(await client.create("gemini_omni"), "gemini_omni")
        assert done["mode"] == "text-to-video"
        assert done["completed_at"].endswith("Z")
        assert done["expires_at"].endswith("Z")
        assert (await client.fetch(done["result"]["data"][0]["url"]))[0] == 200


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"model": "other"}, "model"),
        ({"prompt": ""}, "prompt"),
        ({"duration": 4}, "6, 10"),
        ({"duration": 5}, "duration"),
        ({"duration": True}, "duration"),
        ({"resolution": "1080p"}, "resolution"),
        ({"resolution": "4k"}, "resolution"),
        ({**FLASH, "resolution": "1080p", "aspect_ratio": "9:16"}, "16:9"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"image_urls": PICTURES[:2]}, "0 or 1 or 3"),
        ({"image_urls": PICTURES}, "0 or 1 or 3"),
        ({"image_urls": ["data:image/png;base64,AAAA"]}, "base64"),
        ({"image_urls": "x"}, "array"),
        ({"client_business_id": ""}, "client_business_id"),
        ({"callback_url": "ftp://x"}, "callback_url"),
        ({"callback_url": 5}, "callback_url"),
        ({"generation_type": "frame"}, "unknown parameter"),
    ],
)
async def test_flat_refusals(talk, fields, word):
    """HTTP 400 invalid_request_error, nothing charged."""
    async with talk() as client:
        status, answer = await client.post(CREATE, {**FLAT, **fields})
        assert (status, answer["error"]["code"]) == (400, "invalid_request_error")
        assert word in answer["error"]["message"]
        assert not client.emulator.ledger.charges


@pytest.mark.parametrize(
    "fields",
    [
        {"duration": 10},
        {**FLASH, "duration": 4},
        {**FLASH, "resolution": "1080p"},
        {"resolution": "720p", "aspect_ratio": "9:16"},
        {"image_urls": []},
        {"image_urls": PICTURES[:1]},
        {"image_urls": PICTURES[:3]},
    ],
)
async def test_flat_allowed(talk, fields):
    """All the rest of the table."""
    async with talk() as client:
        await client.create("toapis", **fields)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"model": "gemini_omni_flash"}, "model"),
        ({"mode": "dance"}, "mode"),
        ({"input": []}, "input must be an object"),
        ({"input": {}}, "input.prompt is required"),
        ({"input": {"prompt": "x", "duration": 11}}, "input.duration"),
        ({"input": {"prompt": "x", "duration": 0}}, "input.duration"),
        ({"input": {"prompt": "x", "resolution": "1080p"}}, "input.resolution"),
        ({"input": {"prompt": "x", "aspect_ratio": "4:3"}}, "input.aspect_ratio"),
        ({"input": {"prompt": "x", "seed": 4}}, "unknown parameter"),
        ({"prompt": "x"}, "unknown parameter"),
    ],
)
async def test_guide_refusals(talk, body, word):
    """HTTP 400 invalid_request_error in the guide's shape, too."""
    async with talk() as client:
        status, answer = await client.post(CREATE, {**GUIDE, **body})
        assert (status, answer["error"]["code"]) == (400, "invalid_request_error")
        assert word in answer["error"]["message"]


async def test_guide_modes_can_be_spelt_otherwise(talk):
    """Three of the four spellings are guesses, so the scenario can replace them."""
    async with talk(modes=("r2v",)) as client:
        assert (await client.post(CREATE, {**GUIDE, "mode": "r2v"}))[0] == 200
        assert (await client.post(CREATE, GUIDE))[0] == 400


@pytest.mark.parametrize("gateway", ["toapis", "gemini_omni"])
async def test_open_accepts_unknown_fields(talk, gateway):
    """`closed` False lets fields of a newer gateway pass."""
    path, body = BODIES[gateway]
    async with talk(closed=False) as client:
        assert (await client.post(path, {**body, "new": 1}))[0] == 200


async def test_errors_of_the_table(talk):
    """404 task_not_found, 401 authentication_error, 402 insufficient_quota, 400 for no JSON."""
    async with talk(balance=0.5, keys="sk-test") as client:
        assert (await client.get(QUERY + "nope"))[1]["error"]["code"] == "task_not_found"
        status, answer = await client.get(QUERY + "nope", headers={"Authorization": "Bearer x"})
        assert (status, answer["error"]["code"]) == (401, "authentication_error")
        status, answer = await client.post(CREATE, FLAT)
        assert (status, answer["error"]["code"]) == (402, "insufficient_quota")
        assert (await client.post(CREATE, [1]))[0] == 400


async def test_jimmy_tasks_are_unknown_here(talk):
    """The two hosts know nothing of each other."""
    async with talk() as client:
        assert (await client.get(QUERY + await client.create("jimmy")))[0] == 404


async def test_business_id_replays_the_task(talk):
    """The same client_business_id gives the same task, charged once, even when the account is full."""
    async with talk(running_tasks=1, task_seconds=60, balance=1) as client:
        first = await client.create("toapis", client_business_id="row/1 ü")
        again = await client.create("toapis", client_business_id="row/1 ü")
        assert first == again
        assert len(client.emulator.ledger.charges) == 1


async def test_business_id_finds_the_task(talk):
    """It stands in the query path in place of the id, percent-encoded."""
    async with talk() as client:
        task_id = await client.create("toapis", client_business_id="row/1 ü")
        answer = await client.query("row%2F1%20%C3%BC", "toapis")
        assert answer["id"] == task_id
        assert client.emulator.ledger.per_task == {task_id: 1}


async def test_balance(talk):
    """Remaining and used; unlimited without a cap."""
    async with talk(balance=10, price=4) as client:
        await client.create("toapis")
        _, answer = await client.get("/v1/balance")
        assert answer == {"success": True, "remain_balance": 6, "used_balance": 4, "unlimited_quota": False}
    async with talk() as client:
        assert (await client.get("/v1/balance"))[1]["unlimited_quota"] is True


async def test_the_chat_route_is_explained(talk):
    """Seed FAQ: the wrong route answers invalid apitype: -1."""
    async with talk() as client:
        status, answer = await client.post("/v1/chat/completions", FLAT)
        assert status == 400
        assert answer["error"]["message"] == "invalid apitype: -1"
