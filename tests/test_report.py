"""Card and report of a small run made by the real stages, with scripted models where a trained one would answer."""

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from preference_world import TOKENIZER, TabularCompleter, speaker

from phidelity.checkpoint.naming import foreign_config
from phidelity.completion import Completer, Prompt, ScriptedCompleter
from phidelity.config import UserError, parse
from phidelity.eval.suite import BENCHMARKS
from phidelity.grading.harm import rules_harm_judge
from phidelity.grading.judge import rules_judge
from phidelity.model.config import ModelConfig, census
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.breakfix import BreakfixConfig, breakfix
from phidelity.pipeline.by_language import by_language
from phidelity.pipeline.corpus import corpus
from phidelity.pipeline.corpus_config import CorpusConfig
from phidelity.pipeline.evaluate import EvaluateConfig, evaluate
from phidelity.pipeline.evidence import read_run, searched_answers
from phidelity.pipeline.judged_pairs import JudgedPairsConfig, judged_pairs
from phidelity.pipeline.manifest import ROAD, Cost, Ingredients, Manifest, hash_outputs, write_manifest
from phidelity.pipeline.pivotal_pairs import PivotalPairsConfig, pivotal_pairs
from phidelity.pipeline.report import CARD, REPORT, write_report
from phidelity.pipeline.scoreboard import direction, mini, scoreboard
from phidelity.pipeline.synthetic import SyntheticConfig, synthetic
from phidelity.preference.known import KnownConfig
from phidelity.problems.policy import REFUSAL
from phidelity.records import Problem, write_json, write_records
from phidelity.safety.attacks import rules_attacker
from phidelity.safety.privacy import canaries
from phidelity.statistics import paired_difference

HOSTILE = "</pre><script>alert('x')</script>"
SHAPE = ModelConfig(
    n_layers=2, d_model=16, n_heads=4, n_kv_heads=1, d_ff=56, vocab_size=352, context_len=512, rope_theta=10000.0
)
SKILL = {"pretrain": 0.1, "sft": 0.9, "judged_dpo": 0.2}
"""Share of right answers by model: the last stage does harm."""
GROUPS = ("web", "web_rewrites", "synthetic", "code", "acquired")


def finish(run: Path, stage: str, summary: dict) -> None:
    """Write the manifest of a stage whose files stand."""
    (run / stage).mkdir(exist_ok=True)
    ingredients = Ingredients(stage=stage, config={"note": HOSTILE}, tables={}, seed=0, inputs={}, sources={})
    manifest = Manifest(
        fingerprint=ingredients.fingerprint,
        ingredients=ingredients,
        outputs=hash_outputs(run / stage),
        versions={"python": "3.11", "code": "abc"},
        device="a test",
        cost=Cost(seconds=12.5, peak_memory=300_000_000),
        summary=summary,
    )
    write_manifest(run / stage, manifest)


def write_data(run: Path, source: Path) -> None:
    for n in range(8):
        rng = random.Random(n)
        lines = [" ".join(["The", *rng.choices([f"word{i}" for i in range(400)], k=20), "is of it"]) for _ in range(8)]
        (source / f"{n}.txt").write_text(".\n".join(lines) + ".\n")
    (source / "short.txt").write_text(f"{HOSTILE} of the")
    sizes = {"mmlu": 4, "math": 6, "gpqa": 4, "drop": 4, "mgsm": 3, "humaneval": 3, "simpleqa": 6, "development": 16}
    few = dict.fromkeys(SyntheticConfig.model_fields, 4) | {
        "german": 0.5,
        "multilingual": 0.08,
        "conversations": 20,
        "problems": 6,
        "gym": 0,
        "taught": None,
    }
    out = {stage: run / stage for stage in ("benchmarks", "corpus", "synthetic")}
    for folder in out.values():
        folder.mkdir()
    finish(run, "benchmarks", benchmarks(parse(BenchmarksConfig, sizes, ""), seed=0, out=out["benchmarks"]))
    config = CorpusConfig(sources=(str(source),), without=("gopher_stop_words", "ours_odd_pairs"))
    finish(run, "corpus", corpus(config, benchmarks=out["benchmarks"], seed=0, out=out["corpus"]))
    made = synthetic(
        parse(SyntheticConfig, few, ""),
        corpus=out["corpus"],
        benchmarks=out["benchmarks"],
        seed=0,
        out=out["synthetic"],
    )
    finish(run, "synthetic", made)


def write_training(run: Path) -> None:
    TOKENIZER.save(run / "tokenizer")
    rates = {"course_bytes_per_token/en": 3.25, "course_bytes_per_token/hi": 2.5}
    finish(run, "tokenizer", {"vocab_size": TOKENIZER.vocab_size} | rates)
    portions = [{"group": g, "share": 0.2, "tokens": 200, "unique": 100, "epochs": 2.0} for g in GROUPS]
    common = {"steps": 30, "loss": 1.5}
    summaries = {
        "pretrain": {
            "parameters": census(SHAPE).total,
            "tokens": 1000,
            "context_len": 128,
            "validation": {"web": 2.5},
            "mixture": portions,
        },
        "sft": {"trained_tokens": 700, "validation": 1.1},
        "judged_dpo": {"pairs": 9, "held_out_pairs": 2}
        | {f"pairs/{m}{end}": 0.25 for m in MEASURES for end in ("", "/before")},
    }
    for stage, summary in summaries.items():
        rows = [{"step": n, "loss": 9 / n, "lr": 1e-3, "validation/web": 8 / n} for n in (10, 20, 30)]
        write_json(run / stage / "model" / "config.json", foreign_config(SHAPE, TOKENIZER))
        (run / stage / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / stage / "samples.md").write_text(f"## web\n\n**The** {HOSTILE}\n")
        finish(run, stage, common | summary)


MEASURES = ("accuracy", "margin_gained", "chosen_logprob", "rejected_logprob")


def write_pivots(run: Path) -> None:
    """A search through answers that take a good or a bad way."""
    ways = [(f"{way}\nAnswer: {a}", 0.5 * p) for way, right in (("by parts", 0.95), ("at once", 0.05)) for a, p in
            (("7", right), ("1", 1 - right))]  # fmt: skip
    questions = run.parent / "questions"
    write_records(questions / "problems.jsonl", [Problem(id="q", prompt="hard <q>", reference="7", checker="number")])
    shutil.copy(questions / "problems.jsonl", run / "synthetic" / "problems.jsonl")
    config = PivotalPairsConfig(questions=1, searches=1, max_tokens=40, known=KnownConfig(questions=0))
    out = run / "pivotal_pairs"
    out.mkdir()
    summary = pivotal_pairs(
        config,
        synthetic=questions,
        model=run / "tokenizer",
        open_model=lambda _: TabularCompleter(speaker(hard=tuple(ways))),
        seed=0,
        out=out,
    )
    finish(run, "pivotal_pairs", summary)


def write_judged(run: Path) -> None:
    """Answers of a model that is right half of the time, judged by rules."""
    answers = (("So it is.\nAnswer: 7", 0.5), ("It may be.\nAnswer: 1", 0.5))
    out = run / "judged_pairs"
    out.mkdir()
    summary = judged_pairs(
        JudgedPairsConfig(questions=1, older=(), known=KnownConfig(questions=0)),
        synthetic=run.parent / "questions",
        model=run / "tokenizer",
        models={},
        judge=rules_judge(False),
        open_model=lambda _: TabularCompleter(speaker(hard=answers)),
        seed=0,
        out=out,
    )
    finish(run, "judged_pairs", summary)


class Refusing(ScriptedCompleter):
    """Refuses everything, in words that would be markup, and thinks all texts alike."""

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        return [(0.0,) for _ in prompts]


def refuse(_: Path) -> Completer:
    return Refusing(lambda prompt, occurrence: f"{REFUSAL} <b>\x1b[2J</b>", name="refuse")


def write_breakfix(run: Path) -> None:
    model = run / "judged_dpo" / "model"
    TOKENIZER.save(model)
    (model / "model.safetensors").write_text("weights")
    given = {"probes": 2, "fix_probes": 2, "rounds": 2, "fix": {"optim": {"peak_lr": 1e-4}}, "audit": {"pairs": 4}}
    config = parse(BreakfixConfig, given, "")
    write_records(run / "synthetic" / "canaries.jsonl", canaries(0, 1))
    out = run / "breakfix"
    out.mkdir()
    summary = breakfix(
        config,
        benchmarks=run / "benchmarks",
        synthetic=run / "synthetic",
        model=model,
        attacker=rules_attacker(),
        judge=rules_harm_judge(),
        open_model=refuse,
        seed=0,
        out=out,
        trainer=lambda pairs, chats, model, out, seed, progress: Path(shutil.copytree(model, out / "model")),
    )
    finish(run, "breakfix", summary)


def answerer(run: Path) -> Callable[[Path], Completer]:
    """Models that are right as often as `SKILL` says."""
    problems = {problem.prompt: problem for one in BENCHMARKS for problem in one.load(run / "benchmarks")}

    def open_model(path: Path) -> Completer:
        name = path.parent.name

        def reply(prompt: Prompt, occurrence: int) -> str:
            text = prompt if isinstance(prompt, str) else prompt.messages[-1].content  # type: ignore[union-attr]
            problem = problems.get(text)
            right = random.Random(f"{text}").random() < SKILL[name]
            if problem is None or not right:
                return f"{HOSTILE} Answer: 3"
            word = "Antwort" if problem.meta.get("language") == "de" else "Answer"
            return problem.reference if problem.meta.get("topic") else f"{word}: {problem.reference}"

        return ScriptedCompleter(reply, name=name)

    return open_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run directory with most stages done; `midtrain`, `shards`, `export` and others are absent."""
    folder = tmp_path_factory.mktemp("report")
    run, source = folder / "run", folder / "source"
    run.mkdir()
    source.mkdir()
    judge = {"kind": "rules"}
    recipe = {"name": "toy", "title": f"Toy {HOSTILE}", "seed": 0, "judge": judge, "attacker": judge}
    write_json(run / "recipe.json", recipe | {"model": SHAPE.model_dump()})
    (run / "timings.jsonl").write_text('{"stage": "corpus", "began": "2026-01-02T03:04:05+00:00"}\n{"torn')
    write_data(run, source)
    write_training(run)
    write_breakfix(run)
    out = run / "evaluate"
    out.mkdir()
    models = {name: run / name / "model" for name in SKILL}
    summary = evaluate(
        EvaluateConfig(),
        benchmarks=run / "benchmarks",
        models=models,
        open_model=answerer(run),
        seed=0,
        out=out,
    )
    finish(run, "evaluate", summary)
    write_pivots(run)
    write_judged(run)
    write_report(run)
    return run


class Page(HTMLParser):
    """The tags of a page, checked for nesting, with its ids and whatever it would load."""

    VOID = ("meta", "br", "line", "rect", "circle", "polyline", "path", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.loaded += [value or "" for key, value in attrs if key in ("src", "href", "data", "srcset", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def texts(run: Path) -> tuple[str, str]:
    return (run / CARD).read_text(), (run / REPORT).read_text()


def test_the_first_line_says_what_it_is_and_is_not(whole):
    card, report = texts(whole)
    said = f"{census(SHAPE).total:,}-parameter miniature trained by Phidelity; not phi-4; not affiliated with Microsoft"
    assert card.splitlines()[0] == said
    assert f'<p class="banner" role="note">{said}</p>' in report


def test_the_report_is_one_well_formed_file_that_loads_nothing(whole):
    page = Page(texts(whole)[1])
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert all(target.startswith("#") and target[1:] in page.ids for target in page.loaded)
    assert len(set(page.ids)) == len(page.ids)
    assert "@import" not in texts(whole)[1]
    assert "url(" not in texts(whole)[1]


def test_text_of_the_run_stays_text(whole):
    card, report = texts(whole)
    assert "<script" not in report
    assert "&lt;script&gt;" in report
    assert "<script" not in card.replace("\\<script", "")


def test_the_card_has_the_sections_of_phi_4s_card(whole):
    headings = re.findall(r"^## (.*)$", texts(whole)[0], re.MULTILINE)
    assert headings == [
        "Model summary",
        "Intended use",
        "Data overview",
        "Safety",
        "Model quality",
        "Usage",
        "Responsible AI considerations",
    ]


def test_every_row_of_a_table_in_the_card_has_the_cells_of_its_head(whole):
    for table in re.findall(r"(?:^\|.*\|\n)+", texts(whole)[0], re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1


def test_every_score_stands_in_card_and_report_with_its_error(whole):
    card, report = texts(whole)
    scores = json.loads((whole / "evaluate" / "scores.json").read_text())
    assert set(scores) == {"random", "commonest answer", *SKILL}
    for rows in scores.values():
        for row in rows.values():
            if row["corrected"]["score"] is not None:
                score, stderr = f"{row['corrected']['score']:.1f}", f"{row['corrected']['stderr']:.1f}"
                assert f"{score} ± {stderr}" in card
                assert f'{score} <span class="err">± {stderr}</span>' in report


def test_miniatures_never_go_by_the_official_names(whole):
    for text in texts(whole):
        heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>|(?<=\| )([^|]+)(?= \|)", text)
        named = {name.strip() for pair in heads for name in pair}
        assert not named & {one.title for one in BENCHMARKS}
        assert {mini(one.name) for one in BENCHMARKS} <= named


def test_rows_stand_in_the_order_of_the_road_with_the_final_model_last(whole):
    board = scoreboard(read_run(whole))
    assert board
    assert [row.name for row in board.rows] == ["random", "commonest answer", "pretrain", "sft", "judged_dpo"]
    assert board.final.name == "judged_dpo"


def test_each_language_has_its_bytes_per_token_and_its_accuracy(whole):
    run = read_run(whole)
    rows = {one.name: one for one in by_language(run, scoreboard(run))}
    assert list(rows) == ["en", "de", "hi"]
    assert (rows["en"].bytes_per_token, rows["de"].bytes_per_token, rows["hi"].n_problems) == (3.25, None, 0)
    scored = json.loads((whole / "evaluate" / "scores.json").read_text())["sft"]["mgsm"]["corrected"]["score"]
    by = [rows[name].cells[1] for name in ("en", "de")]
    assert sum(one.mean * one.n for one in by if one) / 6 == pytest.approx(scored)
    assert "<h3>By language</h3>" in texts(whole)[1]


def test_a_fall_is_shown(whole):
    board = scoreboard(read_run(whole))
    assert board
    assert board.changes[-1].label == "SFT → after judged DPO"
    falls = [cell for cell in board.changes[-1].cells if cell and direction(cell) == "fell"]
    assert falls
    assert texts(whole)[1].count("▼ fell") == len(falls)


def test_a_change_is_the_paired_difference_of_the_same_problems(whole):
    board = scoreboard(read_run(whole))
    assert board
    paths = [whole / "evaluate" / model / "math" / "graded.jsonl" for model in ("sft", "judged_dpo")]
    before, after = (
        [json.loads(line)["scores"]["corrected"]["value"] for line in path.read_text().splitlines()] for path in paths
    )
    expected = paired_difference(before, after)
    found = board.changes[-1].cells[board.benchmarks.index("math")]
    assert found
    assert found.mean == pytest.approx(100 * expected.mean)
    assert found.low == pytest.approx(100 * expected.low)


def test_transcripts_are_the_first_three_right_or_wrong(whole):
    board = scoreboard(read_run(whole))
    assert board
    said = dict(board.transcripts)["mini-MATH"]
    problems = next(one for one in BENCHMARKS if one.name == "math").load(whole / "benchmarks")
    assert [one.prompt for one in said] == [problem.prompt for problem in problems[:3]]
    assert {one.verdict for one in said} <= {"right", "wrong"}


def test_undetermined_programs_are_said_to_be_so_and_leave_the_mean(whole):
    card, _ = texts(whole)
    assert "undetermined" in card
    assert "(of 6)" in card


def test_a_searched_answer_is_whole_and_marks_its_pivot(whole):
    (searched,) = searched_answers(read_run(whole))
    text = "".join(piece.text for piece in searched.pieces)
    assert re.match(r"(by parts|at once)\nAnswer: [17]", text)
    pivots = [piece for piece in searched.pieces if piece.pivotal]
    assert pivots
    assert all(piece.estimated for piece in pivots)
    assert searched.pieces[0].text in "ba"
    assert abs(searched.pieces[0].p - searched.begins_at) >= 0.2
    assert "hard &lt;q&gt;" in texts(whole)[1]


def test_the_gate_and_every_rule_are_shown_with_their_reasons(whole):
    gate = json.loads((whole / "breakfix" / "rounds" / "0" / "gate.json").read_text())
    card, report = texts(whole)
    assert gate["verdict"] in card
    assert gate["verdict"] in report
    for rule in gate["rules"]:
        assert f'<th scope="row">{rule["name"]}</th>' in report
        assert f"| {rule['name']} | {rule['outcome']} |" in card
    assert "are rules over the problems' own checkers, not models" in card


def test_each_round_its_clusters_and_the_audit_are_shown_and_what_was_said_is_escaped(whole):
    card, report = texts(whole)
    assert "2 rounds on a toy policy domain" in report
    assert "- Round 0: " in card
    assert "- Round 1: " in card
    assert "Content warning" in report
    clusters = json.loads((whole / "breakfix" / "rounds" / "0" / "clusters.json").read_text())
    assert f"{clusters[0]['n']} of {clusters[0]['n_tried']}: {clusters[0]['hazard']}" in report
    assert "&lt;b&gt;\u241b[2J&lt;/b&gt;" in report
    assert "\x1b" not in report
    assert "It cannot show how a model meets real harms" in card
    assert "men's names, women's names" in card
    assert "planted 64 times" in card
    assert "Before the round: a halving of 40 % attack success" in report


def test_the_funnel_shows_each_reason_with_what_decided(whole):
    dropped = json.loads((whole / "corpus" / "dropped.json").read_text())
    _, report = texts(whole)
    assert dropped["samples"]
    for reason, samples in dropped["samples"].items():
        assert f"<h4>{reason}: " in report
        assert f"value {samples[0]['value']}, threshold {samples[0]['threshold']}" in report


def test_writing_again_gives_the_same_bytes(whole):
    before = texts(whole)
    write_report(whole)
    assert texts(whole) == before


def test_a_run_without_stages_has_a_card_that_says_so(tmp_path):
    write_report(tmp_path)
    card, report = texts(tmp_path)
    assert "not phi-4; not affiliated with Microsoft" in card.splitlines()[0]
    assert "The stage `evaluate` is not done in this run" in card
    assert report.count('class="absent"') >= 9
    Page(report)


@pytest.mark.parametrize("stage", ["benchmarks", *(s for s in ROAD if s not in ("benchmarks", "shards", "export"))])
def test_any_one_stage_may_be_absent(whole, tmp_path, stage):
    run = tmp_path / "run"
    shutil.copytree(whole, run, ignore=lambda folder, names: [stage] if Path(folder) == whole else [])
    write_report(run)
    Page(texts(run)[1])


def test_every_file_that_the_pages_are_made_of_lies_inside_the_package():
    package = Path(__file__).parents[1] / "phidelity"
    made_of = {path.name for path in package.rglob("*") if path.suffix in (".html", ".css", ".md")}
    assert {"layout.html", "style.css", "report.html", "MODEL_CARD.md", "evaluation.html"} <= made_of


def test_a_stage_of_another_version_is_refused_in_one_line(whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    finish(run, "pivotal_pairs", {"pairs": 1})
    before = texts(run)
    with pytest.raises(UserError, match=r"questions_in_window.*--force STAGE"):
        write_report(run)
    assert texts(run) == before


def test_what_the_judge_saw_is_counted_and_the_judge_is_called_rules(whole):
    summary = read_run(whole).summary("judged_pairs")
    assert summary
    assert f"pairs made: {summary['pairs']}" in texts(whole)[1]
    assert "(rules over the problems' own checkers, not a model)" in texts(whole)[1].replace("&#39;", "'")
