"""Each package, installed and used in a system that has nothing else of ours.

`cargo xtask test --packages` makes the packages and runs this. As root, with Debian's debootstrap and, the first time, a network; where
there is none of these, each test says so and is passed over.
"""

import os
import re
import subprocess
import sys
import tarfile
import wave
from array import array

import pytest

import clean
from clean import ROOT

PACKAGES = ROOT / "out/packages"
# What apt brings with the .deb into the least system there is: sound, D-Bus, and what they need. No client of a sound server, no X.
BROUGHT = {"parlo", "libasound2", "libasound2-data", "libdbus-1-3"}

pytestmark = pytest.mark.skipif(clean.why_not() is not None, reason=str(clean.why_not()))


def package(pattern):
    found = list(PACKAGES.glob(pattern))
    assert len(found) == 1, f"{found or pattern}: `cargo xtask package` makes one"
    return found[0]


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """The clip that ships, as WAV."""
    import soundfile

    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, *soundfile.read(ROOT / "assets/speech.flac"), subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The .deb in a clean system, and what apt brought with it."""
    system = clean.online(clean.base().copy(tmp_path_factory.mktemp("deb") / "root"))
    before = system.packages()
    system.put(package("*.deb"), "/tmp/parlo.deb")
    # Without what Debian's own packages recommend beside: ours recommends nothing.
    system.run("apt-get install --yes --no-install-recommends /tmp/parlo.deb")
    system.add_user("ann")
    return system, system.packages() - before


def sound(path):
    """Seconds and level of a WAV file of 16 bits."""
    with wave.open(str(path)) as file:
        samples = array("h", file.readframes(file.getnframes()))
        return len(samples) / file.getframerate(), (sum(sample * sample for sample in samples) / len(samples)) ** 0.5 / 32768


def test_the_deb_brings_what_it_needs_and_no_more(installed):
    system, brought = installed
    assert brought == BROUGHT
    said = " ".join(system.try_("parlo doctor", "ann").stdout.split())
    assert "ok library ONNX Runtime at /usr/lib/parlo/libonnxruntime.so" in said, said
    assert "ok bundle parlo-16k" in said and "ok codec" in said, said


def test_what_the_deb_lays_out(installed):
    system, _ = installed
    files = system.run("dpkg --listfiles parlo").split()
    for file in (
        "/usr/share/man/man1/parlo.1.gz",
        "/usr/share/man/man1/parlo-encode.1.gz",
        "/usr/share/man/man1/parlod.1.gz",
        "/usr/share/bash-completion/completions/parlo",
        "/usr/share/zsh/site-functions/_parlo",
        "/usr/share/fish/vendor_completions.d/parlo.fish",
        "/usr/share/applications/parlo.desktop",
        "/usr/share/systemd/user/parlod.service",
        "/usr/share/doc/parlo/copyright",
    ):
        assert file in files and system.path(file).stat().st_size > 0, file
    assert not any(str(ROOT).encode() in system.path(f"/usr/bin/{name}").read_bytes() for name in ("parlo", "parlod"))
    # They complete: the words that bash would offer.
    offered = system.run(
        "bash -c '. /usr/share/bash-completion/completions/parlo; COMP_WORDS=(parlo enc); COMP_CWORD=1; _parlo parlo enc parlo; "
        'echo "${COMPREPLY[@]}"\''
    )
    assert "encode" in offered.split()


def test_the_unit_starts_as_it_is_documented(installed):
    system, _ = installed
    unit = system.path("/usr/share/systemd/user/parlod.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
    assert start == "/usr/bin/parlod"
    # As systemd does it: folders first, then the program, which says that it is ready. No sound devices are here.
    script = f"""
import os, socket, subprocess
settings = os.path.expanduser("~/.config/parlo")
os.makedirs(settings, exist_ok=True)
open(settings + "/config.toml", "w").write('[audio]\\nsource = "none"\\nsink = "none"\\n[call]\\nlisten = "127.0.0.1:7275"\\n')
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(os.environ["XDG_RUNTIME_DIR"] + "/notify")
notify.settimeout(30)
daemon = subprocess.Popen(["{start}"], env={{**os.environ, "NOTIFY_SOCKET": notify.getsockname()}})
try:
    print(notify.recv(100).decode())
finally:
    daemon.terminate()
    print("ended", daemon.wait(20))
"""
    python = clean.with_packages("python", "python3 python3-venv")
    system = clean.online(python.copy(system.folder.parent / "unit"))
    system.put(package("*.deb"), "/tmp/parlo.deb")
    system.run("apt-get install --yes /tmp/parlo.deb")
    system.add_user("ann")
    system.path("/tmp/start.py").write_text(script)
    said = system.run("python3 /tmp/start.py", "ann")
    assert "READY=1" in said and "ended 0" in said, said


def test_a_call_between_two_clean_systems(installed, clip):
    ann, _ = installed
    ben = ann.copy(ann.folder.parent / "ben")
    # Somebody else: with a key of his own.
    ben.run("rm -rf /home/ann/.config")
    ben.put(clip, "/home/ann/clip.wav")
    # Ann's daemon rings, she answers by hand; Ben speaks, and hangs up when he has said it all.
    takes = (
        "parlod --listen 10.77.0.1:7275 --anyone --source none --sink file:/home/ann/heard.wav & daemon=$!; "
        "for n in $(seq 100); do parlo answer && break; sleep 0.2; done; "
        "trap 'kill $daemon; wait $daemon; exit' INT TERM; wait $daemon"
    )
    places = (
        "sleep 2; parlo call --standalone 10.77.0.1:7275 --source file:/home/ann/clip.wav --sink none --report /home/ann/report.json"
    )
    call = [str(ROOT / "tools/conformance/namespaces.sh"), "--wait", "2"]
    call += ["--", *ann.command(takes, "ann"), "--", *ben.command(places, "ann")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"sent"' in ben.path("/home/ann/report.json").read_text()
    seconds, level = sound(ann.path("/home/ann/heard.wav"))
    spoken, spoken_level = sound(clip)
    assert abs(seconds - spoken) < 1.5 and 0.5 < level / spoken_level < 2, (seconds, level, done.stderr)


def test_the_deb_leaves_nothing_when_it_goes(installed):
    system, _ = installed
    system = system.copy(system.folder.parent / "gone")
    files = [file for file in system.run("dpkg --listfiles parlo").split() if not system.path(file).is_dir()]
    system.run("dpkg --purge parlo")
    assert len(files) > 20 and [file for file in files if system.path(file).exists()] == []


def test_the_tarball_works_wherever_it_is_unpacked(clip, tmp_path):
    system = clean.online(clean.with_packages("sound", "libasound2 libdbus-1-3 libstdc++6").copy(tmp_path / "root"))
    archive = package("*.tar.gz")
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted((member.name for member in members), key=lambda name: name.split("/"))
    assert len({member.mtime for member in members}) == 1 and {(member.uid, member.gid) for member in members} == {(0, 0)}
    top = members[0].name
    system.add_user("ann")
    system.put(archive, "/home/ann/parlo.tar.gz")
    system.put(clip, "/home/ann/clip.wav")
    system.run("cd && tar -xf parlo.tar.gz && mv parlo-* here && here/bin/parlo encode clip.wav clip.ptk && here/bin/parlo decode clip.ptk out.wav", "ann")
    assert abs(sound(system.path("/home/ann/out.wav"))[0] - sound(clip)[0]) < 0.1
    # A program on its own says where it looked, and is told by PARLO_HOME.
    system.run("cd && mkdir alone && cp here/bin/parlo alone/", "ann")
    lost = system.try_("cd && alone/parlo encode clip.wav lost.ptk", "ann")
    assert lost.returncode == 1 and "/home/ann/alone/bundles" in lost.stderr and "PARLO_HOME" in lost.stderr, lost.stderr
    system.run("cd && PARLO_HOME=/home/ann/here alone/parlo encode clip.wav told.ptk && cmp told.ptk clip.ptk", "ann")
    # Or finds what lies beside it.
    system.run("cd && cp -r here/share/parlo/bundles here/lib/parlo/libonnxruntime.so alone/", "ann")
    system.run("cd && alone/parlo encode clip.wav beside.ptk && cmp beside.ptk clip.ptk", "ann")
    assert top.startswith("parlo-")


def test_the_wheel_in_a_clean_python(clip, tmp_path):
    system = clean.online(clean.with_packages("python", "python3 python3-venv").copy(tmp_path / "root"))
    system.add_user("ann")
    for wheel in [package("*.whl"), *(ROOT / "vendor/python-package/wheels").glob("*.whl")]:
        system.put(wheel, f"/tmp/wheels/{wheel.name}")
    system.run("cd && python3 -m venv own && own/bin/pip install --no-index --find-links /tmp/wheels /tmp/wheels/parlo_voice-*.whl", "ann")
    script = "import numpy, parlo; codec = parlo.Codec(); print(codec.decode(codec.encode(numpy.zeros(16000), 16000)).shape)"
    assert system.run(f"cd && own/bin/python -c '{script}'", "ann").strip() == "(1, 1, 16000)"


def stages():
    """The steps of each stage of the container's recipe, with those of the stage that it is made from before them."""
    text = (ROOT / "packaging/Containerfile").read_text().replace("\\\n", " ")
    found, name = {}, None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = list(found.get(image, [("FROM", image)]))
        elif word and not word.startswith("#"):
            found[name].append((word, rest))
    return found


@pytest.mark.parametrize("stage, said", [("relay", "relaying at 0.0.0.0:7276"), ("daemon", "listening on ")])
def test_the_container_of_the_recipe_runs(stage, said, tmp_path):
    """No container engine is needed: the steps are taken one by one, in a clean system of the release that the recipe names."""
    steps = stages()[stage]
    assert steps[0] == ("FROM", f"debian:{clean.SUITE}-slim")
    system = clean.online(clean.base().copy(tmp_path / "root"))
    environment, user, entry = {}, "root", None
    for word, rest in steps[1:]:
        if word == "COPY":
            pattern, folder = rest.split()
            system.put(package(pattern), f"{folder}{package(pattern).name}")
        elif word == "RUN":
            system.run(rest, user)
        elif word == "ENV":
            environment.update([rest.split("=", 1)])
        elif word == "USER":
            user = rest
        elif word == "ENTRYPOINT":
            entry = re.findall(r'"([^"]+)"', rest)
        else:
            assert word in ("WORKDIR", "EXPOSE"), f"what is {word}?"
    assert user == "parlo" and entry
    settings = " ".join(f"{name}={value}" for name, value in environment.items())
    ran = system.try_(f"{settings} timeout --signal INT 5 {' '.join(entry)}", user)
    assert said in ran.stdout + ran.stderr, ran.stdout + ran.stderr


def test_packages_are_the_same_bytes_again():
    """By the same build: the archives, whatever the clock says and in whatever order a folder lists its files."""
    before = {file.name: file.read_bytes() for file in PACKAGES.iterdir() if not file.name.endswith(".whl")}
    xtask = os.environ.get("PARLO_PACKAGE")
    command = [*([xtask] if xtask else ["cargo", "xtask"]), "package", "deb", "tarball"]
    command += ["--build", os.environ.get("PARLO_PACKAGE_BUILD", "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    for name, content in before.items():
        assert (PACKAGES / name).read_bytes() == content, name


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
