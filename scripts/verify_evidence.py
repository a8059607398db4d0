#!/usr/bin/env python3
"""A second verifier, written from docs/ledger.md with the standard library alone; it shares no code with the program.
verify_evidence.py RUN [--project FOLDER] [--key PUBLIC.pem] prints a verdict in JSON. Ledger and manifest are recomputed
whole; of the trace each span's name, end and claims, of the report the counts; their rest is held by its digest."""
import argparse, base64, hashlib, json, os, re, stat
from ed25519 import signed
STATE, TRACE, REPORT, MANIFEST = FILES = ["state.jsonl", "trace.json", "run_report.md", "manifest.json"]
SIGNATURE, EPOCH, MS, TOP = "attestation.intoto.json", 1767225600000000000, 10**6, "seq at_ns step event prev".split()
KINDS = {k: v.split() for k, v in (kind.split(":") for kind in (  # each kind's fields, in the order of the ledger
    "run_started:format run_id agent_version task title question seed llm policy_version corpus inputs|step_started:|"
    "llm_called:request_sha256 messages reserved|llm_replied:text calls final_answer usage|step_finished:failure_mode totals|"
    "gate_decided:subject call_id tool effects decision rule_id error_class reason details policy_version|tool_started:"
    "call_id tool arguments idempotency_key|tool_reconciled:call_id took_place reason|tool_attempted:call_id attempt outcome "
    "waited_ms error backoff_ms|tool_finished:call_id ok result bytes sha256 cut origin error|run_finished:terminal_reason "
    "rule_id failure_mode answer totals").split("|"))}
CLASSES = dict(tool_registry="policy_denied", url_allowlist="policy_denied", sandbox_path="policy_denied", progress=
               "no_progress", arg_schema="invalid_arguments", cycle_detection="repeated_call", loop_budget="budget_exhausted")
SPANS = dict(llm_replied="llm_call", gate_decided="policy_check", tool_attempted="retry_attempt", tool_finished="tool_call",
             step_finished="agent_step", run_finished="agent_run", tool_reconciled="human_checkpoint")
CLAIMS = {"agent.policy.decision": "decision", "agent.policy.rule_id": "rule_id", "agent.tool.result_sha256": "sha256",
          "agent.retry.outcome": "outcome", "agent.terminal_reason": "terminal_reason", "agent.failure_mode": "failure_mode"}
NEXT = dict(rule.split(": ") for rule in (  # the state after an event, by the state before it
    "start run_started: between|between step_started: open|open llm_called: asked|asked llm_replied: deciding|"
    "between gate step allow: between|between gate step deny: stopping|deciding gate step allow: deciding|"
    "deciding gate call deny: deciding|deciding gate call allow: allowed|allowed tool_started: running|"
    "running tool_reconciled: running|running tool_attempted again: running|running tool_attempted: settled|"
    "settled tool_finished: deciding|deciding step_finished: between|deciding step_finished cut: stopping|"
    "between run_finished: finished|stopping run_finished: finished").split("|"))
WRONG = (KeyError, TypeError, IndexError, AttributeError, ValueError, RecursionError)
found = []  # (verdict, file, line, what), the first that was found first
class Stop(Exception):
    """Nothing more can be said."""
def add(verdict, file, line, what, stop=False):
    found.append((verdict, file, line, what))
    if stop:
        raise Stop
sha = lambda data: hashlib.sha256(data).hexdigest()
def derive(kind, seed, *parts):
    text = b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in parts)
    return kind + "_" + sha(seed.to_bytes(8, "little") + text)[:16]
dump = lambda value, **o: json.dumps(value, **{"separators": (",", ":"), "ensure_ascii": False, **o}).encode()
def read(folder, name, verdict="malformed"):
    path = os.path.join(folder, name)
    try:
        with open(path if stat.S_ISREG(os.lstat(path).st_mode) else "", "rb") as file:
            return file.read()
    except OSError:
        verdict == "absent" or add(verdict, name, None, "it cannot be read, or is no regular file", verdict == "malformed")
def parse(line):
    """A record, and whether it is written as the ledger writes; an error where it is none."""
    record = json.loads(line.decode())
    event, fields = record["event"], ["kind"] + KINDS[record["event"]["kind"]]
    if not ({*record} == {*TOP} and {*event} == {*fields} and event.get("format", 1) == 1
            and all(type(record[k]) is int and record[k] >= 0 for k in ("seq", "at_ns"))
            and re.fullmatch("[0-9a-f]{64}", record["prev"]) and event.get("decision", "deny") in ("allow", "deny")):
        raise ValueError("a field is missing, unknown, or of another type, or the format is unknown")
    return record, dump(record) == line and list(record) == TOP and list(event) == fields
def facts(e, kind, s):
    """What must hold of an event beyond its place, as pairs of a truth and its name; s is what came before."""
    sums, use, gate, denies = s["sums"], s["sums"]["usage"], kind == "gate_decided", e.get("decision") == "deny"
    limit = lambda key, value: (value <= s["limits"].get(key, value), key)
    sums["steps"] += kind == "step_started"
    yield limit("max_iterations", sums["steps"])
    if kind == "run_started":
        policy = [i for i in e["inputs"] if i["role"] == "policy"][0]
        s.update(run=e, limits=s["budgets"](policy))
        yield e["run_id"] == derive("run", e["seed"], "run", e["task"]), "run_id"
        yield e["policy_version"] == policy["sha256"][:12], "policy_version"
    elif kind == "llm_called":
        yield limit("max_tokens", sum(use[k] + e["reserved"][k] for k in ("input_tokens", "output_tokens")))
    elif kind == "llm_replied":
        s.update(calls=list(e["calls"]), answer=e["final_answer"])
        use.update({k: use[k] + e["usage"][k] for k in use})
        place = lambda n: derive("call", s["run"]["seed"], "call", s["run"]["run_id"], str(sums["steps"]), str(n + 1))
        yield all(c["call_id"] == place(n) for n, c in enumerate(e["calls"])), "call_id"
        yield (e["final_answer"] is None) == bool(e["calls"]), "the answer beside the calls"
    elif gate and e["subject"] == "call":
        s["call"] = s["calls"].pop(0) if s["calls"] else {}
        sums["calls_denied" if denies else "calls_allowed"] += 1
        yield (s["call"].get("call_id"), s["call"].get("tool")) == (e["call_id"], e["tool"]), "the call"
        yield limit("max_tool_calls", sums["calls_allowed"])
    yield not kind.startswith("tool_") or e["call_id"] == s["call"]["call_id"], "call_id"
    if gate:
        yield e["policy_version"] == s["run"]["policy_version"], "policy_version"
        yield e["error_class"] == (CLASSES[e["rule_id"]] if denies else None), "error_class"
        yield (e["rule_id"] is None) == (e["subject"] == "call" and not denies), "rule_id"
    elif kind == "tool_started":
        s.update(tries=0, tool=e["tool"])
        yield e["idempotency_key"] == derive("idem", s["run"]["seed"], "idempotency", e["call_id"]), "idempotency_key"
    elif kind == "tool_attempted":
        s["tries"], sums["attempts"] = s["tries"] + 1, sums["attempts"] + 1
        yield e["attempt"] == s["tries"] and (e["error"] is None) == (e["outcome"] == "success"), "the attempt"
        yield (e["backoff_ms"] is None) == (e["outcome"] != "transient_failure"), "backoff_ms"
    elif kind == "tool_finished":
        whole, ok = dump(e["result"], sort_keys=True), e["ok"]
        yield ok == (e["result"] is not None) == (e["error"] is None), "ok"
        yield not ok or e["cut"] or (e["bytes"], e["sha256"]) == (len(whole), sha(whole)), "the result's digest"
        if ok and s["tool"] == "write":
            s["work"][e["result"]["path"]] = {k: e["result"][k] for k in ("sha256", "bytes")}
    elif kind in ("step_finished", "run_finished"):
        ends = e["failure_mode"] not in (None, "tool_call_failure") or sums["calls_denied"] > 0
        yield e["totals"] == sums and (not s["calls"] or ends), "totals"
        yield e.get("answer") == (s["answer"] if e.get("terminal_reason") == "final_answer" else None), "the answer"
        s["calls"] = []
def ledger(data, head, budgets):
    """The records and what they add up to; the first that does not hold ends it."""
    lines, records, prev, state, clock = data.split(b"\n"), [], "0" * 64, "start", EPOCH
    sums = dict(steps=0, calls_allowed=0, calls_denied=0, attempts=0, usage=dict(input_tokens=0, output_tokens=0, cost_microusd=0))
    s = dict(sums=sums, calls=[], work={}, call={}, limits={}, budgets=budgets)
    for number, line in enumerate(lines[:-1], 1):
        try:
            record, canonical = parse(line)
            e, kind, gate = record["event"], record["event"]["kind"], record["event"]["kind"] == "gate_decided"
            if canonical and record["seq"] == number - 1 and record["prev"] != prev:
                after = re.search(rb'"prev":"(\w+)"}$', lines[number])  # it tells which of the two lines was changed
                own = (after[1].decode() if after else None if lines[number] else head) == sha(line)
                add("tampered", STATE, number - own, "the chain is broken here", True)
            cut, again = kind == "step_finished" and s["calls"], e.get("outcome") == "transient_failure"
            word = f"gate {e['subject']} {e['decision']}" if gate else kind + " again" * again + " cut" * bool(cut)
            outside = kind in ("run_started", "run_finished") or gate and state == "between"
            state, step = NEXT.get(f"{state} {word}"), None if outside else sums["steps"] + (kind == "step_started")
            clock += e["waited_ms"] * MS if kind == "tool_attempted" else 0
            due = [(canonical and record["seq"] == number - 1, "how it is written"), (state, "its place")]
            due += [(record["at_ns"] == clock, "at_ns"), (record["step"] == step, "step"), *(facts(e, kind, s) if state else [])]
        except WRONG as error:
            add("malformed", STATE, number, f"it is no record: {error}", True)
        for what in (what for holds, what in due if not holds):
            add("tampered", STATE, number, f"{what} is not what the lines before make it", True)
        clock, prev, records = clock + MS + (e.get("backoff_ms") or 0) * MS, sha(line), records + [record]
    if lines[-1] or state != "finished":
        add("malformed" if lines[-1] else "tampered", STATE, len(lines) - (not lines[-1]), "it is cut short", True)
    return records, prev, s
def projections(run, records, head, s):
    data, started, events = {n: read(run, n) for n in FILES}, records[0]["event"], [r["event"] for r in records]
    of, end = lambda kind: [e for e in events if e["kind"] == kind], events[-1]
    tries, modes = of("tool_attempted"), [e["failure_mode"] for e in of("step_finished") if e["failure_mode"]]
    due = {k: started[k] for k in "run_id task agent_version seed llm policy_version corpus inputs".split()}
    due.update(format=1, work=s["work"], ledger={"format": 1, "records": len(records), "head": head},
               files={n: {"sha256": sha(data[n]), "bytes": len(data[n])} for n in FILES[:3]}, outcome=dict(
        {k: end["totals"][k] for k in end["totals"]}, **{k: end[k] for k in KINDS["run_finished"][:3]},
        answer_sha256=end["answer"] and sha(end["answer"].encode()), retries=sum(e["attempt"] > 1 for e in tries),
        exhausted=sum(e["outcome"] == "exhausted" for e in tries), failure_modes={m: modes.count(m) for m in modes}))
    try:
        stated = json.loads(data[MANIFEST])
        if not {head, sha(data[STATE])} & {*re.findall("[0-9a-f]{64}", data[MANIFEST].decode("latin1"))}:
            add("tampered", STATE, len(records), "it is not the last line that the manifest promises")
        elif stated != due or dump(stated, indent=2, separators=None) + b"\n" != data[MANIFEST]:
            add("tampered", MANIFEST, None, "it is not what the ledger and the files make it")
        spans = json.loads(data[TRACE])["resourceSpans"][0]["scopeSpans"][0]["spans"]
        told = [r for r in records if r["event"]["kind"] in SPANS and (r["event"].get("call_id") or r["event"].get("decision") != "allow")]
        for line, (span, r) in enumerate(zip(spans, told), 2):
            claims = {a["key"]: [*a["value"].values()][0] for a in span["attributes"]}
            if (span["name"], span["endTimeUnixNano"]) != (SPANS[r["event"]["kind"]], str(r["at_ns"])) or any(
                    claims.get(k) != r["event"][f] for k, f in CLAIMS.items() if f in r["event"]):
                add("tampered", TRACE, line, "the span claims what the ledger does not say")
        row = "| Steps | {steps} |\n| Tool calls | {calls_allowed} allowed, {calls_denied} denied |".format(**end["totals"])
        if len(spans) != len(told) or row.encode() not in data[REPORT]:
            add("tampered", TRACE if len(spans) != len(told) else REPORT, None, "it does not tell what the ledger tells")
    except WRONG as error:
        add("malformed", TRACE, None, f"trace or manifest is no JSON of its shape: {error}")
    return data[MANIFEST]
def surroundings(run, root, s, manifest, key):
    """The files that the run wrote, its inputs at hand, and the signature."""
    names = {os.path.relpath(os.path.join(d, f), run) for d, _, files in os.walk(run) for f in files}
    for name in sorted(names | {*s["work"]}):
        due = s["work"].get(name)
        if due is None and name not in FILES + [SIGNATURE] or due and sha(read(run, name, "tampered") or b"") != due["sha256"]:
            add("tampered", name, None, "the run wrote no such file, or other bytes")
    for i in s["run"]["inputs"] if root else []:
        if (data := read(root, i["path"], "unconfirmed")) is not None and sha(data) != i["sha256"]:
            add("tampered", i["path"], None, "it is not the file that the run was made with")
    if SIGNATURE in names:
        envelope = json.loads(read(run, SIGNATURE))
        payload, sig = (base64.b64decode(x, validate=True) for x in (envelope["payload"], envelope["signatures"][0]["sig"]))
        if json.loads(payload)["subject"] != [{"name": MANIFEST, "digest": {"sha256": sha(manifest)}}]:
            add("tampered", SIGNATURE, None, "it is about other bytes")
        text = b"DSSEv1 %d %s %d %s" % (len(envelope["payloadType"]), envelope["payloadType"].encode(), len(payload), payload)
        if key and envelope["signatures"][0]["keyid"] == sha(key) and not signed(key, sig, text):
            add("tampered", SIGNATURE, None, "the signature is not the key's")
    signer = SIGNATURE in names and envelope["signatures"][0]["keyid"]
    if bool(key) != bool(signer) or key and signer != sha(key) or not root:
        add("unconfirmed", SIGNATURE, None, "no inputs are at hand, or no signature of the key, or no key")
def main():
    options = argparse.ArgumentParser(description=__doc__)
    args = [options.add_argument(name) for name in ("run", "--project", "--key")] and options.parse_args()
    pem = open(args.key).read().split("-----")[2] if args.key else ""
    budgets = lambda policy: {k.decode(): int(v) for k, v in re.findall(rb"(?m)^  (max_\w+): (\d+)$", args.project and read(
        args.project, policy["path"], "absent") or b"")}
    try:
        stated = re.search(rb'"head": "(\w+)"', read(args.run, MANIFEST))
        records, head, s = ledger(read(args.run, STATE), stated and stated[1].decode(), budgets)
        manifest = projections(args.run, records, head, s)
        surroundings(args.run, args.project, s, manifest, base64.b64decode(pem)[-32:])
    except Stop:
        pass
    except WRONG as error:
        add("malformed", SIGNATURE, None, f"{error}")
    worst = max((f[0] for f in found), key=["unconfirmed", "malformed", "tampered"].index, default="verified")
    print(json.dumps(dict(zip(("verdict", "file", "line", "what"), (worst, *(found[0][1:] if found else (None,) * 3))))))
main()
