from phidelity.completion import Completion, ScriptedCompleter, Usage
from phidelity.grading.referee import Referee


def shouting():
    return ScriptedCompleter(lambda prompt, _: prompt.messages[-1].content.upper())


def test_a_question_is_open_until_settled_and_asked_once():
    completer = shouting()
    referee = Referee(completer)
    assert referee.ask("same?") is None
    assert referee.ask("same?") is None
    assert referee.settle() == 1
    assert referee.ask("same?") == "SAME?"
    assert (referee.settle(), completer.calls) == (0, 1)


def test_replies_are_kept_and_found_again(tmp_path):
    path = tmp_path / "replies.jsonl"
    first = Referee(shouting(), path=path)
    first.ask("same?")
    first.settle()
    second = Referee(shouting(), path=path)
    assert second.ask("same?") == "SAME?"
    assert second.n_asked == 0


def test_another_judge_is_asked_anew(tmp_path):
    path = tmp_path / "replies.jsonl"
    first = Referee(shouting(), path=path)
    first.ask("same?")
    first.settle()
    other = Referee(ScriptedCompleter(lambda *_: "no", name="other"), path=path)
    assert other.ask("same?") is None


def test_a_torn_line_is_asked_again_and_spoils_no_other(tmp_path):
    path = tmp_path / "replies.jsonl"
    first = Referee(shouting(), path=path)
    for word in ("one", "two"):
        first.ask(word)
        first.settle()
    path.write_bytes(path.read_bytes()[:-10])
    second = Referee(shouting(), path=path)
    assert (second.ask("one"), second.ask("two")) == ("ONE", None)
    second.settle()
    third = Referee(shouting(), path=path)
    assert (third.ask("one"), third.ask("two")) == ("ONE", "TWO")


class Failing(ScriptedCompleter):
    def complete(self, prompts, params, on_done=None):
        usage = Usage(prompt_tokens=0, completion_tokens=0)
        return [Completion(text="", finish_reason="error", usage=usage) for _ in prompts]


def test_a_failed_reply_stays_open():
    referee = Referee(Failing(lambda *_: ""))
    referee.ask("same?")
    assert referee.settle() == 0
    assert referee.ask("same?") is None
