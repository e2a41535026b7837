"""From findings to training material: the good answer to each, and the twin in the same manner as its contrast.

Twins are taught together. Of a restricted request a refusal is preferred to what grants it, of a benign one a useful
answer to a refusal; where the target went wrong, what it said stands on the rejected side. So neither "refuse
whatever is put in that manner" nor "grant it" is learnt: both sides have equal numbers. Only probes meant for fixing
are used; nothing that measures is (phi-4 report §4.2 and §7; the numbers are *ours*).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from phidelity.grading.harm import Harm
from phidelity.problems.policy import REFUSAL
from phidelity.records import Conversation, Message, PreferencePair
from phidelity.safety.clusters import FINDINGS, Finding, finding
from phidelity.safety.probe import Transcript
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render


class Curated(NamedTuple):
    """Training material from one round."""

    pairs: list[PreferencePair]
    conversations: list[Conversation]
    """The chosen side of each pair as a chat, for supervised fine-tuning."""
    counts: Counter[str]
    """Pairs by what they are made of: each kind of finding, and `contrast`; twins that were `too long`."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The kinds of finding that are to be fixed."""
        return tuple(kind for kind in FINDINGS if self.counts[kind])


def curate(
    transcripts: Sequence[Transcript],
    verdicts: Mapping[str, Harm],
    tokenizer: Tokenizer,
    *,
    sealed: Sequence[str],
    max_failures: int,
    context_len: int,
    contrasts: bool = True,
) -> Curated:
    """Pairs from at most `max_failures` twins of which either went wrong; without contrasts from that one alone."""
    usable = [t for t in transcripts if t.probe.use == "fix" and t.probe.family not in sealed]
    found: dict[str, Finding | None] = {t.probe.id: finding(t, verdicts[t.probe.id]) for t in usable}
    made = Curated([], [], Counter())
    for twins in _first(list(_twins(usable)), found, max_failures):
        sides = [(t, found[t.probe.id] or "contrast") for t in twins if contrasts or found[t.probe.id]]
        pairs = [_pair(transcript, what, tokenizer) for transcript, what in sides]
        if max(_length(pair, tokenizer) for pair in pairs) > context_len:
            made.counts["too long"] += 1
            continue
        made.pairs.extend(pairs)
        made.conversations.extend(_conversation(transcript, what) for transcript, what in sides)
        made.counts.update(what for _, what in sides)
    return made


Twins = tuple[Transcript, Transcript]
"""The restricted one and the benign one."""


def _twins(transcripts: Sequence[Transcript]) -> Iterator[Twins]:
    by_id = {transcript.probe.id: transcript for transcript in transcripts}
    for transcript in transcripts:
        if transcript.probe.item.restricted and transcript.probe.twin in by_id:
            yield transcript, by_id[transcript.probe.twin]


def _first(twins: Sequence[Twins], found: Mapping[str, Finding | None], n: int) -> list[Twins]:
    """The first `n` with a finding: granted attacks before all others, and the families in turn."""
    ranked, seen = [], Counter[tuple[bool, str]]()
    for bad, good in twins:
        if found[bad.probe.id] or found[good.probe.id]:
            key = (not found[bad.probe.id], bad.probe.family)
            ranked.append((key[0], seen[key], (bad, good)))
            seen[key] += 1
    return [pair for *_, pair in sorted(ranked, key=lambda entry: entry[:2])[:n]]


def _pair(transcript: Transcript, what: str, tokenizer: Tokenizer) -> PreferencePair:
    """The good answer over what was said; in a contrast, over what would be wrong."""
    item = transcript.probe.item
    wrong = item.compliance if item.restricted else REFUSAL
    rejected = wrong if what == "contrast" else transcript.answer
    return PreferencePair(
        id=f"breakfix/{transcript.probe.id}",
        kind="full",
        prompt=transcript.messages,
        chosen=(*tokenizer.encode(item.answer), tokenizer.im_end),
        rejected=(*tokenizer.encode(rejected), tokenizer.im_end),
        tokenizer=tokenizer.digest,
        source="breakfix",
        meta=_meta(transcript, what),
    )


def _conversation(transcript: Transcript, what: str) -> Conversation:
    answer = Message(role="assistant", content=transcript.probe.item.answer)
    return Conversation(
        id=f"breakfix/{transcript.probe.id}",
        messages=(*transcript.messages, answer),
        source="breakfix",
        meta=_meta(transcript, what),
    )


def _meta(transcript: Transcript, what: str) -> dict[str, str]:
    return {"what": what, "hazard": transcript.probe.item.hazard, "family": transcript.probe.family}


def _length(pair: PreferencePair, tokenizer: Tokenizer) -> int:
    prompt = render(pair.prompt, tokenizer, generation_prompt=True).ids
    return len(prompt) + max(len(pair.chosen), len(pair.rejected))
