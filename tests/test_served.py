"""The search against a model that is asked for texts: by ids, and by the text of a prefix."""

from dataclasses import dataclass

import pytest
from preference_world import TOKENIZER, TabularCompleter, speaker

from phidelity.completion import Capabilities, SamplingParams, ScriptedCompleter
from phidelity.grading.judge import rules_judge
from phidelity.preference.oracles import by_judge
from phidelity.preference.served import Served
from phidelity.records import Problem

MODEL = speaker(q=(("Well, 7", 0.5), ("Now, 1", 0.5)))
PROMPT = (*TOKENIZER.encode("x"),)


@dataclass
class TextOnly:
    """Answers without ids, as endpoints give them; reads prompts of either kind."""

    inner: TabularCompleter
    with_logprobs: bool = True
    name: str = "far"
    capabilities = Capabilities()

    def complete(self, prompts, params, on_done=None):
        ids = [TOKENIZER.encode_with_specials(p) if isinstance(p, str) else p for p in prompts]
        done = self.inner.complete([tuple(one) for one in ids], params)
        return [
            one.model_copy(update={"tokens": (), "logprobs": one.logprobs if self.with_logprobs else ()})
            for one in done
        ]


def chat(question, said=""):
    text = f"<|im_start|>user<|im_sep|>{question}<|im_end|><|im_start|>assistant<|im_sep|>{said}"
    return tuple(TOKENIZER.encode_with_specials(text))


@pytest.mark.parametrize("prefix", ["ids", "text"])
@pytest.mark.parametrize("with_logprobs", [True, False])
def test_texts_come_back_as_ids_with_a_log_probability_each(prefix, with_logprobs):
    served = Served(TextOnly(TabularCompleter(MODEL), with_logprobs), TOKENIZER, prefix)
    params = SamplingParams(temperature=1.0, max_tokens=20, seed=3)
    near = TabularCompleter(MODEL).complete([chat("q 1"), chat("q 1", "We")], params)
    far = served.complete([chat("q 1"), chat("q 1", "We")], params)
    assert [one.tokens for one in far] == [one.tokens for one in near]
    assert far[1].tokens[-1] == TOKENIZER.im_end
    for one, same in zip(far, near, strict=True):
        assert one.logprobs == (same.logprobs if with_logprobs else (-1.0,) * len(one.tokens))


def test_a_judge_decides_by_accuracy_and_what_is_off_format_decides_nothing():
    problem = Problem(id="p", prompt="2+2?", reference="4", checker="number")
    oracle = by_judge(rules_judge())
    assert [oracle(problem, text).value for text in ("Answer: 4", "Answer: 5")] == [1.0, 0.0]
    assert by_judge(ScriptedCompleter(lambda *_: "Surely right!"))(problem, "Answer: 4").value is None
