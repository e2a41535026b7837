"""`phi bench pivotal`: how true, complete and costly the search is on the known process, and how fast on the engine.

Rows `precision`, `recall` and `rollouts` are of 2,000 sequences whose every p(success) is known
(preference/known_process.py), against the targets. `speed` searches the answers of a small random model through the
engine level by level, and then asks the same engine for the same draws one prefix a call, its continuations batched and
its prefix kept in the cache: medians of rounds in turns.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from phidelity.completion import SamplingParams
from phidelity.engine.llm import LLM, lay_out
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.preference.estimate import Count, Tally, counting
from phidelity.preference.known_process import THOROUGH, measure, measure_null
from phidelity.preference.pivotal import SearchConfig, find_pivots
from phidelity.preference.questions import Question
from phidelity.preference.rollouts import Prefix, Rollouts
from phidelity.preference.screen import answers_of, reusing
from phidelity.records import Problem, Score
from phidelity.tokenizer.bpe import Tokenizer

N_SEQUENCES, N_QUESTIONS, ROUNDS = 2000, 24, 3
SHAPE = ModelConfig(
    n_layers=4, d_model=128, n_heads=4, n_kv_heads=1, d_ff=448, vocab_size=352, context_len=256, rope_theta=10_000.0
)
"""That of recipe tiny, with a vocabulary of bytes."""


def run(peers: dict[str, Path] | None = None) -> list[dict[str, Any]]:
    """Rows of the table."""
    return [*_quality(), _speed()]


def _quality() -> list[dict[str, Any]]:
    rows = []
    for name, config, least, most in (("", SearchConfig(), 0.60, 470), ("thorough", THOROUGH, 0.68, 700)):
        found = measure(config, n=N_SEQUENCES)
        kind = f" {name}" if name else ""
        rows += [
            _row(f"precision{kind}", found.precision.mean, "share", 0.95, _interval(found.precision)),
            _row(f"junk{kind}", found.junk.mean, "share", 0.01, _interval(found.junk), smaller=True),
            _row(f"recall{kind}", found.recall.mean, "share", least, _interval(found.recall)),
            _row(f"rollouts{kind}", found.rollouts, "a sequence", most, "", smaller=True),
        ]
    null = measure_null(SearchConfig(), n=N_SEQUENCES)
    return [*rows, _row("null", null.rate.mean, "share called pivotal", 0.01, _interval(null.rate), smaller=True)]


def _speed() -> dict[str, Any]:
    torch.manual_seed(0)
    tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
    model = Transformer(SHAPE).initialise(torch.Generator().manual_seed(0))
    llm = LLM(lay_out(model), tokenizer, "random", n_running=256)
    llm.warm()
    pairs = [(_seconds(llm, tokenizer, False), _seconds(llm, tokenizer, True)) for _ in range(ROUNDS)]
    llm.close()
    ours, theirs = (statistics.median(1 / pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(slow / fast for fast, slow in pairs)
    return {
        "what": "speed", "ours": round(ours, 4), "unit": "searches/s", "peer": "one prefix a call",
        "theirs": round(theirs, 4), "ratio": round(ratio, 2), "note": f"{N_QUESTIONS} questions, rounds in turns",
    }  # fmt: skip


def _seconds(llm: LLM, tokenizer: Tokenizer, one_by_one: bool) -> float:
    """Seconds of one search of all questions; both ways draw the same continuations."""
    asked = {
        f"q{i}": Question(Problem(id=f"q{i}", prompt="", reference="", checker="text"), (i + 1,) * 32)
        for i in range(N_QUESTIONS)
    }
    with tempfile.TemporaryDirectory(prefix="phi-pivotal-") as folder:
        rollouts = Rollouts(
            Path(folder), questions=asked, completer=llm, oracle=_coin, tokenizer=tokenizer,
            params=SamplingParams(temperature=1.0, max_tokens=96, stop_ids=tuple(range(12)), seed=1),
        )  # fmt: skip
        begun = time.perf_counter()
        prefixes = [Prefix(question) for question in asked]
        count = _apart(counting(rollouts)) if one_by_one else counting(rollouts)
        roots = dict(zip(asked, count(prefixes, "screen", 0, 16), strict=True))
        answers = [answer for question in asked for answer in answers_of(question, rollouts)]
        find_pivots(answers, roots, count, SearchConfig(), reusing(answers, rollouts))
        return time.perf_counter() - begun


def _apart(count: Count) -> Count:
    """The same draws, one prefix a call."""

    def one_by_one(prefixes: Sequence[Prefix], purpose: str, start: int, n: int) -> list[Tally]:
        return [count([prefix], purpose, start, n)[0] for prefix in prefixes]

    return one_by_one


def _coin(problem: Problem, text: str) -> Score:
    """An oracle for a model that knows nothing: a coin that falls by the first half of the answer."""
    return Score(value=float(random.Random(problem.id + text[:8]).random() < 0.5))


def _row(what: str, ours: float, unit: str, target: float, note: str, *, smaller: bool = False) -> dict[str, Any]:
    ratio = (target / ours if ours else target) if smaller else ours / target
    figures = {"what": what, "ours": round(ours, 4), "unit": unit, "peer": "target", "theirs": target}
    return figures | {"ratio": round(ratio, 3)} | ({"note": note} if note else {})


def _interval(found: Any) -> str:
    return f"95 % interval {found.low:.4f} to {found.high:.4f}"
