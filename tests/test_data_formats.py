from phidelity.data.formats.html import html_text
from phidelity.data.formats.plain import clean, read_markdown, unwrap

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
