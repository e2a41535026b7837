"""Stored answers of real models, graded again: what the files say of them must come out."""

import json
import os
from pathlib import Path

import pytest

from phidelity.eval.benchmark import GradingContext
from phidelity.eval.benchmarks.gsm8k import marked
from phidelity.eval.benchmarks.mmlu_pro import MMLU_PRO, outputs, stepwise
from phidelity.eval.suite import benchmark

DATA = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "evals"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="PHI_TEST_DATA is not set")
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def test_all_stored_predictions_of_mmlu_pro_come_out():
    rows = outputs(next((DATA / "mmlu_pro").glob("*.zip")))
    assert len(rows) == 12_032
    assert sum(stepwise(row["generated_text"], 1) == row["pred"] for row in rows) == 12_032
    right = [sum(stepwise(row["generated_text"], steps) == row["answer"] for row in rows) for steps in (1, 3)]
    assert [round(100 * n / 12_032, 2) for n in right] == [41.48, 42.64]


def test_corrected_mmlu_pro_lies_between_no_guess_and_the_guess():
    rows = outputs(next((DATA / "mmlu_pro").glob("*.zip")))[::10]
    problems = MMLU_PRO.load(DATA)[::10]
    pairs = list(zip(problems, rows, strict=True))
    shares = {
        name: sum(grade(problem, row["generated_text"], GradingContext()).value for problem, row in pairs) / len(pairs)
        for name, grade in MMLU_PRO.graders.items()
    }
    assert 0.40 < shares["corrected"] < shares["parity"] < 0.46


def test_all_stored_flags_of_gsm8k_come_out():
    lines = (DATA / "gsm8k" / "example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    agreed = [
        (marked(row[model]["solution"]) == marked(row["ground_truth"])) == row[model]["is_correct"]
        for row in rows
        for model in MODELS
    ]
    assert (sum(agreed), len(agreed)) == (5_276, 5_276)


@pytest.mark.parametrize("model", MODELS)
def test_the_stored_answers_of_gsm8k_score_in_both_profiles_what_their_flags_say(model):
    lines = (DATA / "gsm8k" / "example_model_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)[model] for line in lines]
    problems = benchmark("gsm8k").load(DATA)
    for grade in benchmark("gsm8k").graders.values():
        scores = [
            grade(problem, answer["solution"], GradingContext()).value
            for problem, answer in zip(problems, answers, strict=True)
        ]
        assert scores == [float(answer["is_correct"]) for answer in answers]


@pytest.mark.parametrize(
    ("name", "n"),
    [("mmlu", 7_658), ("drop", 5_086), ("mgsm", 1_500), ("humaneval", 164), ("simpleqa", 2_163), ("ifeval", 541),
     ("gsm8k", 1_319), ("mmlu_pro", 12_032), ("humaneval_plus", 164)],
)  # fmt: skip
def test_the_files_at_hand_load_whole(name, n):
    problems = benchmark(name).load(DATA)
    assert len(problems) == n
    assert len({problem.id for problem in problems}) == n


def test_drop_loses_fifteen_points_to_a_full_stop_in_parity_alone():
    problems = benchmark("drop").load(DATA)[::5]
    share = {}
    for name, grade in benchmark("drop").graders.items():
        for form in ("{}", "{}.", "**{}**", "${}$", "{}%"):
            said = [form.format(problem.reference.partition("|")[0]) for problem in problems]
            values = [grade(p, f"Answer: {s}", GradingContext()).value for p, s in zip(problems, said, strict=True)]
            share[name, form] = sum(values) / len(values)
    assert share["parity", "{}"] == share["corrected", "{}"] == 1.0
    for form in ("{}.", "**{}**", "${}$", "{}%"):
        assert 0.8 < share["parity", form] < 0.9
        assert share["corrected", form] > 0.995
