"""The last resort for what was paid and could not be written into the journal: a text file that is only appended to.

It is read when the journal is next opened, and what it tells is entered then.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OmniError
from .ledger import Ledger
from .seam import Answer, Intent
from .states import State


def fallback_of(journal: Path) -> Path:
    """The file beside a journal."""
    return journal.with_name(f"{journal.name}.lost.jsonl")


def append(journal: Path, intent: Intent, answer: Answer) -> Path | None:
    """Note what came back for a create; gives the file, or None if nothing can be written anywhere.

    The folder of temporary files serves where the journal's own cannot be written.
    """
    line = json.dumps(
        {
            "key": intent.key,
            "gateway": intent.gateway,
            "fingerprint": intent.fingerprint,
            "at": time.time(),
            "state": answer.state,
            "task_id": answer.task_id,
            "candidate": answer.candidate,
        },
        ensure_ascii=False,
    )
    for path in (fallback_of(journal), Path(tempfile.gettempdir()) / f"omni_async-{fallback_of(journal).name}"):
        try:
            _append(path, line)
        except OSError:
            continue
        return path
    return None


def _append(path: Path, line: str) -> None:
    flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, flags, 0o600)
    try:
        os.write(file, line.encode("utf-8", "surrogatepass") + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def merge(journal: Path, ledger: Ledger) -> int:
    """Enter what the file beside the journal tells, in one transaction; how many rows found their task again."""
    path, found = fallback_of(journal), 0
    if not path.exists():
        return 0
    ledger.begin()
    for told in _lines(path):
        found += _enter(ledger, told)
    ledger.commit()
    path.replace(path.with_name(f"{path.name}.merged"))
    return found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # cut off by the crash that followed
        if isinstance(told, dict) and {"key", "task_id", "fingerprint"} <= told.keys():
            yield told


def _enter(ledger: Ledger, told: dict[str, Any]) -> bool:
    entry = ledger.entry(str(told["key"]))
    waits = entry is not None and entry.state in (State.SUBMITTING, State.UNCERTAIN)
    if entry is None or not waits or not told["task_id"] or entry.fingerprint != told["fingerprint"]:
        return False
    try:
        ledger.settle(entry.key, State.SUBMITTED, "found in the file of what could not be written", told["task_id"])
        ledger.disown(entry.key)
    except OmniError:
        return False
    return True
