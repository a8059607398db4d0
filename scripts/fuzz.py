#!/usr/bin/env python3
"""Fuzzes the gate and every parser with libFuzzer: fuzz.py [--runs N] [TARGET...].

Needs cargo-fuzz, a nightly toolchain and a C++ compiler; without them it says so and ends with 3. Each target
is run so many times, and the table of what was run is printed at the end. An input that breaks something is
kept in tests/fuzz/artifacts/, and ends it with 1."""
import argparse, os, re, shutil, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join(ROOT, "tests/fuzz")
OPTIONS = ["--fuzz-dir", FOLDER, "--target-dir", os.path.join(ROOT, "target/fuzz"), "--sanitizer", "none"]


def targets():
    """The names of the targets, and the files of the project that each begins with."""
    with open(os.path.join(FOLDER, "targets.rs")) as file:
        text = file.read()
    found = re.findall(r'Fuzzed \{\s*name: "(\w+)".*?seeds: &\[(.*?)\]', text, re.S)
    return {name: re.findall(r'"([^"]+)"', seeds) for name, seeds in found}


def missing():
    """What is needed and not there."""
    def works(*command):
        return shutil.which(command[0]) and subprocess.run(command, capture_output=True).returncode == 0
    if not works("cargo", "+nightly", "--version"):
        yield "a nightly toolchain (rustup toolchain install nightly)"
    if not works("cargo", "fuzz", "--version"):
        yield "cargo-fuzz (cargo install cargo-fuzz)"
    if not (shutil.which("c++") or shutil.which("clang++")):
        yield "a C++ compiler"


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10_000_000)
    options.add_argument("targets", nargs="*", metavar="TARGET")
    args = options.parse_args()
    lacks = list(missing())
    if lacks:
        print(f"fuzz: SKIPPED: needs {', '.join(lacks)}")
        return 3
    known = targets()
    unknown = [name for name in args.targets if name not in known]
    if unknown:
        sys.exit(f"fuzz: unknown target {unknown[0]}; the targets are {', '.join(known)}")
    # The versions that the program is built with, and no later ones.
    shutil.copy(os.path.join(ROOT, "Cargo.lock"), os.path.join(FOLDER, "Cargo.lock"))
    rows, broken = [], []
    for name in args.targets or known:
        corpus = os.path.join(ROOT, "target/fuzz/corpus", name)
        os.makedirs(corpus, exist_ok=True)
        for seed in known[name]:
            shutil.copy(os.path.join(ROOT, seed), os.path.join(corpus, seed.replace("/", "_")))
        subprocess.run(["cargo", "+nightly", "fuzz", "build", *OPTIONS, name], check=True, cwd=ROOT)
        began = time.monotonic()
        command = ["cargo", "+nightly", "fuzz", "run", *OPTIONS, name, corpus, "--",
                   f"-runs={args.runs}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=4096", "-print_final_stats=1"]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seconds = time.monotonic() - began
        said = ran.stdout + ran.stderr
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
        runs = int(runs[1]) if runs else 0
        held = ran.returncode == 0 and runs >= args.runs
        rows.append((name, runs, seconds, "held" if held else "BROKEN"))
        print("{:<10} {:>12,} inputs in {:>6.0f} s: {}".format(*rows[-1]), flush=True)
        if not held:
            broken.append(name)
            print(said[-3000:])
    print(f"fuzz: {len(rows)} targets, {sum(row[1] for row in rows):,} inputs, {len(broken)} broken")
    return 1 if broken else 0


sys.exit(main())
