"""Faults as small functions from what would have happened to what happens, by the stage they act at."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import attrs

from .gateway import Gateway
from .response import Response
from .scenario import InjectedFault, Scenario
from .tasks import CANCELED, FAILED, QUEUED, RUNNING, Look, Task

HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
HTML_200 = "<!DOCTYPE html><html><head><title>登录</title></head><body>请先登录</body></html>".encode()
UNKNOWN_WORD = "warming_up"
SLOW_SECONDS = 1.0


@attrs.frozen
class Strike:
    """A fault about to change the whole answer; `answer` is what it would have been, None for a create not accepted."""

    fault: InjectedFault
    gateway: Gateway
    answer: Response | None


def _fail(task: Task, gateway: Gateway) -> None:
    task.outcome, task.error = FAILED, gateway.failed


def _moderate(task: Task, gateway: Gateway) -> None:
    task.outcome, task.error = FAILED, gateway.moderated


def _cancel(task: Task, _: Gateway) -> None:
    task.outcome = CANCELED


def _never_end(task: Task, _: Gateway) -> None:
    task.ends = math.inf


def _unknown_word(look: Look) -> Look:
    return look if look.completed is not None else attrs.evolve(look, word=UNKNOWN_WORD)


def _backwards(look: Look) -> Look:
    if look.status == QUEUED:
        return look
    shown = None if look.progress is None else look.progress // 2
    return Look(QUEUED if look.status == RUNNING else RUNNING, shown)


def _without_url(look: Look) -> Look:
    return attrs.evolve(look, url=None, expires=None)


def _drop(_: Strike) -> Response:
    return Response(0, drop=True)


def _hang(strike: Strike) -> Response:
    if strike.fault.seconds is None:
        return Response(0, silence=math.inf)
    return attrs.evolve(strike.answer or Response(0, drop=True), silence=strike.fault.seconds)


def _html_502(_: Strike) -> Response:
    return Response(502, HTML_502, content_type="text/html")


def _html_200(_: Strike) -> Response:
    return Response(200, HTML_200, content_type="text/html")


def _broken(strike: Strike) -> Response:
    return strike.gateway.broken()


def _moderated(strike: Strike) -> Response:
    return strike.gateway.refused_by_moderation()


def _not_found(strike: Strike) -> Response:
    return strike.gateway.unknown_task()


def _truncate(strike: Strike) -> Response:
    """A well-formed HTTP answer whose JSON ends in the middle."""
    answer = strike.answer or strike.gateway.broken()
    return attrs.evolve(answer, body=answer.body[: len(answer.body) // 2])


def _drop_mid_answer(strike: Strike) -> Response:
    """Fewer bytes than Content-Length says, then the connection closes."""
    answer = strike.answer or strike.gateway.broken()
    return attrs.evolve(answer, cut=len(answer.body) // 2)


def _slow(strike: Strike) -> Response:
    seconds = SLOW_SECONDS if strike.fault.seconds is None else strike.fault.seconds
    return attrs.evolve(strike.answer or strike.gateway.broken(), drip=seconds)


def _without_id(strike: Strike) -> Response:
    answer = strike.answer or strike.gateway.broken()
    payload = strike.gateway.without_id(json.loads(answer.body))
    return attrs.evolve(answer, body=json.dumps(payload, ensure_ascii=False).encode())


Fate = Callable[[Task, Gateway], None]
Sight = Callable[[Look], Look]
Disturbance = Callable[[Strike], Response]

FATES: dict[str, Fate] = {
    "fail": _fail,
    "moderation": _moderate,
    "cancel": _cancel,
    "never_ends": _never_end,
}
SIGHTS: dict[str, Sight] = {
    "unknown_status": _unknown_word,
    "flapping": _backwards,
    "missing_url": _without_url,
}
# `rate_limited` is absent: the emulator refuses as by any other limit.
DISTURBANCES: dict[str, Disturbance] = {
    "drop_after_accept": _drop,
    "drop": _drop,
    "hang": _hang,
    "html_502": _html_502,
    "html_200": _html_200,
    "internal_error": _broken,
    "truncated_json": _truncate,
    "drop_mid_answer": _drop_mid_answer,
    "slow": _slow,
    "no_id": _without_id,
    "refuse_moderation": _moderated,
    "not_found_at_first": _not_found,
    "truncated_video": _drop_mid_answer,
    "html_video": _html_200,
}


class FaultBook:
    """Which faults strike a request; counts what each has matched so far."""

    def __init__(self, seed: int) -> None:
        self._matched: Counter[tuple[InjectedFault, str | None]] = Counter()
        self._random = Random(seed)

    def striking(
        self, scenario: Scenario, on: str, gateway: str, prompt: str | None, task: Task | None, now: float
    ) -> Iterator[InjectedFault]:
        """The faults that strike this request, in the scenario's order."""
        for fault in scenario.faults:
            concerned = fault.on == on and fault.gateway in (None, gateway) and _speaks_of(fault, prompt)
            if concerned and self._strikes(fault, task, now):
                yield fault

    def _strikes(self, fault: InjectedFault, task: Task | None, now: float) -> bool:
        if fault.kind == "not_found_at_first":
            return self._is_first(fault, task, now)
        if fault.kind == "expired_url" and task is not None and task.generation:
            return False  # only the first URL of a task is dead, the one a fresh query gives works
        self._matched[fault, None] += 1
        count = self._matched[fault, None]
        if fault.first is not None and count > fault.first:
            return False
        if fault.every is not None and count % fault.every:
            return False
        return fault.probability is None or self._random.random() < fault.probability

    def _is_first(self, fault: InjectedFault, task: Task | None, now: float) -> bool:
        if task is None:
            return False
        if fault.seconds is not None:
            return now < task.created + fault.seconds
        self._matched[fault, task.task_id] += 1
        return self._matched[fault, task.task_id] <= (1 if fault.first is None else fault.first)


def _speaks_of(fault: InjectedFault, prompt: str | None) -> bool:
    return fault.prompt is None or (prompt is not None and fault.prompt in prompt)
