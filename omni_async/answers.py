"""What a video server's answer means for the file on disk: decided without I/O, from status, headers and exceptions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import aiohttp
import attrs

from .errors import DownloadError, IntegrityError, OmniError, ResultExpiredError
from .retry import retry_after

# 400 is what S3 says when the credentials a URL was signed with ran out (`ExpiredToken`): a fresh URL helps there, too.
_EXPIRED = frozenset({400, 401, 403, 404, 410})
_TRANSIENT = frozenset({408, 425, 429})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_UNSATISFIED = re.compile(r"bytes \*/(\d{1,18})", re.ASCII)
_STRONG_ETAG = re.compile(r'"[!#-~]{1,500}"')
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,60}")


@attrs.frozen
class Setback:
    """Why one attempt did not end with the video.

    Args:
        error: What the caller gets if it was the last.
        again: Whether another attempt may help.
        pause: Seconds the server asked for.
        afresh: What is there cannot be gone on from; the next attempt asks for the whole.
        discard: What is there is worth nothing.
    """

    error: OmniError
    again: bool = True
    pause: float | None = None
    afresh: bool = False
    discard: bool = False


@attrs.frozen
class Opening:
    """How a good answer's body goes on.

    Args:
        restart: From the first byte, not where the file ends.
        total: Bytes there will be in the end, None if the server does not tell.
        whole: The file is complete already; there is no body to take.
        framed: A break would be noticed: the body has a length or is chunked.
    """

    restart: bool
    total: int | None
    whole: bool = False
    framed: bool = True


def opening(
    status: int,
    headers: Mapping[str, str],
    *,
    size: int,
    ranged: bool,
    total: int | None,
    known: str | None = None,
    max_wait: float,
) -> Opening | Setback:
    """What an answer means for a file of `size` bytes.

    Args:
        status: The HTTP status.
        headers: Its headers, by lower-case name.
        size: Bytes already there.
        ranged: Whether the request asked to go on from there.
        total: Length of the whole as an earlier answer told it.
        known: The validator that an earlier answer told.
        max_wait: The longest Retry-After that is obeyed, in seconds.
    """
    if status == 200:
        length = _length(headers)
        return Opening(restart=True, total=length, framed=length is not None or "transfer-encoding" in headers)
    if ranged and status in (206, 416) and _differs(headers, known):
        return Setback(IntegrityError("the server has another video under this URL now"), afresh=True)
    if ranged and status == 206 and headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        return Setback(IntegrityError("the server packed the rest of the video"), afresh=True)
    if status == 206:
        return _continued(headers, begin=size if ranged else 0, restart=not ranged, total=total if ranged else None)
    if status == 416 and ranged:
        return _past_the_end(headers, size=size, total=total)
    return _refusal(status, headers, max_wait=max_wait)


def _continued(headers: Mapping[str, str], *, begin: int, restart: bool, total: int | None) -> Opening | Setback:
    """A 206, believed only if it says that it is just the piece that was asked for."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is not None:
        first, last = int(found[1]), int(found[2])
        whole = total if found[3] == "*" else int(found[3])
        fits = first == begin <= last and _length(headers) in (None, last - first + 1)
        if fits and total in (None, whole) and (whole is None or last < whole):
            return Opening(restart=restart, total=whole)
    return Setback(IntegrityError(f"the server sent another piece of the video than from byte {begin}"), afresh=True)


def _past_the_end(headers: Mapping[str, str], *, size: int, total: int | None) -> Opening | Setback:
    """A 416: an earlier run may have ended between the last byte and the rename."""
    found = _UNSATISFIED.fullmatch(headers.get("content-range", "").strip())
    whole = int(found[1]) if found else total
    if whole == size:
        return Opening(restart=False, total=size, whole=True)
    return Setback(IntegrityError(f"{size} bytes are stored, and the server has another number of them"), afresh=True)


def _refusal(status: int, headers: Mapping[str, str], *, max_wait: float) -> Setback:
    """A status that brings no video."""
    if status in _EXPIRED:
        return Setback(ResultExpiredError(f"the video's URL no longer works (HTTP {status})"), again=False)
    temporary = status >= 500 or status in _TRANSIENT
    again = temporary or 200 <= status < 300
    pause = retry_after(headers, now=datetime.now(UTC), max_wait=max_wait)
    hint = "download again later" if again else "download again with a fresh URL"
    words = f"the video's server answered HTTP {status}: {hint}"
    return Setback(DownloadError(words, temporary=temporary, retry_after=pause), again=again, pause=pause)


def _length(headers: Mapping[str, str]) -> int | None:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


def validator(headers: Mapping[str, str]) -> str | None:
    """What If-Range can hold (RFC 9110 §13.1.5): a strong ETag, else the date."""
    etag, date = headers.get("etag", "").strip(), headers.get("last-modified", "").strip()
    if _STRONG_ETAG.fullmatch(etag):
        return etag
    return date if _DATE.fullmatch(date) else None


def _differs(headers: Mapping[str, str], known: str | None) -> bool:
    """Whether an answer names another version than If-Range did: some servers send a piece of that all the same."""
    if known is None:
        return False
    told = headers.get("etag" if known.startswith('"') else "last-modified", "").strip().removeprefix("W/")
    return told not in ("", known)


# Foreign exceptions stop here: {theirs: what is said, whether trying again can help}. First match wins, so that
# subclasses stand above their bases. The texts of aiohttp's own are never shown: they hold URLs with signatures.
_FAULTS: tuple[tuple[type[BaseException], str, bool], ...] = (
    (aiohttp.ClientConnectorCertificateError, "the server's certificate is not valid for its name", False),
    (aiohttp.ClientSSLError, "no secure connection could be made", True),
    (aiohttp.ClientConnectorDNSError, "the server's name could not be resolved", True),
    (aiohttp.ClientProxyConnectionError, "the proxy could not be reached", True),
    (aiohttp.ClientHttpProxyError, "the proxy refused the connection", True),
    (aiohttp.ClientConnectorError, "the server could not be reached", True),
    (TimeoutError, "the server went silent", True),
    (aiohttp.ClientResponseError, "the server's answer is not HTTP", True),
    (aiohttp.ClientError, "the connection broke off", True),
    (OSError, "the connection broke off", True),
)


def broken(error: Exception, *, begun: bool) -> Setback:
    """A foreign exception as ours. `begun` tells that the body was on its way, so that what is missing is the rest."""
    for kind, words, again in _FAULTS:
        if isinstance(error, kind):
            if begun and kind is not TimeoutError:
                told = f"{words} before the video was whole: download again to go on"
                return Setback(IntegrityError(told, temporary=True))
            answered = isinstance(error, aiohttp.ClientResponseError) and error.status < 500
            failure = DownloadError(f"{words}: download again later", temporary=again and not answered)
            return Setback(failure, again=again)
    return Setback(DownloadError(f"the download failed unexpectedly ({type(error).__name__})"), again=False)
