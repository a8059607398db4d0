//! What the events do not say and readers disagree on: tabs between words, a block text without a
//! line feed at the end of the file, and marks in lists and maps in brackets.

use granit_parser::{ScalarStyle, Span, StructureStyle};

use super::place::{Place, place, place_of};

/// Where in the text the scalars are that may hold anything, and how deep in brackets the reader is.
#[derive(Default)]
pub(super) struct Alike {
    /// Texts in quotes and block texts, from the first character to behind the last.
    opaque: Vec<(usize, usize)>,
    /// For each open list or map, whether it is written in brackets.
    brackets: Vec<bool>,
    last_block: Option<Place>,
}

impl Alike {
    pub(super) fn open(&mut self, style: StructureStyle) {
        self.brackets.push(matches!(style, StructureStyle::Flow));
    }

    pub(super) fn close(&mut self) {
        self.brackets.pop();
    }

    /// Notes a scalar; what is wrong with it, if readers take it differently where it is.
    pub(super) fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: &Span,
    ) -> Option<&'static str> {
        self.last_block = None;
        if style != ScalarStyle::Plain {
            self.opaque.push((span.start.index(), span.end.index()));
            if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                self.last_block = Some(place(&span.start));
            }
            return None;
        }
        let is_in_brackets = self.brackets.last().is_some_and(|brackets| *brackets);
        if is_in_brackets && span.start.line() != span.end.line() {
            return Some("some readers refuse words over several lines in brackets; use one line");
        }
        (is_in_brackets && (text.contains('?') || text.starts_with(':') || text.ends_with(':')))
            .then_some("some readers take ? and : in brackets for marks; write this in quotes")
    }

    /// The first place at which readers disagree about the text as a whole.
    pub(super) fn refused(&self, text: &str) -> Option<(Place, &'static str)> {
        if let Some(at) = self.last_block
            && !text.ends_with('\n')
        {
            return Some((
                at,
                "the file ends within this text, and readers disagree whether a line feed ends it; end the file with a line feed",
            ));
        }
        let mut opaque = self.opaque.iter().copied().peekable();
        let (mut is_comment, mut before) = (false, '\n');
        for (index, (offset, c)) in text.char_indices().enumerate() {
            while opaque.next_if(|(_, end)| *end <= index).is_some() {}
            let is_opaque = opaque.peek().is_some_and(|(start, _)| *start <= index);
            match c {
                '\n' => is_comment = false,
                '#' if before.is_whitespace() && !is_opaque => is_comment = true,
                '\t' if !is_comment && !is_opaque => {
                    let what =
                        "some readers refuse a tab here; write spaces, or \"\\t\" in double quotes";
                    return Some((place_of(text.get(..offset).unwrap_or_default()), what));
                }
                ',' | ']' | '}' if before == ':' && !is_comment && !is_opaque => {
                    let what =
                        "some readers take this : for a mark; write a space behind it, or quotes";
                    return Some((place_of(text.get(..offset).unwrap_or_default()), what));
                }
                '\u{feff}' if offset > 0 => {
                    let what = "some readers drop the character U+FEFF here; remove it, or write \"\\ufeff\" in double quotes";
                    return Some((place_of(text.get(..offset).unwrap_or_default()), what));
                }
                _ => {}
            }
            before = c;
        }
        None
    }
}

/// A mark that ends a document before there is one.
pub(super) fn leading_end(text: &str) -> Option<Place> {
    let mut lines = text.lines().zip(1..);
    let (line, number) =
        lines.find(|(line, _)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))?;
    let is_end = line.strip_prefix("...").map(|rest| rest.chars().next());
    is_end
        .is_some_and(|next| next.is_none_or(char::is_whitespace))
        .then_some(Place { line: number, column: 1 })
}
