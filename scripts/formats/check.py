#!/usr/bin/env python3
"""Holds what the program writes against its readers' own checkers.

ajv in strict mode compiles every JSON Schema and validates the committed data with it; SARIF is
validated with OASIS's schema, attestations are read by in-toto-attestation and securesystemslib.
Needs node, npm and Python's venv, and installs the packages that the lock files name below
target/formats. A checker that cannot be had is skipped, named and counted; with --require-all a
skipped checker is a failure.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TOOLS = os.path.join(ROOT, "target", "formats")
BIN = os.path.join(ROOT, "target", os.environ.get("PROFILE", "release"), "gatedrun")
passed, failed, skipped = 0, [], []


def run(*args, **kwargs):
    return subprocess.run(args, capture_output=True, text=True, **kwargs)


def gatedrun(folder, *args, codes=(0,)):
    made = run(BIN, *args, cwd=folder, env={**os.environ, "CI": ""})
    if made.returncode not in codes:
        raise SystemExit(f"gatedrun {' '.join(args)}: exit code {made.returncode}\n{made.stderr}")
    return made.stdout


def find(folder, suffix, but=()):
    found = []
    for top, _, names in os.walk(os.path.join(ROOT, folder)):
        found += [os.path.join(top, n) for n in names if n.endswith(suffix) and n not in but]
    return sorted(found)


def project(folder):
    """A copy of the project's runs and inputs, in which runs can be signed."""
    for part in ("data", "policy", "runs", "tasks", "tools"):
        shutil.copytree(os.path.join(ROOT, part), os.path.join(folder, part))
    with open(os.path.join(folder, "policy/v1.yaml")) as policy:
        text = policy.read()
    with open(os.path.join(folder, "next.yaml"), "w") as policy:
        policy.write(text.replace("denied: []", "denied: [fetch]"))


def schemas(folder):
    """The jobs for ajv: our schemas with the committed data, and SARIF."""
    outputs = {}
    for name, args in {
        "backtest": ("replay", "runs", "--policy", "next.yaml", "--require", "allow"),
        "check": ("check", "runs"),
        "regression": ("regression",),
    }.items():
        path = os.path.join(folder, f"{name}.sarif")
        gatedrun(folder, *args, "--sarif", path, codes=(0, 1, 2))
        if os.path.exists(path):
            outputs[name] = path
    data = {
        "docs/schema/record.schema.json": (find("runs", "state.jsonl"), True),
        "docs/schema/manifest.schema.json": (find("runs", "manifest.json"), False),
        "docs/schema/decision-table.schema.json": (find("tests/cases/policy", ".jsonl"), True),
        "policy/v1.schema.json": ([], False),
        "tasks/task.schema.json": (find("tasks", ".json", ("task.schema.json",)), False),
        "tools/contract.schema.json": (find("tools", ".json", ("contract.schema.json",)), False),
    }
    jobs = [{"schema": "sarif", "files": sorted(outputs.values())}]
    for schema in find("docs/schema", ".schema.json") + [os.path.join(ROOT, s) for s in data]:
        files, lines = data.get(os.path.relpath(schema, ROOT), ([], False))
        jobs.append({"schema": schema, "files": files, "lines": lines})
    return jobs


def ajv(folder):
    global passed
    if not shutil.which("npm") or not shutil.which("node"):
        skipped.append("ajv and the SARIF schema: node and npm are not installed")
        return
    os.makedirs(TOOLS, exist_ok=True)
    for name in ("package.json", "package-lock.json", "validate.mjs"):
        shutil.copy(os.path.join(HERE, name), TOOLS)
    installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=TOOLS)
    if installed.returncode:
        skipped.append(f"ajv and the SARIF schema: npm ci failed: {installed.stderr.strip()[:200]}")
        return
    made = run("node", "validate.mjs", cwd=TOOLS, input=json.dumps(schemas(folder)))
    lines = made.stdout.strip().splitlines() or [made.stderr.strip()]
    try:
        counted = json.loads(lines[-1])
    except ValueError:
        failed.append(f"ajv: {made.stderr.strip()[:400]}")
        return
    failed.extend(lines[:-1])
    passed += counted["checks"] - counted["problems"]


def attestations(folder):
    venv = os.path.join(TOOLS, "venv")
    python = os.path.join(venv, "bin", "python")
    made = run(sys.executable, "-m", "venv", venv)
    if made.returncode == 0:
        made = run(python, "-m", "pip", "install", "-q", "-r", os.path.join(HERE, "requirements.txt"))
    if made.returncode:
        skipped.append(f"in-toto and securesystemslib: {(made.stderr or made.stdout).strip()[:200]}")
        return
    gatedrun(folder, "keygen", "key.pem")
    gatedrun(folder, "sign", "runs/canonical/v1", "--key", "key.pem")
    shutil.copy(os.path.join(folder, "runs/canonical/v1/attestation.intoto.json"), os.path.join(folder, "run.json"))
    os.remove(os.path.join(folder, "runs/canonical/v1/attestation.intoto.json"))
    gatedrun(folder, "check", "runs/canonical/v1", "--attest", "check.json", "--key", "key.pem")
    made = run(python, os.path.join(HERE, "attestations.py"), "key.pub.pem", "run.json", "check.json", cwd=folder)
    global passed
    for line in made.stdout.splitlines():
        passed += 1
        print(f"  {line}")
    if made.returncode:
        failed.append(f"attestations: {made.stderr.strip()[-400:]}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        project(folder)
        ajv(folder)
        attestations(folder)
    for line in failed:
        print(f"FAILED {line}")
    for line in skipped:
        print(f"SKIPPED {line}")
    print(f"formats: {passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return bool(failed or (skipped and "--require-all" in sys.argv) or not (passed or skipped))


if __name__ == "__main__":
    sys.exit(main())
