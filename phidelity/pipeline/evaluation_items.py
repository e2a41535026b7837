"""The evaluation problems that training text is held against: every benchmark that a folder has files of.

What counts is the question itself, never the words in which we ask it: an instruction that all problems share would
condemn whoever gives the same instruction. For code it is the prompt with its canonical solution, for reading
comprehension passage and question.
"""

from pathlib import Path

from phidelity.config import UserError
from phidelity.data.decontaminate import Item
from phidelity.eval.benchmark import Benchmark
from phidelity.eval.folder import load
from phidelity.eval.suite import BENCHMARKS, FURTHER, OURS
from phidelity.records import Problem

_SUITE = tuple(one for one in BENCHMARKS + FURTHER + OURS if one.files)


def evaluation_items(folder: Path) -> list[Item]:
    """The problems of all benchmarks in `folder`, in the suite's order; none at all is a `UserError`."""
    items = [Item(one.name, problem.id, _text(problem)) for one in _SUITE for problem in _problems(one, folder)]
    if not items:
        names = ", ".join(file.name for one in _SUITE[:3] for file in one.files[:1])
        raise UserError(
            f"No evaluation problems in {folder}; expected official files such as {names}. "
            "Run the benchmarks stage first, or name a folder that has some."
        )
    return list(dict.fromkeys(items))


def _problems(one: Benchmark, folder: Path) -> list[Problem]:
    """A benchmark's problems; none where its files are not there, while a damaged file is an error."""
    names = [file.name for file in one.files]
    places = [path for place in (folder, folder / one.name) for name in names for path in place.glob(name)]
    try:
        return load(one, folder)
    except UserError:
        if places:
            raise
        return []


def _text(problem: Problem) -> str:
    if "code" in problem.meta:
        return f"{problem.meta['code']}\n{problem.reference}"
    return str(problem.meta.get("context") or problem.meta.get("question") or problem.prompt)
