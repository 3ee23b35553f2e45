"""POSTs belong to the client: what becomes of their callers does not touch them."""

import asyncio

import pytest

from omni_async import OmniError, Outcome, VideoRequest, VideoTask
from omni_async.journal import NotNow
from omni_async.submit.creates import Attempt
from omni_async.submit.posts import Posts

REQUEST = VideoRequest(prompt="a cat")
PAID = Attempt(task=VideoTask(task_id="t-1"))


def ending(gate, what):
    """What makes a POST that ends with the gate: gives `what`, or raises it."""

    async def post(told):
        await gate.wait()
        if isinstance(what, BaseException):
            raise what
        return what

    return post


async def begun(posts, gate, what):
    """A caller who waits for a POST under way."""
    caller = asyncio.ensure_future(posts.own(ending(gate, what), REQUEST))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return caller


async def test_unclaimed_outcomes_do_not_pile_up_for_ever(monkeypatch):
    """The last ones are kept; in months there would be a process full of them."""
    monkeypatch.setattr("omni_async.submit.posts.KEPT", 3)
    posts = Posts()
    for number in range(5):
        posts.keep(Attempt(task=VideoTask(task_id=f"t-{number}")), REQUEST)
    assert [outcome.task.task_id for outcome in posts.unclaimed] == ["t-2", "t-3", "t-4"]


async def test_a_caller_has_what_the_post_came_to():
    """A result or an exception; nothing is left in flight, nothing is unclaimed."""
    posts, gate = Posts(), asyncio.Event()
    callers = [await begun(posts, gate, what) for what in (PAID, OmniError("broken"))]
    assert len(posts.running) == 2
    gate.set()
    assert await callers[0] is PAID
    with pytest.raises(OmniError, match="broken"):
        await callers[1]
    assert not posts.running
    assert not posts.unclaimed


@pytest.mark.parametrize("what", [PAID, Attempt(error=OmniError("odd", may_have_charged=True)), OmniError("odd")])
async def test_what_its_caller_did_not_wait_for_is_unclaimed(what):
    """He is cancelled at once; the POST goes on, and what may cost money is kept."""
    posts, gate = Posts(), asyncio.Event()
    caller = await begun(posts, gate, what)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not posts.unclaimed
    gate.set()
    await posts.drain()
    await asyncio.sleep(0)
    (outcome,) = posts.unclaimed
    assert outcome.request is REQUEST
    assert outcome.task is PAID.task if what is PAID else outcome.error.may_have_charged


async def test_a_caller_who_goes_in_the_turn_in_which_it_ends_loses_no_id():
    """The answer was on its way to him: it is unclaimed."""
    posts, gate = Posts(), asyncio.Event()
    caller = await begun(posts, gate, PAID)
    gate.set()
    while posts.running:  # noqa: ASYNC110 - it counts turns
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [outcome.task for outcome in posts.unclaimed] == [PAID.task]


async def test_a_caller_who_is_thrown_out_is_gone_as_well():
    """Not by his task: what he waits for is cancelled all the same."""
    posts, gate = Posts(), asyncio.Event()
    waiting = posts.own(ending(gate, PAID), REQUEST)
    waiting.send(None)
    with pytest.raises(asyncio.CancelledError):
        waiting.throw(asyncio.CancelledError)
    gate.set()
    await posts.drain()
    await asyncio.sleep(0)
    assert [outcome.task for outcome in posts.unclaimed] == [PAID.task]


async def test_a_post_that_is_cancelled_before_its_first_turn_gives_its_leave_back():
    """It was never made; its caller goes with it."""
    posts, gate, given_back = Posts(), asyncio.Event(), []
    caller = asyncio.ensure_future(posts.own(ending(gate, PAID), REQUEST, never=lambda: given_back.append(1)))
    while not posts.running:  # noqa: ASYNC110 - it counts turns
        await asyncio.sleep(0)
    next(iter(posts.running)).cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert given_back == [1]
    assert not posts.unclaimed


async def test_a_post_that_is_cancelled_in_its_last_turn_comes_to_what_it_came_to():
    """As by a consumer of its last event: the caller has his task."""
    posts = Posts()

    async def post(_told):
        asyncio.current_task().cancel()
        return PAID

    assert await posts.own(post, REQUEST) is PAID
    assert not posts.running


async def test_a_post_that_is_itself_given_up_cancels_its_caller():
    """The loop ends: there is no outcome."""
    posts, gate = Posts(), asyncio.Event()
    caller = await begun(posts, gate, PAID)
    (post,) = posts.running
    post.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not posts.unclaimed


def test_of_what_nobody_was_given_only_what_may_cost_money_is_kept(caplog):
    """Rows that were refused, or never sent, are gone with whoever waited for them: nothing is told of them."""
    posts = Posts()
    refused = Outcome(request=REQUEST, error=OmniError("refused", may_have_charged=False))
    posts.left([])
    posts.left([refused])
    assert not posts.unclaimed
    assert not caplog.records
    paid = Outcome(request=REQUEST, task=PAID.task)
    lost = Outcome(request=REQUEST, error=OmniError("lost", may_have_charged=True))
    posts.left([refused, paid, lost])
    assert list(posts.unclaimed) == [paid, lost]
    assert "2 paid videos has gone: t-1;" in caplog.text


async def test_a_create_that_was_only_put_off_is_not_unclaimed():
    """Nothing was sent, and its row stands as it stood."""
    posts, gate = Posts(), asyncio.Event()
    caller = await begun(posts, gate, Attempt(hold=NotNow("somebody sends it", 1.0)))
    caller.cancel()
    gate.set()
    await posts.drain()
    await asyncio.sleep(0)
    assert not posts.unclaimed
