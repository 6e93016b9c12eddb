"""The package says nothing to the world, and leaves nothing on the disk: watched in a network that notes everything."""

import sys

import pytest

import quiet

# Longer than the library waits (8 to 9 s) before it reports.
SECONDS = 20

USE = """
import sys, time
import numpy as np
{imports}
import parlo

codec = parlo.Codec()
codes = codec.encode(0.1 * np.sin(np.arange(16000) / 10), 16000)
assert codec.decode(codes).shape == (1, 1, 16000)
codec.encoder().push(np.zeros(3200))
print("used")
time.sleep(600)
"""


def test_the_package_says_nothing_to_the_world_and_leaves_nothing(tmp_path):
    command, why_not = quiet.namespaces()
    if command is None:
        pytest.skip(f"what programs say to the world cannot be watched here: {why_not}")
    scripts = {
        "alone": USE.format(imports=""),
        # A script's own environment, and one that says the opposite.
        "refused": USE.format(imports="import os; os.environ['ORT_DISABLE_TELEMETRY'] = '0'"),
        "threads": USE.format(imports="import threading; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"),
    }
    programs = [{"name": name, "command": [sys.executable, "-B", "-u", "-c", script]} for name, script in scripts.items()]
    seen = quiet.watch(command, tmp_path, programs, SECONDS)
    for name, ended in seen["ended"].items():
        assert "used" in ended["output"], ended
        assert ended["files"] == [], name
    assert seen["lookups"] == [] and seen["sockets"] == []
    assert set(seen["counters"].values()) == {0}, seen["counters"]


def test_without_the_switch_no_model_is_run(python):
    said = python(
        "import os, parlo\n"
        "os.environ['ORT_DISABLE_TELEMETRY'] = '0'\n"
        "try:\n    parlo.Codec().encode([0.0] * 320, 16000)\n"
        "except parlo.BundleError as error:\n    print(error)"
    )
    assert "ORT_DISABLE_TELEMETRY" in said
