"""Cancelled at every step of the event loop, three ways: the POST goes on to a recorded end, nothing stays behind."""

import asyncio
import os
import signal
import sys
import textwrap
import time
import warnings
from pathlib import Path

import anyio
import pytest

from omni_async import (
    DownloadError,
    Limiter,
    Limits,
    OmniClient,
    OmniError,
    RateLimitError,
    SubmissionUncertainError,
    Submitted,
    Uncertain,
)
from tests.fault_server import ACCEPT, DROP, HANG, KEY, Act, FaultServer, RecordingJournal, envelope, http, scene
from tests.warp import SteppedLoop, WarpLoop

STEPS = 120
"""More than a submit takes: the last ones are never reached, which the tests check."""

LOOP = WarpLoop


class Trial:
    """One submit against an act, cancelled after `step` rounds of the loop; what came of it."""

    def __init__(self, act, step, how):
        self.act, self.step, self.how = act, step, how
        self.events, self.journal = [], RecordingJournal()
        self.reached = True
        self.result = self.failure = self.closing = None
        self.left = ()

    def run(self):
        """Run it on a loop of its own; no warning may come of it."""
        with warnings.catch_warnings(), asyncio.Runner(loop_factory=SteppedLoop) as runner:
            warnings.simplefilter("error")
            runner.run(self._main(runner.get_loop()))
        return self

    async def _main(self, loop):
        async with FaultServer([self.act]) as server:
            self.server = server
            settings = {"api_key": KEY, "base_url": server.url, "proxy": None, "journal": self.journal}
            self.client = OmniClient("jimmy", **settings, on_event=self.events.append)
            loop.count = self.step
            await getattr(self, f"_{self.how}")(loop)
            self.reached = loop.count is None
            loop.count = None
            await self.client.aclose()
            await asyncio.sleep(0)
        own = asyncio.current_task()
        self.left = [task for task in asyncio.all_tasks() if task is not own and not task.done()]

    async def _submit(self):
        try:
            self.result = await self.client.submit("a cat", custom_id="mine")
        except OmniError as error:
            self.failure = error

    async def _task(self, loop):
        """Task.cancel()."""
        caller = loop.create_task(self._submit())
        loop.at_step = caller.cancel
        await asyncio.wait({caller})
        self.cancelled = caller.cancelled()

    async def _scope(self, loop):
        """An anyio cancel scope."""
        with anyio.CancelScope() as scope:
            loop.at_step = scope.cancel
            await self._submit()
        self.cancelled = scope.cancelled_caught

    async def _closing(self, loop):
        """The caller under `async with`, cancelled, and cancelled again and again while the client closes."""

        async def whole():
            async with self.client:
                await self._submit()
                self.served = True

        caller = loop.create_task(whole())

        def again():
            if not caller.done():
                caller.cancel()
                loop.call_later(0.3, again)

        loop.at_step = again
        await asyncio.wait({caller})
        self.cancelled = caller.cancelled()

    async def _everything(self, loop):
        """Every task that is found: a common recipe of shutdowns. The server's go on, and the poller's stay quiet."""
        here = asyncio.current_task()
        caller = loop.create_task(self._submit())

        def all_found():
            for task in asyncio.all_tasks() - {here}:
                if not any(name in repr(task) for name in ("FaultServer", "_accept_connection", "Poller._work")):
                    task.cancel()

        loop.at_step = all_found
        await asyncio.wait({caller})
        self.cancelled = caller.cancelled()

    def check_everything(self):
        """Whatever the moment: given back, charged once at most; what may have been sent is recorded, and told once."""
        load = self.client.limiter.load()
        assert (load.in_flight, load.waiting_creates) == (0, 0)
        assert not self.left, self.left
        assert len(self.server.charges) <= len(self.server.posts) <= 1
        told = [event for event in self.events if isinstance(event, Submitted | Uncertain)]
        unclaimed = self.client.unclaimed()
        assert len(self.server.posts) <= len(told) <= 1
        assert len(told) == len(unclaimed) + (self.result is not None) + self.uncertain
        if unclaimed and unclaimed[0].task is not None:
            assert unclaimed[0].task.task_id == self.server.charges[0]
        return told

    @property
    def uncertain(self):
        """Whether the caller was told that it may have been charged."""
        return self.failure is not None and self.failure.may_have_charged

    def check(self):
        """Whatever the moment: charged once at most, recorded, told, nothing in flight, no task left."""
        load = self.client.limiter.load()
        assert (load.in_flight, load.waiting_creates) == (0, 0)
        assert not self.left, self.left
        assert len(self.server.charges) <= len(self.server.posts) <= 1
        told = [event for event in self.events if isinstance(event, Submitted | Uncertain)]
        assert len(told) == len(self.server.posts)
        assert len(self.journal.states) <= 1
        assert len([state for state in self.journal.states if state != "PLANNED"]) == len(self.server.posts)
        assert load.running == len(self.server.posts)
        unclaimed = self.client.unclaimed()
        if self.result is None and self.failure is None:
            assert self.cancelled
            assert len(unclaimed) == len(self.server.posts)
        else:
            assert not unclaimed
        if unclaimed and unclaimed[0].task is not None:
            assert unclaimed[0].task.task_id == self.server.charges[0]


@pytest.mark.parametrize("act", [ACCEPT, DROP, Act(raw=ACCEPT.raw, delay=3.0)], ids=["accept", "drop", "slow"])
@pytest.mark.parametrize("how", ["task", "scope", "closing"])
def test_rows_27_and_28_cancelled_after_each_step_it_comes_to_a_recorded_end(how, act):
    """Rows 27 and 28: for every step of the loop, the outcome is in the journal, the events and `unclaimed()`."""
    reached = posted = 0
    for step in range(STEPS):
        trial = Trial(act, step, how).run()
        trial.check()
        reached += trial.reached
        posted += len(trial.server.posts)
        if not trial.reached:
            break
    assert 10 < reached < STEPS, "the last steps must lie behind the end"
    assert posted > 0


@pytest.mark.parametrize("act", [ACCEPT, DROP, Act(raw=ACCEPT.raw, delay=3.0)], ids=["accept", "drop", "slow"])
def test_row_28_whoever_cancels_every_task_at_any_step_leaves_no_create_untold(act):
    """Row 28: also of the library's own; an answer that is not waited for any more is a lost one."""
    reached = posted = 0
    for step in range(STEPS):
        trial = Trial(act, step, "everything").run()
        told = trial.check_everything()
        assert len([state for state in trial.journal.states if state != "PLANNED"]) == len(told)
        reached += trial.reached
        posted += len(trial.server.posts)
        if not trial.reached:
            break
    assert 10 < reached < STEPS, "the last steps must lie behind the end"
    assert posted > 0


def test_row_28_when_the_caller_is_cancelled_while_the_client_closes_it_is_told_afterwards():
    """Row 28: aclose() drains, and then raises CancelledError."""

    async def main():
        async with FaultServer([Act(raw=ACCEPT.raw, delay=20.0)]) as server:
            client = OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None)
            loop = asyncio.get_running_loop()
            post = asyncio.ensure_future(client.submit("a cat"))
            await asyncio.sleep(1)
            closing = asyncio.ensure_future(client.aclose())
            for _ in range(3):
                await asyncio.sleep(1)
                closing.cancel()
            began = loop.time()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert loop.time() - began > 10
            assert (await post).task_id == server.charges[0]
            assert client.limiter.load().in_flight == 0

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(main())


def test_a_post_that_ends_in_the_round_in_which_the_client_closes_does_not_hang_it():
    """The drain begins between the end of a POST and the callback that forgets it: it must not spin there."""

    async def main():
        async with scene(running=1) as here:
            await here.submit()
            submitter = here.client.studio.submitter
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)
            submitter.posts.running.add(done)
            await submitter.drain()
            submitter.posts.running.clear()

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(main())


async def test_a_client_is_opened_in_one_task_and_closed_in_another():
    """As test fixtures and web frameworks do, also with an anyio scope open around the first."""
    async with FaultServer() as server:
        client = OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None)

        async def opened():
            with anyio.CancelScope():
                await client.__aenter__()
                return await client.wait(await client.submit("a cat"))

        task = await asyncio.create_task(opened())
        assert task.task_id == server.charges[0]
        await asyncio.create_task(client.aclose())
        assert client.limiter.load().in_flight == 0
        with pytest.raises(OmniError, match="closed"):
            await client.query(task)


async def test_a_client_cancelled_in_a_task_group_does_not_spin_while_it_drains():
    """anyio redelivers a cancellation every round of the loop: the drain is shielded from that."""
    rounds = 0
    loop = asyncio.get_running_loop()
    run_once = loop._run_once

    def counted():
        nonlocal rounds
        rounds += 1
        run_once()

    async with FaultServer([Act(raw=ACCEPT.raw, delay=60.0)]) as server:
        loop._run_once = counted
        began = loop.time()
        async with anyio.create_task_group() as group:

            async def work():
                async with OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None) as client:
                    await client.submit("a cat")

            group.start_soon(work)
            await anyio.sleep(1)
            group.cancel_scope.cancel()
        assert loop.time() - began > 50
        assert rounds < 500
        assert len(server.charges) == 1


@pytest.mark.parametrize("call", ["query", "wait", "balance"])
async def test_free_calls_cancelled_give_their_leave_back(call):
    """Cancelled during the request, a free call leaves nothing in flight."""
    async with scene() as here:
        here.server.always["GET"] = HANG
        arguments = () if call == "balance" else ("some-id",)
        asked = asyncio.ensure_future(getattr(here.client, call)(*arguments))
        await asyncio.sleep(1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        if call != "wait":  # a look goes on for the others
            assert here.client.limiter.load().in_flight == 0


async def test_cancelled_in_the_queue_of_a_shared_limiter_everybody_else_goes_on():
    """Two clients, one limiter, one slot: the one that is cancelled gives its place up."""
    limiter = Limiter(Limits(max_running_tasks=1))
    async with FaultServer() as server:
        settings = {"api_key": KEY, "base_url": server.url, "proxy": None, "limiter": limiter}
        async with OmniClient("jimmy", **settings) as one, OmniClient("jimmy", **settings) as other:
            server.always["GET"] = Act(raw=b"", then="hang")
            await one.submit("a cat")
            waiting = asyncio.ensure_future(other.submit("a dog"))
            third = asyncio.ensure_future(other.submit("a bird"))
            await asyncio.sleep(1)
            waiting.cancel()
            server.always["GET"] = None
            assert (await third).task_id == server.charges[1]
        assert limiter.load().in_flight == 0
        assert limiter.load().waiting_creates == 0


# --- Ctrl-C, in a process of its own ----------------------------------------------------------------------------

CHILD = """
    import asyncio, logging, sys, warnings
    from omni_async import OmniClient
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    out = lambda *words: print(*words, flush=True)

    async def main():
        client = OmniClient("jimmy", api_key="k", base_url=sys.argv[1], proxy=None, on_event=lambda e: out("event", e))
        try:
            async with client:
                out("ready")
                await client.submit("a cat", custom_id="mine")
        finally:
            out("unclaimed", len(client.unclaimed()), client.limiter.load().in_flight, len(asyncio.all_tasks()))

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        out("interrupted")
"""


def interrupted(act, *, twice):
    """A child that submits, interrupted while its POST is on its way: its output, the ledger, seconds to its end."""

    async def main():
        async with FaultServer([act]) as server:
            program = [sys.executable, "-c", textwrap.dedent(CHILD), server.url]
            root = str(Path(__file__).parent.parent)
            pipe = asyncio.subprocess.PIPE
            environment = {**os.environ, "PYTHONPATH": root}
            child = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe, env=environment)
            while not server.posts:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)
            began = time.monotonic()
            child.send_signal(signal.SIGINT)
            if twice:
                await asyncio.sleep(0.05)
                child.send_signal(signal.SIGINT)
            output, errors = await asyncio.wait_for(child.communicate(), 90)
            return output.decode(), errors.decode(), server, time.monotonic() - began

    with asyncio.Runner() as runner:
        return runner.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one child there")
def test_row_28_the_first_ctrl_c_drains_the_post():
    """Row 28: the task is in an event, in the log and in `unclaimed()`; no warning, no task left."""
    output, errors, server, _ = interrupted(Act(raw=ACCEPT.raw, delay=0.05), twice=False)
    assert len(server.charges) == 1
    assert "event Submitted" in output
    assert f"task {server.charges[0]} runs" in output
    assert "unclaimed 1 0 1" in output
    assert "interrupted" in output
    assert not errors


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one child there")
def test_row_28b_the_second_ctrl_c_leaves_within_a_second():
    """Row 28b: whatever the POST would have come to; that it may have been charged is told on the way out."""
    output, errors, server, seconds = interrupted(HANG, twice=True)
    assert seconds < 10
    assert len(server.posts) == 1
    assert "event Uncertain" in output
    assert "unclaimed 1 0 1" in output
    assert "interrupted" in output
    assert "never retrieved" not in errors


def test_row_28b_a_loop_that_ends_without_aclose_leaves_at_once():
    """Row 28b: asyncio.run() cancels what is left; the POST is given up, and nothing hangs."""

    async def main():
        client = OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None)
        post = asyncio.ensure_future(client.submit("a cat"))
        while not server.posts:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.1)
        session = client.studio.exchange.transport._session()
        return client, post, session

    async def close(session):
        await session.close()

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        server = runner.run(FaultServer([HANG]).start())
        client, post, session = runner.run(main())
        for task in asyncio.all_tasks(runner.get_loop()):
            task.cancel()
        runner.run(asyncio.sleep(1))
        assert post.cancelled()
        assert client.limiter.load().in_flight == 0
        runner.run(close(session))
        runner.run(server.stop())


def test_an_on_event_that_ends_the_program_loses_no_paid_id():
    """As a Ctrl-C in the middle of it: `unclaimed()` has the task that the caller was not given."""

    def ending(event):
        if isinstance(event, Submitted):
            raise KeyboardInterrupt

    async def paying():
        await client.submit("a cat", custom_id="row-1")

    server = FaultServer([ACCEPT])
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(server.start())
        client = OmniClient("jimmy", api_key=KEY, base_url=server.url, proxy=None, on_event=ending)
        with pytest.raises(KeyboardInterrupt):
            runner.run(paying())
        outcome, *_ = client.unclaimed()
        assert [outcome.task.task_id] == server.charges
        assert outcome.request.custom_id == "row-1"
        for task in asyncio.all_tasks(runner.get_loop()):
            if "paying" in repr(task):
                task.cancel()
        runner.run(client.aclose())
        runner.run(server.stop())


# --- closed while others wait ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["slot", "pause", "backoff"])
async def test_a_create_that_waits_when_the_client_closes_is_never_sent(how):
    """For a slot, for the end of a pause, or to be tried again: it ends at once, and nothing was sent."""
    acts = {"slot": [ACCEPT], "pause": [http(429, headers={"Retry-After": "60"})], "backoff": [envelope("-1")]}[how]
    async with scene(*acts, limits=Limits(max_running_tasks=1), running=None) as here:
        here.server.always["GET"] = HANG
        if how == "slot":
            await here.submit(custom_id="first")
        rows = 3 if how == "slot" else 1
        waiting = [asyncio.ensure_future(here.submit(custom_id=str(n))) for n in range(rows)]
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await here.client.aclose()
        for create in waiting:
            with pytest.raises(OmniError, match="client was closed") as caught:
                await create
            assert not caught.value.may_have_charged
        assert asyncio.get_running_loop().time() - began < 1
        await asyncio.sleep(100)
        assert len(here.server.started) - here.server.started.count("GET") == 1


async def test_a_free_call_that_waits_when_the_client_closes_opens_no_session():
    """Its leave comes too late."""
    async with scene(polls=[http(429, headers={"Retry-After": "20"})]) as here:
        with pytest.raises(OmniError):
            await here.client.query("t")
        late = asyncio.ensure_future(here.client.query("t"))
        await asyncio.sleep(1)
        await here.client.aclose()
        with pytest.raises(OmniError, match="client was closed") as caught:
            await late
        assert (caught.value.task_id, caught.value.may_have_charged) == ("t", True)
        assert len(here.server.gets) == 1


FREE_CALLS = {
    "query": lambda client, _: client.query("t"),
    "balance": lambda client, _: client.balance(),
    "download": lambda client, folder: client.download("t", folder / "t.mp4"),
    "upload": lambda client, folder: client.upload(folder / "cat.png"),
}


@pytest.mark.parametrize(
    ("name", "own"), [*((name, False) for name in FREE_CALLS), ("balance", True), ("upload", True)]
)
async def test_whoever_waits_out_a_pause_is_told_at_once_that_the_client_is_closed(name, own, tmp_path):
    """Of a pause for all, or after a refusal of its own: in the words of every other call."""
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused = http(429, headers={"Retry-After": "100"})
    async with scene(refused) as here:
        here.server.always["GET"] = refused
        if not own:
            with pytest.raises(RateLimitError):
                await here.client.query("t")
        late = asyncio.ensure_future(FREE_CALLS[name](here.client, tmp_path))
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await here.client.aclose()
        with pytest.raises(OmniError, match="the client was closed: nothing was sent") as caught:
            await late
        assert asyncio.get_running_loop().time() - began < 1
        about_a_task = name in ("query", "download")
        assert caught.value.may_have_charged is about_a_task
        assert (caught.value.gateway, caught.value.task_id) == ("jimmy", "t" if about_a_task else None)


async def test_a_download_that_waits_for_a_place_is_told_that_the_client_is_closed(tmp_path):
    """With the task's id: it is paid for."""
    async with scene(limits=Limits(max_connections=1)) as here:
        async with here.client.studio.exchange.transfer():
            late = asyncio.ensure_future(here.client.download("t", tmp_path / "t.mp4"))
            await asyncio.sleep(1)
            await here.client.aclose()
        with pytest.raises(DownloadError, match="closed: what is stored so far can be resumed") as caught:
            await late
        assert (caught.value.may_have_charged, caught.value.task_id) == (True, "t")


async def test_a_closing_client_waits_for_the_look_up_of_a_lost_create():
    """It is not a call of somebody who could make it again: its task would be found by nobody."""
    unknown = http(404, {"error": {"code": "task_not_found", "message": "no"}})
    async with scene(DROP, polls=[unknown, unknown], gateway="toapis", running=1) as here:
        create = asyncio.ensure_future(here.submit())
        await asyncio.sleep(0.5)
        assert len(here.server.gets) == 1
        await here.client.aclose()
        assert [(await create).task_id] == here.server.charges


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_a_post_that_is_itself_given_up_is_uncertain_at_once(gateway):
    """Its caller went first, and then the POST, by whoever ends every task: there is no time to look it up."""
    async with scene(HANG, running=None, gateway=gateway) as here:
        caller = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(1)
        (post,) = here.client.studio.submitter.posts.running
        post.cancel()
        await asyncio.sleep(0.1)
        (outcome,) = here.client.unclaimed()
        assert outcome.error.may_have_charged
        assert here.journal.states == ["UNCERTAIN"]
        assert not here.server.gets
        assert not here.client.studio.submitter.posts.running


async def test_a_post_that_is_given_up_while_it_is_looked_up_is_uncertain():
    """By whoever ends every task: he does not wait for that either."""
    async with scene(DROP, running=None, gateway="toapis") as here:
        here.server.always["GET"] = HANG
        caller = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        (post,) = here.client.studio.submitter.posts.running
        post.cancel()
        with pytest.raises(SubmissionUncertainError):
            await caller
        assert here.journal.states == ["UNCERTAIN"]


async def test_a_post_that_is_given_up_before_it_has_a_connection_was_never_sent():
    """It may be sent again: by its caller, if he is still there."""

    async def slowly():
        await asyncio.sleep(10)
        return KEY

    async with scene(running=None, api_key=slowly) as here:
        caller = asyncio.ensure_future(here.submit())
        await asyncio.sleep(1)
        (post,) = here.client.studio.submitter.posts.running
        post.cancel()
        assert (await caller).task_id == here.server.charges[0]
        assert len(here.server.posts) == 1


@pytest.mark.parametrize("act", [ACCEPT, DROP])
async def test_a_consumer_of_events_that_cancels_the_current_task_costs_no_task(act):
    """It takes that for its own: what the create came to reaches the caller all the same."""

    def mistaken(event):
        if isinstance(event, Submitted | Uncertain):
            asyncio.current_task().cancel()

    async with scene(act, running=None, on_event=mistaken) as here:
        if act is ACCEPT:
            assert (await here.submit()).task_id == here.server.charges[0]
        else:
            with pytest.raises(SubmissionUncertainError):
                await here.submit()
        assert here.client.limiter.load().in_flight == 0
