"""The last resort for what was paid and could not be written into the journal: a text file that is only appended to.

It is read when the journal is next opened, and what it tells is entered then.
"""

import contextlib
import hashlib
import json
import logging
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..disk import FAR, private
from ..errors import OmniError
from .entries import Entry
from .ledger import Ledger
from .noted import Line, concerned, enter, is_lost, line_of
from .seam import Answer, Intent, write_metadata
from .states import State

if sys.platform == "win32":
    import msvcrt

logger = logging.getLogger("omni_async")

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
            "round": intent.round,
            "at": time.time(),
            "state": answer.state,
            "task_id": answer.task_id,
            "candidate": answer.candidate,
            "custom_id": intent.custom_id,
            "metadata": _metadata(intent),
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


def _metadata(intent: Intent) -> str | None:
    """The caller's own data; what changed meanwhile, and can no longer be written, is worth less than the rest."""
    try:
        return write_metadata(intent.metadata)
    except OmniError:
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
        if sys.platform == "win32":  # appending is two steps there: another process's line could be written over
            with contextlib.suppress(OSError):
                os.lseek(file, FAR, os.SEEK_SET)
                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
        # A line that a full disk cut off before has no end.
        left = memoryview(b"\n" + line.encode("utf-8", "surrogatepass") + b"\n")
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def merge(journal: Path, ledger: Ledger) -> int:
    """Enter what the files of a journal tell and was not entered yet; how many rows that settled.

    Part of a transaction that the caller begins and commits. The files stay: others may be appending to them.
    """
    found = _merge(fallback_of(journal), ledger)
    try:
        other = elsewhere(journal)
        return found + (_merge(other, ledger) if _is_own(other) else 0)
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
                told, _ = _unread(path, ledger, _mark(path))
                for line in _lines(told):
                    if (entry := concerned(ledger, line)) is not None:
                        rows[entry.key] = entry, line.state, path
    return list(rows.values())


def _is_own(path: Path) -> bool:
    """Whether a file is this user's: everybody may write into the folder of temporary files."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _merge(path: Path, ledger: Ledger) -> int:
    told, end = _unread(path, ledger, mark := _mark(path))
    if end is None:
        return 0
    found = sum([_enter(ledger, line, path) for line in _lines(told)])
    ledger.write_note(mark, str(end))
    return found


def _enter(ledger: Ledger, line: Line, path: Path) -> bool:
    entered = enter(ledger, line)
    if not entered and is_lost(ledger, line):
        logger.warning("%s names task %s for row %r, which has another one", path, line.task_id, line.key)
    return entered


def _unread(path: Path, ledger: Ledger, mark: str) -> tuple[bytes, int | None]:
    """What a file tells that was not entered yet, and where that ends; None if there is no news."""
    try:
        told = path.read_bytes()
    except FileNotFoundError:
        return b"", None
    begin, end = int(ledger.note(mark) or 0), told.rfind(b"\n") + 1
    return (b"", None) if begin == end else (told[begin if begin < end else 0 : end], end)


def _mark(path: Path) -> str:
    """The name of the note of how far a file was read: this file's own, known by its first line.

    Its place would not do: the file may be taken away and another begun, and of a journal that several machines share
    each user of each has one.
    """
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
    except FileNotFoundError:
        first = b""
    return f"{READ} {hashlib.sha256(first.strip()).hexdigest()[:16]}"


def _lines(text: bytes) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # cut off by the crash that followed
        if (found := line_of(told)) is not None:
            yield found
