import json

import pytest

from phidelity.completion import ScriptedCompleter
from phidelity.config import UserError, parse
from phidelity.eval.suite import BENCHMARKS
from phidelity.grading.code import isolation
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.evaluate import EvaluateConfig, evaluate
from phidelity.pipeline.study_file import load_study
from phidelity.records import Conversation

SMALL = BenchmarksConfig(mmlu=6, math=6, gpqa=3, drop=6, mgsm=3, humaneval=3, simpleqa=6, development=24)
NAMES = [one.name for one in BENCHMARKS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("benchmarks")
    benchmarks(SMALL, seed=0, out=out)
    return out


@pytest.fixture(scope="module")
def replies(folder):
    """The right answer to every message."""
    known = {}
    for one in BENCHMARKS:
        for problem in one.load(folder):
            answer = f"Answer: {problem.reference}"
            if problem.checker == "code":
                answer = f"```python\n{problem.meta['code']}{problem.reference}```"
            known[problem.prompt] = problem.reference if problem.checker == "text" else answer
    return known


def run(folder, out, replies, made=("sft",), **config):
    def open_model(path):
        def reply(prompt, occurrence):
            if not isinstance(prompt, Conversation):
                return "Answer: 0"
            return replies[prompt.messages[-1].content] if path.name == "oracle" else ""

        return ScriptedCompleter(reply, name=path.name)

    paths = {name: folder / ("oracle" if name == "sft" else name) for name in made}
    settings = EvaluateConfig(allow_code=True, trials=2, **config)
    return evaluate(settings, benchmarks=folder, models=paths, open_model=open_model, seed=0, out=out)


def test_an_oracle_scores_100_on_all_seven(folder, replies, tmp_path):
    summary = run(folder, tmp_path, replies)
    expected = NAMES if not isolation().startswith("none") else [name for name in NAMES if name != "humaneval"]
    assert {name: summary[f"sft/{name}"] for name in expected} == dict.fromkeys(expected, 100.0)


def test_an_empty_model_scores_0_on_all_seven(folder, replies, tmp_path):
    summary = run(folder, tmp_path, replies, made=("silent",))
    assert {name: summary[f"silent/{name}"] for name in NAMES if name != "humaneval"} == {
        name: 0.0 for name in NAMES if name != "humaneval"
    }


def test_scores_stand_by_model_benchmark_and_profile(folder, replies, tmp_path):
    run(folder, tmp_path, replies, made=("sft", "silent"))
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert set(scores) == {"random", "commonest answer", "sft", "silent"}
    row = scores["sft"]["math"]["corrected"]
    assert (row["score"], row["stderr"], row["n"]) == (100.0, 0.0, 6)
    assert row["interval"][0] < 100.0 == row["interval"][1]
    assert sum(part["n"] for part in row["strata"].values()) == 6
    assert scores["random"]["mmlu"]["corrected"]["score"] == 25.0
    assert scores["random"]["math"]["corrected"]["score"] == 0.0
    assert "answer" in scores["commonest answer"]["math"]["corrected"]
    assert {"correct", "incorrect", "not_attempted", "f1"} <= scores["sft"]["simpleqa"]["corrected"].keys()


def test_a_base_model_is_asked_by_examples_in_the_better_format(folder, replies, tmp_path):
    run(folder, tmp_path, replies, made=("pretrain",), few_shot=1)
    first = json.loads((tmp_path / "pretrain" / "math" / "responses.jsonl").read_text().splitlines()[0])
    assert first["prompt"].count("?") >= 2
    assert "End with" not in first["prompt"]
    assert {trial["form"] for trial in json.loads((tmp_path / "pretrain" / "math" / "formats.json").read_text())} == {
        "bare",
        "labelled",
    }
    assert json.loads((tmp_path / "scores.json").read_text())["pretrain"]["math"]["corrected"]["format"] == "bare"


def test_one_set_of_weights_is_asked_once(folder, replies, tmp_path):
    asked = []

    def open_model(path):
        def reply(prompt, occurrence):
            asked.append(prompt)
            return ""

        return ScriptedCompleter(reply, name="same weights")

    config = EvaluateConfig(benchmarks=("math",))
    models = {"judged_dpo": folder, "breakfix": folder}
    evaluate(config, benchmarks=folder, models=models, open_model=open_model, seed=0, out=tmp_path)
    assert len(asked) == 6
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["judged_dpo"] == scores["breakfix"]


def test_a_second_run_after_a_kill_gives_the_same_bytes(folder, replies, tmp_path):
    run(folder, tmp_path / "whole", replies, made=("sft", "pretrain"))
    run(folder, tmp_path / "torn", replies, made=("sft", "pretrain"))
    torn = tmp_path / "torn" / "sft" / "mmlu" / "responses.jsonl"
    torn.write_bytes(torn.read_bytes()[:-40])
    (tmp_path / "torn" / "scores.json").unlink()
    (tmp_path / "torn" / "pretrain" / "drop" / "responses.jsonl").unlink()
    run(folder, tmp_path / "torn", replies, made=("sft", "pretrain"))
    wholes = {path.relative_to(tmp_path / "whole"): path.read_bytes() for path in files(tmp_path / "whole")}
    assert {path.relative_to(tmp_path / "torn"): path.read_bytes() for path in files(tmp_path / "torn")} == wholes


def test_only_the_named_models_and_benchmarks_are_evaluated(folder, replies, tmp_path):
    run(folder, tmp_path, replies, made=("sft", "silent"), benchmarks=("math",))
    assert [path.name for path in (tmp_path / "sft").iterdir()] == ["math"]


def test_the_last_model_is_scored_under_one_name_whatever_made_it(folder, replies, tmp_path):
    for maker in ("sft", "silent"):
        models = ("silent", "sft") if maker == "sft" else ("sft", "silent")
        run(folder, tmp_path / maker, replies, models, benchmarks=("math",), models=("last",))
    scores = {maker: json.loads((tmp_path / maker / "scores.json").read_text()) for maker in ("sft", "silent")}
    assert [scores[maker]["last"]["math"]["corrected"]["score"] for maker in scores] == [100.0, 0.0]
    assert (tmp_path / "sft" / "last" / "math" / "graded.jsonl").is_file()


def test_the_stage_tells_every_number_that_the_four_arms_are_measured_by(folder, replies, tmp_path):
    names = tuple(sorted({name for one in load_study("four-arms").study.measures.values() for name in one.numbers}))
    summary = run(folder, tmp_path, replies, benchmarks=("mmlu", "simpleqa"), models=("last",))
    asked = [name.removeprefix("evaluate/") for name in names if name.split("/")[2] in ("mmlu", "simpleqa")]
    assert len(asked) == 4
    assert {name: type(summary[name]) for name in asked} == dict.fromkeys(asked, float)
    assert {name.split("/")[2] for name in names} == {*NAMES, "ifeval"}


def test_mistakes_are_one_clear_line(folder, replies, tmp_path):
    with pytest.raises(UserError, match="No benchmark arc"):
        parse(EvaluateConfig, {"benchmarks": ["arc"]}, "recipe")
    config = EvaluateConfig(models=("dpo",))
    with pytest.raises(UserError, match="made no model"):
        evaluate(config, benchmarks=folder, models={"sft": folder}, open_model=ScriptedCompleter, seed=0, out=tmp_path)
    with pytest.raises(UserError, match=r"strata\.json"):
        run(tmp_path, tmp_path / "out", replies)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())
