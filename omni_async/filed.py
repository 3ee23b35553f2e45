"""The rows of `generate_many`: each checked, with a file of its own, paid, and stored."""

from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import attrs

from .bounded import Bounded
from .breaker import Breaker
from .errors import Fault, InvalidRequestError, OmniError, TaskFailedError
from .models import VideoRequest, VideoTask
from .safety import file_name, target_key

if TYPE_CHECKING:
    from .generate import Studio

PATIENCE = 600.0
"""Seconds a row of many goes on trying although the account allows nothing at all."""
REMEMBERED = 100_000
"""File names of one run that are remembered; those before them are found on the disk."""


class Names:
    """The files of one run's rows: two ids may come to one name, on some systems even if they differ by capitals.

    Args:
        journalled: Whether an id that comes again gives the task that it has.
    """

    def __init__(self, *, journalled: bool) -> None:
        self._journalled = journalled
        self._owners: Bounded[str, str] = Bounded(REMEMBERED)

    def take(self, custom_id: str | None) -> None:
        """The row of this id is about to be paid; without an id its file is named after its task.

        Raises:
            InvalidRequestError: Its file is another row's.
        """
        if not custom_id:
            return
        owner = self._owners.get(_place(custom_id))
        if owner is not None and not (owner == custom_id and self._journalled):
            fault = Fault("custom_id", f"{custom_id!r} and {owner!r} of this run come to one file: give one another id")
            raise InvalidRequestError(str(fault), faults=(fault,))
        self._owners[_place(custom_id)] = custom_id

    def give_back(self, custom_id: str | None) -> None:
        """Nothing comes of this row: its name is free."""
        if custom_id and self._owners.get(_place(custom_id)) == custom_id:
            del self._owners[_place(custom_id)]


def _place(custom_id: str) -> str:
    return target_key(file_name(custom_id))


@attrs.frozen(kw_only=True, eq=False)
class Rows:
    """The rows of one run.

    Args:
        studio: Pays and stores.
        folder: Where the videos go; None stores none.
        overwrite: Whether existing files are replaced.
        names: The files' names that are taken.
        breaker: Of the run.
    """

    studio: "Studio"
    folder: Path | None
    overwrite: bool
    names: Names
    breaker: Breaker = attrs.field(factory=Breaker)

    def request(self, item: Any) -> VideoRequest:
        """What is asked for by an item of the caller's."""
        self.studio.life.enter()
        return VideoRequest.of(item, {})

    async def submit(self, asked: VideoRequest, on_leave: Callable[[], None]) -> VideoTask:
        """Pay for a row, unless its file cannot be made or is another row's; see `Studio.submit`."""
        await self.studio.refuse(asked)
        if self.folder is not None:
            target = self.folder / file_name(asked.custom_id or token_hex(8))
            await self.studio.refuse_existing(target, asked, overwrite=self.overwrite)
            async with self.studio.nothing_sent(asked):
                self.names.take(asked.custom_id)
        try:
            return await self.studio.submit(asked, patience=PATIENCE, breaker=self.breaker, on_leave=on_leave)
        except OmniError as error:
            if not error.may_have_charged:
                self.names.give_back(asked.custom_id)
            raise

    def finished(self, task: VideoTask) -> VideoTask:
        """A finished task with a video; TaskFailedError for one without, whose name another may have."""
        try:
            return self.studio.finished(task)
        except TaskFailedError:
            self.names.give_back(task.custom_id)
            raise

    async def store(self, task: VideoTask, asked: VideoRequest) -> Path:
        """Bring a row's video to its file; that its server fails is told at once: others wait."""
        target = (self.folder or Path()) / file_name(asked.custom_id or task.task_id)
        return await self.studio.download(task, target, overwrite=self.overwrite, patience=None)
