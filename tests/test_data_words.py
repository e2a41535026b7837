import random

import numpy as np

from phidelity.data.words import grams, words


def cut(text, **how):
    found = words(text, **how)
    return [text[start:end] for start, end in zip(found.starts, found.ends, strict=True)]


def test_words_are_runs_of_letters_digits_and_marks():
    assert cut("Don't stop_me — 80,000 «été»!") == ["Don", "t", "stop_me", "80", "000", "été"]
    assert cut("हिन्दी में") == ["हिन्दी", "में"]
    assert cut(" ., ") == cut("") == []


def test_characters_of_unspaced_scripts_are_words_where_asked():
    assert cut("a 数据ok ไทย") == ["a", "数", "据", "ok", "ไ", "ท", "ย"]
    assert cut("a 数据ok ไทย", characters=False) == ["a", "数据ok", "ไทย"]


def test_equal_words_have_equal_hashes_wherever_they_stand():
    long = "the cat saw The CAT " * 3000
    hashes = words(long).hashes
    assert len(set(hashes.tolist())) == 3
    assert hashes[0] == hashes[3] == words("x THE").hashes[1]
    assert words("été x").hashes[1] == words("x").hashes[0]


def test_different_words_have_different_hashes():
    rng = random.Random(0)
    some = {"".join(rng.choices("abcdef01", k=rng.randint(1, 9))) for _ in range(20000)}
    assert len(set(words(" ".join(some)).hashes.tolist())) == len(some)


def test_characters_whose_lower_case_is_longer_keep_the_places():
    assert cut("İstanbul ODA") == ["İstanbul", "ODA"]


def test_grams_are_hashes_of_runs_of_words():
    found = grams(words("a b c a b c d").hashes, 3)
    assert len(found) == 5
    assert found[0] == found[3]
    assert len(np.unique(found)) == 4
    assert len(grams(words("a b").hashes, 3)) == 0
