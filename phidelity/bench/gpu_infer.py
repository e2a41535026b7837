"""The engine on a GPU, in one call under nine minutes: `PYTHONPATH=. python -m phidelity.bench.gpu_infer`.

Random weights at phi-4's shape in bf16. Rows: `batch1` is one request through the engine, whose decode is captured by
buckets (engine/buckets.py), and `batch1 graph` the same network with a static cache as one CUDA graph, both against
the roof (weights read per token over the bandwidth of a copy measured here); `requests256` is 256 requests of 100 to
1,024 tokens in and out against transformers' continuous batching on the same weights; `logits` compares two layers at
full width with fp32 on the CPU; `batch1 compiled` is `batch1` after torch.compile of each block. torch, numpy and
transformers suffice. `--tiny` runs every part but the compiled one on the CPU at a tiny shape, to show that they run;
its figures mean nothing. The file is long because it is one command on a bare machine, with the peer beside what it
measures.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from phidelity.bench.bare import stand_in

STANDING_IN = stand_in()

import numpy as np  # noqa: E402 (the stand-ins come first)
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from phidelity.bench.gpu import Rows, command, in_order, timed  # noqa: E402
from phidelity.completion import SamplingParams  # noqa: E402
from phidelity.engine.engine import Engine  # noqa: E402
from phidelity.engine.runner import Runner  # noqa: E402
from phidelity.engine.sequence import Sequence as Request  # noqa: E402
from phidelity.model.attention import CausalAttend  # noqa: E402
from phidelity.model.config import PHI_4, ModelConfig, census  # noqa: E402
from phidelity.model.transformer import Transformer  # noqa: E402

DEADLINE = 8.5 * 60
"""Seconds after which no further part begins."""
TINY = ModelConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, d_ff=128, vocab_size=512, context_len=256, rope_theta=1e4
)


class Setting(NamedTuple):
    """What is measured, where."""

    config: ModelConfig
    device: torch.device
    dtype: torch.dtype
    n_requests: int
    lengths: tuple[int, int]
    """Tokens in and out, least and most."""
    n_single: int
    """Tokens of the single request."""


SETTING = Setting(PHI_4, torch.device("cuda"), torch.bfloat16, 256, (100, 1024), 256)
TINY_SETTING = Setting(TINY, torch.device("cpu"), torch.float32, 6, (4, 12), 8)


class StaticAttend:
    """Attention of one sequence's newest token over a cache of fixed length: nothing in it depends on the position."""

    def __init__(self, setting: Setting, length: int) -> None:
        c = setting.config
        shape = (c.n_layers, 2, 1, c.n_kv_heads, length, c.head_dim)
        self.cache = torch.zeros(shape, device=setting.device, dtype=setting.dtype)
        self.position = torch.zeros(1, dtype=torch.int64, device=setting.device)
        self.columns = torch.arange(length, device=setting.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[1, H, 1, D], [1, K, 1, D], [1, K, 1, D] -> [1, H, 1, D]."""
        keys, values = self.cache[layer]
        keys.index_copy_(2, self.position, k)
        values.index_copy_(2, self.position, v)
        mask = (self.columns <= self.position)[None, None, None]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print a table and one JSON line."""
    return command(
        "gpu_infer", __doc__, arguments, lambda tiny: measure(TINY_SETTING if tiny else SETTING), STANDING_IN
    )


@torch.inference_mode()
def measure(setting: Setting) -> Rows:
    """All parts in order."""
    model = random_model(setting)
    parts = [("batch1", single_request), ("logits", logits), ("requests", many_requests)]
    if setting.device.type == "cuda":
        parts.append(("batch1 compiled", compiled_request))
    return in_order([(name, partial(part, setting, model)) for name, part in parts], DEADLINE)


def random_model(setting: Setting) -> Transformer:
    """Weights made where they stay."""
    with torch.device("meta"):
        model = Transformer(setting.config)
    model = model.to(setting.dtype).to_empty(device=setting.device).requires_grad_(False)
    return model.initialise(torch.Generator(setting.device).manual_seed(0)).eval()


def single_request(setting: Setting, model: Transformer) -> list[dict[str, Any]]:
    """Tokens a second of one request, beside the roof."""
    read = (census(setting.config).matmul) * setting.dtype.itemsize
    roof = bandwidth(setting) / read
    engine = _engine(setting, model, n_rows=1)
    prompt = tuple(range(1, 1 + setting.lengths[0]))
    _generate(engine, [(prompt, setting.n_single)])  # captures the graphs of all lengths
    by_engine = setting.n_single / timed(setting.device, lambda: _generate(engine, [(prompt, setting.n_single)]))
    by_graph = _graph_speed(setting, model)
    return [
        {"what": name, "ours": round(speed, 2), "unit": "tokens/s", "peer": "bandwidth", "theirs": round(roof, 2),
         "ratio": round(speed / roof, 3)}
        for name, speed in (("batch1", by_engine), ("batch1 graph", by_graph))
    ]  # fmt: skip


def compiled_request(setting: Setting, model: Transformer) -> list[dict[str, Any]]:
    """The first row of `single_request` again, with the elementwise work of each block fused by torch.compile."""
    for block in model.blocks:
        block.compile()
    return [single_request(setting, model)[0] | {"what": "batch1 compiled"}]


def bandwidth(setting: Setting) -> float:
    """Bytes a second of a large copy, read and written."""
    n = (1 << 32 if setting.device.type == "cuda" else 1 << 24) // 2
    source = torch.zeros(n, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    return max(2 * n / timed(setting.device, lambda: target.copy_(source)) for _ in range(8))


def _graph_speed(setting: Setting, model: Transformer) -> float:
    attend = StaticAttend(setting, setting.lengths[0] + 2 * setting.n_single)
    token = torch.zeros(1, 1, dtype=torch.int64, device=setting.device)

    def step() -> None:
        x = model(token, attend.position[None], attend)
        token.copy_(model.logits(x[:, 0]).argmax(-1, keepdim=True))
        attend.position.add_(1)

    if setting.device.type != "cuda":
        replay = step
    else:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replay = graph.replay
    attend.position.fill_(setting.lengths[0])
    replay()

    def run() -> None:
        for _ in range(setting.n_single):
            replay()

    return setting.n_single / timed(setting.device, run)


def logits(setting: Setting, model: Transformer) -> list[dict[str, Any]]:
    """Two layers at full width: the device in its dtype and in fp32, and the engine, against fp32 on the CPU."""
    config = setting.config.model_copy(update={"n_layers": 2})
    part = Transformer(config).requires_grad_(False).eval()
    part.load_state_dict({name: value for name, value in model.state_dict().items() if name in part.state_dict()})
    tokens = torch.arange(64)[None] * 7 % config.vocab_size
    expected = _plain(part, tokens)
    rows = []
    for name, dtype in (
        ("logits fp32", torch.float32),
        (f"logits {setting.dtype}".replace("torch.", ""), setting.dtype),
    ):
        there = part.to(setting.device, dtype)
        found = _plain(there, tokens.to(setting.device)).float().cpu()
        error = float((found - expected).abs().max() / expected.std())
        agreeing = float((found.argmax(-1) == expected.argmax(-1)).float().mean())
        engine = _engine(setting._replace(config=config), there, n_rows=1)
        request = Request(tuple(tokens[0].tolist()), SamplingParams(max_tokens=1, prompt_logprobs=0), key=0, limit=1)
        engine.add(request)
        while engine.is_busy:
            engine.step()
        scores = expected[0].log_softmax(-1)[:-1].gather(1, tokens[0, 1:, None])[:, 0]
        by_engine = float((torch.tensor(request.prompt_logprobs) - scores).abs().max())
        rows.append(
            {"what": name, "error_in_std": round(error, 6), "same_best": agreeing, "engine_logprob_error": by_engine}
        )
    return rows


def many_requests(setting: Setting, model: Transformer) -> list[dict[str, Any]]:
    """Useful tokens a second over many ragged requests, ours and transformers' on the same weights."""
    rng = np.random.default_rng(0)
    least, most = setting.lengths
    sizes = rng.integers(least, most + 1, (setting.n_requests, 2))
    load = [(tuple(rng.integers(0, setting.config.vocab_size, n).tolist()), int(limit)) for n, limit in sizes]
    ours = _our_seconds(setting, model, load)
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    row = {"what": f"requests{setting.n_requests}", "ours": round(sum(sizes[:, 1]) / ours, 1), "unit": "tokens/s",
           "peer": "transformers continuous batching", "theirs": None, "ratio": None}  # fmt: skip
    try:
        theirs = _their_seconds(setting, model, load)
    except Exception as error:  # their interface differs between versions: ours stands all the same
        return [row | {"failed": f"{type(error).__name__}: {error}"[:300]}]
    return [row | {"theirs": round(sum(sizes[:, 1]) / theirs, 1), "ratio": round(theirs / ours, 3)}]


def _our_seconds(setting: Setting, model: Transformer, load: Sequence[tuple[tuple[int, ...], int]]) -> float:
    engine = _engine(setting, model, n_rows=min(256, setting.n_requests))
    _generate(engine, [(load[0][0], 4)])
    return timed(setting.device, lambda: _generate(engine, load))


def _their_seconds(setting: Setting, model: Transformer, load: Sequence[tuple[tuple[int, ...], int]]) -> float:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    theirs = _as_phi3(setting, model)
    settings = GenerationConfig(do_sample=False, max_new_tokens=setting.lengths[1], eos_token_id=-1, pad_token_id=0)
    small = None if setting.device.type == "cuda" else ContinuousBatchingConfig(num_blocks=16, max_batch_tokens=64)
    manager = theirs.init_continuous_batching(generation_config=settings, continuous_batching_config=small)
    manager.start()
    try:
        _their_turn(manager, [(load[0][0], 4)], "warm")
        return timed(setting.device, lambda: _their_turn(manager, load))
    finally:
        manager.stop(block=True)


def _their_turn(manager: Any, load: Sequence[tuple[tuple[int, ...], int]], name: str = "") -> None:
    for number, (prompt, limit) in enumerate(load):
        manager.add_request(list(prompt), request_id=f"{name}{number}", max_new_tokens=limit)
    n_done, deadline = 0, time.perf_counter() + 240
    while n_done < len(load):
        answer = manager.get_result(timeout=1.0)
        n_done += bool(answer is not None and answer.is_finished())
        if time.perf_counter() > deadline or not manager.is_running():
            raise TimeoutError(f"{n_done} of {len(load)} requests ended")


def _as_phi3(setting: Setting, model: Transformer) -> Any:
    """The same weights, shared, as transformers' Phi3ForCausalLM."""
    from transformers import Phi3Config, Phi3ForCausalLM

    from phidelity.checkpoint.naming import foreign_name

    c = setting.config
    foreign = Phi3Config(
        vocab_size=c.vocab_size, hidden_size=c.d_model, intermediate_size=c.d_ff, num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, max_position_embeddings=c.context_len,
        original_max_position_embeddings=c.context_len, rms_norm_eps=c.norm_eps, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
    )  # fmt: skip
    foreign._attn_implementation = "sdpa"
    with torch.device("meta"):
        theirs = Phi3ForCausalLM(foreign)
    state = {foreign_name(name): value for name, value in model.state_dict().items()}
    theirs.load_state_dict(state, assign=True, strict=False)
    rotary = theirs.model.rotary_emb
    theirs.model.rotary_emb = type(rotary)(config=foreign).to(setting.device)
    return theirs.eval()


def _engine(setting: Setting, model: Transformer, n_rows: int) -> Engine:
    free = torch.cuda.mem_get_info()[0] if setting.device.type == "cuda" else 1 << 26
    context = min(setting.config.context_len, 2 * setting.lengths[1] + setting.n_single + 64)
    runner = Runner(model, n_rows=n_rows, cache_bytes=free // 2, context_len=context)
    return Engine(runner, setting.config.vocab_size)


def _generate(engine: Engine, load: Sequence[tuple[tuple[int, ...], int]]) -> None:
    for prompt, limit in load:
        engine.add(Request(prompt, SamplingParams(max_tokens=limit), key=0, limit=limit))
    while engine.is_busy:
        engine.step()


def _plain(model: Transformer, tokens: Tensor) -> Tensor:
    return model.logits(model(tokens, torch.arange(tokens.shape[1], device=tokens.device)[None], CausalAttend()))


if __name__ == "__main__":
    main()
