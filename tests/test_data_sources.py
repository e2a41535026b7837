import gzip
import hashlib
import json

import pytest
import zstandard

from phidelity.config import UserError
from phidelity.data.sources import Source, Unreadable, read_source, source_digest, sources_below
from phidelity.records import Document


def read(folder):
    items = list(read_source(str(folder)))
    documents = {item.id: item for item in items if isinstance(item, Document)}
    return documents, {item.id: item.reason for item in items if isinstance(item, Unreadable)}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "x.txt").write_text("hidden")
    (root / "a.txt").write_text("plain\r\ntext\n", encoding="utf-8")
    (root / "sub" / "b.md").write_text("# Title\n\nwords\n")
    (root / "c.html").write_text("<p>page</p>")
    (root / "d.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe4'\n")
    return root


def test_a_folder_gives_each_file_in_its_format(folder):
    documents, unreadable = read(folder)
    assert {id_: document.text for id_, document in documents.items()} == {
        "mine/a.txt": "plain\ntext",
        "mine/sub/b.md": "# Title\n\nwords",
        "mine/c.html": "page",
        "mine/d.py": "# -*- coding: latin-1 -*-\nx = 'ä'",
    }
    assert {id_: document.meta["group"] for id_, document in documents.items()}["mine/d.py"] == "code"
    assert unreadable == {"mine/.git": "hidden"}


def test_the_order_is_that_of_the_hash_of_the_path(folder):
    ids = [item.id for item in read_source(str(folder))]
    assert ids == sorted(ids, key=lambda id_: hashlib.sha256(id_.removeprefix("mine/").encode()).digest())


def test_json_lines_are_read_plain_and_compressed(folder):
    lines = [{"text": "one"}, {"text": "two", "meta": {"group": "acquired", "license": "CC0-1.0"}}, {"title": "x"}]
    data = "\n".join(map(json.dumps, lines)).encode() + b"\nnot json\n\n"
    (folder / "p.jsonl").write_bytes(data)
    (folder / "g.jsonl.gz").write_bytes(gzip.compress(data))
    (folder / "z.jsonl.zst").write_bytes(zstandard.compress(data))
    documents, unreadable = read(folder)
    for name in ("p.jsonl", "g.jsonl.gz", "z.jsonl.zst"):
        assert documents[f"mine/{name}#1"].text == "one"
        assert documents[f"mine/{name}#2"].meta["license"] == "CC0-1.0"
        assert unreadable[f"mine/{name}#3"] == unreadable[f"mine/{name}#4"] == "bad_record"


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(folder):
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02" * 100)
    (folder / "latin.txt").write_bytes("Käse".encode("latin-1"))
    (folder / "nothing.md").write_bytes(b"")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n' * 99)[:-12])
    (folder / "cut.jsonl.zst").write_bytes(zstandard.compress(b'{"text": "one"}\n' * 99)[:-2])
    documents, unreadable = read(folder)
    assert "mine/a.txt" in documents
    assert documents["mine/latin.txt"].text == "Käse"
    reasons = {id_.split("#")[0]: reason for id_, reason in unreadable.items()}
    assert reasons == {
        "mine/binary.txt": "not_text",
        "mine/nothing.md": "empty",
        "mine/picture.png": "unknown_format",
        "mine/cut.jsonl.gz": "damaged",
        "mine/cut.jsonl.zst": "damaged",
        "mine/.git": "hidden",
    }


def test_a_source_that_is_missing_empty_or_not_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"No source '.*nowhere'"):
        list(read_source(str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="holds nothing; expected"):
        list(read_source(str(tmp_path)))
    (tmp_path / "x.txt").write_bytes(b"\x00" * 50)
    with pytest.raises(UserError, match="holds 1 files, none of them readable text"):
        list(read_source(str(tmp_path)))


def test_the_digest_follows_the_contents(folder):
    before = source_digest(str(folder))
    assert before == source_digest(str(folder))
    (folder / "a.txt").write_text("changed")
    assert source_digest(str(folder)) != before


def test_the_standard_library_is_read_without_tests_and_with_its_license():
    documents = list(read_source("python:code"))
    assert all(isinstance(document, Document) for document in documents)
    names = {document.id.split("/", 1)[1] for document in documents}
    assert {"heapq.py", "json/decoder.py"} <= names
    assert not any("test" in name.split("/") or "site-packages" in name or "sysconfigdata" in name for name in names)
    assert {document.meta["license"] for document in documents} == {"PSF-2.0"}


def test_its_documentation_has_topics_pages_and_docstrings():
    documents = {item.id.split("/", 1)[1]: item for item in read_source("python:docs") if isinstance(item, Document)}
    heap = documents["heapq.py#docstrings"]
    assert heap.text.startswith("heapq\n\nHeap queue algorithm")
    assert "heappush(heap, item)\nPush item onto heap, maintaining the heap invariant." in heap.text
    assert heap.meta["group"] == "web"
    assert heap.meta["date_from"] in {"pydoc_data/topics.py", "unknown"}
    if "pydoc_data/topics.py#assert" in documents:
        assert "   if __debug__:\n       if not expression" in documents["pydoc_data/topics.py#assert"].text


def test_links_and_hidden_files_are_counted_and_not_read(folder):
    (folder / ".notes.txt").write_text("hidden too")
    (folder / "there").symlink_to(folder / "sub")
    (folder / "again.txt").symlink_to(folder / "a.txt")
    documents, unreadable = read(folder)
    assert unreadable == {
        "mine/.git": "hidden",
        "mine/.notes.txt": "hidden",
        "mine/there": "link",
        "mine/again.txt": "link",
    }
    assert len(documents) == 4


def test_loose_files_of_a_root_are_sources_and_a_label_parts_folders_of_one_name(folder):
    (folder.parent / "alone.txt").write_text("a leaf")
    assert [source.name for source in sources_below(folder.parent)] == ["alone.txt", "mine"]
    first = next(iter(read_source(Source("a", str(folder), label="mine~2"))))
    assert first.id.startswith("mine~2/")


def test_a_file_that_gives_neither_a_document_nor_a_reason_is_counted(folder):
    (folder / "about.warc").write_bytes(
        b"WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        b"Content-Length: 2\r\n\r\nhi\r\n\r\n"
    )
    (folder / "rows.jsonl").write_bytes(b"\n")
    assert read(folder)[1] == {
        "mine/about.warc": "no_document",
        "mine/rows.jsonl": "no_document",
        "mine/.git": "hidden",
    }


@pytest.mark.parametrize(
    ("line", "dated"),
    [
        ("commit: abcdef 2023-01-01", ("2023-01-01", "commit in SOURCE.txt", "abcdef")),
        ("commit: 2023-01-01", ("2023-01-01", "commit in SOURCE.txt", None)),
        ("date: 2023-01-01", ("2023-01-01", "date in SOURCE.txt", None)),
        ("commit: abcdef 2023-13-01", ("", "unknown", "abcdef")),
        ("written before 2023-01-01", ("", "unknown", None)),
    ],
)
def test_a_folder_is_dated_by_the_day_of_its_commit_or_a_line_of_its_own(folder, line, dated):
    (folder / "SOURCE.txt").write_text(f"licence: MIT\n{line}\n")
    meta = read(folder)[0]["mine/a.txt"].meta
    assert (meta["date"], meta["date_from"], meta.get("commit")) == dated
