#!/usr/bin/env bash
# Drives the release binary from outside, in an empty folder whose name has a space, with an empty
# environment: what a new user's machine looks like to it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin="$root/target/release/gatedrun"
folder="${TMPDIR:-/tmp}/gatedrun smoke $$"
mkdir "$folder"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

say() { printf 'smoke: %s\n' "$1"; }
fail() { printf 'smoke: FAILED: %s\n' "$1" >&2; exit 1; }
run() { env -i TZ=Pacific/Chatham LC_ALL=tr_TR.UTF-8 "$bin" "$@"; }

run --version >/dev/null || fail "--version"
run run >out.txt || fail "the built-in task"
say "the built-in task ran in an empty folder"
for file in state.jsonl trace.json run_report.md manifest.json; do
  cmp "runs/canonical/v1/$file" "$root/runs/canonical/v1/$file" || fail "$file differs from the committed one"
done
say "its four artifacts equal the committed ones"
run check runs/canonical/v1 --task builtin:tasks/canonical/v1.json >/dev/null || fail "check"
run show runs/canonical/v1 --json >show.json || fail "show --json"
run corpus build corpus >/dev/null || fail "corpus build"
cmp corpus/manifest.json "$root/data/corpus/v1/manifest.json" || fail "the corpus differs"
say "the corpus builds to the same bytes"
if run run no-such-task.json 2>err.txt; then fail "a missing task was accepted"; fi
grep -q 'no-such-task.json: it cannot be read' err.txt || fail "the error for a missing task"
printf '1' | dd of=runs/canonical/v1/trace.json bs=1 seek=300 conv=notrunc status=none
if run check runs/canonical/v1 --task builtin:tasks/canonical/v1.json >drift.txt 2>/dev/null; then
  fail "a changed byte was not found"
fi
grep -q 'trace.json, line' drift.txt || fail "the place of the changed byte"
say "a changed byte is found and located"
