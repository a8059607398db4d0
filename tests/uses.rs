//! Which file uses which: no file uses one that uses it, by whatever way round.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{root, text};

/// A source file: what it holds, and which of its names are really a file's below it.
struct Source {
    /// Where its module stands, as in `["policy", "url"]`.
    module: Vec<String>,
    /// The modules that it declares, in order.
    below: Vec<String>,
    /// Every path that it names, from the root of the crate.
    paths: Vec<Vec<String>>,
    /// Names that it passes on, and the paths that they stand for.
    passed_on: BTreeMap<String, Vec<String>>,
}

/// The paths of a `use` tree, or of one path, that begins here.
fn paths(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(list) = text.strip_prefix('{') {
        let (mut depth, mut from, mut all) = (0, 0, Vec::new());
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    all.extend(paths(&list[from..at]));
                    from = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
        return all;
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return Vec::new();
    }
    match text[name.len()..].strip_prefix("::") {
        None => vec![vec![name]],
        Some(rest) => {
            let mut all = paths(rest);
            if all.is_empty() {
                all.push(Vec::new());
            }
            all.iter_mut().for_each(|path| path.insert(0, name.clone()));
            all
        }
    }
}

/// Where a word stands that no name goes on into.
fn words<'t>(code: &'t str, word: &'t str) -> impl Iterator<Item = &'t str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let goes_on = |c: char| c.is_alphanumeric() || "_:.\"".contains(c);
        // A visibility uses nothing.
        let is_use = !before.is_some_and(goes_on) && !code[..at].ends_with("(in ");
        is_use.then(|| &code[at + word.len()..])
    })
}

fn read(name: &str, module: Vec<String>, is_folder: bool) -> Source {
    let code: String = text(&format!("src/{name}"))
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let below: Vec<String> = code
        .lines()
        .filter_map(|line| {
            let line = line.strip_suffix(';')?;
            let at = line.find("mod ")?;
            (at == 0 || line.starts_with("pub")).then(|| line[at + 4..].to_owned())
        })
        .filter(|_| is_folder)
        .collect();
    let mut found = Vec::new();
    let mut add = |base: &[String], rest: &str| {
        found.extend(paths(rest).into_iter().map(|path| [base, &path[..]].concat()));
    };
    words(&code, "crate::").for_each(|rest| add(&[], rest));
    words(&code, "self::").for_each(|rest| add(&module, rest));
    for rest in words(&code, "super::") {
        let (mut rest, mut up) = (rest, 1);
        while let Some(more) = rest.strip_prefix("super::") {
            (rest, up) = (more, up + 1);
        }
        add(&module[..module.len().saturating_sub(up)], rest);
    }
    let mut passed_on = BTreeMap::new();
    for name in &below {
        let start = format!("{name}::");
        words(&code, &start).for_each(|rest| {
            let base = [&module[..], std::slice::from_ref(name)].concat();
            add(&base, rest);
        });
        for list in code.split(&format!("pub use {start}")).skip(1) {
            for path in paths(list) {
                let full = [&module[..], std::slice::from_ref(name), &path[..]].concat();
                passed_on.extend(path.last().map(|last| (last.clone(), full)));
            }
        }
    }
    // What a file passes on, it does not use.
    let is_passed_on = |path: &Vec<String>| passed_on.values().any(|other| other == path);
    found.retain(|path| !is_passed_on(path));
    Source { module, below, paths: found, passed_on }
}

/// Every source file, by its name below `src/`.
fn sources() -> BTreeMap<String, Source> {
    let mut sources = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root().join("src")) {
        let entry = entry.unwrap();
        let path = camino::Utf8Path::from_path(entry.path()).unwrap();
        let name = path.strip_prefix(root().join("src")).unwrap().as_str().to_owned();
        let Some(stem) = name.strip_suffix(".rs") else { continue };
        if matches!(stem, "lib" | "main") {
            continue;
        }
        let is_folder = stem.ends_with("/mod");
        let module = stem.strip_suffix("/mod").unwrap_or(stem).split('/').map(str::to_owned);
        let source = read(&name, module.collect(), is_folder);
        sources.insert(name, source);
    }
    sources
}

/// Which files each file uses.
fn uses(sources: &BTreeMap<String, Source>) -> BTreeMap<&str, BTreeSet<&str>> {
    let by_module: BTreeMap<&[String], &str> =
        sources.iter().map(|(name, source)| (&source.module[..], name.as_str())).collect();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, source) in sources {
        let used = uses.entry(name).or_default();
        for path in &source.paths {
            let mut path = path.clone();
            // The longest beginning that is a file, then what that file passes on, and so on.
            while let Some((length, file)) = (1..=path.len())
                .rev()
                .find_map(|length| Some((length, *by_module.get(&path[..length])?)))
            {
                let next = path.get(length).and_then(|item| sources[file].passed_on.get(item));
                match next {
                    Some(next) => path = [&next[..], &path[length + 1..]].concat(),
                    None => {
                        used.extend((file != name).then_some(file));
                        break;
                    }
                }
            }
        }
    }
    uses
}

/// The first part of a file's name: a folder of `src/`, or the file itself.
fn top(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let sources = sources();
    let uses = uses(&sources);
    let count: usize = uses.values().map(BTreeSet::len).sum();
    assert!(count > 500, "{count} uses found: the check has lost its eyes");
    let reached = |from: &str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(name) = open.pop() {
            for next in uses.get(name.as_str()).into_iter().flatten() {
                if reached.insert((*next).to_owned()) {
                    open.push((*next).to_owned());
                }
            }
        }
        reached
    };
    let all: BTreeMap<&str, BTreeSet<String>> =
        uses.keys().map(|name| (*name, reached(name))).collect();
    let in_circle: Vec<&str> = all
        .iter()
        .filter(|(name, reached)| reached.contains(**name))
        .map(|(name, _)| *name)
        .collect();
    let told: Vec<String> = in_circle
        .iter()
        .map(|name| {
            let with = uses[name].iter().filter(|other| all[**other].contains(*name));
            format!("{name} -> {}", with.copied().collect::<Vec<_>>().join(", "))
        })
        .collect();
    assert!(told.is_empty(), "files that use each other:\n{}", told.join("\n"));
}

#[test]
fn the_order_of_the_mod_lines_is_the_order_of_use() {
    let sources = sources();
    let uses = uses(&sources);
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, source) in &sources {
        for (rank, below) in source.below.iter().enumerate() {
            let folder = name.strip_suffix("mod.rs").unwrap();
            let is_in = |file: &str, module: &str| {
                let rest = file.strip_prefix(folder).and_then(|rest| rest.strip_prefix(module));
                rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
            };
            let files = uses.iter().filter(|(file, _)| is_in(file, below));
            for (file, used) in files {
                for later in &source.below[rank + 1..] {
                    for other in used.iter().filter(|other| is_in(other, later)) {
                        wrong.entry(top(name)).or_default().push(format!("{file} uses {other}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these stand out of order:\n{wrong:#?}");
}
