"""Families of accounts with hidden limits, drawn by a seed, and what is asked of whoever runs behind them. Pure."""

import math
import random
from collections.abc import Callable, Iterator

import attrs
from account import Changing, Scenario, Seen, over

WARM = 30
"""Seconds until a rate must have been found."""
RESERVE = 10
"""Requests of an outage that are not counted: what repeats may draw on at any time."""
SLOWER = 10.0
"""How many times as long it may take where some are refused by chance: nobody can tell those from a limit at once."""
AFTER = 300
"""Seconds, after somebody else has let go of an account, in which most of it must be used again."""
SOON = 20
"""Seconds in which a changed rate must have been found."""


@attrs.frozen(kw_only=True)
class Verdict:
    """How a run went; None for what does not apply.

    Args:
        share: Let in, of what was allowed, in the worst window of 30 s.
        refused: Refused part of the requests after the first 30 s.
        running: Mean running of what was allowed, from two task times on.
        refused_creates: Refused creates per task time then, or per fiftieth of the creates where that is more.
        adapted: Seconds (rate) or task times (running) until a changed limit was used to nine tenths.
        fair: The smallest client's part of what its fair share is.
        requests: Requests, but for RESERVE, against the same run without an outage.
        slower: Time until all is done, against the same run in which nothing is refused by chance.
        unfinished: Tasks that did not finish in time.
        good: Whether all that was asked holds.
    """

    share: float | None = None
    refused: float | None = None
    running: float | None = None
    refused_creates: float | None = None
    adapted: float | None = None
    fair: float | None = None
    requests: float | None = None
    slower: float | None = None
    unfinished: int = 0
    good: bool = False


# --- drawing ---------------------------------------------------------------------------------------------------------


def between(rng: random.Random, low: float, high: float) -> float:
    """Drawn evenly on a logarithmic scale."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def rate(rng: random.Random, *, retry_after: float | None = None, factor: float | None = None) -> Scenario:
    """Ids looked at more often than a hidden rate allows; it may change at some moment."""
    allowed = round(between(rng, 5, 500))
    style = rng.choice(["bucket", "bucket", "fixed", "sliding"])
    changes: Changing = ((0.0, allowed),)
    if factor is not None:
        changes += ((rng.uniform(60, 75), allowed * factor),)
    most = max(value for _, value in changes)
    return Scenario(
        name=f"{style}, {allowed}/s",
        rate=changes,
        style=style,
        burst=between(rng, 0.2, 5.0),
        retry_after=retry_after,
        latency=(min(between(rng, 0.02, 0.2), 24.0 / most), 0.2, 0.2),  # 64 connections must do
        followed=int(2.2 * most) + 8,
        interval=1.0,
        until=150.0,
        seed=rng.randrange(1 << 30),
    )


def far_away(rng: random.Random) -> Scenario:
    """The same at the other end of the world: all that an answer takes is the way, also of a refusal."""
    scenario = rate(rng)
    way, allowed = between(rng, 0.1, 0.4), scenario.rate[0][1]
    allowed = min(allowed, int(24.0 / way))  # 64 connections must do
    return attrs.evolve(
        scenario,
        name=f"{scenario.style}, {allowed}/s, {1e3 * way:.0f} ms away",
        rate=((0.0, allowed),),
        followed=int(2.2 * allowed) + 8,
        latency=(way, 0.03, 1.0),
    )


def squeezed(rng: random.Random) -> Scenario:
    """Somebody else takes a known account, all of it or nearly, for a minute or two."""
    scenario = rate(rng)
    allowed, begins, lasts = scenario.rate[0][1], rng.uniform(5, 240), between(rng, 30, 120)
    left = allowed * between(rng, 0.002, 0.1)
    return attrs.evolve(
        scenario,
        name=f"{scenario.name}, {left:.2f}/s from {begins:.0f} s for {lasts:.0f} s",
        rate=((0.0, allowed), (begins, left), (begins + lasts, allowed)),
        until=begins + lasts + AFTER,
    )


def looks_alone(rng: random.Random) -> Scenario:
    """Few looks a second, and as many creates as one likes: those tell nothing of these."""
    allowed = between(rng, 0.5, 5)
    return Scenario(
        name=f"{allowed:.1f} looks/s",
        rate=((0.0, allowed),),
        shared=False,
        burst=between(rng, 0.2, 5.0),
        latency=(between(rng, 0.02, 0.2), 0.2, 0.2),
        tasks=(int(allowed * 900), between(rng, 30, 120), 0.35),
        until=900.0,
        seed=rng.randrange(1 << 30),
    )


def minutes(rng: random.Random, *, retry_after: float | None = None) -> Scenario:
    """So many requests a minute: all of them may go at once, and then nothing for the rest of it."""
    allowed = round(between(rng, 20, 3000))
    return Scenario(
        name=f"{allowed} a minute",
        rate=((0.0, allowed / 60.0),),
        window=60.0,
        style=rng.choice(["fixed", "sliding"]),
        retry_after=retry_after,
        latency=(between(rng, 0.05, 0.2), 0.2, 0.2),
        followed=int(2.2 * allowed / 6.0) + 8,
        interval=10.0,
        until=900.0,
        seed=rng.randrange(1 << 30),
    )


def concurrency(rng: random.Random, *, retry_after: float | None = None, factor: float | None = None) -> Scenario:
    """The same with a hidden number of requests at once."""
    allowed = round(between(rng, 1 if factor is None else 4, 50 if factor is None else 30))
    took = between(rng, 0.05, 1.0)
    changes: Changing = ((0.0, allowed),)
    if factor is not None:
        changes += ((rng.uniform(60, 75), round(allowed * factor)),)
    return Scenario(
        name=f"{allowed} at once, {took:.2f} s each",
        concurrency=changes,
        retry_after=retry_after,
        latency=(took, 0.2, 0.0),
        followed=int(3 * max(value for _, value in changes) / took) + 10,
        interval=1.0,
        until=150.0,
        seed=rng.randrange(1 << 30),
    )


def running(
    rng: random.Random,
    *,
    seconds: tuple[float, float] = (20.0, 120.0),
    retry_after: float | None = None,
    factor: float | None = None,
) -> Scenario:
    """More tasks than a hidden number may run at once."""
    allowed = round(between(rng, 1 if factor is None else 4, 200 if factor is None else 100))
    median = between(rng, *seconds)
    changes: Changing = ((0.0, allowed),)
    if factor is not None:
        changes += ((6.3 * median, round(allowed * factor)),)
    return Scenario(
        name=f"{allowed} running, {median:.0f} s",
        running=changes,
        retry_after=retry_after,
        tasks=(int(max(value for _, value in changes) * 16 + 5), median, rng.choice([0.0, 0.35])),
        until=12 * median + 60,
        seed=rng.randrange(1 << 30),
    )


def both(rng: random.Random) -> Scenario:
    """A number of tasks, and a rate that creates and looks share: a tenth more than both need."""
    scenario = running(rng, seconds=(20.0, 60.0))
    count, median = scenario.running[0][1], scenario.tasks[1]
    allowed = max(4.0, round(1.1 * (count / (0.025 * median) + count / median)))
    return attrs.evolve(scenario, rate=((0.0, allowed),), name=f"{scenario.name}, {allowed:.0f}/s")


def apart(rng: random.Random) -> Scenario:
    """Creates per second counted apart, and requests at once."""
    allowed = between(rng, 5, 40)
    return Scenario(
        name=f"{allowed:.0f} creates/s, 8 at once",
        creates=((0.0, allowed),),
        concurrency=((0.0, 8),),
        style=rng.choice(["bucket", "fixed", "sliding"]),
        latency=(0.05, 0.2, 0.0),
        tasks=(int(allowed * 200), 40.0, 0.35),
        interval=20.0,
        until=150.0,
        seed=rng.randrange(1 << 30),
    )


def by_the_minute(rng: random.Random, *, retry_after: float | None = None) -> Scenario:
    """Creates a minute counted apart: nothing but time tells that from a number of running tasks."""
    allowed = round(between(rng, 3, 120))
    style = rng.choice(["bucket", "bucket", "fixed", "sliding"])
    burst = rng.choice([0.0, between(rng, 0.1, 1.0)])
    saved = f" of {max(round(burst * allowed), 1)}" if style == "bucket" else ""
    return Scenario(
        name=f"{allowed} creates a minute, {style}{saved}",
        creates=((0.0, allowed / 60.0),),
        window=60.0,
        style=style,
        burst=burst,
        retry_after=retry_after,
        latency=(between(rng, 0.1, 1.0), 0.2, 0.2),
        tasks=(int(allowed * 16), between(rng, 30, 180), 0.35),
        until=900.0,
        seed=rng.randrange(1 << 30),
    )


def outage(rng: random.Random) -> Scenario:
    """Ten minutes in which nothing answers as it should, in the middle of the work."""
    scenario = running(rng, seconds=(30.0, 120.0))
    begins = 4 * scenario.tasks[1]
    count = int(scenario.running[0][1] * 10)
    return attrs.evolve(
        scenario, tasks=(count, *scenario.tasks[1:]), outage=(begins, begins + 600.0), until=1e6, lag=0.1
    )


def by_chance(rng: random.Random, *, retry_after: float | None = None, of: str = "all") -> Scenario:
    """No limit at all, but some requests are refused, whatever goes; or some creates, for want of room."""
    chance, median = between(rng, 0.01, 0.3), between(rng, 20, 120)
    return Scenario(
        name=f"{chance:.1%} by chance, tasks of {median:.0f} s",
        chance=chance,
        chance_of=of,
        retry_after=retry_after,
        latency=(between(rng, 0.05, 0.3), 0.2, 0.2),
        tasks=(200, median, 0.35),
        until=20_000.0,
        seed=rng.randrange(1 << 30),
    )


def several(rng: random.Random) -> Scenario:
    """Two to four processes that know nothing of each other, the later ones joining later."""
    clients = rng.randint(2, 4)
    scenario = attrs.evolve(rate(rng), clients=clients, joins=rng.choice([0.0, 20.0]), until=360.0)
    allowed = max(scenario.rate[0][1], 20.0)
    return attrs.evolve(
        scenario, rate=((0.0, allowed),), followed=int(2.2 * allowed * clients), name=f"{clients} x {scenario.name}"
    )


FAMILIES: dict[str, Callable[[random.Random], Scenario]] = {
    "rate": rate,
    "rate, far away": far_away,
    "rate, Retry-After 1 s": lambda rng: rate(rng, retry_after=1.0),
    "rate halves": lambda rng: rate(rng, factor=0.5),
    "rate doubles": lambda rng: rate(rng, factor=2.0),
    "rate doubles, Retry-After 1 s": lambda rng: rate(rng, retry_after=1.0, factor=2.0),
    "rate squeezed for a minute or two": squeezed,
    "looks/s alone": looks_alone,
    "requests a minute": minutes,
    "requests a minute, Retry-After 5 s": lambda rng: minutes(rng, retry_after=5.0),
    "requests at once": concurrency,
    "requests at once, Retry-After 1 s": lambda rng: concurrency(rng, retry_after=1.0),
    "requests at once, told by closing": lambda rng: attrs.evolve(concurrency(rng), closes=True),
    "requests at once halve": lambda rng: concurrency(rng, factor=0.5),
    "requests at once double": lambda rng: concurrency(rng, factor=2.0),
    "running tasks": running,
    "running tasks, Retry-After 1 s": lambda rng: running(rng, retry_after=1.0),
    "running tasks, Retry-After 20 s": lambda rng: running(rng, seconds=(60.0, 180.0), retry_after=20.0),
    "running tasks of 3-20 s": lambda rng: running(rng, seconds=(3.0, 20.0)),
    "running tasks halve": lambda rng: running(rng, factor=0.5),
    "running tasks double": lambda rng: running(rng, factor=2.0),
    "rate and running tasks": both,
    "creates/s and requests at once": apart,
    "creates a minute": by_the_minute,
    "creates a minute, Retry-After 5 s": lambda rng: by_the_minute(rng, retry_after=5.0),
    "outage of 10 min": outage,
    "several processes": several,
    "refused by chance": by_chance,
    "refused by chance, Retry-After 1 s": lambda rng: by_chance(rng, retry_after=1.0),
    "creates refused by chance": lambda rng: by_chance(rng, of="creates"),
    "creates refused by chance, Retry-After 1 s": lambda rng: by_chance(rng, of="creates", retry_after=1.0),
}


def draw(family: str, seed: int, count: int) -> Iterator[Scenario]:
    """So many scenarios of a family."""
    for i in range(count):
        yield attrs.evolve(FAMILIES[family](random.Random(f"{family}/{seed}/{i}")), family=family)


# --- judging ---------------------------------------------------------------------------------------------------------


def allowance(scenario: Scenario) -> Callable[[float, float], float]:
    """How many requests may be let in between two moments."""
    if scenario.rate:
        return lambda start, end: over(scenario.rate, start, end)
    if scenario.concurrency and not scenario.creates:
        median, sigma, way = scenario.latency
        serving = median * math.exp(sigma * sigma / 2.0) * (1.0 - way)
        return lambda start, end: over(scenario.concurrency, start, end) / serving
    return lambda start, end: over(scenario.creates, start, end)


def judge(scenario: Scenario, seen: Seen, *, plain: Seen | None = None) -> Verdict:
    """What is asked of the run, and whether it holds.

    Args:
        scenario: What was run.
        seen: What the account saw.
        plain: The same without its outage, and with nothing refused by chance.
    """
    left = scenario.tasks[0] + scenario.followed - seen.finished
    if plain is not None and scenario.chance:
        slower = seen.ended / plain.ended
        return Verdict(slower=slower, unfinished=left, good=slower <= SLOWER and not left)
    if plain is not None:
        ratio = (seen.sent - RESERVE) / plain.sent
        return Verdict(requests=ratio, unfinished=left, good=ratio <= 1.1 and not left)
    if scenario.running:
        return _judge_running(scenario, seen)
    if scenario.clients > 1:
        return _judge_shares(scenario, seen)
    if not scenario.shared:
        return _judge_looks(scenario, seen)
    if scenario.rate[2:]:
        return _judge_squeezed(scenario, seen)
    if scenario.window > 1.0:
        return _judge_minutes(scenario, seen)
    return _judge_rate(scenario, seen)


def _judge_rate(scenario: Scenario, seen: Seen) -> Verdict:
    allowed, end = allowance(scenario), int(scenario.until)
    refused = seen.count(WARM, end, refused=True)
    part = refused / max(refused + seen.count(WARM, end), 1)
    changes = (scenario.rate or scenario.concurrency)[1:]
    if changes:
        begins = int(changes[0][0]) + 1
        share = seen.count(begins + SOON, begins + SOON + 30) / allowed(begins + SOON, begins + SOON + 30)
        spans = range(begins, end - 5)
        adapted = next((at - begins for at in spans if seen.count(at, at + 5) >= 0.9 * allowed(at, at + 5)), math.inf)
        return Verdict(share=share, refused=part, adapted=adapted, good=share >= 0.9 and part <= 0.05)
    count = seen.count_creates if scenario.creates else seen.count
    share = min(count(at, at + 30) / allowed(at, at + 30) for at in range(WARM, end - 29, 10))
    return Verdict(share=share, refused=part, good=share >= 0.95 and part <= 0.02)


def _judge_squeezed(scenario: Scenario, seen: Seen) -> Verdict:
    """From when all of it may be used again."""
    allowed, begins = scenario.rate[2][1], math.ceil(scenario.rate[2][0])
    end = begins + AFTER
    let_in, refused = seen.count(begins, end), seen.count(begins, end, refused=True)
    share, part = let_in / (allowed * AFTER), refused / max(refused + let_in, 1)
    spans = range(begins, end - SOON)
    adapted = next((at - begins for at in spans if seen.count(at, at + SOON) >= 0.9 * SOON * allowed), math.inf)
    return Verdict(share=share, refused=part, adapted=adapted, good=share >= 0.7 and part <= 0.05)


def _judge_looks(scenario: Scenario, seen: Seen) -> Verdict:
    """From the third minute on; creates, of which none is refused, take part of one pace."""
    begins, end = 120, int(scenario.until)
    let_in, refused = seen.count(begins, end), seen.count(begins, end, refused=True)
    share = (let_in - seen.count_creates(begins, end)) / allowance(scenario)(begins, end)
    part = refused / (refused + let_in)
    return Verdict(share=share, refused=part, good=share >= 0.5 and part <= 0.05)


def _judge_minutes(scenario: Scenario, seen: Seen) -> Verdict:
    """From the third minute on, over all; of few requests a minute, two refused ones are more than a fiftieth."""
    begins, end = 120, int(scenario.until)
    let_in, refused = seen.count(begins, end), seen.count(begins, end, refused=True)
    if scenario.creates:
        let_in, refused = seen.count_creates(begins, end), sum(begins <= at < end for at in seen.refused_creates)
    share, part = let_in / allowance(scenario)(begins, end), refused / (refused + let_in)
    good = share >= 0.9 and (part <= 0.02 or refused <= 2.0 * (end - begins) / 60.0)
    return Verdict(share=share, refused=part, good=good)


def _judge_shares(scenario: Scenario, seen: Seen) -> Verdict:
    begins, end = 120, int(scenario.until)
    allowed = allowance(scenario)(begins, end)
    shares = [sum(bins.get(second, 0) for second in range(begins, end)) for bins in seen.by_client.values()]
    share, fair = sum(shares) / allowed, min(shares) * scenario.clients / sum(shares)
    refused = seen.count(begins, end, refused=True)
    part = refused / (refused + sum(shares))
    return Verdict(share=share, fair=fair, refused=part, good=share >= 0.9 and fair >= 1 / 3)


def _judge_running(scenario: Scenario, seen: Seen) -> Verdict:
    median = scenario.tasks[1]
    begins, end = 2 * median, min(12 * median + 60, seen.let_in_creates[-1])
    refused = sum(begins <= at < end for at in seen.refused_creates)
    may = max((end - begins) / median, 0.02 * sum(begins <= at < end for at in seen.let_in_creates))
    if scenario.running[1:]:
        changed = scenario.running[1][0]
        step = median / 10

        def part(start: float, stop: float) -> float:
            return seen.mean_running(start, stop) / (over(scenario.running, start, stop) / (stop - start))

        adapted = next(
            (i / 10 for i in range(50) if 0.9 <= part(changed + i * step, changed + (i + 1) * step) < 1.1), 9.9
        )
        share = part(changed + median, changed + 2 * median)
        good = share >= 0.9 and refused <= 2 * math.ceil(may)
        return Verdict(running=share, adapted=adapted, refused_creates=refused / may, good=good)
    share = seen.mean_running(begins, end) / (over(scenario.running, begins, end) / (end - begins))
    good = share >= 0.95 and refused <= math.ceil(may)
    return Verdict(running=share, refused_creates=refused / may, good=good)
