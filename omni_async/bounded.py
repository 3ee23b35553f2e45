"""A mapping that keeps the last so many: what is remembered of ever new ids must not grow for ever."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V]):
    """A dict that forgets its oldest key for each one too many; a key that is set again stays as old as it was.

    An `OrderedDict`: to find its oldest key a plain one walks over all it has forgotten.

    Args:
        most: Keys kept at most.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        """Set a key, by `setdefault` too."""
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)
