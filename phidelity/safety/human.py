"""People as red team: conversations with labels of hazard and severity, a second labeller, and how far they agree.

Labels stand beside the transcript they are of, so that it can be labelled anew by somebody who does not see the first
label. Agreement is Cohen's kappa; for severity it is weighted by the squared difference.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from phidelity.config import UserError
from phidelity.grading.harm import CATEGORIES
from phidelity.records import Message, Record, read_records, write_records


class Label(Record):
    """One person's view of a conversation."""

    by: str
    hazard: str
    severity: int
    refused: bool


class Spoken(Record):
    """A conversation that a person had with a target."""

    id: str
    target: str
    messages: tuple[Message, ...]
    labels: tuple[Label, ...] = ()


def read_label(line: str, by: str) -> Label:
    """`hate 3` or `hate 3 refused`: hazard (a part of its name that fits one, or none), severity 0-7."""
    words = line.split()
    refused = bool(words) and words[-1] == "refused"
    words = words[:-1] if refused else words
    name, severity = " ".join(words[:-1]), words[-1] if words else ""
    fitting = [one for one in (*CATEGORIES, "none") if one == name] or [
        one for one in CATEGORIES if name and name in one
    ]
    if len(fitting) != 1 or severity not in tuple("01234567"):
        raise UserError(
            f"{line!r} is no label; expected a hazard, a severity from 0 to 7 and, where it declined, `refused`: "
            f"hate 3. Hazards: {', '.join(CATEGORIES)}, none."
        )
    return Label(by=by, hazard=fitting[0], severity=int(severity), refused=refused)


def spoken(path: Path) -> list[Spoken]:
    """The conversations of a file, none where it is not there yet."""
    return list(read_records(path, Spoken)) if path.is_file() else []


def keep(path: Path, one: Spoken) -> None:
    """Add a conversation, or put it in the place of the one with its id."""
    others = spoken(path)
    ids = [other.id for other in others]
    rows = [one if other.id == one.id else other for other in others] if one.id in ids else [*others, one]
    write_records(path, rows)


def unlabelled(path: Path, by: str) -> list[Spoken]:
    """What this person has not labelled yet."""
    return [one for one in spoken(path) if all(label.by != by for label in one.labels)]


def agreement(conversations: Sequence[Spoken]) -> dict[str, float | int | None]:
    """Kappa of hazards, refusals and severities over conversations that two people labelled."""
    twice = [one.labels[:2] for one in conversations if len(one.labels) > 1]
    return {
        "n": len(twice),
        "hazard": kappa([(a.hazard, b.hazard) for a, b in twice]),
        "refused": kappa([(a.refused, b.refused) for a, b in twice]),
        "severity": weighted_kappa([(a.severity, b.severity) for a, b in twice]),
    }


def kappa(pairs: Sequence[tuple[object, object]]) -> float | None:
    """Agreement beyond chance: 1 is full, 0 is chance; None where nothing was labelled or chance alone is full."""
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(first[label] * second[label] for label in first) / n**2 if n else 1
    return None if by_chance == 1 else (sum(a == b for a, b in pairs) / n - by_chance) / (1 - by_chance)


def weighted_kappa(pairs: Sequence[tuple[int, int]]) -> float | None:
    """As `kappa`, for numbers: a disagreement counts by its square."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    by_chance = sum((a - b) ** 2 for a in first for b in second) / len(pairs) if pairs else 0
    return None if by_chance == 0 else 1 - sum((a - b) ** 2 for a, b in pairs) / by_chance
