import csv
import gzip
import json

import pytest

from phidelity.config import UserError
from phidelity.data.decontaminate import Item
from phidelity.pipeline.evaluation_items import evaluation_items, rows_without_question


def test_problems_are_read_from_the_official_formats_without_our_own_words(tmp_path):
    with open(tmp_path / "mmlu.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "Question", "A", "B", "C", "D", "Answer", "Subject"])
        writer.writerow([0, "Which town, says the\nmap, is it?", 1, 2, 3, 4, "A", "towns"])
    (tmp_path / "mgsm_de.tsv").write_text("Wie viele Äpfel?\t3\n", encoding="utf-8")
    program = {"task_id": "HumanEval/0", "prompt": "def f():\n", "canonical_solution": "    return 1\n"}
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(program | {"entry_point": "f", "test": "no"}) + "\n")
    assert evaluation_items(tmp_path) == [
        Item("mmlu", "0", "Which town, says the\nmap, is it?"),
        Item("humaneval", "HumanEval/0", "def f():\n\n    return 1\n"),
        Item("mgsm", "de/0", "Wie viele Äpfel?"),
    ]


def test_a_folder_without_problems_and_a_file_of_another_kind_are_refused(tmp_path):
    with pytest.raises(UserError, match="No evaluation problems"):
        evaluation_items(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"q": "Why?", "a": "So."}\n')
    with pytest.raises(UserError, match=r"mine\.jsonl is a file; expected a folder .* Put it into a folder"):
        evaluation_items(tmp_path / "mine.jsonl")
    with pytest.raises(UserError, match=r"\(mine\.jsonl has q, a\).* a column question, problem or prompt"):
        evaluation_items(tmp_path)
    (tmp_path / "math_test.csv").write_text("Frage,Answer\nx,1\n")
    with pytest.raises(UserError, match=r"math_test\.csv lacks the columns Question"):
        evaluation_items(tmp_path)


def test_rows_without_a_question_are_told(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "Why is it so?"}\n{"frage": "Warum?"}\n')
    assert [one.text for one in evaluation_items(tmp_path)] == ["Why is it so?"]
    assert rows_without_question(tmp_path) == ["mine.jsonl: 1 of 2 rows have no column question, problem or prompt"]
