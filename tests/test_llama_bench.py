"""llama-bench as a peer: its report is found among what it prints, and its files are real GGUF files."""

from pathlib import Path

import pytest

from phidelity.bench.llama_bench import Peer, peers, write_file
from phidelity.bench.make_checkpoint import shape_of
from phidelity.checkpoint.gguf import GGUFWeights
from phidelity.config import UserError

SHAPE = "n_layers=1,d_model=256,n_heads=2,n_kv_heads=1,d_ff=256,vocab_size=400,context_len=64"


def printing(folder: Path, text: str) -> Peer:
    program = folder / "llama-bench"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    return peers({"ik_llama.cpp": folder})["ik_llama.cpp"]


def test_the_report_is_found_between_warnings(tmp_path: Path) -> None:
    peer = printing(tmp_path, '[\nWARNING: 0 bytes!\n  {\n "avg_ts": 2.5,\n "samples_ts": [2.0, 3.0]\n }\nWARNING\n]')
    found = peer.bench(tmp_path / "m.gguf", repack=("-rtr", "1"), threads=2, arguments=["-n", "1"])
    assert found == {"avg_ts": 2.5, "samples_ts": [2.0, 3.0]}


def test_a_peer_without_a_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"llama-bench printed no result: 'nothing\\n'"):
        printing(tmp_path, "nothing").bench(tmp_path / "m.gguf", repack=(), threads=1, arguments=[])
    with pytest.raises(UserError, match="no llama-bench in"):
        Peer("llama.cpp", tmp_path / "none", ()).bench(tmp_path / "m.gguf", repack=(), threads=1, arguments=[])


@pytest.mark.parametrize("form", ["Q4_0", "Q4_K_M", "Q8_0"])
def test_the_peers_files_open_as_any_other(tmp_path: Path, form) -> None:
    weights = GGUFWeights(write_file(shape_of(SHAPE), form, tmp_path / "m.gguf"))
    for name, (n_rows, *_) in weights.shapes.items():
        assert weights.rows(name, 0, n_rows).isfinite().all()
