"""An answer that is valid JSON under a schema, whatever the model (needs the extra `phidelity[json]`).

python examples/structured.py MODEL
"""

import json
import sys
from pathlib import Path

from phidelity.completion import SamplingParams
from phidelity.engine.llm import open_model
from phidelity.pipeline.status import resolve_model
from phidelity.records import Conversation, Message
from phidelity.server.grammar import Grammars

SCHEMA = {
    "type": "object",
    "properties": {"apples": {"type": "integer", "minimum": 0, "maximum": 99}, "sure": {"type": "boolean"}},
    "required": ["apples", "sure"],
    "additionalProperties": False,
}


def main(model: str) -> None:
    """The grammar is made once and holds each answer anew."""
    llm = open_model(resolve_model(Path(model)))
    allow = Grammars(llm.tokenizer, min(llm.tokenizer.vocab_size, llm.model.config.vocab_size)).of_schema(
        SCHEMA, "schema"
    )
    asked = "Mia has 3 apples and gets 4 more. How many? Answer as JSON."
    chat = Conversation(id="json", messages=(Message(role="user", content=asked),))
    answer = llm.submit(chat, SamplingParams(max_tokens=64), allowed=allow()).result()
    print(json.dumps(json.loads(answer.text)))
    llm.close()


if __name__ == "__main__":
    main(sys.argv[1])
