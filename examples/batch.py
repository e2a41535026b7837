"""Many prompts at once: answers in order, each as soon as its turn in the batch comes.

python examples/batch.py MODEL
"""

import sys
from pathlib import Path

from phidelity.completion import SamplingParams
from phidelity.engine.llm import open_model
from phidelity.pipeline.status import resolve_model
from phidelity.records import Conversation, Message


def question(text: str) -> Conversation:
    """A chat of one message."""
    return Conversation(id=text, messages=(Message(role="user", content=text),))


def main(model: str) -> None:
    """Ask three questions, each twice."""
    llm = open_model(resolve_model(Path(model)))
    prompts = [question(f"What is {n} + {n}?") for n in (2, 13, 40)]
    params = SamplingParams(temperature=0.8, seed=7, n=2, max_tokens=64)
    for place, answer in enumerate(llm.complete(prompts, params)):
        print(f"{prompts[place // params.n].id} [{answer.index}] {answer.text!r} ({answer.finish_reason})")
    llm.close()


if __name__ == "__main__":
    main(sys.argv[1])
