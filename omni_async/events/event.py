"""What all events have in common, and who takes them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from ..models import VideoTask


@attrs.frozen(kw_only=True)
class Event:
    """Common to all events: which gateway, and whose request."""

    gateway: str
    custom_id: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)


OnEvent = Callable[[Event], None]
"""What takes events: `on_event`."""
OnFinished = Callable[[VideoTask], Awaitable[None] | None]
"""What takes finished tasks: `on_finished`."""


def fan_out(*consumers: Callable[[Event], object]) -> OnEvent:
    """One `on_event` for several consumers: each gets every event, also when another one raises.

    Raises:
        ExceptionGroup: From the function given back: what they raised, after all were called.
    """

    def tell(event: Event) -> None:
        raised: list[Exception] = []
        for consumer in consumers:
            try:
                consumer(event)
            except Exception as error:
                raised.append(error)
        if raised:
            raise ExceptionGroup("consumers of events raised", raised)

    return tell
