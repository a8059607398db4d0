//! Plain English: phrases that readers stumbled over are found in docs, messages and comments.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::support::{Folder, root, text};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[expect(dead_code, reason = "for whoever reads the table")]
    note: String,
    phrases: Vec<Phrase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phrase {
    find: String,
    write: String,
    #[serde(default)]
    except: Vec<String>,
}

fn phrases() -> Vec<(Regex, Phrase)> {
    let table: Table = serde_json::from_str(&text("tests/cases/prose.json")).unwrap();
    let compiled = table.phrases.into_iter().map(|phrase| {
        let regex = RegexBuilder::new(&phrase.find).case_insensitive(true).build().unwrap();
        (regex, phrase)
    });
    compiled.collect()
}

/// The files whose prose is read: pages, code with its comments and messages, scripts.
fn files() -> Vec<String> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(root()).sort_by_file_name().into_iter().filter_entry(|e| {
        let skipped =
            ["target", "runs", "data", "node_modules", "cases", "vectors", "snapshots", ".git"];
        !skipped.iter().any(|name| e.file_name() == *name)
    }) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let named = [".md", ".rs", ".py", ".sh", ".yaml", "Makefile"];
        if entry.file_type().is_file() && named.iter().any(|ending| path.ends_with(ending)) {
            files.push(path);
        }
    }
    files
}

/// The comments and string literals of Rust code, line by line: names of fields and functions are
/// not prose.
fn prose_of(code: &str) -> String {
    let mut prose = String::with_capacity(code.len());
    let mut chars = code.chars().peekable();
    let (mut in_comment, mut in_string, mut before) = (false, false, ' ');
    while let Some(c) = chars.next() {
        if c == '\n' {
            in_comment = false;
            prose.push(c);
        } else if in_comment {
            prose.push(c);
        } else if in_string {
            prose.push(c);
            if c == '\\' {
                prose.extend(chars.next());
            } else if c == '"' {
                in_string = false;
            }
        } else if c == '\'' && matches!(chars.peek(), Some('"' | '\\')) {
            // A character literal, in which a quotation mark begins no string.
            let escaped = chars.next() == Some('\\');
            if escaped {
                chars.next();
            }
        } else if c == '"' || (c == '/' && before == '/') {
            (in_string, in_comment) = (c == '"', c == '/');
            prose.push(c);
        } else {
            prose.push(' ');
        }
        before = c;
    }
    prose
}

/// Every place in a text where a phrase occurs, as `line: phrase; write …`.
fn found(text: &str, phrases: &[(Regex, Phrase)]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (regex, phrase) in phrases {
            for hit in regex.find_iter(line) {
                let from = hit.start().saturating_sub(6);
                let around = line.get(from..hit.end()).unwrap_or(hit.as_str()).to_lowercase();
                if !phrase.except.iter().any(|plain| around.contains(plain)) {
                    found.push(format!(
                        "{}: {:?}; write {}",
                        number + 1,
                        hit.as_str(),
                        phrase.write
                    ));
                }
            }
        }
    }
    found
}

#[test]
fn prose_is_plain_english() {
    let phrases = phrases();
    let mut all = Vec::new();
    for file in files() {
        // These quote the phrases that they look for.
        if ["tests/prose.rs", "tests/cases/prose.json"].contains(&file.as_str()) {
            continue;
        }
        // The bytes of these are part of committed runs.
        if file.starts_with("policy/") && file.ends_with(".yaml") {
            continue;
        }
        let mut prose = text(&file);
        if file.ends_with(".rs") {
            prose = prose_of(&prose);
        }
        all.extend(found(&prose, &phrases).into_iter().map(|hit| format!("{file}:{hit}")));
    }
    assert!(all.is_empty(), "{} phrases:\n{}", all.len(), all.join("\n"));
}

/// What a schema says in words, wherever in it.
fn descriptions(schema: &serde_json::Value, found: &mut Vec<String>) {
    match schema {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(words) if key == "description" || key == "title" => {
                        found.push(words.to_owned());
                    }
                    _ => descriptions(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|one| descriptions(one, found)),
        _ => {}
    }
}

/// The schemas are read by people who do not have the code: no links of rustdoc, no paths of code.
#[test]
fn schemas_are_described_in_plain_english() {
    let (phrases, folder) = (phrases(), Folder::new());
    let names = folder.gatedrun(&["schema"]).out;
    let names: Vec<&str> =
        names.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() >= 20, "{names:?}");
    let (mut all, mut read) = (Vec::new(), 0);
    // A project may have a copy of the policy's schema, which is compared byte by byte: its words stay.
    for name in names.into_iter().filter(|name| *name != "policy") {
        let schema = serde_json::from_str(&folder.gatedrun(&["schema", name]).out).unwrap();
        let mut words = Vec::new();
        descriptions(&schema, &mut words);
        read += words.len();
        for words in words {
            let odd = words.contains("[`") || words.contains("`]") || words.contains("::");
            all.extend(odd.then(|| format!("{name}: {words:?}: a link or a path of code")));
            all.extend(found(&words, &phrases).into_iter().map(|hit| format!("{name}: {hit}")));
        }
    }
    assert!(read > 200, "{read}");
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn the_phrases_are_found_and_plain_ones_pass() {
    let phrases = phrases();
    for odd in [
        "it is no regular file",
        "what is due",
        "the two come to the same",
        "made anew",
        "mend it",
        "a line a run",
        "Nobody hears of it",
        "a deny ends the run",
        "it cannot be read: No such file",
    ] {
        assert!(!found(odd, &phrases).is_empty(), "{odd:?} passes");
    }
    let code =
        "let mend = '\"'; // mend it\nproblem.mend(\"hear\", r#\"a deny\"#);\nllm.hear(x);\n";
    let hits = found(&prose_of(code), &phrases);
    assert_eq!(hits.len(), 3, "{hits:?}");
    for plain in [
        "there is no such file",
        "it is no longer needed",
        "one line per run",
        "amendments and recommended settings",
        "a denial ends the run",
    ] {
        assert!(found(plain, &phrases).is_empty(), "{plain:?}: {:?}", found(plain, &phrases));
    }
}
