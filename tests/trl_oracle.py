"""Run by a Python that has TRL: the values and gradients of its trainers on given ids. A program, not a test.

python trl_oracle.py FOLDER     reads task.json, writes answer.safetensors there
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    answer = sft(folder, task, tokenizer) | dpo(folder, task, tokenizer)
    save_file(answer, folder / "answer.safetensors")


def loaded(path: str):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def gradients(model, name: str) -> dict[str, torch.Tensor]:
    found = {f"{name}/{key}": p.grad.detach().clone().contiguous() for key, p in model.named_parameters()}
    model.zero_grad()
    return found


def sft(folder: Path, task: dict, tokenizer) -> dict[str, torch.Tensor]:
    rows = [{"input_ids": one["ids"], "completion_mask": one["mask"]} for one in task["chats"]]
    config = SFTConfig(
        output_dir=str(folder / "sft"),
        report_to=[],
        use_cpu=True,
        bf16=False,
        completion_only_loss=True,
        max_length=None,
    )
    trainer = SFTTrainer(
        loaded(task["model"]), args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    inputs = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return {"sft": loss.detach()} | gradients(trainer.model, "sft")


def dpo(folder: Path, task: dict, tokenizer) -> dict[str, torch.Tensor]:
    text = Dataset.from_list([{"prompt": "red", "chosen": "yes", "rejected": "no"}])
    answer = {}
    for name, options in task["losses"].items():
        config = DPOConfig(
            output_dir=str(folder / name),
            report_to=[],
            use_cpu=True,
            bf16=False,
            beta=task["beta"],
            max_length=None,
            **options,
        )
        trainer = DPOTrainer(
            loaded(task["model"]),
            ref_model=loaded(task["reference"]),
            args=config,
            train_dataset=text,
            processing_class=tokenizer,
        )
        losses = []
        for pair in task["pairs"]:
            loss = trainer.compute_loss(trainer.model, trainer.data_collator([pair]))
            loss.backward()
            losses.append(loss.detach())
        answer |= {name: torch.stack(losses)} | gradients(trainer.model, name)
        if name == "sigmoid":
            batched = trainer.compute_loss(trainer.model, trainer.data_collator(task["pairs"]))
            answer["batched"] = batched.detach()
    return answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
