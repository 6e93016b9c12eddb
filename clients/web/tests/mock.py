"""A daemon made up: serves the page, and the control API with data of the right shape, so that every control can be tried.

Alone, to look at the page while working on it: `python3 clients/web/tests/mock.py 8000`, then http://127.0.0.1:8000/.
It keeps what it was asked in `requests`. Needs nothing but Python.
"""

import base64
import hashlib
import io
import json
import math
import random
import struct
import sys
import threading
import time
import wave
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = Path(__file__).resolve().parent.parent
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
CODEBOOKS = 12
BANDS = 64
PERIOD_S = 0.08
POLICY = "default-src 'self'"


def figures(elapsed_s=247.0):
    return {
        "elapsed_s": elapsed_s,
        "sent": {"speech": 2.41, "redundancy": 0.62, "headers": 0.83, "ip": 1.87, "wire": 5.73},
        "received_kbps": 5.38,
        "depth": 8,
        "frames_per_packet": 4,
        "copies": 2,
        "loss_sent": 0.021,
        "loss_heard": 0.04,
        "path_kbps": 38.5,
        "round_trip_ms": 31.0,
        "bits_per_frame": 52.4,
        "rekeys": 2,
        "key_age_s": 7.0,
        "rekey_overdue": False,
        "frames": {"real": 8021, "coarse": 143, "predicted": 96, "faded": 12, "silent": 4012, "late": 7},
        "budget": {"capture": 12.0, "frame": 40.0, "network": 15.5, "jitter_buffer": 22.0, "codec": 2.2, "device": 18.0, "total": 109.7},
        "level_dbfs": -23.0,
        "encode_us_p99": 1310,
        "decode_us_p99": 890,
    }


def call(number, name, **changes):
    made = {
        "id": number,
        "direction": "outgoing",
        "state": "active",
        "peer": {"name": name, "key": "k" * 43, "fingerprint": "tin-owl-17", "address": "192.168.1.20:7275"},
        "began_s": 1_790_000_000.0,
        "held": False,
        "held_by_peer": False,
        "conference": False,
        "volume_db": 0.0,
        "codec": "tokens",
        "settings": {"depth": 10, "frames_per_packet": 2, "adapt": True, "latency_ms": 120, "max_kbps": 0.0},
        "recording": None,
        "recorded_by_peer": False,
        "figures": figures(),
        "failure": None,
    }
    made.update(changes)
    return made


def ringing(number, name=None):
    made = call(number, name, direction="incoming", state="ringing", figures=None, codec=None)
    return made


def meters():
    return {
        "input_peak_dbfs": -14.0,
        "input_rms_dbfs": -24.0,
        "sent_rms_dbfs": -22.0,
        "output_peak_dbfs": -12.0,
        "output_rms_dbfs": -23.0,
        "echo_return_loss_enhancement_db": 27.0,
        "noise_reduction_db": 11.0,
        "gain_db": 4.0,
        "speech": True,
    }


def audio():
    return {
        "endpoints": {"source": "default", "sink": "default", "source_name": "Built-in Microphone", "sink_name": "Headphones"},
        "muted": False,
        "push_to_talk": False,
        "talking": False,
        "input_gain_db": 0.0,
        "output_gain_db": 0.0,
        "side_tone_db": None,
        "stages": {"high_pass": True, "echo_cancellation": True, "noise_suppression": True, "gain_control": False, "silence": True},
        "meters": meters(),
        "figures": {
            "realtime": True,
            "capture_overruns": 0,
            "playback_underruns": 1,
            "deadline_misses": 0,
            "server_late": 0,
            "blocks": 24_700,
            "capture_ring_ms": 10.2,
            "playback_ring_ms": 14.8,
            "capture_drift_ppm": -31.0,
            "playback_drift_ppm": 12.5,
            "capture_latency_ms": 12.0,
            "playback_latency_ms": 18.0,
        },
    }


DEVICES = [
    {"index": 0, "name": "Built-in Microphone", "id": "alsa_input.a", "direction": "input", "is_default": True, "is_monitor": False, "rate": 48000, "channels": 2},
    {"index": 1, "name": "Desk Microphone", "id": "alsa_input.b", "direction": "input", "is_default": False, "is_monitor": False, "rate": 48000, "channels": 1},
    {"index": 2, "name": "Monitor of Headphones", "id": "alsa_output.a.monitor", "direction": "input", "is_default": False, "is_monitor": True, "rate": 48000, "channels": 2},
    {"index": 3, "name": "Headphones", "id": "alsa_output.a", "direction": "output", "is_default": True, "is_monitor": False, "rate": 48000, "channels": 2},
]


def contact(name, address, auto_answer=False):
    return {"name": name, "address": address, "key": "k" * 43, "fingerprint": "tin-owl-17", "auto_answer": auto_answer, "psk": False}


def recording(name, peer, **changes):
    made = {"name": name, "peer": peer, "began_s": 1_790_000_000.0, "duration_s": 187.4, "bytes": 54_310, "running": False, "broken_off": False}
    made.update(changes)
    return made


def tone(seconds=2.5, rate=16000):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        samples = (int(6000 * math.sin(2 * math.pi * 220 * at / rate)) for at in range(int(seconds * rate)))
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return out.getvalue()


class Voice:
    """Speech as it might look: syllables, pauses, harmonics; and losses."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.at = 0
        self.loss = 0
        self.codes = [0] * CODEBOOKS

    def frame(self, depth, lossy=True):
        self.at += 1
        draw = self.random
        seconds = self.at / 50
        envelope = max(0.0, math.sin(2 * math.pi * 2.3 * seconds)) * (0.5 + 0.5 * math.sin(2 * math.pi * 0.21 * seconds + 1))
        if envelope > 0.02 or draw.random() < 0.2:
            self.codes = [code if draw.random() < 0.35 - 0.03 * book else draw.randrange(1024) for book, code in enumerate(self.codes)]
        number = self.at
        silent = math.sin(2 * math.pi * 0.21 * seconds + 1) < -0.93
        if silent:
            return {"number": number, "mark": "silent", "codes": []}, 0.0
        if lossy and self.loss == 0 and draw.random() < 0.03:
            self.loss = draw.choice([1, 2, 2, 4, 9])
        if self.loss > 0:
            self.loss -= 1
            kind = draw.random()
            if self.loss > 5:
                return {"number": number, "mark": "predicted", "codes": self.codes[:depth]}, envelope * 0.7
            if self.loss > 3:
                return {"number": number, "mark": "faded", "codes": []}, 0.0
            if kind < 0.5:
                return {"number": number, "mark": "coarse", "codes": self.codes[:3]}, envelope
            return {"number": number, "mark": "predicted", "codes": self.codes[:depth]}, envelope * 0.8
        if lossy and draw.random() < 0.003:
            return {"number": None, "mark": "held", "codes": self.codes[:depth]}, envelope
        return {"number": number, "mark": "real", "codes": self.codes[:depth]}, envelope

    def row(self, envelope):
        draw = self.random
        seconds = self.at / 50
        pitch = 6.5 + 1.6 * math.sin(2 * math.pi * 0.37 * seconds)
        formants = (10 + 6 * math.sin(seconds * 5.1), 27 + 9 * math.sin(seconds * 3.3 + 1), 46 + 5 * math.sin(seconds * 2.1))
        hiss = 0.6 if math.sin(seconds * 7.7) > 0.8 else 0.0
        row = []
        for band in range(BANDS):
            value = 55 + draw.random() * 14
            if envelope > 0.02:
                shape = sum(math.exp(-(((band - centre) / (4 + 3 * at)) ** 2)) * (1 - 0.22 * at) for at, centre in enumerate(formants))
                harmonic = 0.62 + 0.38 * math.cos(2 * math.pi * band / pitch) if band < 40 else 0.75
                loud = min(1.0, envelope**0.35 * shape * harmonic + hiss * envelope * (band / BANDS) ** 2)
                value += loud * 165
            row.append(int(min(255, value)))
        return row


class Mock(ThreadingHTTPServer):
    daemon_threads = True
    # A browser opens many connections at once.
    request_queue_size = 64

    def __init__(self, port=0, calls=None, refuse_all=False):
        super().__init__(("127.0.0.1", port), Handler)
        self.lock = threading.RLock()
        self.requests = []
        self.connections = set()
        self.sockets = []
        self.fail_next = None
        self.refuse_all = refuse_all
        self.calls = [call(1, "Ada")] if calls is None else calls
        self.audio = audio()
        self.listening = "0.0.0.0:7275"
        # Nothing happens, and nothing is told.
        self.quiet = False
        self.do_not_disturb = False
        self.contacts = [contact("Ada", "192.168.1.20:7275", True), contact("Grace", None)]
        self.recordings = [recording("2026-11-20-Ada", "Ada"), recording("2026-11-19-Grace", "Grace", broken_off=True)]
        self.voices = {}
        self.began = time.monotonic()
        self.stopped = threading.Event()
        self.live_sent = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()
        threading.Thread(target=self.tell, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def stop(self):
        """As if the daemon died: no more answers, connections cut."""
        self.stopped.set()
        self.shutdown()
        self.server_close()
        with self.lock:
            for connection in self.connections:
                try:
                    connection.shutdown(2)
                except OSError:
                    pass
            self.connections.clear()
            self.sockets.clear()

    def status(self):
        return {
            "version": "0.6.0",
            "uptime_s": time.monotonic() - self.began,
            "key": "A" * 43,
            "fingerprint": "red-fox-42",
            "listening": self.listening,
            "page": None,
            "presence": {"do_not_disturb": self.do_not_disturb},
            "bundle": {
                "name": "parlo-16k",
                "id": "5f" * 32,
                "tokens": "7a" * 32,
                "sample_rate": 16000,
                "frame_ms": 20.0,
                "algorithmic_delay_ms": 20.0,
                "codebooks": [1024] * CODEBOOKS,
            },
            "others": [],
            "audio": self.audio,
            "calls": self.calls,
            "resident_mib": 61.3,
        }

    def live(self, at_s, frames):
        """`frames` frames of everything."""
        rows, calls = [[0] * BANDS for _ in range(frames)], []
        for each in self.calls:
            if each["state"] != "active" or each["held"]:
                continue
            heard, said = self.voices.setdefault(each["id"], (Voice(each["id"]), Voice(99 + each["id"])))
            voice = {"call": each["id"], "level_dbfs": -60.0, "heard": [], "said": []}
            for at in range(frames):
                frame, envelope = heard.frame(8)
                rows[at] = [max(pair) for pair in zip(rows[at], heard.row(envelope))]
                voice["heard"].append(frame)
                voice["level_dbfs"] = -60 + 42 * envelope**0.5
                mine, _ = said.frame(each["settings"]["depth"], lossy=False)
                voice["said"].append({"number": mine["number"], "silent": mine["mark"] == "silent", "codes": mine["codes"]})
            calls.append(voice)
        levels = {**meters(), "input_rms_dbfs": -34 + 12 * math.sin(at_s * 3), "input_peak_dbfs": -18.0}
        return {"type": "live", "at_s": at_s, "meters": levels, "spectrogram": rows, "calls": calls}

    def tell(self):
        at = 0.0
        told = 0.0
        while not self.stopped.wait(PERIOD_S):
            at += PERIOD_S
            with self.lock:
                if at - told >= 1.0 and not self.quiet:
                    told = at
                    for each in self.calls:
                        if each["figures"]:
                            each["figures"]["elapsed_s"] += 1.0
                    self.changed()
                if any(each["state"] == "active" for each in self.calls):
                    self.send(self.live(at, 4), live_only=True)
                    self.live_sent += 1

    def changed(self):
        self.send({"type": "status", **self.status()})

    def notice(self, text):
        self.send({"type": "notice", "call": None, "text": text})

    def send(self, message, live_only=False):
        data = json.dumps(message).encode()
        head = b"\x81" + (bytes([len(data)]) if len(data) < 126 else struct.pack(">BH", 126, len(data)) if len(data) < 65536 else struct.pack(">BQ", 127, len(data)))
        with self.lock:
            for entry in list(self.sockets):
                live, connection = entry
                if live_only and not live:
                    continue
                try:
                    connection.sendall(head + data)
                except OSError:
                    self.sockets.remove(entry)

    def find(self, number):
        return next((each for each in self.calls if each["id"] == number), None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)
            # Accepted before the end, and begun after it: a daemon that died does not answer either.
            if self.server.stopped.is_set():
                self.connection.shutdown(2)

    def finish(self):
        with self.server.lock:
            self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def json(self, value, status=200):
        self.answer(status, json.dumps(value).encode())

    def handle_any(self):
        path = urlsplit(self.path).path
        query = parse_qs(urlsplit(self.path).query)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        mock = self.server
        if not path.startswith("/api/v1/"):
            return self.file(path)
        path = path.removeprefix("/api/v1")
        if path == "/events":
            return self.events("true" in query.get("live", []))
        with mock.lock:
            mock.requests.append((self.command, unquote(self.path.removeprefix("/api/v1")), body))
            if mock.refuse_all:
                return self.json({"error": "the token is missing"}, 401)
            if mock.fail_next and self.command != "GET":
                text, mock.fail_next = mock.fail_next, None
                return self.json({"error": text}, 409)
            self.route(path, body)
            if self.command != "GET":
                mock.changed()

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any

    def file(self, path):
        file = PAGE / (path.lstrip("/") or "index.html")
        if file.parent != PAGE or not file.is_file():
            return self.answer(404, b"{}")
        self.answer(200, file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream"))

    def route(self, path, body):
        mock, parts = self.server, [unquote(part) for part in path.strip("/").split("/")]
        match self.command, parts:
            case "GET", ["status"]:
                self.json(mock.status())
            case "GET", ["devices"]:
                self.json(DEVICES)
            case "GET", ["contacts"]:
                self.json(mock.contacts)
            case "PUT", ["contacts", name]:
                made = {"name": name, "fingerprint": "new-elk-03", "address": None, "auto_answer": False, "psk": False, **body}
                mock.contacts = [each for each in mock.contacts if each["name"] != name] + [made]
                self.json(made)
            case "DELETE", ["contacts", name]:
                mock.contacts = [each for each in mock.contacts if each["name"] != name]
                self.answer(204)
            case "PUT", ["presence"]:
                mock.do_not_disturb = body["do_not_disturb"]
                self.json(body)
            case "PATCH", ["audio"]:
                for key, value in body.items():
                    if key in mock.audio["stages"]:
                        mock.audio["stages"][key] = value
                    elif key in ("source", "sink"):
                        mock.audio["endpoints"][key] = value
                    else:
                        mock.audio[key] = value
                self.json(mock.audio)
            case "POST", ["calls"]:
                made = call(len(mock.calls) + 1, None, state="calling", figures=None)
                made["peer"]["address"] = body["peer"]
                mock.calls.append(made)
                self.json(made, 201)
            case "GET", ["recordings"]:
                self.json(mock.recordings)
            case "GET", ["recordings", name]:
                kind = "audio/wav" if name.endswith(".wav") else "application/octet-stream"
                self.ranged(tone() if name.endswith(".wav") else b"PTK1 made up", kind)
            case "DELETE", ["recordings", name]:
                mock.recordings = [each for each in mock.recordings if each["name"] != name]
                self.answer(204)
            case method, ["calls", number, *rest] if mock.find(int(number)):
                self.of_call(method, mock.find(int(number)), rest, body)
            case _:
                self.json({"error": f"there is no {path}"}, 404)

    def of_call(self, method, one, rest, body):
        mock = self.server
        match method, rest:
            case "PATCH", []:
                for key, value in body.items():
                    (one["settings"] if key in one["settings"] else one)[key] = value
                if "depth" in body and one["figures"]:
                    one["figures"]["depth"] = body["depth"]
                self.json(one)
            case "DELETE", []:
                one.update(state="ended", figures=None)
                self.answer(204)
            case "POST", ["answer"]:
                one.update(state="active", figures=figures(0.0), codec="tokens")
                self.json(one)
            case "POST", ["refuse"]:
                one.update(state="ended")
                self.answer(204)
            case "POST", ["recording"]:
                one["recording"] = "2026-11-21-now"
                mock.recordings.append(recording(one["recording"], "Ada", running=True, duration_s=1.0, began_s=1_790_100_000.0))
                self.json(one)
            case "DELETE", ["recording"]:
                for each in mock.recordings:
                    each["running"] = False
                one["recording"] = None
                self.json(one)
            case _:
                self.json({"error": "no such thing"}, 404)

    def ranged(self, data, kind):
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return self.answer(200, data, kind, Accept_Ranges="bytes")
        first, last = asked.removeprefix("bytes=").split("-")
        first, last = int(first), min(int(last or len(data) - 1), len(data) - 1)
        self.answer(206, data[first : last + 1], kind, Accept_Ranges="bytes", Content_Range=f"bytes {first}-{last}/{len(data)}")

    def events(self, live):
        mock = self.server
        if mock.refuse_all:
            return self.json({"error": "the token is missing"}, 401)
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        with mock.lock:
            entry = (live, self.connection)
            mock.sockets.append(entry)
            mock.send({"type": "status", **mock.status()})
        # The page says nothing but goodbye, and is told the same.
        try:
            if self.connection.recv(4096):
                # Nothing may follow it.
                with mock.lock:
                    mock.sockets.remove(entry)
                    self.connection.sendall(b"\x88\x00")
        except (OSError, ValueError):
            pass
        with mock.lock:
            if entry in mock.sockets:
                mock.sockets.remove(entry)
        self.close_connection = True


if __name__ == "__main__":
    server = Mock(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
    print(f"listening on {server.url}", flush=True)
    threading.Event().wait()
