"""The API key: a text, or a callable that knows it; never shown."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from .errors import AuthenticationError
from .lifetime import is_cancelled

KEY_TIMEOUT = 60.0
"""Seconds an api_key callable may take: a POST whose key never comes would keep its client from closing."""

KeySource = str | Callable[[], str | Awaitable[str]]


class Key:
    """The API key, or the callable that knows it; never shown.

    Args:
        source: The key, or a plain or async function that gives it.
    """

    __slots__ = ("_asking", "_source", "_value")

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._asking = asyncio.Lock()
        self._value: str | None = source if isinstance(source, str) else None

    @property
    def known(self) -> str | None:
        """The key if nobody has to be asked for it."""
        return self._value

    @property
    def renewable(self) -> bool:
        """Whether asking again can give another key."""
        return callable(self._source)

    def renew(self) -> None:
        """Ask again before the next call: the gateway did not take the key."""
        if self.renewable:
            self._value = None

    async def get(self) -> str:
        """The key.

        Raises:
            AuthenticationError: The callable failed or gave no text; nothing was sent.
        """
        if self._value is None:
            async with self._asking:  # many calls refused at once ask for one new key
                if self._value is None and callable(self._source):
                    self._value = await self._ask(self._source)
                return self._value or sound_key(None)
        return self._value

    async def _ask(self, source: Callable[[], str | Awaitable[str]]) -> str:
        try:
            async with asyncio.timeout(KEY_TIMEOUT):
                given = source()
                value = await given if inspect.isawaitable(given) else given
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            problem = type(error).__name__
        else:
            return sound_key(value)
        raise AuthenticationError(f"nothing was sent: the api_key callable raised {problem}", may_have_charged=False)

    def __repr__(self) -> str:
        return "<Key>"


def sound_key(value: Any) -> str:
    """A key that can be sent as a header.

    Raises:
        AuthenticationError: Empty, no text, or with characters a header cannot carry (a line break from a file, say).
    """
    if isinstance(value, str) and value.strip() and value.strip().isascii() and value.strip().isprintable():
        return value.strip()
    raise AuthenticationError(
        "the API key is empty or holds characters that a header cannot carry; copy it again", may_have_charged=False
    )
