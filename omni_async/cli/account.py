"""`upload` and `balance`: what else there is at the gateway."""

import asyncio
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..client import OmniClient
from ..errors import OmniError, invalid_argument
from ..models import Balance
from ..settings import dialect_of
from ..uploads import check_upload
from . import options
from .board import BoardRow, BoardState
from .connect import Target, connected
from .exits import DONE, code_of, worst
from .output import as_json
from .results import failing, failure_document
from .running import run, run_plain
from .screen import Screen, Show


def upload(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Images or videos, as the gateway takes them.")],
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Upload reference images or videos and show their URLs.

    A URL a line, in the order of the files. With --json one object for one
    file, a list for several. All files are looked at before one is sent.
    (generate uploads local references by itself.)

    Examples:

      omni-async upload lake.png
      omni-async upload front.jpg side.jpg back.jpg --gateway toapis
    """
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario)
    run(lambda screen: _upload(screen, target, files), Screen(Show(progress=progress, quiet=quiet, json=json)))


async def _upload(screen: Screen, target: Target, files: list[str]) -> int:
    found = (check_upload(Path(file), dialect_of(target.gateway).uploads) for file in files)
    if faults := [fault for fault in found if fault is not None]:
        with failing(json=screen.show.json):
            raise invalid_argument(*faults)
    for place, file in enumerate(files):
        screen.board.add(str(place), BoardRow(label=file, gateway=target.gateway))
    async with screen, connected(target) as client:
        sent = await asyncio.gather(
            *(_sent(screen, client, row, file) for row, file in zip(screen.board.rows.values(), files, strict=True))
        )
    documents: list[dict[str, Any]] = []
    for file, url in zip(files, sent, strict=True):
        if isinstance(url, OmniError):
            screen.error(url)
            documents.append({"file": file, "error": failure_document(url)})
            continue
        documents.append({"file": file, "url": url})
        if not screen.show.json:
            screen.result(url)
    if screen.show.json:
        screen.result(as_json(documents if len(files) > 1 else documents[0]))
    return worst(code_of(url) if isinstance(url, OmniError) else DONE for url in sent)


async def _sent(screen: Screen, client: OmniClient, row: BoardRow, file: str) -> str | OmniError:
    def progressed(sent: int, size: int | None) -> None:
        row.progress = 100 * sent // size if size else None

    row.started = screen.board.clock()
    screen.board.set(row, BoardState.UPLOADING)
    try:
        url = await client.upload(Path(file), on_progress=progressed)
    except OmniError as error:
        screen.board.set(row, BoardState.FAILED)
        return error
    screen.board.set(row, BoardState.DONE)
    return url


def balance(
    scope: Annotated[
        str, typer.Option("--scope", metavar="account|key", help="Whose: the account's, or this key's.")
    ] = "account",
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    json: options.Json = False,
) -> None:
    """Show what is left, in the gateway's own unit.

    Stdout gets the number that can still be spent, or "unlimited"; stderr
    the rest. With --json one object.

    Examples:

      omni-async balance
      omni-async balance --scope key --json
    """
    target = Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario)
    run_plain(lambda screen: _balance(screen, target, scope), json=json)


async def _balance(screen: Screen, target: Target, scope: str) -> int:
    async with screen, connected(target) as client:
        found = await client.balance(scope=cast("Any", scope))  # what is neither is refused there
    if screen.show.json:
        screen.result(as_json(_document(found)))
        return DONE
    screen.result("unlimited" if found.unlimited else _amount(found.available))
    numbers = {"used": found.used, "of": found.total}
    told = [f"{word} {_amount(value)}" for word, value in numbers.items() if value is not None]
    if told:
        screen.note(", ".join(told))
    return DONE


def _amount(value: float | None) -> str:
    """A number without the fraction it does not have."""
    if value is None:
        return "unknown"
    return str(int(value)) if value.is_integer() else str(value)


def _document(found: Balance) -> dict[str, Any]:
    names = ("gateway", "name", "available", "used", "total", "unlimited")
    return {name: getattr(found, name) for name in names}
