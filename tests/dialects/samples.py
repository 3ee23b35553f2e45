"""The recorded samples, read from their folders."""

import json
from pathlib import Path
from typing import Any

import attrs

from omni_async.dialects import Dialect, Reply, dialect_named

ROOT = Path(__file__).parent.parent / "samples"


@attrs.frozen
class Sample:
    """One case."""

    gateway: str
    case: str
    meta: dict[str, Any]
    expected: dict[str, Any]
    folder: Path

    @property
    def dialect(self) -> Dialect:
        """The dialect of its gateway."""
        return dialect_named(self.gateway)

    @property
    def reply(self) -> Reply:
        """The answer, as the transport would hand it over."""
        body = next(self.folder.glob("answer.*")).read_bytes()
        url = self.meta.get("url", "https://gateway.example/asked")
        return Reply(status=self.meta["status"], headers=self.meta["headers"], body=body, url=url)

    def read(self, name: str) -> Any:
        """One of its JSON files."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


def samples(kind: str) -> list[Sample]:
    """All samples of a kind, of all gateways."""
    found = []
    for file in sorted(ROOT.glob("*/*/meta.json")):
        meta = json.loads(file.read_text(encoding="utf-8"))
        if meta["kind"] == kind:
            expected = json.loads((file.parent / "expected.json").read_text(encoding="utf-8"))
            found.append(Sample(file.parent.parent.name, file.parent.name, meta, expected, file.parent))
    assert found, f"no samples of kind {kind}"
    return found


def name(sample: Sample) -> str:
    """A sample as a test's id."""
    return f"{sample.gateway}/{sample.case}"
