"""The pytest plugin, in suites of its users: each runs in a process of its own, with that plugin for async tests."""

import subprocess
import sys
import textwrap

import pytest
from test_readme import SUITES

pytest_plugins = ["pytester"]

OURS = "omni_async.testing"
ASYNCIO = "[pytest]\nasyncio_mode={}\nasyncio_default_fixture_loop_scope=function\n"
ANYIO = "[pytest]\nanyio_mode=auto\n"
PLUGINS = {  # what is loaded, and how it is configured
    "pytest-asyncio, strict": (["asyncio"], ASYNCIO.format("strict")),
    "pytest-asyncio, auto": (["asyncio"], ASYNCIO.format("auto")),
    "pytest-aiohttp": (["asyncio", "aiohttp"], ASYNCIO.format("auto")),
    "anyio": (["anyio"], ANYIO),
}

COMMON = """
import asyncio
import pytest
from omni_async import OmniClient, PollPolicy

async def make(prompt="a cat"):
    async with OmniClient(poll=PollPolicy(fixed=0.02)) as client:
        return await client.generate(prompt)
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Runs a suite of tests under the plugins named, all warnings being errors."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def run(source, *arguments, plugins=(), ini="[pytest]\n"):
        pytester.makefile(".ini", pytest=ini)
        pytester.makepyfile(COMMON + textwrap.dedent(source))
        loaded = [word for name in (*plugins, OURS) for word in ("-p", name)]
        return pytester.runpytest_subprocess("-W", "error", "--strict-markers", *loaded, *arguments, timeout=60)

    return run


@pytest.fixture(params=PLUGINS)
def loaded(request):
    """A plugin for async tests, and its configuration."""
    plugins, ini = PLUGINS[request.param]
    return {"plugins": plugins, "ini": ini}


BACKEND = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_async_tests_and_fixtures_reach_it(suite, loaded):
    """The same emulator serves an async fixture, the async test and their clients."""
    done = suite(
        f"""
        {textwrap.indent(BACKEND, "        ").strip() if loaded["plugins"] == ["anyio"] else ""}

        fixture = pytest.fixture
        if {"asyncio" in loaded["plugins"]}:
            import pytest_asyncio
            fixture, pytestmark = pytest_asyncio.fixture, pytest.mark.asyncio

        @fixture
        async def client(omni_emulator):
            async with OmniClient(poll=PollPolicy(fixed=0.02)) as client:
                yield client

        async def test_async(client, omni_emulator):
            await client.generate("a cat")
            assert [charge.gateway for charge in omni_emulator.ledger.charges] == ["jimmy"]

        async def test_another(client, omni_emulator):
            await make("a dog")
            await client.generate("a cat")
            assert len(omni_emulator.ledger.charges) == 2
        """,
        **loaded,
    )
    done.assert_outcomes(passed=2)


def test_an_app_under_test_reaches_it_by_the_environment(suite):
    """pytest-aiohttp: the handler's own client needs no argument."""
    done = suite(
        """
        from aiohttp import web

        async def videos(request):
            task = await make()
            return web.json_response({"id": task.task_id})

        async def test_app(aiohttp_client, omni_emulator):
            app = web.Application()
            app.router.add_post("/videos", videos)
            client = await aiohttp_client(app)
            answer = await client.post("/videos")
            assert (await answer.json())["id"] == omni_emulator.ledger.charges[0].task_id
        """,
        plugins=PLUGINS["pytest-aiohttp"][0],
        ini=PLUGINS["pytest-aiohttp"][1],
    )
    done.assert_outcomes(passed=1)


def test_sync_tests_need_no_plugin(suite):
    """Code that brings its own loops, one after the other, and threads with loops."""
    done = suite(
        """
        import threading

        def test_loops(omni_emulator):
            asyncio.run(make())
            threads = [threading.Thread(target=lambda: asyncio.run(make())) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(omni_emulator.ledger.charges) == 4
        """
    )
    done.assert_outcomes(passed=1)


def test_a_foreign_event_loop_policy_does_not_reach_it(suite):
    """uvloop for the tests, asyncio's own loop for the emulator."""
    pytest.importorskip("uvloop")
    done = suite(
        """
        import uvloop

        def test_uvloop(omni_emulator):
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(make())
        """
    )
    done.assert_outcomes(passed=1)


def test_the_marker_sets_the_scenario(suite):
    """Fields of a class and of its test are taken together, the test's own first; a whole Scenario replaces them."""
    done = suite(
        """
        from omni_async import TaskFailedError
        from omni_async.emulator import InjectedFault, Scenario

        pytestmark = pytest.mark.omni_emulator(price=3)

        @pytest.mark.omni_emulator(balance=5, price=2)
        class TestMarked:
            @pytest.mark.omni_emulator(task_seconds=0, faults=[InjectedFault("moderation")])
            def test_fields(self, omni_emulator):
                assert (omni_emulator.scenario.balance, omni_emulator.scenario.price) == (5, 2)
                with pytest.raises(TaskFailedError):
                    asyncio.run(make())

            @pytest.mark.omni_emulator(Scenario(latency=0.01), balance=7)
            def test_scenario(self, omni_emulator):
                assert omni_emulator.scenario == Scenario(latency=0.01, balance=7)

        @pytest.mark.omni_emulator(keys=["sk-right"])
        def test_key(omni_emulator):
            asyncio.run(make())

        def test_quick(omni_emulator):
            assert omni_emulator.scenario.task_seconds == 0.1
        """
    )
    done.assert_outcomes(passed=4)


def test_the_marker_alone_brings_the_emulator(suite, monkeypatch):
    """A marked test that does not name the fixture pays nothing either; nor do its own fixtures, or a `TestCase`."""
    monkeypatch.setenv("JIMMYAI_API_KEY", "sk-real")
    done = suite(
        """
        import os
        import unittest

        @pytest.fixture
        def key():
            return os.environ["JIMMYAI_API_KEY"]

        @pytest.mark.omni_emulator(balance=5)
        @pytest.mark.parametrize("prompt", ["a cat", "a dog"])
        def test_marked(key, prompt):
            assert key == "sk-emulator"
            asyncio.run(make(prompt))

        @pytest.mark.omni_emulator
        class TestOld(unittest.TestCase):
            def test_marked(self):
                asyncio.run(make())

        def test_unmarked(key):
            assert key == "sk-real"
        """
    )
    done.assert_outcomes(passed=4)


MISSPELT = {
    "task_second=4": "*omni_emulator: Scenario has no field 'task_second'; did you mean 'task_seconds'?",
    "faults=[{'kind': 'drop', 'frist': 1}]": "*InjectedFault has no field 'frist'; did you mean 'first'?",
    "task_seconds='soon'": "*Scenario.task_seconds must be a number >= 0, not 'soon'",
    "'jimmy'": "*omni_emulator takes one Scenario, and fields of it by name",
}
"""What is marked, and what is said to it."""


def test_a_misspelt_scenario_is_refused(suite):
    """Each test is in error before it runs, and the text names what is wrong and what was meant."""
    marked = [
        f"@pytest.mark.omni_emulator({words})\ndef test_{number}(omni_emulator):\n    raise SystemError\n"
        for number, words in enumerate(MISSPELT)
    ]
    done = suite("\n".join(marked))
    done.assert_outcomes(errors=len(MISSPELT))
    done.stdout.fnmatch_lines([*MISSPELT.values()])
    done.stdout.no_fnmatch_line("*During handling*")


def test_an_outage_is_made_from_the_tests_own_loop(suite):
    """Stopped, it refuses connections; started again, it has the same address and knows its tasks."""
    done = suite(
        """
        async def test_outage(omni_emulator):
            async with OmniClient(poll=PollPolicy(fixed=0.02)) as client:
                task, url = await client.submit("a cat"), omni_emulator.url
                await omni_emulator.stop()
                await omni_emulator.stop()
                await asyncio.sleep(0.1)
                await omni_emulator.start()
                assert (await client.wait(task)).video_url.startswith(url)
            with pytest.raises(RuntimeError, match="running already"):
                await omni_emulator.start()
            omni_emulator.skip(3600)
        """,
        plugins=PLUGINS["pytest-asyncio, auto"][0],
        ini=PLUGINS["pytest-asyncio, auto"][1],
    )
    done.assert_outcomes(passed=1)


def test_the_environment_is_put_back(suite, monkeypatch):
    """Real keys are out of reach in a test that uses it, and there again afterwards."""
    monkeypatch.setenv("TOAPIS_API_KEY", "sk-real")
    monkeypatch.delenv("JIMMYAI_API_KEY", raising=False)
    done = suite(
        """
        import os

        def test_within(omni_emulator, monkeypatch):
            monkeypatch.undo()
            assert os.environ["TOAPIS_API_KEY"] == os.environ["JIMMYAI_API_KEY"] == "sk-emulator"
            assert os.environ["TOAPIS_BASE_URL"] == omni_emulator.url

        def test_afterwards():
            assert os.environ["TOAPIS_API_KEY"] == "sk-real"
            assert not {"JIMMYAI_API_KEY", "TOAPIS_BASE_URL"} & {*os.environ}
        """
    )
    done.assert_outcomes(passed=2)


def test_many_processes_have_each_their_own(suite):
    """Under xdist no port is asked for twice."""
    done = suite(
        """
        @pytest.mark.parametrize("n", range(12))
        def test_one(omni_emulator, n):
            asyncio.run(make())
            assert len(omni_emulator.ledger.charges) == 1
        """,
        *("-n", "3"),
        plugins=["xdist"],
    )
    done.assert_outcomes(passed=12)


def test_pytest_finds_it_by_itself(suite, monkeypatch):
    """The entry point is enough, and naming it as well does no harm."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    ini = "[pytest]\nasyncio_default_fixture_loop_scope=function\n"
    source = "def test_it(omni_emulator):\n    assert omni_emulator.url\n"
    suite(source, ini=ini).assert_outcomes(passed=1)
    found = suite(source, "--markers", "-p", "omni_async.testing", ini=ini)
    found.stdout.fnmatch_lines(["@pytest.mark.omni_emulator(scenario=None, /, *"])


def test_loading_it_imports_only_the_packages_first_page():
    """In a bare interpreter: pytest itself, and the modules that `import omni_async` takes."""
    program = (
        "import sys, pytest; before = {*sys.modules}; import omni_async.testing; "
        "print(sorted(name for name in {*sys.modules} - before if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    ours = ["", ".errors", ".lazy", ".testing", ".version"]
    assert done.stdout.strip() == str([f"omni_async{name}" for name in ours])


def test_a_program_that_uses_the_package_can_start_pytest(pytester, monkeypatch):
    """As notebooks do: no warning that its modules are there already, which comes where they are copied, not linked."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    program = pytester.makepyfile(
        program="""
        import importlib.metadata as metadata
        import omni_async, pytest

        ours = metadata.distribution("omni-async")
        whole = [metadata.PackagePath("omni_async/__init__.py"), metadata.PackagePath("omni_async/testing.py")]
        type(ours).files = property(lambda self: whole if self.name == ours.name else None)
        raise SystemExit(pytest.main(["-W", "error", "-p", "no:asyncio", "-p", "no:aiohttp", "test_it.py"]))
        """
    )
    pytester.makepyfile(test_it="def test_it(omni_emulator):\n    assert omni_emulator.url\n")
    pytester.makefile(".ini", pytest="[pytest]\n")
    assert pytester.runpython(program).ret == 0


@pytest.mark.parametrize("source", SUITES, ids=lambda source: source.split("def ")[1].split("(")[0])
@pytest.mark.parametrize("mode", ["pytest-asyncio, auto", "pytest-aiohttp", "anyio"])
def test_the_suites_of_the_readme_pass(suite, source, mode):
    """A test copied from the README passes under each plugin's auto mode."""
    plugins, ini = PLUGINS[mode]
    suite(BACKEND + source, plugins=plugins, ini=ini).assert_outcomes(passed=source.count("def test_"))
