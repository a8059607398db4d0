//! `search`: the documents that hold the words of a query, the best first.

use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::corpus::index::Hit;
use crate::event::Effect;
use crate::executor::Output;
use crate::policy::capability::Grant;
use crate::policy::path::Failure;

use super::tool::{Tool, arguments, misfit, result};

/// The tool.
pub const TOOL: Tool = Tool {
    name: "search",
    effects: &[Effect::SearchCorpus],
    run: |allowed, _| match allowed.grants() {
        [Grant::Corpus(corpus)] => run(corpus, &arguments(allowed)?),
        _ => Err(misfit(allowed)),
    },
};

/// How many characters of a document a snippet shows.
const SNIPPET_CHARS: usize = 160;

/// How many of them stand before the first match.
const SNIPPET_LEAD: usize = 40;

/// The arguments.
#[derive(Debug, Deserialize)]
pub struct Args<'a> {
    /// The words to look for.
    pub query: &'a str,
    /// How many documents to return at most.
    pub top_k: usize,
}

#[derive(Serialize)]
struct Found<'a> {
    documents_matched: usize,
    results: Vec<Match<'a>>,
}

#[derive(Serialize)]
struct Match<'a> {
    id: &'a str,
    title: &'a str,
    path: String,
    matches: u32,
    snippet: String,
}

/// Searches.
///
/// # Errors
/// None: a query without a word finds nothing.
pub fn run(corpus: &Corpus, args: &Args<'_>) -> Result<Output, Failure> {
    let (hits, documents_matched) = corpus.index().search(args.query, args.top_k);
    let results = hits.iter().filter_map(|hit| found(corpus, hit)).collect();
    let origin = Some(corpus.identity.name.clone());
    Ok(Output { result: result(Found { documents_matched, results }), origin })
}

fn found<'a>(corpus: &'a Corpus, hit: &Hit) -> Option<Match<'a>> {
    let document = corpus.documents().get(hit.document)?;
    Some(Match {
        id: &document.id,
        title: &document.title,
        path: format!("corpus/{}", document.path),
        matches: hit.matches,
        snippet: snippet(&document.text, hit.first_byte),
    })
}

/// The text around a place, white space folded, with an ellipsis where it was cut.
fn snippet(text: &str, first_byte: usize) -> String {
    let (before, after) = text.split_at_checked(first_byte).unwrap_or((text, ""));
    let lead =
        before.char_indices().rev().take(SNIPPET_LEAD).last().map_or(before.len(), |(at, _)| at);
    let mut snippet = String::with_capacity(SNIPPET_CHARS + 16);
    if lead > 0 {
        snippet.push('…');
    }
    let mut chars = before[lead..].chars().chain(after.chars());
    let mut blank = false;
    for letter in chars.by_ref().take(SNIPPET_CHARS) {
        if letter.is_whitespace() {
            blank = true;
            continue;
        }
        if blank && !snippet.is_empty() && !snippet.ends_with('…') {
            snippet.push(' ');
        }
        blank = false;
        snippet.push(letter);
    }
    if chars.any(|letter| !letter.is_whitespace()) {
        snippet.push('…');
    }
    snippet
}
