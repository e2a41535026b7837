"""Reading GGUF: both architectures, bugs of old copies, and files that are hostile, damaged or of another network."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_world import CONFIG, TOKENIZER, HeldWeights, f32, gguf_bytes, metadata, text

from phidelity.checkpoint.blocks import BY_NAME, decode, encode
from phidelity.checkpoint.gguf import GGUFWeights, gguf_name
from phidelity.checkpoint.gguf_file import read_contents
from phidelity.checkpoint.weights import load, stream
from phidelity.config import UserError

HELD = HeldWeights()
FUSED = {gguf_name(name): f32(tensor) for name, tensor in HELD.state.items()}
Tensors = dict[str, tuple[int, tuple[int, ...], bytes]]


def opened(tmp_path: Path, pairs: dict[str, Any] | None = None, tensors: Tensors | None = None) -> GGUFWeights:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf_bytes(metadata() if pairs is None else pairs, FUSED if tensors is None else tensors))
    return GGUFWeights(path)


def test_a_fused_file_gives_our_parameters_shape_and_tokenizer(tmp_path: Path) -> None:
    weights = opened(tmp_path)
    assert weights.config == CONFIG
    assert weights.tokenizer.digest == TOKENIZER.digest
    assert weights.form == "GGUF, phi3, 15 F32"
    assert len(weights.digest) == 16
    for name, tensor in load(weights).model.state_dict().items():
        assert torch.equal(tensor, HELD.state[name]), name


def test_rows_of_a_split_file_are_fused_and_put_back_in_order(tmp_path: Path) -> None:
    weights = opened(tmp_path, metadata("llama"), split())
    for name, tensor in HELD.state.items():
        assert torch.equal(weights.rows(name, 0, len(tensor)), tensor), name
    qkv = HELD.state["blocks.1.attention.qkv.weight"]
    for start, stop in ((3, 5), (15, 17), (60, 70), (70, 96), (0, 1)):  # within a head, across heads, across q, k and v
        assert torch.equal(weights.rows("blocks.1.attention.qkv.weight", start, stop), qkv[start:stop])


def split() -> Tensors:
    """The model as llama.cpp's converter writes a split copy: rotated pairs of rows become neighbours."""
    tensors: Tensors = {}
    for name, tensor in HELD.state.items():
        whole = gguf_name(name)
        if whole.endswith("attn_qkv.weight"):
            for part, rows in zip("qkv", tensor.split((64, 16, 16)), strict=True):
                heads = rows.reshape(-1, 2, 8, 64).transpose(1, 2) if part != "v" else rows
                tensors[whole.replace("qkv", part)] = f32(heads.reshape(-1, 64))
        elif whole.endswith("ffn_up.weight"):
            tensors[whole.replace("up", "gate")], tensors[whole] = f32(tensor[:224]), f32(tensor[224:])
        else:
            tensors[whole] = f32(tensor)
    return tensors


def test_quantised_tensors_are_read_in_float32(tmp_path: Path) -> None:
    form = BY_NAME["Q8_0"]
    raw = encode(form, HELD.state["head.weight"])
    weights = opened(tmp_path, tensors=FUSED | {"output.weight": (8, (410, 64), raw.numpy().tobytes())})
    assert weights.dtype_of("head.weight") == torch.float32
    expected = decode(form, raw.numpy().reshape(-1), 64)
    assert torch.equal(torch.cat([block for _, block in stream(weights, "head.weight")]), expected)
    assert torch.equal(weights.rows("head.weight", 399, 401), expected[399:401])


def test_ids_of_copies_before_the_fix_are_put_right_and_noted(tmp_path: Path) -> None:
    old = {"tokenizer.ggml.eos_token_id": TOKENIZER.endoftext, "tokenizer.ggml.padding_token_id": TOKENIZER.endoftext}
    weights = opened(tmp_path, metadata() | old | {"tokenizer.ggml.pre": "gpt-2", "tokenizer.chat_template": "{}"})
    told = "\n".join(weights.notes)
    assert f"eos_token_id is {TOKENIZER.endoftext}; here {TOKENIZER.im_end}" in told
    assert f"padding_token_id is {TOKENIZER.endoftext}; here {TOKENIZER.pad}" in told
    assert "'gpt-2'" in told
    assert "none that phi-4 was published with" in told
    assert weights.tokenizer.pad not in (TOKENIZER.im_end, TOKENIZER.endoftext)


TOKENS = metadata()["tokenizer.ggml.tokens"]
MERGES = metadata()["tokenizer.ggml.merges"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"general.architecture": "gemma"}, "architecture 'gemma'"),
        ({"general.architecture": 7}, "architecture 7"),
        ({"phi3.block_count": 3}, "6 tensors are missing: blk.2"),
        ({"phi3.block_count": 4_000_000_000}, "metadata describes"),
        ({"phi3.block_count": "two"}, "n_layers invalid"),
        ({"phi3.embedding_length": 63}, "does not divide"),
        ({"phi3.attention.head_count": 0}, "n_heads invalid"),
        ({"phi3.feed_forward_length": 112}, "ffn_up.weight is F32 of shape"),
        ({"phi3.attention.sliding_window": 32}, "sliding_window is 32"),
        ({"phi3.rope.scaling.type": "yarn"}, "scaling.type is 'yarn'"),
        ({"phi3.rope.dimension_count": 8}, "dimension_count is 8"),
        ({"phi3.rope.freq_base": float("nan")}, "rope_theta invalid"),
        ({"split.count": 3}, "one of 3 parts"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer 'llama'"),
        ({"tokenizer.ggml.tokens": "none"}, "lacks tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.tokens": TOKENS[:-30]}, "token 380 is None"),
        ({"tokenizer.ggml.tokens": [*TOKENS[:5], TOKENS[4], *TOKENS[6:]]}, "without a gap"),
        ({"tokenizer.ggml.tokens": ["日", *TOKENS[1:]]}, "spells no byte"),
        ({"tokenizer.ggml.merges": MERGES[::-1]}, "no token later"),
        ({"general.alignment": 33}, "power of two"),
    ],
)
def test_metadata_of_another_or_a_damaged_model_is_one_clear_error(tmp_path: Path, change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(tmp_path, metadata() | change)


@pytest.mark.parametrize(
    ("key", "message"),
    [("phi3.block_count", "lacks phi3.block_count"), ("tokenizer.ggml.merges", "lacks tokenizer.ggml.merges")],
)
def test_missing_metadata_is_named(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(tmp_path, {name: entry for name, entry in metadata().items() if name != key})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blk.0.attn_norm.weight": None}, "1 tensors are missing: blk.0.attn_norm.weight"),
        ({"rope_factors_long.weight": f32(np.ones(8))}, "1 tensors are unexpected: rope_factors_long"),
        ({"output_norm.weight": f32(np.ones(65))}, "is F32 of shape"),
        ({"output_norm.weight": (8, (64,), bytes(68))}, "is Q8_0 of shape"),
        ({"output_norm.weight": (10, (64,), bytes(68))}, "stored as Q2_K; read are F32"),
        ({"output_norm.weight": (99, (64,), bytes(68))}, "stored as type 99"),
        ({"output.weight": (8, (410, 65), bytes(100))}, "Q8_0 cannot hold"),
        ({"output.weight": (0, (1 << 40, 1 << 40), bytes(100))}, "cannot hold in this file"),
        ({"output.weight": (0, (0, 64), bytes(100))}, "cannot hold in this file"),
        ({"output.weight": (0, (1,) * 5, bytes(100))}, "5 dimensions"),
        ({"output.weight": (0, (), bytes(100))}, "0 dimensions"),
    ],
)
def test_wrong_tensors_are_named(tmp_path: Path, change, message: str) -> None:
    tensors = {name: tensor for name, tensor in (FUSED | change).items() if tensor}
    with pytest.raises(UserError, match=message):
        opened(tmp_path, tensors=tensors)


def test_values_that_are_not_finite_are_found_while_streaming(tmp_path: Path) -> None:
    weights = opened(tmp_path, tensors=FUSED | {"output.weight": f32(np.full((410, 64), np.nan))})
    with pytest.raises(UserError, match=r"output.weight: rows 0 to 409 hold values that are not finite"):
        load(weights)


HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("key")
ENDLESS = struct.pack("<Q", 1 << 62)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"PK\x03\x04" + bytes(30), "begins with b'PK"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "tensors are announced"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "metadata entries are announced"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + ENDLESS + bytes(20), "truncated"),
        (HEAD + struct.pack("<I", 8) + ENDLESS, "truncated"),
        (HEAD + struct.pack("<II", 9, 8) + ENDLESS, "texts are announced"),
        (HEAD + struct.pack("<II", 9, 0) + ENDLESS + bytes(99), "values are announced"),
        (HEAD + struct.pack("<II", 9, 9) + ENDLESS, "type 9"),
        (HEAD + struct.pack("<I", 77), "type 77"),
        (HEAD + struct.pack("<IQ", 8, 2) + b"\xff\xfe", "not UTF-8"),
        (HEAD[:16] + struct.pack("<Q", 2) + 2 * (text("key") + struct.pack("<II", 4, 1)), "stands there twice"),
    ],
)
def test_a_hostile_head_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_contents(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No file"):
        read_contents(tmp_path / "none.gguf")


def directory(*entries: tuple[str, int]) -> bytes:
    """A file whose tensors, of eight F32 values, lie at given offsets."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), 0)
    for name, offset in entries:
        head += text(name) + struct.pack("<IQIQ", 1, 8, 0, offset)
    return head + bytes(-len(head) % 32 + 96)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (directory(("a", 0), ("b", 0)), "'b' overlaps"),
        (directory(("a", 0), ("b", 8)), "off the alignment"),
        (directory(("a", 0), ("b", 96)), "the file has"),
        (directory(("a", 0), ("b", 1 << 63)), "the file has"),
        (directory(("a", 0), ("a", 32)), "two tensors have one name"),
    ],
)
def test_tensors_in_impossible_places_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_contents(path)


def test_a_file_cut_after_it_was_opened_is_told_when_read(tmp_path: Path) -> None:
    weights = opened(tmp_path)
    weights.path.write_bytes(weights.path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cut while being read"):
        load(weights)


def test_flipped_and_missing_bytes_never_end_in_anything_but_a_clear_error(tmp_path: Path) -> None:
    good = gguf_bytes(metadata(), FUSED)
    head = len(good) - sum(len(raw) + -len(raw) % 32 for _, _, raw in FUSED.values())
    path, rng = tmp_path / "fuzzed.gguf", np.random.default_rng(5)
    outcomes = {"opened": 0, "refused": 0}
    for trial in range(300):
        content = bytearray(good)
        if trial % 3 == 0:
            del content[int(rng.integers(0, len(good))) :]
        else:
            for at in rng.integers(0, head if trial % 3 == 1 else 600, 1 + trial % 4):
                content[at] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(content)
        try:
            weights = GGUFWeights(path)
            for name in weights.shapes:
                weights.rows(name, 0, 1)
            outcomes["opened"] += 1
        except UserError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 200
    assert outcomes["opened"] > 5, "a flipped letter of a token is no damage that can be seen"
