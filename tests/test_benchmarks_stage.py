"""Stage `benchmarks`: official formats, strata for every problem, the same bytes for the same seed."""

import csv
import gzip
import json

import pytest

from phidelity.config import UserError
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.problems import prompts
from phidelity.records import Problem, read_records

FILES = {
    "mmlu.csv", "math_test.csv", "gpqa_diamond.csv", "mgsm_en.tsv", "mgsm_de.tsv", "drop_v0_dev.jsonl.gz",
    "drop_v0_train.jsonl.gz", "HumanEval.jsonl.gz", "simple_qa_test_set.csv", "strata.json", "development.jsonl",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarks")
    benchmarks(BenchmarksConfig(), seed=0, out=out)
    return out


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_all_files_are_written_with_five_hundred_problems(folder, tmp_path):
    summary = benchmarks(BenchmarksConfig(), seed=0, out=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert summary["problems"] == 500
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in FILES)


def test_another_seed_gives_other_problems(folder, tmp_path):
    benchmarks(BenchmarksConfig(), seed=1, out=tmp_path)
    assert (tmp_path / "math_test.csv").read_bytes() != (folder / "math_test.csv").read_bytes()


def test_columns_are_the_official_ones(folder):
    assert list(rows(folder / "mmlu.csv")[0]) == ["Question", "A", "B", "C", "D", "Answer", "Subject"]
    assert list(rows(folder / "math_test.csv")[0]) == ["Question", "Answer"]
    wrong = [f"Incorrect Answer {n}" for n in (1, 2, 3)]
    assert list(rows(folder / "gpqa_diamond.csv")[0]) == ["Question", "Correct Answer", *wrong, "Record ID"]
    assert list(rows(folder / "simple_qa_test_set.csv")[0]) == ["metadata", "problem", "answer"]
    assert set(lines(folder / "drop_v0_dev.jsonl.gz")[0]) == {"context", "completion", "ref_text"}
    keys = {"task_id", "prompt", "entry_point", "canonical_solution", "test"}
    assert set(lines(folder / "HumanEval.jsonl.gz")[0]) == keys
    question, answer = (folder / "mgsm_de.tsv").read_text().splitlines()[0].split("\t")
    assert question.endswith("?")
    assert int(answer) > 0


def test_every_problem_has_a_stratum_under_its_own_id(folder):
    strata = json.loads((folder / "strata.json").read_text())
    assert set(strata) == {"mmlu", "math", "gpqa", "drop", "mgsm", "humaneval", "simpleqa"}
    assert set(strata["math"]) == {str(n) for n in range(120)}
    assert set(strata["gpqa"]) == {row["Record ID"] for row in rows(folder / "gpqa_diamond.csv")}
    assert set(strata["humaneval"]) == {line["task_id"] for line in lines(folder / "HumanEval.jsonl.gz")}
    assert set(strata["mgsm"]) == {f"{language}/{n}" for language in ("en", "de") for n in range(40)}
    assert sum(map(len, strata.values())) == 500
    counts = [list(strata["math"].values()).count(name) for name in ("seen", "range", "template")]
    assert counts == [40, 40, 40]


def test_code_of_the_humaneval_file_passes_its_own_test(folder):
    for line in lines(folder / "HumanEval.jsonl.gz"):
        namespace = {}
        exec(line["prompt"] + line["canonical_solution"] + line["test"], namespace)
        namespace["check"](namespace[line["entry_point"]])


def test_the_gold_letter_marks_the_right_option(folder):
    for row in rows(folder / "mmlu.csv"):
        if row["Subject"] == "number_comparison":
            counts = {part.split(" has ")[0]: int(part.split(" has ")[1]) for part in _listed(row["Question"])}
            assert row[row["Answer"]] == max(counts, key=lambda person: counts[person])


def test_no_question_stands_in_a_file_twice(folder):
    for name in ("mmlu.csv", "math_test.csv", "gpqa_diamond.csv"):
        questions = [row["Question"] for row in rows(folder / name)]
        assert len(set(questions)) == len(questions)


def test_a_part_of_the_short_questions_has_no_answer(folder):
    answers = [row["answer"] for row in rows(folder / "simple_qa_test_set.csv")]
    assert answers.count(prompts.UNKNOWN) == 30


def test_development_problems_come_from_their_own_split(folder):
    problems = list(read_records(folder / "development.jsonl", Problem))
    assert 90 <= len(problems) <= 110
    assert {problem.meta["split"] for problem in problems} == {"development"}
    assert len({problem.meta["benchmark"] for problem in problems}) == 7


def test_more_problems_than_there_are_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="different problems of the family 'function'"):
        benchmarks(BenchmarksConfig(humaneval=5000), seed=0, out=tmp_path)


def _listed(question):
    return question.split(".")[0].split(", ")
