"""What a video server's answers and aiohttp's exceptions mean, without a network."""

import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from omni_async.answers import Opening, Setback, broken, opening, validator
from omni_async.errors import DownloadError, IntegrityError, OmniError, ResultExpiredError

RANGE = "content-range"


def read(
    status: int,
    headers: dict[str, str],
    *,
    size: int = 100,
    ranged: bool = True,
    total: int | None = 300,
    known: str | None = '"v1"',
) -> Any:
    """An answer to a request that went on from byte `size` of a version."""
    return opening(status, headers, size=size, ranged=ranged, total=total, known=known, max_wait=120)


@pytest.mark.parametrize(
    ("status", "headers", "ranged", "meaning"),
    [
        (200, {"content-length": "300"}, True, Opening(restart=True, total=300)),
        (200, {"transfer-encoding": "chunked"}, True, Opening(restart=True, total=None)),
        (200, {}, False, Opening(restart=True, total=None, framed=False)),
        (200, {"content-length": "٣"}, False, Opening(restart=True, total=None, framed=False)),
        (206, {RANGE: "bytes 100-299/300"}, True, Opening(restart=False, total=300)),
        (206, {RANGE: "bytes 100-299/*", "content-length": "200"}, True, Opening(restart=False, total=300)),
        (206, {RANGE: "bytes 0-299/300"}, False, Opening(restart=True, total=300)),
        (416, {RANGE: "bytes */100"}, True, Opening(restart=False, total=100, whole=True)),
    ],
)
def test_good_answers(status: int, headers: dict[str, str], ranged: bool, meaning: Opening) -> None:
    """How the body goes on."""
    assert read(status, headers, ranged=ranged) == meaning


def test_416_without_a_length_goes_by_the_tag() -> None:
    """Some servers do not say how long it is; an earlier answer did."""
    assert read(416, {}, total=100) == Opening(restart=False, total=100, whole=True)
    assert read(416, {}, total=None).afresh


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {RANGE: "bytes 0-299/300"},
        {RANGE: "bytes 100-99/300"},
        {RANGE: "bytes 100-300/300"},
        {RANGE: "bytes 100-299/301"},
        {RANGE: "bytes 100-299/300", "content-length": "199"},
        {RANGE: "bytes ١٠٠-299/300"},
        {RANGE: "bytes 100-299"},
    ],
)
def test_row_51_wrong_ranges(headers: dict[str, str]) -> None:
    """Row 51: a 206 that is not exactly the rest is refused, and the whole is asked for next."""
    refused = read(206, headers)
    assert isinstance(refused, Setback)
    assert isinstance(refused.error, IntegrityError)
    assert refused.again
    assert refused.afresh


DATE = "Sat, 01 Aug 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("known", "told", "goes_on"),
    [
        ('"v1"', {"etag": '"v1"'}, True),
        ('"v1"', {"etag": 'W/"v1"', "last-modified": "another"}, True),
        ('"v1"', {}, True),
        ('"v1"', {"etag": '"v2"'}, False),
        (DATE, {"etag": '"v2"', "last-modified": DATE}, True),
        (DATE, {"last-modified": "Sun, 02 Aug 2026 00:00:00 GMT"}, False),
    ],
)
def test_row_50_the_rest_of_another_version_is_not_appended(known: str, told: dict[str, str], goes_on: bool) -> None:
    """Row 50: a server that ignores If-Range and names another version in its 206 or 416 is asked for the whole."""
    for status, named in ((206, "bytes 100-299/300"), (416, "bytes */100")):
        meaning = read(status, {RANGE: named, **told}, known=known)
        assert isinstance(meaning, Opening if goes_on else Setback)
        assert goes_on or meaning.afresh


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (403, ResultExpiredError, False),
        (400, ResultExpiredError, False),
        (502, DownloadError, True),
        (429, DownloadError, True),
        (451, DownloadError, False),
    ],
)
def test_refusals(status: int, kind: type[OmniError], again: bool) -> None:
    """Row 52 and others: which statuses a fresh URL, time or nothing can mend."""
    refused = read(status, {"retry-after": "9"})
    assert type(refused.error) is kind
    assert refused.again is again
    assert isinstance(refused.error, DownloadError)
    assert refused.error.temporary is again
    assert refused.error.retry_after == (None if kind is ResultExpiredError else 9.0)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ({"etag": '"v1"', "last-modified": "x"}, '"v1"'),
        ({"etag": 'W/"v1"'}, None),
        ({"etag": 'W/"v1"', "last-modified": "Sat, 01 Aug 2026 00:00:00 GMT"}, "Sat, 01 Aug 2026 00:00:00 GMT"),
        ({"etag": '"é"'}, None),
        ({"last-modified": "a\r\nb"}, None),
        ({}, None),
    ],
)
def test_validators(headers: dict[str, str], value: str | None) -> None:
    """If-Range takes a strong ETag or a date, and what goes back into a header is harmless."""
    assert validator(headers) == value


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from([RANGE, "content-length", "etag", "last-modified", "retry-after"]), st.text()),
    st.booleans(),
)
def test_fuzz_answers(status: int, headers: dict[str, str], ranged: bool) -> None:
    """Whatever a server says, it means something, and what it means for the file is never a hole."""
    meaning = read(status, headers, ranged=ranged)
    assert isinstance(meaning, Opening | Setback)
    if isinstance(meaning, Opening) and not meaning.restart:
        assert ranged
    validator(headers)


KEY = ConnectionKey("h", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("error", "words", "again"),
    [
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError()), "certificate", False),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError()), "secure connection", True),
        (aiohttp.ClientConnectorDNSError(KEY, OSError()), "resolved", True),
        (aiohttp.ClientProxyConnectionError(KEY, OSError()), "proxy could not", True),
        (aiohttp.ClientConnectorError(KEY, OSError()), "could not be reached", True),
        (aiohttp.ConnectionTimeoutError("CANARY"), "silent", True),
        (aiohttp.SocketTimeoutError("CANARY"), "silent", True),
        (TimeoutError(), "silent", True),
        (aiohttp.ServerDisconnectedError("CANARY"), "broke off", True),
        (aiohttp.ClientOSError("CANARY"), "broke off", True),
        (ConnectionResetError("CANARY"), "broke off", True),
        (ValueError("CANARY"), "unexpectedly (ValueError)", False),
    ],
)
def test_foreign_exceptions(error: Exception, words: str, again: bool) -> None:
    """One table says what each exception means; their own texts, which hold URLs, are never shown."""
    setback = broken(error, begun=False)
    assert words in str(setback.error)
    assert "CANARY" not in str(setback.error)
    assert type(setback.error) is DownloadError
    assert setback.again is again


@pytest.mark.parametrize("error", [aiohttp.ClientPayloadError("CANARY"), ConnectionResetError("CANARY")])
def test_broken_body_is_an_integrity_error(error: Exception) -> None:
    """Row 51: once the body is on its way, a break means that it is short."""
    setback = broken(error, begun=True)
    assert isinstance(setback.error, IntegrityError)
    assert setback.again
