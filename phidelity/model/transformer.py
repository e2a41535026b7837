"""The network of phi-4: pre-norm blocks of grouped-query attention and SwiGLU, no biases, an untied head.

The same `Transformer` trains, serves and is searched for pivotal tokens: how tokens see each other is passed in
(`attend`, see attention.py). `forward` gives hidden states, not logits, since a loss wants the head in chunks,
generation wants it at one position, and a token pair wants two of its rows. Architecture: phi-4 report §3 and
the release's config.json; initialisation N(0, 0.02) with residual outputs scaled by 1/sqrt(2 n_layers) is *ours*.
"""

import torch
from torch import Tensor, nn

from phidelity.config import UserError
from phidelity.model.attention import Attend, Attention, Rotation
from phidelity.model.config import ModelConfig
from phidelity.model.layers import RMSNorm, SwiGLU


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = SwiGLU(config.d_model, config.d_ff)

    def forward(self, x: Tensor, rotation: Rotation, attend: Attend, layer: int) -> Tensor:
        """[B, T, M] -> [B, T, M]."""
        x = x + self.attention(self.attention_norm(x), rotation, attend, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Transformer(nn.Module):
    """Token ids and positions to hidden states; `logits` applies the head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        rows = torch.empty(config.vocab_size, config.d_model).uniform_(-1, 1)
        self.embed = nn.Embedding.from_pretrained(rows, freeze=False)  # normal_ without memory imports a compiler: 2 s
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Ids [B, T] and positions [B, T] -> hidden states [B, T, M] after the final norm; T is at most context_len."""
        self.check_length(tokens)
        x = self.embed(tokens)
        rotation = Rotation.at(positions, self.config, x.dtype)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotation, attend, layer)
        return self.norm(x)

    def check_length(self, tokens: Tensor) -> None:
        """Refuse ids [B, T] beyond the context."""
        if tokens.shape[1] > self.config.context_len:
            found = f"A sequence of {tokens.shape[1]:,} tokens was given"
            raise UserError(f"{found}; this model reads at most {self.config.context_len:,}. Shorten or split it.")

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states [..., M] -> logits [..., V]."""
        return self.head(x)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> "Transformer":
        """Fresh weights from `generator`; norms are one."""
        residual_std = self.config.init_std / (2 * self.config.n_layers) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_residual = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                parameter.normal_(0.0, residual_std if is_residual else self.config.init_std, generator=generator)
            else:
                parameter.fill_(1.0)
        return self
