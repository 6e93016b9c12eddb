"""Makes the package importable without an installation, and what the tests share.

Loads with pytest alone: tests skip themselves where a package that they need is missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

# Before any test loads ONNX Runtime, which reports to its vendor otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

try:
    import torch
except ModuleNotFoundError:
    pass
else:
    # sums in one order, whatever the machine: results are compared bit by bit
    torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Declares what marks there are."""
    config.addinivalue_line("markers", "slow: takes seconds (leave out with -m 'not slow')")


@pytest.fixture(scope="session")
def clip_cache(tmp_path_factory) -> Path:
    """A cache of the clip that ships, at 16 kHz, made by `prepare` itself."""
    for package in ("soundfile", "soxr", "tqdm", "pyworld"):
        pytest.importorskip(package)
    from parlo_training import prepare
    from support import CLIP, options

    cache = tmp_path_factory.mktemp("clip") / "cache"
    assert prepare.run(options(prepare, CLIP.parent, "--cache", cache, "--jobs", 1)) == 0
    return cache
