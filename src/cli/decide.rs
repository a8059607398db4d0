//! `gatedrun policy decide`: decisions for another program, one answer per line.
//!
//! The service outlives whatever a client sends: each line gets exactly one answer, and a line that
//! is not a call is answered with a denial. The calls are those of one run, so that after a denial that
//! ends the run every later call is denied too.

use std::io::{self, BufRead};

use serde_json::Value;

use crate::event::{Decision, GateDecided, ProposedCall};
use crate::file::said;
use crate::host::HostFault;
use crate::json;
use crate::policy::call::{Denied, OnDeny, Standing};
use crate::policy::cases::Judge;
use crate::policy::gate::{Gate, Verdict};
use crate::problem::{cut, limited};

use super::output::Terminal;
use super::{Stop, exit};

/// The longest line, in bytes, without its line feed.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The longest id of a call, in bytes: it stands in every answer.
const CALL_ID_BYTES_MAX: usize = 1024;

/// What other protocols call the arguments of a call.
const ARGUMENTS_ELSEWHERE: [&str; 6] =
    ["args", "argument", "input", "params", "parameters", "tool_input"];

/// How long a text in an answer may be, in characters, whatever a caller wrote in its call.
const ANSWER_CHARS_MAX: usize = 4096;

/// A line of a stream.
enum Line {
    /// Here it is.
    Whole,
    /// It is longer than a line may be: its beginning is here, and the rest was skipped.
    TooLong,
    /// There is none.
    End,
}

/// Reads the next line to its end: what follows the beginning of an overlong one is not taken for
/// another.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    let mut any = false;
    loop {
        let read = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read.is_empty() {
            break;
        }
        any = true;
        let end = memchr::memchr(b'\n', read);
        let part = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
        let room = LINE_BYTES_MAX - line.len();
        too_long |= part.len() > room;
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, too_long) {
        (false, _) => Line::End,
        (true, true) => Line::TooLong,
        (true, false) => Line::Whole,
    })
}

/// Why a line is not a call, and the id that the caller gave it.
pub(super) struct NoCall {
    call_id: Value,
    pub(super) what: String,
}

impl NoCall {
    /// A line that is refused, with the id that its caller gave it, if it names one.
    fn of(line: &[u8], what: String) -> Self {
        Self { call_id: shown_id(json::glance(line, "call_id")), what }
    }
}

/// An id as an answer shows it.
fn shown_id(call_id: Value) -> Value {
    match call_id {
        Value::String(id) if id.len() > CALL_ID_BYTES_MAX => cut(&id).into(),
        other => other,
    }
}

/// What to write on a line.
const CALL: &str =
    r#"write a call, such as {"tool": "read", "arguments": {"path": "corpus/a.txt"}}"#;

/// A call as another program writes it. Keys that are not known are the caller's own.
pub(super) fn read_call(bytes: &[u8], number: u64) -> Result<ProposedCall, NoCall> {
    call(bytes, number).map_err(|what| NoCall::of(bytes, what))
}

fn call(bytes: &[u8], number: u64) -> Result<ProposedCall, String> {
    let value = json::parse(bytes.trim_ascii())
        .map_err(|error| format!("column {}: {}; {CALL}", error.column, cut(&error.message)))?;
    let Value::Object(mut call) = value else {
        return Err(format!("expected an object, found {}; {CALL}", json::shown(&value)));
    };
    let call_id = match call.remove("call_id").unwrap_or_default() {
        Value::Null => format!("call_{number}"),
        Value::String(call_id) if call_id.len() > CALL_ID_BYTES_MAX => {
            return Err(format!(
                "call_id: it has {} bytes; the limit is {CALL_ID_BYTES_MAX}",
                call_id.len()
            ));
        }
        Value::String(call_id) => call_id,
        _ => return Err("call_id: expected a string; write it in double quotes".to_owned()),
    };
    let other = ARGUMENTS_ELSEWHERE.into_iter().find(|key| call.contains_key(*key));
    if let Some(other) = other.filter(|_| !call.contains_key("arguments")) {
        return Err(format!("\"arguments\" is missing; rename {other:?} to \"arguments\""));
    }
    match (call.remove("tool"), call.remove("arguments")) {
        // No tool has a name so long that it is cut.
        (Some(Value::String(tool)), arguments) => Ok(ProposedCall {
            call_id,
            tool: cut(&tool).into_owned(),
            arguments: arguments.unwrap_or_default(),
        }),
        (None, _) => Err(format!("\"tool\" is missing; {CALL}")),
        (Some(_), _) => {
            Err("tool: expected a string; write the tool's name in double quotes".to_owned())
        }
    }
}

/// Shortens every text of an answer that is longer than an answer's texts may be.
fn bound(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > ANSWER_CHARS_MAX => {
            *text = limited(text, ANSWER_CHARS_MAX).into_owned();
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Object(map) => map.values_mut().for_each(bound),
        _ => {}
    }
}

/// The calls of one run.
struct Run<'a> {
    gate: Gate<'a>,
    standing: Standing,
    /// The call whose denial ended it, and the denial.
    ended: Option<(String, Denied)>,
}

impl Run<'_> {
    fn decide(&mut self, call: &ProposedCall) -> Result<GateDecided, HostFault> {
        let mut verdict = match &self.ended {
            Some((call_id, denied)) => {
                let reason = format!("the run ended with {call_id}: {}", denied.reason);
                Verdict::Deny(Denied { reason, ..denied.clone() })
            }
            None => self.gate.decide_call(call, &self.standing)?.0,
        };
        match &verdict {
            Verdict::Allow(_) => self.standing.totals.calls_allowed += 1,
            Verdict::Deny(denied) if denied.on_deny == OnDeny::Terminate => {
                let shown = cut(&call.call_id).into_owned();
                self.ended.get_or_insert_with(|| (shown, denied.clone()));
            }
            Verdict::Deny(_) => {}
        }
        Ok(self.gate.call_event(call, &mut verdict))
    }

    /// The answer to a line, as JSON, and the exit code that it asks for.
    fn answer(&mut self, line: u64, call: Result<ProposedCall, NoCall>) -> (String, u8) {
        let decided = call.map_err(|no_call| (no_call, exit::USAGE)).and_then(|call| {
            // Where the machine refuses to say what a path leads to, nothing is known, and so it
            // denies.
            self.decide(&call).map_err(|fault| {
                (NoCall { call_id: call.call_id.into(), what: fault.to_string() }, exit::HOST)
            })
        });
        let (mut answer, code) = match &decided {
            Ok(decided) => (serde_json::to_value(decided).unwrap_or_default(), exit::OK),
            Err((NoCall { call_id, what }, code)) => (
                serde_json::json!({
                    "call_id": call_id, "line": line, "decision": Decision::Deny, "error": what
                }),
                *code,
            ),
        };
        bound(&mut answer);
        let Value::Object(mut answer) = answer else { return (String::new(), code) };
        answer.insert("run_ends".to_owned(), self.ended.is_some().into());
        (Value::Object(answer).to_string(), code)
    }
}

/// Answers every line of a stream.
pub(super) fn serve(
    judge: &Judge<'_>,
    mut input: impl BufRead,
    terminal: &mut Terminal,
) -> Result<u8, Stop> {
    let mut run = Run { gate: judge.gate(), standing: Standing::default(), ended: None };
    let mut line = Vec::new();
    let mut number = 0;
    let mut code = exit::OK;
    loop {
        let found = next_line(&mut input, &mut line)
            .map_err(|error| Stop::host(format!("stdin: {}", said(&error))))?;
        number += 1;
        let call = match found {
            Line::End => return Ok(code),
            Line::Whole => read_call(&line, number),
            Line::TooLong => Err(NoCall::of(
                &line,
                format!("the line has more than {LINE_BYTES_MAX} bytes; send a smaller call"),
            )),
        };
        let (answer, asked) = run.answer(number, call);
        code = exit::worse(code, asked);
        terminal.line(&answer)?;
    }
}
