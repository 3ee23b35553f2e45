"""The jimmy gateway: answers in its envelope, refusals in its words."""

import attrs
import pytest

from .conftest import JIMMY, JIMMY_CREATE, JIMMY_QUERY

SEED_EXAMPLE = {
    "model": "Gemini-Omini",
    "prompt": "A cat running through a neon rainy street, cinematic low-angle tracking shot",
    "duration": 6,
    "resolution": "720p",
    "aspect_ratio": "16:9",
    "generation_type": "reference",
    "image_urls": [],
    "video_urls": [],
}
PICTURES = [f"https://example.com/{n}.jpg" for n in range(9)]


async def test_create_answers_as_the_seed_says(talk):
    """Code "20000" as a string, created_at whole seconds, the id, queued."""
    async with talk(task_seconds=5) as client:
        status, answer = await client.post(JIMMY_CREATE, SEED_EXAMPLE)
        assert status == 200
        assert (answer["code"], answer["msg"]) == ("20000", "ok")
        data = answer["data"]
        assert set(data) == {"task_id", "status", "model", "created_at"}
        assert data["status"] == "queued"
        assert isinstance(data["created_at"], int)


async def test_a_task_runs_to_its_video(talk):
    """queued, processing with honest progress, completed with 100 and the URL."""
    async with talk(task_seconds=400, task_sigma=0, queue_seconds=100) as client:
        task_id = await client.create()
        queued = await client.query(task_id)
        assert (queued["status"], queued["progress"]) == ("queued", 0)
        client.emulator.skip(150)
        first = await client.query(task_id)
        client.emulator.skip(150)
        later = await client.query(task_id)
        assert first["status"] == later["status"] == "processing"
        assert 1 <= first["progress"] < later["progress"] <= 99
        assert "result" not in later
        client.emulator.skip(150)
        done = await client.query(task_id)
        assert (done["status"], done["progress"]) == ("completed", 100)
        assert done["result"]["video_url"].startswith(client.emulator.url + "/files/")
        assert isinstance(done["completed_at"], int)


@pytest.mark.parametrize("alias", ["Gemini-Omini", "Omni-Flash-Ext", "gemini-omni"])
async def test_aliases_come_back_normalised(talk, alias):
    """`data.model` is the normalised name."""
    async with talk() as client:
        _, answer = await client.post(JIMMY_CREATE, {**JIMMY, "model": alias})
        assert answer["data"]["model"] == "Gemini-Omini"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "sora"},
        {"model": 1},
        {"prompt": None},
        {"duration": "6"},
        {"duration": 6.5},
        {"duration": True},
        {"resolution": "8k"},
        {"orientation": "square"},
        {"aspect_ratio": 1.5},
        {"image_urls": "https://example.com/a.jpg"},
        {"image_urls": [1]},
        {"generation_type": "first"},
    ],
)
async def test_what_breaks_the_schema_is_a_400(talk, fields):
    """Wrong types, unknown values: HTTP 400 and code 20002, nothing charged."""
    async with talk() as client:
        status, answer = await client.post(JIMMY_CREATE, {**JIMMY, **fields})
        assert (status, answer["code"]) == (400, "20002")
        assert next(iter(fields)) in answer["msg"]
        assert not client.emulator.ledger.charges


@pytest.mark.parametrize("missing", ["model", "prompt"])
async def test_required_fields(talk, missing):
    """The seed requires model and prompt."""
    async with talk() as client:
        status, answer = await client.post(JIMMY_CREATE, {k: v for k, v in JIMMY.items() if k != missing})
        assert status == 400
        assert f"{missing} is required" in answer["msg"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_object_is_a_400(talk, body):
    """Broken, empty, absurdly nested bodies and other kinds of JSON are refused, not crashed on."""
    async with talk() as client, client.session.post(JIMMY_CREATE, data=body) as response:
        assert response.status == 400
        assert (await response.json())["code"] == "20002"


async def test_a_body_that_is_not_packed_as_it_says_is_refused(talk):
    """As one that is not JSON, and without an error of the emulator's own."""
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with talk() as client, client.session.post(JIMMY_CREATE, data=b"{}", headers=packed) as response:
        assert (response.status, (await response.json())["code"]) == (400, "20002")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"prompt": " \n"}, "prompt"),
        ({"duration": 5}, "4, 6, 8, 10"),
        ({"duration": 6, "video_urls": PICTURES[:1]}, "duration 与 video_urls 不可以同时传入"),
        ({"video_urls": PICTURES[:2]}, "最多支持 1 个视频"),
        ({"generation_type": "frame"}, "1 张"),
        ({"generation_type": "frame", "images": PICTURES[:2]}, "1 张"),
        ({"image_urls": PICTURES[:2]}, "1 张或 3 张"),
        ({"images": PICTURES[:4]}, "1 张或 3 张"),
        ({"aspect_ratio": "wide"}, "aspect_ratio"),
        ({"model": "omni-10s", "image_urls": PICTURES[:8]}, "最多支持 7"),
        ({"model": "omni-10s", "image_urls": PICTURES[:7], "video_urls": PICTURES[:1]}, "最多支持 7"),
    ],
)
async def test_what_only_the_prose_forbids_is_refused_in_a_200(talk, fields, word):
    """Combinations the seed's schema allows and its prose does not: HTTP 200 and code 20002."""
    async with talk() as client:
        status, answer = await client.post(JIMMY_CREATE, {**JIMMY, **fields})
        assert (status, answer["code"]) == (200, "20002")
        assert word in answer["msg"]
        assert not client.emulator.ledger.charges


@pytest.mark.parametrize(
    "fields",
    [
        {"image_urls": PICTURES[:1]},
        {"image_urls": PICTURES[:3]},
        {"image_urls": [], "images": PICTURES[:3]},
        {"generation_type": "frame", "image_urls": PICTURES[:1]},
        {"video_urls": PICTURES[:1]},
        {"duration": 8.0},
        {"aspect_ratio": "", "orientation": "portrait"},
        {"model": "omni-10s", "image_urls": PICTURES[:7], "duration": 5, "resolution": "4k"},
        {"something_new": {"a": 1}},
    ],
)
async def test_what_is_allowed_passes(talk, fields):
    """All the rest of the table, unknown fields included, since the seed's schema is open."""
    async with talk() as client:
        status, answer = await client.post(JIMMY_CREATE, {**JIMMY, **fields})
        assert (status, answer["code"]) == (200, "20000")


async def test_closed_refuses_unknown_fields(talk):
    """`closed` makes a misspelt field visible."""
    async with talk(closed=True) as client:
        status, answer = await client.post(JIMMY_CREATE, {**JIMMY, "durations": 6})
        assert status == 400
        assert "durations" in answer["msg"]


async def test_ten_seconds_is_billed_as_ten_seconds(talk):
    """omni-10s ignores duration and resolution."""
    async with talk() as client:
        await client.create(model="omni-10s", duration=4, resolution="4k")
        (charge,) = client.emulator.ledger.charges
        assert (charge.model, charge.seconds, charge.resolution) == ("omni-10s", 10, "720p")


async def test_keys(talk):
    """No key, an empty one, another scheme or a wrong key: 401 with code 20001."""
    async with talk(keys=("sk-test",)) as client:
        assert (await client.post(JIMMY_CREATE, JIMMY))[0] == 200
        for header in ("", "Bearer", "Bearer ", "Basic sk-test", "Bearer sk-other"):
            status, answer = await client.post(JIMMY_CREATE, JIMMY, headers={"Authorization": header})
            assert (status, answer["code"]) == (401, "20001")


async def test_unknown_task(talk):
    """404 and 任务不存在; tasks of the other gateways are unknown here."""
    async with talk() as client:
        other = await client.create("toapis")
        for task_id in ("nope", other):
            status, answer = await client.get(JIMMY_QUERY + task_id)
            assert status == 404
            assert answer["code"] != "20000"
            assert answer["msg"] == "任务不存在"


async def test_quota_is_told_by_message_alone(talk):
    """Beyond the balance: HTTP 200, a code that is not 20000, 余额不足; more money lets it through."""
    async with talk(balance=1.5) as client:
        await client.create()
        status, answer = await client.post(JIMMY_CREATE, JIMMY)
        assert status == 200
        assert answer["code"] != "20000"
        assert "余额不足" in answer["msg"]
        assert len(client.emulator.ledger.charges) == 1
        client.emulator.scenario = attrs.evolve(client.emulator.scenario, balance=2.0)
        await client.create()


async def test_balances(talk):
    """The account's and the key's balance; a total quota of 0 is not a cap."""
    async with talk(balance=10, price=4) as client:
        await client.create()
        _, user = await client.get("/api/open-api/v1/user/balance")
        assert user["data"] == {"balance": 10, "used_coin": 4, "available": 6}
        _, key = await client.get("/api/open-api/v1/key/balance")
        quotas = {"total_quota": 10, "used_quota": 4, "available_quota": 6, "unlimited": False}
        assert key["data"] == {"name": "emulator", **quotas}
        client.emulator.scenario = attrs.evolve(client.emulator.scenario, balance=None)
        _, key = await client.get("/api/open-api/v1/key/balance")
        assert (key["data"]["total_quota"], key["data"]["unlimited"]) == (0, True)
        _, user = await client.get("/api/open-api/v1/user/balance")
        assert user["data"]["available"] > 0


async def test_relative_urls(talk):
    """Older servers leave out scheme and host."""
    async with talk(relative_urls=True) as client:
        url = await client.url(await client.create())
        assert url.startswith("/files/")
        assert (await client.fetch(url))[0] == 200


@pytest.mark.parametrize(("progress", "shown"), [(False, None), ("stuck", 30)])
async def test_dishonest_progress(talk, progress, shown):
    """Progress can be missing, or stand still at 30."""
    async with talk(task_seconds=200, task_sigma=0, queue_seconds=0, progress=progress) as client:
        task_id = await client.create()
        client.emulator.skip(150)
        assert (await client.query(task_id)).get("progress") == shown
