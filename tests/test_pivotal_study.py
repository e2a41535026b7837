"""The miniature experiment: its problems, the pairs of its controls, and its two packaged studies."""

import random
from pathlib import Path

import pytest
from preference_world import TOKENIZER, TabularCompleter, speaker

from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.grading.check import check
from phidelity.pipeline.pivotal_study import Base, full_pairs, random_pairs
from phidelity.pipeline.study_file import load_study
from phidelity.preference.pivotal import Found
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import Prefix, Rollouts
from phidelity.preference.screen import Screened
from phidelity.problems.ways import WAYS, draw, solution
from phidelity.records import Problem

MODEL = speaker(q=(("Well, 7\nAnswer: 7", 0.5), ("Now, 1\nAnswer: 1", 0.5)))


@pytest.mark.parametrize(("task", "low", "high"), [("natural", 0.6, 0.85), ("planted", 0.9, 1.0)])
def test_solutions_are_right_but_for_slips_and_the_planted_choice_is_their_first_line(task, low, high):
    rng = random.Random(0)
    problems = [draw("train", 0, index) for index in range(200)]
    texts = [solution(problem, task, rng) for problem in problems]
    right = [check(problem, text).value for problem, text in zip(problems, texts, strict=True)]
    assert low < sum(right) / len(right) < high
    assert ({text.split("\n")[0] for text in texts} == set(WAYS)) == (task == "planted")


def test_no_held_out_problem_occurs_in_training_whatever_the_seed():
    train = {draw("train", seed, i).prompt for seed in (0, 1) for i in range(300)}
    assert not train & {draw("test", 0, i).prompt for i in range(300)}


def base(folder):
    problems = [Problem(id=f"q{i}", prompt=f"q {i}", reference="7", checker="number") for i in range(2)]
    questions = ask(problems, TOKENIZER, n_reasoning=2, n_facts=0, allow_code=False, rng=random.Random(0)).questions
    params = SamplingParams(temperature=1.0, max_tokens=40)
    completer = TabularCompleter(MODEL)
    rollouts = Rollouts(
        folder, questions=questions, completer=completer, params=params, oracle=check, tokenizer=TOKENIZER
    )
    rollouts.draw([Prefix("q0"), Prefix("q1")], "screen", 0, 16)
    return Base(folder, rollouts, Screened({}, {}), Found([], [], []), [], 32)


def test_controls_are_made_of_the_rollouts_that_are_there(tmp_path):
    world = base(tmp_path)
    full = full_pairs(world, 5, random.Random(0))
    assert {TOKENIZER.decode(one.chosen[:-1]) for one in full} == {"Well, 7\nAnswer: 7"}
    assert {TOKENIZER.decode(one.rejected[:-1]) for one in full} == {"Now, 1\nAnswer: 1"}
    assert all(one.chosen[-1] == TOKENIZER.im_end and one.kind == "full" for one in full)
    drawn = random_pairs(world, 40, random.Random(0))
    assert {TOKENIZER.decode(one.chosen + one.rejected) for one in drawn} == {"WN", "NW"}
    assert world.rollouts.census()["rollouts"] == 32


@pytest.mark.parametrize(("name", "n_seeds"), [("pivotal", 5), ("pivotal-planted", 2)])
def test_both_studies_are_packaged(name, n_seeds):
    study = load_study(name).study
    assert len(study.seeds) == n_seeds
    assert {one.options["arm"] for one in study.variants.values()} == set(study.variants)


def test_an_unknown_study_is_refused():
    with pytest.raises(UserError, match="pivotal"):
        load_study(str(Path("pivotal-other")))
