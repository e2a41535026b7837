import json

import pytest
from preference_world import TOKENIZER, TabularCompleter, files_of, speaker, write_world

from phidelity.completion import ScriptedCompleter
from phidelity.config import UserError
from phidelity.grading.judge import Verdict, read_case, rules_judge
from phidelity.pipeline.judged_pairs import JudgedPairsConfig, judged_pairs
from phidelity.preference.judged import JudgedConfig, Response, better, pairs_of
from phidelity.preference.known import KnownConfig
from phidelity.records import PreferencePair, Problem, read_records

PROBLEM = Problem(id="p", prompt="sum question", reference="7", checker="number")


def verdict(accuracy=3, style=3, detail=3):
    return Verdict(accuracy=accuracy, style=style, detail=detail)


def responses(*texts):
    return [
        Response(PROBLEM, (*TOKENIZER.encode(text), TOKENIZER.im_end), text, "policy", "7" in text) for text in texts
    ]


def made(verdicts, seed=0, **config):
    texts = [f"answer {i}" for i in range(len(verdicts))]
    settings = JudgedConfig(pairs_per_question=99, **config)
    return pairs_of(responses(*texts), verdicts, config=settings, tokenizer="t", seed=seed)


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


def test_ties_are_dropped_and_missing_verdicts_counted():
    judged = made([verdict(), verdict(), None], accuracy_share=1.0)
    assert judged.pairs == []
    assert judged.counts == {"undetermined": 1, "tie in accuracy": 1}


def test_every_combination_is_a_pair_a_tie_or_over_the_limit():
    marks = [verdict(a, s) for a in (1, 3, 5) for s in (1, 3)]
    for limit in (1, 4, 99):
        texts = [f"answer {i}" for i in range(6)]
        config = JudgedConfig(pairs_per_question=limit)
        judged = pairs_of(responses(*texts), marks, config=config, tokenizer="t", seed=1)
        assert len(judged.pairs) <= limit
        assert judged.counts.total() == 15


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
    assert summary["answers"]["undetermined"] == summary["answers"]["judged"]
    assert "judged/accuracy" not in summary["pairs_by_source"]


def test_any_completer_may_judge(tmp_path):
    def reply(prompt, _):
        case = read_case(prompt)
        return json.dumps({"accuracy": 5 if "8" in case.responses[0] else 1, "style": 3, "detail": 3})

    summary = run_stage(tmp_path, ScriptedCompleter(reply, name="contrary"))
    assert summary["checker"]["rejected_right"] > summary["checker"]["chosen_right"] == 0


def test_an_unknown_older_stage_is_refused_with_the_choices(tmp_path):
    with pytest.raises(UserError, match="sft, pivotal_dpo"):
        run_stage(tmp_path, rules_judge(), CONFIG.model_copy(update={"older": "sftt"}))


def test_without_an_older_stage_the_policy_answers_alone(tmp_path):
    for older in ("", "pivotal_dpo"):
        summary = run_stage(tmp_path / f"o{older}", rules_judge(), CONFIG.model_copy(update={"older": older}))
        assert summary["models"] == ["policy"]
