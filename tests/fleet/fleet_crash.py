"""The crash harness of the fleet, as these tests import it: its folder is not a package."""

import sys
from pathlib import Path

CRASH = str(Path(__file__).parent.parent / "crash")
sys.path.insert(0, CRASH)
try:
    from fleet import most, options, run
    from fleet_waiting import measured as waiting
finally:
    sys.path.remove(CRASH)

__all__ = ["most", "options", "run", "waiting"]
