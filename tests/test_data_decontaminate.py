import csv
import gzip
import json

import pytest

from phidelity.config import UserError
from phidelity.data.decontaminate import benchmark_texts, build_index, contaminated, overlap, words

PROBLEM = (
    "A baker fills nine trays with fourteen rolls each in the morning and gives two rolls away. "
    "How many rolls are left over for the shop?"
)
PROSE = "Before all of that the miller had brought his flour and the carter had fed the old grey horse. "


def test_words_are_lower_case_without_punctuation():
    assert words("Don’t pay $80,000 — in ONE go!") == ["dont", "pay", "80000", "in", "one", "go"]
    assert words("f(1,2)") == ["f", "1", "2"]


def test_a_quoted_problem_contaminates_whatever_its_case_and_punctuation():
    index = build_index(["another problem altogether", PROBLEM])
    text = PROSE + PROBLEM.upper().replace(".", "").replace("?", "") + " " + PROSE
    hit = contaminated(index, text)
    assert hit is not None
    assert (hit.rule, hit.item, hit.ratio) == ("13-gram", 1, 1.0)
    assert hit.match == " ".join(words(PROBLEM)[:13])


def test_half_a_problem_inside_prose_contaminates():
    assert contaminated(build_index([PROBLEM]), PROSE + " ".join(PROBLEM.split()[:14]) + " " + PROSE)


def test_a_clean_text_and_a_short_common_phrase_do_not():
    index = build_index([PROBLEM])
    assert overlap(index, PROSE) is None
    assert overlap(index, PROSE + "gives two rolls away. How many are there? " + PROSE) is None
    assert overlap(index, "") is None


def test_a_listed_13_gram_contaminates_nobody():
    text = PROSE + " ".join(PROBLEM.split()[:13])
    assert contaminated(build_index([PROBLEM]), text)
    hit = overlap(build_index([PROBLEM], allowed=[PROBLEM]), text)
    assert hit is not None
    assert hit.rule == "7-gram"


def test_the_ratio_is_shared_7_grams_over_the_smaller_count():
    item = " ".join(f"w{n}" for n in range(16))  # ten 7-grams
    text = " ".join(f"w{n}" for n in range(10)) + " and then " + " ".join(f"x{n}" for n in range(30))  # four of them
    hit = overlap(build_index([item]), text)
    assert hit is not None
    assert (hit.verdict, hit.ratio) == ("partial", 0.4)
    assert contaminated(build_index([item]), text) is None
    assert contaminated(build_index([item], hard=0.4), text) is not None
    assert overlap(build_index([item], info=0.41), text) is None
    short = " ".join(f"w{n}" for n in range(8))  # two 7-grams, both shared
    hit = contaminated(build_index([item]), short)
    assert hit is not None
    assert hit.ratio == 1.0


def test_problems_are_read_from_the_official_formats(tmp_path):
    with open(tmp_path / "mmlu.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "Question", "A", "B", "C", "D", "Answer", "Subject"])
        writer.writerow([0, "Which town, says the\nmap, is it?", 1, 2, 3, 4, "A", "towns"])
    (tmp_path / "mgsm_de.tsv").write_text("Wie viele Äpfel?\t3\n", encoding="utf-8")
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps({"prompt": "def f():\n", "canonical_solution": "    return 1\n", "test": "no"}) + "\n")
    assert benchmark_texts(tmp_path) == [
        "Which town, says the\nmap, is it?",
        "Wie viele Äpfel?",
        "def f():\n\n    return 1\n",
    ]


def test_a_folder_without_problems_and_a_file_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="No evaluation problems"):
        benchmark_texts(tmp_path)
    (tmp_path / "math_test.csv").write_text("Frage,Answer\nx,1\n")
    with pytest.raises(UserError, match="row without 'Question'"):
        benchmark_texts(tmp_path)
