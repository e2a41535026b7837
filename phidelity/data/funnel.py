"""What became of every document that was read: kept + dropped = read, in documents and in bytes.

Each drop has a reason that is counted, per source too, and each reason keeps a fixed sample with the value that
decided and the threshold it was held against. The sample is the documents with the smallest hash of their id,
so it depends neither on the order of reading nor on how the work is partitioned.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

EXCERPT = 300
"""Characters of a dropped document that its sample shows (ours)."""


class Drop(NamedTuple):
    """Why a document goes: the reason that is counted, and what decided."""

    reason: str
    value: float | str | None = None
    threshold: float | str | None = None
    against: str = ""
    """The other text or document of a repetition."""


class Count(NamedTuple):
    """Documents and bytes of UTF-8."""

    documents: int = 0
    bytes: int = 0

    def plus(self, n_bytes: int) -> "Count":
        """One document more."""
        return Count(self.documents + 1, self.bytes + n_bytes)


@dataclass(slots=True)
class Funnel:
    """Counts what is read, kept and dropped, and samples the drops."""

    n_samples: int = 20
    read: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    """By source."""
    kept: dict[str, Count] = field(default_factory=lambda: defaultdict(Count))
    dropped: dict[tuple[str, str], Count] = field(default_factory=lambda: defaultdict(Count))
    """By source and reason."""
    samples: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))

    def count_read(self, source: str, n_bytes: int) -> None:
        """One document was read."""
        self.read[source] = self.read[source].plus(n_bytes)

    def count_kept(self, source: str, n_bytes: int) -> None:
        """One document went through everything."""
        self.kept[source] = self.kept[source].plus(n_bytes)

    def drop(self, source: str, document_id: str, text: str, n_bytes: int, drop: Drop) -> None:
        """One document goes; it may become part of the sample of its reason."""
        key = (source, drop.reason)
        self.dropped[key] = self.dropped[key].plus(n_bytes)
        order = hashlib.sha256(document_id.encode()).hexdigest()
        sample = {
            "id": document_id,
            "source": source,
            "value": drop.value,
            "threshold": drop.threshold,
            "against": drop.against[:EXCERPT],
            "excerpt": text[:EXCERPT],
        }
        drawn = self.samples[drop.reason]
        drawn.append((order, sample))
        drawn.sort(key=lambda pair: pair[0])
        del drawn[self.n_samples :]

    def balance(self) -> dict[str, Any]:
        """The totals; asserts that nothing went missing, for every source."""
        for source, read in self.read.items():
            parts = [self.kept[source], *(count for (name, _), count in self.dropped.items() if name == source)]
            total = Count(sum(part.documents for part in parts), sum(part.bytes for part in parts))
            assert total == read, f"{source}: kept + dropped = {total}, read = {read}"
        reasons: Counter[str] = Counter()
        for (_, reason), count in self.dropped.items():
            reasons[reason] += count.documents
        return {
            "read": _total(self.read.values()),
            "kept": _total(self.kept.values()),
            "dropped": _total(self.dropped.values()),
            "dropped_by_reason": dict(sorted(reasons.items())),
        }

    def report(self) -> dict[str, Any]:
        """All counts by source and reason, and the samples: the contents of dropped.json."""
        sources = {
            source: {
                "read": self.read[source]._asdict(),
                "kept": self.kept[source]._asdict(),
                "dropped": {
                    reason: count._asdict() for (name, reason), count in sorted(self.dropped.items()) if name == source
                },
            }
            for source in sorted(self.read)
        }
        samples = {reason: [sample for _, sample in drawn] for reason, drawn in sorted(self.samples.items())}
        return {**self.balance(), "sources": sources, "samples": samples}


def _total(counts: Any) -> dict[str, int]:
    counts = list(counts)
    return {"documents": sum(count.documents for count in counts), "bytes": sum(count.bytes for count in counts)}
