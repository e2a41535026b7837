"""One stage of the road as a function: supervised fine-tuning of a model on conversations of one's own.

    python examples/train_stage.py MODEL conversations.jsonl OUT

The conversations are records as `phi chat` saves them (`/save`) and the chat window exports them.
"""

import sys
from pathlib import Path

from phidelity.pipeline.sft import SftConfig, sft
from phidelity.pipeline.status import resolve_model
from phidelity.records import Conversation, read_records, write_records
from phidelity.train.optim import OptimConfig


def main(model: str, conversations: str, out: str) -> None:
    """Lay the conversations where the stage looks for them, then call it."""
    source = Path(out) / "synthetic"
    write_records(source / "conversations.jsonl.zst", read_records(Path(conversations), Conversation))
    config = SftConfig(epochs=4, batch_tokens=512, context_len=128, optim=OptimConfig(peak_lr=1e-3, warmup=0.1))
    summary = sft(config, synthetic=source, model=resolve_model(Path(model)), seed=0, out=Path(out) / "sft")
    print(summary)
    print(f"talk to it: phi chat {Path(out) / 'sft'}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
