"""The stages that are cut into shards: whoever does them, however often they are killed, the bytes are the same."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import finish, phi_process, tree_hashes
from corpus_world import write_recipe, write_sources

from phidelity.data.scale import Crew
from phidelity.pipeline import likeness, reading
from phidelity.pipeline.reading import Decision, Scores
from phidelity.pipeline.recipe import load_recipe
from phidelity.pipeline.run import run, run_part
from phidelity.records import Document, read_records


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A recipe over some sources, and the run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("world")
    recipe = write_recipe(folder / "recipe.toml", write_sources(folder / "root"))
    run(load_recipe(str(recipe)).recipe, folder / "whole")
    return recipe, folder / "whole"


def test_processes_give_the_bytes_of_one(world, tmp_path):
    recipe, whole = world
    run(load_recipe(str(recipe)).recipe, tmp_path / "two", crew=Crew(n_workers=2))
    assert tree_hashes(tmp_path / "two") == tree_hashes(whole)


def test_tasks_of_an_array_do_every_phase_together_and_a_plain_run_ends_it(world, tmp_path, phi):
    recipe, whole = world
    loaded, out = load_recipe(str(recipe)).recipe, tmp_path / "array"
    run(loaded, out, until="benchmarks")
    told = [run_part(loaded, out, only="corpus", crew=Crew(part=n % 3, n_parts=3)) for n in range(12)]
    assert [one.plan for one in told[:3]] == ["read", "read", "pairs"]
    assert (told[0].n_done, told[0].n_left) == (2, 4)
    assert told[-1].plan == "all"
    assert not (out / "corpus").exists()
    done = phi("shards", recipe, "--out", out, "--part", "0/2")
    assert done.returncode == 1
    assert "shards reads corpus, which is not done" in done.stderr
    run(loaded, out, until="tokenizer")
    done = phi("shards", recipe, "--out", out, "--part", "0/1")
    assert "shards: all shards are done. Next: phi shards" in done.stdout
    run(loaded, out)
    assert tree_hashes(out) == tree_hashes(whole)


def test_a_run_killed_at_random_instants_keeps_every_finished_shard_and_ends_in_the_same_bytes(world, tmp_path):
    recipe, whole = world
    rng, out, finished = random.Random("shards"), tmp_path / "killed", {}
    killed = n_kept = 0
    for _ in range(5):
        process = phi_process("run", recipe, "--out", out, "--workers", 2)
        wanted = len(finished) + rng.randrange(1, 4)
        while process.poll() is None and len(commits(out)) < wanted:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        standing = commits(out)
        joined = {path.parent for path in out.glob("*.partial/summary.json")}  # what they hold may go now
        kept = {path: file for path, file in finished.items() if path.parents[2].exists()}
        kept = {path: file for path, file in kept.items() if path.parents[3] not in joined}
        assert {path: standing.get(path) for path in kept} == kept
        n_kept += len(kept)
        finished = standing
    assert killed
    assert n_kept
    done = finish(phi_process("run", recipe, "--out", out, "--workers", 2))
    assert done.returncode == 0, done.stderr
    assert tree_hashes(out) == tree_hashes(whole)
    assert not [path for path in out.rglob("*") if "shards-" in path.name or path.name.endswith((".partial", ".tmp"))]


def commits(out: Path) -> dict[Path, tuple[int, int]]:
    """The commit of each finished shard, by which file it is: redone, it would be another."""
    found = {}
    for path in out.glob("*.partial/shards-*/*/[!.]*/commit.json"):
        with contextlib.suppress(FileNotFoundError):  # the stage that it belongs to ends while we look
            about = path.stat()
            found[path] = (about.st_ino, about.st_mtime_ns)
    return found


def test_workers_end_with_a_parent_that_is_killed(world, tmp_path):
    recipe, _ = world
    process = phi_process("run", recipe, "--out", tmp_path / "run", "--workers", 2)
    while not list((tmp_path / "run").glob("corpus.partial/shards-*/read/[!.]*/commit.json")):
        time.sleep(0.02)
    workers = descendants(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until = time.monotonic() + 20
    while (left := [pid for pid in workers if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    assert workers
    assert not left


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [inner for child in children for inner in descendants(child)]


def test_partitions_change_nothing_and_shards_only_where_the_work_is_cut(world, tmp_path, monkeypatch):
    recipe, whole = world
    loaded = load_recipe(str(recipe)).recipe
    monkeypatch.setattr(likeness, "PARTITION", 20)
    run(loaded, tmp_path / "partitions", until="corpus")
    assert tree_hashes(tmp_path / "partitions")["corpus"] == tree_hashes(whole)["corpus"]
    monkeypatch.setattr(reading, "SHARD_BYTES", 5_000)
    run(loaded, tmp_path / "cut", until="corpus")
    kept = [list(read_records(out / "corpus" / "documents.jsonl.zst", Document)) for out in (tmp_path / "cut", whole)]
    assert kept[0] == kept[1]
    assert (tmp_path / "cut/corpus/dropped.json").read_bytes() == (whole / "corpus/dropped.json").read_bytes()
    assert len(json.loads((tmp_path / "cut/corpus/parts.json").read_text())["sizes"]) > 20


def test_kept_and_dropped_are_what_was_read_at_every_step_in_every_record(world):
    _, whole = world
    folder = whole / "corpus"
    kept = list(read_records(folder / "documents.jsonl.zst", Document))
    gone = list(read_records(folder / "decisions.jsonl.zst", Decision))
    scored = list(read_records(folder / "scores.jsonl.zst", Scores))
    report = json.loads((folder / "dropped.json").read_text())
    assert len(kept) + len(gone) == report["read"]["documents"]
    assert len({one.id for one in kept} | {one.id for one in gone}) == report["read"]["documents"]
    assert sum(one.bytes for one in gone) == report["dropped"]["bytes"]
    assert report["kept"]["bytes"] + report["dropped"]["bytes"] == report["read"]["bytes"]
    inside = report["read"]
    for step in report["steps"]:
        mine = [one for one in gone if one.step == step["step"]]
        assert step["read"] == inside
        assert step["dropped"] == {"documents": len(mine), "bytes": sum(one.bytes for one in mine)}
        assert {unit: step["kept"][unit] + step["dropped"][unit] for unit in inside} == inside
        inside = step["kept"]
    assert inside == report["kept"]
    assert {one.step for one in gone} >= {"read", "rules", "exact", "near"}
    assert {one.id for one in scored if one.dropped} == {one.id for one in gone if one.step == "rules"}
    for source, counts in report["sources"].items():
        mine = [one for one in gone if one.source == source]
        n_kept = sum(one.source == source for one in kept)
        assert counts["read"]["documents"] == len(mine) + n_kept


@pytest.mark.parity
def test_ray_gives_the_same_corpus_on_two_nodes_of_which_one_is_killed(world, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra: ray)")
    from ray.cluster_utils import Cluster

    recipe, _ = world
    loaded, out = load_recipe(str(recipe)).recipe, tmp_path / "ray"
    monkeypatch.setattr(reading, "SHARD_BYTES", 5_000)
    run(loaded, tmp_path / "local", until="corpus")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(
        address=cluster.address,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )
    left: list[int] = []

    def kill_amid_the_work():
        while len(commits(out)) < 3:
            time.sleep(0.02)
        cluster.remove_node(other, allow_graceful=False)
        left.append(len(commits(out)))

    killer = threading.Thread(target=kill_amid_the_work, daemon=True)
    killer.start()
    try:
        run(loaded, out, until="corpus", crew=Crew(engine="ray"))
        killer.join(60)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert left[0] < 40
    assert tree_hashes(out)["corpus"] == tree_hashes(tmp_path / "local")["corpus"]
