import random

import numpy as np
import pytest

from phidelity.data.dedup import Duplicate, Edge, clusters, duplicates, minhash, outcome, shingles, sign, similarity


def text(name, n=300):
    rng = random.Random(f"dedup/{name}")
    return " ".join(f"w{rng.randrange(5000)}" for _ in range(n))


def edited(original, share, name="edit"):
    rng = random.Random(f"dedup/{name}")
    return " ".join(f"e{rng.randrange(5000)}" if rng.random() < share else word for word in original.split())


def test_copies_but_for_case_space_and_punctuation_are_exact_duplicates():
    a = text("a")
    assert duplicates([a, text("b"), a.upper().replace(" ", ",\n"), a]) == [
        None,
        None,
        Duplicate("exact", 0, 1.0),
        Duplicate("exact", 0, 1.0),
    ]


def test_small_edits_are_near_duplicates_and_other_texts_are_not():
    a = text("a")
    found = duplicates([a, edited(a, 0.01), text("b"), edited(a, 0.3)])
    assert found[0] is found[2] is found[3] is None
    assert found[1] is not None
    assert found[1].kind == "near"
    assert 0.65 <= found[1].jaccard < 1


def test_reordered_paragraphs_are_near_duplicates():
    parts = [text(f"part {n}", 60) for n in range(6)]
    found = duplicates(["\n\n".join(parts), "\n\n".join(reversed(parts))])
    assert found[1] is not None


def test_nearly_all_documents_with_two_percent_of_words_changed_are_found():
    originals = [text(f"doc {n}") for n in range(60)]
    found = duplicates([*originals, *(edited(original, 0.02, f"e{n}") for n, original in enumerate(originals))])
    assert not any(found[:60])
    assert sum(duplicate is not None for duplicate in found[60:]) >= 57


def test_a_cluster_keeps_its_first_document_alone():
    a = text("a", 600)
    b = edited(a, 0.015, "one")
    c = edited(b, 0.015, "two")
    found = duplicates([c, text("z"), a, b, b])
    assert found[0] is found[1] is None
    assert [duplicate.of for duplicate in found[2:] if duplicate] == [0, 0, 0]


def test_empty_and_short_texts_are_compared_as_a_whole():
    assert duplicates(["", "one two", "", "one  TWO!", "one three"]) == [
        None,
        None,
        Duplicate("exact", 0, 1.0),
        Duplicate("exact", 1, 1.0),
        None,
    ]


def test_signatures_agree_as_often_as_the_sets_overlap():
    rng = np.random.default_rng(0)
    agreement = []
    for _ in range(20):
        base = rng.integers(0, 2**63, size=3000, dtype=np.uint64)
        agreement.append((minhash(base[:2000]) == minhash(np.concatenate([base[:1000], base[2000:]]))).mean())
    assert abs(np.mean(agreement) - 1 / 3) < 0.03


def test_a_signature_depends_on_the_words_alone():
    one, other = sign("One, two; three four five six.")[0], sign("one TWO\nthree (four) five six")[0]
    assert one.exact == other.exact
    assert (one.bands == other.bands).all()
    assert len(one.bands) == 28
    assert not sign(" .,!")[0].bands.any()


def test_shingles_are_the_set_of_word_5_grams():
    assert len(shingles(text("a", 200))) == 196
    assert len(shingles("a b c d e a b c d e")) == 5
    assert len(shingles("two words")) == 1
    assert similarity(shingles("a b c d e f"), shingles("a b c d e g")) == 1 / 3


def test_any_number_of_partitions_gives_the_same_outcome():
    originals = [text(f"p{n}") for n in range(20)]
    texts = originals + [edited(one, 0.02 * (n % 4), f"q{n}") for n, one in enumerate(originals * 2)]
    found = duplicates(texts)
    assert sum(duplicate is not None for duplicate in found) > 20
    assert all(duplicates(texts, n_partitions=n) == found for n in (2, 7, 64))


def test_a_thousand_copies_of_a_template_are_one_cluster():
    base = text("template", 400)
    found = duplicates([f"{base} {n}" for n in range(300)])
    assert found[0] is None
    assert {duplicate.of for duplicate in found[1:] if duplicate} == {0}
    assert all(found[1:])


def test_clusters_say_which_document_stays_and_why():
    a = text("a")
    texts = [a, text("b"), a.upper(), edited(a, 0.01)]
    (cluster,) = clusters(duplicates(texts), ["a", "b", "copy", "edit"])
    assert (cluster["kept"], cluster["why"]) == ("a", "the first in the order of reading")
    assert [(one["id"], one["kind"]) for one in cluster["dropped"]] == [("copy", "exact"), ("edit", "near")]


def test_an_edited_chinese_text_is_a_near_duplicate():
    rng = random.Random("han")
    han = "".join(chr(rng.randrange(0x4E00, 0x5E00)) for _ in range(600))
    edit = "".join(chr(0x6000 + n) if n % 100 == 50 else sign for n, sign in enumerate(han))
    found = duplicates([han, edit])
    assert found[1] is not None
    assert found[1].kind == "near"


def test_code_is_compared_with_its_operators():
    code = [f"def join(a, b):\n    return a {sign} b\n" for sign in "%&"]
    one, other = (sign(text, code=True)[0].exact for text in code)
    assert one != other
    assert sign(code[0])[0].exact == sign(code[1])[0].exact


def test_what_goes_is_near_what_stays_and_not_only_near_what_went():
    edges = [Edge(0, 1, 0.8), Edge(1, 2, 0.7), Edge(2, 3, 0.9)]
    near = {(2, 0): 0.4, (3, 0): 0.1}
    found = outcome([0, 1, 2, 3, 1], edges, lambda a, b: near[a, b])
    assert found == [None, Duplicate("near", 0, 0.8), None, Duplicate("near", 2, 0.9), Duplicate("near", 0, 0.8)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("let x < 5 hold", "let x > 5 hold"),
        ("let x < 5 hold", "let x ≠ 5 hold"),
        ("what is 3 + 4", "what is 3 - 4"),
        ("what is 3 * 4", "what is 3 / 4"),
        ("the root is -5", "the root is 5"),
        ("∀∃→⊢", "⊢∀"),
        ("+++ --- ===", "😀😀😀"),
        ("!!!", "???"),
    ],
)
def test_what_says_the_opposite_is_no_exact_copy(one, other):
    assert sign(one)[0].exact != sign(other)[0].exact


@pytest.mark.parametrize(
    "other", ["Well known, (and) old and-or new", "well-known and old: and/or new!", "* well-known and old, and or new"]
)
def test_dashes_slashes_and_bullets_of_prose_are_no_operators(other):
    assert sign(other)[0].exact == sign("well-known and old and/or new")[0].exact
