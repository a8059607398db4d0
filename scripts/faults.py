#!/usr/bin/env python3
"""Breaks every command that writes, at every syscall, and checks what it promises.

Three kinds of faults, each by strace's injection into the released binary:
  kill  the process dies before one syscall; the command is given again
  fail  one syscall fails with ENOSPC, EIO, EACCES or EMFILE
  pair  two processes do the same at once

The promise: after a kill and one more call there is the old or the new state, byte for byte, and
nothing beside it; a command that met a failing syscall has the same bytes or an exit code other than 0
and can be resumed to the same bytes; of two at once one wins, and nothing is lost.

    python3 scripts/faults.py target/release/gatedrun            every point (an hour or so)
    python3 scripts/faults.py BINARY --sample 12                 so many points per scenario and kind

Exit code 1 where a promise is broken; 0 with a loud line where strace is missing.
"""
import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHANGING = ["mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir",
            "ftruncate", "write", "pwrite64", "fsync", "fdatasync", "openat", "openat2", "linkat"]
LOOKING = ["read", "flock", "getdents64", "statx"]
# What each error is a fault of.
ERRORS = {
    "ENOSPC": ["mkdir", "mkdirat", "rename", "renameat", "renameat2", "ftruncate", "write",
               "pwrite64", "fsync", "fdatasync", "openat", "openat2", "linkat"],
    "EIO": CHANGING + LOOKING,
    "EACCES": ["mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir",
               "openat", "openat2", "linkat"],
    "EMFILE": ["openat", "openat2"],
}
TASK = "tasks/t/side.json"
RUN = "runs/t/side"


class Broken(Exception):
    """A promise that does not hold."""


def call(folder, binary, args):
    done = subprocess.run([binary, *args], cwd=folder, env={}, capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def traced(folder, binary, args, *options):
    command = ["strace", "-f", "-qq", *options, binary, *args]
    done = subprocess.run(command, cwd=folder, env={"PATH": os.environ["PATH"]}, timeout=120,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr


def tree(folder, top="runs"):
    """Every file below a folder, by its digest."""
    found = {}
    for path, _, names in os.walk(os.path.join(folder, top)):
        for name in names:
            full = os.path.join(path, name)
            with open(full, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(full, folder)] = digest
    return found


def folders(folder):
    """The names that lie where the run does."""
    place = os.path.join(folder, os.path.dirname(RUN))
    return sorted(os.listdir(place)) if os.path.isdir(place) else []


def project(binary, folder):
    for part in ["data", "policy", "tools"]:
        shutil.copytree(os.path.join(ROOT, part), os.path.join(folder, part))
    with open(os.path.join(ROOT, "tasks/canonical/v1.json")) as file:
        task = json.load(file)
    task.pop("expected", None)
    write = lambda path, text: {"tool": "write", "arguments": {"path": path, "content": text}}
    read = lambda path: {"tool": "read", "arguments": {"path": path}}
    task["id"] = "t/side"
    task["policy"] = "policy/variants/continue.yaml"
    task["llm"] = {"script": [
        {"calls": [read("work/a.md"), write("work/a.md", "one"), read("work/a.md")]},
        {"calls": [write("work/n/b.md", "two"), write("work/a.md", "three")]},
        {"final_answer": "done"}]}
    os.makedirs(os.path.join(folder, "tasks/t"))
    with open(os.path.join(folder, TASK), "w") as file:
        json.dump(task, file)


def edit(folder, text="three"):
    """Another task, so that the run has other bytes."""
    path = os.path.join(folder, TASK)
    with open(path) as file:
        task = file.read()
    with open(path, "w") as file:
        file.write(task.replace(f'"{text}"', '"four"'))


def cut(binary, folder):
    """A run that was killed after its second write."""
    traced(folder, binary, ["run", TASK], "-o", "/dev/null", "-e",
           "inject=renameat:signal=KILL:when=2")
    assert folders(folder) == ["side.partial"], folders(folder)


def committed(binary, folder):
    code, out = call(folder, binary, ["run", TASK])
    assert code == 0, out


def drifted(binary, folder):
    committed(binary, folder)
    edit(folder)


def proposed(binary, folder):
    drifted(binary, folder)
    assert call(folder, binary, ["check", RUN])[0] == 1


def drifted_and_cut(binary, folder):
    committed(binary, folder)
    os.rename(os.path.join(folder, RUN), os.path.join(folder, "kept"))
    cut(binary, folder)
    os.rename(os.path.join(folder, "kept"), os.path.join(folder, RUN))
    edit(folder)


def drifted_then_cut(binary, folder):
    """A run that was killed after its task had changed, beside the one from before."""
    committed(binary, folder)
    os.rename(os.path.join(folder, RUN), os.path.join(folder, "kept"))
    edit(folder)
    cut(binary, folder)
    os.rename(os.path.join(folder, "kept"), os.path.join(folder, RUN))


def keyed(binary, folder):
    committed(binary, folder)
    assert call(folder, binary, ["keygen", "k.pem"])[0] == 0


def again(*args):
    """Gives the command again; a run that was cut short meanwhile is resumed."""
    def finish(binary, folder):
        code, out = call(folder, binary, list(args))
        if "gatedrun resume" in out and code != 0:
            accept = ["--accept"] if "--accept" in args else []
            code, out = call(folder, binary, ["resume", RUN, *accept])
        if args[0] == "resume" and "nothing to resume" in out and os.path.isdir(
                os.path.join(folder, RUN)):
            code = 0
        if args[0] == "resume" and "nothing to resume" in out and not folders(folder):
            code, out = call(folder, binary, ["run", TASK])
        return code, out
    return finish


def discard_or_resume(binary, folder):
    """After a kill of `run --discard-partial`, what its user may well type instead."""
    code, out = call(folder, binary, ["resume", RUN])
    is_none = "nothing to resume" in out or "no such folder" in out
    if is_none and not os.path.isdir(os.path.join(folder, RUN)):
        code, out = call(folder, binary, ["run", TASK])
    elif "nothing to resume" in out:
        code = 0
    return code, out


def sign_again(binary, folder):
    call(folder, binary, ["sign", RUN, "--key", "k.pem"])
    return call(folder, binary, ["verify", RUN, "--key", "k.pub.pem"])


def keygen_again(binary, folder):
    """Both halves of one pair, or none that is in the way."""
    if not os.path.exists(os.path.join(folder, "k.pub.pem")) or not os.path.exists(
            os.path.join(folder, "k.pem")):
        code, out = call(folder, binary, ["keygen", "k.pem"])
        if code != 0:
            return code, out
    code, out = call(folder, binary, ["sign", RUN, "--key", "k.pem"])
    if code == 0:
        code, out = call(folder, binary, ["verify", RUN, "--key", "k.pub.pem"])
    return code, out


# name: (what there is before, the command, what is given after a kill, its exit code)
SCENARIOS = {
    "run": (lambda b, f: None, ["run", TASK], again("run", TASK), 0),
    "resume": (cut, ["resume", RUN], again("resume", RUN), 0),
    "resume --accept": (drifted_then_cut, ["resume", RUN, "--accept"],
                        again("resume", RUN, "--accept"), 0),
    "review --accept": (proposed, ["review", "--accept"], again("review", "--accept"), 0),
    "run --accept": (drifted, ["run", TASK, "--accept"], again("run", TASK, "--accept"), 0),
    "run --discard-partial": (cut, ["run", TASK, "--discard-partial"],
                              again("run", TASK, "--discard-partial"), 0),
    "run --discard-partial, then resume": (cut, ["run", TASK, "--discard-partial"],
                                           discard_or_resume, 0),
    "check": (drifted, ["check", RUN], again("check", RUN), 1),
    "check beside a run cut short": (drifted_and_cut, ["check", RUN], again("check", RUN), 1),
    "sign": (keyed, ["sign", RUN, "--key", "k.pem"], sign_again, 0),
    "keygen": (committed, ["keygen", "k.pem"], keygen_again, 0),
}
# The same where the file system exchanges no folders: for a moment the place is empty, and the next
# call fills it.
for base in ["resume --accept", "review --accept", "run --accept"]:
    SCENARIOS[f"{base}, no exchange"] = SCENARIOS[base]
NO_EXCHANGE = ["-e", "inject=renameat2:error=EINVAL"]
UNREPEATABLE = {"keygen"}
PAIRS = ["run", "resume", "resume --accept", "review --accept", "run --accept", "run --discard-partial", "check"]


class Scenario:
    def __init__(self, binary, name, scratch):
        self.binary, self.name, self.scratch = binary, name, scratch
        self.prepare, self.args, self.finish, self.code = SCENARIOS[name]
        self.also = NO_EXCHANGE if name.endswith("no exchange") else []
        self.template = os.path.join(scratch, "template")
        os.makedirs(self.template)
        project(binary, self.template)
        self.prepare(binary, self.template)
        self.before = tree(self.template)
        folder = self.fresh()
        if self.also:
            code, out = traced(folder, binary, self.args, "-o", "/dev/null", *self.also)
        else:
            code, out = call(folder, binary, self.args)
        assert code == self.code, (name, code, out)
        self.after, self.names = tree(folder), folders(folder)
        shutil.rmtree(folder)

    def fresh(self):
        folder = tempfile.mkdtemp(dir=self.scratch)
        shutil.copytree(self.template, folder, dirs_exist_ok=True, symlinks=True)
        return folder

    def counts(self, calls):
        """How often each syscall is made, by the thread that makes it most often."""
        folder = self.fresh()
        log = os.path.join(folder, "strace.log")
        traced(folder, self.binary, self.args, "-o", log, "-e", "trace=" + ",".join(calls), *self.also)
        made = collections.Counter()
        with open(log) as file:
            for line in file:
                found = re.match(r"(\d+) +(\w+)\(", line)
                if found:
                    made[found.groups()] += 1
        shutil.rmtree(folder)
        most = collections.Counter()
        for (_, name), count in made.items():
            most[name] = max(most[name], count)
        return most

    def points(self, kind):
        if self.also and kind != "kill":
            return []
        if kind == "kill":
            return [(name, at, None) for name, count in sorted(self.counts(CHANGING).items())
                    for at in range(1, count + 1)]
        if kind == "fail":
            counts = self.counts(CHANGING + LOOKING)
            return [(name, at, error) for error, calls in ERRORS.items() for name in calls
                    for at in range(1, counts[name] + 1)]
        return [("pair", at, None) for at in range(100)] if self.name in PAIRS else []

    def settled(self, folder, out):
        if self.name in UNREPEATABLE:
            return
        now = tree(folder)
        if now != self.after:
            changed = sorted({path for path in {**now, **self.after}
                              if now.get(path) != self.after.get(path)})
            raise Broken(f"other files after the finishing call: {changed[:6]}\n{out}")
        if folders(folder) != self.names:
            raise Broken(f"left behind: {folders(folder)}, expected {self.names}\n{out}")

    def nothing_lost(self, folder):
        """In every moment the run that was committed is there, or the one that replaces it."""
        here = tree(folder)
        place = {path: digest for path, digest in here.items() if path.startswith(RUN + "/")}
        for state in (self.before, self.after):
            whole = {path: digest for path, digest in state.items() if path.startswith(RUN + "/")}
            if place == whole:
                return
        if self.name not in ("sign", "keygen") and not self.also:
            raise Broken(f"neither the old nor the new run: {sorted(place)}")

    def kill(self, name, at, _):
        folder = self.fresh()
        kill = f"inject={name}:signal=KILL:when={at}"
        # Two injections into one syscall do not add up.
        also = [] if name == "renameat2" else self.also
        traced(folder, self.binary, self.args, "-o", "/dev/null", "-e", kill, *also)
        self.nothing_lost(folder)
        code, out = self.finish(self.binary, folder)
        if code != self.code:
            raise Broken(f"the finishing call ends with {code}\n{out}")
        self.settled(folder, out)
        shutil.rmtree(folder)

    def fail(self, name, at, error):
        folder = self.fresh()
        code, out = traced(folder, self.binary, self.args, "-o", "/dev/null", "-e",
                           f"inject={name}:error={error}:when={at}")
        self.nothing_lost(folder)
        place = lambda state: {path: digest for path, digest in state.items()
                               if path.startswith(RUN + "/")}
        if code == 0 and place(tree(folder)) != place(self.after):
            raise Broken(f"exit code 0 and other bytes\n{out}")
        code, later = self.finish(self.binary, folder)
        if code != self.code:
            raise Broken(f"the finishing call ends with {code}\n{out}\n{later}")
        self.settled(folder, out + "\n" + later)
        shutil.rmtree(folder)

    def pair(self, *_):
        folder = self.fresh()
        both = [subprocess.Popen([self.binary, *self.args], cwd=folder, env={},
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for _ in range(2)]
        codes = [one.wait() for one in both]
        if self.code not in codes:
            raise Broken(f"none of two wins: exit codes {codes}")
        self.nothing_lost(folder)
        code, out = self.finish(self.binary, folder)
        if code != self.code and "no such folder" not in out:
            raise Broken(f"the finishing call ends with {code}\n{out}")
        self.settled(folder, out)
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--sample", type=int, help="so many points per scenario and kind")
    parser.add_argument("--kinds", default="kill,fail,pair")
    parser.add_argument("--scenario", action="append", help="only these")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--verbose", action="store_true", help="print every broken promise")
    args = parser.parse_args()
    if shutil.which("strace") is None:
        print("SKIPPED: all of the fault injection, since strace is not installed (1 skip)")
        return 0
    binary = os.path.abspath(args.binary)
    broken_in_all = 0
    print(f"{'scenario':36} {'kind':5} {'points':>7} {'tried':>7} {'broken':>7}")
    for name in args.scenario or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="gatedrun faults ") as scratch:
            scenario = Scenario(binary, name, scratch)
            for kind in args.kinds.split(","):
                points = scenario.points(kind)
                if not points:
                    continue
                tried = points
                if args.sample and args.sample < len(points):
                    # Evenly spread, from a place that the seed says.
                    step = len(points) / args.sample
                    first = random.Random(f"{args.seed} {name} {kind}").random() * step
                    tried = [points[int(first + step * at)] for at in range(args.sample)]
                broken = []
                for point in tried:
                    try:
                        getattr(scenario, kind)(*point)
                    except (Broken, subprocess.TimeoutExpired) as what:
                        broken.append((point, str(what)))
                print(f"{name:36} {kind:5} {len(points):7} {len(tried):7} {len(broken):7}",
                      flush=True)
                for point, what in broken if args.verbose else broken[:3]:
                    words = " ".join(str(part) for part in point if part is not None)
                    print(f"  {words}: " + what.strip().replace("\n", "\n      "), flush=True)
                broken_in_all += len(broken)
    print(f"{broken_in_all} broken promises")
    return 1 if broken_in_all else 0


if __name__ == "__main__":
    sys.exit(main())
