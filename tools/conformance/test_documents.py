"""Documents lead where they say: every link between them, and every document that a source names."""

import re
import subprocess
from functools import cache

import pytest

from conftest import ROOT

LINK = re.compile(r"\]\(([^()\s]+)\)")
NAMED = re.compile(r"\bdocs/[\w./-]+\.(?:md|lua|csv|svg|dot)\b")


@cache
def tracked(*patterns):
    """The repository's files, those that are not committed yet as well."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in listed if not name.startswith("third_party/") and (ROOT / name).is_file()]


def text(page):
    """A page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)


@cache
def anchors(page):
    """What can stand behind `#` in a link to this page: its headings, as GitHub names them."""
    found, seen = set(), {}
    for heading in re.findall(r"^#+ +(.*?) *$", text(page), re.M):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[name] = seen.get(name, -1) + 1
        found.add(name if seen[name] == 0 else f"{name}-{seen[name]}")
    return found


def test_every_link_between_documents_leads_somewhere():
    broken = []
    for page in tracked("*.md"):
        for link in LINK.findall(re.sub(r"`[^`\n]*`", "", text(page))):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                broken.append(f"{page.relative_to(ROOT)}: {link}")
            elif anchor and anchor not in anchors(target):
                broken.append(f"{page.relative_to(ROOT)}: {link} (no such heading)")
    assert not broken, "\n".join(broken)


def test_every_document_that_a_source_names_is_there():
    broken = []
    for source in tracked("*.rs", "*.py", "*.toml", "*.js", "*.md"):
        for name in NAMED.findall(source.read_text()):
            if not (ROOT / name).exists():
                broken.append(f"{source.relative_to(ROOT)}: {name}")
    assert not broken, "\n".join(broken)


def test_every_document_is_in_the_index():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    lost = [str(page.relative_to(ROOT)) for page in tracked("docs/*.md") if page != index and page not in linked]
    assert not lost, lost
