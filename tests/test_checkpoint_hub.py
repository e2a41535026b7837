"""Models by hub id, against a hub on this machine: pinned, resumed, verified, offline, and refused where wrong."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fcntl import LOCK_EX, lockf
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from checkpoint_world import random_checkpoint
from conftest import finish, phi_process

from phidelity.checkpoint.hub import PINNED, is_hub_id
from phidelity.checkpoint.open import open_weights
from phidelity.export.huggingface import write_huggingface

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHARD = "model-00002-of-00005.safetensors"
RUN = """
import json, sys
from phidelity.checkpoint.open import look, open_checkpoint
from phidelity.config import UserError
told = []
for source in sys.argv[1:]:
    try:
        told.append(look(source[1:]).form if source[0] == "?" else open_checkpoint(source).digest)
    except UserError as error:
        told.append(str(error))
print(json.dumps(told))
"""


class Hub(ThreadingHTTPServer):
    """A hub with one model under several names; some of them behave badly."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[tuple[str, str, str]] = []
        """(method and path, range, status) of every request."""
        self.n_cut = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        match = re.fullmatch(r"/owner/([\w-]+)/resolve/([\w-]+)/(.+)", self.path)
        repo, revision, name = match.groups() if match else ("", "", "")
        if repo not in ("good", "halfway", "altered", "escape"):
            return self._send(404, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._send(404, {"X-Error-Code": "RevisionNotFound"})
        path = self.server.folder / name
        if not path.is_file():
            return self._send(404, {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        if repo == "escape" and name == "model.safetensors.index.json":
            content = content.replace(SHARD.encode(), b"../../" + SHARD.encode())
        digest = hashlib.sha256(content).hexdigest()
        if repo == "altered" and name == SHARD:
            content = content[:-1] + b"\x00"
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(content) - start)}
        if repo == "halfway" and name == SHARD and with_body and self.server.n_cut < 2:
            self.server.n_cut += 1
            if self.server.n_cut == 2:
                return self._send(503, {})
            return self._send(206, headers, content[: len(content) // 2])
        return self._send(206 if "Range" in self.headers else 200, headers, content[start:] if with_body else b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.server.asked.append((f"{self.command} {self.path}", self.headers.get("Range", ""), str(status)))
        self.send_response(status)
        for name, value in ({"Content-Length": "0", "Connection": "close"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub holds: a model in five shards."""
    home = tmp_path_factory.mktemp("hub")
    write_huggingface(open_weights(random_checkpoint(home / "one")), home / "five", shard_bytes=220_000)
    assert (home / "five" / SHARD).is_file()
    return home / "five"


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    server = Hub(folder)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def environment(hub: Hub, home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", **more}


def opened(hub: Hub, home: Path, *sources: str, **more: str) -> list[str]:
    """The digest of each model, or what was said instead."""
    command = [sys.executable, "-c", RUN, *sources]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(hub, home, **more), check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(hub: Hub, home: Path) -> dict[str, str]:
    """One visit to all of the hub."""
    sources = {
        "looked at": "?owner/good",
        "good": "owner/good",
        "halfway": "owner/halfway",
        "halfway again": "owner/halfway@main",
        "altered": "owner/altered",
        "escape": "owner/escape",
        "no such model": "owner/nothing",
        "no such revision": "owner/good@nowhere",
    }
    return dict(zip(sources, opened(hub, home, *sources.values()), strict=True))


def requests(hub: Hub, repo: str, name: str) -> list[tuple[str, str, str]]:
    return [one for one in hub.asked if f"/{repo}/" in one[0] and one[0].endswith(name) and one[0].startswith("GET")]


def test_a_hub_id_opens_the_model_that_the_folder_holds(told: dict[str, str], folder: Path, hub: Hub) -> None:
    assert told["good"] == open_weights(folder).digest
    assert len(requests(hub, "good", SHARD)) == 1
    assert COMMIT in requests(hub, "good", SHARD)[0][0], "files after the first are asked for by commit"


def test_looking_fetches_no_weights(told: dict[str, str], hub: Hub) -> None:
    assert told["looked at"] == "Hugging Face model at the hub, 5 weight files"
    paths = [path for path, _, _ in hub.asked if "/good/" in path]
    assert paths.index(f"HEAD /owner/good/resolve/{COMMIT}/model-00001-of-00005.safetensors") > 5


def test_a_hub_that_stops_halfway_is_one_line_and_the_next_command_goes_on(
    told: dict[str, str], folder: Path, hub: Hub
) -> None:
    size = (folder / SHARD).stat().st_size
    assert f"stopped while sending {SHARD}: {size // 2:,} of {size:,} bytes are here" in told["halfway"]
    assert "\n" not in told["halfway"]
    assert told["halfway again"] == open_weights(folder).digest
    ranges = [(asked, status) for _, asked, status in requests(hub, "halfway", SHARD)]
    assert ranges == [("bytes=0-", "206"), (f"bytes={size // 2}-", "503"), (f"bytes={size // 2}-", "206")]


def test_a_file_with_another_hash_is_dropped(told: dict[str, str], home: Path) -> None:
    assert f"{SHARD} arrived with sha256" in told["altered"]
    assert not list(home.rglob("*.partial"))
    assert not list((home / "hub" / "models--owner--altered").rglob(SHARD))


def test_an_index_that_leads_out_of_the_snapshot_is_refused_before_anything_is_fetched(
    told: dict[str, str], hub: Hub
) -> None:
    assert "names '../../" in told["escape"]
    assert not [path for path, _, _ in hub.asked if "/escape/" in path and path.endswith(".safetensors")]


def test_what_the_hub_does_not_have_is_said(told: dict[str, str]) -> None:
    assert "No folder owner/nothing is here, and the hub has no such model" in told["no such model"]
    assert "no revision 'nowhere'" in told["no such revision"]


def test_a_filled_cache_serves_without_a_network(told: dict[str, str], hub: Hub, home: Path) -> None:
    n_asked = len(hub.asked)
    good, other = opened(hub, home, "owner/good", "owner/other", HF_HUB_OFFLINE="1")
    assert good == told["good"]
    assert "owner/other is not in the cache, and the hub cannot be reached" in other
    assert len(hub.asked) == n_asked


def test_the_command_takes_a_hub_id(told: dict[str, str], hub: Hub, home: Path, tmp_path: Path) -> None:
    command = ("generate", "owner/good", "--prompt", "the cat", "--max-tokens", "4", "--json")
    done = finish(phi_process(*command, env=environment(hub, home), cwd=tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["tokens"]) == 4


def test_paths_are_no_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_id("microsoft/phi-4")
    assert is_hub_id("microsoft/phi-4@main")
    for path in ("runs/tinny", "./a/b", "/a/b", "a/b/c", "tiny", "a/../b", "~/x"):
        assert not is_hub_id(path), path
    assert re.fullmatch("[0-9a-f]{40}", PINNED["microsoft/phi-4"])


def test_two_processes_do_not_write_into_one_file(told: dict[str, str], hub: Hub, home: Path, folder: Path) -> None:
    digest = hashlib.sha256((folder / SHARD).read_bytes()).hexdigest()
    blobs = home / "hub" / "models--owner--altered" / "blobs"
    with open(blobs / f"{digest}.partial", "ab") as file:
        lockf(file, LOCK_EX)
        assert f"Another process is fetching {SHARD}" in opened(hub, home, "owner/altered")[0]
    (blobs / f"{digest}.partial").unlink()
