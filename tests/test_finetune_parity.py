"""Adapters against PEFT, and the loss of their training against TRL: the same ids, the same numbers (make parity).

PHI_PEFT_PYTHON names a Python that has peft, trl and transformers.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from checkpoint_world import CONFIG, TOKENIZER, random_checkpoint
from safetensors.torch import load_file
from test_adapter import random_updates, write

from phidelity.checkpoint.adapter import FUSED, SPLIT, read_adapter
from phidelity.checkpoint.open import open_weights
from phidelity.checkpoint.weights import load
from phidelity.export.huggingface import write_huggingface
from phidelity.model.attention import CausalAttend
from phidelity.model.lora import adapt
from phidelity.model.thrifty import thrifty
from phidelity.model.transformer import Transformer
from phidelity.records import Message, PreferencePair
from phidelity.tokenizer.chat import Rendered
from phidelity.train.examples import Kept
from phidelity.train.finetune_run import pack_lots
from phidelity.train.frozen import chat_objective, pair_margins, pair_objective
from phidelity.train.pair_logprobs import Row

pytestmark = pytest.mark.parity


def asked(folder: Path, **task: object) -> dict[str, torch.Tensor]:
    python = os.environ.get("PHI_PEFT_PYTHON")
    if not python:
        pytest.skip("PHI_PEFT_PYTHON names no Python with peft and trl")
    (folder / "task.json").write_text(json.dumps(task, default=str))
    oracle = Path(__file__).with_name("peft_oracle.py")
    done = subprocess.run([python, oracle, folder], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return load_file(folder / "answer.safetensors")


def examples() -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(0, 390, (n,), generator=generator).tolist() for n in (31, 17, 24)]
    return [{"ids": ids, "mask": [0] * (len(ids) // 2) + [1] * (len(ids) - len(ids) // 2)} for ids in rows]


@pytest.mark.parametrize("layout", ["fused", "split"])
def test_loss_and_gradients_are_those_of_peft_and_trl(layout, tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    write_huggingface(weights, tmp_path / layout, layout=layout, dtype=torch.float32)
    updates = random_updates(FUSED if layout == "fused" else SPLIT)
    write(tmp_path / "adapter", updates, base=weights.digest, layout=layout)
    theirs = asked(tmp_path, base=tmp_path / layout, adapter=tmp_path / "adapter", examples=examples())

    model = adapt(load(weights).model, updates, trains=True)
    kept = [Kept(str(i), Rendered(one["ids"], list(map(bool, one["mask"]))), None) for i, one in enumerate(examples())]
    lots = pack_lots(kept, CONFIG.context_len)  # packed, where TRL pads
    losses = [chat_objective(model, lot) for lot in lots]
    loss = sum(one.total for one in losses) / sum(one.n for one in losses)
    loss.backward()
    total = float(loss.detach())
    assert abs(total - float(theirs["loss"])) < 1e-5 * total
    check_gradients(model, theirs, layout)


@pytest.mark.parametrize("is_thrifty", [False, True])
@pytest.mark.parametrize("layout", ["fused", "split"])
def test_dpo_of_an_adapter_is_that_of_trl(layout, is_thrifty: bool, tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    write_huggingface(weights, tmp_path / layout, layout=layout, dtype=torch.float32)
    updates = random_updates(FUSED if layout == "fused" else SPLIT)
    write(tmp_path / "adapter", updates, base=weights.digest, layout=layout)
    base, rows = load(weights), [pair(n) for n in range(3)]
    ids = [
        {"prompt_ids": row.context, "chosen_ids": row.pair.chosen, "rejected_ids": row.pair.rejected} for row in rows
    ]
    theirs = asked(tmp_path, base=tmp_path / layout, adapter=tmp_path / "adapter", pairs=ids, beta=0.3)

    with torch.no_grad():
        for row in rows:
            row.reference = float(pair_margins(base.model, [row]))
    model = adapt(base.model, updates, trains=True)
    model = thrifty(model) if is_thrifty else model
    alone = torch.stack([pair_objective(model, [row], beta=0.3).total for row in rows])
    torch.testing.assert_close(alone, theirs["losses"].view(-1), atol=1e-5, rtol=1e-5)
    total = pair_objective(model, rows, beta=0.3).total
    torch.testing.assert_close(total, theirs["losses"].sum(), atol=1e-5, rtol=1e-5)
    total.backward()
    check_gradients(model, theirs, layout)


def pair(seed: int) -> Row:
    generator = torch.Generator().manual_seed(seed)
    context, chosen, rejected = (torch.randint(0, 390, (n,), generator=generator).tolist() for n in (13, 9, 6 + seed))
    sides = PreferencePair(
        id=str(seed), kind="full", prompt=(Message(role="user", content="red"),), chosen=(*chosen, TOKENIZER.im_end),
        rejected=(*rejected, TOKENIZER.im_end), tokenizer=TOKENIZER.digest,
    )  # fmt: skip
    return Row(sides, context)


def check_gradients(model: Transformer, theirs: dict[str, torch.Tensor], layout: str) -> None:
    """Of A and B in every layer, relative to 1e-5."""
    for layer, block in enumerate(model.blocks):
        for attribute, matrix in (
            ("qkv", "attention.qkv"),
            ("down", "feed_forward.down"),
            ("gate_up", "feed_forward.gate_up"),
        ):
            for index, update in enumerate(getattr(block, attribute).updates):
                names = {"fused": [f"{attribute}_proj"], "split": _split_names(attribute)}[layout]
                parent = "self_attn" if matrix.startswith("attention") else "mlp"
                for side, mine in (("A", update.a.grad), ("B", update.b.grad)):
                    stem = f"model.layers.{layer}.{parent}.{names[index]}.lora_{side}."
                    found = [grad for name, grad in theirs.items() if name.startswith("grad.") and stem in name]
                    assert len(found) == 1, stem
                    assert (found[0] - mine).norm() < 1e-5 * mine.norm(), stem


@pytest.mark.parametrize("layout", ["fused", "split"])
def test_an_adapter_that_peft_made_gives_the_same_logits(layout, tmp_path: Path) -> None:
    weights = open_weights(random_checkpoint(tmp_path / "base"))
    write_huggingface(weights, tmp_path / layout, layout=layout, dtype=torch.float32)
    targets = ["qkv_proj", "down_proj"] if layout == "fused" else ["q_proj", "v_proj", "up_proj"]
    make = {"r": 5, "lora_alpha": 7, "target_modules": targets, "use_rslora": layout == "split"}
    folder = tmp_path / "peft"
    theirs = asked(tmp_path, base=tmp_path / layout, adapter=folder, examples=examples(), make=make)
    adapter = read_adapter(folder, weights.config, weights.digest)
    ids = torch.tensor([examples()[0]["ids"]])
    with torch.no_grad():
        model = adapt(load(weights).model, adapter.updates)
        mine = model.logits(model(ids, torch.arange(ids.shape[1])[None], CausalAttend()))[0]
    torch.testing.assert_close(mine, theirs["logits"], atol=1e-4, rtol=1e-5)


def _split_names(attribute: str) -> list[str]:
    return {"qkv": ["q_proj", "k_proj", "v_proj"], "gate_up": ["gate_proj", "up_proj"]}.get(attribute, ["down_proj"])
