"""Whether the next create may be sent."""

import anyio
import pytest

from omni_async.batch.gate import Backlog, Gate, Leave, NotAdmittedError


async def through(gate, passed, **options):
    """Whether it was let through, once it is known."""
    passed.append(await gate.opened(**options))


async def test_an_open_gate_lets_through():
    """Nothing holds it."""
    gate = Gate()
    assert await gate.opened()
    assert gate.reasons == ()


async def test_held_by_several_reasons_it_waits_for_all():
    """Each reason is released by its own name; releasing what does not hold changes nothing."""
    gate, passed = Gate(), []
    gate.hold("a", "the disk is full")
    gate.hold("b", "slow")
    gate.hold("b", "slower")
    assert gate.reasons == ("the disk is full", "slower")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(through, gate, passed)
        for name in ("c", "a", "a"):
            await anyio.sleep(1)
            gate.release(name)
        await anyio.sleep(1)
        assert passed == []
        gate.release("b")
    assert passed == [True] * 3


async def test_closed_it_stays_closed_for_its_first_reason():
    """Those who wait are told at once."""
    gate, passed = Gate(), []
    gate.hold("a", "a")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(through, gate, passed)
        await anyio.sleep(1)
        gate.close("the key is refused")
        gate.close("something else")
    gate.release("a")
    assert passed == [False] * 3
    assert gate.reasons == ("the key is refused",)
    assert not await gate.opened()


async def test_who_tries_whether_a_reason_has_passed_is_not_held_by_it():
    """But by any other."""
    gate = Gate()
    gate.hold("outage", "down")
    assert await gate.opened(despite="outage")
    gate.hold("disk", "full")
    with anyio.move_on_after(10) as scope:
        await gate.opened(despite="outage")
    assert scope.cancelled_caught


async def test_leave_minds_the_gate():
    """A row that waited for its slot is not sent through a gate that closed meanwhile."""
    gate = Gate()
    leave = Leave(gate, despite="outage")
    await leave.wait()
    assert leave.lets_go()
    gate.hold("outage", "down")
    assert leave.lets_go()
    gate.hold("disk", "full")
    assert not leave.lets_go()
    gate.release("disk")
    gate.close("enough")
    assert not leave.lets_go()
    with pytest.raises(NotAdmittedError, match="enough") as caught:
        await leave.wait()
    assert not caught.value.may_have_charged


async def test_leave_is_a_breaker():
    """Five uncertain creates close it for a minute, then one is let through."""
    leave = Leave(Gate(), despite="")
    for _ in range(5):
        leave.ended(uncertain=True)
    assert leave.open
    assert not leave.lets_go()
    began = anyio.current_time()
    await leave.wait()
    assert anyio.current_time() - began == pytest.approx(60, abs=0.1)
    assert leave.lets_go()
    assert not leave.lets_go()


async def test_a_backlog_by_the_speed_seen():
    """100 videos at 8 s each, 8 at once, take 100 s: too long if the first URL dies within 200."""
    backlog = Backlog(8, wall=lambda: 1000.0)
    for number in range(30):
        backlog.begins(str(number))
        await anyio.sleep(8)
        backlog.ends(str(number))
    assert backlog.too_long(100, 1199.0)
    assert not backlog.too_long(100, 1201.0)
    assert not backlog.too_long(0, 900.0)
    assert backlog.too_long(1, 900.0)


async def test_a_backlog_that_does_not_move_is_noticed():
    """With nothing stored yet, what is under way tells; one stuck video among quick ones tells little."""
    backlog = Backlog(8, wall=lambda: 1000.0)
    assert not backlog.too_long(100, 1010.0)
    backlog.begins("a")
    await anyio.sleep(100)
    assert backlog.too_long(100, 2000.0)
    for number in range(20):
        backlog.begins(str(number))
        await anyio.sleep(1)
        backlog.ends(str(number))
    assert not backlog.too_long(100, 2000.0)
