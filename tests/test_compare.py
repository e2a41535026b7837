import json

import pytest

from phidelity.config import UserError
from phidelity.eval.compare import compare_runs, difference
from phidelity.eval.store import Graded, write_graded
from phidelity.records import Score
from phidelity.statistics import mcnemar


def graded(values, cluster=lambda n: None, repeat=0):
    return [
        Graded(id=str(n), repeat=repeat, reference="", cluster=cluster(n), scores={"corrected": Score(value=value)})
        for n, value in enumerate(values)
    ]


def write_run(out, model, name, rows):
    write_graded(out / model / name, rows)
    path = out / "scores.json"
    scores = json.loads(path.read_text()) if path.exists() else {}
    scores.setdefault(model, {})[name] = {}
    path.write_text(json.dumps(scores))


def test_differences_are_paired_and_worked_by_hand():
    found = difference(graded([0, 0, 1, 1]), graded([1, 0, 1, 1]), "corrected")
    assert found
    assert (found.before, found.after, found.estimate.mean) == (0.5, 0.75, 0.25)
    assert found.estimate.stderr == pytest.approx(0.25)
    assert (found.gained, found.lost, found.p) == (1, 0, mcnemar(1, 0))
    assert found.detectable == pytest.approx(0.25 * 2.8016, rel=1e-4)


def test_questions_on_one_passage_widen_the_error():
    alone = difference(graded([0] * 8), graded([1, 1, 0, 0, 0, 0, 0, 0]), "corrected")
    shared = difference(graded([0] * 8, lambda n: str(n // 2)), graded([1, 1, 0, 0, 0, 0, 0, 0]), "corrected")
    assert alone
    assert shared
    assert shared.estimate.stderr > alone.estimate.stderr


def test_what_either_left_undecided_is_no_pair():
    found = difference(graded([0, None, 1]), graded([1, 1, None]), "corrected")
    assert found
    assert found.estimate.n == 1
    assert difference(graded([None]), graded([1]), "corrected") is None


def test_repeats_are_averaged_and_have_no_mcnemar():
    before = graded([0, 1]) + graded([1, 1], repeat=1)
    found = difference(before, graded([1, 1]), "corrected")
    assert found
    assert (found.estimate.n, found.before, found.p) == (2, 0.75, None)


def test_two_runs_are_matched_by_benchmark(tmp_path):
    write_run(tmp_path / "a", "old", "math", graded([0, 1]))
    write_run(tmp_path / "a", "old", "drop", graded([0.5, 1]))
    write_run(tmp_path / "b", "new", "math", graded([1, 1]))
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    (row,) = found["rows"]
    assert (row["models"], row["benchmark"], row["difference"], row["n"]) == (["old", "new"], "math", 50.0, 2)
    assert found["unpaired"] == ["drop"]


def test_runs_that_share_nothing_are_said_to(tmp_path):
    write_run(tmp_path / "a", "old", "math", graded([0, 1]))
    write_run(tmp_path / "b", "new", "drop", graded([1, 1]))
    with pytest.raises(UserError, match="share no graded benchmark"):
        compare_runs(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UserError, match=r"No file .*scores\.json"):
        compare_runs(tmp_path / "a", tmp_path / "nowhere")
