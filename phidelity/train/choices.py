"""What fine-tuning does where nobody says, each choice with its reason: a function of model and data.

Rates and ranks for adapters are *ours*, between the usual ones of the tools that made them common (2e-4 at 7 to 14B);
phi-4's own rates for all parameters are its SFT's 1e-6 (report §4.1) and are raised for narrower models.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from phidelity.config import Config
from phidelity.model.config import PHI_4, ModelConfig, census

BIG = 10**9
"""Parameters from which on the inside of blocks is computed again, and examples go through one by one (*ours*)."""
Method = Literal["sft", "dpo"]


class FinetuneConfig(Config):
    """What a person may say; what is None is chosen."""

    method: Method | None = None
    """sft or dpo; from the data where nobody says. Of preferences sft learns the better answer."""
    split: str = "train"
    """Which files of a folder are read, where their names tell splits apart."""
    drop_bad: bool = False
    """Leave out rows that are wrong instead of refusing the data."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get an update, by their fused or split names."""
    all_parameters: bool = False
    """Train the weights themselves instead of an adapter."""
    rank: int | None = Field(default=None, gt=0)
    """Rank of the updates."""
    alpha: float | None = Field(default=None, gt=0)
    """Updates are scaled by alpha over rank."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate."""
    epochs: float | None = Field(default=None, gt=0)
    """Most passes over the data; training ends earlier where the held-out loss no longer falls."""
    batch: int | None = Field(default=None, gt=0)
    """Examples a step, about: rows are packed."""
    context_len: int | None = Field(default=None, gt=8)
    """Longest example in tokens; longer ones are dropped."""
    recompute: bool | None = None
    """Of an adapter: compute the inside of blocks again in the backward pass instead of keeping it."""
    held_out: float = Field(default=0.1, gt=0, lt=1)
    """Share of the examples that is kept for the held-out loss (*ours*)."""
    patience: int = Field(default=3, gt=0)
    """Measurements without a better held-out loss after which training ends (*ours*)."""
    beta: float = Field(default=0.1, gt=0)
    """DPO: strength of the pull towards the base (*ours*; not published for phi-4)."""
    layout: Literal["fused", "split"] = "fused"
    """Names in the adapter's files: of phi-4's release, or of its copies for Llama's class."""
    seed: int = 0
    """Of the split, the order and the first weights."""

    @model_validator(mode="after")
    def _whole_or_adapter(self) -> Self:
        if self.all_parameters and (self.rank or self.alpha or self.recompute is not None):
            raise ValueError("all parameters were asked for with rank, alpha or recompute, which belong to an adapter")
        return self


class Choice(NamedTuple):
    """One setting, and why it is what it is."""

    name: str
    value: float | int | str
    reason: str

    def line(self) -> str:
        """As a person reads it."""
        shown = f"{self.value:.3g}" if isinstance(self.value, float) else str(self.value)
        return f"  {self.name:<14} {shown:<22} {self.reason}"


def usual_rank(model: ModelConfig) -> int:
    """Of an adapter: 16, and 8 from 4 billion parameters on, where 8 more take as much memory again (*ours*)."""
    return 8 if census(model).total >= 4 * 10**9 else 16


def choose(
    config: FinetuneConfig, model: ModelConfig, lengths: Sequence[int], *, method: Method, n_held_out: int
) -> dict[str, Choice]:
    """Every setting of a run on examples of `lengths` tokens, `n_held_out` of which are kept apart."""
    n, width = len(lengths) - n_held_out, PHI_4.d_model / model.d_model
    mean = sum(lengths) / len(lengths)
    made: list[Choice] = []

    def take(name: str, given: float | str | None, default: float | str, reason: str) -> None:
        made.append(Choice(name, default if given is None else given, reason if given is None else "as given"))

    take("method", config.method, method, f"the rows are {'chats' if method == 'sft' else 'preferences'}")
    if config.all_parameters:
        rate = 1e-6 * width * (1 if method == "sft" else 0.5)
        take(
            "lr",
            config.lr,
            rate,
            f"phi-4's 1e-6 for all parameters, times {width:.3g} for a model {width:.3g} x narrower",
        )
    else:
        usual = usual_rank(model)
        why = "8 more would take as much memory again" if usual == 8 else "enough for some thousand examples"
        take("rank", config.rank, usual, why)
        rank = int(made[-1].value)
        take("alpha", config.alpha, float(2 * rank), "twice the rank")
        rate = min(2e-4 * width**0.5, 5e-3) * (1 if method == "sft" else 0.1)
        why = "2e-4 at phi-4's width, higher by the root where it is narrower" + (
            "" if method == "sft" else "; a tenth for DPO"
        )
        take("lr", config.lr, rate, why)
        said = None if config.recompute is None else ("yes" if config.recompute else "no")
        is_big = census(model).total >= BIG
        why = "blocks keep only their input: less memory, more time" if is_big else "what blocks keep is small here"
        take("recompute", said, "yes" if is_big else "no", why)
    epochs = 3.0 if n < 2000 else 2.0 if n < 20_000 else 1.0
    take("epochs", config.epochs, epochs, f"at most, over {n:,} examples")
    take("batch", config.batch, max(1, min(16, n // 4)), "examples a step: small steps of few examples are noise")
    longest = min(model.context_len, max(lengths))
    context = min(model.context_len, -(-longest // 16) * 16)
    take(
        "context_len",
        config.context_len,
        context,
        f"the longest example has {max(lengths):,} tokens, the mean {mean:,.0f}",
    )
    take("held_out", None, n_held_out, f"examples for the held-out loss, {config.held_out:.0%} of them")
    take("patience", None, config.patience, "measurements without a better held-out loss end it")
    return {choice.name: choice for choice in made}
