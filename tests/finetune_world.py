"""A small random model and two small files of examples to teach it."""

import json
from pathlib import Path
from typing import Any

from checkpoint_world import CONFIG, random_checkpoint

WIDE = CONFIG.model_copy(update={"context_len": 128})


def base(folder: Path) -> Path:
    return random_checkpoint(folder, WIDE)


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


CHATS = [chat(f"cat {n}", "the cat sat on the mat") for n in range(24)]
PAIRS = [{"prompt": f"cat {n}", "chosen": "the cat sat", "rejected": "12 cats"} for n in range(12)]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
