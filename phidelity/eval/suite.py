"""The benchmarks of phi-4's model card (report §5, table 1), in its order."""

from phidelity.config import UserError
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.benchmarks.drop import DROP
from phidelity.eval.benchmarks.gpqa import GPQA
from phidelity.eval.benchmarks.humaneval import HUMANEVAL
from phidelity.eval.benchmarks.math import MATH
from phidelity.eval.benchmarks.mgsm import MGSM
from phidelity.eval.benchmarks.mmlu import MMLU
from phidelity.eval.benchmarks.simpleqa import SIMPLEQA

BENCHMARKS: tuple[Benchmark, ...] = (MMLU, GPQA, MATH, HUMANEVAL, MGSM, SIMPLEQA, DROP)


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name."""
    found = next((one for one in BENCHMARKS if one.name == name), None)
    if found is None:
        raise UserError(f"No benchmark {name!r}; expected one of {', '.join(one.name for one in BENCHMARKS)}.")
    return found
