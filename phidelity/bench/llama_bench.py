"""llama.cpp and ik_llama.cpp as peers: their own llama-bench on a file of the same shape.

Speed does not depend on values, so a file holds arbitrary bytes with scales near zero, in the types that llama-quantize
chooses for each matrix (llama-quant.cpp of the commit in docs/benchmarks.md): a Q6_K head in Q4_0 and Q4_K_M, and
in Q4_K_M Q5_K for queries, keys and values, Q6_K for half of the down projections. Repacking is tried on and off in the
first round and the better one stays.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from phidelity.bench.make_checkpoint import filled_tokenizer
from phidelity.checkpoint.blocks import BY_NAME
from phidelity.checkpoint.weights import expected_shapes
from phidelity.config import UserError
from phidelity.export.gguf import Entry, head, padded
from phidelity.model.config import ModelConfig
from phidelity.tokenizer.bpe import Tokenizer

TIMEOUT = 1800.0


class Peer(NamedTuple):
    """A build: the folder of its programs, and how it is told to repack."""

    name: str
    folder: Path
    repack: tuple[tuple[str, ...], ...]

    def bench(self, gguf: Path, *, repack: tuple[str, ...], threads: int, arguments: list[str]) -> dict[str, Any]:
        """What llama-bench reports of one test: the first object among what it prints, since ik_llama.cpp warns too."""
        command = [self._program("llama-bench"), "-m", str(gguf), "-t", str(threads), "-o", "json", *repack, *arguments]
        printed = _output(command)
        if (start := printed.find("{")) < 0:
            raise UserError(f"{command[0]} printed no result: {printed[-200:]!r}. Check the build by hand.")
        return json.JSONDecoder().raw_decode(printed, start)[0]

    def _program(self, name: str) -> str:
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"--peer {self.name}: no {name} in {self.folder}; expected a build's bin folder.")
        return str(path)


def peers(places: dict[str, Path]) -> dict[str, Peer]:
    """The known ones among `--peer` NAME=PATH."""
    known = {
        "llama.cpp": (("--repack", "1"), ("--repack", "0")),
        "ik_llama.cpp": (("-rtr", "1"), ("-rtr", "0")),
    }
    return {name: Peer(name, path, known[name]) for name, path in places.items() if name in known}


Form = Literal["Q4_0", "Q4_K_M", "Q8_0"]
SCALES = {"Q4_0": (0,), "Q8_0": (0,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where the half-precision scales of a block begin."""
POOL_BLOCKS = 65_521
"""Blocks that are drawn once for each type; prime."""


class Shape(NamedTuple):
    """What the exporter's header asks of a model."""

    config: ModelConfig
    tokenizer: Tokenizer


def write_file(config: ModelConfig, form: Form, out: Path) -> Path:
    """A GGUF file of this shape with arbitrary weights."""
    entries = [
        Entry(name, BY_NAME[_type(name, shape, form, config.n_layers)], shape)
        for name, shape in expected_shapes(config).items()
    ]
    pools = {entry.form.name: _pool(entry.form.name) for entry in entries}
    with open(out, "wb") as file:
        file.write(head(Shape(config, filled_tokenizer(config.vocab_size)), out.stem, "q4_0", entries))
        for entry in entries:
            file.write(np.resize(pools[entry.form.name], entry.n_bytes).data)
            file.write(bytes(padded(entry.n_bytes) - entry.n_bytes))
    return out


def _type(name: str, shape: tuple[int, ...], form: Form, n_layers: int) -> str:
    """As llama-quantize chooses."""
    if len(shape) == 1:
        return "F32"
    if form == "Q8_0":
        return "Q8_0"
    if name == "head.weight":
        return "Q6_K"
    if form == "Q4_0":
        return "Q4_0"
    if "qkv" in name:
        return "Q5_K"
    layer = int(name.split(".")[1]) if name.startswith("blocks.") else 0
    has_more = layer < n_layers // 8 or layer >= 7 * n_layers // 8 or (layer - n_layers // 8) % 3 == 2
    return "Q6_K" if "down" in name and has_more else "Q4_K"


def _pool(name: str) -> np.ndarray:
    form = BY_NAME[name]
    if name == "F32":
        return np.ones(1, np.float32).view(np.uint8)
    blocks = np.random.default_rng(0).integers(0, 256, (POOL_BLOCKS, form.bytes), dtype=np.uint8)
    for at in SCALES[name]:
        blocks[:, at : at + 2] = np.array([1e-3], np.float16).view(np.uint8)
    return blocks.reshape(-1)


class Timed:
    """One peer with one file: tokens a second, by the better way of repacking."""

    def __init__(self, peer: Peer, gguf: Path, form: Form, arguments: list[str], threads: int) -> None:
        self.peer, self.gguf, self.form, self.arguments, self.threads = peer, gguf, form, arguments, threads
        self.repack: tuple[str, ...] | None = None
        self.commit = ""

    def rate(self) -> float:
        """Measure once; the first time both ways."""
        if self.repack is None:
            rates = {repack: self._rate(repack) for repack in self.peer.repack}
            self.repack = max(rates, key=rates.__getitem__)
            return rates[self.repack]
        return self._rate(self.repack)

    def _rate(self, repack: tuple[str, ...]) -> float:
        found = self.peer.bench(self.gguf, repack=repack, threads=self.threads, arguments=self.arguments)
        self.commit = str(found.get("build_commit", ""))
        return float(found["avg_ts"])

    @property
    def note(self) -> str:
        """What stood behind the figure."""
        return f"{self.form}, commit {self.commit}, {' '.join(self.repack or ())}"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} took more than {TIMEOUT:.0f} s. Give a smaller shape.") from None
    if done.returncode:
        raise UserError(f"{command[0]} failed: {done.stderr.strip()[-300:]}. Check the build with --help.")
    return done.stdout
