"""How fast Ray encodes a corpus, with one worker and with two, on one machine.

    python ray_speedup.py --speech FOLDER --report FILE

Each round encodes the same recordings with one worker and with two; times run from the first recording's begin to the last
one's end, so without the start of Ray and of the workers. On a machine that does other things as well, `speedup_by_core_time`
says more: how much slower a worker is, in processor time, for having another beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import parlo.ray
import ray
import soundfile


def measure(speech: Path, minutes: float, rounds: int) -> dict[str, Any]:
    """The figures, as the report has them: see `docs/python.md`."""
    paths, seconds = [], 0.0
    for path in sorted(path for path in speech.rglob("*") if path.suffix.lower() in parlo.ray.SOUND):
        paths.append(path)
        seconds += soundfile.info(path).duration
        if seconds >= 60 * minutes:
            break
    if len(paths) < 4:
        sys.exit(f"{speech} holds {len(paths)} recordings: two workers need some to share")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    wall: dict[int, list[float]] = {1: [], 2: []}
    core: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers in wall:
            with tempfile.TemporaryDirectory() as out:
                summary = parlo.ray.encode(paths, out, concurrency=workers, batch=4)
            if summary.failed:
                sys.exit(f"{len(summary.failed)} recordings failed: {next(iter(summary.failed.items()))}")
            wall[workers].append(summary.audio_seconds / summary.work_seconds)
            core[workers].append(summary.x_real_time_per_core)
    ray.shutdown()
    pairs = list(zip(wall[1], wall[2], strict=True))
    return {
        "ray_speedup_2_workers": statistics.median(two / one for one, two in pairs),
        "x_real_time_1_worker": statistics.median(wall[1]),
        "x_real_time_2_workers": statistics.median(wall[2]),
        "x_real_time_per_core_1_worker": statistics.median(core[1]),
        "x_real_time_per_core_2_workers": statistics.median(core[2]),
        "speedup_by_core_time": 2 * statistics.median(core[2]) / statistics.median(core[1]),
        "speedups": [two / one for one, two in pairs],
        "audio_minutes": seconds / 60,
        "recordings": len(paths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True, help="folder of recordings, at any depth")
    parser.add_argument("--report", type=Path, required=True, help="where the figures go, as JSON")
    parser.add_argument("--minutes", type=float, default=10, help="of speech, at most")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.speech, options.minutes, options.rounds)
    options.report.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
