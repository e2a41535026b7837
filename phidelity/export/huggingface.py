"""A checkpoint as a folder that other tools open: the published layout, with a README that says what it is."""

from pathlib import Path

from phidelity.checkpoint.huggingface import save_checkpoint
from phidelity.checkpoint.open import open_checkpoint
from phidelity.model.config import census
from phidelity.records import atomic

README = """---
library_name: transformers
license: mit
---

{parameters:,}-parameter miniature trained by Phidelity; not phi-4; not affiliated with Microsoft.

`Phi3ForCausalLM` with fused projections, context {context_len}, vocabulary {vocab_size}, chat layout
`<|im_start|>role<|im_sep|>content<|im_end|>`. Weights digest {digest}.
"""


def export_huggingface(model: Path, out: Path) -> int:
    """Write `model` under `out` as transformers reads it; returns the parameter count."""
    checkpoint = open_checkpoint(model)
    save_checkpoint(out, checkpoint.model, checkpoint.tokenizer)
    config = checkpoint.model.config
    parameters = census(config).total
    values = {"parameters": parameters, "context_len": config.context_len, "vocab_size": config.vocab_size}
    with atomic(out / "README.md", "w") as file:
        file.write(README.format(**values, digest=checkpoint.digest))
    return parameters
