"""How far a quantised model is from its source on a text: KL divergence per token, both perplexities, agreement.

The measure is that of llama.cpp's `--kl-divergence`: the mean over tokens of KL(source || model) between whole
distributions, which shows harm long before scores do. Windows do not overlap, and every position after the first counts
(llama.cpp counts the second half of each window). The source is computed in fp32, a block of the network at a time.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from phidelity.checkpoint import blockwise
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import Weights
from phidelity.config import UserError
from phidelity.model.attention import Attend, CausalAttend
from phidelity.progress import SILENT, Progress

WINDOW = 512
"""Tokens of a window (*ours*; llama.cpp's default)."""
ROWS = 256
"""Positions whose logits are held at once (*ours*)."""

Logits = Callable[[int, int, int], Tensor]
"""(window, start, stop) -> logits [stop - start, V]."""


class Divergence(NamedTuple):
    """Means over tokens, natural logarithms."""

    kl: float
    kl_error: float
    """Standard error of `kl`, taking tokens as independent."""
    perplexity: float
    source_perplexity: float
    same_top: float
    """Share of positions where both hold the same token most likely."""
    n_tokens: int


def windows_of(tokens: Sequence[int], context_len: int, n_windows: int | None = None) -> list[Tensor]:
    """Token ids of a text in windows of `WINDOW`, or of the context's length where that is less."""
    size = min(WINDOW, context_len)
    windows = [torch.tensor(tokens[start : start + size]) for start in range(0, len(tokens), size)]
    windows = [window for window in windows if len(window) > 1][:n_windows]
    if not windows:
        raise UserError("The text has no two tokens; expected one to compare models on, such as 100 KB. Give more.")
    return windows


def by_blocks(weights: Weights, windows: Sequence[Tensor], progress: Progress = SILENT) -> Logits:
    """Logits of a checkpoint in fp32, holding one block of its network at a time."""
    states = blockwise.hidden_states(weights, windows, progress=progress)
    return lambda window, start, stop: blockwise.logits(weights, states[window][start:stop])


@torch.inference_mode()
def divergence(source: Logits, model: Logits, windows: Sequence[Tensor], progress: Progress = SILENT) -> Divergence:
    """Compare two models, position by position."""
    kl: list[Tensor] = []
    losses, n_same = [0.0, 0.0], 0
    with progress.task("compare", len(windows), "windows") as task:
        for number, tokens in enumerate(windows):
            for start in range(0, len(tokens) - 1, ROWS):
                stop = min(start + ROWS, len(tokens) - 1)
                p, q = (F.log_softmax(of(number, start, stop).float(), dim=-1) for of in (source, model))
                kl.append((p.exp() * (p - q)).sum(-1).double())
                n_same += int((p.argmax(-1) == q.argmax(-1)).sum())
                targets = tokens[start + 1 : stop + 1, None]
                for at, one in enumerate((q, p)):
                    losses[at] -= float(one.gather(1, targets).double().sum())
            task.advance()
    every = torch.cat(kl)
    n = len(every)
    error = float(every.std()) / math.sqrt(n) if n > 1 else math.nan
    return Divergence(float(every.mean()), error, math.exp(losses[0] / n), math.exp(losses[1] / n), n_same / n, n)


def text_windows(path: Path, weights: Weights) -> list[Tensor]:
    """The windows of a text file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text ({error}). Give a plain text.") from None
    return windows_of(weights.tokenizer.encode(text), weights.config.context_len)


def served(
    packed: PackedWeights,
    windows: Sequence[Tensor],
    progress: Progress = SILENT,
    attention: Callable[[], Attend] = CausalAttend,
) -> Logits:
    """Logits of a packed model as it is served: by the kernels, which round what goes into a product as well.

    `attention` gives what attends in one window: by default over keys and values as computed.
    """
    model = packed.load(progress).model
    with torch.inference_mode():
        states = [model(tokens[None], torch.arange(len(tokens))[None], attention())[0] for tokens in windows]
    return lambda window, start, stop: model.logits(states[window][start:stop])
