"""What a model is, before it exists: its shape, and what follows from it by counting.

`PHI_4` is the published model (phi-4 report §3, config.json of the release); every other size is *ours*. The
census is arithmetic on the configuration, so a 14.66B model is planned without allocating a byte.
"""

from typing import NamedTuple, Self

from pydantic import Field, model_validator

from phidelity.config import Config


class ModelConfig(Config):
    """Shape of a decoder-only transformer with phi-4's architecture."""

    n_layers: int = Field(gt=0)
    """Blocks of attention and feed-forward network."""
    d_model: int = Field(gt=0)
    """Width of the residual stream."""
    n_heads: int = Field(gt=0)
    """Query heads; head_dim is d_model / n_heads."""
    n_kv_heads: int = Field(gt=0)
    """Key and value heads; phi-4 has one for four query heads."""
    d_ff: int = Field(gt=0)
    """Width of the feed-forward network; phi-4 has 3.5 times d_model."""
    vocab_size: int = Field(gt=0)
    """Rows of embedding and head, special tokens and padding included."""
    context_len: int = Field(gt=0)
    """Longest sequence in tokens; positions beyond it are refused."""
    rope_theta: float = Field(gt=0)
    """Base of the rotary frequencies."""
    norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the mean square in RMSNorm."""
    init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights (not published for phi-4; *ours* beyond the library field)."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} does not divide into {self.n_heads} heads; choose a multiple")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"{self.n_heads} query heads do not divide over {self.n_kv_heads} KV heads; choose a divisor"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd; rotary positions need an even one")
        return self

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.d_model // self.n_heads

    @property
    def d_qkv(self) -> int:
        """Rows of the fused query, key and value projection."""
        return (self.n_heads + 2 * self.n_kv_heads) * self.head_dim


PHI_4 = ModelConfig(
    n_layers=40,
    d_model=5120,
    n_heads=40,
    n_kv_heads=10,
    d_ff=17920,
    vocab_size=100352,
    context_len=16384,
    rope_theta=250_000.0,
)


class Census(NamedTuple):
    """Parameters of a model, counted from its configuration."""

    embedding: int
    attention: int
    feed_forward: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All parameters; 14,659,507,200 for phi-4."""
        return sum(self)

    @property
    def matmul(self) -> int:
        """Parameters that multiply every token: all but the embedding lookup and the norms."""
        return self.attention + self.feed_forward + self.head


def census(config: ModelConfig) -> Census:
    """Count parameters by part."""
    return Census(
        embedding=config.vocab_size * config.d_model,
        attention=config.n_layers * config.d_model * (config.d_qkv + config.d_model),
        feed_forward=config.n_layers * 3 * config.d_model * config.d_ff,
        norms=(2 * config.n_layers + 1) * config.d_model,
        head=config.vocab_size * config.d_model,
    )


class FlopPerToken(NamedTuple):
    """Training floating-point operations per token, forward and backward, without recomputation."""

    causal: float
    """Attention credited for the half of the square that a causal mask keeps."""
    full: float
    """Attention credited for the whole square, as most published MFU figures do."""


def flop_per_token(config: ModelConfig, sequence_len: int) -> FlopPerToken:
    """6 per matmul parameter, plus attention: QK^T and PV are 4 * T * d_model a layer forward, times 3."""
    matmul = 6.0 * census(config).matmul
    attention = 12.0 * config.n_layers * sequence_len * config.d_model
    return FlopPerToken(causal=matmul + attention / 2, full=matmul + attention)


def cache_bytes_per_token(config: ModelConfig, bytes_per_value: float = 2) -> int:
    """Keys and values of one token over all layers; 204,800 bytes for phi-4 in bf16."""
    return int(2 * config.n_layers * config.n_kv_heads * config.head_dim * bytes_per_value)


BITS = {"f32": 32.0, "bf16": 16.0}
"""Bits of one weight or cached value; what a packed model takes is counted in checkpoint/packed.py."""


def memory_bytes(config: ModelConfig, bits: float, tokens: int) -> int:
    """Bytes of the weights at `bits` a value and of a bf16 cache of `tokens`."""
    return int(census(config).total * bits / 8) + tokens * cache_bytes_per_token(config)
