"""What the demo leaves beside its videos, and says at its end: all of it counted, in the emulator's ledger."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from ..emulator import Ledger
from ..models import VideoTask
from .output import as_json
from .scenes import Scene

COLUMNS = ("file", "gateway", "model", "mode", "duration", "ratio", "seconds taken", "requests", "prompt")


@attrs.frozen(kw_only=True)
class Made:
    """One video of the demo and what came of it; `task` is None if there is no video."""

    scene: Scene
    file: Path
    task: VideoTask | None
    seconds: float


def document(made: list[Made], ledger: Ledger, *, seconds: float, lost: int) -> dict[str, Any]:
    """The whole run as plain JSON data; `lost` answers were thrown away by the emulator."""
    videos = [_video(one, ledger) for one in made]
    done = sum(one.task is not None for one in made)
    charges = len(ledger.charges)
    return {
        "videos": videos,
        "totals": {
            "asked": len(made),
            "done": done,
            "seconds": round(seconds, 2),
            "requests": dict(ledger.requests),
            "requests_total": ledger.requests.total(),
            "peak_tasks_running": max((count for _, count in ledger.running), default=0),
            "charged": charges,
            "answers_lost_on_purpose": lost,
            "paid_twice": max(charges - len(made), 0),
        },
    }


def _video(one: Made, ledger: Ledger) -> dict[str, Any]:
    scene, task = one.scene, one.task
    looks = ledger.per_task[task.task_id] if task else 0
    return {
        "file": one.file.name if task else None,
        "gateway": scene.gateway,
        "model": scene.fields.get("model") or (task.model if task else None),
        "mode": scene.mode,
        "duration": scene.seconds,
        "ratio": scene.ratio,
        "seconds": round(one.seconds, 2),
        "requests": {"uploads": scene.uploads, "creates": 1, "queries": looks, "files": 1 if task else 0},
        "task_id": task.task_id if task else None,
        "prompt": scene.fields["prompt"],
    }


def write_summary(folder: Path, told: dict[str, Any]) -> None:
    """`summary.md` for people, `summary.json` for programs."""
    folder.joinpath("summary.json").write_text(as_json(told) + "\n", encoding="utf-8")
    folder.joinpath("summary.md").write_text("\n".join(_markdown(told)) + "\n", encoding="utf-8")


def _markdown(told: dict[str, Any]) -> Iterator[str]:
    yield "# omni-async demo"
    yield ""
    for line in _counted(told):
        yield f"- {line}"
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for video in told["videos"]:
        link = f"[{video['file']}]({video['file']})" if video["file"] else "–"
        cells = (link, video["gateway"], video["model"], video["mode"], f"{video['duration']} s", video["ratio"])
        total = sum(video["requests"].values())
        yield f"| {' | '.join(map(str, cells))} | {video['seconds']:.1f} | {total} | {video['prompt']} |"


def _counted(told: dict[str, Any]) -> Iterator[str]:
    """The run in a few lines."""
    totals = told["totals"]
    kinds = {"create": "creates", "query": "queries", "upload": "upload", "file": "files"}
    requests = ", ".join(f"{totals['requests'].get(kind, 0)} {noun}" for kind, noun in kinds.items())
    yield (
        f"{totals['done']} of {totals['asked']} videos in {totals['seconds']:.1f} s, "
        f"up to {totals['peak_tasks_running']} tasks running at once"
    )
    yield f"{totals['requests_total']} HTTP requests: {requests}"
    yield f"{totals['charged']} tasks charged for {totals['asked']} videos asked: {totals['paid_twice']} paid twice"
    if totals["answers_lost_on_purpose"]:
        lost = totals["answers_lost_on_purpose"]
        yield f"{lost} answer was lost on purpose: its task was found again, not bought again"


def sentences(told: dict[str, Any], folder: Path) -> Iterator[str]:
    """What the demo says at its end."""
    yield from _counted(told)
    yield f"Folder: {folder} (the emulator's test videos, summary.md, summary.json)"
    yield ""
    yield "Next, with a key of your own:"
    yield f"  {'set' if os.name == 'nt' else 'export'} JIMMYAI_API_KEY=…"
    yield '  omni-async generate "a cat in neon rain" --duration 6 -o cat.mp4'
