"""What all tests share."""

import pytest


@pytest.fixture(params=["asyncio"])
def anyio_backend(request):
    """The event loop that tests of coroutines run on."""
    return request.param
