"""What PEFT and TRL say of an adapter over a base: run by test_finetune_parity.py in an environment that has them.

Reads task.json: base and adapter folders, and examples as ids with the mask of what is trained. Writes
answer.safetensors: logits of the first example, TRL's loss over all of them as one batch, and its gradients by
PEFT's names; with `pairs` TRL's DPO losses and their gradients instead, the base being the reference. With `make` it
first makes the adapter itself.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text())
torch.manual_seed(0)
base = AutoModelForCausalLM.from_pretrained(task["base"], dtype=torch.float32, attn_implementation="eager")
if "make" in task:
    made = get_peft_model(base, LoraConfig(**task["make"], init_lora_weights=False, task_type="CAUSAL_LM"))
    made.save_pretrained(task["adapter"])
    base = made.unload()
model = PeftModel.from_pretrained(base, task["adapter"], is_trainable=True)
tokenizer = AutoTokenizer.from_pretrained(task["base"])
if "pairs" in task:
    text = Dataset.from_list([{"prompt": "red", "chosen": "yes", "rejected": "no"}])
    settings = DPOConfig(
        output_dir=str(folder / "dpo"), report_to=[], use_cpu=True, bf16=False, beta=task["beta"], max_length=None
    )
    reference = AutoModelForCausalLM.from_pretrained(task["base"], dtype=torch.float32, attn_implementation="eager")
    trainer = DPOTrainer(model, ref_model=reference, args=settings, train_dataset=text, processing_class=tokenizer)
    losses = []
    for pair in task["pairs"]:
        loss = trainer.compute_loss(trainer.model, trainer.data_collator([pair]))
        loss.backward()
        losses.append(loss.detach())
    found = {f"grad.{name}": p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    save_file({**found, "losses": torch.stack(losses)}, folder / "answer.safetensors")
    sys.exit()
rows = [
    {
        "input_ids": one["ids"],
        "labels": [token if trained else -100 for token, trained in zip(one["ids"], one["mask"], strict=True)],
    }
    for one in task["examples"]
]
settings = SFTConfig(
    output_dir=str(folder / "trl"), per_device_train_batch_size=len(rows), report_to=[], use_cpu=True, bf16=False,
    dataset_kwargs={"skip_prepare_dataset": True}, max_length=None,
    gradient_checkpointing=False, dataloader_pin_memory=False,
)  # fmt: skip
trainer = SFTTrainer(
    model=model, args=settings, train_dataset=Dataset.from_list(rows),
    processing_class=tokenizer,
)  # fmt: skip
model = trainer.model
model.train()
batch = next(iter(trainer.get_train_dataloader()))
loss = trainer.compute_loss(model, batch)
loss.backward()
found = {f"grad.{name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
model.eval()
with torch.no_grad():
    logits = model(input_ids=torch.tensor([rows[0]["input_ids"]])).logits[0]
save_file({**found, "loss": loss.detach().reshape(1), "logits": logits}, folder / "answer.safetensors")
