"""SFT and DPO against TRL on identical ids and weights: every loss and every gradient (make parity).

PHI_PEFT_PYTHON names a Python that has peft, trl and transformers. TRL pads, we pack; both are compared.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_dpo import KINDS
from test_train import OPTIM, TOKENIZER, a_model, a_pair

from phidelity.checkpoint import naming
from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.data.batch import pack_rows
from phidelity.model.transformer import Transformer
from phidelity.train.dpo import DpoConfig, encode, objective
from phidelity.train.references import refer
from phidelity.train.tokens import token_objective

pytestmark = pytest.mark.parity
BETA = 0.3
LOSSES = {
    "sigmoid": ({"loss_type": ["sigmoid"]}, {}),
    "conservative": ({"loss_type": ["aot"], "label_smoothing": 0.2}, {"label_smoothing": 0.2}),  # of one pair the same
    "ipo": ({"loss_type": ["ipo"]}, {"loss": "ipo", "length_normalised": True}),
    "normalised": ({"loss_type": ["sigmoid_norm"]}, {"length_normalised": True}),
    "apo-zero": ({"loss_type": ["apo_zero"]}, {"loss": "apo-zero"}),
    "nll": ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}, {"nll": 0.5}),
}
"""TRL's options and ours."""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    python = os.environ.get("PHI_PEFT_PYTHON")
    if not python:
        pytest.skip("PHI_PEFT_PYTHON names no Python with peft and trl")
    folder = tmp_path_factory.mktemp("trl")
    save_checkpoint(folder / "model", a_model(0), TOKENIZER)
    save_checkpoint(folder / "reference", a_model(1), TOKENIZER)
    task = {
        "model": folder / "model",
        "reference": folder / "reference",
        "chats": [{"ids": ids, "mask": mask} for ids, mask in chats()],
        "pairs": [
            {"prompt_ids": row.context, "chosen_ids": row.pair.chosen, "rejected_ids": row.pair.rejected}
            for row in pairs()
        ],
        "beta": BETA,
        "losses": {name: options for name, (options, _) in LOSSES.items()},
    }
    (folder / "task.json").write_text(json.dumps(task, default=str))
    oracle = Path(__file__).with_name("trl_oracle.py")
    done = subprocess.run([python, oracle, folder], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(folder / "answer.safetensors")


def chats() -> list[tuple[list[int], list[int]]]:
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(0, 390, (n,), generator=generator).tolist() for n in (31, 17, 24, 9)]
    return [(ids, [0] * (len(ids) // 2) + [1] * (len(ids) - len(ids) // 2)) for ids in rows]


def pairs():
    return [encode(a_pair(i, kind), TOKENIZER) for i in range(3) for kind in KINDS]


def check_gradients(model: Transformer, theirs: dict[str, torch.Tensor], name: str) -> None:
    compared = 0
    for own, parameter in model.named_parameters():
        expected = theirs[f"{name}/{naming.foreign_name(own)}"]
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-4)
        compared += 1
    assert compared == len(list(model.parameters())) > 10


@pytest.mark.parametrize("context_len", [64, 31])
def test_sft_has_trls_loss_and_gradients_packed_or_not(theirs: dict[str, torch.Tensor], context_len: int) -> None:
    model = a_model(0)
    batches = [pack_rows(chats(), 64)] if context_len == 64 else [pack_rows([row], 31) for row in chats()]
    losses = [token_objective(model, batch) for batch in batches]
    loss = torch.stack([one.total for one in losses]).sum() / sum(int(one.n) for one in losses)
    torch.testing.assert_close(loss, theirs["sft"], atol=1e-5, rtol=0)
    loss.backward()
    check_gradients(model, theirs, "sft")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_every_preference_loss_has_trls_value_and_gradients(
    theirs: dict[str, torch.Tensor], name: str, packed: bool, tmp_path: Path
) -> None:
    model, rows = a_model(0), pairs()
    config = DpoConfig(beta=BETA, optim=OPTIM, **LOSSES[name][1])
    refer(a_model(1), rows, tmp_path / "references.json", exact=config.exact)
    alone = torch.stack([objective(model, [row], config).total for row in rows])
    torch.testing.assert_close(alone, theirs[name], atol=1e-5, rtol=1e-5)
    total = objective(model, rows, config).total if packed else alone.sum()
    torch.testing.assert_close(total, theirs[name].sum(), atol=1e-4, rtol=1e-5)
    total.backward()
    check_gradients(model, theirs, name)
