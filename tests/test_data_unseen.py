"""Pages, persons and languages of our own making, of the kinds of the labelled probes: rules that only know those fail.

Prose, menus, wordings and languages are others than in the probes; where a page is to go, the reasons are listed
that a reader would accept.
"""

# ruff: noqa: E501 (pages stand in one line each)

import random
import re

import pytest

from phidelity.data.decontaminate import build_index, contaminated
from phidelity.data.dedup import duplicates
from phidelity.data.pii import find_personal
from phidelity.data.rules import judge
from phidelity.data.sources import read_source
from phidelity.language import identify
from phidelity.records import Document

ENGLISH = [
    "A lighthouse keeper had little company. The supply boat came twice a month if the weather allowed it, and in winter "
    "it often did not. He kept a journal of the wind and of the ships that passed, and his entries are short.",
    "Bread rises because yeast eats sugar and gives off gas. The gas is held by strands of gluten, which form when the "
    "dough is kneaded. If the dough is warm, the yeast works faster, but the taste of the loaf suffers for it.",
    "The river was straightened in the last century so that barges could reach the mills. What nobody had foreseen was "
    "the speed of the water in spring: three bridges were lost within ten years, and the meadows dried out.",
    "To measure the height of a tree, walk away from it until its top stands at an angle of forty-five degrees. Your "
    "distance from the trunk, plus the height of your eyes, is then the height that you were looking for.",
    "Paper was made from rags before it was made from wood. Collectors went from house to house with a cart and a bell, "
    "and the price of linen rose with the number of newspapers that a town was able to support.",
    "Most birds that winter in the south travel at night. They steer by the stars and by the field of the earth, and "
    "they rest by day in hedges and reeds, where they eat as much as they can before the next stretch.",
    "When the mine was closed, the engineers let the water back in. It took eleven years to fill the lower galleries, and "
    "the pressure of it lifted the market square by the width of a hand, as the surveyors had said it would.",
    "A good map leaves out almost everything. The man who drew this one kept the wells and the fords, since travellers "
    "on horseback needed both, and he left out the hills, because whoever stands before a hill can see it.",
    "The clock in the tower strikes the quarters on a smaller bell. It was cast for a church across the valley that "
    "could not pay for it, and for some years the two parishes did not speak with each other because of that.",
    "Salt lowers the point at which water freezes, so a road that was salted stays wet when it would have been ice. Below "
    "a certain cold it no longer helps, and then the crews put down sand, which does not melt anything.",
]
GERMAN = [
    "Der Leuchtturmwärter hatte wenig Gesellschaft. Zweimal im Monat kam das Boot mit den Vorräten, wenn das Wetter es "
    "zuließ, und im Winter ließ es das oft nicht zu. Er führte ein Buch über den Wind und die Schiffe.",
    "Brot geht auf, weil die Hefe Zucker frisst und Gas abgibt. Das Gas wird von den Fäden des Klebers gehalten, die beim "
    "Kneten entstehen. Ist der Teig warm, arbeitet die Hefe schneller, doch der Geschmack leidet darunter.",
    "Der Fluss wurde im letzten Jahrhundert begradigt, damit die Kähne zu den Mühlen kamen. Was niemand bedacht hatte, "
    "war die Kraft des Wassers im Frühjahr, und in zehn Jahren gingen drei Brücken verloren.",
    "Eine gute Karte lässt fast alles weg. Der Mann, der diese gezeichnet hat, behielt die Brunnen und die Furten, denn "
    "Reisende zu Pferd brauchten beides, und er ließ die Hügel fort, weil man sie ohnehin sieht.",
]
SPANISH = [
    "El farero tenía poca compañía. La barca de las provisiones venía dos veces al mes si el tiempo lo permitía, y en "
    "invierno muchas veces no lo permitía. Llevaba un diario del viento y de los barcos que pasaban.",
    "El pan sube porque la levadura come azúcar y suelta gas. El gas queda preso entre las hebras del gluten, que se "
    "forman al amasar. Si la masa está caliente, la levadura trabaja más deprisa, pero el sabor lo paga.",
    "Enderezaron el río en el siglo pasado para que las barcazas llegaran a los molinos. Lo que nadie había previsto era "
    "la fuerza del agua en primavera, y en diez años se perdieron tres puentes de piedra.",
]
MENU = ["Start", "Catalogue", "Reviews", "Forum", "My account", "Help", "Imprint"]
TEXT_RULES = {"gopher_words_min"}
REPEATED = {"gopher_top_2_gram", "gopher_top_3_gram", "gopher_top_4_gram", "gopher_duplicate_5_grams"}
LINES = {"gopher_duplicate_lines", "gopher_duplicate_line_characters"}
PARAGRAPHS = {"gopher_duplicate_paragraphs", "gopher_duplicate_paragraph_characters"}


def page(body, title="Notes", menu=True):
    items = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in MENU)
    head = f"<header><nav><ul>{items}</ul></nav></header>" if menu else ""
    foot = "<footer><p>2023 Some Society. <a href='/legal'>Legal notice</a> <a href='/data'>Data protection</a></p></footer>"
    return (
        f"<!doctype html><html><head><title>{title}</title><style>p{{margin:0}}</style><script>let q={{a:2}};</script>"
        f"</head><body>{head}<main><h1>{title}</h1>{body}</main>{foot}</body></html>"
    )


def paragraphs(texts):
    return "".join(f"<p>{text}</p>" for text in texts)


def items(texts, tag="li"):
    return "<ul>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</ul>"


def numbers(seed, n=400):
    rng = random.Random(seed)
    return [str(rng.randrange(10**5)) for _ in range(n)]


SPAM = (
    "Order now and save big!!! Cheap watches, lowest price guaranteed, free shipping on every order. Click here for "
    "a special offer, buy now, no prescription needed, money back guarantee. "
)
PAGES = {
    "plain": (page(paragraphs(ENGLISH)), set()),
    "plain without a menu": (page(paragraphs(ENGLISH[3:8]), menu=False), set()),
    "german": (page(paragraphs(GERMAN)), set()),
    "spanish": (page(paragraphs(SPANISH)), set()),
    "with an address": (page(paragraphs([*ENGLISH[:5], "Write to the keeper at keeper@light.example or +44 20 7946 0018."])), set()),
    "with a list": (page(paragraphs(ENGLISH[:6]) + items(["flour, 500 g", "water, 300 g", "salt, 10 g", "yeast"])), set()),
    "with code": (page(paragraphs(ENGLISH[:6]) + "<pre><code>def f(x):\n    return {x: x + 1}\n</code></pre>"), set()),
    "with a table": (page(paragraphs(ENGLISH[:6]) + "<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>"), set()),
    "with a quotation in capitals": (page(paragraphs([*ENGLISH[:8], "MIND THE STEP"])), set()),
    "with cookies mentioned once": (page(paragraphs([*ENGLISH[:6], "This site uses cookies."])), set()),
    "mojibake": (page(paragraphs(ENGLISH[:6])).replace("'", "â€™").replace("The ", "â€œThe "), set()),
    "one long paragraph": (page(f"<p>{' '.join(ENGLISH)}</p>"), set()),
    "divs for paragraphs": (page("".join(f"<div>{text}</div>" for text in ENGLISH)), set()),
    "dialogue": (page(paragraphs([f"“{text}” she said." for text in ENGLISH[:7]])), set()),
    "breaks for paragraphs": (page("<p>" + "<br><br>".join(ENGLISH[2:9]) + "</p>"), set()),
    "poem of questions": (page(paragraphs([text.replace(".", "?") for text in ENGLISH[:6]])), set()),
    "dropped: filler": (page(paragraphs([*ENGLISH[:4], "Lorem ipsum dolor sit amet, consectetur elit."])), {"c4_lorem_ipsum"}),
    "dropped: filler in capitals": (page(paragraphs([*ENGLISH[4:8], "LOREM IPSUM dolor sit amet consetetur."])), {"c4_lorem_ipsum"}),
    "dropped: cookies": (
        page(paragraphs(["This website uses cookies to serve you better.", "See our privacy policy.", "Accept the terms of use."] * 8)),
        {"c4_policy_lines", *LINES, *REPEATED, *TEXT_RULES},
    ),
    "dropped: repeated phrase": (page("<p>" + "order fresh lamps today " * 70 + "</p>"), REPEATED | {"ours_sales"}),
    "dropped: repeated sentence": (page("<p>" + "The lamp is bright and the room is warm. " * 30 + "</p>"), REPEATED),
    "dropped: capitals": (page(paragraphs([text.upper() for text in ENGLISH[:6]])), {"refinedweb_capital_lines"}),
    "dropped: german capitals": (page(paragraphs([text.upper() for text in GERMAN])), {"refinedweb_capital_lines"}),
    "dropped: cut lines": (page(paragraphs([text[:90] + "..." for text in ENGLISH + GERMAN])), {"gopher_ellipsis_lines"}),
    "dropped: cut lines, one sign": (page(paragraphs([text[:100] + "…" for text in ENGLISH])), {"gopher_ellipsis_lines"}),
    "dropped: code alone": (page("<pre>" + "if (a) {\n  b = {c: 1};\n}\n" * 20 + "</pre>"), {"c4_curly_lines", *TEXT_RULES}),
    "dropped: menu alone": (page("<div class='menu'>" + " | ".join(MENU * 9) + "</div>"), {"ours_boilerplate", *TEXT_RULES}),
    "dropped: menu of another class": (page("<div id='sidebar-nav'>" + " / ".join(MENU * 9) + "</div>"), {"ours_boilerplate", *TEXT_RULES}),
    "dropped: repeated paragraph": (
        page(paragraphs([*ENGLISH[:4], ENGLISH[1], ENGLISH[2], ENGLISH[1], ENGLISH[2]])),
        PARAGRAPHS | LINES | REPEATED,
    ),
    "dropped: repeated lines": (
        page(paragraphs(ENGLISH[:3]) + paragraphs(["Read more about the lighthouse here"] * 40)), LINES | REPEATED,
    ),
    "dropped: links": (page(items([f"<a href='http://h{n}.example/'>great lamps {n}</a>" for n in range(70)])), {"ours_links", "fineweb_short_lines"}),
    "dropped: links in one line": (page("<p>" + " ".join(f"<a href='/t{n}'>lamp shop {n}</a>" for n in range(90)) + "</p>"), {"ours_links", "fineweb_short_lines"}),
    "dropped: numbers in a table": (
        page("<table>" + "".join(f"<tr><td>{a}</td><td>{b}</td></tr>" for a, b in zip(numbers(1), numbers(2))) + "</table>"),
        {"gopher_letters", *TEXT_RULES},
    ),
    "dropped: numbers in text": (page("<p>" + " ".join(numbers(3)) + "</p>"), {"gopher_letters", "ours_packed_max"}),
    "dropped: short": (page("<p>This page is being built. Come back soon.</p>"), TEXT_RULES),
    "dropped: short german": (page("<p>Diese Seite wird gerade überarbeitet. Bitte kommen Sie später wieder.</p>"), TEXT_RULES),
    "dropped: tags of a network": (page("<p>" + " ".join(f"#{w}" for w in ["lamp", "sun", "travel", "nice", "fun"] * 40) + "</p>"), {"gopher_hashes"}),
    "dropped: tags after words": (page("<p>" + " ".join(f"{w} #{w}day" for w in ["lamp", "sun", "sea"] * 50) + "</p>"), {"gopher_hashes"}),
    "dropped: sales": (page("<p>" + SPAM * 6 + "</p>"), {"ours_sales"}),
    "dropped: sales in paragraphs": (page(paragraphs([SPAM, ENGLISH[0], SPAM.replace("watches", "pills"), SPAM.lower()])), {"ours_sales"}),
    "dropped: bullets": (page(paragraphs([f"• {text[:80]}" for text in ENGLISH + GERMAN])), {"gopher_bullets"}),
    "dropped: bullets of another form": (page(paragraphs([f"▪ {text[:85]}" for text in ENGLISH + SPANISH])), {"gopher_bullets"}),
    "dropped: garbled": (page("<p>" + " ".join(f"x{a}Q{b}z" for a, b in zip(numbers(4), numbers(5))) + "</p>"), {"ours_odd_pairs", "ours_packed_max"}),
}  # fmt: skip


def read(tmp_path, html):
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    (found,) = [one for one in read_source(str(tmp_path)) if isinstance(one, Document)]
    return found


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_other_words_are_kept_or_dropped_for_a_fitting_reason(name, tmp_path):
    html, reasons = PAGES[name]
    document = read(tmp_path, html)
    drop = judge(document.text, "prose", meta=document.meta)
    assert (drop.reason if drop else None) in (reasons or {None})
    assert name.startswith("dropped") == bool(reasons)


PERSONS = [
    ("EMAIL", "Write me: maria.gonzalez_87@correo.example.es!"),
    ("EMAIL", "mailto:jan-willem@bedrijf.example.nl?subject=hi"),
    ("EMAIL", "e-mail：tanaka@example.jp。"),
    ("EMAIL", "first.last(at)example(dot)com"),
    ("EMAIL", "bob AT example DOT org"),
    ("EMAIL", "user@xn--bcher-kva.example or not"),
    ("PHONE", "Phone 01632 960983"),
    ("PHONE", "+81-3-5555-0123"),
    ("PHONE", "+91 98765 43210"),
    ("PHONE", "+55 (11) 5555-0199"),
    ("PHONE", "1-800-555-0199"),
    ("PHONE", "(800) 555\u20110199"),
    ("PHONE", "téléphone : 01 99 00 12 34"),
    ("PHONE", "+7 (495) 555-01-23"),
    ("IPV4_PUBLIC", "Failed login from 45.33.32.156 port 22"),
    ("IPV4_PUBLIC", "8.8.4.4:53"),
    ("IPV4_PUBLIC", "172.32.0.5 is public"),
    ("IPV6_PUBLIC", "[2a00:1450:4001:81b::200e]:443"),
    ("IPV6_PUBLIC", "2001:4860:4860:0:0:0:0:8888"),
    ("CREDIT_CARD", "2223003122003222"),
    ("CREDIT_CARD", "3714-496353-98431"),
    ("CREDIT_CARD", "card:4012888888881881."),
    ("IBAN", "FR14 2004 1010 0505 0001 3M02 606"),
    ("IBAN", "MT84MALT011000012345MTLCAST001S"),
    ("US_SSN", "SSN: 987654321"),
    ("API_KEY", "xoxb-123456789012-abcdefGHIJKL"),
    ("API_KEY", "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"),
    ("API_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n-----END OPENSSH PRIVATE KEY-----"),
]  # fmt: skip
TRAPS = [
    "Firefox/118.0.2.1 and Windows 10.0.19041.1234",
    "198.51.100.23, 192.0.2.55, 100.64.1.1, 0.0.0.0:8080",
    "fc00::1, ff02::1, 2001:db8:85a3::8a2e:370:7334, 12:34:56:78:9a:bc",
    "postgres://user@localhost:5432/db, scp f user@server:/tmp, react@18.2.0, actions/checkout@v4",
    "ISBN 0-306-40615-2, 978-0-306-40615-7, arXiv:2412.08905, 10.1038/s41586-020-2649-2",
    "UUID 550e8400-e29b-41d4-a716-446655440000, md5 d41d8cd98f00b204e9800998ecf8427e",
    "4111 1111 1111 1112 and 1234 5678 9012 3456 are no cards, GB00WEST12345698765432 no account",
    "+100 points, +1.5, +44% growth, 1 000 000 000, population 331,449,281, $ 1,299.99-2,499.00",
    'password = os.environ["DB"]; token: str = Field(default=""); api_key = "YOUR_API_KEY_GOES_HERE_PLEASE"',
    "call 911 now, call 5 10 15 20 times, tel aviv 2020, 2019-2020, 555-1234",
    "lat 40.712776, lon -74.005974; OID 1.2.840.113549.1.1; Build 22.1.0.4512",
]


@pytest.mark.parametrize(("kind", "text"), PERSONS)
def test_persons_in_other_forms_are_found(kind, text):
    assert [span.kind for span in find_personal(text)] == [kind]


@pytest.mark.parametrize("text", TRAPS)
def test_what_only_looks_personal_stays(text):
    assert find_personal(text) == []


LANGUAGES = {
    "en": "The ferry leaves at noon unless the fog is too thick.",
    "de": "Die Fähre legt mittags ab, wenn der Nebel nicht zu dicht ist.",
    "fr": "Le bac part à midi, sauf si le brouillard est trop épais.",
    "es": "El transbordador sale al mediodía si la niebla no es muy espesa.",
    "it": "Il traghetto parte a mezzogiorno se la nebbia non è troppo fitta.",
    "pt": "A balsa sai ao meio-dia, a menos que o nevoeiro esteja muito denso.",
    "nl": "De veerboot vertrekt om twaalf uur, tenzij de mist te dicht is.",
    "sv": "Färjan går klockan tolv om inte dimman är för tät.",
    "fi": "Lautta lähtee puolelta päivin, ellei sumu ole liian sakeaa.",
    "pl": "Prom odpływa w południe, chyba że mgła jest zbyt gęsta.",
    "cs": "Přívoz odjíždí v poledne, pokud není příliš hustá mlha.",
    "hu": "A komp délben indul, hacsak nem túl sűrű a köd.",
    "ro": "Feribotul pleacă la prânz dacă ceața nu este prea deasă.",
    "tr": "Sis çok yoğun değilse vapur öğlen kalkıyor.",
    "ru": "Паром отходит в полдень, если туман не слишком густой.",
    "uk": "Пором відходить опівдні, якщо туман не надто густий.",
    "bg": "Фериботът тръгва на обяд, освен ако мъглата не е твърде гъста.",
    "el": "Το πλοίο φεύγει το μεσημέρι, εκτός αν η ομίχλη είναι πολύ πυκνή.",
    "ar": "تغادر العبارة عند الظهر إلا إذا كان الضباب كثيفا جدا.",
    "he": "המעבורת יוצאת בצהריים אלא אם הערפל סמיך מדי.",
    "fa": "کشتی ظهر حرکت می‌کند مگر اینکه مه خیلی غلیظ باشد.",
    "hi": "यदि कोहरा बहुत घना न हो तो नाव दोपहर को चलती है।",
    "ja": "霧が濃すぎなければ、渡し船は正午に出ます。",
    "zh": "如果雾不太浓，渡船会在中午出发。",
    "ko": "안개가 너무 짙지 않으면 배는 정오에 떠납니다.",
    "th": "เรือข้ามฟากออกตอนเที่ยงถ้าหมอกไม่หนาเกินไป",
    "vi": "Phà rời bến lúc giữa trưa trừ khi sương mù quá dày.",
}


def test_single_sentences_in_27_languages_are_told_apart():
    wrong = {code: identify(text).code for code, text in LANGUAGES.items() if identify(text).code != code}
    assert len(wrong) <= 1, wrong


def edited(text, share, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(ENGLISH).split()[3] if rng.random() < share else word for word in text.split())


def stretched(seed):
    """A text of some 330 different words, drawn from ours."""
    rng = random.Random(seed)
    pool = " ".join(ENGLISH + GERMAN + SPANISH).split()
    return "\n\n".join(" ".join(rng.choices(pool, k=55)) + "." for _ in range(6))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: text, True),
        (lambda text: text.upper().replace("\n\n", "\n"), True),
        (lambda text: re.sub(r"[.,]", " ", text), True),
        (lambda text: "\n\n".join(reversed(text.split("\n\n"))), True),
        (lambda text: text + " One more line at the end of it.", True),
        (lambda text: text.replace(" ", "\u00a0"), True),
        (lambda text: edited(text, 0.25, "much"), False),
        (lambda text: text[: len(text) // 2], False),
        (lambda text: text + "\n\n" + stretched("second half"), False),
        (lambda text: stretched("another"), False),
    ],
)
def test_changed_copies_are_found_and_other_texts_are_not(change, found):
    for seed in range(8):
        text = stretched(seed)
        assert (duplicates([text, change(text)])[1] is not None) == found


QUESTION = (
    "A ferry carries 18 cars and 40 walkers on each of its 7 crossings of the day. Every car pays 12 coins and every "
    "walker pays 3 coins. How many coins does the ferryman count in the evening?"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QUESTION, True),
        (QUESTION.upper(), True),
        (f"{ENGLISH[0]} {QUESTION} {ENGLISH[1]}", True),
        (f"{ENGLISH[2]}\n\nQ: {QUESTION[: len(QUESTION) // 2]}", True),
        (QUESTION.replace(". ", ".\n\n").replace(" ", "  "), True),
        (" ".join(ENGLISH), False),
        ("How many coins does the ferryman have?", False),
        ("A train carries 90 cars. Every car pays 5 coins. How many coins are there?", False),
        ("", False),
    ],
)
def test_an_evaluation_problem_is_found_in_any_dress_and_nothing_else_is(text, expected):
    index = build_index([QUESTION, "How many eggs are left when Ida has used seven of her twenty eggs for the cake?"])
    assert (contaminated(index, text) is not None) == expected
