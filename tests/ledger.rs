use std::io::BufReader;

use gatedrun::clock::Clock;
use gatedrun::event::*;
use gatedrun::json::{Digest, JsonText};
use gatedrun::ledger::{Grammar, Ledger, LedgerError, Past, Push, Reader, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Folder, committed_runs, file, read_ledger, scripted};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z_]{0,12}", Just("\u{0}\n\"\\é€𝄞".to_owned())]
}

fn arguments() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (text(), any::<i64>(), any::<f64>().prop_filter("finite", |n| n.is_finite()))
            .prop_map(|(t, i, f)| json!({"text": t, "int": i, "list": [f, null, true]})),
    ]
}

fn error() -> impl Strategy<Value = Option<ToolError>> {
    proptest::option::of(
        (0..ErrorClass::ALL.len(), text())
            .prop_map(|(index, text)| ToolError::new(ErrorClass::ALL[index], text)),
    )
}

fn totals() -> impl Strategy<Value = Totals> {
    (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(steps, calls, tokens)| Totals {
        steps: steps.into(),
        calls_allowed: calls.into(),
        calls_denied: 3,
        attempts: 9,
        usage: Usage { input_tokens: tokens.into(), output_tokens: 1, cost_microusd: 2 },
    })
}

/// Any event whatever: the encoding must hold all of them.
fn event() -> impl Strategy<Value = Event> {
    let usage = (any::<u32>(), any::<u32>()).prop_map(|(i, o)| Usage {
        input_tokens: i.into(),
        output_tokens: o.into(),
        cost_microusd: 9,
    });
    let call = (text(), text(), arguments()).prop_map(|(call_id, tool, arguments)| ProposedCall {
        call_id,
        tool,
        arguments,
    });
    prop_oneof![
        Just(Event::StepStarted(StepStarted {})),
        (usage.clone(), any::<u32>()).prop_map(|(reserved, messages)| Event::LlmCalled(
            LlmCalled { request_sha256: Digest::of(b"x"), messages: messages.into(), reserved }
        )),
        (
            proptest::option::of(text()),
            proptest::collection::vec(call, 0..3),
            proptest::option::of(text()),
            usage
        )
            .prop_map(|(text, calls, final_answer, usage)| Event::LlmReplied(LlmReplied {
                text,
                calls,
                final_answer,
                usage
            })),
        (text(), text(), 0..Rule::ALL.len(), arguments()).prop_map(
            |(tool, reason, rule, value)| {
                Event::GateDecided(Box::new(GateDecided {
                    subject: Subject::Call,
                    call_id: Some("c".into()),
                    tool: Some(tool),
                    effects: vec![Effect::FetchUrl, Effect::ReadPath],
                    decision: Decision::Deny,
                    rule_id: Some(Rule::ALL[rule]),
                    error_class: Some(Rule::ALL[rule].facts().class),
                    reason,
                    details: Details::from([(Detail::Url, value)]),
                    policy_version: "0".into(),
                }))
            }
        ),
        (text(), text(), arguments()).prop_map(|(call_id, tool, arguments)| Event::ToolStarted(
            ToolStarted { call_id, tool, arguments, idempotency_key: "k".into() }
        )),
        (text(), any::<u32>(), error(), proptest::option::of(any::<u32>())).prop_map(
            |(call_id, attempt, error, wait)| {
                Event::ToolAttempted(ToolAttempted {
                    call_id,
                    attempt,
                    outcome: AttemptOutcome::Exhausted,
                    waited_ms: 4,
                    error,
                    backoff_ms: wait.map(u64::from),
                })
            }
        ),
        (text(), arguments(), error(), any::<bool>()).prop_map(|(call_id, result, error, cut)| {
            Event::ToolFinished(ToolFinished {
                call_id,
                ok: error.is_none(),
                result: Some(JsonText::of(&result)),
                bytes: 7,
                sha256: Some(Digest::of(b"r")),
                cut,
                origin: None,
                error,
            })
        }),
        (0..FailureMode::ALL.len(), totals()).prop_map(|(mode, totals)| Event::StepFinished(
            StepFinished { failure_mode: Some(FailureMode::ALL[mode]), totals }
        )),
        (proptest::option::of(text()), totals()).prop_map(|(answer, totals)| Event::RunFinished(
            RunFinished {
                terminal_reason: TerminalReason::FinalAnswer,
                rule_id: None,
                failure_mode: None,
                answer,
                totals,
            }
        )),
    ]
}

proptest! {
    #[test]
    fn every_record_reads_back_as_it_was_written(
        event in event(), seq in any::<u32>(), step in proptest::option::of(any::<u32>())
    ) {
        let record = Record {
            seq: seq.into(), at_ns: 5, step: step.map(u64::from), event, prev: Digest::of(b"before"),
        };
        let mut line = Vec::new();
        encode(&record, &mut line);
        prop_assert!(!line.contains(&b'\n'));
        let back: Record = serde_json::from_slice(&line).unwrap();
        // Null and a missing option are the same in a `Value`; everything else is equal.
        let mut again = Vec::new();
        encode(&back, &mut again);
        prop_assert_eq!(String::from_utf8(again).unwrap(), String::from_utf8(line).unwrap());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read_ledger(&bytes);
    }

    #[test]
    fn the_grammar_refuses_two_events_swapped(at in 0_usize..37) {
        let records = read_ledger(&file("runs/canonical/v1/state.jsonl")).unwrap();
        let mut swapped = records.clone();
        let (a, b) = (swapped[at].event.clone(), swapped[at + 1].event.clone());
        swapped[at].event = b;
        swapped[at + 1].event = a;
        let mut grammar = Grammar::default();
        prop_assert!(swapped.iter().any(|record| grammar.accept(record).is_err()), "{at}");
    }

    #[test]
    fn the_grammar_refuses_an_event_left_out(at in 0_usize..38) {
        let mut records = read_ledger(&file("runs/canonical/v1/state.jsonl")).unwrap();
        records.remove(at);
        let mut grammar = Grammar::default();
        let refused = records.iter().any(|record| grammar.accept(record).is_err());
        // Without its last event a ledger is cut short, which only its reader can tell.
        prop_assert!(refused || at == 37, "{at}");
    }
}

#[test]
fn committed_ledgers_read_back_to_the_byte() {
    for run in committed_runs() {
        let bytes = file(&format!("runs/{run}/state.jsonl"));
        let mut written = Vec::new();
        for record in read_ledger(&bytes).unwrap() {
            encode(&record, &mut written);
            written.push(b'\n');
        }
        assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(bytes).unwrap(), "{run}");
    }
}

#[test]
fn every_changed_byte_is_found_and_its_line_named() {
    let bytes = file("runs/canonical/v1/state.jsonl");
    // A step that shares no factor with anything: all parts of all lines are hit over time.
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let last = 38;
        match read_ledger(&changed) {
            Err(
                LedgerError::Grammar { line: named, .. }
                | LedgerError::Malformed { line: named, .. }
                | LedgerError::Unlinked { line: named, .. },
            ) => {
                assert!(
                    named == line || named == line + 1,
                    "byte {at} of line {line}: line {named}"
                );
            }
            // The last line has no successor that vouches for it: that is what the head in the
            // manifest is for.
            Ok(_) => assert!(line == last, "byte {at} of line {line} was not found"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
}

#[test]
fn a_cut_is_a_torn_line_or_an_unfinished_run() {
    let bytes = file("runs/canonical/v1/state.jsonl");
    for at in (0..bytes.len()).step_by(11) {
        let mut reader = Reader::new(BufReader::new(&bytes[..at]));
        while reader.next_record().unwrap().is_some() {}
        let whole =
            bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        assert_eq!(reader.bytes(), whole as u64);
        assert_eq!(reader.torn(), at - whole);
        assert!(!reader.is_finished());
    }
}

#[test]
fn another_format_is_refused_and_both_numbers_are_named() {
    let text = String::from_utf8(file("runs/canonical/v1/state.jsonl")).unwrap();
    let changed = text.replacen("\"format\":1", "\"format\":3", 1);
    let error = read_ledger(changed.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("format 3") && error.contains("formats 1 to 2"), "{error}");
}

#[test]
fn other_spellings_of_the_same_json_are_refused() {
    let text = String::from_utf8(file("runs/canonical/v1/state.jsonl")).unwrap();
    for (from, to) in [
        ("\"seq\":0,", "\"seq\": 0,"),
        ("run_started", "run\\u005fstarted"),
        ("\"seq\":0", "\"seq\":-0"),
    ] {
        let error = read_ledger(text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 1: "), "{error}");
    }
    let unknown = text.replacen("step_started", "step_begun", 1);
    assert!(read_ledger(unknown.as_bytes()).unwrap_err().to_string().contains("line 2"));
}

#[test]
fn what_may_not_follow_is_refused_before_it_is_written() {
    let mut lines = 0;
    let mut ledger = Ledger::new(Clock::logical(), Past::none(), |push| {
        lines += u32::from(matches!(push, Push::Record(..)));
        Ok(())
    });
    let error = ledger.push(Some(1), Event::StepStarted(StepStarted {})).unwrap_err();
    assert!(error.to_string().contains("found step_started, expected run_started"), "{error}");
    drop(ledger);
    assert_eq!(lines, 0);
}

#[test]
fn the_intent_is_handed_on_before_a_write() {
    let folder = Folder::project();
    let call = json!([
        {"calls": [{"tool": "write", "arguments": {"path": "work/a/b.md", "content": "x"}}]},
        {"final_answer": "done"}
    ]);
    let inputs = scripted(&folder, call, &[]);
    let work = folder.path().join("work");
    // The sink refuses to make the intent durable: nothing may have been written then.
    #[derive(Debug)]
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
    }
    let error = gatedrun::run::run(
        &inputs,
        work.clone(),
        gatedrun::run::Course::fresh(),
        Full,
        Vec::new(),
        |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("cannot be written"), "{error}");
    assert!(!work.exists());
}
