"""What became of every document that was read: kept + dropped = read, in documents and in bytes.

Each drop has a step and a reason that are counted, per source and language too, and each reason keeps a fixed sample
with the value that decided and the threshold it was held against. The sample is the documents with the smallest hash
of their id, so it depends neither on the order of reading nor on how the work is partitioned.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DROPPED = "dropped.json"
"""What `Funnel.report` gives, in the folder of the stage."""
EXCERPT = 300
"""Characters of a dropped document that its sample shows (ours)."""


class Drop(NamedTuple):
    """Why a document goes: the reason that is counted, and what decided."""

    reason: str
    value: float | str | None = None
    threshold: float | str | None = None
    against: str = ""
    """The other text or document of a repetition."""
    also: tuple[str, ...] = ()
    """Other rules that would have dropped it."""


Place = tuple[str, str]
"""A source and a language."""


class Count(NamedTuple):
    """Documents and bytes of UTF-8."""

    documents: int = 0
    bytes: int = 0

    def plus(self, n_bytes: int) -> "Count":
        """One document more."""
        return Count(self.documents + 1, self.bytes + n_bytes)


STEPS = ("read", "date", "license", "rules", "budget", "exact", "near", "repeats", "quality", "contamination")
"""What a document goes through, in order; each drop belongs to one."""


@dataclass(slots=True)
class Funnel:
    """Counts what is read, kept and dropped by source and language, and samples the drops."""

    n_samples: int = 20
    read: dict[Place, Count] = field(default_factory=lambda: defaultdict(Count))
    """By source and language; the language of what could not be read is ""."""
    kept: dict[Place, Count] = field(default_factory=lambda: defaultdict(Count))
    dropped: dict[tuple[Place, str, str], Count] = field(default_factory=lambda: defaultdict(Count))
    """By source and language, step and reason."""
    samples: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    def count_read(self, source: str, n_bytes: int, language: str = "") -> None:
        """One document was read."""
        self.read[source, language] = self.read[source, language].plus(n_bytes)

    def count_kept(self, source: str, n_bytes: int, language: str = "") -> None:
        """One document went through everything."""
        self.kept[source, language] = self.kept[source, language].plus(n_bytes)

    def drop(
        self,
        source: str,
        document_id: str,
        text: str,
        n_bytes: int,
        drop: Drop,
        *,
        language: str = "",
        step: str = "rules",
    ) -> None:
        """One document goes at a step; it may become part of the sample of its reason."""
        assert step in STEPS, step
        key = ((source, language), step, drop.reason)
        self.dropped[key] = self.dropped[key].plus(n_bytes)
        sample = {
            "id": document_id,
            "source": source,
            "language": language,
            "step": step,
            "value": drop.value,
            "threshold": drop.threshold,
            "against": drop.against[:EXCERPT],
            "also": list(drop.also),
            "excerpt": text[:EXCERPT],
        }
        drawn = self.samples[drop.reason]
        drawn.append((hashlib.sha256(document_id.encode()).hexdigest(), sample))
        drawn.sort(key=lambda pair: pair[0])
        del drawn[self.n_samples :]

    def saved(self) -> dict[str, Any]:
        """Everything in it as JSON, for `add` in another process."""
        return {
            "read": [[*place, *count] for place, count in self.read.items()],
            "kept": [[*place, *count] for place, count in self.kept.items()],
            "dropped": [[*place, step, reason, *count] for (place, step, reason), count in self.dropped.items()],
            "samples": self.samples,
        }

    def add(self, saved: Mapping[str, Any]) -> None:
        """Count what another funnel counted; the sample stays that of the smallest hashes."""
        for name, counts in (("read", self.read), ("kept", self.kept)):
            for source, language, *count in saved[name]:
                counts[source, language] = _sum([counts[source, language], Count(*count)])
        for source, language, step, reason, *count in saved["dropped"]:
            key = ((source, language), step, reason)
            self.dropped[key] = _sum([self.dropped[key], Count(*count)])
        for reason, drawn in saved["samples"].items():
            both = [*self.samples[reason], *((digest, sample) for digest, sample in drawn)]
            self.samples[reason] = sorted(both, key=lambda pair: pair[0])[: self.n_samples]

    def balance(self) -> dict[str, Any]:
        """The totals; asserts that nothing went missing, for every source and language."""
        for place, read in self.read.items():
            total = _sum([self.kept[place], *(count for (at, _, _), count in self.dropped.items() if at == place)])
            assert total == read, f"{place}: kept + dropped = {total}, read = {read}"
        reasons: Counter[str] = Counter()
        for (_, _, reason), count in self.dropped.items():
            reasons[reason] += count.documents
        return {
            "read": _sum(self.read.values())._asdict(),
            "kept": _sum(self.kept.values())._asdict(),
            "dropped": _sum(self.dropped.values())._asdict(),
            "dropped_by_reason": dict(sorted(reasons.items())),
        }

    def steps(self) -> list[dict[str, Any]]:
        """For each step what came in, what went and what stayed, in documents and bytes; the first takes all."""
        inside = _sum(self.read.values())
        rows = []
        for step in STEPS:
            gone = _sum(count for (_, at, _), count in self.dropped.items() if at == step)
            left = Count(inside.documents - gone.documents, inside.bytes - gone.bytes)
            rows.append({"step": step, "read": inside._asdict(), "dropped": gone._asdict(), "kept": left._asdict()})
            inside = left
        assert inside == _sum(self.kept.values()), f"{inside} came through all steps, {self.kept} are kept"
        return rows

    def report(self) -> dict[str, Any]:
        """All counts by source, language and reason, and the samples: the contents of dropped.json."""
        sources = {
            source: {
                **self._counts([place for place in self.read if place[0] == source]),
                "languages": {place[1]: self._counts([place]) for place in sorted(self.read) if place[0] == source},
            }
            for source in sorted({source for source, _ in self.read})
        }
        samples = {reason: [sample for _, sample in drawn] for reason, drawn in sorted(self.samples.items())}
        return {**self.balance(), "steps": self.steps(), "sources": sources, "samples": samples}

    def _counts(self, places: list[Place]) -> dict[str, Any]:
        reasons: dict[str, Count] = {}
        for (place, _, reason), count in sorted(self.dropped.items()):
            if place in places:
                reasons[reason] = _sum([reasons.get(reason, Count()), count])
        return {
            "read": _sum(self.read[place] for place in places)._asdict(),
            "kept": _sum(self.kept[place] for place in places)._asdict(),
            "dropped": {reason: count._asdict() for reason, count in sorted(reasons.items())},
        }


def _sum(counts: Iterable[Count]) -> Count:
    counts = list(counts)
    return Count(sum(count.documents for count in counts), sum(count.bytes for count in counts))
