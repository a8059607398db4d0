//! Evidence in a stranger's hands: every changed byte is found and located, whatever the bytes are
//! there is a verdict, and two verifiers that share no code agree.

use camino::{Utf8Path, Utf8PathBuf};
use gatedrun::evidence::verify::{Verdict, Verification, verify};
use gatedrun::evidence::{FILES, STATE};
use gatedrun::inputs::{Library, Root};

use crate::support::{Folder, committed_runs, copy, exhaustive, file, root};

const RUNS: [&str; 2] = ["canonical/v1", "failure_modes/retry_exhaustion"];

/// A copy of a committed run, to be damaged.
struct Copy {
    _folder: Folder,
    run: Utf8PathBuf,
    library: Library,
}

impl Copy {
    fn of(id: &str) -> Self {
        let folder = Folder::new();
        let run = folder.path().join("run");
        copy(root().join("runs").join(id).as_std_path(), run.as_std_path());
        Self { _folder: folder, run, library: Library::new(Root::Folder(root())) }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.run.join(name), bytes).unwrap();
    }

    fn verify(&self) -> Verification {
        verify(&self.run, Some(&self.library), &[])
    }
}

/// The line that a byte is in, from 1.
fn line_of(bytes: &[u8], at: usize) -> u64 {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1
}

fn stride(sampled: usize) -> usize {
    if exhaustive() { 1 } else { sampled }
}

#[test]
fn every_committed_run_is_verified() {
    let library = Library::new(Root::Folder(root()));
    for id in committed_runs() {
        let found = verify(&root().join("runs").join(&id), Some(&library), &[]);
        assert_eq!(found.verdict, Verdict::Verified, "{id}: {:?}", found.findings);
    }
}

#[test]
fn every_changed_byte_is_found_and_located() {
    let mut flipped = 0;
    for id in RUNS {
        let copy = Copy::of(id);
        for name in FILES {
            let whole = file(&format!("runs/{id}/{name}"));
            // The lowest bit makes a digit of a digit and a letter of a letter, which is hard to see.
            let bits = |at: usize| if exhaustive() { 0..8 } else { at % 8..at % 8 + 1 };
            let places = (0..whole.len()).step_by(stride(37));
            for (at, bit) in places.flat_map(|at| bits(at).map(move |bit| (at, bit))) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                copy.write(name, &bytes);
                let found = copy.verify();
                let place = format!("{id}/{name}, byte {at}, bit {bit}: {:?}", found.findings);
                assert!(found.verdict >= Verdict::Malformed, "{place}");
                let first = &found.findings[0];
                assert_eq!(first.file, name, "{place}");
                assert_eq!(first.line, Some(line_of(&whole, at)), "{place}");
                if name != STATE {
                    let column =
                        at - whole[..at].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
                    assert_eq!(first.byte, Some(column + 1), "{place}");
                }
                flipped += 1;
            }
            copy.write(name, &whole);
        }
        assert_eq!(copy.verify().verdict, Verdict::Verified);
    }
    assert!(flipped > 1_500, "{flipped} flips show too little");
}

#[test]
fn a_ledger_cut_at_any_byte_is_found() {
    for id in RUNS {
        let copy = Copy::of(id);
        let whole = file(&format!("runs/{id}/{STATE}"));
        for at in (0..whole.len()).filter(|at| at % stride(53) == 0 || whole[*at] == b'\n') {
            for at in [at, at + 1] {
                if at == whole.len() {
                    continue;
                }
                copy.write(STATE, &whole[..at]);
                let found = copy.verify();
                assert!(found.verdict >= Verdict::Malformed, "{id} cut at {at}");
                let first = &found.findings[0];
                assert_eq!(first.file, STATE, "{id} cut at {at}");
                // A line cut short, or the last whole one, after which the rest is missing.
                let line = line_of(&whole, at);
                let whole_lines = at == 0 || whole[at - 1] == b'\n';
                let due = if whole_lines { (line - 1).max(1) } else { line };
                assert_eq!(first.line, Some(due), "{id} cut at {at}: {:?}", found.findings);
            }
        }
    }
}

#[test]
fn whatever_the_bytes_are_there_is_a_verdict() {
    let copy = Copy::of("canonical/v1");
    let whole = |name: &str| file(&format!("runs/canonical/v1/{name}"));
    let deep = format!("{}{}\n", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    let long = vec![b'a'; 17 * 1024 * 1024];
    let cases: [(&str, &[u8]); 9] = [
        ("nothing", b""),
        ("a line feed", b"\n"),
        ("zeros", &[0; 4096]),
        ("no UTF-8", &[0xff, 0xfe, b'\n', 0xc0, 0x80]),
        ("deep", &deep),
        ("a line without an end", &long),
        ("an empty object", b"{}\n"),
        ("a number too large", b"{\"seq\":1e999}\n"),
        ("a lone surrogate", b"{\"seq\":\"\\ud800\"}\n"),
    ];
    for name in FILES {
        for (what, bytes) in cases {
            copy.write(name, bytes);
            let found = copy.verify();
            assert!(found.verdict >= Verdict::Malformed, "{name}: {what}");
            assert_eq!(found.findings[0].file, name, "{what}: {:?}", found.findings);
        }
        copy.write(name, &whole(name));
    }
    // No file at all, and what is not a file.
    for name in FILES {
        let path = copy.run.join(name);
        for what in ["missing", "a folder", "a link", "a FIFO"] {
            let _ = std::fs::remove_file(&path);
            match what {
                "a folder" => std::fs::create_dir(&path).unwrap(),
                "a link" => {
                    std::os::unix::fs::symlink(root().join("runs/canonical/v1").join(name), &path)
                        .unwrap()
                }
                "a FIFO" => fifo(&path),
                _ => {}
            }
            let found = copy.verify();
            assert!(found.verdict >= Verdict::Malformed, "{name} is {what}: {:?}", found.findings);
            assert!(found.findings.iter().any(|finding| finding.file == name), "{name} is {what}");
            let _ = std::fs::remove_dir(&path);
        }
        let _ = std::fs::remove_file(&path);
        copy.write(name, &whole(name));
    }
    assert_eq!(copy.verify().verdict, Verdict::Verified);
}

pub fn fifo(path: &Utf8Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, path.as_std_path(), rustix::fs::FileType::Fifo, mode, 0)
        .unwrap();
}

#[test]
fn an_input_that_was_edited_is_named() {
    let folder = Folder::project();
    copy(
        root().join("runs/canonical").as_std_path(),
        folder.path().join("runs/canonical").as_std_path(),
    );
    let verdict = || {
        let library = folder.library();
        verify(&folder.path().join("runs/canonical/v1"), Some(&library), &[])
    };
    assert_eq!(verdict().verdict, Verdict::Verified);
    for input in [
        "tasks/canonical/v1.json",
        "policy/v1.yaml",
        "tools/read.json",
        "data/prompt/v1.md",
        "data/corpus/v1/manifest.json",
    ] {
        let whole = folder.read(input);
        folder.write(input, [whole.as_slice(), b"\n"].concat());
        let found = verdict();
        assert_eq!(found.verdict, Verdict::InputsDiffer, "{input}");
        assert!(found.findings.iter().any(|finding| finding.file == input), "{input}");
        std::fs::remove_file(folder.path().join(input)).unwrap();
        let found = verdict();
        assert!(found.verdict >= Verdict::Unconfirmed, "{input} is gone");
        assert!(found.findings.iter().any(|finding| finding.file == input), "{input} is gone");
        folder.write(input, whole);
    }
    folder.edit("data/corpus/v1/op-07.md", "e", "a");
    let found = verdict();
    assert_eq!(found.verdict, Verdict::InputsDiffer);
    assert!(found.findings[0].what.contains("op-07.md"), "{:?}", found.findings);
    assert_eq!(
        verify(&folder.path().join("runs/canonical/v1"), None, &[]).verdict,
        Verdict::Unconfirmed
    );
}

#[test]
fn files_that_the_run_wrote_and_files_that_it_did_not() {
    let id =
        committed_runs().into_iter().find(|id| root().join("runs").join(id).join("work").exists());
    let copy = Copy::of(&id.expect("a committed run that writes"));
    let work = copy.run.join("work");
    let written = walkdir::WalkDir::new(&work).into_iter().map(Result::unwrap);
    let written = written.filter(|entry| entry.file_type().is_file()).last().unwrap().into_path();
    let whole = std::fs::read(&written).unwrap();
    std::fs::write(&written, [whole.as_slice(), b"!"].concat()).unwrap();
    assert_eq!(copy.verify().verdict, Verdict::Tampered, "appended");
    std::fs::remove_file(&written).unwrap();
    assert_eq!(copy.verify().verdict, Verdict::Tampered, "removed");
    std::fs::write(&written, &whole).unwrap();
    assert_eq!(copy.verify().verdict, Verdict::Verified);
    for extra in ["work/extra.md", "extra.md"] {
        copy.write(extra, b"x");
        assert_eq!(copy.verify().verdict, Verdict::Tampered, "{extra}");
        std::fs::remove_file(copy.run.join(extra)).unwrap();
    }
}
