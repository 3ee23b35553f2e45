"""One machine and three workers make the same of one sheet. The long form: tests/crash/parity.py."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_storage import KEY, SECRET, bucket, server  # noqa: F401 - fixtures

sys.path.insert(0, str(Path(__file__).parents[1] / "crash"))

from parity import compare

STATUSES = {"succeeded", "failed", "rejected", "uncertain"}
MOTO = pytest.mark.skipif(find_spec("moto") is None or find_spec("s3fs") is None, reason="no S3-speaking server (moto)")


async def test_three_workers_make_what_one_machine_makes(postgres, tmp_path):
    """Every row ends alike, with the same columns and the same bytes; and no row was paid twice."""
    counts, differ, _ = await compare(postgres, tmp_path, 40, every=15)
    assert set(counts) == STATUSES
    assert not any(differ.values()), differ


@MOTO
async def test_in_object_storage_as_well(postgres, bucket, tmp_path):  # noqa: F811
    """The same bytes behind s3://."""

    def read(file):
        status, _, body = bucket.object(f"shots/{file.removeprefix('videos/')}")
        assert status == 200
        return body

    store = {"AWS_ENDPOINT_URL": bucket.server, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    out = f"s3://{bucket.name}/shots"
    counts, differ, _ = await compare(
        postgres, tmp_path, 12, out=out, read=read, every=50, AWS_DEFAULT_REGION="us-east-1", **store
    )
    assert counts["succeeded"] >= 4
    assert not any(differ.values()), differ
