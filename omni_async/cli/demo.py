"""`demo`: videos of every kind, from prompt to file, against the emulator; needs no key."""

import asyncio
import struct
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from ..client import OmniClient
from ..emulator import Emulator, InjectedFault, Scenario
from ..errors import OmniError
from ..models import VideoTask
from .board import ROW, BoardRow, BoardState
from .connect import EMULATOR_KEY, poll_policy
from .exits import DONE, FAILED, UsageError
from .options import Json, Progress, ProgressMode, Quiet
from .output import as_json
from .running import run
from .scenes import SCENES
from .screen import Screen, Show
from .summary import Made, document, sentences, write_summary

SCENARIO = Scenario(
    task_seconds=3.6,
    task_sigma=0.25,
    queue_seconds=0.5,
    latency=0.02,
    # One create is accepted and its answer thrown away: what other clients pay for twice.
    faults=(InjectedFault("drop_after_accept", gateway="toapis", first=1),),
)
TITLE = f"omni-async demo: {len(SCENES)} videos, three gateways, one emulator"


def demo(
    folder: Annotated[
        Path, typer.Option("--output", "--out", "-o", metavar="DIR", help="Folder for the videos and the summary.")
    ] = Path("omni-demo"),
    json: Json = False,
    progress: Progress = ProgressMode.AUTO,
    quiet: Quiet = False,
) -> None:
    """Make 14 videos, without a key and within ten seconds.

    Starts the emulator of the three gateways, submits every mode and every
    model to it, shows the tasks advance together and downloads each into
    ./omni-demo, with a summary. The videos are the emulator's test pictures:
    real, playable MP4s of the length and shape that were asked for.

    Examples:

      omni-async demo
      omni-async demo --out look --progress plain
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: give --out a folder")
    folder.mkdir(parents=True, exist_ok=True)
    screen = Screen(Show(progress=progress, quiet=quiet, json=json), title=TITLE)
    run(lambda shown: _demo(shown, folder), screen)


async def _demo(screen: Screen, folder: Path) -> int:
    for number, scene in enumerate(SCENES, 1):
        row = BoardRow(label=scene.name, gateway=scene.gateway, detail=scene.fields.get("model", ""), wants_file=True)
        screen.board.add(str(number), row)
    async with screen, Emulator(SCENARIO) as emulator:
        made = await _make_all(screen, emulator, folder)
        seconds = screen.board.elapsed()
    lost = sum(fault.first or 0 for fault in SCENARIO.faults if fault.kind == "drop_after_accept")
    told = document(made, emulator.ledger, seconds=seconds, lost=lost)
    write_summary(folder, told)
    if screen.show.json:
        screen.result(as_json(told))
    else:
        for line in sentences(told, folder):
            screen.result(line)
    return DONE if all(one.task is not None for one in made) else FAILED


async def _make_all(screen: Screen, emulator: Emulator, folder: Path) -> list[Made]:
    """Everything at once: a client for each gateway, a coroutine for each video."""
    async with AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="omni-demo-")))
        image = place / "lake.png"
        image.write_bytes(small_png())
        clients = {
            gateway: await stack.enter_async_context(_client(gateway, emulator, screen))
            for gateway in dict.fromkeys(scene.gateway for scene in SCENES)
        }
        return await asyncio.gather(
            *(_make(screen, clients, str(number), image, folder) for number in range(1, len(SCENES) + 1))
        )


def _client(gateway: str, emulator: Emulator, screen: Screen) -> OmniClient:
    return OmniClient(
        gateway,
        api_key=EMULATOR_KEY,
        base_url=emulator.url,
        poll=poll_policy(SCENARIO),
        on_event=screen.board.on_event,
    )


async def _make(screen: Screen, clients: Mapping[str, OmniClient], key: str, image: Path, folder: Path) -> Made:
    """One video; its failure is told and does not end the others."""
    scene, row = SCENES[int(key) - 1], screen.board.rows[key]
    file = folder / f"{int(key):02}-{scene.name}.mp4"
    task: VideoTask | None = None
    try:
        request = scene.request(image, metadata={ROW: key})
        task = await clients[scene.gateway].generate(request, output=file, overwrite=True)
    except OmniError as error:
        screen.board.set(row, BoardState.FAILED)
        screen.error(error)
    return Made(scene=scene, file=file, task=task, seconds=row.seconds(screen.board.clock()) or 0.0)


def small_png() -> bytes:
    """A picture to upload: dusk over a lake, drawn here so that none has to be shipped."""
    width, height, lines = 96, 54, bytearray()
    for y in range(height):
        shade = abs(2 * y - height) / height
        colour = bytes((int(40 + 180 * (1 - shade)), int(40 + 90 * (1 - shade)), int(90 + 60 * shade)))
        lines += b"\0" + colour * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
