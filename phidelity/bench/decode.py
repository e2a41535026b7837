"""`phi bench decode`: tokens a second of one sequence with q4 and q8 weights of phi-4's shape, against llama.cpp.

Four layers and the head are measured (or as many as `--shape n_layers=N` says) and scaled to phi-4 by the number of
weights, both sides by the same factor. `bandwidth` reads the same pages with the same threads right before. Peers run
in turns with us, each right after a measurement of ours; figures are medians of rounds, ratios medians of ratios.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from phidelity.bench.llama_bench import Form, Peer, Timed, peers, write_file
from phidelity.bench.make_checkpoint import shape_of
from phidelity.bench.packed_shape import KernelAttend, Ours, forward, packed_shape, scale_to_phi_4, seconds
from phidelity.kernels.layout import Kind
from phidelity.model.config import ModelConfig

ROUNDS = 3
STEPS = 16
"""Decoded tokens of one measurement (*ours*)."""
FORMS: dict[Kind, tuple[tuple[str, Form], ...]] = {
    "q4": (("llama.cpp", "Q4_0"), ("llama.cpp", "Q4_K_M"), ("ik_llama.cpp", "Q4_0"), ("ik_llama.cpp", "Q4_K_M")),
    "q8": (("llama.cpp", "Q8_0"),),
}


def run(places: dict[str, Path], shape: str = "n_layers=4") -> list[dict[str, Any]]:
    """Rows of the table: what, ours, unit, peer, theirs, ratio; `note` says how the peer was built and run."""
    config = shape_of("n_layers=4" if shape == "phi-4" else shape)
    torch.set_num_threads(1)  # a waiting pool of torch's would take a core from the kernels
    with tempfile.TemporaryDirectory(prefix="phi-decode-") as folder:
        return [row for kind in FORMS for row in _rows(kind, config, places, Path(folder))]


def _rows(kind: Kind, config: ModelConfig, places: dict[str, Path], folder: Path) -> list[dict[str, Any]]:
    found = peers(places)
    wanted: list[tuple[Peer, Form]] = [(found[name], form) for name, form in FORMS[kind] if name in found]
    files: dict[Form, Path] = {}
    for _, form in wanted:
        files[form] = files.get(form) or write_file(config, form, folder / f"{form}.gguf")
    ours = packed_shape(config, kind)
    arguments = ["-p", "0", "-n", str(STEPS), "-r", "2"]
    timed = [Timed(peer, files[form], form, arguments, ours.library.n_threads) for peer, form in wanted]
    rows = _measured(kind, ours, timed, scale_to_phi_4(config))
    for path in files.values():
        path.unlink(missing_ok=True)
    return best_of_ik(rows)


def _measured(kind: Kind, ours: Ours, timed: list[Timed], scale: float) -> list[dict[str, Any]]:
    pairs: dict[Any, list[tuple[float, float]]] = {peer: [] for peer in (None, *timed)}
    attend = KernelAttend(ours.model.config, STEPS, ours.library)
    for _ in range(ROUNDS):
        pairs[None].append(_against_reading(ours, attend))
        for peer in timed:
            pairs[peer].append((STEPS / _steps(ours, attend), peer.rate()))
    rows = [row_of(kind, pairs[None], "GB/s", "bandwidth", "the same pages, read")]
    for peer in timed:
        scaled = [(mine / scale, theirs / scale) for mine, theirs in pairs[peer]]
        rows.append(row_of(kind, scaled, "tokens/s", f"{peer.peer.name} {peer.form}", peer.note))
    return rows


def _steps(ours: Ours, attend: KernelAttend) -> float:
    """Seconds of `STEPS` tokens, each after the last."""

    def decode() -> None:
        for attend.start in range(STEPS):
            forward(ours.model, attend, 1)

    return seconds(decode)


def _against_reading(ours: Ours, attend: KernelAttend) -> tuple[float, float]:
    """Weights in GB/s while decoding, and while only reading the same pages, in turns."""
    mine, theirs = [], []
    for attend.start in range(STEPS):
        theirs.append(seconds(lambda: ours.library.call.phi_read(ours.area.ctypes.data, len(ours.area))))
        mine.append(seconds(lambda: forward(ours.model, attend, 1)))
    size = len(ours.area) / 1e9
    return size / statistics.median(mine), size / statistics.median(theirs)


def row_of(what: str, pairs: list[tuple[float, float]], unit: str, peer: str, note: str) -> dict[str, Any]:
    """Medians of both sides and of their ratios, round by round."""
    ours, theirs = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(mine / other for mine, other in pairs)
    figures = {"ours": round(ours, 3), "unit": unit, "peer": peer, "theirs": round(theirs, 3), "ratio": round(ratio, 3)}
    return {"what": what, **figures, "note": note}


def best_of_ik(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of ik_llama.cpp's formats only the fastest counts."""
    ik = [row for row in rows if row["peer"].startswith("ik_")]
    best = [min(ik, key=lambda row: row["ratio"]) | {"peer": "ik_llama.cpp"}] if ik else []
    return [row for row in rows if row not in ik] + best
