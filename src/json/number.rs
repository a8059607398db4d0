//! Numbers as everyone reads them: one form for one number, and no number that readers round.

use serde_json::{Number, Value};

/// The largest integer that every reader of JSON holds exactly (RFC 7493, I-JSON): 2^53 − 1. The
/// smallest is its negative.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The value with every number in its one form: what is exactly an integer is one, however it was
/// written (`1.0`, `1e0`, `-0.0`). Schema, digest and code then read the same number.
///
/// ```
/// use gatedrun::json::normal;
/// assert_eq!(normal(serde_json::json!([1.0, -0.0, 1e2, 1.5])), serde_json::json!([1, 0, 100, 1.5]));
/// ```
pub fn normal(mut value: Value) -> Value {
    normalize(&mut value);
    value
}

fn normalize(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(integer) = as_integer(number) {
                *number = integer;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Object(map) => map.values_mut().for_each(normalize),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer that a fraction is exactly.
fn as_integer(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    if float.fract() != 0.0 || float.abs() > INTEGER_MAX as f64 {
        return None;
    }
    // An integer in these bounds has one decimal form, and it is read back exactly.
    format!("{float:.0}").parse::<i64>().ok().map(Number::from)
}

/// JSON pointer to the first number that readers may round: one whose magnitude is beyond
/// [`INTEGER_MAX`]. Two such numbers may be one to a reader of doubles, and have one digest.
///
/// ```
/// use gatedrun::json::rounded;
/// assert_eq!(rounded(&serde_json::json!({"a": [1, 9007199254740991u64]})), None);
/// let value = serde_json::json!({"a": [1, 9007199254740993u64]});
/// let (pointer, number) = rounded(&value).unwrap();
/// assert_eq!((pointer.as_str(), number.to_string().as_str()), ("/a/1", "9007199254740993"));
/// ```
pub fn rounded(value: &Value) -> Option<(String, &Number)> {
    match value {
        Value::Number(number) => {
            let exact = match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => integer.unsigned_abs() <= INTEGER_MAX,
                (None, Some(_)) => false,
                (None, None) => {
                    number.as_f64().is_some_and(|float| float.abs() <= INTEGER_MAX as f64)
                }
            };
            (!exact).then(|| (String::new(), number))
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            rounded(item).map(|(below, number)| (format!("/{index}{below}"), number))
        }),
        Value::Object(map) => map.iter().find_map(|(key, member)| {
            rounded(member)
                .map(|(below, number)| (format!("/{}{below}", super::pointer_token(key)), number))
        }),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// What is wrong with such a number.
pub fn rounded_words(number: &Number) -> String {
    format!(
        "the number {number} is beyond ±{INTEGER_MAX}, where readers of JSON round; write it as a string"
    )
}

/// The first integer of a valid JSON text that is outside of i64, as it is written, and its offset.
/// A reader of the text alone would take it for a fraction, and its digits would be lost.
pub(super) fn wide_integer(text: &[u8]) -> Option<(usize, &str)> {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = text.get(at..)?;
        let length = match byte {
            b'"' => string_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                let length = rest.iter().take_while(|byte| is_part(byte)).count();
                let token = std::str::from_utf8(rest.get(..length)?).ok()?;
                if !token.contains(['.', 'e', 'E']) && token.parse::<i64>().is_err() {
                    return Some((at, token));
                }
                length
            }
            _ => 1,
        };
        at += length;
    }
    None
}

/// How long the string at the beginning of a text is, quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut is_escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Whether a value has a number that may have been an integer outside of i64.
pub(super) fn has_wide(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|float| float.abs() >= i64::MAX as f64)
        }
        Value::Array(items) => items.iter().any(has_wide),
        Value::Object(map) => map.values().any(has_wide),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
