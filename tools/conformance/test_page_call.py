"""The page of `clients/web/` in Chromium, with a real call between two daemons under it."""

import sys
import time

import pytest

from conftest import ROOT
from ptk import MAGIC

sys.path.insert(0, str(ROOT / "clients/web/tests"))

from browser import Browser, find  # noqa: E402
from pair import Pair, wait  # noqa: E402


@pytest.fixture(scope="module")
def pair(clip):
    with Pair(clip[0]) as made:
        yield made


@pytest.fixture(scope="module")
def browser(pair):
    if find() is None:
        pytest.fail("there is no Chromium; `cargo xtask setup` installs it", pytrace=False)
    with Browser() as made:
        made.open(pair.near.page)
        made.wait("document.getElementById('link').dataset.state === 'connected' && document.getElementById('foot').textContent")
        yield made


def figure(browser, selector):
    """The number at the beginning of a text."""
    return float(browser.text(selector).split()[0])


def said_depths(browser, seconds=1):
    """How many codes the frames have that are said now, as the daemon tells."""
    return browser.evaluate(
        f"""new Promise((done) => {{
          const depths = new Set();
          const socket = new WebSocket("/api/v1/events?live=true");
          socket.onmessage = (event) => {{
            const message = JSON.parse(event.data);
            if (message.type !== "live") return;
            for (const call of message.calls) for (const frame of call.said) if (!frame.silent) depths.add(frame.codes.length);
          }};
          setTimeout(() => {{ socket.close(); done([...depths]); }}, {seconds * 1000});
        }})"""
    )


def test_a_call_from_the_page_and_all_it_shows(browser, pair, tmp_path):
    # The token came by the address, and is gone from it.
    assert "token" not in browser.evaluate("location.href")
    assert browser.shown("#empty")

    browser.type("#dial-peer", pair.address)
    browser.press("Enter")
    browser.wait("document.querySelector('#call').dataset.state === 'active' && document.querySelector('#scope').checkVisibility()", 30)
    assert pair.far.ask("GET", "/calls")[0]["state"] == "active"

    # It moves, and what it shows is speech.
    for canvas in ("#spectrogram", "#lattice", "#lattice-said"):
        before = browser.pixels(canvas)["digest"]
        wait(lambda: browser.pixels(canvas)["digest"] != before, f"{canvas} moves")
    wait(lambda: browser.pixels("#lattice")["colours"] > 30, "many codes")
    wait(lambda: browser.pixels("#spectrogram")["colours"] > 30, "many levels")
    browser.wait("parseFloat(document.querySelector('#bitrate .sum strong').textContent) > 0.5")
    parts = browser.evaluate("[...document.querySelectorAll('#bitrate .parts dd')].map((value) => parseFloat(value.textContent))")
    assert len(parts) == 4 and parts[0] > 0 and parts[3] > 0
    assert sum(parts) == pytest.approx(figure(browser, "#bitrate .sum strong"), abs=0.2)
    browser.wait("parseFloat(document.querySelector('#delay .sum strong').textContent) > 20")
    # One packet in ten is lost: something else than whole frames must be marked.
    browser.wait("/coarse|predicted|faded/.test(document.querySelector('#marks').getAttribute('aria-label'))", 30)

    # Fewer codes in each frame, as the slider says.
    call = pair.near.ask("GET", "/calls")[0]
    depth = call["settings"]["depth"]
    assert depth > 3
    browser.slide("#depth", "ArrowLeft", depth - 3)
    wait(lambda: pair.near.ask("GET", f"/calls/{call['id']}")["settings"]["depth"] == 3, "the depth is set")
    wait(lambda: (found := said_depths(browser)) and max(found) <= 3, "frames of three codes")

    browser.click("#mute")
    browser.wait("document.querySelector('#mute').getAttribute('aria-pressed') === 'true'")
    assert pair.near.ask("GET", "/audio")["muted"]
    browser.click("#mute")
    browser.wait("document.querySelector('#mute').getAttribute('aria-pressed') === 'false'")

    # Three seconds of both.
    browser.click("#record")
    browser.wait("document.querySelector('#recordings .running') !== null")
    time.sleep(3.2)
    browser.click("#record")
    browser.wait("document.querySelector('#recordings button')?.checkVisibility()")
    browser.click("#recordings button")
    browser.wait("document.querySelector('#audio').readyState >= 2 && document.querySelector('#audio').duration > 2", 30)
    browser.wait("document.querySelector('#audio').currentTime > 0.2")
    browser.downloads(tmp_path)
    browser.click("#recordings a[download$='.ptk']")
    tokens = wait(lambda: next(tmp_path.glob("*.ptk"), None), "the tokens are downloaded")
    assert tokens.read_bytes().startswith(MAGIC)
    browser.click("#recordings a[download$='.wav']")
    sound = wait(lambda: next(tmp_path.glob("*.wav"), None), "the sound is downloaded")
    assert sound.read_bytes()[:4] == b"RIFF" and sound.stat().st_size > 2 * 2 * 16000

    browser.click("#hold")
    browser.wait("document.querySelector('#elapsed').textContent && document.querySelector('#hold').getAttribute('aria-pressed') === 'true'")
    wait(lambda: pair.far.ask("GET", "/calls")[0]["held_by_peer"], "the other side is told of the hold")
    browser.click("#hold")
    wait(lambda: not pair.far.ask("GET", "/calls")[0]["held_by_peer"], "and of its end")

    browser.click("#end")
    browser.wait("document.querySelector('#call').dataset.state === 'ended'")
    wait(lambda: pair.far.ask("GET", "/calls")[-1]["state"] == "ended", "the other side hears of the end")
    assert browser.complaints() == []


def test_somebody_rings_and_is_answered_in_the_page(browser, pair):
    pair.far.ask("POST", "/calls", {"peer": pair.near.address})
    browser.wait("document.title.includes('is calling')", 30)
    browser.press("a")
    browser.wait("document.querySelector('#call').dataset.state === 'active'", 30)
    wait(lambda: pair.far.ask("GET", "/calls")[-1]["state"] == "active", "the caller is through")
    browser.press("e")
    wait(lambda: pair.far.ask("GET", "/calls")[-1]["state"] == "ended", "the caller hears of the end")
    assert browser.complaints() == []


def test_the_policy_of_the_page_forbids_what_it_must(browser):
    """The page keeps to the server's Content-Security-Policy because there is one."""
    browser.evaluate("(() => { const script = document.createElement('script'); script.textContent = 'window.broken = true'; document.head.append(script); })()")
    assert browser.evaluate("window.broken ?? null") is None
    assert any("Content Security Policy" in each for each in browser.complaints())
