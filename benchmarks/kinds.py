"""Kinds of tasks to simulate: how long they take, what they report, and the best schedule for each.

A duration's distribution is known exactly, so that dynamic programming over look times gives the least that looks and
lag can cost, whoever looks.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

GRID = 2500
NEGLIGIBLE = 1e-4
Draw = Callable[[random.Random], float]
Survival = Callable[[float], float]
Progress = Callable[[float, float, random.Random], int | None]


class Shape(NamedTuple):
    """A distribution of durations: how to draw one, and the part that lasts longer than an age."""

    draw: Draw
    survival: Survival


class Kind(NamedTuple):
    """A kind of task. `later` is what its durations are in the second half of the run."""

    name: str
    shape: Shape
    later: Shape
    at_once: int


# --- distributions ---------------------------------------------------------------------------------------------


def lognormal(median: float, sigma: float) -> Shape:
    """Durations whose logarithm is normal; all the same for a sigma of 0."""

    def survival(age: float) -> float:
        return 0.5 * math.erfc(math.log(age / median) / sigma / math.sqrt(2.0)) if age > 0.0 else 1.0

    return Shape(lambda rng: median * math.exp(sigma * rng.gauss(0.0, 1.0)), survival)


def humps(first: float, second: float, part: float) -> Shape:
    """Two narrow lognormal humps."""
    one, other = lognormal(first, 0.1), lognormal(second, 0.1)
    return Shape(
        lambda rng: (one if rng.random() < part else other).draw(rng),
        lambda age: part * one.survival(age) + (1.0 - part) * other.survival(age),
    )


def gamma(mean: float, stages: int) -> Shape:
    """So many exponential stages one after the other."""

    def survival(age: float) -> float:
        passed = age * stages / mean
        return sum(math.exp(-passed + k * math.log(passed) - math.lgamma(k + 1)) for k in range(stages)) if age else 1.0

    return Shape(lambda rng: rng.gammavariate(stages, mean / stages), survival)


def weibull(scale: float, shape: float) -> Shape:
    """Heavy-tailed for a shape below 1."""
    return Shape(lambda rng: rng.weibullvariate(scale, shape), lambda age: math.exp(-((age / scale) ** shape)))


def drawn(rng: random.Random) -> Iterator[Kind]:
    """Kinds of the family, each sort in turn."""
    while True:
        scale = 5.0 * 180.0 ** rng.random()
        sigma, ratio, part = rng.uniform(0.1, 1.0), rng.uniform(2.0, 4.0), rng.uniform(0.3, 0.7)
        yield steady(f"lognormal {scale:.0f} s, {sigma:.2f}", lognormal(scale, sigma), rng)
        scale = 5.0 * 180.0 ** rng.random()
        yield steady(f"humps {scale:.0f} and {scale * ratio:.0f} s", humps(scale, scale * ratio, part), rng)
        scale, stages = 5.0 * 180.0 ** rng.random(), rng.randint(2, 16)
        yield steady(f"gamma {scale:.0f} s, {stages}", gamma(scale, stages), rng)
        scale, bent = 5.0 * 180.0 ** rng.random(), rng.uniform(0.6, 1.0)
        yield steady(f"weibull {scale:.0f} s, {bent:.2f}", weibull(scale, bent), rng)
        scale, bent = 5.0 * 180.0 ** rng.random(), rng.uniform(1.0, 4.0)
        yield steady(f"weibull {scale:.0f} s, {bent:.2f}", weibull(scale, bent), rng)
        scale, sigma = 5.0 * 60.0 ** rng.random(), rng.uniform(0.1, 0.5)
        slow = Kind("", lognormal(scale, sigma), lognormal(3.0 * scale, sigma), rng.randint(50, 200))
        yield slow._replace(name=f"slowing {scale:.0f} to {3 * scale:.0f} s, {sigma:.2f}")


def steady(name: str, shape: Shape, rng: random.Random) -> Kind:
    """A kind that stays as it is."""
    return Kind(name, shape, shape, rng.randint(50, 200))


def known_cases() -> list[Kind]:
    """The kinds that the figures to reach are about."""
    return [
        Kind("lognormal 90 s, 0.35", lognormal(90.0, 0.35), lognormal(90.0, 0.35), 100),
        Kind("lognormal 90 s, 0.15", lognormal(90.0, 0.15), lognormal(90.0, 0.15), 100),
        Kind("humps 60 and 180 s", humps(60.0, 180.0, 0.5), humps(60.0, 180.0, 0.5), 100),
        Kind("slowing 90 to 270 s, 0.35", lognormal(90.0, 0.35), lognormal(270.0, 0.35), 100),
    ]


def mean_of(shape: Shape) -> float:
    """Mean duration."""
    rng = random.Random(7)
    return statistics.fmean(shape.draw(rng) for _ in range(4000))


# --- the best that can be --------------------------------------------------------------------------------------


def optimum(shape: Shape, price: float) -> tuple[float, float]:
    """Looks and lag of the best schedule for a known distribution.

    Dynamic programming from the last grid age down: the cost of going on from an age is that of the best next look,
    weighted by the part still running. Of two ages the later never has the earlier best next look, which bounds the
    search.
    """
    top = 1.0
    while shape.survival(top) > NEGLIGIBLE:
        top *= 1.05
    ages = [top * (number / GRID) ** 2 for number in range(GRID + 1)]
    alive = [shape.survival(age) for age in ages]
    area = [0.0]
    for number in range(GRID):
        mean = 0.5 * (alive[number] + alive[number + 1])
        area.append(area[-1] + mean * (ages[number + 1] - ages[number]))
    cost, following = [0.0] * (GRID + 1), [GRID] * (GRID + 1)
    for here in range(GRID - 1, -1, -1):
        reachable = range(here + 1, following[min(here + 1, GRID - 1)] + 1)
        value, following[here] = min(
            (alive[here] * (ages[there] - ages[here]) - area[there] + cost[there], there) for there in reachable
        )
        cost[here] = value + area[here] + price * alive[here]
    looks, lag, here = 0.0, 0.0, 0
    while here < GRID:
        there = following[here]
        looks += alive[here]
        lag += alive[here] * (ages[there] - ages[here]) - (area[there] - area[here])
        here = there
    return looks, lag


# --- progress --------------------------------------------------------------------------------------------------


def none(_age: float, _duration: float, _rng: random.Random) -> int | None:
    """A gateway that reports none."""
    return None


def honest(bent: float) -> Progress:
    """Whole per cent, somewhat bent, with noise."""
    return lambda age, duration, rng: max(0, min(99, int(100.0 * (age / duration) ** bent + rng.gauss(0.0, 1.0))))


def at_99(age: float, _duration: float, _rng: random.Random) -> int | None:
    """Jumps to 99 and stays."""
    return 99 if age > 1.0 else 0


def at_random(_age: float, _duration: float, rng: random.Random) -> int | None:
    """Anything."""
    return rng.randrange(100)


def downward(age: float, _duration: float, _rng: random.Random) -> int | None:
    """Goes down, at a pace that has nothing to do with the end."""
    return max(1, 95 - int(age / 2.0))


def stalled(age: float, duration: float, _rng: random.Random) -> int | None:
    """Honest up to a level that has nothing to do with the rest, where it stays until the end."""
    return min(int(100.0 * age / duration), 10 + int(duration * 1000.0) % 70)


LIARS = (at_99, at_random, downward)
