//! `summarize`: the first sentences of a text, word for word.
//!
//! Where a sentence ends is decided by rules that a reader can check, not by a model: after `.`,
//! `!` or `?` and a blank, unless what stands before is an abbreviation or an initial, or what
//! follows goes on in lower case.

use serde::{Deserialize, Serialize};

use crate::event::Effect;
use crate::executor::Output;
use crate::policy::capability::Grant;
use crate::policy::path::Failure;

use super::tool::{Tool, arguments, misfit, result};

/// The tool.
pub const TOOL: Tool = Tool {
    name: "summarize",
    effects: &[Effect::Compute],
    run: |allowed, _| match allowed.grants() {
        [Grant::Compute] => run(&arguments(allowed)?),
        _ => Err(misfit(allowed)),
    },
};

/// Abbreviations that are followed by the rest of their sentence, without their last full stop.
const ABBREVIATIONS: [&str; 36] = [
    "approx", "art", "ca", "cf", "ch", "co", "dept", "dr", "e.g", "ed", "eq", "est", "fig", "figs",
    "i.e", "jr", "max", "min", "mr", "mrs", "ms", "no", "nos", "p", "pp", "prof", "ref", "resp",
    "sec", "sr", "st", "tab", "u.s", "viz", "vol", "vs",
];

/// The arguments.
#[derive(Debug, Deserialize)]
pub struct Args<'a> {
    /// The text, plain or Markdown.
    pub text: &'a str,
    /// How many sentences to return at most.
    pub max_sentences: usize,
}

#[derive(Serialize)]
struct Summary {
    summary: String,
    sentences: usize,
    sentences_total: usize,
}

/// Summarizes.
///
/// # Errors
/// None: a text without a sentence has an empty summary.
pub fn run(args: &Args<'_>) -> Result<Output, Failure> {
    let sentences = sentences(args.text);
    let taken = sentences.len().min(args.max_sentences);
    let summary = sentences.iter().take(taken).map(String::as_str).collect::<Vec<_>>().join(" ");
    let summary = Summary { summary, sentences: taken, sentences_total: sentences.len() };
    Ok(Output { result: result(summary), origin: None })
}

/// All sentences of a text, headings left out, white space folded.
///
/// ```
/// use gatedrun::tools::summarize::sentences;
/// let text = "# Title\n\nIt rose by 3.5 bar, i.e. too much. Dr. Example agreed!\n- No. 4 failed\n- No. 5 held";
/// assert_eq!(sentences(text), [
///     "It rose by 3.5 bar, i.e. too much.",
///     "Dr. Example agreed!",
///     "No. 4 failed",
///     "No. 5 held",
/// ]);
/// ```
pub fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut block = String::new();
    for line in text.lines() {
        let line = line.trim();
        let item = list_item(line);
        if line.is_empty() || is_markup(line) || item.is_some() {
            split(&block, &mut sentences);
            block.clear();
        }
        if is_markup(line) {
            continue;
        }
        for word in item.unwrap_or(line).split_whitespace() {
            if !block.is_empty() {
                block.push(' ');
            }
            block.push_str(word);
        }
    }
    split(&block, &mut sentences);
    sentences
}

/// A heading, a rule or a fence: no part of any sentence.
fn is_markup(line: &str) -> bool {
    let heading = line.trim_start_matches('#');
    (heading.len() < line.len() && (heading.is_empty() || heading.starts_with(' ')))
        || line.starts_with("```")
        || (line.len() >= 3 && (line.chars().all(|c| c == '-') || line.chars().all(|c| c == '=')))
}

/// What follows a list's marker (`-`, `*`, `+`, `1.`, `1)`), if the line begins with one.
fn list_item(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(['-', '*', '+']).or_else(|| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = line.len() - rest.len();
        (1..=4).contains(&digits).then(|| rest.strip_prefix(['.', ')']))?
    })?;
    rest.strip_prefix(' ').map(str::trim_start)
}

/// Splits a block, its white space folded, into sentences.
fn split(block: &str, sentences: &mut Vec<String>) {
    let mut begin = 0;
    let mut letters = block.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let full_width = matches!(letter, '。' | '！' | '？');
        if !full_width && !matches!(letter, '.' | '!' | '?') {
            continue;
        }
        // Closing quotes and brackets, and more marks, belong to the sentence.
        let mut end = at + letter.len_utf8();
        while let Some((at, closing)) = letters.next_if(|(_, c)| {
            matches!(c, '.' | '!' | '?' | '"' | '\'' | ')' | ']' | '”' | '’' | '»')
        }) {
            end = at + closing.len_utf8();
        }
        let rest = block.get(end..).unwrap_or_default();
        let sentence = block.get(begin..end).unwrap_or_default();
        if full_width || (ends_here(sentence, letter, rest)) {
            sentences.push(sentence.trim().to_owned());
            begin = end;
        }
    }
    let rest = block.get(begin..).unwrap_or_default().trim();
    if !rest.is_empty() {
        sentences.push(rest.to_owned());
    }
}

/// Whether a sentence ends between these two texts.
fn ends_here(before: &str, mark: char, after: &str) -> bool {
    let Some(next) = after.strip_prefix(' ') else { return after.is_empty() };
    let goes_on = next.chars().next().is_some_and(char::is_lowercase);
    if mark != '.' {
        return !goes_on;
    }
    let word = before.rsplit(' ').next().unwrap_or_default();
    let stem = word.trim_start_matches(['(', '[', '"', '\'', '“', '‘', '«']).trim_end_matches('.');
    let initial = stem.chars().count() == 1 && stem.chars().all(char::is_uppercase);
    let abbreviation = word.ends_with('.') && ABBREVIATIONS.contains(&stem.to_lowercase().as_str());
    // "no." ends a sentence unless a number follows: "Was it so? The answer is no."
    let numbered = !matches!(
        stem.to_lowercase().as_str(),
        "no" | "nos" | "p" | "pp" | "art" | "ch" | "st" | "tab" | "min" | "max" | "sec" | "co"
    ) || next.starts_with(|c: char| c.is_ascii_digit())
        || (stem.starts_with(char::is_uppercase) && !matches!(stem, "No" | "Nos"));
    !(goes_on || initial || (abbreviation && numbered))
}
