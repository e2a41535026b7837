import pytest

from phidelity.config import UserError
from phidelity.data.mixture import PHI4_SHARES, check_epochs, mixture, shortfall

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
