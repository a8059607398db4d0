//! One key of a line that may not be JSON at all: what its sender called it, so that a refusal can say
//! which line it answers. It decides nothing, and accepts nothing that [`super::parse`] refuses.

use memchr::memchr2;
use serde_json::Value;

/// The text or number that the object in `bytes` has under a key, as far as the bytes can be followed.
/// They may be cut short, hold a key twice, or text that is not Unicode.
///
/// Null where there is none, where two differ, and for any other type of value. Keys of objects
/// inside the object are not its own.
///
/// ```
/// use gatedrun::json::glance;
/// assert_eq!(glance(br#"{"tool": "x", "tool": "y", "call_id": "c1", "a"#, "call_id"), "c1");
/// assert!(glance(br#"{"arguments": {"call_id": "c1"}}"#, "call_id").is_null());
/// assert!(glance(br#"{"call_id": "c1", "call_id": "c2"}"#, "call_id").is_null());
/// ```
pub fn glance(bytes: &[u8], key: &str) -> Value {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let Some(mut rest) = bytes.strip_prefix(b"{") else { return Value::Null };
    let mut found: Option<Value> = None;
    let mut depth = 1_u64;
    // Whether a text here would be a key of the object, and whether the key before it was the one.
    let (mut is_key, mut is_named) = (true, false);
    while let Some((first, after)) = rest.split_first() {
        let token = match first {
            b'"' => string(rest),
            b'-' | b'0'..=b'9' => number(rest),
            _ => None,
        };
        rest = match (first, token) {
            (b'"', None) => break,
            (_, Some(token)) => rest.get(token.len()..).unwrap_or_default(),
            _ => after,
        };
        match (first, token) {
            (_, Some(token)) if depth == 1 && is_named => {
                let value: Value = serde_json::from_slice(token).unwrap_or_default();
                if found.as_ref().is_some_and(|found| *found != value) {
                    return Value::Null;
                }
                found = Some(value);
                is_named = false;
            }
            (b'"', Some(token)) if depth == 1 && is_key => {
                is_named = serde_json::from_slice::<String>(token).is_ok_and(|name| name == key);
                is_key = false;
            }
            (b',', _) if depth == 1 => (is_key, is_named) = (true, false),
            (b'{' | b'[', _) => depth += 1,
            (b'}' | b']', _) if depth == 1 => break,
            (b'}' | b']', _) => depth -= 1,
            _ => {}
        }
    }
    found.unwrap_or_default()
}

/// The string that bytes begin with, quotes included; none where it does not end.
fn string(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return bytes.get(..=at);
        }
        at += 2;
    }
}

/// The number that bytes begin with; none where it may go on beyond them.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = bytes.iter().position(|byte| !is_part(byte))?;
    bytes.get(..end)
}
