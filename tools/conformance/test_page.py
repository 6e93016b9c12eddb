"""The page of `clients/web/` in Chromium, with a made-up daemon behind it: every control, every state."""

import itertools
import json
import sys
import time

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "clients/web/tests"))

from browser import Browser, find  # noqa: E402
from mock import Mock, call, figures, ringing  # noqa: E402

STAGES = ["high_pass", "echo_cancellation", "noise_suppression", "gain_control", "silence"]


@pytest.fixture(scope="module")
def browser():
    if find() is None:
        pytest.fail("there is no Chromium; `cargo xtask setup` installs it", pytrace=False)
    with Browser() as made:
        yield made


class Page:
    """The page, and the made-up daemon that serves it."""

    def __init__(self, browser):
        self.browser = browser
        self.mock = None

    def open(self, calls=None, prepare=lambda mock: None):
        self.mock = Mock(calls=calls)
        prepare(self.mock)
        self.browser.open(self.mock.url)
        self.browser.wait("document.getElementById('link').dataset.state === 'connected' && document.getElementById('foot').textContent")
        # The lists come by requests of their own, and move what is below them.
        self.browser.wait("document.querySelector('#contacts').children.length && document.querySelector('#recordings').children.length && document.querySelector('#source').options.length > 3")
        return self.browser

    def asked(self, method, path, body=None):
        """Waits for a request."""
        until = time.monotonic() + 10
        while (method, path, body) not in self.mock.requests:
            assert time.monotonic() < until, f"{method} {path} {body} was not asked, but {self.mock.requests[-5:]}"
            time.sleep(0.02)

    def change(self, change):
        """Something happens in the daemon."""
        with self.mock.lock:
            change(self.mock)
            self.mock.changed()


@pytest.fixture
def page(browser):
    browser.size(1280, 800)
    browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    made = Page(browser)
    yield made
    complaints = browser.complaints()
    made.mock.stop()
    browser.open("about:blank#")
    browser.complaints()
    assert complaints == []


def test_shows_who_is_in_the_call_and_what_it_is_like(page):
    browser = page.open()
    assert browser.text("#peer") == "Ada"
    assert "tin-owl-17" in browser.text("#peer-sub")
    assert browser.text("#bitrate .sum strong") == "5.73 kbps"
    parts = browser.evaluate("Object.fromEntries([...document.querySelectorAll('#bitrate .parts div')].map((row) => [row.querySelector('dt').textContent.replace('?', '').trim(), row.querySelector('dd').textContent]))")
    assert parts == {"Speech": "2.41 kbps", "Redundancy": "0.62 kbps", "Headers": "0.83 kbps", "IP": "1.87 kbps"}
    widths = browser.evaluate("[...document.querySelectorAll('#bitrate .piece')].map((piece) => piece.getBoundingClientRect().width)")
    assert [round(width / sum(widths), 2) for width in widths] == pytest.approx([2.41 / 5.73, 0.62 / 5.73, 0.83 / 5.73, 1.87 / 5.73], abs=0.011)
    assert browser.text("#delay .sum strong") == "110 ms"
    names = browser.evaluate("[...document.querySelectorAll('#delay .parts dt')].map((term) => term.textContent.replace('?', '').trim())")
    assert names == ["Capture", "Frame", "Network", "Jitter buffer", "Coding", "Device"]
    assert "now 8" in browser.text("#depth-value")
    assert browser.evaluate("document.title") == "Ada – Parlo"


def test_pictures_move_and_say_in_words_what_they_show(page):
    browser = page.open()
    for canvas in ("#spectrogram", "#marks", "#lattice", "#lattice-said"):
        before = browser.pixels(canvas)
        browser.wait(f"document.querySelector('{canvas}').getAttribute('aria-label').length > 10")
        until = time.monotonic() + 10
        while browser.pixels(canvas)["digest"] == before["digest"]:
            assert time.monotonic() < until, f"{canvas} stands still"
            time.sleep(0.05)
    # Rows of many codes, in many colours.
    until = time.monotonic() + 10
    while browser.pixels("#lattice")["colours"] < 50:
        assert time.monotonic() < until
        time.sleep(0.05)
    browser.wait("document.querySelector('#marks').getAttribute('aria-label').includes('as sent')")
    assert "12 rows" in browser.evaluate("document.querySelector('#lattice').getAttribute('aria-label')")


def test_losses_stand_above_their_tokens(page):
    """Each kind of mark looks different without its colour, and lies at its frame's place."""
    browser = page.open()
    shapes = browser.evaluate(
        """(async () => {
          const { MarkPainter } = await import("./paints.js");
          const { MARKS } = await import("./timeline.js");
          const painter = new MarkPainter({ soft: "#000", warn: "#000", accent: "#000" });
          return MARKS.map((mark) => {
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 18;
            const context = canvas.getContext("2d");
            for (let x = 0; x < 18; x += 3) painter.paint(context, x, 3, 18, mark);
            return [...context.getImageData(0, 0, 18, 18).data].filter((_, at) => at % 4 === 3).map((alpha) => (alpha > 127 ? "#" : ".")).join("");
          });
        })()"""
    )
    assert len(set(shapes)) == 6
    assert all("#" in shape for shape in shapes)
    aligned = browser.evaluate(
        """(async () => {
          const { Timeline } = await import("./timeline.js");
          const timeline = new Timeline();
          // Sound and frames that come in uneven portions, the frames a little late.
          let number = 0;
          for (let at = 1; at < 3000; at += 1) {
            const frame = () => ({ number: (number += 1), mark: number % 50 ? "real" : "faded", codes: [number % 1024] });
            timeline.add({ at_s: at * 0.08, meters: {}, spectrogram: Array(4).fill(Array(64).fill(9)), calls: [{ call: 7, level_dbfs: -20, said: [], heard: Array.from({ length: 3 + (at % 3) }, frame) }] });
          }
          const { heard } = timeline.of(7);
          let found = 0, previous = null, ordered = true, sound = 0;
          for (let slot = timeline.head - 200; slot < timeline.head; slot += 1) {
            const frame = heard.at(slot);
            if (timeline.spectrum.at(slot)) sound += 1;
            if (!frame) continue;
            found += 1;
            if (previous !== null && frame.number !== previous + 1) ordered = false;
            if ((frame.number % 50 === 0) !== (frame.mark === "faded")) ordered = false;
            previous = frame.number;
          }
          return { found, sound, ordered, behind: number - previous };
        })()"""
    )
    assert aligned["ordered"] and aligned["found"] >= 188 and aligned["sound"] >= 188 and abs(aligned["behind"]) <= 12, aligned


def test_memory_stays_bounded_over_hours(page):
    browser = page.open()
    sizes = browser.evaluate(
        """(async () => {
          const { Timeline } = await import("./timeline.js");
          const timeline = new Timeline();
          const count = () => [...timeline.calls.values()].reduce((sum, { heard, said }) => sum + heard.codes.length + said.slots.length, timeline.spectrum?.values.length ?? 0);
          const sizes = [];
          for (let at = 1; at <= 45000; at += 1) {
            const id = 1 + Math.floor(at / 4500);
            timeline.add({ at_s: at * 0.08, meters: {}, spectrogram: Array(4).fill(Array(64).fill(9)), calls: [{ call: id, level_dbfs: -20, said: [{ number: at, silent: false, codes: [1] }], heard: [{ number: at, mark: "real", codes: [1, 2] }] }] });
            timeline.keep(new Set([id]));
            if (at % 4500 === 2000) sizes.push(count());
          }
          return sizes;
        })()"""
    )
    assert len(sizes) == 10 and len(set(sizes)) == 1


def test_a_code_keeps_its_colour_and_books_differ_in_lightness(page):
    browser = page.open()
    colours = browser.evaluate(
        """(async () => {
          const { CodeColours } = await import("./colours.js");
          const [dark, light] = [new CodeColours(12, true), new CodeColours(12, false)];
          const bright = (css) => css.match(/\\d+/g).map(Number).reduce((sum, part, at) => sum + part * [0.21, 0.72, 0.07][at], 0);
          const mean = (colours, book) => Array.from({ length: 200 }, (_, code) => bright(colours.of(book, code))).reduce((a, b) => a + b) / 200;
          return {
            same: dark.of(0, 17) === new CodeColours(12, true).of(0, 17),
            different: new Set(Array.from({ length: 100 }, (_, code) => dark.of(0, code))).size,
            dark: [0, 4, 8, 11].map((book) => mean(dark, book)),
            light: [0, 4, 8, 11].map((book) => mean(light, book)),
          };
        })()"""
    )
    assert colours["same"] and colours["different"] > 60
    assert colours["dark"] == sorted(colours["dark"], reverse=True)
    assert colours["light"] == sorted(colours["light"])


def test_the_buttons_of_a_call(page):
    browser = page.open()
    browser.click("#mute")
    page.asked("PATCH", "/audio", {"muted": True})
    browser.wait("document.querySelector('#mute').getAttribute('aria-pressed') === 'true' && document.querySelector('#mute').textContent.includes('Unmute')")
    browser.click("#hold")
    page.asked("PATCH", "/calls/1", {"held": True})
    browser.wait("document.querySelector('#hold').textContent.includes('Take up')")
    browser.click("#conference")
    page.asked("PATCH", "/calls/1", {"conference": True})
    browser.click("#record")
    page.asked("POST", "/calls/1/recording")
    browser.wait("document.querySelector('#record').textContent.includes('Stop')")
    browser.wait("document.querySelector('#recordings').textContent.includes('being made')")
    assert browser.evaluate("document.title").startswith("●")
    browser.click("#record")
    page.asked("DELETE", "/calls/1/recording")
    browser.click("#end")
    page.asked("DELETE", "/calls/1")
    browser.wait("document.querySelector('#call').dataset.state === 'ended'")
    assert not browser.shown("#scope")
    browser.click("#again")
    page.asked("POST", "/calls", {"peer": "Ada"})


@pytest.mark.parametrize(
    ("slider", "keys", "field", "value"),
    [
        ("#depth", 3, "depth", 7),
        ("#bundling", 1, "frames_per_packet", 1),
        ("#latency", 2, "latency_ms", 100),
        ("#volume", 6, "volume_db", -6),
    ],
)
def test_the_sliders_of_a_call(page, slider, keys, field, value):
    browser = page.open()
    browser.slide(slider, "ArrowLeft", keys)
    page.asked("PATCH", "/calls/1", {field: value})
    # In words, for who does not see it.
    assert str(abs(value)) in browser.evaluate(f"document.querySelector('{slider}').getAttribute('aria-valuetext')")


def test_a_slider_stays_where_the_hand_put_it_and_follows_others_later(page):
    browser = page.open()
    browser.slide("#depth", "ArrowLeft", 2)
    page.asked("PATCH", "/calls/1", {"depth": 8})
    page.change(lambda mock: mock.calls[0]["settings"].update(depth=5))
    browser.wait("document.querySelector('#depth').value === '5'")
    browser.click("#adapt")
    page.asked("PATCH", "/calls/1", {"adapt": False})


def test_somebody_rings(page):
    browser = page.open(calls=[])
    assert browser.shown("#empty") and not browser.shown("#call")
    page.change(lambda mock: mock.calls.append(ringing(1, "Ada")))
    browser.wait("document.querySelector('#urgent').textContent.includes('Ada is calling')")
    browser.wait("document.title.includes('Ada is calling')")
    assert browser.evaluate("document.querySelector('#urgent').getAttribute('role')") == "alert"
    browser.click("#answer")
    page.asked("POST", "/calls/1/answer")
    browser.wait("document.querySelector('#call').dataset.state === 'active' && document.querySelector('#urgent').textContent === ''")
    page.change(lambda mock: mock.calls.append(ringing(2)))
    # During a call, on its card.
    browser.click(".card.rings .end")
    page.asked("POST", "/calls/2/refuse", {"reason": "declined"})
    browser.wait("!document.querySelector('.card.rings')")
    page.change(lambda mock: mock.calls.append(ringing(3, "Grace")))
    browser.click(".card.rings .card-pick")
    browser.click("#busy")
    page.asked("POST", "/calls/3/refuse", {"reason": "busy"})


def test_several_calls_have_cards_and_one_is_shown(page):
    browser = page.open(calls=[call(1, "Ada"), call(2, "Grace"), call(3, "Edsger", held=True)])
    assert browser.evaluate("document.querySelectorAll('.card').length") == 3
    assert browser.text("#link-text") == "In 3 calls"
    browser.click(".card:nth-child(2) .card-pick")
    browser.wait("document.querySelector('#peer').textContent === 'Grace'")
    browser.slide("#depth", "ArrowLeft")
    page.asked("PATCH", "/calls/2", {"depth": 9})
    browser.click(".card:nth-child(3) .card-buttons button:nth-child(2)")
    page.asked("PATCH", "/calls/3", {"held": False})
    browser.click(".card:nth-child(2) .end")
    page.asked("DELETE", "/calls/2")
    browser.wait("document.querySelector('#peer').textContent === 'Ada'")


def test_a_call_that_fails_says_why(page):
    browser = page.open(calls=[call(1, None, state="ended", figures=None, failure="nobody answers at 10.0.0.9:7275; is the address right?")])
    assert browser.text("#call-note").startswith("nobody answers")
    page.change(lambda mock: mock.calls.append(call(2, "Ada", codec="opus")))
    browser.wait("document.querySelector('#call-note').textContent.includes('Opus')")


def test_places_calls(page):
    browser = page.open(calls=[])
    browser.type("#dial-peer", "10.0.0.9:7275")
    browser.press("Enter")
    page.asked("POST", "/calls", {"peer": "10.0.0.9:7275"})
    browser.wait("document.querySelector('#peer').textContent.length > 0 && document.querySelector('#elapsed').textContent === 'Looking for them'")
    assert browser.text("#end .text") == "Cancel"
    browser.click("#contacts button[aria-label='Call Ada']")
    page.asked("POST", "/calls", {"peer": "Ada"})


def test_contacts(page):
    browser = page.open(calls=[])
    browser.click("#contact-fold summary")
    browser.type("#contact-name", "Edsger D")
    browser.type("#contact-key", "abc")
    browser.type("#contact-address", "10.1.1.1:7275")
    browser.click("#contact-auto")
    browser.click("#contact-form button.primary")
    page.asked("PUT", "/contacts/Edsger D", {"address": "10.1.1.1:7275", "key": "abc", "auto_answer": True})
    browser.wait("document.querySelector('#contacts').textContent.includes('Edsger D')")
    browser.click("[aria-label='Answer Grace by itself']")
    page.asked("PUT", "/contacts/Grace", {"address": None, "key": "k" * 43, "auto_answer": True})
    browser.click("[aria-label='Remove Ada']")
    assert ("DELETE", "/contacts/Ada", None) not in page.mock.requests
    browser.wait("document.querySelector(\"[aria-label='Remove Ada']\").textContent === 'Really?'")
    browser.click("[aria-label='Remove Ada']")
    page.asked("DELETE", "/contacts/Ada")
    browser.wait("!document.querySelector('#contacts').textContent.includes('Ada')")


def test_a_stranger_becomes_a_contact(page):
    stranger = ringing(1)
    browser = page.open(calls=[stranger])
    browser.click("#befriend")
    assert browser.evaluate("document.querySelector('#contact-key').value") == stranger["peer"]["key"]
    assert browser.evaluate("document.activeElement.id") == "contact-name"


def test_recordings_play_here_and_can_be_had(page, tmp_path):
    browser = page.open()
    name = "2026-11-20-Ada"
    browser.click("#recordings button[aria-label^='Play Ada']")
    browser.wait("document.querySelector('#audio').readyState >= 2 && document.querySelector('#audio').duration > 2")
    page.asked("GET", f"/recordings/{name}.wav?side=both")
    browser.click("#player .segments label:nth-child(3)")
    page.asked("GET", f"/recordings/{name}.wav?side=said")
    links = browser.evaluate("[...document.querySelectorAll('#recordings li:first-child a')].map((link) => [link.pathname, link.download])")
    assert links == [[f"/api/v1/recordings/{name}.wav", f"{name}.wav"], [f"/api/v1/recordings/{name}.ptk", f"{name}.ptk"]]
    browser.downloads(tmp_path)
    for file, start in ((f"{name}.wav", b"RIFF"), (f"{name}.ptk", b"PTK1")):
        browser.click(f"#recordings a[download='{file}']")
        until = time.monotonic() + 10
        while not (tmp_path / file).is_file():
            assert time.monotonic() < until, list(tmp_path.iterdir())
            time.sleep(0.05)
        assert (tmp_path / file).read_bytes().startswith(start)
    assert "broke off" in browser.text("#recordings li:nth-child(2)")
    browser.click("#recordings button[aria-label^='Delete Ada']")
    browser.click("#recordings button[aria-label^='Delete Ada']")
    page.asked("DELETE", f"/recordings/{name}")
    browser.wait("document.querySelector('#player').hidden")


def test_sound(page):
    browser = page.open()
    browser.wait("document.querySelector('#source').options.length > 3")
    options = browser.evaluate("[...document.querySelector('#source').options].map((option) => option.value)")
    assert options == ["default", "device:Built-in Microphone", "device:Desk Microphone", "none", "device:alsa_output.a.monitor"]
    for end, value in (("source", "device:Desk Microphone"), ("sink", "none")):
        browser.focus(f"#{end}")
        browser.evaluate(f"(() => {{ const e = document.querySelector('#{end}'); e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change', {{bubbles: true}})); }})()")
        page.asked("PATCH", "/audio", {end: value})
    for slider, key, field, value in (
        ("#input-gain", "ArrowRight", "input_gain_db", 1),
        ("#output-gain", "ArrowLeft", "output_gain_db", -1),
        ("#side-tone", "ArrowRight", "side_tone_db", -59),
    ):
        browser.slide(slider, key)
        page.asked("PATCH", "/audio", {field: value})
    for at, stage in enumerate(STAGES):
        before = page.mock.audio["stages"][stage]
        browser.click(f"#stages li:nth-child({at + 1}) input")
        page.asked("PATCH", "/audio", {stage: not before})
    assert "+27 dB" in browser.text("#stages li:nth-child(2)")
    browser.click("#sound-fold summary")
    facts = browser.text("#sound-facts")
    assert "0 of 24" in facts and "−31 ppm" in facts and "10 ms" in facts
    browser.click("#dnd")
    page.asked("PUT", "/presence", {"do_not_disturb": True})


def presses(page):
    return [body["talking"] for method, path, body in page.mock.requests if path == "/audio" and body and "talking" in body]


def talks(page):
    """The same without pressing what is pressed."""
    return [on for on, _ in itertools.groupby(presses(page))]


def test_push_to_talk(page):
    browser = page.open()
    browser.press(" ")
    browser.click("#ptt")
    page.asked("PATCH", "/audio", {"push_to_talk": True})
    browser.wait("document.querySelector('#talk').checkVisibility()")
    # On a button, the bar presses that button.
    browser.focus("#dnd")
    browser.press(" ")
    page.asked("PUT", "/presence", {"do_not_disturb": True})
    assert talks(page) == []
    browser.evaluate("document.activeElement.blur()")
    browser.key_down(" ")
    page.asked("PATCH", "/audio", {"talking": True, "talking_for_ms": 2000})
    browser.wait("document.querySelector('#talk').textContent.includes('You are heard')")
    # It is pressed anew as long as it is held, or the daemon would let it go.
    until = time.monotonic() + 10
    while presses(page).count(True) < 3:
        assert time.monotonic() < until, presses(page)
        time.sleep(0.05)
    browser.key_up(" ")
    page.asked("PATCH", "/audio", {"talking": False})
    browser.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'false'")
    time.sleep(1.2)
    assert presses(page)[-1] is False and talks(page) == [True, False]
    x, y = browser.point("#talk")
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    browser.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'true'")
    # Let go elsewhere, it is let go all the same.
    browser.mouse("mouseMoved", x + 300, y + 100, button="left")
    browser.mouse("mouseReleased", x + 300, y + 100, button="left", clickCount=1)
    browser.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'false'")
    assert talks(page) == [True, False, True, False]
    # A window that loses the focus hears of no key that is let go.
    browser.evaluate("document.activeElement.blur()")
    browser.key_down(" ")
    browser.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'true'")
    browser.evaluate("window.dispatchEvent(new Event('blur'))")
    browser.wait("document.querySelector('#talk').getAttribute('aria-pressed') === 'false'")
    browser.key_up(" ")


def test_keys(page):
    browser = page.open()
    browser.press("?")
    browser.wait("document.querySelector('#shortcuts').open")
    assert "Mute" in browser.text("#shortcuts")
    browser.press("Escape")
    browser.wait("!document.querySelector('#shortcuts').open")
    browser.press("m")
    page.asked("PATCH", "/audio", {"muted": True})
    browser.press("h")
    page.asked("PATCH", "/calls/1", {"held": True})
    browser.press("r")
    page.asked("POST", "/calls/1/recording")
    before = len(page.mock.requests)
    browser.type("#dial-peer", "")
    for key in "mhre":
        browser.press(key)
    assert browser.evaluate("document.querySelector('#dial-peer').value") == "mhre"
    assert [each for each in page.mock.requests[before:] if each[0] != "GET"] == []
    browser.evaluate("document.activeElement.blur()")
    browser.press("e")
    page.asked("DELETE", "/calls/1")
    page.change(lambda mock: mock.calls.append(ringing(2, "Ada")))
    browser.wait("document.body.classList.contains('ringing')")
    browser.press("a")
    page.asked("POST", "/calls/2/answer")


def test_keys_can_be_switched_off(page):
    browser = page.open()
    browser.click("#show-shortcuts")
    browser.click("#shortcuts-on")
    browser.click("#shortcuts-close")
    browser.evaluate("document.activeElement.blur()")
    browser.press("m")
    browser.click("#hold")
    page.asked("PATCH", "/calls/1", {"held": True})
    assert not any(path == "/audio" and method == "PATCH" for method, path, _ in page.mock.requests)
    browser.evaluate("localStorage.clear()")


def test_frames_can_be_read_one_by_one(page):
    browser = page.open()
    browser.wait("document.querySelector('#marks').getAttribute('aria-label').match(/\\d\\d as sent/)")
    browser.focus("#lattice")
    browser.press("ArrowLeft", 8)
    browser.wait("/Its codes: \\d|Nobody spoke|is played/.test(document.querySelector('#readout').textContent)")
    assert browser.text("#freeze") == "Go on"
    assert browser.evaluate("document.querySelector('#lattice').getAttribute('aria-valuetext') === document.querySelector('#readout').textContent")
    # What is asked to be drawn is drawn in the next picture.
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    frozen = browser.pixels("#lattice")["digest"]
    time.sleep(0.5)
    assert browser.pixels("#lattice")["digest"] == frozen
    browser.click("#freeze")
    until = time.monotonic() + 10
    while browser.pixels("#lattice")["digest"] == frozen:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_help_shows_by_pointer_by_keyboard_and_by_touch(page):
    browser = page.open()
    spot = "[data-help=lattice]"
    x, y = browser.point(spot)
    browser.mouse("mouseMoved", x, y)
    browser.wait("document.querySelector('#tip').checkVisibility() && document.querySelector('#tip').textContent.includes('tokens')")
    browser.mouse("mouseMoved", 5, 5)
    browser.wait("!document.querySelector('#tip').checkVisibility()")
    browser.focus("[data-help=depth]")
    browser.wait("document.querySelector('#tip').checkVisibility()")
    assert browser.evaluate("document.querySelector('[data-help=depth]').getAttribute('aria-describedby')") == "tip"
    browser.press("Escape")
    browser.wait("!document.querySelector('#tip').checkVisibility()")
    browser.evaluate("document.activeElement.blur()")
    browser.ask("Emulation.setTouchEmulationEnabled", enabled=True)
    x, y = browser.point("[data-help=wire]")
    browser.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
    browser.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.wait("document.querySelector('#tip').checkVisibility() && document.querySelector('#tip').textContent.includes('kilobits')")
    browser.ask("Emulation.setTouchEmulationEnabled", enabled=False)
    used = browser.evaluate("[...new Set([...document.querySelectorAll('button.help')].map((each) => each.dataset.help))]")
    known = browser.evaluate("import('./help.js').then(({ TERMS }) => Object.keys(TERMS))")
    assert sorted(used) == sorted(known)


def test_says_when_the_peer_records(page):
    browser = page.open()
    assert not browser.evaluate("document.querySelector('#call-note').checkVisibility()")
    page.change(lambda mock: mock.calls[0].update(recorded_by_peer=True))
    browser.wait("document.querySelector('#call-note').checkVisibility() && document.querySelector('#call-note').textContent === 'Ada records this call.'")
    page.change(lambda mock: mock.calls[0].update(recorded_by_peer=False))
    browser.wait("!document.querySelector('#call-note').checkVisibility()")


def test_says_who_can_call_and_what_is_wrong_with_sound(page):
    browser = page.open(calls=[])
    browser.wait("document.querySelector('#empty-listening').textContent.includes('reach you at port 7275')")
    for address in ("127.0.0.1:7275", "[::1]:7275", "127.0.0.9:7275"):
        page.change(lambda mock, address=address: setattr(mock, "listening", address))
        browser.wait(f"document.querySelector('#empty-listening').textContent.includes('Only programs on this machine') && document.querySelector('#empty-listening').textContent.includes('{address}')")
    page.change(lambda mock: setattr(mock, "listening", "[::]:7275"))
    browser.wait("document.querySelector('#empty-listening').textContent.includes('reach you at port 7275')")
    page.change(lambda mock: mock.audio.update(trouble="there is no sound input here"))
    browser.wait("document.querySelector('#trouble').checkVisibility() && document.querySelector('#trouble').textContent.includes('no sound input here')")
    page.change(lambda mock: mock.audio.update(trouble=None))
    browser.wait("!document.querySelector('#trouble').checkVisibility()")
    # What is shown is not what is copied, and neither is called by the other's name.
    assert "Your fingerprint" in browser.text("#own-key") and "Copy key" in browser.text("#own-key")
    groups = browser.evaluate("[...document.querySelectorAll('#source optgroup')].map((group) => [group.label, ...[...group.children].map((option) => option.value)])")
    assert groups == [["What this machine plays", "device:alsa_output.a.monitor"]]
    assert browser.evaluate("document.querySelectorAll('#sink optgroup').length") == 0


def test_time_goes_on_between_two_messages(page):
    browser = page.open(calls=[])
    page.change(lambda mock: setattr(mock, "quiet", True))
    time.sleep(0.3)
    before = browser.text("#foot")
    browser.wait(f"document.getElementById('foot').textContent !== {json.dumps(before)}")


def test_says_what_the_daemon_refuses(page):
    browser = page.open()
    page.mock.fail_next = "the call is not recorded: the disk is full; delete recordings"
    browser.click("#record")
    browser.wait("document.querySelector('#notices').textContent.includes('the disk is full')")
    page.mock.fail_next = "no"
    browser.click("#dnd")
    browser.wait("document.querySelectorAll('.notice').length === 2 && !document.querySelector('#dnd').checked")
    page.mock.notice("Ada's network is bad.")
    browser.wait("document.querySelector('#notices').textContent.includes('network is bad')")
    browser.click(".notice:last-child button")
    browser.wait("!document.querySelector('#notices').textContent.includes('network is bad')")
    # The browser writes each refused request into its console; that is all it may complain of.
    assert all("409" in each for each in browser.complaints())


def test_comes_back_when_the_daemon_does(page):
    browser = page.open()
    port = page.mock.server_address[1]
    page.mock.stop()
    browser.wait("document.querySelector('#away').checkVisibility() && document.querySelector('#away').textContent.includes('is away')")
    assert browser.evaluate("document.title") == "Parlo is away"
    page.mock = Mock(port, calls=[call(1, "Grace")])
    browser.wait("!document.querySelector('#away').checkVisibility() && document.querySelector('#peer').textContent === 'Grace'")
    page.asked("GET", "/recordings")
    page.mock.stop()
    page.mock = Mock(port, refuse_all=True)
    browser.wait("document.querySelector('#away').textContent.includes('does not let this page in')")
    assert all(any(known in each for known in ("ERR_CONNECTION", "WebSocket", "401", "ERR_EMPTY", "ERR_SOCKET")) for each in browser.complaints())


def test_a_hidden_page_draws_nothing_and_asks_for_no_live_sound(page):
    browser = page.open()
    assert [live for live, _ in page.mock.sockets] == [True]
    browser.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true}); document.dispatchEvent(new Event('visibilitychange'))")
    # A picture that was asked for before may still be drawn.
    time.sleep(0.3)
    before = browser.pixels("#lattice")["digest"]
    time.sleep(0.4)
    assert browser.pixels("#lattice")["digest"] == before
    until = time.monotonic() + 10
    while [live for live, _ in page.mock.sockets] != [False]:
        assert time.monotonic() < until
        time.sleep(0.05)
    browser.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    until = time.monotonic() + 10
    while [live for live, _ in page.mock.sockets] != [True]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_draws_only_on_news_and_seldom_with_reduced_motion(page):
    browser = page.open()
    # Blits of the lattice to the screen, one or two a picture.
    browser.evaluate(
        """(() => {
          const draw = CanvasRenderingContext2D.prototype.fillRect;
          window.pictures = 0;
          CanvasRenderingContext2D.prototype.fillRect = function (x, y, width, height) {
            if (this.canvas.id === "lattice" && width === this.canvas.width) window.pictures += 1;
            return draw.call(this, x, y, width, height);
          };
        })()"""
    )

    def pictures(messages):
        sent, drawn = page.mock.live_sent, browser.evaluate("window.pictures")
        until = time.monotonic() + 30
        while page.mock.live_sent < sent + messages:
            assert time.monotonic() < until
            time.sleep(0.02)
        return browser.evaluate("window.pictures") - drawn

    assert 1 <= pictures(20) <= 24
    browser.prefer(prefers_reduced_motion="reduce", prefers_color_scheme="light")
    pictures(5)
    # 40 messages are 3.2 s: a picture each second.
    assert pictures(40) <= 8
    page.change(lambda mock: mock.calls[0].update(held=True))
    page.change(lambda mock: mock.calls[0].update(state="ended", figures=None))
    browser.wait("!document.querySelector('#scope').checkVisibility()")
    before = browser.evaluate("window.pictures")
    time.sleep(0.5)
    assert browser.evaluate("window.pictures") == before


def states():
    """What the page can look like."""
    long_name = "Wolfeschlegelsteinhausenbergerdorff"
    return {
        "empty": [],
        "call": [call(1, "Ada", recording="x")],
        "ringing": [ringing(1)],
        "calling": [call(1, None, state="calling", figures=None)],
        "ended": [call(1, "Ada", state="ended", figures=None, failure="nobody answers")],
        "many": [call(at, f"{long_name}{at}", conference=True) for at in range(1, 8)] + [ringing(8, long_name)],
    }


@pytest.mark.parametrize("state", states())
def test_fits_a_phone_and_every_control_has_a_name_and_is_reached_by_tab(page, state):
    def prepare(mock):
        mock.audio["push_to_talk"] = True

    browser = page.open(states()[state], prepare)
    for fold in ("contact-fold", "sound-fold"):
        browser.evaluate(f"document.getElementById('{fold}').open = true")
    browser.click("#recordings button[aria-label^='Play Ada']")
    for width in (360, 390, 768, 1280):
        browser.size(width, 780, phone=width < 600)
        browser.wait(f"innerWidth === {width}")
        wide = browser.evaluate("[...document.querySelectorAll('body *')].filter((each) => each.checkVisibility() && !each.closest('.hidden, .skip, svg') && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map((each) => each.outerHTML.slice(0, 120))")
        assert wide == [], width
        assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
    browser.size(1280, 800)
    nameless = [
        node["role"]["value"]
        for node in browser.ask("Accessibility.getFullAXTree")["nodes"]
        if not node["ignored"]
        and node["role"]["value"] in ("button", "link", "textbox", "combobox", "slider", "switch", "checkbox", "radio", "meter", "image", "img", "dialog", "region", "Audio")
        and not node.get("name", {}).get("value")
        # A browser's own parts within its player.
        and node["role"]["value"] != "region"
    ]
    assert nameless == []
    # From the top, one Tab after the other, until all was reached.
    browser.evaluate("(() => { window.seen = new Set(); document.activeElement.blur(); document.addEventListener('focusin', (event) => window.seen.add(event.target)); document.querySelector('.skip').focus(); })()")
    controls = browser.focusable()
    browser.press("Tab", controls + 30)
    missed = browser.evaluate(
        "[...document.querySelectorAll('button, a[href], input, select, summary, audio[src], canvas[tabindex]')].filter((each) => each.checkVisibility() && !each.closest('dialog') && !window.seen.has(each) && !(each.type === 'radio' && !each.checked)).map((each) => each.outerHTML.slice(0, 120))"
    )
    assert missed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(page, scheme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text; 1.4.11: 3 to 1 for what carries meaning."""
    page.browser.prefer(prefers_color_scheme=scheme)
    browser = page.open()
    colours = browser.evaluate(
        "Object.fromEntries(['paper', 'panel', 'ink', 'soft', 'accent', 'on-accent', 'warn', 'piece-0'].map((name) => [name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))"
    )

    def light(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(one, other):
        low, high = sorted((light(colours[one]), light(colours[other])))
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "soft", "accent", "warn"):
        for ground in ("paper", "panel"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("piece-0", "panel") >= 3
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) > 600) == (scheme == "light")


def test_the_focus_can_be_seen(page):
    browser = page.open()
    browser.focus("#dial-peer")
    browser.press("Tab")
    outline = browser.evaluate("[getComputedStyle(document.activeElement).outlineStyle, parseFloat(getComputedStyle(document.activeElement).outlineWidth)]")
    assert outline[0] == "solid" and outline[1] >= 2


def test_uses_nothing_from_outside(page):
    browser = page.open()
    hosts = browser.evaluate("[...new Set(performance.getEntriesByType('resource').map((entry) => new URL(entry.name).host))]")
    assert hosts == [page.mock.url.split("/")[2]]
    for file in (ROOT / "clients/web").iterdir():
        if file.is_file():
            text = file.read_text()
            assert "style=" not in text and "innerHTML" not in text, file.name
            assert "https://" not in text.replace("https://bottosson.github.io/posts/oklab/", ""), file.name


def test_calls_figures_follow(page):
    browser = page.open()
    later = {**figures(3725.0), "sent": {"speech": 1.0, "redundancy": 0.0, "headers": 0.5, "ip": 0.5, "wire": 2.0}}
    page.change(lambda mock: mock.calls[0].update(figures=later))
    browser.wait("document.querySelector('#bitrate .sum strong').textContent === '2.00 kbps' && document.querySelector('#elapsed').textContent.startsWith('1:02:')")
