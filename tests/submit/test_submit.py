"""The one way a paid POST is made: what is derived for it, and what comes of dialects and answers nobody foresaw.

The faults of the wire stand in `test_faults_create.py`, cancellations in `test_cancellation.py`.
"""

import asyncio
import contextlib
import json

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omni_async import (
    Limits,
    NotSentError,
    OmniError,
    RejectedError,
    Retried,
    RetryPolicy,
    SubmissionUncertainError,
    TaskStatus,
    Timeouts,
    VideoRequest,
)
from omni_async.breaker import Breaker
from omni_async.dialects import Jimmy, ToApis
from omni_async.identity import fingerprint, idempotency_key_of
from omni_async.lifetime import to_the_end
from omni_async.limiter.admission import OUTAGE
from omni_async.submit.posts import _as_omni
from tests.fault_server import ACCEPT, CREATED, DROP, HANG, Act, FaultServer, cut, envelope, finished, http, scene
from tests.warp import WarpLoop, run

LOOP = WarpLoop


def test_a_fingerprint_follows_from_gateway_and_inputs_alone():
    """Custom id and metadata are not inputs."""

    def of(dialect, **fields):
        return fingerprint(dialect.name, dialect.create(VideoRequest(**{"prompt": "a cat", **fields})))

    assert of(Jimmy()) == of(Jimmy(), custom_id="x", metadata={"a": 1})
    assert len({of(Jimmy()), of(ToApis()), of(Jimmy(), duration=6), of(Jimmy(), prompt="a dog")}) == 4


def test_an_idempotency_key_follows_from_both():
    """Short, and safe in a path; None where the gateway takes none."""
    key = idempotency_key_of(ToApis(), "mine", "print")
    assert key == idempotency_key_of(ToApis(), "mine", "print") != idempotency_key_of(ToApis(), "mine", "other")
    assert idempotency_key_of(Jimmy(), "mine", "print") is None
    assert key.startswith("omni-")
    assert len(key) == 45


class Tripping(Jimmy):
    """A dialect of somebody's that trips over the answer of a create."""

    trips: tuple[str, ...] = ("find_task_id",)

    def _trip(self, name, *arguments):
        if name in self.trips:
            raise LookupError("unforeseen")
        return getattr(Jimmy, name)(self, *arguments)

    def find_task_id(self, document):
        """Trips if told to."""
        return self._trip("find_task_id", document)

    def read_create(self, reply):
        """Trips if told to."""
        return self._trip("read_create", reply)

    def refused(self, reply):
        """Trips if told to."""
        return self._trip("refused", reply)


async def test_a_dialect_that_trips_loses_no_task():
    """The id is seen in the pieces, confirmed by a query, and returned."""
    async with scene(gateway=Tripping(), running=1) as here:
        task = await here.submit()
        assert [task.task_id] == here.server.charges
        assert here.journal.answers[0].body
        assert here.journal.states == ["UNCERTAIN", "SUBMITTED"]


async def test_a_dialect_that_trips_over_an_answer_without_an_id_leaves_it_uncertain():
    """With the answer as evidence; nothing leaks, nothing is sent twice."""
    async with scene(http(body={"odd": 1}), gateway=Tripping(), running=1) as here:
        with pytest.raises(SubmissionUncertainError, match=r"could not read the answer \(LookupError\)") as caught:
            await here.submit()
        assert json.loads(caught.value.evidence["body"]) == {"odd": 1}
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("name", ["read_create", "refused"])
async def test_an_id_does_not_hang_on_the_rest(name, monkeypatch, caplog):
    """The strict reading fails after the id was found: the id is kept."""
    monkeypatch.setattr(Tripping, "trips", (name,))
    async with scene(gateway=Tripping(), running=1) as here:
        assert (await here.submit()).task_id == here.server.charges[0]
    assert "odd otherwise; the id is kept" in caplog.text


async def test_a_consumer_that_asks_a_cancelled_future_loses_no_task():
    """What such a future raises would look as if the caller had been cancelled, and nobody would have the id."""

    def ask(_event):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        future.result()

    async with scene(running=1, on_event=ask) as here:
        assert (await here.submit()).task_id == here.server.charges[0]


async def test_what_a_create_looks_like_to_the_caller():
    """The task carries the gateway, the caller's own data and what the answer told."""
    async with scene(running=1) as here:
        task = await here.submit()
        assert (task.gateway, task.model, task.status) == ("jimmy", "Gemini-Omini", TaskStatus.QUEUED)


async def test_repeats_end_with_the_policy():
    """One attempt means one."""
    async with scene(envelope("-1"), retry=RetryPolicy(attempts=1)) as here:
        with pytest.raises(OmniError):
            await here.submit()
        assert len(here.server.posts) == 1
        assert not here.told(Retried)


async def test_repeats_end_with_the_budget():
    """The reserve is used up by others."""
    async with scene(envelope("-1"), envelope("-1")) as here:
        here.client.studio.exchange.budget.tokens = 0.0
        with pytest.raises(OmniError):
            await here.submit()
        assert len(here.server.posts) == 1


class Appointing(Breaker):
    """That of a run that says which row tries again while nothing can be sent."""

    appoints = True


async def test_in_an_outage_a_row_that_the_gateway_itself_failed_goes_on_trying():
    """It may be this row's own trouble; one that could not be sent leaves that to the row which its run names."""
    request, retry = VideoRequest(prompt="a cat"), RetryPolicy(attempts=9)
    async with scene(*[envelope("-1")] * 8, retry=retry, running=1) as here:
        assert (await here.client.studio.submit(request, breaker=Appointing())).task_id
    async with scene(retry=retry, base_url="http://127.0.0.1:1") as here:
        with pytest.raises(NotSentError):
            await here.client.studio.submit(request, breaker=Appointing())
        assert len(here.told(Retried)) == OUTAGE - 1


async def test_what_was_still_being_made_ready_when_the_client_closed_is_not_sent():
    """Such as a create whose files were being uploaded: no intent, no POST, and its leave is given back."""
    async with scene() as here:
        await here.client.studio.submitter.drain()
        with pytest.raises(OmniError, match="closed: nothing was sent") as caught:
            await here.submit()
        assert not caught.value.may_have_charged
        assert not here.server.posts
        assert not here.journal.calls


async def test_a_refused_create_leaves_the_slot_to_the_next():
    """One slot: a rejection frees it at once."""
    async with scene(envelope("20002", "bad"), limits=Limits(max_running_tasks=1), running=1) as here:
        with pytest.raises(RejectedError):
            await here.submit()
        assert (await here.submit()).task_id


class InTurn(FaultServer):
    """Makes one task per 3 s, and lets the creates that come meanwhile wait."""

    free = 0.0

    def _next(self, method):
        now = asyncio.get_running_loop().time()
        self.free = max(self.free, now) + 3.0
        return attrs.evolve(ACCEPT, delay=self.free - now)


async def test_creates_that_wait_in_line_at_the_gateway_are_all_answered_in_time():
    """However many are submitted at once and however short the client's timeout: none is paid for and lost."""
    server = InTurn((), ())
    async with scene(server=server, running=26, http_timeout=Timeouts(create=20)) as here:
        submits = (here.submit(f"cat {number}", custom_id=f"row-{number}") for number in range(26))
        tasks = await asyncio.gather(*submits)
        assert [task.task_id for task in tasks] == server.charges


async def test_the_drain_waits_for_posts_alone():
    """With none in flight it is over at once."""
    async with scene() as here:
        began = asyncio.get_running_loop().time()
        await here.client.studio.submitter.drain()
        assert asyncio.get_running_loop().time() == began


async def test_a_post_that_fails_in_an_unforeseen_way_gives_its_leave_back(monkeypatch):
    """Should the transport itself break: no leave leaks, and an orphan is told of as an error of ours."""

    async def broken(*_args, **_kwargs):
        await asyncio.sleep(5)
        raise MemoryError

    async with scene(running=2) as here:
        monkeypatch.setattr(here.client.studio.exchange.transport, "send", broken)
        with pytest.raises(MemoryError):
            await here.submit()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.submit(), 1)
        await asyncio.sleep(10)
        (outcome,) = here.client.unclaimed()
        assert type(outcome.error) is OmniError
        assert "MemoryError" in str(outcome.error)


def test_foreign_exceptions_become_ours():
    """By name alone; ours stay as they are."""
    own = OmniError("x")
    assert _as_omni(own) is own
    assert str(_as_omni(ValueError("secret"))) == "the create ended in ValueError"


async def test_a_drain_is_not_hurried_by_cancelling_it():
    """As aclose() is not."""
    async with scene(Act(raw=ACCEPT.raw, delay=9.0), running=1) as here:
        post = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        draining = asyncio.ensure_future(to_the_end(asyncio.ensure_future(here.client.studio.submitter.drain())))
        await asyncio.sleep(1)
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        assert post.done()
        assert here.journal.states == ["SUBMITTED"]


# --- whatever comes back -----------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NAMES = st.sampled_from(
    ["code", "msg", "data", "task_id", "id", "status", "error", "message", "type", "choices", "usage"]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5))
BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())
STATUSES = st.sampled_from([100, 101, 199, 200, 201, 204, 304, 307, 400, 401, 404, 409, 422, 429, 500, 503, 599])
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Location", "Content-Type", "X-Request-Id", "Content-Encoding", "Set-Cookie"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20) | st.just("gzip"),
    max_size=3,
)
ACTS = st.one_of(
    st.builds(
        lambda status, body, headers, framing: http(status, body, headers=headers, framing=framing, charge=True),
        STATUSES,
        BODIES,
        HEADERS,
        st.sampled_from(["length", "chunked", "none"]),
    ),
    st.builds(lambda raw: Act(raw=raw, then="close"), st.binary(max_size=300)),
    st.integers(0, len(ACCEPT.raw)).map(lambda end: Act(raw=ACCEPT.raw[:end], then="close")),
    st.sampled_from([DROP, HANG, cut("body"), http(body=CREATED), finished("t")]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(gateway=st.sampled_from(["jimmy", "toapis", "gemini_omni"]), create=ACTS, poll=ACTS)
def test_only_our_errors_come_out_whatever_comes_back(gateway, create, poll):
    """Fuzz through the whole client: one of ours or a result, no leave in flight, no more charges than POSTs."""

    async def main():
        async with scene(create, gateway=gateway, running=None) as here:
            here.server.always["GET"] = poll
            client = here.client
            calls = [here.submit(max_wait=30), client.query("t"), client.wait("t", timeout=60), client.balance()]
            for call in calls:
                with contextlib.suppress(OmniError):
                    await call
            # Refused for now, it goes out again; otherwise once. (What refuses and charges all the same is made up.)
            assert len(here.server.posts) <= 1 + len([state for state in here.journal.states if state == "PLANNED"])

    run(main())
