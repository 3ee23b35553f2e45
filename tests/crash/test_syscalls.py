"""A disk that fails under a batch."""

import shutil

import pytest
from syscalls import Fault

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.mark.parametrize(("kind", "number"), [("sync", 12), ("write", 9), ("write", 40)])
def test_rows_34_and_35_the_disk_fails_once(tmp_path, kind, number):
    """A commit that fails is not a traceback, no lost charge and no second one, and the next run finishes."""
    done = Fault(tmp_path, kind, number).run()
    assert not done.faults
    assert done.hits
