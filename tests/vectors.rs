//! The conformance vectors: a committed run, what was done to it, and the expected verdict. Two
//! verifiers that share no code are held to each of them.

use camino::{Utf8Path, Utf8PathBuf};
use gatedrun::evidence::attest;
use gatedrun::evidence::recorder::project;
use gatedrun::evidence::verify::{Asked, verify, verify_as};
use gatedrun::evidence::{ATTESTATION, FILES, MANIFEST, REPORT, STATE, TRACE};
use gatedrun::inputs::{Library, Root};
use gatedrun::json::Digest;
use serde::Deserialize;
use serde_json::Value;

use crate::support::{Folder, committed_runs, copy, exhaustive, file, root};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    note: String,
    run: String,
    edits: Vec<Edit>,
    key: Option<String>,
    #[serde(default)]
    other_keys: Vec<String>,
    #[serde(default = "yes")]
    project: bool,
    /// What is done to the current inputs.
    #[serde(default)]
    inputs: Vec<Edit>,
    /// Where the run lies.
    #[serde(default = "place")]
    place: String,
    #[serde(default)]
    require_signature: bool,
    verdict: String,
    file: Option<String>,
    /// Why, in the program's word, of the finding that makes the verdict.
    cause: Option<String>,
}

fn yes() -> bool {
    true
}

fn place() -> String {
    "run".to_owned()
}

/// What is done to the run, in order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Edit {
    /// A text in a line, from 1.
    Replace {
        file: String,
        line: usize,
        from: String,
        to: String,
    },
    /// A text wherever it stands.
    Everywhere {
        file: String,
        from: String,
        to: String,
    },
    Drop {
        file: String,
        line: usize,
    },
    /// A line and the one after it.
    Swap {
        file: String,
        line: usize,
    },
    Double {
        file: String,
        line: usize,
    },
    /// So many bytes off the end.
    Truncate {
        file: String,
        bytes: usize,
    },
    Append {
        file: String,
        text: String,
    },
    Write {
        file: String,
        text: String,
    },
    Remove {
        file: String,
    },
    /// Ends every line with CRLF, as git does where `core.autocrlf` is set.
    Crlf {
        files: Vec<String>,
    },
    /// Numbers the ledger's lines again.
    Renumber,
    /// Links the ledger's lines again.
    Rechain,
    /// Makes the manifest's digests, sizes and head those of the files.
    Rehash,
    /// Makes trace, report and manifest from the ledger again.
    Reproject,
    /// Signs with this key.
    Sign(String),
    /// Puts the signature under another run here.
    SignAs {
        run: String,
        key: String,
    },
    /// Adds the signature of this key to those that are there.
    CounterSign(String),
    /// Changes a letter of the first signature.
    DamageSignature,
    /// Names the key of the first signature so.
    KeyId(String),
    /// Names this key by the SHA-256 of its 32 bytes, as earlier versions did.
    OldKeyId(String),
    /// Changes a letter of the first key id, so that their order stays.
    DamageKeyId,
    ExchangeSignatures,
    ReverseSignatures,
    DoubleSignature,
    DropSignatures,
}

/// A key from its owner's name.
fn key(name: &str) -> attest::KeyPair {
    attest::generate(Digest::of(name.as_bytes()).as_bytes()).unwrap()
}

struct Case {
    run: Utf8PathBuf,
}

impl Case {
    fn text(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.run.join(name)).unwrap()).unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.run.join(name).parent().unwrap()).unwrap();
        std::fs::write(self.run.join(name), text).unwrap();
    }

    fn lines(&self, name: &str, change: impl FnOnce(&mut Vec<String>)) {
        let mut lines: Vec<String> = self.text(name).lines().map(str::to_owned).collect();
        change(&mut lines);
        self.put(name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    }

    fn replaced(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.put(name, &text.replace(from, to));
    }

    fn edit(&self, edit: Edit) {
        match edit {
            Edit::Replace { file, line, from, to } => self.lines(&file, |lines| {
                let line = &mut lines[line - 1];
                assert!(line.contains(&from), "{line} does not hold {from:?}");
                *line = line.replacen(&from, &to, 1);
            }),
            Edit::Everywhere { file, from, to } => self.replaced(&file, &from, &to),
            Edit::Drop { file, line } => self.lines(&file, |lines| {
                lines.remove(line - 1);
            }),
            Edit::Swap { file, line } => self.lines(&file, |lines| lines.swap(line - 1, line)),
            Edit::Double { file, line } => self.lines(&file, |lines| {
                lines.insert(line, lines[line - 1].clone());
            }),
            Edit::Truncate { file, bytes } => {
                let text = self.text(&file);
                self.put(&file, &text[..text.len() - bytes]);
            }
            Edit::Append { file, text } => self.put(&file, &format!("{}{text}", self.text(&file))),
            Edit::Write { file, text } => self.put(&file, &text),
            Edit::Remove { file } => std::fs::remove_file(self.run.join(file)).unwrap(),
            Edit::Crlf { files } => files.iter().for_each(|name| {
                self.put(name, &self.text(name).replace('\n', "\r\n"));
            }),
            Edit::Renumber => self.lines(STATE, |lines| {
                for (seq, line) in lines.iter_mut().enumerate() {
                    let rest = &line[line.find(",\"at_ns\"").unwrap()..];
                    *line = format!("{{\"seq\":{seq}{rest}");
                }
            }),
            Edit::Rechain => self.lines(STATE, |lines| {
                let mut prev = Digest::ZERO;
                for line in lines {
                    let at = line.rfind("\"prev\":\"").unwrap() + 8;
                    *line = format!("{}{prev}\"}}", &line[..at]);
                    prev = Digest::of(line.as_bytes());
                }
            }),
            Edit::Rehash => self.rehash(),
            Edit::Reproject => {
                let made = project(self.text(STATE).as_bytes(), Vec::new(), Vec::new()).unwrap();
                std::fs::write(self.run.join(TRACE), made.trace).unwrap();
                std::fs::write(self.run.join(REPORT), made.report).unwrap();
                std::fs::write(self.run.join(MANIFEST), made.manifest).unwrap();
            }
            Edit::Sign(name) => self.sign(&self.run, &name),
            Edit::SignAs { run, key } => self.sign(&root().join("runs").join(run), &key),
            Edit::CounterSign(name) => {
                let old = std::fs::read(self.run.join(ATTESTATION)).unwrap();
                let ledger = std::fs::read(self.run.join(STATE)).unwrap();
                let made = project(ledger.as_slice(), Vec::new(), Vec::new()).unwrap();
                let statement = attest::run_statement(&made.summary, &made.manifest);
                let (envelope, dropped) = attest::Envelope::continued(&old, &statement);
                assert!(dropped.is_empty(), "{dropped:?}");
                let key = attest::signing_key(&key(&name).private).unwrap();
                let (envelope, replaced) = envelope.signed(&key);
                assert!(replaced.is_empty(), "{replaced:?}");
                std::fs::write(self.run.join(ATTESTATION), envelope.encode().unwrap()).unwrap();
            }
            Edit::DamageKeyId => {
                let text = self.text(ATTESTATION);
                let at = text.find("\"keyid\":\"").unwrap() + 9 + 63;
                let letter = if &text[at..=at] == "0" { "1" } else { "0" };
                self.put(ATTESTATION, &format!("{}{letter}{}", &text[..at], &text[at + 1..]));
            }
            Edit::KeyId(id) => self.signatures(|signatures| signatures[0]["keyid"] = id.into()),
            Edit::OldKeyId(name) => {
                let key = attest::signing_key(&key(&name).private).unwrap().verifying_key();
                let old = Digest::of(key.as_bytes()).to_string();
                let text = self.text(ATTESTATION).replace(&attest::key_id(&key), &old);
                self.put(ATTESTATION, &text);
            }
            Edit::ExchangeSignatures => self.signatures(|signatures| {
                let sig = signatures[0]["sig"].clone();
                signatures[0]["sig"] = std::mem::replace(&mut signatures[1]["sig"], sig);
            }),
            Edit::ReverseSignatures => self.signatures(|signatures| signatures.reverse()),
            Edit::DoubleSignature => self.signatures(|signatures| {
                signatures.push(signatures[0].clone());
            }),
            Edit::DropSignatures => self.signatures(Vec::clear),
            Edit::DamageSignature => {
                let text = self.text(ATTESTATION);
                let at = text.find("\"sig\":\"").unwrap() + 10;
                let letter = if &text[at..=at] == "A" { "B" } else { "A" };
                self.put(ATTESTATION, &format!("{}{letter}{}", &text[..at], &text[at + 1..]));
            }
        }
    }

    /// Changes the list of signatures; the rest of the envelope stays byte for byte.
    fn signatures(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let text = self.text(ATTESTATION);
        let envelope: Value = serde_json::from_str(&text).unwrap();
        let mut signatures = envelope["signatures"].as_array().unwrap().clone();
        change(&mut signatures);
        let at = text.find("\"signatures\":[").unwrap() + 14;
        let written: Vec<String> = signatures
            .iter()
            .map(|one| format!("{{\"keyid\":{},\"sig\":{}}}", one["keyid"], one["sig"]))
            .collect();
        self.put(ATTESTATION, &format!("{}{}]}}\n", &text[..at], written.join(",")));
    }

    /// Who forges the files forges their digests too.
    fn rehash(&self) {
        let mut text = self.text(MANIFEST);
        let manifest: Value = serde_json::from_str(&text).unwrap();
        for name in [STATE, TRACE, REPORT] {
            let bytes = std::fs::read(self.run.join(name)).unwrap();
            let stated = &manifest["files"][name];
            let entry = |sha256: &str, bytes: usize| {
                format!("\"sha256\": \"{sha256}\",\n      \"bytes\": {bytes}")
            };
            let size = usize::try_from(stated["bytes"].as_u64().unwrap()).unwrap();
            let from = entry(stated["sha256"].as_str().unwrap(), size);
            assert!(text.contains(&from), "{from}");
            text = text.replace(&from, &entry(&Digest::of(&bytes).to_string(), bytes.len()));
        }
        let state = self.text(STATE);
        let head = Digest::of(state.lines().last().unwrap().as_bytes()).to_string();
        text = text.replace(manifest["ledger"]["head"].as_str().unwrap(), &head);
        let records = |count: u64| format!("\"records\": {count}");
        let stated = manifest["ledger"]["records"].as_u64().unwrap();
        text = text.replace(&records(stated), &records(state.lines().count() as u64));
        self.put(MANIFEST, &text);
    }

    /// A signature of the key's holder under whatever the manifest says.
    fn sign(&self, run: &Utf8Path, name: &str) {
        let ledger = std::fs::read(run.join(STATE)).unwrap();
        let made = project(ledger.as_slice(), Vec::new(), Vec::new()).unwrap();
        let manifest = std::fs::read(run.join(MANIFEST)).unwrap();
        let statement = attest::run_statement(&made.summary, &manifest);
        let key = attest::signing_key(&key(name).private).unwrap();
        std::fs::write(self.run.join(ATTESTATION), attest::sign(&statement, &key)).unwrap();
    }
}

/// What the other verifier says: verdict, and the line where it names one of the ledger.
pub fn second_opinion(
    run: &Utf8Path,
    project: Option<&Utf8Path>,
    keys: &[Utf8PathBuf],
    more: &[&str],
) -> Option<Value> {
    let mut command = std::process::Command::new("python3");
    command
        .arg(root().join("scripts/verify_evidence.py"))
        .arg(run)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(more);
    if let Some(project) = project {
        command.arg("--project").arg(project);
    }
    for key in keys {
        command.arg("--key").arg(key);
    }
    match command.output() {
        Ok(output) => {
            let err = String::from_utf8_lossy(&output.stderr);
            let said: Value =
                serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{run}: {err}"));
            let code = match said["verdict"].as_str().unwrap() {
                "verified" => 0,
                "tampered" => 1,
                "malformed" => 5,
                "unconfirmed" => 6,
                "unfinished" => 7,
                "unread" => 8,
                "inputs_differ" => 9,
                other => panic!("{run}: {other}"),
            };
            // As `gatedrun verify` exits.
            assert_eq!(output.status.code(), Some(code), "{run}: {said} {err}");
            Some(said)
        }
        // A machine with nothing but the Rust toolchain; CI has Python and may not skip this.
        Err(_) if std::env::var_os("CI").is_none() => None,
        Err(error) => panic!("python3: {error}"),
    }
}

#[test]
fn both_verifiers_come_to_the_verdict_that_is_due() {
    let kept = std::env::var_os("GATEDRUN_VECTORS");
    let kept = kept.map(|path| Utf8PathBuf::from(path.into_string().unwrap()));
    let (mut vectors, mut skipped, mut signed) = (0, 0, 0);
    let mut wrong: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(root().join("tests/vectors")).unwrap() {
        let path = Utf8PathBuf::from_path_buf(entry.unwrap().path()).unwrap();
        let name = path.file_stem().unwrap();
        let vector: Vector = serde_json::from_slice(&std::fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let folder = Folder::new();
        // A project is known by its tasks.
        std::fs::create_dir(folder.path().join("tasks")).unwrap();
        let case = Case { run: folder.path().join(&vector.place) };
        copy(root().join("runs").join(&vector.run).as_std_path(), case.run.as_std_path());
        for edit in vector.edits {
            case.edit(edit);
        }
        let other = (!vector.inputs.is_empty()).then(Folder::project);
        let project = other.as_ref().map_or_else(root, |folder| folder.path().to_owned());
        for edit in vector.inputs {
            Case { run: project.clone() }.edit(edit);
        }
        let library = Library::new(Root::Folder(project.clone()));
        let names = vector.key.iter().chain(&vector.other_keys);
        let public: Vec<String> = names.map(|name| key(name).public).collect();
        let verifying = public.iter().map(|pem| attest::verifying_key(pem).unwrap());
        let verifying: Vec<_> = verifying.collect();
        let key_file = |(number, pem): (usize, &String)| match number {
            0 => folder.write("key.pub.pem", pem),
            other => folder.write(&format!("key{other}.pub.pem"), pem),
        };
        let key_files: Vec<Utf8PathBuf> = public.iter().enumerate().map(key_file).collect();
        let what = format!("{name}: {}", vector.note);
        let asked = Asked {
            project: vector.project.then_some(&library),
            keys: &verifying,
            signature_required: vector.require_signature,
            ..Asked::default()
        };
        let found = verify_as(&case.run, &asked);
        let first = found.findings.first();
        let file = first.map(|finding| finding.file.as_str());
        let decides = found.findings.iter().find(|finding| finding.verdict == found.verdict);
        let cause = decides.map(|finding| serde_json::to_value(finding.cause).unwrap());
        if found.verdict.as_str() != vector.verdict
            || vector.cause.is_some()
                && vector.cause.as_deref() != cause.as_ref().and_then(Value::as_str)
            || vector.file.is_some() && vector.file.as_deref() != file
        {
            wrong.push(format!("{what}\n  the program: {} {first:?}", found.verdict.as_str()));
        }
        let more: &[&str] = if vector.require_signature { &["--require-signature"] } else { &[] };
        let project = vector.project.then_some(project.as_path());
        match second_opinion(&case.run, project, &key_files, more) {
            Some(other) => {
                let line = first.filter(|_| vector.file.as_deref() == Some(STATE));
                let same_line = line.is_none_or(|finding| other["line"].as_u64() == finding.line);
                if other["verdict"] != vector.verdict || !same_line {
                    wrong.push(format!("{what}\n  {first:?}\n  the second: {other}"));
                }
            }
            None => skipped += 1,
        }
        vectors += 1;
        signed += usize::from(case.run.join(ATTESTATION).exists());
        if let Some(kept) = &kept {
            copy(folder.path().as_std_path(), kept.join(name).as_std_path());
            let due = serde_json::json!({"verdict": vector.verdict, "note": vector.note});
            std::fs::write(kept.join(name).join("due.json"), format!("{due:#}\n")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(vectors >= 80 && signed >= 19, "{vectors} vectors, {signed} signed");
    assert!(skipped == 0 || skipped == vectors);
    if skipped > 0 {
        eprintln!("skipped: no python3 here, so {skipped} vectors got one opinion only");
    }
}

#[test]
fn both_verifiers_verify_every_committed_run() {
    for id in committed_runs() {
        if let Some(other) = second_opinion(&root().join("runs").join(&id), Some(&root()), &[], &[])
        {
            assert_eq!(other["verdict"], "verified", "{id}: {other}");
        }
    }
    assert!(FILES.iter().all(|name| !file(&format!("runs/canonical/v1/{name}")).is_empty()));
}

/// Runs of every release, by the version of the agent that made them: nothing that was released
/// becomes unreadable. A finding about inputs is none about the run, which lies here without them.
#[test]
fn runs_of_every_release_stay_readable() {
    let mut runs = Vec::new();
    for release in std::fs::read_dir(root().join("tests/ledgers")).unwrap() {
        let release = release.unwrap().path();
        for run in std::fs::read_dir(&release).unwrap() {
            runs.push(Utf8PathBuf::from_path_buf(run.unwrap().path()).unwrap());
        }
    }
    assert!(runs.iter().any(|run| run.parent().unwrap().ends_with(gatedrun::agent::VERSION)));
    assert!(runs.len() >= 6);
    for run in runs {
        let found = verify(&run, None, &[]);
        assert_eq!(found.verdict.as_str(), "unconfirmed", "{run}: {found:?}");
        assert!(found.records > 10 && found.findings.len() == 1, "{run}: {found:?}");
        if let Some(other) = second_opinion(&run, None, &[], &[]) {
            assert_eq!(other["verdict"], "unconfirmed", "{run}: {other}");
        }
        let mut reader =
            gatedrun::ledger::Reader::new(std::fs::File::open(run.join(STATE)).unwrap());
        while reader.next_record().unwrap().is_some() {}
        assert!(reader.is_finished());
    }
}

#[test]
fn the_second_verifier_is_small() {
    let text = crate::support::text("scripts/verify_evidence.py");
    assert!(text.lines().count() < 300, "{} lines", text.lines().count());
    let imports: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("import ") || line.starts_with("from "))
        .collect();
    assert_eq!(
        imports,
        [
            "import argparse, base64, hashlib, itertools, json, os, re, unicodedata",
            "from ed25519 import signed",
            "from json_schema import in_order"
        ]
    );
}

/// The values in a line of JSON that hold no others, and the names of members: where each stands.
fn tokens(line: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = line.as_bytes();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let begin = at;
        if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if b"{}[],:".contains(&bytes[at]) {
            at += 1;
            continue;
        } else {
            while !b"{}[],:".contains(&bytes[at]) {
                at += 1;
            }
        }
        tokens.push(begin..at);
    }
    tokens
}

/// A committed run that was forged at random, in `run/` of a folder: which it was, and how.
pub fn forged(random: &mut impl FnMut(usize) -> usize) -> (Folder, String, String) {
    let runs = committed_runs();
    let folder = Folder::new();
    let case = Case { run: folder.path().join("run") };
    let id = runs[random(runs.len())].clone();
    copy(root().join("runs").join(&id).as_std_path(), case.run.as_std_path());
    let said = forge(&case, random);
    (folder, id, said)
}

/// Forges a ledger at random: one or two changes, and chain and projections made to fit.
fn forge(case: &Case, random: &mut impl FnMut(usize) -> usize) -> String {
    const VALUES: [&str; 16] = [
        "null",
        "true",
        "false",
        "0",
        "1",
        "-1",
        "7",
        "1.5",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "[]",
        "{}",
        "[null]",
        "{\"b\":1,\"a\":2}",
        "\"call_0123456789abcdef\"",
    ];
    let mut lines: Vec<String> = case.text(STATE).lines().map(str::to_owned).collect();
    let mut said = Vec::new();
    for _ in 0..=random(2) {
        let at = random(lines.len());
        match random(12) {
            0 => {
                said.push(format!("line {} dropped", at + 1));
                lines.remove(at);
            }
            1 => {
                said.push(format!("line {} doubled", at + 1));
                let line = lines[at].clone();
                lines.insert(at, line);
            }
            2 => {
                let other = random(lines.len());
                said.push(format!("lines {} and {} swapped", at + 1, other + 1));
                lines.swap(at, other);
            }
            kind => {
                let places = tokens(&lines[at]);
                let place = places[random(places.len())].clone();
                // Another value of its sort that stands somewhere in this ledger, or one of any.
                let sort = |line: &str, place: &std::ops::Range<usize>| {
                    let is_name = line.as_bytes().get(place.end) == Some(&b':');
                    (is_name, line.as_bytes()[place.start].min(b'1'))
                };
                let due = sort(&lines[at], &place);
                let other = &lines[random(lines.len())];
                let mut alike = tokens(other);
                alike.retain(|place| sort(other, place) == due);
                let now = if kind == 3 || alike.is_empty() {
                    VALUES[random(VALUES.len())].to_owned()
                } else {
                    other[alike[random(alike.len())].clone()].to_owned()
                };
                said.push(format!("line {}: {} is {now}", at + 1, &lines[at][place.clone()]));
                lines[at].replace_range(place, &now);
            }
        }
    }
    case.put(STATE, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    if lines.iter().all(|line| line.contains(",\"at_ns\"") && line.contains("\"prev\":\"")) {
        case.edit(Edit::Renumber);
        case.edit(Edit::Rechain);
    }
    if project(case.text(STATE).as_bytes(), Vec::new(), Vec::new())
        .is_ok_and(|made| made.summary.finished.is_some())
    {
        case.edit(Edit::Reproject);
    } else {
        case.edit(Edit::Rehash);
    }
    said.join(", ")
}

#[test]
fn both_verifiers_say_the_same_of_whatever_is_forged() {
    let library = Library::new(Root::Folder(root()));
    let count = if exhaustive() { 2_000 } else { 60 };
    let mut rng = gatedrun::derive::rng(11, &["forgeries"]);
    let mut random =
        |below: usize| usize::try_from(gatedrun::derive::below(&mut rng, below as u64)).unwrap();
    let (mut wrong, mut verdicts) = (Vec::new(), std::collections::BTreeMap::new());
    for number in 0..count {
        let (folder, id, said) = forged(&mut random);
        let run = folder.path().join("run");
        let found = verify(&run, Some(&library), &[]);
        let first = found.findings.first();
        let Some(other) = second_opinion(&run, Some(&root()), &[], &[]) else { return };
        let line = first.filter(|first| first.file == STATE).map(|first| first.line);
        let same_line = line.is_none_or(|line| other["line"].as_u64() == line);
        if other["verdict"] != found.verdict.as_str() || !same_line {
            wrong.push(format!("{number}, {id}: {said}\n  {first:?}\n  the second: {other}"));
        }
        *verdicts.entry(found.verdict.as_str()).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(verdicts["tampered"] > count / 3 && verdicts["malformed"] > count / 8, "{verdicts:?}");
}

/// Earlier versions let a call that had begun use all its attempts, whatever `max_elapsed_ms` said. What
/// they wrote stays readable; running it again shows that the behaviour changed.
#[test]
fn a_ledger_from_before_the_budget_of_time_held_inside_a_call_verifies() {
    let folder = Folder::project();
    for input in ["tasks/budgets/elapsed.json", "policy/variants/budgets.yaml"] {
        folder.write(input, file(input));
    }
    let ledger = file("tests/cases/ledgers/retried_beyond_elapsed.jsonl");
    let made = project(ledger.as_slice(), Vec::new(), Vec::new()).unwrap();
    let run = "runs/budgets/elapsed";
    folder.write(&format!("{run}/{STATE}"), &ledger);
    folder.write(&format!("{run}/{TRACE}"), made.trace);
    folder.write(&format!("{run}/{REPORT}"), made.report);
    folder.write(&format!("{run}/{MANIFEST}"), made.manifest);
    let verified = folder.gatedrun(&["verify", run]);
    assert_eq!(verified.code, 0, "{}", verified.all());
    assert!(verified.out.contains("verified"), "{}", verified.all());
    let at = folder.path().join(run);
    if let Some(opinion) = second_opinion(&at, Some(folder.path()), &[], &[]) {
        assert_eq!(opinion["verdict"], "verified", "{opinion}");
    }
    let checked = folder.gatedrun(&["check", run]);
    assert_eq!(checked.code, 1, "{}", checked.all());
    assert!(checked.out.contains("differs: behaviour"), "{}", checked.all());
    let replayed = folder.gatedrun(&["replay", run]);
    assert_eq!(replayed.code, 1, "{}", replayed.all());
}
