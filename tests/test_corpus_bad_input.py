"""Everything that files may do to us, through the whole stage: counted reasons, bounded memory, and the run goes on."""

import gzip
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpus_world import prose, write_sources
from test_data_bad_input import CONTAINER, PACKAGE, member, pdf, tar_of, zip_of

from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig
from phidelity.pipeline.reading import Decision
from phidelity.records import Document, read_records


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "math_test.csv").write_text(
        "Question,Answer\nHow many stones does the bridge of the old town have in all?,7\n"
    )
    return folder


GERMAN = (
    "Die Brücke über den Fluss wurde im frühen Mittelalter errichtet, als die Händler für ihre schweren Wagen einen "
    "sicheren Weg in die Stadt benötigten. Später größer gebaut, trug sie Häuser, Läden und eine kleine Mühle, deren "
    "Räder sich Tag und Nacht drehten. Die Bürger zahlten dafür Zölle, über deren Höhe der Rat jährlich entschied. "
    "Während des großen Hochwassers stürzten zwei Bögen ein; die Zünfte führten sie in Stein wieder auf."
)


def through(config, benchmarks, out, **options):
    """The stage's summary, and why each thing that went did so."""
    out.mkdir()
    summary = corpus(config, benchmarks=benchmarks, seed=0, out=out, **options)
    gone = {one.id: one.reason for one in read_records(out / "decisions.jsonl.zst", Decision)}
    assert summary["read"] == {unit: summary["kept"][unit] + summary["dropped"][unit] for unit in summary["read"]}
    return summary, gone


def bad_files(folder: Path) -> dict[str, str]:
    """One of each, and the reason that each must be given."""
    folder.mkdir(parents=True)
    (folder / "bomb.jsonl.gz").write_bytes(gzip.compress(b"\0" * (200 << 20)))
    (folder / "mild.jsonl.gz").write_bytes(gzip.compress(b"\0" * (200 << 20), 1))  # below the ratio of a bomb
    with open(folder / "line.txt", "wb") as file:
        file.truncate(100 << 20)
    with open(folder / "line.jsonl", "wb") as file:
        file.write(b'{"text": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n' + json.dumps({"text": prose(random.Random(1))}).encode())
    (folder / "binary.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    for suffix in ("txt", "md", "html", "jsonl", "epub", "pdf", "xml", "tar", "warc", "py"):
        (folder / f"zero.{suffix}").write_bytes(b"")
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        archive.addfile(*[member("deep.txt", b"deep")[0], io.BytesIO(b"deep")])
    tar_of(
        folder / "a.tar.gz",
        [
            member("../up.txt", b"up"),
            member("link.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            member("nested.tar.gz", inner.getvalue()),
            member("in.txt", prose(random.Random(2)).encode()),
        ],
    )
    locked = '<encryption><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></encryption>'
    page = "<html><body><p>A chapter of the book.</p></body></html>"
    book = {"META-INF__container_dot_xml": CONTAINER, "b_dot_opf": PACKAGE, "a_dot_xhtml": page}
    zip_of(folder / "locked.epub", **book, **{"META-INF__encryption_dot_xml": locked})
    entities = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {name} "{f"&{one};" * 10}">' for one, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (folder / "entities.cnxml").write_text(entities + "]><document><content><para>&i;</para></content></document>")
    os.symlink("/etc/passwd", folder / "passwd.txt")
    wrong = GERMAN + " Später größer."
    (folder / "charset.html").write_bytes(f'<meta charset="utf-8"><p>{wrong}'.encode("latin-1"))
    reasons = {
        "bomb.jsonl.gz": "bomb",
        "mild.jsonl.gz#1": "too_large",
        "line.txt": "too_large",
        "line.jsonl#1": "too_large",
        "binary.txt": "not_text",
        "a.tar.gz#../up.txt": "unsafe_path",
        "a.tar.gz#link.txt": "link",
        "a.tar.gz#nested.tar.gz": "nested_archive",
        "locked.epub": "encrypted",
        "entities.cnxml": "xml_entities",
        "zero.txt": "empty",
        "zero.md": "empty",
        "zero.html": "empty",
        "zero.py": "empty",
        "zero.epub": "damaged",
        "zero.pdf": "damaged",
        "zero.xml": "bad_xml",
        "zero.tar": "damaged",
    }
    try:
        import pypdfium2  # noqa: F401
    except ImportError:
        return reasons
    (folder / "locked.pdf").write_bytes(pdf("BT /F 12 Tf (Hidden) Tj ET", encrypted=True))
    return {**reasons, "locked.pdf": "encrypted"}


PROGRAM = """
import re, sys
from pathlib import Path
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig
root, benchmarks, out = map(Path, sys.argv[1:])
out.mkdir()
corpus(CorpusConfig(sources=(), root=str(root), web_bytes=0, acquired_bytes=0), benchmarks=benchmarks, seed=0, out=out)
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


def test_each_kind_of_bad_file_is_counted_with_its_reason_and_memory_stays_bounded(benchmarks, tmp_path):
    write_sources(tmp_path / "good", 1, 8)
    write_sources(tmp_path / "root", 1, 8)
    reasons = bad_files(tmp_path / "root" / "bad")
    peaks = {}
    for name, root in (("plain", "good"), ("bad", "root")):
        command = [sys.executable, "-c", PROGRAM, tmp_path / root, benchmarks, tmp_path / name]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks[name] = int(done.stdout)
    gone = {one.id: one.reason for one in read_records(tmp_path / "bad" / "decisions.jsonl.zst", Decision)}
    assert {name: gone.get(f"bad/{name}") for name in reasons} == reasons
    kept = {one.id: one.text for one in read_records(tmp_path / "bad" / "documents.jsonl.zst", Document)}
    assert {"bad/a.tar.gz#in.txt", "bad/line.jsonl#2", "bad/charset.html"} <= {*kept}
    assert kept["bad/charset.html"].endswith("Später größer.")
    assert not any("root:" in text for text in kept.values())
    summary = json.loads((tmp_path / "bad" / "summary.json").read_text())["summary"]
    for unit in ("documents", "bytes"):
        assert summary["kept"][unit] + summary["dropped"][unit] == summary["read"][unit]
    assert peaks["bad"] - peaks["plain"] < 200, peaks


class _AfterTheFirst:
    """A Progress that does something once the first shard is read."""

    def __init__(self, act):
        self._act = act

    @contextmanager
    def task(self, name, total, unit=""):
        yield self

    def advance(self, n=1, note=""):
        if n and self._act:
            act, self._act = self._act, None
            act()


def test_a_source_that_vanishes_mid_run_is_counted_file_by_file(benchmarks, tmp_path):
    root = write_sources(tmp_path / "root", 3, 8)
    n_files = len(list((root / "source-2").glob("*.txt"))) - 1
    config = CorpusConfig(sources=(), root=str(root), web_bytes=0)
    watcher = _AfterTheFirst(lambda: shutil.rmtree(root / "source-2"))
    summary, gone = through(config, benchmarks, tmp_path / "out", progress=watcher)
    assert [reason for name, reason in gone.items() if name.startswith("source-2/")] == ["unreadable"] * n_files
    assert summary["dropped_by_reason"]["unreadable"] == n_files
    assert summary["kept"]["documents"] >= 16


def test_a_source_of_bad_files_or_none_stops_no_run_and_links_at_the_top_are_counted(benchmarks, tmp_path, caplog):
    root = write_sources(tmp_path / "root", 1, 8)
    (root / "scans").mkdir()
    (root / "scans" / "a.txt").write_bytes(bytes(range(256)) * 9)
    (root / "nothing" / "below").mkdir(parents=True)
    (root / "again").symlink_to(root / "source-0")
    (root / ".git").mkdir()
    (root / ".hidden.txt").write_text("hidden")
    _, gone = through(CorpusConfig(sources=(), root=str(root), web_bytes=0), benchmarks, tmp_path / "out")
    assert gone["scans/a.txt"] == "not_text"
    assert (gone["root/again"], gone["root/.git"], gone["root/.hidden.txt"]) == ("link", "hidden", "hidden")
    assert not any(name.startswith("again/") for name in gone)
    report = json.loads((tmp_path / "out" / "dropped.json").read_text())
    assert list(report["sources"]) == ["hidden and links", "scans", "source-0"]
    assert "the folder nothing of" in caplog.text
