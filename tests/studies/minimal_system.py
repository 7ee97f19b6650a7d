"""The README's two commands on a minimal Debian, as a user without a home.

    sudo python tests/studies/minimal_system.py FOLDER [--suite testing] [--no-tests]

Needs root, debootstrap and unshare. FOLDER becomes the system, unless there is one: a minimal
Debian and its own Python, nothing else, so no procps; /dev/shm holds 64 MB, as in a container. The
main command is stopped by Ctrl-C on a terminal, once while kernels are being compiled and once in
the middle, continued to its end, and given again; then the tests; then the package lies where
its user may not write. Ends with status 1 if anything is not as it should be. `--bind` shows the
system a file or folder of this one, as an index of packages or a certificate may need.
"""

import argparse
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from itertools import count, zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
USER = 54321  # a number that nobody has
HOME = "/srv/sparsebench"
STORE = "results/results.db"

faults = []


def check(holds, what):
    """Say what was seen; what does not hold is a fault."""
    print(f"    {'ok' if holds else 'NOT'}: {what}", flush=True)
    if not holds:
        faults.append(what)


def the_system(folder, suite, mirror, binds):
    """Make the system if it is not there, and mount what a container has."""
    if not (folder / "usr/bin/python3").exists():
        include = "--include=python3,python3-venv"
        more = [mirror] if mirror else []
        given = ["debootstrap", "--variant=minbase", include, suite, str(folder), *more]
        print(f"# {' '.join(given)}", flush=True)
        subprocess.run(given, check=True, stdout=subprocess.DEVNULL)
    for source, kind in (("/proc", "--rbind"), ("/dev", "--rbind")):
        subprocess.run(["mount", kind, source, str(folder) + source], check=True)
    shm = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=1777", "shm", str(folder / "dev/shm")]
    subprocess.run(shm, check=True)
    for path in binds:
        seen = folder / path.relative_to("/")
        if path.is_dir():
            seen.mkdir(parents=True, exist_ok=True)
        else:
            seen.parent.mkdir(parents=True, exist_ok=True)
            seen.touch()
        subprocess.run(["mount", "--rbind", str(path), str(seen)], check=True)


def the_clone(folder):
    """Copy what git tracks, or all of an unpacked sdist, for the user to own."""
    clone = folder / HOME.lstrip("/")
    shutil.rmtree(clone, ignore_errors=True)
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode == 0:
        for name in listed.stdout.split("\0")[:-1]:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    else:
        shutil.copytree(ROOT, clone)
    own(clone, USER)


def own(folder, user):
    """Give a folder to a user."""
    subprocess.run(["chown", "-R", f"{user}:{user}", str(folder)], check=True)


def the_commands():
    """Return the README's two commands."""
    readme = (ROOT / "README.md").read_text()
    return re.findall(r"^```sh\n(pip install -e .*)\n```", readme, re.MULTILINE)[:2]


def processes():
    """Return the ids of the user's processes."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == USER:
                if ") Z " not in (entry / "stat").read_text():
                    found.append(int(entry.name))
        except OSError:  # ended meanwhile
            continue
    return found


def show(text, most=20):
    """Print the last lines, of the states of a progress bar the last one."""
    moving = r"^\s*[\u2800-\u28ff]|\u2501"
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    kept = [
        line
        for line, after in zip_longest(lines, lines[1:], fillvalue="")
        if not (re.search(moving, line) and re.search(moving, after))
    ]
    if len(kept) > most:
        print(f"  [{len(kept) - most} lines]")
    for line in kept[-most:]:
        print(f"  {line}")


def heard(terminal):
    """Return what a terminal says within a moment."""
    if select.select([terminal], [], [], 0.05)[0]:
        try:
            return os.read(terminal, 65536)
        except OSError:  # the other side is closed
            time.sleep(0.02)
    return b""


class System:
    """Runs commands in the system, as the user, without a home."""

    def __init__(self, folder):
        self.folder = folder

    def given(self, command, where=HOME):
        inside = f"cd {where} && {command}"
        path = f"PATH={HOME}/.venv/bin:/usr/local/bin:/usr/bin:/bin"
        user = ["chroot", f"--userspec={USER}:{USER}", "--groups=", str(self.folder)]
        return [*user, "env", "-i", path, "TERM=xterm", "sh", "-c", inside]

    def ask(self, command):
        """Return the status and what is said."""
        given = self.given(command)
        ended = subprocess.run(given, stdout=-1, stderr=subprocess.STDOUT, text=True)
        return ended.returncode, ended.stdout.strip()

    def run(self, command, stop=None, where=HOME):
        """Run on a terminal, with Ctrl-C when `stop` says so; return status, text and seconds.

        The seconds go from Ctrl-C to the end of the last of the user's processes.
        """
        print(f"$ {command}", flush=True)
        begin = time.monotonic()
        child, terminal = pty.fork()
        if child == 0:
            given = self.given(command, where)
            os.execvp(given[0], given)
        said, asked, pressed, status = b"", begin, None, None
        while status is None:
            said += heard(terminal)
            now = time.monotonic()
            if stop and pressed is None and now > asked + 0.5:
                asked = now
                if stop(said):
                    os.write(terminal, b"\x03")
                    pressed = time.monotonic()
            ended, code = os.waitpid(child, os.WNOHANG)
            if ended:
                status = os.waitstatus_to_exitcode(code)
            elif pressed and now > pressed + 60:
                print(f"    still there a minute after Ctrl-C: {len(processes())} processes")
                for process in processes():
                    os.kill(process, 9)
        gone = time.monotonic()
        while more := heard(terminal):
            said += more
        while processes() and time.monotonic() < gone + 10:
            time.sleep(0.02)
        seconds = time.monotonic() - (pressed or begin)
        left = processes()
        for process in left:
            os.kill(process, 9)
        os.close(terminal)
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode(errors="replace"))
        show(text)
        since = "after Ctrl-C" if pressed else "in all"
        print(f"    status {status}, {seconds:.1f} s {since}, {len(left)} processes left")
        return status, text, seconds

    def rows(self):
        """Return the number of rows in the store, and its own check of itself."""
        code = (
            f"import sqlite3 as s; q = s.connect('{STORE}').execute; "
            "print(*q('SELECT COUNT(*) FROM rows').fetchone(), *q('PRAGMA quick_check').fetchone())"
        )
        status, said = self.ask(f'python3 -c "{code}"')
        if status:  # no store yet
            return 0, "ok"
        count, sound = said.split(maxsplit=1)
        return int(count), sound


def interrupted(system, command, stop, what):
    """Press Ctrl-C; return the rows that are there."""
    before, _ = system.rows()
    status, text, seconds = system.run(f"exec {command}", stop)
    after, sound = system.rows()
    check(status == 130, f"Ctrl-C {what}: status {status}, where 130 is right")
    check(seconds < 2, f"Ctrl-C {what}: everything had ended after {seconds:.1f} s, at most 2")
    check("Traceback" not in text and "Warning" not in text, f"Ctrl-C {what}: no traceback")
    check(sound == "ok" and after >= before, f"Ctrl-C {what}: {before} rows before, {after} after")
    return after


def main(folder, options, middle, tests):
    system = System(folder)
    check(not processes(), f"nobody else is user {USER}")
    the_clone(folder)
    debian, python = (system.ask(c)[1] for c in ("cat /etc/debian_version", "python3 --version"))
    print(f"# Debian {debian}, {python}, user {system.ask('id -u')[1]}, HOME unset")
    for program in ("pgrep", "ps"):
        check(system.ask(f"command -v {program}")[0] != 0, f"no {program}")
    first, second = the_commands()
    install, job = first.split(" && ")
    job = f"{job} {options}".strip()
    if system.run("python3 -m venv .venv")[0] or system.run(install)[0]:
        check(False, f"the first command: {install}")
        return
    check(system.ask("python -c 'import psutil'")[0] != 0, "no psutil")

    compiling = count(-5)  # asked twice a second
    interrupted(
        system,
        job,
        lambda said: b"compiling" in said and next(compiling) > 0,
        "while kernels are compiled",
    )
    kept = interrupted(system, job, lambda _: system.rows()[0] >= middle, "in the middle")
    check(kept >= middle, f"{kept} rows are kept")
    status, text, _ = system.run(job)
    there = re.search(r"([\d,]+)\s+rows\s+were\s+there", text)
    there = int(there[1].replace(",", "")) if there else 0
    check(status == 0 and there == kept, f"resumed: status {status}, {there} rows were there")
    status, text, _ = system.run(job)
    check(status == 0 and "nothing to compute" in text, "once more: nothing to compute")

    if tests:
        status, text, _ = system.run(second)
        check(status == 0, f"the second command: status {status}")
        check(system.ask("python -c 'import psutil'")[0] != 0, "still no psutil")

    own(folder / HOME.lstrip("/"), 0)
    shutil.rmtree(folder / HOME.lstrip("/") / "results")
    for cache in (folder / HOME.lstrip("/") / "sparsebench").rglob("__pycache__"):
        shutil.rmtree(cache)
    for command in ("--help", "list algorithms", "phase-transition --preset quick --out /tmp/out"):
        status, text, _ = system.run(f"python -m sparsebench {command}", where="/")
        check(status == 0, f"read-only package: {command}: status {status}")
    shutil.rmtree(folder / "tmp/out", ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", default="testing")
    parser.add_argument("--mirror", help="by default debootstrap's own")
    parser.add_argument("--bind", type=Path, action="append", default=[], metavar="PATH")
    parser.add_argument("--options", default="", help="more options of the main command")
    parser.add_argument("--middle", type=int, default=2000, help="rows before the second Ctrl-C")
    parser.add_argument("--no-tests", action="store_true", help="leave the second command out")
    given = parser.parse_args()
    if os.environ.get("MOUNTS") != "own":  # mounts end with the script
        here = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe(here[0], here, {**os.environ, "MOUNTS": "own"})
    # What runs in the background may be told to ignore Ctrl-C, and all that it starts with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = given.folder.resolve()
    the_system(folder, given.suite, given.mirror, [path.resolve() for path in given.bind])
    main(folder, given.options, given.middle, not given.no_tests)
    print(f"{len(faults)} faults" + "".join(f"\n  {fault}" for fault in faults))
    sys.exit(bool(faults))
