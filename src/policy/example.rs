//! What an example in a policy and a row of a decision table have to name, so that they show something.
//!
//! Whether they hold is not judged here.

use serde_json::Value;

use crate::json;

/// How often a case may make its call: as often as the meta-schema lets an example.
pub const REPEAT_MAX: u64 = 1000;

/// Why an object is neither a call nor what a run has used, and what to write: as it is, it would
/// show nothing.
pub(super) fn incomplete(case: &Value) -> Option<(String, String)> {
    let has = |key: &str| case.get(key).is_some_and(|value| !value.is_null());
    let wrong = |what: String, fix: &str| Some((what, fix.to_owned()));
    if !has("tool") && !has("run") {
        return wrong(
            "names neither a call nor what a run has used, so it shows nothing".to_owned(),
            "add tool and arguments, or run",
        );
    }
    let of_a_call = ["arguments", "repeat"].into_iter().find(|key| !has("tool") && has(key));
    if let Some(key) = of_a_call {
        let what = format!("has {key}, which only a call has, and no tool");
        return wrong(what, &format!("add tool, or remove {key}"));
    }
    let repeat = case.get("repeat").and_then(Value::as_f64);
    if repeat.is_some_and(|repeat| !(1.0..=REPEAT_MAX as f64).contains(&repeat)) {
        let shown = json::shown(case.get("repeat").unwrap_or(&Value::Null));
        return wrong(
            format!("repeats its call {shown} times"),
            &format!("write a number from 1 to {REPEAT_MAX}, or remove repeat"),
        );
    }
    None
}
