"""What the GPU benchmarks share: a command of its own, parts in order within a deadline, and a clock that waits."""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

Rows = list[dict[str, Any]]


def command(
    name: str, about: str | None, arguments: Sequence[str] | None, measure: Callable[[bool], Rows], stand_ins: list[str]
) -> dict[str, Any]:
    """Measure (`--tiny`: at a tiny shape on the CPU), print a table and one JSON line, and return what it says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="every part at a tiny shape on the CPU")
    parser.add_argument("--out", help="a file for the JSON")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny runs on the CPU")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    machine = {"gpu": gpu, "torch": torch.__version__}
    result = {"bench": name, "machine": machine, "stand_ins": stand_ins, "rows": measure(options.tiny)}
    for row in result["rows"]:
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
    print(json.dumps(result))
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file)
    return result


def in_order(parts: Iterable[tuple[str, Callable[[], Rows]]], deadline: float) -> Rows:
    """The rows of all parts; what begins after `deadline` seconds, or fails, says so in its row and stops no other."""
    start = time.perf_counter()
    rows: Rows = []
    for name, part in parts:
        if time.perf_counter() - start > deadline:
            rows.append({"what": name, "skipped": "out of time"})
            continue
        try:
            rows += part()
        except Exception as error:  # one part on a machine never seen before must not cost the others
            rows.append({"what": name, "failed": f"{type(error).__name__}: {error}"[:300]})
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return [*rows, {"what": "all", "seconds": round(time.perf_counter() - start, 1)}]


def timed(device: torch.device, work: Callable[[], Any]) -> float:
    """Seconds until the device has done `work`."""
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
