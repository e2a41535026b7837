import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from scale_world import contents, plan, squares

from phidelity.config import UserError
from phidelity.data.scale import Crew, PartDone, do, done, read_plan, run_all, run_part, write_plan

HERE = Path(__file__).parent


@pytest.fixture
def whole(tmp_path):
    """What the work gives when nothing goes wrong."""
    log = tmp_path / "log"
    write_plan(tmp_path / "whole", plan(log))
    run_all(squares, tmp_path / "whole")
    log.unlink()
    return contents(tmp_path / "whole")


def test_processes_and_array_tasks_give_the_same_bytes_as_one(tmp_path, whole):
    write_plan(tmp_path / "two", plan(tmp_path / "log"))
    commits = run_all(squares, tmp_path / "two", Crew(n_workers=2))
    assert contents(tmp_path / "two") == whole
    assert sum(commit["counts"]["numbers"] for commit in commits.values()) == 60
    write_plan(tmp_path / "array", plan(tmp_path / "log"))
    told = []
    for part in (3, 1, 0):
        with pytest.raises(PartDone) as caught:
            run_all(squares, tmp_path / "array", Crew(part=part, n_parts=4))
        told.append((caught.value.n_done, caught.value.n_left))
    assert told == [(1, 5), (2, 3), (2, 1)]
    assert list(run_all(squares, tmp_path / "array", Crew(part=2, n_parts=4))) == list(plan(""))
    assert contents(tmp_path / "array") == whole


def test_a_killed_run_goes_on_without_redoing_a_finished_shard(tmp_path, whole):
    folder, log = tmp_path / "killed", tmp_path / "log"
    write_plan(folder, plan(log, delay=0.3))
    program = (
        "from pathlib import Path; from scale_world import squares; from phidelity.data.scale import run_part;"
        f"run_part(squares, Path({str(folder)!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    child = subprocess.Popen([sys.executable, "-c", program], env=environment)
    while not (folder / "part-1").exists():
        time.sleep(0.02)
    time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    finished = [name for name in read_plan(folder) if done(folder, name)]
    before = log.read_text().split()
    assert 2 <= len(finished) < 6
    assert run_part(squares, folder) == 6 - len(finished)
    assert log.read_text().split() == before + [str(10 * k) for k in range(len(finished), 6)]
    left_behind = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert len(left_behind) == 1
    wanted = {name: data for name, data in whole.items() if name != "plan.json"}
    assert {k: v for k, v in contents(folder).items() if not k.startswith((".", "plan"))} == wanted


def test_two_workers_on_one_shard_do_no_harm(tmp_path):
    argument = {"first": 0, "log": str(tmp_path / "log")}
    assert do(squares, tmp_path, "one", argument)
    assert not do(squares, tmp_path, "one", argument)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_work_that_fails_leaves_nothing_and_is_told(tmp_path):
    write_plan(tmp_path, {"one": {}})
    with pytest.raises(KeyError):
        run_all(squares, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]


def test_a_damaged_shard_a_foreign_plan_and_a_wrong_part_are_refused(tmp_path):
    write_plan(tmp_path / "p", plan(tmp_path / "log", 1))
    run_all(squares, tmp_path / "p")
    with pytest.raises(UserError, match="other shards"):
        write_plan(tmp_path / "p", plan(tmp_path / "log", 2))
    with pytest.raises(UserError, match="Part 3 of 2"):
        run_part(squares, tmp_path / "p", 3, 2)
    with pytest.raises(UserError, match=r"No plan\.json"):
        run_part(squares, tmp_path / "nowhere")
    (tmp_path / "p" / "part-0" / "squares.txt").write_text("cut")
    with pytest.raises(UserError, match=r"damaged \(squares\.txt\)"):
        run_all(squares, tmp_path / "p")


@pytest.mark.parity
def test_ray_gives_the_same_bytes_on_two_nodes_of_which_one_is_killed(tmp_path, whole):
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra: ray)")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(HERE)}})
    folder = tmp_path / "ray"
    write_plan(folder, plan(tmp_path / "log", delay=1.0))
    left = []

    def kill_amid_the_work():
        while not any(done(folder, name) for name in read_plan(folder)):
            time.sleep(0.05)
        left.extend(name for name in read_plan(folder) if not done(folder, name))
        cluster.remove_node(other, allow_graceful=False)

    killer = threading.Thread(target=kill_amid_the_work, daemon=True)
    killer.start()
    try:
        run_all(squares, folder, Crew(engine="ray"))
        killer.join(60)
        assert len(left) >= 2
        until = time.monotonic() + 60
        while sum(node["Alive"] for node in ray.nodes()) > 1 and time.monotonic() < until:
            time.sleep(0.2)
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
    found = {k: v for k, v in contents(folder).items() if not k.startswith((".", "plan"))}
    assert found == {name: data for name, data in whole.items() if name != "plan.json"}


@pytest.mark.parametrize("at_once", [True, False])
def test_ctrl_c_ends_busy_and_idle_workers_without_a_word_of_theirs(tmp_path, at_once):
    tasks = plan(tmp_path / "log", 2)
    tasks["part-0"]["delay"] = 5
    write_plan(tmp_path / "stopped", tasks)
    program = (
        "from pathlib import Path; from scale_world import squares; from phidelity.data.scale import Crew, run_all\n"
        "try:\n"
        f"    print('go', flush=True); run_all(squares, Path({str(tmp_path / 'stopped')!r}), Crew(n_workers=2))\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', flush=True)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdout
    assert child.stdout.readline() == "go\n"
    until = time.monotonic() + 20
    while not at_once and not (tmp_path / "stopped" / "part-1").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.1)
    os.killpg(child.pid, signal.SIGINT)
    said, wrong = child.communicate(timeout=20)
    assert (said, wrong) == ("stopped\n", "")
