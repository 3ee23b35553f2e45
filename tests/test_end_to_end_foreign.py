"""A gateway that nobody here knows, spoken to by the caller's own dialect, from a description to a file on disk."""

import itertools
import json
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from omni_async import (
    AuthenticationError,
    OmniClient,
    RateLimitError,
    SubmissionUncertainError,
    TaskFailedError,
    TaskStatus,
)
from tests.foreign import CREATE, QUERY, Foreign
from tests.warp import WarpLoop

KEY = "foreign-key"
# The smallest thing that starts like an MP4: a file type box, and a box of nothing.
VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00\x00\x04\x00free" + bytes(1016)

LOOP = WarpLoop


class Renderer:
    """The foreign gateway: jobs take three looks."""

    def __init__(self):
        self.jobs, self.looks, self.busy, self.url = {}, {}, 0, ""
        self.numbers = itertools.count(1)
        self.keys = []

    async def create(self, request):
        """Charge, then answer with an array."""
        self.keys.append(request.headers.get("x-api-key"))
        if self.keys[-1] != KEY:
            return web.json_response({"error": {"code": "E_KEY", "message": "who are you"}}, status=400)
        if self.busy:
            self.busy -= 1
            return web.json_response({"error": {"code": "E_BUSY", "message": "later"}})
        job = f"R/{next(self.numbers)} ü"
        self.jobs[job] = await request.json()
        if self.jobs[job]["text"] == "vanish":
            request.transport.close()
        return web.json_response({"data": [{"task_id": job, "state": "WAIT"}]})

    async def query(self, request):
        """The id in the query string, the state in capitals, the result as text inside JSON."""
        job = request.query["render"]
        self.looks[job] = self.looks.get(job, 0) + 1
        data = {"task_id": job, "state": "RENDER", "madeAt": int(time.time() * 1000)}
        if self.looks[job] > 2:
            broken = self.jobs[job]["text"] == "break"
            data["state"] = "BROKEN" if broken else "FINISH"
            data["output"] = None if broken else json.dumps({"video": f"{self.url}/out.mp4?sig=1"})
        return web.json_response({"data": data})

    async def video(self, request):
        """The file; the key must not come here."""
        assert "x-api-key" not in request.headers
        return web.Response(body=VIDEO, content_type="video/mp4")


@asynccontextmanager
async def rendering(**settings):
    """The gateway and a client that speaks to it."""
    renderer = Renderer()
    app = web.Application()
    app.add_routes(
        [web.post(CREATE, renderer.create), web.get(QUERY, renderer.query), web.get("/out.mp4", renderer.video)]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    renderer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with OmniClient(Foreign(), **{"api_key": KEY, "base_url": renderer.url, **settings}) as client:
            yield renderer, client
        assert client.limiter.load().in_flight == 0
    finally:
        await runner.cleanup()


async def test_from_a_text_to_a_file(tmp_path):
    """Submit, wait, download: one create, three looks, the video on disk."""
    async with rendering() as (renderer, client):
        task = await client.submit("a cat", duration=7, custom_id="mine")
        assert task.gateway == "foreign"
        task = await client.wait(task)
        assert (task.status, task.raw_status, task.custom_id) == (TaskStatus.SUCCEEDED, "FINISH", "mine")
        assert task.created_at.year >= 2025
        path = await client.download(task, tmp_path / "cat.mp4")
        assert path.read_bytes() == VIDEO
        assert list(renderer.jobs.values()) == [{"text": "a cat", "seconds": 7}]
        assert renderer.keys == [KEY]


async def test_generate_does_it_in_one_call(tmp_path):
    """The same with one call."""
    async with rendering() as (_, client):
        await client.generate("a cat", output=tmp_path / "cat.mp4")
        assert (tmp_path / "cat.mp4").read_bytes() == VIDEO


async def test_its_refusals_are_ours():
    """A bad key, a busy gateway, a failed job, a lost answer."""
    async with rendering(api_key="wrong") as (_, client):
        with pytest.raises(AuthenticationError):
            await client.submit("a cat")
    async with rendering() as (renderer, client):
        renderer.busy = 2
        assert (await client.submit("a cat")).task_id
        renderer.busy = 100
        with pytest.raises(RateLimitError):
            await client.submit("a cat", max_wait=3)
        renderer.busy = 0
        with pytest.raises(TaskFailedError) as caught:
            await client.wait(await client.submit("break"))
        assert caught.value.task.raw_status == "BROKEN"
        with pytest.raises(SubmissionUncertainError):
            await client.submit("vanish")
        assert len(renderer.jobs) == 3


async def test_many_of_them():
    """Each once, in order of finishing."""
    async with rendering() as (renderer, client):
        outcomes = [outcome async for outcome in client.generate_many([f"cat {n}" for n in range(20)])]
        assert all(outcome.task.video_url for outcome in outcomes)
        assert len(renderer.jobs) == 20


async def test_without_a_key_the_dialects_own_variable_is_named(monkeypatch):
    """An error before any I/O."""
    monkeypatch.delenv("FOREIGN_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match="FOREIGN_API_KEY"):
        OmniClient(Foreign())
    monkeypatch.setenv("FOREIGN_API_KEY", KEY)
    await OmniClient(Foreign()).aclose()
