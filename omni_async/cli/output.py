"""What is written where: results on stdout, all else on stderr, in UTF-8 whatever the console's code page."""

import errno
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TextIO

TOGETHER = 200
"""Lines in one write."""
GONE = frozenset({errno.EPIPE, errno.EIO, errno.EINVAL if sys.platform == "win32" else errno.EPIPE})
"""What a pipe says whose reader has left (on Windows one or the other), and a terminal that is closed."""
unwritten: list[OSError] = []
"""Why results did not reach stdout, although somebody waits for them: an error at the end."""
_SHOWN_CONTROLS = frozenset("\n\t")


def speak_utf8() -> None:
    """Make stdout and stderr write UTF-8; what has no form in it is replaced, never an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def printable(text: str) -> str:
    """A text without control characters: gateways' words must not steer a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if _shown(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _shown(letter: str) -> bool:
    return letter in _SHOWN_CONTROLS or unicodedata.category(letter) not in ("Cc", "Cs")


@contextmanager
def until_left(stream: TextIO) -> Iterator[None]:
    """Write inside. What stdout or stderr refuses ends the writing, not the work: what is paid goes on.

    Nobody misses what a reader did not want who has gone, or notes that find no room; a result without room is noted in
    `unwritten`. What a file refuses is raised.
    """
    try:
        yield
        stream.flush()
    except OSError as error:
        if error.errno not in GONE and stream is not sys.stderr:
            if stream is not sys.stdout:
                raise
            unwritten.append(error)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def write(stream: TextIO, text: str) -> None:
    """Write a line at once."""
    with until_left(stream):
        stream.write(printable(text) + "\n")


def write_all(stream: TextIO, lines: Iterable[str]) -> None:
    """Write any number of lines, few of them held; only a terminal has to be kept from what would steer it."""
    shown = printable if stream.isatty() else str
    texts = (shown(text) + "\n" for text in lines)
    with until_left(stream):
        while piece := "".join(islice(texts, TOGETHER)):
            stream.write(piece)


def out(text: str) -> None:
    """A line of result."""
    write(sys.stdout, text)


def note(text: str) -> None:
    """A line for a person."""
    write(sys.stderr, text)


def as_json(document: Any, *, indent: int | None = 2) -> str:
    """JSON as it is meant to be read: letters of any script as themselves."""
    return json.dumps(document, ensure_ascii=False, indent=indent, default=str)
