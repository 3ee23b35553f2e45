"""The ledger: what was charged, and how many tasks ran when."""

import asyncio
import json

import pytest

from omni_async.emulator import Charge, Ledger, SeenRequest
from omni_async.emulator.ledger import RunningTasks

from .conftest import JIMMY, JIMMY_CREATE


class Watch:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


def test_ends_count_at_their_true_times():
    """An end nobody looked at is in the timeline when it happened, not when it was noticed."""
    watch = Watch()
    running = RunningTasks(watch.now)
    running.add(2.0)
    watch.at = 1.0
    running.add(4.0)
    watch.at = 10.0
    assert running.count == 0
    assert running.timeline == [(0.0, 0), (0.0, 1), (1.0, 2), (2.0, 1), (4.0, 0)]


def test_mean_running():
    """The mean is over the span asked for, now being its end unless given."""
    watch = Watch()
    running = RunningTasks(watch.now)
    running.add(2.0)
    running.add(float("inf"))
    watch.at = 4.0
    assert running.mean() == pytest.approx(1.5)
    assert running.mean(0, 2) == pytest.approx(2.0)
    assert running.mean(1, 3) == pytest.approx(1.5)
    assert running.mean(2) == pytest.approx(1.0)
    assert running.mean(4) == 0.0


async def test_a_create_is_charged_before_its_answer(talk):
    """The charge is written while the client still waits for the answer."""
    async with talk(latency=0.2, price=2.5) as client:
        waiting = asyncio.ensure_future(client.create(duration=8, resolution="4k"))
        while not client.emulator.ledger.charges:  # noqa: ASYNC110 - it has no event for it
            await asyncio.sleep(0.001)
        (charge,) = client.emulator.ledger.charges
        assert not waiting.done()
        assert await waiting == charge.task_id
        assert isinstance(charge, Charge)
        assert (charge.gateway, charge.model, charge.seconds) == ("jimmy", "Gemini-Omini", 8)
        assert (charge.price, charge.resolution, charge.prompt) == (2.5, "4k", "a cat")
        assert 0 <= charge.at < 1


async def test_counts_and_queries_per_task(talk):
    """Requests count by kind, queries by task."""
    async with talk() as client:
        task_id = await client.create()
        await client.query(task_id)
        await client.query(task_id)
        await client.fetch(await client.url(task_id))
        ledger = client.emulator.ledger
        assert ledger.requests == {"create": 1, "query": 3, "file": 1}
        assert ledger.per_task == {task_id: 3}
        assert ledger.peak_connections == 1
        assert ledger.running_now == 0
        assert repr(ledger) == "<Ledger 1 charged, 0 running, 5 requests, 0 refused>"


async def test_the_ledger_over_http(talk):
    """`GET /_emulator/ledger` gives the same as `as_dict`, in plain JSON."""
    async with talk() as client:
        await client.create("toapis", client_business_id="row-1")
        status, answer = await client.get("/_emulator/ledger")
        assert status == 200
        assert answer == json.loads(json.dumps(client.emulator.ledger.as_dict()))
        assert answer["charges"][0]["business_id"] == "row-1"


async def test_what_was_sent_can_be_looked_at(talk):
    """The last requests are kept with their JSON, and without the key."""
    async with talk() as client:
        await client.post(JIMMY_CREATE + "?a=1", JIMMY, headers={"X-Mine": "1"})
        seen = client.emulator.ledger.last_requests[-1]
        assert isinstance(seen, SeenRequest)
        assert (seen.method, seen.path, seen.json) == ("POST", JIMMY_CREATE + "?a=1", JIMMY)
        assert seen.headers["X-Mine"] == "1"
        assert "sk-test" not in repr(client.emulator.ledger.last_requests)


async def test_keys_that_reach_the_file_host_are_counted(talk):
    """No client should send its key to the host of the videos; one that does is noticed."""
    async with talk() as client:
        url = await client.url(await client.create())
        await client.fetch(url)
        assert client.emulator.ledger.keys_at_files == 1


def test_an_empty_ledger():
    """Nothing happened: nothing charged, nothing running."""
    ledger = Ledger(lambda: 0.0)
    assert ledger.mean_running() == 0.0
    assert ledger.running == [(0.0, 0)]
