"""Connections for downloads: they carry no key and no cookie, and check every address that is dialled."""

import asyncio
import contextvars
import socket
import weakref
from collections.abc import Mapping
from typing import Any

import aiohttp
import attrs
from aiohttp.abc import AbstractResolver
from yarl import URL

from .answers import Setback, broken
from .errors import DownloadError, OmniError, UnsafeURLError
from .flights import WaryConnector
from .lifetime import cut_short, is_cancelled
from .models import without_query
from .policies import Timeouts
from .safety import Origin, check_proxy, is_public, origin_of, proxy_for


class _RefusedError(RuntimeError):
    """Stops a dial.

    No OSError: aiohttp reads those as "could not connect". Of all others aiohappyeyeballs carries only this class
    through a race of several addresses.
    """


@attrs.define
class _Dial:
    """What one request's dialling came to."""

    refused: int = 0
    passed: int = 0

    def setback(self, url: URL) -> Setback | None:
        """What follows if addresses were refused; None if none was, and the cause of a failure is another."""
        shown = without_query(str(url))
        if self.refused and not self.passed:
            return Setback(UnsafeURLError(f"{shown!r} leads to an address that is not public"), again=False)
        words = f"{shown!r} could not be reached at its public addresses: download again later"
        return Setback(DownloadError(words, temporary=True)) if self.refused else None


_dial: contextvars.ContextVar[_Dial] = contextvars.ContextVar("omni_async_dial")


def _checked_socket(address: Any) -> socket.socket:
    """A socket for an address of the Internet: called for every address that is dialled, literal or resolved."""
    family, kind, protocol, _, place = address
    dial = _dial.get(_Dial())
    if not is_public(str(place[0]), dialled=True):
        dial.refused += 1
        raise _RefusedError("the address is not public")
    dial.passed += 1
    return socket.socket(family, kind, protocol)


@attrs.define(eq=False)
class VideoResponse:
    """A response whose repr shows no URL: frames that a disk's error comes through hold it."""

    response: aiohttp.ClientResponse = attrs.field(repr=False)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, whatever the case of their names."""
        return self.response.headers

    async def read(self) -> bytes:
        """Some bytes of the body, none at its end."""
        return await self.response.content.readany()

    def close(self) -> None:
        """Let go of the connection; a body that is still being read breaks off."""
        self.response.close()


class Connections:
    """Sessions without key or cookie, made by the first request.

    One dials only public addresses. The other is for allowed origins, and for proxies: behind one, only schemes and
    literal addresses can be judged.

    Args:
        allowed: Origins that are asked whatever their address.
        proxy: `"env"`, None, or a proxy's URL; see `safety.proxy_for`.
        timeouts: `connect` and `read` hold here.
        resolver: Turns names into addresses; aiohttp's own if None. Not closed here.
    """

    def __init__(
        self, *, allowed: frozenset[Origin], proxy: str | None, timeouts: Timeouts, resolver: AbstractResolver | None
    ) -> None:
        check_proxy(proxy)
        self._allowed, self._proxy, self._timeouts, self._resolver = allowed, proxy, timeouts, resolver
        self._head = timeouts.connect + timeouts.read  # a read timeout heeds any byte, of interim answers too
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._answers: weakref.WeakSet[VideoResponse] = weakref.WeakSet()
        self.closed = False

    async def aclose(self) -> None:
        """Close everything; what is under way ends with an error."""
        self.closed = True
        for answer in list(self._answers):  # aiohttp lets a body be waited for without end if its connector is closed
            answer.close()
        for session in list(self._sessions.values()):
            await session.close()
        self._sessions.clear()

    async def ask(self, url: URL, headers: Mapping[str, str]) -> VideoResponse | Setback:
        """One request. Exceptions become values: raised here, ours would carry foreign ones and their URLs along."""
        dial = _Dial()
        token = _dial.set(dial)
        try:
            async with asyncio.timeout(self._head):
                answer = VideoResponse(await self._get(url, headers))
            self._answers.add(answer)
            return answer
        except asyncio.CancelledError:
            if not self.closed or is_cancelled():
                raise
            return Setback(cut_short(), again=False)  # aiohttp cancels a name look-up that outlives its connector
        except OmniError as error:
            return Setback(error.with_traceback(None), again=False)
        except Exception as error:
            if self.closed:
                return Setback(cut_short(), again=False)
            return dial.setback(url) or broken(error, begun=False)
        finally:
            _dial.reset(token)

    async def _get(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        proxy = proxy_for(url, self._proxy)
        return await self._session(guarded=proxy is None and origin_of(url) not in self._allowed).get(
            url,
            headers=headers,
            proxy=proxy,
            allow_redirects=False,
            raise_for_status=False,
            middlewares=(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeouts.connect, sock_read=self._timeouts.read),
        )

    def _session(self, *, guarded: bool) -> aiohttp.ClientSession:
        if self.closed:
            raise cut_short()
        if guarded not in self._sessions:
            factory = _checked_socket if guarded else None
            self._sessions[guarded] = aiohttp.ClientSession(
                connector=WaryConnector(limit=0, socket_factory=factory, resolver=self._resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "omni-async"},
                trust_env=False,
            )
        return self._sessions[guarded]
