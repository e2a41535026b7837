"""`phi bench data` where no test data is at hand: what it makes itself must be what it measures."""

import io

import pytest

from phidelity.bench import data
from phidelity.data.formats.blob import Blob, Part
from phidelity.data.formats.warc import read_warc


def test_pages_come_out_of_the_archive_that_the_bench_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "RULE_BYTES", 50_000)
    monkeypatch.delenv("PHI_TEST_DATA", raising=False)
    archive = data._archive()
    items = list(read_warc(Blob("x.warc.gz", io.BytesIO(archive))))
    assert len(items) > 10
    assert all(isinstance(item, Part) for item in items)
    assert sum(data._body_sizes(archive)) > 50_000
