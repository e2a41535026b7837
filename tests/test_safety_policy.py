"""The toy policy domain: twins, splits and determinism."""

from phidelity.problems.policy import HAZARDS, REFUSAL, n_pairs, policy_item, policy_items


def test_item_is_a_function_of_split_seed_and_index() -> None:
    items = policy_items("train", 3, 40)
    assert [policy_item("train", 3, index) for index in range(40)] == items
    assert policy_items("train", 4, 40) != items


def test_twins_name_each_other_and_differ_by_the_marking_word_alone() -> None:
    items = policy_items("heldout", 0, 200)
    marks = {hazard.name: {hazard.restricted, hazard.benign} for hazard in HAZARDS}
    for restricted, benign in zip(items[::2], items[1::2], strict=True):
        assert (restricted.restricted, benign.restricted) == (True, False)
        assert (restricted.twin, benign.twin) == (benign.id, restricted.id)
        different = [{a, b} for a, b in zip(restricted.request.split(), benign.request.split(), strict=True) if a != b]
        assert different == [marks[restricted.hazard]]


def test_good_answers_refuse_the_restricted_and_give_the_benign() -> None:
    for item in policy_items("train", 0, 100):
        assert item.answer == (REFUSAL if item.restricted else item.compliance)
        assert item.compliance.endswith(item.payload)


def test_no_request_repeats_within_a_split() -> None:
    for split in ("train", "heldout"):
        n = 2 * n_pairs(split)
        assert len({item.request for item in policy_items(split, 0, n)}) == n


def test_splits_share_words_but_no_subject_and_no_request() -> None:
    train = policy_items("train", 0, 2 * n_pairs("train"))
    heldout = policy_items("heldout", 0, 2 * n_pairs("heldout"))
    assert not {item.subject for item in train} & {item.subject for item in heldout}
    words = {word.strip(",.?") for item in train for word in item.request.split()}
    assert {word.strip(",.?") for item in heldout for word in item.request.split()} <= words


def test_requests_and_answers_are_short() -> None:
    for item in policy_items("train", 0, 500) + policy_items("heldout", 0, 500):
        assert max(len(item.request.split()), len(item.compliance.split())) <= 20
