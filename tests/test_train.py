"""The loop: resuming, accumulation, isolation of packed documents, the schedule and the two DPO batches."""

import contextlib
import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch

from phidelity.config import UserError
from phidelity.data.batch import Batch, pack_rows
from phidelity.model.attention import CausalAttend
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.records import Message, PreferencePair
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.bpe import train as learn
from phidelity.train import loop
from phidelity.train.checkpointing import Snapshots, State
from phidelity.train.dpo import DpoConfig, encode, margins, train_dpo
from phidelity.train.loop import Measure, train
from phidelity.train.optim import OptimConfig, learning_rate
from phidelity.train.tokens import token_objective

CONFIG = ModelConfig(
    n_layers=2, d_model=32, n_heads=4, n_kv_heads=1, d_ff=64, vocab_size=400, context_len=64, rope_theta=1e4
)
OPTIM = OptimConfig(peak_lr=1e-2, warmup=0.1)


def a_model(seed: int = 0) -> Transformer:
    return Transformer(CONFIG).initialise(torch.Generator().manual_seed(seed))


def a_batch(step: int, n: int = 6) -> Batch:
    """Ragged documents, packed, and another batch every step."""
    generator = torch.Generator().manual_seed(step)
    lengths = torch.randint(3, 30, (n,), generator=generator).tolist()
    rows = [(torch.randint(0, 300, (length,), generator=generator).tolist(), [1] * length) for length in lengths]
    return pack_rows(rows, 32)


def bytes_of(model: Transformer) -> bytes:
    return b"".join(parameter.detach().numpy().tobytes() for parameter in model.parameters())


def run(
    out: Path, steps: int = 40, batches=lambda step: [a_batch(step)], model: Transformer | None = None
) -> Transformer:
    model = model or a_model()
    measure = Measure(lambda model, _: {"norm": float(model.norm.weight.sum())}, every=20)
    train(model, token_objective, batches, steps=steps, optim=OPTIM, out=out, name="test", measures=[measure])
    return model


def run_until_killed(out: Path, moment: int) -> None:
    """In a process of its own: train with the kill of a power cut at step `moment`."""

    def batches(step: int) -> list[Batch]:
        if step == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return [a_batch(step)]

    loop.SAVE_EVERY = 10
    run(out, batches=batches)


def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    whole = run(tmp_path / "whole")
    for moment in (3, 27):
        child = multiprocessing.get_context("spawn").Process(
            target=run_until_killed, args=(tmp_path / "broken", moment)
        )
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "broken/training/step-000020").exists()
    resumed = run(tmp_path / "broken")
    assert bytes_of(whole) == bytes_of(resumed)
    for name in ("metrics.jsonl", "training/step-000040/state.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_a_damaged_snapshot_is_passed_over_for_the_one_before(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    whole = run(tmp_path / "whole")

    def stop(step: int) -> list[Batch]:
        if step == 35:
            raise KeyboardInterrupt
        return [a_batch(step)]

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", batches=stop)
    newest = tmp_path / "broken/training/step-000030/state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-8] + b"damaged!")
    model = a_model()
    assert Snapshots(tmp_path / "broken/training").restore(State.begin(model, OPTIM)) == 20
    assert "does not match its hash" in caplog.text
    assert bytes_of(run(tmp_path / "broken")) == bytes_of(whole)


def test_a_snapshot_that_a_kill_left_unfinished_or_old_does_not_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    run(tmp_path / "whole")
    training = tmp_path / "broken" / "training"
    run(tmp_path / "broken", steps=40)
    (training / ".step-000020.unfinished").mkdir()
    shutil.copytree(training / "step-000040", training / "step-000030")  # killed before the old one was removed
    run(tmp_path / "broken")
    names = [sorted(path.name for path in (tmp_path / name / "training").iterdir()) for name in ("whole", "broken")]
    assert names[0] == names[1] == ["step-000040"]


def test_accumulation_changes_nothing_with_ragged_documents(tmp_path: Path) -> None:
    weights: dict[int, Transformer] = {}
    for n_micro in (1, 2, 4):

        def batches(step: int, n_micro: int = n_micro) -> list[Batch]:
            batch = a_batch(step, 24)
            parts = torch.arange(len(batch)).chunk(n_micro)
            return [batch.select(part) for part in parts]

        weights[n_micro] = a_model()
        optim = OptimConfig(peak_lr=1e-3, warmup=0.0)
        out = tmp_path / str(n_micro)
        train(weights[n_micro], token_objective, batches, steps=3, optim=optim, out=out, name="test")
    for n_micro in (2, 4):
        for one, other in zip(weights[1].parameters(), weights[n_micro].parameters(), strict=True):
            assert torch.allclose(one, other, atol=2e-6)


def test_changing_one_document_changes_no_logit_of_another_in_its_row() -> None:
    model = a_model()
    batch = pack_rows([(list(range(1, 13)), [1] * 12), (list(range(50, 66)), [1] * 16)], 32)
    attend = CausalAttend(batch.doc_ids)
    with torch.no_grad():
        before = model(batch.tokens, batch.positions, attend)
        first = batch.doc_ids[0] == batch.doc_ids[0, 0]
        batch.tokens[0, first] = 7
        after = model(batch.tokens, batch.positions, attend)
    assert not torch.equal(before[0, first], after[0, first])
    assert torch.equal(before[0, ~first], after[0, ~first])


def test_a_packed_document_has_the_logits_it_has_alone() -> None:
    model = a_model()
    documents = [list(range(1, 13)), list(range(50, 66))]
    batch = pack_rows([(ids, [1] * len(ids)) for ids in documents], 32)
    with torch.no_grad():
        packed = model(batch.tokens, batch.positions, CausalAttend(batch.doc_ids))
        for number, ids in enumerate(documents):
            tokens = torch.tensor([ids[:-1]])
            alone = model(tokens, torch.arange(len(ids) - 1)[None], CausalAttend())
            place = batch.tokens[0] == ids[0]
            start = int(place.nonzero()[0])
            assert torch.allclose(packed[0, start : start + len(ids) - 1], alone[0], atol=1e-5), number


def test_a_loss_that_is_not_finite_stops_the_run_with_advice(tmp_path: Path) -> None:
    model = a_model()
    with torch.no_grad():
        model.norm.weight.fill_(float("inf"))
    before = bytes_of(model)
    with pytest.raises(UserError, match=r"Lower optim\.peak_lr"):
        run(tmp_path, model=model)
    assert bytes_of(model) == before, "no step was taken"


def a_spiked_objective(at: int, factor: float):
    """Next-token loss, `factor` times as large in its call number `at`."""
    calls = iter(range(10**9))

    def objective(model: Transformer, batch: Batch) -> loop.Loss:
        loss = token_objective(model, batch)
        return loop.Loss(loss.total * (factor if next(calls) == at else 1.0), loss.n)

    return objective


@pytest.mark.parametrize("factor", [100.0, float("nan")])
def test_a_spike_leaves_weights_moments_and_counts_alone(tmp_path: Path, factor: float) -> None:
    """As if its step were in the list of steps to pass over; only the later rates say that it was there."""
    models = [a_model(), a_model()]
    spiked, listed = OPTIM, OPTIM.model_copy(update={"skip_steps": (80,)})
    objectives = a_spiked_objective(80, factor), token_objective
    for number, (optim, objective) in enumerate(zip((spiked, listed), objectives, strict=True)):
        out = tmp_path / str(number)
        batches = lambda step: [a_batch(step)]  # noqa: E731
        rows = train(models[number], objective, batches, steps=90, optim=optim, out=out, name="test")
        assert [row.get("skipped", 0) for row in rows] == [0] * 8 + [1]
    assert bytes_of(models[0]) == bytes_of(models[1])


def test_a_resumed_run_skips_what_an_unbroken_one_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)

    def go(out: Path, objective: loop.Objective, batches) -> tuple[Transformer, list]:
        model = a_model()
        return model, train(model, objective, batches, steps=90, optim=OPTIM, out=out, name="test")

    whole, rows = go(tmp_path / "whole", a_spiked_objective(80, 30.0), lambda step: [a_batch(step)])

    def stop(step: int) -> list[Batch]:
        if step == 75:
            raise KeyboardInterrupt
        return [a_batch(step)]

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "broken", token_objective, stop)
    resumed, rows_after = go(tmp_path / "broken", a_spiked_objective(10, 30.0), lambda step: [a_batch(step)])
    assert rows == rows_after
    assert rows[-1]["skipped"] == 1, "a window that began anew at step 70 would know too little to skip"
    assert bytes_of(whole) == bytes_of(resumed)


def test_sigterm_saves_the_step_at_hand_and_the_run_goes_on_from_it(tmp_path: Path) -> None:
    def batches(step: int) -> list[Batch]:
        if step == 17 and not (tmp_path / "broken/training").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return [a_batch(step)]

    with pytest.raises(UserError, match=r"saved step 18 of 40\. Give the same command"):
        run(tmp_path / "broken", batches=batches)
    assert [path.name for path in (tmp_path / "broken/training").iterdir()] == ["step-000018"]
    resumed, whole = run(tmp_path / "broken", batches=batches), run(tmp_path / "whole")
    assert bytes_of(resumed) == bytes_of(whole)
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("broken", "whole")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(("weights", "moments"), [("split", "int8"), ("stochastic", "bf16")])
def test_low_memory_training_learns_and_resumes_bit_for_bit(tmp_path: Path, monkeypatch, weights, moments) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    optim = OPTIM.model_copy(update={"weights": weights, "moments": moments})
    batches = lambda step: [a_batch(0)]  # noqa: E731

    def stop(step: int) -> list[Batch]:
        if step == 25:
            raise KeyboardInterrupt
        return batches(step)

    models = {}
    for name, tries in (("whole", (batches,)), ("broken", (stop, batches))):
        for attempt in tries:
            models[name] = a_model()
            with contextlib.suppress(KeyboardInterrupt):
                out = tmp_path / name
                rows = train(models[name], token_objective, attempt, steps=40, optim=optim, out=out, name="test")
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    parameters = [list(model.parameters()) for model in models.values()]
    assert all(torch.equal(one, other) for one, other in zip(*parameters, strict=True))
    assert parameters[0][0].dtype == torch.bfloat16


def test_snapshots_in_the_background_are_the_same_bytes(tmp_path: Path) -> None:
    """The weights go on changing while the thread writes what they were."""
    for background in (False, True):
        folder = tmp_path / str(background)
        state = State.begin(a_model(), OPTIM)
        snapshots = Snapshots(folder, background=background)
        for step in range(1, 6):
            loop.update(state, token_objective, [a_batch(step)], lr=1e-2, clip=1.0)
            snapshots.save(step, state)
        snapshots.finish()
        assert sorted(path.name for path in folder.iterdir()) == ["step-000004", "step-000005"]
    for name in ("step-000004/state.safetensors", "step-000005/state.safetensors", "step-000005/state.json"):
        assert (tmp_path / "False" / name).read_bytes() == (tmp_path / "True" / name).read_bytes()


def save_on_a_full_disk(folder: Path, background: bool) -> None:
    """In a process that may write no file of more than 20 KB, after a first snapshot without that limit."""
    state = State.begin(a_model(), OPTIM)
    snapshots = Snapshots(folder, background=background)
    snapshots.save(1, state)
    snapshots.finish()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        snapshots.save(2, state)
        snapshots.finish()
    except OSError as error:
        os._exit(error.errno or 0)
    os._exit(0)


@pytest.mark.parametrize("background", [False, True])
def test_a_disk_that_fills_while_saving_leaves_the_snapshot_before_and_no_remains(tmp_path, background) -> None:
    child = multiprocessing.get_context("spawn").Process(target=save_on_a_full_disk, args=(tmp_path, background))
    child.start()
    child.join(60)
    assert child.exitcode == errno.EFBIG
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert Snapshots(tmp_path).restore(State.begin(a_model(), OPTIM)) == 1


def test_a_snapshot_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    Snapshots(tmp_path).save(1, State.begin(a_model(), OPTIM))
    other = OPTIM.model_copy(update={"weights": "split"})
    with pytest.raises(UserError, match=r"another model or optimiser: low\.blocks"):
        Snapshots(tmp_path).restore(State.begin(a_model(), other))


def test_a_snapshot_of_other_batches_is_refused(tmp_path: Path) -> None:
    batches = lambda step: [a_batch(step)]  # noqa: E731
    train(a_model(), token_objective, batches, steps=10, optim=OPTIM, out=tmp_path, name="test", data="one order")
    with pytest.raises(UserError, match=r"fingerprint one order.*another"):
        train(a_model(), token_objective, batches, steps=20, optim=OPTIM, out=tmp_path, name="test", data="another")


TOKENIZER: Tokenizer = learn(["red green blue yes no maybe " * 3], 400)
QUESTION = (Message(role="user", content="red or blue"),)


def a_pair(number: int, kind: str) -> PreferencePair:
    chosen, rejected = ((5,), (9,)) if kind == "token" else ((5, 6, 7), (9, 8))
    prefix = tuple(range(40, 40 + number % 5))
    return PreferencePair(
        id=f"p{number}", kind=kind, prompt=QUESTION, prefix=prefix, chosen=chosen, rejected=rejected,
        tokenizer=TOKENIZER.digest,
    )  # fmt: skip


def test_a_token_pair_has_the_margin_of_the_same_pair_seen_as_a_sequence() -> None:
    model = a_model()
    pair = a_pair(3, "token")
    rows = [encode(pair, TOKENIZER), encode(pair.model_copy(update={"kind": "full"}), TOKENIZER)]
    one, other = margins(model, rows).tolist()
    assert one == pytest.approx(other, abs=1e-5)


def test_dpo_starts_at_ln_2_and_learns_the_preference(tmp_path: Path) -> None:
    pairs = [a_pair(n, kind) for n in range(20) for kind in ("token", "full", "prefix")]
    config = DpoConfig(epochs=8, batch_pairs=12, optim=OptimConfig(peak_lr=3e-3, warmup=0.0))
    summary = train_dpo(a_model(), TOKENIZER, pairs, config, seed=1, out=tmp_path)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert summary["pairs/margin_gained/before"] == pytest.approx(0.0, abs=1e-5)
    assert first["loss"] < 0.7
    assert summary["pairs/margin_gained"] > 1.0
    assert summary["pairs/accuracy"] == 1.0


def test_without_pairs_the_model_stays_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = a_model()
    before = bytes_of(model)
    summary = train_dpo(model, TOKENIZER, [], DpoConfig(optim=OPTIM), seed=1, out=tmp_path)
    assert summary == {"pairs": 0, "steps": 0}
    assert bytes_of(model) == before
    assert "no preference pairs" in caplog.text


def test_a_resumed_dpo_run_equals_an_unbroken_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_EVERY", 10)
    pairs = [a_pair(n, kind) for n in range(12) for kind in ("token", "full")]
    config = DpoConfig(epochs=10, batch_pairs=8, optim=OptimConfig(peak_lr=1e-3, warmup=0.0))
    whole = a_model()
    train_dpo(whole, TOKENIZER, pairs, config, seed=1, out=tmp_path / "whole")
    monkeypatch.setattr(loop, "learning_rate", _stopping(12))
    with pytest.raises(KeyboardInterrupt):
        train_dpo(a_model(), TOKENIZER, pairs, config, seed=1, out=tmp_path / "broken")
    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    resumed = a_model()
    train_dpo(resumed, TOKENIZER, pairs, config, seed=1, out=tmp_path / "broken")
    assert bytes_of(whole) == bytes_of(resumed)


def _stopping(moment: int):
    def schedule(step: int, steps: int, config: OptimConfig) -> float:
        if step == moment:
            raise KeyboardInterrupt
        return learning_rate(step, steps, config)

    return schedule


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": (5,)}, "are equal"),
        ({"tokenizer": "another"}, "was made with tokenizer"),
        ({"chosen": (), "kind": "full"}, "one side is empty"),
        ({"chosen": (1, 2)}, "2 and 1 tokens were found; expected one"),
        ({"prefix": (3, 400)}, "token id 400 was found; the vocabulary has 0 to 399"),
        ({"rejected": (-1,)}, "token id -1 was found"),
    ],
)
def test_bad_pairs_are_refused_by_name(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        encode(a_pair(1, "token").model_copy(update=change), TOKENIZER)
