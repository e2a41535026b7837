# ruff: noqa: E501  what is said and what is expected stand on one line
"""The chat window in headless Chromium: what a person does with it, and what no model's output may do to it.

A scripted server says what no real model says on demand (script tags, bombs, answers that hang); one test talks with
`phi serve` itself. Every test has a server of its own, so an origin and a browser storage of its own.
"""

import itertools
import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser, find
from chat_world import small_model
from conftest import finish, phi_process
from scripted_server import scripted

from phidelity.page.layout import style
from phidelity.records import Conversation
from phidelity.server.app import WEB

CHROMIUM = find()
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
IDLE = "!document.querySelector('[aria-busy]') && document.getElementById('stop').hidden"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM
    browser = Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser: Browser) -> Browser:
    browser.size(1280, 860)
    browser.scheme("light")
    browser.events.clear()
    return browser


def echo(body: dict[str, Any]) -> Iterator[str]:
    """Says the last message again, a word at a time."""
    return iter(re.findall(r"\S*\s*", f"You said: {body['messages'][-1]['content']}"))


def send(page: Browser, text: str, n: int = 1) -> None:
    """Send a message and wait for the n-th answer to be whole."""
    start(page, text)
    page.wait(f"document.querySelectorAll('.turn.assistant').length === {n} && {IDLE}")


def start(page: Browser, text: str) -> None:
    page.run("document.getElementById('message').focus()")
    page.type(text)
    page.key("Enter")


def turns(page: Browser) -> list[str]:
    return page.run("[...document.querySelectorAll('.turn .said, .turn.assistant .prose')].map((one) => one.innerText)")


def set_field(page: Browser, name: str, value: str) -> None:
    page.run(
        f"""(() => {{ const field = document.getElementById({json.dumps(name)}); field.value = {json.dumps(value)};
        field.dispatchEvent(new Event("input")); field.dispatchEvent(new Event("change")); }})()"""
    )


# ---- what a person does --------------------------------------------------------------------------------------------


@in_browser
def test_an_answer_streams_and_stays_after_reloading(page):
    def slow(body: dict[str, Any]) -> Iterator[Any]:
        yield from ("One ", 0.3, "two ", 0.3, "three.")

    with scripted(slow) as server:
        page.open(server.url)
        assert "Ask something" in page.text()
        start(page, "Count.")
        page.wait("document.querySelector('.turn.assistant .prose')?.innerText.trim() === 'One'")
        page.wait(IDLE)
        assert turns(page) == ["Count.", "One two three."]
        assert re.search(r"3 tokens · \d+(\.\d)? tokens/s · first after \d\.\d\d s", page.text())
        send(page, "Again.", 2)
        assert [m["role"] for m in server.asked[-1]["messages"]] == ["user", "assistant", "user"]
        page.open(server.url + "?again")
        assert turns(page) == ["Count.", "One two three.", "Again.", "One two three."]
        assert page.run("document.getElementById('title').textContent") == "Count."
        assert page.complaints() == []


@in_browser
def test_stop_keeps_what_was_said_and_the_server_sees_the_client_leave(page):
    def endless(body: dict[str, Any]) -> Iterator[Any]:
        for i in itertools.count():
            yield f"{i} "
            yield 0.02

    with scripted(endless) as server:
        page.open(server.url)
        for n, how in enumerate((lambda: page.click("Stop"), lambda: page.key("Escape")), start=1):
            start(page, "Count.")
            page.wait(f"[...document.querySelectorAll('.turn.assistant .prose')].at({n - 1})?.innerText.includes('5')")
            how()
            page.wait(IDLE)
            assert turns(page)[-1].startswith("0 1 2 3 4 5")
            assert "stopped" in page.text()
            end = time.monotonic() + 5
            while server.n_left < n and time.monotonic() < end:
                time.sleep(0.02)
            assert server.n_left == n
        start(page, "Once more.")
        page.wait("document.querySelectorAll('.turn.assistant').length === 3")
        page.open(server.url + "?left")
        assert turns(page)[-2] == "Once more." or turns(page)[-1].startswith("0"), "left amid an answer: nothing breaks"


@in_browser
def test_regenerate_edit_and_resend_replace_what_came_after(page):
    numbers = itertools.count(1)

    def counted(body: dict[str, Any]) -> Iterator[str]:
        return iter([f"Answer {next(numbers)}"])

    with scripted(counted) as server:
        page.open(server.url)
        send(page, "First")
        page.click("Regenerate")
        page.wait("document.querySelector('.turn.assistant .prose').innerText === 'Answer 2'")
        page.wait(IDLE)
        assert server.asked[1]["messages"] == [{"role": "user", "content": "First"}]
        send(page, "Second", 2)
        page.run("document.getElementById('message').focus()")
        page.key("ArrowUp")
        page.wait("document.activeElement.className === 'edit'")
        assert page.run("document.activeElement.value") == "Second"
        page.key("Escape")
        assert turns(page) == ["First", "Answer 2", "Second", "Answer 3"]
        page.click("Edit", "document.querySelector('.turn.user')")
        page.run("document.activeElement.select()")
        page.type("Changed")
        page.key("Enter")
        page.wait(f"document.querySelectorAll('.turn').length === 2 && {IDLE}")
        assert turns(page) == ["Changed", "Answer 4"]
        assert server.asked[-1]["messages"] == [{"role": "user", "content": "Changed"}]


@in_browser
def test_settings_reach_the_server_and_wrong_ones_do_not(page):
    with scripted(echo) as server:
        page.open(server.url)
        send(page, "Plain")
        assert set(server.asked[0]) == {"model", "messages", "stream", "stream_options"}
        page.key("s", "KeyS", 1)
        page.wait("!document.getElementById('settings').hidden")
        asked = {"temperature": 0.5, "top_p": 0.9, "min_p": 0.05, "seed": 7, "max_tokens": 33}
        for name, value in asked.items():
            set_field(page, name, str(value))
        set_field(page, "system", "Be brief.")
        page.run("document.getElementById('logprobs').click()")
        send(page, "Tuned", 2)
        assert {name: server.asked[1][name] for name in asked} == asked
        assert server.asked[1]["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (server.asked[1]["logprobs"], server.asked[1]["top_logprobs"]) == (True, 5)
        for how in (lambda: start(page, "Wrong"), lambda: page.click("Regenerate")):
            set_field(page, "temperature", "-3")
            assert page.run("document.getElementById('temperature-error').textContent")
            how()
            page.wait("document.activeElement.id === 'temperature'")
            assert len(server.asked) == 2
        assert page.run("document.getElementById('message').value") == "Wrong"
        set_field(page, "temperature", "0.6")
        set_field(page, "seed", "")
        page.run("document.getElementById('message').value = ''")
        send(page, "Right", 3)
        assert server.asked[2]["temperature"] == 0.6
        assert "seed" not in server.asked[2]
        page.open(server.url + "?again")
        assert page.run("document.getElementById('system').value") == "Be brief."


@in_browser
def test_conversations_are_listed_renamed_deleted_and_brought_back(page):
    with scripted(echo) as server:
        page.open(server.url)
        send(page, "First talk")
        page.key("n", "KeyN", 1)
        page.wait("!document.getElementById('welcome').hidden")
        send(page, "Second talk")
        listed = "[...document.querySelectorAll('.entry')].map((one) => one.firstChild.textContent)"
        assert sorted(page.run(listed)) == ["First talk", "Second talk"]
        page.click("Rename")
        page.type("A better name")
        page.key("Enter")
        assert page.run("document.getElementById('title').textContent") == "A better name"
        page.click("Delete")
        page.wait("document.getElementById('title').textContent === 'First talk'")
        assert page.run(listed) == ["First talk"]
        page.click("Undo")
        page.wait("document.getElementById('title').textContent === 'A better name'")
        page.open(server.url + "?again")
        assert sorted(page.run(listed)) == ["A better name", "First talk"]
        page.click("Delete")
        page.wait("document.querySelectorAll('.entry').length === 1")
        page.click("Delete")
        page.wait("document.querySelectorAll('.entry').length === 0")
        page.open(server.url + "?empty")
        assert "Ask something" in page.text()


def slowly(body: dict[str, Any]) -> Iterator[Any]:
    for i in range(60):
        yield f"w{i} "
        yield 0.05


@in_browser
def test_a_conversation_deleted_amid_its_answer_stays_deleted(page):
    with scripted(slowly) as server:
        page.open(server.url)
        start(page, "Count.")
        page.wait("document.querySelector('.turn.assistant .prose')?.innerText.includes('w2')")
        page.click("Delete")
        page.wait(IDLE)
        time.sleep(0.3)
        assert page.run("document.querySelectorAll('.entry').length") == 0
        page.click("Undo")
        page.wait("document.querySelectorAll('.entry').length === 1")
        page.click("Delete")
        page.wait("document.querySelectorAll('.entry').length === 0")
        page.open(server.url + "?again")
        assert page.run("document.querySelectorAll('.entry').length") == 0


@in_browser
def test_one_answer_is_written_at_a_time_and_can_be_stopped(page):
    with scripted(slowly) as server:
        page.open(server.url)
        start(page, "Count.")
        page.wait("document.querySelector('.turn.assistant .prose')?.innerText.includes('w2')")
        page.run("document.getElementById('new').click()")
        page.run("document.querySelector('.example').click()")
        assert "An answer is being written" in page.text()
        assert len(server.asked) == 1
        page.click("Stop")
        page.wait(IDLE)


@in_browser
def test_an_answer_under_way_is_kept_to_the_last_word_when_the_page_is_left(page):
    with scripted(slowly) as server:
        page.open(server.url)
        start(page, "Count.")
        page.wait("document.querySelector('.turn.assistant .prose')?.innerText.includes('w7')")
        page.open(server.url + "?left")
        assert "w7" in turns(page)[-1]
        assert page.complaints() == []


@in_browser
def test_what_is_exported_is_a_record_and_can_be_imported(page):
    with scripted(echo) as server:
        page.open(server.url)
        page.run("import('./store.js').then((module) => { window.store = module; })")
        made = """{...store.fresh({temperature: 0.5}), title: "Grüße", system: "s",
            turns: [{role: "user", content: "a\\n\\u2028b"}, {role: "assistant", content: "c", figures: {n: 1}}]}"""
        text = page.run(f"store.asRecords([{made}, {made}])")
        records = [Conversation.model_validate_json(line) for line in text.split("\n") if line]
        assert len(records) == 2
        assert [m.content for m in records[0].messages] == ["s", "a\n\u2028b", "c"]
        assert page.run(f"store.asRecords(store.fromRecords({json.dumps(text)}, {{}}))").count("Grüße") == 2
        for bad, why in (
            ("", "file is empty"),
            ('{"messages": []}\n', 'Entry 1 is no conversation; expected "messages"'),
            ('{"messages": [{"role": "user", "content": "a"}]}\n{"messages": 1}\n', "Line 2 is no conversation"),
            ('{"messages": [{"role": "user", "content": "a"}]}\nnonsense\n', "Line 2 is not valid JSON"),
            ('{"messages": [{"role": "robot", "content": "a"}]}\n', "with? a role|each with a role"),
            ("null", "is no conversation|not valid"),
        ):
            with pytest.raises(RuntimeError, match=why):
                page.run(f"store.fromRecords({json.dumps(bad)}, {{}})")


@in_browser
def test_tokens_show_their_probability_in_figures_and_what_else_was_likely(page):
    def said(body: dict[str, Any]) -> Iterator[Any]:
        for text, p, other in (("Yes", 0.75, "No"), (",", 0.004, "."), (" 7\n", 0.999, " 8")):
            top = [(text, p), (other, (1 - p) / 2)]
            likely = [{"token": t, "logprob": math.log(q), "bytes": None} for t, q in sorted(top, key=lambda x: -x[1])]
            yield text, [{"token": text, "logprob": math.log(p), "bytes": None, "top_logprobs": likely}]

    with scripted(said) as server:
        page.open(server.url)
        page.run("document.getElementById('logprobs').click()")
        send(page, "Well?")
        page.click("Tokens")
        labels = page.run("[...document.querySelectorAll('.token')].map((one) => one.getAttribute('aria-label'))")
        assert labels == ["Yes, 75.0 %", ",, 0.4 %", " 7\n, 99.9 %"]
        figures = page.run("[...document.querySelectorAll('.token sub')].map((one) => one.textContent)")
        assert figures == ["75", "<1", "100"]
        page.run("document.querySelector('.token').focus()")
        page.key("ArrowRight")
        detail = page.run("document.querySelector('.token-detail').innerText")
        assert "." in detail
        assert "49.8 %" in detail
        assert ", chosen" in detail
        assert "−5.521" in detail
        assert page.run("document.querySelectorAll('.token[tabindex=\"0\"]').length") == 1
        page.open(server.url + "?again")
        page.key("t", "KeyT", 1)
        assert page.run("document.querySelectorAll('.token').length") == 3


# ---- untrusted output ----------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg onload=window.pwned=1><a xlink:href='javascript:window.pwned=1'>x</a></svg>",
    "[click](javascript:window.pwned=1) and [that](JaVaScRiPt:window.pwned=1) and [j](java\nscript:window.pwned=1)",
    "[data](data:text/html,<script>window.pwned=1</script>) [vb](vbscript:x) [file](file:///etc/passwd) [blob](blob:x)",
    "![picture](https://evil.example/track.png) ![d](data:image/svg+xml,<svg onload=pwned>)",
    '<https://evil.example/> https://evil.example/"onmouseover="window.pwned=1',
    '[x](https://a.example/" onclick="window.pwned=1)',
    "```html\n<script>window.pwned = 1</script>\n```",
    '```"><script>window.pwned = 1</script>\nx\n```',
    "$\\text{<script>window.pwned = 1</script>} \\href{javascript:window.pwned=1}{x}$",
    "$\\frac{<img src=x onerror=window.pwned=1>}{2}$",
    "| <b>a</b> | <iframe src=javascript:window.pwned=1> |\n|---|---|\n| <form action=x> | `<style>*{display:none}</style>` |",
    "# <h1 onclick=window.pwned=1>\n> <blockquote onclick=window.pwned=1>\n- <li onclick=window.pwned=1>",
    "&lt;script&gt; &#x3C;script&#x3E; \\<script\\>",
    "<style>@import 'https://evil.example/x.css'</style><meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<|im_end|><|im_start|>system<|im_sep|>\u202egnihtemos\u0000\u001b[2J",
    "__proto__ **constructor** `${window.pwned=1}` {{7*7}} <!-- comment --> <![CDATA[x]]>",
)


@in_browser
def test_nothing_a_model_says_becomes_live(page):
    with scripted(lambda body: iter([HOSTILE[int(body["messages"][-1]["content"])]])) as server:
        page.open(server.url)
        for i in range(len(HOSTILE)):
            send(page, str(i), i + 1)
        page.run("document.querySelectorAll('#turns a, #turns code, #turns span').forEach((one) => "
                 "one.dispatchEvent(new MouseEvent('mouseover', {bubbles: true})))")  # fmt: skip
        page.open(server.url + "?again")
        assert page.run("window.pwned") is None
        found = page.run("""[...document.querySelectorAll('#turns *')].flatMap((one) => [one.localName,
            ...[...one.attributes].map((attribute) => `${attribute.name}=${attribute.value}`)])""")
        allowed = (
            "article h2 div p span em strong del code pre button a ul ol li blockquote hr br table thead tbody tr th td "
            "h3 h4 h5 h6 math mrow mi mn mo mfrac mtext mspace"
        )
        assert {one for one in found if "=" not in one} <= set(allowed.split())
        names = {one.partition("=")[0] for one in found if "=" in one}
        assert names <= {
            "class",
            "href",
            "rel",
            "target",
            "type",
            "tabindex",
            "display",
            "alttext",
            "stretchy",
            "aria-current",
        }
        links = {one for one in found if one.startswith("href=")}
        assert links
        assert all(one.startswith("href=https://") for one in links)
        shown = page.text()
        for literal in (
            "<script>window.pwned = 1</script>",
            "onerror='window.pwned = 1'",
            "javascript:window.pwned=1",
            "<form action=x>",
        ):
            assert literal in shown
        asked = [e["params"]["request"]["url"] for e in page.events if e.get("method") == "Network.requestWillBeSent"]
        assert {url for url in asked if not url.startswith((server.url, "data:,"))} == set()
        assert page.complaints() == [], "not even the policy had to step in"


BOMBS = {
    "quotes": ">" * 20_000,
    "brackets": "[" * 50_000,
    "closers": "]" * 50_000,
    "links": "[a](" * 20_000,
    "images": "![" * 20_000,
    "stars": "*" * 50_001,
    "open stars": "*a " * 20_000,
    "nested emphasis": "*a **b " * 10_000 + "** *" * 10_000,
    "underscores": "_a__b" * 20_000,
    "backticks": "".join("`" * (n % 300) + " " for n in range(1, 600)),
    "dollars": "$a " * 20_000,
    "double dollars": "$$a\n" * 10_000,
    "open displays": "\\[a\n" * 10_000,
    "formula depth": "$" + "{" * 2000 + "}" * 2000 + "$",
    "formula roots": "$$" + "\\sqrt{" * 700 + "}" * 700 + "$$",
    "scripts": "$x" + "^{x" * 900 + "}" * 900 + "$",
    "lists": "".join("  " * n + "- a\n" for n in range(500)),
    "numbers": "1. " * 10_000,
    "table": "|" * 20_000 + "\n" + "|-" * 10_000 + "\n" + "|" * 20_000,
    "rows": "|a|b|\n|-|-|\n" + "|c|d|\n" * 5_000,
    "heading": "# " + " #" * 30_000 + "x",
    "fences": "```\n" * 10_000,
    "one line": "x" * 2_000_000,
    "spaces": " " * 100_000 + "x",
    "addresses": "https://" * 10_000,
    "dots": "https://a" + "." * 50_000,
    "escapes": "\\" * 100_000,
    "combining": "Z" + "\u0301" * 20_000,
    "lines": "\n" * 200_000,
}


@in_browser
@pytest.mark.parametrize("name", BOMBS)
def test_markdown_bombs_end_soon_and_nest_no_deeper_than_they_may(page, name):
    with scripted(echo) as server:
        page.open(server.url)
        took, depth, size = page.run(
            f"""import('./markdown.js').then(({{ markdown }}) => {{
                const text = {json.dumps(BOMBS[name])};
                const began = performance.now();
                const root = markdown(text);
                const took = performance.now() - began;
                let depth = 0;
                for (let one = [...root.querySelectorAll('*')], k = 0; k < one.length; k++) {{
                    let n = 0;
                    for (let up = one[k]; up !== root; up = up.parentNode) n++;
                    depth = Math.max(depth, n);
                }}
                return [took, depth, root.textContent.length];
            }})"""
        )
        assert took < 10_000, (
            "milliseconds; the slowest takes 300, one that is not linear would take far more than ten seconds"
        )
        assert depth < 140
        assert size <= 3 * len(BOMBS[name]) + 100


@in_browser
def test_a_huge_answer_leaves_the_page_usable(page):
    line = "Lorem *ipsum* dolor sit amet, `consectetur` $a^2$ adipiscing elit.\n"

    def huge(body: dict[str, Any]) -> Iterator[str]:
        for i in range(400):
            yield line * 10 + ("\n" if i % 3 == 0 else "")

    with scripted(huge) as server:
        page.open(server.url)
        start(page, "Go on.")
        page.wait("document.querySelectorAll('.turn').length === 2")
        page.key("k", "KeyK", 1)
        page.wait("document.getElementById('shortcuts').open", 5)
        page.run("document.getElementById('shortcuts').close()")
        page.wait(IDLE, 60)
        assert page.run("document.querySelector('.turn.assistant .prose').textContent.length") > 200_000


# ---- Markdown and mathematics --------------------------------------------------------------------------------------

EXAMPLES = {
    "a *b* **c** ***d*** ~~e~~ `f*g*`": "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong> <del>e</del> <code>f*g*</code></p>",
    "snake_case_name and 2*3*4 and _so_": "<p>snake_case_name and 2<em>3</em>4 and <em>so</em></p>",
    "**open and *more": "<p>**open and *more</p>",
    "``a ` b``": "<p><code>a ` b</code></p>",
    "one\ntwo  \nthree\\\nfour": "<p>one\ntwo<br>three<br>four</p>",
    "# A #\n## B\ntext": "<h3>A</h3><h4>B</h4><p>text</p>",
    "- a\n- b\n\n  more\n- c": "<ul><li>a</li><li><p>b</p><p>more</p></li><li>c</li></ul>",
    "3. x\n4. y": '<ol start="3"><li>x</li><li>y</li></ol>',
    "- a\n  1. b\n  2. c\n- d": "<ul><li>a<ol><li>b</li><li>c</li></ol></li><li>d</li></ul>",
    "I was born in\n1984. It rained.": "<p>I was born in\n1984. It rained.</p>",
    "> a\n> b\n\nc": "<blockquote><p>a\nb</p></blockquote><p>c</p>",
    "a\n\n---\n\nb": "<p>a</p><hr><p>b</p>",
    "from $5 to $10, or \\$3": "<p>from $5 to $10, or $3</p>",
    "a \\* b \\_ c": "<p>a * b _ c</p>",
    "x < y && z > w & more &amp;": "<p>x &lt; y &amp;&amp; z &gt; w &amp; more &amp;amp;</p>",
    "[a *b*](https://x.example/y_z_)": '<p><a href="https://x.example/y_z_" rel="noopener noreferrer nofollow" target="_blank">a <em>b</em></a></p>',
    "see https://x.example/a_b(c)_d.": '<p>see <a href="https://x.example/a_b(c)_d" rel="noopener noreferrer nofollow" '
    'target="_blank">https://x.example/a_b(c)_d</a>.</p>',
    "[no](ftp://x) [lone] (x)": '<p><span class="unlinked">no (ftp://x)</span> [lone] (x)</p>',
}  # fmt: skip

FORMULAS = {
    "x^2": "<msup><mi>x</mi><mn>2</mn></msup>",
    "x^12": "<msup><mi>x</mi><mn>1</mn></msup><mn>2</mn>",
    "a_{ij}": "<msub><mi>a</mi><mrow><mi>i</mi><mi>j</mi></mrow></msub>",
    "f'(x)": '<msup><mi>f</mi><mo>′</mo></msup><mo stretchy="false">(</mo><mi>x</mi><mo stretchy="false">)</mo>',
    "\\frac12": "<mfrac><mn>1</mn><mn>2</mn></mfrac>",
    "\\frac{a}{b}": "<mfrac><mi>a</mi><mi>b</mi></mfrac>",
    "\\sqrt[3]{x}": "<mroot><mi>x</mi><mn>3</mn></mroot>",
    "\\sum_{i}^n": '<munderover data-x><mo movablelimits="true">∑</mo><mi>i</mi><mi>n</mi></munderover>',
    "\\int_0^1": "<msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup>",
    "\\alpha \\leq \\beta": "<mi>α</mi><mo>≤</mo><mi>β</mi>",
    "\\mathbb{R}": '<mi mathvariant="normal">ℝ</mi>',
    "\\mathrm{kg}": '<mi mathvariant="normal">kg</mi>',
    "\\text{if } x": "<mtext>if&nbsp;</mtext><mi>x</mi>",
    "\\left( x \\right.": '<mrow><mo fence="true" stretchy="true">(</mo><mi>x</mi><mo fence="true" stretchy="true"></mo></mrow>',
    "\\frobnicate{x}": '<mtext class="source">\\frobnicate</mtext><mi>x</mi>',
    "1,000.5 - y": "<mn>1,000.5</mn><mo>−</mo><mi>y</mi>",
}
BROKEN = (
    "\\frac{1}",
    "{x",
    "x}",
    "x^",
    "x_1_2",
    "\\begin{matrix} a",
    "\\begin{tabular} a \\end{tabular}",
    "\\left( x",
    "a & b",
    "\\end{x}",
    "\\left\\foo x \\right)",
)


@in_browser
def test_markdown_and_formulas_are_read_as_written(page):
    with scripted(echo) as server:
        page.open(server.url)
        page.run(
            "Promise.all([import('./markdown.js'), import('./tex.js')]).then(([a, b]) => { window.md = a; window.tex = b; })"
        )
        for source, html in EXAMPLES.items():
            assert page.run(f"md.markdown({json.dumps(source)}).innerHTML") == html, source
        for source, html in FORMULAS.items():
            found = page.run(f"tex.math({json.dumps(source)}, false).innerHTML").replace(' data-limits="1"', "")
            assert found == f"<mrow>{html}</mrow>".replace(" data-x", ""), source
        for source in BROKEN:
            assert (
                page.run(f"tex.math({json.dumps(source)}, true).outerHTML")
                == f'<code class="tex">{source.replace("&", "&amp;")}</code>'
            )
        aligned = "\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}"
        assert page.run(f"tex.math({json.dumps(aligned)}, true).querySelectorAll('mtd').length") == 4


TEXT = """# Title

A *paragraph* with `code`,
and $x^2$ on two lines.
- one
- two
  - three

  more of two
1. first
2. second

| a | b |
|---|---|
| 1 | 2 |

```python
def f():

    return 1
```
> quoted
lazy

$$
\\frac{1}{2}
$$
The end: https://x.example/a."""


@in_browser
def test_a_text_that_grows_looks_as_one_that_is_whole(page):
    with scripted(echo) as server:
        page.open(server.url)
        same = page.run(f"""import('./markdown.js').then(({{ markdown, Markdown }}) => {{
            const text = {json.dumps(TEXT)};
            const root = document.createElement('div');
            const growing = new Markdown(root);
            for (let n = 1; n <= text.length; n++) {{
                growing.update(text.slice(0, n));
                if (root.innerHTML !== markdown(text.slice(0, n)).innerHTML) return [n, root.innerHTML, markdown(text.slice(0, n)).innerHTML];
            }}
            return true;
        }})""")
        assert same is True


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@in_browser
def test_a_conversation_over_the_context_is_told_with_the_numbers_and_a_way_on(page):
    told = "This model's maximum context length is 512 tokens, the answer included; the prompt has 1305 tokens. Shorten it."

    def full(body: dict[str, Any]) -> Any:
        if len(body["messages"]) > 1:
            return 400, {"message": told, "code": "context_length_exceeded"}, {}
        return echo(body)

    with scripted(full) as server:
        page.open(server.url)
        send(page, "Short")
        start(page, "Long")
        page.wait("!document.getElementById('trouble').hidden")
        assert "grown to 1305 tokens. This model reads 512 at most" in page.text()
        page.click("Ask in a new conversation")
        page.wait(f"document.querySelectorAll('.turn.assistant').length === 1 && {IDLE}")
        assert turns(page) == ["Long", "You said: Long"]
        assert page.run("document.querySelectorAll('.entry').length") == 2


@in_browser
def test_a_busy_server_is_asked_again_after_the_time_it_named(page):
    def busy(body: dict[str, Any]) -> Any:
        first = len(server.asked) == 1
        return (429, {"message": "full"}, {"Retry-After": "1"}) if first else echo(body)

    with scripted(busy) as server:
        page.open(server.url)
        start(page, "Hello")
        page.wait("document.querySelector('#trouble button')?.disabled")
        assert "as many answers under way as it can" in page.text()
        assert "Try again in 1 s" in page.text()
        page.wait("!document.querySelector('#trouble button').disabled")
        page.click("Try again")
        page.wait(f"document.querySelectorAll('.turn.assistant').length === 1 && {IDLE}")
        assert turns(page) == ["Hello", "You said: Hello"]


@in_browser
def test_a_server_that_is_gone_or_breaks_off_is_told_and_tried_again(page):
    def breaking(body: dict[str, Any]) -> Iterator[Any]:
        return iter(["Half an ", "answer", None]) if body["messages"][-1]["content"] == "Break" else echo(body)

    with scripted(breaking) as server:
        url, port = server.url, server.server_address[1]
        page.open(url)
        start(page, "Break")
        page.wait("!document.getElementById('trouble').hidden")
        assert "broke off" in page.text()
        assert turns(page) == ["Break", "Half an answer"]
    start(page, "Hello")
    page.wait("document.getElementById('trouble').innerText.includes('cannot be reached')")
    assert "Is phi serve still running?" in page.text()
    with scripted(breaking, port=port):
        page.click("Try again")
        page.wait(f"document.querySelectorAll('.turn.assistant').length === 2 && {IDLE}")
        assert turns(page)[-1] == "You said: Hello"


@in_browser
def test_a_server_with_a_key_asks_for_it(page):
    with scripted(echo) as server:
        server.key = "secret"
        page.send("Page.navigate", url=server.url)
        page.wait("!document.getElementById('key-field').hidden && document.activeElement.id === 'key'")
        assert "asks for a key" in page.text()
        set_field(page, "key", "secret")
        page.wait("document.getElementById('model-line').textContent.startsWith('tiny')")
        send(page, "Hello")
        assert turns(page) == ["Hello", "You said: Hello"]


# ---- how it looks and is used --------------------------------------------------------------------------------------


def test_colours_and_type_are_those_of_the_report():
    report, page = style(), (WEB / "style.css").read_text()
    light, dark = report.split("@media (prefers-color-scheme: dark)")[:2]
    variable = re.compile(r"--([\w-]+):\s*([^;]+);")
    pairs = dict(variable.findall(page))
    assert len(pairs) >= 15
    for name, value in pairs.items():
        expected = [dict(variable.findall(part)).get(name) for part in (light, dark.split("* {")[0])]
        assert value == (f"light-dark({expected[0]}, {expected[1]})" if expected[1] else expected[0]), name


def test_no_file_of_the_page_parses_html_or_asks_elsewhere():
    for path in WEB.iterdir():
        text = path.read_text()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "srcdoc",
            "eval(",
            "new Function",
        ):
            assert way not in text, (path.name, way)
        elsewhere = re.findall(r"https?://(?!www\.w3\.org/1998/Math/MathML)[\w.]+", text)
        assert elsewhere == [], path.name
        if path.suffix == ".html":
            assert not re.search(r"\son\w+=|\sstyle=|<script>|<style", text)


@in_browser
def test_dark_and_light_follow_the_system_until_a_person_decides(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    with scripted(echo) as server:
        page.open(server.url)
        assert page.run(paper) == "rgb(251, 250, 246)"
        page.scheme("dark")
        assert page.run(paper) == "rgb(25, 26, 28)"
        page.run("document.querySelector('#theme input[value=light]').click()")
        assert page.run(paper) == "rgb(251, 250, 246)"
        page.open(server.url + "?again")
        assert page.run(paper) == "rgb(251, 250, 246)"
        page.run("document.querySelector('#theme input[value=\"\"]').click()")
        assert page.run(paper) == "rgb(25, 26, 28)"


CONTRAST = """(() => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const light = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map((n) => linear(n / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const behind = (one) => { for (; one; one = one.parentElement) { const c = getComputedStyle(one).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } };
    return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility() && !one.disabled &&
        [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim())).map((one) => {
        const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 80)];
    }).filter(([ratio]) => ratio < 4.5);
})()"""


@in_browser
def test_text_stands_out_in_light_and_dark_and_everything_has_a_name(page):
    def said(body: dict[str, Any]) -> Iterator[Any]:
        for p in (0.01, 0.3, 0.6, 0.9, 0.99):
            yield f"{p} ", [{"token": f"{p} ", "logprob": math.log(p), "bytes": None, "top_logprobs": []}]
        yield "[a](https://x.example) `code` $\\foo$\n\n> quote\n\n```\ncode\n```\n"

    with scripted(said, model={"notice": "9-parameter miniature trained by Phidelity; not phi-4"}) as server:
        page.open(server.url)
        page.key("s", "KeyS", 1)
        page.run("document.getElementById('logprobs').click()")
        send(page, "Show")
        page.click("Tokens")
        for scheme in ("light", "dark"):
            page.scheme(scheme)
            assert page.run(CONTRAST) == []
        nameless = page.run("""[...document.querySelectorAll('button, input, textarea, a')].filter((one) => !one.hidden &&
            !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML)""")
        assert nameless == []


@in_browser
def test_on_a_narrow_screen_nothing_overflows_and_panels_open_over_the_page(page):
    page.size(340, 640)
    wide = (
        "| "
        + " | ".join(f"column {i}" for i in range(12))
        + " |\n"
        + "|---" * 12
        + "|\n\n```\n"
        + "x" * 300
        + "\n```\n"
        + "y" * 300
    )
    with scripted(lambda body: iter([wide])) as server:
        page.open(server.url)
        assert page.run("document.documentElement.scrollWidth") <= 340
        send(page, "w" * 200)
        assert page.run("document.documentElement.scrollWidth") <= 340
        assert page.run(
            "document.getElementById('scroll').scrollWidth <= document.getElementById('scroll').clientWidth"
        )
        page.click("Conversations")
        assert page.run("document.getElementById('side').getBoundingClientRect().width") == 340
        assert page.run("document.activeElement.id") == "close-side"
        page.key("Escape")
        assert page.run("getComputedStyle(document.getElementById('side')).display") == "none"
        page.click("Settings")
        assert page.run("document.getElementById('settings').scrollWidth") <= 340
        send_box = page.run("document.getElementById('send').getBoundingClientRect().right")
        assert send_box <= 340


@in_browser
def test_the_live_region_tells_of_an_answer_and_not_of_every_token(page):
    def words(body: dict[str, Any]) -> Iterator[Any]:
        for i in range(40):
            yield f"word{i} "
            yield 0.01

    with scripted(words) as server:
        page.open(server.url)
        page.run("""(() => { window.told = []; new MutationObserver(() => told.push(document.getElementById('status').textContent))
            .observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true}); })()""")
        send(page, "Speak")
        told = page.run("told")
        assert len(told) == 2
        assert told[0] == "The answer is being written."
        assert told[1].startswith("Answer: word0 word1")
        assert page.run("document.querySelectorAll('#turns[aria-live], #turns [aria-live]').length") == 0


@in_browser
def test_keys_reach_everything_and_shortcuts_are_listed(page):
    with scripted(echo) as server:
        page.open(server.url)
        page.key("k", "KeyK", 1)
        page.wait("document.getElementById('shortcuts').open")
        listed = page.run("document.getElementById('shortcuts').innerText")
        assert all(key in listed for key in ("Enter", "Esc", "Alt", "N", "R", "C", "T", "S", "M", "K", "↑"))
        page.key("Escape")
        page.wait("!document.getElementById('shortcuts').open")
        seen = set()
        page.run("document.body.focus()")
        for _ in range(20):
            page.key("Tab")
            seen.add(page.run("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert {"new", "export-all", "import", "keys", "open-settings", "message", "send"} <= seen
        page.run("document.activeElement.blur()")
        page.key("m", "KeyM", 1)
        assert page.run("document.activeElement.id") == "message"
        page.type("two")
        page.key("Enter", modifiers=8)
        page.type("lines")
        assert page.run("document.getElementById('message').value").startswith("two")
        assert page.run("document.querySelectorAll('.turn').length") == 0


@in_browser
def test_a_miniature_is_told_to_be_one(page):
    notice = "2,426,112-parameter miniature trained by Phidelity; not phi-4"
    with scripted(echo, model={"notice": notice}) as server:
        page.open(server.url)
        assert f"You talk with a {notice}." in page.text()
        send(page, "Hello")
        assert notice in page.text()
        assert server.asked[0]["temperature"] == 0
    with scripted(echo, model={"notice": "14,659,507,200 parameters"}) as server:
        page.open(server.url)
        assert page.run("document.getElementById('notice').hidden")


@in_browser
def test_the_page_talks_with_the_real_server(page, tmp_path):
    serving = phi_process("serve", small_model(tmp_path / "model"), "--port", "0", "--name", "cat")
    try:
        assert serving.stdout
        line = next(line for line in serving.stdout if line.startswith("ready: cat at "))
        page.open(line.split()[3] + "/")
        assert "cat · reads 160 tokens" in page.text()
        page.run("document.getElementById('logprobs').click()")
        for name, value in (("temperature", "0"), ("max_tokens", "12"), ("seed", "3")):
            set_field(page, name, value)
        send(page, "the cat")
        first = turns(page)[1]
        assert re.search(r"\d+ tokens? · .*first after \d+\.\d\d s", page.text())
        page.click("Tokens")
        n_tokens = page.run("document.querySelectorAll('.token').length")
        assert 0 < n_tokens <= 12
        page.click("Regenerate")
        page.wait(f"document.querySelectorAll('.turn.assistant').length === 1 && {IDLE}")
        assert turns(page)[1] == first, "greedy"
        set_field(page, "max_tokens", "")
        start(page, "word " * 150)
        page.wait("!document.getElementById('trouble').hidden")
        assert re.search(r"grown to [\d,]+ tokens. This model reads 160 at most", page.text())
        page.open(line.split()[3] + "/?again")
        assert turns(page)[1] == first
        errors = [one for one in page.complaints() if "400" not in one]
        assert errors == []
    finally:
        serving.terminate()
        done = finish(serving)
    assert done.returncode == 0, done.stderr
