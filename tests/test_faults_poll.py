"""What can happen to a free GET: the paid task is never failed by it. Rows 39 to 49, and 63b to 63d.

Time jumps in these tests: outages of ten minutes take no time.
"""

import asyncio
import itertools
import logging
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest

from omni_async import (
    AuthenticationError,
    DecodeError,
    Finished,
    InvalidRequestError,
    Limits,
    NotFoundError,
    OmniClient,
    OmniError,
    Polled,
    PollPolicy,
    RejectedError,
    Retried,
    TaskFailedError,
    TaskStatus,
    Throttled,
    VideoRequest,
    WaitTimeoutError,
)
from tests.fault_server import (
    DROP,
    HANG,
    HTML,
    KEY,
    NO_TASK,
    Act,
    FaultServer,
    bomb,
    cut,
    envelope,
    finished,
    http,
    running,
    scene,
)
from tests.warp import WarpLoop, now

LOOP = WarpLoop


FAULTS = {
    "3 no answer": HANG,
    "4 closed": DROP,
    "4 reset": Act(then="reset"),
    "4 unread": Act(unread=True),
    "7 cut": cut("body"),
    "7 cut in the head": cut("headers"),
    "16 rate": http(429, HTML),
    "16 rate in a 200": envelope("20055", "请求过于频繁"),
    "19 html": http(502, HTML),
    "19 empty": http(500),
    "19 cdn": http(524, HTML),
    "19b own word": envelope("-1", "upstream"),
    "20 503": http(503, HTML, headers={"Retry-After": "5"}),
    "21 redirect": http(302, headers={"Location": "https://elsewhere.example/"}),
    "22 provisional": Act(raw=b"HTTP/1.1 100 Continue\r\n\r\n", then="close"),
    "23 garbage": Act(raw=b"garbage\r\n\r\n", then="close"),
    "23 header": http(headers={"X": "y" * 9000}),
    "24 login": http(200, HTML, headers={"Content-Type": "text/html"}),
    "25 bomb": bomb(),
    "25 endless": http(body=b"x" * 2_000_000),
    "13 unknown code": envelope("20777", "?"),
    "9 no status": http(body={"code": "20000", "data": {"task_id": "task-0000001"}}),
    "empty list": http(body=[]),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_row_39_a_poll_that_fails_is_passed_over(fault):
    """Row 39: four bad looks in a row, of whatever kind, and the task is followed to its end."""
    async with scene(polls=[FAULTS[fault]] * 4) as here:
        task = await here.client.wait(await here.submit())
        assert task.status is TaskStatus.SUCCEEDED
        assert task.custom_id == "mine"
        assert task.metadata == {"order": 7}
        assert len(here.server.posts) == len(here.server.charges) == 1
        assert len(here.told(Finished)) == 1


async def test_row_39_a_gateway_that_is_away_for_a_while_is_passed_over():
    """Row 39, row 1 on GET: nobody listens for five minutes."""
    async with scene() as here:
        task = await here.submit()
        await here.server.stop()
        asyncio.get_running_loop().call_later(300, lambda: asyncio.ensure_future(here.server.start()))
        assert (await here.client.wait(task)).video_url


async def test_row_40_an_unknown_status_is_still_running_and_told_once(caplog):
    """Row 40: bounded by the wait's deadline, the raw word is kept."""
    odd = [running("task-0000001", word="warming_up")] * 5
    async with scene(polls=odd) as here:
        seen = [task async for task in here.client.watch(await here.submit())]
        assert seen[0].raw_status == "warming_up"
        assert seen[0].status is TaskStatus.RUNNING
        assert seen[-1].status is TaskStatus.SUCCEEDED
    assert caplog.text.count("unknown status 'warming_up'") == 1


async def test_row_40_an_unknown_status_for_ever_ends_with_the_deadline():
    """Row 40: not a failure, and never overshot."""
    async with scene(running=1) as here:
        here.server.always["GET"] = running("task-0000001", word="warming_up")
        task, began = await here.submit(), now()
        with pytest.raises(WaitTimeoutError) as caught:
            await here.client.wait(task, timeout=100)
        assert caught.value.task.raw_status == "warming_up"
        assert now() - began <= 100.001


async def test_row_41_success_without_a_url_is_believed_after_three_confirmations():
    """Row 41: DecodeError with the id, and the slot is free."""
    async with scene() as here:
        here.server.always["GET"] = http(body={"code": 20000, "data": {"task_id": "x", "status": "completed"}})
        task = await here.submit()
        with pytest.raises(DecodeError) as caught:
            await here.client.wait(task)
        assert (caught.value.task_id, caught.value.custom_id) == (task.task_id, "mine")
        assert caught.value.may_have_charged
        assert len(here.server.gets) == 3


async def test_row_41_a_url_that_comes_late_is_waited_for():
    """Row 41: two looks without it, the third has it."""
    bare = http(body={"code": 20000, "data": {"task_id": "x", "status": "completed"}})
    async with scene(polls=[bare, bare]) as here:
        assert (await here.client.wait(await here.submit())).video_url


NAMELESS = http(body={"status": "error", "message": "it broke"})


async def test_row_39_a_look_that_failed_in_the_words_of_a_task_fails_no_task():
    """Row 39: JSend's error names no task, so that the next looks are asked."""
    inner = http(body={"code": "20000", "data": {"status": "failed", "error": "it broke"}})
    async with scene(polls=[NAMELESS, inner, running("task-0000001"), NAMELESS, NAMELESS]) as here:
        task = await here.client.wait(await here.submit())
        assert task.status is TaskStatus.SUCCEEDED
        assert len(here.told(Finished)) == 1


async def test_row_39_a_failure_that_names_no_task_fails_none_until_it_is_told_three_times():
    """Row 39: beside a time, as answers of any kind have one; then it is the task's, whose gateway names none."""
    nameless = http(body={"status": "error", "created_at": 1_767_000_000})
    async with scene(polls=[nameless, nameless, running("task-0000001")]) as here:
        assert (await here.client.wait(await here.submit())).status is TaskStatus.SUCCEEDED
    async with scene() as here:
        here.server.always["GET"] = nameless
        with pytest.raises(TaskFailedError):
            await here.client.wait(await here.submit())
        assert len(here.server.gets) == 3


@pytest.mark.parametrize("words", ["系统繁忙，请稍后重试", "Too many requests, slow down"])
async def test_row_39_a_gateway_too_busy_to_look_is_asked_on_and_on(words):
    """Row 39: what its words say is a refusal for now, however often it is said."""
    async with scene(polls=[http(body={"status": "error", "message": words})] * 9) as here:
        assert (await here.client.wait(await here.submit())).status is TaskStatus.SUCCEEDED


async def test_row_41_a_failure_that_names_no_task_is_an_error_after_three_confirmations():
    """Row 41: never a failed task, which would be paid for again."""
    async with scene() as here:
        here.server.always["GET"] = NAMELESS
        task = await here.submit()
        with pytest.raises(DecodeError, match="nothing of a task") as caught:
            await here.client.wait(task)
        assert (caught.value.task_id, caught.value.may_have_charged) == (task.task_id, True)
        assert len(here.server.gets) == 3
        with pytest.raises(DecodeError, match="nothing of a task"):
            await here.client.query(task)
        assert here.told(Finished) == []


MISSING = http(body={"code": "20002", "msg": NO_TASK})


async def test_row_42_not_found_right_after_the_submit_is_grace():
    """Row 42: gateways are eventually consistent."""
    async with scene(polls=[MISSING] * 3) as here:
        assert (await here.client.wait(await here.submit())).video_url


NEW_API = {"code": "task_not_exist", "message": "task_not_exist", "data": None}


@pytest.mark.parametrize(
    ("gateway", "answer"),
    [
        ("toapis", http(400, NEW_API)),
        ("toapis", http(400, {"error": {"code": "invalid_request_error", "message": "invalid task_id"}})),
        ("toapis", http(body={"status": "error", "message": "task not exist"})),
        ("jimmy", http(400, NEW_API)),
        ("jimmy", envelope("20002", "无效的任务ID")),
        ("jimmy", envelope("20002", "任务ID无效", status=400)),
        ("jimmy", http(body={"status": "error", "message": "任务不存在"})),
    ],
    ids=range(7),
)
async def test_row_42_not_found_in_other_words_is_the_same(gateway, answer):
    """Row 42: a 400, or no refusal by its form, is no reason to give a new task up."""
    async with scene(polls=[answer] * 4, gateway=gateway) as here:
        assert (await here.client.wait(await here.submit())).video_url


async def test_row_42_not_found_for_a_minute_is_not_found():
    """Row 42: then the id's slot is given back."""
    async with scene() as here:
        here.server.always["GET"] = MISSING
        task, began = await here.submit(), now()
        with pytest.raises(NotFoundError) as caught:
            await here.client.wait(task)
        assert caught.value.task_id == task.task_id
        assert 60 <= now() - began <= 120


async def test_row_43_a_finished_status_is_final():
    """Row 43: nobody looks again, so it cannot go backwards."""
    async with scene() as here:
        task = await here.submit()
        here.server.script["GET"].extend([finished("task-0000001"), *[running("task-0000001")] * 9])
        results = await asyncio.gather(here.client.wait(task), here.client.wait(task))
        assert {result.status for result in results} == {TaskStatus.SUCCEEDED}
        assert len(here.server.gets) == 1


async def test_row_44_a_wait_that_ends_is_no_failure():
    """Row 44: the error says how to go on, and going on works."""
    async with scene(polls=[running("task-0000001")] * 8) as here:
        task = await here.submit()
        with pytest.raises(WaitTimeoutError, match="goes on waiting") as caught:
            await here.client.wait(task, timeout=30)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.waited == pytest.approx(30, abs=0.1)
        assert caught.value.may_have_charged
        assert (await here.client.wait(task)).video_url


async def test_row_45_one_id_that_always_fails_delays_itself_alone():
    """Row 45: the others keep their rate."""
    async with FaultServer() as server:
        usual = server._usual

        def one_bad(seen):
            return http(500, HTML) if seen.path.endswith("task-0000001") else usual(seen)

        server._usual = one_bad
        async with OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None) as client:
            tasks = [await client.submit(f"cat {n}") for n in range(10)]
            began = now()
            good = [task async for task in client.as_completed(tasks[1:])]
            assert len(good) == 9
            assert now() - began < 20
            with pytest.raises(WaitTimeoutError):
                await client.wait(tasks[0], timeout=300)
            bad = [seen for seen in server.gets if seen.path.endswith("task-0000001")]
            assert len(bad) < 25
            assert client.limiter.load().in_flight == 0


async def test_row_46_many_due_at_once_are_paced():
    """Row 46: two thousand ids after a suspend: no burst above the rate."""
    moments = []
    async with FaultServer() as server:
        usual = server._usual
        server._usual = lambda seen: (moments.append(now()) if seen.method == "GET" else None, usual(seen))[1]
        server.charges = [f"id-{n}" for n in range(2000)]
        limits = Limits(requests_per_second=100.0)
        async with OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None, limits=limits) as client:
            done = [task async for task in client.as_completed(server.charges)]
            assert len(done) == 2000
            assert client.limiter.load().in_flight == 0
    for start in range(0, len(moments) - 120, 40):
        assert moments[start + 119] - moments[start] >= 1.0


async def test_row_47_the_wall_clock_is_not_asked_for_waits(monkeypatch):
    """Row 47: it jumps a day while a task is waited for."""

    class Jumping(datetime):
        days = 0

        @classmethod
        def now(cls, tz=None):
            cls.days += 1
            return datetime.now(tz) + timedelta(days=cls.days * (-1) ** cls.days)

    monkeypatch.setattr("omni_async.exchange.datetime", Jumping)
    monkeypatch.setattr("omni_async.snapshot.datetime", Jumping)
    async with scene(polls=[running("task-0000001")] * 4) as here:
        began = now()
        assert (await here.client.wait(await here.submit(), timeout=200)).video_url
        assert now() - began < 100


def _date(seconds):
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("20", 20, 40),
        (20, 15, 40),
        (-3600, 0, 20),
        (10 * 365 * 86400, 120, 140),
        ("nan", 0, 20),
        ("-30", 0, 20),
        ("1e9", 0, 20),
        ("", 0, 20),
    ],
    ids=["seconds", "date", "past", "ten years", "nan", "negative", "1e9", "empty"],
)
async def test_row_48_retry_after_is_clamped(value, least, most):
    """Row 48: a date, the past, ten years, nan or negative: within [0, max_wait] or as if not said."""
    refusal = http(429, headers={"Retry-After": _date(value) if isinstance(value, int) else value})
    async with scene(polls=[refusal]) as here:
        task, began = await here.submit(), now()
        await here.client.wait(task)
        assert least <= now() - began - 4.5 <= most + 0.7  # the first look comes after about 5 s
        assert 0 <= here.told(Throttled)[0].pause <= 120


async def _outage(seconds, rows=30, act=DROP, takes=400):
    """All requests of a run whose tasks take so long, with the GETs failing for so long after the submits."""
    async with scene(limits=Limits(requests_per_second=50.0)) as here:
        server, client = here.server, here.client
        began = now()
        usual = server._usual

        def slow(seen):
            task_id = seen.path.rpartition("/")[2]
            if seen.method == "GET" and now() - began < takes:
                return running(task_id, progress=None)
            return usual(seen)

        server._usual = slow
        tasks = [await client.submit(f"cat {n}") for n in range(rows)]
        if seconds:
            server.always["GET"] = act
            asyncio.get_running_loop().call_later(seconds, lambda: server.always.update(GET=None))
        done = [task async for task in client.as_completed(tasks, timeout=None)]
        assert len(done) == rows
        assert all(task.video_url for task in done)
        return server.started.count("GET"), len(here.told(Retried)), len(server.charges)


@pytest.mark.parametrize("takes", [400, 900])
@pytest.mark.parametrize("act", [DROP, http(503, HTML), HANG], ids=["drop", "503", "hang"])
async def test_row_49_an_outage_of_ten_minutes_ends_well(act, takes):
    """Row 49: all tasks complete; requests stay within those of a run without it, a tenth more, and the reserve."""
    without, _, _ = await _outage(0, takes=takes)
    with_it, _, charges = await _outage(600, act=act, takes=takes)
    assert charges == 30
    assert with_it <= 1.10 * without + 10


async def test_every_second_look_at_a_server_that_is_down_keeps_the_others_going():
    """Behind a balancer with one of two servers down, however long: slower is no help, and all tasks are seen."""
    async with scene() as here:
        tasks = [await here.client.submit(f"cat {n}") for n in range(100)]
        usual, chance, began = here.server._usual, random.Random(5), now()

        def at_one_of_two(seen):
            if chance.random() < 0.5:
                return http(503, HTML)
            task_id = seen.path.rpartition("/")[2]
            return usual(seen) if now() - began > 100 else running(task_id)

        here.server._usual = at_one_of_two
        seen = [task async for task in here.client.as_completed(tasks, timeout=900)]
        assert len(seen) == 100


@pytest.mark.parametrize("other", [http(503, HTML), http(429, HTML)], ids=["503", "429"])
async def test_a_firewalls_pages_let_nothing_through(other):
    """An outage in which they alternate with other refusals leaves the pace as it was: all is seen soon after it."""
    async with scene() as here:
        tasks = [await here.client.submit(f"cat {n}") for n in range(30)]
        pages = itertools.cycle([http(403, HTML), other])
        usual, over = here.server._usual, now() + 600
        here.server._usual = lambda seen: usual(seen) if now() > over else next(pages)
        seen = [task async for task in here.client.as_completed(tasks, timeout=None)]
        assert len(seen) == 30
        assert now() - over <= 90


@pytest.mark.parametrize("act", [DROP, http(502, HTML)], ids=["drop", "502"])
async def test_the_budget_bounds_the_repeats_of_free_calls(act):
    """Every request fails: at most a tenth more than first attempts, and the reserve of ten."""
    async with scene() as here:
        here.server.always["GET"] = act
        first = 300
        for _ in range(first):
            with pytest.raises(OmniError):
                await here.client.balance()
        assert len(here.server.started) <= 1.10 * first + 10  # those that aiohttp makes by itself included
        assert len(here.told(Retried)) <= 0.1 * first + 10


async def test_the_budget_is_shared_by_creates_and_polls():
    """Repeats of creates that were never sent are paid from the same reserve."""
    server = await FaultServer().start()
    await server.stop()
    async with scene(base_url=server.url, limits=Limits(max_connections=4)) as here:
        rows = [VideoRequest(prompt="cat", custom_id=str(n)) for n in range(60)]
        outcomes = [outcome async for outcome in here.client.generate_many(rows)]
        assert len(outcomes) == 60
        tries = len([call for call in here.journal.calls if call[0] == "intend"])
        assert tries <= 1.10 * 60 + 10


async def test_row_63b_an_unexpected_exception_in_a_look_delays_that_id_alone(caplog, monkeypatch):
    """Row 63b: the id backs off and is looked at again."""
    async with scene() as here:
        exchange = type(here.client.studio.exchange)
        usual, failed = exchange.glance, []

        async def look(self, ticket, task_id):
            if len(failed) < 3:
                failed.append(task_id)
                self.limiter.unused(ticket)
                raise ZeroDivisionError
            return await usual(self, ticket, task_id)

        monkeypatch.setattr(exchange, "glance", look)
        assert (await here.client.wait(await here.submit())).video_url
        assert len(failed) == 3
    assert "an unexpected error while looking" in caplog.text


async def test_row_63b_when_the_background_task_ends_every_waiter_learns_the_cause():
    """Row 63b: an error with its cause for each, and the next wait works."""
    async with scene(running=1) as here:
        here.server.always["GET"] = HANG
        task = await here.submit()
        waits = [asyncio.ensure_future(here.client.wait(task)) for _ in range(3)]
        await asyncio.sleep(10)
        here.client.studio.poller._pump.cancel()
        for wait in waits:
            with pytest.raises(OmniError, match="poller ended") as caught:
                await wait
            assert caught.value.task_id == task.task_id
            assert caught.value.__cause__ is not None
        assert here.client.limiter.load().in_flight == 0


async def test_row_63c_a_borrowed_sessions_habits_do_not_touch_a_poll():
    """Row 63c: still our errors, and the session is left open."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with scene(polls=[http(502, HTML), http(429)], session=session) as here:
            assert (await here.client.wait(await here.submit())).video_url
        assert not session.closed


async def test_row_63d_a_create_gets_its_slot_when_a_task_finishes_unwatched():
    """Row 63d: nobody waits, all slots are taken: the create itself is interested in the running ids."""
    async with scene(limits=Limits(max_running_tasks=2), running=2) as here:
        for number in range(6):
            await here.submit(custom_id=str(number))
        assert len(here.server.charges) == 6
        assert len(here.server.gets) >= 4


async def test_with_nobody_waiting_there_are_no_polls():
    """No waiter, no create that waits for a slot: not one GET."""
    async with scene(running=1) as here:
        await here.submit()
        await asyncio.sleep(3600)
        assert not here.server.gets


async def test_fifty_waiters_of_an_id_cost_what_one_costs():
    """They share each look."""
    counts = []
    for waiters in (1, 50):
        async with scene(polls=[running("task-0000001")] * 6) as here:
            task = await here.submit()
            await asyncio.gather(*(here.client.wait(task) for _ in range(waiters)))
            counts.append(len(here.server.gets))
    assert counts[1] <= counts[0] + 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_definite_refusal_ends_the_wait_after_three(status):
    """A bad key will not mend itself; the task may be fine, so the slot stays held."""
    async with scene(running=1) as here:
        here.server.always["GET"] = envelope("20001", "bad key", status=status)
        task = await here.submit()
        with pytest.raises(AuthenticationError) as caught:
            await here.client.wait(task)
        assert caught.value.task_id == task.task_id
        assert caught.value.may_have_charged
        assert len(here.server.gets) == 3


@pytest.mark.parametrize("status", [400, 403, 405, 413])
async def test_a_firewalls_page_is_passed_over(status):
    """It knows nothing of the task, however often it comes; a key that is refused by a page stays refused."""
    async with scene(polls=[http(status, HTML)] * 6) as here:
        assert (await here.client.wait(await here.submit())).status is TaskStatus.SUCCEEDED
    async with scene(polls=[http(401, HTML)] * 6, running=1) as here:
        with pytest.raises(AuthenticationError):
            await here.client.wait(await here.submit())


@pytest.mark.parametrize("odd", [".", ".."])
async def test_what_is_no_id_leaks_no_leave(odd):
    """An id that is another path is refused, and nothing stays in flight."""
    async with scene() as here:
        for _ in range(20):
            with pytest.raises(InvalidRequestError):
                await here.client.query(odd)
        assert here.client.limiter.load().in_flight == 0
        assert not here.server.started


async def test_a_message_that_is_cut_inside_a_letter_hides_no_end():
    """Gateways that count bytes cut so: the task has failed, and nobody waits for it for ever."""
    failed = '{"code": 20000, "data": {"task_id": "task-0000001", "status": "failed", "error_message": "@"}}'
    body = failed.encode().replace(b"@", "内容违规，请修改".encode()[:-1])
    async with scene() as here:
        here.server.always["GET"] = http(body=body)
        with pytest.raises(TaskFailedError, match="内容违规") as caught:
            await here.client.wait(await here.submit(), timeout=None)
        assert caught.value.moderated


async def test_a_refusal_in_letters_that_cannot_be_read_is_no_definite_one():
    """Its words may say "busy": the task is looked at on and on."""
    refusal = http(body='{"code": "20002", "msg": "系统繁忙"}'.encode("gbk"))
    async with scene(polls=[refusal] * 6) as here:
        assert (await here.client.wait(await here.submit())).status is TaskStatus.SUCCEEDED


async def test_a_query_is_one_get_and_says_what_is_wrong(caplog):
    """Each refusal as its own class, with the task's id."""
    caplog.set_level(logging.INFO)
    cases = [(MISSING, NotFoundError), (envelope("20002", "no"), RejectedError), (http(body=[]), OmniError)]
    for act, kind in cases:
        async with scene(polls=[act]) as here:
            with pytest.raises(kind) as caught:
                await here.client.query("some-id")
            assert caught.value.task_id == "some-id"
            assert caught.value.may_have_charged
            assert len(here.server.gets) == 1


async def test_a_look_is_told(caplog):
    """Polled carries status, progress and the caller's own data."""
    async with scene(polls=[running("task-0000001", 40)], poll=PollPolicy(fixed=7.0)) as here:
        began = now()
        await here.client.wait(await here.submit())
        assert now() - began == pytest.approx(14, abs=1)
        looks = here.told(Polled)
        assert [(look.progress, look.status) for look in looks] == [
            (40, TaskStatus.RUNNING),
            (100, TaskStatus.SUCCEEDED),
        ]
        assert {look.custom_id for look in looks} == {"mine"}


async def test_an_answer_to_nothing_is_not_taken_for_that_of_a_look():
    """One on an idle connection would put off all answers by one: each task would get the end of the one before."""
    async with scene(running=None) as here:
        first, second = await here.submit(custom_id="a"), await here.submit(custom_id="b")
        await here.client.query(first)
        for writer in here.server._writers:
            writer.write(running(first.task_id).raw)
            await writer.drain()
        await asyncio.sleep(0.01)
        seen = [await here.client.query(task) for task in (first, second, first)]
        assert [task.raw["data"]["task_id"] for task in seen] == [first.task_id, second.task_id, first.task_id]
        assert [task.status for task in seen] == [TaskStatus.SUCCEEDED] * 3
