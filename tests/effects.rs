//! Tools with several effects, through the real gate; and what follows from effects, not from names.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatedrun::contract::{Contract, Contracts};
use gatedrun::corpus::Corpus;
use gatedrun::event::{
    Decision, Detail, Details, Effect, Event, GateDecided, ProposedCall, Record, Rule, Subject,
    ToolFinished, ToolStarted,
};
use gatedrun::evidence::manifest::Work;
use gatedrun::json::{Digest, JsonText};
use gatedrun::policy::call::{Denied, Standing};
use gatedrun::policy::capability::{Allowed, Grant};
use gatedrun::policy::gate::{Gate, Verdict};
use gatedrun::policy::hosts::Hosts;
use gatedrun::policy::path::Mounts;
use gatedrun::policy::{self, spec::Policy};
use gatedrun::tools::Builtin;
use serde_json::{Value, json};

use crate::support::Folder;

/// The contract of a tool whose arguments are named after its effects: `a`, `b` and so on.
fn contract(name: &str, effects: &[&str]) -> Contract {
    let names = ["a", "b", "c"];
    let texts = names
        .iter()
        .take(effects.len())
        .map(|name| ((*name).to_owned(), json!({"type": "string"})));
    let properties: serde_json::Map<String, Value> = texts.collect();
    let listed = effects.iter().zip(names);
    let listed =
        listed.map(|(effect, name)| json!({"effect": effect, "argument": format!("/{name}")}));
    let object = json!({"type": "object", "properties": properties, "additionalProperties": false});
    let contract = json!({
        "name": name, "title": "T", "description": "D", "inputSchema": object,
        "outputSchema": {"type": "object", "properties": {}, "additionalProperties": false},
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false},
        "_meta": {"gatedrun/tier": "read", "gatedrun/scopes": ["fs:read"], "gatedrun/effects": listed.collect::<Vec<_>>()},
    });
    Contract::load("t.json", contract.to_string().as_bytes()).unwrap()
}

struct World {
    policy: Policy,
    contracts: Contracts,
    hosts: Hosts,
    folder: Folder,
}

impl World {
    fn of(effects: &[&str]) -> Self {
        let contracts = Contracts::new(vec![contract("tool", effects)]).unwrap();
        let policy = "version: 1\ntool_registry:\n  allowed: [tool]\nurl_allowlist:\n  hosts:\n    - host: one.test\n    - host: two.test\nsandbox:\n  read: [corpus]\n  write: [work]\n";
        let policy = policy::load("p.yaml", policy.as_bytes(), &contracts).unwrap();
        let hosts = Hosts::of_mounts([("one.test", "corpus"), ("two.test", "work")]);
        Self { policy, contracts, hosts, folder: Folder::new() }
    }

    fn decide(&self, arguments: Value) -> Verdict {
        let files =
            ["a.md", "b.md"].map(|name| (name.to_owned(), format!("of {name}").into_bytes()));
        let corpus = Arc::new(Corpus::from_files("c", BTreeMap::from(files)).unwrap());
        let mounts = Mounts::new(corpus, self.folder.path().join("work"));
        let mut gate = Gate::new(&self.policy, &self.contracts, &self.hosts, mounts);
        let call = ProposedCall { call_id: "call_0".into(), tool: "tool".into(), arguments };
        gate.decide_call(&call, &Standing::default()).unwrap().0
    }

    fn denied(&self, arguments: Value) -> Denied {
        match self.decide(arguments) {
            Verdict::Allow(allowed) => panic!("{allowed:?}"),
            Verdict::Deny(denied) => denied,
        }
    }

    fn allowed(&self, arguments: Value) -> Box<Allowed> {
        match self.decide(arguments) {
            Verdict::Allow(allowed) => allowed,
            Verdict::Deny(denied) => panic!("{denied:?}"),
        }
    }
}

/// What the details say of a path: as proposed, its mount, and where it leads.
fn of_path(denied: &Denied) -> [&Value; 3] {
    [Detail::TargetPath, Detail::SandboxRoot, Detail::ResolvedPath].map(|key| &denied.details[&key])
}

#[test]
fn a_call_gets_one_grant_for_each_effect_in_their_order() {
    let world = World::of(&["read_path", "read_path"]);
    let allowed = world.allowed(json!({"a": "corpus/b.md", "b": "corpus/./a.md"}));
    let read = |grant: &Grant| match grant {
        Grant::Read(file) => file.read().unwrap(),
        other => panic!("{other:?}"),
    };
    let texts: Vec<String> = allowed.grants().iter().map(read).collect();
    assert_eq!(texts, ["of b.md", "of a.md"]);
    // Neither path is handed to the tool as text.
    assert_eq!(allowed.plain::<Value>().unwrap(), json!({}));

    let world = World::of(&["read_path", "write_path", "fetch_url"]);
    let allowed =
        world.allowed(json!({"a": "corpus/a.md", "b": "work/x.md", "c": "https://one.test/b.md"}));
    let [Grant::Read(from), Grant::Write(to), Grant::Fetch(url)] = allowed.grants() else {
        panic!("{allowed:?}")
    };
    let names = [from.name(), to.name(), url.source().unwrap().name()];
    assert_eq!(names, ["corpus/a.md", "work/x.md", "corpus/b.md"]);
}

#[test]
fn a_denial_names_the_path_that_is_denied() {
    let world = World::of(&["read_path", "read_path"]);
    let good = "corpus/a.md";
    for (bad, root, resolved) in [
        ("corpus/../x", "corpus", "../x"),
        ("work/./x.md", "work", "x.md"),
        ("/etc/passwd", "", ""),
    ] {
        for arguments in [json!({"a": good, "b": bad}), json!({"a": bad, "b": good})] {
            let denied = world.denied(arguments);
            assert_eq!(denied.rule, Rule::SandboxPath);
            assert_eq!(of_path(&denied), [bad, root, resolved], "{denied:?}");
        }
    }
}

/// What the kernel refuses shows when every path has been read as text.
#[test]
fn a_refused_opening_names_its_own_path() {
    let mut world = World::of(&["read_path", "read_path"]);
    world.policy.rules.sandbox_path.read.insert("work".to_owned());
    world.folder.write("work/real.md", "x");
    std::os::unix::fs::symlink("real.md", world.folder.path().join("work/link.md")).unwrap();
    for arguments in [
        json!({"a": "work/./link.md", "b": "corpus/a.md"}),
        json!({"a": "corpus/a.md", "b": "work/./link.md"}),
    ] {
        let denied = world.denied(arguments);
        assert!(denied.details.contains_key(&Detail::OpenRefused), "{denied:?}");
        assert_eq!(of_path(&denied), ["work/./link.md", "work", "link.md"], "{denied:?}");
    }
}

#[test]
fn a_denial_names_the_url_that_is_denied() {
    let world = World::of(&["fetch_url", "fetch_url"]);
    // Both hosts are listed, and the second is served from a mount that may not be read.
    let (good, bad) = ("https://one.test/a.md", "https://two.test/x.md");
    for arguments in [json!({"a": good, "b": bad}), json!({"a": bad, "b": good})] {
        let denied = world.denied(arguments);
        assert_eq!(denied.rule, Rule::SandboxPath);
        assert_eq!(
            [&denied.details[&Detail::Url], &denied.details[&Detail::Host]],
            [bad, "two.test"]
        );
        assert_eq!(denied.details[&Detail::SandboxRoot], "work");
        assert!(!denied.details.contains_key(&Detail::TargetPath), "{denied:?}");
    }
    let file = "file:///work/x.md";
    for arguments in [json!({"a": good, "b": file}), json!({"a": file, "b": good})] {
        let denied = world.denied(arguments);
        assert_eq!(denied.details[&Detail::Url], file);
        assert_eq!(of_path(&denied), ["work/x.md", "work", "x.md"]);
        assert!(!denied.details.contains_key(&Detail::Host), "{denied:?}");
    }
    // A path before it is not what the denial is about.
    let world = World::of(&["read_path", "fetch_url"]);
    let denied = world.denied(json!({"a": "corpus/a.md", "b": bad}));
    assert_eq!(denied.details[&Detail::SandboxRoot], "work");
    assert!(!denied.details.contains_key(&Detail::TargetPath), "{denied:?}");
}

#[test]
fn one_call_may_not_write_two_names_that_are_one_elsewhere() {
    let world = World::of(&["write_path", "write_path"]);
    let denied = world.denied(json!({"a": "work/a/x.md", "b": "work/A/y.md"}));
    assert_eq!(
        denied.reason,
        "on other file systems work/A/y.md is work/a, which the call writes too; use that name or a different one"
    );
    assert_eq!(of_path(&denied), ["work/A/y.md", "work", "A/y.md"]);
    assert_eq!(world.allowed(json!({"a": "work/a/x.md", "b": "work/a/y.md"})).grants().len(), 2);
}

/// A contract says all that the code of a built-in tool does, in its order.
#[test]
fn a_built_in_tool_is_bound_by_all_its_effects() {
    let bind = |name: &str, effects: &[&str]| {
        let contracts = Contracts::new(vec![contract(name, effects)]).unwrap();
        Builtin::bind(&contracts).map(drop).map_err(|problems| problems.to_string())
    };
    bind("read", &["read_path"]).unwrap();
    let said = bind("read", &["read_path", "write_path"]).unwrap_err();
    assert!(
        said.contains("\"read\" does read_path, write_path, and its code does read_path"),
        "{said}"
    );
}

/// Which call has written a file follows from what the decision says of its effects.
#[test]
fn the_files_of_a_run_follow_from_effects() {
    let written = |tool: &str, effects: &[Effect]| {
        let decided = Event::GateDecided(Box::new(GateDecided {
            subject: Subject::Call,
            call_id: Some("c".into()),
            tool: Some(tool.into()),
            effects: effects.to_vec(),
            decision: Decision::Allow,
            rule_id: None,
            error_class: None,
            reason: "every rule allows it".into(),
            details: Details::new(),
            policy_version: "0".into(),
        }));
        let started = Event::ToolStarted(ToolStarted {
            call_id: "c".into(),
            tool: tool.into(),
            arguments: json!({"path": "work/a.md", "content": "x"}),
            idempotency_key: "k".into(),
        });
        let digest = Digest::of(b"x");
        let result = json!({"path": "work/a.md", "bytes": 1, "sha256": digest});
        let finished = Event::ToolFinished(ToolFinished {
            call_id: "c".into(),
            ok: true,
            result: Some(JsonText::of(&result)),
            bytes: 7,
            sha256: None,
            cut: false,
            origin: None,
            error: None,
        });
        let mut work = Work::default();
        for (event, has_target) in [(decided, false), (started, true), (finished, false)] {
            let record = Record { seq: 0, at_ns: 0, step: Some(1), event, prev: Digest::ZERO };
            work.push(&record);
            let has_target = has_target && effects.contains(&Effect::WritePath);
            assert_eq!(work.target().is_some(), has_target);
        }
        work.len()
    };
    assert_eq!(written("write", &[Effect::WritePath]), 1);
    assert_eq!(written("save", &[Effect::ReadPath, Effect::WritePath]), 1);
    assert_eq!(written("write", &[Effect::ReadPath]), 0);
    assert_eq!(written("save", &[]), 0);
}
