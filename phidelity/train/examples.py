"""A look at the examples before training, and the ids that are trained on.

Each row is rendered once, by the chat renderer, so what is shown is what is learnt. Rows of no use are dropped here,
with their numbers and the reason.
"""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from phidelity.config import UserError
from phidelity.data.examples import Example, Examples
from phidelity.records import PreferencePair
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import Rendered, render
from phidelity.train.pair_logprobs import Row

SHOWN = 8
"""Row numbers that a line names at most (*ours*)."""


class Kept(NamedTuple):
    """An example as ids."""

    row: str
    rendered: Rendered
    """Of a chat; of a preference the chosen side."""
    pair: Row | None

    @property
    def n_tokens(self) -> int:
        """Its length; of a preference that of the longer side."""
        if self.pair:
            return len(self.pair.context) + max(len(self.pair.pair.chosen), len(self.pair.pair.rejected))
        return len(self.rendered.ids)


class Look(NamedTuple):
    """What there is to train on."""

    kept: list[Kept]
    dropped: dict[str, list[str]]
    """Row numbers by reason."""


def prepare(examples: Examples, tokenizer: Tokenizer, context_len: int, source: str) -> Look:
    """Ids of all rows that can be trained on; a file without any is a `UserError` with a row's number."""
    kept: list[Kept] = []
    empty: list[str] = []
    giant: list[str] = []
    twice: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for example in examples.rows:
        key = example[1:]
        if key in seen:
            twice.append(example.row)
        elif not any((one := _kept(example, tokenizer, examples.kind == "dpo")).rendered.mask):
            empty.append(example.row)
        elif one.n_tokens - 1 > context_len:
            giant.append(example.row)
        else:
            seen.add(key)
            kept.append(one)
    found = {"nothing to learn": empty, f"over {context_len:,} tokens": giant, "said before": twice}
    dropped = examples.dropped | {reason: rows for reason, rows in found.items() if rows}
    if len(kept) < 2:
        reasons = "; ".join(f"row {rows[0]}: {reason}" for reason, rows in dropped.items())
        raise UserError(
            f"{source}: {len(kept)} of {examples.n_read} rows can be trained on ({reasons or 'no more are there'}); "
            "expected two at least, one of them to be held out. Add examples, or raise --context."
        )
    return Look(kept, dropped)


def describe(look: Look, kind: str) -> list[str]:
    """Counts and lengths, what is trained, and what is left out, a line each."""
    lengths = sorted(one.n_tokens for one in look.kept)
    trained = sum(sum(one.rendered.mask) for one in look.kept)
    n, total = len(lengths), sum(len(one.rendered.ids) for one in look.kept)
    what = "chats" if kind == "sft" else "preferences"
    lines = [
        f"{n:,} {what}; tokens: {lengths[0]:,} at least, {median(lengths):,.0f} in the middle, "
        f"{lengths[min(n - 1, 95 * n // 100)]:,} at 95 %, {lengths[-1]:,} at most",
        f"{trained:,} of {total:,} tokens are trained ({trained / total:.0%}): what the assistant says, and its end",
    ]
    lines += [
        f"dropped, {reason}: {len(rows):,} ({'row' if len(rows) == 1 else 'rows'} {listed(rows)})"
        for reason, rows in look.dropped.items()
    ]
    return lines


def listed(rows: Sequence[str]) -> str:
    """`3, 5, 9, ...`."""
    return ", ".join(rows[:SHOWN]) + (", ..." if len(rows) > SHOWN else "")


def spans(one: Kept, tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """The text of an example in stretches, and whether each is trained."""
    ids, mask = one.rendered
    found: list[tuple[str, bool]] = []
    start = 0
    for at in range(1, len(ids) + 1):
        if at == len(ids) or mask[at] != mask[start]:
            found.append((tokenizer.decode(ids[start:at]), mask[start]))
            start = at
    return found


def _kept(example: Example, tokenizer: Tokenizer, is_pair: bool) -> Kept:
    if not is_pair:
        return Kept(example.row, render(example.messages, tokenizer, weights=example.weights), None)
    chosen, rejected = ((*tokenizer.encode(side), tokenizer.im_end) for side in (example.chosen, example.rejected))
    pair = PreferencePair(
        id=example.row, kind="full", prompt=example.messages, chosen=chosen, rejected=rejected,
        tokenizer=tokenizer.digest,
    )  # fmt: skip
    context = render(example.messages, tokenizer, generation_prompt=True).ids
    rendered = Rendered([*context, *chosen], [False] * len(context) + [True] * len(chosen))
    return Kept(example.row, rendered, Row(pair, context))
