"""Programs in a network of their own, with a name server that notes who asks for what: what they say to the world, and leave on the disk.

As a module it gives `watch`. As a program it is what `watch` runs inside new network and mount namespaces: a plan on standard
input, what was seen on standard output, both JSON. It needs nothing but Python's own library and `mount`.
"""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# Of RFC 5737; on the loopback, so that whoever is sent there finds a machine that answers.
OWN, ELSEWHERE = "192.0.2.1", "192.0.2.9"
LOOK_S = 0.02
# After what was asked for has ended, until it is killed.
PATIENCE_S = 20


def namespaces():
    """The command that gives a program new namespaces, or None and why there is none."""
    said = ""
    for command in (["unshare", "--net", "--mount"], ["unshare", "--user", "--map-root-user", "--net", "--mount"]):
        try:
            tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, timeout=20)
        except OSError as error:
            return None, f"there is no unshare: {error}"
        if tried.returncode == 0:
            return command, ""
        said = tried.stderr.strip()
    return None, f"this system allows no namespaces: {said}"


def watch(command, folder, programs, seconds):
    """Runs `programs` at once, for `seconds` where they do not end before; `command` is of `namespaces`.

    Each is a dictionary: `name`; `command`, a list; `environment`, beside a HOME, a TMPDIR and an XDG_RUNTIME_DIR of its own; and `input`, a
    file that it finds on standard input, which then stays open. Each runs in FOLDER/NAME/work.

    Returns
    -------
    What was seen: `lookups`, the names asked for; `sockets` of the Internet, as [protocol, local, remote]; `counters`, what the kernel
    counted; and `ended` by name: `code`, `output`, and `files`, what is in FOLDER/NAME now.
    """
    plan = json.dumps({"folder": str(folder), "programs": programs, "seconds": seconds})
    run = subprocess.run(
        [*command, sys.executable, __file__], input=plan, capture_output=True, text=True, timeout=seconds + 2 * PATIENCE_S + 60
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


class Names(threading.Thread):
    """A name server that knows one address for everything."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))

    def run(self):
        while True:
            question, who = self.socket.recvfrom(4096)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1 : at + 1 + question[at]].decode("ascii", "replace"))
                at += 1 + question[at]
            self.asked.append(".".join(labels))
            (kind,) = struct.unpack_from("!H", question, at + 1)
            answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(ELSEWHERE) if kind == 1 else b""
            head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, int(kind == 1), 0, 0)
            self.socket.sendto(head + question[12 : at + 5] + answer, who)


def network_up():
    """The loopback, with an address that does not look like one: who has none of those may not ask for names at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sh22x", b"lo", 0x41)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS
        for what, address in ((0x8916, OWN), (0x891C, "255.255.255.0")):  # SIOCSIFADDR, SIOCSIFNETMASK
            address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, what, struct.pack("16s16s8x", b"lo:1", address))


def bind_mounts(folder):
    """Names are asked for at this name server, by whatever way the system usually takes."""
    for path, text in (("/etc/resolv.conf", "nameserver 127.0.0.1\n"), ("/etc/nsswitch.conf", "hosts: files dns\n")):
        real = os.path.realpath(path)
        if os.path.exists(real):
            own = Path(folder, os.path.basename(path))
            own.write_text(text)
            subprocess.run(["mount", "--bind", str(own), real], check=True)


def counters():
    """What the kernel counts in this namespace, of what goes out."""
    found = {}
    lines = Path("/proc/net/snmp").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        protocol, names = names.split(":")
        for name, value in zip(names.split(), values.split()[1:]):
            found[protocol + name] = int(value)
    for line in Path("/proc/net/snmp6").read_text().splitlines() if os.path.exists("/proc/net/snmp6") else ():
        name, value = line.split()
        found[name] = int(value)
    wanted = ("UdpOutDatagrams", "Udp6OutDatagrams", "TcpActiveOpens", "IpOutNoRoutes", "Ip6OutNoRoutes")
    return {name: found.get(name, 0) for name in wanted}


def sockets():
    """The sockets of the Internet that there are: protocol, local and remote address."""
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6"):
        try:
            lines = Path("/proc/net", protocol).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, remote = (address(part) for part in line.split()[1:3])
            found.add((protocol, local, remote))
    try:
        found |= {("packet", line, "") for line in Path("/proc/net/packet").read_text().splitlines()[1:]}
    except OSError:
        pass
    return found


def address(text):
    """An address as /proc has it: words in the machine's order, in hexadecimal."""
    host, port = text.split(":")
    words = struct.unpack(f">{len(host) // 8}I", bytes.fromhex(host))
    packed = struct.pack(f"={len(words)}I", *words)
    return f"{socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)}:{int(port, 16)}"


def start(folder, program):
    for name in ("home", "tmp", "run", "work"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        **program.get("environment", {}),
    }
    output = tempfile.TemporaryFile()
    given = program.get("input")
    process = subprocess.Popen(
        program["command"],
        env=environment,
        cwd=folder / "work",
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    if given:
        data = Path(given).read_bytes()
        threading.Thread(target=feed, args=(process.stdin, data), daemon=True).start()
    return process, output


def feed(pipe, data):
    try:
        pipe.write(data)
        pipe.flush()
    except OSError:
        pass  # It has ended, and its exit code says why.


def end(process):
    """As people end them: the input ends, else Ctrl-C, else by force."""
    if process.stdin:
        try:
            process.stdin.close()
        except OSError:
            pass
    else:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "killed"


def main():
    plan = json.load(sys.stdin)
    folder = Path(plan["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    network_up()
    bind_mounts(folder)
    names = Names()
    names.start()
    before, own, seen = counters(), sockets(), set()
    running = {program["name"]: start(folder / program["name"], program) for program in plan["programs"]}
    until = time.monotonic() + plan["seconds"]
    while time.monotonic() < until and any(process.poll() is None for process, _ in running.values()):
        seen |= sockets()
        time.sleep(LOOK_S)
    ended = {}
    for name, (process, output) in running.items():
        code = end(process) if process.poll() is None else process.returncode
        output.seek(0)
        files = sorted(str(path.relative_to(folder / name)) for path in (folder / name).rglob("*") if not path.is_dir())
        ended[name] = {"code": code, "output": output.read().decode(errors="replace"), "files": files}
    counted = {name: value - before[name] for name, value in counters().items()}
    # The name server's own answers are no doings of theirs.
    counted["UdpOutDatagrams"] -= len(names.asked)
    json.dump({"lookups": names.asked, "sockets": sorted(seen - own), "counters": counted, "ended": ended}, sys.stdout)


if __name__ == "__main__":
    main()
