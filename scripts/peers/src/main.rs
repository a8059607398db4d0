//! The same three questions to three gates, one after the other in one process, medians printed.
//!
//! The peers get less to do: the host and the path are handed to them already read, while gatedrun
//! parses the URL, resolves the path, checks the arguments' schema and counts the call.

use std::hint::black_box;
use std::time::Instant;

use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};
use gatedrun::event::ProposedCall;
use gatedrun::inputs::{Library, Project};
use gatedrun::policy;
use gatedrun::policy::call::Standing;
use gatedrun::policy::cases::Judge;
use serde_json::{Value, json};

const REGO: &str = r#"
package gate
import rego.v1

tools := {"search", "fetch", "read", "write", "summarize"}
hosts := {"fixtures.local"}

default allow := false
allow if {
    input.tool in tools
    not denied
}
denied if { input.tool == "fetch"; not input.host in hosts }
denied if { input.tool in {"read", "write"}; startswith(input.path, "..") }
"#;

const CEDAR: &str = r#"
permit(principal, action in [Action::"search", Action::"fetch", Action::"read", Action::"write", Action::"summarize"], resource);
forbid(principal, action == Action::"fetch", resource) unless { context.host == "fixtures.local" };
forbid(principal, action in [Action::"read", Action::"write"], resource) when { context.path like "..*" };
"#;

fn main() {
    let questions = [
        ("a search, allowed", json!({"tool": "search"}), call("search", json!({"query": "pump"}))),
        ("a host off the list, denied", json!({"tool": "fetch", "host": "evil.invalid"}), call("fetch", json!({"url": "https://evil.invalid/"}))),
        ("a path that leaves, denied", json!({"tool": "read", "path": "../../etc/passwd"}), call("read", json!({"path": "corpus/../../etc/passwd"}))),
    ];
    println!("{:<30} {:>10} {:>10} {:>10}   median ns a decision", "question", "gatedrun", "regorus", "cedar");
    for (name, input, call) in questions {
        let (ours, regorus, cedar) = (gatedrun_ns(&call), regorus_ns(&input), cedar_ns(&input));
        println!(
            "{name:<30} {ours:>10.0} {regorus:>10.0} {cedar:>10.0}   regorus {:.1} times, cedar {:.1} times as long",
            regorus / ours,
            cedar / ours
        );
    }
}

fn call(tool: &str, arguments: Value) -> ProposedCall {
    ProposedCall { call_id: "call_0".into(), tool: tool.into(), arguments }
}

/// The median of many batches.
fn median_ns(mut decide: impl FnMut() -> bool) -> f64 {
    const BATCH: u32 = 200;
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..BATCH {
                black_box(decide());
            }
            begin.elapsed().as_nanos() as f64 / f64::from(BATCH)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn gatedrun_ns(call: &ProposedCall) -> f64 {
    let library = Library::new(Project::Builtin);
    let contracts = library.contracts("tools").expect("the built-in contracts").0;
    let bytes = library.read("policy/v1.yaml").expect("the built-in policy");
    let policy = policy::load("policy/v1.yaml", &bytes, &contracts).expect("the built-in policy");
    let judge = Judge::new(&policy, &contracts);
    let mut gate = judge.gate();
    let standing = Standing::default();
    median_ns(|| matches!(gate.decide_call(black_box(call), &standing), Ok((gatedrun::policy::gate::Verdict::Allow(_), _))))
}

fn regorus_ns(input: &Value) -> f64 {
    let mut engine = regorus::Engine::new();
    engine.add_policy("gate.rego".into(), REGO.into()).expect("the policy");
    let input = regorus::Value::from_json_str(&input.to_string()).expect("the input");
    median_ns(|| {
        engine.set_input(black_box(input.clone()));
        engine.eval_rule("data.gate.allow".into()).expect("a decision") == regorus::Value::from(true)
    })
}

fn cedar_ns(input: &Value) -> f64 {
    let policies: PolicySet = CEDAR.parse().expect("the policy");
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    let uid = |text: String| -> EntityUid { text.parse().expect("an entity") };
    let tool = input["tool"].as_str().expect("a tool");
    let mut context = input.clone();
    context.as_object_mut().expect("an object").remove("tool");
    median_ns(|| {
        let context = Context::from_json_value(black_box(context.clone()), None).expect("a context");
        let request = Request::new(
            uid("Agent::\"a\"".into()),
            uid(format!("Action::\"{tool}\"")),
            uid("Call::\"c\"".into()),
            context,
            None,
        )
        .expect("a request");
        authorizer.is_authorized(&request, &policies, &entities).decision() == cedar_policy::Decision::Allow
    })
}
