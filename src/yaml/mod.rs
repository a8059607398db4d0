//! YAML as this project reads it: a strict subset, with the place of every key and value.
//!
//! Refused, because readers disagree on them or because they hide what a file says: duplicate
//! keys, anchors and aliases, tags, directives, merge keys, a second document, keys that are not
//! text, characters that end a line for some readers only, tabs between words, a block text that the
//! end of the file cuts (see `alike.rs`), and plain words that are numbers, dates
//! or booleans to some readers (`yes`, `010`, `1_000`, `1:30`; see `scalar.rs`).

mod place;
mod alike;
mod refused;
mod scalar;

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

pub use place::Place;
use place::{place, place_of};

/// The largest document, in bytes.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The word of an alias until it is looked up in the text.
const ALIAS: &str = "*";

/// How deep a document may nest.
const DEPTH_MAX: usize = 64;

/// How many values a document may hold.
const NODES_MAX: usize = 500_000;

/// A document and where its values stand.
#[derive(Debug)]
pub struct Document {
    /// The document as JSON.
    pub value: Value,
    places: HashMap<String, Place>,
    keys: HashMap<String, Place>,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Where, if that is known.
    pub place: Option<Place>,
    /// JSON pointer to the value that it is about; empty where there is none.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
    /// The word without quotes that is refused there, where its place may say what to write instead.
    pub word: String,
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

    /// Where the key of the value with this JSON pointer stands.
    pub fn key_place(&self, pointer: &str) -> Option<Place> {
        self.keys.get(pointer).copied()
    }
}

/// Parses one document strictly.
///
/// # Errors
/// The first place at which it is not YAML, or every word that readers take differently.
///
/// ```
/// let document = gatedrun::yaml::parse(b"a:\n  b: [1, two]\n").unwrap();
/// assert_eq!(document.value, serde_json::json!({"a": {"b": [1, "two"]}}));
/// assert_eq!(document.place("/a/b/1").unwrap().to_string(), "line 2, column 10");
/// assert!(gatedrun::yaml::parse(b"a: no\n").is_err());
/// ```
pub fn parse(bytes: &[u8]) -> Result<Document, Vec<YamlError>> {
    let at = |place: Option<Place>, message: String| {
        vec![YamlError { place, pointer: String::new(), message, word: String::new() }]
    };
    if bytes.len() > BYTES_MAX {
        return Err(at(None, format!("it has {} bytes; the limit is {BYTES_MAX}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = place_of(&String::from_utf8_lossy(
            bytes.get(..error.valid_up_to()).unwrap_or_default(),
        ));
        at(Some(place), "a byte here is not UTF-8; save the file as UTF-8".to_owned())
    })?;
    if let Some((place, what)) = ambiguous_line_end(text) {
        return Err(at(Some(place), what));
    }
    if let Some(place) = alike::leading_end(text) {
        return Err(at(
            Some(place),
            "a document ends here before it begins; remove the line".into(),
        ));
    }
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder = Builder { text, ..Builder::default() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| vec![refused(&error, text, &builder)])?;
        if !builder.take(event, span) {
            break;
        }
    }
    for problem in builder.problems.iter_mut().filter(|problem| problem.word == ALIAS) {
        problem.word = problem.place.map_or_else(String::new, |at| word_at(text, at));
    }
    if builder.problems.is_empty()
        && let Some((place, what)) = builder.alike.refused(text)
    {
        return Err(at(Some(place), what.to_owned()));
    }
    // A file without a value has its place too.
    builder.places.entry(String::new()).or_insert(Place { line: 1, column: 1 });
    if builder.problems.is_empty() {
        Ok(Document {
            value: builder.root.unwrap_or_default(),
            places: builder.places,
            keys: builder.keys,
        })
    } else {
        builder.problems.sort_by_key(|problem| problem.place);
        Err(builder.problems)
    }
}

/// A character that ends a line for some readers and not for others: what follows it may be a
/// comment to one and a key to the other.
fn ambiguous_line_end(text: &str) -> Option<(Place, String)> {
    let (at, found) = text.char_indices().find(|(at, c)| match c {
        '\u{85}' | '\u{2028}' | '\u{2029}' => true,
        '\r' => !text[at + 1..].starts_with('\n'),
        _ => false,
    })?;
    let code = u32::from(found);
    Some((
        place_of(&text[..at]),
        format!(
            "the character U+{code:04X} ends a line for some readers and not for others; remove it, or write \"\\u{code:04x}\" in double quotes"
        ),
    ))
}

/// What the parser refuses. A text that begins with `*` is the one of which the place says what to
/// write: whoever means every host or tool is told so there.
fn refused(error: &ScanError, text: &str, builder: &Builder<'_>) -> YamlError {
    let at = match refused::is_tab(error.kind()) {
        // The parser stops before the tab or behind it.
        true => tab_at(text, place(error.marker())),
        false => place(error.marker()),
    };
    let word = match error.kind() {
        ErrorKind::MissingAnchorOrAliasName => word_at(text, at),
        _ => String::new(),
    };
    let pointer = if word.is_empty() { String::new() } else { builder.next_pointer() };
    YamlError { place: Some(at), pointer, message: refused::words(error.kind()).into_owned(), word }
}

/// The tab that the parser means by a place: on this line, or on the next one that has any.
fn tab_at(text: &str, near: Place) -> Place {
    let first = usize::try_from(near.line - 1).unwrap_or(usize::MAX);
    let mut lines = text.lines().zip(1_u64..).skip(first);
    let tab =
        lines.find_map(|(line, number)| Some((number, line.chars().position(|c| c == '\t')?)));
    tab.map_or(near, |(line, column)| Place { line, column: column as u64 + 1 })
}

/// The word that begins at a place.
fn word_at(text: &str, at: Place) -> String {
    let line = usize::try_from(at.line - 1).ok().and_then(|line| text.lines().nth(line));
    let skipped = usize::try_from(at.column - 1).unwrap_or(usize::MAX);
    let ends = |c: &char| c.is_whitespace() || matches!(c, ',' | ']' | '}');
    line.unwrap_or_default().chars().skip(skipped).take_while(|c| !ends(c)).collect()
}

/// A list or map that is being read.
enum Open {
    List(Vec<Value>),
    Map {
        members: Map<String, Value>,
        /// The key whose value comes next; `None` inside is one that was refused.
        key: Option<Option<String>>,
    },
}

/// Makes a value of the parser's events.
#[derive(Default)]
struct Builder<'t> {
    text: &'t str,
    root: Option<Value>,
    open: Vec<Open>,
    /// JSON pointer to what is read next.
    pointer: String,
    /// How long the pointer was before each open list or map.
    lengths: Vec<usize>,
    nodes: usize,
    documents: usize,
    places: HashMap<String, Place>,
    keys: HashMap<String, Place>,
    problems: Vec<YamlError>,
    alike: alike::Alike,
}

impl Builder<'_> {
    /// Takes the next event; whether there is a reason to read on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = place(&span.start);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problem(at, "a second document begins here; keep one in a file");
                    return false;
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let what = "aliases are not supported; write the value out, or a text that begins with * in double quotes";
                let pointer = self.next_pointer();
                let (message, word) = (what.to_owned(), ALIAS.to_owned());
                self.problems.push(YamlError { place: Some(at), pointer, message, word });
                self.value(Value::Null, at);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(anchor, tag.as_deref(), &span);
                if let Some(what) = self.alike.scalar(&text, style, &span) {
                    self.problem(at, what);
                }
                if style == ScalarStyle::Plain && tag.is_none() {
                    self.plain(&text, at);
                } else {
                    self.scalar(Value::String(text.into_owned()), at);
                }
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.alike.open(style);
                self.properties(anchor, tag.as_deref(), &span);
                self.begin(Open::List(Vec::new()), at);
            }
            Event::MappingStart(style, anchor, tag) => {
                self.alike.open(style);
                self.properties(anchor, tag.as_deref(), &span);
                self.begin(Open::Map { members: Map::new(), key: None }, at);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.alike.close();
                self.end();
            }
            _ => {}
        }
        self.nodes += 1;
        if self.nodes > NODES_MAX * 2 {
            self.problem(at, &format!("it holds more than {NODES_MAX} values"));
            return false;
        }
        if self.open.len() > DEPTH_MAX {
            self.problem(at, &format!("it nests deeper than {DEPTH_MAX}"));
            return false;
        }
        true
    }

    /// Refuses what stands before a value.
    fn properties(&mut self, anchor: usize, tag: Option<&Tag>, span: &Span) {
        if let Some(tag) = tag {
            let at = span.tag_start().map_or_else(|| place(&span.start), |marker| place(&marker));
            let tag = tag.original();
            let tag = crate::problem::cut(&tag);
            self.problem(
                at,
                &format!("tags are not supported; remove {tag}, and write the value itself"),
            );
        }
        if anchor != 0 {
            let what = "anchors are not supported; write the value out instead of using & and *";
            self.problem(self.anchor(span), what);
        }
    }

    /// Where the anchor of a value is; the parser says where the value itself begins.
    fn anchor(&self, span: &Span) -> Place {
        let at = span.start.byte_offset().and_then(|end| self.text.get(..end));
        let at = at.and_then(|before| before.get(..before.rfind('&')?));
        at.map_or_else(|| place(&span.start), place_of)
    }

    /// A word without quotes, as a key or as a value.
    fn plain(&mut self, text: &str, at: Place) {
        let value = scalar::plain(text);
        if self.expects_key() {
            let key = match value {
                Ok(Value::String(text)) => Some(text),
                Err(what) => {
                    self.problem(at, &what);
                    None
                }
                Ok(_) => {
                    let shown = crate::problem::cut(text);
                    self.problem(at, &format!("a key must be text; write \"{shown}\" in quotes"));
                    None
                }
            };
            return self.key(key, at);
        }
        let value = value.unwrap_or_else(|what| {
            let pointer = self.next_pointer();
            let (place, word) = (Some(at), text.to_owned());
            self.problems.push(YamlError { place, pointer, message: what, word });
            Value::Null
        });
        self.value(value, at);
    }

    /// A text in quotes, as a key or as a value.
    fn scalar(&mut self, value: Value, at: Place) {
        match value {
            Value::String(text) if self.expects_key() => self.key(Some(text), at),
            value => self.value(value, at),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn key(&mut self, key: Option<String>, at: Place) {
        let mut duplicate = None;
        if let Some(Open::Map { members, key: next }) = self.open.last_mut() {
            duplicate = key.as_ref().filter(|key| members.contains_key(*key)).cloned();
            // A duplicate's value is read and dropped.
            *next = Some(if duplicate.is_some() { None } else { key });
        }
        match duplicate {
            Some(key) => {
                let first = self.keys.get(&self.next_pointer_of(&key)).copied();
                let first = first.map_or_else(String::new, |first| format!(" (first at {first})"));
                let key = crate::problem::cut(&key);
                self.problem(at, &format!("duplicate key {key:?}{first}; keep one of the two"));
            }
            None => {
                let pointer = self.next_pointer();
                self.keys.insert(pointer, at);
            }
        }
    }

    /// JSON pointer to the value that comes next.
    fn next_pointer(&self) -> String {
        match self.open.last() {
            Some(Open::List(items)) => format!("{}/{}", self.pointer, items.len()),
            Some(Open::Map { key: Some(Some(key)), .. }) => self.next_pointer_of(key),
            Some(Open::Map { .. }) | None => self.pointer.clone(),
        }
    }

    fn next_pointer_of(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, crate::json::pointer_token(key))
    }

    fn begin(&mut self, open: Open, at: Place) {
        if self.expects_key() {
            // What stands in the key is read and dropped, as is its value.
            self.problem(at, "a key must be text; write a word or a text in quotes");
        }
        let pointer = self.next_pointer();
        self.places.insert(pointer.clone(), at);
        self.lengths.push(self.pointer.len());
        self.pointer = pointer;
        self.open.push(open);
    }

    fn end(&mut self) {
        let Some(done) = self.open.pop() else { return };
        self.pointer.truncate(self.lengths.pop().unwrap_or(0));
        let value = match done {
            Open::List(items) => Value::Array(items),
            Open::Map { members, .. } => Value::Object(members),
        };
        self.put(value);
    }

    fn value(&mut self, value: Value, at: Place) {
        if self.expects_key() {
            return self.key(None, at);
        }
        self.places.insert(self.next_pointer(), at);
        self.put(value);
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map { members, key }) => match key.take() {
                Some(Some(key)) => {
                    members.insert(key, value);
                }
                // The value of a key that was refused, or such a key itself.
                Some(None) => {}
                None => *key = Some(None),
            },
            None => self.root = Some(value),
        }
    }

    fn problem(&mut self, at: Place, message: &str) {
        let pointer = self.next_pointer();
        let (message, word) = (message.to_owned(), String::new());
        self.problems.push(YamlError { place: Some(at), pointer, message, word });
    }
}
