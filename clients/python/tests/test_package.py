"""The package as it was installed: what it carries, where it looks, and what it says where something is missing."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import parlo
from conftest import ROOT

# Whoever runs the tests may have named others.
NOTHING_NAMED = {"PARLO_BUNDLE": None, "ORT_DYLIB_PATH": None, "XDG_DATA_HOME": os.devnull, "HOME": os.devnull}
INSTALLED = Path(parlo.__file__).parent


def test_it_is_the_installed_one_and_whole():
    assert not INSTALLED.is_relative_to(ROOT / "clients"), "the sources are tested, not the wheel"
    assert parlo.__version__ == metadata.version("parlo-voice")
    assert (INSTALLED / "py.typed").is_file() and (INSTALLED / "_native.pyi").is_file()
    for bundle in (ROOT / "model/bundles").iterdir():
        for file in bundle.iterdir():
            carried = INSTALLED / "bundles" / bundle.name / file.name
            assert carried.is_file() and carried.read_bytes() == file.read_bytes(), carried


def test_what_it_needs_is_there():
    command = [sys.executable, "-m", "pip", "check"]
    if subprocess.run([*command[:3], "--version"], capture_output=True).returncode != 0:
        pytest.skip("there is no pip in this environment")
    assert "parlo-voice " not in subprocess.run(command, capture_output=True, text=True).stdout


def test_it_works_at_once_with_nothing_named(python):
    said = python("import parlo; codec = parlo.Codec(); print(codec.folder); print(codec._native.library)", **NOTHING_NAMED)
    folder, library = said.split()
    assert folder == str(INSTALLED / "bundles/parlo-16k")
    assert Path(library).parent.name == "capi" and "onnxruntime" in Path(library).name


def test_the_runtime_that_is_pinned_is_one_that_is_asked_for():
    requirements = (ROOT / "clients/python/requirements.txt").read_text()
    (pinned,) = re.findall(r"^onnxruntime==(\d+)\.(\d+)", requirements, re.M)
    (wanted,) = [line for line in metadata.requires("parlo-voice") if line.startswith("onnxruntime")]
    assert set(wanted.removeprefix("onnxruntime").split(",")) == {">=1.29", "<2"}
    assert (1, 29) <= tuple(map(int, pinned)) < (2, 0)


def test_what_is_named_to_be_installed_is_what_brings_it():
    """The distribution is on no index, and a stranger owns a name like it: no text may tell people to fetch it from there."""
    extras = {line.split(";")[0].strip() for line in metadata.requires("parlo-voice")}
    told = set()
    for path in (INSTALLED.parent / "parlo").rglob("*.py"):
        told |= set(re.findall(r'need\("[\w.]+", "([^"]+)", "', path.read_text()))
        told |= set(re.findall(r"pip install '([^'{]+)'", path.read_text()))
    # `datasets` is a library of its own name, and no requirement of any extra.
    assert told and told - {"datasets"} <= extras, (told, extras)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    texts = [ROOT / name for name in listed.stdout.decode().split("\0")[:-1] if name.endswith((".md", ".py", ".rs", ".toml"))]
    for path in texts:
        for named in re.findall(r"pip3? install [^`\n]*?\b(parlo[^\s`]*)", path.read_text()) if path.is_file() else ():
            assert ".whl" in named, f"{path.relative_to(ROOT)}: pip install {named}"


def test_nothing_is_imported_that_nobody_asked_for(python):
    script = (
        "import sys, parlo; parlo.Codec();"
        "print(*({'torch', 'onnxruntime', 'websockets', 'pyarrow', 'ray', 'safetensors', 'asyncio'} & set(sys.modules)))"
    )
    assert python(script, **NOTHING_NAMED).split() == []


def failure(python, use, **variables):
    """What is said as this fails with a BundleError."""
    script = f"import parlo\ntry:\n    {use}\nexcept parlo.BundleError as error:\n    print(error)\nelse:\n    raise SystemExit(1)"
    return python(script, **{**NOTHING_NAMED, **variables})


def test_a_bundle_that_is_not_here(python, tmp_path):
    said = failure(python, "parlo.Codec('parlo-99k')")
    assert '"parlo-99k"' in said and str(INSTALLED / "bundles/parlo-99k") in said and "PARLO_BUNDLE" in said
    assert "parlo-98k" in failure(python, "parlo.Codec()", PARLO_BUNDLE="parlo-98k")
    assert str(tmp_path / "nowhere/manifest.toml") in failure(python, f"parlo.Codec({str(tmp_path / 'nowhere')!r})")
    assert str(tmp_path) in failure(python, "parlo.Codec('x')", XDG_DATA_HOME=str(tmp_path))


def test_the_users_own_bundle_comes_first(codec, python, tmp_path):
    own = tmp_path / "parlo/bundles/parlo-16k"
    shutil.copytree(codec.folder, own)
    (own / "manifest.toml").write_text((own / "manifest.toml").read_text() + "# mine\n")
    variables = {**NOTHING_NAMED, "XDG_DATA_HOME": str(tmp_path)}
    assert python("import parlo; print(parlo.Codec().folder)", **variables).strip() == str(own)
    named = {**variables, "PARLO_BUNDLE": str(codec.folder)}
    assert python("import parlo; print(parlo.Codec().folder)", **named).strip() == str(codec.folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", "codebooks.safetensors", "manifest.toml"])
def test_a_damaged_bundle_is_refused(codec, tmp_path, name):
    shutil.copytree(codec.folder, tmp_path / "bundle")
    damaged = bytearray((tmp_path / "bundle" / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "bundle" / name).write_bytes(damaged)
    # Of a manifest whose harm is in a tensor's name, the graph is named that has another.
    with pytest.raises(parlo.BundleError, match=f"{name}|by the manifest"):
        other = parlo.Codec(tmp_path / "bundle")
        # Where only a word of the description differs, it is another bundle, and a good one.
        other.decode(other.encode([0.0] * 1000, 16000))
        assert other.bundle_id != codec.bundle_id
        raise parlo.BundleError(name)


def test_a_runtime_that_is_not_here(python):
    said = failure(python, "parlo.Codec()", ORT_DYLIB_PATH="/nowhere/libonnxruntime.so")
    assert "/nowhere/libonnxruntime.so" in said and "pip install onnxruntime" in said


def test_the_stubs_say_what_there_is(tmp_path):
    pytest.importorskip("mypy")
    environment = {**os.environ, "MYPYPATH": "", "MYPY_CACHE_DIR": str(tmp_path)}
    check = [sys.executable, "-m", "mypy.stubtest", "parlo._native", "--ignore-disjoint-bases"]
    result = subprocess.run(check, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_types_hold(tmp_path):
    pytest.importorskip("mypy")
    modules = ["parlo", "parlo.codec", "parlo.files", "parlo._arrays", "parlo._library"]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path)]
    names = [argument for module in modules for argument in ("-m", module)]
    result = subprocess.run([*command, *names], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
