"""Float32 blocks on the kernels equal the plain ones, and a token's bits are its own, with every instruction set."""

import copy

import numpy as np
import pytest
import torch

from phidelity.engine.cache import BlockCache
from phidelity.engine.paged import PagedAttend
from phidelity.engine.runner import Runner
from phidelity.kernels.library import Library
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.dense import dense
from phidelity.model.transformer import Transformer

SHAPES = ((64, 8, 2, 224, 416), (96, 4, 4, 100, 77), (120, 6, 1, 50, 33), (144, 2, 1, 70, 64))
"""Widths, heads, KV heads, feed-forward widths and vocabularies: heads of 8 to 72, strips that are not full."""


def random_model(shape: tuple[int, int, int, int, int]) -> Transformer:
    d_model, n_heads, n_kv_heads, d_ff, vocab_size = shape
    config = ModelConfig(
        n_layers=2, d_model=d_model, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=d_ff, vocab_size=vocab_size,
        context_len=128, rope_theta=10_000.0,
    )  # fmt: skip
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(3 if parameter.ndim == 2 else 1.1)
    return model


def packed(model: Transformer) -> Transformer:
    found = dense(model)
    assert found
    return found


@torch.inference_mode()
def logits(model: Transformer, tokens: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens.shape[1])[None].expand_as(tokens)
    return model.logits(model(tokens, positions, CausalAttend()))


@torch.inference_mode()
def paged_logits(
    model: Transformer, library: Library, tokens: torch.Tensor, order: list[tuple[int, int, int]]
) -> torch.Tensor:
    """Logits of rows of tokens [B, T] fed in steps, each a list of (row, first, end)."""
    n_rows, n_time = tokens.shape
    n_pages = -(-n_time // 32)
    cache = BlockCache(model.config, 1 + n_rows * n_pages, torch.float32, torch.device("cpu"))
    cache.data.fill_(float("nan"))  # what was never written must not be read
    tables = 1 + np.random.default_rng(0).permutation(n_rows * n_pages).reshape(n_rows, n_pages)
    result = torch.zeros(n_rows, n_time, model.config.vocab_size)
    for row, first, end in order:
        positions = np.arange(first, end)
        attend = PagedAttend(cache, library, tables, np.full(end - first, row), positions)
        x = model(tokens[row, first:end, None], torch.from_numpy(positions)[:, None], attend)[:, 0]
        result[row, first:end] = model.logits(x)
    return result


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_the_plain_blocks(isa: str, shape: tuple[int, int, int, int, int]) -> None:
    model = random_model(shape)
    tokens = torch.arange(90).view(2, 45) * 7 % model.config.vocab_size
    assert torch.allclose(logits(packed(model), tokens), logits(model, tokens), atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_over_blocks_equals_plain_attention_in_any_chunks_bit_for_bit(
    isa: str, library: Library, shape: tuple[int, int, int, int, int]
) -> None:
    model = random_model(shape)
    tokens = torch.arange(140).view(2, 70) * 11 % model.config.vocab_size
    served = packed(model)
    whole = paged_logits(served, library, tokens, [(0, 0, 70), (1, 0, 70)])
    assert torch.allclose(whole, logits(model, tokens), atol=1e-4)
    library.set_threads(3)
    singly = [(row, at, at + 1) for at in range(70) for row in (0, 1)]
    assert torch.equal(paged_logits(served, library, tokens, singly), whole)
    parts = [(row, first, end) for first, end in ((0, 1), (1, 33), (33, 70)) for row in (1, 0)]
    assert torch.equal(paged_logits(served, library, tokens, parts), whole)


def test_the_number_of_rows_and_threads_changes_no_bit(isa: str, library: Library) -> None:
    served = packed(random_model(SHAPES[0]))
    x = torch.randn(230, 64, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([served.head(row[None])[0] for row in x])
    for n_threads in (1, 2, 5):
        library.set_threads(n_threads)
        for n in (2, 7, 12, 13, 64, 193, 230):
            assert torch.equal(served.head(x[:n]), expected[:n])


def test_a_row_that_is_not_finite_spoils_no_other(isa: str, library: Library) -> None:
    model = random_model(SHAPES[0])
    tokens = torch.arange(80).view(2, 40) + 1
    healthy = paged_logits(packed(model), library, tokens, [(0, 0, 40), (1, 0, 40)])
    model.embed.weight.data[int(tokens[0, 20])] = float("nan")
    broken = paged_logits(packed(model), library, tokens, [(0, 0, 40), (1, 0, 40)])
    assert torch.equal(broken[1], healthy[1])
    assert torch.equal(broken[0, :20], healthy[0, :20])
    assert broken[0, 20:].isnan().all()


def test_queries_keys_and_values_that_lie_apart_are_taken_up_too(library: Library) -> None:
    served = packed(random_model(SHAPES[0]))
    c = served.config
    generator = torch.Generator().manual_seed(2)
    parts = [torch.randn(3, n, 1, c.head_dim, generator=generator) for n in (c.n_heads, c.n_kv_heads, c.n_kv_heads)]
    glued = torch.cat(parts, 1).contiguous()
    results = []
    for q, k, v in (parts, glued.split((c.n_heads, c.n_kv_heads, c.n_kv_heads), 1)):
        cache = BlockCache(c, 2, torch.float32, torch.device("cpu"))
        attend = PagedAttend(cache, library, np.array([[1]]), np.zeros(3, dtype=np.int64), np.arange(3))
        results.append(attend(0, q, k, v).contiguous())
    assert torch.equal(*results)


def test_released_matrices_are_gone_and_the_packed_model_answers_alike() -> None:
    model = random_model(SHAPES[0])
    tokens = torch.arange(20)[None]
    expected = logits(packed(copy.deepcopy(model)), tokens)
    served = dense(model, release=True)
    assert served
    assert model.head.weight is None
    assert model.blocks[0].attention.qkv.weight is None
    assert torch.equal(logits(served, tokens), expected)


def test_an_engine_takes_a_packed_model_as_it_is_and_holds_its_matrices_once() -> None:
    model = packed(random_model(SHAPES[0]))
    assert Runner(model, n_rows=1, cache_bytes=1 << 20, context_len=64).model is model


def test_other_dtypes_and_packed_models_are_left_to_others() -> None:
    model = random_model(SHAPES[0])
    assert dense(packed(model)) is None
    assert dense(model.to(torch.bfloat16)) is None
