"""`generate`: one video, from a prompt to a file or a URL."""

import asyncio
import contextlib
import json as jsonlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import attrs
import typer

from ..client import OmniClient
from ..delivery import file_in
from ..dialects.rules import GENERATION_TYPES, MODES, ORIENTATIONS
from ..errors import JournalError, OmniError, SubmissionUncertainError, TaskFailedError
from ..journal import State
from ..models import VideoRequest, VideoTask
from ..safety import file_name
from ..settings import base_url_of, dialect_of
from . import options
from .board import ROW, BoardRow, BoardState
from .connect import Target, connected
from .dryrun import preview
from .exits import DONE, code_of
from .ledgers import BASE, OUTPUT, note_stored, own_journal, own_path
from .options import model_fields, offering
from .output import as_json, out
from .results import failing, outcome
from .running import run
from .screen import Screen, Show
from .settling import settle_line

_VIDEO = "Video"


def _field(*names: str, help: str, values: Callable[[], Iterable[str]] = tuple, **more: Any) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, rich_help_panel=_VIDEO, autocompletion=offering(values), **more)


Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE|DIR", help="Store the video there; its URL is shown otherwise."),
]
Model = Annotated[
    str | None,
    _field("--model", "-m", help="Name or alias; the gateway's default unless given.", values=model_fields("name")),
]
Duration = Annotated[int | None, _field("--duration", "-d", help="Seconds.", metavar="SECONDS")]
Resolution = Annotated[
    str | None,
    _field("--resolution", "-r", help="720p, 1080p, 4k as the model allows.", values=model_fields("resolutions")),
]
AspectRatio = Annotated[
    str | None, _field("--aspect-ratio", "-a", help="16:9, 9:16, …", metavar="W:H", values=ORIENTATIONS.values)
]
Orientation = Annotated[
    str | None,
    _field("--orientation", help="landscape or portrait; --aspect-ratio wins over it.", values=ORIENTATIONS.keys),
]
Images = Annotated[
    list[str] | None,
    _field("--image", "-i", help="Reference image, repeatable; a file is uploaded first.", metavar="URL|FILE"),
]
Videos = Annotated[
    list[str] | None, _field("--video", help="Reference video; a file is uploaded first.", metavar="URL|FILE")
]
GenerationType = Annotated[
    str | None,
    _field(
        "--generation-type",
        help="frame: the image is the first frame; or reference.",
        values=lambda: GENERATION_TYPES,
    ),
]
Mode = Annotated[
    str | None,
    _field(
        "--mode",
        help="text-to-video, image-to-video, reference-to-video, video-edit; follows from the rest.",
        values=lambda: MODES,
    ),
]
Extra = Annotated[
    list[str] | None,
    _field("--extra", help="A field that only a newer gateway knows, repeatable.", metavar="KEY=JSON"),
]
CustomId = Annotated[str | None, _field("--custom-id", help="Your own id of this video; not sent as it is.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the exact request and a curl line; send nothing. Needs no key.")
]


def extra_fields(given: list[str] | None) -> dict[str, Any]:
    """`KEY=JSON` options as one mapping."""
    extra: dict[str, Any] = {}
    for item in given or ():
        key, equals, value = item.partition("=")
        try:
            extra[key] = jsonlib.loads(value)
        except ValueError:
            equals = ""
        if not equals or not key:
            raise typer.BadParameter(f"{item!r} is not KEY=JSON; a text needs its quotes: 'style=\"noir\"'")
    return extra


def _absolute(output: str) -> str:
    """The same place from any folder; a slash at the end keeps its meaning."""
    return str(Path(output).absolute()) + ("/" if output.endswith(("/", os.sep)) else "")


def generate(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the video shows.")],
    output: Output = None,
    model: Model = None,
    duration: Duration = None,
    resolution: Resolution = None,
    aspect_ratio: AspectRatio = None,
    orientation: Orientation = None,
    image: Images = None,
    video: Videos = None,
    generation_type: GenerationType = None,
    mode: Mode = None,
    extra: Extra = None,
    custom_id: CustomId = None,
    timeout: options.Timeout = 1800.0,
    overwrite: options.Overwrite = False,
    dry_run: DryRun = False,
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    poll: options.Poll = None,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Make one video: submit, wait, download. [b]This pays.[/b]

    The task's id is shown the moment it is known, with the line that goes
    on waiting for it; omni-async wait without ids does, too. Stdout gets the
    file's path, or the video's URL; with --json one document, also for a
    failure and when interrupted. Run again with the same --custom-id, it
    pays nothing and gives the same video.

    Examples:

      omni-async generate "a cat in neon rain" --duration 6 -o cat.mp4
      omni-async generate "千盏孔明灯升起" --image lake.png -o videos/
      omni-async generate "a kite" -g toapis -m gemini_omni_flash -r 1080p
      omni-async generate "a cat" --model omni-10s --dry-run
      omni-async generate "a cat" --emulator -o cat.mp4
    """
    request = VideoRequest(
        prompt=prompt,
        model=model,
        duration=duration,
        resolution=resolution,
        aspect_ratio=aspect_ratio,
        orientation=orientation,
        image_urls=image,
        video_urls=video,
        generation_type=generation_type,
        mode=mode,
        extra=extra_fields(extra),
        custom_id=custom_id,
        metadata={ROW: "1", BASE: base_url_of(dialect_of(gateway), base_url)}
        | ({OUTPUT: _absolute(output)} if output else {}),
    )
    if dry_run:
        shown = preview(request, gateway=gateway, base_url=base_url)
        out(as_json(shown.document()) if json else "\n".join(shown.lines()))
        return
    with failing(json=json):
        OmniClient(gateway, api_key="not-needed").check(request)  # before anything is drawn
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll)
    job = VideoJob(request=request, output=output, timeout=timeout, overwrite=overwrite)
    run(lambda screen: job.run(screen, target), Screen(Show(progress=progress, quiet=quiet, json=json)))


@attrs.frozen(kw_only=True)
class VideoJob:
    """One video to make.

    Args:
        request: What it shows.
        output: File or folder; None stores nothing.
        timeout: Seconds to wait after the submit.
        overwrite: Whether an existing file is replaced.
    """

    request: VideoRequest
    output: str | None
    timeout: float
    overwrite: bool

    async def run(self, screen: Screen, target: Target) -> int:
        """Make it and show what came of it."""
        asked = self.request
        row = BoardRow(
            label=asked.custom_id or "",
            private=asked.prompt,
            gateway=target.gateway,
            detail=asked.model or "",
            wants_file=self.output is not None,
        )
        screen.board.add("1", row)
        screen.resume = target.resuming(self.output)
        task: VideoTask | None = None
        failure: OmniError | None = None
        try:
            with failing(json=screen.show.json):
                journal = await own_journal(screen, target)
                async with screen, connected(target, screen.on_event, journal) as client:
                    try:
                        task = await self._made(screen, client, row)
                    except OmniError as error:
                        failure = error
                        if row.task_id is None or isinstance(error, TaskFailedError):  # one known of old has no events
                            screen.board.set(row, BoardState.FAILED)
        except asyncio.CancelledError:  # the client has ended: a create that was in flight has its id
            if screen.show.json:
                screen.result(as_json(outcome(row, task, failure)))
            raise
        if failure is not None:
            self._tell(screen, failure, kept=journal is not None)
        if screen.show.json:
            screen.result(as_json(outcome(row, task, failure)))
        elif task is not None:
            screen.result(row.file or task.video_url or task.task_id)
        return DONE if failure is None else code_of(failure)

    async def _made(self, screen: Screen, client: OmniClient, row: BoardRow) -> VideoTask:
        """The video: paid for now, or before."""
        known = await self._known(client)
        if known is None:
            task = await client.generate(
                self.request, timeout=self.timeout, output=self.output, overwrite=self.overwrite
            )
        else:
            task = await self._again(screen, client, row, known)
        if row.file is not None:
            await note_stored(client, task, Path(row.file))
        screen.board.set(row, BoardState.DONE)
        return task

    async def _known(self, client: OmniClient) -> VideoTask | None:
        """The task, if this very video was asked for before under its custom id.

        Raises:
            SubmissionUncertainError: It was, and nobody knows what came of it.
            JournalError: Another one was.
        """
        journal, key = client.studio.journal, self.request.custom_id
        if journal is None or not key:
            return None
        entry = await journal.run(lambda ledger: ledger.entry(key))
        if entry is None:
            return None
        base = entry.data.get(BASE)
        if base is not None and base != self.request.metadata[BASE]:
            raise JournalError(f"{key!r} is known from {base}: give this one an id of its own", may_have_charged=False)
        if entry.state is State.SUBMITTING:  # of a command that was killed, unless it is just being sent
            await client.studio.followed().take_over()
        return await journal.known(key, await client.studio.fingerprint(self.request))

    async def _again(self, screen: Screen, client: OmniClient, row: BoardRow, known: VideoTask) -> VideoTask:
        """What was paid for before: waited for and fetched, unless its file is there."""
        screen.board.follow(row, known.task_id)
        screen.note(f"task {known.task_id} was submitted before: nothing is paid again")
        task = await client.wait(known, timeout=self.timeout)
        if self.output is not None:
            target = file_in(self.output, file_name(self.request.custom_id or ""))  # as a first run names it
            there = not self.overwrite and await _is_stored(client, self.request.custom_id or "", target)
            file = target if there else await client.download(task, target, overwrite=self.overwrite)
            row.file = str(file)
        return task

    def _tell(self, screen: Screen, failure: OmniError, *, kept: bool) -> None:
        screen.error(failure)
        key = self.request.custom_id or getattr(failure, "evidence", {}).get("key")
        if kept and key and isinstance(failure, SubmissionUncertainError):
            screen.note(f"when you know: {settle_line(own_path(), key)}")


async def _is_stored(client: OmniClient, key: str, target: Path) -> bool:
    """Whether the file is the row's video, as it was stored."""
    journal = client.studio.journal
    entry = await journal.run(lambda ledger: ledger.entry(key)) if journal is not None else None
    if entry is None or entry.state is not State.DONE:
        return False
    with contextlib.suppress(OSError):
        return (await asyncio.to_thread(target.stat)).st_size == entry.size
    return False
