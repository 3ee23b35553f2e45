"""Rules for one field of a request, as data: each is a function from the value to what is wrong with it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any], str | None]

RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")
PUBLIC_URL = re.compile(r"https?://[^ \t\r\n]+")
FILLED = re.compile(r"[^ \t\r\n\u3000]")  # spelt out, since \S differs between the languages of JSON Schema


def text(value: object) -> str | None:
    """Any string."""
    return None if isinstance(value, str) else "must be a string"


def filled_text(value: object) -> str | None:
    """A string with something in it besides white space."""
    return None if isinstance(value, str) and FILLED.search(value) else "must be a non-empty string"


def whole(value: object) -> str | None:
    """An integer as JSON Schema means it: 6.0 is one, true is not."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number and value == value // 1 else "must be an integer"  # type: ignore[operator]


def one_of(*allowed: object) -> Rule:
    """One of these values, of the same type."""
    wanted = "must be one of " + ", ".join(map(str, allowed))
    numbers = all(isinstance(item, int) for item in allowed)

    def check(value: object) -> str | None:
        fits = whole(value) is None if numbers else isinstance(value, str)
        return None if fits and value in allowed else wanted

    return check


def whole_between(least: int, most: int) -> Rule:
    """An integer in this range."""

    def check(value: Any) -> str | None:
        fits = whole(value) is None and least <= value <= most
        return None if fits else f"must be an integer from {least} to {most}"

    return check


def texts(value: object) -> str | None:
    """A list of strings."""
    fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return None if fits else "must be an array of strings"


def urls(*counts: int) -> Rule:
    """A list of http(s) URLs, so many of them; base64 data is refused."""
    wanted = " or ".join(map(str, counts))

    def check(value: Any) -> str | None:
        if texts(value) is not None:
            return "must be an array of strings"
        if not all(PUBLIC_URL.fullmatch(item) for item in value):
            return "must hold public http(s) URLs; base64 data is not supported"
        return None if not counts or len(value) in counts else f"must hold {wanted} URLs"

    return check


def short_text(most: int) -> Rule:
    """A non-empty string of at most so many characters."""

    def check(value: object) -> str | None:
        fits = isinstance(value, str) and 0 < len(value) <= most
        return None if fits else f"must be a string of 1 to {most} characters"

    return check


def faults(values: Mapping[str, Any], rules: Mapping[str, Rule], required: tuple[str, ...]) -> list[str]:
    """All that is wrong with the fields that have a rule, and the required ones that are missing."""
    found = [f"{name} is required" for name in required if name not in values]
    for name, rule in rules.items():
        wrong = rule(values[name]) if name in values else None
        if wrong is not None:
            found.append(f"{name} {wrong}")
    return found


def unknown(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> list[str]:
    """A complaint about fields that have no rule; names are shown escaped, since they can be anything."""
    return [f"unknown parameter {name!a}" for name in values if name not in rules]
