"""A small random checkpoint with phi-4's proportions of heads, for the tests of all that reads and writes it."""

from pathlib import Path

import torch

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.model.config import ModelConfig
from phidelity.model.transformer import Transformer
from phidelity.tokenizer.bpe import train

TOKENIZER = train(["the cat sat on the mat and 12 cats sat there"] * 3, 400)
CONFIG = ModelConfig(
    n_layers=3, d_model=64, n_heads=8, n_kv_heads=2, d_ff=224, vocab_size=400, context_len=64, rope_theta=10_000.0
)


def random_model(config: ModelConfig = CONFIG, seed: int = 1) -> Transformer:
    """Weights large enough that logits differ clearly, norms that are not one."""
    generator = torch.Generator().manual_seed(seed)
    model = Transformer(config).initialise(generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(3.0)
            else:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def random_checkpoint(folder: Path, config: ModelConfig = CONFIG, seed: int = 1) -> Path:
    """A folder with random weights in fp32."""
    save_checkpoint(folder, random_model(config, seed), TOKENIZER)
    return folder
