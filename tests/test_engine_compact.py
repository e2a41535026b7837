"""Keys and values in bytes: the same law as ever (companions and chunks change nothing), and near the floats."""

import numpy as np
import pytest
import torch
from gguf_world import HeldWeights

from phidelity.checkpoint.packed import PackedWeights
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.engine.compact import ByteCache, can_hold_bytes
from phidelity.engine.llm import LLM
from phidelity.export.packed import write_packed
from phidelity.model.config import ModelConfig

CONFIG = ModelConfig(
    n_layers=2, d_model=128, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=410, context_len=256, rope_theta=1e4
)
GREEDY = SamplingParams(max_tokens=12, ignore_end=True, logprobs=0)
pytestmark = pytest.mark.skipif(not can_hold_bytes(CONFIG), reason="no C compiler: kernels do not serve")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedWeights:
    weights = HeldWeights(CONFIG)
    for name, tensor in weights.state.items():
        weights.state[name] = tensor * 3 if tensor.ndim == 2 else tensor + 1
    folder = tmp_path_factory.mktemp("packed") / "model"
    write_packed(weights, folder, "q8")
    return PackedWeights(folder)


def engine(packed: PackedWeights, **options) -> LLM:
    checkpoint = packed.load()
    name = checkpoint.digest
    return LLM(checkpoint.model, checkpoint.tokenizer, name, digest=name, n_running=8, cache_bytes=1 << 22, **options)


def prompts(n: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, 400, length).tolist()) for length in rng.integers(3, 150, n)]


def test_alone_or_in_company_whole_or_in_pieces_the_answer_has_the_same_bits(packed: PackedWeights) -> None:
    many, alone = engine(packed, cache_format="int8"), engine(packed, cache_format="int8", speculate=False)
    asked = prompts(12)
    together = many.complete(asked, GREEDY)
    for prompt, found in zip(asked, together, strict=True):
        (expected,) = alone.complete([prompt], GREEDY)
        assert (found.tokens, found.logprobs) == (expected.tokens, expected.logprobs)
    again = many.complete(asked, GREEDY)  # from the prefix cache
    assert [one.logprobs for one in again] == [one.logprobs for one in together]
    many.close()
    alone.close()


def test_bytes_are_near_floats(packed: PackedWeights) -> None:
    floats, rounded = engine(packed), engine(packed, cache_format="int8")
    asked = prompts(4)
    for one, other in zip(floats.logprobs(asked), rounded.logprobs(asked), strict=True):
        assert np.abs(np.subtract(one, other)).mean() < 0.15
    assert floats.logprobs(asked) != rounded.logprobs(asked)


def test_blocks_leave_and_come_back_whole() -> None:
    cache = ByteCache(CONFIG, 4)
    rng = torch.Generator().manual_seed(0)
    block = torch.randint(0, 256, cache.get(0).shape, dtype=torch.uint8, generator=rng)
    assert block.shape == (2, 2, 2, 32, 16 + 4)
    cache.put(2, block)
    cache.copy(2, 3)
    assert torch.equal(cache.get(2), block)
    assert torch.equal(cache.get(3), block)
    cache.clear([2])
    assert not cache.get(2).any()


def test_a_spilled_prefix_is_found_again(packed: PackedWeights, tmp_path) -> None:
    prompt = prompts(1)[0] * 3
    first = engine(packed, cache_format="int8", spill=tmp_path)
    (expected,) = first.complete([prompt[:150]], GREEDY)
    first.close()
    second = engine(packed, cache_format="int8", spill=tmp_path)
    (found,) = second.complete([prompt[:150]], GREEDY)
    assert (found.tokens, found.logprobs) == (expected.tokens, expected.logprobs)
    second.close()


def test_heads_that_kernels_cannot_hold_are_refused() -> None:
    with pytest.raises(UserError, match="int8 cache was asked for, but heads are 8 wide"):
        ByteCache(CONFIG.model_copy(update={"n_heads": 16}), 4)
