"""Pictures of the page during a real call, for the README.

    cargo xtask setup && cargo build --workspace --bins
    vendor/python/bin/python clients/web/tests/screenshot.py assets/page

writes `light.webp`, `dark.webp` and `phone.webp` into the folder, each at most 150 KiB. `--mock` takes them with the made-up
daemon: to see a change at once.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from browser import Browser
from mock import Mock
from pair import ROOT, Pair

MOST_BYTES = 150 * 1024
SECONDS = 9


def shot(browser, path):
    """As fine as fits."""
    for quality in (90, 80, 70, 60, 45, 30):
        browser.picture(path, format="webp", quality=quality)
        if path.stat().st_size <= MOST_BYTES:
            print(f"{path}: {path.stat().st_size // 1024} KiB, quality {quality}")
            return
    raise SystemExit(f"{path} does not fit into {MOST_BYTES // 1024} KiB")


def speech(folder):
    """The clip that ships as 16-bit WAV at its own rate."""
    import soundfile

    audio, rate = soundfile.read(ROOT / "assets/speech.flac", dtype="float32")
    path = Path(folder) / "speech.wav"
    soundfile.write(path, audio, rate, subtype="PCM_16")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mock", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        browser = stack.enter_context(Browser(width=1280, height=1080, scale=1))
        if arguments.mock:
            url = Mock().url
        else:
            pair = stack.enter_context(Pair(speech(stack.enter_context(tempfile.TemporaryDirectory()))))
            pair.near.ask("PUT", "/contacts/Ada", {"key": pair.far.ask("GET", "/status")["key"], "address": pair.address})
            pair.near.ask("POST", "/calls", {"peer": "Ada", "depth": 8})
            url = pair.near.page
        browser.prefer(prefers_color_scheme="light")
        browser.open(url)
        browser.wait("document.querySelector('#scope').checkVisibility()", 30)
        time.sleep(SECONDS)
        shot(browser, arguments.folder / "light.webp")
        browser.prefer(prefers_color_scheme="dark")
        time.sleep(0.5)
        shot(browser, arguments.folder / "dark.webp")
        browser.prefer(prefers_color_scheme="light")
        browser.size(390, 844, 2, phone=True)
        time.sleep(1.5)
        shot(browser, arguments.folder / "phone.webp")


if __name__ == "__main__":
    main()
