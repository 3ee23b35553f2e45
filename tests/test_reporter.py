"""The caller's `on_event`: whatever it does, the library goes on."""

import asyncio

import pytest

from omni_async.events import Retried
from omni_async.reporter import Reporter


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError, pytest.fail.Exception])
def test_what_on_event_raises_is_logged_once_and_swallowed(fault, caplog):
    """A consumer's fault is not the library's: no paid id is lost by it, and nothing is followed the less."""

    def fail(_event):
        raise fault("mine")

    report = Reporter(fail)
    for _ in range(3):
        report(Retried(gateway="jimmy", kind="poll", reason="x", attempt=1, delay=1.0))
    assert caplog.text.count("on_event raised") == 1
    Reporter(None)(Retried(gateway="jimmy", kind="poll", reason="x", attempt=1, delay=1.0))


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_not_swallowed(end):
    """Ctrl-C may come in the middle of it."""

    def fail(_event):
        raise end

    with pytest.raises(end):
        Reporter(fail)(Retried(gateway="jimmy", kind="poll", reason="x", attempt=1, delay=1.0))
