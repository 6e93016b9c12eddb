"""Every example of the page runs."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_every_block_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = README.read_text()
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.S))
    assert len(blocks) >= 6
    names = {}
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        # Blank lines before it, so that what is reported has the page's own line.
        code = compile("\n" * line + block[1], str(README), "exec")
        exec(code, names)
    assert "TokenFile('second.ptk'" in capsys.readouterr().out


def test_the_readme_names_the_maturin_that_is_pinned():
    folder = README.parent
    (pinned,) = set(re.findall(r"maturin==([\d.]+)", (folder / "pyproject.toml").read_text()))
    assert set(re.findall(r"maturin==([\d.]+)", README.read_text())) == {pinned}
    assert f"maturin=={pinned} \\\n" in (folder / "requirements-test.txt").read_text()
