"""The quality step of the stage `corpus`: taught once, graded by shard, decided by the table, nothing silent."""

import json
import random

import pytest

from phidelity.completion import ScriptedCompleter
from phidelity.config import UserError, parse
from phidelity.data.annotate import Marked
from phidelity.data.quality import Grade
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig, corpus_sources
from phidelity.pipeline.graded import Graded
from phidelity.pipeline.teaching import thresholds
from phidelity.pipeline.trace import trace
from phidelity.records import Document, read_records

GOOD = [
    "the",
    "reason",
    "for",
    "this",
    "is",
    "that",
    "we",
    "explain",
    "each",
    "step",
    "with",
    "an",
    "example",
    "so",
    "the",
    "result",
    "follows",
    "from",
    "the",
    "method",
]
POOR = [
    "the",
    "stars",
    "of",
    "today",
    "and",
    "the",
    "latest",
    "gossip",
    "you",
    "have",
    "to",
    "see",
    "it",
    "is",
    "amazing",
    "with",
    "a",
    "shocking",
    "list",
    "of",
    "looks",
]


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "math_test.csv").write_text('Question,Answer\n"How many cakes are in the seven boxes of the baker?",42\n')
    return folder


@pytest.fixture
def root(tmp_path):
    """Six sources with 24 documents each, half of them worth reading."""
    for source in range(6):
        folder = tmp_path / "root" / f"s{source}"
        folder.mkdir(parents=True)
        for number in range(24):
            rng = random.Random(f"{source}/{number}")
            words = GOOD if number % 2 else POOR
            lines = [
                "The " + " ".join(rng.choices(words, k=9) + [f"x{rng.randrange(900)}" for _ in range(7)]) + " of it."
                for _ in range(10)
            ]
            (folder / f"{number}.md").write_text("\n\n".join(lines) + "\n")
    return tmp_path / "root"


def settings(root, **more):
    return {
        "sources": [],
        "root": str(root),
        "without": ["ours_odd_pairs"],
        "thresholds": {"ours_quality": 2.5},
        "quality": {"documents": 144, "lift": 0.0, **more},
    }


def read(prompt):
    said = prompt.messages[0].content
    mark, subject = (4, "science") if said.count("explain") + said.count("example") > 4 else (1, "everyday")
    return json.dumps({"reason": "so", "mark": mark, "subject": subject})


def run(config, benchmarks, out, teacher=None):
    out.mkdir(parents=True)
    summary = corpus(parse(CorpusConfig, config, "recipe"), benchmarks=benchmarks, seed=0, out=out, teacher=teacher)
    return summary, list(read_records(out / "documents.jsonl.zst", Document))


def test_a_teachers_marks_decide_after_every_document_was_scored(root, benchmarks, tmp_path):
    teacher = ScriptedCompleter(lambda prompt, _: read(prompt), name="wise")
    out = tmp_path / "run" / "corpus"
    summary, documents = run(settings(root), benchmarks, out, teacher)
    quality = summary["quality"]
    assert (quality["by"], quality["is_proxy"], quality["threshold"]) == ("wise", False, 2.5)
    assert quality["documents"] == quality["graded"] == quality["decided"] == 144
    assert quality["held_out"]["sources"] == 6
    assert quality["held_out"]["error"] < 0.5 * quality["held_out"]["error_of_mean"]
    assert 65 <= summary["dropped_by_reason"]["ours_quality"] == quality["dropped"] <= 79
    assert summary["read"]["documents"] == summary["kept"]["documents"] + summary["dropped"]["documents"]
    rows = list(read_records(out / "quality_scores.jsonl.zst", Graded))
    assert len(rows) == 144
    told = trace(tmp_path / "run", rows[0].id)["quality"]
    assert told == {"rule": "ours_quality", "score": rows[0].quality, "at least": 2.5, "subject": rows[0].subject}
    assert all((row.quality < row.threshold) == bool(row.dropped) for row in rows)
    assert all(document.meta["quality"] >= 2.5 for document in documents)
    dropped = json.loads((out / "dropped.json").read_text())
    sample = dropped["samples"]["ours_quality"][0]
    assert sample["value"] < sample["threshold"] == 2.5
    assert [row["step"] for row in dropped["steps"]][-2:] == ["quality", "contamination"]
    assert json.loads((out / "quality.json").read_text())["held_out"]["calibration"]


def test_without_a_teacher_a_proxy_is_named_as_one_and_one_kind_teaches_nothing(root, benchmarks, tmp_path):
    summary, documents = run(settings(root), benchmarks, tmp_path / "out")
    quality = summary["quality"]
    assert quality["is_proxy"]
    assert "1 different ones" in quality["untaught"]
    assert quality["dropped"] == quality["decided"] == 0
    assert len(documents) == 144
    kinds = {f"s{n}": "textbook" if n % 2 else "questions" for n in range(6)}
    summary, _ = run(settings(root, kinds=kinds), benchmarks, tmp_path / "kinds")
    assert summary["quality"]["untaught"] is None
    assert summary["quality"]["by"] == "proxy: kind of source"


def test_marks_decide_on_the_groups_named_and_the_rule_can_be_left_out(root, benchmarks, tmp_path):
    teacher = ScriptedCompleter(lambda prompt, _: read(prompt), name="wise")
    config = settings(root) | {"groups": {f"s{n}": "acquired" for n in range(6)}}
    summary, _ = run(config, benchmarks, tmp_path / "acquired", teacher)
    assert (summary["quality"]["graded"], summary["quality"]["decided"], summary["quality"]["dropped"]) == (144, 0, 0)
    config = settings(root) | {"without": ["ours_odd_pairs", "ours_quality"], "thresholds": {}}
    summary, _ = run(config, benchmarks, tmp_path / "without", teacher)
    assert (summary["quality"]["graded"], summary["quality"]["dropped"]) == (144, 0)


def test_marks_of_a_file_are_taken_and_are_part_of_the_fingerprint(root, benchmarks, tmp_path):
    teacher = ScriptedCompleter(lambda prompt, _: read(prompt), name="wise")
    first, _ = run(settings(root), benchmarks, tmp_path / "first", teacher)
    marks = tmp_path / "first" / "quality_marks.jsonl"
    assert {one.by for one in read_records(marks, Marked)} == {"wise"}
    again, _ = run(settings(root, marks=str(marks)), benchmarks, tmp_path / "again")
    assert again["quality"] == first["quality"]
    assert str(marks) in corpus_sources(parse(CorpusConfig, settings(root, marks=str(marks)), "recipe"))
    with pytest.raises(UserError, match=r"No file 'nowhere', which corpus\.quality\.marks names"):
        run(settings(root, marks="nowhere"), benchmarks, tmp_path / "nowhere")
    (tmp_path / "other.jsonl").write_text(Marked(id="x", source="y", language="en", mark=1, by="z").model_dump_json())
    with pytest.raises(UserError, match="marks none of the 144 documents"):
        run(settings(root, marks=str(tmp_path / "other.jsonl")), benchmarks, tmp_path / "other")


def test_two_runs_give_the_same_bytes(root, benchmarks, tmp_path):
    for name in ("one", "two"):
        run(settings(root), benchmarks, tmp_path / name, ScriptedCompleter(lambda prompt, _: read(prompt), name="wise"))
    for name in ("documents.jsonl.zst", "quality.json", "quality_scores.jsonl.zst", "quality.npz", "dropped.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_subject_that_a_classifier_would_starve_is_lifted_to_the_share_of_all():
    science = [(Grade(2.0 + k / 50, "science"), 1.0) for k in range(100)]
    arts = [(Grade(k / 50, "arts"), 1.0) for k in range(100)]
    few = [(Grade(0.1, "travel"), 1.0)] * 5
    least = 2.5
    lifted = thresholds([*science, *arts, *few], least, lift=1.0, floor=0.5)
    assert set(lifted) == {"arts"}
    share = sum(one.mark >= least for one, _ in [*science, *arts, *few]) / 205
    passing = sum(one.mark >= lifted["arts"] for one, _ in arts)
    assert passing == pytest.approx(share * 100, abs=1.5)
    assert thresholds([*science, *arts], least, lift=0.0, floor=0.5) == {}
    assert thresholds([*science, *arts], None, lift=1.0, floor=0.5) == {}
    assert thresholds([*science, *arts], least, lift=1.0, floor=1.9)["arts"] == 1.9
    heavy = [(one, 10.0) for one, _ in arts]
    assert thresholds([*science, *heavy], least, lift=1.0, floor=0.0)["arts"] > lifted["arts"]


def test_the_command_has_documents_marked_and_pays_for_none_twice(root, benchmarks, tmp_path, phi, endpoint):
    run(settings(root) | {"quality": None}, benchmarks, tmp_path / "out")

    def script(place, body):
        said = {"message": {"content": '{"reason": "so", "mark": 3, "subject": "arts"}'}, "finish_reason": "stop"}
        return 200, {}, json.dumps({"choices": [said], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()

    endpoint.script = script
    out = tmp_path / "marks.jsonl"
    command = ["data", "annotate", tmp_path / "out", "--url", endpoint.url, "--model-name", "wise", "--out", out]
    for asked, n in (("7", 7), ("9", 9), ("9", 9)):
        done = phi(*command, "--documents", asked)
        assert done.returncode == 0, done.stderr
        assert len(endpoint.seen) == n
        assert len(list(read_records(out, Marked))) == n
    assert {(one.mark, one.subject) for one in read_records(out, Marked)} == {(3.0, "arts")}
    assert "9 documents are marked" in done.stdout
    assert "which is not set" in phi(*command, "--key-env", "NO_SUCH_KEY").stderr
    assert "No documents in" in phi("data", "annotate", root, *command[3:]).stderr
