"""Supervised fine-tuning: weights of turns, rows of which nothing is trained, noise, and packing without leakage."""

import pytest
import torch
from test_train import TOKENIZER, a_model

from phidelity.config import UserError
from phidelity.data.batch import pack_rows
from phidelity.data.look import PLAIN, TRAINED, show
from phidelity.pipeline.sft import encode
from phidelity.records import Conversation, Message
from phidelity.train.neftune import noise, noisy
from phidelity.train.tokens import token_objective


def chat(number: int = 0, weights: tuple[int, ...] = (), n_turns: int = 4) -> Conversation:
    turns = [("user", "red"), ("assistant", "yes" + " blue" * number), ("user", "green"), ("assistant", "no")]
    messages = [{"role": role, "content": content} for role, content in turns[-n_turns:]]
    return Conversation.model_validate({"id": str(number), "messages": messages, "weights": weights})


def trained(conversation: Conversation, **options: bool) -> str:
    ((ids, mask),), _ = encode([conversation], TOKENIZER, 99, **options)
    return TOKENIZER.decode([i for i, is_trained in zip(ids, mask, strict=True) if is_trained])


def test_turns_are_trained_by_weight_or_all_or_the_last_alone() -> None:
    assert trained(chat()) == "yes<|im_end|>no<|im_end|>"
    assert trained(chat(weights=(1, 1, 1, 0))) == "yes<|im_end|>"
    assert trained(chat(), last_only=True) == "no<|im_end|>"
    assert trained(chat(weights=(0, 1, 0, 0)), last_only=True) == "yes<|im_end|>"


def test_chats_that_train_nothing_are_counted_and_many_of_them_are_an_error() -> None:
    nothing = chat(weights=(1, 0, 1, 0))
    rows, dropped = encode([chat()] * 100 + [nothing], TOKENIZER, 99)
    assert (len(rows), dropped) == (100, {"too long": 0, "nothing trained": 1, "ends mid-turn": 0})
    with pytest.raises(UserError, match="Of 3 conversations 1 train nothing"):
        encode([chat(), chat(), nothing], TOKENIZER, 99)


def test_packed_chats_have_the_loss_and_gradient_of_each_alone() -> None:
    model = a_model()
    rows, _ = encode([chat(n_turns=2 + 2 * (n == 0)) for n in range(6)], TOKENIZER, 64)
    packed = pack_rows(rows, 64)
    assert len(packed) < len(rows)
    apart = [pack_rows([row], 64) for row in rows]
    weights = [model.head.weight, model.embed.weight, model.blocks[0].feed_forward.down.weight]
    one = token_objective(model, packed)
    many = [token_objective(model, batch) for batch in apart]
    torch.testing.assert_close(one.total, torch.stack([loss.total for loss in many]).sum(), atol=1e-5, rtol=1e-5)
    assert one.n == sum(loss.n for loss in many)
    for ours, theirs in zip(
        torch.autograd.grad(one.total, weights),
        torch.autograd.grad(torch.stack([loss.total for loss in many]).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_noise_is_bounded_by_the_length_of_the_document_and_a_function_of_the_row() -> None:
    rows, _ = encode([chat(0), chat(5, n_turns=2)], TOKENIZER, 128)
    batch = pack_rows(rows, 128)
    assert len(batch) == 1
    found = noise(batch, 32, 5.0, seed=1)
    for number in range(2):
        here = batch.doc_ids == number
        bound = 5.0 / (int(here.sum()) * 32) ** 0.5
        assert 0.9 * bound < found[here].abs().max().item() <= bound
    assert torch.equal(found, noise(batch, 32, 5.0, seed=1))
    assert not torch.equal(found, noise(batch, 32, 5.0, seed=2))


def test_noise_of_strength_0_and_evaluation_change_nothing() -> None:
    model = a_model()
    batch = pack_rows(encode([chat(0), chat(5)], TOKENIZER, 64)[0], 64)
    plain = token_objective(model, batch).total
    model.train()
    assert torch.equal(noisy(token_objective, 0.0, 1)(model, batch).total, plain)
    assert not torch.equal(noisy(token_objective, 5.0, 1)(model, batch).total, plain)
    assert torch.equal(token_objective(model, batch).total, plain), "the noise is gone after its step"
    model.eval()
    assert torch.equal(noisy(token_objective, 5.0, 1)(model, batch).total, plain)


def test_looking_at_a_chat_colours_what_is_trained() -> None:
    shown = show(chat(weights=(1, 0, 1, 1)), TOKENIZER)
    assert shown.count(TRAINED) == 1
    assert f"{TRAINED}no<|im_end|>{PLAIN}" in shown
    assert "<|im_start|>user<|im_sep|>green" in shown
    turns = show(
        Conversation(id="a", messages=(Message(role="user", content="u"), Message(role="assistant", content="v")))
    )
    assert turns == f"--- a ()\nuser: u\nassistant: {TRAINED}v{PLAIN}"
