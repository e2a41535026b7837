"""What is made to crash, to stall or to swell a reader: of our own wording, judged by counts and ratios of times."""

import io
import json
import tarfile
import time
import zipfile

import pytest
import zstandard

from phidelity.data.decontaminate import build_index, contaminated
from phidelity.data.formats.blob import Blob, Part, Reject, iso_date
from phidelity.data.formats.html import read_html
from phidelity.data.formats.table import read_file
from phidelity.data.pii import find_personal, redact
from phidelity.data.rules import judge

TEXT = (
    "The ferry crosses when the bell is rung, and the boatman sleeps in the hut on the other bank. In spring the rope "
    "is under water, so he steers by the poplars. People who miss the last crossing are given soup and a bench by the "
    "stove, and nobody has ever been asked to pay for either of them."
)
GRAIN = (
    "Rye was sown on the upper fields because it stands the frost. After three years the ground was left to the geese. "
    "A wet summer gave long straw and little to grind, which the thatchers did not mind."
)


def items(name, data):
    return [found.item for found in read_file(Blob(name, io.BytesIO(data), len(data)))]


def reasons(name, data):
    return [item.reason for item in items(name, data) if isinstance(item, Reject)]


@pytest.mark.parametrize(
    "row",
    [
        {"text": TEXT, "meta": {"link_share": "none", "chrome_share": {}, "quality": "fine", "syntax": 1}},
        {"text": TEXT, "meta": {"profile": "code", "group": "code", "syntax": "python", "link_share": 1.0}},
        {"text": TEXT, "meta": {"locator": "elsewhere", "format": "book", "source": "library", "origin": [1]}},
        {"text": TEXT, "meta": {"license": ["a"], "url": 3, "date_from": {}, "date": "2021-02-03", "title": None}},
        {"instruction": TEXT, "instances": [None, 3, "x", {"input": 2}]},
    ],
)
def test_what_a_row_says_of_itself_chooses_no_rule_and_forges_no_origin(row):
    (part,) = items("x.jsonl", json.dumps(row).encode())
    assert isinstance(part, Part)
    believed = {"url", "license", "language", "title", "date", "date_from", "row"}
    assert set(part.meta) - {"profile", "group"} <= believed
    assert part.meta.get("profile") in (None, "qa")
    assert part.meta.get("group") in (None, "acquired")
    assert judge(part.text, "prose", meta=part.meta) is None


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("x.md", "["),
        ("x.md", "<!--"),
        ("x.md", "a  "),
        ("x.rst", ":a"),
        ("x.rst", ".. aa"),
        ("x.rst", ".. a::\n\n "),
        ("x.rst", "= =\na\n"),
        ("x.rst", "+-+\n|a|\n"),
        ("x.md", "```\n"),
        ("x.xhtml", "<a b='/>"),
        ("x.tex", "\\newcommand{"),
        ("x.warc", "\nWARC/1.0\r\nA: b\r\n"),
        ("x.rst", "Ab:\n  b\n"),
        ("x.tex", "\\("),
        ("x.tex", "\\begin{figure}"),
        ("x.tex", "\\begin{verbatim}"),
        ("x.tex", "\\ref[a"),
        ("x.wiki", "<ref>"),
        ("x.wiki", "<ref "),
        ("x.wiki", "[//a"),
        ("x.wiki", "="),
        ("x.html", "<div>"),
    ],
)
def test_four_times_the_openings_take_about_four_times_as_long(name, unit):
    def taken(size):
        data = (unit * (size // len(unit))).encode()
        start = time.process_time()
        items(name, data)
        return time.process_time() - start

    taken(1000)
    few, many = (min(taken(size) for _ in range(3)) for size in (10_000, 40_000))
    assert many < 10 * max(few, 0.02)


def test_what_holds_more_elements_than_memory_allows_is_refused_by_count():
    assert reasons("x.html", b"<i>" * 1_100_000) == ["too_many_elements"]
    assert reasons("x.cnxml", b"<d>" + b"<a/>" * 1_100_000 + b"</d>") == ["too_many_elements"]
    assert reasons("x.html", b"<div>" * 12_000) == ["too_deep"]
    assert reasons("x.jsonl", b'{"text": "a", "b": [' + b"[]," * 1_100_000 + b"0]}\n") == ["bad_record"]


def test_a_chapter_named_many_times_is_read_once():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as book:
        book.writestr("META-INF/container.xml", '<c><rootfile full-path="b.opf"/></c>')
        spine = '<itemref idref="a"/>' * 3
        book.writestr("b.opf", f'<p><manifest><item id="a" href="a.xhtml"/></manifest><spine>{spine}</spine></p>')
        book.writestr("a.xhtml", f"<p>{TEXT}</p>")
    first, *others = items("x.epub", file.getvalue())
    assert isinstance(first, Part)
    assert [other.reason for other in others if isinstance(other, Reject)] == ["repeated_member"] * 2


def test_a_packed_stream_is_unpacked_in_pieces_and_a_long_header_is_not_held():
    frame = zstandard.compress(b"\0" * (40 << 20))
    assert reasons("x.jsonl.zst", frame) == ["bomb"]
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 2 << 20
    assert reasons("x.tar", header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * (2 << 20) + b"\0" * 1024) == ["too_large"]


def test_members_of_one_name_have_names_of_their_own():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for text in ("one", "two"):
            member = tarfile.TarInfo("a.txt")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    found = read_file(Blob("x.tar", io.BytesIO(file.getvalue())))
    assert [one.member for one in found] == ["a.txt", "a.txt~2"]


def test_entities_are_found_in_wide_charsets_and_late_in_a_file():
    late = "<?xml version='1.0'?><!--" + "x" * 70_000 + "--><!DOCTYPE d [<!ENTITY a 'b'>]><document/>"
    assert reasons("x.cnxml", late.encode()) == ["xml_entities"]
    assert reasons("x.cnxml", late.encode("utf-16")) == ["xml_entities"]


def test_days_that_never_were_are_no_dates():
    assert [iso_date(text) for text in ("2023-02-29", "2024-02-29", "2023-02", "2023-04-31", "2023")] == [
        "",
        "2024-02-29",
        "2023-02-28",
        "",
        "2023-12-31",
    ]


JAPANESE = (
    "駅前の花屋では毎朝バラを40本仕入れます。"
    "そのうち4分の3が昼までに売れ、残りは半額になります。夕方には何本残りますか。"
)
THAI = "ร้านดอกไม้หน้าสถานีรับกุหลาบสี่สิบดอกทุกเช้า สามในสี่ขายหมดก่อนเที่ยง ที่เหลือลดราคาครึ่งหนึ่ง ตอนเย็นจะเหลือกี่ดอก"


@pytest.mark.parametrize("problem", [JAPANESE, THAI])
def test_problems_without_blanks_are_found_whole_and_by_half(problem):
    index = build_index([problem])
    assert contaminated(index, problem)
    assert contaminated(index, problem[: len(problem) // 2])
    assert not contaminated(index, problem[:10] * 3 + "。" + problem[-8:] + TEXT)


@pytest.mark.parametrize("end", ["။", "៕", "།", "።", "։", "۔", "॥"])
def test_sentences_end_in_the_marks_of_many_scripts(end):
    from phidelity.data.measure import ends_sentence

    assert ends_sentence(f"word{end}")


def test_a_form_around_the_page_and_a_cell_of_layout_are_the_page():
    told = "".join(f"<p>{sentence}.</p>" for sentence in TEXT.split(". "))
    part = read_html(f"<body><form><input>{told}</form><nav>Home. Shop. Help.</nav></body>")
    assert "poplars" in part.text
    assert "Shop" not in part.text
    part = read_html(f"<table><tr><td><a href=a>Home</a></td><td><font>{TEXT}</font></td></tr></table>")
    assert " | " not in part.text
    assert "poplars" in part.text


def test_russian_read_as_latin_is_mended_before_blanks_are_folded():
    told = "Паром ходит, когда звонят в колокол, и паромщик спит на другом берегу."
    assert read_html(f"<p>{told}</p>".encode().decode("latin-1")).text == told


@pytest.mark.parametrize(
    ("charset", "told"),
    [
        ("iso2022_jp", "渡し舟は鐘が鳴ると出る"),
        ("iso2022_kr", "나룻배는 종이 울린다"),
        ("hz", "渡船听到钟声就开"),
    ],
)
def test_charsets_of_seven_bits_do_not_pass_for_utf_8(charset, told):
    head = b"<meta charset=hz-gb-2312>" if charset == "hz" else b""
    (part,) = items("x.html", head + b"<p>" + told.encode(charset) + b"</p>")
    assert isinstance(part, Part)
    assert part.text == told


def test_lists_of_sentences_and_articles_on_discounts_stay_and_stumps_go():
    listed = "\n".join(f"- {sentence.strip('.')}." for sentence in (TEXT + " " + GRAIN).split(". "))
    assert judge(listed, "prose") is None
    assert (
        judge(TEXT + " A discount of bills is cheap; the discount rate, and no other discount, is meant.", "prose")
        is None
    )
    stumps = "\n".join(f"{word} {TEXT[:60]} [...]" for word in ["one", "two", "three", "four", "five", "six"])
    drop = judge(stumps, "prose")
    assert drop
    assert "gopher_ellipsis_lines" in (drop.reason, *drop.also)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("PHONE", "携帯：080-1234-5678"),
        ("PHONE", "Handy 0151 23456789"),
        ("PHONE", "جوال: 0551234567"),
        ("EMAIL", "ops@mill.engineering"),
        ("IPV4_PUBLIC", "the resolver 9.9.9.9 answers"),
        ("CREDIT_CARD", "5555\u00a05555\u00a05555\u00a04444"),
        ("IBAN", "FR14\u00a02004\u00a01010\u00a00505\u00a00001\u00a03M02\u00a0606"),
        ("API_KEY", "aws_secret_access_key=" + "Ab3/" * 10),
        ("API_KEY", "AccountKey=" + "aB3+" * 21 + "cd=="),
        ("API_KEY", "Authorization: Bearer 0a1b2c3d4e5f60718293a4b5"),
        ("API_KEY", "postgres://mill:gr1nd5tone@db.example.org/x"),
    ],
)
def test_personal_data_of_further_forms_are_found_whole(kind, text):
    assert [span.kind for span in find_personal(text)] == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "run main@tools.py twice",
        "we call 7654321 times",
        "seen 2023:10:11:12:13:14:15:16",
        "ISBN 9780306406157",
        "token: 123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_what_only_looks_personal_stays(text):
    assert redact(text).text == text
