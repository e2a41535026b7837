"""A forward pass that holds one block of the network at a time: for models larger than memory, in fp32.

All windows of a text go through the first block, then all through the second, each read from `Weights` and dropped. It
is how the quality of a quantised model is measured against its source, and what calibration watches.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from phidelity.checkpoint.weights import Weights, stream
from phidelity.model.attention import CausalAttend, Rotation
from phidelity.model.transformer import Block
from phidelity.progress import SILENT, Progress

Windows = Sequence[Tensor]
"""Token ids [T] each."""
Watch = Callable[[str, Tensor], None]
"""Called with the name of a matrix and its inputs [T, C], window by window."""


@torch.inference_mode()
def hidden_states(
    weights: Weights, windows: Windows, *, watch: Watch | None = None, progress: Progress = SILENT
) -> list[Tensor]:
    """The hidden states after the final norm, [T, M] fp32 for each window."""
    config = weights.config
    states = [_embedded(weights, tokens) for tokens in windows]
    rotations = [Rotation.at(torch.arange(len(x))[None], config, torch.float32) for x in states]
    attend = CausalAttend()
    with progress.task("through the network", config.n_layers, "blocks") as task:
        for layer in range(config.n_layers):
            block = _block(weights, layer)
            handles = _watched(block, f"blocks.{layer}.", watch) if watch else []
            states = [block(x[None], one, attend, layer)[0] for x, one in zip(states, rotations, strict=True)]
            for handle in handles:
                handle.remove()
            task.advance()
    scale = parameter(weights, "norm.weight")
    states = [nn.functional.rms_norm(x, x.shape[-1:], scale, config.norm_eps) for x in states]
    if watch:
        for x in states:
            watch("head.weight", x)
    return states


@torch.inference_mode()
def logits(weights: Weights, states: Tensor) -> Tensor:
    """Hidden states [T, M] -> logits [T, V], the head read by blocks of rows."""
    return torch.cat([states @ block.float().t() for _, block in stream(weights, "head.weight")], dim=-1)


def parameter(weights: Weights, name: str) -> Tensor:
    """One whole parameter in fp32."""
    return torch.cat([block.float() for _, block in stream(weights, name)])


def _embedded(weights: Weights, tokens: Tensor) -> Tensor:
    return torch.cat([weights.rows("embed.weight", int(token), int(token) + 1).float() for token in tokens])


def _block(weights: Weights, layer: int) -> Block:
    with torch.device("meta"):
        block = Block(weights.config)
    names = block.state_dict().keys()
    block.load_state_dict({name: parameter(weights, f"blocks.{layer}.{name}") for name in names}, assign=True)
    return block.eval()


def _watched(block: Block, prefix: str, watch: Watch) -> list[RemovableHandle]:
    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: watch(f"{prefix}{name}.weight", inputs[0].flatten(0, -2))

    linear = [(name, module) for name, module in block.named_modules() if isinstance(module, nn.Linear)]
    return [module.register_forward_pre_hook(hook(name)) for name, module in linear]
