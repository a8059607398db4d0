#!/usr/bin/env python3
"""A second verifier, written from docs/ledger.md and its schema with the standard library; it shares no code with the
program. verify_evidence.py RUN [--project FOLDER] [--key PUBLIC.pem]... [--require-signature] prints a verdict in JSON. Ledger and manifest are
recomputed whole; of the trace each span's name, end and claims, of the report the counts, of the corpus its manifest; the rest by digests."""
import argparse, base64, hashlib, itertools, json, os, re, unicodedata
from ed25519 import signed
from json_schema import in_order
STATE, TRACE, REPORT, MANIFEST = FILES = ["state.jsonl", "trace.json", "run_report.md", "manifest.json"]
SIGNATURE, EPOCH, MS = "attestation.intoto.json", 1767225600000000000, 10**6
GRAMMAR = json.load(open(os.path.join(os.path.dirname(__file__), "../docs/grammar.json")))  # which event may follow which; what rules mean
RULES = {rule["rule"]: (rule["error_class"], rule["terminal_reason"], rule["failure_mode"]) for rule in GRAMMAR["rules"]}
NEXT = {(step["from"], step["event"]): step["to"] for step in GRAMMAR["order"]}
CATALOG = open(os.path.join(os.path.dirname(__file__), "../failure_modes.md")).read()  # source, category, retryable of a class
ERRORS = {c: (s, k, r == "yes") for c, s, k, r in re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| (\w+) \| (yes|no) \|", CATALOG)}
SPANS = dict(llm_replied="chat", gate_decided="policy_check", tool_attempted="retry_attempt", tool_finished="execute_tool",
             step_finished="agent_step", run_finished="invoke_agent", tool_reconciled="human_checkpoint")
CLAIMS = {"agent.policy.decision": "decision", "agent.policy.rule_id": "rule_id", "agent.tool.result_sha256": "sha256",
          "agent.retry.outcome": "outcome", "agent.terminal_reason": "terminal_reason", "agent.failure_mode": "failure_mode"}
WRONG = (OSError, KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError)
REWRITTEN, UNKNOWN = "only line ends or white space at the ends of lines differ", "the {} has format {}, and this verifier reads format {}"
NEWER = [(2, lambda e: e["kind"] == "run_started" and e["llm"]["path"] == "outside")]  # what format 1 cannot express, and since when
VERDICTS = ["verified", "unconfirmed", "inputs_differ", "unfinished", "malformed", "tampered", "unread"]  # the worst is the run's
EXIT = dict(zip(VERDICTS, (0, 6, 9, 7, 5, 1, 8)))  # as `gatedrun verify` exits; 2 for arguments that are wrong
found, trimming = [], {}  # (verdict, file, line, what), the first that was found first; the files that were read trimmed
def add(verdict, file, line, what, stop=False):
    found.append((verdict, file, line, what))
    if stop:
        raise SystemExit  # nothing more can be said
sha = lambda data: hashlib.sha256(data).hexdigest()
def derive(kind, seed, *parts):
    text = b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in parts)
    return kind + "_" + sha(seed.to_bytes(8, "little") + text)[:16]
dump = lambda value, **o: json.dumps(value, **{"separators": (",", ":"), "ensure_ascii": False, **o}).encode()
def trim(data):  # without what a formatter or git does to every text
    text = b"\n".join(line.rstrip(b" \t\r") for line in data.split(b"\n")).rstrip(b"\n")
    return text and text + b"\n"
def rewritten(data, due, kept=None):  # kept: the digest of what was written, with LF
    lf = data.replace(b"\r\n", b"\n")
    return sha(lf) == kept or due in map(sha, (lf, lf.replace(b"\n", b"\r\n"), lf + b"\n", lf[:-1] if lf[-1:] == b"\n" else lf, trim(data)))
def unread(error, is_input=False):  # unless it is about the name, the machine refused, and nothing is known of the run
    error.errno in (2, 20, 21, 22, 36, 40, 13 * is_input) or add("unread", os.path.basename(error.filename), None, error.strerror, True)
def read(folder, name, verdict="malformed", follow=False):
    path, outside = os.path.join(folder, name), name[:1] == "/" or ".." in name.split("/")
    try:
        data = None if outside or os.stat(path, follow_symlinks=follow).st_mode >> 12 != 8 else open(path, "rb").read()
    except OSError as error:
        data = unread(error, follow)
    if data is not None:
        if trimming and name in FILES + [SIGNATURE] and not follow:
            both = itertools.zip_longest(*(text.removesuffix(b"\n").split(b"\n") for text in (data, trim(data))))
            trimming[name] = trim(data) != data and next((n for n, (was, now) in enumerate(both, 1) if was != now), 1)
            return trim(data)
        return data
    verdict == "absent" or add(verdict, name, None, "unreadable, or not a regular file", verdict == "malformed")
def parse(line, stated):  # a record of a ledger that states this format, and whether it is written as the ledger writes; or an error
    record = json.loads(line.decode(), parse_constant=int)
    number, lowest = record["event"].get("format", stated), max([1, *(since for since, is_in in NEWER if is_in(record["event"]))])
    if number not in (1, 2) or lowest > number or "format" in record["event"] and lowest < number:
        raise ValueError(UNKNOWN.format("ledger", number, "1 to 2") if number not in (1, 2) else f"format {number}, and the lowest is {lowest}")
    return record, in_order(record) and dump(record) == line
def work_path(text):  # a path of the run's own folder as the policy reads it; None where it is not one
    if not isinstance(text, str) or len(text.encode("utf8", "replace")) > 1024 or re.search(r"[\x00-\x1f\x7f-\x9f\\]", text) or text[:1] == "/" or text[-1:] == "/":
        return None
    mount, *parts = [part for part in text.split("/") if part not in ("", ".")] or [""]
    names = []
    for part in parts:
        names.pop() if part == ".." and names and names[-1] != ".." else names.append(part)
    odd = lambda name: name == ".." or len(name.encode("utf8", "replace")) > 255 or name[-1] in ". " or name[0] == " " or unicodedata.normalize("NFKC", name) != name
    return None if mount != "work" or not names or any(map(odd, names)) else "/".join(["work", *names])
def facts(e, kind, s):
    """What must hold of an event beyond its place, as pairs of a truth and its name; s is what came before."""
    sums, use, denies, step = s["sums"], s["sums"]["usage"], e.get("decision") == "deny", e.get("subject") == "step"
    limit = lambda key, value: (value <= s["limits"].get(key, value), key)
    in_time = ((s["asked"] - EPOCH) // MS < s["limits"].get("max_elapsed_ms", 2**64), "max_elapsed_ms")
    if kind == "step_started":
        sums["steps"], s["denied"] = sums["steps"] + 1, None
        yield from (limit("max_iterations", sums["steps"]), in_time)
    elif kind == "run_started":
        policy = ([i for i in e["inputs"] if i["role"] == "policy"] or [{"path": "", "sha256": ""}])[0]
        s.update(run=e, limits=s["budgets"](policy))
        due = (derive("run", e["seed"], "run", e["task"]), policy["sha256"][:12], len(e["inputs"][:1024]))
        yield (e["run_id"], e["policy_version"], len(e["inputs"])) == due, "run_id, policy_version or inputs"
    elif kind == "llm_called":
        used = {kind: sum(use[k] + e["reserved"][k] for k in use if k.endswith(kind)) for kind in ("tokens", "cost_microusd")}
        yield from (limit(f"max_{kind}", used[kind]) for kind in used)
    elif kind == "llm_replied":
        s.update(calls=list(e["calls"]), answer=e["final_answer"])
        use.update({k: use[k] + e["usage"][k] for k in use})
        place = ("call", s["run"]["seed"], "call", s["run"]["run_id"], str(sums["steps"]))
        yield all(call["call_id"] == derive(*place, str(n)) for n, call in enumerate(e["calls"], 1)), "call_id"
        yield (e["final_answer"] is None) == bool(e["calls"]), "the answer beside the calls"
    elif kind == "gate_decided":
        call = {"call_id": None, "tool": None} if step else s["calls"].pop(0) if s["calls"] else {}
        s.update(call=s["call"] if step else call, tries=0, writes=s["writes"] if step else "write_path" in e["effects"])
        yield (e["call_id"], e["tool"]) == (call.get("call_id", 0), call.get("tool", 0)), "the call"
        yield (e["rule_id"] is None, e["policy_version"]) == (not step and not denies, s["run"]["policy_version"]), "rule_id"
        yield e["error_class"] == (RULES[e["rule_id"]][0] if denies else None), "error_class"
        s["denied"] = e["rule_id"] if denies else s["denied"] if step else None
        sums["calls_denied" if denies else "calls_allowed"] += not step
        yield from () if step or denies else (limit("max_tool_calls", sums["calls_allowed"]), in_time)
    if kind.startswith("tool_"):
        yield e["call_id"] == s["call"]["call_id"] and e.get("tool", s["call"]["tool"]) == s["call"]["tool"], "the call"
        error, key = e.get("error"), derive("idem", s["run"]["seed"], "idempotency", e["call_id"])
        yield e.get("idempotency_key", key) == key, "idempotency_key"
        s["content"] = e["arguments"] if kind == "tool_started" else s["content"]
        yield not error or (error["source"], error["category"], error["retryable"]) == ERRORS[error["class"]], "the error"
    if kind == "tool_attempted":
        s["tries"], sums["attempts"] = s["tries"] + 1, sums["attempts"] + 1
        due = (s["tries"], e["outcome"] == "success", e["outcome"] != "transient_failure")
        yield (e["attempt"], error is None, e["backoff_ms"] is None) == due and limit("max_attempts", sums["attempts"])[0], "the attempt"
    elif kind == "tool_finished":
        whole, result = dump(e["result"], sort_keys=True), e["result"]
        yield e["ok"] == (result is not None) == (error is None), "ok"
        yield result is None or e["cut"] or (e["bytes"], e["sha256"]) == (len(whole), sha(whole)), "the result's digest"
        given = s["content"] if isinstance(s["content"], dict) else {}
        text = str(given.get("content")).encode("utf8", "replace")
        done = e["ok"] or (error or {}).get("class") in ("output_schema", "result_lost")  # what failed so took place all the same
        path, wrote = work_path(given.get("path")), {"sha256": sha(text), "bytes": len(text)}
        wrote = wrote if done and path and isinstance(given.get("content"), str) else None
        if s["writes"] and isinstance(result, dict) and isinstance(result.get("path"), str) and not e["cut"]:
            yield re.fullmatch(r"work(/(?!\.\.?(/|$))[^/\\\0]+)+", result["path"]), "path"
            said = {k: result.get(k) for k in ("sha256", "bytes")}
            is_digest = isinstance(said["sha256"], str) and re.fullmatch("[0-9a-f]{64}", said["sha256"]) and type(said["bytes"]) is int and said["bytes"] >= 0
            path, wrote = (result["path"], said) if is_digest else (path, wrote)
        if s["writes"] and wrote:
            s["work"][path] = wrote
            s["lf"][path] = sha(text.replace(b"\r\n", b"\n")) if sha(text) == wrote["sha256"] else None
    elif kind == "step_finished":
        s["mode"] = None if e["failure_mode"] == "tool_call_failure" else e["failure_mode"]
        yield e["totals"] == sums and not (s["calls"] and s["mode"] is s["denied"] is None), "totals"
    elif kind == "run_finished":
        denied, ended = s["denied"], (e["terminal_reason"], e["rule_id"], e["failure_mode"], e["answer"])
        due = (RULES[denied][1], denied, RULES[denied][2]) if denied else ("failure_mode_terminal", None, s["mode"] or 0)
        due = due if s["answer"] is None else ("final_answer", None, None)
        yield e["totals"] == sums and ended == (*due, s["answer"]), "how it ended"
def ledger(data, head, budgets, ended):
    """The records and what they add up to; the first that does not hold ends it."""
    lines, records, prev, state, clock = data.split(b"\n"), [], "0" * 64, "start", EPOCH
    sums = dict(steps=0, calls_allowed=0, calls_denied=0, attempts=0, usage=dict(input_tokens=0, output_tokens=0, cost_microusd=0))
    s = dict(sums=sums, calls=[], work={}, lf={}, content=None, call={}, writes=False, limits={}, budgets=budgets, denied=None, mode=None, answer=None, warned=False)
    for number, line in enumerate(lines[:-1], 1):
        try:
            record, written = parse(line, s.get("run", {}).get("format", 1))
            e, kind, gate = record["event"], record["event"]["kind"], record["event"]["kind"] == "gate_decided"
            if written and record["seq"] == number - 1 and record["prev"] != prev:
                after = re.search(rb'"prev":"(\w+)"}$', lines[number])  # it shows which of the two lines was changed
                own = (after[1].decode() if after else None if lines[number] else head) == sha(line)
                add("tampered", STATE, number - own, "the chain is broken here", True)
            cut, more = kind == "step_finished" and s["calls"], {"transient_failure": " transient_failure", "in_doubt": " in_doubt"}.get(e.get("outcome"), "")
            word = f"{kind} {e['subject']} {e['decision']}" if gate else kind + more + " took_place" * (e.get("took_place") is True) + " cut" * bool(cut)
            outside = kind in ("run_started", "run_finished") or gate and state == "between"
            state, step = NEXT.get((state, word)), None if outside else sums["steps"] + (kind == "step_started")
            clock += e["waited_ms"] * MS if kind == "tool_attempted" else 0
            s.update(asked=s["asked"] if s["warned"] else record["at_ns"], warned=word == "gate_decided step allow")
            due = [(written and record["seq"] == number - 1, "how it is written"), (state, "its place")]
            due += [(record["at_ns"] == clock, "at_ns"), (record["step"] == step, "step"), *(facts(e, kind, s) if state else [])]
        except WRONG as error:
            add("malformed", STATE, number, f"not a record: {error}", True)
        for what in (what for holds, what in due if not holds):
            add("tampered", STATE, number, f"{what} does not follow from the lines before it", True)
        clock, prev, _ = clock + MS + (e.get("backoff_ms") or 0) * MS, sha(line), records.append(record)
    s["in_call"] = state in ("running", "doubt", "free", "settled")
    if (lines[-1] or state != "finished") and not ended:
        add("unfinished", STATE, len(records) or None, "it is intact as far as it goes, and nothing says that the run has ended")
    elif lines[-1] or state != "finished":
        add("malformed" if lines[-1] else "tampered", STATE, max(1, len(lines) - (not lines[-1])), "it is cut short", True)
    return records, prev, s
def projections(run, records, head, s):
    data, started, end = {n: read(run, n) for n in FILES}, records[0]["event"], records[-1]["event"]
    other = [n for n in FILES[:3] if sha(data[n]).encode() not in data[MANIFEST]]
    tries = [r["event"] for r in records if r["event"]["kind"] == "tool_attempted"]
    modes = [r["event"]["failure_mode"] for r in records if r["event"]["kind"] == "step_finished" and r["event"]["failure_mode"]]
    due = dict({k: started[k] for k in "run_id task agent_version seed llm policy_version corpus inputs".split()}, format=1,
               work=s["work"], ledger={"format": started["format"], "records": len(records), "head": head},
               files={n: {"sha256": sha(data[n]), "bytes": len(data[n])} for n in FILES[:3]}, outcome=dict(
        end["totals"], **{k: end[k] for k in ("terminal_reason", "rule_id", "failure_mode")},
        answer_sha256=end["answer"] and sha(end["answer"].encode()), retries=sum(e["attempt"] > 1 for e in tries),
        exhausted=sum(e["outcome"] == "exhausted" for e in tries), failure_modes={m: modes.count(m) for m in modes}))
    try:
        stated = json.loads(data[MANIFEST])
        if not {head, sha(data[STATE])} & {*re.findall("[0-9a-f]{64}", data[MANIFEST].decode("latin1"))}:
            add("tampered", STATE, len(records), "it is not the last line that the manifest promises")
        elif stated["format"] != 1:
            add("malformed", MANIFEST, None, UNKNOWN.format("manifest", stated["format"], 1), True)
        elif stated != due or dump(stated, indent=2, separators=None) + b"\n" != data[MANIFEST]:
            add("tampered", MANIFEST, None, f"it is not what ledger and files make it; of another digest: {other or 'no file'}")
        spans = json.loads(data[TRACE])["resourceSpans"][0]["scopeSpans"][0]["spans"]
        told = [r for r in records if r["event"]["kind"] in SPANS and (r["event"].get("decision") != "allow" or r["event"]["call_id"])]
        for line, (span, r) in enumerate(zip(spans, told), 2):
            claims = {a["key"]: [*a["value"].values()][0] for a in span["attributes"]}
            if (span["name"].split(" ")[0], span["endTimeUnixNano"]) != (SPANS[r["event"]["kind"]], str(r["at_ns"])) or any(
                    claims.get(k) != r["event"][f] for k, f in CLAIMS.items() if f in r["event"]):
                add("tampered", TRACE, line, "the span claims what the ledger does not say")
        row = "| Steps | {steps} |\n| Tool calls | {calls_allowed} allowed, {calls_denied} denied |".format(**end["totals"])
        if len(spans) != len(told) or row.encode() not in data[REPORT]:
            add("tampered", TRACE if len(spans) != len(told) else REPORT, None, "it does not tell what the ledger tells")
    except WRONG as error:
        add("malformed", TRACE, None, f"trace or manifest is not JSON of its shape: {error}")
    return data[MANIFEST]
def surroundings(run, root, s, unfinished):
    """The files that the run wrote, its place, and its current inputs."""
    links = lambda d, names: [name for name in names if os.path.islink(os.path.join(d, name))]
    names = {os.path.relpath(os.path.join(d, f), run) for d, dirs, files in os.walk(run, onerror=unread) for f in files + links(d, dirs)}
    # In the making: what lies beside the run's work, and the work itself, which a call that did not end may have changed.
    made = ("owner", "work.receipts", "work.tmp", *(("work",) if s["in_call"] else ())) if unfinished else ()
    for name in sorted(names | {*s["work"]}):
        due, data = s["work"].get(name), None
        if name.split("/")[0] in made:
            continue
        if due and name in names and sha(data := read(run, name, "tampered") or b"") != due["sha256"] and rewritten(data, due["sha256"], s["lf"].get(name)):
            add("malformed", name, None, REWRITTEN)
        elif due is None and name not in FILES + [SIGNATURE] or due and (data is None or sha(data) != due["sha256"]):
            add("tampered", name, None, "the run wrote no such file, or other bytes")
    parts = os.path.abspath(run).split("/")
    at = len(parts) - parts[::-1].index("runs") if "runs" in parts else 0
    place = re.sub(r"\.(partial|new)$", "", "/".join(parts[at:]))
    known = os.path.isdir("/".join(parts[:at - 1] + ["tasks"])) or root and os.path.isfile(f"{root}/tasks/{place}.json")
    if at and known and place != s["run"]["task"]:
        add("tampered", STATE, None, f"this is the run of {s['run']['task']}, and it is in the place of {place}")
    for i in s["run"]["inputs"] if root else []:
        if (data := read(root, i["path"], "unconfirmed", True)) is not None and sha(data) != i["sha256"]:
            add("inputs_differ", i["path"], None, REWRITTEN if rewritten(data, i["sha256"]) else "it is not the file that the run was made with")
    if not root or read(root, s["run"]["corpus"]["name"] + "/manifest.json", "unconfirmed", True) is None:
        add("unconfirmed", STATE, None, "no inputs are available (--project)")
def signature(run, manifest, pems, required):
    name = lambda key: sha(b'{"keytype":"ed25519","keyval":{"public":"%s"},"scheme":"ed25519"}' % key.hex().encode())  # as securesystemslib does
    signers, keys = [], {n: k for k in pems for n in (sha(k), name(k))}
    if os.path.lexists(os.path.join(run, SIGNATURE)):
        envelope = json.loads(read(run, SIGNATURE))
        ids, sigs = zip(*(texts := [(one["keyid"], one["sig"]) for one in envelope["signatures"]]))
        payload, *sigs = (base64.b64decode(text, validate=True) for text in [envelope["payload"], *sigs])
        written = {"payloadType": envelope["payloadType"], "payload": envelope["payload"], "signatures": [dict(zip(("keyid", "sig"), one)) for one in texts]}
        if (json.loads(payload)["subject"], ids) != ([{"name": MANIFEST, "digest": {"sha256": sha(manifest)}}], tuple(sorted({ids[0], *ids}))) or not all(
                re.fullmatch("[0-9a-f]{64}", one) for one in ids) or dump(written) + b"\n" != read(run, SIGNATURE):
            add("tampered", SIGNATURE, None, "it is about other bytes, not written as one is, not in order, or names no key")
        text = b"DSSEv1 %d %s %d %s" % (len(envelope["payloadType"]), envelope["payloadType"].encode(), len(payload), payload)
        for one, sig in zip(ids, sigs):
            signers += (of := [known for known in keys if signed(keys[known], sig, text)])
            if one not in of and (of or one in keys):
                add("tampered", SIGNATURE, None, "a signature is not that of the key which it names")
    if required and not signers:
        add("unconfirmed", SIGNATURE, None, "no signature of a key that was given (--key)")
def judge(run, root, pems, required):
    """What is found of a run, in `found`."""
    def budgets(policy):
        text = root and read(root, policy["path"], "absent", True) or b""
        return {k.decode(): int(v) for k, v in re.findall(rb"(?m)^  (max_\w+): (\d+)$", text) if sha(text) == policy["sha256"]}
    found.clear()
    partial = run.rstrip("/").endswith(".partial")
    ended = any(os.path.lexists(os.path.join(run, name)) for name in (REPORT, MANIFEST, SIGNATURE))
    try:
        if partial and not os.path.lexists(os.path.join(run, STATE)):
            add("unfinished", STATE, None, "nothing is recorded yet", True)
        stated = re.search(rb'"head": "(\w+)"', read(run, MANIFEST, "absent") or b"")
        records, head, s = ledger(read(run, STATE), stated and stated[1].decode(), budgets, ended)
        if partial and not found:
            add("unfinished", STATE, len(records), "the run is not in its place yet")
        unfinished = bool(found)
        manifest = None if unfinished else projections(run, records, head, s)
        "run" in s and surroundings(run, root, s, unfinished)
        unfinished or signature(run, manifest, pems, required)
    except SystemExit:
        pass
    except WRONG as error:
        add("malformed", SIGNATURE, None, f"{error}")
    return max((f[0] for f in found), key=VERDICTS.index, default="verified")
def public(path):
    try:
        _, kind, key, *_ = open(path).read().split("-----")
        return base64.b64decode(key if kind == "BEGIN PUBLIC KEY" else None)[-32:]
    except WRONG:
        raise argparse.ArgumentTypeError(f"{path}: not a public key in PEM, or unreadable")
def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--require-signature", action="store_true")
    options.add_argument("--key", action="append", default=[], type=public)
    args = [options.add_argument(name) for name in ("run", "--project")] and options.parse_args()
    for folder in filter(None, (args.run, args.project)):
        os.path.isdir(folder) or options.error(f"{folder}: no such folder")
    worst = judge(*(asked := (args.run, args.project, args.key, args.require_signature)))
    if worst in VERDICTS[4:6]:  # with the ends of lines as they were written, does it hold?
        exact, trimming[""] = list(found), False
        if judge(*asked) not in VERDICTS[4:6] or all(f[3] == REWRITTEN for f in found if f[0] in VERDICTS[4:6]):
            worst, _ = "malformed", found.extend(("malformed", name, line, REWRITTEN) for name, line in trimming.items() if line)
        else:
            found[:] = exact
    first = next((f for f in found if f[0] == worst), (worst, None, None, None))
    print(json.dumps(dict(zip(("verdict", "file", "line", "what"), first))))
    raise SystemExit(EXIT[worst])
main()
