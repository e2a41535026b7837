"""README's section on serving, executed: its curl line and its Python, against a real server."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from server_world import served

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("## Serve it")[1].split("\n## ")[0]
ADDRESS = "http://127.0.0.1:8000"


def block(language: str, url: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    assert found
    assert ADDRESS in found.group(1)
    return found.group(1).replace(ADDRESS, url)


def test_the_readmes_curl_line_and_python_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with served() as running:
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", block("sh", running.url)], capture_output=True, text=True, check=True)
            assert '"finish_reason"' in done.stdout
        code = compile(block("python", running.url), "README.md", "exec")
        namespace: dict[str, object] = {}
        exec(code, namespace)
        namespace["client"].close()  # type: ignore[attr-defined]
        assert capsys.readouterr().out
