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
