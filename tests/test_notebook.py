"""In a real Jupyter kernel: what is awaited at the top level of cells, run again, interrupted, and forgotten."""

import importlib.util
import json
import os
import re
from pathlib import Path

import anyio
import pytest

from omni_async.emulator import InjectedFault, ThreadedEmulator

MISSING = [name for name in ("ipykernel", "jupyter_client") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"no Jupyter kernel here: pip install {' '.join(MISSING)}")

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
CELLS = re.findall(r"```py\n(.*?)```", README.partition("### In a notebook\n")[2].partition("\n## ")[0], re.DOTALL)
KEY = "sk-CANARY-KEY"
CLIENT = """
from omni_async import OmniClient, PollPolicy
client = OmniClient("jimmy", journal="j", poll=PollPolicy(fixed=0.05))
"""
IMPATIENT = """
import functools, omni_async
omni_async.OmniClient = functools.partial(omni_async.OmniClient, poll=omni_async.PollPolicy(fixed=0.05))
"""
SECONDS = 30.0
"""How long a cell may take; none comes near it."""


class Notebook:
    """A kernel whose cells are run one by one."""

    def __init__(self, kernel, cells):
        self._kernel, self._cells = kernel, cells

    async def run(self, cell, *, whole=False):
        """What a cell printed and showed, and its error's name if it ended in one, or the whole traceback."""
        seen = []
        await self._cells.execute_interactive(cell, timeout=SECONDS, output_hook=seen.append)
        return "".join(shown(message["header"]["msg_type"], message["content"], whole=whole) for message in seen)

    async def interrupted(self, cell, when):
        """What a cell gave that is interrupted once `when()` is true, as by the notebook's stop button."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop, when)
            return await self.run(cell)

    async def _stop(self, when):
        await until(when)
        await self._kernel.interrupt_kernel()

    async def killed(self, cell, when):
        """A cell during which the kernel is killed, once `when()` is true."""
        self._cells.execute(cell)
        await until(when)
        await self.restart(kill=True)

    async def restart(self, *, kill=False):
        """As by the notebook's menu: the kernel ends, in whatever state it is, and another begins."""
        await self._kernel.restart_kernel(now=kill)
        await self._cells.wait_for_ready(SECONDS)


def shown(kind, content, *, whole=False):
    """A message of the kernel as the text that stands below the cell."""
    if kind == "error":
        return "\n".join(content["traceback"]) if whole else content["ename"]
    data = content.get("data", {})
    return {"stream": content.get("text"), "execute_result": str(data) if whole else data.get("text/plain")}.get(
        kind, ""
    )


async def until(true):
    """Wait for another process, until something is so."""
    with anyio.fail_after(SECONDS):
        while not true():  # noqa: ASYNC110 - another process sets no event
            await anyio.sleep(0.005)


@pytest.fixture
def gateway():
    """An emulator in real time; what is asked of it slowly is answered after a while."""
    slow = InjectedFault("hang", prompt="slowly", seconds=0.5)
    with ThreadedEmulator(task_seconds=0.3, queue_seconds=0.0, faults=(slow,)) as emulator:
        yield emulator


@pytest.fixture
async def notebook(gateway, tmp_path):
    """A notebook whose environment points to the emulator."""
    from jupyter_client.manager import AsyncKernelManager

    private = {f"JUPYTER_{kind}_DIR": str(tmp_path / ".jupyter") for kind in ("RUNTIME", "CONFIG", "DATA")}
    account = {"JIMMYAI_API_KEY": KEY, "JIMMYAI_BASE_URL": gateway.url}
    kernel = AsyncKernelManager(connection_file=str(tmp_path / "kernel.json"))
    environment = {**os.environ, **private, **account, "IPYTHONDIR": str(tmp_path / ".ipython")}
    await kernel.start_kernel(cwd=str(tmp_path), env=environment)
    cells = kernel.client()
    cells.start_channels()
    try:
        await cells.wait_for_ready(SECONDS)
        yield Notebook(kernel, cells)
    finally:
        cells.stop_channels()
        await kernel.shutdown_kernel(now=True)


async def test_the_readmes_cells_run_as_they_stand_and_again(notebook, gateway, tmp_path):
    """A client made in one cell serves the others; run again, also in a new kernel, they pay nothing more."""
    assert len(CELLS) == 3
    ids = set()
    for _ in range(2):
        assert await notebook.run(IMPATIENT + CELLS[0]) == ""
        ids |= {await notebook.run(CELLS[1]), await notebook.run(CELLS[1])}
        assert "succeeded 100\n" in await notebook.run(CELLS[2])
        await notebook.restart()
    assert len(ids) == len(gateway.ledger.charges) == 1
    assert (tmp_path / "cat.mp4").read_bytes()[4:8] == b"ftyp"


async def test_the_cell_that_makes_the_client_may_be_run_again(notebook, gateway):
    """A second client in the same kernel shares the first one's journal; what the first one follows is not lost."""
    task = await notebook.run(CLIENT + 'task = await client.submit("a cat", custom_id="c")\ntask.task_id')
    assert await notebook.run(CLIENT + 'again = await client.submit("a cat", custom_id="c")\nagain.task_id') == task
    told = await notebook.run("print((await client.wait(task)).status)")
    assert told.endswith("succeeded\n")  # before it can stand that the first one was dropped
    assert len(gateway.ledger.charges) == 1


async def test_an_interrupted_create_goes_on_to_its_end(notebook, gateway):
    """Stopped while the POST waits for its answer: it is told as unclaimed, and the same cell again pays nothing."""
    await notebook.run(CLIENT)
    cell = 'task = await client.submit("slowly", custom_id="c")\ntask.task_id'
    assert "CancelledError" in await notebook.interrupted(cell, lambda: gateway.ledger.charges)
    task = await notebook.run(cell)
    assert "task_" in task
    assert await notebook.run("[outcome.task.task_id for outcome in client.unclaimed()][0]") == task
    assert len(gateway.ledger.charges) == 1


async def test_an_interrupted_wait_is_waited_again(notebook, gateway):
    """Stopped while it waits: the client and the task go on."""
    await notebook.run(CLIENT + 'task = await client.submit("a cat")')
    seen = len(gateway.ledger.requests)
    assert "CancelledError" in await notebook.interrupted(
        'await client.wait("task_of_another", timeout=60)', lambda: len(gateway.ledger.requests) > seen
    )
    assert await notebook.run("print((await client.wait(task)).status, client.stats().uncertain)") == "succeeded 0\n"


async def test_a_kernel_that_ends_without_aclose_loses_no_id(notebook, gateway):
    """Nobody waits for the tasks and nobody closes the client: the next kernel resumes every one of them."""
    await notebook.run(CLIENT + 'tasks = [await client.submit(f"cat {n}", custom_id=f"c{n}") for n in range(3)]')
    await notebook.restart()
    resumed = await notebook.run(CLIENT + "print(sorted([o.task.task_id async for o in client.resume()]))")
    paid = sorted(charge.task_id for charge in gateway.ledger.charges)
    assert len(paid) == 3
    known = await notebook.run(
        'print(sorted([(await client.submit(f"cat {n}", custom_id=f"c{n}")).task_id for n in range(3)]))'
    )
    assert known == f"{paid}\n"
    assert set(json.loads(resumed.replace("'", '"'))) <= set(paid)
    assert len(gateway.ledger.charges) == 3


async def test_a_kernel_that_ends_during_a_create_never_pays_it_twice(notebook, gateway):
    """Killed before the answer came, the create is uncertain in the next kernel, and is not sent again by itself."""
    await notebook.run(CLIENT)
    await notebook.killed('await client.submit("slowly", custom_id="c")', lambda: gateway.ledger.charges)
    assert "SubmissionUncertainError" in await notebook.run(CLIENT + 'await client.submit("slowly", custom_id="c")')
    assert len(gateway.ledger.charges) == 1


async def test_a_task_is_shown_as_a_card(notebook):
    """A table for the eye beside the text, while it runs and when it has ended."""
    await notebook.run(CLIENT + 'task = await client.submit("a cat")')
    assert "<caption>running</caption>" in await notebook.run("task", whole=True)
    done = await notebook.run("await client.wait(task)", whole=True)
    assert "<caption>succeeded</caption>" in done
    assert "text/plain" in done


async def test_no_output_of_a_notebook_holds_a_secret(notebook, gateway):
    """What a notebook shows of clients, tasks, outcomes and errors, tracebacks with locals too, is saved in it."""
    cells = [
        CLIENT + "client",
        "%xmode Verbose",
        'said = lambda: "CANA" + "RY prompt"',  # a traceback quotes the cell, and tells what its variables hold
        'task = await client.submit(said(), custom_id="c")\ntask',
        "done = await client.wait(task)\ndone",
        "async for outcome in client.generate_many([said()]): print(outcome)",
        "await client.submit(said(), duration=7)",
        'await client.query("nobody")',
        "client.stats(), client.unclaimed()",
    ]
    shown = "".join([await notebook.run(cell, whole=True) for cell in cells])
    assert "InvalidRequestError" in shown
    assert "NotFoundError" in shown
    assert KEY not in shown
    assert not re.search(r"\.mp4\?\w", shown)
    assert "CANARY" not in shown
