"""The three controllers, and who is to blame for a refusal: a table, and laws."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async.limiter.controllers import LADDER, LONG_LADDER, SHORT_LADDER, Controller, Evidence, attribute
from omni_async.limiter.pace import SLACK, Pace
from omni_async.limiter.slots import GIVE_UP, PROBE, Slots
from omni_async.limiter.window import REST, STEP, Window

PACE, WINDOW, SLOTS, TRIAL = Controller.PACE, Controller.WINDOW, Controller.SLOTS, Controller.TRIAL


@pytest.mark.parametrize(
    ("evidence", "blamed"),
    [
        # A query is the pace, or the window if more were in flight than lately got through; its words win.
        ({"create": False}, PACE),
        ({"create": False, "in_flight": 9, "safe_in_flight": 9}, PACE),
        ({"create": False, "in_flight": 10, "safe_in_flight": 9}, WINDOW),
        ({"create": False, "in_flight": 10, "safe_in_flight": 9, "named": PACE}, PACE),
        ({"create": False, "in_flight": 1, "safe_in_flight": 9, "named": WINDOW}, WINDOW),
        ({"create": False, "named": SLOTS}, PACE),  # no query takes a slot
        # A create whose words name the rate is the pace, whatever runs.
        ({"create": True, "named": PACE}, PACE),
        ({"create": True, "named": PACE, "running": 9, "at_cap": True, "trials": 9}, PACE),
        # With nothing of ours running there is no finish to wait for: never slots.
        ({"create": True}, TRIAL),
        ({"create": True, "named": SLOTS}, TRIAL),
        ({"create": True, "trials": 99, "slots_known": True}, TRIAL),
        # Named, or as many running as at the refusal before: slots at once.
        ({"create": True, "running": 5, "named": SLOTS}, SLOTS),
        ({"create": True, "running": 5, "named": WINDOW}, SLOTS),
        ({"create": True, "running": 5, "at_cap": True}, SLOTS),
        # Else the ladder decides, a shorter one once the number is known.
        ({"create": True, "running": 5, "trials": LADDER - 1}, TRIAL),
        ({"create": True, "running": 5, "trials": LADDER}, SLOTS),
        ({"create": True, "running": 5, "trials": LADDER, "seconds": LONG_LADDER - 1}, TRIAL),
        ({"create": True, "running": 5, "trials": 9 * LADDER, "seconds": LONG_LADDER - 1}, TRIAL),
        ({"create": True, "running": 5, "trials": SHORT_LADDER - 1, "slots_known": True}, TRIAL),
        ({"create": True, "running": 5, "trials": SHORT_LADDER, "slots_known": True}, SLOTS),
        # Not if polls are refused too, or tasks finished meanwhile: then it proves nothing.
        ({"create": True, "running": 5, "trials": LADDER, "polls_refused": True}, TRIAL),
        ({"create": True, "running": 5, "trials": LADDER, "finished": 1}, TRIAL),
        ({"create": True, "running": 5, "trials": 99, "finished": 1, "polls_refused": True}, TRIAL),
    ],
)
def test_who_is_to_blame(evidence, blamed):
    """One refusal, one controller."""
    assert attribute(Evidence(**evidence)) is blamed


@given(
    st.builds(
        Evidence,
        create=st.booleans(),
        named=st.none() | st.sampled_from(Controller),
        in_flight=st.integers(0, 9),
        safe_in_flight=st.integers(0, 9),
        slots_known=st.booleans(),
        at_cap=st.booleans(),
        trials=st.integers(0, 9),
        finished=st.integers(0, 3),
        polls_refused=st.booleans(),
        running=st.integers(0, 9),
    )
)
def test_what_is_never_blamed(evidence):
    """No query touches the slots, no create the window, and no account that runs nothing is thought full."""
    blamed = attribute(evidence)
    assert blamed is not (SLOTS if not evidence.create else WINDOW)
    assert evidence.create or blamed is not TRIAL
    assert evidence.running or blamed is not SLOTS


# --- pace --------------------------------------------------------------------------------------------------------


def drive(pace, seconds, *, start=0.0, demand=math.inf, limit=None):
    """Send as the pace allows, at most `demand` per second; times sent. `limit` refuses what is above it."""
    now, sent = start, []
    allowed, at = 0.0, start
    while now < start + seconds:
        now = max(now, pace.next_at)
        pace.take(now)
        sent.append(now)
        if limit is not None:
            allowed, at = min(allowed + (now - at) * limit, limit), now
            if allowed < 1:
                pace.cut(now, now + 0.1)
            else:
                allowed -= 1
                pace.got_through += 1
        else:
            pace.got_through += 1
        now += 1.0 / demand
    return sent


def busiest_second(times):
    """The most in any second."""
    return max(sum(1 for other in times if at <= other < at + 1) for at in times)


def test_pace_has_no_initial_burst():
    """The first second sees no more than the pace, give or take one."""
    sent = drive(Pace(40.0), 1.0)
    assert len(sent) <= 42
    assert min(b - a for a, b in itertools.pairwise(sent[1:])) >= 1 / 40 - 1e-9


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200), st.floats(0.5, 100))
def test_pace_is_smooth(gaps, rate):
    """However requests come, no second sees more than the ceiling and what its slack lets catch up."""
    pace, now, sent = Pace(rate), 0.0, []
    for gap in gaps:
        now = max(now + gap, pace.next_at)
        pace.take(now)
        sent.append(now)
    assert busiest_second(sent) <= rate * (1 + SLACK) + 2


def test_a_ceiling_is_never_exceeded():
    """What the caller knows is the limit, however long it is used and whatever got through."""
    pace = Pace(10.0)
    assert len(drive(pace, 60)) <= 602
    assert pace.rate == 10.0


def test_an_untested_pace_doubles_only_while_used():
    """Used, it doubles in 0.6 s; used less than half, it stays."""
    used, idle = Pace(start=10.0), Pace(start=10.0)
    drive(used, 1.2)
    drive(idle, 10.0, demand=2.0)
    assert used.rate == pytest.approx(40, rel=0.15)
    assert idle.rate == 10.0
    assert not used.known
    assert repr(idle) == "<Pace 10 requests/s, no limit met>"


@pytest.mark.parametrize("limit", [2.0, 60.0, 300.0])
def test_pace_finds_a_limit(limit):
    """Behind a hidden limit it settles at once close below, and loses little to trying again."""
    pace = Pace(start=40.0)
    drive(pace, 30, limit=limit)
    sent = drive(pace, 60, start=30, limit=limit)
    assert pace.known
    assert 0.85 * limit <= len(sent) / 60 <= 1.05 * limit


def test_a_cut_slows_and_pauses():
    """A refusal cuts, nothing goes before the pause is over, and a second one soon after cuts deeper."""
    pace = Pace(start=100.0)
    pace.take(0.0)
    pace.cut(0.0, 2.0)
    first = pace.rate
    assert first < 100
    assert pace.next_at >= 2.0
    pace.take(2.0)
    pace.got_through += 1
    pace.cut(2.1, 2.5)
    assert pace.rate < first
    for i in range(200):
        pace.cut(3.0 + i, 3.0 + i)
    assert pace.rate > 0


def test_behind_refusals_that_come_late_more_is_tried_late():
    """What is sent too fast until the next one comes is refused as well."""
    soon, late = Pace(start=50.0), Pace(start=50.0)
    for pace, delay in ((soon, 0.1), (late, 5.0)):
        pace.cut(10.0, 10.0, sent=10.0 - delay)
    level = late.rate
    drive(soon, 5.0, start=10.1)
    drive(late, 5.0, start=10.1)
    assert late.rate == level
    assert soon.rate > 1.5 * level


def test_a_cut_grows_back():
    """Used and not refused, it comes back to what was thought allowed, and goes beyond."""
    pace = Pace(start=50.0)
    drive(pace, 0.1)
    before = pace.rate
    pace.cut(0.2, 0.2)
    drive(pace, 15.0, start=0.2)
    assert pace.rate > before


@given(
    st.none() | st.floats(0.5, 100),
    st.lists(
        st.tuples(
            st.sampled_from(["take", "passed", "cut", "late", "rest", "prolong", "resumed", "undo"]), st.floats(0, 5)
        ),
        max_size=150,
    ),
)
def test_a_pace_never_goes_wrong(ceiling, steps):
    """Whatever the order: a positive pace within its bounds, and a time at which the next may go."""
    pace, now = Pace(ceiling, start=40.0), 0.0
    for step, seconds in steps:
        now += seconds
        if step == "take":
            now = max(now, pace.next_at)
            pace.take(now)
        elif step == "passed":
            pace.got_through += 1
        elif step == "cut":
            pace.cut(now, now + seconds)
        elif step == "late":
            pace.cut(now, now, sent=now - seconds, in_flight=3)
        elif step in ("rest", "prolong"):
            getattr(pace, step)(now + seconds)
        elif step == "resumed":
            pace.resumed(now)
        else:
            pace.undo()
        assert 0.02 <= pace.rate <= (ceiling or 1e6)
        assert pace.next_at < now + 60


# --- window ------------------------------------------------------------------------------------------------------


def passed(window, in_flight, now):
    """A request that was sent with so many in flight got through."""
    if in_flight >= window.grows_from:
        window.grow(now)


def test_window_grows_only_while_half_used():
    """Fewer in flight than half of it proves nothing."""
    window = Window(64)
    before = window.size
    for _ in range(100):
        passed(window, before // 2 - 1, 0.0)
    assert window.size == before
    for _ in range(100):
        passed(window, window.size, 0.0)
    assert window.size == 64
    assert repr(window) == "<Window 64 of 64 in flight>"


def test_window_after_a_refusal():
    """One fewer, for a while; then one more at a time, faster while that gets through; and so again after the next."""
    window = Window(64)
    window.refused(10, 0.0)
    assert window.size == 9
    passed(window, 9, REST - 1.0)
    assert window.size == 9
    sizes = []
    for tick in range(4):
        passed(window, window.size, REST + STEP * tick)
        sizes.append(window.size)
    assert sizes == [10, 12, 16, 24]
    window.refused(24, 100.0)
    passed(window, 23, 100.0 + REST)
    assert window.size == 24


def test_a_window_tries_the_more_rarely_the_dearer_a_refusal_is():
    """A long pause, or few requests in all, make a refused try dear: it is put off."""
    for cost in ({"pause": 2.0, "per_second": 100.0}, {"per_second": 2.0}):
        window = Window(64)
        window.refused(10, 0.0, **cost)
        passed(window, 9, REST + 1.0)
        assert window.size == 9
        passed(window, 9, 100.0)
        assert window.size == 10


def test_a_window_that_was_no_help_is_taken_back():
    """Refused within what it was just cut to: it was not its fault."""
    window = Window(64)
    window.refused(10, 0.0)
    window.doubt(9)
    assert window.size == 16
    window.doubt(9)
    assert window.size == 16


def test_window_halves_on_a_timeout_once():
    """Timeouts of one flight are one event."""
    window = Window(64)
    window.timed_out(0.0)
    window.timed_out(0.1)
    assert window.size == 8


@given(st.integers(1, 64), st.lists(st.tuples(st.sampled_from(["passed", "refused", "timed_out"]), st.integers(1, 80))))
def test_window_stays_within_its_bounds(ceiling, steps):
    """Whatever happens, one may go, and never more than the ceiling."""
    window = Window(ceiling)
    for now, (step, in_flight) in enumerate(steps):
        if step == "passed":
            passed(window, in_flight, now / 2)
        elif step == "refused":
            window.refused(in_flight, now / 2)
        else:
            window.timed_out(now / 2)
        assert 1 <= window.size <= ceiling


# --- slots -------------------------------------------------------------------------------------------------------


def filled(count, ceiling=None):
    """Slots with so many tasks running."""
    slots = Slots(ceiling)
    for i in range(count):
        slots.hold(f"create-{i}", 0.0)
        slots.rename(f"create-{i}", f"task_{i}")
    return slots


def test_slots_are_held_until_the_finish():
    """A slot goes from the create to its task, and is free when that is seen finished; once."""
    slots = filled(2, ceiling=2)
    assert slots.holds("task_1")
    assert not slots.holds("create-1")
    assert slots.full()
    assert slots.free("task_1", 30.0, finished=True)
    assert not slots.free("task_1", 30.0, finished=True)
    assert (slots.running, slots.full(), slots.run_time) == (1, False, 30.0)
    assert repr(slots) == "<Slots 1 of 2 running>"
    slots.rename("create-9", "task_9")
    slots.shorten("create-9", 0.0)
    assert slots.running == 1


def test_a_known_ceiling_is_never_probed():
    """With the caller's own number, the next create waits for a finish or the end of a lease."""
    slots = filled(3, ceiling=3)
    assert slots.ready_at(10.0) == GIVE_UP
    assert slots.ready_at(GIVE_UP) <= GIVE_UP  # nobody saw it finish: its lease is over
    assert slots.running == 0


def test_a_lost_create_keeps_its_slot_for_a_usual_run_time():
    """A create nobody will see finish gives its slot back after twice the usual time."""
    slots = Slots(1)
    slots.hold("create-0", 0.0)
    slots.shorten("create-0", 0.0)
    assert slots.ready_at(1.0) == 2 * slots.run_time == 120.0


def test_a_cap_is_probed_about_every_task_time():
    """At the cap the next create waits for a finish; one probe goes every so often; admitted, the cap is one higher."""
    slots = filled(5)
    slots.refused(10.0)
    assert (slots.cap, slots.known, slots.full()) == (5, True, True)
    at = 10.0 + PROBE * slots.run_time
    assert slots.ready_at(11.0) == at
    slots.hold("create-9", at)  # the probe: the next one waits
    assert slots.ready_at(at) == at + PROBE * slots.run_time
    assert not slots.admitted("create-9", at)
    assert slots.cap == 6


def test_a_probe_that_told_nothing_is_soon_followed_by_another():
    """A task was seen finished before the probe's answer came: whether more may run is as unknown as before."""
    slots = filled(5)
    slots.refused(10.0)
    at = 10.0 + PROBE * slots.run_time
    slots.hold("create-9", at)
    slots.free("task_0", at)
    assert not slots.admitted("create-9", at)
    assert slots.cap == 5
    assert at < slots.ready_at(at) <= at + 0.1 * slots.run_time


def test_a_number_below_the_callers_own_is_probed():
    """What he says is a bound: fewer that were found out are tried beyond as ever."""
    slots = filled(3, ceiling=10)
    slots.refused(10.0)
    assert slots.ready_at(11.0) == 10.0 + PROBE * slots.run_time


def test_a_try_that_may_cost_a_long_pause_comes_when_the_slots_were_just_filled():
    """Tasks of equal length end together: a pause then leaves the fewest slots empty. Unfilled, it comes later."""
    slots = filled(3)
    slots.refused(10.0, pause=5.0)
    due = 10.0 + PROBE * slots.run_time
    assert slots.ready_at(11.0) == due + slots.run_time
    slots.free("task_0", due + 1.0)
    slots.hold("create-8", due + 2.0)
    soon = slots.ready_at(due + 2.0)
    assert due + 2.0 < soon < due + 0.1 * slots.run_time
    slots.hold("create-9", soon)
    assert slots.ready_at(soon) == soon + (PROBE + 1.0) * slots.run_time


def test_what_a_task_takes_is_learnt_from_the_last_ones():
    """The newest counts for a part: one that took long says little of the others."""
    slots = filled(3)
    assert slots.run_time == 60.0  # a guess
    slots.free("task_0", 30.0, finished=True)
    slots.free("task_1", 80.0, finished=True)
    assert slots.run_time == pytest.approx(40.0)
    slots.free("task_2", 90.0)
    assert slots.run_time == pytest.approx(40.0)


def test_what_got_through_beyond_a_large_number_is_taken_back_by_some_more():
    """It was luck: a finish not yet seen. Refused at the number itself, that number stands."""
    slots = filled(100)
    for now in (0.0, 5.0):
        slots.refused(now)
        assert slots.cap == 100
    slots.hold("create-lucky", 100.0)
    slots.admitted("create-lucky", 100.0)
    slots.refused(101.0)
    assert slots.cap == 99


@pytest.mark.parametrize("left", [10, 30, 39])
def test_a_number_that_fell_is_found_in_few_refusals(left):
    """Each refusal below what was known brings the cap down by more; what was too much is tried again at once."""
    slots = filled(40)
    slots.refused(0.0)
    now = refusals = 0
    while slots.running >= left or slots.full():
        now += 1
        slots.free(next(iter(slots._leases)), now, finished=True)
        if not slots.full() and slots.running >= left:
            slots.refused(now)
            refusals += 1
            assert slots.falling
    assert refusals <= 2 * math.sqrt(40 - left)
    slots.hold("create-9", now)
    slots.admitted("create-9", now, sent=now)
    assert not slots.falling
    assert slots.ready_at(now) == now if refusals > 1 else slots.ready_at(now) > now


def test_a_suspected_cap_that_is_none_is_dropped():
    """A cap that was only suspected is given up once clearly more run."""
    slots = filled(4)
    slots.suspect(4, 0.0)
    dropped = []
    for i in range(10, 14):
        slots.hold(f"create-{i}", 0.0)
        dropped.append(slots.admitted(f"create-{i}", 0.0))
    assert dropped == [False, False, True, False]
    assert slots.cap is None
    assert not slots.full()


@given(
    st.none() | st.integers(1, 5),
    st.lists(
        st.tuples(
            st.sampled_from(["hold", "free", "finish", "rename", "shorten", "refused", "suspect", "admitted", "ready"]),
            st.integers(0, 9),
        ),
        max_size=80,
    ),
)
def test_slots_never_go_wrong(ceiling, steps):
    """Whatever the order: never negative, caps positive, and the next create always has a time to wait for."""
    slots = Slots(ceiling)
    for now, (step, key) in enumerate(steps):
        name = f"k{key}"
        arguments = {
            "hold": (name, now),
            "free": (name, now),
            "rename": (name, f"k{(key + 1) % 10}"),
            "suspect": (key, now),
            "shorten": (name, now),
            "admitted": (name, now),
        }.get(step, (now,))
        if step == "finish":
            slots.free(name, now, finished=True)
        elif step != "ready":
            getattr(slots, step)(*arguments)
        assert 0 <= slots.running <= 10
        assert slots.cap is None or slots.cap >= 1
        assert slots.run_time >= 0
        assert math.isfinite(slots.ready_at(now))


def test_a_task_of_an_earlier_run_teaches_no_run_time():
    """When it was submitted is not known here: its end says only that a slot is free."""
    slots = Slots()
    usual = slots.run_time
    slots.occupy("old", 0.0)
    assert slots.free("old", 0.1, finished=True)
    assert slots.run_time == usual


def test_leases_end_where_nobody_asks():
    """Tasks that nobody waits for do not count as running for ever, nor pile up."""
    slots = Slots()
    for second in range(4000):
        slots.hold(f"task-{second}", float(second))
    assert slots.running <= GIVE_UP + 1


def test_seldom_refusals_in_little_use_do_not_starve_the_pace():
    """A request each ten minutes, of which one in ten is refused once: there is no limit to be seen in that."""
    pace = Pace(start=10.0)
    now = 0.0
    for number in range(300):
        now = max(now + 600.0, pace.next_at)
        pace.take(now)
        if number % 10:
            pace.got_through += 1
        else:
            pace.cut(now + 0.05, now + 1.0, sent=now)
    assert pace.rate >= 1.0


def test_a_pace_slower_than_any_guess_is_kept():
    """A request in a thousand seconds, if that is what the caller says."""
    pace = Pace(0.001)
    pace.take(0.0)
    assert pace.next_at == pytest.approx(1000, abs=1)
    assert len(drive(pace, 100_000)) == pytest.approx(100, abs=2)
