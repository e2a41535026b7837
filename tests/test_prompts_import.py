import os
from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.eval.benchmark import messages
from phidelity.eval.prompts import HASHES, digest, import_prompts, read_prompts
from phidelity.eval.suite import BENCHMARKS, benchmark
from phidelity.records import Problem

REAL = Path(os.environ.get("PHI_SIMPLE_EVALS", "absent"))
DATA = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "evals"
LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")

FILES = {
    "common.py": '''
import nothing_that_exists
QUERY_TEMPLATE_MULTICHOICE = """
Choose. {Question}
{A} {B} {C} {D}
""".strip()
PATTERN = "(?i){}\\s*"
EQUALITY_TEMPLATE = r"""
Same? %(expression1)s %(expression2)s
""".strip()
raise SystemExit("this file must never run")
''',
    "math_eval.py": 'QUERY_TEMPLATE = """\nSolve {Question} \\\\boxed\n""".strip()\n',
    "mgsm_eval.py": "LANG_TO_INSTRUCTIONS = {\n"
    + "".join(f'    "{one}": """{one}: {{input}}""",\n' for one in LANGUAGES)
    + "}\n",
    "drop_eval.py": '''
class DropEval:
    def __call__(self, sampler):
        def fn(example):
            prompt = """Read."""
            prompt += "\\n\\n# E"
            for i, sample in enumerate(samples):
                is_test = i == 3
                prompt += "\\n# T\\n" if is_test else ""
                prompt += f"""
---
{sample["context"]} """
                if not is_test:
                    prompt += a + "\\n"
                else:
                    prompt += """\\n
Reason.
   """
''',
    "humaneval_eval.py": 'class E:\n    def __call__(self, s):\n        instruction = "Implement.\\n"\n',
    "simpleqa_eval.py": 'GRADER_TEMPLATE = """\nGrade {question} {target} {predicted_answer}\n""".strip()\n',
    "sampler/chat_completion_sampler.py": 'OPENAI_SYSTEM_MESSAGE_API = "Be useful."\n',
}


@pytest.fixture
def checkout(tmp_path):
    """A made-up checkout of the same structure, with other words."""
    for name, text in FILES.items():
        path = tmp_path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "checkout"


def test_texts_are_read_without_running_anything(checkout, tmp_path):
    report = import_prompts(checkout, tmp_path / "cache", hashes={})
    texts = read_prompts(tmp_path / "cache")
    assert report.n_texts == len(texts) == len(HASHES)
    assert texts["multiple_choice"] == "Choose. {Question}\n{A} {B} {C} {D}"
    assert texts["math"] == "Solve {Question} \\boxed"
    assert texts["drop/passage"] == "\n---\n{} "
    assert texts["drop/tail"] == "\n\nReason.\n   "
    assert texts["system"] == "Be useful."
    assert set(texts) == set(HASHES)


def test_hashes_decide_and_nothing_is_kept_of_a_wrong_checkout(checkout, tmp_path):
    with pytest.raises(UserError, match=r"multiple_choice \(.*expected d4d85337bbd54659\)"):
        import_prompts(checkout, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_right_hashes_are_accepted_and_counted(checkout, tmp_path):
    hashes = {"math": digest("Solve {Question} \\boxed"), "system": digest("Be useful.")}
    assert import_prompts(checkout, tmp_path / "cache", hashes).n_checked == 2


def test_what_is_missing_is_said(checkout, tmp_path):
    (checkout / "drop_eval.py").write_text("x = 1\n")
    with pytest.raises(UserError, match="lacks the texts drop/tail"):
        import_prompts(checkout, tmp_path / "cache", hashes={"drop/tail": ""})
    (checkout / "math_eval.py").write_bytes(b"\xff\xfe = (")
    with pytest.raises(UserError, match="no Python file"):
        import_prompts(checkout, tmp_path / "cache")
    (checkout / "math_eval.py").unlink()
    with pytest.raises(UserError, match="simple-evals at a8e85cc"):
        import_prompts(checkout, tmp_path / "cache")


def test_without_an_import_the_way_to_it_is_said(tmp_path):
    with pytest.raises(UserError, match="phi import-prompts DIR"):
        read_prompts(tmp_path)
    (tmp_path / "simple-evals-prompts.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_prompts(tmp_path)


def test_messages_are_ours_or_theirs_after_the_system_message(checkout, tmp_path):
    import_prompts(checkout, tmp_path / "cache", hashes={})
    texts = read_prompts(tmp_path / "cache")
    problem = Problem(id="0", prompt="ours", reference="2", checker="number", meta={"question": "1 + 1?"})
    one = benchmark("math")
    assert [message.content for message in messages(one, problem)] == ["ours"]
    assert [message.content for message in messages(one, problem, texts)] == ["Be useful.", "Solve 1 + 1? \\boxed"]
    with pytest.raises(UserError, match="needs math"):
        messages(one, problem, {})


def test_drop_shows_three_solved_passages_of_others(tmp_path, checkout):
    import gzip
    import json

    import_prompts(checkout, tmp_path / "cache", hashes={})
    rows = [
        {"context": f"Passage: p{n // 2}.\nQuestion: q{n}?\nAnswer:", "completion": f" a{n}", "ref_text": f"a{n}"}
        for n in range(40)
    ]
    (tmp_path / "drop_v0_dev.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    one = benchmark("drop")
    problem = one.load(tmp_path)[4]
    text = messages(one, problem, read_prompts(tmp_path / "cache"))[-1].content
    shown = text.split("\n---\n")
    assert len(shown) == 5
    assert shown[0] == "Read.\n\n# E"
    assert "p2." not in "".join(shown[1:4])
    assert shown[3].endswith("\n\n# T\n")
    assert shown[4] == "Passage: p2.\nQuestion: q4?\nAnswer: \n\nReason.\n   "


@pytest.mark.parity
@pytest.mark.skipif(not (REAL / "common.py").is_file(), reason="PHI_SIMPLE_EVALS names no checkout")
def test_the_real_checkout_gives_every_published_hash(tmp_path):
    assert import_prompts(REAL, tmp_path).n_checked == len(HASHES)
    texts = read_prompts(tmp_path)
    assert digest(texts["math"].format(Question="1+1?")) == "d71aeec3625aa8ad"
    assert all(name in texts for one in BENCHMARKS for name in one.needs + one.judge_needs)


@pytest.mark.parity
@pytest.mark.skipif(not ((REAL / "common.py").is_file() and DATA.is_dir()), reason="PHI_SIMPLE_EVALS, PHI_TEST_DATA")
@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("mmlu", "0", "236f31e90e48e4a4"),
        ("mgsm", "en/0", "43e0f21aeb25f80e"),
        ("humaneval", "HumanEval/0", "64552455948f71cd"),
    ],
)
def test_rendered_items_are_theirs_byte_for_byte(name, place, expected, tmp_path):
    import_prompts(REAL, tmp_path)
    one = benchmark(name)
    problem = next(problem for problem in one.load(DATA) if problem.id == place)
    assert digest(messages(one, problem, read_prompts(tmp_path))[-1].content) == expected


@pytest.mark.parity
@pytest.mark.skipif(not ((REAL / "common.py").is_file() and DATA.is_dir()), reason="PHI_SIMPLE_EVALS, PHI_TEST_DATA")
def test_a_rendered_drop_item_is_theirs_byte_for_byte(tmp_path):
    import_prompts(REAL, tmp_path)
    one = benchmark("drop")
    problems = one.load(DATA)
    shots = [[problem.meta["context"], " " + problem.reference.partition("|")[0]] for problem in problems[:3]]
    asked = problems[100].model_copy(update={"meta": problems[100].meta | {"exemplars": shots}})
    assert digest(messages(one, asked, read_prompts(tmp_path))[-1].content) == "93ec689908d32c3e"
