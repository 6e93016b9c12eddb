"""`.ci/run` tests the training whole if it has changed since the last commit that passed, as far as a clone can know."""

import os
import shutil
import subprocess

import pytest

from conftest import ROOT


class Clone:
    """A repository with the script, in which `cargo` is a stub that notes what it was asked for."""

    def __init__(self, folder):
        self.folder, self.stub, self.asked = folder / "clone", folder / "bin", folder / "asked"
        self.stub.mkdir()
        (self.stub / "cargo").write_text(f'#!/bin/sh\necho "$@" >>{self.asked}\n[ ! -e {folder}/fail ]\n')
        (self.stub / "cargo").chmod(0o755)
        (self.folder / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci/run", self.folder / ".ci/run")
        (self.folder / ".gitignore").write_text("/target/\n")
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *words):
        who = ("-c", "user.name=ci", "-c", "user.email=ci@localhost", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, file):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + "x" if path.exists() else "x")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", file)
        return self.git("rev-parse", "HEAD")

    def run(self, *words, **variables):
        """Whether the training was tested."""
        self.asked.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if key not in ("CARGO_TARGET_DIR", "PARLO_CI_PASSED")}
        environment |= {"PATH": f"{self.stub}:{environment['PATH']}", **variables}
        self.result = subprocess.run([".ci/run", *words], cwd=self.folder, env=environment, capture_output=True, text=True)
        asked = self.asked.read_text().split()
        assert asked[:2] == ["xtask", "test"], (asked, self.result.stderr)
        return "--with-training" in asked

    def fail(self, fails):
        path = self.asked.with_name("fail")
        path.touch() if fails else path.unlink()


@pytest.fixture
def clone(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    return Clone(tmp_path)


@pytest.mark.parametrize("changed", ["model/training/x.py", "clients/python/src/x.rs"])
def test_a_change_is_tested_until_it_has_passed(clone, changed):
    clone.commit("a")
    clone.commit("b")
    assert not clone.run() and clone.result.returncode == 0
    clone.commit(changed)
    clone.commit("c")
    clone.commit("d")
    clone.fail(True)
    assert clone.run() and clone.result.returncode != 0, "the change is not the last commit's"
    clone.commit("e")
    clone.fail(False)
    assert clone.run(), "it has not passed yet"
    assert not clone.run(), "now it has"
    clone.commit("f")
    assert not clone.run()
    (clone.folder / changed).write_text("not committed")
    assert clone.run()
    assert clone.run(), "what is not committed is noted nowhere"


def test_a_fresh_clone_knows_the_commit_before_and_one_without_it_nothing(clone):
    clone.commit("a")
    assert clone.run(), "no commit before it"
    shutil.rmtree(clone.folder / "target")
    before = clone.commit("b")
    assert not clone.run()
    shutil.rmtree(clone.folder / "target")
    clone.commit("model/training/x.py")
    clone.commit("c")
    assert not clone.run(), "all that it knows"
    shutil.rmtree(clone.folder / "target")
    assert clone.run(PARLO_CI_PASSED=before), "and this is what it is told"


def test_a_commit_that_is_gone_counts_for_nothing(clone):
    clone.commit("a")
    clone.commit("b")
    assert not clone.run()
    (clone.folder / "target/ci-passed").write_text("0123456789012345678901234567890123456789\n")
    clone.commit("model/training/x.py")
    assert clone.run("--packages"), "by the commit before"
    assert "--packages" in clone.asked.read_text()


def test_the_hosted_workflow_runs_the_script_and_tells_it_what_was_before():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert ".ci/run\n" in text and "PARLO_CI_PASSED" in text and "github.event.before" in text
    assert "fetch-depth: 0" in text, "a shallow clone knows no commit before"
