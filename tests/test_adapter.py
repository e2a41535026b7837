"""Adapters: PEFT's folders in both layouts, over every kind of base, merged and not."""

import json
from pathlib import Path

import pytest
import torch
from checkpoint_world import CONFIG, TOKENIZER, random_checkpoint, random_model

from phidelity.checkpoint.adapter import (
    FUSED,
    SPLIT,
    MergedWeights,
    base_digest,
    check_targets,
    fresh_updates,
    read_adapter,
    write_adapter,
)
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.packed import PackedWeights
from phidelity.checkpoint.weights import load
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import LLM, lay_out
from phidelity.export.packed import write_packed
from phidelity.model.attention import CausalAttend
from phidelity.model.lora import Frozen, adapt, times, updates_of
from phidelity.model.quantized import QuantisedLinear
from phidelity.model.thrifty import thrifty
from phidelity.model.transformer import Transformer

TOKENS = torch.randint(0, 400, (2, 20), generator=torch.Generator().manual_seed(0))


def random_updates(targets: tuple[str, ...] = FUSED, rank: int = 4, seed: int = 3):
    updates = fresh_updates(CONFIG, targets, rank=rank, alpha=8, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for parts in updates.values():
        for update in parts:
            update.b.normal_(0, 0.1, generator=generator)
    return updates


def logits(model: Transformer) -> torch.Tensor:
    positions = torch.arange(TOKENS.shape[1]).expand_as(TOKENS)
    return model.logits(model(TOKENS, positions, CausalAttend()))


def write(folder: Path, updates, base: str = "b", layout="fused") -> Path:
    write_adapter(folder, updates, CONFIG, base=base, base_name="x", layout=layout, rank=4, alpha=8)
    return folder


def test_fresh_updates_change_nothing() -> None:
    model = random_model()
    with torch.no_grad():
        adapted = adapt(model, fresh_updates(CONFIG, FUSED, rank=4, alpha=8, seed=0))
        torch.testing.assert_close(logits(adapted), logits(model), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("targets", [FUSED, SPLIT, ("q_proj", "v_proj")])
def test_merged_equals_unmerged(targets: tuple[str, ...], tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    adapter = read_adapter(write(tmp_path / "a", random_updates(targets)), CONFIG)
    with torch.no_grad():
        merged = logits(load(MergedWeights(weights, adapter)).model)
        apart = logits(adapt(load(weights).model, adapter.updates))
        plain = logits(load(weights).model)
    torch.testing.assert_close(apart, merged, atol=1e-5, rtol=1e-5)
    assert (merged - plain).abs().max() > 0.01


def test_a_fused_adapter_written_split_is_the_same(tmp_path: Path) -> None:
    updates = random_updates()
    fused, split = write(tmp_path / "fused", updates), write(tmp_path / "split", updates, layout="split")
    assert json.loads((split / "adapter_config.json").read_text())["target_modules"] == sorted(SPLIT)
    with torch.no_grad():
        one, other = (logits(adapt(random_model(), read_adapter(folder, CONFIG).updates)) for folder in (fused, split))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_what_is_trained_is_read_back(tmp_path: Path) -> None:
    updates = random_updates(SPLIT)
    trained = updates_of(adapt(random_model(), updates, trains=True))
    read = read_adapter(write(tmp_path / "a", trained), CONFIG).updates
    assert trained.keys() == read.keys() == updates.keys()
    for name, parts in read.items():
        for one, other in zip(parts, updates[name], strict=True):
            assert one.start == other.start
            assert one.scale == other.scale
            assert torch.equal(one.a, other.a)
            assert torch.equal(one.b, other.b)


def packed_model(folder: Path, to) -> Transformer:
    write_packed(open_weights(random_checkpoint(folder / "base")), folder / to, to)
    return PackedWeights(folder / to).load().model


@pytest.mark.parametrize("to", ["q4", "q8"])
def test_rows_are_opened_as_they_are_stored(to, tmp_path: Path) -> None:
    head = packed_model(tmp_path, to).blocks[0].down
    whole = head.packed.dequantised()
    for start, stop in ((0, 64), (5, 33), (16, 17)):
        torch.testing.assert_close(head.rows(start, stop), whole[start:stop], atol=1e-7, rtol=1e-6)
    y = torch.randn(7, whole.shape[0])
    torch.testing.assert_close(times(y, head), y @ whole, atol=1e-5, rtol=1e-5)


def test_gradients_over_a_frozen_base_are_those_of_its_open_weights(tmp_path: Path) -> None:
    """The forward product rounds tokens to bytes, so of q8 the two agree to about a percent, and in direction."""
    packed = packed_model(tmp_path, "q8")
    with torch.device("meta"):
        opened = Transformer(CONFIG)
    weights = PackedWeights(tmp_path / "q8")
    opened.load_state_dict(
        {name: weights.rows(name, 0, shape[0]) for name, shape in weights.shapes.items()}, assign=True
    )
    found = []
    for model in (packed, opened):
        adapted = adapt(model, random_updates(), trains=True)
        adapted = thrifty(adapted) if model is packed else adapted
        logits(adapted)[..., :100].square().mean().backward()
        found.append(torch.cat([p.grad.flatten() for p in adapted.parameters() if p.requires_grad]))
        assert all(p.grad is None for p in adapted.parameters() if not p.requires_grad)
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.999
    assert (found[0] - found[1]).norm() < 0.03 * found[1].norm()


@pytest.mark.parametrize("kind", ["fp32", "q4"])
@pytest.mark.parametrize("targets", [FUSED, SPLIT, ("qkv_proj",), ("down_proj",)])
def test_a_thrifty_block_has_the_values_and_gradients_of_the_plain_one(kind: str, targets, tmp_path: Path) -> None:
    base = packed_model(tmp_path, "q4") if kind == "q4" else random_model()
    limit = 1e-2 if kind == "q4" else 1e-5  # a last bit may round a token's byte the other way
    found = []
    for piece in (None, 1, 7, 256):
        model = adapt(base, random_updates(targets), trains=True)
        model = thrifty(model, piece) if piece else model
        x = logits(model)
        x.square().mean().backward()
        found.append((x.detach(), [p.grad for p in model.parameters() if p.requires_grad]))
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    for x, gradients in found[1:]:
        assert (x - found[0][0]).norm() <= limit * x.norm()
        for mine, plain in zip(gradients, found[0][1], strict=True):
            assert (mine - plain).norm() <= limit * plain.norm()


def test_recomputation_does_not_repeat_the_last_product(tmp_path: Path) -> None:
    model = thrifty(adapt(packed_model(tmp_path, "q4"), random_updates(), trains=True))
    calls = dict.fromkeys(("qkv", "down"), 0)

    def counted(name: str):
        def hook(*_) -> None:
            calls[name] += 1

        return hook

    for name in calls:
        product = getattr(model.blocks[1], name).base
        assert isinstance(product, Frozen)
        assert isinstance(product.linear, QuantisedLinear)
        product.register_forward_hook(counted(name))
    logits(model).sum().backward()
    assert calls == {"qkv": 2, "down": 1}


@pytest.mark.parametrize("kind", ["dense", "q8"])
def test_the_engine_answers_as_the_merged_model(kind: str, tmp_path: Path) -> None:
    updates = random_updates()
    base = packed_model(tmp_path, "q8") if kind == "q8" else lay_out(random_model())
    llm = LLM(adapt(base, updates), TOKENIZER, "adapted", n_running=4, cache_bytes=1 << 22)
    rows = [tuple(row.tolist()) for row in TOKENS]
    together = llm.logprobs(rows)
    assert together[0] == llm.logprobs(rows[:1])[0]  # companions change no bit
    with torch.no_grad():
        expected = logits(adapt(base if kind == "q8" else random_model(), updates)).log_softmax(-1)
    for row, scores, reference in zip(rows, together, expected, strict=True):
        picked = reference[torch.arange(len(row) - 1), torch.tensor(row[1:])]
        torch.testing.assert_close(torch.tensor(scores), picked, atol=1e-3, rtol=1e-3)
    assert llm.complete([rows[0]], SamplingParams(max_tokens=4))[0].tokens
    llm.close()


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    folder = write(tmp_path / "a", random_updates(), base="0123456789abcdef")
    with pytest.raises(UserError, match=f"hash 0123456789abcdef; this one has {weights.digest}"):
        read_adapter(folder, CONFIG, base_digest(weights))


def test_a_packed_base_is_known_by_what_it_was_made_from(tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    write_packed(weights, tmp_path / "q4", "q4")
    assert base_digest(PackedWeights(tmp_path / "q4")) == weights.digest


def test_an_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", random_updates())
    wide = CONFIG.model_copy(update={"d_ff": 256})
    with pytest.raises(UserError, match=r"448 x 64; this model has 512 x 64\. It is of another base"):
        read_adapter(folder, wide)


@pytest.mark.parametrize(
    ("key", "value"), [("use_dora", True), ("modules_to_save", ["lm_head"]), ("peft_type", "IA3"), ("bias", "all")]
)
def test_other_methods_of_peft_are_refused_by_name(key: str, value, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", random_updates())
    settings = json.loads((folder / "adapter_config.json").read_text()) | {key: value}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=key):
        read_adapter(folder, CONFIG)


def test_no_matching_target_lists_what_there_is() -> None:
    with pytest.raises(UserError, match=r"'Wqkv'; expected of qkv_proj, o_proj, gate_up_proj, down_proj"):
        check_targets(["Wqkv"], CONFIG)
    with pytest.raises(UserError, match="qkv_proj and q_proj"):
        check_targets(["q_proj,qkv_proj"], CONFIG)
    assert check_targets(["q_proj,v_proj"], CONFIG) == ("q_proj", "v_proj")
    assert check_targets(["all-linear"], CONFIG) == FUSED
