"""Documents agree with what is there: links and pictures, targets of make, commands and their options."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amodal_perception_ros.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("*.md", "docs/*.md", "demo/*.md", "weights/*.md")
DOCUMENTS = sorted(path for part in PARTS for path in ROOT.glob(part))
FENCED = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.M | re.S)

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code_of(text: str) -> list[str]:
    """Commands of code blocks, one a line with continuations joined, and code in the text."""
    blocks = FENCED.findall(text)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`]+)`", FENCED.sub("", text))
    return [line.split(" #")[0] for line in (*lines, *(" ".join(code.split()) for code in inline))]


def anchors_of(path: Path) -> set[str]:
    """Names under which a page's headings are linked."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def subcommands() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def commands_in(text: str, program: str) -> list[list[str]]:
    """Words after a program's name, where a line of code calls it."""
    calls = (re.search(rf"^(?:[A-Z_]+=\S+ |env/run |\$ )*{program} +(.+)$", line) for line in code_of(text))
    return [re.split(r" \| | && | > ", call[1])[0].split() for call in calls if call]


def test_code_is_found_in_blocks_and_in_the_text() -> None:
    text = "a `make  demo` b\n```bash\nenv/run amodal view x \\\n  --out y   # why\n```\nc `amodal run`"
    assert commands_in(text, "make") == [["demo"]]
    assert commands_in(text, "amodal") == [["view", "x", "--out", "y"], ["run"]]


@each_document
def test_relative_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


@each_document
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for words in commands_in(path.read_text(), "make"):
        named = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        assert set(named) <= targets, words


@each_document
def test_every_amodal_command_and_option_exists(path: Path) -> None:
    commands = subcommands()
    for words in commands_in(path.read_text(), "amodal"):
        if words[0].startswith(("-", "[", "COMMAND", "...")):
            continue
        assert words[0] in commands, words
        options = {word.strip("[]").split("=")[0] for word in words[1:] if re.match(r"\[?--[a-z]", word)}
        assert options <= set(commands[words[0]]._option_string_actions) - {"--help"} | {"--help"}, words


@each_document
def test_every_file_that_is_named_exists(path: Path) -> None:
    """Paths in code that begin with a folder of the checkout and have a file's ending (ROS types have none)."""
    folders = "amodal_perception_ros|bench|config|docs|env|launch|msg|rviz|scripts|test"
    for name in re.findall(rf"`(?:env/run )?(?:python )?((?:{folders})/[\w./-]+\.\w+)[` ]", path.read_text()):
        assert (ROOT / name).exists(), name


@pytest.mark.ros
@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_explains_itself_and_has_its_figures_in_a_document(path: Path) -> None:
    done = subprocess.run([sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"bench/{path.name}" in done.stdout
    assert any(f"bench/{path.name}" in document.read_text() for document in DOCUMENTS)


def test_all_documents_are_looked_at() -> None:
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    listed = {ROOT / line for line in done.stdout.splitlines()}
    assert listed - set(DOCUMENTS) == set()
