//! Evidence that somebody forged as a whole, chain, digests and projections included, or that is
//! made to lead its reader astray: what cannot be is found, and nothing is followed or swollen.

use camino::Utf8PathBuf;
use gatedrun::event::*;
use gatedrun::evidence::facts::Facts;
use gatedrun::evidence::recorder::{Recorded, project};
use gatedrun::evidence::trace::{EVENTS_MAX, TEXT_CHARS_MAX};
use gatedrun::evidence::verify::{FINDINGS_MAX, Verdict, Verification, verify};
use gatedrun::evidence::{ATTESTATION, FILES, MANIFEST, REPORT, STATE, TRACE, open, report};
use gatedrun::inputs::{Library, Root};
use gatedrun::json::{Digest, JsonText};
use gatedrun::ledger::{Grammar, encode};
use gatedrun::policy::rules::loop_budget::LoopBudget;
use serde_json::{Value, json};

use crate::support::{Folder, copy, exhaustive, file, read_ledger, root};
use crate::vectors::forged;
use crate::verify::fifo;

const WRITES: &str = "on_deny/mixed";

pub(super) fn records(id: &str) -> Vec<Record> {
    read_ledger(&file(&format!("runs/{id}/{STATE}"))).unwrap()
}

/// The lines of a ledger with these events, numbered, dated and chained as if they had happened.
fn ledger(mut records: Vec<Record>) -> Vec<u8> {
    let mut lines = Vec::new();
    let (mut prev, mut clock) = (Digest::ZERO, gatedrun::clock::Clock::logical());
    for (seq, record) in records.iter_mut().enumerate() {
        record.seq = seq as u64;
        record.prev = prev;
        record.at_ns = clock.date(&record.event);
        let mut line = Vec::new();
        encode(record, &mut line);
        prev = Digest::of(&line);
        lines.extend(line);
        lines.push(b'\n');
    }
    lines
}

pub(super) fn projected(records: Vec<Record>) -> Recorded<Vec<u8>, Vec<u8>> {
    project(ledger(records).as_slice(), Vec::new(), Vec::new()).unwrap()
}

/// A run's folder with this ledger, and all that follows from it.
struct Forged {
    folder: Folder,
    run: Utf8PathBuf,
}

impl Forged {
    fn of(id: &str, change: impl FnOnce(&mut Vec<Record>)) -> Self {
        let folder = Folder::new();
        let run = folder.path().join("run");
        copy(root().join("runs").join(id).as_std_path(), run.as_std_path());
        let mut events = records(id);
        change(&mut events);
        let made = projected(events);
        let files = [(STATE, made.state), (TRACE, made.trace), (REPORT, made.report)];
        for (name, bytes) in files.into_iter().chain([(MANIFEST, made.manifest)]) {
            folder.write(&format!("run/{name}"), bytes);
        }
        Self { folder, run }
    }

    fn verify(&self) -> Verification {
        let library = Library::new(Root::Folder(root()));
        verify(&self.run, Some(&library), &[])
    }
}

/// The first event that `pick` takes, for changing.
fn the<T>(records: &mut [Record], pick: impl FnMut(&mut Event) -> Option<&mut T>) -> &mut T {
    records.iter_mut().map(|record| &mut record.event).find_map(pick).unwrap()
}

fn about_the_run(event: &mut Event) -> Option<&mut GateDecided> {
    match event {
        Event::GateDecided(gate) if gate.subject == Subject::Step => Some(gate),
        _ => None,
    }
}

fn end(event: &mut Event) -> Option<&mut RunFinished> {
    match event {
        Event::RunFinished(finished) => Some(finished),
        _ => None,
    }
}

fn tool(event: &mut Event) -> Option<&mut ToolStarted> {
    match event {
        Event::ToolStarted(started) => Some(started),
        _ => None,
    }
}

fn begin(event: &mut Event) -> Option<&mut RunStarted> {
    match event {
        Event::RunStarted(started) => Some(started),
        _ => None,
    }
}

/// Makes the call that wrote a file say that it wrote this one.
fn write_to(records: &mut [Record], path: &str) {
    let finished = the(records, |event| match event {
        Event::ToolFinished(finished)
            if finished.origin.as_deref().is_some_and(|origin| origin.starts_with("work/")) =>
        {
            Some(finished)
        }
        _ => None,
    });
    let mut result = finished.result.as_ref().unwrap().value();
    result["path"] = json!(path);
    let result = JsonText::of(&result);
    finished.bytes = result.canonical().len() as u64;
    finished.sha256 = Some(Digest::of(&result.canonical()));
    finished.result = Some(result);
}

type Change = fn(&mut Vec<Record>);

#[test]
fn what_no_run_can_have_done_is_found_in_its_line() {
    let cases: [(&str, &str, Change, &str); 10] = [
        (
            "a decision about the run that names a call",
            "budgets/cost",
            |records| {
                the(records, about_the_run).call_id = Some("call_0123456789abcdef".to_owned());
            },
            "if and only if it is about a call",
        ),
        (
            "a tool that was not the one allowed",
            "canonical/v1",
            |records| the(records, tool).tool = "fetch".to_owned(),
            "tool is fetch, expected search",
        ),
        (
            "a denied run that reads as another end",
            "policy_gates/pg1_off_allowlist_url",
            |records| the(records, end).terminal_reason = TerminalReason::NoProgress,
            "by what came before it ends by policy_denial_terminal",
        ),
        (
            "a denied run that reads as answered",
            "policy_gates/pg1_off_allowlist_url",
            |records| {
                let end = the(records, end);
                end.terminal_reason = TerminalReason::FinalAnswer;
                end.answer = Some("done".to_owned());
                end.rule_id = None;
            },
            "with no answer",
        ),
        (
            "another rule that ended it",
            "policy_gates/pg2_sandbox_escape",
            |records| the(records, end).rule_id = Some(Rule::ToolRegistry),
            "the run did not end so",
        ),
        (
            "a failure that reads as a denial",
            "failure_modes/retry_exhaustion",
            |records| {
                let end = the(records, end);
                end.terminal_reason = TerminalReason::PolicyDenialTerminal;
                end.failure_mode = None;
            },
            "by what came before it ends by failure_mode_terminal",
        ),
        (
            "a run that stops in the middle",
            "canonical/v1",
            |records| {
                let last = records.pop().unwrap();
                records.truncate(records.len() - 4);
                records.push(last);
                let totals = records.iter().rev().find_map(|record| match &record.event {
                    Event::StepFinished(finished) => Some(finished.totals),
                    _ => None,
                });
                let end = the(records, end);
                end.totals = totals.unwrap();
                end.terminal_reason = TerminalReason::LoopBudget;
                end.answer = None;
            },
            "without an answer, a denial or a failure",
        ),
        (
            "a write outside of its mount",
            WRITES,
            |records| write_to(records, "work/../../elsewhere.md"),
            "path is work/../../elsewhere.md",
        ),
        (
            "a write to what is only read",
            WRITES,
            |records| write_to(records, "corpus/op-19.md"),
            "path is corpus/op-19.md",
        ),
        (
            "inputs without end",
            "canonical/v1",
            |records| {
                let inputs = &mut the(records, begin).inputs;
                let one = inputs[0].clone();
                inputs.extend((0..2_000).map(|n| Input { path: format!("{n}"), ..one.clone() }));
            },
            "a run has at most 1024",
        ),
    ];
    for (what, id, change, words) in cases {
        let mut changed = Vec::new();
        let found = Forged::of(id, |records| {
            let before = records.clone();
            change(records);
            changed = records.iter().map(|record| !before.contains(record)).collect();
        })
        .verify();
        assert_eq!(found.verdict, Verdict::Tampered, "{what}: {:?}", found.findings);
        let first = &found.findings[0];
        assert_eq!(first.file, STATE, "{what}: {first:?}");
        assert!(first.what.contains(words), "{what}: {first:?}");
        let line = usize::try_from(first.line.unwrap()).unwrap();
        assert!(changed[line - 1], "{what}: line {line} was not changed");
    }
}

#[test]
fn a_step_that_ends_before_its_calls_were_decided_needs_a_reason() {
    // The second step of three proposes a call; the first had a denial that let the run continue.
    let mut records = records("on_deny/plan_anew");
    let totals = Totals { attempts: 0, calls_allowed: 0, ..Totals::default() };
    records.truncate(9);
    let mut grammar = Grammar::default();
    for record in &records {
        grammar.accept(record).unwrap();
    }
    let last = records.pop().unwrap();
    let Event::LlmReplied(replied) = &last.event else { panic!("{last:?}") };
    let before = records.iter().find_map(|record| match &record.event {
        Event::StepFinished(finished) => Some(finished.totals.usage),
        _ => None,
    });
    let mut usage = before.unwrap();
    usage.add(replied.usage);
    let totals = Totals { steps: 2, calls_denied: 1, usage, ..totals };
    let finished = Event::StepFinished(StepFinished { failure_mode: None, totals });
    let (seq, at_ns) = (last.seq + 1, last.at_ns + 1_000_000);
    let refused = grammar.accept(&Record { seq, at_ns, step: Some(2), event: finished, ..last });
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("before its calls were decided"), "{refused}");
}

#[test]
fn the_budget_of_time_is_recomputed() {
    let library = Library::new(Root::Folder(root()));
    let contracts = library.contracts("tools").unwrap().contracts;
    let budget = library.policy("policy/v1.yaml", &contracts).unwrap().rules.loop_budget;
    let held_to = |max_elapsed_ms: u64, records: &[Record]| {
        let mut facts = Facts::default();
        facts.hold_to(LoopBudget { max_elapsed_ms: Some(max_elapsed_ms), ..budget });
        records.iter().try_for_each(|record| facts.push(record))
    };
    // The last decision that asks is about the fifth step, or its like.
    let run = records("canonical/v1");
    let last = run.iter().rposition(|r| matches!(r.event, Event::StepStarted(_))).unwrap() as u64;
    assert_eq!(held_to(last + 1, &run), Ok(()));
    let refused = held_to(last, &run).unwrap_err();
    assert!(refused.contains("max_elapsed_ms"), "{refused}");
    let refused = held_to(4, &run).unwrap_err();
    assert!(refused.starts_with("a call began after 4 ms"), "{refused}");
    // A warning before a decision takes time, which that decision does not see.
    let mut run = records("budgets/elapsed");
    let call = run.iter().rposition(
        |record| matches!(&record.event, Event::GateDecided(gate) if gate.subject == Subject::Call),
    );
    run.truncate(call.unwrap() + 1);
    let ms = (run[call.unwrap()].at_ns - run[0].at_ns) / 1_000_000;
    assert_eq!(held_to(ms, &run), Ok(()));
    let refused = held_to(ms - 1, &run).unwrap_err();
    assert!(refused.starts_with(&format!("a call began after {} ms", ms - 1)), "{refused}");
    // Of the committed run that meets this budget, every event before the denial is in time.
    let run = root().join("runs/budgets/elapsed");
    assert_eq!(verify(&run, Some(&library), &[]).verdict, Verdict::Verified);
}

#[test]
fn no_path_of_a_stranger_leads_out() {
    // A folder outside that has exactly what the run wrote, and a link to it in the place of work/.
    let forged = Forged::of(WRITES, |_| {});
    assert_eq!(forged.verify().verdict, Verdict::Verified);
    let work = forged.run.join("work");
    std::fs::rename(&work, forged.folder.path().join("outside")).unwrap();
    std::os::unix::fs::symlink("../outside", &work).unwrap();
    let found = forged.verify();
    assert_eq!(found.verdict, Verdict::Tampered, "{:?}", found.findings);
    assert_eq!(found.findings[0].file, "work", "{:?}", found.findings);
    // A link in it to a file that has the same bytes, and to a folder that has that file.
    let name = "notes/op-19.md";
    for link in [name, "notes"] {
        let _ = std::fs::remove_file(&work);
        let _ = std::fs::remove_dir_all(&work);
        let at = work.join(link);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let outside = forged.folder.path().join("outside");
        assert!(outside.join(name).is_file());
        std::os::unix::fs::symlink(outside.join(link), &at).unwrap();
        let found = forged.verify();
        assert_eq!(found.verdict, Verdict::Tampered, "{:?}", found.findings);
        assert_eq!(found.findings[0].file, format!("work/{link}"), "{:?}", found.findings);
    }
    // Inputs that lie elsewhere on the machine are not looked at, whatever they are.
    for path in ["/etc/hostname", "../elsewhere", "tasks/../../elsewhere", "builtin:/etc/hostname"]
    {
        let forged = Forged::of("canonical/v1", |records| {
            the(records, begin).inputs[0].path = path.to_owned();
        });
        let found = forged.verify();
        assert_eq!(found.verdict, Verdict::Unconfirmed, "{path}: {:?}", found.findings);
        assert!(found.findings[0].what.contains("is not read"), "{:?}", found.findings);
    }
    // The worst finding is the verdict, wherever it comes.
    for (changed, order) in [
        (true, [Verdict::Unconfirmed, Verdict::InputsDiffer]),
        (false, [Verdict::Tampered, Verdict::Unconfirmed]),
    ] {
        let forged = Forged::of("canonical/v1", |records| {
            let inputs = &mut the(records, begin).inputs;
            inputs[0].path = "../elsewhere".to_owned();
            let last = inputs.iter_mut().rfind(|input| input.role == InputRole::Contract).unwrap();
            last.sha256 = if changed { Digest::ZERO } else { last.sha256 };
        });
        if !changed {
            forged.folder.write("run/work/strange.md", "x");
        }
        let found = forged.verify();
        let verdicts: Vec<Verdict> = found.findings.iter().map(|found| found.verdict).collect();
        assert_eq!(verdicts, order, "{:?}", found.findings);
        assert_eq!(Some(&found.verdict), order.iter().max());
    }
    for name in ["/etc", "..", "data/../.."] {
        let forged = Forged::of("canonical/v1", |records| {
            the(records, begin).corpus.name = name.to_owned();
        });
        let found = forged.verify();
        assert_eq!(found.verdict, Verdict::Unconfirmed, "{name}: {:?}", found.findings);
        assert!(found.findings[0].what.contains("is not read"), "{:?}", found.findings);
    }
}

/// Every command that reads a run, on the one in `run/` that was to be of this task.
fn every_command(folder: &Folder, id: &str) -> Vec<(i32, String)> {
    let (task, project) = (root().join(format!("tasks/{id}.json")), root());
    let committed = root().join("runs").join(id);
    let policy = root().join("policy/variants/continue.yaml");
    let of_task = ["--task", task.as_str()];
    // As it is: links and FIFOs are copied as what they are.
    let copied = std::process::Command::new("cp")
        .args(["-a", "run", "cut.partial"])
        .current_dir(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let commands: [&[&str]; 9] = [
        &["verify", "run", "--project", project.as_str()],
        &["replay", "run"],
        &["replay", "run", "--policy", policy.as_str()],
        &["check", "run"],
        &["diff", "run", committed.as_str()],
        &["diff", committed.as_str(), "run", "--json"],
        &["show", "run"],
        &["sign", "run", "--key", "key.pem"],
        &["resume", "cut"],
    ];
    let of_a_task = |args: &[&str]| ["replay", "check", "resume"].contains(&args[0]);
    commands
        .iter()
        .map(|args| {
            let more = if of_a_task(args) { &of_task[..] } else { &[] };
            let (code, told) = folder.gatedrun_in_time(&[args, more].concat());
            (code, format!("{} {told}", args.join(" ")))
        })
        .collect()
}

#[test]
fn whatever_is_forged_every_command_has_an_answer() {
    let count = if exhaustive() { 2_000 } else { 30 };
    let mut rng = gatedrun::derive::rng(12, &["forgeries"]);
    let mut random =
        |below: usize| usize::try_from(gatedrun::derive::below(&mut rng, below as u64)).unwrap();
    for number in 0..count {
        let (folder, id, said) = forged(&mut random);
        folder.gatedrun(&["keygen", "key.pem"]);
        for (code, told) in every_command(&folder, &id) {
            assert!((0..=7).contains(&code), "{number}, {id}: {said}: {code} {told}");
        }
    }
}

#[test]
fn no_command_waits_for_a_file_that_is_none() {
    for name in FILES.into_iter().chain([ATTESTATION]) {
        for what in ["nothing", "a FIFO", "a folder", "a link"] {
            let forged = Forged::of("canonical/v1", |_| {});
            forged.folder.gatedrun(&["keygen", "key.pem"]);
            let path = forged.run.join(name);
            let _ = std::fs::remove_file(&path);
            match what {
                "a FIFO" => fifo(&path),
                "a folder" => std::fs::create_dir(&path).unwrap(),
                "a link" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                _ => {}
            }
            for (code, told) in every_command(&forged.folder, "canonical/v1") {
                assert!((0..=9).contains(&code), "{name} is {what}: {code} {told}");
            }
        }
    }
}

#[test]
fn a_file_is_opened_beneath_its_folder_or_not_at_all() {
    let folder = Folder::new();
    folder.write("outside.md", "x");
    folder.write("run/work/a.md", "x");
    let run = folder.path().join("run");
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, run.join(at)).unwrap();
    link("work", "inner");
    link("a.md", "work/link.md");
    link("../..", "work/out");
    let held = open::Folder::open(&run).unwrap();
    assert!(held.open_file("work/a.md").is_ok());
    let outside = folder.path().join("outside.md");
    for path in [
        "../outside.md",
        "work/../../outside.md",
        outside.as_str(),
        "inner/a.md",
        "work/link.md",
        "work/out/outside.md",
        "work",
        "work/none.md",
        "",
    ] {
        assert!(held.open_file(path).is_err(), "{path}");
    }
}

#[test]
fn a_folder_full_of_strangers_is_told_in_part() {
    let forged = Forged::of(WRITES, |_| {});
    for number in 0..FINDINGS_MAX + 50 {
        forged.folder.write(&format!("run/work/{number}"), "x");
    }
    let found = forged.verify();
    assert_eq!(found.verdict, Verdict::Tampered);
    assert_eq!((found.findings.len(), found.findings_omitted), (FINDINGS_MAX, 50));
    let ran = forged.folder.gatedrun(&["verify", "run", "--project", root().as_str()]);
    assert!(ran.code == 1 && ran.out.contains("\n  and 50 more\n"), "{}", ran.all());
}

#[test]
fn nothing_that_is_repeated_swells_what_is_made_of_it() {
    let long = "x".repeat(1 << 20);
    let mut events = records("canonical/v1");
    let begin = the(&mut events, begin);
    begin.llm.model = long.clone();
    begin.llm.provider = long.clone();
    begin.task = long.clone();
    begin.agent_version = long.clone();
    for record in &mut events {
        match &mut record.event {
            Event::LlmReplied(replied) => {
                replied.calls.iter_mut().for_each(|call| call.tool = long.clone());
            }
            Event::GateDecided(gate) => {
                gate.tool = Some(long.clone());
                gate.reason = long.clone();
                gate.details.insert(Detail::Url, json!(long));
            }
            Event::ToolStarted(started) => started.tool = long.clone(),
            Event::ToolFinished(finished) => finished.origin = Some(long.clone()),
            _ => {}
        }
    }
    let made = projected(events);
    assert!(made.state.len() > 20 << 20);
    let spans = made.trace.iter().filter(|byte| **byte == b'\n').count();
    assert!(made.trace.len() < spans * 8 * TEXT_CHARS_MAX, "{}", made.trace.len());
    // The report shows each of them where the run is set up, and nowhere else whole.
    assert!(made.report.len() < 8 << 20, "{}", made.report.len());
}

#[test]
fn a_run_of_any_length_makes_a_report_and_a_span_that_can_be_read() {
    let mut events = records("budgets/cost");
    let at = events
        .iter()
        .position(|r| matches!(&r.event, Event::GateDecided(g) if g.subject == Subject::Step));
    let warning = events[at.unwrap()].clone();
    let count = 3_000;
    let more = (0..count).map(|number| {
        let mut record = warning.clone();
        let Event::GateDecided(gate) = &mut record.event else { panic!("{record:?}") };
        gate.reason = format!("number {number}.");
        record
    });
    events.splice(at.unwrap()..at.unwrap(), more);
    let made = projected(events);
    let trace: Value = serde_json::from_slice(&made.trace).unwrap();
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let root = spans.last().unwrap();
    assert_eq!(root["events"].as_array().unwrap().len() as u64, EVENTS_MAX);
    let told = root["droppedEventsCount"].as_u64().unwrap() + EVENTS_MAX;
    assert!(told > count as u64 && told < count as u64 + 10, "{told}");
    let report = String::from_utf8(made.report).unwrap();
    let rows = report.lines().filter(|line| line.contains("| warn |")).count();
    assert!(rows <= report::ROWS_MAX && rows > report::ROWS_MAX / 2, "{rows}");
    assert!(report.contains(" more, which the ledger has* |"), "{report}");
    let is_told = |number: usize| report.contains(&format!("number {number}."));
    assert!(is_told(0) && is_told(100) && !is_told(count / 2), "{report}");
    assert!(is_told(count - 100) && is_told(count - 1), "{report}");
    let last = report.lines().rfind(|line| line.contains("deny")).unwrap();
    assert!(last.contains("max_cost"), "the end of a long run is told: {last}");
}
