"""TensorBoard's events: the numbers of metrics.jsonl, in no hash, needed by nothing."""

import json
import sys
from pathlib import Path

import pytest
from test_train import OPTIM, a_batch, a_model

from phidelity.config import UserError
from phidelity.pipeline.manifest import hash_outputs
from phidelity.train.events import open_events
from phidelity.train.loop import train
from phidelity.train.tokens import token_objective


def test_events_hold_the_rows_of_metrics_and_are_no_hashed_output(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    batches = lambda step: [a_batch(step)]  # noqa: E731
    train(a_model(), token_objective, batches, steps=30, optim=OPTIM, out=tmp_path, name="t", events=True)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    events = accumulator.EventAccumulator(str(tmp_path / "events")).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(row["step"], pytest.approx(row["loss"])) for row in rows]
    assert sorted(hash_outputs(tmp_path)) == ["metrics.jsonl", "training/step-000030/state.json",
                                              "training/step-000030/state.safetensors"]  # fmt: skip


def test_without_the_extra_the_recipe_hears_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"phidelity\[tensorboard\]"):
        open_events(tmp_path, 0)
