"""Chromium without a window, told what to do over a pipe (Chrome DevTools Protocol). Needs nothing but Python."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

# Longer than anything takes: something hangs.
TIMEOUT_S = 60
KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Escape": ("Escape", 27, ""), " ": ("Space", 32, " ")}
KEYS |= {"ArrowLeft": ("ArrowLeft", 37, ""), "ArrowRight": ("ArrowRight", 39, ""), "Home": ("Home", 36, ""), "End": ("End", 35, "")}
FLAGS = [
    "--headless=new",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
]
# The protocol's pipes must be the descriptors 3 and 4: copied high first, so that neither treads on the other.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 20) for end in sys.argv[1:3]]
for wanted, end in zip((3, 4), ends):
    os.dup2(end, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
BUTTONS = "button, a[href], input, select, summary, audio[src], canvas[tabindex]"


def find():
    """The browser's path, or None. Debian: `apt-get install chromium`."""
    named = os.environ.get("CHROMIUM_BIN")
    return named or next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


class Browser:
    """A browser with one page."""

    def __init__(self, *, width=1280, height=800, scale=1):
        self.folder = tempfile.TemporaryDirectory(prefix="parlo-page-", ignore_cleanup_errors=True)
        commands, self.write = os.pipe()
        self.read, answers = os.pipe()
        flags = list(FLAGS)
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self.log = open(os.path.join(self.folder.name, "log"), "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(commands), str(answers), find(), *flags, f"--user-data-dir={self.folder.name}", "about:blank"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        os.close(commands)
        os.close(answers)
        self.number, self.rest, self.events = 0, b"", []
        self.messages, self.session = [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.size(width, height, scale)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write)
        os.close(self.read)
        self.log.close()
        self.folder.cleanup()

    # The protocol

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + TIMEOUT_S
        while True:
            answer = self.next(until - time.monotonic())
            if answer is None:
                raise TimeoutError(f"the browser does not answer {method}")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.note(answer)

    def next(self, seconds):
        while b"\0" not in self.rest:
            if seconds < 0 or not select.select([self.read], [], [], seconds)[0]:
                return None
            data = os.read(self.read, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, message):
        """Keeps what a person would see in red in the console."""
        kind, about = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.messages.append(details.get("exception", {}).get("description") or details["text"])
        elif kind == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.messages.append(" ".join(str(each.get("value", each.get("description"))) for each in about["args"]))
        elif kind == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.messages.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def complaints(self):
        """Errors and warnings of the console since the last call, violations of the Content-Security-Policy among them."""
        self.evaluate("0")
        messages, self.messages = self.messages, []
        return messages

    # The page

    def size(self, width, height, scale=1, phone=False):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone)

    def prefer(self, **features):
        """`prefer(prefers_color_scheme="dark")`."""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def open(self, url):
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(f"{expression}: {details.get('exception', {}).get('description', details['text'])}")
        return answer["result"].get("value")

    def wait(self, expression, seconds=15):
        """Until an expression is true. Answers its value."""
        until = time.monotonic() + seconds
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            if time.monotonic() > until:
                raise AssertionError(f"still not true after {seconds} s: {expression}\n{self.complaints()}\n{self.evaluate('document.body.innerText.slice(0, 1500)')}")
            time.sleep(0.05)

    def text(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent.trim() ?? null")

    def shown(self, selector):
        return self.evaluate(f"document.querySelector({json.dumps(selector)})?.checkVisibility() ?? false")

    def point(self, selector):
        """The middle of an element, scrolled into view."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{found}?.checkVisibility()")
        return self.evaluate(
            f"(() => {{ const e = {found}; e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; }})()"
        )

    def mouse(self, kind, x, y, **more):
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector):
        x, y = self.point(selector)
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def key_down(self, key):
        code, number, text = KEYS.get(key, (f"Key{key.upper()}" if key.isalpha() else "", ord(key[0].upper()), key))
        kind = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.ask("Input.dispatchKeyEvent", key=key, code=code, windowsVirtualKeyCode=number, **kind)

    def key_up(self, key):
        code, number, _ = KEYS.get(key, (f"Key{key.upper()}" if key.isalpha() else "", ord(key[0].upper()), key))
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=code, windowsVirtualKeyCode=number)

    def press(self, key, times=1):
        for _ in range(times):
            self.key_down(key)
            self.key_up(key)

    def type(self, selector, text):
        self.click(selector)
        self.ask("Input.insertText", text=text)

    def focus(self, selector):
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")

    def slide(self, selector, key, times=1):
        """Moves a slider from the keyboard."""
        self.focus(selector)
        self.press(key, times)

    def picture(self, path, **options):
        data = self.ask("Page.captureScreenshot", **options)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def pixels(self, selector):
        """A digest of what a canvas shows, and how many colours that is."""
        return self.evaluate(
            f"""(() => {{
              const canvas = document.querySelector({json.dumps(selector)});
              const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", {{willReadFrequently: true}});
              context.drawImage(canvas, 0, 0);
              const data = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
              let digest = 0;
              for (const pixel of data) digest = (Math.imul(digest, 31) + pixel) | 0;
              return {{digest, colours: new Set(data).size}};
            }})()"""
        )

    def downloads(self, folder):
        """Where files go that are downloaded from now on."""
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))

    def focusable(self):
        """How many controls can be seen now."""
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(BUTTONS)})].filter((each) => each.checkVisibility() && !each.disabled && !each.closest('dialog')).length")
