import math

import pytest

from phidelity.statistics import (
    estimate,
    mcnemar,
    paired_difference,
    paired_upper_bound,
    pass_at_k,
    smallest_difference,
    standard_error,
    wilson,
)


def test_standard_error_of_two_of_four_is_worked_by_hand():
    # deviations +-1/2, sum of squares 1, over 4 * 3
    assert standard_error([1, 1, 0, 0]) == pytest.approx(math.sqrt(1 / 12))


def test_clusters_of_one_item_change_nothing():
    values = [1, 0, 1, 1, 0]
    assert standard_error(values, "abcde") == pytest.approx(standard_error(values))


def test_repeats_of_an_item_are_not_new_items():
    # two clusters with deviations +1 and -1: sqrt(2/1 * 2) / 4 = 1/2
    assert standard_error([1, 1, 0, 0], "aabb") == pytest.approx(0.5)


def test_one_value_or_one_cluster_has_no_error():
    assert standard_error([1.0]) == 0.0
    assert standard_error([1, 0], "aa") == 0.0


def test_wilson_interval_of_five_in_ten():
    low, high = wilson(5, 10)
    assert (round(low, 4), round(high, 4)) == (0.2366, 0.7634)


def test_wilson_interval_of_none_and_all_touches_the_ends():
    assert wilson(0, 10)[0] == 0.0
    assert round(wilson(0, 10)[1], 4) == 0.2775
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_shares_get_wilsons_interval_and_graded_scores_the_normal_one():
    assert estimate([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])[3:] == pytest.approx(wilson(5, 10))
    graded = estimate([0.5, 0.7, 0.9])
    assert graded.mean == pytest.approx(0.7)
    assert graded.low == pytest.approx(0.7 - 1.959964 * 0.2 / math.sqrt(3), abs=1e-6)
    assert graded.high == pytest.approx(0.7 + 1.959964 * 0.2 / math.sqrt(3), abs=1e-6)


def test_no_values_give_zero_and_no_error():
    assert estimate([]) == (0.0, 0.0, 0, 0.0, 1.0)


def test_paired_difference_uses_the_differences():
    found = paired_difference([0, 0, 1, 1], [1, 0, 1, 1])
    # differences 1 0 0 0: mean 1/4, sum of squares 3/4, over 4 * 3
    assert found.mean == 0.25
    assert found.stderr == pytest.approx(0.25)


def test_mcnemar_is_the_exact_binomial():
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(0, 5, "less") == pytest.approx(1 / 32)
    assert mcnemar(5, 0, "less") == 1.0
    assert mcnemar(3, 3) == 1.0
    assert mcnemar(0, 0) == 1.0


def test_upper_bound_without_changes_is_not_zero():
    # g = l = 1/2, N = 100: 1.6449 * sqrt(1) / 100
    assert paired_upper_bound(0, 0, 98) == pytest.approx(0.0164485, abs=1e-6)


def test_upper_bound_lies_above_the_estimate_and_is_one_without_items():
    assert paired_upper_bound(10, 2, 50) > 8 / 50
    assert paired_upper_bound(0, 0, 0) == 1.0


def test_pass_at_k_counts_combinations():
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert pass_at_k(5, 4, 2) == 1.0
    assert pass_at_k(5, 0, 5) == 0.0


def test_an_interval_has_width_however_equal_the_clusters_are():
    nothing = estimate([0.0] * 8, clusters=[0, 0, 1, 1, 2, 2, 3, 3])
    assert (nothing.mean, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(wilson(0, 4)[1])
    single = estimate([float(i % 2) for i in range(8)], clusters=range(8))
    assert single.high > 0.75


def test_the_smallest_difference_is_that_of_a_known_design():
    # a share of one half over 198 items: error 3.55 points, so two models apart need 14.1
    stderr = math.sqrt(0.25 / 198)
    assert smallest_difference(stderr) == pytest.approx(2.8016 * math.sqrt(2) * stderr, rel=1e-4)
    assert smallest_difference(stderr) == pytest.approx(0.1408, abs=1e-4)
    assert smallest_difference(0.01, paired=True) == pytest.approx(0.028016, abs=1e-6)
