"""What a base model makes of a long context: the set of `longcontext`, scored by likelihood instead of talk.

For each problem the answer is put behind the prompt and read in one pass. `bits` are the mean bits of a byte of the
answer given all before it; `right` is the share of problems whose every token of the answer was the most probable,
which is when greedy text would have begun with it. Passages to be ranked have no single right text and are left out.
Midtraining tells both before and after (phi-4 report §3.3, whose own figures are HELMET's, after it).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from phidelity.eval.benchmarks.longcontext import problems
from phidelity.model.attention import CausalAttend
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import Tokenizer

PER_KIND = 8
"""Problems of each kind (*ours*): 24 passes over a full context."""


class LongAnswers(NamedTuple):
    """One kind of problem at one length."""

    bits: float
    right: float
    n: int


@torch.no_grad()
def long_answers(
    model: Transformer, tokenizer: Tokenizer, n_tokens: int, per_kind: int = PER_KIND
) -> dict[str, LongAnswers]:
    """Scores by kind for contexts of at most `n_tokens` tokens, the answer among them; what is longer is left out."""
    device, attend = next(model.parameters()).device, CausalAttend()
    found: dict[str, list[tuple[float, bool]]] = {}
    for problem in problems(n_tokens, lambda text: len(tokenizer.encode(text)), per_kind=per_kind):
        if (kind := problem.meta["kind"]) == "rerank":
            continue
        context, answer = tokenizer.encode(problem.prompt + "\nAnswer:"), tokenizer.encode(" " + problem.reference)
        if len(context) + len(answer) > n_tokens:
            continue
        ids = torch.tensor([[*context, *answer]], device=device)
        x = model(ids[:, :-1], torch.arange(ids.shape[1] - 1, device=device)[None], attend)
        logits = model.logits(x[0, len(context) - 1 :])
        found.setdefault(kind, []).append(scored(logits, ids[0, len(context) :], len(problem.reference.encode()) + 1))
    return {kind: _mean(scores) for kind, scores in found.items()}


def scored(logits: Tensor, answer: Tensor, n_bytes: int) -> tuple[float, bool]:
    """Bits a byte of an answer, logits [T, V] and ids [T], and whether each id is the most probable."""
    nats = torch.nn.functional.cross_entropy(logits.float(), answer, reduction="sum").item()
    return nats / math.log(2) / n_bytes, bool((logits.argmax(-1) == answer).all())


def _mean(scores: list[tuple[float, bool]]) -> LongAnswers:
    n = len(scores)
    return LongAnswers(sum(bits for bits, _ in scores) / n, sum(is_right for _, is_right in scores) / n, n)
