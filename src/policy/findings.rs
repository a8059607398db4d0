//! What is wrong with a policy, in the words of a policy: each slip once, at its own line, with what
//! to write.
//!
//! The meta-schema decides whether there is anything wrong. This module looks at the value that it
//! refuses and at the keywords of that place, and finds the words; it accepts nothing.

use std::collections::HashSet;

use serde_json::Value;

use crate::json::pointer_token;
use crate::problem::{Problem, cut, misspelt, nearest};
use crate::yaml::Document;

use super::defaults::{self, flow};
use super::example::incomplete;
use super::meta::{Meta, homes, keys_of};
use super::path::{MountPath, WORK};
use super::rules::RULES;
use super::told::{
    allowed_call, dotted, found, is_entry, is_entry_of, is_host_entry, is_of_type, kind_of, last,
    name_of, none_of, options, problem,
};
use super::{listed, names};

/// Collects what is wrong with one policy.
pub(super) struct Findings<'a> {
    path: &'a str,
    document: &'a Document,
    /// The policy with its defaults.
    effective: &'a Value,
    meta: &'a Meta,
    tools: &'a [&'a str],
    problems: Vec<Problem>,
    /// The values that something was found about.
    about: HashSet<String>,
}

impl<'a> Findings<'a> {
    /// Everything that is wrong with a policy about these tools.
    pub(super) fn of(
        path: &'a str,
        document: &'a Document,
        effective: &'a Value,
        meta: &'a Meta,
        tools: &'a [&'a str],
    ) -> Vec<Problem> {
        let (problems, about) = (Vec::new(), HashSet::new());
        let mut found = Self { path, document, effective, meta, tools, problems, about };
        let violations = meta.violations(&document.value);
        if let Some(version) = document.value.get("version").filter(|version| version.is_number())
            && violations.iter().any(|violation| violation.pointer == "/version")
        {
            // What another version means by its keys is not known here.
            let what =
                format!("the policy has version {version}, and this program reads version 1");
            found.add("/version", &what, "write `version: 1`, or use a newer program");
            return found.problems;
        }
        found.check_registry();
        found.check_hosts();
        found.check_retry();
        found.check_names();
        found.check_examples();
        let mut described = HashSet::new();
        for violation in &violations {
            let pointer = violation.pointer.trim_end_matches('/');
            if described.insert(pointer.to_owned())
                && !found.about.contains(pointer)
                && !found.describe(pointer)
            {
                found.add(pointer, violation.told(), "");
            }
        }
        found.problems
    }

    fn add(&mut self, pointer: &str, what: &str, remedy: &str) {
        self.about.insert(pointer.to_owned());
        self.problems.push(problem(self.path, self.document, pointer, what, remedy));
    }

    /// Adds a problem about a value that has none yet.
    fn add_first(&mut self, pointer: &str, what: &str, remedy: &str) {
        if !self.about.contains(pointer) {
            self.add(pointer, what, remedy);
        }
    }

    /// The value with this pointer, if it is there.
    fn value(&self, pointer: &str) -> Option<&'a Value> {
        self.document.value.pointer(pointer)
    }

    /// Finds the words for a value that the meta-schema refuses; whether there are any.
    fn describe(&mut self, pointer: &str) -> bool {
        let (Some(rules), Some(value)) = (self.meta.keywords_at(pointer), self.value(pointer))
        else {
            return false;
        };
        let before = self.problems.len();
        let expected = rules.get("type").and_then(Value::as_str);
        if let Some(expected) = expected.filter(|expected| !is_of_type(value, expected)) {
            let (what, remedy) = self.wrong_type(pointer, value, expected);
            self.add(pointer, &what, &remedy);
            return true;
        }
        match value {
            Value::Object(map) if is_host_entry(pointer) && self.host_as_key(pointer, map) => {}
            Value::Object(_) => {
                self.unknown_keys(pointer, value, rules);
                self.missing_keys(pointer, value, rules);
            }
            Value::Array(items) => self.wrong_list(pointer, items, rules),
            _ => self.wrong_value(pointer, value, rules),
        }
        self.problems.len() > before
    }

    fn wrong_type(&self, pointer: &str, value: &Value, expected: &str) -> (String, String) {
        let name = name_of(pointer);
        let key = last(pointer);
        let sample = self.sample(pointer);
        if pointer.is_empty() {
            let what = match value {
                Value::Null => "the policy is empty".to_owned(),
                _ => format!("the policy is {}, not keys with values", kind_of(value)),
            };
            let tools = self.sample("/tool_registry/allowed");
            let smallest = format!("version: 1\ntool_registry:\n  {tools}");
            return (what, format!("the smallest policy is\n{smallest}"));
        }
        if value.is_null() {
            let what = match expected {
                "object" => format!("`{key}:` is empty"),
                _ => format!("{name} has no value"),
            };
            let whole = match expected {
                "object" => format!("write `{sample}` below it, indented"),
                _ => format!("write `{sample}`"),
            };
            let may_go = defaults::of(&dotted(pointer)) != Some(defaults::Fallback::Required)
                && pointer != "/tool_registry"
                && !is_entry(pointer);
            return (what, if may_go { format!("{whole}, or remove the key") } else { whole });
        }
        let found = found(value);
        if is_host_entry(pointer) {
            let what = format!("an entry of hosts must have keys of its own (found {found})");
            let host = listed::host_meant(value.as_str().unwrap_or_default());
            return (what, format!("write `- host: {host}`"));
        }
        match expected {
            "array" if pointer == "/url_allowlist/hosts" && value.is_string() => {
                let host = listed::host_meant(value.as_str().unwrap_or_default());
                let remedy = format!("write `- host: {host}` on a line of its own below it");
                (format!("{name} must be a list (found {found})"), remedy)
            }
            "object" if is_entry(pointer) => (
                format!("{name} must have keys of its own (found {found})"),
                format!("write `- {sample}`"),
            ),
            "object" => (
                format!("`{key}:` must have keys below it (found {found})"),
                format!("write them on lines of their own, indented, such as `{sample}`"),
            ),
            "array" => {
                // A dash without a space behind it begins a word.
                let text = value.as_str().map(|text| text.strip_prefix('-').unwrap_or(text));
                let entry = text.map_or_else(|| value.clone(), Value::from);
                let items = self.meta.keywords_at(&format!("{pointer}/0"));
                let remedy = match items.is_some_and(|items| is_entry_of(&entry, items)) {
                    true => format!("write `{key}: [{}]`", cut(&flow(&entry))),
                    false => format!("write `{sample}`"),
                };
                (format!("{name} must be a list (found {found})"), remedy)
            }
            "integer" => {
                let number = value.as_str().and_then(|text| text.trim().parse::<u64>().ok());
                let remedy = match number {
                    Some(number) => {
                        let is_quoted = value.as_str() == Some(&number.to_string());
                        match (is_entry(pointer), is_quoted) {
                            (true, true) => format!("write {number} without quotes"),
                            (true, false) => format!("write {number}"),
                            (false, true) => format!("write `{key}: {number}`, without quotes"),
                            (false, false) => format!("write `{key}: {number}`"),
                        }
                    }
                    None if is_entry(pointer) => {
                        let (list, _) = pointer.rsplit_once('/').unwrap_or_default();
                        format!("list numbers, as in `{}`, or remove the key", self.sample(list))
                    }
                    None => format!("write a number such as `{sample}`"),
                };
                (format!("{name} must be a whole number (found {found})"), remedy)
            }
            _ => {
                let remedy = match value {
                    Value::Number(_) | Value::Bool(_) => "write it in double quotes".to_owned(),
                    _ if key == "host" => "write one host, and an entry for each other".to_owned(),
                    _ => "write one text".to_owned(),
                };
                (format!("{name} must be a text (found {found})"), remedy)
            }
        }
    }

    /// Whether an entry of hosts has a host for its key, as in `- api.example.com: 443`; says so.
    fn host_as_key(&mut self, pointer: &str, entry: &serde_json::Map<String, Value>) -> bool {
        let is_named = |key: &str| key.contains('.') && listed::check_host(key).is_ok();
        let Some((host, value)) = entry.iter().find(|(key, _)| is_named(key)) else {
            return false;
        };
        if entry.contains_key("host") {
            return false;
        }
        let write = match value.as_u64() {
            Some(port) => format!("write `- {{host: {host}, ports: [{port}]}}`"),
            None => format!("write `- host: {host}`"),
        };
        let what = format!(
            "an entry of hosts names its host under the key host (found {host:?} as a key)"
        );
        self.about.insert(format!("{pointer}/{}", pointer_token(host)));
        self.add(pointer, &what, &write);
        true
    }

    /// The keys of an object that may not be there, each at its own place.
    fn unknown_keys(&mut self, pointer: &str, value: &Value, rules: &Value) {
        let known = keys_of(rules);
        if rules.get("additionalProperties") != Some(&Value::Bool(false)) {
            return;
        }
        for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let shown = cut(key);
            let homes = homes(key).into_iter().map(|home| format!("`{home}:`")).collect::<Vec<_>>();
            let none = || format!("remove it; the keys here are {}", known.join(", "));
            let remedy = match misspelt(key, &known) {
                Some(known) if value.get(known).is_some() => {
                    format!("remove it; `{known}` is there already")
                }
                Some(known) => format!("rename it to `{known}`"),
                // Elsewhere it says what another rule does, and could only loosen that.
                None if key == "on_deny" => match pointer {
                    "/loop_budget" | "/progress" => "remove it; this rule always ends a run".into(),
                    _ => none(),
                },
                None if !homes.is_empty() => format!("move it below {}", homes.join(" or ")),
                None => none(),
            };
            let at = format!("{pointer}/{}", pointer_token(key));
            self.about.insert(at.clone());
            let what = format!("unknown key {shown:?}");
            let problem = match self.document.key_place(&at) {
                Some(place) => Problem::new(self.path, what)
                    .at(format!("{place} ({})", cut(&at)))
                    .remedy(remedy),
                None => problem(self.path, self.document, &at, &what, &remedy),
            };
            self.problems.push(problem);
        }
    }

    fn missing_keys(&mut self, pointer: &str, value: &Value, rules: &Value) {
        let required = rules.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            // A key that is misspelt is one slip: it is told where it stands.
            let known = keys_of(rules);
            let is_misspelt = |other: &String| {
                !known.contains(&other.as_str()) && misspelt(other, &known) == Some(key)
            };
            let keys = || value.as_object().into_iter().flatten().map(|(key, _)| key);
            if value.get(key).is_some() || keys().any(is_misspelt) {
                continue;
            }
            let sample = self.sample(&format!("{pointer}/{key}"));
            let remedy = match key {
                "tool_registry" => {
                    format!("add `tool_registry:`, and `{sample}` below it, indented")
                }
                _ => format!("add `{sample}`"),
            };
            self.add(pointer, &format!("{key} is missing"), &remedy);
        }
    }

    fn wrong_list(&mut self, pointer: &str, items: &[Value], rules: &Value) {
        let (name, key) = (name_of(pointer), last(pointer));
        let bound = |keyword: &str| rules.get(keyword).and_then(Value::as_u64);
        if items.is_empty() && bound("minItems").is_some() {
            let remedy = format!("write `{}`, or remove the key", self.sample(pointer));
            self.add(pointer, &format!("{name} is empty, so nothing would match"), &remedy);
        }
        if let Some(max) = bound("maxItems").filter(|max| items.len() as u64 > *max) {
            let what = format!("{name} has {} entries, and the limit is {max}", items.len());
            self.add(pointer, &what, "remove some");
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                if !seen.insert(item.to_string()) {
                    let what = format!("{} is in {key} twice", cut(&flow(item)));
                    self.add(&format!("{pointer}/{index}"), &what, "remove one of the two");
                }
            }
        }
    }

    /// A text or a number that is not one of those that may be there.
    fn wrong_value(&mut self, pointer: &str, value: &Value, rules: &Value) {
        let (name, found) = (name_of(pointer), found(value));
        let options = options(rules);
        if !options.is_empty() {
            let text = value.as_str().unwrap_or_default();
            let (what, remedy) = none_of(pointer, text, &found, &options);
            return self.add(pointer, &what, &remedy);
        }
        let bound = |keyword: &str| rules.get(keyword).and_then(Value::as_u64);
        let range = |least: Option<u64>, most: Option<u64>| match (least, most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => String::new(),
        };
        match value {
            Value::Number(_) => {
                let range = range(bound("minimum"), bound("maximum"));
                if !range.is_empty() {
                    let what = format!("{name} is {found}, which is out of range");
                    self.add(pointer, &what, &format!("write a number: {range}"));
                }
            }
            Value::String(text) => {
                let range = range(bound("minLength"), bound("maxLength"));
                let chars = text.chars().count();
                let fits = bound("minLength").is_none_or(|least| chars as u64 >= least)
                    && bound("maxLength").is_none_or(|most| chars as u64 <= most);
                if text.is_empty() && !fits {
                    self.add(
                        pointer,
                        &format!("{name} is an empty text"),
                        "write a name, or remove it",
                    );
                } else if !fits {
                    let what = format!("{name} has {chars} characters (found {found})");
                    self.add(pointer, &what, &format!("write a text of {range} characters"));
                }
            }
            _ => {}
        }
    }

    /// A line that would be valid there.
    fn sample(&self, pointer: &str) -> String {
        let tool = self.tools.iter().find(|tool| **tool == "search").or(self.tools.first());
        let tool = tool.copied().unwrap_or("search");
        let key = last(pointer);
        match (dotted(pointer).as_str(), key) {
            ("tool_registry" | "tool_registry.allowed", _) => format!("allowed: [{tool}]"),
            ("url_allowlist", _) => "hosts: []".to_owned(),
            (_, "host") => "host: api.example.com".to_owned(),
            (_, "ports") => "ports: [8443]".to_owned(),
            (_, "schemes") => "schemes: [https]".to_owned(),
            (_, "run") => "steps: 10".to_owned(),
            ("sandbox", _) => format!("read: [{WORK}]"),
            ("arg_schema_enforcement" | "results", _) => "max_bytes: 65536".to_owned(),
            ("cycle_detection", _) => "max_repeats: 3".to_owned(),
            ("loop_budget", _) => "max_iterations: 10".to_owned(),
            ("loop_budget.warn_at_percent", _) => "warn_at_percent: 80".to_owned(),
            ("progress" | "progress.fields", _) => "fields: [tools, results]".to_owned(),
            ("progress.max_repeated_states", _) => "max_repeated_states: 3".to_owned(),
            ("retry", _) => "max_retries: 3".to_owned(),
            ("execution", _) => "timeout_ms: 10000".to_owned(),
            ("version", _) => "version: 1".to_owned(),
            (_, "examples") => "deny: [{tool: shell}]".to_owned(),
            (_, "allow") => format!("allow: [{{{}}}]", allowed_call(&self.document.value)),
            (_, "deny") => "deny: [{tool: shell}]".to_owned(),
            (dotted, _) => match defaults::of(dotted).and_then(defaults::Fallback::value) {
                Some(value) => format!("{key}: {}", flow(&value)),
                None if pointer.contains("/allow/") => {
                    format!("{{{}}}", allowed_call(&self.document.value))
                }
                None if is_entry(pointer) => "tool: shell".to_owned(),
                None => format!("{key}: 10"),
            },
        }
    }

    fn check_registry(&mut self) {
        for list in ["/tool_registry/allowed", "/tool_registry/denied"] {
            let names = self.value(list).and_then(Value::as_array).into_iter().flatten();
            for (index, name) in names.enumerate() {
                let Some(name) = name.as_str().filter(|name| !self.tools.contains(name)) else {
                    continue;
                };
                let name = cut(name);
                let tools = self.tools.join(", ");
                let (what, remedy) = match nearest(&name, self.tools) {
                    _ if name.contains(['*', '?']) => (
                        format!("{name:?} is a pattern, and a tool is listed by its name"),
                        format!("list each tool; the contracts describe {tools}"),
                    ),
                    Some(known) => {
                        (format!("unknown tool {name:?}"), format!("rename it to {known}"))
                    }
                    None => (
                        format!("unknown tool {name:?}"),
                        format!("the contracts describe {tools}"),
                    ),
                };
                self.add_first(&format!("{list}/{index}"), &what, &remedy);
            }
        }
    }

    fn check_hosts(&mut self) {
        let hosts = self.value("/url_allowlist/hosts").and_then(Value::as_array);
        for (index, rule) in hosts.into_iter().flatten().enumerate() {
            type Check = fn(&str) -> Result<(), listed::Misspelt>;
            let checks: [(&str, Check); 2] =
                [("host", listed::check_host), ("path_prefix", listed::check_prefix)];
            for (key, check) in checks {
                // An empty host is too short for the meta-schema, which says so.
                let is_said = |text: &&str| key == "host" && text.is_empty();
                let text = rule.get(key).and_then(Value::as_str).filter(|text| !is_said(text));
                if let Some(Err((what, fix))) = text.map(check) {
                    self.add(&format!("/url_allowlist/hosts/{index}/{key}"), &what, &fix);
                }
            }
        }
    }

    /// An example that names neither a call nor what a run has used shows nothing.
    fn check_examples(&mut self) {
        for row in &RULES {
            for list in ["allow", "deny"] {
                let pointer = format!("/{}/examples/{list}", row.key);
                let examples = self.value(&pointer).and_then(Value::as_array);
                for (index, example) in examples.into_iter().flatten().enumerate() {
                    let wrong = incomplete(example).filter(|_| example.is_object());
                    if let Some((what, fix)) = wrong {
                        let at = format!("{pointer}/{index}");
                        self.add_first(&at, &format!("the example {what}"), &fix);
                    }
                }
            }
        }
    }

    /// A name that changes nothing is a mistake: a pattern, a path, or a name that may be written.
    fn check_names(&mut self) {
        let names = self.value("/sandbox/allow_names").and_then(Value::as_array);
        for (index, name) in names.into_iter().flatten().enumerate() {
            let Some(name) = name.as_str().filter(|name| !name.is_empty()) else { continue };
            let path = MountPath::parse(&format!("{WORK}/{name}"));
            let is_one = path.as_ref().is_ok_and(|path| path.names() == [name]);
            let (what, remedy) = match path {
                Err(refusal) => (refusal.reason, "name a file that a path can name"),
                Ok(_) if !is_one => {
                    ("it is a path".to_owned(), "write one name, which holds in every folder")
                }
                Ok(_) if name.contains(['*', '?']) => (
                    "it is a pattern".to_owned(),
                    "write out each name; patterns are not supported",
                ),
                Ok(_) if names::refused(name).is_none() => {
                    ("it may be written without this".to_owned(), "remove it")
                }
                Ok(_) => continue,
            };
            let what = format!("allow_names: {:?}: {what}", cut(name));
            self.add(&format!("/sandbox/allow_names/{index}"), &what, remedy);
        }
    }

    fn check_retry(&mut self) {
        let number =
            |key: &str| self.effective.pointer(&format!("/retry/{key}")).and_then(Value::as_u64);
        if let (Some(base), Some(cap)) = (number("backoff_base_ms"), number("backoff_cap_ms"))
            && cap < base
        {
            let is_stated = self.value("/retry/backoff_cap_ms").is_some();
            let (key, by_default) =
                if is_stated { ("backoff_cap_ms", "") } else { ("backoff_base_ms", " by default") };
            self.add(
                &format!("/retry/{key}"),
                &format!(
                    "backoff_cap_ms is {cap}{by_default}, below backoff_base_ms, which is {base}"
                ),
                "raise the cap or lower the base",
            );
        }
    }
}
