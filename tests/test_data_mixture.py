import pytest

from phidelity.config import UserError
from phidelity.data.mixture import (
    PHI4_SHARES,
    check_epochs,
    described,
    mixture,
    mixture_page,
    multilingual_share,
    remarks,
    shortfall,
    spread,
)

PHI4_UNIQUE = {
    "web": 1_300 * 10**9,
    "web_rewrites": 290 * 10**9,
    "synthetic": 290 * 10**9,
    "code": 820 * 10**9,
    "acquired": 580 * 10**9,
}


def test_the_epochs_of_phi4s_table_5_recompute_from_shares_and_unique_tokens():
    epochs = {portion.group: portion.epochs for portion in mixture(PHI4_SHARES, PHI4_UNIQUE, 10 * 10**12)}
    exact = {"web": 1.15, "web_rewrites": 5.17, "synthetic": 13.79, "code": 2.44, "acquired": 1.72}
    printed = {"web": 1.2, "web_rewrites": 5.2, "synthetic": 13.8, "code": 2.4, "acquired": 1.7}
    for group, value in epochs.items():
        assert value == pytest.approx(exact[group], abs=0.005)
        assert value == pytest.approx(printed[group], abs=0.05 + 1e-9)


def test_a_group_without_tokens_is_refused_by_name():
    with pytest.raises(UserError, match=r"wants acquired, which has no tokens \(found: web 100"):
        mixture({"web": 0.5, "acquired": 0.5}, {"web": 100}, 10)


def test_a_group_of_share_nought_is_left_out():
    assert [portion.group for portion in mixture({"web": 1.0, "code": 0.0}, {"web": 10}, 20)] == ["web"]


@pytest.mark.parametrize("shares", [{"web": 0.5}, {"web": 1.5, "code": -0.5}, {}])
def test_shares_that_do_not_divide_the_whole_are_refused(shares):
    with pytest.raises(UserError, match="expected shares from 0 to 1 that sum to 1"):
        mixture(shares, {"web": 1, "code": 1}, 10)


def test_repeating_beyond_the_limit_is_refused_with_the_shortfall():
    portions = mixture({"web": 0.5, "code": 0.5}, {"web": 100, "code": 10}, 200)
    check_epochs(portions, 10.0)
    with pytest.raises(UserError, match=r"code: 10\.0 epochs of 10 tokens; 15 more unique tokens"):
        check_epochs(portions, 4.0)
    assert shortfall(portions[0], 4.0) == 0


def test_phi4s_table_is_described_with_epochs_and_no_shortfall():
    facts = described(PHI4_SHARES, PHI4_UNIQUE, 10 * 10**12, 20.0)
    assert [row["epochs"] for row in facts["groups"]] == [1.154, 5.172, 13.793, 2.439, 1.724]
    assert not any(row["shortfall"] for row in facts["groups"])
    assert facts["multilingual_share"] is None
    page = "\n".join(mixture_page(facts))
    assert "synthetic       40.0%   4,000,000,000,000     290,000,000,000   13.79" in page
    assert "no group more than 20 times" in page
    few = described(PHI4_SHARES, PHI4_UNIQUE, 10 * 10**12, 4.0)
    missing = {row["group"]: row["shortfall"] for row in few["groups"] if row["shortfall"]}
    assert missing == {"web_rewrites": 375 * 10**9 - 290 * 10**9, "synthetic": 1000 * 10**9 - 290 * 10**9}


def test_groups_that_nobody_counted_are_told_what_they_need():
    (row,) = described({"web": 1.0, "code": 0.0}, {}, 1001, 4.0)["groups"]
    assert (row["unique"], row["epochs"], row["shortfall"], row["needed"]) == (None, None, None, 251)
    assert "at least" in mixture_page(described({"web": 1.0}, {}, 1001, 4.0))[1]


def test_a_group_that_holds_nothing_lacks_all_it_needs():
    facts = described({"web": 0.5, "code": 0.5}, {"web": 1000, "code": 0}, 1000, 4.0)
    assert [row["shortfall"] for row in facts["groups"]] == [0, 125]
    assert mixture_page(facts)[2].split()[3:] == ["0", "–", "125"]


def test_the_multilingual_share_is_that_of_training_tokens():
    shares, unique, foreign = {"web": 0.25, "code": 0.75}, {"web": 1000, "code": 50}, {"web": 400, "elsewhere": 9}
    assert multilingual_share(shares, unique, foreign) == 0.1
    assert "not English: 10.0% of the tokens" in mixture_page(described(shares, unique, 100, 9.0, foreign))


def test_the_share_of_a_group_without_tokens_goes_to_the_others_in_proportion():
    assert spread({"web": 0.4, "code": 0.2, "acquired": 0.4}, {"web": 9, "code": 1}) == {
        "web": pytest.approx(2 / 3),
        "code": pytest.approx(1 / 3),
    }
    assert spread({"web": 0.5, "code": 0.5}, {"web": 1, "code": 1}) == {"web": 0.5, "code": 0.5}
    with pytest.raises(UserError, match=r"wants web, code; none of them has tokens \(found: acquired 3\)"):
        spread({"web": 0.5, "code": 0.5}, {"acquired": 3})


def test_a_group_that_mostly_goes_unused_is_told_with_what_limits_it():
    shares, unique = {"web": 0.8, "code": 0.2}, {"web": 1000, "code": 100_000}
    limited = described(shares, unique, 25_000, 20.0)
    assert remarks(limited) == [
        "95.0% of the 100,000 tokens of code go unused: web has only 1,000 for its share of 80.0%, and is not repeated "
        "more than 20 times; lower that share or add to it",
        "all groups are read equally often with --set 'shards.shares={ web = 0.01, code = 0.99 }' --force shards",
    ]
    assert remarks(described(shares, unique, 1000, 20.0)) == [
        "99.8% of the 100,000 tokens of code go unused: its share of 20.0% of 1,000 tokens takes no more",
        "all groups are read equally often with --set 'shards.shares={ web = 0.01, code = 0.99 }' --force shards",
    ]
    unshared = described({"web": 1.0}, unique, 20_000, 20.0) | {"unique_tokens": unique | {"long": 9}}
    assert remarks(unshared) == [
        "code holds 100,000 tokens and has no share (shards.shares): nothing is trained on them"
    ]
    assert remarks(described(shares, {"web": 1000, "code": 5000}, 25_000, 20.0)) == []
    assert remarks(limited)[0] in mixture_page(limited)
