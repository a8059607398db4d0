//! What a plain scalar means: a word without quotes.
//!
//! YAML 1.1, the 1.2 core schema and the parsers in use disagree about many words. A word is taken
//! only where all of them read the same value; any other is refused with what to write instead.

use serde_json::{Number, Value};

use crate::problem::cut;

/// The value of a plain scalar.
///
/// # Errors
/// How readers differ about it, and what to write.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    // A text that is quoted below may be as long as the file.
    let shown = cut(text);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "<<" => return Err("merge keys are not supported; write the keys out".to_owned()),
        "=" => return Err(quote("= has a meaning of its own in YAML 1.1", text)),
        _ => {}
    }
    if is_boolean_somewhere(text) {
        return Err(format!(
            "the word {shown} means a boolean to some readers; write true or false, or \"{shown}\" in quotes"
        ));
    }
    if is_infinite(text) {
        return Err("a number must be finite; write a plain number".to_owned());
    }
    if is_decimal(text) {
        return number(text);
    }
    if is_timestamp(text) {
        return Err(quote("it is a date to some readers", text));
    }
    if is_base_60(text) {
        return Err(quote("it is a number in base 60 to some readers", text));
    }
    if is_number_somewhere(text) {
        return Err(format!(
            "{shown} is a number to some readers and text or another number to others; write a decimal number such as 10 or 0.5, or \"{shown}\" in quotes"
        ));
    }
    Ok(Value::String(text.to_owned()))
}

fn quote(why: &str, text: &str) -> String {
    let text = cut(text);
    format!(
        "{text:?} without quotes is read differently by different readers: {why}; write \"{text}\" in quotes"
    )
}

/// Booleans of YAML 1.1 and of parsers that follow it, and spellings that some parsers fold.
fn is_boolean_somewhere(word: &str) -> bool {
    ["yes", "no", "on", "off", "y", "n", "true", "false"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn is_infinite(text: &str) -> bool {
    let word = unsigned(text).to_ascii_lowercase();
    matches!(word.as_str(), ".inf" | ".nan")
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number that every reader takes for the same: an integer without leading zeros, a fraction with
/// digits on both sides of its point, and an exponent only after a fraction and with its sign.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| {
            fraction.is_some() && exponent.strip_prefix(['-', '+']).is_some_and(digits)
        })
}

/// The value of a decimal number; what is exactly an integer is one, however it is written.
fn number(text: &str) -> Result<Value, String> {
    if text == "-0" {
        return Err("-0 is 0 to some readers and a fraction to others; write 0".to_owned());
    }
    if !text.contains('.') {
        return text.parse::<i64>().map(Value::from).map_err(|_| {
            format!("the integer {} is too large; the limit is {}", cut(text), i64::MAX)
        });
    }
    let float = text.parse::<f64>().ok().and_then(Number::from_f64);
    let float = float.ok_or_else(|| format!("the number {} is too large", cut(text)))?;
    Ok(crate::json::normal(Value::Number(float)))
}

/// A date of YAML 1.1, with or without a time.
fn is_timestamp(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    year.len() == 4
        && digits(year)
        && digits(month)
        && month.len() <= 2
        && (1..=2).contains(&day)
        && rest[day..].bytes().next().is_none_or(|next| matches!(next, b'T' | b't' | b' ' | b'\t'))
}

/// A number of YAML 1.1 such as `190:20:30`.
fn is_base_60(text: &str) -> bool {
    let mut parts = unsigned(text).split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let is_number = |part: &str, others: &[u8]| {
        part.starts_with(|first: char| first.is_ascii_digit())
            && part.bytes().all(|byte| byte.is_ascii_digit() || others.contains(&byte))
    };
    let Some((last, middle)) = rest.split_last() else { return false };
    is_number(first, b"_")
        && middle.iter().all(|part| is_number(part, b"_"))
        && is_number(last, b"_.")
}

/// What some reader takes for a number: signs, leading zeros, other bases, underscores, points
/// without digits, exponents. Only what has no digit or a second word is certainly text.
fn is_number_somewhere(text: &str) -> bool {
    let body = unsigned(text);
    let based = |prefixes: [&str; 2], is_digit: fn(&u8) -> bool| {
        prefixes.iter().any(|prefix| {
            body.strip_prefix(prefix).is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte == b'_' || is_digit(&byte))
            })
        })
    };
    if based(["0b", "0B"], |byte| matches!(byte, b'0' | b'1'))
        || based(["0o", "0O"], |byte| matches!(byte, b'0'..=b'7'))
        || based(["0x", "0X"], u8::is_ascii_hexdigit)
    {
        return true;
    }
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let loose = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    mantissa.bytes().any(|byte| byte.is_ascii_digit())
        && mantissa.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && loose(whole)
        && loose(fraction)
        && exponent.is_none_or(|exponent| {
            let exponent = unsigned(exponent);
            exponent.is_empty() || loose(exponent)
        })
}
