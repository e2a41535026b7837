"""Whatever a file claims to be: a counted reason, bounded memory, and the run goes on."""

import bz2
import gzip
import io
import json
import tarfile
import zipfile

import pytest

from phidelity.data import sources
from phidelity.data.formats import blob
from phidelity.data.formats.charset import decode
from phidelity.data.formats.table import _detail
from phidelity.data.sources import Source, Unreadable, read_source
from phidelity.records import Document

GOOD = "A good text that stands beside all the bad ones and is read whatever happens to them."
CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="b.opf"/></rootfiles></container>'
)
PACKAGE = '<package><manifest><item id="a" href="a.xhtml"/></manifest><spine><itemref idref="a"/></spine></package>'


def reasons(folder):
    (folder / "good.txt").write_text(GOOD)
    items = list(read_source(Source("bad", str(folder))))
    assert any(isinstance(item, Document) and item.text == GOOD for item in items)
    return {item.id.split("/", 1)[1]: item.reason for item in items if isinstance(item, Unreadable)}


def tar_of(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if data else None)


def member(name, data=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_a_bomb_is_stopped_long_before_it_is_unpacked(tmp_path, suffix, pack):
    (tmp_path / f"bomb.jsonl.{suffix}").write_bytes(pack(b"\0" * (64 << 20)))
    assert reasons(tmp_path) == {f"bomb.jsonl.{suffix}": "bomb"}


def test_a_line_beyond_the_limit_is_passed_over_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("phidelity.data.formats.rows.MAX_DOCUMENT", 1000)
    lines = [json.dumps({"text": "x" * 5000}), json.dumps({"text": GOOD})]
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    (tmp_path / "end.jsonl").write_text(json.dumps({"text": "x" * 5000}))
    items = list(read_source(str(tmp_path)))
    assert [item.text for item in items if isinstance(item, Document)] == [GOOD]
    assert [item.reason for item in items if isinstance(item, Unreadable)] == ["too_large", "too_large"]


def test_a_document_of_a_hundred_megabytes_is_not_held(tmp_path):
    with open(tmp_path / "line.txt", "wb") as file:
        file.truncate(100 << 20)
    assert reasons(tmp_path) == {"line.txt": "too_large"}
    assert blob.MAX_DOCUMENT < 100 << 20


def test_binary_that_poses_as_text_and_nothing_at_all_are_named(tmp_path):
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    (tmp_path / "nulls.md").write_bytes(b"text\0" * 500)
    (tmp_path / "empty.html").write_bytes(b"")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "empty.warc.gz").write_bytes(b"")
    (tmp_path / "empty.tar.gz").write_bytes(b"")
    found = reasons(tmp_path)
    assert found["picture.txt"] == found["nulls.md"] == "not_text"
    assert found["empty.html"] == "empty"
    assert found["empty.tar.gz"] == "damaged"


def test_a_wrong_declared_charset_is_found_out(tmp_path):
    text = "Die Brücke über den Fluss wurde später größer gebaut, als die Bürger es wünschten."
    (tmp_path / "utf8.html").write_bytes(f'<meta charset="iso-8859-1"><p>{text}'.encode())
    (tmp_path / "latin.html").write_bytes(f'<meta charset="utf-8"><p>{text}'.encode("latin-1"))
    (tmp_path / "none.html.ko.euc-kr").write_bytes(
        ("<p>" + "한국어로 쓴 문서이며 문자 집합은 적혀 있지 않다. " * 9).encode("euc-kr")
    )
    texts = {item.id.split("/", 1)[1]: item.text for item in read_source(str(tmp_path)) if isinstance(item, Document)}
    assert texts["utf8.html"] == texts["latin.html"] == text
    assert texts["none.html.ko.euc-kr"].startswith("한국어로 쓴 문서이며")


def test_members_of_an_archive_that_lead_outside_or_nowhere_are_refused(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        archive.addfile(*[member("deep.txt", b"deep")[0], io.BytesIO(b"deep")])
    members = [
        member("../up.txt", b"up"),
        member("/etc/root.txt", b"root"),
        member("link.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard.txt", type=tarfile.LNKTYPE, linkname="in.txt"),
        member("device.txt", type=tarfile.CHRTYPE),
        member("nested.tar.gz", inner.getvalue()),
        member("in.txt", b"inside the archive"),
    ]
    tar_of(tmp_path / "a.tar.gz", members)
    assert reasons(tmp_path) == {
        "a.tar.gz#../up.txt": "unsafe_path",
        "a.tar.gz#/etc/root.txt": "unsafe_path",
        "a.tar.gz#link.txt": "link",
        "a.tar.gz#hard.txt": "link",
        "a.tar.gz#device.txt": "link",
        "a.tar.gz#nested.tar.gz": "nested_archive",
    }


def test_an_archive_that_is_cut_off_gives_what_came_before(tmp_path):
    tar_of(tmp_path / "a.tar.gz", [member("one.txt", b"the first"), member("two.txt", bytes(range(32, 127)) * 9999)])
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[: len(data) // 2])
    items = list(read_source(str(tmp_path)))
    assert [item.text for item in items if isinstance(item, Document)] == ["the first"]
    assert "damaged" in {item.reason for item in items if isinstance(item, Unreadable)}


def test_a_book_under_lock_is_refused_and_one_with_obfuscated_fonts_is_read(tmp_path):
    locked = '<encryption><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></encryption>'
    fonts = '<encryption><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></encryption>'
    page = "<html><body><p>A chapter of the book.</p></body></html>"
    book = {"META-INF__container_dot_xml": CONTAINER, "b_dot_opf": PACKAGE, "a_dot_xhtml": page}
    zip_of(tmp_path / "locked.epub", **book, **{"META-INF__encryption_dot_xml": locked})
    zip_of(tmp_path / "fonts.epub", **book, **{"META-INF__encryption_dot_xml": fonts})
    zip_of(tmp_path / "rights.epub", **book, **{"META-INF__rights_dot_xml": "<rights/>"})
    zip_of(tmp_path / "bomb.epub", **{**book, "a_dot_xhtml": " " * (20 << 20)})
    (tmp_path / "no.epub").write_bytes(b"PK\x03\x04 nothing")
    assert reasons(tmp_path) == {
        "locked.epub": "encrypted",
        "rights.epub": "encrypted",
        "bomb.epub": "bomb",
        "no.epub": "damaged",
    }


def test_entity_bombs_are_refused_and_not_expanded(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {name} "{f"&{inner};" * 10}">' for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (tmp_path / "bomb.cnxml").write_text(bomb + "]><document><content><para>&i;</para></content></document>")
    (tmp_path / "posts.xml").write_text(
        bomb + '<!-- <posts -->]><posts><row Id="1" PostTypeId="1" Body="&i;"/></posts>'
    )
    (tmp_path / "broken.cnxml").write_text("<document><para>never closed")
    assert reasons(tmp_path) == {"bomb.cnxml": "xml_entities", "posts.xml": "xml_entities", "broken.cnxml": "bad_xml"}


def test_an_encrypted_and_a_scanned_pdf_are_refused(tmp_path):
    pytest.importorskip("pypdfium2")
    (tmp_path / "scan.pdf").write_bytes(pdf(""))
    (tmp_path / "locked.pdf").write_bytes(pdf("BT /F 12 Tf (Hidden) Tj ET", encrypted=True))
    (tmp_path / "damaged.pdf").write_bytes(b"%PDF-1.4\nnothing")
    (tmp_path / "fine.pdf").write_bytes(pdf("BT /F 12 Tf (A page with a layer of text) Tj ET"))
    found = reasons(tmp_path)
    assert found.pop("locked.pdf") == "encrypted"
    assert found == {"scan.pdf": "no_text_layer", "damaged.pdf": "damaged"}


def pdf(content, encrypted=False):
    """A one-page PDF; where encrypted, with a password that nobody knows."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        f"<</Filter/Standard/V 1/R 2/P -4/O<{'ab' * 32}>/U<{'cd' * 32}>>>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    lock = f"/Encrypt 6 0 R/ID[<{'00' * 16}><{'00' * 16}>]" if encrypted else ""
    tail = (
        f"xref\n0 7\n0000000000 65535 f \n{table}trailer\n<</Size 7/Root 1 0 R{lock}>>\nstartxref\n{len(body)}\n%%EOF\n"
    )
    return (body + tail).encode("latin-1")


def test_elements_inside_one_another_without_end_cost_no_stack(tmp_path):
    (tmp_path / "deep.html").write_text("<div>" * 20_000 + GOOD + "</div>" * 20_000)
    (tmp_path / "deep.cnxml").write_text("<document>" + "<para>" * 5000 + "</para>" * 5000 + "</document>")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    found = reasons(tmp_path)
    assert found["deep.cnxml"] == "bad_xml"
    assert found["deep.jsonl#1"] == "bad_record"


def test_a_file_that_vanishes_while_others_are_read_is_counted(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{GOOD} {name}")
    found = sources._files(tmp_path)
    monkeypatch.setattr(sources, "_files", lambda root, ignore=(): found)
    reader = read_source(str(tmp_path))
    next(reader)
    found[1].unlink()
    rest = list(reader)
    assert [item.reason for item in rest if isinstance(item, Unreadable)] == ["unreadable"]
    assert len([item for item in rest if isinstance(item, Document)]) == 1


@pytest.mark.parametrize(
    ("charset", "told"),
    [
        ("cp1253", "Το πλοίο φεύγει στις δώδεκα. "),
        ("iso8859-7", "Ο φύλακας άναβε το φως κάθε βράδυ. "),
        ("cp1251", "Смотритель зажигал огонь каждый вечер. "),
        ("koi8-r", "Паром отходит в двенадцать часов. "),
        ("cp1255", "הספינה יוצאת בשתים עשרה. "),
        ("cp1254", "Fener bekçisi her akşam ışığı yakardı. "),
    ],
)
def test_an_undeclared_charset_of_a_short_page_is_guessed(charset, told):
    assert decode((told * 5).encode(charset)) == told * 5


def test_what_a_library_said_of_a_damaged_file_is_told_without_places_in_memory(tmp_path):
    (tmp_path / "no.epub").write_bytes(b"PK nothing")
    (tmp_path / "cut.md.gz").write_bytes(gzip.compress(b"text " * 99)[:-9])
    (tmp_path / "torn.json").write_text("{")
    reasons(tmp_path)
    items = [item for item in read_source(Source("bad", str(tmp_path))) if isinstance(item, Unreadable)]
    told = {item.id.rsplit("/", 1)[1]: item.detail for item in items}
    assert told["no.epub"] == "File is not a zip file"
    assert told["cut.md.gz"].startswith("Compressed file ended before")
    assert told["torn.json"].startswith("Expecting property name")
    assert _detail(ValueError("cannot read <io.BytesIO object at 0x7f00>\n  at all")) == (
        "cannot read <io.BytesIO object> at all"
    )
