//! Every id, jitter and choice, computed from the seed and a position in the run.
//!
//! There is no shared generator to advance, so an event that is added changes nobody else's id,
//! and a run that is resumed in the middle draws what it would have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest as _, Sha256};

/// SHA-256 over the seed and the parts, each part preceded by its length, so that `["ab", "c"]`
/// and `["a", "bc"]` are different positions.
fn key(seed: u64, parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// A generator of its own for one purpose at one position: ChaCha8, keyed by the position.
pub fn rng(seed: u64, parts: &[&str]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, parts))
}

/// `N` bytes for one position, at most 32: the beginning of the position's key itself.
pub fn bytes<const N: usize>(seed: u64, parts: &[&str]) -> [u8; N] {
    const { assert!(N <= 32, "a key has 32 bytes") };
    let mut bytes = [0; N];
    for (byte, from) in bytes.iter_mut().zip(key(seed, parts)) {
        *byte = from;
    }
    bytes
}

/// An id such as `run_6b1d0c2f9a3e4d55`: the kind, and 16 hexadecimal digits.
///
/// ```
/// use gatedrun::derive::id;
/// assert_eq!(id("run", 0, &["canonical/v1"]), id("run", 0, &["canonical/v1"]));
/// assert_ne!(id("run", 0, &["canonical/v1"]), id("run", 1, &["canonical/v1"]));
/// ```
pub fn id(kind: &str, seed: u64, parts: &[&str]) -> String {
    let mut id = String::with_capacity(kind.len() + 17);
    id.push_str(kind);
    id.push('_');
    push_hex(&mut id, &bytes::<8>(seed, parts));
    id
}

/// The id of a run.
pub fn run_id(seed: u64, task: &str) -> String {
    id("run", seed, &["run", task])
}

/// The id of a call: the `number`th of its step, from 1.
pub fn call_id(seed: u64, run_id: &str, step: u64, number: usize) -> String {
    id("call", seed, &["call", run_id, &step.to_string(), &number.to_string()])
}

/// The key under which a call is made, however often it is tried.
pub fn idempotency_key(seed: u64, call_id: &str) -> String {
    id("idem", seed, &["idempotency", call_id])
}

/// A number from 0 to `bound - 1`; 0 when `bound` is 0.
pub fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    // The bias of a plain remainder is at most bound / 2^64: nothing here is a lottery, and the
    // result must never change with a library's choice of algorithm.
    if bound == 0 { 0 } else { rng.next_u64() % bound }
}

/// Appends bytes as lower-case hexadecimal digits.
pub fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0')));
        }
    }
}
