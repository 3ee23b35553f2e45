"""`status` and `wait`: tasks that were submitted before, here or anywhere."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import attrs
import typer

from ..client import OmniClient
from ..errors import NotFoundError, OmniError
from ..events import Event, Retried
from ..models import VideoTask
from ..poller.followed import NOT_FOUND_GRACE
from ..safety import file_name
from . import options
from .board import BoardRow, BoardState
from .connect import Target, connected
from .exits import DONE, FAILED, UNCERTAIN, UsageError, code_of, worst
from .ledgers import note_stored, own_journal, own_path
from .leftover import unfinished
from .output import as_json
from .results import failure_document, outcome, task_document
from .running import run, run_plain
from .screen import Screen, Show

_HELP = "Task ids, as the gateway gave them"
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help=f"{_HELP}.")]
MaybeIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID...", help=f"{_HELP}; none goes on with what generate left unfinished."),
]


def status(
    ids: Ids,
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    json: options.Json = False,
) -> None:
    """Look at tasks once.

    A line each, in the order given: id, status, progress and, once there is
    one, the URL, separated by tabs. With --json one object for one id, a
    list for several. Exit code 0 if all could be looked up, whatever came
    of them.

    Examples:

      omni-async status task_0123456789
      omni-async status task_0123456789 task_9876543210 -g toapis --json
    """
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario)
    run_plain(lambda screen: _status(screen, target, ids), json=json)


async def _status(screen: Screen, target: Target, ids: list[str]) -> int:
    async with screen, connected(target) as client:
        found = await asyncio.gather(*(_looked_up(client, task_id) for task_id in ids))
    documents = []
    for task_id, look in zip(ids, found, strict=True):
        if isinstance(look, OmniError):
            screen.error(look)
            documents.append({"task_id": task_id, "error": failure_document(look)})
            continue
        documents.append(task_document(look))
        if not screen.show.json:
            progress = "" if look.progress is None else f"{look.progress}%"
            screen.result("\t".join((task_id, look.status, progress, look.video_url or "")).rstrip("\t"))
    if screen.show.json:
        screen.result(as_json(documents if len(ids) > 1 else documents[0]))
    return worst(code_of(look) if isinstance(look, OmniError) else DONE for look in found)


async def _looked_up(client: OmniClient, task_id: str) -> VideoTask | OmniError:
    try:
        return await client.query(task_id)
    except OmniError as error:
        return error


def wait(
    ids: MaybeIds = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="DIR", help="Store the videos there as ID.mp4; for one id also a file."),
    ] = None,
    timeout: options.Timeout = 1800.0,
    overwrite: options.Overwrite = False,
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    poll: options.Poll = None,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Wait for tasks and fetch their videos. Costs nothing, however often it is run.

    Stdout gets a line for each video as it finishes: its path with -o, else
    its URL; with --json an object a line. Videos that are in DIR already are
    not fetched again. Without ids it goes on with every generate that was
    interrupted, and stores each video where that was told to.

    Examples:

      omni-async wait
      omni-async wait task_0123456789 -o cat.mp4
      omni-async wait task_0123456789 task_9876543210 -o videos/
    """
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll)
    wanted = list(dict.fromkeys(ids or ()))
    if not wanted and (emulator or not own_path().exists()):
        raise UsageError("name the tasks: nothing is known of earlier ones here; see omni-async wait --help")
    if output is not None and len(wanted) > 1 and Path(output).is_file():
        raise UsageError(f"{output} is a file, and there are {len(wanted)} videos: give -o a folder")
    job = WaitJob(ids=wanted, output=output, timeout=timeout, overwrite=overwrite)
    run(lambda screen: job.run(screen, target), Screen(Show(progress=progress, quiet=quiet, json=json)))


class Unknown:
    """Takes a command's events, and tells at once of an id that the gateway does not know: it may be mistyped.

    Args:
        screen: Where.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told: set[str | None] = set()

    def on_event(self, event: Event) -> None:
        """Take an event of the library."""
        self._screen.board.on_event(event)
        if isinstance(event, Retried) and event.reason == NotFoundError.__name__ and event.task_id not in self._told:
            self._told.add(event.task_id)
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + NOT_FOUND_GRACE))
            self._screen.note(f"the gateway does not know task {event.task_id} (yet): it is asked until {until}")


@attrs.frozen(kw_only=True)
class WaitJob:
    """Tasks to wait for.

    Args:
        ids: Their ids, each once; none for what the user's own journal has unfinished.
        output: Where their videos go; None fetches none.
        timeout: Seconds to wait for each.
        overwrite: Whether existing files are replaced.
    """

    ids: list[str]
    output: str | None
    timeout: float
    overwrite: bool

    async def run(self, screen: Screen, target: Target) -> int:
        """Wait for all of them; one that cannot be followed does not end the others."""
        screen.resume = target.resuming(self.output)
        journal = await own_journal(screen, target, make=False)
        async with screen, connected(target, Unknown(screen).on_event, journal) as client:
            files, code = await self._wanted(screen, client, target)
            for task_id, file in files.items():
                row = BoardRow(label=task_id, gateway=target.gateway, task_id=task_id, wants_file=file is not None)
                screen.board.add(task_id, row)
            codes = await asyncio.gather(
                *(self._one(screen, client, target, task_id, file) for task_id, file in files.items())
            )
        return worst([code, *codes])

    async def _wanted(self, screen: Screen, client: OmniClient, target: Target) -> tuple[dict[str, Path | None], int]:
        """The file of each task, and the exit code of what cannot be waited for."""
        if self.ids:
            return {task_id: self.file(task_id) for task_id in self.ids}, DONE
        if client.studio.journal is None:
            return {}, FAILED  # why was told
        left = await unfinished(client, target)
        for line in left.lines():
            screen.note(line)
        many = len(left.tasks) > 1
        places = {task_id: self.file(task_id, many=many) or file for task_id, file in left.tasks.items()}
        return places, UNCERTAIN if left.uncertain else DONE

    async def _one(self, screen: Screen, client: OmniClient, target: Target, task_id: str, file: Path | None) -> int:
        row, task = screen.board.rows[task_id], None
        failure: OmniError | None = None
        try:
            if target.emulator:
                await client.query(task_id)  # it has just begun: an id it does not know will never be known
            task = await client.wait(task_id, timeout=self.timeout)
            if file is not None:
                stored = await self._fetched(client, task, file)
                row.file = str(stored)
                await note_stored(client, task, stored)
        except OmniError as error:
            failure = error
        self._show(screen, row, task, failure)
        return DONE if failure is None else code_of(failure)

    async def _fetched(self, client: OmniClient, task: VideoTask, file: Path) -> Path:
        """The task's video on disk; one that is there under the task's own name is that video."""
        own = file.name == file_name(task.task_id)
        if own and not self.overwrite and await asyncio.to_thread(file.is_file):
            return file
        return await client.download(task, file, overwrite=self.overwrite)

    def file(self, task_id: str, *, many: bool = False) -> Path | None:
        """Where a task's video goes: a file of its own name in the folder, or for one task the very file."""
        if self.output is None:
            return None
        path = Path(self.output)
        folder = many or len(self.ids) > 1 or self.output.endswith(("/", "\\")) or path.is_dir() or not path.suffix
        return path / file_name(task_id) if folder else path

    def _show(self, screen: Screen, row: BoardRow, task: VideoTask | None, failure: OmniError | None) -> None:
        if failure is None:
            screen.board.set(row, BoardState.DONE)
        else:
            if isinstance(failure, NotFoundError):
                screen.board.set(row, BoardState.FAILED)
            screen.error(failure)
        if screen.show.json:
            screen.result(as_json(outcome(row, task, failure), indent=None))
        elif failure is None and task is not None:
            screen.result(row.file or task.video_url or task.task_id)
