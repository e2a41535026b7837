"""A road of three real stages that take a second, for tests of the run machinery; also a program to be killed."""

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from pydantic import Field

from phidelity.config import Config, Interrupted, UserError
from phidelity.pipeline.recipe import Recipe, Stage
from phidelity.pipeline.run import run
from phidelity.progress import SILENT, Progress
from phidelity.records import file_sha256, write_json


class CountConfig(Config):
    n: int = Field(default=20, gt=0)
    delay: float = 0.0
    source: str = ""


class FitConfig(Config):
    peak_lr: float = 0.1


class WeighConfig(Config):
    scale: int = 1


def count(config: CountConfig, *, seed: int, out: Path, progress: Progress = SILENT) -> dict:
    """Write lines one by one and go on after the last whole one: the way a rollouts store does it."""
    path = out / "lines.txt"
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    path.write_text(whole)
    with progress.task("count", config.n, "lines") as task, open(path, "a") as file:
        task.advance(whole.count("\n"))
        for index in range(whole.count("\n"), config.n):
            file.write(f"{index} {hashlib.sha256(f'{seed}/{index}'.encode()).hexdigest()}\n")
            file.flush()
            time.sleep(config.delay)
            task.advance()
    return {"n": config.n}


def fit(config: FitConfig, *, count: Path, seed: int, out: Path, progress: Progress = SILENT) -> dict:
    """Recompute everything: the way a small stage does it."""
    n = len((count / "lines.txt").read_text().splitlines())
    write_json(out / "model" / "config.json", {"n": n, "peak_lr": config.peak_lr})
    (out / "model" / "model.safetensors").write_bytes(bytes(n))
    (out / "timings.jsonl").write_text(json.dumps({"clock": time.time()}) + "\n")
    return {"loss": 1 / n}


def weigh(
    config: WeighConfig, *, count: Path, model: Path, models: dict, seed: int, out: Path, progress=SILENT
) -> dict:
    weight = (model / "model.safetensors").stat().st_size * config.scale
    write_json(out / "weight.json", {"weight": weight, "models": sorted(models)})
    return {"weight": weight}


def judge_it(config: WeighConfig, *, judge, seed: int, out: Path, progress=SILENT) -> dict:
    return {"judge": judge.name}


def picky(config: CountConfig, *, seed: int, out: Path, progress=SILENT) -> dict:
    """Does some work, and only then finds that 13 will not do, or is interrupted where 14 are asked for."""
    work = out / "work.txt"
    n = int(work.read_text().split()[0]) if work.exists() else 0
    work.write_text(f"{n + 1} tries")
    if config.n == 13:
        raise UserError("13 were asked for; expected another number. Change picky.n.")
    if config.n == 14:
        raise Interrupted("A worker was killed. The same command goes on.")
    return {}


class ToyRecipe(Recipe):
    count: CountConfig | None = None
    fit: FitConfig | None = None
    weigh: WeighConfig | None = None
    judge_it: WeighConfig | None = None
    picky: CountConfig | None = None


def book(config: CountConfig) -> dict[str, str]:
    return {config.source: file_sha256(Path(config.source))} if config.source else {}


STAGES = (
    Stage(
        "count",
        count,
        sources=lambda config: {config.source: file_sha256(Path(config.source))} if config.source else {},
    ),
    Stage("fit", fit, ("count",), makes_model=True),
    Stage("weigh", weigh, ("count", "model", "models")),
    Stage("judge_it", judge_it, ("judge",)),
    Stage("picky", picky),
)


def toy(seed: int = 0, **tables) -> ToyRecipe:
    given = {"count": CountConfig(), "fit": FitConfig(), "weigh": WeighConfig()} | tables
    return ToyRecipe(name="toy", seed=seed, **given)


def main() -> None:
    """`python toy_road.py OUT DELAY [N]`: run the toy road; `delay` holds up every line."""
    out, delay = Path(sys.argv[1]), float(sys.argv[2])
    n = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    print(os.getpid(), flush=True)
    run(toy(count=CountConfig(n=n, delay=delay)), out, stages=STAGES)


if __name__ == "__main__":
    main()
