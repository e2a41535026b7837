"""Word problems in eight languages: English and the report's seven (phi-4 §2.3), from one file of words for each.

Shopping, packing, journeys, and who has more. The sentences in `languages/*.toml` are written for each language, not
translated word by word; nouns are chosen so that every number and name fits (counts start at two, things share a gender,
no verb agrees with a person). The numbers are the same for all languages, prices in yen tenfold.
"""

import random
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from phidelity.problems.item import Family
from phidelity.problems.topic import Sketch, between, one_of, pick, topic

LANGUAGES = ("en", "de", "es", "fr", "pt", "it", "hi", "ja")
Tongue = Mapping[str, Any]


def tongue(language: str) -> Tongue:
    """The words of a language."""
    text = files("phidelity.problems").joinpath("languages").joinpath(f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def shop(rng: random.Random, held: bool, *, words: Tongue, highest_price: int = 24, most: int = 15) -> Sketch:
    """Pieces at one price: the sum, or the change."""
    a, b = pick(rng, 2, highest_price, held) * words["price_scale"], between(rng, 2, most)
    kind, v = one_of(rng, ("total", "change")), a * b
    c = (v // 50 + between(rng, 1, 2)) * 50
    return _sketch(rng, words["shop"], words, kind, {"a": a, "b": b, "c": c, "v": v}, v if kind == "total" else c - v)


def share(rng: random.Random, held: bool, *, words: Tongue, largest_box: int = 24, most_boxes: int = 15) -> Sketch:
    """Things in equal boxes: how many are full, how many things remain."""
    b, q = pick(rng, 5, largest_box, held), between(rng, 3, most_boxes)
    s = between(rng, 2, b - 1)
    kind = one_of(rng, ("boxes", "rest"))
    numbers = {"a": q * b + s, "b": b, "q": q, "v": q * b, "s": s}
    return _sketch(rng, words["share"], words, kind, numbers, q if kind == "boxes" else s)


def journey(rng: random.Random, held: bool, *, words: Tongue, fastest: int = 110, longest: int = 12) -> Sketch:
    """Distance or time at a steady speed."""
    a, b = pick(rng, 15, fastest, held), between(rng, 2, longest)
    kind = one_of(rng, ("distance", "time"))
    return _sketch(rng, words["journey"], words, kind, {"a": a, "b": b, "c": a * b}, a * b if kind == "distance" else b)


def together(rng: random.Random, held: bool, *, words: Tongue, largest: int = 90) -> Sketch:
    """Two amounts, one told by its difference from the other."""
    a = pick(rng, 12, largest, held)
    b = between(rng, 2, a - 2)
    kind = one_of(rng, ("more", "fewer"))
    v = a + b if kind == "more" else a - b
    return _sketch(rng, words["together"], words, kind, {"a": a, "b": b, "v": v}, a + v)


def _sketch(
    rng: random.Random, told: Tongue, words: Tongue, kind: str, numbers: Mapping[str, int], answer: int
) -> Sketch:
    (n, m), w = rng.sample(words["names"], 2), one_of(rng, words["vehicles"])
    o, t, *oblique = one_of(rng, words["things"])
    slots = {
        "n": n,
        "m": m,
        "o": o,
        "t": t,
        "p": oblique[0] if oblique else t,
        "w": w,
        "W": w[0].upper() + w[1:],
        "r": answer,
        **numbers,
    }
    steps = tuple(step.format_map(slots) for step in told[kind])
    return Sketch(kind, slots, steps, str(answer), {"kind": kind, "n": numbers})


def _solve(meta: Mapping[str, Any]) -> str:
    """By counting one by one, never by the formula of the steps."""
    kind, n = meta["kind"], meta["n"]
    if kind in ("total", "distance"):
        return str(sum(n["a"] for _ in range(n["b"])))
    if kind in ("change", "boxes", "rest", "time"):
        left = n["c"] if kind in ("change", "time") else n["a"]
        size, times = (n["b"] if kind in ("boxes", "rest") else n["a"]), 0
        while left >= size and (kind != "change" or times < n["b"]):
            left, times = left - size, times + 1
        return str(left if kind in ("change", "rest") else times)
    return str(2 * n["a"] + (n["b"] if kind == "more" else -n["b"]))


_DRAWS: dict[str, Callable[..., Sketch]] = {"shop": shop, "share": share, "journey": journey, "together": together}


def _families(language: str) -> tuple[Family, ...]:
    words = tongue(language)
    return tuple(
        topic(
            f"{name}_{language}", "languages", words[name]["title"], draw=partial(draw, words=words), solve=_solve,
            lesson=(words[name]["lesson"],), wordings=words[name]["wordings"], language=language,
        )
        for name, draw in _DRAWS.items()
    )  # fmt: skip


POLYGLOT = tuple(one for language in LANGUAGES for one in _families(language))
HEADS: dict[str, Mapping[str, str]] = {language: tongue(language)["heads"] for language in LANGUAGES}
"""What the parts of a lesson are called."""
