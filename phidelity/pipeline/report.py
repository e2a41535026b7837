"""What people see of a run: MODEL_CARD.md in the sections of phi-4's own card, and report.html, one file.

No stage: `run` calls it last, and it may be called on any run directory, however far that came. Every number is taken
from a manifest or a stage's file; where a stage is absent its section says so. Neither file is hashed.
"""

import re
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from phidelity.config import UserError
from phidelity.data.mixture import PHI4_SHARES, remarks
from phidelity.model.config import ModelConfig, census
from phidelity.page.layout import render_markdown, render_page
from phidelity.pipeline.by_language import by_language
from phidelity.pipeline.charts import charts
from phidelity.pipeline.evidence import (
    TRAINING,
    Run,
    model_shape,
    period,
    read_run,
    searched_answers,
    take_census,
)
from phidelity.pipeline.manifest import ROAD
from phidelity.pipeline.safety_evidence import safety
from phidelity.pipeline.scoreboard import Scoreboard, direction, mean_interval, scoreboard
from phidelity.progress import readable_size
from phidelity.records import atomic

TEMPLATES = Path(__file__).parent / "templates"
CARD, REPORT = "MODEL_CARD.md", "report.html"
RENDERERS = {REPORT: render_page, CARD: render_markdown}
"""In the order of writing: where the card stands, the report does too."""
EXCERPT = 700
"""Characters shown of a text (*ours*)."""
REJECTS = 4
"""Dropped documents shown for each reason (*ours*)."""
PAIRS = 3
"""Overlaps shown of each benchmark, verdict and rule (*ours*)."""
SIDE = 300
"""Characters shown of a text on either side of what it shares with another (*ours*)."""
PAIR_MEASURES = {
    "accuracy": "Pairs whose chosen side is the likelier",
    "margin_gained": "Margin gained over the reference (nats)",
    "chosen_logprob": "Log-probability of the chosen side",
    "rejected_logprob": "Log-probability of the rejected side",
}
RATES = {
    "attack_success": "Attack success",
    "over_refusal": "Over-refusal of harmless twins",
    "useful": "Useful answers to harmless twins",
    "pair_rate": "Pairs refused and answered rightly",
    "undetermined": "Undetermined verdicts",
}
"""What break-fix measures before and after, with names for people."""


def write_report(run: Path) -> None:
    """Write report.html and then MODEL_CARD.md of the run directory `run`, from whatever stages are done."""
    try:
        facts = gather(read_run(run))
        pages = {name: render(TEMPLATES, name, **facts) for name, render in RENDERERS.items()}
    except (KeyError, UndefinedError) as error:
        raise UserError(
            f"Cannot write the report of {run}: a stage's summary or file lacks what is shown of it ({error}). "
            "Expected those of this version's stages; redo those that another version made, with --force STAGE."
        ) from error
    for name, text in pages.items():
        with atomic(run / name, "w") as file:
            file.write(text)


def gather(run: Run) -> dict[str, Any]:
    """All that the templates show, by name."""
    board, portions, safe = scoreboard(run), mixture(run), safety(run)
    return {
        "run": run,
        "road": ROAD,
        "size": readable_size,
        "excerpt": _excerpt,
        "direction": direction,
        "mean_interval": mean_interval,
        "training": TRAINING,
        "banner": f"{_subject(run)}; not phi-4; not affiliated with Microsoft",
        "data_alone": data_alone(run),
        "parameters": _parameters(run),
        "shape": model_shape(run),
        "period": period(run),
        "census": take_census(run),
        "mixture": portions,
        "dropped": run.json("corpus", "dropped.json"),
        "taught": run.json("synthetic", "taught.json"),
        "quality": run.json("corpus", "quality.json"),
        "rejects": REJECTS,
        "overlaps": overlaps(run),
        "planned": run.json("shards", "mixture.json"),
        "remarks": remarks,
        "board": board,
        "languages": by_language(run, board),
        "math": _mini_math(board),
        "searched": searched_answers(run),
        "pair_measures": PAIR_MEASURES,
        "rates": RATES,
        "safety": safe,
        "by_rules": by_rules(run),
        "samples": _samples(run),
        "charts": charts(run, board, portions),
    }


def mixture(run: Run) -> list[dict[str, Any]]:
    """The portions of pretraining, or as they were planned; with phi-4's own shares beside."""
    trained, planned = run.summary("pretrain"), run.json("shards", "mixture.json")
    if trained:
        portions = trained["mixture"]
    elif planned:
        unique, epochs, tokens = planned["unique_tokens"], planned["epochs"], planned["tokens"]
        portions = [
            {"group": group, "share": share, "tokens": share * tokens, "unique": unique[group], "epochs": epochs[group]}
            for group, share in planned["shares"].items()
            if share
        ]
    else:
        return []
    order = {group: place for place, group in enumerate(PHI4_SHARES)}
    portions = sorted(portions, key=lambda portion: order.get(portion["group"], len(order)))
    return [portion | {"phi4": PHI4_SHARES.get(portion["group"])} for portion in portions]


def overlaps(run: Run) -> dict[str, Any] | None:
    """The overlaps of the corpus with evaluation problems: all counts, and both texts of the first of each kind."""
    found = run.json("corpus", "contamination.json")
    if found is None:
        return None
    shown: dict[str, list[dict[str, Any]]] = {}
    for hit in found["hits"]:
        alike = shown.setdefault(f"{hit['verdict']}, {hit['rule']}, {hit['benchmark']}", [])
        if len(alike) < PAIRS:
            alike.append({**hit, "sides": [_around(hit[side], hit["match"]) for side in ("document", "problem")]})
    return {**found, "hits": len(found["hits"]), "shown": shown}


def _around(text: str, match: str) -> tuple[str, str, str]:
    """What stands before the words that two texts share, those words as they stand, and what follows; each cut."""
    pattern = r"[\W_]+".join(r"[\W_]?".join(map(re.escape, word)) for word in match.split())
    found = re.search(pattern, text, re.IGNORECASE)
    if not found:
        return _excerpt(text), "", ""
    before, after = text[: found.start()], text[found.end() :]
    return (
        "… " + before[-SIDE:] if len(before) > SIDE else before,
        found[0],
        after[:SIDE] + (" …" if len(after) > SIDE else ""),
    )


def by_rules(run: Run) -> bool:
    """Whether both attacker and judge of the recipe are rules; else a model is behind one of them."""
    tables = [run.recipe.get(role) or {} for role in ("attacker", "judge")]
    return all(table.get("kind") == "rules" for table in tables)


def data_alone(run: Run) -> bool:
    """Whether the recipe makes data and trains nothing, so that nothing of a model is missing."""
    stages = {name for name in ROAD if run.recipe.get(name) is not None}
    return bool(stages) and stages <= {"benchmarks", "corpus", "synthetic", "tokenizer", "shards"}


def _subject(run: Run) -> str:
    if data_alone(run):
        return "Training data made by Phidelity, and no model"
    n = _parameters(run)
    return (
        f"{n:,}-parameter miniature trained by Phidelity"
        if n
        else "Unfinished miniature, model not yet chosen, trained by Phidelity"
    )


def _parameters(run: Run) -> int:
    """As counted in training or export, else from the recipe; 0 where no model is in sight."""
    for stage in ("pretrain", "export"):
        if summary := run.summary(stage):
            return int(summary["parameters"])
    shape = run.recipe.get("model")
    return census(ModelConfig.model_validate(shape)).total if shape else 0


def _mini_math(board: Scoreboard | None) -> dict[str, Any] | None:
    """Mini-MATH after SFT beside always giving the commonest answer: the road's own measure of success."""
    rows = {row.name: row for row in board.rows} if board else {}
    if board is None or "math" not in board.benchmarks or not {"sft", "commonest answer"} <= set(rows):
        return None
    place = board.benchmarks.index("math")
    after, commonest = rows["sft"].cells[place], rows["commonest answer"].cells[place]
    if not after or not commonest or after["score"] is None:
        return None
    return {"sft": after, "commonest": commonest, "above": after["interval"][0] > commonest["score"]}


def _samples(run: Run) -> dict[str, str]:
    """samples.md of each training stage that wrote one."""
    found = {stage: run.file(stage, "samples.md") for stage in TRAINING}
    return {stage: path.read_text(encoding="utf-8") for stage, path in found.items() if path}


def _excerpt(text: str, n: int = EXCERPT) -> str:
    return text if len(text) <= n else f"{text[:n]} … ({len(text):,} characters)"
