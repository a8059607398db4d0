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
grep -q 'no-such-task.json: no such file' err.txt || fail "the error for a missing task"
printf '1' | dd of=runs/canonical/v1/trace.json bs=1 seek=300 conv=notrunc status=none
verify() { run verify runs/canonical/v1 --project "$root" "$@"; }
code=0; verify >verify.txt 2>/dev/null || code=$?
[ "$code" = 1 ] && grep -q 'trace.json, line' verify.txt || fail "verify of a changed byte"
if run check runs/canonical/v1 --task builtin:tasks/canonical/v1.json >drift.txt 2>/dev/null; then
  fail "a changed byte was not found"
fi
grep -q 'trace.json, line' drift.txt || fail "the place of the changed byte"
say "a changed byte is found and located"
cp "$root/runs/canonical/v1/trace.json" runs/canonical/v1/trace.json
run keygen key.pem >/dev/null || fail "keygen"
run sign runs/canonical/v1 --key key.pem >/dev/null || fail "sign"
verify --key key.pub.pem >/dev/null 2>&1 || fail "verify of a signed run"
say "a run is signed and verified"
mv runs/canonical/v1 whole
mkdir -p runs/canonical/v1.partial
head -c 9000 whole/state.jsonl >runs/canonical/v1.partial/state.jsonl
run resume runs/canonical/v1 --task builtin:tasks/canonical/v1.json >/dev/null || fail "resume"
cmp runs/canonical/v1/state.jsonl whole/state.jsonl || fail "the resumed run differs"
say "an interrupted run is resumed to the same bytes"
