//! An inverted index: for each word, the documents that hold it.
//!
//! A word is letters and digits in a row, compared in lower case. The order of answers depends on
//! the documents alone.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Document;

/// The words of a corpus.
#[derive(Debug)]
pub struct Index {
    postings: HashMap<Box<str>, Vec<Posting>>,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    document: u32,
    count: u32,
    first_byte: u32,
}

/// A document that holds a word of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Its place in the corpus.
    pub document: usize,
    /// How many different words of the query are in it.
    pub words: u32,
    /// How often it holds any of them.
    pub matches: u32,
    /// Where the first of them stands, in bytes.
    pub first_byte: usize,
}

impl Index {
    /// Indexes documents.
    pub fn new(documents: &[Document]) -> Self {
        let mut postings: HashMap<Box<str>, Vec<Posting>> = HashMap::new();
        let mut word = String::new();
        for (number, document) in documents.iter().enumerate() {
            // Documents are bounded in number and size, far below what 32 bits hold.
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            each_word(&document.text, &mut word, |word, at| {
                let at = u32::try_from(at).unwrap_or(u32::MAX);
                let posting = Posting { document: number, count: 1, first_byte: at };
                match postings.get_mut(word) {
                    None => {
                        postings.insert(word.into(), vec![posting]);
                    }
                    Some(list) => match list.last_mut() {
                        Some(last) if last.document == number => last.count += 1,
                        _ => list.push(posting),
                    },
                }
            });
        }
        Self { postings }
    }

    /// The documents that hold a word of the query, the best `limit` of them first, and how many
    /// there are in all.
    ///
    /// Better is: more different words of the query, then more matches, then the earlier path.
    pub fn search(&self, query: &str, limit: usize) -> (Vec<Hit>, usize) {
        let mut words: Vec<String> = Vec::new();
        each_word(query, &mut String::new(), |word, _| {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        });
        let lists: Vec<&[Posting]> = words
            .iter()
            .filter_map(|word| self.postings.get(word.as_str()))
            .map(Vec::as_slice)
            .collect();
        let mut hits = merge(lists);
        let found = hits.len();
        let rank = |hit: &Hit| (Reverse(hit.words), Reverse(hit.matches), hit.document);
        if limit > 0 && found > limit {
            hits.select_nth_unstable_by_key(limit - 1, rank);
        }
        hits.truncate(limit);
        hits.sort_unstable_by_key(rank);
        (hits, found)
    }
}

/// Adds up the postings of all words, document by document.
fn merge(mut lists: Vec<&[Posting]>) -> Vec<Hit> {
    let mut hits: Vec<Hit> =
        Vec::with_capacity(lists.iter().map(|list| list.len()).max().unwrap_or(0));
    while let Some(document) =
        lists.iter().filter_map(|list| list.first()).map(|p| p.document).min()
    {
        let mut hit =
            Hit { document: document as usize, words: 0, matches: 0, first_byte: usize::MAX };
        for list in &mut lists {
            if let Some((posting, rest)) = list.split_first()
                && posting.document == document
            {
                hit.words += 1;
                hit.matches = hit.matches.saturating_add(posting.count);
                hit.first_byte = hit.first_byte.min(posting.first_byte as usize);
                *list = rest;
            }
        }
        hits.push(hit);
    }
    hits
}

/// Calls `found` with every word of a text in lower case, and the byte where it begins. `word` is
/// scratch space.
fn each_word(text: &str, word: &mut String, mut found: impl FnMut(&str, usize)) {
    word.clear();
    let mut begin = 0;
    for (at, letter) in text.char_indices() {
        if letter.is_ascii_alphanumeric() {
            if word.is_empty() {
                begin = at;
            }
            word.push(letter.to_ascii_lowercase());
        } else if letter.is_alphanumeric() {
            if word.is_empty() {
                begin = at;
            }
            word.extend(letter.to_lowercase());
        } else if !word.is_empty() {
            found(word, begin);
            word.clear();
        }
    }
    if !word.is_empty() {
        found(word, begin);
    }
}
