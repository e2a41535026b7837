"""Plurality, reversal and revision against teachers whose errors are known beforehand."""

import json
import math
import random

import pytest
from scripted_teacher import asked, fenced, field, heads, teacher, well

from phidelity.completion import ScriptedCompleter
from phidelity.problems.families import item
from phidelity.records import Document
from phidelity.synthetic.behaviour import agree, functions, observe, says_enough
from phidelity.synthetic.desk import Desk, Excerpt
from phidelity.synthetic.plurality import plurality
from phidelity.synthetic.reversal import reversal
from phidelity.synthetic.revision import ROUNDS, revise
from phidelity.synthetic.rooms import State, draw


def majority(p: float, n: int) -> float:
    """The chance that more than half of n tries are right (Condorcet)."""
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))


@pytest.mark.parametrize("p", [0.45, 0.55, 0.7, 0.85])
@pytest.mark.parametrize("n", [5, 7, 9])
@pytest.mark.parametrize("n_wrong", [1, 4, 20])
def test_plurality_keeps_the_right_answer_at_least_as_often_as_majority_voting_would(p, n, n_wrong):
    rng = random.Random(f"{p}/{n}/{n_wrong}")
    trials = 4000
    right = 0
    for _ in range(trials):
        tries = ["right" if rng.random() < p else f"wrong {rng.randrange(n_wrong)}" for _ in range(n)]
        vote = plurality(tries, least=0.0, unanimous=2.0)
        right += vote.key == "right" and not vote.reason
    theory = majority(p, n)
    assert right / trials >= theory - 3 * math.sqrt(theory * (1 - theory) / trials)


@pytest.mark.parametrize("p", [0.6, 0.8])
def test_inside_the_window_kept_keys_are_right_as_often_as_the_multinomial_says(p):
    rng, n, trials = random.Random(3), 7, 6000
    kept = right = 0
    for _ in range(trials):
        vote = plurality(["right" if rng.random() < p else f"wrong {rng.randrange(2)}" for _ in range(n)])
        kept += not vote.reason
        right += not vote.reason and vote.key == "right"
    expected_kept, expected_right = window(p, n)
    assert kept / trials == pytest.approx(expected_kept, abs=0.02)
    assert right / kept == pytest.approx(expected_right, abs=0.02)


def window(p: float, n: int) -> tuple[float, float]:
    """By summing the multinomial over three answers: the chance to be kept, and to be right if kept."""
    kept = right = 0.0
    for a in range(n + 1):
        for b in range(n - a + 1):
            c = n - a - b
            chance = math.comb(n, a) * math.comb(n - a, b) * p**a * ((1 - p) / 2) ** (b + c)
            top = max(a, b, c)
            if (a, b, c).count(top) == 1 and 0.4 <= top / n < 1:
                kept += chance
                right += chance * (a == top)
    return kept, right / kept


def test_unanimous_tied_and_scattered_questions_go():
    assert plurality(["4"] * 7).reason == "unanimous"
    assert plurality(["4", "4", "5", "5", None, None, None]).reason == "tied"
    assert plurality(["1", "2", "3", "3", None, None, None]).reason == "incoherent"
    assert plurality([None] * 7).reason == "incoherent"
    assert plurality(["4"] * 5 + ["5", None]) == ("4", 5 / 7, "")


@pytest.fixture(scope="module")
def distinct():
    """Functions of our own families that differ in what they do, with digests of their values."""
    found, digests = {}, []
    for index in range(60):
        source = item("function", "train", 0, index)
        text = f"{source.meta['prompt']}{source.meta['canonical_solution']}"
        for function in functions(text):
            seen = observe(function, function.source)
            if seen and says_enough(seen) and not any(agree(seen, other) for other in digests):
                found[function.source] = function
                digests.append(seen)
        if len(found) == 8:
            break
    assert len(found) >= 4
    return list(found.values())


def test_reversal_rejects_every_planted_mismatch_and_keeps_every_match(distinct):
    documents = [
        Document(id=function.name, text=function.source, source="s", meta={"group": "code"}) for function in distinct
    ]
    bodies = {function.head: function.source for function in distinct}
    swapped = dict(zip(bodies, [*list(bodies.values())[1:], next(iter(bodies.values()))], strict=True))

    def taught(sources):
        def reply(prompt, repeat):
            name, text = asked(prompt)
            if name == "instruct":
                return heads(instruction="Do as I say.")
            head = field(text, "head")
            source = sources[head]
            other = next(function for function in distinct if function.source == source)
            wanted = head.split("(")[0].removeprefix("def ")
            return fenced(f"{source}\n\n{wanted} = {other.name}")

        desk = Desk(ScriptedCompleter(reply), 0)
        return list(reversal(desk, documents, 100)), desk.funnel["reversal"]

    kept, _ = taught(bodies)
    assert len(kept) == len(distinct)
    kept, counts = taught(swapped)
    assert kept == []
    assert counts["dropped/behaves_differently"] + counts["dropped/does_not_run"] == len(distinct)


@pytest.mark.parametrize(
    ("course", "n_marked", "best"),
    [
        ([5, 7, 8, 8, 9], 4, 2),
        ([7, 6, 9, 9, 9], 2, 0),
        ([4, 5, 6, 7, 8], ROUNDS + 1, 4),
        ([10, 10, 10, 10, 10], 1, 0),
    ],
)
def test_revision_stops_when_the_score_stops_rising_and_keeps_the_best(course, n_marked, best):
    marked = []

    def reply(prompt, repeat):
        name, text = asked(prompt)
        if name == "critique":
            marked.append(field(text, "text"))
            names = ("accuracy", "clarity", "depth", "independence")
            return json.dumps(dict.fromkeys(names, course[len(marked) - 1]) | {"suggestion": "mend it"})
        return f"text {len(marked)}"

    desk = Desk(ScriptedCompleter(reply), 0)
    (job,) = desk.jobs("revision", [Excerpt("d", "p")])
    job.notes["text"] = "text 0"
    revise(desk, [job])
    assert len(marked) == n_marked
    assert job.notes["best"] == f"text {best}"
    assert job.verdicts["means"] == course[:n_marked]


def test_a_revision_that_is_lost_leaves_the_best_text():
    calls = []

    def reply(prompt, repeat):
        name, text = asked(prompt)
        calls.append(name)
        return "<|im_end|>" if name == "revise" else well(name, text, repeat)

    desk = Desk(ScriptedCompleter(reply), 0)
    (job,) = desk.jobs("revision", [Excerpt("d", "p")])
    job.notes["text"] = "text 0"
    revise(desk, [job])
    assert (job.dropped, job.notes["best"], calls) == ("", "text 0", ["critique", "revise"])
    assert job.verdicts["lost"] == "marker"
    assert teacher().name == "scripted teacher"


def test_every_house_has_a_way_and_impossible_actions_change_nothing():
    for seed in range(200):
        house = draw(random.Random(seed))
        state = State()
        for action in house.solve():
            state, _ = house.step(state, action)
        assert state.is_done
        assert house.step(State(), "take key")[0] == State() or house.key == "hall"
        assert house.step(State(), "rm -rf /")[0] == State()
