"""`phi bench data`: megabytes a second, one thread, of the data room's hot paths, against datatrove in its own Python.

Row `rules` scores and judges documents by all rules; the peer runs its own Gopher repetition, Gopher quality, C4 and
FineWeb filters over the same documents, each to its first failure. Row `extract` takes a web archive to text, HTTP and
charsets included, per byte of HTML body; the peer reads it with warcio and extracts with trafilatura, as datatrove
does. Row `minhash` makes signatures from text, shingles included, 14 bands of 8; the peer its own of the same shape.
Row `pack` takes text to a shard of ids on disk and to packed rows of 4,096; the peer tokenises with the same vocabulary
and writes ids and boundaries, and packs nothing. The vocabulary is phi-4's where the test data have its ranks, else one
learnt from the documents. Row `quality` grades documents by a classifier of the size that the stage `corpus` teaches;
no peer is named for it. Give the peer by `--peer datatrove=FOLDER`, a virtual environment with the packages of
`_NEEDS`. Documents are those of `$PHI_TEST_DATA/corpus` where that is set, else the running Python's own; rounds
alternate, processor seconds count, medians are reported.
"""

import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from phidelity.bench.data_peers import EXTRACT, MINHASH, PACK, RULES
from phidelity.config import UserError
from phidelity.data.annotate import SUBJECTS
from phidelity.data.dedup import sign
from phidelity.data.formats.blob import Blob, Part
from phidelity.data.formats.warc import read_warc
from phidelity.data.loader import pack_shard, save_rows
from phidelity.data.quality import BUCKETS, Grader
from phidelity.data.rules import judge
from phidelity.data.shards import ShardWriter, open_shard
from phidelity.data.sources import Source, read_source
from phidelity.records import Document
from phidelity.tokenizer.bpe import Tokenizer, train

_NEEDS = "Install datatrove[processing,io], spacy and lxml_html_clean there."
ROUNDS = 3
CONTEXT = 4096
"""Positions of a row (phi-4 §3)."""
RULE_BYTES = 1_500_000
"""Documents that both sides judge (ours): the peer needs some seconds for them."""
_SOURCES = ("wikipedia_wikitext", "d2l_en", "plainlanguage_gov", "python_peps", "openstax_psychology")
"""English prose of several kinds in the test data."""
_CRAWL = "crawl_sim_warc/crawl_sim_warc.warc.gz"


class _Work(NamedTuple):
    """One row: how much is worked on, by us and by the peer's script."""

    what: str
    n_bytes: int
    ours: Callable[[], Any]
    script: str
    data: bytes
    peer: str


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table: what, ours, unit, peer, theirs, ratio."""
    python = _python((peers or {}).get("datatrove"))
    with tempfile.TemporaryDirectory() as folder:
        works = (_rules(), _extract(), _minhash(), _pack(Path(folder)), _quality())
        return [_row(work, python) for work in works]


def _rules() -> _Work:
    texts, n_bytes, data = _texts()

    def ours() -> None:
        for text in texts:
            judge(text, "prose")

    return _Work("rules", n_bytes, ours, RULES, data, "datatrove: Gopher, C4, FineWeb")


def _minhash() -> _Work:
    texts, n_bytes, data = _texts()

    def ours() -> None:
        for text in texts:
            sign(text)

    return _Work("minhash", n_bytes, ours, MINHASH, data, "datatrove: MinHash signature, 14 x 8")


def _pack(folder: Path) -> _Work:
    texts, n_bytes, data = _texts()
    ranks = Path(os.environ.get("PHI_TEST_DATA", "nowhere"), "cl100k_base.tiktoken")
    words = Tokenizer.load(ranks) if ranks.exists() else train(texts, 4096)
    words.save(folder)

    def ours() -> None:
        writer = ShardWriter(folder, "web")
        for number, text in enumerate(texts):
            writer.add(str(number), np.array([*words.encode(text), words.endoftext], dtype="<u4"))
        writer.close(words.digest)
        save_rows(folder, pack_shard(open_shard(folder, "web"), CONTEXT))

    script = PACK.replace("TOKENIZER", str(folder / "tokenizer.json"))
    return _Work("pack", n_bytes, ours, script, data, "datatrove: DocumentTokenizer, unshuffled")


def _quality() -> _Work:
    texts, n_bytes, data = _texts()
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((BUCKETS, 1 + len(SUBJECTS)), dtype=np.float32)
    english = frozenset({"en"})
    grader = Grader(weights, np.zeros(1 + len(SUBJECTS), np.float32), SUBJECTS, english, english)

    def ours() -> None:
        for text in texts:
            grader.grade(text, "en")

    return _Work("quality", n_bytes, ours, "", data, "")


def _texts() -> tuple[list[str], int, bytes]:
    """The documents that both sides work on, their bytes, and the file that the peer reads."""
    texts = [document.text for document in _documents()]
    data = "".join(json.dumps(text) + "\n" for text in texts).encode()
    return texts, sum(len(text.encode()) for text in texts), data


def _extract() -> _Work:
    archive = _archive()
    n_bytes = sum(_body_sizes(archive))

    def ours() -> None:
        n = sum(isinstance(item, Part) for item in read_warc(Blob("x.warc.gz", io.BytesIO(archive))))
        assert n > 10, f"{n} pages came out of the archive"

    return _Work("extract", n_bytes, ours, EXTRACT, archive, "datatrove's way: warcio, trafilatura")


def _row(work: _Work, python: Path | None) -> dict[str, Any]:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    work.ours()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data")
        path.write_bytes(work.data)
        for _ in range(ROUNDS):
            start = time.process_time()
            work.ours()
            times["ours"].append(time.process_time() - start)
            if python and work.script:
                times["theirs"].append(_peer_seconds(python, work.script, path))
    rates = {side: work.n_bytes / statistics.median(taken) / 1e6 for side, taken in times.items() if taken}
    theirs = rates.get("theirs")
    return {
        "what": work.what,
        "ours": rates["ours"],
        "unit": "MB/s",
        "peer": work.peer if theirs else None,
        "theirs": theirs,
        "ratio": rates["ours"] / theirs if theirs else None,
    }


def _python(folder: Path | None) -> Path | None:
    if folder is None:
        return None
    python = folder / "bin/python"
    if not python.exists():
        raise UserError(f"--peer datatrove: no bin/python in {folder}; expected a virtual environment with datatrove.")
    return python


def _peer_seconds(python: Path, script: str, path: Path) -> float:
    command = [str(python), "-c", script, str(path)]
    environment = {**os.environ, "PYTHONPATH": "", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise UserError(f"datatrove's side failed: {done.stderr.strip()[-300:]}. {_NEEDS}")
    return float(done.stdout.strip().split("\n")[-1])


def _test_data() -> Path | None:
    folder = Path(os.environ.get("PHI_TEST_DATA", "nowhere")) / "corpus"
    return folder if folder.is_dir() else None


def _documents() -> list[Document]:
    """English prose, taken evenly from its sources."""
    corpus = _test_data()
    sources = [Source(name, str(corpus / name)) for name in _SOURCES] if corpus else [Source("docs", "python:docs")]
    chosen: list[Document] = []
    for source in sources:
        left = RULE_BYTES // len(sources)
        for item in read_source(source):
            if left <= 0:
                break
            if isinstance(item, Document):
                chosen.append(item)
                left -= len(item.text.encode())
    return chosen


def _archive() -> bytes:
    corpus = _test_data()
    return (corpus / _CRAWL).read_bytes() if corpus else _made_archive()


def _made_archive() -> bytes:
    """Pages around the running Python's documentation, with a menu and a footer each."""
    from fastwarc.stream_io import GzipWriter
    from fastwarc.warc import WarcRecord, WarcRecordType

    menu = "<ul>" + "".join(f'<li><a href="/{n}">Chapter {n}</a></li>' for n in range(60)) + "</ul>"
    sink = io.BytesIO()
    for number, document in enumerate(_documents()):
        blocks = "".join(
            f"<p>{part.replace('&', '&amp;').replace('<', '&lt;')}</p>\n" for part in document.text.split("\n\n")
        )
        page = (
            f"<!DOCTYPE html><html><body><nav>{menu}</nav><main>{blocks}</main><footer>The end</footer></body></html>"
        )
        record = WarcRecord()
        record.init_headers(record_type=WarcRecordType.response)
        record.headers["WARC-Target-URI"] = f"http://docs.example/{number}"
        record.headers["Content-Type"] = "application/http; msgtype=response"
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        record.set_bytes_content((head + page).encode())
        writer = GzipWriter(sink)
        record.write(writer)
        writer.close()
    return sink.getvalue()


def _body_sizes(archive: bytes) -> list[int]:
    """Bytes of the pages as a browser sees them."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    from phidelity.data.formats.warc import http_body

    sizes = []
    for record in ArchiveIterator(io.BytesIO(archive), record_types=WarcRecordType.response, auto_decode="none"):
        http = record.http_headers
        if http is not None and http.status_code == 200 and "html" in (http.get("Content-Type") or ""):
            sizes.append(len(http_body(record.reader.read(), http) or b""))
    return sizes
