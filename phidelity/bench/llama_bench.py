"""llama.cpp and ik_llama.cpp as peers: their own llama-quantize and llama-bench on a model of the same shape.

Random weights are written as GGUF Q8_0 by our exporter; Q4_0 and Q4_K_M are made of it by the peer's quantiser, so the
mixture of types is its own. Repacking is tried on and off in the first round and the better one stays.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from phidelity.bench.make_checkpoint import RandomWeights
from phidelity.config import UserError
from phidelity.export.gguf import write_gguf
from phidelity.model.config import ModelConfig

TIMEOUT = 1800.0


class Peer(NamedTuple):
    """A build: the folder of its programs, and how it is told to repack."""

    name: str
    folder: Path
    repack: tuple[tuple[str, ...], ...]

    def bench(self, gguf: Path, *, repack: tuple[str, ...], threads: int, arguments: list[str]) -> dict[str, Any]:
        """llama-bench's last result, as it reports it."""
        command = [self._program("llama-bench"), "-m", str(gguf), "-t", str(threads), "-o", "json", *repack, *arguments]
        found = json.loads(_output(command))
        return found[-1]

    def quantise(self, source: Path, out: Path, form: str) -> str:
        """Make `out` of the Q8_0 file `source`; returns which types its matrices got."""
        said = _output([self._program("llama-quantize"), "--allow-requantize", str(source), str(out), form])
        types = re.findall(r"converting to (\w+)", said)
        return ", ".join(f"{types.count(one)} {one}" for one in sorted(set(types)))

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


def write_source(config: ModelConfig, folder: Path) -> Path:
    """Random weights of this shape as Q8_0."""
    out = folder / "source-q8_0.gguf"
    write_gguf(RandomWeights(config), out, "q8_0")
    return out


class Timed:
    """One peer with one file: tokens a second, by the better way of repacking."""

    def __init__(self, peer: Peer, gguf: Path, form: str, arguments: list[str], threads: int) -> None:
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
    return done.stdout if "llama-bench" in command[0] else done.stdout + done.stderr
