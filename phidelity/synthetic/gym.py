"""Problems of reasoning-gym, an optional further source: `pip install phidelity[gym]`, and `[synthetic] gym = N`.

Its items have a question and an answer, no worked steps, in one wording a task. Tasks whose items are made from
evaluation sets are off and cannot be turned on: training on them would spoil what they were made from. Slow ones are
off as well (under about 50 items a second). Each answer is scored by the task's own checker before it is taken.
"""

import random
from collections.abc import Iterator

from phidelity.config import UserError
from phidelity.records import Document
from phidelity.synthetic.seeds import Bank, document

FROM_EVALUATIONS = frozenset(
    {"gsm_symbolic", "arc_agi", "arc_1d", "rearc", "acre", "aiw", "list_functions", "codeio"}
)  # fmt: skip
"""Made from GSM8K's test questions, ARC, ACRE, Alice in Wonderland, list functions, and another data set's code."""
SLOW = frozenset(
    {"knight_swap", "sokoban", "intermediate_integration", "simple_integration", "puzzle24", "quantum_lock",
     "zebra_puzzles", "futoshiki", "sudoku", "mini_sudoku", "rush_hour", "rubiks_cube", "kakurasu", "survo"}
)  # fmt: skip
_OFF = FROM_EVALUATIONS | SLOW | {"composite"}


def tasks() -> list[str]:
    """The tasks that are used, by name."""
    try:
        from reasoning_gym.factory import DATASETS  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "synthetic.gym asks for problems of reasoning-gym, which is not installed. Install phidelity[gym], or set "
            "synthetic.gym = 0."
        ) from None
    return sorted(set(DATASETS) - _OFF)


def gym(bank: Bank, n: int) -> Iterator[Document]:
    """About `n` problems, as many of each task; what its own checker does not give full marks is left out."""
    if not n:
        return
    names = tasks()
    import reasoning_gym  # pyright: ignore[reportMissingImports]

    index = 0
    for place, name in enumerate(names):
        size = n // len(names) + (place < n % len(names))
        if not size:
            continue
        state = random.getstate()
        source = reasoning_gym.create_dataset(
            name, seed=random.Random(f"{bank.seed}/gym/{name}").getrandbits(31), size=size
        )
        for entry in source:
            answer = entry["answer"]
            if answer and source.score_answer(answer, entry) == 1.0:
                text = f"{entry['question']}\n\nAnswer: {answer}"
                yield document("gym", "synthetic", text, bank, index, family=f"gym/{name}", license="Apache-2.0")
                index += 1
        random.setstate(state)
