"""Bytes to lines of text, in the encodings that sheets have: UTF-8, UTF-16 with its mark, GB18030, or the one named."""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from ..errors import Fault, InvalidRequestError
from .letters import is_chinese, suspicious_cell

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line: what is longer is not a sheet, and must not fill the memory."""
BELIEVED = 60
"""Letters beyond ASCII after which UTF-8 is no longer doubted: no GB18030 text reads ordinary for that long."""
ENOUGH = 200
"""Letters beyond ASCII after which GB18030 is no longer doubted."""
SHOWN = 20
"""Letters of a cell that an error shows."""

_CHUNK = 256 * 1024
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LINEWISE = frozenset({"utf-8", "gb18030"})  # a line feed is one byte there, and no part of another character
_NO_FILES = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"})
_BEYOND = re.compile(r"[^\x00-\x7f]+")
_ADVICE = "name the encoding: encoding='utf-8', encoding='gb18030', encoding='big5', …"

NumberedLine = tuple[int, str]
"""The number of a line, from 1, and its text with its ending."""


def refused(problem: str, *, line: int | None = None) -> InvalidRequestError:
    """The error for a sheet that cannot be read as a whole; `line` is where that shows."""
    fault = Fault("sheet" if line is None else f"line {line}", problem)
    return InvalidRequestError(f"nothing was sent, the sheet cannot be read: {fault}", faults=(fault,))


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark at the head of a file tells."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def codec_name(encoding: str) -> str:
    """An encoding as Python knows it.

    Raises:
        InvalidRequestError: It is not one that text can have.
    """
    try:
        name = codecs.lookup(encoding).name
        if name not in _NO_FILES and isinstance("".encode(name), bytes) and isinstance(b"".decode(name), str):
            return "utf-8" if name == "utf-8-sig" else name
    except (LookupError, ValueError, TypeError, AttributeError):
        pass
    raise refused(f"{encoding!r} is not a text encoding; utf-8, utf-16, gb18030 and many more are")


def lines_of(
    stream: BinaryIO, head: bytes, encoding: str | None, guessed: list[str] | None = None
) -> Iterator[NumberedLine]:
    """The lines of a stream, decoded.

    Args:
        stream: What is read, from its beginning.
        head: Its first bytes, at least two if there are as many.
        encoding: A codec's name, or None to find out.
        guessed: Takes the encoding's name before the first line that is read by a guess.

    Raises:
        InvalidRequestError: A line does not fit the encoding, is endless, or could be read in two ways.
    """
    known = (marked(head) or encoding) if encoding in (None, "utf-16") else encoding
    if known is None and b"\0" in head[:4]:
        raise refused("it holds NUL bytes: UTF-16 without its mark? Name it: encoding='utf-16-le'", line=1)
    if known is None or known in _LINEWISE:
        return _linewise(stream, _Reading(known, [] if guessed is None else guessed))
    return _streamwise(stream, known)


def _linewise(stream: BinaryIO, reading: "_Reading") -> Iterator[NumberedLine]:
    number, read = 0, stream.readline
    while raw := read(LONGEST_LINE):
        number += 1
        if len(raw) == LONGEST_LINE:
            raise refused(f"is longer than {LONGEST_LINE} bytes: this is not a sheet", line=number)
        if raw.isascii():
            yield number, raw.decode("ascii")
        else:
            text = reading.text(number, raw)
            yield number, text.removeprefix("\ufeff") if number == 1 else text
    reading.judge()


class _Reading:
    """What is known of a file's encoding while it is read.

    Args:
        encoding: utf-8 or gb18030; None as long as nothing tells.
        guessed: Takes gb18030 when it is guessed.
    """

    def __init__(self, encoding: str | None, guessed: list[str]) -> None:
        self._encoding, self._guessed = encoding, guessed
        self._sample = ""  # of a guess that is still doubted, its letters beyond ASCII
        self._sampled = 0  # the line they begin on
        self._doubtful: int | None = None  # the first line read as UTF-8 that could still be GB18030
        self._letters = 0

    def text(self, number: int, raw: bytes) -> str:
        """A line that is not all ASCII."""
        if self._encoding is None:
            return self._judged(number, raw)
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise _misfit(self._encoding, number, raw[error.start : error.end]) from None
        if self._sample:
            self._doubt(text)
        return text

    def _doubt(self, text: str) -> None:
        self._sample += "".join(_BEYOND.findall(text))
        if len(self._sample) >= ENOUGH:
            self.judge()

    def judge(self) -> None:
        """Refuse a guess that gives no Chinese; from then on it is no longer doubted."""
        if not is_chinese(self._sample):
            told = f"is not UTF-8, and its letters read “{self._sample[:SHOWN]}” as GB18030"
            raise refused(f"{told}: is it Big5, Shift-JIS, EUC-KR? {_ADVICE}", line=self._sampled)
        self._sample = ""

    def _judged(self, number: int, raw: bytes) -> str:
        """Both encodings are possible so far: a line that fits one only decides, and so does an odd one."""
        utf, chinese = _decoded(raw, "utf-8"), _decoded(raw, "gb18030")
        if utf is None:
            return self._not_utf(number, raw, chinese)
        if chinese is None:
            self._encoding = "utf-8"
            return utf
        cell = suspicious_cell(utf)
        if cell is not None:
            one, other = (f"“{reading[:SHOWN]}”" for reading in cell)
            told = f"reads {one} in UTF-8 and {other} in GB18030; say which it is: "
            raise refused(f"{told}encoding='utf-8' or encoding='gb18030'", line=number)
        self._doubtful = self._doubtful or number
        self._letters += sum(1 for letter in utf if letter > "\x7f")
        if self._letters >= BELIEVED:
            self._encoding = "utf-8"
        return utf

    def _not_utf(self, number: int, raw: bytes, chinese: str | None) -> str:
        """A line that is not UTF-8, while that was not settled yet."""
        if self._doubtful is not None:
            told = f"is not UTF-8, as which line {self._doubtful} was read; {_ADVICE}"
            raise refused(told, line=number)
        if chinese is None:
            raise refused(f"is neither UTF-8 nor GB18030; {_ADVICE}", line=number)
        self._encoding, self._sampled = "gb18030", number
        self._guessed.append("GB18030")
        self._doubt(chinese)
        return chinese


def _decoded(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _misfit(encoding: str, number: int, found: bytes) -> InvalidRequestError:
    return refused(f"holds bytes that are not {encoding.upper()} ({found[:4].hex(' ')}); {_ADVICE}", line=number)


def _streamwise(stream: BinaryIO, encoding: str) -> Iterator[NumberedLine]:
    """Lines in an encoding whose line feeds only its decoder can find."""
    number, rest = 1, ""
    for text in _texts(stream, encoding):
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield number, line + "\n"
            number += 1
        if len(rest) > LONGEST_LINE:
            raise refused(f"is longer than {LONGEST_LINE} letters: this is not a sheet", line=number)
    if rest:
        yield number, rest


def _texts(stream: BinaryIO, encoding: str) -> Iterator[str]:
    decoder, feeds, first = codecs.getincrementaldecoder(encoding)(), 0, True
    while True:
        raw = stream.read(_CHUNK)
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeError as error:
            found = error.object[error.start : error.end] if isinstance(error, UnicodeDecodeError) else b""
            good = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            feeds += good.decode(encoding, "ignore").count("\n")
            raise _misfit(encoding, feeds + 1, found) from None
        feeds += text.count("\n")
        if text:
            yield text.removeprefix("\ufeff") if first else text
            first = False
        if not raw:
            return
