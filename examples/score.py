"""How probable texts are: which of two endings a model prefers, and by how much.

python examples/score.py MODEL
"""

import sys
from pathlib import Path

from phidelity.engine.llm import open_model
from phidelity.pipeline.status import resolve_model


def main(model: str) -> None:
    """Log-probabilities in nats, of the tokens that differ between the two."""
    llm = open_model(resolve_model(Path(model)))
    beginning = llm.tokenizer.encode("Mia has 3 apples and gets 4 more. Now she has ")
    endings = [llm.tokenizer.encode(text) for text in ("7 apples.", "5 bananas.")]
    scored = llm.logprobs([(*beginning, *ending) for ending in endings])
    for ending, logprobs in zip(endings, scored, strict=True):
        of_ending = logprobs[len(beginning) - 1 :]
        print(f"{llm.tokenizer.decode(ending)!r}: {sum(of_ending):.2f} nats over {len(of_ending)} tokens")
    llm.close()


if __name__ == "__main__":
    main(sys.argv[1])
