"""Suites: files of the user's, with pinned checksums, in one form."""

import csv
import json
import os
from pathlib import Path

import pytest

from phidelity.config import UserError
from phidelity.grading.harm import CATEGORIES, OF_SUITES
from phidelity.records import write_records
from phidelity.safety.suites import SUITES, Objective, load_suite, suites, thinned

SIZES = {
    "xstest": (450, 200),
    "ailuminate": (1200, 1200),
    "ailuminate-fr": (1200, 1200),
    "harmbench": (400, 400),
    "advbench": (520, 520),
    "cyberseceval-frr": (750, 0),
    "cyberseceval-injection": (251, 251),
    "in-the-wild": (666, 666),
}


@pytest.fixture
def data() -> Path:
    folder = Path(os.environ.get("PHI_TEST_DATA", "absent")) / "safety"
    if not folder.is_dir():
        pytest.skip("no safety suites at hand (PHI_TEST_DATA)")
    return folder


def test_every_published_class_stands_in_the_taxonomy() -> None:
    for suite, classes in OF_SUITES.items():
        assert set(classes.values()) <= set(CATEGORIES), suite


@pytest.mark.parametrize("name", SIZES)
def test_a_published_suite_is_read_whole(data: Path, name: str) -> None:
    rows = load_suite(name, data)
    n, n_restricted = SIZES[name]
    assert (len(rows), sum(one.restricted for one in rows)) == (n, n_restricted)
    assert len({one.id for one in rows}) == n
    assert all(one.text.strip() and one.license and one.hazard in CATEGORIES for one in rows)


def test_a_twin_shares_the_class_and_differs_in_kind(data: Path) -> None:
    by_id = {one.id: one for one in load_suite("xstest", data)}
    twins = [(one, by_id[one.twin]) for one in by_id.values() if one.twin]
    assert len(twins) == 450
    assert all(one.restricted != other.restricted and one.hazard == other.hazard for one, other in twins)
    assert by_id["xstest/1"].twin == "xstest/26"


def test_half_of_ailuminate_comes_from_a_skilled_persona(data: Path) -> None:
    rows = load_suite("ailuminate-fr", data)
    assert sum(one.family == "skilled" for one in rows) == 600
    assert {one.language for one in rows} == {"fr"}


def test_an_injection_that_names_its_word_needs_no_judge(data: Path) -> None:
    first = load_suite("cyberseceval-injection", data)[0]
    assert first.contains == "Piano"
    assert first.system.startswith("The secret key")


def xstest_file(folder: Path) -> Path:
    path = folder / "xstest" / "xstest_prompts.csv"
    path.parent.mkdir(parents=True)
    path.write_text("id,prompt,type,label,focus,note\n1,How do I open a jar?,homonyms,safe,open,\n")
    return path


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    path = xstest_file(tmp_path)
    with pytest.raises(UserError, match=f"{path.name} has the SHA-256 .* expected 11783fb294ed"):
        load_suite("xstest", tmp_path)


def test_a_missing_file_says_where_it_would_be_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no xstest/xstest_prompts\.csv"):
        load_suite("xstest", tmp_path)


def test_an_unknown_suite_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one of xstest, ailuminate"):
        suites(["xtest"], tmp_path)


def rows_file(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_suites_without_a_pinned_checksum_are_read_and_their_digest_is_kept(tmp_path: Path) -> None:
    row = {"Index": "0", "Goal": "Say boo.", "Target": "", "Behavior": "b", "Category": "Privacy", "Source": ""}
    rows_file(tmp_path / "jailbreakbench/harmful-behaviors.csv", [row])
    rows_file(tmp_path / "jailbreakbench/benign-behaviors.csv", [row])
    sst = {"id": "SA1", "harm_area": "Scams and Fraud", "counter": "1", "category": "information", "prompt": "Say boo."}
    rows_file(tmp_path / "simplesafetytests/cases.csv", [sst])
    (tmp_path / "toxigen").mkdir()
    (tmp_path / "toxigen/neutral_bakers_1k.txt").write_text("- bakers rise early\\n- bakers like bread\\n-\n")
    (tmp_path / "bbq").mkdir()
    bbq = {"category": "Age", "example_id": 3, "context": "Two people spoke.", "question": "Who was late?"}
    bbq |= {"ans0": "A", "ans1": "B", "ans2": "Unknown", "context_condition": "ambig", "question_polarity": "neg"}
    (tmp_path / "bbq/Age.jsonl").write_text(json.dumps(bbq) + "\n")
    rows, digests = suites(["jailbreakbench", "simplesafetytests", "toxigen", "bbq"], tmp_path)
    assert len(rows) == len(digests) == 5
    assert {one.id: one.twin for one in rows}["jailbreakbench/harmful/0"] == "jailbreakbench/benign/0"
    assert [suite.name for suite in SUITES if not suite.is_pinned] == [
        "jailbreakbench",
        "simplesafetytests",
        "toxigen",
        "bbq",
    ]


def test_a_file_of_another_form_is_explained(tmp_path: Path) -> None:
    rows_file(tmp_path / "simplesafetytests/cases.csv", [{"a": "b"}])
    with pytest.raises(UserError, match=r"cannot be read as the suite simplesafetytests \(KeyError"):
        load_suite("simplesafetytests", tmp_path)


def own(**more: str) -> Objective:
    return Objective(**{"id": "own/1", "suite": "own", "text": "Say boo.", "hazard": "hate", "restricted": True} | more)


def test_requests_of_ones_own_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    write_records(path, [own()])
    assert suites([f"own:{path}"], tmp_path)[0] == [own()]
    write_records(path, [own(hazard="rudeness")])
    with pytest.raises(UserError, match="has the hazard 'rudeness'"):
        suites([f"own:{path}"], tmp_path)


def test_a_thinned_suite_keeps_twins_together() -> None:
    rows = [own(id=str(place), twin=str(place ^ 1)) for place in range(40)]
    kept = {one.id for one in thinned(rows, 8)}
    assert len(kept) == 8
    assert all(str(int(name) ^ 1) in kept for name in kept)
