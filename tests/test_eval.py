import csv
import gzip
import hashlib
import json
import random

import pytest

from phidelity.completion import Completion, SamplingParams, ScriptedCompleter, Usage
from phidelity.config import UserError
from phidelity.eval.benchmark import GradingContext
from phidelity.eval.benchmarks.gpqa import orders
from phidelity.eval.evaluate import ask_chat, ask_text, choose, grade_responses, respond, try_formats
from phidelity.eval.few_shot import in_turn, question, render, solution
from phidelity.eval.store import ResponseStore, read_graded, write_graded
from phidelity.eval.suite import BENCHMARKS, benchmark
from phidelity.eval.summary import Answers, expected, summarise
from phidelity.grading.code import isolation
from phidelity.records import Conversation, Problem, Score

GREEDY = SamplingParams()
CODE = GradingContext(allow_code=True)
TEST = "def check(candidate):\n    assert candidate(3) == {}\n"


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_gz(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


@pytest.fixture
def folder(tmp_path):
    """Small files in the official formats, written by hand."""
    options = ("red", "None", "NA", "blue, or green")
    mmlu = [(f"Which one, {n}?", *options, "ABCD"[n % 4], "colours") for n in range(200)]
    write_csv(tmp_path / "mmlu.csv", ("Question", "A", "B", "C", "D", "Answer", "Subject"), mmlu)
    maths = [("1 + 1?", "2"), ("Half of 1?", "\\frac{1}{2}"), ("The point?", "(1,2)"), ("Many?", "1,000")]
    write_csv(tmp_path / "math_test.csv", ("Question", "Answer"), maths)
    header = (
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
        "Record ID",
    )
    gpqa = [(f"Why {n}?", "right", "wrong", "worse", "worst", f"rec{n}") for n in range(200)]
    write_csv(tmp_path / "gpqa_diamond.csv", header, gpqa)
    (tmp_path / "mgsm_en.tsv").write_text("How many?\t1,200\nAnd now?\t7\n")
    (tmp_path / "mgsm_de.tsv").write_text("Wie viele?\t1,200\nUnd jetzt?\t7\n", encoding="utf-8")
    passage = "Passage: The house is red. It has 5.3 rooms.\nQuestion: {}\nAnswer:"
    drop = [("Which colour?", "red"), ("How many rooms?", "5.3|5"), ("What is it?", "the house")]
    rows = [{"context": passage.format(q), "completion": f" {a}", "ref_text": a} for q, a in drop]
    write_gz(tmp_path / "drop_v0_dev.jsonl.gz", rows)
    programs = [
        {
            "task_id": f"Tiny/{n}",
            "prompt": f'import math\n\ndef add_{n}(x):\n    """Return x plus {n}."""\n',
            "entry_point": f"add_{n}",
            "canonical_solution": f"    return x + {n}\n",
            "test": TEST.format(3 + n),
        }
        for n in range(3)
    ]
    write_gz(tmp_path / "HumanEval.jsonl.gz", programs)
    facts = [("Who is it?", "Anna Meyer"), ("When?", "3 May 1900"), ("How many?", "120,000"), ("Where?", "Brook")]
    simple = [("{'topic': 'Art', 'answer_type': 'Person', 'urls': []}", *fact) for fact in facts]
    write_csv(tmp_path / "simple_qa_test_set.csv", ("metadata", "problem", "answer"), simple)
    return tmp_path


def oracle_answer(problem):
    if problem.checker == "code":
        return f"```python\n{problem.meta['code']}{problem.reference}```"
    if problem.checker == "text":
        return f"It is {problem.reference}."
    return f"Let us think.\nAnswer: {problem.reference.split('|')[0]}"


def answers_by(reply, problems):
    by_prompt = {problem.prompt: problem for problem in problems}
    return ScriptedCompleter(lambda prompt, _: reply(by_prompt[prompt.messages[-1].content]))


def answer(completer, one, problems, path, context=CODE):
    responses = respond(completer, one, problems, ask_chat, GREEDY, path)
    grading = grade_responses(one, problems, responses, ("corrected",), context)
    return Answers(problems, responses, grading.graded)


def row(completer, one, problems, path, context=CODE):
    return summarise(one, "corrected", answer(completer, one, problems, path, context))


def score(one, folder, reply, path):
    problems = one.load(folder)
    return row(answers_by(reply, problems), one, problems, path)


@pytest.mark.parametrize("one", BENCHMARKS, ids=lambda one: one.name)
def test_an_oracle_scores_100_and_silence_0(one, folder, tmp_path):
    if one.name == "humaneval" and isolation().startswith("none"):
        pytest.skip(isolation())
    perfect = score(one, folder, oracle_answer, tmp_path / "perfect.jsonl")
    silent = score(one, folder, lambda problem: "", tmp_path / "silent.jsonl")
    assert (perfect["score"], perfect["undetermined"]) == (100.0, 0)
    assert (silent["score"], silent["undetermined"]) == (0.0, 0)


@pytest.mark.parametrize("name", ["mmlu", "gpqa"])
def test_a_random_letter_scores_its_baseline_within_two_errors(name, folder, tmp_path):
    rng = random.Random(0)
    found = score(benchmark(name), folder, lambda problem: f"Answer: {rng.choice('ABCD')}", tmp_path / "r.jsonl")
    chance = expected(benchmark(name), found["n"])
    assert chance["score"] == 25.0
    assert abs(found["score"] - chance["score"]) <= 2 * chance["stderr"]


def test_a_word_that_looks_like_a_missing_value_stays_a_word(folder):
    assert "B) None\nC) NA\n" in benchmark("mmlu").load(folder)[0].prompt


def test_gpqa_options_stand_in_the_order_of_simple_evals():
    digest = hashlib.sha256(json.dumps(orders(198)).encode()).hexdigest()
    assert digest.startswith("786da7a7011423ee")
    letters = ["ABCD"[order.index(0)] for order in orders(198)]
    assert [letters.count(letter) for letter in "ABCD"] == [56, 47, 47, 48]


def test_ids_are_the_datasets_own_or_row_numbers(folder):
    ids = {one.name: [problem.id for problem in one.load(folder)] for one in BENCHMARKS}
    assert ids["gpqa"][0] == "rec0"
    assert ids["mgsm"] == ["en/0", "en/1", "de/0", "de/1"]
    assert ids["humaneval"][0] == "Tiny/0"
    assert ids["mmlu"][:2] == ["0", "1"]


def test_questions_on_one_passage_are_a_cluster(folder):
    assert len({problem.meta["cluster"] for problem in benchmark("drop").load(folder)}) == 1


def test_german_grouping_is_read_in_german_items(folder, tmp_path):
    reply = {"en": "Answer: 1,200", "de": "Antwort: 1.200"}
    found = score(benchmark("mgsm"), folder, lambda problem: reply[problem.meta["language"]], tmp_path / "r.jsonl")
    assert found["score"] == 50.0


def test_programs_are_undetermined_unless_they_may_run(folder, tmp_path):
    one = benchmark("humaneval")
    problems = one.load(folder)
    found = row(answers_by(oracle_answer, problems), one, problems, tmp_path / "r", GradingContext())
    assert (found["score"], found["undetermined"], found["n"]) == (None, 3, 0)


def test_simpleqa_reports_three_shares_and_f1(folder, tmp_path):
    replies = {"0": "Anna Meyer", "1": "I do not know.", "2": "Bert", "3": "Brook"}
    found = score(benchmark("simpleqa"), folder, lambda problem: replies[problem.id], tmp_path / "r.jsonl")
    # correct 1/2, of what was attempted 2/3: harmonic mean 4/7
    assert (found["correct"], found["incorrect"], found["not_attempted"]) == (50.0, 25.0, 25.0)
    assert found["f1"] == pytest.approx(400 / 7, abs=1e-4)


def test_strata_stand_apart(folder, tmp_path):
    one = benchmark("math")
    problems = one.load(folder)
    found = answer(answers_by(oracle_answer, problems), one, problems, tmp_path / "r")
    wrong = found.graded[0].model_copy(update={"scores": {"corrected": Score(value=0.0)}})
    strata = {"0": "seen", "1": "seen", "2": "range", "3": "template"}
    found = summarise(one, "corrected", found._replace(graded=[wrong, *found.graded[1:]]), strata)["strata"]
    assert {name: (part["score"], part["n"]) for name, part in found.items()} == {
        "seen": (50.0, 2),
        "range": (100.0, 1),
        "template": (100.0, 1),
    }


class Refusing(ScriptedCompleter):
    def complete(self, prompts, params, on_done=None):
        usage = Usage(prompt_tokens=999, completion_tokens=0)
        return [Completion(text="", finish_reason=self.name, usage=usage) for _ in prompts]


def test_a_prompt_over_the_context_is_wrong_and_counted(folder, tmp_path):
    one = benchmark("math")
    problems = one.load(folder)
    refusing = Refusing(lambda *_: "", name="context_exceeded")
    found = row(refusing, one, problems, tmp_path / "r")
    assert (found["score"], found["context_exceeded"]) == (0.0, 4)


def test_a_failed_endpoint_leaves_answers_missing_never_zero(folder, tmp_path):
    one = benchmark("math")
    problems = one.load(folder)
    failing = Refusing(lambda *_: "", name="error")
    found = row(failing, one, problems, tmp_path / "r")
    assert (found["score"], found["missing"], found["undetermined"]) == (None, 4, 0)
    assert found["withheld"] == "4 answers are missing: the endpoint failed"
    assert row(answers_by(oracle_answer, problems), one, problems, tmp_path / "r")["score"] == 100.0


def test_a_null_content_is_wrong_explained_and_counted(folder, tmp_path):
    one = benchmark("math")
    problems = one.load(folder)
    found = answer(Refusing(lambda *_: "", name="null"), one, problems, tmp_path / "r")
    assert found.graded[0].scores["corrected"].explanation.startswith("the endpoint sent no content; ")
    assert summarise(one, "corrected", found)["null_content"] == 4


def test_a_run_killed_at_any_byte_resumes_to_the_same_bytes(folder, tmp_path):
    one = benchmark("mmlu")
    problems = one.load(folder)[:10]
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    respond(answers_by(oracle_answer, problems), one, problems, ask_chat, GREEDY, whole)
    data = whole.read_bytes()
    for cut in range(0, len(data) + 1, 97):
        torn.write_bytes(data[:cut])
        respond(answers_by(oracle_answer, problems), one, problems, ask_chat, GREEDY, torn)
        assert torn.read_bytes() == data, cut


def test_answers_that_stand_are_not_asked_again(folder, tmp_path):
    one = benchmark("mmlu")
    problems = one.load(folder)[:10]
    path = tmp_path / "r.jsonl"
    respond(answers_by(oracle_answer, problems), one, problems, ask_chat, GREEDY, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b'{"id": "damaged"}\n', *lines[4:6], lines[6][:40]]))
    completer, told = answers_by(oracle_answer, problems), []
    respond(completer, one, problems, ask_chat, GREEDY, path, told.append)
    assert completer.calls == 5
    assert told == [5, 1, 1, 1, 1, 1]
    assert path.read_bytes().splitlines(keepends=True) == lines


def test_what_came_before_an_endpoint_died_is_kept(folder, tmp_path):
    one = benchmark("mmlu")
    problems = one.load(folder)[:10]

    def dying(problem):
        if problem.id == "7":
            raise UserError("The endpoint did not answer.")
        return oracle_answer(problem)

    with pytest.raises(UserError, match="did not answer"):
        respond(answers_by(dying, problems), one, problems, ask_chat, GREEDY, tmp_path / "r")
    assert len((tmp_path / "r").read_text().splitlines()) == 7
    completer = answers_by(oracle_answer, problems)
    assert len(respond(completer, one, problems, ask_chat, GREEDY, tmp_path / "r")) == 10
    assert completer.calls == 3


def test_answers_to_other_questions_are_set_aside_and_found_again(folder, tmp_path):
    one = benchmark("mmlu")
    problems = one.load(folder)[:6]
    path = tmp_path / "responses.jsonl"
    warm = GREEDY.model_copy(update={"temperature": 0.5})
    completer = answers_by(oracle_answer, problems)
    first = respond(completer, one, problems, ask_chat, GREEDY, path)
    data = path.read_bytes()
    respond(completer, one, problems[:2], ask_chat, warm, path)
    assert len(path.read_text().splitlines()) == 2
    assert completer.calls == 8
    assert respond(completer, one, problems, ask_chat, GREEDY, path) == first
    assert (completer.calls, path.read_bytes()) == (8, data)


def test_repeats_are_drawn_apart_and_are_one_cluster(folder, tmp_path):
    one = benchmark("math")
    problems = one.load(folder)
    completer = ScriptedCompleter(lambda prompt, repeat: f"Answer: {2 if repeat < 2 else 7}")
    responses = respond(completer, one, problems, ask_chat, GREEDY, tmp_path / "r", repeats=3)
    assert [(one.id, one.repeat) for one in responses[::4]] == [("0", 0), ("0", 1), ("0", 2)]
    graded = grade_responses(one, problems, responses, ("corrected",), CODE).graded
    found = summarise(one, "corrected", Answers(problems, responses, graded, repeats=3))
    assert found["n"] == 12
    assert found["score"] == pytest.approx(100 * 2 / 12, abs=1e-3)
    assert found["pass@1"] == pytest.approx(100 * 2 / 12, abs=1e-3)
    assert found["pass@2"] == 25.0
    # problem means 2/3, 0, 0, 0: their plain standard error
    assert found["stderr"] == pytest.approx(100 / 6, abs=1e-3)


def test_a_torn_line_is_cut_off_before_anything_is_appended(folder, tmp_path):
    (tmp_path / "r").write_bytes(b'{"id": "0", "rep')
    with ResponseStore(tmp_path / "r") as store:
        assert store.settle([]) == []
    assert (tmp_path / "r").read_bytes() == b""


def test_a_limit_is_the_same_choice_each_time_and_part_of_a_larger_one():
    items = list(range(1000))
    assert choose(items, 50) == choose(items, 50) == sorted(choose(items, 50))
    assert set(choose(items, 50)) < set(choose(items, 100))
    assert choose(items, None) == choose(items, 5000) == items


def test_grades_survive_the_disk(folder, tmp_path):
    one = benchmark("drop")
    problems = one.load(folder)
    graded = answer(answers_by(oracle_answer, problems), one, problems, tmp_path / "r").graded
    write_graded(tmp_path, graded)
    assert read_graded(tmp_path) == graded
    assert len({one.cluster for one in graded}) == 1
    assert read_graded(tmp_path / "nothing") == []


def test_one_clear_line_for_missing_and_damaged_files(folder):
    (folder / "mmlu.csv").unlink()
    (folder / "math_test.csv").write_text("Question,Solution\na,b\n")
    (folder / "gpqa_diamond.csv").write_text("")
    (folder / "mgsm_en.tsv").write_text("no tab here\n")
    (folder / "drop_v0_dev.jsonl.gz").write_bytes(b"no gzip")
    data = (folder / "HumanEval.jsonl.gz").read_bytes()
    (folder / "HumanEval.jsonl.gz").write_bytes(data[: len(data) // 2])
    (folder / "simple_qa_test_set.csv").write_bytes(b"metadata,problem,answer\n\xff\xfe,b,c\n")
    for one in BENCHMARKS:
        with pytest.raises(UserError) as found:
            one.load(folder)
        assert str(folder) in str(found.value)


def test_a_letter_beyond_d_and_a_short_row_are_refused(folder):
    write_csv(folder / "mmlu.csv", ("Question", "A", "B", "C", "D", "Answer", "Subject"), [("q", *"1234", "E", "s")])
    with pytest.raises(UserError, match="row 0, Answer is 'E'"):
        benchmark("mmlu").load(folder)
    write_csv(folder / "math_test.csv", ("Question", "Answer"), [("only a question",)])
    with pytest.raises(UserError, match="row 0 has no Answer"):
        benchmark("math").load(folder)


def test_an_unknown_benchmark_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="mmlu, gpqa, math"):
        benchmark("arc")


def development(name, n, **meta):
    return Problem(
        id=f"{name}/{n}",
        prompt=f'{n} + 1?\nWork step by step. End with "Answer: " and the result.',
        reference=str(n + 1),
        checker="number",
        meta={"benchmark": "math", "family": name, "language": "en", **meta},
    )


def test_examples_are_shown_as_textbooks_write_them():
    exemplar, asked = development("sum", 1, solution="1 + 1 = 2.\nAnswer: 2"), development("sum", 5)
    assert render("bare", [exemplar], asked) == "1 + 1?\n1 + 1 = 2.\nAnswer: 2\n\n5 + 1?\n"
    labelled = "Question: 1 + 1?\nSolution: 1 + 1 = 2.\nAnswer: 2\n\nQuestion: 5 + 1?\nSolution:"
    assert render("labelled", [exemplar], asked) == labelled


def test_every_instruction_is_left_out(folder):
    for one in BENCHMARKS:
        for problem in one.load(folder):
            assert "End with" not in question(problem)
            assert "Schließe" not in question(problem)
            assert "```" not in question(problem)


def test_a_function_is_shown_with_its_body(folder):
    problem = benchmark("humaneval").load(folder)[1]
    assert solution(problem) == "    return x + 1"
    assert render("labelled", [], problem) == problem.meta["code"]
    as_item = problem.model_copy(update={"reference": "def add_1(x):\n    return x + 1\n"})
    assert solution(as_item) == "    return x + 1"


def test_families_take_turns():
    problems = [development(name, n) for name in ("a", "b") for n in range(4)]
    assert [one.id for one in in_turn(problems, 3)] == ["a/0", "b/0", "a/1"]


def by_arithmetic(prompt, occurrence):
    n = int(prompt.rpartition(" + 1?")[0].split()[-1])
    return f"Answer: {n + 1}" if "Solution:" in prompt else "no idea"


def test_the_format_that_does_better_comes_first():
    problems = [development("sum", n) for n in range(6)]
    one = benchmark("math")
    tried = try_formats(ScriptedCompleter(by_arithmetic), one, problems[:2], problems[2:], GREEDY, 2)
    assert tried == [("labelled", 2, 100.0, True), ("bare", 2, 0.0, True)]


class Short(ScriptedCompleter):
    """Refuses what is longer than seventy characters."""

    def complete(self, prompts, params, on_done=None):
        said = ScriptedCompleter.complete(self, prompts, params)
        return [
            answer.model_copy(update={"finish_reason": "context_exceeded"}) if len(prompt) > 70 else answer
            for prompt, answer in zip(prompts, said, strict=True)
        ]


def test_examples_that_do_not_fit_are_left_out():
    problems = [development("sum", n) for n in range(6)]
    tried = try_formats(Short(by_arithmetic), benchmark("math"), problems[:2], problems[2:], GREEDY, 2)
    assert [(trial.shots, trial.fits) for trial in tried] == [(1, True), (1, True)]


def test_examples_are_in_the_language_of_the_problem():
    english, german = development("sum", 1), development("summe", 2, language="de")
    ask = ask_text("bare", [english, german], 1)
    assert "Antwort: 3" in str(ask(german))
    assert "Answer: 2" not in str(ask(german))


def test_a_chat_is_one_message_of_the_user(folder):
    problem = benchmark("math").load(folder)[0]
    prompt = ask_chat(problem)
    assert isinstance(prompt, Conversation)
    assert [(one.role, one.content) for one in prompt.messages] == [("user", problem.prompt)]
