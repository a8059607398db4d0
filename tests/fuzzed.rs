//! A sample of what `make fuzz` runs: mutated inputs for the gate and every parser, on stable Rust.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::catch_unwind;

use gatedrun::derive;

use crate::support::{exhaustive, file, text};
use targets::{Fuzzed, TARGETS};

/// Words that parsers take for something.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xe2\x80\xae",
    b"..",
    b"/",
    b"%2e",
    b"@",
    b"//",
    b"null",
    b"1e400",
    b"99999999999999999999",
    b"\\u0000",
    b"- ",
    b"\t",
];

/// An input near a seed: parts of it cut, doubled, exchanged, and words put in.
fn mutated(seed: &[u8], mut random: impl FnMut(usize) -> usize) -> Vec<u8> {
    // Most parsers stop at the first fault: a part of a seed gets further than the whole.
    let from = if random(3) == 0 { random(seed.len() + 1) } else { 0 };
    let to = if random(3) == 0 { from + random(seed.len() - from + 1) } else { seed.len() };
    let mut input = seed[from..to].to_vec();
    for _ in 0..random(5) {
        let at = random(input.len() + 1);
        match random(4) {
            0 if at < input.len() => input[at] = u8::try_from(random(256)).unwrap(),
            1 => drop(input.splice(at..at, WORDS[random(WORDS.len())].iter().copied())),
            2 => {
                let end = at + random(input.len() - at + 1).min(16);
                input.drain(at..end);
            }
            _ => {
                let end = at + random(input.len() - at + 1).min(32);
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
        }
    }
    input
}

#[test]
fn mutated_inputs_break_no_parser_and_get_past_no_rule() {
    let count = if exhaustive() { 100_000 } else { 2_000 };
    for Fuzzed { name, seeds, .. } in TARGETS {
        for (index, seed) in seeds.iter().enumerate() {
            let seed = file(seed);
            let mut rng = derive::rng(index as u64, &["fuzzed", name]);
            for number in 0..count {
                let input = mutated(&seed, |below| {
                    usize::try_from(derive::below(&mut rng, below.max(1) as u64)).unwrap()
                });
                let held = catch_unwind(|| targets::run(name, &input));
                assert!(held.is_ok(), "{name}, {number}: {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn every_target_is_one_of_the_fuzzer() {
    let manifest = text("tests/fuzz/Cargo.toml");
    for Fuzzed { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let code = text(&format!("tests/fuzz/fuzz_targets/{name}.rs"));
        assert!(code.contains(&format!("run(\"{name}\", data)")), "{name}");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
