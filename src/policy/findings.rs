//! What is wrong with a policy, in the words of a policy: each slip once, at its own line, with what
//! to write.
//!
//! The meta-schema decides whether there is anything wrong. This module looks at the value that it
//! refuses and at the keywords of that place, and finds the words; it accepts nothing. It knows no
//! rule: what is peculiar to a section, the section says.

use std::collections::HashSet;

use serde_json::Value;

use crate::contract::Contracts;
use crate::json::pointer_token;
use crate::problem::{Problem, cut, misspelt};
use crate::yaml::{Document, YamlError};

use super::common::{self, sections};
use super::defaults;
use super::example::incomplete;
use super::meta::{Meta, homes, keys_of};
use super::notes::Notes;
use super::rules::RULES;
use super::section::Fallback;
use super::told::{
    at, flow, found, is_entry, is_entry_of, is_of_type, key_of, kind_of, last, name_of, none_of,
    options,
};

/// What is wrong with the text of a policy, with the advice that its place gives: a word that needs
/// quotes in any YAML may be one that a policy cannot have there.
pub(super) fn unread(path: &str, meta: &Meta, error: YamlError) -> Problem {
    let YamlError { place, pointer, message, word } = error;
    let problem = |what: String| Problem::new(path, what).at(at(place, &pointer));
    let rules = meta.keywords_at(&pointer).filter(|_| !word.is_empty());
    let options = rules.map(options).unwrap_or_default();
    if options.contains(&format!("{word:?}")) {
        return problem(format!("`{word}` without quotes is a boolean to some readers"))
            .remedy(format!("write `{}: {word:?}`", last(&pointer)));
    }
    if rules.is_some_and(|rules| rules.get("type").is_some_and(|kind| kind == "integer")) {
        let (name, found) = (name_of(&pointer), cut(&word));
        let plain = word.trim_start_matches('0');
        if word.bytes().all(|byte| byte.is_ascii_digit()) && plain.len() < word.len() {
            let what = format!(
                "{name} is {found}: a leading zero makes it another number to some readers"
            );
            let plain = if plain.is_empty() { "0" } else { plain };
            return problem(what).remedy(format!("write {plain}"));
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            let what = format!("{name} is {found}, which is out of range");
            let max = rules.and_then(|rules| rules.get("maximum")).and_then(Value::as_u64);
            let most = max.map_or_else(String::new, |max| format!(": at most {max}"));
            return problem(what).remedy(format!("write a smaller number{most}"));
        }
        let what = format!("{name} must be a whole number (found {found})");
        return problem(what).remedy("write digits alone");
    }
    if !options.is_empty() {
        let (what, remedy) = none_of(&pointer, &word, &format!("{:?}", cut(&word)), &options);
        return problem(what).remedy(remedy);
    }
    if word.starts_with('*') {
        let mut own = sections().filter_map(|section| (section.pattern)(&pointer, &cut(&word)));
        if let Some((what, remedy)) = own.next() {
            return problem(what).remedy(remedy);
        }
    }
    problem(message)
}

/// Everything that is wrong with a policy about these tools.
pub(super) fn of(
    path: &str,
    document: &Document,
    effective: &Value,
    meta: &Meta,
    contracts: &Contracts,
) -> Vec<Problem> {
    let mut found = Findings { notes: Notes::new(path, document, effective, contracts), meta };
    found.look();
    found.notes.into_problems()
}

/// Collects what is wrong with one policy.
struct Findings<'a> {
    notes: Notes<'a>,
    meta: &'a Meta,
}

impl Findings<'_> {
    fn look(&mut self) {
        let violations = self.meta.violations(&self.notes.document.value);
        if let Some(version) = self.notes.stated("/version").filter(|version| version.is_number())
            && violations.iter().any(|violation| violation.pointer == "/version")
        {
            // What another version means by its keys is not known here.
            let what =
                format!("the policy has version {version}, and this program reads version 1");
            self.notes.add("/version", &what, "write `version: 1`, or use a newer program");
            return;
        }
        sections().for_each(|section| (section.findings)(&mut self.notes));
        self.check_examples();
        let mut described = HashSet::new();
        for violation in &violations {
            let pointer = violation.pointer.trim_end_matches('/');
            if described.insert(pointer.to_owned())
                && !self.notes.is_settled(pointer)
                && !self.describe(pointer)
            {
                self.notes.add(pointer, violation.told(), "");
            }
        }
    }

    /// Finds the words for a value that the meta-schema refuses; whether there are any.
    fn describe(&mut self, pointer: &str) -> bool {
        let (Some(rules), Some(value)) =
            (self.meta.keywords_at(pointer), self.notes.stated(pointer))
        else {
            return false;
        };
        let before = self.notes.count();
        let expected = rules.get("type").and_then(Value::as_str);
        if let Some(expected) = expected.filter(|expected| !is_of_type(value, expected)) {
            let (what, remedy) = self.wrong_type(pointer, value, expected);
            self.notes.add(pointer, &what, &remedy);
            return true;
        }
        match value {
            Value::Object(_) => {
                self.unknown_keys(pointer, value, rules);
                self.missing_keys(pointer, value, rules);
            }
            Value::Array(items) => self.wrong_list(pointer, items, rules),
            _ => self.wrong_value(pointer, value, rules),
        }
        self.notes.count() > before
    }

    /// Whether a key must be there where the keys around it are.
    fn is_required(&self, pointer: &str) -> bool {
        let (around, key) = pointer.rsplit_once('/').unwrap_or_default();
        self.required_at(around).contains(&key)
    }

    /// The keys that must be there, of the object with this pointer.
    fn required_at(&self, pointer: &str) -> Vec<&str> {
        let rules = self.meta.keywords_at(pointer);
        let required = rules.and_then(|rules| rules.get("required")).and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn wrong_type(&self, pointer: &str, value: &Value, expected: &str) -> (String, String) {
        if let Some(remedy) = common::examples_of_other_rules(pointer) {
            let what = format!(
                "{} must be {} (found {})",
                name_of(pointer),
                match expected {
                    "array" => "a list",
                    "object" => "keys with values",
                    _ => "a text",
                },
                found(value)
            );
            return (what, remedy.to_owned());
        }
        let name = name_of(pointer);
        let key = last(pointer);
        let sample = self.sample(pointer);
        if pointer.is_empty() {
            let what = match value {
                Value::Null => "the policy is empty".to_owned(),
                _ => format!("the policy is {}, not keys with values", kind_of(value)),
            };
            let lines = self.required().into_iter().map(|key| {
                let sample = self.sample(&format!("/{key}"));
                if self.is_section(key) { format!("{key}: {{{sample}}}") } else { sample }
            });
            let smallest = lines.collect::<Vec<_>>().join(", ");
            return (what, format!("the smallest policy is `{{{smallest}}}`"));
        }
        if value.is_null() && is_entry(pointer) {
            let (list, _) = pointer.rsplit_once('/').unwrap_or_default();
            let fill = match expected {
                "object" => format!("write `- {sample}`"),
                _ => format!("fill it in, as in `{}`", self.sample(list)),
            };
            return (format!("{name} has no value"), format!("{fill}, or remove the entry"));
        }
        if value.is_null() {
            let what = match expected {
                "object" => format!("`{key}:` is empty"),
                _ => format!("{name} has no value"),
            };
            let whole = match expected {
                "object" => {
                    let keys = self.required_at(pointer).into_iter();
                    let lines =
                        keys.map(|key| format!("`{}`", self.sample(&format!("{pointer}/{key}"))));
                    let lines: Vec<String> = lines.collect();
                    match lines.len() {
                        0 => format!("write `{sample}` below it, indented"),
                        _ => format!("write {} below it, indented", lines.join(" and ")),
                    }
                }
                _ => format!("write `{sample}`"),
            };
            let known = key_of(pointer);
            let may_go = defaults::of(&known) != Some(Fallback::Required)
                && !self.required().contains(&known.as_str());
            return (what, if may_go { format!("{whole}, or remove the key") } else { whole });
        }
        let found = found(value);
        let (what, remedy) = match expected {
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
                    _ => "write one text".to_owned(),
                };
                (format!("{name} must be a text (found {found})"), remedy)
            }
        };
        let own = sections().find_map(|section| (section.instead)(pointer, value));
        (what, own.unwrap_or(remedy))
    }

    /// The keys that every policy has.
    fn required(&self) -> Vec<&str> {
        let required = self.meta.keywords_at("").and_then(|rules| rules.get("required"));
        let required = required.and_then(Value::as_array).into_iter().flatten();
        required.filter_map(Value::as_str).collect()
    }

    /// Whether a key of a policy has keys below it.
    fn is_section(&self, key: &str) -> bool {
        let rules = self.meta.keywords_at(&format!("/{key}"));
        rules.is_some_and(|rules| rules.get("properties").is_some())
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
                None if key == "on_deny" => {
                    match RULES.iter().any(|row| Some(row.key) == pointer.strip_prefix('/')) {
                        true => "remove it; this rule always ends a run".to_owned(),
                        false => none(),
                    }
                }
                None if !homes.is_empty() => format!("move it below {}", homes.join(" or ")),
                None => none(),
            };
            let at = format!("{pointer}/{}", pointer_token(key));
            self.notes.add_key(&at, &format!("unknown key {shown:?}"), &remedy);
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
            let remedy = match pointer.is_empty() && self.is_section(key) {
                true => format!("add `{key}:`, and `{sample}` below it, indented"),
                false => format!("add `{sample}`"),
            };
            self.notes.add(pointer, &format!("{key} is missing"), &remedy);
        }
    }

    fn wrong_list(&mut self, pointer: &str, items: &[Value], rules: &Value) {
        let (name, key) = (name_of(pointer), last(pointer));
        let bound = |keyword: &str| rules.get(keyword).and_then(Value::as_u64);
        if items.is_empty() && bound("minItems").is_some() {
            let remedy = match self.is_required(pointer) {
                true => format!("write `{}`", self.sample(pointer)),
                false => format!("write `{}`, or remove the key", self.sample(pointer)),
            };
            self.notes.add(pointer, &format!("{name} is empty, so nothing would match"), &remedy);
        }
        if let Some(max) = bound("maxItems").filter(|max| items.len() as u64 > *max) {
            let what = format!("{name} has {} entries, and the limit is {max}", items.len());
            self.notes.add(pointer, &what, "remove some");
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                if !seen.insert(item.to_string()) {
                    let what = format!("{} is in {key} twice", cut(&flow(item)));
                    self.notes.add(&format!("{pointer}/{index}"), &what, "remove one of the two");
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
            return self.notes.add(pointer, &what, &remedy);
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
                    self.notes.add(pointer, &what, &format!("write a number: {range}"));
                }
            }
            Value::String(text) => {
                let range = range(bound("minLength"), bound("maxLength"));
                let chars = text.chars().count();
                let fits = bound("minLength").is_none_or(|least| chars as u64 >= least)
                    && bound("maxLength").is_none_or(|most| chars as u64 <= most);
                if text.is_empty() && !fits {
                    self.notes.add(
                        pointer,
                        &format!("{name} is an empty text"),
                        if self.is_required(pointer) {
                            "write a name"
                        } else {
                            "write a name, or remove it"
                        },
                    );
                } else if !fits {
                    let what = format!("{name} has {chars} characters (found {found})");
                    self.notes.add(pointer, &what, &format!("write a text of {range} characters"));
                }
            }
            _ => {}
        }
    }

    /// A line that would be valid there.
    fn sample(&self, pointer: &str) -> String {
        let (known, key) = (key_of(pointer), last(pointer));
        let mut own = sections().flat_map(|section| section.samples);
        if let Some((_, line)) = own.find(|(key, _)| *key == known) {
            let tools = self.notes.contracts.names();
            let tool = tools.iter().find(|tool| **tool == "search").or(tools.first());
            return line.replace("TOOL", tool.copied().unwrap_or("search"));
        }
        let value = defaults::of(&known).and_then(Fallback::value);
        let value = value.map(|value| format!("{key}: {}", flow(&value)));
        value
            .or_else(|| common::example(pointer, &self.notes.document.value))
            .unwrap_or_else(|| format!("{key}: 10"))
    }

    /// An example that names neither a call nor what a run has used shows nothing.
    fn check_examples(&mut self) {
        for row in &RULES {
            for list in ["allow", "deny"] {
                let pointer = format!("/{}/examples/{list}", row.key);
                for (at, example) in self.notes.entries(&pointer) {
                    let wrong = incomplete(example).filter(|_| example.is_object());
                    if let Some((what, fix)) = wrong {
                        self.notes.add_first(&at, &format!("the example {what}"), &fix);
                    }
                }
            }
        }
    }
}
