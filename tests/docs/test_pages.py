"""What holds of every page: nothing is left out unseen, and each link has its end."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import GENERATED, ROOT, RUN, SHOWN, Page, pages
from tests.docs.promises import unwatched

FOLDER = Path(__file__).parent
PAGES = {page.name: page for page in pages()}
DECISIONS = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
_COMMAND = re.compile(r"^(?:\$ )?(?:salience|curl|python|make|export|docker|systemctl|sudo|pip) ", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_what_is_not_run_says_why(page: Page) -> None:
    for block in page.blocks:
        place = f"{page.name}:{block.line}"
        assert block.kind in RUN + SHOWN, f"{place}: {block.kind}"
        if block.kind in ("", "text"):
            assert not _COMMAND.search(block.content), f"{place}: commands stand in a fence of sh"
        for witness in re.findall(r"tests/[\w/]+(?:\.py)?", block.reason or ""):
            assert (ROOT / witness).exists(), f"{place}: {witness}"
        if block.kind == "json":
            json.loads(block.content)
        if block.kind == "toml":
            tomllib.loads(block.content)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_what_is_said_of_the_order_of_hits_is_checked(page: Page) -> None:
    assert [command for block in page.blocks for command in unwatched(block.content)] == []


def test_every_page_with_something_to_run_is_run() -> None:
    """A file for each heavy page, so that they are spread over the processes of a test run."""
    run = {name for file in FOLDER.glob("test_*.py") for name in re.findall(r'run_page\("(.+?)"\)', file.read_text())}
    assert run == {name for name, page in PAGES.items() if page.to_run}


@pytest.mark.parametrize("name", PAGES)
def test_no_command_hides_in_an_indented_block(name: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert "\n    salience " not in text
    assert not re.search(r"^\s+```", text, re.MULTILINE)


@pytest.mark.parametrize("name", [*PAGES, *(f"docs/{name}" for name in GENERATED), *DECISIONS, "CHANGELOG.md"])
def test_links_have_their_ends(name: str) -> None:
    file = ROOT / name
    text = file.read_text(encoding="utf-8")
    for target in _LINK.findall(re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        end = (file.parent / path).resolve() if path else file
        assert end.exists(), f"{name} links to {target}"
        if anchor and end.suffix == ".md":
            assert anchor in anchors(end), f"{name} links to {target}"


@pytest.mark.parametrize("name", [name for name in DECISIONS if not name.endswith("README.md")])
def test_a_decision_has_its_number_a_status_and_a_line_in_the_index(name: str) -> None:
    file = ROOT / name
    lines = file.read_text(encoding="utf-8").splitlines()
    number, title = file.name[:4], lines[0].partition(": ")[2]
    assert lines[0] == f"# {number}: {title}"
    status = re.match(r"Status: (accepted\.|accepted; superseded in part by \[\d{4}\]\(.+\): .*)$", lines[2])
    assert status, lines[2]
    index = (file.parent / "README.md").read_text(encoding="utf-8")
    [row] = re.findall(rf"^\| {number} \| \[(.+)\]\({re.escape(file.name)}\) \| .+ \| (.+) \|$", index, re.MULTILINE)
    assert row == (title, "superseded in part" if "superseded" in status[1] else "accepted")


def anchors(file: Path) -> set[str]:
    """Of the headings, as they are made on the pages of repositories."""
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
