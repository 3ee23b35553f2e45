"""The API key: a text, or a callable that knows it; never shown."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any

from .errors import AuthenticationError
from .lifetime import is_cancelled

KEY_TIMEOUT = 60.0
"""Seconds an api_key callable may take: a POST whose key never comes would keep its client from closing."""

KeySource = str | Callable[[], str | Awaitable[str]]


SHORTEST = 6
"""Letters of a key that is looked for: a shorter one, of a test, stands in any answer, and in its ids, by chance."""
STAND_IN = "***"


class Mask:
    """Takes a key out of what a gateway sends back: each of its letters may be spelt as JSON, a URL or HTML spell it.

    Some encoders do that to every letter, some to `=`, `&`, `<` and `>` alone, and what is quoted twice is spelt twice.

    Args:
        key: The key.
    """

    __slots__ = ("_key", "_plain", "_spelt")

    def __init__(self, key: str) -> None:
        self._key, self._plain = key, key.encode()
        self._spelt: re.Pattern[str] | None = None  # made when it is first needed: it takes milliseconds

    def body(self, said: bytes) -> bytes:
        """Bytes without the key. Those of a look at a task have hardly ever anything that is spelt in another way."""
        if self._plain in said or b"\\" in said or b"%" in said or b"&" in said:
            return self._without(said.decode("latin-1")).encode("latin-1")
        return said

    def text(self, said: str) -> str:
        """A text without the key."""
        return self._without(said) if self._key in said or "\\" in said or "%" in said or "&" in said else said

    def _without(self, said: str) -> str:
        if len(self._key) < SHORTEST:
            return said
        if self._spelt is None:
            self._spelt = re.compile("".join(map(_spellings, self._key)))
        return self._spelt.sub(STAND_IN, said)

    def __repr__(self) -> str:
        return "<Mask>"


def _spellings(letter: str) -> str:
    """A pattern for an ASCII letter as it is, as `\\u003d` or `\\x3d`, `%3D`, `&#61;`, `&#x3d;` or `&equals;`."""
    from html.entities import html5  # read only where a key is looked for in earnest

    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(letter):02x}")
    names = {name.rstrip(";") for name, meant in html5.items() if meant == letter}
    entity = "|".join([f"#0{{0,5}}{ord(letter)}", f"#[xX]0{{0,4}}{code}", *sorted(names, key=len, reverse=True)])
    quoted = f"|{re.escape(letter)}" if letter in "\\/\"'" else ""
    escaped = rf"\\\\{{0,3}}(?:(?:u00|x){code}{quoted})"
    return rf"(?:{escaped}|%(?:25){{0,2}}{code}|&(?:amp;)?(?:{entity});?|{re.escape(letter)})"


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
