//! Whether git leaves the bytes of a run and of its inputs as they are. In a work tree without the attributes for it,
//! `core.autocrlf` gives every text file other line ends in somebody's clone, and then no digest
//! matches. The attributes are read from the files: nothing here starts git.

use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

use crate::evidence::{MANIFEST, REPORT, STATE, TRACE};
use crate::file;
use crate::inputs::{BUILTIN, Inputs};
use crate::place;

use super::output::Terminal;

/// Whether it was said already: once per process is enough.
static SAID: AtomicBool = AtomicBool::new(false);

/// The largest file of attributes that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Warns, once, where a run was written into a work tree that does not protect its bytes, or those of
/// what it was made with.
pub(super) fn warn(run: &Utf8Path, inputs: &Inputs, terminal: &mut Terminal) {
    let mut patterns = Vec::new();
    let run_files = [STATE, TRACE, REPORT, MANIFEST, "work/notes.md"].map(|file| run.join(file));
    let project = place::run(run).map_or_else(Utf8PathBuf::new, |(root, _)| root);
    let files = run_files.into_iter().chain(input_files(inputs, &project));
    for pattern in files.filter_map(|file| unprotected(&file, &project)) {
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    if patterns.is_empty() || SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let lines: Vec<String> = patterns.iter().map(|pattern| format!("`{pattern} -text`")).collect();
    let lines = match lines.len() {
        1 => format!("add {} to .gitattributes", lines.concat()),
        _ => format!("add to .gitattributes, one per line: {}", lines.join(", ")),
    };
    terminal.note(&format!(
        "  warning: git may rewrite the line ends (CRLF, LF) of this run or its inputs in a clone (core.autocrlf), and then the run does not verify there; {lines}"
    ));
}

/// The files that a run was made with, of each folder one: all of a folder are treated alike.
fn input_files(inputs: &Inputs, project: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut files: Vec<Utf8PathBuf> = Vec::new();
    let corpus = &inputs.corpus;
    let documents = corpus.documents().iter().take(1);
    let documents = documents.map(|document| format!("{}/{}", corpus.identity.name, document.path));
    let listed = inputs.list().iter().map(|input| input.path.clone());
    for path in listed.chain(documents).filter(|path| !path.starts_with(BUILTIN)) {
        let file = project.join(path);
        // A file of another project than the one that the run lies in.
        if file.exists() {
            files.push(file);
        }
    }
    files
}

/// The pattern that would protect a file in a work tree, where nothing does: for the folder that
/// holds it, as a part of the project.
fn unprotected(file: &Utf8Path, project: &Utf8Path) -> Option<String> {
    let part = match file.strip_prefix(project).ok()?.components().next() {
        Some(part) if !file.is_absolute() || project.is_absolute() => project.join(part),
        _ => file.parent()?.to_owned(),
    };
    let (file, part) = (file::absolute(file)?, file::absolute(&part)?);
    let root = file.ancestors().find(|folder| folder.join(".git").exists())?;
    let within = file.strip_prefix(root).ok()?;
    if is_protected(root, within) {
        return None;
    }
    let part = part.strip_prefix(root).ok()?;
    Some(if within == part { part.to_string() } else { format!("{part}/**") })
}

/// What attributes say of a path, the later ones last.
#[derive(Default)]
struct Said {
    is_binary: bool,
    is_lf: bool,
}

/// Whether a file of a work tree, by its path there, is checked out as it was committed.
fn is_protected(root: &Utf8Path, path: &Utf8Path) -> bool {
    let mut said = Said::default();
    let mut folders: Vec<&Utf8Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders {
        let below = path.strip_prefix(folder).unwrap_or(path);
        apply(&root.join(folder).join(".gitattributes"), below, &mut said);
    }
    apply(&root.join(".git/info/attributes"), path, &mut said);
    said.is_binary || said.is_lf
}

fn apply(file: &Utf8Path, path: &Utf8Path, said: &mut Said) {
    let Ok(bytes) = crate::evidence::open::read(file, BYTES_MAX) else { return };
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(pattern) = words.next().filter(|pattern| !pattern.starts_with('#')) else {
            continue;
        };
        if !covers(pattern.trim_matches('"'), path) {
            continue;
        }
        for word in words {
            match word {
                "-text" | "binary" => said.is_binary = true,
                "text" | "!text" | "text=auto" | "-binary" | "!binary" => said.is_binary = false,
                "eol=lf" => said.is_lf = true,
                "eol=crlf" | "-eol" | "!eol" => said.is_lf = false,
                _ => {}
            }
        }
    }
}

/// Whether a pattern of `.gitattributes` covers a path below the folder of that file.
fn covers(pattern: &str, path: &Utf8Path) -> bool {
    let parts: Vec<&str> = path.as_str().split('/').collect();
    let Some(anchored) = pattern.strip_prefix('/').or(pattern.contains('/').then_some(pattern))
    else {
        // Without a slash it is for names, at any depth.
        return parts.last().is_some_and(|name| is_like(pattern.as_bytes(), name.as_bytes()));
    };
    let wanted: Vec<&str> = anchored.split('/').collect();
    covers_parts(&wanted, &parts)
}

fn covers_parts(wanted: &[&str], parts: &[&str]) -> bool {
    match (wanted.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((&"**", [])), Some(_)) => true,
        (Some((&"**", rest)), _) => (0..=parts.len())
            .any(|skipped| covers_parts(rest, parts.get(skipped..).unwrap_or_default())),
        (Some((first, rest)), Some((part, others))) => {
            is_like(first.as_bytes(), part.as_bytes()) && covers_parts(rest, others)
        }
        _ => false,
    }
}

/// Whether a name is like a pattern of `*`, `?` and letters.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=name.len()).any(|skipped| is_like(rest, name.get(skipped..).unwrap_or_default()))
        }
        (Some((b'?', rest)), Some((_, others))) => is_like(rest, others),
        (Some((letter, rest)), Some((other, others))) => letter == other && is_like(rest, others),
        _ => false,
    }
}
