"""Systems with nothing of ours in them, to install packages into: Debian's least, unpacked into folders, entered with chroot."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
TIMEOUT_S = 600
# Debian's servers are asked once; later runs take what is here.
CACHE = Path(os.environ.get("PARLO_CLEAN_ROOTS") or Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "clean-roots"))


def why_not():
    """Why there are no clean systems here, or None."""
    if os.geteuid() != 0:
        return "packages are installed into clean systems by root only"
    for program in ("debootstrap", "unshare", "chroot", "ip", "tc"):
        if shutil.which(program) is None:
            return f"packages are installed into clean systems where {program} is: there is none"
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"this system allows no namespaces: {tried.stderr.strip()}"
    try:
        base()
    except subprocess.CalledProcessError as error:
        last = (error.stderr or error.stdout or b"").decode(errors="replace").strip().splitlines()[-1:]
        return f"no clean system can be made here ({error}): {' '.join(last)}"
    return None


class System:
    """One such system."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def command(self, line, user="root"):
        """The command that runs this line of shell in it, with a /proc of its own and none of our environment."""
        setup = f"mount -t proc proc {self.folder}/proc && exec chroot {self.folder} "
        home = "/root" if user == "root" else f"/home/{user}"
        inside = ["env", "-i", f"HOME={home}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", f"XDG_RUNTIME_DIR={home}/run"]
        if user != "root":
            inside[:0] = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        inside += ["DEBIAN_FRONTEND=noninteractive", "sh", "-c", line]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", setup + shlex.join(inside)]

    def try_(self, line, user="root"):
        return subprocess.run(
            self.command(line, user), capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )

    def run(self, line, user="root"):
        """What it printed; fails with what it said."""
        done = self.try_(line, user)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def path(self, inside):
        return self.folder / inside.lstrip("/")

    def put(self, file, inside):
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, self.path(inside))

    def add_user(self, name):
        self.run(f"useradd --create-home {name} && install -d -o {name} -g {name} -m 700 /home/{name}/run")

    def packages(self):
        return set(self.run("dpkg-query --show --showformat '${Package}\\n'").split())

    def copy(self, folder):
        subprocess.run(["cp", "--archive", "--reflink=auto", str(self.folder), str(folder)], check=True)
        return System(folder)


def base():
    """The least system, made if it is not there yet."""
    return made("base", None, lambda folder: subprocess.run(
        ["debootstrap", "--variant=minbase", SUITE, str(folder)], check=True, capture_output=True
    ))


def with_packages(name, packages):
    """The least system and these packages."""

    def install(folder):
        base().copy(folder)
        online(System(folder)).run(f"apt-get install --yes --no-install-recommends {packages}")

    return made(name, packages, install)


def made(name, packages, make):
    folder, half = CACHE / f"{SUITE}-{name}", CACHE / f"{SUITE}-{name}.half"
    stamp = CACHE / f"{SUITE}-{name}.made"
    if not stamp.is_file() or stamp.read_text() != str(packages):
        for old in (folder, half):
            shutil.rmtree(old, ignore_errors=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        make(half)
        half.rename(folder)
        online(System(folder)).run("apt-get update")
        stamp.write_text(str(packages))
    return System(folder)


def online(system):
    """Knows the name servers of this machine."""
    shutil.copy(os.path.realpath("/etc/resolv.conf"), system.path("/etc/resolv.conf"))
    return system
