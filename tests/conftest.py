"""What all tests share."""

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_home(tmp_path_factory):
    """The command line's own journal is never the user's, not in other processes either."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    os.environ.pop("XDG_STATE_HOME")
    if before is not None:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(params=["asyncio"])
def anyio_backend(request):
    """The event loop that tests of coroutines run on."""
    return request.param
