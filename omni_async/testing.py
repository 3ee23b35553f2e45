"""A pytest plugin: the fixture `omni_emulator`, and the marker of the same name that sets its scenario.

pytest finds it by itself once the package is installed (`-p no:omni_async.testing` leaves it out). It imports nothing
of the package, and no aiohttp, before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .emulator import Scenario, ThreadedEmulator

MARKER = "omni_emulator"
QUICK = {"task_seconds": 0.1, "queue_seconds": 0.0}
"""What tests need not wait for; the marker's fields replace it."""
ACCOUNTS = ("JIMMYAI", "TOAPIS")
ANY_KEY = "sk-emulator"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, also under `--strict-markers`."""
    config.addinivalue_line(
        "markers",
        "omni_emulator(scenario=None, /, **fields): how the emulator of the fixture `omni_emulator` behaves; "
        "fields as in omni_async.emulator.Scenario, a test's own over those of its class and module.",
    )


@pytest.hookimpl(trylast=True)  # after those that set markers by themselves
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The marker brings the fixture: a marked test that does not name it must not pay with the real key."""
    for item in items:
        names: list[str] | None = getattr(item, "fixturenames", None)
        if names is not None and MARKER not in names and item.get_closest_marker(MARKER):
            names.insert(0, MARKER)  # before fixtures that make clients


@pytest.fixture
def omni_emulator(request: pytest.FixtureRequest) -> Iterator[ThreadedEmulator]:
    """A started emulator of all gateways, which the environment points to: `OmniClient()` needs no argument.

    It lives in a thread of its own, so tests may be async under any plugin, or not async at all. Tasks take 0.1 s
    unless the marker says otherwise: `@pytest.mark.omni_emulator(task_seconds=2, faults=[InjectedFault("drop")])`.
    """
    from .emulator import ThreadedEmulator  # where it is used, since this brings aiohttp

    scenario = _scenario(request.node)
    key = scenario.keys[0] if scenario.keys else ANY_KEY
    with ThreadedEmulator(scenario) as emulator, pytest.MonkeyPatch.context() as environment:
        for account in ACCOUNTS:  # real keys too: a client that is made now cannot pay
            environment.setenv(f"{account}_API_KEY", key)
            environment.setenv(f"{account}_BASE_URL", emulator.url)
        yield emulator


def _scenario(item: pytest.Item) -> Scenario:
    """What the markers of a test say, its own last; a failed test for what no scenario has."""
    import attrs

    from .emulator import Scenario

    scenario, fields = None, dict[str, Any](QUICK)
    for marker in reversed([*item.iter_markers(MARKER)]):
        if marker.args:
            scenario, fields = marker.args[0], {}
        fields |= marker.kwargs
        if len(marker.args) > 1 or not isinstance(scenario, Scenario | None):
            pytest.fail(f"@pytest.mark.{MARKER} takes one Scenario, and fields of it by name", pytrace=False)
    try:
        checked = Scenario.from_dict(fields)
    except ValueError as error:
        raise pytest.fail.Exception(f"@pytest.mark.{MARKER}: {error}", pytrace=False) from None
    return checked if scenario is None else attrs.evolve(scenario, **fields)
