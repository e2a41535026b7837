"""What card and report say of break-fix, fairness and privacy, from the files of stage `breakfix`.

Each round with its gate, power, clusters and a transcript for each of the largest; everything that was said is shown
with signs for control characters, and escaped by the template.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phidelity.pipeline.audit import AUDIT
from phidelity.pipeline.evidence import Run
from phidelity.records import read_records
from phidelity.safety.pages import visible
from phidelity.safety.probe import Transcript

MOST_CLUSTERS = 8
"""Clusters of a round that are shown, the largest first (*ours*)."""
STAGE = "breakfix"


def safety(run: Run) -> dict[str, Any] | None:
    """What break-fix found, round by round; None where it is not done."""
    summary, first = run.summary(STAGE), run.json(STAGE, "rounds/0/scores.json")
    if summary is None or first is None:
        return None
    told, said = [], _said(run, "rounds/0/before/transcripts.jsonl")
    for number in range(len(summary["rounds"])):
        folder = f"rounds/{number}"
        found = _said(run, f"{folder}/transcripts.jsonl")
        manifest = run.json(STAGE, f"{folder}/manifest.json")
        clusters = run.json(STAGE, f"{folder}/clusters.json") or []
        told.append(
            {
                "summary": summary["rounds"][number],
                "scores": run.json(STAGE, f"{folder}/scores.json"),
                "gate": run.json(STAGE, f"{folder}/gate.json"),
                "manifest": manifest,
                "clusters": [one | {"shown": shown(said | found, one["medoid"])} for one in clusters[:MOST_CLUSTERS]],
                "n_clusters": len(clusters),
            }
        )
        if manifest and manifest["accepted"]:
            said = _said(run, f"{folder}/after/transcripts.jsonl")
    scores = {"before": first["before"], "after": told[-1]["scores"]["after"]}
    return {
        "summary": summary, "rounds": told, "scores": scores, "gate": told[-1]["gate"], "audit": run.json(STAGE, AUDIT)
    }  # fmt: skip


def shown(said: Mapping[str, Transcript], name: str) -> dict[str, Any] | None:
    """A transcript as the page shows it."""
    one = said.get(name)
    return one and {
        "id": name,
        "turns": [(message.role, visible(message.content)) for message in one.messages],
        "answer": visible(one.answer),
    }


def _said(run: Run, name: str) -> dict[str, Transcript]:
    path: Path | None = run.file(STAGE, name)
    return {one.probe.id: one for one in read_records(path, Transcript)} if path else {}
