"""A shard function for tests of `data/scale.py`: squares with a delay, importable from any process."""

import time
from pathlib import Path


def squares(argument, out: Path):
    numbers = range(argument["first"], argument["first"] + 10)
    with open(out / "squares.txt", "w") as file:
        for n in numbers:
            file.write(f"{n * n}\n")
            file.flush()
            time.sleep(argument.get("delay", 0) / 10)
    with open(Path(argument["log"]), "a") as file:
        file.write(f"{argument['first']}\n")
    return {"numbers": 10}


def plan(log, n=6, delay=0.0):
    return {f"part-{k}": {"first": 10 * k, "log": str(log), "delay": delay} for k in range(n)}


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
