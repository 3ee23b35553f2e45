"""What is done with a request once it is let in: tasks made and shown, files and balances given out."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from aiohttp import web

from . import files
from .clock import Clock
from .faults import DISTURBANCES, FATES, SIGHTS, FaultBook, Strike
from .gateway import Gateway, Site
from .jimmy import Jimmy
from .ledger import Charge, Ledger
from .response import Response
from .scenario import InjectedFault, Scenario
from .tasks import Order, Task, TaskBook
from .toapis import GeminiOmni, Toapis
from .uploads import Upload, UploadShelf

GATEWAYS: dict[str, Gateway] = {gateway.name: gateway for gateway in (Jimmy(), GeminiOmni(), Toapis())}


@attrs.define(eq=False)
class Call:
    """A request being served. `body` is the decoded JSON; `bad` says that there was none to decode."""

    request: web.Request
    kind: str
    gateway: Gateway
    now: float
    site: Site
    body: Any = None
    bad: bool = False
    task: Task | None = None
    upload: Upload | None = None
    detail: str = ""
    faults: list[InjectedFault] = attrs.field(factory=list)

    @property
    def prompt(self) -> str | None:
        """The prompt of the task concerned, if there is one."""
        if self.task is not None:
            return self.task.order.prompt
        body = self.body if isinstance(self.body, dict) else {}
        body = body["input"] if isinstance(body.get("input"), dict) else body
        return body.get("prompt") if isinstance(body.get("prompt"), str) else None


class Desk:
    """The account behind all three gateways: one balance, one book of tasks."""

    def __init__(self, scenario: Scenario, clock: Clock, ledger: Ledger) -> None:
        self.scenario = scenario
        self.ledger = ledger
        self.tasks = TaskBook(scenario.seed, clock)
        self.shelf = UploadShelf()
        self.on_finish: Callable[[Task, Scenario], None] | None = None
        self._faults = FaultBook(scenario.seed)
        self._doors: Mapping[str, Callable[[Call], Response]] = {
            "create": self._create,
            "query": self._query,
            "upload": self._upload,
            "balance": self._balance,
            "file": self._file,
        }

    def serve(self, call: Call) -> Response:
        """The answer to a request that passed key and limits, faults included."""
        fault = self._disturbance(call)
        if fault is None:
            return self._doors[call.kind](call)
        if fault.kind == "rate_limited":
            return self.limited(call, "fault", fault.seconds)
        if fault.kind == "expired_url":
            return self._expire(call)
        if call.kind == "create" and not fault.charged:
            return DISTURBANCES[fault.kind](Strike(fault, call.gateway, None))
        answer = self._doors[call.kind](call)
        if call.kind == "create" and answer.task_id is None:
            return answer  # refused, so there is no accepted answer to disturb
        return DISTURBANCES[fault.kind](Strike(fault, call.gateway, answer))

    def limited(self, call: Call, limit: str, seconds: float | None = None) -> Response:
        """The refusal by a limit, written down."""
        self.ledger.refuse(call.kind, limit)
        after = self.scenario.retry_after if seconds is None else seconds
        headers = {} if after is None else {"Retry-After": _seconds(after)}
        message = call.gateway.limit_message(limit, self.scenario)
        return call.gateway.limited(message, hidden=self.scenario.limits_in_200, headers=headers)

    def _striking(self, call: Call) -> list[InjectedFault]:
        if not self.scenario.faults:
            return []
        name = call.gateway.name if call.task is None else call.task.order.gateway
        return list(self._faults.striking(self.scenario, call.kind, name, call.prompt, call.task, call.now))

    def _disturbance(self, call: Call) -> InjectedFault | None:
        """The first striking fault that changes the whole answer; the others are kept for the task itself."""
        call.faults = self._striking(call)
        for fault in call.faults:
            if fault.kind not in FATES and fault.kind not in SIGHTS:
                return fault
        return None

    def _create(self, call: Call) -> Response:
        gateway, scenario = call.gateway, self.scenario
        if call.bad:
            return gateway.invalid("the request body is not a JSON object")
        order = gateway.read(call.body, scenario)
        if isinstance(order, Response):
            return order
        earlier = self.tasks.replayed(order)
        if earlier is not None:
            return gateway.created(earlier, self.tasks.look(earlier, call.now, scenario), call.site)
        if scenario.running_tasks is not None and self.ledger.running_now >= scenario.running_tasks:
            return self.limited(call, "running_tasks")
        if scenario.balance is not None and self.ledger.spent + scenario.price > scenario.balance:
            return gateway.poor()
        task = self._accept(order, call)
        return gateway.created(task, self.tasks.look(task, call.now, scenario), call.site)

    def _accept(self, order: Order, call: Call) -> Task:
        task = self.tasks.draft(order, call.now, self.scenario)
        for fault in call.faults:
            if fault.kind in FATES:
                FATES[fault.kind](task, call.gateway)
        self.tasks.accept(task)
        self.ledger.charge(_charge(task, self.scenario.price), task.ends)
        if order.callback_url is not None and self.on_finish is not None:
            self.on_finish(task, self.scenario)
        return task

    def _query(self, call: Call) -> Response:
        task = call.task
        if task is None:
            return call.gateway.unknown_task()
        look = self.tasks.look(task, call.now, self.scenario)
        for fault in call.faults:
            if fault.kind in SIGHTS:
                look = SIGHTS[fault.kind](look)
        return GATEWAYS[task.order.gateway].shown(task, look, call.site, self.scenario)

    def _balance(self, call: Call) -> Response:
        return call.gateway.balance(call.detail, self.ledger.spent, self.scenario.balance)

    def _upload(self, call: Call) -> Response:
        upload, gateway = call.upload, call.gateway
        if upload is None:
            return gateway.invalid("multipart form with one part named file expected")
        if upload.content is None:
            return gateway.too_large()
        if upload.extension not in gateway.upload_types:
            return gateway.wrong_type(upload.extension)
        path = self.shelf.put(upload.content, upload.extension)
        return gateway.uploaded(call.site.base + path, upload)

    def _file(self, call: Call) -> Response:
        task, query = call.task, call.request.query
        if task is None:
            return files.missing()
        if not self.tasks.may_fetch(task, query.get("expires", ""), query.get("signature", "")):
            return files.denied()
        data = files.video(task.order.ratio, task.order.seconds, self.scenario.video_bytes)
        return files.ranged(data, "video/mp4", call.request.headers)

    def _expire(self, call: Call) -> Response:
        """As if the signature had run out: this URL is dead from now on, the next query signs another."""
        if call.task is not None:
            call.task.generation += 1
        return files.denied()


def _seconds(after: float | str) -> str:
    """As a header: whole seconds without a fraction, texts as they are."""
    return str(int(after)) if isinstance(after, float) and after.is_integer() else str(after)


def _charge(task: Task, price: float) -> Charge:
    order = task.order
    return Charge(
        task_id=task.task_id,
        gateway=order.gateway,
        model=order.model,
        seconds=order.seconds,
        at=task.created,
        price=price,
        resolution=order.resolution,
        prompt=order.prompt,
        business_id=order.business_id,
    )
