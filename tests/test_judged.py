import json
import random

import pytest
from preference_world import TOKENIZER, TabularCompleter, files_of, speaker, write_world

from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.config import UserError
from phidelity.grading.judge import Duel, Verdict, read_case, rules_judge
from phidelity.pipeline.judged_pairs import JudgedPairsConfig, OtherConfig, judged_pairs
from phidelity.preference.audit import audit, error_rate, known_couples
from phidelity.preference.judged import Both, JudgedConfig, Response, better, judged_pairs_of, settle
from phidelity.preference.known import KnownConfig
from phidelity.preference.questions import ask
from phidelity.preference.served import Chatting
from phidelity.records import PreferencePair, Problem, read_records

PROBLEM = Problem(id="p", prompt="sum question", reference="7", checker="number")


def verdict(accuracy=3, style=3, detail=3):
    return Verdict(accuracy=accuracy, style=style, detail=detail)


def responses(*texts):
    return [
        Response(PROBLEM, (*TOKENIZER.encode(text), TOKENIZER.im_end), text, "policy", "7" in text) for text in texts
    ]


NOTHING = {"comprehension": [], "logic": [], "factual": [], "style": []}


def duel(first, second):
    faults = {"first": NOTHING, "second": NOTHING}
    return Duel.model_validate({"faults": faults, "discussion": "", "first": first, "second": second})


def marking(marks, name="marking"):
    """A judge that gives each answer its marks wherever it stands; one without marks makes it say something else."""

    def reply(prompt, _):
        given = [marks[text] for text in read_case(prompt).responses]
        return duel(*given).model_dump_json() if all(given) else "Hard to say."

    return ScriptedCompleter(reply, name=name)


def made(verdicts, seed=0, judge=None, **config):
    marks = {f"answer {i}": one for i, one in enumerate(verdicts)}
    settings = JudgedConfig(**{"pairs_per_question": 99, "couples_per_question": 99} | config)
    return judged_pairs_of(
        {"p": responses(*marks)}, judge or marking(marks), SamplingParams(), config=settings, tokenizer="t", seed=seed
    )


def test_accuracy_decides_one_set_and_the_mean_of_three_the_other():
    right_but_ugly, wrong_but_fine = verdict(5, 1, 1), verdict(1, 5, 5)
    assert better(right_but_ugly, wrong_but_fine, "accuracy") == 1
    assert better(right_but_ugly, wrong_but_fine, "overall") == -1


@pytest.mark.parametrize("subset", ["accuracy", "overall"])
def test_swapping_two_answers_swaps_the_label_and_equal_ones_tie(subset):
    marks = [verdict(a, s, d) for a in (1, 3, 5) for s in (2, 4) for d in (1, 5)]
    for first in marks:
        assert better(first, first, subset) == 0
        for second in marks:
            assert better(first, second, subset) == -better(second, first, subset)


def test_pairs_hold_whole_answers_with_their_end_token():
    judged = made([verdict(5), verdict(1), verdict(3)], accuracy_share=1.0)
    assert len(judged.pairs) == 3
    for pair in judged.pairs:
        assert pair.kind == "full"
        assert pair.chosen[-1] == pair.rejected[-1] == TOKENIZER.im_end
        assert pair.meta["chosen"]["accuracy"] > pair.meta["rejected"]["accuracy"]


def test_ties_are_dropped_and_replies_off_format_counted():
    judged = made([verdict(), verdict(), None], accuracy_share=1.0)
    assert judged.pairs == []
    assert judged.counts == {"off format": 2, "tie in accuracy": 1}


def test_every_combination_is_a_pair_a_tie_or_not_needed():
    marks = [verdict(a, s) for a in (1, 3, 5) for s in (1, 3)]
    for limit in (1, 4, 99):
        judged = made(marks, seed=1, pairs_per_question=limit)
        assert len(judged.pairs) <= limit
        assert judged.counts.total() == 15


def test_no_more_couples_are_asked_about_than_the_limit():
    judged = made([verdict(a) for a in (1, 2, 3, 4, 5)], couples_per_question=3)
    assert len(judged.pairs) == judged.counts.total() == 3
    assert judged.places.total() == 6


def test_a_verdict_that_flips_with_the_order_is_dropped_and_counted():
    always_first = ScriptedCompleter(lambda *_: duel(verdict(5), verdict(1)).model_dump_json())
    judged = made([verdict()] * 4, judge=always_first)
    assert judged.pairs == []
    assert judged.counts == {"flipped": 6}
    assert judged.places == {"first": 12}


def test_a_tie_in_one_order_alone_makes_no_pair():
    def reply(prompt, _):
        first, second = read_case(prompt).responses
        return duel(verdict(5) if first < second else verdict(1), verdict(1)).model_dump_json()

    assert made([verdict()] * 3, judge=ScriptedCompleter(reply), accuracy_share=1.0).counts == {"tie in one order": 3}


@pytest.mark.parametrize("subset", ["accuracy", "overall"])
def test_swapping_two_answers_swaps_the_label_of_both_orders_and_equal_ones_tie(subset):
    marks = [verdict(a, s, 3) for a in (1, 3, 5) for s in (2, 4)]
    mirrored = {"first": "second", "second": "first"}
    for one in marks:
        assert settle(Both(duel(one, one), duel(one, one)), subset) == "tie"
        for other in marks:
            label = settle(Both(duel(one, other), duel(other, one)), subset)
            swapped = settle(Both(duel(other, one), duel(one, other)), subset)
            assert swapped == mirrored.get(label, label)


def test_of_answers_whose_correctness_is_known_the_judge_is_told_right_or_wrong():
    texts = {"Answer: 7": verdict(1), "Answer: 8": verdict(5)}
    judged = judged_pairs_of(
        {"p": responses(*texts)}, marking(texts), SamplingParams(), config=JudgedConfig(), tokenizer="t", seed=0
    )
    assert judged.known == {"wrong": 1}


def test_two_thirds_of_the_pairs_are_labelled_by_accuracy():
    sources = [p.source for seed in range(60) for p in made([verdict(a, a, a) for a in (1, 2, 3, 4, 5)], seed).pairs]
    assert len(sources) == 600
    assert sources.count("judged/accuracy") / 600 == pytest.approx(2 / 3, abs=0.06)


POLICY = speaker(
    sum=(("3 and 4.\nAnswer: 7", 0.5), ("3 and 5.\nAnswer: 8", 0.4), ("and " * 20, 0.1)),
    fact=(("Rosa", 0.5), ("Otto Wolf", 0.5)),
)
OLDER = speaker(sum=(("Answer: 7", 0.2), ("seven", 0.8)), fact=(("Otto Wolf", 1.0),))
CONFIG = JudgedPairsConfig(questions=8, max_tokens=40, known=KnownConfig(questions=4))


def run_stage(folder, judge, config=CONFIG, out="out", **completers):
    problems = [
        Problem(id=f"sum-{i}", prompt=f"sum question {i}", reference="7", checker="number") for i in range(8)
    ] + [
        Problem(id=f"f-{i}", prompt=f"fact {i}", reference="Rosa", checker="text", meta={"benchmark": "simpleqa"})
        for i in range(4)
    ]
    synthetic, model = write_world(folder, problems)
    (folder / out).mkdir(exist_ok=True)
    models = {"sft": folder / "sft", "pivotal_dpo": model}
    opened = {model: TabularCompleter(POLICY), models["sft"]: TabularCompleter(OLDER, name="older")} | completers
    return judged_pairs(
        config, synthetic=synthetic, model=model, models=models, judge=judge, seed=0,
        open_model=lambda path: opened.get(path.name, opened[path]), out=folder / out,
    )  # fmt: skip


def test_the_stage_prefers_right_answers_of_both_models(tmp_path):
    summary = run_stage(tmp_path, rules_judge())
    pairs = list(read_records(tmp_path / "out/pairs.jsonl.zst", PreferencePair))
    assert summary["pairs"] == len(pairs) == sum(summary["pairs_by_source"].values())
    assert summary["models"] == ["policy", "sft"]
    assert summary["judge"] == "rules"
    assert summary["answers"]["unfinished"] > 0
    full = [pair for pair in pairs if pair.kind == "full"]
    assert {pair.meta[side]["model"] for pair in full for side in ("chosen", "rejected")} == {"policy", "sft"}
    for pair in full:
        if pair.source == "judged/accuracy":
            assert TOKENIZER.decode(pair.chosen[:-1]).endswith("7")
            assert not TOKENIZER.decode(pair.rejected[:-1]).endswith("7")
    assert summary["checker"]["chosen_right"] > summary["checker"]["rejected_right"]
    assert {pair.kind for pair in pairs} == {"full", "prefix"}


def test_every_sampled_answer_is_judged_repeated_or_unfinished(tmp_path):
    answers = run_stage(tmp_path, rules_judge())["answers"]
    assert answers["judged"] + answers["repeated"] + answers["unfinished"] == 8 * 4 * 2


def test_two_runs_write_the_same_bytes_and_a_killed_one_too(tmp_path):
    run_stage(tmp_path, rules_judge(), out="whole")
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, rules_judge(), out="killed", sft=TabularCompleter(OLDER, name="older", fail_at_call=0))
    run_stage(tmp_path, rules_judge(), out="killed")
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_judge_off_format_makes_no_pairs_and_is_counted(tmp_path):
    summary = run_stage(tmp_path, ScriptedCompleter(lambda *_: "The first is best."))
    assert set(summary["couples"]) == {"off format"}
    assert summary["audit"]["constructed"] == {
        "couples": 8, "off_format": 8, "error": None, "error_95": [0.0, 1.0],
    }  # fmt: skip
    assert "judged/accuracy" not in summary["pairs_by_source"]


def test_any_completer_may_judge(tmp_path):
    def reply(prompt, _):
        marks = [verdict(5 if "8" in response else 1) for response in read_case(prompt).responses]
        return duel(*marks).model_dump_json()

    summary = run_stage(tmp_path, ScriptedCompleter(reply, name="contrary"))
    assert summary["checker"]["rejected_right"] > summary["checker"]["chosen_right"] == 0
    assert summary["audit"]["answers"]["wrong"] > 0


def test_the_error_rate_of_a_judge_of_known_noise_lies_in_its_interval():
    rng = random.Random(0)

    def reply(prompt, _):
        case = read_case(prompt)
        right = [response == f"Answer: {case.reference}" for response in case.responses]
        if random.Random(case.question).random() < 0.1:
            right = [not one for one in right]
        return duel(*(verdict(5 if one else 1) for one in right)).model_dump_json()

    problems = [Problem(id=f"n{i}", prompt=f"sum {i}", reference=str(i), checker="number") for i in range(400)]
    couples = known_couples(problems, 400, rng)
    told = error_rate(audit(couples, ScriptedCompleter(reply), SamplingParams(), rng))
    assert told["couples"] == len(couples) > 390
    assert told["error_95"][0] < 0.1 < told["error_95"][1]
    assert told["error"] == pytest.approx(0.1, abs=0.04)


def test_the_rules_make_no_error_on_known_answers_and_a_judge_that_always_says_the_same_only_errors(tmp_path, caplog):
    caplog.set_level("INFO")
    rules = run_stage(tmp_path, rules_judge())["audit"]
    assert (rules["constructed"]["error"], rules["constructed"]["couples"]) == (0.0, 8)
    assert rules["answers"]["error"] == 0.0
    assert "rules: error 0.0%, 0.000 to 0.324, on 8 couples (constructed)" in caplog.text
    same = ScriptedCompleter(lambda *_: duel(verdict(5), verdict(5)).model_dump_json())
    told = run_stage(tmp_path, same, out="same")
    assert told["audit"]["constructed"]["error"] == 1.0
    assert "judged/accuracy" not in told["pairs_by_source"]


def test_another_model_answers_in_its_own_words_and_with_the_ids_of_the_policy():
    problem = PROBLEM.model_copy(update={"prompt": "sum question 1"})
    asked = ask([problem], TOKENIZER, n_reasoning=1, n_facts=0, allow_code=False, rng=random.Random(0))
    seen = []

    def reply(prompt, _):
        seen.append(prompt.messages)
        return "It is 7.\nAnswer: 7"

    other = Chatting(ScriptedCompleter(reply, name="other"), TOKENIZER, asked.questions)
    (said,) = other.complete([asked.questions["p"].prompt], SamplingParams())
    assert TOKENIZER.decode(said.tokens) == "It is 7.\nAnswer: 7<|im_end|>"
    assert [message.content for message in seen[0]] == ["sum question 1"]


def test_a_model_behind_an_endpoint_answers_beside_the_policy(endpoint, tmp_path):
    def script(place, body):
        text = f"I think so {place}.\nAnswer: 7"
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()

    endpoint.script = script
    other = OtherConfig(url=endpoint.url, model="maker/large")
    config = CONFIG.model_copy(update={"older": (), "others": (other,)})
    summary = run_stage(tmp_path, rules_judge(), config)
    assert summary["models"] == ["policy", "maker/large"]
    assert len(endpoint.seen) == 8 * 4
    assert all("messages" in body for _, body, _ in endpoint.seen)
    pairs = [one for one in read_records(tmp_path / "out/pairs.jsonl.zst", PreferencePair) if one.kind == "full"]
    theirs = [one for one in pairs if one.meta["chosen"]["model"] == "maker/large"]
    assert theirs
    assert all(TOKENIZER.decode(one.chosen).endswith("Answer: 7<|im_end|>") for one in theirs)


def test_an_unknown_older_stage_is_refused_with_the_choices(tmp_path):
    with pytest.raises(UserError, match="sft, pivotal_dpo"):
        run_stage(tmp_path, rules_judge(), CONFIG.model_copy(update={"older": ("sftt",)}))


def test_without_an_older_stage_the_policy_answers_alone(tmp_path):
    for older in ((), ("pivotal_dpo",)):
        summary = run_stage(tmp_path / f"o{len(older)}", rules_judge(), CONFIG.model_copy(update={"older": older}))
        assert summary["models"] == ["policy"]
