"""Every code block of docs/python.md runs, in order, in a folder that holds the clip."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from speech import CLIP

PAGE = Path(__file__).parents[3] / "docs" / "python.md"


@dataclass
class Block:
    line: int
    code: str
    needs: list[str]


def blocks() -> list[Block]:
    """The blocks with what the comment before says they need. Soundfile reads the clip, so all need it."""
    found, lines = [], PAGE.read_text("utf-8").splitlines()
    inside = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if inside is None:
            assert line == "```python", f"{PAGE.name}:{number + 1}: a block that no test runs: {line}"
            needs = re.fullmatch(r"<!-- needs: ([\w ]+) -->", lines[number - 1])
            inside = Block(number + 1, "", ["soundfile", *(needs[1].split() if needs else [])])
        else:
            inside.code = "\n".join(lines[inside.line : number])
            found.append(inside)
            inside = None
    assert inside is None and found
    return found


def is_there(need: str) -> bool:
    """A package; or a daemon with a call, whose number the tests' surroundings give."""
    return "PARLO_TEST_CALL" in os.environ if need == "daemon" else find_spec(need) is not None


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the blocks before have named; they run in a folder of their own."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("docs")
    shutil.copy(CLIP, folder)
    os.chdir(folder)
    os.environ.setdefault("HF_DATASETS_CACHE", str(folder / "cache"))
    yield {"__name__": "docs", "call": os.environ.get("PARLO_TEST_CALL")}
    os.chdir(before)


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"line-{block.line}")
def test_block(block, names):
    if lacking := [need for need in block.needs if not is_there(need)]:
        pytest.skip(f"needs {', '.join(lacking)}")
    # Lines count as in the page, for whoever reads a failure.
    exec(compile("\n" * block.line + block.code, str(PAGE), "exec"), names)  # noqa: S102


def test_what_is_marked_is_used():
    """Blocks without a mark import nothing that may be missing."""
    optional = {"torch", "ray", "datasets", "lhotse", "pyarrow", "safetensors", "webdataset"}
    for block in blocks():
        imported = set(re.findall(r"^(?:import|from) (\w+)", block.code, re.MULTILINE))
        assert imported & optional <= set(block.needs), f"line {block.line}"
