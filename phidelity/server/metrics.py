"""What Prometheus reads, under vLLM's names where the meaning is the same, so that its dashboards fit.

Counters of the engine are read when asked; the server adds times, as cumulative histograms, and how requests ended.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

HISTOGRAMS = {
    "vllm:time_to_first_token_seconds": "From the request's arrival to its first token.",
    "vllm:inter_token_latency_seconds": "Between tokens of a stream; of those that came together their mean.",
    "vllm:request_time_per_output_token_seconds": "Mean of a whole answer, after its first token.",
    "vllm:e2e_request_latency_seconds": "From the request's arrival to its end.",
}
GAUGES = {
    "vllm:num_requests_running": ("running", "Requests in the engine's batch."),
    "vllm:num_requests_waiting": ("waiting", "Requests that wait for a place in it."),
}
COUNTERS = {
    "vllm:prompt_tokens": ("prompt_tokens", "Prompt tokens read."),
    "vllm:generation_tokens": ("completion_tokens", "Tokens generated."),
    "vllm:num_preemptions": ("preemptions", "Requests that had to give their place back."),
    "vllm:prefix_cache_queries": ("prompt_tokens", "Prompt tokens looked up in the cache."),
    "vllm:prefix_cache_hits": ("prefix_hit_tokens", "Prompt tokens found there."),
    "vllm:spec_decode_num_draft_tokens": ("drafted_tokens", "Tokens guessed ahead."),
    "vllm:spec_decode_num_accepted_tokens": ("accepted_tokens", "Guessed tokens that were right."),
    "phi_engine_steps": ("steps", "Steps of the engine."),
}


WHOLE = ("stop", "length")
"""Reasons for which an answer ends when nothing goes wrong."""


class Histogram:
    """Counts by upper bound."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count a value."""
        self._counts[bisect_left(_SECONDS, seconds)] += times
        self._sum += seconds * times

    @property
    def mean(self) -> float:
        """Of all values; 0 without any."""
        return self._sum / max(sum(self._counts), 1)

    def lines(self, name: str, labels: str) -> list[str]:
        """In Prometheus' text form."""
        total, lines = 0, []
        for bound, count in zip((*_SECONDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
        return [*lines, f"{name}_sum{{{labels}}} {self._sum:.6f}", f"{name}_count{{{labels}}} {total}"]


class Metrics:
    """Of one server; used on its event loop alone."""

    def __init__(self) -> None:
        self.times = {name: Histogram() for name in HISTOGRAMS}
        self.ended: Counter[str] = Counter()
        """Answers by finish_reason."""
        self.n_requests = 0
        """Requests of any kind that have come."""
        self.refused: Counter[str] = Counter()
        """Requests that were answered with an error, by status."""

    def observe(self, name: str, seconds: float, times: int = 1) -> None:
        """Count a time under vLLM's name without its prefix and unit."""
        self.times[f"vllm:{name}_seconds"].observe(seconds, times)

    def text(self, models: Mapping[str, Mapping[str, int]]) -> str:
        """All of it, in Prometheus' text form, for the engines' figures by model; the first name has what is shared."""
        labelled = {_label(name): stats for name, stats in models.items()}
        labels = next(iter(labelled))
        lines: list[str] = []

        def add(name: str, kind: str, told: str, samples: list[str]) -> None:
            lines.extend([f"# HELP {name} {told}", f"# TYPE {name} {kind}", *samples])

        for name, (key, told) in GAUGES.items():
            add(name, "gauge", told, [f"{name}{{{label}}} {stats.get(key, 0)}" for label, stats in labelled.items()])
        cache = "vllm:kv_cache_usage_perc"
        used = [f"{cache}{{{label}}} {_used(stats):.6f}" for label, stats in labelled.items()]
        add(cache, "gauge", "Share of cache blocks that are held.", used)
        for key in ("blocks", "blocks_free"):
            name = f"phi_cache_{key}"
            add(name, "gauge", "Blocks.", [f"{name}{{{label}}} {one.get(key, 0)}" for label, one in labelled.items()])
        for name, (key, told) in COUNTERS.items():
            samples = [f"{name}_total{{{label}}} {stats.get(key, 0)}" for label, stats in labelled.items()]
            add(f"{name}_total", "counter", told, samples)
        name = "vllm:request_success_total"
        ended = {why: f'{{{labels},finished_reason="{why}"}} {n}' for why, n in sorted(self.ended.items())}
        add(name, "counter", "Answers that came to their end.", [name + ended[why] for why in ended if why in WHOLE])
        name = "phi_request_broken_total"
        broken = [name + ended[why] for why in ended if why not in WHOLE]
        add(name, "counter", "Answers that did not: cancelled, or ended by an error.", broken)
        name = "phi_http_requests_total"
        add(name, "counter", "Requests of any kind.", [f"{name}{{{labels}}} {self.n_requests}"])
        name = "phi_refused_total"
        refused = [f'{name}{{{labels},status="{status}"}} {n}' for status, n in sorted(self.refused.items())]
        add(name, "counter", "Requests answered with an error.", refused)
        for name, histogram in self.times.items():
            add(name, "histogram", HISTOGRAMS[name], histogram.lines(name, labels))
        return "\n".join(lines) + "\n"


def _label(model: str) -> str:
    return 'model_name="' + model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _used(stats: Mapping[str, int]) -> float:
    return 1 - stats["blocks_free"] / stats["blocks"] if stats.get("blocks") else 0.0
