"""Imported first by whatever tests a fleet: where the extra is not installed, that is skipped with one line."""

import pytest

pytest.importorskip("pgqueuer", reason="a fleet needs the extra: pip install 'omni-async[pg]'")
