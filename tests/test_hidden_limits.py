"""The promises about limits that are found, on accounts drawn from families, in virtual time and without a loop.

`benchmarks/limits.py` prints the same figures for as many draws as one likes.
"""

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))

from account import Allowance, Scenario, Simulation
from hidden import draw, judge

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SEED, DRAWS = 3, 5


def verdicts(family):
    """What came of some draws."""
    return [verdict_of(scenario) for scenario in draw(family, SEED, DRAWS)]


def verdict_of(scenario):
    """Beside the same with nothing refused by chance, where some is."""
    plain = Simulation(attrs.evolve(scenario, chance=0.0)).run() if scenario.chance else None
    return judge(scenario, Simulation(scenario).run(), plain=plain)


# --- the account itself ------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["bucket", "fixed", "sliding"]),
    st.integers(1, 50),
    st.floats(0.0, 3.0),
    st.lists(st.floats(0.001, 0.5), max_size=300),
)
def test_a_meter_lets_in_what_it_allows(style, rate, burst, gaps):
    """No stretch of time sees more than the rate, and what the style lets through at once."""
    meter, now, times = Allowance(((0.0, rate),), style, burst), 0.0, []
    for gap in gaps:
        now += gap
        if meter.take(now):
            times.append(now)
    at_once = max(1.0, rate * burst) if style == "bucket" else rate * (2 if style == "fixed" else 1)
    for count, start in enumerate(times):
        later = [time for time in times[count:] if time < start + 5.0]
        assert len(later) <= at_once + rate * 5.0 + 1


def test_a_saturated_meter_gives_the_whole_rate():
    """Asked without end, each style gives its rate."""
    for style in ("bucket", "fixed", "sliding"):
        meter = Allowance(((0.0, 20.0),), style, 1.0)
        assert sum(meter.take(tick / 1000) for tick in range(30_000)) == pytest.approx(600, abs=21)


# --- what is promised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "most", "least"),
    [
        ("rate", 0.95, 0.9),
        ("rate, far away", 0.95, 0.85),
        ("rate, Retry-After 1 s", 0.92, 0.6),
        ("requests at once", 0.95, 0.88),
        ("requests at once, Retry-After 1 s", 0.95, 0.9),
    ],
)
def test_a_hidden_rate_or_number_of_requests_is_used(family, most, least):
    """Of what is allowed nearly all is used in each 30 s, with 2 % refused; pauses that are asked for cost some."""
    found = verdicts(family)
    assert statistics.median(one.share for one in found) >= most
    assert min(one.share for one in found) >= least
    assert statistics.median(one.refused for one in found) <= 0.02
    assert max(one.refused for one in found) <= 0.03


def crowd(rate, **told):
    """More looks than so many per second let in."""
    usual = {"followed": int(2.2 * rate) + 8, "interval": 1.0, "latency": (0.1, 0.2, 0.2), "until": 300.0, "seed": SEED}
    return Scenario(name=f"{rate}/s", rate=((0.0, rate),), **{**usual, **told})


@pytest.mark.parametrize(("rate", "part"), [(20.0, 0.75), (50.0, 0.6)])
def test_a_rate_without_any_burst_is_used(rate, part):
    """Two in quick succession are refused: that is not taken for two at once. Arrivals vary too much for the rest."""
    seen = Simulation(crowd(rate, burst=0.0)).run()
    assert seen.count(30, 300) >= part * 270 * rate
    assert seen.count(30, 300, refused=True) <= 0.015 * seen.count(30, 300)


@pytest.mark.parametrize(("retry_after", "part"), [(5.0, 0.85), (30.0, 0.65)])
def test_a_bucket_that_asks_to_wait_far_too_long_is_used(retry_after, part):
    """What so long a pause could save up is no measure of what it does save up."""
    seen = Simulation(crowd(10.0, retry_after=retry_after, until=900.0)).run()
    assert seen.count(60, 900) >= part * 840 * 10.0


def test_connections_that_are_closed_tell_how_many_requests_go_at_once():
    """As refusals do: nearly all is used, and few are sent in vain."""
    found = verdicts("requests at once, told by closing")
    assert statistics.median(one.share for one in found) >= 0.95
    assert min(one.share for one in found) >= 0.9
    assert max(one.refused for one in found) <= 0.02


@pytest.mark.parametrize("family", ["requests a minute", "requests a minute, Retry-After 5 s"])
def test_what_is_allowed_by_the_minute_is_used(family):
    """With a refusal or two in each; of twenty requests a minute that is a part of them."""
    found = verdicts(family)
    assert min(one.share for one in found) >= 0.88
    assert statistics.median(one.refused for one in found) <= 0.02
    assert max(one.refused for one in found) <= 0.08


@pytest.mark.parametrize("family", ["creates a minute", "creates a minute, Retry-After 5 s"])
def test_creates_allowed_by_the_minute_are_used(family):
    """However few they are, and whether they are saved up or not; they are not taken for running tasks."""
    found = verdicts(family)
    assert statistics.median(one.share for one in found) >= 0.9
    assert min(one.share for one in found) >= 0.75


@pytest.mark.parametrize("retry_after", [None, 5.0])
def test_few_creates_a_minute_are_used_at_few_refusals(retry_after):
    """Each costs one of them and a pause: more is tried the more rarely the fewer are allowed."""
    scenario = Scenario(
        name="8 creates a minute, none saved up",
        creates=((0.0, 8 / 60),),
        window=60.0,
        burst=0.0,
        retry_after=retry_after,
        latency=(0.2, 0.2, 0.2),
        tasks=(128, 80.0, 0.35),
        until=900.0,
        seed=1,
    )
    verdict = verdict_of(scenario)
    assert verdict.share >= 0.92
    assert verdict.refused <= 0.04


@pytest.mark.parametrize("style", ["fixed", "sliding"])
def test_what_is_allowed_by_the_minute_is_spread_over_it(style):
    """Else all looks of a minute go in its first seconds, and nothing is seen in the others."""
    rate = ((0.0, 5.0),)
    seen = Simulation(
        Scenario(name="300 a minute", rate=rate, window=60.0, style=style, followed=120, interval=10.0, until=600.0)
    ).run()
    assert seen.count(0, 30) == 300
    stretches = [seen.count(start, start + 10) for start in range(120, 600, 10)]
    assert statistics.median(stretches) == pytest.approx(50, abs=5)
    assert sum(count == 0 for count in stretches) <= 4
    assert seen.count(120, 600, refused=True) <= 30


def test_an_account_that_counts_by_the_minute_and_then_allows_more_is_followed():
    """What was learned of its minutes does not hold for ever."""
    rate = ((0.0, 5.0), (300.0, 10.0))
    seen = Simulation(
        Scenario(name="doubled", rate=rate, window=60.0, style="fixed", followed=300, interval=10.0, until=900.0)
    ).run()
    assert seen.count(600, 900) >= 0.85 * 3000


@pytest.mark.parametrize("family", ["rate halves", "rate doubles", "requests at once halve", "requests at once double"])
def test_a_change_is_found(family):
    """A limit that halves or doubles is used to nine tenths within 20 s."""
    found = verdicts(family)
    assert statistics.median(one.share for one in found) >= 0.95
    assert sum(one.share >= 0.9 for one in found) >= DRAWS - 1


@pytest.mark.parametrize(
    "family", ["running tasks", "running tasks of 3-20 s", "running tasks, Retry-After 1 s", "rate and running tasks"]
)
def test_a_hidden_number_of_running_tasks_is_used(family):
    """95 % of it run on average, for about one refused create per task time."""
    found = verdicts(family)
    assert min(one.running for one in found) >= 0.9
    assert statistics.median(one.running for one in found) >= 0.95
    assert statistics.median(one.refused_creates for one in found) <= 1.05


@pytest.mark.parametrize(("rate", "most"), [(1.0, 4.0), (5.0, 9.0)])
def test_creates_per_second_are_not_taken_for_running_tasks_that_end_in_the_pause_asked_for(rate, most):
    """Each refusal asks for a minute, in which all that run end: only more that run at once tell which it was."""
    allowed, count = ((0.0, rate),), int(400 * rate)
    account = Scenario(name="creates/s", creates=allowed, retry_after=60.0, tasks=(count, 30.0, 0.35), until=8000.0)
    assert Simulation(account).run().ended <= most * 400


@pytest.mark.parametrize("number", [1, 5, 40])
def test_few_running_tasks_that_end_in_the_pause_asked_for_are_used(number):
    """What tells them from creates per second costs no more than half a task time."""
    running = ((0.0, number),)
    account = Scenario(name="few", running=running, retry_after=60.0, tasks=(20 * number, 30.0, 0.0), until=8000.0)
    assert Simulation(account).run().ended <= 20 * 30.0 + 2 * 60.0 + 30.0


@pytest.mark.parametrize("family", ["running tasks halve", "running tasks double"])
def test_a_changed_number_of_running_tasks_is_found(family):
    """Within about a task time, as a rule: it is tried once in so long, and a try can come when it proves nothing."""
    found = verdicts(family)
    assert statistics.median(one.running for one in found) >= 0.9
    assert statistics.median(one.adapted for one in found) <= 1.2


@pytest.mark.parametrize(("retry_after", "part"), [(None, 0.9), (5.0, 0.6)])
def test_after_a_storm_of_refusals_it_is_soon_as_fast_as_before(retry_after, part):
    """Ten minutes in which everything is refused, soon after the start: a minute later the rate is used again."""
    rate = ((0.0, 10.0), (60.0, 0.0), (660.0, 10.0))
    storm = Scenario(name="storm", rate=rate, followed=30, interval=1.0, retry_after=retry_after, until=900.0)
    seen = Simulation(storm).run()
    assert seen.count(720, 900) >= part * 1800
    assert seen.count(120, 660, refused=True) <= 60


def test_what_somebody_else_took_for_a_minute_is_used_again():
    """Most of the five minutes after it, whether the account was known well before or not."""
    found = verdicts("rate squeezed for a minute or two")
    assert statistics.median(one.share for one in found) >= 0.8
    assert min(one.share for one in found) >= 0.5
    assert max(one.refused for one in found) <= 0.05


def test_a_limit_of_looks_alone_is_not_taken_for_chance():
    """However many creates get through beside them, and however few looks are allowed."""
    found = [verdict_of(scenario).refused for scenario in draw("looks/s alone", SEED, 12)]
    assert statistics.median(found) <= 0.02
    assert max(found) <= 0.05


def test_a_storm_in_the_first_seconds_does_not_leave_an_account_unused():
    """It looks like a count by the minute, is tried for one, and found out within two minutes."""
    rate = ((0.0, 20.0), (5.0, 0.0), (65.0, 20.0))
    seen = Simulation(Scenario(name="early", rate=rate, followed=60, interval=1.0, until=400.0)).run()
    assert seen.count(260, 400) >= 0.9 * 20 * 140
    assert seen.count(65, 400, refused=True) <= 0.02 * seen.count(65, 400)


def test_several_processes_share_an_account():
    """Limiters that know nothing of each other use it nearly whole, and none is left with a crumb."""
    found = verdicts("several processes")
    assert min(one.share for one in found) >= 0.9
    assert min(one.fair for one in found) >= 0.2
    assert statistics.median(one.fair for one in found) >= 0.5


@pytest.mark.parametrize(
    ("family", "usual"),
    [
        ("refused by chance", 5),
        ("refused by chance, Retry-After 1 s", 20),
        ("creates refused by chance", 5),
        ("creates refused by chance, Retry-After 1 s", 5),
    ],
)
def test_refusals_by_chance_do_not_slow_it_for_good(family, usual):
    """Up to a third of the requests, whatever goes: all is done, and mostly soon; it waits where it is asked to."""
    found = verdicts(family)
    assert not any(one.unfinished for one in found)
    assert statistics.median(one.slower for one in found) <= usual


def test_an_outage_is_survived():
    """Ten minutes without a usable answer: everything finishes, for few more requests."""
    for scenario in draw("outage of 10 min", SEED, 3):
        plain = Simulation(attrs.evolve(scenario, outage=(math.inf, math.inf))).run()
        verdict = judge(scenario, Simulation(scenario).run(), plain=plain)
        assert verdict.unfinished == 0
        assert verdict.requests <= 1.1


def test_ten_thousand_ids_due_at_once_go_at_the_known_pace():
    """However many wait, what is allowed is used, nobody starves, and nothing is refused twice for it."""
    scenario = Scenario(
        name="a crowd", rate=((0.0, 200.0),), followed=10_000, interval=1.0, latency=(0.05, 0.2, 0.2), until=60.0
    )
    seen = Simulation(scenario).run()
    assert seen.count(30, 60) >= 0.95 * 200 * 30
    assert seen.count(30, 60, refused=True) <= 0.02 * seen.count(30, 60)


def test_the_command_prints_what_it_writes(tmp_path):
    """One table for this limiter and one for each of the others, and the same in JSON."""
    told = tmp_path / "told.json"
    words = ("--draws", "1", "--compare", "1", "--family", "running tasks", "--json", str(told))
    line = [sys.executable, str(BENCHMARKS / "limits.py"), *words]
    printed = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    rows = json.loads(told.read_text("utf-8"))["rows"]
    assert len(rows) == 3
    assert printed.count("running tasks ") == 3
    assert all(row["client"] in printed for row in rows)
