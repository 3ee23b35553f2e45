"""Whom to let go: laws that hold whatever happens, and what each ending teaches."""

import itertools
import math
import random

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omni_async import Limits
from omni_async.limiter.admission import OUTAGE, POLLS_PER_CREATE, STUCK, Admission, Kind, Ticket
from omni_async.limiter.controllers import LADDER, Controller
from omni_async.limiter.pauses import BANNED, KNOCKS, LONGEST_PAUSE, STRAGGLING
from omni_async.limiter.trials import Trial
from omni_async.limiter.window import REST


def admission(**limits):
    """A fresh state."""
    return Admission(Limits(**limits), random.Random(1))


def ask(state, kind, count=1):
    """So many of a kind wait."""
    tickets = [Ticket(kind) for _ in range(count)]
    state.queues[kind].update(dict.fromkeys(tickets))
    return tickets


def send(state, kind, now):
    """One of a kind goes, now or as soon as time lets it; its ticket and when."""
    (ticket,) = ask(state, kind)
    for _ in range(100):
        if ticket in state.admit(now):
            return ticket, now
        now = state.next_time(now)
    raise AssertionError("it never goes")


def quick(state, now=0.0):
    """Creates were answered quickly, so that many may go at once; when that is done, and nothing runs any more."""
    for count in (3, 5, 8):
        flight = []
        for _ in range(count):
            ticket, now = send(state, Kind.CREATE, now)
            flight.append(ticket)
        for number, ticket in enumerate(flight):
            state.accepted(ticket, f"quick_{number}", now + 0.1)
            state.finished(f"quick_{number}", now + 0.1, seen=False)
    return now + 0.1


def picture(state):
    """What each controller knows."""
    return {
        Controller.PACE: (state.pace._level, state.pace._refused_at),
        "create pace": (state.trials.pace._level, state.trials.pace._refused_at),
        Controller.WINDOW: (state.window.size, state.window._cut_at),
        Controller.SLOTS: (state.slots.cap, state.slots.known),
    }


def changed(state, before):
    """The controllers that are not as they were."""
    return {name for name, known in picture(state).items() if known != before[name]}


def running(state, count, now=0.0):
    """So many tasks of ours run."""
    for i in range(count):
        ticket, now = send(state, Kind.CREATE, now)
        state.accepted(ticket, f"task_{i}", now)
    return now


class Machine(RuleBasedStateMachine):
    """Every order of asking, sending and ending."""

    @initialize(connections=st.integers(1, 8), tasks=st.none() | st.integers(1, 4), seed=st.integers(0, 3))
    def start(self, connections, tasks, seed):
        """Any limits."""
        self.state = Admission(Limits(max_connections=connections, max_running_tasks=tasks), random.Random(seed))
        self.most = max(connections // 4, 1)
        self.now, self.asked, self.ended = 0.0, 0, 0
        self.open, self.running = [], set()

    @rule(kind=st.sampled_from(Kind), count=st.integers(1, 5))
    def ask(self, kind, count):
        """More want to go."""
        ask(self.state, kind, count)
        self.asked += count

    @rule(seconds=st.floats(0, 30))
    def admit(self, seconds):
        """Time passes, and some go."""
        self.now += seconds
        granted = self.state.admit(self.now)
        assert all(ticket.granted for ticket in granted)
        self.open += granted
        going = [ticket.kind for ticket in granted if ticket.kind is not Kind.TRANSFER]
        if going:
            beyond = len(going) == 1  # nothing came or went for long
            assert self.state.in_flight <= min(self.state.window.size + beyond, self.state.window.ceiling)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), how=st.sampled_from(["passed", "refused", "waits", "failed", "late", "unused"]))
    def end(self, data, how):
        """One of those in flight comes to its end."""
        ticket = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.ended += 1
        state, now = self.state, self.now
        if ticket.kind is Kind.TRANSFER or how == "unused":
            state.unused(ticket, now)
        elif how == "passed" and ticket.kind is Kind.CREATE:
            self.running.add(f"task_{self.ended}")
            state.accepted(ticket, f"task_{self.ended}", now)
        elif how == "passed":
            state.passed(ticket, now)
        elif how in ("refused", "waits"):
            decision = state.refused(ticket, now, wait=5.0 if how == "waits" else None)
            assert 0 <= decision.pause <= LONGEST_PAUSE * 1.25
        else:
            state.slots.free(ticket.key, now)
            state.failed(ticket, now, timeout=how == "late")

    @precondition(lambda self: self.running)
    @rule(data=st.data(), seen=st.booleans())
    def finish(self, data, seen):
        """A task is seen finished, or not known."""
        task_id = data.draw(st.sampled_from(sorted(self.running)))
        self.running.discard(task_id)
        self.state.finished(task_id, self.now, seen=seen)

    @invariant()
    def counts_are_right(self):
        """Tickets are conserved; what is in flight is what was let go, never negative."""
        state = self.state
        in_flight = [ticket for ticket in self.open if ticket.kind is not Kind.TRANSFER]
        assert state.in_flight == len(in_flight) >= 0
        assert len(state.trials.line) == sum(ticket.kind is Kind.CREATE for ticket in in_flight)
        assert 0 <= state._stragglers._count <= state.in_flight
        assert state._transfers == len(self.open) - len(in_flight) <= self.most
        assert self.asked == self.ended + len(self.open) + sum(map(len, state.queues.values()))
        assert 1 <= state.window.size <= state.window.ceiling
        assert state.slots.running <= len(self.running) + len(in_flight)

    @invariant()
    def a_trial_has_one_create_in_flight(self):
        """An experiment has one create on its way at a time."""
        trial = self.state.trials.trial
        assert trial is None or trial.ticket is None or trial.ticket in self.open

    @invariant()
    def nobody_waits_for_ever(self):
        """With nothing in flight, time alone lets the next one go."""
        state = self.state
        for kind in (Kind.POLL, Kind.QUERY, Kind.CREATE):
            if state.queues[kind] and not state.in_flight:
                assert state.ready_at(kind, self.now) < math.inf


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# --- turns -------------------------------------------------------------------------------------------------------


def test_four_polls_to_one_create_when_both_wait():
    """Of five free places polls get four and creates one, in any stretch of them."""
    state = admission(max_connections=64)
    ask(state, Kind.POLL, 400)
    ask(state, Kind.CREATE, 400)
    order, now = [], 0.0
    while len(order) < 200:
        for ticket in state.admit(now):
            order.append(ticket.kind)
            if ticket.kind is Kind.CREATE:
                state.accepted(ticket, f"task_{len(order)}", now)
            else:
                state.passed(ticket, now)
        now = max(state.next_time(now) or now, now + 1.0)  # creates, too, are always ready
    for start in range(0, 195, 5):
        assert order[start : start + 5].count(Kind.CREATE) == 1
    assert POLLS_PER_CREATE == 4


def test_a_query_goes_with_each_poll_when_both_wait():
    """Whoever asks for one task does not stand behind all that are followed, and these do not stand still."""
    state = admission(requests_per_second=1.0)
    polls, queries = ask(state, Kind.POLL, 8), ask(state, Kind.QUERY, 4)
    order, now = [], 0.0
    while len(order) < 12:
        for ticket in state.admit(now):
            order.append(ticket)
            state.passed(ticket, now)
        now = state.next_time(now) or now
    assert order[:8:2] == queries
    assert [*order[1:8:2], *order[8:]] == polls


@pytest.mark.parametrize("kind", [Kind.POLL, Kind.QUERY, Kind.CREATE])
def test_alone_either_kind_has_all_places(kind):
    """What waits alone waits for nobody."""
    state = admission()
    ask(state, kind, 30)
    now, sent = 0.0, 0
    while sent < 30:
        for ticket in state.admit(now):
            sent += 1
            state.passed(ticket, now)
        now = state.next_time(now) or now
    assert now <= 5


def test_a_stream_of_polls_does_not_starve_a_create():
    """However many polls come, a create that waits goes within the next few."""
    state = admission(requests_per_second=10)
    (create,) = ask(state, Kind.CREATE)
    now = 0.0
    for _ in range(10):
        ask(state, Kind.POLL, 20)
        for ticket in state.admit(now):
            state.passed(ticket, now)
        now = state.next_time(now)
    assert create.granted


def test_looks_that_hang_do_not_keep_a_create():
    """With all places taken, and nothing coming or going for five seconds, one create goes beyond them."""
    state = admission(max_connections=40, requests_per_second=100)
    ask(state, Kind.POLL, 40)
    for step in range(100):
        now = 0.01 * step
        state.admit(now)
    (create, other) = ask(state, Kind.CREATE, 2)
    assert state.in_flight == state.window.size
    assert not state.admit(now)
    then = state.next_time(now)
    assert then == pytest.approx(state.pace.next_at + STUCK)
    assert state.admit(then) == [create]
    assert state.next_time(then) is None
    state.failed(create, then + 0.1)
    assert state.admit(state.next_time(then + 0.1)) == [other]


def hanging(state, places=9):
    """So many creates hang, and there are no more places; when the last of them went."""
    quick(state)
    state.window._resize(places)
    now = 10.0
    for _ in range(places):
        _, now = send(state, Kind.CREATE, now)
    assert state.in_flight == state.window.size == places
    return now


@pytest.mark.parametrize("kind", [Kind.POLL, Kind.QUERY])
def test_creates_that_hang_do_not_keep_a_look(kind):
    """A link that came back with another address: their answers never come, and until they are given up looks go on."""
    state = admission(requests_per_second=100)
    now = hanging(state)
    look, other = ask(state, kind, 2)
    assert not state.admit(now)
    assert state.try_take(kind, now) is None
    then = state.next_time(now)
    assert then == pytest.approx(state.pace.next_at + STUCK)
    assert state.admit(then) == [look]
    assert state.next_time(then) is None
    state.passed(look, then + 0.1)
    assert state.admit(then + 0.1 + STUCK) == [other]


def test_creates_that_hang_do_not_keep_a_look_after_an_outage():
    """What goes beyond them and is not sent tells of an outage: after it one look goes beyond them again."""
    state = admission(requests_per_second=100)
    now = hanging(state)
    while not state.out:
        look, now = send(state, Kind.POLL, now)
        state.failed(look, now, sent=False)
    began = now
    look, now = send(state, Kind.POLL, now)
    assert now - began <= STUCK + STRAGGLING + 3.0
    assert state.next_time(now) is None


def test_what_is_told_is_not_exceeded_by_a_create_that_waits():
    """No more in flight than `max_connections`, however long nothing ends."""
    state = admission(max_connections=4, requests_per_second=100)
    ask(state, Kind.POLL, 8)
    for step in range(10):
        state.admit(step * 0.1)
    ask(state, Kind.CREATE)
    assert state.in_flight == 4
    assert state.next_time(1.0) is None
    assert not state.admit(1000.0)


def test_transfers_have_their_own_places():
    """Files take a quarter of the connections, and no place from polls."""
    state = admission(max_connections=8)
    waiting = ask(state, Kind.TRANSFER, 5)
    assert len(state.admit(0.0)) == 2
    assert state.in_flight == 0
    state.unused(waiting[0], 0.0)
    assert len(state.admit(0.0)) == 1
    state.failed(waiting[1], 0.0)
    state.passed(waiting[2], 0.0)
    assert state._transfers == 0


# --- what a refusal teaches --------------------------------------------------------------------------------------


def test_a_refused_poll_cuts_the_pace_alone():
    """With no more in flight than lately got through, a query's refusal is the pace's fault, and nobody else's."""
    state = admission()
    for _ in range(5):
        ticket, now = send(state, Kind.POLL, 1.0)
        state.passed(ticket, now)
    ticket, now = send(state, Kind.POLL, now)
    before = picture(state)
    assert state.refused(ticket, now).cause is Controller.PACE
    assert changed(state, before) == {Controller.PACE}


def test_a_refused_poll_above_what_got_through_cuts_the_window_alone():
    """With more in flight than lately got through, it is the window's; one fewer is all it takes, without a pause."""
    state = admission()
    state.pace.cut(0.0, 0.0)  # a limit was met before
    sent = [send(state, Kind.POLL, 1.0)[0] for _ in range(3)]
    before = picture(state)
    decision = state.refused(sent[-1], 1.1)
    assert (decision.cause, decision.pause) == (Controller.WINDOW, 0.0)
    assert changed(state, before) == {Controller.WINDOW}
    assert state.window.size == 2


def test_the_first_refusal_of_all_cuts_the_pace_alone():
    """Two at once are two in quick succession: a window of one would never learn that it was that."""
    state = admission()
    sent = [send(state, Kind.POLL, 1.0)[0] for _ in range(2)]
    before = picture(state)
    assert state.refused(sent[-1], 1.1).cause is Controller.PACE
    assert changed(state, before) == {Controller.PACE}


@pytest.mark.parametrize("was_refused", [True, False])
def test_what_follows_a_pause_keeps_its_distance_if_it_was_refused_before(was_refused):
    """The next two catch up with the time that was lost; where nothing is saved up, they are a whole gap apart."""
    state = admission()
    ticket, now = send(state, Kind.POLL, 1.0)
    state.refused(ticket, now)
    for again in (was_refused, False):
        ticket, now = send(state, Kind.POLL, now)
        state.passed(ticket, now + 1.0)
        ticket, now = send(state, Kind.POLL, now + 1.0)
        if again:
            state.refused(ticket, now)
    _, second = send(state, Kind.POLL, now)
    assert (second - now >= 0.99 / state.pace.rate) is was_refused


def test_looks_beyond_what_got_through_that_fail_cut_the_window():
    """Some close connections beyond a number: the usual number at once goes on, and tells of an outage alone."""
    state = admission()
    state.pace.cut(0.0, 0.0)  # a limit was met before
    ticket, now = send(state, Kind.POLL, 1.0)
    state.passed(ticket, now)
    sent = [send(state, Kind.POLL, 2.0)[0] for _ in range(4)]
    before = picture(state)
    for ticket in sent[1:]:
        state.failed(ticket, 2.1)
    assert changed(state, before) == {Controller.WINDOW}
    state.passed(sent[0], 2.2)
    lone = picture(state)
    for at in range(3, 6):
        ticket, now = send(state, Kind.POLL, float(at))
        state.failed(ticket, now)
    assert changed(state, lone) == set()


def test_one_more_than_got_through_is_tried_at_the_price_of_one_closed_connection():
    """It is the price of a try, as a refusal is: the second look beyond would be lost for what is known already."""
    state = admission()
    state.window.refused(3, 0.0)
    assert state.window.size == 2
    now = REST + 1.0
    first, second = send(state, Kind.POLL, now)[0], send(state, Kind.POLL, now)[0]
    for ticket in (first, second):
        state.passed(ticket, now + 1.0)
    sent = [send(state, Kind.POLL, now + 2.0)[0] for _ in range(3)]
    state.failed(sent[-1], now + 3.0)
    assert state.window.size == 2


def test_looks_that_were_never_sent_say_nothing_of_a_busy_gateway():
    """No route, no connection: however many are in flight, it cuts neither window nor pace, and tells of an outage."""
    state = admission()
    state.pace.cut(0.0, 0.0)  # a limit was met before
    for _ in range(9):
        _create, now = send(state, Kind.POLL, 1.0)
    before = picture(state)
    for failures in range(OUTAGE):
        assert not state.out, failures
        ticket, now = send(state, Kind.POLL, now)
        assert ticket.in_flight > state.window.safe
        state.failed(ticket, now, sent=False)
        if not state.out:
            assert changed(state, before) == set()
    assert state.out
    assert state.pause_until > now
    assert Controller.WINDOW not in changed(state, before)


def test_refusals_of_one_flight_are_one_event():
    """What was sent before the cut was dealt with by it."""
    state = admission()
    sent = [send(state, Kind.POLL, 1.0)[0] for _ in range(4)]
    state.refused(sent[0], 2.0)
    before = picture(state)
    for ticket in sent[1:]:
        assert state.refused(ticket, 2.0).cause is Controller.TRIAL
    assert changed(state, before) == set()


def test_retry_after_of_a_poll_pauses_everything():
    """When a poll was refused, nothing goes before its Retry-After is over; then it goes on, at the pace it had."""
    state = admission()
    ticket, now = send(state, Kind.POLL, 1.0)
    assert state.refused(ticket, now, wait=20.0).pause == 20.0
    ask(state, Kind.POLL, 9)
    ask(state, Kind.CREATE, 9)
    assert state.admit(now + 19.9) == []
    assert len(state.admit(now + 20.1)) == 1
    assert len(state.admit(now + 21.1)) == 1


def test_a_second_retry_after_lets_one_go_at_a_time():
    """Refused again as soon as it goes on, one request tries before the others follow."""
    state = admission()
    for _ in range(2):
        ticket, now = send(state, Kind.POLL, 1.0)
        state.refused(ticket, now, wait=20.0)
    ask(state, Kind.POLL, 9)
    assert len(state.admit(now + 20.1)) == 1
    assert state.admit(now + 30) == []


def test_retry_after_of_a_create_pauses_creates_alone():
    """When a create was refused, polls go on."""
    state = admission()
    ticket, now = send(state, Kind.CREATE, 1.0)
    assert state.refused(ticket, now, wait=20.0).pause == 20.0
    ask(state, Kind.POLL, 1)
    (create,) = ask(state, Kind.CREATE)
    assert [one.kind for one in state.admit(now + 1)] == [Kind.POLL]
    state.admit(now + 19.9)
    assert not create.granted
    state.admit(now + 20.1)
    assert create.granted


def test_a_storm_is_met_with_one_probe_at_a_time():
    """Everything refused for ten minutes: a probe per pause, pauses up to the longest, and beyond what bans last."""
    state = admission()
    now, sent = 0.0, 0
    while now < 600:
        ticket, now = send(state, Kind.POLL, now)
        sent += 1
        decision = state.refused(ticket, now)
        assert decision.pause <= (LONGEST_PAUSE if now <= BANNED else KNOCKS) * 1.25
    assert sent <= 40
    assert decision.pause >= KNOCKS
    ticket, now = send(state, Kind.POLL, now)
    assert now <= 600 + 2 * KNOCKS


def test_a_storm_without_end_is_met_ever_more_rarely():
    """An account that counts what it refuses, or bans anew with each knock, gets its minute of silence in the end."""
    for kind, named in ((Kind.POLL, None), (Kind.CREATE, None), (Kind.CREATE, Controller.PACE)):
        state, now, pause = admission(), 0.0, 0.0
        while now < 1800:
            ticket, now = send(state, kind, now)
            pause = state.refused(ticket, now, named=named).pause
            assert pause <= max(KNOCKS if kind is Kind.POLL and now > BANNED else LONGEST_PAUSE, now / 10) * 1.25
        assert pause > 150.0


def test_a_retry_after_that_is_told_in_vain_is_not_all_that_is_waited():
    """Asked to wait a second and refused again, for ten minutes: no more probes than without it."""
    state, now, sent = admission(), 0.0, 0
    while now < 600:
        ticket, now = send(state, Kind.POLL, now)
        sent += 1
        state.refused(ticket, now, wait=1.0)
    assert sent <= 60


def test_a_rate_that_is_named_again_and_again_is_no_storm():
    """Ten creates a minute, said in words: as long as none gets through, one at a time tries, ever more rarely."""
    state = admission()
    start = quick(state)
    flight = [send(state, Kind.CREATE, start)[0] for _ in range(5)]
    for ticket in flight:
        state.refused(ticket, start + 1, named=Controller.PACE)
    now, sent, last = start + 1, 0, start + 1
    ask(state, Kind.CREATE, 100)
    while now < start + 601:
        granted = state.admit(now)
        sent, now = sent + len(granted), now + 0.2
        last = now if granted else last
        for ticket in granted:
            state.refused(ticket, now, named=Controller.PACE)
    assert 30 <= sent <= 60
    ticket = next(ticket for ticket in iter(lambda: (state.admit(last + 30) or [None])[0], None))
    state.accepted(ticket, "task", last + 31)
    assert state.trials.trial is None
    assert state.slots.cap is None


def test_a_create_that_hangs_holds_nobody_up_after_a_refusal():
    """What tries again after a pause waits a little for what was sent before it, and not for a create of minutes."""
    state = admission()
    for ticket in [send(state, Kind.POLL, 1.0)[0] for _ in range(4)]:
        state.passed(ticket, 2.0)
    _create, now = send(state, Kind.CREATE, 2.0)
    ticket, now = send(state, Kind.POLL, now)
    decision = state.refused(ticket, now + 1)
    assert decision.cause is Controller.PACE
    first, second = ask(state, Kind.POLL, 2)
    resumes = now + 1 + decision.pause
    assert state.admit(resumes) == []
    when = state.next_time(resumes)
    assert resumes < when <= resumes + STRAGGLING
    assert state.admit(when) == [first]
    assert state.admit(when + 10) == []
    state.passed(first, when + 11)
    assert state.admit(when + 11) == [second]


def test_beside_what_hangs_no_more_go_than_may():
    """The caller's own number of connections holds."""
    state = admission(max_connections=1)
    create, now = send(state, Kind.CREATE, 1.0)
    state._pause(1.0, now)
    ask(state, Kind.POLL)
    assert state.admit(now + 100) == []
    assert state.next_time(now + 100) is None
    state.accepted(create, "task", now + 101)
    assert len(state.admit(now + 101)) == 1


def test_a_named_rate_cuts_the_creates_pace_alone():
    """A create's refusal that names the rate is settled at once."""
    state = admission()
    ticket, now = send(state, Kind.CREATE, 1.0)
    before = picture(state)
    assert state.refused(ticket, now, named=Controller.PACE).cause is Controller.PACE
    assert changed(state, before) == {"create pace"}
    assert state.trials.trial is None


def beyond_the_window(state, now):
    """A create goes with more in flight than got through until now, where too many were met before."""
    state.window.refused(9, now)
    _, now = send(state, Kind.POLL, now)
    return send(state, Kind.CREATE, now)


def test_a_create_beyond_what_lately_got_through_at_once_adjusts_the_window_alone():
    """Where a number of requests in flight was met before: its next try needs no pause and no experiment."""
    state = admission()
    ticket, now = beyond_the_window(state, running(state, 2))
    before = picture(state)
    decision = state.refused(ticket, now)
    assert (decision.cause, decision.pause) == (Controller.WINDOW, 0.0)
    assert changed(state, before) == {Controller.WINDOW}
    assert state.trials.trial is None


def test_a_create_of_the_flight_of_a_refused_one_is_none_of_the_windows():
    """It was refused for what the first was refused for, and counts as that."""
    state = admission()
    first, _ = send(state, Kind.CREATE, running(state, 2))
    ticket, now = beyond_the_window(state, first.sent_at)
    state.refused(first, now + 0.1, named=Controller.SLOTS)
    before = state.window.size
    assert state.refused(ticket, now + 0.1).cause is Controller.TRIAL
    assert state.window.size == before


def test_a_named_number_of_tasks_sets_the_slots_alone():
    """A create's refusal that names the running tasks: so many run, and the next waits for a finish."""
    state = admission()
    now = running(state, 3)
    ticket, now = send(state, Kind.CREATE, now)
    before = picture(state)
    decision = state.refused(ticket, now, named=Controller.SLOTS)
    assert (decision.cause, decision.pause) == (Controller.SLOTS, 0.0)
    assert changed(state, before) == {Controller.SLOTS}
    assert state.slots.cap == 3
    ask(state, Kind.CREATE)
    assert state.starving()
    state.finished("task_0", now + 1)
    assert not state.starving()


def ladder(state, now, finish=False):
    """Refusals of one create, rung by rung; the decisions and the last moment."""
    decisions = []
    for _ in range(3 * LADDER if state.slots.running else LADDER):
        ticket, now = send(state, Kind.CREATE, now)
        if finish and decisions:
            state.finished("task_0", now)
        decisions.append(state.refused(ticket, now))
        if decisions[-1].cause is not Controller.TRIAL:
            break
    return decisions, now


def test_an_unnamed_refusal_is_settled_by_experiment():
    """Refused for more than a minute while polls get through and none finished: the account runs about so many."""
    state = admission()
    now = running(state, 5)
    before = picture(state)
    decisions, now = ladder(state, now)
    assert [one.cause for one in decisions] == [Controller.TRIAL] * 8 + [Controller.SLOTS]
    for one, seconds in zip(decisions, (1, 2, 4, 8, 15, 15, 15, 15), strict=False):
        assert seconds <= one.pause <= 1.25 * seconds
    assert changed(state, before) == {Controller.SLOTS}
    assert (state.slots.cap, state.slots.known) == (5, True)


def let_in_after(state, seconds, met):
    """A create is refused for so many seconds, and then gets through; when."""
    ticket, now = send(state, Kind.CREATE, met)
    while now < met + seconds:
        assert state.refused(ticket, now).cause is Controller.TRIAL
        ticket, now = send(state, Kind.CREATE, now)
    state.accepted(ticket, "task_9", now)
    return now


def test_one_create_in_ten_seconds_is_a_pace():
    """An account that lets in a create each ten seconds while five run is not taken for one that runs five."""
    state = admission()
    let_in_after(state, 10.0, running(state, 5))
    assert state.trials.pace.known
    assert state.slots.cap is None


def test_a_pause_that_is_told_too_short_again_and_again_grows():
    """For as many refusals as the ladder has it is taken at its word."""
    state = admission()
    now = running(state, 5)
    pauses = []
    for _ in range(LADDER + 3):
        ticket, now = send(state, Kind.CREATE, now)
        pauses.append(state.refused(ticket, now, wait=1.0).pause)
    assert pauses[:LADDER] == [1.0] * LADDER
    assert [2.0, 4.0, 8.0] <= pauses[LADDER:] <= [2.5, 5.0, 10.0]


def test_creates_that_an_account_counts_by_the_minute_are_spread_over_it():
    """Five are let in, and then none for a minute although tasks finish: five a minute it is, and no number."""
    state = admission()
    met = now = running(state, 5)
    number = itertools.count()
    while True:
        ticket, now = send(state, Kind.CREATE, now)
        if now >= met + 60.0:
            break
        assert state.refused(ticket, now).cause is Controller.TRIAL
        if now >= met + 25.0:
            state.finished(f"task_{next(number)}", now)
            state.finished(f"task_{next(number)}", now)
    state.accepted(ticket, "task_9", now)
    assert state.slots.cap is None
    assert state.trials.pace.rare
    assert state.trials.pace.rate == pytest.approx(5 / 60, rel=0.25)


def test_as_many_running_at_each_refusal_are_a_number_all_the_same():
    """Also where creates once seemed to be counted by the minute: few may be as many by chance, thrice they are not."""
    trial = Trial(count=5, began=0.0, count_before=5, alike_before=1, finished=1)
    assert not trial.counts(known=False, rare=True)
    assert trial.counts(known=False, rare=False)
    assert attrs.evolve(trial, alike_before=2).counts(known=False, rare=True)
    assert attrs.evolve(trial, count=50, count_before=50).counts(known=False, rare=True)
    assert not attrs.evolve(trial, count_before=9).counts(known=False, rare=False)


def test_admitted_although_none_finished_was_pace():
    """The experiment's create got through with as many running: the pace of creates is cut, and that alone."""
    state = admission()
    now = running(state, 5)
    ticket, now = send(state, Kind.CREATE, now)
    state.refused(ticket, now)
    before = picture(state)
    ticket, now = send(state, Kind.CREATE, now)
    assert state.trials.trial.ticket is ticket
    state.accepted(ticket, "task_9", now)
    assert changed(state, before) == {"create pace"}
    assert state.trials.trial is None


@pytest.mark.parametrize(("seen_after", "number"), [(2.0, True), (30.0, False)])
def test_a_first_finish_seen_just_after_a_create_got_through_is_what_let_it_in(seen_after, number):
    """After most of a minute of refusals it was their number, not the time that passed; a finish long after is none."""
    state = admission()
    now = let_in_after(state, 50.0, running(state, 2))
    assert state.trials.pace.known
    state.finished("task_0", now + seen_after)
    assert state.trials.pace.known is not number
    assert state.slots.cap == (2 if number else None)


def test_admitted_after_a_finish_makes_the_number_suspected():
    """Admitted once one of ours had finished, it was perhaps their number: that is looked into."""
    state = admission()
    now = running(state, 5)
    ticket, now = send(state, Kind.CREATE, now)
    state.refused(ticket, now)
    state.finished("task_0", now + 0.5)
    before = picture(state)
    ticket, now = send(state, Kind.CREATE, now)
    state.accepted(ticket, "task_9", now)
    assert changed(state, before) == {Controller.SLOTS}
    assert state.slots.cap == 5
    assert not state.slots.known


def test_polls_refused_meanwhile_prove_nothing_about_slots():
    """A ladder during which polls are refused too ends in no cap."""
    state = admission()
    now = running(state, 5)
    for _ in range(LADDER + 1):
        ticket, now = send(state, Kind.CREATE, now)
        assert state.refused(ticket, now).cause is Controller.TRIAL
        poll, now = send(state, Kind.POLL, now)
        state.refused(poll, now)
    assert state.slots.cap is None


def test_with_nothing_running_it_is_hopeless_after_the_ladder():
    """With no task of ours there is no finish to wait for: after the ladder a lone create is told to give up."""
    state = admission()
    decisions, _ = ladder(state, 0.0)
    assert [one.hopeless for one in decisions] == [False] * (LADDER - 1) + [True]
    assert state.slots.cap is None


def test_creates_of_the_same_flight_begin_one_experiment():
    """Many creates refused together are one event."""
    state = admission()
    now = running(state, 2)
    sent = []
    for _ in range(3):
        ticket, now = send(state, Kind.CREATE, now)
        sent.append(ticket)
    state.refused(sent[0], now)
    trial = state.trials.trial
    for ticket in sent[1:]:
        state.refused(ticket, now)
    assert state.trials.trial is trial
    assert trial.refusals == 1


def test_failures_in_a_row_pause_everything():
    """An outage: after a few failures one request at a time tries again, ever more rarely, until one gets through."""
    state = admission()
    now = 0.0
    for _ in range(OUTAGE):
        ticket, now = send(state, Kind.POLL, now)
        state.failed(ticket, now)
    assert state.pause_until > now
    began, sent = now, 0
    while now < began + 600:
        ticket, now = send(state, Kind.POLL, now)
        state.failed(ticket, now)
        sent += 1
    assert sent <= 60
    ticket, now = send(state, Kind.POLL, now)
    state.passed(ticket, now)
    ask(state, Kind.POLL, 5)
    assert len(state.admit(now + 1)) >= 1
    assert state._failures == 0


def test_a_create_never_sent_leaves_no_trace():
    """Leave given back unused holds no slot, and its experiment goes on."""
    state = admission()
    now = running(state, 1)
    ticket, now = send(state, Kind.CREATE, now)
    state.refused(ticket, now)
    ticket, now = send(state, Kind.CREATE, now)
    state.unused(ticket, now)
    assert (state.in_flight, state.slots.running, state.trials.trial.ticket) == (0, 1, None)


@pytest.mark.parametrize("wait", [0.0, 0.01])
@pytest.mark.parametrize("kind", [Kind.POLL, Kind.CREATE])
def test_retry_after_nothing_is_no_leave_to_storm(kind, wait):
    """A gateway that refuses for ever and says "at once" is asked as seldom as one that says nothing."""
    state, now, sent = Admission(Limits(), random.Random(1)), 0.0, 0
    while now < 600:
        ticket, now = send(state, kind, now)
        sent += 1
        now += 0.05
        state.refused(ticket, now, wait=wait)
    assert sent <= 60


def test_one_blip_of_many_requests_is_one_outage():
    """What was in flight when a connection broke fails together, and pauses for a moment only."""
    state = Admission(Limits(), random.Random(1))
    ask(state, Kind.POLL, 16)
    tickets, now = [], 0.0
    while len(tickets) < 16:
        tickets += state.admit(now)
        now += 0.05
    for ticket in tickets:
        state.failed(ticket, now)
    assert state.pause_until - now <= 3.0


def test_max_wait_counts_what_time_alone_brings():
    """With all slots taken a finish may come any moment: only pauses and paces are sure."""
    state = Admission(Limits(max_running_tasks=1), random.Random(1))
    now = running(state, 1)
    assert state.ready_at(Kind.CREATE, now + 1) > now + 30
    assert state.not_before(Kind.CREATE) <= now + 1


@pytest.mark.parametrize("named", [None, Controller.SLOTS])
def test_creates_refused_in_one_flight_never_ran(named):
    """Of ten creates in flight three get through: the account runs three, and nine more tries do not go to learn it."""
    state = admission()
    flight = []
    now = quick(state)
    for _ in range(10):
        ticket, now = send(state, Kind.CREATE, now)
        flight.append(ticket)
    state.accepted(flight[0], "a", now)
    for ticket in flight[1:8]:
        state.refused(ticket, now, named=named)
    state.accepted(flight[8], "b", now)
    state.accepted(flight[9], "c", now)
    if named is None:
        assert state.trials.trial.count == 3
    else:
        assert state.slots.cap == 3
        assert state.slots.full()


def test_a_gateway_that_is_too_busy_is_slowed_for():
    """503s among few answers slow like a refusal, also by themselves: polls for a poll's, creates for a create's."""
    state = admission()
    now = running(state, 5)
    for _ in range(3):
        assert not state.pace.known
        poll, now = send(state, Kind.POLL, now)
        state.failed(poll, now, busy=True)
    assert state.pace.known
    assert state.pause_until > now
    poll, now = send(state, Kind.POLL, now)
    state.passed(poll, now)
    create, now = send(state, Kind.CREATE, now)
    state.failed(create, now, busy=True, wait=7.0)
    assert state.trials.pace.known
    assert state.trials.pause_until == now + 7.0
    assert state.slots.cap is None


def test_a_503_now_and_then_slows_nothing():
    """One look in twenty meets a part of the gateway that is down: no pace would avoid that."""
    state = admission()
    now = 0.0
    for number in range(400):
        poll, now = send(state, Kind.POLL, now)
        if number % 20:
            state.passed(poll, now)
        else:
            state.failed(poll, now, busy=True)
    assert not state.pace.known


def test_one_flight_at_a_busy_gateway_is_no_outage():
    """Ten 503s of one flight pause for a blink, not as for a gateway that is gone."""
    state = admission()
    now = 0.0
    flight = []
    for _ in range(10):
        ticket, now = send(state, Kind.POLL, now)
        flight.append(ticket)
    now += 0.1
    for ticket in flight:
        state.failed(ticket, now, busy=True)
    assert not state.out
    assert state.pause_until <= now + 0.2


def test_a_gateway_that_stays_busy_is_out():
    """503s that go on though one request at a time is sent are an outage, with its long pauses."""
    state = admission()
    now = 0.0
    for _ in range(OUTAGE):
        ticket, now = send(state, Kind.POLL, now)
        state.failed(ticket, now, busy=True)
    assert state.out


def polled(state, count, now):
    """So many looks get through; gives when the last was answered."""
    for _ in range(count):
        ticket, now = send(state, Kind.POLL, now)
        state.passed(ticket, now)
    return now


def outlasted(state, now, seconds=600.0, **told):
    """Every request fails for so long; gives the times at which one was sent."""
    ends, sent = now + seconds, []
    while now < ends:
        ticket, now = send(state, Kind.POLL, now)
        state.failed(ticket, now, **told)
        sent.append(now)
    return sent


def test_after_an_outage_full_speed_is_back_within_half_a_minute():
    """Whoever sends much tries each 25 s at the latest; whoever sent little, so rarely that the outage costs little."""
    state = admission()
    sent = outlasted(state, polled(state, 1000, 0.0))
    assert max(later - sooner for sooner, later in itertools.pairwise(sent)) < 30
    few = admission()
    assert len(outlasted(few, polled(few, 60, 0.0))) <= 60 / 10 + 20


@pytest.mark.parametrize("told", [{}, {"busy": True}, {"busy": True, "wait": 30.0}])
def test_an_outage_says_nothing_of_the_pace(told):
    """It was slowed for, in vain: when it is over everything goes as before, however long its Retry-After were."""
    state = admission()
    now = polled(state, 2000, 0.0)
    before = state.pace.rate
    now = outlasted(state, now, **told)[-1]
    ticket, now = send(state, Kind.POLL, now)
    state.passed(ticket, now)
    assert state.pace.rate == before
    assert not state.pace.known
