"""Learning a small vocabulary from text, with phi-4's pre-tokenizer (phi-4 itself takes cl100k_base, report §3).

No merge contains a digit (*ours*): one token a digit is what lets a miniature add. The tokenizers library counts.
"""

import json
from collections.abc import Iterable

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Learner

from phidelity.config import UserError
from phidelity.tokenizer.layout import BYTE_OF, CHARACTER_OF, FILLER, PATTERN, SPECIALS


def learn(texts: Iterable[str], vocab_size: int) -> dict[bytes, int]:
    """Ranks of 256 bytes and `vocab_size - 96 - 256` merges.

    Fewer are learnt when the text runs out of pairs; then the vocabulary is filled up with unused tokens so
    that its size is what the model expects.
    """
    n_mergeable = vocab_size - len(SPECIALS)
    if n_mergeable < 256:
        raise UserError(f"vocab_size {vocab_size} leaves no room: 256 bytes and 96 special tokens need at least 352.")
    tokens = [bytes([byte]) for byte in range(256)]
    tokens += [bytes(BYTE_OF[character] for character in left + right) for left, right in _merges(texts, n_mergeable)]
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}
    filler = 0
    while len(ranks) < n_mergeable:
        ranks.setdefault(FILLER + filler.to_bytes(2, "big"), len(ranks))
        filler += 1
    return ranks


def _merges(texts: Iterable[str], n_mergeable: int) -> list[tuple[str, str]]:
    learner = Learner(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=n_mergeable,
        min_frequency=2,
        initial_alphabet=list(CHARACTER_OF.values()),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
