"""What failures cost a run on many GPUs, by simulation, and how often to save because of them.

A machine fails at random (exponential times, one rate a GPU), which loses the work since the last snapshot and takes
a restart; saving takes time too. Young and Daly's rule for the interval, sqrt(2 * saving time * time between failures),
is the start of the search. Default assumptions: 50,700 hours between failures of one GPU (Llama 3's report: 419
interruptions in 54 days on 16,384 H100), 10 minutes from failure to the next step and 30 s of saving (both *ours*).
"""

import math
import random
import statistics
from dataclasses import dataclass
from typing import NamedTuple

HOUR = 3600.0
TRIALS = 400
"""Simulated runs for each interval (ours)."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the simulation takes as given."""

    mtbf_hours: float = 50_700.0
    """Mean time between failures of one GPU and its share of the machine."""
    save_seconds: float = 30.0
    """Training time that a snapshot takes."""
    restart_minutes: float = 10.0
    """From a failure to the first step after it."""


class Toll(NamedTuple):
    """What one interval between snapshots costs, as shares of the whole time."""

    interval_minutes: float
    lost: float
    """Mean share of time in which the run does not come further."""
    low: float
    high: float
    """Between these lie nine runs of ten."""
    failures: float
    """Mean number of failures."""


def best_interval(work_hours: float, gpus: int, assumed: Assumptions, seed: int = 0) -> list[Toll]:
    """Tolls at half to twice Daly's interval, the cheapest first; `work_hours` is the run without failures."""
    daly = math.sqrt(2 * assumed.save_seconds / 60 * assumed.mtbf_hours / gpus * 60)
    tolls = [toll(work_hours, gpus, daly * factor, assumed, seed) for factor in (0.5, 0.7, 1.0, 1.4, 2.0)]
    return sorted(tolls, key=lambda found: found.lost)


def toll(work_hours: float, gpus: int, interval_minutes: float, assumed: Assumptions, seed: int = 0) -> Toll:
    """Simulate `TRIALS` runs that save every `interval_minutes` of work."""
    runs = [
        _one_run(work_hours, gpus, interval_minutes / 60, assumed, random.Random(f"{seed}/{n}")) for n in range(TRIALS)
    ]
    lost = sorted(1 - work_hours / hours for hours, _ in runs)
    return Toll(
        interval_minutes,
        statistics.fmean(lost),
        lost[TRIALS // 20],
        lost[-TRIALS // 20 - 1],
        statistics.fmean(failures for _, failures in runs),
    )


def _one_run(work: float, gpus: int, interval: float, assumed: Assumptions, chance: random.Random) -> tuple[float, int]:
    """Hours until `work` hours of work are done, and how many failures there were."""
    save, restart = assumed.save_seconds / HOUR, assumed.restart_minutes / 60
    done = hours = 0.0
    failures = 0
    while True:
        left = work - done
        needed = left + save * math.floor(left / interval)
        alive = chance.expovariate(gpus / assumed.mtbf_hours)
        if alive >= needed:
            return hours + needed, failures
        failures += 1
        hours += alive + restart
        done += interval * math.floor(alive / (interval + save))
