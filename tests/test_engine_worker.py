"""Several callers on one engine: nobody waits for a reader, nothing is lost, failures reach whom they concern."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phidelity.completion import Completion, SamplingParams
from phidelity.config import UserError
from phidelity.engine.llm import LLM
from phidelity.engine.runner import Chunk
from phidelity.engine.stream import TextStream
from phidelity.engine.worker import Request
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

TOKENIZER = train(["the cat sat on the mat and 12 cats sat there with the dog"] * 3, 400)
CONFIG = ModelConfig(
    n_layers=2, d_model=32, n_heads=4, n_kv_heads=2, d_ff=64, vocab_size=416, context_len=256, rope_theta=10_000.0
)
WARM = SamplingParams(temperature=1.0, max_tokens=30, seed=3, ignore_end=True)
LONG = WARM.model_copy(update={"max_tokens": 200})


@cache
def model() -> Transformer:
    return Transformer(CONFIG).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)


@cache
def shared() -> LLM:
    return LLM(model(), TOKENIZER, "shared", n_running=16)


def fresh(**options: Any) -> LLM:
    return LLM(model(), TOKENIZER, "fresh", **options)


def prompts(n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, 256, rng.integers(1, 40)).tolist()) for _ in range(n)]


def test_callers_on_many_threads_get_what_they_would_get_alone() -> None:
    parts = [prompts(6, seed) for seed in range(8)]
    expected = [shared().complete(part, WARM) for part in parts]
    answers: dict[int, list[Completion]] = {}
    scores: dict[int, list[tuple[float, ...]]] = {}

    def call(at: int) -> None:
        answers[at] = llm.complete(parts[at], WARM)
        scores[at] = llm.logprobs(parts[at])

    llm = fresh(n_running=16)
    threads = [threading.Thread(target=call, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[at] for at in range(8)] == expected
    assert [scores[at] for at in range(8)] == [shared().logprobs(part) for part in parts]


def test_pieces_together_are_the_completion() -> None:
    params = WARM.model_copy(update={"logprobs": 2})
    request = shared().submit(prompts(1)[0], params)
    pieces = list(request)
    whole = request.result()
    assert "".join(piece.text for piece in pieces) == whole.text
    assert tuple(token for piece in pieces for token in piece.tokens) == whole.tokens
    assert tuple(value for piece in pieces for value in piece.logprobs) == whole.logprobs
    assert tuple(pair for piece in pieces for pair in piece.alternatives) == whole.alternatives
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["length"]
    assert whole == shared().complete(prompts(1), params)[0]


def test_a_caller_that_never_reads_holds_nobody_up() -> None:
    silent = shared().submit(prompts(1)[0], LONG)
    assert shared().complete(prompts(5), WARM)
    whole = silent.result(timeout=60)
    assert len(whole.tokens) == 200
    piece = silent.take()
    assert (piece.tokens, piece.finish_reason) == (whole.tokens, "length")
    assert silent.take().tokens == ()


def test_news_is_told_on_every_token_and_a_listener_that_fails_harms_nobody() -> None:
    told = []
    request = shared().submit(prompts(1)[0], WARM, on_news=lambda: told.append(1))
    request.result(timeout=60)
    assert 2 <= len(told) <= 31

    def fail() -> None:
        raise ValueError("the listener is broken")

    broken = shared().submit(prompts(1)[0], WARM, on_news=fail)
    assert broken.result(timeout=60) == request.result()


def test_a_cancelled_request_ends_with_what_it_has() -> None:
    request = shared().submit(prompts(1)[0], LONG)
    next(iter(request))
    request.cancel()
    whole = request.result(timeout=60)
    assert whole.finish_reason == "cancelled"
    assert 1 <= len(whole.tokens) < 200
    assert shared().complete(prompts(3), WARM)[0].finish_reason == "length"


def test_leaving_a_stream_cancels_it() -> None:
    llm = fresh()
    pieces = llm.stream(prompts(1)[0], LONG)
    next(pieces)
    pieces.close()  # pyright: ignore[reportAttributeAccessIssue]
    deadline = time.monotonic() + 30
    while llm.stats()["running"] and time.monotonic() < deadline:
        time.sleep(0.01)
    stats = llm.stats()
    assert (stats["running"], stats["waiting"]) == (0, 0)
    assert stats["blocks_free"] == stats["blocks"]
    assert stats["completion_tokens"] < 200


def test_a_callers_own_failure_cancels_its_requests_and_reaches_it() -> None:
    llm = fresh(n_running=4)

    def fail(index: int, completion: Completion) -> None:
        raise ValueError("the caller is broken")

    with pytest.raises(ValueError, match="the caller is broken"):
        llm.complete(prompts(40), LONG, fail)
    assert llm.complete(prompts(2), WARM)[0].finish_reason == "length"
    assert llm.stats()["completion_tokens"] < 40 * 200


def test_a_failure_of_the_engine_is_raised_to_those_it_ended_and_later_requests_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = fresh()
    llm.complete(prompts(1), WARM)
    engine = llm._worker.engine
    assert engine

    def fail(chunks: object) -> None:
        raise MemoryError("no room for the step")

    with monkeypatch.context() as patch:
        patch.setattr(engine.runner, "forward", fail)
        with pytest.raises(RuntimeError, match="no room for the step"):
            llm.complete(prompts(3), WARM)
        with pytest.raises(RuntimeError, match="no room for the step"):
            list(llm.submit(prompts(1)[0], WARM))
    assert llm.complete(prompts(3), WARM) == shared().complete(prompts(3), WARM)
    engine.scheduler.blocks.check([])


def test_wrong_requests_are_refused_in_one_line_and_running_ones_go_on() -> None:
    running = shared().submit(prompts(1)[0], LONG)
    with pytest.raises(UserError, match="has 256 tokens; the context holds 256, of which one is for the answer"):
        shared().submit((1,) * 256, WARM)
    with pytest.raises(UserError, match="no tokens"):
        shared().submit((), WARM)
    with pytest.raises(UserError, match="temperature"):
        shared().submit((1,), WARM.model_copy(update={"temperature": -1.0}))
    assert running.result(timeout=60).finish_reason == "length"


def test_a_closed_engine_cancels_and_refuses(tmp_path: Path) -> None:
    llm = fresh(spill=tmp_path, digest="these")
    request = llm.submit(tuple(range(100)), LONG)
    next(iter(request))
    llm.close()
    llm.close()
    assert request.result(timeout=1).finish_reason == "cancelled"
    with pytest.raises(RuntimeError, match="closed"):
        llm.complete(prompts(1), WARM)
    assert len(list(tmp_path.glob("*/*.kv"))) >= 3


def test_a_new_process_finds_the_prefix_on_disk(tmp_path: Path) -> None:
    shared_prefix = tuple(range(120))
    first = fresh(spill=tmp_path, digest="these")
    expected = first.complete([shared_prefix + (7,)], WARM)
    first.close()
    again = fresh(spill=tmp_path, digest="these")
    request = again.submit(shared_prefix + (7,), WARM)
    assert request.result(timeout=60) == expected[0]
    assert request.prefix_hit_tokens == 96
    again.close()
    other = LLM(model(), TOKENIZER, "fresh", spill=tmp_path, digest="others")
    assert other.complete([shared_prefix + (7,)], WARM)[0].tokens == expected[0].tokens
    assert other.stats()["restored_blocks"] == 0
    other.close()


def test_an_engine_that_nobody_holds_is_let_go() -> None:
    llm = fresh()
    llm.complete(prompts(1), WARM)
    gone = weakref.ref(llm._worker)
    del llm
    deadline = time.monotonic() + 30
    while gone() and time.monotonic() < deadline:
        time.sleep(0.05)
        gc.collect()
    assert gone() is None


def test_listeners_are_told_of_tokens_alone_not_of_the_steps_of_a_prompt() -> None:
    llm = LLM(model(), TOKENIZER, "told")
    llm.warm()
    assert llm.engine
    llm.engine.runner.budget = 32  # so that the prompt takes several steps
    told: list[int] = []
    request = llm.submit((65,) * 200, WARM.model_copy(update={"max_tokens": 5}), on_news=lambda: told.append(1))
    request.result(30)
    llm.close()
    assert len(told) == 5


def crowd(llm: LLM, n: int = 3) -> list[Request]:
    return [llm.submit((1, 2, 3, at), LONG) for at in range(n)]


class Breaking:
    """Allows anything three times, then breaks."""

    is_broken = False

    def mask(self, said: Sequence[int]) -> np.ndarray:
        if len(said) >= 3:
            raise ValueError("the grammar is broken")
        return np.ones(TOKENIZER.vocab_size, dtype=bool)


def test_a_grammar_or_a_text_that_fails_ends_its_own_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = fresh()
    others = crowd(llm)
    held = llm.submit((9, 9), WARM, allowed=Breaking()).result(timeout=60)
    assert (held.finish_reason, len(held.tokens)) == ("error", 3)
    assert "the grammar is broken" in held.error
    push = TextStream.push

    def fail(stream: TextStream, token: int) -> str:
        if stream._stop:
            raise ValueError("no such character")
        return push(stream, token)

    monkeypatch.setattr(TextStream, "push", fail)
    untold = llm.submit((9, 9), WARM.model_copy(update={"stop": ("never said",)})).result(timeout=60)
    assert (untold.finish_reason, untold.error) == ("error", "its text could not be told: no such character")
    assert [other.result(timeout=60).finish_reason for other in others] == ["length"] * 3
    assert llm.engine
    llm.engine.scheduler.blocks.check([])


def test_requests_that_ended_in_a_step_that_fails_are_handed_back_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = fresh()
    llm.warm()
    assert llm.engine
    one, other = crowd(llm, 2)
    forward, n_steps = llm.engine.runner.forward, 0

    def fail(chunks: list[Chunk]) -> object:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 4:  # ends before the fifth step begins
            one.cancel()
        if n_steps == 5:
            raise RuntimeError("the step is broken")
        return forward(chunks)

    monkeypatch.setattr(llm.engine.runner, "forward", fail)
    assert one.result(timeout=60).finish_reason == "cancelled"
    with pytest.raises(RuntimeError, match="the step is broken"):
        other.result(timeout=60)


def test_an_engine_that_cannot_let_go_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = fresh()
    llm.warm()
    broken = llm.engine
    assert broken

    def fail(*_: object) -> None:
        raise RuntimeError("the engine is broken")

    monkeypatch.setattr(broken, "step", fail)
    monkeypatch.setattr(broken, "abandon", fail)
    with pytest.raises(RuntimeError, match="the engine is broken"):
        llm.complete(prompts(2), WARM)
    assert llm.complete(prompts(2), WARM) == shared().complete(prompts(2), WARM)
    assert llm.engine is not broken


def test_a_thread_that_dies_or_cannot_start_strands_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = fresh()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", raiser(RuntimeError("no more threads")))
        with pytest.raises(RuntimeError, match="no more threads"):
            llm.complete(prompts(1), WARM)
    assert llm.complete(prompts(1), WARM)[0].finish_reason == "length"
    with monkeypatch.context() as patch:
        patch.setattr(llm.engine, "step", raiser(SystemExit("out")))
        with pytest.raises(RuntimeError, match="out"):
            llm.complete(prompts(1), WARM)
    assert llm.complete(prompts(1), WARM)[0].finish_reason == "length"


def raiser(error: BaseException) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_block_that_cannot_be_saved_strands_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    llm = fresh(spill=tmp_path, digest="these")
    llm.warm()
    assert llm.engine
    llm.engine.runner.cache.get = raiser(MemoryError("no room"))  # pyright: ignore[reportAttributeAccessIssue]
    for seed in range(2):
        assert llm.complete([tuple(range(seed, seed + 70))], WARM)[0].finish_reason == "length"
        time.sleep(0.05)
    llm.close()
    assert "no room" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_an_engine_of_its_own() -> None:
    llm = fresh()
    expected = llm.complete(prompts(2), WARM)
    child = os.fork()  # while the engine's thread waits for more
    if not child:
        threading.Timer(60, os._exit, (3,)).start()
        try:
            os._exit(0 if llm.complete(prompts(2), WARM) == expected else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_finished_request_may_be_read_again() -> None:
    request = shared().submit((1, 2, 3), WARM)
    assert list(request)[-1].finish_reason == "length"
    assert [(piece.tokens, piece.finish_reason) for piece in request] == [((), "length")]


def test_only_who_reads_while_it_runs_reads_a_stream() -> None:
    llm = fresh()
    unread, waited, read = crowd(llm)
    waited.result(timeout=60)
    unread.result(timeout=60)
    assert not unread.sequence.is_streamed
    assert not waited.sequence.is_streamed
    assert unread.take().finish_reason == "length"
    assert not unread.sequence.is_streamed
    assert list(read)
    assert read.sequence.is_streamed


def test_scores_that_could_not_be_made_are_an_error() -> None:
    broken = Transformer(CONFIG).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)
    broken.embed.weight[7] = float("nan")
    llm = LLM(broken, TOKENIZER, "broken")
    assert [len(scores) for scores in llm.logprobs([(1, 2, 3), (4,)])] == [2, 0]
    with pytest.raises(UserError, match="Prompt 1 could not be scored: the model gave logits that are not finite"):
        llm.logprobs([(1, 2, 3), (1, 7, 3)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_running": 0}, "n_running is 0; expected 1 or more"),
        ({"n_running": -1}, "n_running is -1"),
        ({"context_len": 0}, "context_len is 0; expected 2 tokens or more"),
        ({"context_len": -5}, "context_len is -5"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
        ({"spill_bytes": -1}, "spill_bytes is -1"),
        ({"cache_format": "int4"}, "cache_format is 'int4'; expected f32 or int8"),
        ({"spill": Path("prefixes")}, "nothing says which weights it is of"),
    ],
)
def test_impossible_options_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fresh(**options)


def test_prompts_are_ids_or_refused_and_counted_by_their_ids() -> None:
    text = "the cat"
    ids = tuple(TOKENIZER.encode(text))
    one, other = shared().complete([text, ids], WARM)
    assert one != other
    assert [one, other] == shared().complete([ids, list(ids)], WARM)  # pyright: ignore[reportArgumentType]
    for wrong in ((1.5,), ("a",), None, 5):
        with pytest.raises(UserError, match="A prompt is"):
            shared().complete([wrong], WARM)  # pyright: ignore[reportArgumentType]


def test_a_stop_string_that_only_the_last_bytes_complete_is_a_stop() -> None:
    params = SamplingParams(max_tokens=1, logit_bias=((0xE9, 100.0),), stop=("\ufffd",))
    (cut,) = shared().complete([(1, 2)], params)
    assert (cut.text, cut.tokens, cut.finish_reason) == ("", (0xE9,), "stop")
