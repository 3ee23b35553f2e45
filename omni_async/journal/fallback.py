"""The last resort for what was paid and could not be written into the journal: a text file that is only appended to.

It is read when the journal is next opened, and what it tells is entered then.
"""

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..disk import private
from ..errors import OmniError
from .entries import Entry
from .ledger import Ledger
from .seam import Answer, Intent
from .states import UNPAID, State

HOW = "found in the file of what could not be written"
READ = "lost.jsonl read up to"
"""The note of how many bytes of the file were entered: it is kept, and nothing in it is entered twice."""


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
    for place in (fallback_of, elsewhere):
        try:
            path = place(journal)
            _append(path, line)
        except OSError:
            continue
        return path
    return None


def elsewhere(journal: Path) -> Path:
    """The file that serves where the journal's folder takes nothing, such as a full disk's.

    It bears the journal's whole path, as a hash: many journals have one name.

    Raises:
        OSError: There is no folder for temporary files.
    """
    place = hashlib.sha256(os.path.realpath(journal).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"omni_async-{place}-{fallback_of(journal).name}"


def _append(path: Path, line: str) -> None:
    file = private(path, append=True)
    try:
        # A line that a full disk cut off before has no end.
        left = memoryview(b"\n" + line.encode("utf-8", "surrogatepass") + b"\n")
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def merge(journal: Path, ledger: Ledger, *, mark: str = READ) -> int:
    """Enter what the files of a journal tell and was not entered yet; how many rows that settled.

    Part of a transaction that the caller begins and commits. The files stay: others may be appending to them. `mark` is
    the name of the note of how far the one beside the journal was read.
    """
    found = _merge(fallback_of(journal), ledger, mark)
    try:
        other = elsewhere(journal)
        return found + (_merge(other, ledger, _mark(other)) if _is_own(other) else 0)
    except OSError:  # nobody notes anything there
        return found


def waiting(journal: Path, ledger: Ledger) -> list[tuple[Entry, State, Path]]:
    """The rows whose answers a journal's file could not take, and has not entered since.

    Each with the state that its answer tells, and the file in which that is noted.
    """
    rows: dict[str, tuple[Entry, State, Path]] = {}
    for place in (fallback_of, elsewhere):
        with contextlib.suppress(OSError):  # what cannot be read cannot be told
            if _is_own(path := place(journal)):
                told, _ = _unread(path, ledger, READ if place is fallback_of else _mark(path))
                for line in _lines(told):
                    if (entry := _concerned(ledger, line)) is not None:
                        rows[entry.key] = entry, State(line["state"]), path
    return list(rows.values())


def _is_own(path: Path) -> bool:
    """Whether a file is this user's: everybody may write into the folder of temporary files."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _merge(path: Path, ledger: Ledger, mark: str) -> int:
    told, end = _unread(path, ledger, mark)
    if end is None:
        return 0
    found = sum([_enter(ledger, line) for line in _lines(told)])
    ledger.write_note(mark, str(end))
    return found


def _unread(path: Path, ledger: Ledger, mark: str) -> tuple[bytes, int | None]:
    """What a file tells that was not entered yet, and where that ends; None if there is no news."""
    try:
        told = path.read_bytes()
    except FileNotFoundError:
        return b"", None
    begin, end = int(ledger.note(mark) or 0), told.rfind(b"\n") + 1
    return (b"", None) if begin == end else (told[begin if begin < end else 0 : end], end)


def mark_of(journal: Path) -> str:
    """A mark for a journal that several machines share: this file's own, known by its first line.

    A machine's name would not do: two users of one have two files, and a container's next life begins a new one.
    """
    return _mark(fallback_of(journal))


def _mark(path: Path) -> str:
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
    except FileNotFoundError:
        first = b""
    return f"{READ} {hashlib.sha256(first.strip()).hexdigest()[:16]}"


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # cut off by the crash that followed
        if isinstance(told, dict) and {"key", "fingerprint", "state", "task_id", "candidate"} <= told.keys():
            yield told


def _concerned(ledger: Ledger, told: dict[str, Any]) -> Entry | None:
    """The row that waits for what a line tells, if one does."""
    entry = ledger.entry(str(told["key"]))
    if entry is None or entry.fingerprint != told["fingerprint"] or told["state"] not in _TOLD:
        return None
    lost = entry.state is State.UNCERTAIN and told["state"] == State.SUBMITTED
    return entry if entry.state is State.SUBMITTING or lost else None


def _enter(ledger: Ledger, told: dict[str, Any]) -> bool:
    if (entry := _concerned(ledger, told)) is None:
        return False
    try:
        ledger.settle(entry.key, State(told["state"]), HOW, told["task_id"] or told["candidate"])
        ledger.disown(entry.key)
    except OmniError:  # the task is another row's
        return False
    return True


_TOLD = frozenset({State.SUBMITTED, State.UNCERTAIN, *UNPAID})
