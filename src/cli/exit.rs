//! Exit codes. They are part of the contract with scripts.

/// As expected.
pub const OK: u8 = 0;
/// Drift, a failed check, evidence that was tampered with, or an unmet expectation.
pub const DRIFT: u8 = 1;
/// Invalid input or usage. Nothing was done.
pub const USAGE: u8 = 2;
/// The run ended without a final answer, and its task has no `expected` section.
pub const ENDED: u8 = 3;
/// It waits for a human.
pub const WAITS: u8 = 4;
/// The evidence cannot be read as a run.
pub const MALFORMED: u8 = 5;
/// Nothing contradicts the evidence, but not everything could be checked.
pub const UNCONFIRMED: u8 = 6;
/// The run is unfinished: it was interrupted or killed, and can be resumed.
pub const INTERRUPTED: u8 = 7;
/// The machine refused something that the program needs. What was recorded is kept.
pub const HOST: u8 = 8;
/// The evidence is whole, but the current inputs differ from those of the run.
pub const INPUTS: u8 = 9;
/// A defect of the program.
pub const INTERNAL: u8 = 101;

/// Every code and its meaning.
pub const ALL: [(u8, &str); 11] = [
    (OK, "as expected"),
    (DRIFT, "drift, a failed check, evidence that was tampered with, or an unmet expectation"),
    (USAGE, "invalid input or usage; what is invalid was not executed"),
    (ENDED, "the run ended without a final answer, and its task has no `expected` section"),
    (WAITS, "waiting for a human: a call is in doubt"),
    (MALFORMED, "the evidence cannot be read as a run"),
    (UNCONFIRMED, "nothing contradicts the evidence, but not everything could be checked"),
    (INTERRUPTED, "the run is unfinished; continue it with `gatedrun resume`"),
    (
        HOST,
        "the machine refused something the program needs (disk, descriptors, permissions, kernel); what was recorded is kept",
    ),
    (INPUTS, "the evidence is intact, but the current inputs differ from those of the run"),
    (INTERNAL, "a bug in the program: please report it"),
];

/// From the code that says least to the one that says most: what a command over many runs ends
/// with.
const BY_WEIGHT: [u8; 11] =
    [OK, ENDED, UNCONFIRMED, INPUTS, INTERRUPTED, WAITS, DRIFT, USAGE, MALFORMED, HOST, INTERNAL];

/// The weightier of two codes, for a command that handles several runs.
///
/// ```
/// use gatedrun::cli::exit;
/// assert_eq!(exit::worse(exit::DRIFT, exit::INPUTS), exit::DRIFT);
/// assert_eq!(exit::worse(exit::OK, exit::UNCONFIRMED), exit::UNCONFIRMED);
/// ```
pub fn worse(a: u8, b: u8) -> u8 {
    let weight = |code| BY_WEIGHT.iter().position(|known| *known == code);
    if weight(a) >= weight(b) { a } else { b }
}
