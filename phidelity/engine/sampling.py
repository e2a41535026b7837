"""Logits to tokens, for a whole batch at once, each row by its own parameters.

The order of operations is the field's: repetition penalty (tokens of prompt and answer), presence and frequency
penalty (tokens of the answer), logit bias, a grammar; then the best token, the lowest id of equal ones, or a draw
(drawing.py). Log-probabilities are the model's own, before all this.
"""

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from phidelity.completion import Alternative, SamplingParams
from phidelity.config import UserError
from phidelity.engine.drawing import Settings, draw, uniforms
from phidelity.kernels.library import kernels

AT_ONCE = 1 << 20
"""Logits that are sampled from at once (*ours*): more rows are taken in turns, so that copies and sorts stay small."""

logger = logging.getLogger(__name__)


class Allowed(Protocol):
    """Holds one answer to a grammar; belongs to one sequence and is asked by the engine's thread alone."""

    is_broken: bool
    """Whether the answer was ended because nothing could follow, though it was not whole."""

    def mask(self, said: Sequence[int]) -> np.ndarray:
        """Which of the known tokens may follow the answer so far, as booleans [n_known]; at least one may.

        Each call's answer begins with that of the call before, also after a preemption.
        """
        ...


class Request(Hashable, Protocol):
    """What the sampler needs to know of a sequence."""

    prompt: tuple[int, ...]
    tokens: list[int]
    """Prompt and answer."""
    params: SamplingParams
    key: int
    """Of its random stream."""
    allowed: Allowed | None
    """What may be said; None: anything."""


class Sampled(NamedTuple):
    """One token a row; where the logits hold NaN or +inf, or nothing but -inf, its log-probability is not finite."""

    tokens: np.ndarray
    logprobs: np.ndarray
    """Under the model at temperature 1."""
    alternatives: dict[int, tuple[Alternative, ...]]
    """For the rows that asked, the most probable tokens, best first."""
    failures: dict[int, str]
    """For the rows whose grammar failed, how: what was drawn there is of no use."""


def check_ids(params: SamplingParams, n_known: int) -> None:
    """Refuse parameters that speak of tokens which the tokenizer does not have."""
    for name, ids in (("logit_bias", [token for token, _ in params.logit_bias]), ("stop_ids", params.stop_ids)):
        if ids and max(ids) >= n_known:
            raise UserError(f"{name} names token {max(ids)}; this model has 0 to {n_known - 1}. Check the tokenizer.")


class Sampler:
    """Draws a token for each row of a batch; remembers the batch's parameters while it stays the same."""

    def __init__(self, n_known: int) -> None:
        self.n_known = n_known
        """Only the first ids, which the tokenizer can spell, are drawn."""
        self._requests: list[Request] = []
        self._histories: WeakKeyDictionary[Request, _History] = WeakKeyDictionary()

    @torch.inference_mode()
    def __call__(self, logits: Tensor, requests: Sequence[Request], ahead: np.ndarray | None = None) -> Sampled:
        """The next token of each request from logits [R, V].

        A request that stands in several rows has a draft checked: `ahead` [R] says how many drafted tokens lie
        between its answer so far and the row. Penalties do not see a draft, so such a request must have none.
        """
        logits = logits.float()
        n = max(1, AT_ONCE // logits.shape[1])
        if len(requests) <= n:
            return self._sample(logits, requests, ahead)
        parts = [slice(at, at + n) for at in range(0, len(requests), n)]
        sampled = [self._sample(logits[part], requests[part], None if ahead is None else ahead[part]) for part in parts]
        return _joined_parts(sampled, n)

    def forget(self) -> None:
        """Hold no request any longer."""
        self._requests = []

    def _sample(self, logits: Tensor, requests: Sequence[Request], ahead: np.ndarray | None) -> Sampled:
        if self._requests != list(requests):
            self._remember(requests, logits.device)
        known = logits[:, : self.n_known]
        tokens, total = _best(logits, self.n_known)
        failures: dict[int, str] = {}
        if self._shaped:
            known = self._shape(known.clone(), requests, failures)
            tokens[self._shaped] = _argmax(known[self._shaped])
        if len(self._drawn):
            said = [len(requests[row].tokens) - len(requests[row].prompt) for row in self._drawn]
            counters = np.array(said) + (0 if ahead is None else ahead[self._drawn])
            rows = known if len(self._drawn) == len(known) else known[torch.from_numpy(self._drawn).to(known.device)]
            tokens[self._drawn] = draw(rows, self._settings, uniforms(self._keys, counters))
        logprobs = _chosen(logits, tokens) - total
        wanted = {row: self._requests[row].params.logprobs or 0 for row in self._told}
        told = {row: most_probable(logits[row, : self.n_known], total[row], n) for row, n in wanted.items()}
        return Sampled(tokens, logprobs, told, failures)

    def _remember(self, requests: Sequence[Request], device: torch.device) -> None:
        self._requests = list(requests)
        params = [request.params for request in requests]
        self._drawn = np.array([row for row, p in enumerate(params) if p.temperature > 0], dtype=np.int64)
        self._settings = Settings.of([params[row] for row in self._drawn], device)
        self._keys = np.array([requests[row].key for row in self._drawn], dtype=np.uint64)
        self._shaped = [row for row, one in enumerate(requests) if _is_shaped(one.params) or one.allowed]
        self._told = [row for row, p in enumerate(params) if p.logprobs]
        for request in (requests[row] for row in self._shaped):
            if request not in self._histories:
                self._histories[request] = _History(request.prompt)

    def _shape(self, logits: Tensor, requests: Sequence[Request], failures: dict[int, str]) -> Tensor:
        """Penalties and bias, in one gather and scatter each over all rows that have them; then what is allowed."""
        flat, n = logits.view(-1), logits.shape[1]
        heard, said, biased = [], [], []
        for row in self._shaped:
            params, history = requests[row].params, self._histories[requests[row]]
            history.update(requests[row].tokens)
            if params.repetition_penalty != 1:
                heard.append(_columns(row * n + history.all_ids(), params.repetition_penalty))
            if params.presence_penalty or params.frequency_penalty:
                ids, counts = history.said_ids()
                said.append(_columns(row * n + ids, params.presence_penalty + params.frequency_penalty * counts))
            if params.logit_bias:
                ids, bias = np.array(params.logit_bias).T
                biased.append(_columns(row * n + ids.astype(np.int64), bias))
        if heard:
            places, penalty = _joined(heard, logits.device)
            x = flat[places]
            flat[places] = torch.where(x > 0, x / penalty, x * penalty)
        for amounts, sign in ((said, -1), (biased, 1)):
            if amounts:
                places, amount = _joined(amounts, logits.device)
                flat[places] += sign * amount
        for row in self._shaped:
            if allowed := requests[row].allowed:
                try:
                    mask = _mask(allowed, requests[row].tokens[len(requests[row].prompt) :], n)
                    logits[row].masked_fill_(torch.from_numpy(~mask).to(logits.device), float("-inf"))
                except Exception as error:
                    logger.exception("a grammar failed; its request ends, the others go on")
                    failures[row] = f"what may be said could not be told: {error}"
        return logits.clamp_(max=torch.finfo(torch.float32).max)


class _History:
    """Which tokens a request has read and said, counted as they come."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._heard = set(prompt)
        self._ids = np.array(sorted(self._heard), dtype=np.int64)
        self._said: Counter[int] = Counter()
        self._n = len(prompt)

    def update(self, tokens: Sequence[int]) -> None:
        new = tokens[self._n :]
        self._said.update(new)
        self._n = len(tokens)
        if fresh := set(new) - self._heard:
            self._heard |= fresh
            self._ids = np.concatenate([self._ids, sorted(fresh)])

    def said_ids(self) -> tuple[np.ndarray, np.ndarray]:
        n = len(self._said)
        return np.fromiter(self._said, np.int64, n), np.fromiter(self._said.values(), np.float64, n)

    def all_ids(self) -> np.ndarray:
        return self._ids


def _mask(allowed: Allowed, said: Sequence[int], n_known: int) -> np.ndarray:
    mask = allowed.mask(said)
    if mask.dtype != bool or mask.shape != (n_known,) or not mask.any():
        raise ValueError(f"found a mask {mask.dtype} {list(mask.shape)}; expected {n_known} booleans, one of them true")
    return mask


def _best(logits: Tensor, n_known: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the lowest id among the largest of its first `n_known`, and the logarithm of its sum of exponentials.

    One pass in C where that serves.
    """
    library = kernels() if logits.device.type == "cpu" else None
    if library is None:
        most = logits.amax(-1, keepdim=True)
        total = (logits - most).exp_().sum(-1).log_() + most[:, 0]
        total = total.masked_fill(~most[:, 0].isfinite(), float("nan"))
        return _argmax(logits[:, :n_known]), total.cpu().numpy()
    logits = logits.contiguous()
    tokens, totals = np.empty(len(logits), dtype=np.int64), np.empty(len(logits), dtype=np.float32)
    n, n_columns = logits.shape
    library.call.phi_dense_best(logits.data_ptr(), n, n_known, n_columns, tokens.ctypes.data, totals.ctypes.data)
    return tokens, totals


def _argmax(logits: Tensor) -> np.ndarray:
    """The lowest id among the largest of each row (numpy's is measured 15 times as fast as torch's on CPU)."""
    return logits.numpy().argmax(-1) if logits.device.type == "cpu" else logits.argmax(-1).cpu().numpy()


def _chosen(logits: Tensor, tokens: np.ndarray) -> np.ndarray:
    """Each row's logit of its token."""
    if logits.device.type == "cpu":
        return logits.numpy()[np.arange(len(tokens)), tokens]
    return logits.gather(1, torch.from_numpy(tokens).to(logits.device)[:, None])[:, 0].cpu().numpy()


def most_probable(logits: Tensor, total: float, n: int) -> tuple[Alternative, ...]:
    """The n most probable tokens of logits [V] whose exponentials sum to exp(total); of equal ones the lowest ids."""
    n = min(n, len(logits))
    if not n or not np.isfinite(total):
        return ()
    row = logits.cpu().numpy()
    ids = np.nonzero(row >= np.partition(row, len(row) - n)[len(row) - n])[0]
    values = row[ids]
    order = np.argsort(-values, kind="stable")[:n]
    return tuple(Alternative(int(ids[i]), float(values[i] - total)) for i in order)


@torch.inference_mode()
def score(
    logits: Tensor, targets: Sequence[int], n_alternatives: int = 0, n_known: int | None = None
) -> tuple[list[float], list[tuple[Alternative, ...]]]:
    """Log-probability of each target under logits [T, V], and the most probable of the known tokens at its place."""
    chosen, told = [], []
    n = max(1, AT_ONCE // logits.shape[1])
    for start in range(0, len(targets), n):
        part = logits[start : start + n].float()
        total = _best(part, part.shape[1])[1]
        chosen += (_chosen(part, np.array(targets[start : start + n], dtype=np.int64)) - total).tolist()
        places = range(len(part)) if n_alternatives else ()
        told += [most_probable(part[at, :n_known], float(total[at]), n_alternatives) for at in places]
    return chosen, told


def _joined_parts(parts: Sequence[Sampled], n: int) -> Sampled:
    """Those of `n` rows each, one after the other."""
    numbered = [(part, at * n) for at, part in enumerate(parts)]
    return Sampled(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.logprobs for part in parts]),
        {start + row: told for part, start in numbered for row, told in part.alternatives.items()},
        {start + row: failure for part, start in numbered for row, failure in part.failures.items()},
    )


def _is_shaped(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty or params.logit_bias
    )


def _columns(places: np.ndarray, amount: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    amounts = np.empty(len(places), dtype=np.float32)
    amounts[:] = amount
    return places, amounts


def _joined(columns: Sequence[tuple[np.ndarray, np.ndarray]], device: torch.device) -> tuple[Tensor, Tensor]:
    places, amounts = (np.concatenate(part) for part in zip(*columns, strict=True))
    return torch.from_numpy(places).to(device), torch.from_numpy(amounts).to(device)
