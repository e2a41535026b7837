"""GSM8K's two readings, and where the files of a benchmark may lie."""

import os
import shutil
from pathlib import Path

import pytest

from phidelity.eval.benchmark import GradingContext
from phidelity.eval.benchmarks.gsm8k import corrected, parity
from phidelity.eval.folder import departures, load
from phidelity.eval.suite import benchmark
from phidelity.records import Problem

DATA = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "evals"
PROBLEM = Problem(id="2", prompt="?", reference="70000", checker="number")


@pytest.mark.parametrize(
    ("response", "person", "official"),
    [
        ("The answer is 70000.", 1, 0),
        ("So the answer is $70,000.", 1, 0),
        ("It adds up. #### 70000", 1, 0),
        ("It adds up.\n#### 70,000", 1, 1),
        ("\\boxed{70000}", 1, 0),
        ("Answer: $70,000", 1, 0),
        ("A: 70000", 1, 1),
        ("The answer is 7000.", 0, 0),
        ("The answer is 70000 or so.\nAnswer: 3", 0, 0),
        ("70000", 0, 0),
        ("", 0, 0),
    ],
)
def test_a_person_reads_more_than_the_data_sets_own_marks(response, person, official):
    scores = [grader(PROBLEM, response, GradingContext()).value for grader in (corrected, parity)]
    assert scores == [person, official]


@pytest.mark.skipif(not DATA.is_dir(), reason="PHI_TEST_DATA is not set")
@pytest.mark.parametrize("place", ["humaneval_plus", "humanevalplus", "."])
def test_files_are_found_and_recognised_wherever_they_may_lie(tmp_path, place):
    source = DATA / "humanevalplus" / "HumanEvalPlus.jsonl.gz"
    (tmp_path / place).mkdir(exist_ok=True)
    shutil.copy(source, tmp_path / place)
    one = benchmark("humaneval_plus")
    assert departures(one, tmp_path, len(load(one, tmp_path))) == []
