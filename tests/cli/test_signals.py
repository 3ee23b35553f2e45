"""Ctrl-C and SIGTERM: the first ends in good order, the second at once."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest

from omni_async.cli import running
from omni_async.cli.board import BoardRow
from omni_async.cli.ledgers import own_path
from omni_async.cli.running import Interrupts
from omni_async.cli.screen import Screen, Show

from .conftest import PATIENCE, command, environment, until
from .test_emulate import interrupt

PROMPT = "a cat nobody else may read about"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_wait_tells_how_to_go_on(omni, gateway, number, code):
    """The task is at the gateway: its id and the resuming command are told, and the code is the signal's."""
    running_gateway = gateway(task_seconds=30)
    interrupt(number, once=lambda: running_gateway.emulator.ledger.requests["query"])
    ran = omni("generate", PROMPT, "--base-url", running_gateway.url, "--poll", "0.05")
    task_id = running_gateway.emulator.ledger.charges[0].task_id
    assert ran.code == code
    assert "stopping: creates in flight are waited for; once more leaves at once\n" in ran.err
    assert ran.err.endswith(f"  omni-async wait {task_id} --gateway jimmy --base-url {running_gateway.url}\n")
    assert "warning" not in ran.err  # that nobody waits any more is what was asked for


def test_a_create_in_flight_is_waited_for(omni, gateway):
    """Interrupted while the POST is out, its answer still comes, and with it the id."""
    running_gateway = gateway(task_seconds=30, latency=0.6)
    interrupt(once=lambda: running_gateway.emulator.ledger.charges)
    ran = omni("generate", PROMPT, "--base-url", running_gateway.url, "-o", "cat.mp4")
    (charge,) = running_gateway.emulator.ledger.charges
    assert ran.code == 130
    assert f"task {charge.task_id}; should this end early" in ran.err
    assert "go on with" in ran.err
    assert "unclaimed()" not in ran.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_generate_gives_its_document(omni, gateway, number, code):
    """A program that reads JSON learns the id too, of a create that was in flight as well."""
    running_gateway = gateway(task_seconds=30, latency=0.6)
    interrupt(number, once=lambda: running_gateway.emulator.ledger.charges)
    ran = omni("generate", PROMPT, "--base-url", running_gateway.url, "--json")
    (charge,) = running_gateway.emulator.ledger.charges
    assert ran.code == code
    assert json.loads(ran.out) == {"task_id": charge.task_id, "status": "queued", "gateway": "jimmy"}


def test_the_second_ctrl_c_leaves_at_once(started, gateway):
    """A create that hangs does not hold anybody who asks twice."""
    running_gateway = gateway(latency=300)
    process = started("generate", PROMPT, "--base-url", running_gateway.url)
    until(lambda: running_gateway.emulator.ledger.charges)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("stopping")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 10
    assert process.returncode == 130
    assert err == "left at once: a create that was in flight may have been charged; look in the gateway's console\n"


def test_timeouts_two_signals_are_one(started, gateway):
    """`timeout` ends the process and then its group: a create in flight is waited for all the same."""
    running_gateway = gateway(task_seconds=30, latency=1.0)
    process = started("generate", PROMPT, "--base-url", running_gateway.url)
    until(lambda: running_gateway.emulator.ledger.requests["create"])
    process.send_signal(signal.SIGTERM)
    assert process.stderr.readline().startswith("stopping")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "left at once" not in err
    assert running_gateway.emulator.ledger.charges[0].task_id in err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal there hangs up")
@pytest.mark.parametrize("more", [(), (signal.SIGHUP,), (signal.SIGTERM,)])
def test_a_closed_terminal_loses_no_create(gateway, more):
    """A create in flight is waited for, whatever shell and system send besides; `wait` finds its task."""
    running_gateway = gateway(task_seconds=30, latency=1.0)
    terminal, theirs = os.openpty()
    process = subprocess.Popen(
        command("generate", PROMPT, "--base-url", running_gateway.url),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm"),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup themselves
    )
    os.close(theirs)
    until(lambda: running_gateway.emulator.ledger.charges)
    os.close(terminal)  # from now on each word written there is an error
    for number in (signal.SIGHUP, *more):
        process.send_signal(number)
    assert process.wait(PATIENCE) in {128 + number for number in (signal.SIGHUP, *more)}  # whichever is seen first
    with contextlib.closing(sqlite3.connect(own_path())) as rows:
        (charge,) = running_gateway.emulator.ledger.charges
        assert rows.execute("SELECT task_id FROM item").fetchall() == [(charge.task_id,)]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal there hangs up")
def test_under_nohup_a_closed_terminal_is_nothing(gateway, monkeypatch):
    """Who has it ignored wants the command to go on."""
    monkeypatch.setattr(running.signal, "getsignal", lambda _number: signal.SIG_IGN)
    taken = []

    async def listen():
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_signal_handler", lambda number, *_: taken.append(number), raising=False)
        Interrupts(asyncio.current_task(), Screen(Show())).listen()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(listen())
    assert taken == [signal.SIGINT, signal.SIGTERM]


def test_leaving_at_once_in_this_process(monkeypatch, capsys):
    """The second signal gives the terminal back, tells what is left and exits with the first one's code."""
    left = []
    monkeypatch.setattr(running.os, "_exit", left.append)

    async def wait():
        screen = Screen(Show(progress="plain"))
        screen.resume = "--gateway jimmy"
        screen.board.add("1", BoardRow(label="x", task_id="task_1"))
        task = asyncio.get_running_loop().create_task(asyncio.sleep(10))
        interrupts = Interrupts(task, screen)
        async with screen:
            interrupts.received(signal.SIGTERM)
            interrupts.received(signal.SIGINT)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(wait())
    assert left == [143]
    assert "omni-async wait task_1 --gateway jimmy" in capsys.readouterr().err


def test_where_the_loop_takes_no_signals_python_does(monkeypatch, omni):
    """On Windows the loop has no signal handlers: Python's own hand over to the loop."""

    class Loop(asyncio.SelectorEventLoop):
        def add_signal_handler(self, *_args):
            raise NotImplementedError

    monkeypatch.setattr(running, "_loop_factory", lambda: Loop)
    interrupt(seconds=0.3)
    assert omni("emulator", "--port", "0").code == 0


def test_an_end_that_nobody_asked_for_is_no_exit_code():
    """A cancellation from outside stays one."""

    async def cancelled(_screen):
        raise asyncio.CancelledError

    async def guarded():
        with pytest.raises(asyncio.CancelledError):
            await running._guarded(cancelled, Screen(Show()))

    asyncio.run(guarded())


def test_uvloop_is_used_where_it_is_installed(monkeypatch):
    """Never on Windows, and not where it is missing."""
    import sys

    monkeypatch.setattr(running.sys, "platform", "win32")
    assert running._loop_factory() is None
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert running._loop_factory() is None
