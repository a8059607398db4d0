//! JSON that is kept as its text: a value that is copied, hashed and compared, and looked into by few.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::memchr2;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::{JsonError, canonical, is_plain};

/// A JSON value as the text that `serde_json` writes for it.
///
/// Copying one copies nothing, and comparing one with its copy compares nothing. What is read back
/// may be any JSON text, until [`JsonText::check`] has said that it is the due one.
///
/// ```
/// use gatedrun::json::JsonText;
/// let text = JsonText::of(&serde_json::json!({"b": 1.0, "a": "x"}));
/// assert_eq!(text.as_str(), r#"{"a":"x","b":1.0}"#);
/// assert_eq!(&*text.canonical(), br#"{"a":"x","b":1}"#);
/// ```
#[derive(Debug, Clone)]
pub struct JsonText {
    text: Arc<Box<RawValue>>,
    /// Whether the text is known to be its value's canonical form too.
    is_canonical: bool,
}

impl JsonText {
    /// The text of a value.
    pub fn of(value: &Value) -> Self {
        let text = super::sure(to_raw_value(value));
        Self { text: Arc::new(text), is_canonical: is_plain(value) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.text.get()
    }

    /// The value; null where the text was never checked and no value can be made of it.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }

    /// The canonical form of the value (RFC 8785): what is hashed.
    pub fn canonical(&self) -> Cow<'_, [u8]> {
        if self.is_canonical {
            Cow::Borrowed(self.as_str().as_bytes())
        } else {
            Cow::Owned(canonical(&self.value()))
        }
    }

    /// Looks at a text that was read: the expected text of its value, where that differs.
    ///
    /// # Errors
    /// That no value can be made of it: half a surrogate pair, or nesting without end.
    pub fn check(&mut self) -> Result<Option<Self>, JsonError> {
        // Nearly every text is plain, and seen to be so without a value being made of it.
        let bytes = self.as_str().as_bytes();
        if plain(bytes, 0, DEPTH_MAX) == Some(bytes.len()) {
            self.is_canonical = true;
            return Ok(None);
        }
        let due = Self::of(&serde_json::from_slice(bytes)?);
        Ok((due != *self).then_some(due))
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.as_str() == other.as_str()
    }
}

impl Eq for JsonText {}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self { text: Arc::new(text), is_canonical: false })
    }
}

impl schemars::JsonSchema for JsonText {
    fn inline_schema() -> bool {
        Value::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Value::json_schema(generator)
    }
}

/// How deep a plain text may nest; a deeper one is parsed, which has its own bound.
const DEPTH_MAX: usize = 64;

/// Where the value that begins at `at` ends, if it is written plainly: as `serde_json` and RFC 8785
/// both write it. The bytes are JSON; what they hold beyond the plain is not told apart from what is
/// wrong, and gets `None`.
fn plain(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    match bytes.get(at)? {
        b'"' => plain_string(bytes, at),
        b'{' => {
            let mut at = at + 1;
            if bytes.get(at) == Some(&b'}') {
                return Some(at + 1);
            }
            let mut last: Option<&[u8]> = None;
            loop {
                let end = plain_string(bytes, at)?;
                let name = bytes.get(at + 1..end - 1)?;
                // Below ASCII's letters every order of names is the same order.
                let rises = last.is_none_or(|last| last < name);
                if !rises || !name.is_ascii() || name.contains(&b'\\') {
                    return None;
                }
                last = Some(name);
                at = plain(bytes, colon(bytes, end)?, depth)?;
                match bytes.get(at)? {
                    b',' => at += 1,
                    b'}' => return Some(at + 1),
                    _ => return None,
                }
            }
        }
        b'[' => {
            let mut at = at + 1;
            if bytes.get(at) == Some(&b']') {
                return Some(at + 1);
            }
            loop {
                at = plain(bytes, at, depth)?;
                match bytes.get(at)? {
                    b',' => at += 1,
                    b']' => return Some(at + 1),
                    _ => return None,
                }
            }
        }
        b'-' | b'0'..=b'9' => plain_integer(bytes, at),
        _ => [&b"null"[..], b"true", b"false"]
            .into_iter()
            .find(|word| bytes.get(at..).is_some_and(|rest| rest.starts_with(word)))
            .map(|word| at + word.len()),
    }
}

fn colon(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b':')).then_some(at + 1)
}

/// The end of an integer that a double holds exactly.
fn plain_integer(bytes: &[u8], at: usize) -> Option<usize> {
    const DIGITS_MAX: usize = 15;
    let first = at + usize::from(bytes.get(at) == Some(&b'-'));
    let digits = bytes.get(first..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_zero = bytes.get(first) == Some(&b'0');
    let end = first + digits;
    let goes_on = matches!(bytes.get(end), Some(b'.' | b'e' | b'E'));
    let is_plain = (1..=DIGITS_MAX).contains(&digits) && !goes_on && (!is_zero || end == at + 1);
    is_plain.then_some(end)
}

/// The end of a string in which only what must be escaped is, and in the one short way.
fn plain_string(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += match bytes.get(at + 1)? {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            // A control character that has no shorter escape.
            b'u' => match bytes.get(at + 2..at + 6)? {
                [b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f']
                | [b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f'] => 6,
                _ => return None,
            },
            _ => return None,
        };
    }
}
