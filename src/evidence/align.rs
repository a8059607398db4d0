//! Who stands for whom in two runs: calls are the same where they propose the same, wherever they
//! stand. `diff` and the comparison of behaviour both ask here, so that they never disagree.

use std::hash::Hash;

use similar::{Algorithm, DiffOp, capture_diff_slices};

use crate::json::Digest;

/// What a call proposes: what makes it the same call in another run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposed {
    /// The tool as proposed.
    pub tool: String,
    arguments: Digest,
}

impl Proposed {
    /// A call of this tool with these arguments, in canonical JSON.
    pub fn new(tool: &str, arguments: &[u8]) -> Self {
        Self { tool: tool.to_owned(), arguments: Digest::of(arguments) }
    }
}

/// Up to how many that differ in a row are held against each other; more than these stand for those
/// at their place. The cost grows with the square.
const ALIGNED_MAX: usize = 50_000;

/// Who stands for whom in two lists; of those that stand in the place of others, each for the one
/// at its place there.
pub fn aligned<'s, T, K: Hash + Eq + Ord>(
    a: &'s [T],
    b: &'s [T],
    key: impl Fn(&T) -> K,
) -> Vec<(Option<&'s T>, Option<&'s T>)> {
    let keys = |list: &[T]| -> Vec<K> { list.iter().map(&key).collect() };
    let (keys_a, keys_b) = (keys(a), keys(b));
    let first = keys_a.iter().zip(&keys_b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - first;
    let pairs = keys_a.iter().rev().zip(keys_b.iter().rev());
    let last = pairs.take(rest).take_while(|(a, b)| a == b).count();
    let (old_len, new_len) = (a.len() - first - last, b.len() - first - last);
    let operations = if old_len.max(new_len) <= ALIGNED_MAX {
        capture_diff_slices(Algorithm::Myers, &keys_a, &keys_b)
    } else {
        let (old_index, new_index) = (first + old_len, first + new_len);
        vec![
            DiffOp::Equal { old_index: 0, new_index: 0, len: first },
            DiffOp::Replace { old_index: first, old_len, new_index: first, new_len },
            DiffOp::Equal { old_index, new_index, len: last },
        ]
    };
    let mut pairs = Vec::new();
    for operation in operations {
        let (_, left, right) = operation.as_tag_tuple();
        let (left, right) = (a.get(left).unwrap_or_default(), b.get(right).unwrap_or_default());
        let count = left.len().max(right.len());
        pairs.extend((0..count).map(|index| (left.get(index), right.get(index))));
    }
    pairs
}
