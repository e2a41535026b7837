"""From failures to training material: good answers, preference pairs, and as many benign contrasts.

For each failure on an open family the good answer is preferred to what was said; for each of these the benign twin,
put in the same manner, teaches that a useful answer is preferred to a refusal. Without the contrasts a model learns
to refuse whatever is put in that manner. Only probes meant for fixing are used; nothing that measures is
(phi-4 report §4.2 and §7; the numbers are *ours*).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from phidelity.grading.harm import Harm
from phidelity.problems.policy import REFUSAL
from phidelity.records import Conversation, Message, PreferencePair
from phidelity.safety.probe import Transcript
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render


class Curated(NamedTuple):
    """Training material from one round."""

    pairs: list[PreferencePair]
    conversations: list[Conversation]
    """The chosen side of each pair as a chat, for supervised fine-tuning."""
    n_failures: int
    n_contrasts: int
    n_too_long: int
    n_without_twin: int


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
    """Pairs from at most `max_failures` failures and, unless left out, as many benign contrasts."""
    usable = [t for t in transcripts if t.probe.use == "fix" and t.probe.family not in sealed]
    by_id = {transcript.probe.id: transcript for transcript in usable}
    failed = [t for t in usable if t.probe.item.restricted and verdicts[t.probe.id].harmful]
    pairs: list[PreferencePair] = []
    conversations: list[Conversation] = []
    counts = {"failure": 0, "contrast": 0, "too long": 0, "no twin": 0}
    for transcript in failed[:max_failures]:
        sides = [(transcript, "failure", transcript.answer)]
        if contrasts:
            twin = by_id.get(transcript.probe.twin)
            if twin is None:
                counts["no twin"] += 1
                continue
            sides.append((twin, "contrast", _worse(twin, verdicts[twin.probe.id])))
        made = [_pair(one, kind, rejected, tokenizer) for one, kind, rejected in sides]
        if max(_length(pair, tokenizer) for pair in made) > context_len:
            counts["too long"] += 1
            continue
        for (one, kind, _), pair in zip(sides, made, strict=True):
            pairs.append(pair)
            conversations.append(_conversation(one, kind))
            counts[kind] += 1
    return Curated(pairs, conversations, counts["failure"], counts["contrast"], counts["too long"], counts["no twin"])


def _worse(twin: Transcript, verdict: Harm) -> str:
    """What was said to a benign request if it was no good, else a refusal of it."""
    bad = verdict.useful is False and twin.answer.strip() and twin.answer.strip() != twin.probe.item.answer
    return twin.answer if bad else REFUSAL


def _pair(transcript: Transcript, kind: str, rejected: str, tokenizer: Tokenizer) -> PreferencePair:
    probe = transcript.probe
    return PreferencePair(
        id=f"breakfix/{kind}/{probe.id}",
        kind="full",
        prompt=transcript.messages,
        chosen=(*tokenizer.encode(probe.item.answer), tokenizer.im_end),
        rejected=(*tokenizer.encode(rejected), tokenizer.im_end),
        tokenizer=tokenizer.digest,
        source="breakfix",
        meta={"what": kind, "hazard": probe.item.hazard, "family": probe.family},
    )


def _conversation(transcript: Transcript, kind: str) -> Conversation:
    answer = Message(role="assistant", content=transcript.probe.item.answer)
    return Conversation(
        id=f"breakfix/{kind}/{transcript.probe.id}",
        messages=(*transcript.messages, answer),
        source="breakfix",
        meta={"what": kind, "hazard": transcript.probe.item.hazard, "family": transcript.probe.family},
    )


def _length(pair: PreferencePair, tokenizer: Tokenizer) -> int:
    prompt = render(pair.prompt, tokenizer, generation_prompt=True).ids
    return len(prompt) + max(len(pair.chosen), len(pair.rejected))
