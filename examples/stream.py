"""One answer as it grows, stopped after a sentence.

python examples/stream.py MODEL ["Your question"]
"""

import sys
from pathlib import Path

from phidelity.completion import SamplingParams
from phidelity.engine.llm import open_model
from phidelity.pipeline.status import resolve_model
from phidelity.records import Conversation, Message


def main(model: str, question: str) -> None:
    """Print pieces of whole characters; leaving the loop cancels the request within one step."""
    llm = open_model(resolve_model(Path(model)))
    chat = Conversation(id="stream", messages=(Message(role="user", content=question),))
    for piece in llm.stream(chat, SamplingParams(max_tokens=128)):
        print(piece, end="", flush=True)
        if "." in piece:
            break
    print()
    llm.close()


if __name__ == "__main__":
    main(sys.argv[1], *(sys.argv[2:] or ["There are 9 books in a box. Ben takes 2 out. How many are left?"]))
