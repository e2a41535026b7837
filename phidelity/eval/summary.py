"""From grades to a row of `scores.json`: per cent with clustered errors, intervals, and the counts that explain them.

Nothing undecided is scored: undetermined answers are counted beside the score. Two rules withhold a score: answers that
are missing because an endpoint failed, and a judge that left more than 2 % of what it was shown undecided.
`detectable` is the smallest difference between two models that a set of this size and spread shows with 80 % power;
without spread (none or all right) it is not known.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from phidelity.eval.benchmark import Benchmark, Profile
from phidelity.eval.store import Graded, Response
from phidelity.records import Problem, Score
from phidelity.statistics import Z95, estimate, pass_at_k, smallest_difference

MAX_UNDETERMINED = 0.02
"""Share of what a judge was shown that it may leave undecided."""


class Answers(NamedTuple):
    """All that is known of one model on one benchmark."""

    problems: Sequence[Problem]
    responses: Sequence[Response]
    graded: Sequence[Graded]
    repeats: int = 1
    missing: int | None = None
    """Answers that an endpoint failed to give; None: as many as fall short of problems times repeats."""


def summarise(
    one: Benchmark,
    profile: Profile,
    answers: Answers,
    strata: Mapping[str, str] | None = None,
    n_shown: int = 0,
) -> dict[str, Any]:
    """The row of one benchmark under one profile; `n_shown` is how many answers a judge was shown."""
    strata = strata or {}
    scores = [graded.scores[profile] for graded in answers.graded]
    named = {name: [] for name in sorted(set(strata.values()))}
    for graded in answers.graded:
        if graded.id in strata:
            named[strata[graded.id]].append(graded)
    reasons = Counter(response.finish_reason for response in answers.responses)
    expected_answers = len(answers.problems) * answers.repeats
    missing = expected_answers - len(answers.responses) if answers.missing is None else answers.missing
    undetermined = sum(score.value is None for score in scores)
    row = {
        **scored(answers.graded, profile),
        "strata": {name: scored(part, profile) for name, part in named.items() if part},
        "chance": percent(one.chance),
        "undetermined": undetermined,
        "context_exceeded": reasons["context_exceeded"],
        "cut_off": reasons["length"],
        "null_content": reasons["null"],
        "missing": missing,
        "clustered_by": one.cluster,
        **_measures(one, profile, answers),
        **_passes(answers, profile),
    }
    if missing:
        return _withheld(row, f"{missing} answers are missing: the endpoint failed")
    if n_shown and min(undetermined, n_shown) > MAX_UNDETERMINED * n_shown:
        return _withheld(row, f"the judge left {undetermined} of {n_shown} undecided, more than 2 %")
    return row


def scored(graded: Sequence[Graded], profile: str) -> dict[str, Any]:
    """Score, standard error, number and interval over the decided answers; no score without any."""
    decided = [(one, value) for one in graded if (value := one.scores[profile].value) is not None]
    if not decided:
        return {"score": None, "stderr": None, "n": 0, "interval": None, "detectable": None}
    found = estimate([value for _, value in decided], [one.cluster or one.id for one, _ in decided])
    return {
        "score": percent(found.mean),
        "stderr": percent(found.stderr),
        "n": found.n,
        "interval": [percent(found.low), percent(found.high)],
        "detectable": percent(smallest_difference(found.stderr)) if found.stderr else None,
    }


def expected(benchmark: Benchmark, n: int) -> dict[str, Any]:
    """What answering at random is expected to score, with the error of `n` such answers."""
    share = benchmark.chance
    stderr = (share * (1 - share) / n) ** 0.5
    low, high = max(0.0, share - Z95 * stderr), share + Z95 * stderr
    return {"score": percent(share), "stderr": percent(stderr), "n": n, "interval": [percent(low), percent(high)]}


def percent(share: float) -> float:
    """Per cent with four decimals."""
    return round(100 * share, 4)


def _measures(one: Benchmark, profile: Profile, answers: Answers) -> dict[str, float]:
    """The benchmark's own further figures."""
    by_id = {problem.id: problem for problem in answers.problems}
    rows: list[tuple[Problem, Score]] = [
        (by_id[graded.id], graded.scores[profile])
        for graded in answers.graded
        if graded.scores[profile].value is not None
    ]
    return one.measures(rows) if rows else {}


def _passes(answers: Answers, profile: Profile) -> dict[str, float]:
    """pass@k for k = 1, 2, 5, 10 up to the repeats, over problems whose answers are all decided and right or wrong."""
    if answers.repeats < 2:
        return {}
    values: dict[str, list[float | None]] = defaultdict(list)
    for graded in answers.graded:
        values[graded.id].append(graded.scores[profile].value)
    whole = [each for each in values.values() if len(each) == answers.repeats and all(v in (0, 1) for v in each)]
    if not whole:
        return {}
    counts = [sum(v == 1 for v in each) for each in whole]
    ks = [k for k in (1, 2, 5, 10) if k <= answers.repeats]
    return {
        f"pass@{k}": percent(sum(pass_at_k(answers.repeats, count, k) for count in counts) / len(counts)) for k in ks
    }


def _withheld(row: dict[str, Any], why: str) -> dict[str, Any]:
    return row | {"score": None, "stderr": None, "interval": None, "detectable": None, "withheld": why}
