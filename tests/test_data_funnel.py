import pytest

from phidelity.data.funnel import Drop, Funnel


def filled(order):
    funnel = Funnel(n_samples=2)
    for n in order:
        funnel.count_read("s", 10)
        if n % 2:
            funnel.drop("s", f"d{n}", "text", 10, Drop("short", n, 50))
        else:
            funnel.count_kept("s", 10)
    return funnel


def test_kept_and_dropped_make_up_what_was_read():
    report = filled(range(10)).report()
    assert report["read"] == {"documents": 10, "bytes": 100}
    assert report["kept"] == report["dropped"] == {"documents": 5, "bytes": 50}
    assert report["dropped_by_reason"] == {"short": 5}
    assert report["sources"]["s"]["dropped"] == {"short": {"documents": 5, "bytes": 50}}


def test_the_sample_of_a_reason_does_not_depend_on_the_order():
    report = filled(range(40)).report()
    assert report == filled(reversed(range(40))).report()
    assert len(report["samples"]["short"]) == 2
    assert report["samples"]["short"][0]["threshold"] == 50


def test_a_document_that_goes_missing_is_our_own_mistake():
    funnel = filled(range(3))
    funnel.count_read("s", 1)
    with pytest.raises(AssertionError, match="read ="):
        funnel.balance()
