"""`phi bench prefill`: tokens a second of 512 prompt tokens with q4 weights of phi-4's shape, at depth 0 and 8,192.

As `phi bench decode`: four layers and the head of the last token, scaled by the number of weights; peers in turns.
`512@8192` is the rate of the four layers themselves, since attention does not scale as weights do; llama.cpp first
computes the 8,192, which takes minutes, so it is measured once, repacked as was better at depth 0.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from phidelity.bench.decode import best_of_ik, row_of
from phidelity.bench.llama_bench import Form, Peer, Timed, peers, write_file
from phidelity.bench.make_checkpoint import shape_of
from phidelity.bench.packed_shape import KernelAttend, Ours, forward, packed_shape, scale_to_phi_4, seconds
from phidelity.model.config import ModelConfig

TOKENS, DEPTH = 512, 8192
ROUNDS = {0: 3, DEPTH: 1}
FORMS: tuple[tuple[str, Form], ...] = (
    ("llama.cpp", "Q4_0"),
    ("llama.cpp", "Q4_K_M"),
    ("ik_llama.cpp", "Q4_0"),
    ("ik_llama.cpp", "Q4_K_M"),
)


def run(places: dict[str, Path], shape: str = "n_layers=4") -> list[dict[str, Any]]:
    """Rows of the table: what, ours, unit, peer, theirs, ratio, note."""
    config = shape_of("n_layers=4" if shape == "phi-4" else shape)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="phi-prefill-") as folder:
        files = _files(config, peers(places), Path(folder))
        ours = packed_shape(config, "q4")
        flat, deep = (KernelAttend(config, depth + TOKENS, ours.library) for depth in (0, DEPTH))
        deep.fill(DEPTH)
        peers_flat = _timed(files, ours, [])
        rows = _rows("512", ours, flat, peers_flat, scale_to_phi_4(config), ROUNDS[0])
        peers_deep = _timed([file for file in files if file[0].name == "llama.cpp"], ours, ["-d", str(DEPTH)])
        for peer, seen in zip(peers_deep, peers_flat, strict=False):
            peer.repack = seen.repack
        return rows + _rows(f"512@{DEPTH}", ours, deep, peers_deep, 1.0, ROUNDS[DEPTH])


def _files(config: ModelConfig, found: dict[str, Peer], folder: Path) -> list[tuple[Peer, Form, Path]]:
    wanted: list[tuple[Peer, Form]] = [(found[name], form) for name, form in FORMS if name in found]
    files: dict[Form, Path] = {}
    for _, form in wanted:
        files[form] = files.get(form) or write_file(config, form, folder / f"{form}.gguf")
    return [(peer, form, files[form]) for peer, form in wanted]


def _timed(files: list[tuple[Peer, Form, Path]], ours: Ours, extra: list[str]) -> list[Timed]:
    arguments = ["-p", str(TOKENS), "-n", "0", "-r", "1", *extra]
    return [Timed(peer, path, form, arguments, ours.library.n_threads) for peer, form, path in files]


def _rows(
    what: str, ours: Ours, attend: KernelAttend, timed: list[Timed], scale: float, n_rounds: int
) -> list[dict[str, Any]]:
    if not timed:
        rate = round(_rate(ours, attend) / scale, 3)
        return [{"what": what, "ours": rate, "unit": "tokens/s", "peer": None, "theirs": None, "ratio": None}]
    pairs: dict[Timed, list[tuple[float, float]]] = {peer: [] for peer in timed}
    for _ in range(n_rounds):
        for peer in timed:
            pairs[peer].append((_rate(ours, attend) / scale, peer.rate() / scale))
    return best_of_ik(
        [row_of(what, found, "tokens/s", f"{one.peer.name} {one.form}", one.note) for one, found in pairs.items()]
    )


def _rate(ours: Ours, attend: KernelAttend) -> float:
    return TOKENS / seconds(lambda: forward(ours.model, attend, TOKENS))
