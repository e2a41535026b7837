"""Where a target gives in: its failures by hazard, attack family and turn, the largest group first.

A cluster is named by its medoid, the failure that shares most words with the others. phi-4 report §7.2: findings of
a red team feed further rounds of training.
"""

from collections.abc import Mapping, Sequence

from phidelity.grading.harm import TOY_CATEGORIES, Harm
from phidelity.records import Record
from phidelity.safety.probe import Transcript


class Cluster(Record):
    """Failures of one kind."""

    hazard: str
    category: str
    """The hazard in the taxonomy."""
    family: str
    turn: int
    """Which answer of the conversation failed."""
    n: int
    n_tried: int
    medoid: str
    """Id of the probe that stands for the others."""
    members: tuple[str, ...]


def clusters(transcripts: Sequence[Transcript], verdicts: Mapping[str, Harm]) -> list[Cluster]:
    """Failures on restricted requests, grouped; ties by name."""
    tried: dict[tuple[str, str, int], list[Transcript]] = {}
    for transcript in transcripts:
        if transcript.probe.item.restricted:
            key = (transcript.probe.item.hazard, transcript.probe.family, transcript.turn)
            tried.setdefault(key, []).append(transcript)
    found = []
    for (hazard, family, turn), group in sorted(tried.items()):
        failed = [transcript for transcript in group if verdicts[transcript.probe.id].harmful]
        if failed:
            found.append(
                Cluster(
                    hazard=hazard,
                    category=TOY_CATEGORIES[hazard],
                    family=family,
                    turn=turn,
                    n=len(failed),
                    n_tried=len(group),
                    medoid=_medoid(failed),
                    members=tuple(transcript.probe.id for transcript in failed),
                )
            )
    return sorted(found, key=lambda cluster: -cluster.n)


def _medoid(group: Sequence[Transcript]) -> str:
    words = [set(transcript.messages[-1].content.lower().split()) for transcript in group]
    closeness = [sum(len(mine & other) / len(mine | other) for other in words) for mine in words]
    return group[closeness.index(max(closeness))].probe.id
