"""`sweep`: one video in every combination of settings, as a sheet for `batch`, or made at once."""

import contextlib
import json as jsonlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..batch import Bounds, Plan, Prices, dry_plan
from ..batch.cells import field_value
from ..disk import or_nothing
from ..errors import Fault, InvalidRequestError, invalid_request
from ..fields import is_local
from ..models import VideoRequest
from ..references import check_references
from ..settings import dialect_of
from ..sweep import VARIED, Refused, Sweep, sweep_requests
from ..wording import counted
from . import options
from .batch import Concurrency, Limit, MaxCost, PriceFile, Yes, batch, made_in
from .connect import Target
from .exits import UsageError, in_options
from .generate import Extra, Images, Videos, extra_fields
from .output import as_json, note, out, write_all
from .results import failing
from .screen import Show

_VARIED, _RUN = "What varies, one value or several", "Making them"
_SHOWN = 50
"""Refused combinations that are listed for a person."""
_ENDINGS = (".jsonl", ".ndjson", ".json")


def _several(*names: str, help: str, metavar: str) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_VARIED)


Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE.jsonl", help="Write the rows there, for batch; [b]-[/b] is stdout."),
]
Models = Annotated[list[str] | None, _several("--model", "-m", help="Names or aliases.", metavar="A,B")]
Durations = Annotated[list[str] | None, _several("--duration", "-d", help="Seconds.", metavar="4,6,8")]
Resolutions = Annotated[list[str] | None, _several("--resolution", "-r", help="720p, 1080p, 4k.", metavar="A,B")]
Ratios = Annotated[list[str] | None, _several("--aspect-ratio", "-a", help="16:9, 9:16, …", metavar="W:H,…")]
Orientations = Annotated[list[str] | None, _several("--orientation", help="landscape, portrait.", metavar="A,B")]
Modes = Annotated[list[str] | None, _several("--mode", help="text-to-video, image-to-video, …", metavar="A,B")]
Types = Annotated[list[str] | None, _several("--generation-type", help="frame, reference.", metavar="A,B")]
Begin = Annotated[
    str | None, typer.Option("--custom-id", metavar="TEXT", help="How ids begin; follows from the prompt unless given.")
]
Run = Annotated[bool, typer.Option("--run", help="Go on to the batch. [b]This pays.[/b]", rich_help_panel=_RUN)]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The batch's folder; FILE without its ending.", rich_help_panel=_RUN),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show combinations and plan; write and send nothing.")]


def sweep(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the videos show.")],
    output: Output = None,
    model: Models = None,
    duration: Durations = None,
    resolution: Resolutions = None,
    aspect_ratio: Ratios = None,
    orientation: Orientations = None,
    mode: Modes = None,
    generation_type: Types = None,
    image: Images = None,
    video: Videos = None,
    extra: Extra = None,
    custom_id: Begin = None,
    overwrite: options.Overwrite = False,
    dry_run: DryRun = False,
    run: Run = False,
    out_dir: Out = None,
    limit: Limit = None,
    prices: PriceFile = None,
    max_cost: MaxCost = None,
    concurrency: Concurrency = None,
    yes: Yes = False,
    gateway: options.Gateway = options.GatewayName.JIMMY,
    base_url: options.BaseUrl = None,
    emulator: options.UseEmulator = False,
    scenario: options.ScenarioFile = None,
    poll: options.Poll = None,
    json: options.Json = False,
    progress: options.Progress = options.ProgressMode.AUTO,
    quiet: options.Quiet = False,
) -> None:
    """Rehearse one video in every combination of settings.

    Each combination is checked by the gateway's rules, and those that it
    refuses, or would make the same video of, are listed and left out. The
    rest becomes a sheet for omni-async batch, each row with an id that says
    its settings; with --run that batch is begun at once, with its plan and
    its question. Without --run nothing is paid.

    Examples:

      omni-async sweep "a cat" --duration 4,6,8 --resolution 720p,1080p
      omni-async sweep "a cat" -m omni-10s,gemini-omni -d 6,10 -o cats.jsonl
      omni-async sweep "a cat" -d 4,8 -a 16:9,9:16 -o cats.jsonl --run --yes
      omni-async sweep "a cat" -d 4,8 -o cats.jsonl --run --emulator
      omni-async sweep "a cat" -d 4,8 -o - | omni-async batch - --out cats
    """
    show = Show(progress=progress, quiet=quiet, json=json)
    _check_output(output, run=run, dry_run=dry_run, json=json)
    given = dict(
        zip(VARIED, (model, duration, resolution, aspect_ratio, orientation, mode, generation_type), strict=True)
    )
    with failing(json=json):
        common = VideoRequest(
            prompt=prompt,
            image_urls=_absolute(image),
            video_urls=_absolute(video),
            extra=extra_fields(extra),
            custom_id=custom_id,
        )
        found = _swept(common, given, gateway)
        if dry_run or output is None:
            bounds = Bounds(limit=limit, prices=Prices.load(prices) if prices else None, max_cost=max_cost)
            _show(found, _plan(found, output, out_dir, gateway, bounds, emulator=emulator), show)
            return
    warnings = () if run else _warnings(found)  # the batch's plan has them, with the lines concerned
    for line in (*(() if quiet else lines(found)), *warnings):
        note(line)
    if run:  # what it cannot be run with is told before anything is written
        Target(gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll)
    _write(found, output, overwrite=overwrite, show=show, told=not run)
    if run:
        batch(
            output, out_dir, limit=limit, prices=prices, max_cost=max_cost, concurrency=concurrency, yes=yes,
            gateway=gateway, base_url=base_url, emulator=emulator, scenario=scenario, poll=poll,
            json=json, progress=progress, quiet=quiet,
        )  # fmt: skip


def _check_output(output: str | None, *, run: bool, dry_run: bool, json: bool) -> None:
    """Refuse what cannot be written to, before anything is worked out."""
    if run and not dry_run and output in (None, "-"):
        raise UsageError("--run goes on from a sheet that is kept: name it with -o FILE.jsonl")
    if output == "-" and json and not dry_run:
        raise UsageError("-o - writes the rows to stdout, where --json would go, too: leave one of them out")
    if output not in (None, "-") and not str(output).lower().endswith(_ENDINGS):
        raise UsageError(f"{output}: rows are written as JSON lines; name it FILE.jsonl")


def _absolute(links: list[str] | None) -> list[str]:
    """References as they are found from anywhere: a sheet can be read in another folder."""
    return [str(Path(link).absolute()) if link.strip() and is_local(link) else link for link in links or ()]


def _swept(common: VideoRequest, given: dict[str, list[str] | None], gateway: str) -> Sweep:
    """The combinations.

    Raises:
        InvalidRequestError: Values that cannot be read, references that are not there, or none is possible.
    """
    dialect, faults = dialect_of(gateway), []
    several: dict[str, Any] = {}
    for field, words in given.items():
        for word in (word for option in words or () for word in option.split(",")):
            value = field_value(field, word, cells=True)
            if value is None or isinstance(value, Fault):
                faults.append(value or Fault(field, "there is an empty value between the commas"))
            several.setdefault(field, []).append(value)
    faults += check_references(common, dialect)
    if faults:
        raise invalid_request(faults)
    found = sweep_requests(common, gateway=dialect, **several)
    if not found.requests:
        reasons = tuple(dict.fromkeys(fault for refused in found.refused for fault in refused.faults))
        told = f"none of the {found.combinations} combinations is possible" if found.refused[1:] else "it is refused"
        raise InvalidRequestError("\n  - ".join([f"nothing was sent, {told}:", *map(str, reasons)]), faults=reasons)
    return found


def lines(found: Sweep) -> Iterator[str]:
    """The sweep for a person: how many videos it is, and what was left out."""
    parts = [counted(found.combinations, "combination"), counted(len(found.requests), "video")]
    yield " · ".join([*parts, f"{len(found.refused):,} left out"] if found.refused else parts)
    for refused in found.refused[:_SHOWN]:
        yield f"  {_label(found, refused)}: {'; '.join(map(str, refused.faults))}"
    if len(found.refused) > _SHOWN:
        yield f"  … and {len(found.refused) - _SHOWN:,} more: --dry-run --json lists them all"


def _warnings(found: Sweep) -> Iterator[str]:
    return (f"warning: {warning}" for warning in found.warnings)


def _label(found: Sweep, refused: Refused) -> str:
    return " ".join(f"{name}={value}" for name, value in found.settings(refused.request).items())


def _document(found: Sweep) -> dict[str, Any]:
    """The sweep as plain JSON data."""
    return {
        "combinations": found.combinations,
        "videos": len(found.requests),
        "refused": [
            {**found.settings(refused.request), "faults": [str(fault) for fault in refused.faults]}
            for refused in found.refused
        ],
        "warnings": [str(warning) for warning in found.warnings],
    }


def _plan(
    found: Sweep, output: str | None, out_dir: Path | None, gateway: str, bounds: Bounds, *, emulator: bool
) -> Plan:
    """What a batch of the rows would pay, those paid before left out."""
    with tempfile.TemporaryDirectory() as nowhere:
        there = made_in(output, out_dir, emulator=emulator).path if out_dir or output not in (None, "-") else nowhere
        return dry_plan(list(found.rows()), out=there, gateway=gateway, bounds=bounds)


def _show(found: Sweep, plan: Plan, show: Show) -> None:
    """The combinations and the plan, and nothing else: results on stdout."""
    if show.json:
        out(as_json({**_document(found), "rows": list(found.rows()), "plan": plan.document()}))
        return
    for line in (
        *lines(found),
        *map(in_options, plan.lines()),
        "nothing was written or sent: -o FILE.jsonl keeps the rows, --run pays",
    ):
        out(line)


def _write(found: Sweep, output: str | None, *, overwrite: bool, show: Show, told: bool) -> None:
    """Write the rows; to write the same ones again does not count as overwriting.

    Args:
        output: The file, or `-`.
        overwrite: Whether other rows are replaced.
        show: Who reads it.
        told: Whether the file is the result.
    """
    rows = [jsonlib.dumps(row, ensure_ascii=False) for row in found.rows()]
    if output == "-":
        write_all(sys.stdout, rows)
        return
    path = Path(str(output))
    text = "".join(f"{row}\n" for row in rows)
    if not overwrite and path.exists() and path.read_bytes() != text.encode():
        raise UsageError(f"{path} is there already and holds other rows: --overwrite replaces it")
    with contextlib.nullcontext() if path.exists() else or_nothing(path):
        path.write_bytes(text.encode())
    if told:
        out(as_json({**_document(found), "file": str(path)}) if show.json else str(path))
