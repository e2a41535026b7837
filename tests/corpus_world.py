"""A folder of sources for whole-stage tests, and a recipe that takes it to packed tokens."""

import json
import random
from pathlib import Path

SYLLABLES = ("ba", "lin", "tor", "me", "sal", "ver", "no", "ka", "dis", "pel", "ri", "gum", "an", "eth", "os", "wick")

RECIPE = """
name = "small-corpus"
seed = 0
[benchmarks]
mmlu = 4
math = 4
gpqa = 4
drop = 4
mgsm = 4
humaneval = 4
simpleqa = 4
[corpus]
sources = []
root = {root}
web_bytes = 0
[tokenizer]
vocab_size = 512
[shards]
shares = {{ web = 1.0 }}
validation_share = 0.1
context_len = 256
"""


def prose(rng: random.Random, sentences: int = 12) -> str:
    """Made sentences, all different, that the rules let through."""

    def word() -> str:
        return "".join(rng.choices(SYLLABLES, k=rng.randrange(2, 4)))

    return " ".join(
        f"The {word()} of {word()} was {word()} to the {word()}, and {word()} have {word()} it with a {word()}."
        for _ in range(sentences)
    )


def write_sources(root: Path, n_sources: int = 6, n_documents: int = 16, seed: int = 0) -> Path:
    """Sources of distinct prose, with copies, near copies and rejects across them, and personal data."""
    rng = random.Random(seed)
    shared = [prose(rng) for _ in range(6)]
    for number in range(n_sources):
        folder = root / f"source-{number}"
        folder.mkdir(parents=True)
        (folder / "SOURCE.txt").write_text("licence: CC0-1.0\n")
        texts = [prose(rng) for _ in range(n_documents)]
        texts += [
            shared[4 + number % 2],
            shared[number % 3],
            shared[(number + 1) % 3] + " So it is told.",
            "Too short.",
            "Again and again. " * 90,
        ]
        texts.append(prose(rng) + f" Write to guild{number}@example.org for more.")
        for k, text in enumerate(texts):
            (folder / f"{k:03d}.txt").write_text(text)
        (folder / "noise.txt").write_bytes(bytes(range(256)) * 9)
    return root


def write_recipe(path: Path, root: Path, extra: str = "") -> Path:
    """The recipe over `root`, as a file."""
    path.write_text(RECIPE.format(root=json.dumps(str(root))) + extra)
    return path
