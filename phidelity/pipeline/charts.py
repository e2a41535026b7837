"""The figures of a run's report by name, each empty where its stage is not done."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from phidelity.page.figures import Bar, Dot, Series, bar_chart, dot_plot, line_chart, share_bar
from phidelity.pipeline.evidence import TRAINING, Run, curves, validation_columns
from phidelity.pipeline.scoreboard import Scoreboard

SIDES = ("before", "after")
LEAST_POINTS = 3
"""Points that make a curve of calibration (*ours*); the table has fewer too."""


def charts(run: Run, board: Scoreboard | None, portions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every figure of the report by name; `portions` are those of the mixture."""
    found: dict[str, Any] = {f"loss/{stage}": _loss(run, stage) for stage in ("pretrain", "midtrain", "sft")}
    found |= {f"margin/{stage}": _margin(run, stage) for stage in ("pivotal_dpo", "judged_dpo")}
    rates = {f"rate/{stage}": curves(run, stage, {"lr": "learning rate"}) for stage in TRAINING}
    found |= {
        name: line_chart(f"Learning rate, {name[5:]}", lines, x_label="step", y_label="learning rate", height=170)
        for name, lines in rates.items()
    }
    shares = [(portion["group"], portion["share"]) for portion in portions]
    found["mixture"] = share_bar("Share of training tokens by group", shares) if shares else Markup("")
    found["funnel"] = _funnel(run.json("corpus", "dropped.json"))
    found["calibration"] = _calibration(run.json("corpus", "quality.json"))
    found["scores"] = _panels(board)
    found["changes"] = _changes(board)
    found["attacks"] = _attacks(run.json("breakfix", "rounds/0/scores.json"))
    return found


def _loss(run: Run, stage: str) -> Markup:
    lines = curves(run, stage, {"loss": "training", "validation": "held-out, all"} | validation_columns(run, stage))
    lines = [line for line in lines if line.name != "held-out chat"]
    return line_chart(f"Loss, {stage}", lines, x_label="step", y_label="nats per token")


def _margin(run: Run, stage: str) -> Markup:
    lines = curves(run, stage, {"pairs/margin_gained": "margin gained", "loss": "loss"})
    return line_chart(f"Preference margin and loss, {stage}", lines, x_label="step", y_label="nats", height=220)


def _funnel(dropped: dict[str, Any] | None) -> Markup:
    if not dropped:
        return Markup("")
    read, kept = dropped["read"]["documents"], dropped["kept"]["documents"]
    counts = sorted(dropped["dropped_by_reason"].items(), key=lambda pair: -pair[1])
    if not counts:
        return Markup("")
    bars = [Bar(name, n, f"{n:,} ({n / read:.1%})") for name, n in counts]
    return bar_chart(f"{read - kept:,} documents dropped by reason, of {read:,} read; {kept:,} kept", bars)


def _calibration(quality: dict[str, Any] | None) -> Markup:
    """What the classifier said of sources that it never saw, against what they were marked."""
    if not quality or not quality.get("held_out"):
        return Markup("")
    rows = [row for row in quality["held_out"]["calibration"] if row["documents"]]
    if len(rows) < LEAST_POINTS:
        return Markup("")
    lines = [
        Series(name, [(row["said"], row[key]) for row in rows])
        for name, key in (("as marked", "marked"), ("as said", "said"))
    ]
    return line_chart(
        "Calibration of the classifier on unseen sources", lines, x_label="said", y_label="mean mark", height=220
    )


def _panels(board: Scoreboard | None) -> list[Markup]:
    if board is None:
        return []
    return [dot_plot(title, dots, x_label="score, %, with 95 % interval") for title, dots in board.panels if dots]


def _changes(board: Scoreboard | None) -> list[Markup]:
    """One panel a stage, all on one symmetric scale."""
    if board is None:
        return []
    cells = [cell for change in board.changes for cell in change.cells if cell]
    reach = max((abs(end) for cell in cells for end in (cell.low, cell.high)), default=1.0)
    return [
        dot_plot(
            change.label,
            [
                Dot(title, cell.mean, cell.low, cell.high)
                for title, cell in zip(board.titles, change.cells, strict=True)
                if cell
            ],
            x_label="change in points, with 95 % interval",
            low=-reach,
            high=reach,
            zero=True,
        )
        for change in board.changes
        if any(change.cells)
    ]


def _attacks(scores: dict[str, Any] | None) -> Markup:
    if not scores:
        return Markup("")
    rated = [(f"{kind}, {side}", scores[side]["family"][kind]) for kind in scores["after"]["family"] for side in SIDES]
    dots = [_attack_dot(name, rate) for name, rate in rated if rate["attack_success"] is not None]
    return dot_plot("Attack success by family", dots, x_label="granted, %, with 95 % interval; hollow: before")


def _attack_dot(name: str, rate: dict[str, Any]) -> Dot:
    low, high = rate["attack_success_95"]
    return Dot(name, 100 * rate["attack_success"], 100 * low, 100 * high, hollow=name.endswith("before"))
