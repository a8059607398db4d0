//! What reaches beyond this process is behind features, in a folder of its own, with crates that nothing
//! else names.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{root, text};

/// What the default build may not hold: async runtimes, network stacks, C code.
const BANNED: [&str; 16] = [
    "async-std",
    "aws-lc-rs",
    "aws-lc-sys",
    "cc",
    "cmake",
    "hyper",
    "mio",
    "native-tls",
    "openssl-sys",
    "pkg-config",
    "reqwest",
    "ring",
    "rustls",
    "smol",
    "tokio",
    "ureq",
];

/// The lines of a table of `Cargo.toml`, comments left out.
fn table(manifest: &str, name: &str) -> Vec<(String, String)> {
    let mut inside = false;
    let mut rows = Vec::new();
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line == format!("[{name}]");
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| inside) {
            rows.push((key.to_owned(), value.to_owned()));
        }
    }
    rows
}

/// The dependencies of a manifest: those of the default build, and the optional ones.
fn dependencies(manifest: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let rows = table(manifest, "dependencies").into_iter();
    let (optional, always): (Vec<_>, Vec<_>) =
        rows.partition(|(_, value)| value.contains("optional = true"));
    let names = |rows: Vec<(String, String)>| rows.into_iter().map(|(name, _)| name).collect();
    (names(always), names(optional))
}

/// Every crate that these lead to by a lock file.
fn reached(lock: &str, from: &BTreeSet<String>) -> BTreeSet<String> {
    let mut uses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let quoted = |line: &'_ str| -> Option<String> {
            Some(line.split('"').nth(1)?.split(' ').next()?.to_owned())
        };
        let name =
            package.lines().find(|line| line.starts_with("name = ")).and_then(quoted).unwrap();
        let name = lock_name(lock, &name);
        let below = package.lines().filter(|line| line.starts_with(" \""));
        let below = below.filter_map(|line| line.split('"').nth(1)?.split(' ').next());
        uses.entry(name).or_default().extend(below);
    }
    let mut open: Vec<String> = from.iter().cloned().collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = open.pop() {
        let next =
            uses.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the lock file"));
        if reached.insert(name) {
            open.extend(next.iter().map(|name| (*name).to_owned()));
        }
    }
    reached
}

/// The name as it stands in the lock file.
fn lock_name<'l>(lock: &'l str, name: &str) -> &'l str {
    let line = format!("name = \"{name}\"");
    let at = lock.find(&line).unwrap() + "name = \"".len();
    &lock[at..at + name.len()]
}

/// What is wrong with a tree of dependencies, and with who names its optional crates.
fn findings(manifest: &str, lock: &str, sources: &[(String, String)]) -> Vec<String> {
    let (always, optional) = dependencies(manifest);
    let mut found = Vec::new();
    let reached = reached(lock, &always);
    let banned = BANNED.iter().filter(|name| reached.contains(**name));
    found.extend(banned.map(|name| format!("{name} is in the default build")));
    let features = table(manifest, "features");
    let value = |name: &str| features.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    found.extend(
        value("default").filter(|value| *value != "[]").map(|_| "a default feature".into()),
    );
    let full = value("full").cloned().unwrap_or_default();
    for (name, implied) in &features {
        if matches!(name.as_str(), "default" | "full" | "edge") {
            continue;
        }
        if !implied.contains("\"edge\"") {
            found.push(format!("the feature {name} does not imply edge"));
        }
        if !full.contains(&format!("\"{name}\"")) {
            found.push(format!("full does not imply {name}"));
        }
    }
    for name in &optional {
        let path = format!("{}::", name.replace('-', "_"));
        for (file, code) in sources.iter().filter(|(file, _)| !file.starts_with("edge/")) {
            if code.contains(&path) {
                found.push(format!("src/{file} names {name}"));
            }
        }
    }
    found
}

fn sources() -> Vec<(String, String)> {
    let folder = root().join("src");
    let files = walkdir::WalkDir::new(&folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "rs"));
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn what_reaches_out_is_behind_features_in_its_folder() {
    let (manifest, lock, sources) = (text("Cargo.toml"), text("Cargo.lock"), sources());
    assert_eq!(findings(&manifest, &lock, &sources), [""; 0]);
    let (always, _) = dependencies(&manifest);
    assert!(always.len() > 20 && reached(&lock, &always).len() > 60, "the check has lost its eyes");
    // And each of these is found.
    let wrong = |manifest: &str, lock: &str, file: &str, due: &str| {
        let sources = [(file.to_owned(), "use ureq::Agent;".to_owned())];
        let found = findings(manifest, lock, &sources).join("\n");
        assert!(found.contains(due), "{due}: {found}");
    };
    let with = |dependency: &str| {
        manifest.replacen("[dependencies]\n", &format!("[dependencies]\n{dependency}\n"), 1)
    };
    let lock_with = format!(
        "{lock}\n[[package]]\nname = \"ureq\"\ndependencies = [\n \"ring\",\n]\n\n[[package]]\nname = \"ring\"\n"
    );
    wrong(&with("ureq = \"3\""), &lock_with, "edge/live.rs", "ring is in the default build");
    let optional = with("ureq = { version = \"3\", optional = true }");
    wrong(&optional, &lock_with, "llm/live.rs", "src/llm/live.rs names ureq");
    let sources = [("edge/live.rs".to_owned(), "use ureq::Agent;".to_owned())];
    assert_eq!(findings(&optional, &lock_with, &sources), [""; 0]);
    let feature = manifest.replacen("edge = []\n", "edge = []\nlive = []\n", 1);
    wrong(&feature, &lock, "a.rs", "live does not imply edge");
    wrong(&feature, &lock, "a.rs", "full does not imply live");
    let feature = manifest.replacen("default = []", "default = [\"edge\"]", 1);
    wrong(&feature, &lock, "a.rs", "a default feature");
}
