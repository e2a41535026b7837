"""Packed documents on every attention: equal to the mask, isolated exactly, and only the needed blocks computed."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_train import a_model

from phidelity.data.batch import Batch, pack_rows
from phidelity.model.attention import Attend, CausalAttend, document_mask
from phidelity.model.documents import BLOCK, FlexAttend, VarlenAttend, block_mask, document_numbers, packed_attend

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def by_document(q, k, v, bounds, _, longest, __, *, window_size, enable_gqa):
    """What torch's varlen kernel computes, a document at a time: [N, heads, D] each."""
    assert window_size == (-1, 0), "causal"
    assert longest == int(bounds.diff().max())
    pieces = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        heads = [x[start:end].transpose(0, 1)[None] for x in (q, k, v)]
        y = F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=enable_gqa)
        pieces.append(y[0].transpose(0, 1))
    return torch.cat(pieces)


ATTENDS: dict[str, Callable[[torch.Tensor], Attend]] = {
    "mask": CausalAttend,
    "varlen": lambda doc_ids: VarlenAttend(doc_ids, "cpu", by_document),
    "flex": lambda doc_ids: FlexAttend(doc_ids, "cpu"),
}


def ragged(length: int, n: int = 40, context_len: int = 300) -> Batch:
    generator = torch.Generator().manual_seed(length)
    lengths = torch.randint(3, length, (n,), generator=generator).tolist()
    return pack_rows(
        [(torch.randint(0, 300, (m,), generator=generator).tolist(), [1] * m) for m in lengths], context_len
    )


@pytest.mark.parametrize("name", ["varlen", "flex"])
@pytest.mark.parametrize("length", [20, 300])
def test_every_attention_equals_the_mask(name: str, length: int) -> None:
    doc_ids = ragged(length).doc_ids
    b, t = doc_ids.shape
    q, k, v = (torch.randn(b, heads, t, 16) for heads in (4, 2, 2))
    with torch.no_grad():
        assert torch.allclose(ATTENDS[name](doc_ids)(0, q, k, v), CausalAttend(doc_ids)(0, q, k, v), atol=2e-6)


@pytest.mark.parametrize("name", ATTENDS)
def test_a_changed_document_changes_no_bit_of_another(name: str) -> None:
    model, batch = a_model(), ragged(30, 12, 64)
    first = batch.doc_ids == batch.doc_ids[:, :1]
    changed = batch.tokens.masked_fill(first, 7)
    with torch.no_grad():
        before, after = (model(t, batch.positions, ATTENDS[name](batch.doc_ids)) for t in (batch.tokens, changed))
    assert torch.equal(before[~first], after[~first])
    assert not torch.equal(before[first], after[first])


@pytest.mark.parametrize(("length", "context_len"), [(20, 300), (200, 300), (900, 1024)])
def test_blocks_are_skipped_and_taken_whole_where_the_mask_says_so(length: int, context_len: int) -> None:
    doc_ids = ragged(length, 30, context_len).doc_ids
    allowed = F.pad(
        document_mask(doc_ids, torch.float32)[:, 0] == 0, (0, -context_len % BLOCK, 0, -context_len % BLOCK)
    )
    blocks = allowed.unflatten(1, (-1, BLOCK)).unflatten(3, (-1, BLOCK))  # [B, n, BLOCK, n, BLOCK]
    mask = block_mask(document_numbers(doc_ids))
    assert torch.equal(mask.to_dense()[:, 0].bool(), blocks.any(4).any(2))
    whole = mask.full_kv_num_blocks[:, 0]
    assert int(whole.sum()) <= int(blocks.all(4).all(2).sum())
    if context_len % BLOCK == 0:
        assert torch.equal(whole.long(), blocks.all(4).all(2).sum(-1))


def test_the_cpu_adds_a_mask() -> None:
    assert isinstance(packed_attend(ragged(20).doc_ids, torch.float32, torch.device("cpu")), CausalAttend)
