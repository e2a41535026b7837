"""Writing GGUF: what comes back is what went in, as exactly as each format can hold it."""

from pathlib import Path

import pytest
import torch
from checkpoint_world import random_checkpoint
from gguf_world import CONFIG, TOKENIZER, HeldWeights

from phidelity.checkpoint.blocks import BY_NAME, decode, encode
from phidelity.checkpoint.gguf import GGUFWeights
from phidelity.checkpoint.gguf_file import read_contents
from phidelity.config import UserError
from phidelity.export.gguf import GGUFType, write_gguf
from phidelity.tokenizer.layout import CHAT_TEMPLATE


def written(tmp_path: Path, weights: HeldWeights, type: GGUFType) -> GGUFWeights:
    out = tmp_path / f"{type}.gguf"
    assert write_gguf(weights, out, type) == out.stat().st_size
    return GGUFWeights(out)


def whole(weights: HeldWeights | GGUFWeights, name: str) -> torch.Tensor:
    return weights.rows(name, 0, weights.shapes[name][0])


@pytest.mark.parametrize(
    ("dtype", "type"),
    [(torch.float32, "f32"), (torch.bfloat16, "bf16"), (torch.bfloat16, "f32"), (torch.float16, "f16")],
)
def test_what_a_format_can_hold_comes_back_to_the_last_bit(tmp_path: Path, dtype: torch.dtype, type: GGUFType) -> None:
    held = HeldWeights(dtype=dtype)
    back = written(tmp_path, held, type)
    assert (back.config, back.tokenizer.digest, back.notes) == (CONFIG, TOKENIZER.digest, ())
    for name in held.shapes:
        assert torch.equal(whole(back, name).float(), whole(held, name).float()), name
        assert back.dtype_of(name) == BY_NAME[type.upper()].dtype, "norms too, though they are stored as F32"


def test_norms_that_a_narrow_format_cannot_hold_stay_float32(tmp_path: Path) -> None:
    held = HeldWeights(dtype=torch.bfloat16)
    held.state["norm.weight"] = held.state["norm.weight"].float() + 1e-7
    back = written(tmp_path, held, "bf16")
    assert back.dtype_of("norm.weight") == torch.float32
    assert torch.equal(whole(back, "norm.weight"), held.state["norm.weight"])
    assert back.dtype_of("embed.weight") == torch.bfloat16


@pytest.mark.parametrize("type", ["q8_0", "q4_0"])
def test_quantised_files_hold_what_the_encoder_gives_and_repeat_byte_for_byte(tmp_path: Path, type: GGUFType) -> None:
    held = HeldWeights()
    back = written(tmp_path, held, type)
    for name, shape in held.shapes.items():
        form = back.tensors[back.label(name).split()[-1]].form
        expected = decode(form, encode(form, held.state[name].view(shape[0], -1)).numpy().reshape(-1), shape[-1])
        assert torch.equal(whole(back, name), expected.view(shape)), name
    write_gguf(back, tmp_path / "again" / f"{type}.gguf", type)
    assert (tmp_path / "again" / f"{type}.gguf").read_bytes() == back.path.read_bytes()


def test_norms_stay_f32_and_the_outer_matrices_of_q4_0_stay_q8_0(tmp_path: Path) -> None:
    tensors = written(tmp_path, HeldWeights(), "q4_0").tensors
    forms = {name: tensor.form.name for name, tensor in tensors.items()}
    assert {forms[name] for name in forms if "norm" in name} == {"F32"}
    assert forms["token_embd.weight"] == forms["output.weight"] == "Q8_0"
    assert {form for name, form in forms.items() if name.startswith("blk.0.") and "norm" not in name} == {"Q4_0"}


def test_rows_that_are_no_multiple_of_a_block_stay_f16(tmp_path: Path) -> None:
    held = HeldWeights(CONFIG.model_copy(update={"d_ff": 200}))
    forms = {name: tensor.form.name for name, tensor in written(tmp_path, held, "q8_0").tensors.items()}
    assert forms["blk.0.ffn_down.weight"] == "F16"
    assert forms["blk.0.ffn_up.weight"] == "Q8_0"


def test_metadata_is_what_llama_cpp_asks_of_phi3(tmp_path: Path) -> None:
    write_gguf(HeldWeights(), tmp_path / "mini.gguf", "f32")
    found = read_contents(tmp_path / "mini.gguf").metadata
    tokens, kinds = found.pop("tokenizer.ggml.tokens"), found.pop("tokenizer.ggml.token_type")
    assert len(tokens) == len(kinds) == 410
    assert kinds == [1] * 304 + [3] * 96 + [5] * 10
    assert tokens[TOKENIZER.im_sep] == "<|im_sep|>"
    assert found.pop("tokenizer.ggml.merges")[0].count(" ") == 1
    assert found.pop("phi3.attention.layer_norm_rms_epsilon") == pytest.approx(1e-5)
    assert found == {
        "general.architecture": "phi3",
        "general.type": "model",
        "general.name": "mini",
        "general.alignment": 32,
        "general.file_type": 0,
        "general.quantization_version": 2,
        "phi3.block_count": 2,
        "phi3.context_length": 64,
        "phi3.embedding_length": 64,
        "phi3.feed_forward_length": 224,
        "phi3.vocab_size": 410,
        "phi3.attention.head_count": 4,
        "phi3.attention.head_count_kv": 1,
        "phi3.attention.sliding_window": 0,
        "phi3.rope.dimension_count": 16,
        "phi3.rope.freq_base": 250_000.0,
        "phi3.rope.scaling.original_context_length": 64,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "dbrx",
        "tokenizer.ggml.bos_token_id": TOKENIZER.endoftext,
        "tokenizer.ggml.eos_token_id": TOKENIZER.im_end,
        "tokenizer.ggml.eot_token_id": TOKENIZER.im_end,
        "tokenizer.ggml.padding_token_id": TOKENIZER.pad,
        "tokenizer.ggml.fim_pre_token_id": TOKENIZER.special_ids["<|fim_prefix|>"],
        "tokenizer.ggml.fim_mid_token_id": TOKENIZER.special_ids["<|fim_middle|>"],
        "tokenizer.ggml.fim_suf_token_id": TOKENIZER.special_ids["<|fim_suffix|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }


def test_a_scale_beyond_fp16_is_an_error(tmp_path: Path) -> None:
    held = HeldWeights()
    held.state["head.weight"][3, 5] = 1e7
    with pytest.raises(UserError, match="too large for Q8_0"):
        write_gguf(held, tmp_path / "model.gguf", "q8_0")


def test_a_value_beyond_fp16_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    held = HeldWeights(dtype=torch.bfloat16)
    held.state["head.weight"][3, 5] = 1e6
    with pytest.raises(UserError, match=r"head.weight holds .*, too large for F16 .* Use bf16 or f32"):
        write_gguf(held, tmp_path / "out" / "model.gguf", "f16")
    assert list((tmp_path / "out").iterdir()) == []
    written(tmp_path, held, "bf16")


def test_values_that_are_not_finite_leave_nothing(tmp_path: Path) -> None:
    held = HeldWeights()
    held.state["blocks.1.feed_forward.down.weight"][0, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        write_gguf(held, tmp_path / "out" / "model.gguf", "q4_0")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("type", ["f32", "bf16", "f16"])
def test_hugging_face_to_gguf_and_back_gives_the_same_weights_file(phi, tmp_path: Path, type: str) -> None:
    source, out, back = tmp_path / "source", tmp_path / "model.gguf", tmp_path / "back"
    random_checkpoint(tmp_path / "model")
    for arguments in (
        (tmp_path / "model", source, "--to", "huggingface", "--type", type),
        (source, out, "--to", "gguf"),
        (out, back, "--to", "huggingface"),
    ):
        done = phi("convert", *arguments)
        assert done.returncode == 0, done.stderr
    for path in source.iterdir():
        assert path.read_bytes() == (back / path.name).read_bytes(), path.name


def test_a_gguf_file_answers_as_the_folder_it_was_made_from(phi, tmp_path: Path) -> None:
    random_checkpoint(tmp_path / "model")
    assert phi("convert", tmp_path / "model", tmp_path / "m.gguf", "--to", "gguf", "--type", "f32").returncode == 0
    answers = [
        phi("generate", place, "--prompt", "the cat", "--raw", "--max-tokens", 20, "--json").stdout
        for place in (tmp_path / "model", tmp_path / "m.gguf")
    ]
    assert answers[0]
    assert answers[0] == answers[1]
