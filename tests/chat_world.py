"""A small model of random weights, as a folder, for those who only want to talk with one."""

from pathlib import Path

import torch

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

CONFIG = ModelConfig(
    n_layers=2, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=416, context_len=160, rope_theta=1e4
)


def small_model(folder: Path) -> Path:
    """Save one in `folder`; its context is 160 tokens."""
    weights = Transformer(CONFIG).initialise(torch.Generator().manual_seed(1)).requires_grad_(False)
    for parameter in weights.parameters():
        if parameter.ndim == 2:
            parameter.mul_(3.0)
    save_checkpoint(folder, weights, train(["the cat sat on the mat and 12 cats sat there"] * 3, 400))
    return folder
