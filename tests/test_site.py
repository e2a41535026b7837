"""The documentation as pages: every link leads somewhere, and the build says which does not."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "docs"))

from site_pages import Site

PARTS = {"All": ["README.md", "docs/*.md"]}


def project(root: Path, readme: str, **docs: str) -> Path:
    (root / "docs").mkdir()
    (root / "README.md").write_text(readme, encoding="utf-8")
    (root / "code.py").write_text("x = 1 < 2\n", encoding="utf-8")
    for name, text in docs.items():
        (root / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    return root


def test_a_link_to_a_page_a_heading_and_a_source_file_leads_there(tmp_path: Path) -> None:
    root = project(
        tmp_path, "# Home\n[a](docs/a.md#two-words) [b](code.py)", a="# A\n## Two *words*\n[home](../README.md)"
    )
    Site(root, PARTS).write(tmp_path / "out")
    home = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert 'href="a.html#two-words"' in home
    assert 'href="source/code.py.html"' in home
    assert 'id="two-words"' in (tmp_path / "out/a.html").read_text(encoding="utf-8")
    assert "x = 1 &lt; 2" in (tmp_path / "out/source/code.py.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("link", "fault"),
    [("docs/b.md", "no file"), ("docs/a.md#three", "no heading"), ("../outside.md", "no file"), ("b.png", "no file")],
)
def test_a_link_that_leads_nowhere_ends_the_build_with_its_name(tmp_path: Path, link: str, fault: str) -> None:
    root = project(tmp_path, f"# Home\n[x]({link})", a="# A")
    with pytest.raises(SystemExit, match=f"README.md: {link} leads to {fault}"):
        Site(root, PARTS).write(tmp_path / "out")


def test_a_page_that_no_part_lists_ends_the_build(tmp_path: Path) -> None:
    root = project(tmp_path, "# Home", a="# A")
    with pytest.raises(SystemExit, match=r"docs/a\.md: no part"):
        Site(root, {"All": ["README.md"]}).write(tmp_path / "out")


def test_every_link_of_the_documentation_leads_somewhere(tmp_path: Path) -> None:
    Site().write(tmp_path)
