"""What a document says of itself that may keep it out before any rule reads it: its day and its licence."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from phidelity.data.funnel import Drop
from phidelity.records import Document


def too_late(document: Document, cutoff: str, undated: str) -> Drop | None:
    """Why a document goes for its date: a later one than the cut-off, or none where that does not do."""
    date = str(document.meta.get("date") or "")
    if not cutoff or (not date and undated == "keep"):
        return None
    if not date:
        return Drop("undated", "", cutoff)
    return Drop("after_cutoff", date, cutoff) if date > cutoff else None


def forbidden(document: Document, licenses: Sequence[str], without: Sequence[str]) -> Drop | None:
    """Why a document goes for its licence, patterns of any case: one that is not wanted, or none of those that are."""
    stated = str(document.meta.get("license") or "unknown")
    for pattern in without:
        if fnmatchcase(stated.lower(), pattern.lower()):
            return Drop("license", stated, f"not {pattern}")
    if licenses and not any(fnmatchcase(stated.lower(), pattern.lower()) for pattern in licenses):
        return Drop("license", stated, ", ".join(licenses))
    return None
