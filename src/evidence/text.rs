//! Words for a report or a terminal, and data made safe to stand there: nothing that an agent, a
//! tool or a task wrote can become a heading, a table's cell border, or an escape sequence.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// Escapes a text for one line of Markdown.
///
/// ```
/// use gatedrun::evidence::text::markdown;
/// assert_eq!(markdown("# a|b\n"), "\\# a\\|b␊");
/// ```
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!' | '&' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            other => push_visible(&mut escaped, other),
        }
    }
    escaped
}

/// Escapes a text of several lines as a Markdown quotation.
pub fn quotation(text: &str) -> String {
    let mut quoted = String::new();
    for line in text.lines() {
        let line = markdown(line);
        // A number, a dash or a plus at the start would make a list.
        let guard =
            if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '=')) {
                "\u{200b}"
            } else {
                ""
            };
        let _ = writeln!(quoted, "> {guard}{line}");
    }
    quoted
}

/// Escapes a text for one line of a terminal.
///
/// ```
/// assert_eq!(gatedrun::evidence::text::terminal("a\x1b[31m"), "a\\u{1b}[31m");
/// ```
pub fn terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        push_visible(&mut escaped, letter);
    }
    escaped
}

/// A letter as it is, or a picture of it where it would do something instead of being seen:
/// control characters, and those that reorder or hide text.
fn push_visible(text: &mut String, letter: char) {
    let hides = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}' | '\u{2029}');
    match letter {
        '\n' => text.push('␊'),
        '\t' => text.push(' '),
        _ if letter.is_control() || hides => {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(letter));
        }
        _ => text.push(letter),
    }
}

/// Escapes a text for XML 1.0, in an attribute or an element: a character that XML forbids, or that
/// would do something instead of being seen, is shown as on a terminal.
///
/// ```
/// assert_eq!(gatedrun::evidence::text::xml("a<\u{1b}\u{ffff}"), "a&lt;\\u{1b}\\u{ffff}");
/// ```
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(letter));
            }
            _ => push_visible(&mut escaped, letter),
        }
    }
    escaped
}

/// How many there are, in words that agree with the number.
///
/// ```
/// use gatedrun::evidence::text::counted;
/// assert_eq!(counted(1u32, "retry", "retries"), "1 retry");
/// assert_eq!(counted(0u32, "retry", "retries"), "0 retries");
/// ```
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

/// A text of at most `chars_max` letters, with an ellipsis where it was cut.
pub fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    // A letter has a byte at least, so that a short text need not be counted.
    if text.len() <= chars_max {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
    }
}
