"""The web apps of the README, as they stand there, in real servers on loopback; the emulator's ledger is the judge.

Time is real here, since the servers are other processes.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from omni_async.emulator import Emulator, InjectedFault
from omni_async.emulator.notices import signature
from tests.recipes import block

ROOT = Path(__file__).parent.parent
# `py` in the README, not `python`: test_readme.py runs those, and a server has no end.
APP, AIOHTTP = block("web: app.py"), block("web: web.py")
COMMAND = re.search(r"^uvicorn (.*)$", block("web: fastapi"), re.MULTILINE)[1].split()
SECRET = "whsec-example"
MISSING = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
MISSING += [] if MISSING or importlib.util.find_spec("fastapi.sse") else ["fastapi>=0.135"]
needs_fastapi = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


NO_ORDERS = (
    b"",
    b"order=1",
    b"\xff\xfe\xfa",
    b"[1]",
    b"null",
    b"{}",
    *(
        json.dumps({"order_id": "order-4", "prompt": "a boat"} | other).encode()
        for other in (
            {"order_id": None},
            {"order_id": ""},
            {"order_id": 4},
            {"prompt": ""},
            {"prompt": {"prompt": "a boat", "model": "dear", "image_urls": ["/etc/passwd"]}},
        )
    ),
)
"""Bodies that are no order."""


class Site:
    """An app in a process of its own, and a browser.

    Args:
        folder: Where the program, its journal and what it says lie.
        gateway: The emulator's URL.
        command: Words after the interpreter; `{port}` in them is its port.
        environment: More of it.
    """

    def __init__(self, folder, gateway, command, **environment):
        self.folder, self.command = folder, command
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = os.environ | {
            "TOAPIS_API_KEY": "sk-example",
            "TOAPIS_BASE_URL": gateway,
            "TOAPIS_WEBHOOK_SECRET": f"an older one,{SECRET}",
            "PUBLIC_URL": self.url,
            "JOURNAL": str(folder / "videos.sqlite3"),
            "PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        self.log = folder / "log.txt"
        self.browser = None
        self._process = None

    async def start(self):
        """Start it, and wait until it answers."""
        words = [word.format(port=self.port) for word in self.command]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *words,
                cwd=self.folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await until(self._answers)

    async def _answers(self):
        assert self._process.returncode is None, self.said()
        with contextlib.suppress(aiohttp.ClientError):
            async with self.browser.get(self.url):
                return True
        return False

    async def kill(self, number=signal.SIGKILL):
        """End it with all its workers, and wait for that."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        await asyncio.wait_for(self._process.wait(), 90)

    async def __aenter__(self):
        # A connection each, so that each worker gets its share.
        self.browser = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.kill()
        await self.browser.close()

    def said(self):
        """Its output."""
        return self.log.read_text("utf-8")

    async def post(self, body):
        """Send anything in an order's place: the status."""
        async with self.browser.post(f"{self.url}/videos", data=body) as answer:
            return answer.status

    async def ask(self, order_id, prompt=None):
        """Order a video: status, headers, and the answer."""
        order = {"order_id": order_id, "prompt": prompt or f"a boat for {order_id}"}
        async with self.browser.post(f"{self.url}/videos", json=order) as answer:
            return answer.status, answer.headers, json.loads(await answer.text() or "null")

    async def order(self, order_id):
        """Order a video, again while the app says so; its task id."""
        async with asyncio.timeout(10):
            status, headers, answer = await self.ask(order_id)
            while status in (429, 502):  # after a restart a create is uncertain until it was looked up
                await asyncio.sleep(float(headers.get("Retry-After", 0.3)))
                status, headers, answer = await self.ask(order_id)
        assert status == 202, answer
        assert answer["custom_id"] == order_id
        return answer["task_id"]

    async def health(self):
        """What `/health` tells."""
        async with self.browser.get(f"{self.url}/health") as answer:
            return await answer.json()

    async def webhook(self, task_id, secret=SECRET):
        """Send it a webhook that says that a task is done; the status it answers with."""
        body = json.dumps({"id": "evt_1", "type": "generation.completed", "data": {"task_id": task_id}}).encode()
        now = str(int(time.time()))
        headers = {
            "X-ToAPIs-Webhook-Id": "evt_1",
            "X-ToAPIs-Webhook-Timestamp": now,
            "X-ToAPIs-Webhook-Signature": signature((secret,), "evt_1", now, body),
        }
        async with self.browser.post(f"{self.url}/webhooks/toapis", data=body, headers=headers) as answer:
            return answer.status

    @contextlib.asynccontextmanager
    async def watching(self, task_id):
        """A browser that reads a task's server-sent events."""
        async with self.browser.get(f"{self.url}/videos/{task_id}/events") as answer:
            assert answer.content_type == "text/event-stream"
            yield steps_in(answer)


async def steps_in(answer):
    """What each event tells."""
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


async def until(condition, seconds=10):
    """Wait for what happens in another process."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


@pytest.fixture
def fastapi_app(tmp_path):
    """Makes the FastAPI service, started as the README says, but with as many workers as are wanted."""
    (tmp_path / "app.py").write_text(APP, "utf-8")

    def make(gateway, workers=1, **environment):
        words = [word for word in COMMAND if word not in ("--workers", "2")]
        more = ["--port", "{port}", "--no-access-log", "--workers", str(workers)]
        return Site(tmp_path, gateway.url, ["-m", "uvicorn", *words, *more], **environment)

    return make


def emulator(**scenario):
    """A gateway that signs its webhooks with two keys, one of which the app knows."""
    return Emulator(**{"task_sigma": 0.0, "webhook_secret": ("a newer one", SECRET), **scenario})


def paid(gateway):
    """What was paid: the prompts, in order."""
    return sorted(charge.prompt for charge in gateway.ledger.charges)


def said_ready(site, orders):
    """Whether the app was told that each of these orders is done."""

    async def check():
        return all(f"order {order}: succeeded" in site.said() for order in orders)

    return check


@needs_fastapi
async def test_an_order_from_the_click_to_the_video(fastapi_app):
    """202 with the handle, the same task for a second click, its progress, and the webhook that brings the end."""
    async with emulator(task_seconds=2) as gateway, fastapi_app(gateway) as site:
        first, second = await asyncio.gather(site.ask("order-1"), site.ask("order-1"))
        third = await site.ask("order-1")
        assert {status for status, _, _ in (first, second, third)} == {202}
        assert len({answer["task_id"] for _, _, answer in (first, second, third)}) == 1
        assert paid(gateway) == ["a boat for order-1"]

        task_id = first[2]["task_id"]
        async with site.watching(task_id) as staying, asyncio.timeout(4):  # the gateway advises a first look after five
            async with site.watching(task_id) as leaving:
                assert await site.webhook(task_id) == 204  # too early: it makes the app look, and that is all
                assert (await anext(leaving))["status"] in ("queued", "running")
            steps = [step async for step in staying]  # who left took nobody along
        assert [step["status"] for step in steps][-1] == "succeeded"
        assert not any(step["video_url"] for step in steps[:-1])
        assert steps[-1]["video_url"].startswith(gateway.url)
        await until(said_ready(site, ["order-1"]))
        assert [delivery.outcome for delivery in gateway.ledger.webhooks] == [204]


@needs_fastapi
async def test_what_is_refused(fastapi_app):
    """Faults 422, another prompt 409, a forged webhook 400, no room 429 with Retry-After; nothing is paid for it."""
    async with emulator(task_seconds=60) as gateway, fastapi_app(gateway, MAX_RUNNING_TASKS="1") as site:
        assert (await site.ask("order-1", " "))[0] == 422
        task_id = await site.order("order-1")
        status, _, answer = await site.ask("order-1", "another boat")
        assert (status, answer["may_have_charged"]) == (409, True)

        status, headers, answer = await site.ask("order-2")
        assert (status, answer["may_have_charged"]) == (429, False)
        assert int(headers["Retry-After"]) >= 1

        assert await site.webhook(task_id, secret="forged") == 400
        assert await site.webhook("task_of_nobody") == 204
        assert "succeeded" not in site.said()
        assert paid(gateway) == ["a boat for order-1"]


@needs_fastapi
async def test_a_browser_that_leaves_ends_its_own_watch(fastapi_app):
    """Nobody looks any more at what only it was waiting for."""
    async with emulator(task_seconds=60) as gateway, fastapi_app(gateway) as site:
        await site.order("order-1")
        async with site.watching("task_of_another_app") as steps:
            waiting = asyncio.ensure_future(anext(steps))
            await until(lambda: follows(site, 2))
            waiting.cancel()
            await asyncio.wait({waiting})
        await until(lambda: follows(site, 1))  # the order's own


async def follows(site, count):
    """Whether the app looks at so many ids."""
    return (await site.health())["following"] == count


@needs_fastapi
async def test_killed_in_the_middle_of_paying(fastapi_app):
    """kill -9 while creates are charged and not answered: after the restart each order has one task, and its end."""
    orders = [f"order-{number}" for number in range(8)]
    async with emulator(task_seconds=3, latency=0.6) as gateway, fastapi_app(gateway) as site:
        clicks = [asyncio.ensure_future(site.ask(order)) for order in orders]

        async def charged():
            return len(gateway.ledger.charges) == len(orders)

        await until(charged)
        await site.kill()
        ends = await asyncio.gather(*clicks, return_exceptions=True)
        assert any(isinstance(end, aiohttp.ClientError) for end in ends)
        await until(lambda: webhooks_tried(gateway, len(orders)))
        await site.start()
        task_ids = await asyncio.gather(*map(site.order, orders))
        await until(said_ready(site, orders))
        assert len(set(task_ids)) == len(orders)
        assert paid(gateway) == sorted(f"a boat for {order}" for order in orders)
        assert (await site.health())["uncertain"] == 0


@needs_fastapi
async def test_two_workers_share_a_journal(fastapi_app):
    """Whichever worker gets which click: one task an order, also while both are at it, and after both were killed."""
    orders = [f"order-{number}" for number in range(10)]
    async with emulator(task_seconds=1, latency=0.1) as gateway, fastapi_app(gateway, workers=2) as site:

        async def both_run():
            return site.said().count("Application startup complete") == 2

        await until(both_run)
        clicks = await asyncio.gather(*map(site.order, orders * 3))
        assert len(set(clicks)) == len(orders)
        await site.kill()
        await site.start()
        assert await asyncio.gather(*map(site.order, orders)) == clicks[: len(orders)]
        await until(said_ready(site, orders))
        assert paid(gateway) == sorted(f"a boat for {order}" for order in orders)


@needs_fastapi
async def test_told_to_end_it_waits_for_what_is_being_paid(fastapi_app):
    """SIGTERM with a create in flight: its answer is taken down and handed to whoever asked."""
    async with (
        emulator(task_seconds=60, faults=(InjectedFault("hang", seconds=0.7),)) as gateway,
        fastapi_app(gateway) as site,
    ):
        click = asyncio.ensure_future(site.ask("order-1"))

        async def charged():
            return bool(gateway.ledger.charges)

        await until(charged)
        os.kill(site._process.pid, signal.SIGTERM)
        assert (await click)[0] == 202
        await site.kill(signal.SIGTERM)
        assert "Traceback" not in site.said()
        assert paid(gateway) == ["a boat for order-1"]


async def test_the_short_one_on_aiohttp(tmp_path):
    """The same promises: one task an order, its webhook, and a kill -9 in between."""
    (tmp_path / "web.py").write_text(AIOHTTP, "utf-8")
    async with emulator(task_seconds=1.5, latency=0.1) as gateway, Site(tmp_path, gateway.url, ["web.py"]) as site:
        ids = await asyncio.gather(*map(site.order, ("order-1", "order-2", "order-1")))
        assert ids[0] == ids[2]
        await site.kill()
        await site.start()
        assert await site.order("order-1") == ids[0]
        await until(lambda: webhooks_taken(gateway, 2))
        assert [await site.webhook(ids[0], secret=secret) for secret in (SECRET, "forged")] == [204, 400]
        assert [(await site.ask(order, " "))[0] for order in ("order-3", "order-1")] == [422, 422]
        assert {await site.post(body) for body in NO_ORDERS} == {422}
        assert "Traceback" not in site.said()
        assert paid(gateway) == ["a boat for order-1", "a boat for order-2"]


async def webhooks_tried(gateway, tasks):
    """Whether so many tasks have ended and their webhook was tried, whoever was there to take it."""
    return len({one.task_id for one in gateway.ledger.webhooks}) == tasks


async def webhooks_taken(gateway, count):
    """Whether so many webhooks of the gateway were taken."""
    return [delivery.outcome for delivery in gateway.ledger.webhooks].count(204) == count
