"""The pipelines over real HTTP: a bad network changes no byte, refusals are one clear line, a stopped run goes on."""

import hashlib
import json
import threading
import time

import pytest
from mock_endpoint import echo
from scripted_teacher import ORGANIC, asked, well

from phidelity.cached import CachedCompleter
from phidelity.completion import SamplingParams
from phidelity.config import UserError
from phidelity.endpoint import HttpCompleter
from phidelity.pipeline.benchmarks import BenchmarksConfig, benchmarks
from phidelity.pipeline.synthetic import SyntheticConfig, synthetic
from phidelity.records import Conversation, Message, write_records
from phidelity.synthetic.taught import TaughtConfig
from phidelity.traffic import Budget

FEW = TaughtConfig.model_validate({name: 2 for name in TaughtConfig.model_fields if name != "scored"})
CONFIG = SyntheticConfig(
    exercises=2, drills=0, lessons=0, readings=0, functions=0, editions=0, question_sets=0, long_documents=0,
    rewrites=0, conversations=2, course=0, aspects=0, problems=2, taught=FEW,
)  # fmt: skip
GREEDY = SamplingParams(max_tokens=20)
QUICK = (0.01, 0.05, 0.2, 0.5, 1.0, 1.0)


def as_teacher(body: dict) -> bytes:
    """The scripted teacher behind the endpoint; which of several tries it is follows from the seed."""
    prompt = Conversation(id="", messages=tuple(Message(**message) for message in body["messages"]))
    message = {"content": well(*asked(prompt), body["seed"] % 3)}
    return echo(body, message=message, finish_reason="stop")


class Weather:
    """A fifth of the tries fail: errors, 429s, stalls, half answers, pages of HTML; `paid` counts whole answers."""

    def __init__(self, answer=echo, bad: float = 0.2, stall: float = 1.5, pause: float = 0.01) -> None:
        self.answer, self.bad, self.stall, self.pause = answer, bad, stall, pause
        self.tries, self.paid = {}, {}
        self.lock = threading.Lock()
        self.n_failed = self.n_now = self.most = 0

    def __call__(self, place, body):
        key = json.dumps(body, sort_keys=True)
        with self.lock:
            tried = self.tries[key] = self.tries.get(key, 0) + 1
            self.n_now += 1
            self.most = max(self.most, self.n_now)
        try:
            time.sleep(self.pause)
            digest = hashlib.sha256(f"{key}/{tried}".encode()).digest()
            if digest[0] < 256 * self.bad and tried < 6:
                self.n_failed += 1
                return self._fail(digest[1] % 5, body)
            with self.lock:
                self.paid[key] = self.paid.get(key, 0) + 1
            return 200, {}, self.answer(body)
        finally:
            with self.lock:
                self.n_now -= 1

    def _fail(self, kind, body):
        whole = self.answer(body)
        if kind == 0:
            time.sleep(self.stall)
        half = whole[: len(whole) // 2]
        return {
            0: (500, {}, b"late"),
            1: (500, {}, b"broken"),
            2: (429, {"Retry-After": "0.05"}, b"slow down"),
            3: (200, {"Content-Length": str(len(whole)), "Connection": "close"}, half),
            4: (200, {}, b"<html><body>502 Bad Gateway</body></html>"),
        }[kind]


def test_sixty_four_in_flight_through_bad_weather_lose_nothing_and_pay_once(endpoint, tmp_path):
    prompts = [f"question {n}" for n in range(600)]
    fine = HttpCompleter(endpoint.url, "phi", n_parallel=64).complete(prompts, GREEDY)
    endpoint.script = weather = Weather(stall=2.7, pause=0.1)
    completer = HttpCompleter(endpoint.url, "phi", n_parallel=64, patience=QUICK, timeout=2.5)
    cached = CachedCompleter(completer, tmp_path / "answers.jsonl")
    assert cached.complete(prompts, GREEDY) == fine
    assert weather.n_failed > 60
    assert weather.most > 32
    assert sorted(set(weather.paid.values())) == [1]
    assert len(weather.paid) == len(prompts)
    assert completer.totals.failures == 0
    n_seen = len(endpoint.seen)
    assert cached.complete(prompts[::-1], GREEDY) == fine[::-1]
    assert len(endpoint.seen) == n_seen
    assert cached.paid().completion_tokens == 5 * len(prompts)
    cached.close()


def test_all_tries_of_a_request_carry_one_key(endpoint):
    keys = []
    handler = endpoint.RequestHandlerClass
    endpoint.script = lambda place, body: (503, {}, b"busy") if place < 2 else None
    original = handler.do_POST

    class Noted(handler):
        def do_POST(self):  # noqa: N802 (the name that http.server calls)
            keys.append(self.headers["Idempotency-Key"])
            original(self)

    endpoint.RequestHandlerClass = Noted
    HttpCompleter(endpoint.url, "phi", patience=QUICK, n_parallel=1).complete(["a", "b"], GREEDY)
    assert len(keys) == 4
    assert len(set(keys)) == 2


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    for name in ("benchmarks", "corpus"):
        (root / name).mkdir()
    benchmarks(BenchmarksConfig(mmlu=8, math=8, gpqa=4, drop=4, mgsm=4, humaneval=4, simpleqa=8, ifeval=4), seed=0,
               out=root / "benchmarks")  # fmt: skip
    write_records(root / "corpus" / "documents.jsonl.zst", ORGANIC)
    return {"corpus": root / "corpus", "benchmarks": root / "benchmarks"}


def make(inputs, out, completer):
    out.mkdir(exist_ok=True)
    cached = CachedCompleter(completer, out.parent / "answers.jsonl")
    try:
        return synthetic(CONFIG, **inputs, seed=0, out=out, teacher=cached)
    finally:
        cached.close()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def fine_run(inputs, tmp_path_factory):
    from mock_endpoint import Endpoint

    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.script = lambda place, body: (200, {}, as_teacher(body))  # type: ignore[assignment]
    root = tmp_path_factory.mktemp("fine")
    named = HttpCompleter(server.url, "phi", n_parallel=64)
    summary = make(inputs, root / "out", named)
    server.shutdown()
    thread.join()
    server.server_close()
    return summary, {name: data.replace(server.url.encode(), b"URL") for name, data in plain(root / "out").items()}


def plain(folder):
    """The files with what is packed unpacked."""
    import zstandard

    unpack = zstandard.ZstdDecompressor()
    return {
        name: unpack.stream_reader(data).read() if name.endswith(".zst") else data
        for name, data in files(folder).items()
    }


def test_a_whole_stage_through_bad_weather_has_the_bytes_of_a_fine_day(endpoint, inputs, tmp_path, fine_run):
    endpoint.script = weather = Weather(as_teacher)
    completer = HttpCompleter(endpoint.url, "phi", n_parallel=64, patience=QUICK, timeout=1.0)
    make(inputs, tmp_path / "out", completer)
    assert weather.n_failed > 3
    assert set(weather.paid.values()) == {1}
    mine = {name: data.replace(endpoint.url.encode(), b"URL") for name, data in plain(tmp_path / "out").items()}
    assert mine == fine_run[1]
    assert fine_run[0]["taught/dialogue/kept"] == 1


@pytest.mark.parametrize(
    ("status", "reply", "said"),
    [
        (401, b'{"error": "wrong key"}', "status 401.*wrong key.*Check url, model and key"),
        (404, b'{"error": "the model phi does not exist"}', "status 404.*does not exist"),
        (200, b"<html>welcome</html>", "sent no completion: '<html>welcome"),
        (200, b'{"choices": [{"mess', "sent no completion"),
    ],
)
def test_an_endpoint_that_will_not_do_is_one_clear_line(endpoint, inputs, tmp_path, status, reply, said):
    endpoint.script = lambda place, body: (status, {}, reply)
    with pytest.raises(UserError, match=said):
        make(inputs, tmp_path / "out", HttpCompleter(endpoint.url, "phi", patience=(0.0,)))


def test_an_endpoint_that_is_down_is_one_clear_line(inputs, tmp_path):
    with pytest.raises(UserError, match="did not answer"):
        make(inputs, tmp_path / "out", HttpCompleter("http://127.0.0.1:9/v1", "phi", patience=()))


def test_a_context_that_is_too_short_is_a_counted_reason(endpoint, inputs, tmp_path):
    endpoint.script = lambda place, body: (400, {}, b"maximum context length is 10 tokens")
    summary = make(inputs, tmp_path / "out", HttpCompleter(endpoint.url, "phi"))
    assert summary["taught/excerpts/dropped/too_long"] == 2
    assert summary["taught/reversal/dropped/too_long"] == 2


def test_a_budget_is_never_passed_and_the_run_goes_on_with_a_larger_one(endpoint, inputs, tmp_path, fine_run):
    endpoint.script = lambda place, body: (200, {}, as_teacher(body))
    poor = HttpCompleter(endpoint.url, "phi", n_parallel=4, prices=(10.0, 20.0), budget=Budget(cost=0.025))
    with pytest.raises(UserError, match=r"the budget of 0.025 in money is used up.*then go on"):
        make(inputs, tmp_path / "out", poor)
    assert 0 < poor.totals.cost <= 0.025
    n_paid = len(endpoint.seen)
    assert n_paid > 0
    richer = HttpCompleter(endpoint.url, "phi", n_parallel=4)
    make(inputs, tmp_path / "out", richer)
    bodies = [json.dumps(body, sort_keys=True) for _, body, _ in endpoint.seen]
    assert len(set(bodies)) == len(bodies) > n_paid
    mine = {name: data.replace(endpoint.url.encode(), b"URL") for name, data in plain(tmp_path / "out").items()}
    assert mine == fine_run[1]


def test_a_budget_in_tokens_counts_what_is_under_way(endpoint):
    release = threading.Event()
    endpoint.script = lambda place, body: release.wait(0.2) and None
    completer = HttpCompleter(endpoint.url, "phi", n_parallel=16, budget=Budget(tokens=400))
    with pytest.raises(UserError, match="budget of 400 in tokens"):
        completer.complete([f"p{n}" for n in range(100)], GREEDY)
    release.set()
    spent = completer.totals.prompt_tokens + completer.totals.completion_tokens
    assert 200 < spent == 8 * len(endpoint.seen) <= 400, "each answer is of 8 tokens, and up to 80 are set aside"


def test_the_packaged_recipe_runs_every_pipeline_against_a_teacher_by_url(endpoint, tmp_path, phi):
    endpoint.script = lambda place, body: (200, {}, as_teacher(body))
    few = [f"--set=synthetic.taught.{name}=2" for name in TaughtConfig.model_fields if name != "scored"]
    command = ("run", "synthetic", "--until", "synthetic", "--out", tmp_path / "run")
    sets = ("--set", f"teacher.url={endpoint.url}", "--set", "corpus.code_bytes=60000", "--set", "corpus.web_bytes=0")
    done = phi(*command, *sets, *few)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "run" / "synthetic" / "taught.json").read_text())
    assert set(told["funnel"]) == set(TaughtConfig.model_fields) - {"scored"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"Pipelines taught by phi-4@{endpoint.url}" in page
    rows = (tmp_path / "run" / "answers" / "requests.jsonl").read_text().splitlines()
    assert len(rows) == len(endpoint.seen)
    assert phi(*command, *sets, *few).returncode == 0
    assert len(rows) == len(endpoint.seen)
