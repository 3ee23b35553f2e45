"""Exchanges with a gateway as samples that can be shown: no key, no signed query, no prompt, ids as they are.

What is not known to be harmless is left out, so that a field that a gateway adds tomorrow is left out as well.
"""

import re
import unicodedata
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from .dialects import Call, Reply
from .dialects.verdict import QUOTED, SHORTEST, without
from .dialects.wire import MISSING

LEFT_OUT = "…"
LONGEST = 500
"""Letters kept of a gateway's words."""

PLAIN = re.compile(r"(?!sk[-_])[\w.:+~-]{0,200}", re.ASCII | re.IGNORECASE)
"""What the fields below hold: an id, a name, a time; nothing that looks like a key."""
SETTINGS = frozenset(
    "model mode duration resolution aspect_ratio orientation generation_type client_business_id".split()
)
FACTS = SETTINGS | frozenset(
    "task_id id status code type object created_at completed_at expires_at mime_type task_type".split()
)
WORDS = frozenset({"msg", "message", "error_message", "error"})
"""Fields in which gateways explain themselves; they may quote the prompt."""
LINKS = frozenset({"video_url", "url"})
REFERENCES = frozenset({"image_urls", "images", "video_urls"})
HEADERS = ("content-type", "retry-after")

_LINK = re.compile(
    r"[a-z]+(?:://|%3A%2F%2F|:\\/\\/)\S+|\bdata:\S+|(?<!\S)\S*(?:[?&]|%3F|%26)[\w.~%-]+?(?:=|%3D)\S*", re.IGNORECASE
)
"""Also one without scheme or host, as in a server's log, and an encoded one: it is the query that can be signed."""
_KEY = re.compile(r"\b(?:Bearer|Basic)\s+\S+|\bsk[-_][\w*.-]+|\b[\w-]*(?:token|key|secret|password)=\S+", re.IGNORECASE)
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Taken:
    """One exchange as it was. `reply` is None where the answer was lost.

    Args:
        gateway: Its name.
        call: What was sent.
        reply: What came back.
        at: Wall time of the answer, aware.
    """

    gateway: str
    call: Call = attrs.field(repr=False)
    reply: Reply | None = attrs.field(repr=False)
    at: datetime


@attrs.define(eq=False)
class Scrubber:
    """Makes samples of exchanges, the same stand-in for the same prompt or reference throughout.

    Args:
        prompts: Whether prompts and references are kept.
    """

    prompts: bool = False
    _said: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)
    _links: dict[str, str] = attrs.field(factory=dict, init=False, repr=False)

    def sample(self, taken: Taken) -> dict[str, Any]:
        """An exchange as plain JSON data: what was called, how it was answered, and the answer."""
        call, reply = taken.call, taken.reply
        asked = {"method": call.method, "path": call.path}
        if call.params:
            asked["params"] = LEFT_OUT
        told = asked if call.body is None else {**asked, "body": self._sent(dict(call.body), "")}
        meta = {"source": "recorded", "kind": call.kind.value, "at": taken.at.isoformat()}
        if reply is None:
            return {"meta": {**meta, "status": None}, "call": told, "answer": None}
        headers = {name: value for name in HEADERS if (value := self._header(reply, name)) is not None}
        document = None if reply.document is MISSING else self._answered(reply.document, "")
        return {"meta": {**meta, "status": reply.status, "headers": headers}, "call": told, "answer": document}

    def _header(self, reply: Reply, name: str) -> str | None:
        value = reply.headers.get(name)
        return value if value is not None and re.fullmatch(r"[\w./;=,: +-]{1,200}", value) else None

    def _sent(self, value: Any, name: str) -> Any:
        """A part of what was sent; `name` is the field it stands in."""
        if isinstance(value, dict):
            return {_name(key): self._sent(part, key) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._sent(part, name) for part in value]
        if not isinstance(value, str):
            return value if name in SETTINGS or isinstance(value, bool | None) else LEFT_OUT
        if name == "prompt":
            return self._prompt(value)
        if name in REFERENCES:
            return unsigned(value) if self.prompts else self._link(value)
        return value if name in SETTINGS and PLAIN.fullmatch(value) else LEFT_OUT

    def _prompt(self, prompt: str) -> str:
        stand_in = self._said.setdefault(prompt, f"prompt {len(self._said) + 1}")
        return prompt if self.prompts else stand_in

    def _link(self, link: str) -> str:
        """A stand-in: links' names and paths can tell as much as their queries."""
        return self._links.setdefault(unsigned(link), f"https://link.example/{len(self._links) + 1}")

    def _answered(self, value: Any, name: str) -> Any:
        """A part of an answer."""
        if isinstance(value, dict):
            return {_name(key): self._answered(part, key) for key, part in value.items()}
        if isinstance(value, list):
            return [self._answered(part, name) for part in value]
        if not isinstance(value, str):
            return value
        if name in FACTS and PLAIN.fullmatch(value):
            tells = not self.prompts and any(prompt in value for prompt in self._said if len(prompt) >= QUOTED)
            return LEFT_OUT if tells else value
        if name in LINKS:
            return self._link(value)
        return self._words(value) if name in WORDS else LEFT_OUT

    def _words(self, said: str) -> str:
        """What a gateway said, without links, what looks like a key, and prompts.

        In this order: a stand-in within a link would end it, and show its query.
        """
        said = _bare(said[: 2 * LONGEST])
        if not self.prompts:
            for prompt, stand_in in sorted(self._said.items(), key=lambda pair: -len(pair[0])):
                for spelling in (prompt, _bare(prompt)):
                    said = without(said, spelling, stand_in) if len(spelling) >= SHORTEST else said
            if self._quoted(said):
                return LEFT_OUT
        return said[:LONGEST]

    def _quoted(self, said: str) -> bool:
        """Whether a part of a prompt is left, in whatever spelling: from its middle, escaped, in other letters."""
        text = _letters(said)
        parts = {text[start : start + QUOTED] for start in range(len(text) - QUOTED + 1)}
        return bool(parts) and any(
            prompt[start : start + QUOTED] in parts
            for prompt in map(_letters, self._said)
            for start in range(len(prompt) - QUOTED + 1)
        )


def _letters(text: str) -> str:
    """Letters and digits alone, however they are written."""
    plain = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), unquote(text))
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", plain).casefold()))


def _bare(text: str) -> str:
    return _KEY.sub(LEFT_OUT, _LINK.sub(LEFT_OUT, text))


def _name(key: str) -> str:
    return key if PLAIN.fullmatch(key) else LEFT_OUT


def unsigned(link: str) -> str:
    """A link without user, query and fragment, which can be signed; an inline one is left out."""
    try:
        parts = urlsplit(link)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return LEFT_OUT
    if parts.scheme not in ("http", "https", ""):
        return LEFT_OUT
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else parts.path
