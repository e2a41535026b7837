"""lm-evaluation-harness over our engine: the same numbers as scoring directly (`make parity`)."""

import json
import math
from typing import Any, NamedTuple

import pytest
import torch

from phidelity.completion import SamplingParams
from phidelity.engine.llm import LLM
from phidelity.eval.likelihood import bits_per_byte, choice_scores
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.records import Conversation, Message, Problem
from phidelity.tokenizer.bpe import train

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

CONTEXT = 64


class Request(NamedTuple):
    """What the harness hands over."""

    args: tuple[Any, ...]


@pytest.fixture(scope="module")
def llm():
    tokenizer = train(["The cat sat on the mat. A dog ran to the house and back again. 1 + 1 = 2."] * 20, 400)
    config = ModelConfig(
        n_layers=2,
        d_model=64,
        n_heads=4,
        n_kv_heads=2,
        d_ff=128,
        vocab_size=tokenizer.vocab_size,
        context_len=CONTEXT,
        rope_theta=1e4,
    )
    model = Transformer(config).initialise(torch.Generator().manual_seed(0)).requires_grad_(False)
    return LLM(model, tokenizer, "tiny")


@pytest.fixture(scope="module")
def harness(llm):
    pytest.importorskip("lm_eval")
    from phidelity.eval.lm_eval import HarnessModel

    return HarnessModel(llm)


def test_a_continuations_log_probability_is_ours(harness, llm):
    pairs = [("The cat sat", " on the mat."), ("A dog ", "ran"), ("1 + 1 =", " 2")]
    for (context, continuation), (value, is_greedy) in zip(
        pairs, harness.loglikelihood([Request(pair) for pair in pairs]), strict=True
    ):
        ids = tuple(llm.tokenizer.encode(context + continuation))
        n = len(ids) - len(llm.tokenizer.encode(context.rstrip()))
        assert value == pytest.approx(sum(llm.logprobs([ids])[0][-n:]), abs=1e-4)
        (said,) = llm.complete([ids[:-n]], SamplingParams(max_tokens=n))
        assert is_greedy == (said.tokens == ids[-n:])


def test_the_greedy_continuation_is_known_as_such(harness, llm):
    context = tuple(llm.tokenizer.encode("The cat"))
    (said,) = llm.complete([context], SamplingParams(max_tokens=3))
    ((_, is_greedy),) = harness._score([(context, said.tokens)])
    assert is_greedy


def test_a_rolling_text_counts_every_token_once(harness, llm):
    short = "The cat sat on the mat."
    ids = (llm.tokenizer.endoftext, *llm.tokenizer.encode(short))
    (value,) = harness.loglikelihood_rolling([Request((short,))])
    assert value == pytest.approx(sum(llm.logprobs([ids])[0]), abs=1e-4)
    long = "A dog ran to the house and back again. " * 16
    n = len(llm.tokenizer.encode(long))
    assert n > 2 * CONTEXT
    (whole,) = harness.loglikelihood_rolling([Request((long,))])
    assert -n * 15 < whole < -n * 1


def test_answers_are_the_engines(harness, llm):
    setting = {"until": ["."], "max_gen_toks": 12, "do_sample": False}
    said = harness.generate_until([Request(("The cat", setting)), Request(("A dog", setting))])
    params = SamplingParams(max_tokens=12, stop=(".",))
    assert said == [one.text for one in llm.complete(["The cat", "A dog"], params)]
    chat = harness.apply_chat_template([{"role": "user", "content": "The cat?"}])
    (answer,) = harness.generate_until([Request((chat, {"max_gen_toks": 8}))])
    asked = Conversation(id="", messages=(Message(role="user", content="The cat?"),))
    assert answer == llm.complete([asked], SamplingParams(max_tokens=8))[0].text


def test_a_whole_task_of_the_harness_gives_our_accuracy(harness, llm, tmp_path):
    import lm_eval

    rows = [
        {"question": f"The {who} sat on", "options": ["the mat", "a dog and a house", "2"], "answer": n % 3}
        for n, who in enumerate(["cat", "dog", "house", "mat", "back", "cat and dog"] * 3)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "made_up",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    found = lm_eval.simple_evaluate(model=harness, tasks=[task], bootstrap_iters=0)["results"]["made_up"]
    problems = [
        Problem(id=str(n), prompt="", reference="ABC"[row["answer"]], checker="letter", meta=row)
        for n, row in enumerate(rows)
    ]
    scores = choice_scores(llm, llm.tokenizer, problems)
    gold = [row["answer"] for row in rows]
    raw = [max(range(3), key=one["sum"].__getitem__) for one in scores]
    # the harness divides by the characters of the option, ours by its bytes with the blank before it
    sizes = [[len(option) for option in row["options"]] for row in rows]
    norm = [max(range(3), key=lambda k, o=o, s=s: o["sum"][k] / s[k]) for o, s in zip(scores, sizes, strict=True)]
    assert found["acc,none"] == pytest.approx(sum(a == b for a, b in zip(raw, gold, strict=True)) / len(gold))
    assert found["acc_norm,none"] == pytest.approx(sum(a == b for a, b in zip(norm, gold, strict=True)) / len(gold))


def test_bits_per_byte_follow_from_the_rolling_number(llm, harness):
    text = "The cat sat on the mat."
    found = bits_per_byte(llm, llm.tokenizer, [text])
    ids = llm.tokenizer.encode(text)
    first = harness._score([((llm.tokenizer.endoftext,), (ids[0],))])[0][0]
    n_bytes = len(text.encode()) - len(llm.tokenizer.decode(ids[:1]).encode())
    assert found.n_bytes == n_bytes
    assert math.isfinite(first)
    assert found.bits_per_byte == pytest.approx(-sum(llm.logprobs([tuple(ids)])[0]) / math.log(2) / n_bytes)
