"""Telling the caller's `on_event`, whatever it does."""

import logging

from .events import Event, OnEvent

logger = logging.getLogger("omni_async")


class Reporter:
    """Hands events to `on_event`; what that raises is logged once and swallowed.

    Args:
        on_event: The caller's function, or None.
    """

    __slots__ = ("_complained", "_on_event", "wanted")

    def __init__(self, on_event: OnEvent | None) -> None:
        self._on_event = on_event
        self._complained = False
        self.wanted = on_event is not None
        if self.wanted:
            from .events import kinds  # noqa: F401 - nothing is loaded while a paid create's answer is handled

    def __call__(self, event: Event) -> None:
        """Report one event."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # such as a test's own failure, or the CancelledError of a future that it asked
            if not self._complained:
                self._complained = True
                logger.exception("on_event raised; this is said once")
