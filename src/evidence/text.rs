//! Words for a report or a terminal, and text that others chose made safe for each kind of output:
//! nothing that an agent, a tool or a task wrote can become a heading, a border of a table's cell,
//! a link or an escape sequence, and nothing in it can hide.
//!
//! There is one function for each kind of output: [`terminal`] for a line of a terminal,
//! [`markdown`] for one line of Markdown (a cell, a heading), [`quotation`] for a block of it, and
//! [`json`] for a line of JSON. All of them ask [`hides`] which characters cannot be seen.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io;

use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use serde::Serialize;
use serde_json::ser::Formatter;

/// Whether a reader cannot see this character, or sees its neighbours in another order for it:
/// controls, separators of lines, what Unicode calls ignorable, format or bidirectional controls,
/// what has no meaning outside one organization, and what is never a character.
///
/// ```
/// use gatedrun::evidence::text::hides;
/// assert!(hides('\u{202e}') && hides('\u{ad}') && hides('\u{e0041}') && hides('\u{1b}'));
/// assert!(!hides('é') && !hides(' ') && !hides('日'));
/// ```
pub fn hides(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    use GeneralCategory as G;
    let category = CodePointMapData::<G>::new().get(character);
    matches!(category, G::Control | G::Format | G::LineSeparator | G::ParagraphSeparator)
        || category == G::PrivateUse
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || CodePointSetData::new::<BidiControl>().contains(character)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(character)
        // Two that no property names, and that fonts leave empty.
        || matches!(character, '\u{2800}' | '\u{1d159}')
}

/// Whether a text holds a character that its reader can see.
///
/// ```
/// use gatedrun::evidence::text::is_visible;
/// assert!(is_visible("a") && is_visible("\u{200b}日"));
/// assert!(!is_visible("") && !is_visible(" \u{3164}\n\u{2800}\u{ad}"));
/// ```
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|character| !character.is_whitespace() && !hides(character))
}

/// Escapes a text for one line of a terminal.
///
/// ```
/// assert_eq!(gatedrun::evidence::text::terminal("a\x1b[31m\nb"), "a<U+001B>[31m␊b");
/// ```
pub fn terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push('␊'),
            '\t' => escaped.push(' '),
            _ if hides(character) => push_code(&mut escaped, character),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The name of a character that cannot be seen, in brackets that end it.
fn push_code(text: &mut String, character: char) {
    let _ = write!(text, "<U+{:04X}>", u32::from(character));
}

/// Escapes a text for one line of Markdown: a cell of a table, a heading, the rest of a paragraph.
/// CommonMark and GitHub's dialect of it read it as exactly what [`terminal`] shows.
///
/// ```
/// use gatedrun::evidence::text::markdown;
/// assert_eq!(markdown("# a|b\n"), "\\# a\\|b␊");
/// assert_eq!(markdown("final_answer"), "final_answer");
/// ```
pub fn markdown(text: &str) -> String {
    let visible = terminal(text);
    let mut escaped = String::with_capacity(visible.len() + 8);
    let mut before = None;
    let mut rest = visible.chars();
    let number = visible.bytes().take_while(u8::is_ascii_digit).count();
    for (index, character) in visible.char_indices() {
        rest.next();
        let after = rest.clone().next();
        let is_edge = index == 0 || after.is_none();
        match character {
            // White space at the edges is stripped by readers, and by hooks that tidy files.
            // A brace at the end would close the attributes that some dialects give a heading.
            _ if is_edge && (character.is_whitespace() || character == '}') => {
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            _ if is_markup(character, before, after, index == 0)
                || (index == number && number > 0 && matches!(character, '.' | ')'))
                || (character == ':' && rest.as_str().starts_with("//"))
                || (character == '.' && ends_with_www(visible.get(..index))) =>
            {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
        before = Some(character);
    }
    escaped
}

/// Whether the character could be markup between these neighbours.
fn is_markup(character: char, before: Option<char>, after: Option<char>, is_first: bool) -> bool {
    let is_letter = |other: Option<char>| other.is_some_and(|other| other.is_ascii_alphanumeric());
    match character {
        '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '|' | '~' | '$' | '#' | '@' | '{' | '^' => true,
        // Within a word it is only itself.
        '_' => !(is_letter(before) && is_letter(after)),
        '&' => is_letter(after) || after == Some('#'),
        '-' | '+' | '=' | ':' => is_first,
        _ => false,
    }
}

fn ends_with_www(text: Option<&str>) -> bool {
    let last = text.and_then(|text| text.get(text.len().checked_sub(3)?..));
    last.is_some_and(|last| last.eq_ignore_ascii_case("www"))
}

/// Escapes a text of several lines as one Markdown quotation, line by line. No line of it ends in
/// white space.
///
/// ```
/// use gatedrun::evidence::text::quotation;
/// assert_eq!(quotation("1. a\n===\n\nb "), "> 1\\. a\\\n> \\===\n>\n> b&#32;\n");
/// ```
pub fn quotation(text: &str) -> String {
    let mut lines = text.split_terminator('\n').skip_while(|line| line.is_empty()).peekable();
    if lines.peek().is_none() {
        return "> *empty*\n".to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 16);
    while let Some(line) = lines.next() {
        if line.is_empty() {
            quoted.push_str(">\n");
            continue;
        }
        // A line's end is kept by a backslash, which at a paragraph's end would be a letter.
        let goes_on = lines.peek().is_some_and(|next| !next.is_empty());
        let _ = writeln!(quoted, "> {}{}", markdown(line), if goes_on { "\\" } else { "" });
    }
    quoted
}

/// A text as one word of a shell's command line.
///
/// ```
/// use gatedrun::evidence::text::shell_word;
/// assert_eq!(shell_word("runs/a-1"), "runs/a-1");
/// assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
/// ```
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '=');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A value as one line of JSON in which every character can be seen: those that [`hides`] names
/// are written as `\u` and four hexadecimal digits.
///
/// ```
/// assert_eq!(gatedrun::evidence::text::json(&"a\u{9b}b\u{e0041}"), r#""a\u009bb\udb40\udc41""#);
/// ```
pub fn json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Visible);
    // The values that commands print are structs of texts and numbers, which are always written.
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Writes JSON in which every character can be seen.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut written = 0;
        for (index, character) in fragment.char_indices().filter(|(_, c)| hides(*c)) {
            writer.write_all(fragment.as_bytes().get(written..index).unwrap_or_default())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = index + character.len_utf8();
        }
        writer.write_all(fragment.as_bytes().get(written..).unwrap_or_default())
    }

    // Text that is kept as it was recorded goes through the same gate.
    fn write_raw_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.write_string_fragment(writer, fragment)
    }
}

/// Escapes a text for XML 1.0, in an attribute or an element: a character that XML forbids, or that
/// cannot be seen, is shown as on a terminal.
///
/// ```
/// assert_eq!(gatedrun::evidence::text::xml("a<\u{1b}\u{ffff}"), "a&lt;&lt;U+001B&gt;&lt;U+FFFF&gt;");
/// ```
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            _ if hides(character) => {
                let _ = write!(escaped, "&lt;U+{:04X}&gt;", u32::from(character));
            }
            _ => escaped.push(character),
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

/// A text of at most `chars_max` characters, with an ellipsis where it was cut.
pub fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    // A character has a byte at least, so that a short text need not be counted.
    if text.len() <= chars_max {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
    }
}
