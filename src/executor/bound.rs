//! Cuts a result to what policy lets through. The longest texts are cut first, each with a mark
//! that says how much is gone, so that the result keeps the shape that its contract promises.

use serde_json::Value;

use crate::json;

/// Cuts `value`, whose canonical form has `bytes` bytes, to at most `bytes_max`; false if it has
/// no text that could be cut.
pub fn cut(value: &mut Value, bytes: usize, bytes_max: usize) -> bool {
    let mut bytes = bytes;
    while bytes > bytes_max {
        let Some(longest) = longest(value) else { return false };
        let excess = bytes - bytes_max;
        let whole = longest.len();
        // The mark itself takes room, and escapes make the canonical form longer than the text.
        let keep = whole.saturating_sub(excess.saturating_add(64));
        let keep = (0..=keep).rev().find(|at| longest.is_char_boundary(*at)).unwrap_or(0);
        let mark = format!("… [cut: {keep} of {whole} bytes]");
        if keep + mark.len() >= whole {
            return false;
        }
        longest.truncate(keep);
        longest.push_str(&mark);
        bytes = json::canonical(value).len();
    }
    true
}

/// The longest text in a value.
pub(super) fn longest(value: &mut Value) -> Option<&mut String> {
    match value {
        Value::String(text) => Some(text),
        Value::Array(items) => items.iter_mut().filter_map(longest).max_by_key(|text| text.len()),
        Value::Object(map) => map.values_mut().filter_map(longest).max_by_key(|text| text.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
