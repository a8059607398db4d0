//! JSON as this project reads and hashes it: strict on the way in, canonical where it is compared.
//!
//! One parser for every JSON input, so that no two parts of the program can read the same bytes
//! differently. It refuses what other readers disagree on: duplicate keys, integers outside i64,
//! lone surrogates, trailing bytes. It knows nothing of files.

mod pointer;
mod glance;
mod number;
mod place;
mod text;
mod typed;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use glance::glance;
pub use number::{INTEGER_MAX, normal, rounded, rounded_words};
pub use place::{located, places};
pub use pointer::pointer_token;
pub use text::JsonText;
pub use typed::{Misfit, SHOWN_BYTES_MAX, shown, typed};

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Sixty-four zeros: what stands before the first line of a ledger.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest of exactly these bytes.
    ///
    /// ```
    /// let digest = gatedrun::json::Digest::of(b"");
    /// assert_eq!(digest.short(), "e3b0c44298fc");
    /// ```
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of the canonical form of a value.
    pub fn of_value(value: &Value) -> Self {
        Self::of(&canonical(value))
    }

    /// The first 12 hexadecimal digits: enough to tell versions apart by eye.
    pub fn short(&self) -> String {
        let mut hex = self.to_string();
        hex.truncate(12);
        hex
    }

    /// The 64 digits.
    pub fn hex(&self) -> [u8; 64] {
        let mut hex = [b'0'; 64];
        // There is room for two digits a byte.
        let _ = base16ct::lower::encode(&self.0, &mut hex);
        hex
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex = self.hex();
        serializer.serialize_str(std::str::from_utf8(&hex).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 lower-case hexadecimal digits")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                let mut bytes = [0u8; 32];
                match base16ct::lower::decode(text, &mut bytes) {
                    Ok(decoded) if decoded.len() == 32 => Ok(Digest(bytes)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

impl schemars::JsonSchema for Digest {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

/// Why some bytes are not JSON that this project accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct JsonError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let is_empty = error.is_eof() && error.line() <= 1 && error.column() == 0;
        let message = match is_empty {
            true => "not JSON: it is empty",
            false => plain(text.strip_suffix(&place).unwrap_or(&text)),
        };
        let message = message.to_owned();
        // The parser counts from 0 where the text is empty.
        Self { line: error.line().max(1), column: error.column().max(1), message }
    }
}

/// What the parser says, in the words of this program: what it finds wrong is named, and what to
/// write instead. What is not about syntax stays as it is.
fn plain(message: &str) -> &str {
    match message {
        "expected value" => "not JSON: expected a value here",
        "expected `:`" => "not JSON: expected `:` after the key",
        "expected `,` or `}`" => "not JSON: expected `,` or `}` here",
        "expected `,` or `]`" => "not JSON: expected `,` or `]` here",
        "expected `\"`" => "not JSON: expected `\"` here",
        "expected ident" => "not JSON: a word without quotes can only be `true`, `false` or `null`",
        "key must be a string" => "not JSON: expected a key in double quotes here",
        "trailing comma" => "not JSON: remove the comma before this bracket",
        "trailing characters" => "not JSON: remove what follows the end of the value",
        "invalid escape" => "not JSON: an unknown escape; write a backslash as `\\\\`",
        "invalid number" => "not JSON: not a number; a string needs double quotes",
        "number out of range" => {
            "a number too large for any reader; write a smaller one, or a string if the schema allows one"
        }
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "half of a surrogate pair; write the character itself, or both halves"
        }
        "invalid unicode code point" => "not UTF-8; save the file as UTF-8",
        "recursion limit exceeded" => "nested deeper than 128 levels",
        _ if message.starts_with("control character") => {
            "not JSON: a control character in a string; write it as an escape, such as `\\n`"
        }
        _ if message.starts_with("EOF while parsing") => {
            "not JSON: the text ends before the value does; it may be cut short"
        }
        _ => message,
    }
}

/// Parses one JSON text strictly.
///
/// # Errors
/// A syntax error, a duplicate key, an integer outside i64, nesting deeper than 128, bytes that
/// are not UTF-8, or anything after the value.
///
/// ```
/// use gatedrun::json::parse;
/// assert!(parse(br#"{"a":1}"#).is_ok());
/// let error = parse(br#"{"a":1,"a":2}"#).unwrap_err();
/// assert!(error.message.contains("duplicate key \"a\""));
/// ```
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        let message = "a byte order mark; save the file as UTF-8 without one".to_owned();
        return Err(JsonError { line: 1, column: 1, message });
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let message = "UTF-16; save the file as UTF-8".to_owned();
        return Err(JsonError { line: 1, column: 1, message });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Strict(value) = Strict::deserialize(&mut deserializer)?;
    deserializer.end()?;
    if number::has_wide(&value)
        && let Some((offset, integer)) = number::wide_integer(bytes)
    {
        let before = bytes.get(..offset).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').count();
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        return Err(JsonError { line, column, message: wide(&crate::problem::cut(integer)) });
    }
    Ok(value)
}

/// What is wrong with an integer outside of i64.
fn wide(integer: &str) -> String {
    let beyond = if integer.starts_with('-') {
        format!("smaller than {}", i64::MIN)
    } else {
        format!("larger than {}", i64::MAX)
    };
    format!(
        "the integer {integer} is {beyond}; write a smaller one, or a string if the schema allows one"
    )
}

/// The canonical form of a value (RFC 8785): what is hashed and what is compared.
///
/// ```
/// use gatedrun::json::canonical;
/// let a = canonical(&serde_json::json!({"b": 1.0, "a": "x"}));
/// assert_eq!(a, br#"{"a":"x","b":1}"#);
/// ```
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    canonical_into(value, &mut bytes);
    bytes
}

/// Appends the canonical form of a value.
pub fn canonical_into(value: &Value, bytes: &mut Vec<u8>) {
    if is_plain(value) {
        append(bytes, value);
    } else {
        sure(serde_json_canonicalizer::to_writer(value, bytes));
    }
}

/// Appends a value as JSON on one line.
pub fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    sure(serde_json::to_writer(bytes, value));
}

/// A value as JSON with indentation, and a line feed at its end.
pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    sure(serde_json::to_writer_pretty(&mut bytes, value));
    bytes.push(b'\n');
    bytes
}

/// A `Vec` is always written, and no type of this program holds what JSON cannot: NaN, or a map
/// with keys other than text. Should one ever do so, the process ends here: a text that was cut
/// short would have a digest, and one that is not the value's.
#[expect(clippy::expect_used, reason = "a digest of a text that was cut short is worse")]
fn sure<T, E: fmt::Debug>(written: Result<T, E>) -> T {
    written.expect("every value of this program can be written as JSON")
}

/// Whether serde_json's own form is the canonical one: it sorts keys and escapes as RFC 8785 does,
/// and differs only in fractions, in integers that a double does not hold, and in the order of
/// keys beyond ASCII. Nearly every value is plain, and its form comes ten times faster.
fn is_plain(value: &Value) -> bool {
    const EXACT_MAX: u64 = 1 << 53;
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|n| n.unsigned_abs() <= EXACT_MAX),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(map) => map.iter().all(|(key, value)| key.is_ascii() && is_plain(value)),
    }
}

/// A [`Value`] read with the rules of this module.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::from).map_err(|_| E::custom(wide(&value.to_string())))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!(
                    "duplicate key {key:?}; keep one of the two"
                )));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
