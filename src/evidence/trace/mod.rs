//! `trace.json`: the run as OTLP/JSON spans, one span per line, each written when it ends.
//!
//! A trace carries no content: names, digests, sizes and decisions. It leaves the machine for places
//! with other readers than the ledger has, so what an agent, a tool or a person wrote stays in the
//! ledger: of a URL the origin is shown, and of a reason the rule. Ids are derived from the run's id
//! and a span's position, so an added event changes no other span's id.

mod attributes;

use std::io::{self, Write};

use crate::derive;
use crate::event::{
    AttemptOutcome, Decision, Event, GateDecided, LlmCalled, LlmReplied, Record, Rule, RunFinished,
    RunStarted, StepFinished, TerminalReason, ToolAttempted, ToolFinished, ToolReconciled,
    ToolStarted,
};
use crate::json::Digest;

use attributes::{Attributes, number, string};

pub use attributes::{ATTRIBUTES, TEXT_CHARS_MAX};

/// The version of OpenTelemetry's semantic conventions that attribute names follow.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.1";

/// How many events the run's span tells: the default of OpenTelemetry's SDKs.
pub const EVENTS_MAX: u64 = 128;

/// The agent's name in spans.
const AGENT: &str = "gatedrun";

/// Writes the trace of a run, record by record.
#[derive(Debug)]
pub struct Trace<W> {
    out: W,
    line: Vec<u8>,
    spans: u64,
    run: Option<Run>,
    step: Step,
    call: Call,
    /// When the work that the next record ends began.
    resumed_ns: u64,
}

/// A span's id: 16 hexadecimal digits, or all zero bytes for none.
type SpanId = [u8; 16];

#[derive(Debug)]
struct Run {
    started: RunStarted,
    start_ns: u64,
    trace_id: String,
    span_id: SpanId,
    /// The first events of the run's own span, as JSON.
    events: Vec<u8>,
    /// How many there are.
    events_count: u64,
}

#[derive(Debug, Default)]
struct Step {
    number: u64,
    start_ns: u64,
    span_id: SpanId,
    llm_start_ns: u64,
    request_sha256: Option<Digest>,
    checks: u64,
}

#[derive(Debug, Default)]
struct Call {
    start_ns: u64,
    span_id: SpanId,
    call_id: String,
    tool: String,
}

impl<W: Write> Trace<W> {
    /// A trace that is written to `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
            spans: 0,
            run: None,
            step: Step::default(),
            call: Call::default(),
            resumed_ns: 0,
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The writer's.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        let at_ns = record.at_ns;
        match &record.event {
            Event::RunStarted(started) => self.run_started(started, at_ns)?,
            Event::StepStarted(_) => {
                let number = record.step.unwrap_or(0);
                let span_id = self.span_id(&["step", &number.to_string()]);
                self.step = Step { number, start_ns: at_ns, span_id, ..Step::default() };
            }
            Event::LlmCalled(LlmCalled { request_sha256, .. }) => {
                self.step.llm_start_ns = at_ns;
                self.step.request_sha256 = Some(*request_sha256);
            }
            Event::LlmReplied(replied) => self.llm_call(replied, at_ns)?,
            Event::GateDecided(gate) => self.policy_check(gate, record.step, at_ns)?,
            Event::ToolStarted(ToolStarted { call_id, tool, .. }) => {
                let span_id = self.span_id(&["tool", call_id]);
                self.call =
                    Call { start_ns: at_ns, span_id, call_id: call_id.clone(), tool: tool.clone() };
            }
            Event::ToolAttempted(attempted) => self.retry_attempt(attempted, at_ns)?,
            Event::ToolReconciled(reconciled) => self.human_checkpoint(reconciled, at_ns)?,
            Event::ToolFinished(finished) => self.tool_call(finished, at_ns)?,
            Event::StepFinished(finished) => self.agent_step(finished, at_ns)?,
            Event::RunFinished(finished) => self.agent_run(finished, at_ns)?,
        }
        self.resumed_ns = at_ns;
        if let Event::ToolAttempted(attempted) = &record.event {
            let wait_ms = attempted.backoff_ms.unwrap_or(0);
            self.resumed_ns = at_ns.saturating_add(wait_ms.saturating_mul(1_000_000));
        }
        Ok(())
    }

    /// The writer, once the last record is in.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn run_started(&mut self, started: &RunStarted, at_ns: u64) -> io::Result<()> {
        let mut trace_id = String::with_capacity(32);
        derive::push_hex(
            &mut trace_id,
            &derive::bytes::<16>(started.seed, &["trace", &started.run_id]),
        );
        let run = Run {
            started: started.clone(),
            start_ns: at_ns,
            trace_id,
            span_id: SpanId::default(),
            events: Vec::new(),
            events_count: 0,
        };
        self.run = Some(run);
        let span_id = self.span_id(&["run"]);
        if let Some(run) = &mut self.run {
            run.span_id = span_id;
        }
        let mut head = Vec::new();
        head.extend_from_slice(b"{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
        let mut attributes = Attributes::new(&mut head);
        attributes.text("service.name", "gatedrun");
        attributes.text("service.version", &started.agent_version);
        head.extend_from_slice(
            b"]},\"scopeSpans\":[{\"scope\":{\"name\":\"gatedrun\",\"version\":",
        );
        string(&mut head, &started.agent_version);
        head.extend_from_slice(b"},\"spans\":[\n");
        self.out.write_all(&head)
    }

    fn llm_call(&mut self, replied: &LlmReplied, at_ns: u64) -> io::Result<()> {
        let request = self.step.request_sha256.unwrap_or(Digest::ZERO);
        let span_id = self.span_id(&["llm", &self.step.number.to_string()]);
        let parent = self.step.span_id;
        let start = self.step.llm_start_ns;
        let finish = if replied.final_answer.is_some() { "stop" } else { "tool_calls" };
        let model = self.run.as_ref().map(|run| run.started.llm.model.clone()).unwrap_or_default();
        self.span(("chat", &model), &span_id, &parent, start, at_ns, None, |run, step, a| {
            a.int("agent.step_index", step);
            a.text("agent.llm.execution_path", run.started.llm.path.as_str());
            a.digest("agent.llm.request_sha256", &request);
            a.text("gen_ai.operation.name", "chat");
            a.text("gen_ai.provider.name", &run.started.llm.provider);
            a.text("gen_ai.request.model", &run.started.llm.model);
            a.seed(run.started.seed);
            a.texts("gen_ai.response.finish_reasons", &[finish]);
            a.text("gen_ai.response.model", &run.started.llm.model);
            a.int("gen_ai.usage.input_tokens", replied.usage.input_tokens);
            a.int("gen_ai.usage.output_tokens", replied.usage.output_tokens);
            a.text("openinference.span.kind", "LLM");
        })
    }

    /// A budget's warning is an event of the run's span: nothing was decided and nothing stops.
    fn warning(&mut self, gate: &GateDecided, step: Option<u64>, at_ns: u64) {
        let Some(run) = &mut self.run else { return };
        run.events_count += 1;
        if run.events_count > EVENTS_MAX {
            return;
        }
        if !run.events.is_empty() {
            run.events.push(b',');
        }
        let head =
            format!("{{\"timeUnixNano\":\"{at_ns}\",\"name\":\"budget_warning\",\"attributes\":[");
        run.events.extend_from_slice(head.as_bytes());
        let mut attributes = Attributes::new(&mut run.events);
        if let Some(step) = step {
            attributes.int("agent.step_index", step);
        }
        for (detail, value) in &gate.details {
            attributes.detail(*detail, value);
        }
        run.events.extend_from_slice(b"]}");
    }

    fn policy_check(
        &mut self,
        gate: &GateDecided,
        step: Option<u64>,
        at_ns: u64,
    ) -> io::Result<()> {
        if gate.call_id.is_none() && gate.decision == Decision::Allow {
            self.warning(gate, step, at_ns);
            return Ok(());
        }
        self.step.checks += 1;
        let check = self.step.checks.to_string();
        let (span_id, parent) = match &gate.call_id {
            Some(call_id) => (self.span_id(&["check", call_id]), self.step.span_id),
            None => {
                let root = self.run.as_ref().map(|run| run.span_id).unwrap_or_default();
                (self.span_id(&["check-step", &self.step.number.to_string(), &check]), root)
            }
        };
        let start = self.resumed_ns;
        let rule = gate.rule_id.map(Rule::as_str).unwrap_or_default();
        let denied = format!("denied by {rule}");
        let error = (gate.decision == Decision::Deny).then_some(denied.as_str());
        self.span(("policy_check", ""), &span_id, &parent, start, at_ns, error, |_, _, a| {
            if let Some(step) = step {
                a.int("agent.step_index", step);
            }
            if let Some(tool) = &gate.tool {
                a.text("agent.tool_name", tool);
            }
            if let Some(call_id) = &gate.call_id {
                a.text("gen_ai.tool.call.id", call_id);
            }
            a.text("agent.policy.subject", gate.subject.as_str());
            a.text("agent.policy.decision", gate.decision.as_str());
            if let Some(rule) = gate.rule_id {
                a.text("agent.policy.rule_id", rule.as_str());
            }
            if let Some(class) = gate.error_class {
                a.class(class);
            }
            a.text("policy.version", &gate.policy_version);
            for (detail, value) in &gate.details {
                a.detail(*detail, value);
            }
            a.text("openinference.span.kind", "GUARDRAIL");
        })
    }

    fn retry_attempt(&mut self, attempted: &ToolAttempted, at_ns: u64) -> io::Result<()> {
        let attempt = u64::from(attempted.attempt);
        let span_id = self.span_id(&["attempt", &attempted.call_id, &attempt.to_string()]);
        let parent = self.call.span_id;
        let tool = std::mem::take(&mut self.call.tool);
        let start = self.resumed_ns;
        let failed = attempted.outcome != AttemptOutcome::Success;
        let error = attempted.error.as_ref().filter(|_| failed);
        let message = error.map(|error| error.class.as_str());
        self.span(
            ("retry_attempt", ""),
            &span_id,
            &parent,
            start,
            at_ns,
            message,
            |_, step, a| {
                a.int("agent.step_index", step);
                a.text("agent.tool_name", &tool);
                a.int("agent.retry.attempt", attempt);
                a.text("agent.retry.outcome", attempted.outcome.as_str());
                if let Some(backoff_ms) = attempted.backoff_ms {
                    a.int("agent.retry.backoff_ms", backoff_ms);
                }
                a.error(error);
                a.text("openinference.span.kind", "CHAIN");
            },
        )?;
        self.call.tool = tool;
        Ok(())
    }

    fn human_checkpoint(&mut self, reconciled: &ToolReconciled, at_ns: u64) -> io::Result<()> {
        self.step.checks += 1;
        let check = self.step.checks.to_string();
        let span_id = self.span_id(&["reconciled", &reconciled.call_id, &check]);
        let parent = self.call.span_id;
        let start = self.resumed_ns;
        self.span(("human_checkpoint", ""), &span_id, &parent, start, at_ns, None, |_, step, a| {
            a.int("agent.step_index", step);
            a.text("gen_ai.tool.call.id", &reconciled.call_id);
            a.flag("agent.reconciled.took_place", reconciled.took_place);
            a.text("openinference.span.kind", "CHAIN");
        })
    }

    fn tool_call(&mut self, finished: &ToolFinished, at_ns: u64) -> io::Result<()> {
        let call = std::mem::take(&mut self.call);
        let parent = self.step.span_id;
        let message = finished.error.as_ref().map(|error| error.class.as_str());
        self.span(
            ("execute_tool", &call.tool),
            &call.span_id,
            &parent,
            call.start_ns,
            at_ns,
            message,
            |_, step, a| {
                a.int("agent.step_index", step);
                a.text("agent.tool_name", &call.tool);
                a.text("gen_ai.operation.name", "execute_tool");
                a.text("gen_ai.tool.name", &call.tool);
                a.text("gen_ai.tool.type", "function");
                a.text("gen_ai.tool.call.id", &call.call_id);
                if let Some(sha256) = &finished.sha256 {
                    a.int("agent.tool.result_bytes", finished.bytes);
                    a.digest("agent.tool.result_sha256", sha256);
                    a.flag("agent.tool.result_cut", finished.cut);
                }
                a.error(finished.error.as_ref());
                a.text("openinference.span.kind", "TOOL");
            },
        )
    }

    fn agent_step(&mut self, finished: &StepFinished, at_ns: u64) -> io::Result<()> {
        let step = std::mem::take(&mut self.step);
        let parent = self.run.as_ref().map(|run| run.span_id).unwrap_or_default();
        let mode = finished.failure_mode.map(|mode| mode.as_str());
        self.span(
            ("agent_step", ""),
            &step.span_id,
            &parent,
            step.start_ns,
            at_ns,
            mode,
            |run, _, a| {
                a.text("agent.run_id", &run.started.run_id);
                a.int("agent.step_index", step.number);
                if let Some(mode) = mode {
                    a.text("agent.failure_mode", mode);
                    a.text("error.type", mode);
                }
                a.text("openinference.span.kind", "CHAIN");
            },
        )?;
        self.step.number = step.number;
        Ok(())
    }

    fn agent_run(&mut self, finished: &RunFinished, at_ns: u64) -> io::Result<()> {
        let Some((span_id, start)) = self.run.as_ref().map(|run| (run.span_id, run.start_ns))
        else {
            return Ok(());
        };
        let reason = finished.terminal_reason;
        let error = (reason != TerminalReason::FinalAnswer).then_some(reason.as_str());
        self.span(
            ("invoke_agent", AGENT),
            &span_id,
            &SpanId::default(),
            start,
            at_ns,
            error,
            |run, _, a| {
                a.text("agent.run_id", &run.started.run_id);
                a.text("agent.task", &run.started.task);
                a.text("agent.terminal_reason", reason.as_str());
                if let Some(rule) = finished.rule_id {
                    a.text("agent.policy.rule_id", rule.as_str());
                }
                if let Some(mode) = finished.failure_mode {
                    a.text("agent.failure_mode", mode.as_str());
                }
                if error.is_some() {
                    let mode = finished.failure_mode.map(|mode| mode.as_str());
                    let rule = finished.rule_id.map(|rule| rule.as_str());
                    a.text("error.type", mode.or(rule).unwrap_or(reason.as_str()));
                }
                a.text("agent.llm.execution_path", run.started.llm.path.as_str());
                a.text("policy.version", &run.started.policy_version);
                a.text("gen_ai.operation.name", "invoke_agent");
                a.text("gen_ai.provider.name", &run.started.llm.provider);
                a.text("gen_ai.agent.id", &run.started.task);
                a.text("gen_ai.agent.name", AGENT);
                a.text("gen_ai.agent.version", &run.started.agent_version);
                a.text("gen_ai.conversation.id", &run.started.run_id);
                a.text("gen_ai.request.model", &run.started.llm.model);
                a.seed(run.started.seed);
                a.int("gen_ai.usage.input_tokens", finished.totals.usage.input_tokens);
                a.int("gen_ai.usage.output_tokens", finished.totals.usage.output_tokens);
                a.text("openinference.span.kind", "AGENT");
            },
        )?;
        self.out.write_all(b"\n],\"schemaUrl\":\"")?;
        self.out.write_all(SCHEMA_URL.as_bytes())?;
        self.out.write_all(b"\"}],\"schemaUrl\":\"")?;
        self.out.write_all(SCHEMA_URL.as_bytes())?;
        self.out.write_all(b"\"}]}\n")
    }

    fn span_id(&self, position: &[&str]) -> SpanId {
        let mut id = SpanId::default();
        let Some(run) = &self.run else { return id };
        let mut parts = ["span", &run.started.run_id, "", "", ""];
        for (part, given) in parts.iter_mut().skip(2).zip(position) {
            *part = given;
        }
        let bytes = derive::bytes::<8>(run.started.seed, &parts);
        // Eight bytes are sixteen digits.
        let _ = base16ct::lower::encode(&bytes, &mut id);
        id
    }

    /// Writes one span, named by its operation and what that is about, as the conventions name
    /// spans. `error` sets its status, with the message.
    #[expect(
        clippy::too_many_arguments,
        reason = "a span has this many parts, each named at its one caller"
    )]
    fn span(
        &mut self,
        (operation, about): (&str, &str),
        span_id: &SpanId,
        parent: &SpanId,
        start_ns: u64,
        end_ns: u64,
        error: Option<&str>,
        attributes: impl FnOnce(&Run, u64, &mut Attributes<'_>),
    ) -> io::Result<()> {
        let Some(run) = &self.run else { return Ok(()) };
        let line = &mut self.line;
        line.clear();
        if self.spans > 0 {
            line.extend_from_slice(b",\n");
        }
        self.spans += 1;
        line.extend_from_slice(b"{\"traceId\":\"");
        line.extend_from_slice(run.trace_id.as_bytes());
        line.extend_from_slice(b"\",\"spanId\":\"");
        line.extend_from_slice(span_id);
        if *parent != SpanId::default() {
            line.extend_from_slice(b"\",\"parentSpanId\":\"");
            line.extend_from_slice(parent);
        }
        line.extend_from_slice(b"\",\"name\":");
        if about.is_empty() {
            string(line, operation);
        } else {
            string(line, &format!("{operation} {about}"));
        }
        line.extend_from_slice(b",\"kind\":1,\"startTimeUnixNano\":\"");
        number(line, start_ns);
        line.extend_from_slice(b"\",\"endTimeUnixNano\":\"");
        number(line, end_ns);
        line.extend_from_slice(b"\",\"attributes\":[");
        attributes(run, self.step.number, &mut Attributes::new(line));
        line.push(b']');
        if *parent == SpanId::default() && !run.events.is_empty() {
            line.extend_from_slice(b",\"events\":[");
            line.extend_from_slice(&run.events);
            line.push(b']');
            let dropped = run.events_count.saturating_sub(EVENTS_MAX);
            if dropped > 0 {
                let _ = write!(line, ",\"droppedEventsCount\":{dropped}");
            }
        }
        if let Some(message) = error {
            line.extend_from_slice(b",\"status\":{\"code\":2,\"message\":");
            string(line, message);
            line.push(b'}');
        }
        line.push(b'}');
        self.out.write_all(line)
    }
}
