"""A client's life: one loop, one process, one end."""

import asyncio
import os
import threading

import pytest

from omni_async import OmniError
from omni_async.journal import Answer, Intent, NoJournal
from omni_async.lifetime import Lasting, Lifetime, Waits, is_cancelled, outlasted, to_the_end
from tests.warp import WarpLoop, run

LOOP = WarpLoop


async def _nothing():
    pass


def test_without_a_loop_a_call_is_an_error():
    """Called from plain code."""
    life = Lifetime("jimmy", _nothing)
    with pytest.raises(OmniError, match="no event loop runs") as caught:
        life.enter()
    assert caught.value.gateway == "jimmy"
    assert not caught.value.may_have_charged
    assert not life.started


def test_it_belongs_to_the_loop_of_its_first_call():
    """From another loop it is refused, its end too, and stays usable where it is at home."""
    life = Lifetime("jimmy", _nothing)

    async def enter():
        life.enter()

    home = WarpLoop()
    home.run_until_complete(enter())
    with pytest.raises(OmniError, match=r"another event loop; make one per loop\. From synchronous code"):
        run(enter())
    with pytest.raises(OmniError, match="another event loop"):
        run(life.close())
    assert not life.closed
    home.run_until_complete(enter())
    home.run_until_complete(life.close())
    assert life.closed
    home.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_it_belongs_to_the_process_of_its_first_call(monkeypatch):
    """After a fork it is refused."""
    life = Lifetime("jimmy", _nothing)

    async def main():
        life.enter()
        pid = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: pid + 1)
        with pytest.raises(OmniError, match="another process"):
            life.enter()
        with pytest.raises(OmniError, match="another process"):
            await life.close()

    run(main())


async def test_it_ends_once_for_all_who_end_it():
    """Closed by several at once, also after its end."""
    ends = []

    async def end():
        await asyncio.sleep(5)
        ends.append(1)

    life = Lifetime("jimmy", end)
    life.enter()
    await asyncio.gather(life.close(), life.close(), life.close())
    await life.close()
    assert ends == [1]
    with pytest.raises(OmniError, match="closed"):
        life.enter()


async def test_what_ending_raises_is_raised():
    """And again for the next who asks."""

    async def end():
        raise OmniError("no")

    life = Lifetime("jimmy", end)
    life.enter()
    for _ in range(2):
        with pytest.raises(OmniError, match="no"):
            await life.close()


async def test_never_started_it_ends_without_ado():
    """Nothing to end."""
    life = Lifetime("jimmy", _nothing)
    await life.close()
    with pytest.raises(OmniError, match="closed"):
        life.enter()


async def test_to_the_end_goes_on_however_often_it_is_cancelled():
    """And raises afterwards."""
    work = asyncio.ensure_future(asyncio.sleep(10))
    waiting = asyncio.ensure_future(to_the_end(work))
    for _ in range(5):
        await asyncio.sleep(1)
        waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.done()
    assert not work.cancelled()


async def test_to_the_end_of_what_is_over_returns_at_once():
    """Nothing to wait for."""
    work = asyncio.ensure_future(_nothing())
    await work
    await to_the_end(work)
    await to_the_end()


def test_a_thread_without_a_loop_is_refused():
    """Called from a worker thread of the same process."""
    life = Lifetime("jimmy", _nothing)
    caught = []

    async def main():
        life.enter()

        def elsewhere():
            try:
                life.enter()
            except OmniError as error:
                caught.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    run(main())
    assert "no event loop runs" in caught[0]


async def test_the_end_ends_waits_and_those_to_come():
    """With an error of ours; what is over in time is not touched."""
    waits = Waits()
    assert await waits.until(asyncio.sleep, 1, "done") == "done"
    waiting = asyncio.ensure_future(waits.until(asyncio.sleep, 1000))
    await asyncio.sleep(1)
    waits.end()
    waits.end()
    for late in (waiting, waits.until(asyncio.sleep, 0)):
        with pytest.raises(OmniError, match="closed") as caught:
            await late
        assert not caught.value.may_have_charged


async def test_the_timeout_of_what_is_waited_for_is_its_own():
    """Only the end of the client is told as that."""

    async def late():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await Waits().until(late)


async def test_without_a_journal_nothing_is_known():
    """The three calls of nothing."""
    journal, intent = NoJournal(), Intent(key="k", fingerprint="f", gateway="jimmy")
    assert await journal.intend(intent) is None
    assert await journal.answered(intent, Answer(state="UNCERTAIN")) == "UNCERTAIN"
    await journal.settle(intent, "PLANNED")


@pytest.mark.parametrize("failure", [None, OmniError("odd")])
async def test_what_is_outlasted_is_had_however_often_one_is_cancelled(failure):
    """Its result or its error; the cancellation is told afterwards, and the future is not cancelled along."""
    future, told = Lasting(), []

    async def waiting():
        try:
            return await outlasted(future)
        finally:
            told.append(is_cancelled())

    task = asyncio.ensure_future(waiting())
    for _ in range(3):
        await asyncio.sleep(1)
        task.cancel()
    await asyncio.sleep(1)
    assert not task.done()
    if failure is None:
        future.set_result("whole")
        assert await task == "whole"
    else:
        future.set_exception(failure)
        with pytest.raises(OmniError, match="odd"):
            await task
    assert told == [True]
