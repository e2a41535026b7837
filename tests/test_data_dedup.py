import random

import numpy as np

from phidelity.data.dedup import Duplicate, _shingles, duplicates, signature


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
    assert 0.7 <= found[1].jaccard < 1


def test_reordered_paragraphs_are_near_duplicates():
    parts = [text(f"part {n}", 60) for n in range(6)]
    found = duplicates(["\n\n".join(parts), "\n\n".join(reversed(parts))])
    assert found[1] is not None


def test_nearly_all_documents_with_two_percent_of_words_changed_are_found():
    originals = [text(f"doc {n}") for n in range(60)]
    found = duplicates([*originals, *(edited(original, 0.02, f"e{n}") for n, original in enumerate(originals))])
    assert not any(found[:60])
    assert sum(duplicate is not None for duplicate in found[60:]) >= 55


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
    base = rng.integers(0, 2**63, size=3000, dtype=np.uint64)
    agreement = [
        (signature(base[:2000]) == signature(np.concatenate([base[:1000], base[2000:]]))).mean() for _ in range(1)
    ]
    assert abs(np.mean(agreement) - 1 / 3) < 0.12


def test_a_signature_depends_on_the_contents_alone():
    words = text("a").split()
    assert (signature(_shingles(words)) == signature(_shingles(list(words)))).all()
    assert len(_shingles(words)) == len(words) - 4
