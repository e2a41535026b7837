"""Logits to tokens, for a whole batch at once, each row by its own parameters.

The order of operations is the field's: repetition penalty (tokens of prompt and answer), presence and frequency
penalty (tokens of the answer), logit bias, a grammar; then the best token, or temperature, top-k, top-p, min-p
and a draw. Ties go to the lowest id, also at the edge of top-k and top-p. Log-probabilities are the model's own,
before all this.

The n-th number of a request is a hash of (its key, n), as in counter-based generators (Salmon et al. 2011; the
mixer is splitmix64), so companions never shift a random stream. A token is drawn by inverting the cumulative
distribution, which also makes speculation exact: a draft is right where it is what would have been drawn.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from phidelity.completion import Alternative, SamplingParams
from phidelity.config import UserError
from phidelity.kernels.library import kernels

BLOCK = 64
"""Probabilities are summed in blocks of this many; the draw looks into one of them (*ours*)."""
CANDIDATES = 256
"""A nucleus is looked for among the first so many before all are added up (*ours*)."""
COLDEST = 1e-30
"""Lower temperatures act as this one (*ours*): all but exact ties have gone by then."""


class Allowed(Protocol):
    """Holds one answer to a grammar; belongs to one sequence and is asked by the engine's thread alone."""

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


class Settings(NamedTuple):
    """Parameters of the rows that are drawn, as columns [D, 1]."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor

    @classmethod
    def of(cls, params: Sequence[SamplingParams], device: torch.device) -> "Settings":
        """The columns of some rows."""
        values = [[max(p.temperature, COLDEST), p.top_k, p.top_p, p.min_p] for p in params]
        table = torch.tensor(values, dtype=torch.float64, device=device).reshape(-1, 4)
        temperature, top_k, top_p, min_p = table.split(1, dim=1)
        return cls(temperature.float(), top_k.long(), top_p, min_p.float())


def stream_key(seed: int, prompt: tuple[int, ...], repeat: int) -> int:
    """The 64-bit key of a request's random stream: its seed, its token ids, its how-manieth repeat."""
    text = f"{seed}/{repeat}/{','.join(map(str, prompt))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def uniforms(keys: np.ndarray, counters: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1): the `counters[i]`-th of stream `keys[i]` (uint64), 53 bits each."""
    x = keys + (counters.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


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
        self._histories: dict[Request, _History] = {}

    @torch.inference_mode()
    def __call__(self, logits: Tensor, requests: Sequence[Request], ahead: np.ndarray | None = None) -> Sampled:
        """The next token of each request from logits [R, V].

        A request that stands in several rows has a draft checked: `ahead` [R] says how many drafted tokens lie
        between its answer so far and the row. Penalties do not see a draft, so such a request must have none.
        """
        logits = logits.float()
        if self._requests != list(requests):
            self._remember(requests, logits.device)
        known = logits[:, : self.n_known]
        tokens, total = _best(logits, self.n_known)
        if self._shaped:
            known = self._shape(known.clone(), requests)
            tokens[self._shaped] = _argmax(known[self._shaped])
        if len(self._drawn):
            said = [len(requests[row].tokens) - len(requests[row].prompt) for row in self._drawn]
            counters = np.array(said) + (0 if ahead is None else ahead[self._drawn])
            rows = known if len(self._drawn) == len(known) else known[torch.from_numpy(self._drawn).to(known.device)]
            tokens[self._drawn] = draw(rows, self._settings, uniforms(self._keys, counters))
        logprobs = _chosen(logits, tokens) - total
        wanted = {row: self._requests[row].params.logprobs or 0 for row in self._told}
        return Sampled(tokens, logprobs, {row: most_probable(logits[row], total[row], n) for row, n in wanted.items()})

    def _remember(self, requests: Sequence[Request], device: torch.device) -> None:
        self._requests = list(requests)
        params = [request.params for request in requests]
        self._drawn = np.array([row for row, p in enumerate(params) if p.temperature > 0], dtype=np.int64)
        self._settings = Settings.of([params[row] for row in self._drawn], device)
        self._keys = np.array([requests[row].key for row in self._drawn], dtype=np.uint64)
        self._shaped = [row for row, one in enumerate(requests) if _is_shaped(one.params) or one.allowed]
        self._told = [row for row, p in enumerate(params) if p.logprobs]
        self._histories = {
            request: self._histories.get(request) or _History(request)
            for request in (requests[row] for row in self._shaped)
        }

    def _shape(self, logits: Tensor, requests: Sequence[Request]) -> Tensor:
        """Penalties and bias, in one gather and scatter each over all rows that have them; then what is allowed."""
        flat, n = logits.view(-1), logits.shape[1]
        heard, said, biased = [], [], []
        for row in self._shaped:
            params, history = requests[row].params, self._histories[requests[row]]
            history.update()
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
                said_here = requests[row].tokens[len(requests[row].prompt) :]
                forbidden = torch.from_numpy(~allowed.mask(said_here)).to(logits.device)
                logits[row].masked_fill_(forbidden, float("-inf"))
        return logits.clamp_(max=torch.finfo(torch.float32).max)


class _History:
    """Which tokens a request has read and said, counted as they come."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._read = np.unique(np.array(request.prompt, dtype=np.int64))
        self._said: Counter[int] = Counter()
        self._n = len(request.prompt)

    def update(self) -> None:
        self._said.update(self.request.tokens[self._n :])
        self._n = len(self.request.tokens)

    def said_ids(self) -> tuple[np.ndarray, np.ndarray]:
        n = len(self._said)
        return np.fromiter(self._said, np.int64, n), np.fromiter(self._said.values(), np.float64, n)

    def all_ids(self) -> np.ndarray:
        return np.union1d(self._read, self.said_ids()[0])


def draw(logits: Tensor, settings: Settings, u: np.ndarray) -> np.ndarray:
    """Tokens [D] from logits [D, V] by numbers u [D] in [0, 1)."""
    scaled = (logits - logits.amax(-1, keepdim=True)) / settings.temperature
    limited = (settings.top_k[:, 0] > 0) & (settings.top_k[:, 0] < scaled.shape[1])
    if limited.any():
        scaled[limited] = _best_k(scaled[limited], settings.top_k[limited])
    p = scaled.softmax(-1)
    limited = settings.top_p[:, 0] < 1
    if limited.any():
        p[limited] = _nucleus(p[limited], settings.top_p[limited])
    if settings.min_p.any():
        p = p.masked_fill(p < settings.min_p * p.amax(-1, keepdim=True), 0.0)
    return _invert(p, torch.from_numpy(u).to(p.device)).cpu().numpy()


def _invert(p: Tensor, u: Tensor) -> Tensor:
    """The first token at which the cumulative distribution exceeds u; p [D, V] need not sum to 1."""
    p = torch.nn.functional.pad(p, (0, -p.shape[1] % BLOCK)).view(len(p), -1, BLOCK)
    ends = p.sum(-1).cumsum(-1, dtype=torch.float64)
    target = u[:, None] * ends[:, -1:]
    block = (ends <= target).sum(-1, keepdim=True).clamp_(max=ends.shape[1] - 1)
    before = torch.nn.functional.pad(ends, (1, 0)).gather(1, block)
    inside = p[torch.arange(len(p), device=p.device), block[:, 0]]  # [D, BLOCK]
    place = (before + inside.cumsum(-1, dtype=torch.float64) <= target).sum(-1)
    last = (inside > 0).long().cumsum(-1).argmax(-1)
    return block[:, 0] * BLOCK + torch.minimum(place, last)


def _best_k(x: Tensor, k: Tensor) -> Tensor:
    """-inf for all but the k [D, 1] largest of each row."""
    values = _descending(x)[:, : int(k.max())]
    return x.masked_fill(~_largest(x, k, values.gather(1, k - 1)), float("-inf"))


def _nucleus(p: Tensor, top_p: Tensor) -> Tensor:
    """Zero for all but the fewest most probable tokens that together reach `top_p` [D, 1]."""
    ordered = _descending(p)
    values = ordered[:, :CANDIDATES]
    reached = values.cumsum(-1, dtype=torch.float64)
    if (reached[:, -1:] < top_p).any():
        values = ordered
        reached = values.cumsum(-1, dtype=torch.float64)
    before = reached - values
    n = (before < top_p).sum(-1, keepdim=True).clamp_(min=1)
    return p.masked_fill(~_largest(p, n, values.gather(1, n - 1)), 0.0)


def _largest(x: Tensor, n: Tensor, least: Tensor) -> Tensor:
    """Which are the n [D, 1] largest of each row, whose n-th is `least` [D, 1]; of equal ones those of lowest id."""
    kept = x >= least
    surplus = (kept.sum(-1, keepdim=True) > n)[:, 0]
    if surplus.any():
        x, n, least = x[surplus], n[surplus], least[surplus]
        above, equal = x > least, x == least
        kept[surplus] = above | (equal & (equal.cumsum(-1) <= n - above.sum(-1, keepdim=True)))
    return kept


def _descending(x: Tensor) -> Tensor:
    """Each row's values from the largest (numpy's sort is measured 40 times as fast as torch's on CPU)."""
    if x.device.type == "cpu":
        return torch.from_numpy(np.sort(x.numpy(), axis=-1)).flip(-1)
    return x.sort(-1, descending=True).values


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
    ids = (logits >= logits.topk(n).values[-1]).nonzero()[:, 0].cpu().numpy()
    values = logits[torch.from_numpy(ids).to(logits.device)].cpu().numpy()
    order = np.lexsort((ids, -values))[:n]
    return tuple(Alternative(int(ids[i]), float(values[i] - total)) for i in order)


@torch.inference_mode()
def score(
    logits: Tensor, targets: Sequence[int], n_alternatives: int = 0
) -> tuple[list[float], list[tuple[Alternative, ...]]]:
    """Log-probability of each target under logits [T, V], and the most probable tokens at its place."""
    logits = logits.float()
    total = _best(logits, logits.shape[1])[1]
    chosen = _chosen(logits, np.array(targets, dtype=np.int64)) - total
    places = range(len(targets)) if n_alternatives else ()
    return chosen.tolist(), [most_probable(logits[at], float(total[at]), n_alternatives) for at in places]


def _is_shaped(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty != 1 or params.presence_penalty or params.frequency_penalty or params.logit_bias
    )


def _columns(places: np.ndarray, amount: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return places, np.broadcast_to(np.asarray(amount, dtype=np.float32), places.shape)


def _joined(columns: Sequence[tuple[np.ndarray, np.ndarray]], device: torch.device) -> tuple[Tensor, Tensor]:
    places, amounts = (np.concatenate(part) for part in zip(*columns, strict=True))
    return torch.from_numpy(places).to(device), torch.from_numpy(amounts).to(device)
