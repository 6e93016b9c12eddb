"""Nothing leaves the machine: every verb that loads a model, and the daemon for half a minute, in a network that notes everything.

Files are compared too: what lies in the folders that docs/threat-model.md names is expected, and nothing else.
"""

import re
import shutil
import sys

import pytest

import quiet
from conftest import CLIP, ROOT

# Longer than the library waits (8 to 9 s) before it reports, twice over.
SECONDS = 30
# What docs/threat-model.md says is written without being named.
EXPECTED = ("home/.config/parlo/", "home/.local/share/parlo/", "home/.local/state/parlo/", "run/parlo/")
LISTEN, DAEMON = 7301, 7302


@pytest.fixture(scope="module")
def namespaces():
    command, why_not = quiet.namespaces()
    if command is None:
        pytest.skip(f"what programs say to the world cannot be watched here: {why_not}")
    return command


@pytest.fixture(scope="module")
def tokens_of_clip(parlo, tmp_path_factory):
    path = tmp_path_factory.mktemp("given") / "clip.ptk"
    parlo.run("encode", "--bundle", ROOT / "model/bundles/parlo-16k", "--beam", 1, CLIP, path)
    return path


def test_the_watch_sees_look_ups_packets_sockets_and_files(namespaces, tmp_path):
    script = """if True:
        import os, pathlib, socket
        print(socket.getaddrinfo("collector.example", 443, socket.AF_INET)[0][4][0])
        try:
            socket.create_connection(("collector.example", 443), 1)
        except OSError as error:
            print(error)
        try:
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.1", 9))
        except OSError as error:
            print(error)
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 7399))
        cache = pathlib.Path(os.environ["HOME"], ".cache")
        cache.mkdir()
        (cache / "queue").touch()
        import time; time.sleep(1)
    """
    seen = quiet.watch(namespaces, tmp_path, [{"name": "teller", "command": [sys.executable, "-c", script]}], 10)
    ended = seen["ended"]["teller"]
    assert ended["code"] == 0 and "192.0.2.9" in ended["output"], ended
    assert ended["files"] == ["home/.cache/queue"]
    assert set(seen["lookups"]) == {"collector.example"}
    assert ["udp", "127.0.0.1:7399", "0.0.0.0:0"] in seen["sockets"]
    counted = seen["counters"]
    assert counted["TcpActiveOpens"] == 1 and counted["IpOutNoRoutes"] >= 1, counted


def test_programs_that_load_a_model_say_nothing_to_the_world_and_leave_nothing(
    namespaces, parlo, parlod, tokens_of_clip, tmp_path
):
    # Given to them under their own roofs: a daemon's recordings come from a folder, corpora too.
    corpus = tmp_path / "given" / "corpus"
    corpus.mkdir(parents=True)
    shutil.copy(CLIP, corpus / "a.flac")
    environment = {
        # Its place is not known from where the programs were built; nothing else is told them, and no switch.
        "ORT_DYLIB_PATH": parlo.environment["ORT_DYLIB_PATH"],
        "PARLO_BUNDLE": str(ROOT / "model/bundles/parlo-16k"),
    }

    def program(name, *arguments, of=parlo, **more):
        command = [str(of.path), *map(str, arguments)]
        return {"name": name, "command": command, "environment": environment, **more}

    alone = ("--source", "none", "--sink", "none")
    programs = [
        # These wait for more of what they read, and so live as long as the watch.
        program("encode-pipe", "encode", "--beam", 1, "-", "out.ptk", input=str(CLIP)),
        program("decode-pipe", "decode", "-", "out.wav", input=str(tokens_of_clip)),
        program("encode", "encode", "--beam", 1, CLIP, "out.ptk"),
        program("corpus", "encode", "--beam", 1, "--recursive", corpus, "tokens"),
        program("decode", "decode", tokens_of_clip, "out.wav"),
        program("cut", "cut", tokens_of_clip, "out.ptk", "--from", "1", "--to", "2"),
        program("info", "info", tokens_of_clip),
        program("verify", "verify", tokens_of_clip),
        program("export", "export", tokens_of_clip, "out.npz"),
        program("doctor", "doctor"),
        program("listen", "listen", f"127.0.0.1:{LISTEN}", *alone),
        program("call", "call", "--standalone", f"127.0.0.1:{LISTEN}", *alone),
        program("daemon", "--listen", f"127.0.0.1:{DAEMON}", *alone, of=parlod),
    ]
    seen = quiet.watch(namespaces, tmp_path / "seen", programs, SECONDS)
    ended = seen["ended"]

    assert seen["lookups"] == [], ended
    # They are as they should be, so that it is not for want of running that they are silent.
    codes = {name: (found["code"], found["output"]) for name, found in ended.items()}
    assert all(code == 0 for name, (code, _) in codes.items() if name != "doctor"), codes
    assert re.search(r"^ok +bundle +parlo-16k", ended["doctor"]["output"], re.M), codes
    for name, found in ended.items():
        left = [file for file in found["files"] if not file.startswith(("work/", *EXPECTED))]
        assert left == [], name
    made = {name: [file for file in found["files"] if file.startswith("work/")] for name, found in ended.items()}
    assert made["encode"] == made["encode-pipe"] == made["cut"] == ["work/out.ptk"]
    assert made["decode"] == made["decode-pipe"] == ["work/out.wav"]
    assert made["listen"] == made["call"] == made["daemon"] == made["doctor"] == made["info"] == []

    # Calls speak UDP, to whom they were told; nothing speaks TCP.
    counted = seen["counters"]
    assert counted["TcpActiveOpens"] == counted["IpOutNoRoutes"] == counted["Ip6OutNoRoutes"] == 0, counted
    assert counted["UdpOutDatagrams"] + counted["Udp6OutDatagrams"] > 20, counted
    callers = set()
    for protocol, local, remote in seen["sockets"]:
        assert protocol in ("udp", "udp6"), seen["sockets"]
        port = int(local.rpartition(":")[2])
        if port not in (LISTEN, DAEMON):
            callers.add(port)
        assert remote.rpartition(":")[2] in ("0", str(LISTEN)), seen["sockets"]
    assert len(callers) == 1, seen["sockets"]
