//! Whether a run was made from the current inputs: what its first event says, against what it would
//! say today.

use std::fmt::Display;

use camino::Utf8Path;

use crate::corpus;
use crate::event::RunStarted;
use crate::inputs::Library;
use crate::ledger::{LINE_BYTES_MAX, Reader, is_of_another_version};
use crate::line_ends::{Rewriting, pattern};

use super::{MANIFEST, STATE, manifest, open};

/// That a run was written by a version of the program whose formats this one does not read, in words.
/// Nothing else of it is looked at.
pub fn other_version(run: &Utf8Path) -> Option<String> {
    let ledger = open::open(&run.join(STATE)).ok();
    let first = ledger.and_then(|ledger| Reader::new(ledger).next_record().err());
    let of_ledger = first.map(|error| format!("{STATE}: {error}"));
    of_ledger.filter(|what| is_of_another_version(what)).or_else(|| {
        let manifest = open::read(&run.join(MANIFEST), LINE_BYTES_MAX as u64).ok()?;
        manifest::other_format(&manifest).map(|what| format!("{MANIFEST}: {what}"))
    })
}

/// What of a run's inputs differs from the current ones, each in a few words; empty where a run that
/// begins now would begin with the same event.
pub fn differences(recorded: &RunStarted, now: &RunStarted) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: &str, was: &dyn Display, is: &dyn Display| {
        let (was, is) = (was.to_string(), is.to_string());
        if was != is {
            found.push(format!("{what} has changed: was {was}, is {is}"));
        }
    };
    differs("the task's id", &recorded.task, &now.task);
    differs("the seed", &recorded.seed, &now.seed);
    for made in &recorded.inputs {
        let same =
            |input: &&crate::event::Input| input.role == made.role && input.path == made.path;
        match now.inputs.iter().find(same) {
            Some(input) => differs(&made.path, &made.sha256.short(), &input.sha256.short()),
            None => differs(&made.path, &made.sha256.short(), &"not among the inputs"),
        }
    }
    for input in &now.inputs {
        let same = |made: &&crate::event::Input| input.role == made.role && input.path == made.path;
        if !recorded.inputs.iter().any(|made| same(&made)) {
            differs(&input.path, &"not among the inputs", &input.sha256.short());
        }
    }
    let corpus = |started: &RunStarted| {
        format!("{} ({} documents)", started.corpus.sha256.short(), started.corpus.documents)
    };
    differs(&format!("the corpus {}", recorded.corpus.name), &corpus(recorded), &corpus(now));
    differs("the program's version", &recorded.agent_version, &now.agent_version);
    // Differences that the files above explain are reported by naming them; others in general.
    if found.is_empty() && recorded != now {
        found.push("the run's first event would say something else today".to_owned());
    }
    found
}

/// In one line, that some inputs of a run differ from the current ones in the ends of their lines
/// alone, what did it and what to do; none where none does.
pub fn rewritten(recorded: &RunStarted, library: &Library) -> Option<String> {
    let is_rewritten = |path: &str, made| {
        library.rewriting(path, made).is_some_and(|found| found == Rewriting::LineEnds)
    };
    let inputs = recorded.inputs.iter().filter(|input| is_rewritten(&input.path, input.sha256));
    let mut names: Vec<(&str, String)> =
        inputs.map(|input| (input.path.as_str(), pattern(&input.path))).collect();
    let made = &recorded.corpus;
    if library.is_inside(&made.name) {
        let (mut files, _) = library.corpus_files(&made.name);
        files.remove(corpus::MANIFEST);
        if !corpus::rewritten(&files, made).is_empty() {
            names.push((&made.name, pattern(&format!("{}/{}", made.name, corpus::MANIFEST))));
        }
    }
    let ((first, protects), rest) = names.split_first()?;
    let is_one = rest.iter().all(|(_, other)| other == protects);
    let all = if is_one { protects } else { "*" };
    let names = match rest.len() {
        0 => first.to_string(),
        1 => format!("{first} and 1 other input"),
        more => format!("{first} and {more} other inputs"),
    };
    Some(format!("{names}: {}", Rewriting::LineEnds.words(all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_that_differs_is_named() {
        let text = r#"{"format":1,"run_id":"run_1","agent_version":"0.1.0","task":"t/a","title":"t",
            "question":"q","seed":0,"llm":{"path":"stub","provider":"p","model":"m"},
            "policy_version":"000000000000","corpus":{"name":"c","documents":1,"sha256":"Z"},
            "inputs":[{"role":"policy","path":"p.yaml","sha256":"Z"},
            {"role":"prompt","path":"a.md","sha256":"Z"}]}"#;
        let started = |text: String| serde_json::from_str::<RunStarted>(&text).unwrap();
        let zeros = "0".repeat(64);
        let was = started(text.replace('Z', &zeros));
        assert!(differences(&was, &was).is_empty());
        let edits: [(&str, &str, &str); 5] = [
            (
                "\"p.yaml\",\"sha256\":\"0",
                "\"p.yaml\",\"sha256\":\"1",
                "p.yaml has changed: was 0000",
            ),
            ("a.md", "b.md", "b.md has changed: was not among the inputs"),
            ("\"documents\":1", "\"documents\":2", "the corpus c has changed"),
            ("0.1.0", "0.2.0", "the program's version has changed: was 0.1.0, is 0.2.0"),
            ("\"q\"", "\"r\"", "the run's first event"),
        ];
        for (from, to, due) in edits {
            let is = started(text.replace('Z', &zeros).replacen(from, to, 1));
            let found = differences(&was, &is).join("\n");
            assert!(found.contains(due), "{to}: {found}");
        }
    }
}
