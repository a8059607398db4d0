//! The library's facade: a program guards its own loop, and what remains is a run like any other.

use camino::Utf8Path;
use gatedrun::event::{Event, Record, RunStarted};
use gatedrun::session::{Error, Run};
use gatedrun::{Outcome, Project, Reply, Session, Usage};
use serde_json::{Value, json};

use crate::support::{Folder, Ran, copy, lines_of, read_ledger, root, scripted};
use crate::vectors::second_opinion;

const TASK: &str = "tasks/test/script.json";
const RUN: &str = "runs/test/script";

/// A project with a task whose calls another program proposes.
fn outside() -> Folder {
    let folder = Folder::lenient_project();
    write_task(&folder, |_| {});
    folder
}

fn write_task(folder: &Folder, change: impl FnOnce(&mut Value)) {
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["id"] = "test/script".into();
    task["llm"] = json!({"outside": {"provider": "acme", "model": "large"}});
    task.as_object_mut().unwrap().remove("expected");
    change(&mut task);
    folder.write(TASK, task.to_string());
}

fn session(folder: &Folder) -> Session {
    Project::open(folder.path()).unwrap().session(TASK).unwrap()
}

fn read(path: &str) -> [(&'static str, Value); 1] {
    [("read", json!({"path": path}))]
}

/// A session of two steps and an answer.
fn finished(folder: &Folder) -> Run {
    let mut session = session(folder);
    let step = session.propose([
        ("search", json!({"query": "relay cabinet", "top_k": 2.0})),
        ("write", json!({"path": "work/note.md", "content": "R-4"})),
    ]);
    let step = step.unwrap();
    assert!(step.end.is_none() && step.outcomes.len() == 2, "{step:?}");
    assert!(step.outcomes.iter().all(|outcome| outcome.result().is_some()), "{step:?}");
    let step = session.propose(Reply::from(read("corpus/op-19.md")).text("I read it.")).unwrap();
    let [Outcome::Returned(result)] = &step.outcomes[..] else { panic!("{step:?}") };
    assert!(result.as_str().contains("75 days"), "{result:?}");
    session.finish("75 days").unwrap()
}

/// Both verifiers on the run of the task.
fn verified(folder: &Folder, verdict: &str) {
    let ran = folder.gatedrun(&["verify", RUN]);
    assert!(ran.out.contains(&format!("{RUN}: {verdict}")), "{}", ran.all());
    let run = folder.path().join(RUN);
    if let Some(other) = second_opinion(&run, Some(folder.path()), &[], &[]) {
        assert_eq!(other["verdict"], verdict, "{other}");
    }
}

fn wrong<T>(result: Result<T, Error>) -> String {
    let Err(error) = result else { panic!("an error was expected") };
    error.to_string()
}

fn ran(folder: &Folder, command: &str) -> Ran {
    folder.gatedrun(&command.split(' ').collect::<Vec<_>>())
}

#[test]
fn a_session_can_move_between_threads() {
    fn holds<T: Send + 'static>() {}
    holds::<Session>();
    holds::<Project>();
}

#[test]
fn a_finished_session_is_a_run_that_every_command_takes() {
    let folder = outside();
    let run = finished(&folder);
    assert_eq!(run.folder, folder.path().join(RUN));
    assert_eq!(run.end.terminal_reason.as_str(), "final_answer");
    assert_eq!(run.end.answer.as_deref(), Some("75 days"));
    assert_eq!((run.totals.steps, run.totals.calls_allowed), (3, 3));
    assert!(run.unmet.is_empty());
    assert_eq!(folder.read(&format!("{RUN}/work/note.md")), b"R-4");
    assert!(!folder.path().join(format!("{RUN}.partial")).exists());
    verified(&folder, "verified");
    let manifest: Value =
        serde_json::from_slice(&folder.read(&format!("{RUN}/manifest.json"))).unwrap();
    assert_eq!(manifest["ledger"]["format"], 2);
    assert_eq!(manifest["llm"], json!({"path": "outside", "provider": "acme", "model": "large"}));
    // What is taken from the record and what is made again.
    let checked = ran(&folder, &format!("check {RUN}"));
    assert_eq!(
        (checked.code, &*checked.out),
        (0, "runs/test/script: identical, replies as recorded\n")
    );
    let checked = ran(&folder, &format!("check {RUN} --json"));
    assert!(checked.out.contains("\"replies\":\"recorded\""), "{}", checked.all());
    for (command, due) in [
        ("replay", "identical"),
        ("show", "outside"),
        ("list", "test/script   committed"),
        ("regression .", "1 same"),
        ("diff", "every event is the same"),
    ] {
        let args = match command {
            "list" | "regression ." => command.to_owned(),
            "diff" => format!("diff {RUN} {RUN}"),
            command => format!("{command} {RUN}"),
        };
        let ran = ran(&folder, &args);
        assert!(ran.out.contains(due), "{args}: {}", ran.all());
        assert!(ran.code == 0 || command.starts_with("regression"), "{args}: {}", ran.all());
    }
    let report = String::from_utf8(folder.read(&format!("{RUN}/run_report.md"))).unwrap();
    assert!(report.contains("large of acme: asked by another program"), "{report}");
}

#[test]
fn a_session_and_a_script_of_the_same_calls_record_the_same() {
    let folder = outside();
    finished(&folder);
    let session = read_ledger(&folder.read(&format!("{RUN}/state.jsonl"))).unwrap();
    let other = Folder::lenient_project();
    let inputs = scripted(
        &other,
        json!([
            {"calls": [
                {"tool": "search", "arguments": {"query": "relay cabinet", "top_k": 2}},
                {"tool": "write", "arguments": {"path": "work/note.md", "content": "R-4"}}
            ]},
            {"text": "I read it.", "calls": [{"tool": "read", "arguments": {"path": "corpus/op-19.md"}}]},
            {"final_answer": "75 days"}
        ]),
        &[],
    );
    let (_, script) = crate::support::run(&inputs, &other.path().join("work"));
    let alike = |records: &[Record]| -> Vec<(u64, Option<u64>, Event)> {
        records.iter().map(|one| (one.at_ns, one.step, one.event.clone())).collect()
    };
    let (session, script) = (alike(&session), alike(&script));
    assert_eq!(session[1..], script[1..]);
    let started = |event: &Event| match event {
        Event::RunStarted(started) => (**started).clone(),
        other => panic!("{other:?}"),
    };
    let (a, b) = (started(&session[0].2), started(&script[0].2));
    assert_eq!((a.format, b.format), (2, 1));
    // The task's file differs, and what answers as the LLM.
    let b = RunStarted { format: a.format, llm: a.llm.clone(), inputs: a.inputs.clone(), ..b };
    assert_eq!(a, b);
}

#[test]
fn a_denial_is_an_outcome_and_may_end_the_run() {
    let folder = outside();
    let mut session = session(&folder);
    let step = session
        .propose([("read", json!({"path": "../x"})), ("read", json!({"path": "corpus/op-19.md"}))]);
    let step = step.unwrap();
    let [Outcome::Denied { rule, reason }] = &step.outcomes[..] else { panic!("{step:?}") };
    assert_eq!(rule.as_str(), "sandbox_path");
    assert!(reason.contains("\"..\" is no mount"), "{reason}");
    let end = step.end.unwrap();
    assert_eq!(end.terminal_reason.as_str(), "policy_denial_terminal");
    assert_eq!(session.end(), Some(&end));
    let error = wrong(session.propose(read("corpus/op-19.md")));
    assert!(error.contains("the run has ended (policy_denial_terminal)"), "{error}");
    let run = session.finish("never said").unwrap();
    assert_eq!(run.end, end);
    verified(&folder, "verified");
    let ledger = String::from_utf8(folder.read(&format!("{RUN}/state.jsonl"))).unwrap();
    assert!(!ledger.contains("never said"));
    assert_eq!(ran(&folder, &format!("check {RUN}")).code, 0);
    // A rule that lets the agent plan again ends nothing.
    let folder = outside();
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/v1.yaml", policy.replace("on_deny: terminate", "on_deny: continue"));
    let mut session = self::session(&folder);
    let step = session.propose(read("../x")).unwrap();
    assert!(step.end.is_none() && step.outcomes[0].error().is_some(), "{step:?}");
    assert_eq!(session.finish("done").unwrap().end.terminal_reason.as_str(), "final_answer");
    verified(&folder, "verified");
}

#[test]
fn budgets_hold_and_the_end_is_known_at_once() {
    let folder = outside();
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: 2");
    let mut session = session(&folder);
    assert!(session.propose(read("corpus/op-19.md")).unwrap().end.is_none());
    let step = session.propose(read("corpus/op-18.md")).unwrap();
    assert!(step.outcomes[0].result().is_some());
    assert_eq!(step.end.unwrap().terminal_reason.as_str(), "loop_budget");
    session.finish("too late").unwrap();
    verified(&folder, "verified");
    // What a reply is said to have used counts, and the calls of one too many are not executed.
    let folder = outside();
    let mut session = self::session(&folder);
    let used = Usage { input_tokens: 49_000, output_tokens: 900, cost_microusd: 12 };
    assert!(
        session.propose(Reply::from(read("corpus/op-19.md")).usage(used)).unwrap().end.is_none()
    );
    let step = session.propose(Reply::from(read("corpus/op-18.md")).usage(used)).unwrap();
    assert!(step.outcomes.is_empty(), "{step:?}");
    assert_eq!(step.end.unwrap().terminal_reason.as_str(), "loop_budget");
    let run = session.finish("too late").unwrap();
    assert_eq!(run.totals.usage, used);
    verified(&folder, "verified");
    assert_eq!(ran(&folder, &format!("check {RUN}")).code, 0);
    assert_eq!(ran(&folder, &format!("replay {RUN}")).code, 0);
}

#[test]
fn a_dropped_session_leaves_an_unfinished_run() {
    let folder = outside();
    let mut session = session(&folder);
    session.propose(read("corpus/op-19.md")).unwrap();
    let partial = session.partial().to_owned();
    assert_eq!(partial, folder.path().join(format!("{RUN}.partial")));
    // What was returned is in the file, however the program ends.
    let ledger = std::fs::read(partial.join("state.jsonl")).unwrap();
    assert_eq!(read_ledger(&ledger).unwrap().last().unwrap().event.kind(), "step_finished");
    drop(session);
    assert_eq!(std::fs::read(partial.join("state.jsonl")).unwrap(), ledger);
    let verified = ran(&folder, &format!("verify {RUN}"));
    assert!(verified.code == 7 && verified.out.contains("unfinished"), "{}", verified.all());
    if let Some(other) = second_opinion(&partial, Some(folder.path()), &[], &[]) {
        assert_eq!(other["verdict"], "unfinished", "{other}");
    }
    assert!(ran(&folder, "list").all().contains("unfinished"));
    // What no command can do is not advised by any.
    for command in ["show", "verify", "check", "replay"] {
        let said = ran(&folder, &format!("{command} {RUN}")).all();
        assert!(
            said.contains("move runs/test/script.partial away") || command == "verify",
            "{said}"
        );
        assert!(said.contains("let the program begin again"), "{command}: {said}");
        assert!(!said.contains("gatedrun resume"), "{command}: {said}");
    }
    // If the task has a script by now, its run is begun again.
    let scripted = Folder::project();
    scripted.write("tasks/test/script.json", {
        let task = String::from_utf8(folder.read(TASK)).unwrap();
        let mut task: Value = serde_json::from_str(&task).unwrap();
        task["llm"] = json!({"script": [{"final_answer": "R-4"}]});
        task.to_string()
    });
    copy(folder.path().join("runs").as_std_path(), scripted.path().join("runs").as_std_path());
    let begun = ran(&scripted, &format!("run {TASK}"));
    assert!(begun.code == 2 && !begun.all().contains("gatedrun resume"), "{}", begun.all());
    assert!(begun.err.contains("start over with `gatedrun run"), "{}", begun.all());
    let resumed = ran(&folder, &format!("resume {RUN}"));
    assert_eq!(resumed.code, 2, "{}", resumed.all());
    for due in [
        "no run of that can be resumed",
        "gatedrun show runs/test/script",
        "runs/test/script.partial away",
    ] {
        assert!(resumed.err.contains(due), "{}", resumed.all());
    }
    assert_eq!(std::fs::read(partial.join("state.jsonl")).unwrap(), ledger);
    let error = wrong(Project::open(folder.path()).unwrap().session(TASK));
    assert!(error.contains("script.partial: holds a run that was not finished"), "{error}");
}

#[test]
fn one_folder_has_one_session() {
    let folder = outside();
    let project = Project::open(folder.path()).unwrap();
    let first = project.session(TASK).unwrap();
    let error = wrong(project.session(TASK));
    assert!(error.contains("is writing this run; wait for it"), "{error}");
    let elsewhere = folder.path().join("mine");
    project.session_in(TASK, &elsewhere).unwrap().finish("another").unwrap();
    first.finish("the first").unwrap();
    verified(&folder, "verified");
    for taken in [project.session(TASK), project.session_in(TASK, &elsewhere)] {
        let error = wrong(taken);
        assert!(error.contains("already exists, and a session replaces nothing"), "{error}");
    }
    let ran = ran(&folder, "verify mine --project .");
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[test]
fn a_run_lies_where_run_out_would_put_it() {
    let folder = outside();
    let project = Project::open(folder.path()).unwrap();
    for (at, due) in [
        ("runs/other", "in runs/ each run has the name of its task"),
        ("policy/mine", "it is in policy/ of the project"),
        ("a\nb", "the path contains a control character"),
        ("mine.new", "names that end in \".new\" are reserved"),
    ] {
        let error = wrong(project.session_in(TASK, folder.path().join(at)));
        assert!(error.contains(due), "{at}: {error}");
    }
    // The task's own place, by whatever name.
    let own = folder.path().join("tasks/../runs/test/script");
    let run = project.session_in(TASK, own).unwrap().finish("done").unwrap();
    assert_eq!(run.end.answer.as_deref(), Some("done"));
    verified(&folder, "verified");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("runs")).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let folder = outside();
    for (at, due) in [("nowhere", "no such folder"), ("policy", "a folder without tasks/")] {
        let error = wrong(Project::open(folder.path().join(at)));
        assert!(error.contains(at) && error.contains(due), "{error}");
    }
    let project = Project::open(folder.path()).unwrap();
    let error = wrong(project.session("tasks/canonical/v1.json"));
    assert!(error.contains("/llm: the task has an LLM of its own"), "{error}");
    assert!(wrong(project.session("tasks/none.json")).contains("tasks/none.json"));
    folder.edit("policy/v1.yaml", "max_iterations: 10", "max_iterations: ten");
    let error = wrong(Project::open(folder.path()).unwrap().session(TASK));
    assert!(error.contains("policy/v1.yaml") && error.contains("line"), "{error}");
    assert!(!folder.path().join("runs").exists());
}

#[test]
fn a_reply_has_calls_or_an_answer() {
    let folder = outside();
    let mut session = session(&folder);
    assert!(wrong(session.propose("an answer")).contains("give that to `finish`"));
    assert!(wrong(session.propose(Vec::<(String, Value)>::new())).contains("a proposal has calls"));
    // Neither ended anything.
    session.propose(read("corpus/op-19.md")).unwrap();
    assert!(wrong(session.finish(read("corpus/op-19.md"))).contains("propose those"));
}

#[test]
fn expectations_are_held_against_the_run() {
    let folder = outside();
    write_task(&folder, |task| {
        task["expected"] =
            json!({"terminal_reason": "final_answer", "answer_contains": ["90 days"]});
    });
    let run = finished(&folder);
    assert!(run.unmet[0].contains("90 days"), "{:?}", run.unmet);
    let checked = ran(&folder, &format!("check {RUN}"));
    assert!(checked.code == 1 && checked.out.contains("not as expected"), "{}", checked.all());
}

#[test]
fn only_the_program_makes_its_run() {
    let folder = outside();
    let refused = ran(&folder, &format!("run {TASK}"));
    assert_eq!(refused.code, 2, "{}", refused.all());
    assert!(refused.err.contains("another program proposes the calls of this task"));
    assert!(!folder.path().join("runs").exists());
    copy(
        root().join("runs/canonical").as_std_path(),
        folder.path().join("runs/canonical").as_std_path(),
    );
    for command in ["check runs", "regression ."] {
        let ran = ran(&folder, command);
        assert_eq!(ran.code, 1, "{command}: {}", ran.all());
        let said = ran.all();
        assert!(said.contains("missing") && said.contains("the program that proposes"), "{said}");
    }
}

#[test]
fn check_shows_what_changed_and_proposes_nothing() {
    let folder = outside();
    finished(&folder);
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/v1.yaml", policy.replace("denied: []", "denied: [read]"));
    let checked = ran(&folder, &format!("check {RUN}"));
    assert_eq!(checked.code, 1, "{}", checked.all());
    assert!(checked.out.contains("differs: behaviour"), "{}", checked.all());
    assert!(checked.err.contains("let that program make the run again"), "{}", checked.all());
    assert!(!folder.path().join(format!("{RUN}.new")).exists());
    let tried = ran(&folder, &format!("replay {RUN} --policy policy/v1.yaml"));
    assert!(tried.out.contains("allow -> deny:tool_registry"), "{}", tried.all());
    let regression = ran(&folder, "regression .");
    assert!(regression.out.contains("tightened"), "{}", regression.all());
    // A denial that is gone leads where no reply was recorded.
    let folder = outside();
    let mut session = session(&folder);
    session.propose(read("../x")).unwrap();
    session.finish("").unwrap();
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("policy/v1.yaml", policy.replace("on_deny: terminate", "on_deny: continue"));
    let checked = ran(&folder, &format!("check {RUN}"));
    assert_eq!(checked.code, 2, "{}", checked.all());
    assert!(checked.all().contains("no reply to this request is recorded"), "{}", checked.all());
}

#[test]
fn a_forged_reply_is_found() {
    let folder = outside();
    finished(&folder);
    folder.edit(&format!("{RUN}/state.jsonl"), "I read it.", "I wrote it.");
    verified(&folder, "tampered");
    let checked = ran(&folder, &format!("check {RUN}"));
    assert!(checked.code == 1 || checked.code == 2, "{}", checked.all());
    assert!(!checked.out.contains("identical"), "{}", checked.all());
}

/// The README's example is the one that is run where the crate is documented.
#[test]
fn the_readme_shows_the_example_that_runs() {
    let shown = lines_of("src/lib.rs", "//! ```", "//! ```");
    let visible: Vec<&str> = shown
        .iter()
        .map(|line| line.strip_prefix("//! ").unwrap_or_default())
        .filter(|line| !line.starts_with("# "))
        .collect();
    assert!(visible.len() <= 10, "{}", visible.len());
    crate::docs::generated_part(
        "README.md",
        "guard",
        &format!("```rust\n{}\n```", visible.join("\n")),
    );
    let task = Utf8Path::new("tasks/guarded.json");
    assert!(shown.iter().any(|line| line.contains(task.as_str())));
}
