"""All benchmarks: the seven that phi-4's model card takes from simple-evals, in its order, and further ones."""

import re

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.benchmarks.amc import AMC
from phidelity.eval.benchmarks.arena_hard import ARENA_HARD
from phidelity.eval.benchmarks.drop import DROP
from phidelity.eval.benchmarks.gpqa import GPQA
from phidelity.eval.benchmarks.gsm8k import GSM8K
from phidelity.eval.benchmarks.humaneval import HUMANEVAL
from phidelity.eval.benchmarks.humaneval_plus import HUMANEVAL_PLUS
from phidelity.eval.benchmarks.ifeval import IFEVAL
from phidelity.eval.benchmarks.longcontext import Count, long_context
from phidelity.eval.benchmarks.math import MATH
from phidelity.eval.benchmarks.mgsm import MGSM
from phidelity.eval.benchmarks.mmlu import MMLU
from phidelity.eval.benchmarks.mmlu_pro import MMLU_PRO
from phidelity.eval.benchmarks.simpleqa import SIMPLEQA
from phidelity.eval.benchmarks.skills import SKILLS

BENCHMARKS: tuple[Benchmark, ...] = (MMLU, GPQA, MATH, HUMANEVAL, MGSM, SIMPLEQA, DROP)
"""The seven of the card (report §5, table 1), which the stages `benchmarks` and `evaluate` have in miniature."""
MINIATURE = (*BENCHMARKS, IFEVAL)
"""Those that a run may have of its own problems: the seven, and whether instructions are followed."""
FURTHER: tuple[Benchmark, ...] = (MMLU_PRO, HUMANEVAL_PLUS, IFEVAL, GSM8K)
"""Others, whose protocol the report does not give, or that it does not list."""
OURS: tuple[Benchmark, ...] = (ARENA_HARD, AMC, SKILLS)
"""Those whose figures are comparable only among runs of this tool: own judge's words, own format, own tasks."""
LONG = "longcontext-8k, longcontext-16k (or any number of tokens, such as longcontext-512)"


def benchmark(name: str, count: Count | None = None) -> Benchmark:
    """The benchmark of that name; `count` gives the tokens of a text for those of a set length."""
    if size := re.fullmatch(r"longcontext-(\d+)(k?)", name):
        return long_context(name, int(size[1]) * (1024 if size[2] else 1), count)
    known = BENCHMARKS + FURTHER + OURS
    found = next((one for one in known if one.name == name), None)
    if found is None:
        raise UserError(f"No benchmark {name!r}; expected one of {', '.join(one.name for one in known)}, {LONG}.")
    return found
