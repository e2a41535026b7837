import random
import tracemalloc

import numpy as np
import pytest

from phidelity.config import UserError
from phidelity.data.substrings import PER_UNIT, Place, cut, repeated_passages, repeats, told, without_repeats


def brute_force(sequences, least):
    """The covered units, by looking at every pair of windows."""
    places = [(k, i) for k, one in enumerate(sequences) for i in range(len(one) - least + 1)]
    starts = np.cumsum([0, *(len(one) + 1 for one in sequences)])
    covered = set()
    for k, i in places:
        window = tuple(sequences[k][i : i + least])
        earlier = ((a, b) for a, b in places if tuple(sequences[a][b : b + least]) == window)
        a, b = min(earlier)
        if starts[k] + i >= starts[a] + b + least:
            covered |= {(k, i + n) for n in range(least)}
    return covered


@pytest.mark.parametrize("seed", range(12))
def test_what_is_dropped_is_what_comparing_every_pair_of_windows_finds(seed):
    rng = random.Random(seed)
    sequences = [np.array([rng.randrange(2 + seed % 3) for _ in range(rng.randrange(60))], np.int64) for _ in range(4)]
    least = 3 + seed % 6
    clusters = repeats(sequences, least)
    dropped = [place for cluster in clusters for place in cluster.dropped]
    found = {(place.text, n) for place in dropped for n in range(place.start, place.end)}
    assert found == brute_force(sequences, least)
    assert sum(place.end - place.start for place in dropped) == len(found)
    for cluster in clusters:
        kept = sequences[cluster.kept.text][cluster.kept.start : cluster.kept.end]
        for place in cluster.dropped:
            assert (sequences[place.text][place.start : place.end] == kept).all()
            assert place > cluster.kept


def test_a_passage_in_two_documents_and_twice_in_one_stays_where_it_stood_first():
    passage = "The keeper wrote down the wind and the ships, every day of the year, in a hand that nobody could read. "
    texts = [f"First:{passage}#End", f"Second one={passage}%Middle^{passage}&Last", "Third, without it."]
    (cluster,) = repeated_passages(texts, least=60)
    assert cluster.kept == Place(0, 6, 6 + len(passage))
    assert [place.text for place in cluster.dropped] == [1, 1]
    cut = without_repeats(texts, [cluster])
    assert cut[0] == texts[0]
    assert cut[2] == texts[2]
    assert cut[1] == "Second one=%Middle^&Last"
    (line,) = told([cluster], ["a", "b", "c"])
    assert line["kept"]["id"] == "a"
    assert [one["id"] for one in line["dropped"]] == ["b", "b"]


def test_characters_of_several_bytes_are_not_torn():
    passage = "Der Wärter schrieb täglich über Wind, Wetter und Schiffe, für niemanden. "
    texts = ["ä" + passage + "ö", "é" + passage + "à"]
    cut = without_repeats(texts, repeated_passages(texts, least=40))
    assert cut[1].encode().decode() == cut[1]
    assert "\ufffd" not in cut[1]
    assert "Wetter" not in cut[1]
    assert cut[1][0] == "é"


def test_what_is_cut_is_told_by_place_and_length():
    text, removed = cut("aäb" + "x" * 10 + "cöd", [Place(0, 2, 6), Place(0, 16, 17)])
    assert text == "axxxxxxxxcd"
    assert removed == [(1, 4), (10, 1)]


def test_a_run_of_one_sign_keeps_its_beginning():
    (text,) = without_repeats(["a" * 1000], repeated_passages(["a" * 1000], least=100))
    assert text == "a" * 100


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["short", "texts"], ["abc" * 10]])
def test_nothing_is_found_in_little(texts):
    assert repeated_passages(texts, least=50) == []
    assert without_repeats(texts, []) == texts


def test_tokens_repeat_as_bytes_do():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 100_000, 500, dtype=np.uint32)
    (cluster,) = repeats([tokens, np.concatenate([tokens[100:160], tokens[:20]])], least=50)
    assert cluster == (Place(0, 100, 160), (Place(1, 0, 60),))


def test_memory_is_bounded_and_too_much_is_refused():
    text = "".join(random.Random(1).choices("abcdefgh ", k=200_000))
    tracemalloc.start()
    repeated_passages([text, text[5000:9000]], least=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= PER_UNIT * 204_002
    with pytest.raises(UserError, match=r"204,002 bytes or tokens are more than the 1,000"):
        repeated_passages([text, text[5000:9000]], most=1000)
