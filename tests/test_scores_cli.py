"""`phi eval`, `phi grade` and `phi compare` as scripts see them, against an endpoint."""

import csv
import json
import time

import pytest
from conftest import finish, phi_process
from mock_endpoint import echo

from phidelity.eval.pages import embedded


@pytest.fixture
def data(tmp_path):
    """Twenty made-up problems in MATH's format: `n + 1?`."""
    folder = tmp_path / "data"
    folder.mkdir()
    with open(folder / "math_test.csv", "w", newline="") as file:
        csv.writer(file).writerows([("Question", "Answer"), *((f"{n} + 1?", str(n + 1)) for n in range(20))])
    return folder


def solver(shift=lambda n: 0):
    """Answers `n + 1?` rightly, but for what `shift` adds."""

    def script(place, body):
        n = int(body["messages"][-1]["content"].split(" + 1?")[0].split()[-1])
        return 200, {}, echo(body, message={"content": f"Answer: {n + 1 + shift(n)}"}, finish_reason="stop")

    return script


def evaluate(phi, endpoint, data, out, *more):
    asked = ("--url", endpoint.url, "--model-name", "org/model", "--data", data, "--out", out, "--repeats", "1")
    return phi("eval", "math", *asked, *more)


def test_an_endpoint_is_evaluated_and_all_is_written_down(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    done = evaluate(phi, endpoint, data, tmp_path / "out", "--json", "--price", "1", "2")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["benchmarks"]["math"]["corrected"]["score"] == 100.0
    assert told["traffic"]["requests"] == 20
    assert told["traffic"]["cost"] == pytest.approx(20 * (3 + 2 * 5) / 1e6)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {"score", "stderr", "n"} <= scores["org-model"]["math"]["corrected"].keys()
    rows = [json.loads(line) for line in (tmp_path / "out/org-model/math/responses.jsonl").read_text().splitlines()]
    assert {"id", "repeat", "response", "finish_reason", "usage"} <= rows[0].keys()
    assert len((tmp_path / "out" / "requests.jsonl").read_text().splitlines()) == 20


def test_both_profiles_are_printed_side_by_side(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    shown = evaluate(phi, endpoint, data, tmp_path / "out").stdout
    assert "corrected" in shown.splitlines()[0]
    assert "parity" in shown.splitlines()[0]
    assert "difference" in shown.splitlines()[0]


def test_the_same_command_asks_nothing_again(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "out", "--limit", "5")
    assert len(endpoint.seen) == 5
    evaluate(phi, endpoint, data, tmp_path / "out", "--limit", "8")
    assert len(endpoint.seen) == 8
    evaluate(phi, endpoint, data, tmp_path / "out")
    evaluate(phi, endpoint, data, tmp_path / "out")
    assert len(endpoint.seen) == 20


def test_an_endpoint_that_dies_ends_the_command_and_is_gone_on_with(phi, endpoint, data, tmp_path):
    solve = solver()
    endpoint.script = lambda place, body: (401, {}, b"key revoked") if place >= 6 else solve(place, body)
    done = evaluate(phi, endpoint, data, tmp_path / "out", "--parallel", "1")
    assert done.returncode == 1
    assert "after 6 of 20 answers (status 401: key revoked)" in done.stderr
    assert not (tmp_path / "out" / "scores.json").exists()
    endpoint.script = solve
    assert evaluate(phi, endpoint, data, tmp_path / "out", "--json").returncode == 0
    assert len(endpoint.seen) == 7 + 14


def test_one_answer_that_never_comes_withholds_the_score(phi, endpoint, data, tmp_path):
    solve = solver()
    endpoint.script = lambda place, body: (
        (400, {}, b"filtered") if "13 + 1?" in body["messages"][-1]["content"] else solve(place, body)
    )
    done = evaluate(phi, endpoint, data, tmp_path / "out", "--json")
    assert done.returncode == 1
    assert "1 answers are missing" in done.stderr
    assert json.loads(done.stdout)["benchmarks"]["math"]["corrected"]["score"] is None


def test_grades_need_no_model(phi, endpoint, data, tmp_path):
    bare = [{"id": n, "response": f"Answer: {n + 1}"} for n in range(10)] + [{"id": "10", "response": None}]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    done = phi("grade", "math", "--responses", tmp_path / "bare.jsonl", "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["corrected"]
    assert (found["n"], found["absent"], found["null_content"]) == (11, 9, 1)
    assert found["score"] == pytest.approx(100 * 10 / 11, abs=1e-3)
    stored = ("grade", "math", "--data", data, "--responses")
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "out")
    again = phi(*stored, tmp_path / "out/org-model/math/responses.jsonl", "--json", "--profile", "corrected")
    assert json.loads(again.stdout)["corrected"]["score"] == 100.0
    assert list(json.loads(again.stdout)) == ["corrected"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"id": "0"}', "line 1: found"),
        (b'{"id": "0", "response": 7}', "response a text"),
        (b'{"id": "0", "response": "\xff"}', "in UTF-8"),
        (b'{"id": "99", "response": ""}', "answers '99', which MATH has not"),
        (b'{"id": "0", "response": ""}\n{"id": "0", "response": ""}', "answered twice"),
        (b'{"id": "0", "response": "", "repeat": 1e400}', "repeat must be a whole number"),
        (b'{"id": "0", "response": "", "repeat": -3}', "repeat must be a whole number"),
        (b'{"id": true, "response": ""}', "id must be a text"),
        (b'{"id": "0", "response": "", "usage": 7}', "line 1: found"),
        (b"[" * 200_000, "RecursionError"),
        (b"", "is empty"),
    ],
)
def test_damaged_responses_are_one_clear_line(phi, data, tmp_path, line, told):
    (tmp_path / "r.jsonl").write_bytes(line)
    done = phi("grade", "math", "--responses", tmp_path / "r.jsonl", "--data", data)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_usage_and_missing_files_say_what_to_do(phi, data, tmp_path):
    assert phi("eval", "math", "--out", tmp_path).returncode == 2
    assert phi("eval", "math", "--url", "http://x", "--out", tmp_path).returncode == 2
    asked = ("--url", "http://127.0.0.1:9/v1", "--model-name", "m", "--out", tmp_path / "out", "--data", data)
    missing = phi("eval", "mmlu", *asked)
    assert missing.returncode == 1
    assert "mmlu.csv" in missing.stderr
    assert "14,042" in missing.stderr
    unset = phi("eval", "math", *asked, "--key-env", "NO_SUCH_KEY")
    assert "environment variable NO_SUCH_KEY is not set" in unset.stderr
    assert "No benchmark 'arc'" in phi("eval", "arc", *asked).stderr
    assert "import-prompts" in phi("eval", "math", *asked, "--profile", "parity").stderr


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "localhost:8000/v1", "ftp://host/v1", "http://user:secret@host/v1", "http://host/v1?key=secret"],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused_and_not_repeated(phi, data, tmp_path, url):
    done = phi("eval", "math", "--url", url, "--model-name", "m", "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("phi: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_half_an_emoji_in_an_answer_is_stored_and_graded(phi, endpoint, data, tmp_path):
    endpoint.script = lambda place, body: (200, {}, echo(body, message={"content": "\ud83d Answer: 1"}))
    done = evaluate(phi, endpoint, data, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["benchmarks"]["math"]["corrected"]["score"] == 5.0
    assert "\ufffd Answer: 1" in (tmp_path / "out/org-model/math/responses.jsonl").read_text()


def test_a_damaged_table_of_scores_is_one_clear_line(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "out")
    (tmp_path / "out" / "scores.json").write_text('{"org-model": ')
    for done in (evaluate(phi, endpoint, data, tmp_path / "out"), phi("compare", tmp_path / "out", tmp_path / "out")):
        assert done.returncode == 1
        assert "scores.json is damaged" in done.stderr
    (tmp_path / "out" / "scores.json").unlink()
    assert evaluate(phi, endpoint, data, tmp_path / "out").returncode == 0
    assert len(endpoint.seen) == 20


def test_a_local_model_is_evaluated_and_gone_on_with(phi, small_run, data, tmp_path):
    asked = ("eval", "math", "--model", small_run, "--data", data, "--out", tmp_path / "out", "--repeats", "1")
    done = phi(*asked, "--max-tokens", "4", "--limit", "5", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["benchmarks"]["math"]["corrected"]["n"] == 5
    (path,) = (tmp_path / "out").glob("*/math/responses.jsonl")
    before = path.read_bytes()
    assert phi(*asked, "--max-tokens", "4", "--limit", "5").returncode == 0
    assert path.read_bytes() == before


def test_equal_runs_show_no_smallest_difference_and_other_asking_is_told(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "a")
    evaluate(phi, endpoint, data, tmp_path / "b", "--max-tokens", "16")
    found = json.loads(phi("compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert found["rows"][0]["detectable"] is None
    assert "asked differently: math: params" in phi("compare", tmp_path / "a", tmp_path / "b").stdout


def test_two_runs_are_compared_problem_by_problem(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "good")
    endpoint.script = solver(lambda n: n % 4 == 0)
    evaluate(phi, endpoint, data, tmp_path / "worse")
    page = tmp_path / "diff.html"
    done = phi("compare", tmp_path / "good", tmp_path / "worse", "--json", "--page", page)
    row = next(row for row in json.loads(done.stdout)["rows"] if row["profile"] == "corrected")
    assert (row["difference"], row["gained"], row["lost"], row["n"]) == (-25.0, 0, 5, 20)
    assert row["p"] == pytest.approx(2 / 32)
    assert "math" in phi("compare", tmp_path / "good", tmp_path / "worse").stdout
    assert 'data">{"items":[' in page.read_text()


def test_a_script_in_an_answer_stays_text(phi, endpoint, data, tmp_path):
    nasty = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u2028\ud7ff Answer: 1"
    endpoint.script = lambda place, body: (200, {}, echo(body, message={"content": nasty}))
    assert evaluate(phi, endpoint, data, tmp_path / "out").returncode == 0
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "<img" not in page
    assert "http://" not in page.replace(endpoint.url, "")
    part = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert json.loads(part)["items"][0]["s"][0]["a"] == nasty
    assert "default-src 'none'" in page


def test_what_is_embedded_cannot_end_its_element():
    assert "<" not in embedded({"a": "</script>", "b": "&amp;"})
    assert json.loads(embedded({"a": "</script>\u2029"})) == {"a": "</script>\u2029"}


def test_a_judge_that_leaves_too_much_open_withholds_the_rate(phi, endpoint, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [("metadata", "problem", "answer"), *(("{'topic': 'Art'}", f"Who is {n}?", f"Name{n}") for n in range(10))]
    with open(folder / "simple_qa_test_set.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    lines = "".join(json.dumps({"id": n, "response": "Somebody else"}) + "\n" for n in range(10))
    (tmp_path / "r.jsonl").write_text(lines)
    judge = ("--judge", endpoint.url, "--judge-name", "judge", "--json")
    endpoint.script = lambda place, body: (200, {}, echo(body, message={"content": "I cannot say."}))
    done = phi("grade", "simpleqa", "--responses", tmp_path / "r.jsonl", "--data", folder, *judge)
    assert done.returncode == 1
    assert "left 10 of 10 undecided" in done.stderr
    found = json.loads(done.stdout)
    assert (found["corrected"]["score"], found["corrected"]["undetermined"]) == (None, 10)
    assert found["parity"]["undetermined"] == 10


def test_a_command_killed_at_work_goes_on_to_the_same_bytes(phi, endpoint, data, tmp_path):
    endpoint.script = solver()
    evaluate(phi, endpoint, data, tmp_path / "whole")
    slow = solver()

    def sleepy(place, body):
        time.sleep(0.1)
        return slow(place, body)

    endpoint.script = sleepy
    asked = ("--url", endpoint.url, "--model-name", "org/model", "--data", data, "--repeats", "1", "--parallel", "1")
    process = phi_process("eval", "math", *asked, "--out", tmp_path / "killed")
    stored = tmp_path / "killed/org-model/math/responses.jsonl"
    while not stored.exists() or stored.read_bytes().count(b"\n") < 5:
        time.sleep(0.02)
    process.kill()
    assert finish(process).returncode != 0
    with open(stored, "ab") as file:
        file.write(b'{"id": "19", "rep')
    n_stored, n_seen = stored.read_bytes().count(b"\n"), len(endpoint.seen)
    assert evaluate(phi, endpoint, data, tmp_path / "killed").returncode == 0
    assert len(endpoint.seen) - n_seen == 20 - n_stored
    assert stored.read_bytes() == (tmp_path / "whole/org-model/math/responses.jsonl").read_bytes()
