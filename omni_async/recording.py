"""`OmniClient(record=DIR)`: each new exchange with the gateway becomes a scrubbed sample that the emulator replays.

Nothing of it is in the way of a call: what was exchanged is put into a queue, and a thread does the rest.
"""

import json
import logging
import os
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .dialects import Call, CallKind, Reply
from .disk import PRIVATE, in_thread
from .errors import AnswerLostError
from .scrubbing import Scrubber, Taken
from .transport import Moved, Transport

logger = logging.getLogger("omni_async")

MOST = 10_000
"""Exchanges of one recorder; a look that shows what the one before showed counts, and makes no sample."""
QUEUED = 1_000
"""Exchanges that wait for a slow disk at most; more are passed over."""
LAST = 5.0
"""Seconds that closing waits for the disk."""


class Recorder:
    """Writes samples into a folder, one JSON file an exchange, readable by their owner alone.

    It never fails a call: what goes wrong is logged once. Of looks at a task only those with news are written.

    Args:
        folder: Where they go, a folder for each gateway; made if it is not there.
        prompts: Whether prompts and references are kept as they are; else stand-ins are written.
        now: Wall time, aware.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        prompts: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.folder = Path(folder)
        self._scrubber = Scrubber(prompts=prompts)
        self._now = now
        self._left = MOST
        self._number = 0
        self._shown: dict[str, str] = {}
        self._queue: queue.SimpleQueue[Taken | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._complained = False

    def take(self, gateway: str, call: Call, reply: Reply | None) -> None:
        """Have an exchange written; returns at once and never raises."""
        try:
            if self._left > 0:
                self._left -= 1
                if (waiting := self._begin()).qsize() >= QUEUED:
                    raise BlockingIOError
                waiting.put(Taken(gateway=gateway, call=call, reply=reply, at=self._now()))
        except Exception as error:  # a recording must not cost a paid id
            self._complain(error)

    async def aclose(self) -> None:
        """Wait for what was taken to be on disk, for some seconds at most."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await in_thread(thread.join, LAST)

    def _begin(self) -> "queue.SimpleQueue[Taken | None]":
        """The queue, and at its other end a thread, which a disk that hangs must not let outlive the program."""
        if self._thread is None:
            self._queue = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=self._work, args=(self._queue,), name="omni-async-recorder", daemon=True
            )
            self._thread.start()
        return self._queue

    def _work(self, taken: "queue.SimpleQueue[Taken | None]") -> None:
        while (exchange := taken.get()) is not None:
            try:
                self._keep(exchange)
            except Exception as error:
                self._complain(error)

    def _keep(self, taken: Taken) -> None:
        sample = self._scrubber.sample(taken)
        if taken.call.kind is CallKind.QUERY:
            seen = json.dumps([sample["meta"]["status"], sample["answer"]])
            if self._shown.get(taken.call.path) == seen:
                return
            self._shown[taken.call.path] = seen
        text = json.dumps(sample, ensure_ascii=True, indent=1)
        folder = self.folder / taken.gateway
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(self._next(folder, taken.call.kind), "w", encoding="utf-8") as file:
            file.write(text + "\n")

    def _next(self, folder: Path, kind: CallKind) -> int:
        """The descriptor of a new file, numbered after those that are there: other runs may write beside this one."""
        if self._number == 0:
            numbers = [name.name.partition("-")[0] for name in folder.parent.glob("*/*.json")]
            self._number = max([int(number) for number in numbers if number.isdigit()], default=0)
        while True:
            self._number += 1
            try:
                return os.open(
                    folder / f"{self._number:06d}-{kind}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE
                )
            except FileExistsError:
                continue

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("recording into %s failed (%s); calls are not affected", self.folder, type(error).__name__)


class RecordingTransport(Transport):
    """A transport whose exchanges a recorder is shown.

    Args:
        recorder: Writes them.
        settings: As of `Transport`.
    """

    def __init__(self, recorder: Recorder, **settings: Any) -> None:
        super().__init__(**settings)
        self._recorder = recorder

    async def send(
        self,
        call: Call,
        *,
        data: Callable[[Moved], Any] | None = None,
        resend: Callable[[], bool] | None = None,
        last: bool = False,
    ) -> Reply:
        """As of `Transport`; what surely was never sent is not an exchange."""
        try:
            reply = await super().send(call, data=data, resend=resend, last=last)
        except AnswerLostError:
            self._recorder.take(self._dialect.name, call, None)
            raise
        self._recorder.take(self._dialect.name, call, reply)
        return reply

    async def aclose(self) -> None:
        """As of `Transport`; then what was exchanged is on disk."""
        await super().aclose()
        await self._recorder.aclose()
