//! YAML as this project reads it: a strict subset, with the place of every value.
//!
//! Refused, because readers disagree on them or because they hide what a file says: duplicate
//! keys, anchors and aliases, tags, merge keys, a second document, keys that are no strings, and
//! the plain words `yes`, `no`, `on`, `off`, `y` and `n`, which some readers take for booleans.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_yaml::Spanned;

/// The largest document, in bytes.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A document and where its values stand.
#[derive(Debug)]
pub struct Document {
    /// The document as JSON.
    pub value: Value,
    places: HashMap<String, Place>,
}

/// A place in a file, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Where, if that is known.
    pub place: Option<Place>,
    /// What is wrong there.
    pub message: String,
}

impl Document {
    /// Where the value with this JSON pointer stands, or the nearest value around it.
    pub fn place(&self, pointer: &str) -> Option<Place> {
        let mut pointer = pointer.trim_end_matches('/');
        loop {
            if let Some(place) = self.places.get(pointer) {
                return Some(*place);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }
}

/// Parses one document strictly.
///
/// # Errors
/// What the parser refuses, or every word that readers take differently.
///
/// ```
/// let document = gatedrun::yaml::parse(b"a:\n  b: [1, two]\n").unwrap();
/// assert_eq!(document.value, serde_json::json!({"a": {"b": [1, "two"]}}));
/// assert_eq!(document.place("/a/b/1").unwrap().to_string(), "line 2, column 10");
/// assert!(gatedrun::yaml::parse(b"a: no\n").is_err());
/// ```
pub fn parse(bytes: &[u8]) -> Result<Document, Vec<YamlError>> {
    let one = |message: String| vec![YamlError { place: None, message }];
    if bytes.len() > BYTES_MAX {
        return Err(one(format!("it has {} bytes; the limit is {BYTES_MAX}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        one(format!("byte {} is not UTF-8; save it as UTF-8", error.valid_up_to()))
    })?;
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: 64,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_merge_keys: 0,
            max_nodes: 500_000,
        },
        strict_booleans: true,
        with_snippet: false,
        reject_unsupported_tags: true,
        merge_keys: serde_yaml::options::MergeKeyPolicy::Error,
    };
    let root: Spanned<Node> =
        serde_yaml::from_str_with_options(text, options).map_err(|error| {
            let place = error.location().map(|at| Place { line: at.line(), column: at.column() });
            let full = error.to_string();
            let message = full.lines().next().unwrap_or(&full).trim_end().to_owned();
            vec![YamlError { place, message: mend(&message) }]
        })?;
    let mut reader = Walk { text, places: HashMap::new(), problems: Vec::new() };
    let value = reader.value(root, &mut String::new());
    if reader.problems.is_empty() {
        Ok(Document { value, places: reader.places })
    } else {
        Err(reader.problems)
    }
}

/// Says how to mend what the parser only names.
fn mend(message: &str) -> String {
    // The parser's hints are for those who call it, and its place is told beside the message.
    let message = message.split(", set ").next().unwrap_or(message);
    let message = message.split(" at line ").next().unwrap_or(message);
    let lower = message.to_lowercase();
    let hint = if lower.contains("alias") || lower.contains("anchor") {
        "; write the value out instead of using & and *"
    } else if lower.contains("duplicate") {
        "; keep one of the two"
    } else if lower.contains("tab") {
        "; indent with spaces"
    } else {
        ""
    };
    format!("{message}{hint}")
}

struct Walk<'a> {
    text: &'a str,
    places: HashMap<String, Place>,
    problems: Vec<YamlError>,
}

impl Walk<'_> {
    fn value(&mut self, node: Spanned<Node>, pointer: &mut String) -> Value {
        let place = Place { line: node.referenced.line(), column: node.referenced.column() };
        self.places.insert(pointer.clone(), place);
        match node.value {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(value),
            Node::Int(value) => Value::from(value),
            Node::Float(value) => serde_json::Number::from_f64(value).map_or_else(
                || {
                    self.problem(place, "a number must be finite; write a plain number".to_owned());
                    Value::Null
                },
                Value::Number,
            ),
            Node::Text(text) => {
                if is_ambiguous(&text) && !self.is_quoted(place) {
                    self.problem(
                        place,
                        format!("the word {text} means a boolean to some readers; write true or false, or \"{text}\" in quotes"),
                    );
                }
                Value::String(text)
            }
            Node::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    list.push(self.below(pointer, &index.to_string(), item));
                }
                Value::Array(list)
            }
            Node::Map(members) => {
                let mut map = Map::new();
                for (key, member) in members {
                    let value = self.below(pointer, &key.value, member);
                    if map.insert(key.value.clone(), value).is_some() {
                        let place =
                            Place { line: key.referenced.line(), column: key.referenced.column() };
                        self.problem(
                            place,
                            format!("duplicate key {:?}; keep one of the two", key.value),
                        );
                    }
                }
                Value::Object(map)
            }
        }
    }

    fn below(&mut self, pointer: &mut String, key: &str, node: Spanned<Node>) -> Value {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        let value = self.value(node, pointer);
        pointer.truncate(length);
        value
    }

    fn is_quoted(&self, place: Place) -> bool {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let line = self.text.lines().nth(index(place.line)).unwrap_or_default();
        matches!(line.chars().nth(index(place.column)), Some('"' | '\'' | '|' | '>'))
    }

    fn problem(&mut self, place: Place, message: String) {
        self.problems.push(YamlError { place: Some(place), message });
    }
}

fn is_ambiguous(word: &str) -> bool {
    ["yes", "no", "on", "off", "y", "n", "true", "false"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        i64::try_from(value).map(Node::Int).map_err(|_| {
            E::custom(format!("the integer {value} is too large; the limit is {}", i64::MAX))
        })
    }
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }
}
