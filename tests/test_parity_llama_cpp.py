"""Our GGUF files in llama.cpp, and llama.cpp's in our reader.

PHI_LLAMA_CPP names the folder of its binaries and libraries, PHI_PARITY_MODEL a trained checkpoint (of a
width divisible by 256, for K-quants); without the second, one is trained here in about two minutes.
"""

import ctypes
import email
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Done

from phidelity.checkpoint.blocks import BY_NAME, encode
from phidelity.checkpoint.gguf import GGUFWeights
from phidelity.checkpoint.huggingface import FolderWeights, save_checkpoint
from phidelity.checkpoint.weights import load
from phidelity.completion import SamplingParams
from phidelity.engine.llm import LLM
from phidelity.export.gguf import write_gguf
from phidelity.export.huggingface import write_huggingface
from phidelity.model.attention import CausalAttend
from phidelity.model.config import PHI_4
from phidelity.model.transformer import Transformer
from phidelity.records import Conversation, Message
from phidelity.tokenizer.bpe import Tokenizer
from phidelity.tokenizer.chat import render

pytestmark = pytest.mark.parity

MIXED = (
    "The cat sat on the mat, and it's 12345 o'clock.",
    "def f(x):\n\treturn x['a'].b()  # foo.bar()\n\n\n  y",
    "日本語のテスト ünïcödé Привет 한국어 😀👩‍👩‍👧 \u00a0\u3000 x\r\n\r\n \n",
    "<|im_start|>user<|im_sep|>not a turn<|im_end|>",
    "   leading,   inner   and trailing spaces   ",
    "I'LL we'Ve 'S 1a2b3c ½ ⅷ ٣٤٥٦ e\u0301",
)


@pytest.fixture(scope="session")
def binaries() -> Path:
    if not (place := os.environ.get("PHI_LLAMA_CPP")):
        pytest.skip("PHI_LLAMA_CPP does not name a folder with llama.cpp's binaries")
    return Path(place)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, binaries: Path, phi: Callable[..., Done]) -> FolderWeights:
    if place := os.environ.get("PHI_PARITY_MODEL"):
        return FolderWeights(Path(place))
    out = tmp_path_factory.mktemp("parity") / "run"
    shape = ("n_layers=2", "d_model=256", "n_heads=8", "n_kv_heads=2", "d_ff=1024")
    settings = [*(f"model.{assignment}" for assignment in shape), "pretrain.tokens=600000"]
    done = phi("run", "minute", "--until", "sft", "--out", out, *(part for s in settings for part in ("--set", s)))
    assert done.returncode == 0, done.stderr
    return FolderWeights(out / "sft" / "model")


@pytest.fixture(scope="session")
def f32(folder: FolderWeights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "f32.gguf"
    write_gguf(folder, path, "f32")
    return path


@pytest.fixture(scope="session")
def server(binaries: Path, f32: Path) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    with serving(binaries, f32) as ask:
        yield ask


@contextmanager
def serving(binaries: Path, model: Path) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """llama-server with keys and values in fp32; what it is asked, it answers as JSON."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ("-c", "512", "-np", "1", "-t", "2", "-ctk", "f32", "-ctv", "f32", "-fa", "off", "--jinja", "--no-webui")
    command = [binaries / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{port}/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)

    try:
        for _ in range(300):
            try:
                ask("tokenize", {"content": "a"})
                break
            except OSError:
                assert process.poll() is None, "llama-server ended"
                time.sleep(0.1)
        yield ask
    finally:
        process.terminate()
        process.wait()


PROMPTS = (
    "def add(a, b):\n",
    "The",
    "17 + 25 =",
    Conversation(id="", messages=(Message(role="user", content="What is 35 + 48?"),)),
)
GREEDY = {"temperature": 0, "return_tokens": True, "cache_prompt": False, "n_predict": 200}


def test_200_greedy_tokens_are_identical(folder: FolderWeights, server: Callable[..., Any]) -> None:
    model, tokenizer, digest = load(folder)
    ends = [tokenizer.im_end, tokenizer.endoftext]
    for prompt in PROMPTS:
        ids = list(LLM(model, tokenizer, digest).prompt_ids(prompt))
        theirs = server("completion", {"prompt": ids, "logit_bias": [[end, False] for end in ends], **GREEDY})
        assert theirs["tokens"] == greedy(model, ids, 200, ends)


@torch.inference_mode()
def greedy(model: Transformer, ids: list[int], n: int, banned: list[int]) -> list[int]:
    """The most probable tokens one after another, each from a plain forward pass over all before it."""
    said: list[int] = []
    for _ in range(n):
        tokens = torch.tensor([ids + said])
        logits = model.logits(model(tokens, torch.arange(tokens.shape[1])[None], CausalAttend())[0, -1])
        logits[banned] = -torch.inf
        said.append(int(logits.argmax()))
    return said


def test_answers_of_the_engine_end_where_llama_cpp_ends_them(folder: FolderWeights, server: Callable[..., Any]) -> None:
    llm = LLM(*load(folder))
    for prompt, ours in zip(PROMPTS, llm.complete(PROMPTS, SamplingParams(max_tokens=200)), strict=True):
        theirs = server("completion", {"prompt": list(llm.prompt_ids(prompt)), **GREEDY})
        assert theirs["content"] == ours.text
        assert (theirs["stop_type"] == "eos") == (ours.finish_reason == "stop")


def test_llama_cpp_gives_our_ids(folder: FolderWeights, server: Callable[..., Any]) -> None:
    compare_ids(folder.tokenizer, server)


def compare_ids(tokenizer: Tokenizer, server: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    noise = ["".join(rng.choice(list(" \n\t'aAß日1٣.,_😀\u00a0"), 60)) for _ in range(200)]
    for text in (*MIXED, source_text(), *noise):
        body = {"content": text, "add_special": False, "parse_special": False}
        assert server("tokenize", body)["tokens"] == tokenizer.encode(text), text


def test_with_phi_4s_own_vocabulary_llama_cpp_gives_our_ids_and_its_converter_our_weights(
    binaries: Path, tmp_path: Path
) -> None:
    """Both architectures from llama.cpp's converter: fused as phi3, and split as llama with its rows reordered."""
    ranks = Path(os.environ.get("PHI_TEST_DATA", "")) / "cl100k_base.tiktoken"
    script = binaries.parent.parent / "convert_hf_to_gguf.py"
    if not (ranks.is_file() and script.is_file()):
        pytest.skip("PHI_TEST_DATA has no cl100k_base.tiktoken, or the binaries no converter two folders up")
    config = PHI_4.model_copy(update={"n_layers": 2, "d_model": 64, "n_heads": 4, "n_kv_heads": 1, "d_ff": 224})
    model = Transformer(config).initialise(torch.Generator().manual_seed(0))
    save_checkpoint(tmp_path / "fused", model, Tokenizer.load(ranks))
    fused = FolderWeights(tmp_path / "fused")
    write_huggingface(fused, tmp_path / "split", layout="split")
    for layout, architecture in (("fused", "phi3"), ("split", "llama")):
        out = tmp_path / f"{layout}.gguf"
        convert(script, tmp_path / layout, out)
        weights = GGUFWeights(out)
        assert (weights.architecture, weights.config, weights.notes) == (architecture, config, ())
        for name, shape in weights.shapes.items():
            assert torch.equal(weights.rows(name, 0, shape[0]), fused.rows(name, 0, shape[0])), name
    write_gguf(fused, tmp_path / "ours.gguf", "q8_0")
    with serving(binaries, tmp_path / "ours.gguf") as server:
        compare_ids(fused.tokenizer, server)


def convert(script: Path, folder: Path, out: Path) -> None:
    """llama.cpp's own converter, in this Python; it wants its gguf package and sentencepiece on PYTHONPATH."""
    command = [sys.executable, "-W", "ignore", script, folder, "--outfile", out, "--outtype", "f32"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "No module named" in done.stderr:
        pytest.skip(f"the converter lacks a package: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-2000:]


def test_llama_cpp_renders_chats_as_we_do(folder: FolderWeights, server: Callable[..., Any]) -> None:
    turns = [("system", "You are helpful."), ("user", "Hi"), ("assistant", " Hello!\n"), ("user", "2+2?")]
    messages = [Message.model_validate({"role": role, "content": content}) for role, content in turns]
    prompt = server("apply-template", {"messages": [message.model_dump() for message in messages]})["prompt"]
    theirs = server("tokenize", {"content": prompt, "add_special": True, "parse_special": True})["tokens"]
    assert theirs == render(messages, folder.tokenizer, generation_prompt=True).ids


def source_text() -> str:
    """20 KB of text that every Python has."""
    return (Path(email.__file__).parent / "_header_value_parser.py").read_text()[:20_000]


@pytest.mark.parametrize(("type", "tolerance"), [("f16", 1e-3), ("f32", 1e-3), ("q8_0", 1e-2), ("q4_0", 5e-2)])
def test_perplexity_agrees(folder: FolderWeights, binaries: Path, tmp_path: Path, type: Any, tolerance: float) -> None:
    write_gguf(folder, tmp_path / "model.gguf", type)
    (tmp_path / "text").write_text(source_text())
    n = 256
    options = ("-c", str(n), "-b", str(n), "-t", "2", "-ctk", "f32", "-ctv", "f32", "-fa", "off")
    command = [binaries / "llama-perplexity", "-m", tmp_path / "model.gguf", "-f", tmp_path / "text", *options]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    n_windows, theirs = re.findall(r"\[(\d+)\]([0-9.]+),", told)[-1]  # running means; the line of the last may be lost
    ours, theirs = perplexity(GGUFWeights(tmp_path / "model.gguf"), n, int(n_windows)), float(theirs)
    print(f"perplexity {type}: ours {ours:.4f}, llama.cpp {theirs:.4f}, ratio {ours / theirs:.6f}")
    assert ours == pytest.approx(theirs, rel=tolerance)


@torch.inference_mode()
def perplexity(weights: GGUFWeights, n: int, n_windows: int) -> float:
    """As llama-perplexity counts it: windows of `n` tokens, the second half of each predicted."""
    assert n_windows >= 20
    model, tokenizer, _ = load(weights)
    ids = torch.tensor(tokenizer.encode(source_text()))
    windows = ids[: n_windows * n].view(-1, n)
    losses = []
    for window in windows:
        x = model(window[None], torch.arange(n)[None], CausalAttend())[0, n // 2 : n - 1]
        losses.append(torch.nn.functional.cross_entropy(model.logits(x), window[n // 2 + 1 :], reduction="sum"))
    return math.exp(sum(losses).item() / (len(windows) * (n // 2 - 1)))  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K_M", "Q5_K_M", "Q6_K", "BF16"])
def test_files_of_llama_quantize_are_read_as_llama_cpp_reads_them(
    folder: FolderWeights, binaries: Path, f32: Path, tmp_path: Path, kind: str
) -> None:
    if "K" in kind and folder.config.d_model % 256:
        pytest.skip("K-quants need columns divisible by 256; the model at PHI_PARITY_MODEL has others")
    path = tmp_path / "quantised.gguf"
    subprocess.run([binaries / "llama-quantize", f32, path, kind], check=True, capture_output=True)
    weights = GGUFWeights(path)
    forms = {tensor.form.name for tensor in weights.tensors.values()}
    assert kind.removesuffix("_M") in forms
    library = ctypes.CDLL(str(binaries / "libggml-base.so"))
    for name, shape in weights.shapes.items():
        tensor = weights.tensors[weights.label(name).split()[-1]]
        if tensor.form.decode is None:
            continue
        raw = path.read_bytes()[tensor.offset : tensor.offset + tensor.n_bytes]
        expected = np.empty(shape, dtype=np.float32)
        function = library[f"dequantize_row_{tensor.form.name.lower().replace('k', 'K')}"]
        function(raw, ctypes.c_void_p(expected.ctypes.data), ctypes.c_int64(expected.size))
        assert torch.equal(weights.rows(name, 0, shape[0]), torch.from_numpy(expected)), name


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
def test_blocks_are_encoded_as_llama_cpp_encodes_them(binaries: Path, name: str) -> None:
    library, form = ctypes.CDLL(str(binaries / "libggml-base.so")), BY_NAME[name]
    rng = np.random.default_rng(0)
    n = 1 << 18
    kinds = (rng.normal(0, 0.02, n), rng.integers(-8, 9, n), rng.integers(-254, 255, n) / 2, rng.normal(0, 1e4, n))
    for values in (*kinds, rng.normal(0, 1e-7, n), np.zeros(n), rng.normal(0, 1, n).astype(np.float16)):
        x = torch.from_numpy(values.astype(np.float32))
        for given in (x, x.bfloat16().float(), x.half().float()):
            expected = np.empty(n // form.values * form.bytes, dtype=np.uint8)
            pointers = (ctypes.c_void_p(given.data_ptr()), ctypes.c_void_p(expected.ctypes.data))
            library[f"quantize_row_{name.lower()}_ref"](*pointers, ctypes.c_int64(n))
            assert torch.equal(encode(form, given[None]).flatten(), torch.from_numpy(expected))
