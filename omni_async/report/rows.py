"""What the page shows of a journal's row: plain data, every text short enough, nothing in it that could be run."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import attrs

from ..explanations import glossed
from ..journal.entries import Entry, shown_time
from ..journal.schema import JOURNAL_FILE
from ..journal.shown import LOST, Alive, shown_state
from ..journal.states import State

WORDS: Mapping[State, str] = {
    State.UNCERTAIN: "uncertain",
    State.FAILED: "failed",
    State.REJECTED: "rejected",
    State.EXPIRED: "expired",
    State.CANCELED: "canceled",
    State.SUBMITTING: "being sent",
    State.SUBMITTED: "running",
    State.SUCCEEDED: "not stored",
    State.PLANNED: "not sent",
    State.DONE: "succeeded",
}
"""What the page calls a state, in the order in which it offers them."""

PROMPT, ERROR, SHORT = 20_000, 4_000, 500
"""Letters shown of a prompt, of an error or carried value, of a name."""

_SECONDS = re.compile(r"(?:^| )(\d+(?:\.\d+)?) s(?: |$)")


@attrs.frozen(kw_only=True)
class Setting:
    """Where a report is made.

    Args:
        journal: The journal's file, absolute.
        videos: How the page reaches the folder of the videos, ready for a link.
        run: The number of the last run; None if it is not a batch.
        alive: Tells whether the owner of a row still lives.
    """

    journal: Path
    videos: str
    run: int | None
    alive: Alive


def row_of(entry: Entry, setting: Setting) -> dict[str, Any]:
    """A row for the page; what is not known is left out."""
    state, task = shown_state(entry, setting.alive), _object(entry.task)
    row = {
        "id": clipped(entry.key, SHORT),
        "state": WORDS[state],
        "attempts": entry.attempts if entry.attempts > 1 else None,
        "took": entry.seconds,
        "error": _error(entry, state),
        "carried": _carried(entry),
        "gone": setting.run is not None and entry.run != setting.run,
        **_asked(entry, task),
        **_made(entry, task, setting),
    }
    if state is State.UNCERTAIN:
        row["settle"] = settle_lines(setting.journal, entry.key, entry.candidate)
    return {name: value for name, value in row.items() if value not in (None, False, "", {})}


def _asked(entry: Entry, task: dict[str, Any]) -> dict[str, Any]:
    """What was asked for; the model as it was sent, where that is known."""
    inputs, words = _object(entry.inputs), (entry.kind or "").split()
    model = words[-1] if len(words) > 1 and words[-1] != "s" else inputs.get("model") or task.get("model")
    seconds = _SECONDS.search(entry.kind or "")
    prompt = inputs.get("prompt")
    return {
        "prompt": clipped(str(prompt), PROMPT) if prompt is not None else None,
        "unknown": entry.inputs is None,
        "model": _short(model),
        "mode": _short(inputs.get("mode") or (words[0] if words else None) or task.get("mode")),
        "duration": _short(inputs.get("duration") or (seconds and seconds[1])),
        "resolution": _short(inputs.get("resolution")),
        "ratio": _short(inputs.get("aspect_ratio") or inputs.get("orientation")),
    }


def _made(entry: Entry, task: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """The task, and where its video is: the file if there is one, else the URL while it lives."""
    made: dict[str, Any] = {"task": _short(entry.task_id or entry.candidate)}
    if entry.state is State.DONE and entry.target:
        made["file"] = file_link(setting.videos, entry.target)
    url = task.get("video_url")
    if made.get("file") is None and entry.state in (State.SUCCEEDED, State.DONE) and web_address(url):
        made |= {"url": url, "until": shown_time(entry.expires_at)}
    return made


def file_link(videos: str, target: str) -> str | None:
    """A link to a file under the videos' folder; None if its name leads out of there."""
    parts = target.replace("\\", "/").split("/")
    if ".." in parts or not parts[0]:
        return None
    return f"{videos}/{quote(target.encode('utf-8', 'surrogateescape'), safe='/')}"


def web_address(url: Any) -> bool:
    """Whether it is an address that a page may link to."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.hostname)


def settle_lines(journal: Path, key: str, candidate: str | None) -> list[list[str]]:
    """The commands that settle a row, each with what it says; for a shell of the POSIX kind."""
    row = f"{in_shell(str(journal_argument(journal)))} {in_shell(key)}"
    if key.startswith("-"):
        row = f"-- {row}"
    task, found = (in_shell(candidate), "this seems to be its task") if candidate else ("TASK_ID", "put its id here")
    return [
        [f"It is at the gateway: {found}", f"omni-async settle --task-id {task} {row}"],
        ["It surely is not there", f"omni-async settle --not-charged {row}"],
        ["Nobody can tell: send it again, perhaps paying twice", f"omni-async settle --pay-again {row}"],
    ]


def journal_argument(journal: Path) -> Path:
    """A journal as commands name it: by its folder, if it has one of its own."""
    return journal.parent if journal.name == JOURNAL_FILE else journal


def in_shell(word: str) -> str:
    """A word as a shell takes it. What a terminal would obey, or show in another order, is spelled out."""
    if word.isprintable():
        return shlex.quote(word)
    letters = (_spelled(letter) if not letter.isprintable() or letter in "'\\" else letter for letter in word)
    return f"$'{''.join(letters)}'"


def _spelled(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "replace"))


def clipped(text: str, limit: int) -> str:
    """A text of at most `limit` letters, that says what it leaves out."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more letters)"


def _short(value: Any) -> str | None:
    return None if value in (None, "") else clipped(str(value), SHORT)


def _error(entry: Entry, state: State) -> str | None:
    if state is State.DONE:
        return None
    told = entry.detail or (LOST if state is State.UNCERTAIN else None)
    return clipped(glossed(told), ERROR) if told else None


def _carried(entry: Entry) -> dict[str, str]:
    """The sheet's own columns, as text: a number of twenty digits stays what it was."""
    carried = _object(entry.carried).items()
    return {clipped(name, SHORT): clipped(_text(value), ERROR) for name, value in carried if value is not None}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else {}
