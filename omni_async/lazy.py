"""What is loaded or made when it is first asked for: who does not use it does not pay for it."""

import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")

TRIES, PAUSE = 10, 0.01
"""Of one import while other threads load too, and the seconds between two, in which another goes on."""


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562).

    Beside it the same names are imported for type checkers, so that they are seen where they come from.

    Args:
        package: Its `__name__`.
        homes: The module of each name, as in `.batch`.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - what it is
        if name not in homes:
            return _module(package, name)
        found = getattr(_imported(homes[name], package), name)
        setattr(sys.modules[package], name, found)
        return found

    return __getattr__


def _module(package: str, name: str) -> Any:
    """A module of the package, which may not have been imported yet."""
    try:
        if not name.startswith("_"):
            return _imported(f".{name}", package)
    except ModuleNotFoundError as error:
        if error.name != f"{package}.{name}":
            raise
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


def _imported(module: str, package: str) -> Any:
    """A module, also when another thread is just loading what it needs.

    One thread that loads a package and one that loads a module of it can wait for each other (CPython's gh-83065; often
    on 3.14). One of the two is told so by a RuntimeError of no public name, and the other goes on if that one lets go.
    """
    for _ in range(TRIES - 1):
        try:
            return import_module(module, package)
        except RuntimeError as error:
            if type(error).__name__ != "_DeadlockError":
                raise
        time.sleep(PAUSE)
    return import_module(module, package)


class Late(Generic[T]):
    """What is made when it is first asked for, by calling this.

    Args:
        make: Makes it, and loads what that takes.
    """

    __slots__ = ("_make", "made")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.made: T | None = None
        """It, if it was asked for."""

    def __call__(self) -> T:
        """It, always the same."""
        if self.made is None:
            self.made = self._make()
        return self.made
