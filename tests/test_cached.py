"""Nothing is paid for twice: not in one call, not after a restart or a kill, not by several threads."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from phidelity.cached import CachedCompleter
from phidelity.completion import Capabilities, Completion, SamplingParams, Usage, asked
from phidelity.records import Conversation, Message

WARM = SamplingParams(temperature=1.0)
ASK = Conversation(id="a", messages=(Message(role="user", content="2+2?"),))


class Teacher:
    """Says which repeat of which prompt with which seed it was asked; counts what it is paid for."""

    name = "teacher"
    capabilities = Capabilities(logprobs=True)

    def __init__(self, pause: float = 0.0, fails_at: str = "") -> None:
        self.paid: list[tuple[str, int]] = []
        self.pause, self.fails_at = pause, fails_at
        self.lock = threading.Lock()

    def complete(self, prompts, params, on_done=None):
        completions = []
        for place, (prompt, repeat, choice) in enumerate(asked(prompts, params)):
            time.sleep(self.pause)
            if prompt == self.fails_at:
                raise RuntimeError("gone")
            with self.lock:
                self.paid.append((str(prompt), repeat))
            text, usage = f"{prompt}/{repeat}/{params.seed}/é", Usage(prompt_tokens=1, completion_tokens=1)
            reason = "error" if prompt == "bad" else "stop"
            completions.append(Completion(text=text, finish_reason=reason, usage=usage, index=choice))
            if on_done:
                on_done(place, completions[-1])
        return completions

    def logprobs(self, prompts):
        self.paid += [(str(prompt), 0) for prompt in prompts]
        return [tuple(-0.5 * token for token in prompt[1:]) for prompt in prompts]


def texts(completions):
    return [completion.text for completion in completions]


def test_answers_are_those_of_the_completer_and_are_asked_for_once(tmp_path):
    prompts = ["a", "b", "a", ASK, (1, 2), "a"]
    teacher = Teacher()
    cached = CachedCompleter(teacher, tmp_path / "deep" / "answers.jsonl")
    heard: list[int] = []
    first = cached.complete(prompts, WARM, lambda place, _: heard.append(place))
    assert first == Teacher().complete(prompts, WARM)
    assert sorted(heard) == list(range(6))
    assert cached.complete(prompts, WARM) == first
    assert len(teacher.paid) == len(set(teacher.paid)) == 6
    assert (cached.n_found, cached.n_asked) == (6, 6)
    cached.close()
    again = CachedCompleter(Teacher(fails_at="a"), tmp_path / "deep" / "answers.jsonl")
    assert again.complete(prompts[::-1], WARM)[0].text == first[0].text, "the first repeat is the first one asked for"
    again.close()


def test_only_missing_repeats_are_asked_for_and_they_are_the_right_ones(tmp_path):
    teacher = Teacher()
    cached = CachedCompleter(teacher, tmp_path / "answers.jsonl")
    cached.complete(["a"], WARM.model_copy(update={"first_repeat": 2}))
    five = cached.complete(["a", "b"], WARM.model_copy(update={"n": 5}))
    assert five == Teacher().complete(["a", "b"], WARM.model_copy(update={"n": 5}))
    assert sorted(teacher.paid) == [("a", n) for n in range(5)] + [("b", n) for n in range(5)]
    cached.close()


def test_model_prompt_parameters_and_kind_of_prompt_make_the_key(tmp_path):
    teacher = Teacher()
    cached = CachedCompleter(teacher, tmp_path / "answers.jsonl")
    cached.complete(["a"], WARM)
    cached.complete([ASK, ASK.model_copy(update={"id": "other"})], WARM)
    for params in (WARM.model_copy(update={"seed": 1}), WARM.model_copy(update={"min_p": 0.1}), SamplingParams()):
        cached.complete(["a"], params)
    teacher.name = "other"
    cached.complete(["a"], WARM)
    assert len(teacher.paid) == 7
    cached.complete([ASK], WARM.model_copy(update={"n": 1}))
    assert len(teacher.paid) == 8
    cached.close()


def test_a_line_that_a_kill_cut_short_is_asked_for_again_and_harms_no_other(tmp_path, caplog):
    path = tmp_path / "answers.jsonl"
    cached = CachedCompleter(Teacher(), path)
    cached.complete(["a", "b", "c"], WARM)
    cached.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole), 7):
        path.write_bytes(whole[:cut])
        teacher = Teacher()
        again = CachedCompleter(teacher, path)
        assert texts(again.complete(["a", "b", "c"], WARM)) == [f"{name}/0/0/é" for name in "abc"]
        n_whole = whole[:cut].count(b"\n") + whole[:cut].endswith(b"}}}")
        assert len(teacher.paid) == 3 - n_whole
        again.close()
        last = CachedCompleter(Teacher(fails_at="a"), path)
        assert len(last.complete(["a", "b", "c"], WARM)) == 3
        last.close()


def test_what_came_before_a_failure_is_kept(tmp_path):
    cached = CachedCompleter(Teacher(fails_at="c"), tmp_path / "answers.jsonl")
    with pytest.raises(RuntimeError, match="gone"):
        cached.complete(["a", "b", "c"], WARM)
    teacher = cached.completer = Teacher()
    cached.complete(["a", "b", "c"], WARM)
    assert teacher.paid == [("c", 0)]
    cached.close()


def test_failed_answers_are_given_but_not_kept(tmp_path):
    teacher = Teacher()
    cached = CachedCompleter(teacher, tmp_path / "answers.jsonl")
    assert cached.complete(["bad", "good"], WARM)[0].finish_reason == "error"
    cached.complete(["bad", "good"], WARM)
    assert teacher.paid.count(("bad", 0)) == 2
    assert teacher.paid.count(("good", 0)) == 1
    cached.close()


def test_several_threads_pay_once_between_them(tmp_path):
    teacher = Teacher(pause=0.002)
    cached = CachedCompleter(teacher, tmp_path / "answers.jsonl")
    prompts = [str(n) for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(cached.complete, prompts[shift:] + prompts[:shift], WARM) for shift in range(8)]
        for shift, job in enumerate(jobs):
            assert texts(job.result()) == [f"{name}/0/0/é" for name in prompts[shift:] + prompts[:shift]]
    assert sorted(teacher.paid) == sorted((name, 0) for name in prompts)
    assert len((tmp_path / "answers.jsonl").read_bytes().splitlines()) == 20
    cached.close()


def test_one_that_waits_asks_itself_where_the_other_failed(tmp_path):
    failing, started = Teacher(), threading.Event()

    def die(prompts, params, on_done=None):
        started.set()
        time.sleep(0.05)
        raise RuntimeError("gone")

    cached = CachedCompleter(failing, tmp_path / "answers.jsonl")
    failing.complete, working = die, failing.complete
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cached.complete, ["a"], WARM)
        started.wait()
        failing.complete = working
        second = pool.submit(cached.complete, ["a"], WARM)
        assert texts(second.result()) == ["a/0/0/é"]
        with pytest.raises(RuntimeError, match="gone"):
            first.result()
    cached.close()


def test_scores_are_kept_too(tmp_path):
    teacher = Teacher()
    cached = CachedCompleter(teacher, tmp_path / "answers.jsonl")
    rows = [(1, 2, 3), (4, 5), (1, 2, 3)]
    assert cached.logprobs(rows) == teacher.logprobs(rows)
    n_paid = len(teacher.paid)
    assert cached.logprobs(rows[:2]) == [(-1.0, -1.5), (-2.5,)]
    assert len(teacher.paid) == n_paid == 2 + 3
    cached.close()
