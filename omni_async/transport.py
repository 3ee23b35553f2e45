"""A Call becomes a Reply over one aiohttp session, borrowed or owned; what goes wrong was not sent, or its answer lost.

Foreign exceptions stop here. Ours are raised outside the `except` blocks: the frames of aiohttp's hold the key.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from .dialects import Call, CallKind, Dialect, Reply
from .errors import AnswerLostError, Fault, NotSentError, TransportError, invalid_argument
from .flights import Body, Connector, Flight, Flights
from .headers import JSON, USUAL, MaskedHeaders, RequestHeaders, checked_headers, merged
from .keys import Key
from .policies import Timeouts
from .safety import proxy_for

CREATE_LIMIT, OTHER_LIMIT = 64 * 1024, 1024 * 1024
"""Bytes of an answer's body that are read."""
MEMBERS = 100
"""Members of a gzip that are unpacked (RFC 1952 §2.2): an answer of nothing but empty ones must not cost seconds."""
NEVER = 7 * 86400.0
"""Seconds that no call takes."""
KEEPALIVE = 4.0
"""Seconds an idle connection is kept: less than servers do (many keep one for 5). Looks further apart than that pay
with a new connection; for creates see `flights.FRESH`."""


class _Bounds(NamedTuple):
    """What bounds a call: aiohttp's timeout, the seconds that the flights watch, the bytes of its answer."""

    timeout: aiohttp.ClientTimeout
    watched: float
    size: int


def _as_utf8(body: bytes) -> bytes:
    """JSON in UTF-16 or UTF-32 is read all the same, so what is looked for in a body must be found in it."""
    if b"\0" not in body[:4] or not body[:4].strip(b"\0"):
        return body
    try:
        return body.decode(json.detect_encoding(body)).encode()
    except UnicodeError:
        return body


def _bounds(kind: CallKind, limits: Timeouts) -> _Bounds:
    """Only the connection is aiohttp's to watch: its timers drop what came while the loop stood, and heed any byte."""
    connect = limits.connect
    if kind is CallKind.CREATE:  # with any `total` aiohttp refuses a session of another loop before it sends
        return _Bounds(aiohttp.ClientTimeout(total=NEVER, connect=connect), limits.create, CREATE_LIMIT)
    seconds = limits.create if kind is CallKind.UPLOAD else limits.query
    return _Bounds(aiohttp.ClientTimeout(total=None, connect=connect), seconds, OTHER_LIMIT)


Moved = Callable[[], None]
"""Is called with each piece of a file that has gone: the next one, or the answer, has as long again."""


class Transport:
    """Sends calls of one dialect to one base URL.

    Args:
        dialect: For its auth headers.
        base_url: `http(s)://host[:port][/prefix]`.
        key: The API key.
        session: A borrowed session, left open; None makes and owns one with the first call.
        timeouts: Seconds per call.
        proxy: `env`, a proxy's URL, or None.
        headers: Extra headers for every call.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        base_url: str,
        key: Key,
        session: aiohttp.ClientSession | None = None,
        timeouts: Timeouts | None = None,
        proxy: str | None = "env",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.base_url = checked_base_url(base_url)
        self._url = f"{self.base_url}/"
        self._base = URL(self._url, encoded=True)
        self._prefix = self._base.raw_path.rstrip("/")
        self.key = key
        self._dialect = dialect
        self._borrowed = session
        self._own: aiohttp.ClientSession | None = None
        self._timeouts = timeouts or Timeouts()
        self._proxy = proxy
        self._proxy_url: str | None = None
        self._ready = self._closed = False
        self._headers = {**USUAL, **checked_headers(headers), "accept-encoding": "gzip"}  # what we unpack ourselves
        self._head: RequestHeaders | None = None
        self._flights = Flights()
        self._bounds = {kind: _bounds(kind, self._timeouts) for kind in CallKind}

    def _session(self) -> aiohttp.ClientSession | None:
        if self._closed:  # a call that waited meanwhile must not open another
            return None
        if not self._ready:
            self._ready, self._proxy_url = True, proxy_for(self.base_url, self._proxy)
        if self._borrowed is not None:
            return self._borrowed
        if self._own is None:
            # The limiter says how many may be in flight: a second limit here would only make them wait unseen.
            connector = Connector(self._flights, limit=0, keepalive_timeout=KEEPALIVE, ttl_dns_cache=60)
            self._own = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._own

    async def send(
        self,
        call: Call,
        *,
        data: Callable[[Moved], Any] | None = None,
        resend: Callable[[], bool] | None = None,
        last: bool = False,
    ) -> Reply:
        """Send a call once and read its answer under a cap.

        Args:
            call: What to send.
            data: Makes the body of an upload, given what is to be called with each piece of it that has gone.
            resend: Asked whether aiohttp may repeat a free call by itself, which it does once after a disconnect.
            last: Whether nobody else can tell what was sent: cancelled, it raises what that makes of the call.

        Raises:
            NotSentError: It is proved that nothing was sent.
            AnswerLostError: It was sent and no usable answer came.
        """
        flight = self._flights.begin(resend)
        outcome: Reply | BaseException = TimeoutError()
        cancelled: asyncio.CancelledError | None = None
        try:
            file = None
            if data is not None:
                file = data(partial(self._flights.watch, flight, self._bounds[call.kind].watched))
            outcome = await self._exchange(call, flight, file)
        except asyncio.CancelledError as error:
            cancelled = error.with_traceback(None)
        finally:
            late = self._flights.end(flight)
        if cancelled is not None and not late:
            if not last:
                raise cancelled  # the same exception, without the frames that hold the key
            outcome = cancelled
        if isinstance(outcome, Reply):
            return outcome
        # Neither the key nor the foreign exception may stay in a frame of the traceback.
        failure = self._translate(outcome, flight)
        del outcome
        raise failure

    async def _exchange(self, call: Call, flight: Flight, data: Any) -> "Reply | Exception":
        """The reply, or the foreign exception as a value."""
        key = self.key.known or await self.key.get()
        session = self._session()
        if session is None or session.closed:
            return _ClosedError()
        try:
            head = self._head if self._head is not None and self._head.key == key else self._new_head(key)
            headers, fixed = head.headers, head.auth
            if call.body is not None:  # not by the session: a borrowed one may have a serializer of its own
                headers, fixed, data = head.of_json, {**head.auth, **JSON}, Body(_to_json(call.body).encode(), flight)
            if call.headers:
                headers = merged(headers, call.headers, fixed)
            flight.begun = True
            bounds = self._bounds[call.kind]
            self._flights.watch(flight, bounds.watched)
            response = await session.request(
                call.method,
                self._address(call.path),
                params=call.params,
                data=data,
                headers=headers,
                timeout=bounds.timeout,
                proxy=self._proxy_url,
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                middlewares=(),
            )
            flight.connected = True
            body, complete = await _read(response, bounds.size, flight)
            return Reply(
                status=response.status,
                headers=MaskedHeaders(response.headers, head),
                body=head.mask.body(_as_utf8(body)),
                complete=complete,
                url=self._url,
            )
        except Exception as error:  # whatever it is: raised from here it would show the key in its frames
            return error

    def _address(self, path: str) -> URL:
        """Where a path leads. A plain one, as of each look, is set into the base URL: parsing costs four times that."""
        if "?" in path or "#" in path or not path.isprintable():
            return URL(self.base_url + path, encoded=True)
        return self._base.with_path(self._prefix + path, encoded=True)

    def renew_key(self, reply: Reply) -> None:
        """The gateway did not take the key: it is asked for again, unless that was done since this call was sent."""
        headers = reply.headers
        if not isinstance(headers, MaskedHeaders) or self.key.known is None or headers.went_with(self.key.known):
            self.key.renew()

    def _new_head(self, key: str) -> RequestHeaders:
        auth = self._dialect.auth(key)
        self._head = RequestHeaders(key, auth, self._headers)
        return self._head

    def _translate(self, error: BaseException, flight: Flight) -> TransportError:
        """The one table from foreign exceptions to ours. Order counts: a certificate error is a connector error too."""
        host = urlsplit(self.base_url).hostname
        for kinds, words, configuration in _NEVER_SENT:
            if isinstance(error, kinds):
                told = f"never sent to {host}: {words}{_of_certificate(error)}"
                return NotSentError(told, configuration=configuration)
        traced = self._borrowed is None
        if not flight.begun or (traced and not flight.connected):
            configuration = not isinstance(error, _BY_THE_NETWORK)
            words = f"no connection was obtained ({type(error).__name__})"
            return NotSentError(f"never sent to {host}: {words}", configuration=configuration)
        if flight.paid and not flight.connected and not isinstance(error, _BY_THE_NETWORK):
            words = f"the session it was to use cannot be used ({type(error).__name__})"
            advice = "it may belong to another event loop, or have an auth= of its own beside the key"
            return NotSentError(f"never sent to {host}: {words}; {advice}", configuration=True)
        late = isinstance(error, TimeoutError)
        lost = "no answer in time" if late else f"the answer was lost ({type(error).__name__})"
        return AnswerLostError(f"sent to {host}, {lost}", timed_out=late)

    async def aclose(self) -> None:
        """Send no more, and close the session if it is our own."""
        self._closed = True
        self._flights.clear()
        if self._own is not None:
            own, self._own = self._own, None
            await own.close()


_to_json = json.JSONEncoder(allow_nan=False).encode
_BY_THE_NETWORK = (aiohttp.ClientError, OSError, asyncio.CancelledError, AssertionError)
"""What goes wrong on the way; the last is a proxy's. Anything else is a mistake in what was set up."""


class _ClosedError(Exception):
    """The borrowed session is closed."""


_NEVER_SENT: tuple[tuple[tuple[type[Exception], ...], str, bool], ...] = (
    (
        (aiohttp.ClientConnectorCertificateError,),
        "its certificate was not accepted; check the base URL, the clock and the CA certificates",
        True,
    ),
    ((aiohttp.ClientConnectorSSLError,), "the TLS handshake broke off; if it goes on, check the base URL", False),
    ((_ClosedError,), "the client, or the session it was to use, is closed", True),
    ((aiohttp.InvalidURL,), "the URL is malformed", True),
    ((aiohttp.ClientConnectorDNSError,), "its name could not be resolved", False),
    ((aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError), "the proxy refused or was not there", False),
    ((aiohttp.ClientConnectorError,), "the connection was refused or there is no route", False),
    ((aiohttp.ConnectionTimeoutError,), "no connection in time", False),
)


def _of_certificate(error: BaseException) -> str:
    """What is wrong with a certificate, in OpenSSL's words: its age, its name or who signed it."""
    said = getattr(getattr(error, "certificate_error", None), "verify_message", "")
    return f" ({said})" if said else ""


async def _read(response: aiohttp.ClientResponse, limit: int, flight: Flight) -> tuple[bytes, bool]:
    """At most `limit` bytes of a body, and whether that is all of it. Never `read()`: that has no bound."""
    content, body, whole, lines = response.content, b"", False, flight.lines
    try:
        if lines is not None:
            lines.read_into(content)
        while not content.at_eof() and len(body) <= limit:
            body += content.read_nowait() if content.is_eof() else await content.readany()
        broken = content.exception() is not None or (lines is not None and lines.broken)
        whole = not broken and len(body) <= limit
    except Exception:  # whatever broke: what came before it can hold the task's id
        whole = False
    except asyncio.CancelledError:  # the same of a paid call that took too long
        if not (flight.paid and flight.overdue):
            raise
    finally:
        if not whole:  # a whole body has let go of its connection
            response.close()
    plain, sound = _unpacked(response, body if whole else body[:limit], limit)
    return plain, whole and sound


def _unpacked(response: aiohttp.ClientResponse, body: bytes, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of what is packed in a body. aiohttp 3.12 unpacks a bomb whole before it shows a byte."""
    packing = response.headers.get("content-encoding")
    if packing is None or packing.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body, True
    plain, rest, ended = b"", body, False
    # gzip or zlib, by its head; some servers leave out that of a deflate (RFC 9110 §8.4.1.2)
    bare = packing.strip().lower() == "deflate" and int.from_bytes(body[:1]) & 15 not in (8, 15)
    for _ in range(MEMBERS):
        unpacking = zlib.decompressobj(wbits=-zlib.MAX_WBITS if bare else 32 + zlib.MAX_WBITS)
        try:
            plain += unpacking.decompress(rest, limit - len(plain))
        except zlib.error:  # behind a whole member it is padding
            return (plain, True) if ended else (body, False)
        rest, ended = unpacking.unused_data, unpacking.eof
        if not rest or len(plain) >= limit:
            break
    return plain, ended and not rest


def checked_base_url(url: Any) -> str:
    """A base URL without a trailing slash.

    Raises:
        InvalidRequestError: Not `http(s)://host…`, or with a user, query or fragment.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and URL(url, encoded=True).host
    except (ValueError, TypeError, AttributeError):
        sound = False
    if sound and not (parts.query or parts.fragment or parts.username or parts.password):
        return str(url).rstrip("/")
    raise invalid_argument(Fault("base_url", "is not a plain http(s)://host[:port][/path] URL"))
