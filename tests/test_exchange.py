"""One call from leave to meaning: whatever the answer, the leave comes back, and only our errors come out."""

import asyncio
import random

import pytest

from omni_async import (
    AnswerLostError,
    ApiError,
    AuthenticationError,
    DecodeError,
    GatewayError,
    Limiter,
    NotSentError,
    OmniError,
    RateLimitError,
    RejectedError,
    Retried,
    RetryPolicy,
    Throttled,
)
from omni_async.dialects import Jimmy, ToApis
from omni_async.exchange import Exchange
from omni_async.keys import Key
from omni_async.limiter import Kind
from omni_async.reporter import Reporter
from omni_async.retry import RetryBudget
from omni_async.transport import Transport
from tests.fault_server import DROP, HTML, KEY, FaultServer, envelope, finished, http, running
from tests.warp import WarpLoop

LOOP = WarpLoop


class Tripping(Jimmy):
    """A dialect of somebody's that trips over answers."""

    def read_query(self, reply):
        """Trips."""
        return reply.document["nowhere"]

    def classify(self, reply):
        """Trips."""
        raise LookupError(reply.body.decode())


class Setting:
    """An exchange against a scripted server."""

    def __init__(self, *polls, dialect=None, url=None, **settings):
        self.server = FaultServer(polls=polls)
        self.dialect, self.url, self.settings, self.events = dialect or Jimmy(), url, settings, []

    async def __aenter__(self):
        await self.server.start()
        self.transport = Transport(dialect=self.dialect, base_url=self.url or self.server.url, key=Key(KEY), proxy=None)
        self.limiter = Limiter()
        exchange = Exchange(
            dialect=self.dialect,
            transport=self.transport,
            limiter=self.limiter,
            report=Reporter(self.events.append),
            rng=random.Random(0),
            **{"retry": RetryPolicy(), **self.settings},
        )
        self.exchange = exchange
        return self

    async def __aexit__(self, *_):
        await self.transport.aclose()
        await self.server.stop()
        load = self.limiter.load()
        assert (load.in_flight, load.running, load.waiting_polls) == (0, 0, 0)

    def ask(self):
        """The balance."""
        return self.exchange.ask(self.dialect.balance(), self.dialect.read_balance)


BALANCE = http(body={"code": 20000, "data": {"available": 5, "balance": 9, "used_coin": 4}})


@pytest.mark.parametrize("act", [DROP, http(502, HTML), envelope("-1", "upstream"), http(429)], ids=range(4))
async def test_a_free_call_is_repeated(act):
    """After a lost answer, a 5xx, the gateway's own word, or a refusal for now."""
    acts = [act] * (4 if act is DROP else 2)  # aiohttp takes a second one by itself
    async with Setting(*acts, BALANCE) as here:
        assert (await here.ask()).available == 5
        assert [event.attempt for event in here.events if isinstance(event, Retried)] == [1, 2]


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (DROP, AnswerLostError),
        (http(502, HTML), GatewayError),
        (envelope("-1", "upstream"), GatewayError),
        (http(429), RateLimitError),
        (http(200, HTML), DecodeError),
        (http(302), GatewayError),
    ],
    ids=range(6),
)
async def test_after_three_tries_the_last_error_comes_out(act, kind):
    """With the gateway's name; a page that is not an answer is not taken for one."""
    async with Setting() as here:
        here.server.always["GET"] = act
        with pytest.raises(kind) as caught:
            await here.ask()
        assert caught.value.gateway == "jimmy"


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (envelope("20001", "bad key", status=401), AuthenticationError),
        (envelope("20002", "bad"), RejectedError),
        (http(body={"code": 20000, "data": {"odd": 1}}), DecodeError),
        (http(400, HTML), RejectedError),
    ],
    ids=range(4),
)
async def test_what_is_definite_is_not_repeated(act, kind):
    """One GET."""
    async with Setting(act, BALANCE) as here:
        with pytest.raises(kind):
            await here.ask()
        assert len(here.server.gets) == 1


@pytest.mark.parametrize(("status", "kind"), [(200, ApiError), (500, GatewayError), (409, GatewayError)])
async def test_a_refusal_with_a_code_nobody_knows_is_told_in_the_gateways_words(status, kind):
    """It is in the gateway's shape, so it is not an answer that cannot be decoded; what it means is for a person."""
    async with Setting() as here:
        here.server.always["GET"] = envelope("20777", "half done, see https://a.example/x?sig=1", status=status)
        with pytest.raises(ApiError, match="half done") as caught:
            await here.ask()
        error = caught.value
        assert (type(error), error.status_code, error.code) == (kind, status, "20777")
        assert (error.message, error.gateway) == ("half done, see https://a.example/x?…", "jimmy")


async def test_a_code_does_not_hide_that_a_task_has_ended():
    """Succeeded, without a URL, and with an error beside it: asking on for ever would help nobody."""
    odd = {"status": "completed", "error": {"code": "storage_lost", "message": "m"}}
    async with Setting(http(body=odd), dialect=ToApis()) as here:
        with pytest.raises(DecodeError) as caught:
            await here.exchange.query("t")
        assert caught.value.terminal


async def test_without_budget_nothing_is_repeated():
    """The reserve is used up: the first error comes out."""
    async with Setting(http(502), BALANCE, budget=RetryBudget(0.0)) as here:
        with pytest.raises(GatewayError):
            await here.ask()


async def test_what_was_not_sent_is_repeated_unless_it_is_a_matter_of_configuration():
    """A refused connection three times; a malformed URL once."""
    server = await FaultServer().start()
    await server.stop()
    async with Setting(url=server.url) as here:
        with pytest.raises(NotSentError):
            await here.ask()
        assert len(here.events) == 2


async def test_looks_that_were_never_sent_are_no_sign_of_a_busy_gateway():
    """A link that is down for a moment: as many as before may be in flight when it is back."""
    async with Setting(url="http://127.0.0.1:1") as here:
        here.limiter._state.pace.cut(0.0, 0.0)  # a limit was met before
        tickets = [await here.limiter.acquire(Kind.POLL) for _ in range(4)]
        window = here.limiter.load().window
        for ticket in tickets[::-1]:
            with pytest.raises(NotSentError):
                await here.exchange.look(ticket, f"task_{ticket.in_flight}")
        assert here.limiter.load().window == window


async def test_a_dialect_that_trips_over_a_good_answer_is_a_decode_error():
    """Its exception's name alone is told, and the leave comes back."""
    async with Setting(dialect=Tripping()) as here:
        here.server.charges = ["t"]
        with pytest.raises(DecodeError, match=r"could not read the answer \(KeyError\)") as caught:
            await here.exchange.query("t")
        assert (caught.value.task_id, caught.value.gateway) == ("t", "jimmy")


@pytest.mark.parametrize("act", [http(500, HTML), http(400, "odd"), envelope("20002")], ids=range(3))
async def test_a_dialect_that_trips_over_a_refusal_is_an_error_of_ours(act):
    """Whatever it was a refusal of; the leave comes back."""
    async with Setting(act, dialect=Tripping()) as here:
        with pytest.raises(OmniError):
            await here.exchange.query("t")


async def test_a_refusal_for_now_is_told_and_slows():
    """Throttled names the controller that was adjusted."""
    async with Setting(http(429, headers={"Retry-After": "9"})) as here:
        with pytest.raises(RateLimitError) as caught:
            await here.exchange.query("t")
        assert caught.value.retry_after == 9.0
        (event,) = here.events
        assert isinstance(event, Throttled)
        assert (event.kind, event.cause, event.pause) == ("query", "pace", 9.0)
        assert {type(event.kind), type(event.cause)} == {str}  # plain words, as they are shown
        assert here.limiter.load().paused_for == pytest.approx(9.0)


async def test_a_pause_that_only_the_body_names_is_kept():
    """As gateways pass on what theirs says; a header is believed before it."""
    body = {"error": {"message": "busy", "details": [{"retryDelay": "9s"}]}}
    for headers, pause in (({}, 9.0), ({"Retry-After": "4"}, 4.0)):
        async with Setting(http(429, body, headers=headers)) as here:
            with pytest.raises(RateLimitError) as caught:
                await here.exchange.query("t")
            assert caught.value.retry_after == pause


async def test_the_id_that_was_asked_for_stays_the_id():
    """An answer may name another of the task's ids, or none."""
    async with Setting(finished("another")) as here:
        assert (await here.exchange.query("mine")).task_id == "mine"


async def _accepted(here, *task_ids):
    """Tasks of ours that run."""
    for task_id in task_ids:
        here.limiter.accepted(await here.limiter.acquire(Kind.CREATE), task_id)


def _failed(task_id, word="failed", **fields):
    return http(body={"code": "20000", "data": {"task_id": task_id, "status": word, **fields}})


async def _looks(here, task_id, count):
    """What so many queries say, one after the other: a status, or that it cannot be read."""
    told = []
    for _ in range(count):
        try:
            told.append((await here.exchange.query(task_id)).status)
        except DecodeError as error:
            told.append("terminal" if error.terminal else "unread")
    return told


async def test_an_answer_about_another_task_of_ours_is_none():
    """Caches and gateways mix answers up: that one's end and video are not this one's, also when it has ended."""
    mixed = [_failed("b"), finished("b"), running("b")]
    async with Setting(*mixed, finished("b"), *mixed, _failed("a")) as here:
        await _accepted(here, "a", "b")
        assert await _looks(here, "a", 3) == ["unread"] * 3
        assert await _looks(here, "b", 1) == ["succeeded"]
        assert await _looks(here, "a", 4) == ["unread"] * 3 + ["failed"]


@pytest.mark.parametrize("word", ["failed", "cancelled"])
async def test_a_failure_by_another_name_is_believed_when_it_is_told_again(word):
    """Some gateways name another of the task's ids; what runs in between shows that it was somebody else's."""
    strange = _failed("upstream", word)
    async with Setting(strange, strange, running("upstream"), strange, strange, strange) as here:
        await _accepted(here, "a")
        ended = "failed" if word == "failed" else "canceled"
        assert await _looks(here, "a", 6) == ["unread", "unread", "running", "unread", "unread", ended]


@pytest.mark.parametrize(
    "answer",
    [_failed("req-1", id="a"), _failed("req-1", order={"ids": ["x", "a"]})],
    ids=["beside it", "deep in it"],
)
async def test_an_answer_that_has_the_id_somewhere_is_about_it(answer):
    """A failure is believed at once."""
    async with Setting(answer) as here:
        await _accepted(here, "a")
        assert await _looks(here, "a", 1) == ["failed"]


async def test_a_failure_without_any_id_is_believed_when_it_is_told_again():
    """What failed can be the look: a status and a time are in both. A success has its video to show."""
    nameless = _failed("", created_at=1_767_000_000)
    async with Setting(nameless, running(""), nameless, nameless, nameless, finished("")) as here:
        await _accepted(here, "a", "b")
        assert await _looks(here, "a", 5) == ["unread", "running", "unread", "unread", "failed"]
        assert await _looks(here, "b", 1) == ["succeeded"]


@pytest.mark.parametrize(("named", "what"), [("upstream", "task upstream"), ("", "something")])
async def test_a_failure_in_doubt_says_what_was_told_and_that_asking_again_settles_it(named, what):
    """A person who asks once is told so."""
    async with Setting(_failed(named, progress=5)) as here:
        await _accepted(here, "a")
        with pytest.raises(DecodeError, match=f"says that {what} failed, .*: ask again, it is believed .* 3 times"):
            await here.exchange.query("a")
        here.limiter.finished("a")


async def test_a_task_may_be_asked_for_by_another_name():
    """As by the caller's own (toapis): the answers name a task of ours, running or ended."""
    async with Setting(_failed("b"), finished("b"), finished("b"), finished("b")) as here:
        await _accepted(here, "b")
        assert await _looks(here, "order-17", 2) == ["failed", "succeeded"]
        assert await _looks(here, "b", 1) == ["succeeded"]
        assert await _looks(here, "order-17", 1) == ["succeeded"]
        here.limiter.finished("b")


async def test_what_runs_is_followed_by_a_glance_whatever_it_names():
    """A glance that says that it runs takes back what was doubted before."""
    strange = _failed("upstream")
    async with Setting(strange, strange, running("a"), strange) as here:
        await _accepted(here, "a")
        assert await _looks(here, "a", 2) == ["unread"] * 2
        assert (await here.exchange.glance(await here.limiter.acquire(Kind.QUERY), "a")).status == "running"
        assert await _looks(here, "a", 1) == ["unread"]
        here.limiter.finished("a")


@pytest.mark.parametrize(
    ("expires", "told"),
    [(86_400, False), (1_767_000_100, False), (1_767_000_101, True), ("1970-01-02T00:00:00Z", False), (None, False)],
)
async def test_a_url_that_expires_before_its_task_ended_tells_no_expiry(expires, told):
    """A gateway that counts from now: nobody may take a new video for one that has gone."""
    act = finished("mine", created_at=1_767_000_000, completed_at=1_767_000_100, expires_at=expires)
    async with Setting(act) as here:
        seen = await here.exchange.query("mine")
        assert (seen.expires_at is not None) is told


async def test_a_finished_task_gives_its_slot_back():
    """A single query is enough."""
    async with Setting(finished("mine")) as here:
        ticket = await here.limiter.acquire(Kind.CREATE)
        here.limiter.accepted(ticket, "mine")
        assert here.limiter.load().running == 1
        await here.exchange.query("mine")


async def test_cancelled_in_the_pause_before_a_repeat_nothing_is_left():
    """The pause holds no leave."""
    async with Setting(http(502)) as here:
        asked = asyncio.ensure_future(here.ask())
        await asyncio.sleep(0.9)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


def test_the_clock_of_an_exchange_is_the_wall():
    """For Retry-After dates; with a zone."""
    exchange = Exchange(dialect=Jimmy(), transport=None, limiter=Limiter(), retry=RetryPolicy(), report=Reporter(None))
    assert exchange.wall().tzinfo is not None
