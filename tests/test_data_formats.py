import gzip
import io
import re
import tarfile
import zipfile

import pytest

from phidelity.data.formats.blob import Blob, Part, Reject, iso_date
from phidelity.data.formats.charset import mend
from phidelity.data.formats.html import html_text, read_html
from phidelity.data.formats.plain import clean, read_markdown, unwrap
from phidelity.data.formats.table import read_file

PAGE = """<!DOCTYPE html><html><head><title>no</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav>
<div class="related" role="navigation"><div>index</div> | next</div>
<h1>Loops<a class="headerlink" href="#l">¶</a></h1>
<p>A <b>for</b> loop &amp; its
body:</p>
<pre>for x in range(3):
    if x:
        print(x)
</pre>
<ul><li><p>one</p></li><li>two <code>x</code></li></ul>
<table><tr><th>name</th><th>use</th></tr><tr><td>for</td><td>loops</td></tr></table>
<script>alert("no")</script><p>End<br>here.</p><footer>2020</footer></body></html>"""


def test_a_page_keeps_its_text_code_lists_and_tables_and_loses_its_chrome():
    assert html_text(PAGE) == (
        "Loops\n\nA for loop & its body:\n\n"
        "```\nfor x in range(3):\n    if x:\n        print(x)\n```\n\n"
        "- one\n- two x\n\n"
        "name | use\nfor | loops\n\n"
        "End\nhere."
    )


def test_broken_html_still_gives_its_text():
    assert html_text("<p>one<div>two</span></p><b>three") == "one\n\ntwo\n\nthree"
    assert html_text("<script>only") == ""


def test_clean_normalises_line_ends_controls_and_blank_lines():
    assert clean("a\u0301\r\nb  \x07\n\n\n\nc\n") == "á\nb\n\nc"


def test_wrapped_paragraphs_and_items_are_joined_and_code_is_not():
    text = """\
    Return the largest item in an iterable or the largest of
    two or more arguments.

    Heading
    =======

    * an item that is long enough to be wrapped by hand
      goes on here

    >>> max([1,
    ...      2])
    2

        x = 1
        y = 2
    """
    assert unwrap(text) == (
        "Return the largest item in an iterable or the largest of two or more arguments.\n\n"
        "Heading\n\n"
        "* an item that is long enough to be wrapped by hand goes on here\n\n"
        ">>> max([1,\n...      2])\n2\n\n"
        "    x = 1\n    y = 2"
    )


def test_markdown_loses_front_matter_and_comments_only():
    assert (
        read_markdown("---\ntitle: x\n---\n# A\n<!-- no\nno -->\n```\n  code\n```\n").text == "# A\n\n```\n  code\n```"
    )


TEX = r"""\documentclass{article}\usepackage{amsmath}
\begin{document}
\section{Limits}\label{sec:limits}
A sequence $a_n$ % a comment
has the limit~$L$ (see \cite{knuth}) if
\begin{equation}\label{eq:one}
\lim_{n\to\infty} a_n = L.
\end{equation}
\begin{itemize}\item one \item \emph{two} sets\end{itemize}
\begin{verbatim}
for x in y:
    print(x)
\end{verbatim}
\begin{tabular}{ll} name & use \\ \hline for & loops \\ \end{tabular}
\begin{tikzpicture}\draw (0,0);\end{tikzpicture}
\end{document}"""


def one(name, data):
    """The only part of a file, or the reason for none."""
    data = data.encode() if isinstance(data, str) else data
    items = [found.item for found in read_file(Blob(name, io.BytesIO(data), len(data)))]
    assert len(items) == 1, items
    return items[0]


def test_tex_keeps_formulas_code_and_tables_and_loses_its_machinery():
    part = one("a.tex", TEX)
    assert part.meta == {"profile": "mathematics", "title": "Limits"}
    assert "A sequence $a_n$ has the limit $L$ (see ) if" in part.text
    assert "\\begin{equation}\n\\lim_{n\\to\\infty} a_n = L.\n\\end{equation}" in part.text
    assert "- one\n" in part.text
    assert "- two sets" in part.text
    assert "for x in y:\n    print(x)" in part.text
    assert "name | use\nfor | loops" in part.text
    assert not any(gone in part.text for gone in ("comment", "tikz", "label", "documentclass", "knuth"))


def test_mathml_becomes_tex_by_its_annotation_or_by_its_elements():
    annotated = "<semantics><mi>x</mi><annotation encoding='application/x-tex'>\\bar x</annotation></semantics>"
    built = (
        "<mrow><mi>x</mi><mo>=</mo><mfrac><mn>1</mn><msqrt><mn>2</mn></msqrt></mfrac>"
        "<mo>×</mo><msubsup><mi>a</mi><mi>i</mi><mn>2</mn></msubsup></mrow>"
    )
    page = f"<p>Let <math>{annotated}</math> and <math display='block'>{built}</math> be so.</p>"
    assert html_text(page) == "Let $\\bar x$ and $$x = \\frac{1}{\\sqrt{2}}\\times a_{i}^{2}$$ be so."
    katex = f"<span class='katex'><math>{annotated}</math><span class='katex-html' aria-hidden='true'>x̄</span></span>"
    assert html_text(f"<p>See {katex}.</p>") == "See $\\bar x$."
    assert html_text("<p>It is <script type='math/tex'>a^2</script>.</p>") == "It is $a^2$."


def test_code_in_a_page_keeps_its_indentation_and_its_language():
    page = '<p>Run:</p><pre><code class="language-rust">fn main() {\n    let x = <b>1</b>;\n\n}\n</code></pre>'
    assert html_text(page) == "Run:\n\n```rust\nfn main() {\n    let x = 1;\n\n}\n```"


def test_tables_of_data_become_rows_and_tables_of_layout_do_not():
    data = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>two<br>lines</td></tr></table>"
    assert html_text(data) == "a | b\n1 | two lines"
    layout = "<table><tr><td><h1>Title</h1><p>One.</p><p>Two.</p></td></tr></table>"
    assert html_text(layout) == "Title\n\nOne.\n\nTwo."


def test_furniture_is_left_out_and_its_share_is_told():
    menu = "".join(f"<a href='/{n}'>Item {n}</a> " for n in range(30))
    page = f"<div id='nav'>{menu}</div><p>A sentence of the page.</p><div class='x'>{menu}</div>"
    part = read_html(page)
    assert part.text == "A sentence of the page."
    assert part.meta["chrome_share"] > 0.9
    assert part.meta["link_share"] > 0.7


def test_cnxml_and_pretext_give_prose_with_formulas_lists_and_tables():
    cnxml = (
        '<document xmlns="http://cnx.rice.edu/cnxml" xmlns:m="http://www.w3.org/1998/Math/MathML">'
        "<title>Sets</title><metadata><x>hidden</x></metadata><content>"
        "<para>A set <m:math><m:mi>A</m:mi></m:math> has <term>members</term>.</para>"
        "<list><item>one</item><item>two</item></list>"
        "<table><tgroup><tbody><row><entry>a</entry><entry>b</entry></row></tbody></tgroup></table></content></document>"
    )
    part = one("index.cnxml", cnxml)
    assert part.text == "Sets\n\nA set $A$ has members.\n\n- one\n- two\n\na | b"
    assert part.meta["title"] == "Sets"
    pretext = "<section><title>Sums</title><p>So <m>a+b</m>:<me>c = 1</me></p><ul><li><p>first</p></li></ul></section>"
    assert one("s.ptx", pretext).text == "Sums\n\nSo $a+b$:$$c = 1$$\n\n- first"


def test_rst_loses_its_markup_and_keeps_code():
    text = (
        "PEP: 8\nTitle: A style\nCreated: 05-Jul-2001\n\nIntroduction\n============\n\nSee :pep:`20` and ``code``,\n"
        "or `the page <http://a.example>`__ of that long name::\n\n    if x:\n        y()\n\n.. note::\n   Kept.\n\n"
        ".. image:: a.png\n   :width: 3\n\n.. a comment\n"
    )
    part = one("pep.rst", text)
    assert part.meta == {"title": "A style", "date": "2001-07-05", "date_from": "field Created"}
    assert "See PEP 20 and `code`," in part.text
    assert "or the page of that long name:\n\n    if x:\n        y()" in part.text
    assert "Kept." in part.text
    assert not any(gone in part.text for gone in ("a.png", "width", "comment", "===", "::"))


def test_mediawiki_text_is_found_by_its_look_and_read():
    text = (
        "{{Infobox|name={{nested|x}}}}'''Oslo''' is a [[city]] in [[Kingdom of Norway|Norway]].<ref>gone</ref>\n\n"
        "== Size ==\n* <math>a^2</math>\n{| class=x\n! Year !! People\n|-\n| 1900 || 230\n|}\n[[File:a.png|thumb|b]]\n"
        "== References ==\n{{reflist}}"
    )
    assert one("oslo.txt", text).text == "Oslo is a city in Norway.\n\nSize\n\n- $a^2$\nYear | People\n1900 | 230"


def test_a_dump_of_questions_gives_threads_with_the_accepted_answer_first():
    row = '<row Id="{}" PostTypeId="{}" {} CreationDate="2019-01-0{}T00" Score="{}" Body="&lt;p&gt;{}&lt;/p&gt;" />'
    rows = [
        row.format(1, 1, 'Title="Why?" AcceptedAnswerId="3"', 1, 5, "I ask."),
        row.format(2, 2, 'ParentId="1"', 2, 9, "Loved."),
        row.format(3, 2, 'ParentId="1"', 3, 1, "Accepted."),
        row.format(4, 2, 'ParentId="77"', 4, 1, "Orphan."),
    ]
    data = f'<?xml version="1.0"?><posts>{"".join(rows)}</posts>'.encode()
    items = [found.item for found in read_file(Blob("Posts.xml", io.BytesIO(data), len(data)))]
    assert items[0].text == "Why?\n\nI ask.\n\nAnswer:\n\nAccepted.\n\nAnswer:\n\nLoved."
    assert (items[0].meta["license"], items[0].meta["date"]) == ("CC BY-SA 4.0", "2019-01-03")
    assert items[1].reason == "answer_without_question"


def test_parquet_and_arrow_give_a_document_a_row(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    table = pyarrow.table({"text": ["one", None, "three"], "license": ["MIT", "MIT", "CC0-1.0"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with ipc.new_stream(str(tmp_path / "data-0.arrow"), table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "data-0.arrow"):
        with open(tmp_path / name, "rb") as stream:
            items = [found.item for found in read_file(Blob(name, stream))]
        assert [getattr(item, "text", None) or item.reason for item in items] == ["one", "bad_record", "three"]
        assert items[2].meta["license"] == "CC0-1.0"


def test_a_document_of_word_gives_paragraphs_tables_and_formulas():
    body = (
        '<w:document xmlns:w="w" xmlns:m="m"><w:body><w:p><w:r><w:t>A line with </w:t></w:r><m:oMath><m:r><m:t>x=1'
        "</m:t></m:r></m:oMath></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t>"
        "</w:r></w:p></w:tc></w:tr></w:tbl></w:body></w:document>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", body)
    assert one("a.docx", file.getvalue()).text == "A line with $x=1$\n\na | b"


def test_text_that_was_decoded_wrongly_is_mended_and_other_text_is_not():
    text = "“Every” — it’s a café in München."
    assert mend(text.encode().decode("cp1252", "replace")) == text
    for right in (text, "Â is a letter", "São Paulo", "naïve café", "Ãƒ"[:1]):
        assert mend(right) == right


def warc(*records):
    out = b""
    for kind, head, body in records:
        http = f"HTTP/1.1 {head}\r\n\r\n".encode() + body
        out += (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\n"
            f"WARC-Target-URI: http://a.example/\r\nWARC-Date: 2024-05-18T01:02:03Z\r\n"
            f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {len(http)}\r\n\r\n"
        ).encode() + http
        out += b"\r\n\r\n"
    return out


def test_web_archives_are_undone_from_chunks_and_packing_and_charsets():
    page = "<p>Käse und Brot.</p>".encode()
    packed = gzip.compress(page)
    chunks = b"5\r\n" + packed[:5] + b"\r\n" + f"{len(packed) - 5:x}\r\n".encode() + packed[5:] + b"\r\n0\r\n\r\n"
    data = warc(
        ("response", "200 OK\r\nContent-Type: text/html; charset=iso-8859-1", page),
        (
            "response",
            "200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked",
            chunks,
        ),
        ("response", "200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked", page),
        ("response", "404 Not Found\r\nContent-Type: text/html", page),
        ("response", "200 OK\r\nContent-Type: image/png", page),
        ("response", "200 OK\r\nContent-Type: text/html", b""),
        ("response", "200 OK\r\nContent-Type: text/html", page),
    )
    items = [found.item for found in read_file(Blob("a.warc", io.BytesIO(data[:-20]), len(data)))]
    texts = [getattr(item, "text", None) or item.reason for item in items]
    assert texts == [*["Käse und Brot."] * 3, "http_status", "not_html", "empty", "truncated"]
    assert items[0].meta["date"] == "2024-05-18"
    assert items[0].meta["url"] == "http://a.example/"


def test_a_web_archive_is_read_inside_another_one_too():
    data = warc(("response", "200 OK\r\nContent-Type: text/html", b"<p>One page.</p>"))
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("a.warc")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    assert one("a.tar", file.getvalue()).text == "One page."


def test_a_packed_body_that_would_fill_the_memory_is_cut_at_the_limit(monkeypatch):
    monkeypatch.setattr("phidelity.data.formats.warc.MAX_DOCUMENT", 1 << 20)
    bomb = gzip.compress(b"<p>x</p>" * (1 << 20))
    data = warc(("response", "200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip", bomb))
    assert one("a.warc", data).reason == "bomb"


def test_a_book_of_project_gutenberg_loses_its_licence_and_its_line_ends():
    text = (
        "Title page\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\nAlice was beginning to get very tired of sitting\n"
        "by her sister on the bank.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nlicence"
    )
    assert one("a.txt", text).text == "Alice was beginning to get very tired of sitting by her sister on the bank."


def test_a_command_of_tex_is_no_accent_and_code_keeps_its_percent_signs():
    text = r"""Results \underline{a} \copyright{} 2020 \centerline{mid} \caption{Tables} see \url{http://a.example/b%20c}.
A line \\% gone
next. 50\% stays, so does \verb|a % b|. Stra\ss e, \o re, \L{}odz, na\"{\i}ve, \c{c}a, \c ca, \H{o}, \v{s}, \~n.
\footnote{A \emph{note}.}
\begin{lstlisting}[language=Python]
print("%d" % 5)
return
\end{lstlisting}
\newcommand{\R}{\mathbb{R}}\\[2ex] The end."""
    text = one("a.tex", text).text
    assert text.startswith("Results a © 2020 mid Tables see http://a.example/b%20c.\nA line\nnext. 50% stays")
    assert "`a % b`. Straße, øre, Łodz, naïve, ça, ça, ő, š, ñ. (A note.)" in text
    assert '```python\nprint("%d" % 5)\nreturn\n```' in text
    assert text.endswith("```\n\nThe end.")


def test_elements_that_a_book_closes_at_once_hold_nothing():
    page = (
        '<?xml version="1.0"?><html><head><title/><script src="a.js"/><style/></head><body><p><a id="p1"/>'
        "“Come,” he said</p>"
        '<p>And so on<br/>to the end</p><div class="x>y"/><p>Last words</p></body></html>'
    )
    assert one("a.xhtml", page).text == "“Come,” he said\n\nAnd so on\nto the end\n\nLast words"
    assert one("a.html", "<p><a name=x>Come in</p><p>Next to it</p>").text == "Come in\n\nNext to it"


def test_dates_are_read_in_the_forms_that_occur_and_in_no_other():
    told = {
        "2024-01-05": ["2024/01/05", "20240105", "2024-1-5", "20240105120000", "2024-01-05T03:00:00+09:00"]
        + ["Fri, 05 Jan 2024 10:00:00 GMT", "January 5, 2024", "5 Jan 2024", "05-Jan-2024", "Fri Jan  5 10:00:00 2024"],
        "2025-01-01": [1735689600, "1735689600", 1735689600000, 1735689600.5],
        "": ["12/31/2023", "1999-2000", "2024-W05", "2024-02-30", float("nan"), True, 0, "hello", "3 May"],
    }
    assert {day: [text for text in texts if iso_date(text) != day] for day, texts in told.items()} == {
        day: [] for day in told
    }


def test_of_several_dates_the_last_counts():
    row = '{"text": "a", "created": "2019-01-01", "updated": 1735689600}'
    page = (
        "<meta name=date content=2019-01-01><meta http-equiv=last-modified content='Wed, 01 Jan 2025 10:00:00 GMT'><p>a"
    )
    post = (
        '<posts><row Id="1" PostTypeId="1" CreationDate="2019-01-01" LastEditDate="2025-01-01T00:00" Body="a"/></posts>'
    )
    front = "---\ndate: 2019/1/1\nlastmod: January 1, 2025\n---\na"
    for name, data in (("a.jsonl", row), ("a.html", page), ("Posts.xml", post), ("a.md", front)):
        assert one(name, data).meta["date"] == "2025-01-01", name


def test_a_damaged_record_of_an_archive_costs_itself_only():
    page = "200 OK\r\nContent-Type: text/html"
    records = [warc(("response", page, f"<p>Page {n} of the archive.</p>".encode())) for n in range(6)]
    packed = [gzip.compress(record) for record in records]
    packed[2] = packed[2][:60] + b"\0" * 20 + packed[2][80:]

    def length(n):
        return re.sub(rb"Length: \d+", f"Length: {n}".encode(), b"".join(records), count=1)

    damaged = {
        "packed": (b"".join(packed), [0, 1, 3, 4, 5]),
        "junk": (records[0] + b"JUNK\r\n\r\n" * 3 + b"".join(records[1:]), [0, 1, 2, 3, 4, 5]),
        "long": (length("1000000000"), [1, 2, 3, 4, 5]),
        "longer": (length("300"), [1, 2, 3, 4, 5]),
        "short": (length("5"), [1, 2, 3, 4, 5]),
    }
    for kind, (data, sound) in damaged.items():
        name = "a.warc.gz" if kind == "packed" else "a.warc"
        items = [found.item for found in read_file(Blob(name, io.BytesIO(data), len(data)))]
        assert [item.text for item in items if isinstance(item, Part)] == [f"Page {n} of the archive." for n in sound]
        assert "damaged" in [item.reason for item in items if isinstance(item, Reject)], kind


def test_an_odd_value_of_a_table_costs_its_row_at_most():
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def rows(table):
        file = io.BytesIO()
        parquet.write_table(pyarrow.table(table), file)
        items = [found.item for found in read_file(Blob("a.parquet", io.BytesIO(file.getvalue())))]
        return [item.text if isinstance(item, Part) else item.reason for item in items]

    texts = ["one", "two", "three"]
    raw = pyarrow.array([b"good", b"\xff\xfe", b"better"], pyarrow.binary())
    broken = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    for odd in (
        pyarrow.array([0, 1_700_000_000_123_456_789, 1], pyarrow.timestamp("ns")),
        pyarrow.array([0, 10**18, 1], pyarrow.timestamp("us")),
        pyarrow.array([0, 123_456_789, 1], pyarrow.duration("ns")),
        broken,
    ):
        assert rows({"text": texts, "odd": odd}) == texts, odd.type
    assert rows({"text": broken}) == ["good", "bad_record", "better"]
    assert rows({"Text": [text.encode() for text in texts]}) == texts


def test_an_answer_of_nought_or_no_is_an_answer():
    rows = {
        '{"question": "3-3?", "answer": 0}': "3-3?\n\n0",
        '{"question": "Is it?", "answer": false}': "Is it?\n\nfalse",
        '{"question": "Which?", "answers": {"text": ["a", "a", "b"]}}': "Which?\n\na\nb",
        '{"text": "", "content": "words"}': "words",
    }
    assert {row: one("a.jsonl", row).text for row in rows} == rows


def test_code_of_a_textbook_keeps_its_lines_and_what_is_raised_stays_so():
    book = (
        '<document xmlns="http://cnx.rice.edu/cnxml"><content>'
        "<para>Write <code>x = 1</code>, 10<sup>-3</sup> of CO<sub>2</sub>.</para>"
        '<code lang="python">\nif x:\n    y()<newline/>z()\n</code><code display="block">a</code></content></document>'
    )
    assert one("index.cnxml", book).text == (
        "Write `x = 1`, 10⁻³ of CO₂.\n\n```python\nif x:\n    y()\nz()\n```\n\n```\na\n```"
    )
    assert (
        one("s.ptx", "<section><program language='c'>\n  a;\n    b;</program></section>").text == "```c\na;\n  b;\n```"
    )
    page = "<p>x<sup>2</sup>, a<sub>i</sub>, 1<sup>st</sup>, <m:math><m:msqrt><m:mn>2</m:mn></m:msqrt></m:math>"
    assert html_text(page) == "x², a_i, 1st, $\\sqrt{2}$"
    assert one("a.wiki", "[[a]] x<sup>2</sup>").text == "a x²"


def test_directives_of_rst_keep_what_they_hold():
    text = """
.. py:function:: open(path, mode)

   Opens a file, and gives a handle
   to it.

   .. versionchanged:: 3.9
      It works.

.. list-table:: Prices
   :header-rows: 1

   * - Treat
     - Price
   * - Albatross
       bird
     - 2.99

.. csv-table::
   :header: "A","B"

   "1","2"

.. code-block:: c

   std::
     x;

.. math:: E = mc^2

.. |it| replace:: this

+-----+-----+
| a   | b   |
+=====+=====+
| one | two |
+-----+-----+

=====  =====
C      D
=====  =====
False  True
       too
=====  =====

And |it|, :math:`a < b`.
"""
    assert one("a.rst", text).text == (
        "open(path, mode)\n\nOpens a file, and gives a handle\nto it.\n\n3.9\n\nIt works.\n\nPrices\n\nTreat | Price\n"
        "Albatross bird | 2.99\n\nA | B\n1 | 2\n\n    std::\n      x;\n\n$$E = mc^2$$\n\na | b\none | two\n\n"
        "C | D\nFalse | True too\n\nAnd this, $a < b$."
    )


def test_mediawiki_sections_told_in_sentences_stay_and_files_of_any_language_go():
    text = (
        "{{x}}[[Vitamin]] C.\n== Sources ==\nThe richest of all [[diet|dietary]] sources are fruit.\n"
        "[[Категория:Витамины]] [[Файл:x.jpg|thumb|описание]] [[Xyz:a.png|b]]\n[[Alien: Covenant]]\n"
        "== Notes ==\n* a list.\n"
    )
    assert one("a.txt", text).text == (
        "Vitamin C.\n\nSources\n\nThe richest of all dietary sources are fruit.\n\nAlien: Covenant"
    )
    script = "if [[ -f x ]]; then\n  y=${x[[:alpha:]]}\nfi\n{{ name }}"
    assert one("a.txt", script).text == script


def test_comments_in_code_of_markdown_stay():
    text = "A `<!-- b -->` <!-- c -->d\n\n```html\n<!-- e -->\n```\n<!--\nf -->"
    assert read_markdown(text).text == "A `<!-- b -->` d\n\n```html\n<!-- e -->\n```"


def test_a_section_named_after_its_heading_stays_and_furniture_of_that_name_goes():
    told = "<p>Members are found by their names. See <a href='#a'>there</a>.</p>"
    for name in ("search", "related", "toc", "menu", "share", "footer"):
        assert html_text(f"<section id={name}><h2 id={name}>Find</h2>{told}</section>").startswith("Find\n\nMembers"), (
            name
        )
        assert html_text(f"<div class=section id={name}><h2>Find</h2>{told}</div>").startswith("Find\n\nMembers"), name
        menu = f"<div id={name}><h2>Find</h2><a href=a>One</a></div><p>The page.</p>"
        assert html_text(menu) == "The page."


def test_code_with_numbers_or_an_element_a_line_is_one_fence_and_rows_hold_lists():
    numbered = "<table><tr><td class=linenos><pre>1\n2</pre></td><td class=code><pre>a\n  b</pre></td></tr></table>"
    assert html_text(numbered) == "```\na\n  b\n```"
    assert html_text("<pre><div class=line>a</div><div class=line>  b</div></pre>") == "```\na\n  b\n```"
    assert html_text("<pre><div class=line>a</div>\n<div class=line>  b</div>\n</pre>") == "```\na\n  b\n```"
    row = "<table><tr><td>name</td><td><p>one</p><p>two</p></td><td><ul><li>x</li><li>y</li></ul></td></tr></table>"
    assert html_text(row) == "name | one two | x y"


def test_a_document_of_word_gives_formulas_as_tex_and_everything_once():
    def part(name, *inner):
        return f"<m:{name}>{''.join(inner)}</m:{name}>"

    def run(text):
        return f"<m:r><m:t>{text}</m:t></m:r>"

    def line(text):
        return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"

    half = part("f", part("num", run("1")), part("den", run("2")))
    square = part("sSup", part("e", run("x")), part("sup", run("2")))
    root = part("rad", part("radPr", "<m:degHide m:val='1'/>"), part("deg"), part("e", run("α")))
    total = part(
        "nary", part("naryPr", "<m:chr m:val='∑'/>"), part("sub", run("i")), part("sup", run("n")), part("e", run("i"))
    )
    inner = f"<w:tbl><w:tr><w:tc>{line('nested')}</w:tc></w:tr></w:tbl>"
    table = f"<w:tbl><w:tr><w:tc>{line('a')}{line('b')}</w:tc><w:tc>{line('c')}{inner}</w:tc></w:tr></w:tbl>"
    box = f"<w:txbxContent>{line('box')}</w:txbxContent>"
    both = f"<w:p><w:r><mc:A><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:A></w:r></w:p>"
    body = f"<w:p>{part('oMath', half, square, root, total)}</w:p>{table}{both}"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "word/document.xml",
            f'<w:document xmlns:w="w" xmlns:m="m" xmlns:mc="mc"><w:body>{body}</w:body></w:document>',
        )
    assert one("a.docx", file.getvalue()).text == (
        "$\\frac{1}{2}x^{2}\\sqrt{\\alpha}\\sum_{i}^{n} i$\n\na b | c nested\n\n box"
    )
