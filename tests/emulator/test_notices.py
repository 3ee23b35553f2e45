"""Webhooks of the flat shape: signed, to this machine only, sent again when refused."""

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from omni_async.emulator import InjectedFault


@asynccontextmanager
async def receiver(*statuses):
    """A server that answers with these statuses in turn, the last one for good; yields its URL and what it got."""
    got = []

    async def handle(request):
        got.append((dict(request.headers), await request.read()))
        return web.Response(status=statuses[min(len(got), len(statuses)) - 1])

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    finally:
        await runner.cleanup()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 what is waited for happens in the emulator, which tells nobody
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("faults", "kind", "status"),
    [([], "generation.completed", "completed"), ([InjectedFault("fail")], "generation.failed", "failed")],
)
async def test_event_and_signature(talk, faults, kind, status):
    """Headers, body and HMAC-SHA256 of id.timestamp.body, sent when the task ends."""
    async with receiver(200) as (url, got), talk(task_seconds=0.1, faults=faults) as client:
        task_id = await client.create("toapis", callback_url=url)
        assert not got
        await until(lambda: got)
        headers, body = got[0]
        event = json.loads(body)
        assert event["id"] == headers["X-ToAPIs-Webhook-Id"]
        assert event["type"] == kind
        data = {"task_id": task_id, "task_type": "video", "model": "gemini_omni", "status": status}
        assert event["data"] == data
        signed = f"{event['id']}.{headers['X-ToAPIs-Webhook-Timestamp']}.".encode() + body
        secret = client.emulator.scenario.webhook_secret.encode()
        expected = "v1=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()
        assert headers["X-ToAPIs-Webhook-Signature"] == expected


async def test_two_signatures_while_a_key_rotates(talk):
    """Each secret signs, separated by a comma."""
    async with receiver(204) as (url, got), talk(webhook_secret=("old", "new")) as client:
        await client.create("toapis", callback_url=url)
        await until(lambda: got)
        assert got[0][0]["X-ToAPIs-Webhook-Signature"].count("v1=") == 2
        assert "," in got[0][0]["X-ToAPIs-Webhook-Signature"]


async def test_sent_again_until_taken(talk):
    """A refused event comes again with the same id, and not once more after it was taken."""
    async with receiver(500, 503, 200) as (url, got), talk(webhook_retry=0.01) as client:
        await client.create("toapis", callback_url=url)
        await until(lambda: len(client.emulator.ledger.webhooks) == 3)
        await asyncio.sleep(0.1)
        assert [delivery.outcome for delivery in client.emulator.ledger.webhooks] == [500, 503, 200]
        assert len({headers["X-ToAPIs-Webhook-Id"] for headers, _ in got}) == 1


async def test_given_up_after_four_tries(talk):
    """Nobody listens: four tries, noted by what went wrong."""
    async with talk(webhook_retry=0.01) as client:
        await client.create("toapis", callback_url="http://127.0.0.1:9/hook")
        await until(lambda: len(client.emulator.ledger.webhooks) == 4)
        await asyncio.sleep(0.1)
        outcomes = {delivery.outcome for delivery in client.emulator.ledger.webhooks}
        assert outcomes == {"ClientConnectorError"}


@pytest.mark.parametrize("url", ["https://example.com/hook", "http://127.0.0.1.example.com/", "http://[::1/"])
async def test_other_hosts_are_never_called(talk, url):
    """Only this machine is called; another host is noted."""
    async with talk() as client:
        await client.create("toapis", callback_url=url)
        (delivery,) = client.emulator.ledger.webhooks
        assert delivery.outcome == "ignored: not a loopback host"
        assert delivery.url == url


async def test_stopping_cancels_what_is_planned(talk):
    """A stop leaves no webhook behind; a task without end never has one."""
    async with (
        receiver(200) as (url, got),
        talk(task_seconds=60, faults=[InjectedFault("never_ends", first=1)]) as client,
    ):
        await client.create("toapis", callback_url=url)
        await client.create("toapis", callback_url=url)
        await client.emulator.stop()
        assert not got
