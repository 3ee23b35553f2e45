"""Where a client stands at this moment, put together from its parts."""

from datetime import UTC, datetime, timedelta

from .exchange import Exchange
from .models import Stats
from .poller import Poller
from .submit import Submitter


def snapshot(exchange: Exchange, poller: Poller, submitter: Submitter) -> Stats:
    """What is known of an account's limits, and what is under way."""
    load = exchange.limiter.load()
    return Stats(
        gateway=exchange.dialect.name,
        in_flight=load.in_flight,
        window=load.window,
        running=load.running,
        slots=load.slots,
        pace=load.pace,
        create_pace=load.create_pace,
        paused_until=datetime.now(UTC) + timedelta(seconds=load.paused_for) if load.paused_for else None,
        following=poller.following,
        waiting_creates=load.waiting_creates,
        uncertain=submitter.uncertain,
        unclaimed=len(submitter.posts.unclaimed),
    )
