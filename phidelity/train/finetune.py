"""`phi finetune`: an adapter (or all parameters) of a model trained on own examples, by the one training loop.

Work goes on in `OUT.partial`, which is renamed when all of it stands: so nothing is ever written over, and a run that
was killed goes on where it stood, if model, data and settings are those it began with. What is kept is the best by the
held-out loss. OUT is a PEFT folder itself (or holds `model/`), with metrics, samples of before and after, and
finetune.json: every choice with its reason, what was dropped, the held-out loss of before and after with its error.
"""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phidelity.progress import SILENT, Progress
from phidelity.records import read_json, write_json
from phidelity.train.finetune_job import STARTED, Job, begin, optim_of
from phidelity.train.finetune_run import BEFORE, BEST, Run, open_base
from phidelity.train.loop import Measure, Metrics, last_loss, train

logger = logging.getLogger(__name__)

REPORT = "finetune.json"


def finetune(job: Job, out: Path, *, progress: Progress = SILENT) -> dict[str, Any]:
    """Train and write `out`; what finetune.json holds."""
    work = begin(job, out)
    base = open_base(job, progress)
    run = Run(job, base, work)
    before = run.before()
    model = base.model if job.config.all_parameters else run.fresh()
    steps, batches = run.batches()
    every = max(10, steps // 100 * 10)
    history = train(
        model,
        run.objective(),
        batches,
        steps=steps,
        optim=optim_of(job),
        out=work,
        name="finetune",
        measures=[Measure(run.measure, every)],
        data=str(job.started["data"]),
        save_every=max(1, min(100, steps // 10)),
        enough=lambda rows: _is_enough(rows, job.config.patience),
        progress=progress,
    )
    best = read_json(work / BEST / "best.json")
    logger.info("finetune: the best held-out loss is that of step %d of %d", best["step"], history[-1]["step"])
    after = run.held_out(run.trained(work / BEST))
    report = {
        "choices": {name: {"value": one.value, "reason": one.reason} for name, one in job.choices.items()},
        "targets": [] if job.config.all_parameters else list(job.targets),
        "dropped": job.look.dropped,
        "base": job.started["base"],
        "steps": history[-1]["step"],
        "best_step": best["step"],
        "loss": last_loss(history),
        "held_out": compare(before["losses"], after),
    }
    write_json(work / REPORT, report)
    run.write_samples(work / "samples.md", before["samples"], run.samples(run.trained(work / BEST)))
    _publish(work, out)
    return report


def compare(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Means over held-out examples, and the change with its standard error: the same examples before and after."""
    change = np.array(after) - np.array(before)
    error = float(change.std(ddof=1) / math.sqrt(len(change))) if len(change) > 1 else math.nan
    return {
        "n": len(change), "before": float(np.mean(before)), "after": float(np.mean(after)),
        "change": float(change.mean()), "stderr": error if math.isfinite(error) else 0.0,
    }  # fmt: skip


def _is_enough(rows: Sequence[Metrics], patience: int) -> bool:
    losses = [row["validation"] for row in rows if "validation" in row]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


def _publish(work: Path, out: Path) -> None:
    """The best model to the top, what was only for going on away, and the folder under its name."""
    for path in (work / BEST).iterdir():
        if path.name != "best.json":
            os.replace(path, work / path.name)
    for name in ("training", BEST, f"{BEST}.new"):
        shutil.rmtree(work / name, ignore_errors=True)
    for name in (BEFORE, STARTED):
        (work / name).unlink(missing_ok=True)
    os.replace(work, out)
