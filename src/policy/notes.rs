//! What is noted about a policy while it is looked through: by the rules, each about its own section,
//! and by the code that knows none of them.
//!
//! What is worth a note is not decided here.

use std::collections::HashSet;

use serde_json::Value;

use crate::contract::Contracts;
use crate::problem::Problem;
use crate::yaml::Document;

use super::told;

/// A policy, and what was noted about it.
#[derive(Debug)]
pub struct Notes<'a> {
    path: &'a str,
    /// The policy as it is written.
    pub document: &'a Document,
    /// The policy with its defaults.
    pub effective: &'a Value,
    /// The tools that it may list.
    pub contracts: &'a Contracts,
    problems: Vec<Problem>,
    /// The values that something was noted about.
    about: HashSet<String>,
}

impl<'a> Notes<'a> {
    /// Nothing yet.
    pub fn new(
        path: &'a str,
        document: &'a Document,
        effective: &'a Value,
        contracts: &'a Contracts,
    ) -> Self {
        let (problems, about) = (Vec::new(), HashSet::new());
        Self { path, document, effective, contracts, problems, about }
    }

    /// Notes what is wrong with the value with this pointer, and what to write.
    pub fn add(&mut self, pointer: &str, what: &str, remedy: &str) {
        self.settle(pointer);
        self.problems.push(told::problem(self.path, self.document, pointer, what, remedy));
    }

    /// As [`Notes::add`], of a value that has no note yet.
    pub fn add_first(&mut self, pointer: &str, what: &str, remedy: &str) {
        if !self.is_settled(pointer) {
            self.add(pointer, what, remedy);
        }
    }

    /// As [`Notes::add`], of a key and not of its value.
    pub fn add_key(&mut self, pointer: &str, what: &str, remedy: &str) {
        let place = self.document.key_place(pointer).or_else(|| self.document.place(pointer));
        self.settle(pointer);
        let at = told::at(place, pointer);
        self.problems.push(Problem::new(self.path, what).at(at).remedy(remedy));
    }

    /// Nothing more is said of this value: a note about another one says it already.
    pub fn settle(&mut self, pointer: &str) {
        self.about.insert(pointer.to_owned());
    }

    /// Whether there is nothing more to say of a value.
    pub fn is_settled(&self, pointer: &str) -> bool {
        self.about.contains(pointer)
    }

    /// The value with this pointer, where the policy states it.
    pub fn stated(&self, pointer: &str) -> Option<&'a Value> {
        self.document.value.pointer(pointer)
    }

    /// The number that holds at this pointer, stated or by default.
    pub fn number(&self, pointer: &str) -> Option<u64> {
        self.effective.pointer(pointer).and_then(Value::as_u64)
    }

    /// The entries of a list that the policy states, each with its pointer.
    pub fn entries(&self, pointer: &str) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
        let entries = self.stated(pointer).and_then(Value::as_array);
        let pointer = pointer.to_owned();
        let entries = entries.into_iter().flatten().enumerate();
        entries.map(move |(index, entry)| (format!("{pointer}/{index}"), entry))
    }

    /// As [`Notes::entries`], of those that are texts.
    pub fn texts(&self, pointer: &str) -> impl Iterator<Item = (String, &'a str)> + use<'a> {
        self.entries(pointer).filter_map(|(pointer, entry)| Some((pointer, entry.as_str()?)))
    }

    /// How much was noted.
    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// All that was noted.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
