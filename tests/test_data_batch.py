import random

import numpy as np
import pytest
import torch

from phidelity.config import UserError
from phidelity.data.batch import PADDING, Batch, assemble, pack, pack_rows, waste, windows


def piece(ids):
    return np.array(ids), np.ones(len(ids) - 1, dtype=np.float32)


def test_a_row_of_two_documents_is_laid_out_by_hand():
    batch = assemble([[piece([5, 6, 7, 99]), piece([8, 99])]], 6)
    assert batch.tokens.tolist() == [[5, 6, 7, 8, 0, 0]]
    assert batch.targets.tolist() == [[6, 7, 99, 99, 0, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 0, 0]]
    assert batch.doc_ids.tolist() == [[0, 0, 0, 1, PADDING, PADDING]]
    assert batch.loss_mask.tolist() == [[1, 1, 1, 1, 0, 0]]
    assert batch.n_targets == 4
    assert batch.tokens.dtype == torch.long
    assert batch.loss_mask.dtype == torch.float32


def test_best_fit_fills_the_row_that_is_left_fullest():
    assert pack([4, 7, 3, 6, 2], 10) == [[0, 3], [1, 2], [4]]


def test_packing_places_every_piece_once_and_overfills_no_row():
    rng = random.Random("pack")
    lengths = [rng.randint(1, 64) for _ in range(2000)]
    rows = pack(lengths, 64)
    assert sorted(piece for row in rows for piece in row) == list(range(2000))
    assert all(sum(lengths[piece] for piece in row) <= 64 for row in rows)
    assert waste(rows, lengths, 64) < 0.015


def test_rows_come_in_the_order_of_their_first_piece():
    rows = pack([3, 9, 8, 2, 5, 5], 10)
    assert rows == sorted(rows)
    assert all(row == sorted(row) for row in rows)


def test_documents_that_fit_are_not_cut_and_longer_ones_lose_no_target():
    ends = np.cumsum([6, 1, 13, 12, 2])
    pieces = windows(ends, 5).tolist()
    assert pieces == [[0, 5], [7, 5], [12, 5], [17, 2], [20, 5], [25, 5], [30, 1], [32, 1]]
    targets = [start + 1 + i for start, length in pieces for i in range(length)]
    starts = {0, 6, 7, 20, 32}
    assert sorted(targets) == [t for t in range(34) if t not in starts]


def test_no_documents_have_no_windows():
    assert windows(np.zeros(0, dtype=np.int64), 8).shape == (0, 2)


def test_conversations_are_learnt_from_where_their_mask_says():
    batch = pack_rows([([1, 2, 3, 4], [0, 0, 1, 1]), ([7, 8], [1, 1])], 4)
    assert batch.tokens.tolist() == [[1, 2, 3, 7]]
    assert batch.targets.tolist() == [[2, 3, 4, 8]]
    assert batch.loss_mask.tolist() == [[0, 1, 1, 1]]
    assert batch.doc_ids.tolist() == [[0, 0, 0, 1]]


def test_a_conversation_over_the_context_is_refused_and_its_length_told():
    with pytest.raises(UserError, match=r"1 of 2 conversations exceed the context of 3 .*9 positions"):
        pack_rows([(list(range(10)), [1] * 10), ([1, 2], [1, 1])], 3)


def test_rows_of_a_batch_can_be_selected():
    batch = assemble([[piece([1, 2])], [piece([3, 4])], [piece([5, 6])]], 1)
    assert batch.select(slice(1, 3)).tokens.tolist() == [[3], [5]]
    assert batch.select([2, 0]).targets.tolist() == [[6], [2]]
    assert isinstance(batch.to("cpu"), Batch)
    assert len(batch) == 3
