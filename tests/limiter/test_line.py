"""Creates that a gateway may let wait in line: so many go that the last is answered in time, whatever one takes."""

import heapq
import math
import random

import pytest

from omni_async.limiter import Admission, Kind, Ticket
from omni_async.policies import Limits

QUICK = 0.1


def account(timeout=120.0):
    """A fresh one, whose creates are given up after so many seconds."""
    state = Admission(Limits(), random.Random(1))
    state.trials.line.gives_up(timeout)
    return state


def ask(state, count):
    """So many creates wait to go."""
    state.creates.update(dict.fromkeys(Ticket(Kind.CREATE) for _ in range(count)))


def let_go(state, since, seconds):
    """Those that go in that time, with no answer to any."""
    ticks = (since + 0.05 * tick for tick in range(int(seconds / 0.05)))
    return [ticket for now in ticks for ticket in state.admit(now)]


def accept(state, tickets, now):
    """All are answered."""
    for ticket in tickets:
        state.accepted(ticket, ticket.key, now)


def submit(state, count, gateway, *, timeout=120.0):
    """All of so many creates go; those that were given up, the most in flight, and how long it took."""
    now, flight, lost, most = 0.0, [], 0, 0
    ask(state, count)
    while state.creates or flight:
        for ticket in state.admit(now):
            heapq.heappush(flight, (min(gateway(now), now + timeout), id(ticket), ticket))
        most = max(most, len(flight))
        if (again := state.next_time(now)) is not None and (not flight or again < flight[0][0]):
            now = again
            continue
        now, _, ticket = heapq.heappop(flight)
        if now < ticket.sent_at + timeout:
            state.accepted(ticket, ticket.key, now)
        else:
            lost += 1
            state.failed(ticket, now, timeout=True)
    return lost, most, now


def one_by_one(each):
    """A gateway that takes one at a time; gives when the one that comes then is answered."""
    free = 0.0

    def answered(now):
        nonlocal free
        free = max(free, now) + each()
        return free

    return answered


@pytest.mark.parametrize("timeout", [120.0, 30.0, 600.0])
@pytest.mark.parametrize("part", [0.0005, 0.02, 0.04, 0.06, 0.075, 0.1, 0.17, 0.25, 0.32])
def test_creates_that_a_gateway_lines_up_are_all_answered(part, timeout):
    """It takes one at a time, up to a third of the timeout for each, and refuses none: kept busy, it loses none."""
    each = part * timeout
    lost, _most, took = submit(account(timeout), 80, one_by_one(lambda: each), timeout=timeout)
    assert lost == 0
    assert took <= 80 * each + 10


def test_creates_that_take_now_long_now_short_are_all_answered():
    """One at a time, mostly 3 to 12 s each."""
    rng = random.Random(3)
    lost, _most, _took = submit(account(), 80, one_by_one(lambda: 6.0 * math.exp(0.7 * rng.gauss(0.0, 1.0))))
    assert lost == 0


def test_a_gateway_that_takes_the_first_at_once_is_not_flooded():
    """It has room for ten, and then takes one per 5 s."""
    room = iter(range(10))
    slow = one_by_one(lambda: 5.0)
    lost, most, _took = submit(account(), 60, lambda now: now + QUICK if next(room, None) is not None else slow(now))
    assert lost == 0
    assert most <= 22


@pytest.mark.parametrize(("takes", "most"), [(0.05, 12), (0.5, 15), (2.0, 35)])
def test_creates_that_are_answered_quickly_are_not_kept_waiting(takes, most):
    """However many are in flight: of 600 not many more seconds than 64 connections need."""
    lost, _most, took = submit(account(), 600, lambda now: now + takes)
    assert lost == 0
    assert took <= most


def test_creates_that_just_take_long_are_not_made_few():
    """Half a minute each, some twice that, however many are in flight: all places come to be used."""
    rng = random.Random(3)
    lost, most, _took = submit(account(), 1200, lambda now: now + 30.0 * math.exp(0.3 * rng.gauss(0.0, 1.0)))
    assert lost == 0
    assert most >= 60


def test_three_go_before_an_answer_tells_anything():
    """What is paid and given up is not learned of until it is too late; with the first answer more go."""
    state = account()
    ask(state, 20)
    flight = let_go(state, 0.0, 10.0)
    assert len(flight) == 3
    accept(state, flight, 10.0)
    assert 3 <= len(let_go(state, 10.0, 5.0)) <= 6


def test_when_no_answers_come_any_more_no_more_go():
    """Each was answered at once until now: with a few seconds' silence the line is as short as those tell."""
    state, now = account(), 0.0
    ask(state, 60)
    while len(state.creates) > 20:
        accept(state, state.admit(now), now + QUICK)
        now += QUICK
    state.creates.clear()
    went = 0
    for second in range(100):
        ask(state, 1)
        went += len(let_go(state, now + second, 1.0))
    assert went <= 8


def test_one_that_hangs_does_not_make_the_others_few():
    """Others went and were answered meanwhile: what it took tells nothing of the line."""
    state, now = account(), 0.0
    ask(state, 1)
    (hanging,) = state.admit(now)
    for _ in range(60):
        ask(state, 4)
        accept(state, let_go(state, now, 0.5), now + 0.5)
        now += 0.5
    state.accepted(hanging, "late", now + 70)
    ask(state, 64)
    assert len(let_go(state, now + 70, 5.0)) >= 8


def test_one_that_is_given_up_lets_no_more_go():
    """However short the timeout is: a create that was not answered in time was not quick."""
    state = account(5.0)
    ask(state, 20)
    flight = let_go(state, 0.0, 0.5)
    for ticket in flight:
        state.failed(ticket, 5.0, timeout=True)
    assert len(flight) == 3
    assert len(let_go(state, 6.0, 1.0)) == 1


def test_of_several_clients_the_shortest_timeout_counts():
    """Who shares a limiter stands in one line."""
    state = account(600.0)
    state.trials.line.gives_up(20.0)
    state.trials.line.gives_up(90.0)
    lost, most, _took = submit(state, 30, one_by_one(lambda: 3.0), timeout=20.0)
    assert (lost, most) == (0, 4)


def test_what_was_in_flight_in_a_loop_that_is_gone_is_no_longer_in_line():
    """It is never answered; should it be, nothing is learned."""
    state = account()
    ask(state, 4)
    flight = let_go(state, 0.0, 1.0)
    state.trials.abandoned()
    assert len(state.trials.line) == 0
    state.trials.line.answered(flight[0], 200.0)
    assert not state.trials.line.full(200.0)


def test_after_one_that_was_late_more_go_step_by_step():
    """Quick answers before and after it do not tell that the gateway will not be slow again."""
    state, now = account(), 0.0
    for _ in range(40):
        ask(state, 8)
        accept(state, let_go(state, now, 0.5), now + 0.5)
        now += 0.5
    state.creates.clear()
    ask(state, 1)
    accept(state, let_go(state, now, 0.5), now + 70.0)
    now, went = now + 70.0, []
    for _ in range(4):
        ask(state, 64)
        flight = let_go(state, now, 0.5)
        now += 0.5
        accept(state, flight, now)
        went.append(len(flight))
    assert went[0] <= 3
    assert went[1] <= 2 * went[0] <= went[3]
