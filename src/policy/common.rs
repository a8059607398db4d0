//! What no rule owns: the sections of the policy that no rule reads, what the examples of every rule
//! are, and what stands between two rules, such as limits that cannot both take effect.
//!
//! What one rule alone says of its own section is in its file.

use std::iter::once;

use serde_json::Value;

use crate::event::Effect;
use crate::problem::cut;

use super::notes::Notes;
use super::path::{CORPUS, WORK};
use super::rules::RULES;
use super::section::Fallback::{Number, Required, Unset};
use super::section::{How, Section};
use super::told::{dotted, is_entry, last};

/// What every section of a policy says, in the order in which its keys are shown.
pub fn sections() -> impl Iterator<Item = &'static Section> {
    let rules = RULES.iter().map(|row| row.section);
    once(&FORMAT).chain(rules).chain(once(&SHARED))
}

/// The format, and the keys that every rule has.
const FORMAT: Section = Section {
    keys: &[("version", Required)],
    tried: &[("version", How::Nothing), ("*.examples", How::Nothing), ("*.on_deny", How::Decided)],
    samples: &[("version", "version: 1")],
    ..Section::SILENT
};

/// The sections that no rule reads, and what stands between two.
const SHARED: Section = Section {
    keys: &[
        ("retry.max_retries", Number(3)),
        ("retry.backoff_base_ms", Number(100)),
        ("retry.backoff_cap_ms", Number(2000)),
        ("retry.jitter_percent", Number(20)),
        ("execution.timeout_ms", Number(10_000)),
        ("results.max_bytes", Number(65_536)),
        ("durability", Unset("os for a stub, otherwise fsync")),
    ],
    tried: &[
        ("retry.max_retries", How::Computed),
        ("retry.backoff_base_ms", How::Computed),
        ("retry.backoff_cap_ms", How::Computed),
        ("retry.jitter_percent", How::Computed),
        ("execution.timeout_ms", How::Computed),
        ("results.max_bytes", How::Computed),
        ("durability", How::Nothing),
    ],
    samples: &[
        ("retry", "max_retries: 3"),
        ("execution", "timeout_ms: 10000"),
        ("results", "max_bytes: 65536"),
    ],
    findings,
    warnings: |notes| {
        effects(notes);
        limits(notes);
    },
    ..Section::SILENT
};

/// A line that would be valid with this pointer in or below the examples of a rule; none elsewhere.
pub(super) fn example(pointer: &str, policy: &Value) -> Option<String> {
    match last(pointer) {
        "run" => Some("steps: 10".to_owned()),
        "examples" | "deny" => Some("deny: [{tool: shell}]".to_owned()),
        "allow" => Some(format!("allow: [{{{}}}]", allowed_call(policy))),
        _ if pointer.contains("/allow/") => Some(format!("{{{}}}", allowed_call(policy))),
        _ => is_entry(pointer).then(|| "tool: shell".to_owned()),
    }
}

/// What to do about examples that are not any, in the section of a rule for which no call is known that it
/// denies or allows; `None` elsewhere.
pub(super) fn examples_of_other_rules(pointer: &str) -> Option<&'static str> {
    let first = RULES.first().map_or("", |row| row.key);
    let key = pointer.split('/').nth(1).filter(|key| *key != first)?;
    let is_examples = pointer.strip_prefix(&format!("/{key}/examples")).is_some();
    let is_one = is_examples && !pointer.contains("/arguments") && !pointer.contains("/run");
    match pointer.split('/').nth(3) {
        _ if !is_one => None,
        Some("allow") => Some(
            "list calls that the rule allows, each with `tool` and `arguments`, or remove the key",
        ),
        Some("deny") => Some(
            "list calls that the rule denies, each with `tool` and `arguments`, or remove the key",
        ),
        _ => Some(
            "list calls below `allow:` and `deny:`, each with `tool` and `arguments`, or remove the key",
        ),
    }
}

/// A call that the tools of a policy allow, for an example.
fn allowed_call(policy: &Value) -> String {
    let allowed = policy.pointer("/tool_registry/allowed").and_then(Value::as_array);
    let mut allowed = allowed.into_iter().flatten();
    match allowed.clone().any(|tool| tool == "search") {
        true => "tool: search, arguments: {query: orders}".to_owned(),
        false => {
            let tool = allowed.find_map(Value::as_str).unwrap_or("TOOL");
            format!("tool: {}, arguments: {{}}", cut(tool))
        }
    }
}

/// A wait is capped at no less than where it begins.
fn findings(notes: &mut Notes<'_>) {
    let number = |key: &str| notes.number(&format!("/retry/{key}"));
    if let (Some(base), Some(cap)) = (number("backoff_base_ms"), number("backoff_cap_ms"))
        && cap < base
    {
        let is_stated = notes.stated("/retry/backoff_cap_ms").is_some();
        let (key, by_default) =
            if is_stated { ("backoff_cap_ms", "") } else { ("backoff_base_ms", " by default") };
        notes.add(
            &format!("/retry/{key}"),
            &format!("backoff_cap_ms is {cap}{by_default}, below backoff_base_ms, which is {base}"),
            "raise the cap or lower the base",
        );
    }
}

/// A tool whose every call the rest of the policy denies.
fn effects(notes: &mut Notes<'_>) {
    let some = |list: &str| notes.entries(list).next().is_some();
    let (reads, writes) = (some("/sandbox/read"), some("/sandbox/write"));
    let fetches = some("/url_allowlist/hosts");
    let denied: Vec<&str> = notes.texts("/tool_registry/denied").map(|(_, tool)| tool).collect();
    for (pointer, tool) in notes.texts("/tool_registry/allowed") {
        let Some(contract) = notes.contracts.get(tool).filter(|_| !denied.contains(&tool)) else {
            continue;
        };
        let missing = contract.effects.iter().find_map(|effect| match effect.effect {
            Effect::ReadPath if !reads => Some((
                "every call is denied: no mount may be read",
                format!("add `read: [{CORPUS}]` or the like to `sandbox:`"),
            )),
            Effect::WritePath if !writes => Some((
                "every call is denied: no mount may be written",
                format!("add `write: [{WORK}]` to `sandbox:`"),
            )),
            Effect::FetchUrl if !fetches && !reads => Some((
                "every call is denied: no host is listed",
                "list hosts under `url_allowlist:`".to_owned(),
            )),
            Effect::FetchUrl if !fetches => Some((
                "it can fetch only file: URLs: no host is listed",
                "list hosts under `url_allowlist:`".to_owned(),
            )),
            _ => None,
        });
        if let Some((what, remedy)) = missing {
            let remedy = format!("{remedy}, or remove {tool} from the list");
            notes.add(&pointer, &format!("{tool} is allowed, but {what}"), &remedy);
        }
    }
}

/// Limits that another limit, or nothing, always comes before.
fn limits(notes: &mut Notes<'_>) {
    let [read, write, arguments, kept, repeats, retries, timeout, steps] = [
        READ,
        WRITE,
        ARGUMENTS,
        KEPT,
        REPEATS,
        "/retry/max_retries",
        TIMEOUT,
        "/loop_budget/max_iterations",
    ]
    .map(|pointer| notes.number(pointer).unwrap_or_default());
    // The defaults stand in this relation too: whoever leaves both alone need not be told.
    if read > kept
        && notes.entries("/sandbox/read").next().is_some()
        && (!is_default(READ, read) || !is_default(KEPT, kept))
    {
        notes.add(
            if is_default(READ, read) { KEPT } else { READ },
            &format!("files of up to max_read_bytes {read} bytes may be read, and a result is cut to results.max_bytes {kept}"),
            &format!("raise results.max_bytes, or lower max_read_bytes to {kept}"),
        );
    }
    let stated = [WRITE, ARGUMENTS].into_iter().find(|pointer| notes.stated(pointer).is_some());
    if let Some(at) = stated.filter(|_| write >= arguments) {
        notes.add(
            at,
            &format!("max_write_bytes {write} cannot take effect: what is written is an argument, and arguments have at most arg_schema_enforcement.max_bytes {arguments} bytes"),
            "raise arg_schema_enforcement.max_bytes, or lower max_write_bytes",
        );
    }
    if let Some(attempts) = notes.number(ATTEMPTS).filter(|attempts| *attempts <= retries) {
        let one = retries + 1;
        notes.add(
            ATTEMPTS,
            &format!("no call can reach retry.max_retries {retries}: one call may take {one} attempts, and the whole run has {attempts}"),
            &format!("raise max_attempts to {one} or more, or lower retry.max_retries"),
        );
    }
    if let Some(calls) = notes.number(CALLS).filter(|calls| repeats > *calls) {
        notes.add(
            if notes.stated(REPEATS).is_some() { REPEATS } else { CALLS },
            &format!("max_repeats {repeats} cannot take effect: a run has at most loop_budget.max_tool_calls {calls} calls"),
            &format!("lower max_repeats to {calls} or less"),
        );
    }
    let elapsed = notes.number("/loop_budget/max_elapsed_ms").filter(|elapsed| timeout > *elapsed);
    if let Some(elapsed) = elapsed.filter(|_| notes.stated(TIMEOUT).is_some()) {
        notes.add(
            TIMEOUT,
            &format!("timeout_ms {timeout} cannot take effect: the run ends after loop_budget.max_elapsed_ms {elapsed}"),
            &format!("lower timeout_ms below {elapsed}, or raise max_elapsed_ms"),
        );
    }
    if let Some(states) = notes.number(STATES).filter(|states| *states >= steps) {
        notes.add(
            STATES,
            &format!("max_repeated_states {states} cannot take effect: a run has at most loop_budget.max_iterations {steps} steps"),
            &format!("lower max_repeated_states below {steps}"),
        );
    }
}

const READ: &str = "/sandbox/max_read_bytes";
const WRITE: &str = "/sandbox/max_write_bytes";
const ARGUMENTS: &str = "/arg_schema_enforcement/max_bytes";
const KEPT: &str = "/results/max_bytes";
const REPEATS: &str = "/cycle_detection/max_repeats";
const TIMEOUT: &str = "/execution/timeout_ms";
const ATTEMPTS: &str = "/loop_budget/max_attempts";
const CALLS: &str = "/loop_budget/max_tool_calls";
const STATES: &str = "/progress/max_repeated_states";

/// Whether a value is the one that holds without the key with this pointer.
fn is_default(pointer: &str, value: u64) -> bool {
    let keys = sections().flat_map(|section| section.keys);
    keys.into_iter().any(|(key, fallback)| *key == dotted(pointer) && *fallback == Number(value))
}
