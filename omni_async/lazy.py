"""What is loaded or made when it is first asked for: who does not use it does not pay for it."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

T = TypeVar("T")


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
        found = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, found)
        return found

    return __getattr__


def _module(package: str, name: str) -> Any:
    """A module of the package, which may not have been imported yet."""
    try:
        if not name.startswith("_"):
            return import_module(f".{name}", package)
    except ModuleNotFoundError as error:
        if error.name != f"{package}.{name}":
            raise
    raise AttributeError(f"module {package!r} has no attribute {name!r}")


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
