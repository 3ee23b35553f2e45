"""What the tests of batches share."""

import pytest

from tests.warp import WarpLoop


@pytest.fixture
def anyio_backend():
    """An event loop whose time jumps."""
    return "asyncio", {"loop_factory": WarpLoop}
