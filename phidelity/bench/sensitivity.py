"""`phi bench sensitivity MODEL --text FILE`: what rounding one kind of matrix alone does to a model.

Each kind (all queries, keys and values; all down projections; ...) is rounded to q4, then to q8, while the rest stays
in fp32, and the mean KL divergence from the whole in fp32 is measured. The note holds the kind's share of all weights:
one that costs much and weighs little is worth 8 bits. Nothing is written; all is walked a block at a time.
"""

import math
import re
from pathlib import Path
from typing import Any

from torch import Tensor, from_numpy

from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.weights import Weights
from phidelity.eval.divergence import by_blocks, divergence, text_windows
from phidelity.export.quantise import quantise
from phidelity.kernels.layout import Kind
from phidelity.progress import SILENT, Progress

KINDS: tuple[Kind, ...] = ("q4", "q8")


def run(model: Path, text: Path, progress: Progress = SILENT) -> list[dict[str, Any]]:
    """Rows of the table, one for each kind of matrix and each form, and for all together."""
    weights = open_weights(model, progress)
    windows = text_windows(text, weights)
    source = by_blocks(weights, windows, progress)
    sizes = {name: math.prod(shape) for name, shape in weights.shapes.items() if len(shape) == 2}
    groups = tuple(dict.fromkeys(map(group_of, sizes)))
    rows = []
    for to in KINDS:
        for chosen in (*((group,) for group in groups), groups):
            found = divergence(source, by_blocks(Rounded(weights, to, chosen), windows, progress), windows, progress)
            share = sum(size for name, size in sizes.items() if group_of(name) in chosen) / sum(sizes.values())
            what = f"{to} {chosen[0] if len(chosen) == 1 else 'all'}"
            figures = {"ours": round(found.kl, 8), "unit": "nats", "peer": None, "theirs": None, "ratio": None}
            rows.append({"what": what, **figures, "note": f"+- {found.kl_error:.2g}; {share:.1%} of the weights"})
    return rows


def group_of(name: str) -> str:
    """`blocks.3.attention.qkv.weight` -> `attention.qkv`."""
    return re.sub(r"^blocks\.\d+\.|\.weight$", "", name)


class Rounded:
    """`Weights` of which some kinds of matrix are rounded as they are read."""

    def __init__(self, weights: Weights, to: Kind, groups: tuple[str, ...]) -> None:
        self.source, self.form, self.digest = weights.source, weights.form, weights.digest
        self.config, self.tokenizer = weights.config, weights.tokenizer
        self.notes, self.shapes = weights.notes, weights.shapes
        self.dtype_of, self.label = weights.dtype_of, weights.label
        self._weights, self._groups = weights, groups
        self._to: Kind = to

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of a parameter, rounded and back where it is one of the chosen."""
        rows = self._weights.rows(name, start, stop)
        if rows.ndim < 2 or group_of(name) not in self._groups:
            return rows
        rounded = quantise(self._to, rows).dequantise()
        return from_numpy(rounded[:, : rows.shape[1]]).to(rows.dtype)
