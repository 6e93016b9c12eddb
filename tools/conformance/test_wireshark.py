"""docs/parlo.lua, by tshark, over the datagrams that docs/wire.md shows."""

import re
import shutil
import struct
import subprocess

import pytest

from conftest import ROOT, TIMEOUT_S

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing: apt-get install tshark")

CALLER, LISTENER = 1, 2


def vectors():
    """Whole datagrams of the document: name and bytes, in the order in which they go."""
    lines = (ROOT / "docs/wire.md").read_text().splitlines()
    matches = (re.fullmatch(r"(sealed-(?:ik|xx)-[a-z-]+|sealed-psk-(?!text)[a-z]+|refuse): ((?:[0-9A-F]{2} ?)+)", line) for line in lines)
    return [(match[1], bytes.fromhex(match[2])) for match in matches if match]


def pcap(path, datagrams, port):
    """Datagrams over IPv4 and UDP, without link headers (LINKTYPE_RAW)."""
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)]
    for n, (name, body) in enumerate(datagrams):
        from_caller = name.endswith(("initiate", "finish", "confirm", "media", "echo", "rekey"))
        ends = (CALLER, LISTENER) if from_caller else (LISTENER, CALLER)
        ports = (40000, port) if from_caller else (port, 40000)
        udp = struct.pack(">HHHH", *ports, 8 + len(body), 0) + body
        address = [bytes([192, 0, 2, end]) for end in ends]
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), n, 0, 64, 17, 0) + b"".join(address) + udp
        out.append(struct.pack("<IIII", n, 0, len(ip), len(ip)) + ip)
    path.write_bytes(b"".join(out))


def read(path, *fields):
    command = ["tshark", "-X", f"lua_script:{ROOT / 'docs/parlo.lua'}", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    for field in ("_ws.col.Protocol", "_ws.col.Info", *fields):
        command += ["-e", field]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert "Lua" not in result.stderr, result.stderr
    return [line.split("|") for line in result.stdout.splitlines()]


def test_every_kind_is_read(tmp_path):
    datagrams = vectors()
    assert len(datagrams) == 37
    pcap(tmp_path / "calls.pcap", datagrams, 7275)
    rows = read(tmp_path / "calls.pcap", "parlo.receiver", "parlo.number", "parlo.depth", "parlo.sealed_bytes", "parlo.tag")
    kinds = {"retry": "Retry", "initiate": "Initiate", "respond": "Respond", "refused": "Respond", "finish": "Finish", "media": "Media"}
    for (name, body), row in zip(datagrams, rows, strict=True):
        protocol, info, receiver, number, depth, sealed, tag = row
        assert protocol == "Parlo", name
        kind = name.split("-")[-1]
        assert info.startswith(kinds.get(kind, "Refuse" if kind == "refuse" else "Control")), (name, info)
        if body[0] == 0x40 or body[0] >= 0x80:
            assert int(receiver, 16) == int.from_bytes(body[1:3])
            assert int(number) == int.from_bytes(body[3:5])
            assert int(sealed) == len(body) - 13
            assert tag.replace(":", "") == body[-8:].hex()
        if kind == "media":
            assert depth == "6" and info == f"Media, depth 6, to beef, number 4660, {len(body) - 13} bytes sealed"
    assert "cookie shown" in rows[1][1] and "IK" in rows[1][1]
    assert rows[-1][1] == "Refuse to 0102: other version"


def test_another_port_is_found_by_the_handshake(tmp_path):
    datagrams = [(name, body) for name, body in vectors() if name.startswith("sealed-xx")]
    pcap(tmp_path / "calls.pcap", datagrams, 5555)
    assert all(row[0] == "Parlo" for row in read(tmp_path / "calls.pcap"))


def test_what_is_none_is_left_alone_or_said_to_be_short(tmp_path):
    stun = bytes.fromhex("000100002112a442") + bytes(12)
    relay = bytes([0x50, 1, 2, 3])
    pcap(tmp_path / "others.pcap", [("stun", stun), ("cut", bytes([0x80, 1, 2])), ("relay", relay), ("unknown", b"\x60")], 7275)
    rows = read(tmp_path / "others.pcap", "parlo.short")
    assert rows[0][0] != "Parlo"
    assert rows[1][0] == "Parlo" and rows[1][2] and not rows[2][2]
    assert rows[2][1] == "Relay join"
    assert rows[3][1] == "Unknown, 1 bytes?"
