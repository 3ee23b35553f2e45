"""The hidden limits: what each lets through, and in which words it refuses."""

import asyncio

import attrs
import pytest

from omni_async.emulator.limits import FixedWindow, SlidingWindow, TokenBucket

from .conftest import BODIES, CREATE, FLAT, JIMMY, JIMMY_CREATE, QUERY


def taken(meter, times, rate, burst=None):
    return [meter.take(at, rate, burst) for at in times]


def test_bucket_starts_full_and_refills():
    """One second's worth at once, then one per 1/rate seconds; refusals cost nothing."""
    assert taken(TokenBucket(), [0, 0, 0, 0.1, 0.5, 0.6], 2) == [True, True, False, False, True, False]


def test_bucket_holds_at_least_one():
    """A rate below one per second still lets single requests through."""
    assert taken(TokenBucket(), [0, 1, 2], 0.5) == [True, False, True]


def test_bucket_of_a_given_size():
    """`burst` replaces one second's worth."""
    assert taken(TokenBucket(), [0, 0, 0, 0], 1, burst=3) == [True, True, True, False]


def test_fixed_window_forgets_at_the_full_second():
    """Twice the rate passes around the change of windows, which is what is wrong with them."""
    assert taken(FixedWindow(), [0.9, 0.95, 0.99, 1.0, 1.01, 1.02], 2) == [True, True, False, True, True, False]


def test_sliding_window_does_not():
    """Any window of one second holds at most the rate."""
    assert taken(SlidingWindow(), [0.9, 0.95, 1.0, 1.91, 1.96], 2) == [True, True, False, True, True]


@pytest.mark.parametrize("meter", [FixedWindow, SlidingWindow])
def test_windows_of_a_rate_below_one(meter):
    """Half a request per second is one in two seconds."""
    assert taken(meter(), [0, 1.9, 2.0], 0.5) == [True, False, True]


@pytest.mark.parametrize("style", ["token_bucket", "fixed_window", "sliding_window"])
async def test_requests_per_second_is_for_all_requests(talk, style):
    """A limit on requests refuses queries and creates alike, and the ledger says who refused."""
    async with talk(requests_per_second=0.01, limit_style=style) as client:
        for _ in range(3):
            await client.get(QUERY + "x")
        ledger = client.emulator.ledger
        assert ledger.refused["query"] == 2
        assert set(ledger.refused_by) == {"requests_per_second"}
        assert ledger.requests["query"] == 3


async def test_creates_per_second_leaves_queries_alone(talk):
    """A limit on creates refuses only creates, and charges none it refused."""
    async with talk(creates_per_second=0.01) as client:
        assert (await client.post(CREATE, FLAT))[0] == 200
        assert (await client.post(CREATE, FLAT))[0] == 429
        assert (await client.get(QUERY + "x"))[0] == 404
        assert len(client.emulator.ledger.charges) == 1


async def test_concurrency_counts_what_is_in_flight(talk):
    """The third of three requests at once is refused when two may be in flight; latency keeps them there."""
    async with talk(http_concurrency=2, latency=0.1) as client:
        answers = await asyncio.gather(*(client.get(QUERY + "x") for _ in range(3)))
        assert sorted(status for status, _ in answers) == [404, 404, 429]
        assert client.emulator.ledger.peak_in_flight == 3
        assert client.emulator.ledger.refused_by == {"http_concurrency": 1}
        assert (await client.get(QUERY + "x"))[0] == 404


async def test_running_tasks_are_freed_as_they_end(talk):
    """A create beyond so many unfinished tasks is refused until one ends."""
    async with talk(running_tasks=1, task_seconds=200, task_sigma=0) as client:
        assert (await client.post(CREATE, FLAT))[0] == 200
        assert (await client.post(JIMMY_CREATE, JIMMY))[0] == 429
        client.emulator.skip(210)
        assert (await client.post(JIMMY_CREATE, JIMMY))[0] == 200
        assert client.emulator.ledger.refused_by == {"running_tasks": 1}


@pytest.mark.parametrize(("gateway", "word"), [("jimmy", "请求过于频繁，请稍后再试"), ("toapis", "Request rate")])
async def test_refusals_tell_nothing(talk, gateway, word):
    """Whichever limit refused, the words are the same; `limit_words` precise names it."""
    path, body = BODIES[gateway]
    words = []
    async with talk() as client:
        for limit in ({"requests_per_second": 0.001}, {"running_tasks": 0}, {"http_concurrency": 0}):
            off = {"requests_per_second": None, "running_tasks": None, "http_concurrency": None, "burst": None}
            client.emulator.scenario = attrs.evolve(client.emulator.scenario, **{**off, **limit})
            await client.post(path, body)
            status, answer = await client.post(path, body)
            assert status == 429
            words.append(answer.get("msg") or answer["error"]["message"])
        client.emulator.scenario = attrs.evolve(client.emulator.scenario, limit_words="precise")
        _, answer = await client.post(path, body)
    assert words[0].startswith(word)
    assert len(set(words)) == 1
    assert (answer.get("msg") or answer["error"]["message"]) != words[0]


async def test_shapes_of_a_429(talk):
    """jimmy refuses in its envelope, the others in an error object."""
    async with talk(running_tasks=0) as client:
        assert await client.post(JIMMY_CREATE, JIMMY) == (
            429,
            {"code": "20009", "msg": "请求过于频繁，请稍后再试", "data": None},
        )
        status, answer = await client.post(CREATE, FLAT)
        assert status == 429
        assert answer["error"]["code"] == answer["error"]["type"] == "rate_limit_exceeded"


async def test_limits_hidden_in_a_200(talk):
    """The same refusals can come with HTTP 200, and still count as refused."""
    async with talk(running_tasks=0, limits_in_200=True) as client:
        status, answer = await client.post(JIMMY_CREATE, JIMMY)
        assert (status, answer["code"]) == (200, "20009")
        status, answer = await client.post(CREATE, FLAT)
        assert (status, answer["error"]["code"]) == (200, "rate_limit_exceeded")
        assert client.emulator.ledger.refused == {"create": 2}


@pytest.mark.parametrize(
    ("given", "header"),
    [(None, None), (2, "2"), (2.0, "2"), (0.5, "0.5"), ("Wed, 21 Oct 2026 07:28:00 GMT",) * 2],
)
async def test_retry_after(talk, given, header):
    """A number of seconds, any text, or no header at all."""
    async with (
        talk(running_tasks=0, retry_after=given) as client,
        client.session.post(CREATE, json=FLAT) as response,
    ):
        assert response.headers.get("Retry-After") == header


async def test_limits_change_while_it_runs(talk):
    """A scenario replaced mid-run rules from the next request on."""
    async with talk(running_tasks=0) as client:
        assert (await client.post(CREATE, FLAT))[0] == 429
        client.emulator.scenario = attrs.evolve(client.emulator.scenario, running_tasks=None)
        assert (await client.post(CREATE, FLAT))[0] == 200
