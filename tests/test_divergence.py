"""Comparing models: the walk block by block equals the whole network, and equal models do not diverge."""

import json

import pytest
import torch
from checkpoint_world import random_checkpoint
from gguf_world import CONFIG, HeldWeights

from phidelity.checkpoint.blockwise import hidden_states, logits
from phidelity.checkpoint.weights import load
from phidelity.config import UserError
from phidelity.eval.divergence import by_blocks, divergence, windows_of
from phidelity.export.calibrate import importance
from phidelity.model.attention import CausalAttend

TOKENS = torch.randint(0, CONFIG.vocab_size, (150,), generator=torch.Generator().manual_seed(0)).tolist()


def test_a_block_at_a_time_gives_the_logits_of_the_whole_network() -> None:
    weights, windows = HeldWeights(), windows_of(TOKENS, CONFIG.context_len)
    assert [len(window) for window in windows] == [64, 64, 22]
    model = load(weights).model
    for window, states in zip(windows, hidden_states(weights, windows), strict=True):
        with torch.inference_mode():
            expected = model.logits(model(window[None], torch.arange(len(window))[None], CausalAttend()))[0]
        assert torch.allclose(logits(weights, states), expected, atol=1e-5)


def test_a_model_does_not_diverge_from_itself_and_does_from_another() -> None:
    windows = windows_of(TOKENS, CONFIG.context_len)
    first, second = (by_blocks(HeldWeights(seed=seed), windows) for seed in (0, 1))
    same = divergence(first, first, windows)
    assert same.kl == pytest.approx(0, abs=1e-9)
    assert same.same_top == 1
    assert same.perplexity == same.source_perplexity
    assert same.n_tokens == sum(len(window) - 1 for window in windows)
    assert divergence(first, second, windows).kl > 1e-4


def test_divergence_is_what_its_definition_says() -> None:
    windows = [torch.tensor([0, 1, 1])]
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    found = divergence(lambda _, a, b: p[a:b].log(), lambda _, a, b: q[a:b].log(), windows)
    assert found.kl == pytest.approx(0.5 * (0.5 * torch.tensor(2.0).log() + 0.5 * torch.tensor(2 / 3).log()).item())
    assert found.source_perplexity == pytest.approx((0.5 * 0.1) ** -0.5)
    assert found.perplexity == pytest.approx((0.75 * 0.1) ** -0.5)


def test_calibration_sees_the_inputs_of_every_matrix() -> None:
    weights = HeldWeights()
    found = importance(weights, windows_of(TOKENS, CONFIG.context_len))
    matrices = {name: shape for name, shape in weights.shapes.items() if len(shape) == 2 and name != "embed.weight"}
    assert {name: (len(values),) for name, values in found.items()} == {
        name: (shape[1],) for name, shape in matrices.items()
    }
    assert float(found["blocks.0.attention.qkv.weight"].mean()) == pytest.approx(
        float(weights.state["blocks.0.attention_norm.weight"].square().mean()), rel=0.5
    ), "inputs are normed"


def test_a_text_too_short_is_refused() -> None:
    with pytest.raises(UserError, match="no two tokens"):
        windows_of([5], 64)


def test_each_kind_of_matrix_is_rounded_alone(phi, tmp_path) -> None:
    random_checkpoint(tmp_path / "model")
    (tmp_path / "text.txt").write_text("the cat sat on the mat and 12 cats sat there " * 4)
    done = phi("bench", "sensitivity", tmp_path / "model", "--text", tmp_path / "text.txt", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["what"]: row["ours"] for row in json.loads(done.stdout)["rows"]}
    kinds = ("embed", "attention.qkv", "attention.out", "feed_forward.gate_up", "feed_forward.down", "head", "all")
    assert list(found) == [f"{to} {kind}" for to in ("q4", "q8") for kind in kinds]
    for kind in kinds:
        assert 0 < found[f"q8 {kind}"] < found[f"q4 {kind}"] < 0.1, kind
