"""Who is to blame for a refusal: exactly one of the limiter's three small controllers, or nobody yet.

*Pace* is requests per second, *Window* requests in flight, *Slots* tasks running at the gateway. What an account allows
is nowhere documented, so each starts carefully, grows while it is used, and is cut by a refusal that is its fault.
"""

import enum
import math
from typing import NamedTuple


class Controller(enum.StrEnum):
    """Who adjusts to a refusal."""

    PACE = "pace"
    WINDOW = "window"
    SLOTS = "slots"
    TRIAL = "trial"
    """Nobody yet; it is settled by experiment."""


class Evidence(NamedTuple):
    """What is known when a request was refused for now.

    Args:
        create: Whether it was a create.
        named: The limit that the gateway's words name, if they do.
        in_flight: Requests in flight when it was sent, itself included.
        safe_in_flight: The most in flight that lately got through.
        first: Whether no limit was met before, and nothing tells when to go on.
        slots_known: Whether the number of tasks the account runs has been found before.
        at_cap: Whether as many run as were running when a create was refused before.
        trials: Refusals of this experiment so far, this one included.
        seconds: Since its first.
        finished: Tasks of ours seen finished since it began.
        polls_refused: Whether polls were refused since it began.
        running: Our tasks running.
        by_chance: Whether so many refusals may be those that come whatever goes.
    """

    create: bool
    named: Controller | None = None
    in_flight: int = 1
    safe_in_flight: int = 1
    first: bool = False
    slots_known: bool = False
    at_cap: bool = False
    trials: int = 1
    seconds: float = math.inf
    finished: int = 0
    polls_refused: bool = False
    running: int = 0
    by_chance: bool = False


LADDER = 4
"""Refusals of one create, 1, 2 and 4 s apart, after which it is no matter of pace (seed: 1/2/4 s)."""
LONG_LADDER = 70.0
"""Seconds of refusals after which it is none either where tasks run: accounts that count creates by the minute let in
none for that long."""
SHORT_LADDER = 2
"""The same once the account's number of running tasks is known."""


def attribute(evidence: Evidence) -> Controller:
    """The one controller that a refusal adjusts.

    A refused query is the pace, or the window if more were in flight than lately got through; the first of all is the
    pace if no two ever got through at once, since those are two in quick succession too, and a window of one never
    learns better. A refused create is ambiguous: it stays on trial until the ladder is through, and is then a matter
    of slots if tasks of ours run, none finished and polls get through. `TRIAL` after the ladder means that nothing was
    found to blame.
    """
    if not evidence.create:
        if evidence.named in (Controller.PACE, Controller.WINDOW):
            return evidence.named
        in_succession = evidence.first and evidence.safe_in_flight == 1
        too_many = evidence.in_flight > evidence.safe_in_flight and not in_succession
        return Controller.WINDOW if too_many else Controller.PACE
    if evidence.named is Controller.PACE:
        return Controller.PACE
    if not evidence.running or evidence.by_chance:
        return Controller.TRIAL
    if evidence.at_cap or evidence.named in (Controller.SLOTS, Controller.WINDOW):
        return Controller.SLOTS
    rungs = SHORT_LADDER if evidence.slots_known else LADDER
    long = evidence.slots_known or evidence.seconds >= LONG_LADDER
    through = long and evidence.trials >= rungs and not evidence.polls_refused and not evidence.finished
    return Controller.SLOTS if through else Controller.TRIAL
