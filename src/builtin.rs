//! The project that is embedded in the binary, so that an installed program runs in an empty
//! folder: the default policy, contracts, prompt, corpus and the canonical task.

use std::collections::BTreeMap;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../", $path)) as &[u8])),*]
    };
}

/// Every embedded file: its path from the project's root, and its bytes.
pub const FILES: &[(&str, &[u8])] = files![
    "tasks/canonical/v1.json",
    "policy/v1.yaml",
    "policy/v1.schema.json",
    "tools/fetch.json",
    "tools/read.json",
    "tools/search.json",
    "tools/summarize.json",
    "tools/write.json",
    "data/prompt/v1.md",
    "data/corpus/v1/manifest.json",
    "data/corpus/v1/op-01.md",
    "data/corpus/v1/op-02.md",
    "data/corpus/v1/op-03.md",
    "data/corpus/v1/op-04.md",
    "data/corpus/v1/op-05.md",
    "data/corpus/v1/op-06.md",
    "data/corpus/v1/op-07.md",
    "data/corpus/v1/op-08.md",
    "data/corpus/v1/op-09.md",
    "data/corpus/v1/op-10.md",
    "data/corpus/v1/op-11.md",
    "data/corpus/v1/op-12.md",
    "data/corpus/v1/op-13.md",
    "data/corpus/v1/op-14.md",
    "data/corpus/v1/op-15.md",
    "data/corpus/v1/op-16.md",
    "data/corpus/v1/op-17.md",
    "data/corpus/v1/op-18.md",
    "data/corpus/v1/op-19.md",
    "data/corpus/v1/op-20.md",
    "data/corpus/v1/op-21.md",
    "data/corpus/v1/op-22.md",
    "data/corpus/v1/op-23.md",
    "data/corpus/v1/op-24.md",
    "data/corpus/v1/op-25.md",
];

/// The path of the task that runs when none is named.
pub const TASK: &str = "tasks/canonical/v1.json";

/// The bytes of an embedded file.
pub fn file(path: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
}

/// The embedded files directly in a folder, by name.
pub fn folder(path: &str) -> BTreeMap<String, Vec<u8>> {
    FILES
        .iter()
        .filter_map(|(name, bytes)| {
            let name = name.strip_prefix(path)?.strip_prefix('/')?;
            (!name.contains('/')).then(|| (name.to_owned(), bytes.to_vec()))
        })
        .collect()
}
