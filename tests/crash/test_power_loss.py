"""The power fails while a journal is written."""

import shutil

import power_loss
import pytest

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def test_row_33_the_power_fails_and_nothing_told_is_lost():
    """Whatever of the unsynced writes reached the disk."""
    figures, faults = power_loss.run(prefixes=40, rows=40, seed=1)
    assert not faults
    assert figures["lost"] == 0
