"""The peer of `phi bench finetune`: transformers with PEFT in fp32, a step for every line on standard input.

Run by a Python that has peft and transformers; it imports nothing of ours. The same layers, targets and row of tokens.
"""

import json
import sys
import time
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model  # pyright: ignore[reportMissingImports]
from transformers import Phi3Config, Phi3ForCausalLM

shape = json.loads(sys.argv[1])
torch.set_num_threads(shape["threads"])
config = Phi3Config(
    num_hidden_layers=shape["n_layers"], hidden_size=shape["d_model"], num_attention_heads=shape["n_heads"],
    num_key_value_heads=shape["n_kv_heads"], intermediate_size=shape["d_ff"], vocab_size=shape["vocab_size"],
    max_position_embeddings=16384, pad_token_id=0,
    rope_theta=250_000.0,  # pyright: ignore[reportCallIssue]
    attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
)  # fmt: skip
with torch.device("meta"):
    base = Phi3ForCausalLM(config)
base = base.to_empty(device="cpu")
for parameter in base.parameters():
    parameter.data.fill_(1.0) if parameter.ndim == 1 else parameter.data.uniform_(-0.035, 0.035)
rotary = base.model.rotary_emb
fresh = type(rotary)(config=config)
rotary.load_state_dict(fresh.state_dict(), strict=False)
rotary.inv_freq = fresh.inv_freq
targets = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
model = get_peft_model(base, LoraConfig(r=shape["rank"], lora_alpha=2 * shape["rank"], target_modules=targets))
model.train()
if shape["mode"] == "recompute":
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
tokens = torch.arange(shape["context"])[None] % 1000


def step() -> float:
    """One update; its loss."""
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


step()
sys.stdout.write("ready\n")
sys.stdout.flush()
for _ in sys.stdin:
    start, used = time.perf_counter(), time.process_time()
    loss = step()
    spent = {"seconds": time.perf_counter() - start, "processor": time.process_time() - used}
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e9
    sys.stdout.write(json.dumps(spent | {"peak": peak, "loss": loss}) + "\n")
    sys.stdout.flush()
