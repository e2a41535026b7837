from phidelity.data.decontaminate import Item, build_index, contaminated, overlap, side_by_side, words

PROBLEM = (
    "A baker fills nine trays with fourteen rolls each in the morning and gives two rolls away. "
    "How many rolls are left over for the shop?"
)
PROSE = "Before all of that the miller had brought his flour and the carter had fed the old grey horse. "


def test_words_are_lower_case_without_punctuation():
    assert words("Don’t pay $80,000 — in ONE go!") == ["dont", "pay", "80000", "in", "one", "go"]
    assert words("f(1,2)") == ["f", "1", "2"]


def test_a_quoted_problem_contaminates_whatever_its_case_and_punctuation():
    index = build_index(["another problem altogether", PROBLEM])
    text = PROSE + PROBLEM.upper().replace(".", "").replace("?", "") + " " + PROSE
    hit = contaminated(index, text)
    assert hit is not None
    assert (hit.rule, hit.item, hit.ratio) == ("13-gram", 1, 1.0)
    assert hit.match == " ".join(words(PROBLEM)[:13])


def test_half_a_problem_inside_prose_contaminates():
    assert contaminated(build_index([PROBLEM]), PROSE + " ".join(PROBLEM.split()[:14]) + " " + PROSE)


def test_a_clean_text_and_a_short_common_phrase_do_not():
    index = build_index([PROBLEM])
    assert overlap(index, PROSE) is None
    assert overlap(index, PROSE + "gives two rolls away. How many are there? " + PROSE) is None
    assert overlap(index, "") is None


def test_a_listed_13_gram_contaminates_nobody():
    text = PROSE + " ".join(PROBLEM.split()[:13])
    assert contaminated(build_index([PROBLEM]), text)
    hit = overlap(build_index([PROBLEM], allowed=[PROBLEM]), text)
    assert hit is not None
    assert hit.rule == "7-gram"


def test_the_ratio_is_shared_7_grams_over_the_smaller_count():
    item = " ".join(f"word{n}" for n in range(16))  # ten 7-grams
    text = (
        " ".join(f"word{n}" for n in range(10)) + " and then " + " ".join(f"other{n}" for n in range(30))
    )  # four of them
    hit = overlap(build_index([item]), text)
    assert hit is not None
    assert (hit.verdict, hit.ratio) == ("partial", 0.4)
    assert contaminated(build_index([item]), text) is None
    assert contaminated(build_index([item], hard=0.4), text) is not None
    assert overlap(build_index([item], info=0.41), text) is None
    short = " ".join(f"word{n}" for n in range(8))  # two 7-grams, both shared
    hit = contaminated(build_index([item]), short)
    assert hit is not None
    assert hit.ratio == 1.0


def test_counting_to_thirteen_is_nobodys_problem():
    numbers = " ".join(map(str, range(1, 20)))
    index = build_index([f"{PROBLEM} The trays are {numbers} in order."])
    assert contaminated(index, f"{PROSE} {numbers} {PROSE}") is None


def test_no_gram_runs_from_one_problem_into_the_next():
    first, second = " ".join(f"a{n}" for n in range(6)), " ".join(f"b{n}" for n in range(6))
    assert overlap(build_index([first, second]), f"{first} {second}") is None
    assert build_index([]).sizes.tolist() == []
    assert overlap(build_index([]), PROSE) is None


def test_a_hit_is_reported_with_both_texts():
    index = build_index([Item("gsm", "7", PROBLEM)], hard=0.5)
    text = PROSE * 9 + PROBLEM + PROSE * 9
    hit = contaminated(index, text)
    assert hit is not None
    row = side_by_side(index, hit, "d1", "web")
    assert row["problem"] == PROBLEM
    assert (row["benchmark"], row["item"], row["id"], row["hard"], row["info"]) == ("gsm", "7", "d1", 0.5, 0.25)
    assert "A baker fills nine trays" in row["document"]
    assert row["document"] in text
    assert len(row["document"]) < len(text) / 2


def test_the_problem_that_overlaps_most_is_named_among_many():
    items = [" ".join(f"i{n}w{k}" for k in range(12)) for n in range(600)]
    hit = contaminated(build_index(items), f"{PROSE} {items[411]} {PROSE}")
    assert hit is not None
    assert (hit.item, hit.rule, hit.ratio) == (411, "7-gram", 1.0)


ASKED = ["a group", "a river in Peru", "a prime number", "a mammal that lays eggs", "a noble gas", "a cause of rust"]


def test_how_problems_are_put_is_nobodys_problem():
    index = build_index([f"Which of the following is not {what}?" for what in ASKED])
    chapter = "Review questions. Which of the following is not {}? Turn to the next page for the answers to them all."
    assert overlap(index, chapter.format("a part of speech")) is None
    assert overlap(index, chapter.format("a mammal that lays eggs")).verdict == "contaminated"


def test_a_passage_under_many_problems_is_still_found_by_its_13_grams():
    passage = "The keeper of the lighthouse wrote down every ship that passed between the two capes at night."
    index = build_index([f"{passage} {number}?" for number in range(6)])
    assert overlap(index, f"It is told so: {passage} Nobody knows more.").rule == "13-gram"


def test_two_shared_7_grams_of_several_are_weak_evidence():
    problem = "How many ducks does the farmer sell when winter comes early?"
    index = build_index([problem])
    filler = "we asked him about prices and the weather of the year and he gave us no reply " * 2
    assert overlap(index, f"{filler} ducks does the farmer sell when winter rains {filler}") is None
    assert overlap(index, f"{filler} {problem} {filler}").verdict == "contaminated"
