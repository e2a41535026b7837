import itertools
import math
import random

import pytest
from preference_world import TOKENIZER, TabularCompleter, files_of, speaker, write_world

from phidelity.completion import SamplingParams, ScriptedCompleter
from phidelity.config import UserError
from phidelity.grading.check import check
from phidelity.pipeline.pivotal_pairs import Pivot, PivotalPairsConfig, pivotal_pairs
from phidelity.preference.estimate import Candidate, Confirmed, Tally, confirm
from phidelity.preference.known import KnownConfig
from phidelity.preference.known_process import THOROUGH, measure, measure_null
from phidelity.preference.pivotal import (
    N10,
    Answer,
    SearchConfig,
    by_first_token,
    find_pivots,
    midpoint,
    pair_at,
    search,
    suspects,
)
from phidelity.preference.questions import ask
from phidelity.preference.rollouts import UNIT, Prefix, Rollout, Rollouts
from phidelity.preference.screen import screen
from phidelity.records import PreferencePair, Problem, read_records


def check_on_the_known_process(config, n, least, most):
    figures = measure(config, n=n)
    assert figures.precision.mean >= 0.95
    assert figures.junk.mean <= 0.01
    assert figures.recall.mean >= least
    assert figures.rollouts <= most


def test_on_the_known_process_pivots_are_true_and_most_are_found():
    check_on_the_known_process(SearchConfig(), 800, 0.60, 470)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "least", "most"), [(SearchConfig(), 0.60, 470), (THOROUGH, 0.68, 700)])
def test_on_two_thousand_sequences_pivots_are_true_and_most_are_found(config, least, most):
    check_on_the_known_process(config, 2000, least, most)


def test_ten_rollouts_a_prefix_find_mostly_noise_on_the_known_process():
    figures = measure(N10, n=300)
    assert figures.precision.mean < 0.35
    assert figures.junk.mean > 0.6


@pytest.mark.parametrize("n", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_where_tokens_do_not_matter_hardly_any_is_called_pivotal(n):
    figures = measure_null(SearchConfig(), n=n)
    assert figures.tested > n
    assert figures.rate.high <= 0.01


class Tree:
    """Every text over `n_tokens` tokens of length `depth`, with random probabilities and random worth."""

    def __init__(self, seed, n_tokens=3, depth=6):
        self.n_tokens, self.depth, rng = n_tokens, depth, random.Random(seed)
        self.p_next, self.p = {}, {}
        for length in range(depth, -1, -1):
            for node in itertools.product(range(n_tokens), repeat=length):
                if length == depth:
                    self.p[node] = float(rng.random() < 0.5)
                    continue
                weights = [rng.random() ** 3 for _ in range(n_tokens)]
                self.p_next[node] = [w / sum(weights) for w in weights]
                self.p[node] = sum(q * self.p[(*node, t)] for t, q in enumerate(self.p_next[node]))

    def count(self, prefixes, purpose, start, n):
        return [Tally(self.p[prefix.tokens] * n, n) for prefix in prefixes]

    def answers(self):
        for leaf in itertools.product(range(self.n_tokens), repeat=self.depth):
            logprobs = tuple(math.log(self.p_next[leaf[:i]][t]) for i, t in enumerate(leaf))
            yield Answer("q", leaf, logprobs, bool(self.p[leaf]))

    def brute_force(self, answer, gap):
        changes = {i: self.p[answer.tokens[: i + 1]] - self.p[answer.tokens[:i]] for i in range(self.depth)}
        return {answer.before(i) for i, change in changes.items() if abs(change) >= gap}


@pytest.mark.parametrize("seed", range(3))
def test_with_exact_probabilities_the_search_agrees_with_brute_force(seed):
    tree = Tree(seed)
    config = SearchConfig(search_gap=0.2, p_gap=0.2, rollouts=10**6)
    n_monotone = 0
    for answer in tree.answers():
        pivots = find_pivots([answer], {"q": Tally(tree.p[()], 1)}, tree.count, config).pivots
        found = {pivot.candidate.before for pivot in pivots}
        everything = tree.brute_force(answer, 0.2)
        assert found <= everything
        path = [tree.p[answer.tokens[:i]] for i in range(tree.depth + 1)]
        if path in (sorted(path), sorted(path, reverse=True)):
            n_monotone += 1
            assert found == everything
    assert n_monotone > 5


def test_changes_over_the_final_segments_add_up_to_the_whole():
    tree = Tree(4)
    answers = list(tree.answers())
    for traced in search(answers, {"q": Tally(tree.p[()], 1)}, tree.count, SearchConfig(rollouts=10**6)):
        rates = [tally.rate for tally in traced.p.values()]
        assert list(traced.p) == sorted(traced.p)
        assert sum(b - a for a, b in itertools.pairwise(rates)) == pytest.approx(traced.answer.success - tree.p[()])
        assert rates[-1] in (0, 1)


def test_every_round_asks_for_all_open_prefixes_at_once_and_for_none_twice():
    tree, asked = Tree(5), []

    def count(prefixes, purpose, start, n):
        asked.append((purpose, start, prefixes))
        return tree.count(prefixes, purpose, start, n)

    find_pivots(list(tree.answers()), {"q": Tally(tree.p[()], 1)}, count, SearchConfig(rollouts=10**6))
    flat = [(purpose, start, prefix) for purpose, start, prefixes in asked for prefix in prefixes]
    assert len(flat) == len(set(flat))
    assert len(asked) <= 40, "rounds grow with the depth and the steps, not with the answers"
    assert all(len(prefix.tokens) < 6 for *_, prefix in flat), "a full answer is graded, never sampled"


def test_a_question_that_spent_its_rollouts_is_split_no_further():
    tree = Tree(6)
    spent = {}

    def count(prefixes, purpose, start, n):
        spent[purpose] = spent.get(purpose, 0) + n * len(prefixes)
        return tree.count(prefixes, purpose, start, n)

    search(list(tree.answers()), {"q": Tally(tree.p[()], 1)}, count, SearchConfig(rollouts=100))
    assert 80 < spent["search"] <= 100


def test_the_cut_halves_the_log_probability_not_the_length():
    assert midpoint([-4.0, -0.1, -0.1, -0.1], 0, 4) == 1
    assert midpoint([-0.1, -0.1, -0.1, -4.0], 0, 4) == 3
    assert midpoint([-1.0] * 6, 2, 6) == 4
    assert midpoint([0.0] * 5, 0, 5) == 2
    assert midpoint([-9.0, 0.0], 0, 2) == 1


def test_a_change_must_be_confirmed_in_the_direction_that_was_seen():
    before, after = Prefix("q", (1,)), Prefix("q", (1, 2))
    p = {before: 0.3, after: 0.8}

    def count(prefixes, purpose, start, n):
        return [Tally(p[prefix] * n, n) for prefix in prefixes]

    for raises in (True, False):
        passed = confirm([Candidate(before, after, raises)], count, known={}, p_gap=0.2, steps=(16, 32, 64))
        assert [c.before.n for c in passed] == [16] * raises


def test_what_cannot_be_graded_is_no_pivot():
    empty = [Candidate(Prefix("q"), Prefix("q", (1,)), True)]
    nothing = confirm(empty, lambda prefixes, *_: [Tally(0, 0)] * len(prefixes), known={}, p_gap=0.2, steps=(16, 64))
    assert nothing == []
    traced = search([Answer("q", (1, 2, 3), (-1.0,) * 3, True)], {"q": Tally(0, 0)}, lambda *_: [], SearchConfig())
    assert suspects(traced, 0.15) == []


def rollouts_beginning(counts):
    """Rollouts by first token: `{token: (successes, n)}`."""
    return [
        Rollout(tokens=(token, 99), logprobs=(-1.0, -1.0), finish_reason="stop", success=i < successes)
        for token, (successes, n) in counts.items()
        for i in range(n)
    ]


def test_first_tokens_share_out_all_continuations():
    tallies = by_first_token(rollouts_beginning({1: (30, 40), 2: (6, 8)}))
    assert tallies == {1: Tally(30, 40), 2: Tally(6, 8)}


@pytest.mark.parametrize("raises", [True, False])
def test_a_pivot_is_paired_with_the_sibling_farthest_to_the_other_side(raises):
    pivot = Confirmed(
        Candidate(Prefix("q", (7,)), Prefix("q", (7, 1)), raises), Tally(32, 64), Tally(60 if raises else 4, 64)
    )
    counts = {1: (9, 10), 2: (2, 10), 3: (0, 3), 4: (9, 10), 5: (5, 10)}
    pair = pair_at(pivot, rollouts_beginning(counts), SearchConfig())
    assert pair is not None
    assert (pair.chosen, pair.rejected) == ((1, 2) if raises else (4, 1))
    assert pair.p_chosen - pair.p_rejected >= 0.2


def test_a_pivot_whose_siblings_were_hardly_sampled_makes_no_pair():
    pivot = Confirmed(Candidate(Prefix("q", (7,)), Prefix("q", (7, 1)), True), Tally(32, 64), Tally(60, 64))
    assert pair_at(pivot, rollouts_beginning({1: (30, 40), 2: (0, 3)}), SearchConfig()) is None
    assert pair_at(pivot, rollouts_beginning({1: (30, 40), 2: (6, 8)}), SearchConfig()) is None


# A model that takes a good or a bad way, which decides the answer, in words that do not matter.
GOOD, BAD = "by parts. ", "all at once. "


def ways(p_good):
    """Both ways in three openings each."""
    return tuple(
        (f"{opening}, {way}\nAnswer: {answer}", p_way * p_answer / 3)
        for way, p_way, p_right in ((GOOD, p_good, 0.95), (BAD, 1 - p_good, 0.05))
        for answer, p_answer in (("7", p_right), ("1", 1 - p_right))
        for opening in ("Well", "Now", "So")
    )


MODEL = speaker(hard=ways(0.5), easy=ways(0.95))


def problems(n=6):
    kinds = ["hard", "easy"]
    return [
        Problem(id=f"{kinds[i % 2]}-{i}", prompt=f"{kinds[i % 2]} question {i}", reference="7", checker="number")
        for i in range(n)
    ]


CONFIG = PivotalPairsConfig(questions=6, searches=6, max_tokens=60, known=KnownConfig(questions=0))


def run_stage(folder, completer, config=CONFIG, out="out"):
    synthetic, model = write_world(folder, problems())
    (folder / out).mkdir(exist_ok=True)
    return pivotal_pairs(
        config, synthetic=synthetic, model=model, open_model=lambda _: completer, seed=0, out=folder / out
    )


def test_the_stage_finds_the_choice_that_decides_and_pairs_its_tokens(tmp_path):
    summary = run_stage(tmp_path, completer := TabularCompleter(MODEL))
    assert summary["questions_dropped"] == {"too easy": 3}
    assert summary["questions_in_window"] == 3
    pairs = list(read_records(tmp_path / "out/pairs.jsonl.zst", PreferencePair))
    pivots = list(read_records(tmp_path / "out/pivots.jsonl", Pivot))
    assert summary["pairs"] == len(pairs) > 0
    assert summary["pivots"] == len(pivots)
    assert {pair.meta["pivot"] for pair in pairs} == {"chosen", "rejected"}
    assert summary["sampling"]["rollouts"] == sum(completer.calls)
    for pair in pairs:
        assert pair.kind == "token"
        assert len(pair.chosen) == len(pair.rejected) == 1
        assert pair.tokenizer == TOKENIZER.digest
        context = TOKENIZER.decode(pair.prefix)
        if not context.endswith("Answer: "):
            assert context in ("Well, ", "Now, ", "So, ")
            assert TOKENIZER.decode(pair.chosen + pair.rejected) == "ba"
        assert pair.meta["p_chosen"] - pair.meta["p_rejected"] >= 0.2
        assert pair.prompt[0].content == f"hard question {pair.meta['question'].removeprefix('hard-')}"
    assert any(TOKENIZER.decode(pair.prefix).endswith(", ") for pair in pairs)


def test_a_search_killed_at_any_call_ends_in_the_same_bytes(tmp_path):
    run_stage(tmp_path, whole := TabularCompleter(MODEL), out="whole")
    for k in (0, 1, 4, len(whole.calls) - 1):
        with pytest.raises(KeyboardInterrupt):
            run_stage(tmp_path, TabularCompleter(MODEL, fail_at_call=k), out=f"killed-{k}")
        run_stage(tmp_path, again := TabularCompleter(MODEL), out=f"killed-{k}")
        assert files_of(tmp_path / f"killed-{k}") == files_of(tmp_path / "whole")
        assert len(again.calls) == len(whole.calls) - k


def store(folder, completer):
    questions = ask(problems(), TOKENIZER, n_reasoning=6, n_facts=0, allow_code=False, rng=random.Random(0)).questions
    params = SamplingParams(temperature=1.0, max_tokens=60)
    return Rollouts(folder, questions=questions, completer=completer, params=params, oracle=check, tokenizer=TOKENIZER)


def test_a_round_killed_between_its_units_goes_on_at_the_next_unit(tmp_path):
    answer = TOKENIZER.encode(f"Well, {GOOD}")
    prefixes = [Prefix(f"hard-{i}", tuple(answer[:k])) for i in (0, 2, 4) for k in range(len(answer))]
    n = 2 * UNIT // len(prefixes)
    whole = store(tmp_path / "whole", TabularCompleter(MODEL)).draw(prefixes, "search", 0, n)
    with pytest.raises(KeyboardInterrupt):
        store(tmp_path / "killed", TabularCompleter(MODEL, fail_at_call=1)).draw(prefixes, "search", 0, n)
    assert store(tmp_path / "killed", again := TabularCompleter(MODEL)).draw(prefixes, "search", 0, n) == whole
    assert 0 < sum(again.calls) < n * len(prefixes)
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


def test_a_prefix_and_its_rollouts_make_whole_answers_that_are_graded_whole(tmp_path):
    prefix = Prefix("hard-0", tuple(TOKENIZER.encode(f"So, {BAD}\nAnswer")))
    rollouts = store(tmp_path, TabularCompleter(MODEL))
    (drawn,) = rollouts.draw([prefix], "search", 0, 64)
    assert {rollouts.text(prefix.tokens + r.tokens) for r in drawn} == {f"So, {BAD}\nAnswer: {x}" for x in "17"}
    assert all(r.success == (rollouts.text(r.tokens) == ": 7") for r in drawn)


def test_answers_without_token_ids_are_refused(tmp_path):
    with pytest.raises(UserError, match="without token ids"):
        store(tmp_path, ScriptedCompleter(lambda *_: "Answer: 7")).draw([Prefix("hard-0")], "screen", 0, 4)


def test_questions_searched_one_by_one_give_the_pairs_of_the_batch(tmp_path):
    run_stage(tmp_path, TabularCompleter(MODEL))
    together = {pair.id: pair for pair in read_records(tmp_path / "out/pairs.jsonl.zst", PreferencePair)}
    alone = {}
    for problem in problems():
        folder = tmp_path / problem.id
        synthetic, model = write_world(folder, [problem])
        (folder / "out").mkdir()
        pivotal_pairs(
            CONFIG, synthetic=synthetic, model=model, seed=0, out=folder / "out",
            open_model=lambda _: TabularCompleter(MODEL),
        )  # fmt: skip
        alone |= {pair.id: pair for pair in read_records(folder / "out/pairs.jsonl.zst", PreferencePair)}
    assert alone == together


def test_only_questions_near_an_edge_of_the_window_are_asked_again(tmp_path):
    rollouts = store(tmp_path, TabularCompleter(MODEL))
    screened = screen(["hard-0", "easy-1"], rollouts, window=(0.2, 0.5), n=16)
    assert screened.dropped["too easy"] >= 1
    assert len(rollouts.at(Prefix("hard-0"))) == 32
    assert len(rollouts.at(Prefix("easy-1"))) == 16


def test_another_threshold_pays_for_what_is_missing_or_nothing_at_all(tmp_path):
    whole = run_stage(tmp_path, first := TabularCompleter(MODEL))
    stricter = CONFIG.model_copy(update={"search": SearchConfig(p_gap=0.3), "new_rollouts": False})
    frozen = run_stage(tmp_path, again := TabularCompleter(MODEL), stricter)
    assert again.calls == []
    assert 0 < frozen["pivots"] <= whole["pivots"]
    run_stage(tmp_path, again, stricter.model_copy(update={"new_rollouts": True}))
    assert sum(again.calls) < sum(first.calls) / 3


def test_rollouts_of_another_model_are_refused(tmp_path):
    run_stage(tmp_path, TabularCompleter(MODEL))
    with pytest.raises(UserError, match="another model"):
        run_stage(tmp_path, TabularCompleter(MODEL, name="other"))


def test_a_model_that_is_always_wrong_gives_no_pairs_and_says_why(tmp_path):
    summary = run_stage(tmp_path, TabularCompleter(speaker(hard=(("Answer: 3", 1.0),), easy=(("Answer: 3", 1.0),))))
    assert summary["pairs"] == 0
    assert summary["questions_dropped"] == {"too hard": 6}
    assert list(read_records(tmp_path / "out/pairs.jsonl.zst", PreferencePair)) == []


def test_continuations_of_a_shorter_prefix_that_run_through_a_longer_one_count_there(tmp_path):
    rollouts = store(tmp_path, TabularCompleter(MODEL))
    early, late = Prefix("hard-0"), Prefix("hard-0", tuple(TOKENIZER.encode("So, ")))
    (drawn,) = rollouts.draw([early], "search", 0, 64)
    through = [one for one in drawn if rollouts.text(one.tokens).startswith("So, ")]
    assert 5 < len(through) < 60
    passing = rollouts.passing(late, ("search",), without=through[:1])
    assert [late.tokens + one.tokens for one in passing] == [one.tokens for one in through[1:]]
    assert rollouts.passing(late, ("confirm",)) == []


def test_draws_are_the_same_in_whatever_steps_they_are_asked_for(tmp_path):
    prefix = Prefix("hard-0")
    whole = store(tmp_path / "whole", TabularCompleter(MODEL)).draw([prefix], "search", 0, 32)[0]
    stepwise = store(tmp_path / "steps", TabularCompleter(MODEL))
    parts = [stepwise.draw([prefix], "search", start, n)[0] for start, n in ((0, 8), (8, 8), (16, 16))]
    assert sum(parts, ()) == whole


def test_the_page_shows_every_token_with_its_number_and_outlines_pivots(tmp_path):
    run_stage(tmp_path, TabularCompleter(MODEL))
    page = (tmp_path / "out/pivots.html").read_text()
    pivots = list(read_records(tmp_path / "out/pivots.jsonl", Pivot))
    assert page.count('class="solution') == 0
    assert page.count("text solution") == 2
    assert 1 <= page.count('class="tok pivot"') <= len(pivots)
    assert page.count("<small>") > 40, "a number under each token"
    assert "▲" in page
    assert "▼" in page
