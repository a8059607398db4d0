//! Whether to try again, and how long to wait first. Pure: the limits are policy's, the jitter is
//! the seed's, and nobody sleeps here.

use crate::derive;
use crate::policy::spec::Retry;

/// Milliseconds to wait after attempt `attempt`, counted from 1; `None` when no attempt is left.
///
/// The wait doubles from `backoff_base_ms`, grows by up to `jitter_percent`, and never exceeds
/// `backoff_cap_ms`. `max_retries` counts the attempts after the first.
///
/// ```
/// use gatedrun::{policy::spec::Retry, retry::backoff_ms};
/// let limits = Retry { max_retries: 2, backoff_base_ms: 100, backoff_cap_ms: 2000, jitter_percent: 0 };
/// assert_eq!(backoff_ms(&limits, 1, 0, "call"), Some(100));
/// assert_eq!(backoff_ms(&limits, 2, 0, "call"), Some(200));
/// assert_eq!(backoff_ms(&limits, 3, 0, "call"), None);
/// ```
pub fn backoff_ms(limits: &Retry, attempt: u32, seed: u64, call_id: &str) -> Option<u64> {
    if attempt > limits.max_retries {
        return None;
    }
    let doubled = 2_u64.checked_pow(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
    let wait = limits.backoff_base_ms.saturating_mul(doubled).min(limits.backoff_cap_ms);
    let jitter_max = wait.saturating_mul(limits.jitter_percent) / 100;
    let mut rng = derive::rng(seed, &["jitter", call_id, &attempt.to_string()]);
    let jitter = derive::below(&mut rng, jitter_max.saturating_add(1));
    Some(wait.saturating_add(jitter).min(limits.backoff_cap_ms))
}
