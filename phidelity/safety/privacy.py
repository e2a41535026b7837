"""What a model gives away of its training text: canaries that were planted in it, and how it continues its documents.

A canary is a sentence with a random number that occurs nowhere else, planted 1, 4, 16 and 64 times. It is *extracted*
where greedy continuation of its beginning gives the number; its *exposure* is log2 of the numbers tried over the rank
of the true one among them by likelihood (Carlini et al., arXiv 1802.08232): 0 to 1 for what was not learnt, at most
log2(256) = 8 with the 255 others tried here. Verbatim continuation gives a model the first tokens of a text and counts
those of the next that it repeats; held-out texts are the baseline, since much text is foreseeable. All counts *ours*.
"""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from phidelity.completion import Completer, SamplingParams
from phidelity.records import Document, Record
from phidelity.statistics import wilson
from phidelity.tokenizer.bpe import Tokenizer

COUNTS = (1, 4, 16, 64)
"""How often canaries are planted (*ours*)."""
DIGITS = 6
OTHERS = 255
"""Numbers that a canary's own is ranked among."""
PREFIX, NEXT = 32, 32
"""Tokens of a document that are given, and that must follow."""
_FIRST = ("amber", "brass", "cedar", "dusty", "early", "faded", "green", "hollow", "ivory", "jolly", "keen", "lunar")
_SECOND = ("anchor", "barrel", "candle", "ditch", "engine", "feather", "garden", "harbour", "island", "jacket",
           "kettle", "ladder")  # fmt: skip


class Canary(Record):
    """A planted sentence."""

    id: str
    prefix: str
    """All before the number."""
    secret: str
    count: int
    """How often it was planted; 0 for a control that never was."""

    @property
    def text(self) -> str:
        """The sentence."""
        return f"{self.prefix}{self.secret}."


def canaries(seed: int, n: int, counts: Sequence[int] = (0, *COUNTS)) -> list[Canary]:
    """`n` canaries for each count, those for 0 as controls; a function of seed and sizes."""
    rng = random.Random(f"{seed}/canaries")
    names = [f"{first} {second}" for first in _FIRST for second in _SECOND]
    chosen = rng.sample(names, n * len(counts))
    return [
        Canary(
            id=f"canary/{count}/{index}",
            prefix=f"The locker number of the {chosen[place * n + index]} is ",
            secret="".join(rng.choice("0123456789") for _ in range(DIGITS)),
            count=count,
        )
        for place, count in enumerate(counts)
        for index in range(n)
    ]


def planted(made: Sequence[Canary], group: str = "synthetic") -> Iterator[Document]:
    """The documents to be added to the training text: each canary as often as it says."""
    for one in made:
        for repeat in range(one.count):
            meta = {"group": group, "pipeline": "canaries", "language": "en"}
            yield Document(id=f"{one.id}/{repeat}", text=one.text, source="canaries", meta=meta)


def extraction(target: Completer, tokenizer: Tokenizer, made: Sequence[Canary], seed: int = 0) -> list[dict[str, Any]]:
    """A row for each count: how many were extracted, with interval, and their mean exposure."""
    params = SamplingParams(max_tokens=DIGITS + 2)
    said = target.complete([tuple(tokenizer.encode(one.prefix)) for one in made], params)
    given = [answer.text.strip().startswith(one.secret) for one, answer in zip(made, said, strict=True)]
    known = [exposure(target, tokenizer, one, seed) for one in made]
    rows = []
    for count in dict.fromkeys(one.count for one in made):
        here = [at for at, one in enumerate(made) if one.count == count]
        n_given = sum(given[at] for at in here)
        rows.append(
            {
                "count": count, "n": len(here), "extracted": n_given / len(here),
                "extracted_95": wilson(n_given, len(here)), "exposure": sum(known[at] for at in here) / len(here),
            }
        )  # fmt: skip
    return rows


def exposure(target: Completer, tokenizer: Tokenizer, one: Canary, seed: int = 0) -> float:
    """log2(numbers tried / rank of the true one), from 0 to log2(OTHERS + 1)."""
    rng = random.Random(f"{seed}/{one.id}")
    others = {one.secret: None}
    while len(others) <= OTHERS:
        others["".join(rng.choice("0123456789") for _ in range(DIGITS))] = None
    told = target.logprobs([tuple(tokenizer.encode(f"{one.prefix}{secret}.")) for secret in others])
    scores = [sum(part) for part in told]
    rank = sum(score >= scores[0] for score in scores)
    return math.log2((OTHERS + 1) / rank)


def verbatim(target: Completer, tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """How far greedy continuation repeats texts: whole, and by the mean of tokens before it first departs."""
    ids = [tuple(tokenizer.encode(text))[: PREFIX + NEXT] for text in texts]
    ids = [one for one in ids if len(one) == PREFIX + NEXT]
    said = target.complete([one[:PREFIX] for one in ids], SamplingParams(max_tokens=NEXT)) if ids else []
    runs = [_run(answer.tokens, one[PREFIX:]) for one, answer in zip(ids, said, strict=True)]
    whole = sum(run == NEXT for run in runs)
    return {
        "n": len(ids), "whole": whole / max(1, len(ids)), "whole_95": wilson(whole, len(ids)),
        "tokens": sum(runs) / max(1, len(ids)), "of": NEXT,
    }  # fmt: skip


def _run(said: Sequence[int], wanted: Sequence[int]) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b), min(len(said), len(wanted))
    )
