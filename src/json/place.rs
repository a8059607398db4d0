//! Where the values of a JSON text stand: asked for only when something is wrong with one.

use std::collections::HashMap;

use crate::problem::{Problems, cut};

/// Line and column of every value of a JSON text, both from 1, by JSON pointer. The text is one that
/// [`super::parse`] has accepted; of another, what can be read.
///
/// ```
/// let places = gatedrun::json::places(b"{\n  \"a\": [1,\n    {\"b/c\": 2}]\n}");
/// assert_eq!(places["/a/1/b~1c"], (3, 13));
/// assert_eq!(places[""], (1, 1));
/// ```
pub fn places(text: &[u8]) -> HashMap<String, (u64, u64)> {
    let mut walk = Walk { text, at: 0, line: 1, column: 1, counted: 0, places: HashMap::new() };
    let _ = walk.value(&mut String::new(), 0);
    walk.places
}

/// The same problems of a JSON text, each with line and column beside its JSON pointer.
#[must_use]
pub fn located(mut problems: Problems, text: &[u8]) -> Problems {
    let places = places(text);
    for problem in problems.0.iter_mut().filter(|problem| problem.at.starts_with('/')) {
        // The whole text has a place, and no pointer that says more.
        if problem.at == "/" {
            let whole = places.get("").unwrap_or(&(1, 1));
            problem.at = format!("line {}, column {}", whole.0, whole.1);
            continue;
        }
        // What is not there has the place of what it would be in.
        let mut pointer = problem.at.trim_end_matches('/');
        let place = loop {
            match (places.get(pointer), pointer.rsplit_once('/')) {
                (Some(place), _) => break Some(*place),
                (None, Some((above, _))) => pointer = above,
                (None, None) => break None,
            }
        };
        if let Some((line, column)) = place {
            problem.at = format!("line {line}, column {column} ({})", cut(&problem.at));
        }
    }
    problems
}

struct Walk<'t> {
    text: &'t [u8],
    at: usize,
    line: u64,
    /// The column of the byte at `counted`.
    column: u64,
    counted: usize,
    places: HashMap<String, (u64, u64)>,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn skip(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    (self.counted, self.column) = (self.at, 1);
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                other => return Some(other),
            }
        }
    }

    fn value(&mut self, pointer: &mut String, depth: usize) -> Option<()> {
        const DEPTH_MAX: usize = 130;
        let first = self.skip()?;
        // A line may be as long as the text, so that each of its characters is counted once.
        let since = self.text.get(self.counted..self.at)?;
        self.column += since.iter().filter(|byte| (**byte & 0xc0) != 0x80).count() as u64;
        self.counted = self.at;
        self.places.insert(pointer.clone(), (self.line, self.column));
        if depth > DEPTH_MAX {
            return None;
        }
        let length = pointer.len();
        match first {
            b'{' | b'[' => {
                self.at += 1;
                for index in 0_u64.. {
                    if matches!(self.skip()?, b'}' | b']') {
                        break;
                    }
                    pointer.push('/');
                    if first == b'{' {
                        let key: String = serde_json::from_slice(self.string()?).ok()?;
                        pointer.push_str(&super::pointer_token(&key));
                        self.skip().filter(|byte| *byte == b':')?;
                        self.at += 1;
                    } else {
                        pointer.push_str(&index.to_string());
                    }
                    self.value(pointer, depth + 1)?;
                    pointer.truncate(length);
                    if self.skip()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
            }
            b'"' => {
                self.string()?;
            }
            _ => {
                let rest = self.text.get(self.at..)?;
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        Some(())
    }

    /// A text with its quotes.
    fn string(&mut self) -> Option<&[u8]> {
        let begin = self.at;
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return self.text.get(begin..self.at);
                }
                _ => self.at += 1,
            }
        }
    }
}
