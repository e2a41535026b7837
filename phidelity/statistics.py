"""Errors, intervals, paired tests and pass@k for scores between 0 and 1.

Evaluation items are a sample from all that might have been asked (Miller, arXiv 2411.00640): every score gets a
standard error, clustered where items share a passage, a question or repeats. Two models on the same items are
compared item by item. Only the standard library is used; each formula stands in its docstring.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

Z95 = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
Z95_ONE_SIDED = 1.6448536269514722
Z80_POWER = 0.8416212335729143
"""Normal quantile of 80 %: the power that `smallest_difference` is for."""

Alternative = Literal["two-sided", "less"]


class Estimate(NamedTuple):
    """A mean with its standard error and 95 % interval."""

    mean: float
    stderr: float
    n: int
    low: float
    high: float


def estimate(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Mean, standard error and 95 % interval of scores in [0, 1].

    The interval is Wilson's for shares (0s and 1s), at the number of independent items that would have this
    standard error (the number of clusters where all values are equal); else mean +- 1.96 stderr, cut to [0, 1].
    """
    mean = _mean(values)
    stderr = standard_error(values, clusters)
    if all(value in (0, 1) for value in values):
        n_clusters = len(values) if clusters is None else len(set(clusters))
        n_effective = len(values) if clusters is None else mean * (1 - mean) / stderr**2 if stderr else n_clusters
        return Estimate(mean, stderr, len(values), *wilson(mean * n_effective, n_effective))
    return Estimate(mean, stderr, len(values), max(0.0, mean - Z95 * stderr), min(1.0, mean + Z95 * stderr))


def standard_error(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean; 0 for fewer than two values or clusters.

    Plain: sqrt(sum (x - m)^2 / (n (n - 1))). Clustered, with G clusters c and their sums of deviations
    d_c = sum over i in c of (x_i - m): sqrt(G / (G - 1) * sum d_c^2) / n; equal to the plain one if each cluster
    is a single item.
    """
    sums: dict[Hashable, float] = defaultdict(float)
    mean = _mean(values)
    for cluster, value in zip(range(len(values)) if clusters is None else clusters, values, strict=True):
        sums[cluster] += value - mean
    if len(sums) < 2:
        return 0.0
    return math.sqrt(len(sums) / (len(sums) - 1) * sum(total**2 for total in sums.values())) / len(values)


def wilson(successes: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share p = successes / n.

    (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n); (0, 1) for n = 0.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = share + z**2 / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def newcombe(
    before: tuple[float, float],
    after: tuple[float, float],
    z: float = Z95,
    *,
    exact: tuple[bool, bool] = (False, False),
) -> tuple[float, float]:
    """Newcombe's interval of a difference of two shares, each (successes, n), from their Wilson intervals (l, u).

    d = p2 - p1; (d - sqrt((p2 - l2)^2 + (u1 - p1)^2), d + sqrt((u2 - p2)^2 + (p1 - l1)^2)). A share that is known
    exactly has no interval.
    """
    (p1, l1, u1), (p2, l2, u2) = (
        (s / n, s / n, s / n) if known else (s / n, *wilson(s, n, z))
        for (s, n), known in zip((before, after), exact, strict=True)
    )
    d = p2 - p1
    return d - math.hypot(p2 - l2, u1 - p1), d + math.hypot(u2 - p2, p1 - l1)


def paired_difference(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean of after - before over the same items, with the standard error of the differences.

    stderr is `standard_error` of d_i = after_i - before_i; interval mean +- 1.96 stderr, cut to [-1, 1].
    """
    differences = [new - old for old, new in zip(before, after, strict=True)]
    mean, stderr = _mean(differences), standard_error(differences, clusters)
    return Estimate(mean, stderr, len(differences), max(-1.0, mean - Z95 * stderr), min(1.0, mean + Z95 * stderr))


def mcnemar(gained: int, lost: int, alternative: Alternative = "two-sided") -> float:
    """McNemar's exact p for paired yes-or-no outcomes, from the items that changed.

    Under no change `gained` is Binomial(n = gained + lost, 1/2). `less`: P(X <= gained), small when more was lost
    than gained. `two-sided`: min(1, 2 P(X <= min(gained, lost))).
    """
    n = gained + lost
    tail = gained if alternative == "less" else min(gained, lost)
    p = sum(math.comb(n, k) for k in range(tail + 1)) / 2**n
    return p if alternative == "less" else min(1.0, 2 * p)


def paired_upper_bound(gained: int, lost: int, n: int, z: float = Z95_ONE_SIDED) -> float:
    """One-sided upper 95 % bound on the change (gained - lost) / n of a share, over n paired items.

    Agresti and Min's adjusted Wald bound, which stays honest when few or no items changed: with half an item
    added to each cell of the 2x2 table, g = gained + 1/2, l = lost + 1/2, N = n + 2:
    (g - l)/N + z sqrt(g + l - (g - l)^2/N) / N, at most 1. Without items it is 1.
    """
    if n == 0:
        return 1.0
    up, down, total = gained + 0.5, lost + 0.5, n + 2
    return min(1.0, (up - down) / total + z * math.sqrt(up + down - (up - down) ** 2 / total) / total)


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that at least one of k samples passes, from n samples of which `correct` did.

    Unbiased: 1 - C(n - correct, k) / C(n, k) (Chen et al., 2021).
    """
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def smallest_difference(stderr: float, *, paired: bool = False) -> float:
    """Smallest difference that a two-sided test at 5 % finds in four of five times.

    (1.96 + 0.84) s, where s is the standard error of the difference: `stderr` itself if `paired`, else
    sqrt(2) stderr for two models measured apart with the same error (Miller, section 5).
    """
    return (Z95 + Z80_POWER) * stderr * (1.0 if paired else math.sqrt(2))


def student_quantile(p: float, df: int) -> float:
    """Quantile of Student's t with `df` degrees of freedom, 1/2 <= p < 1; by halving over the closed form.

    With a = atan(t / sqrt df): P(|T| <= t) = sin a (1 + 1/2 cos^2 a + 1.3/2.4 cos^4 a + ...) for even df, and
    2/pi (a + sin a (cos a + 2/3 cos^3 a + ...)) for odd df, terms up to cos^(df - 2) (Abramowitz and Stegun 26.7.3-4).
    """
    low, high = 0.0, 1.0
    while _within(high, df) < 2 * p - 1:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, df) < 2 * p - 1 else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """P(|T| <= t)."""
    angle = math.atan(t / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = (1.0, 0.0) if df % 2 == 0 else (cosine, 0.0)
    for k in range(df % 2, df - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * cosine**2
    return sine * total if df % 2 == 0 else 2 / math.pi * (angle + sine * total)


def detectable_over_seeds(spread: float, n: int) -> float | None:
    """Smallest mean difference that a two-sided t test at 5 % over n paired seeds finds in four of five times.

    (t_0.975 + t_0.8) spread / sqrt n with n - 1 degrees of freedom; `spread` is the standard deviation of the
    differences between seeds. None for one seed, which says nothing of others.
    """
    if n < 2:
        return None
    return (student_quantile(0.975, n - 1) + student_quantile(0.8, n - 1)) * spread / math.sqrt(n)


def expanded_level(n: int) -> float:
    """The level of either end at which a percentile bootstrap over n units covers 95 % as Student's t does.

    Phi(-sqrt(n / (n - 1)) t_0.975), against 0.025 that is too narrow for few units (Hesterberg, arXiv 1411.5279,
    section 3.2: expanded percentile interval).
    """
    return 0.5 * math.erfc(math.sqrt(n / (n - 1)) * student_quantile(0.975, n - 1) / math.sqrt(2)) if n > 1 else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
