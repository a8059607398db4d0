use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use gatedrun::event::Record;
use gatedrun::evidence::recorder::Recorded;
use gatedrun::inputs::{Inputs, Library, Root};
use gatedrun::ledger::Reader;

/// Every command, as its user types it.
pub const COMMANDS: [&str; 21] = [
    "run",
    "check",
    "verify",
    "sign",
    "keygen",
    "replay",
    "resume",
    "diff",
    "review",
    "regression",
    "list",
    "show",
    "policy check",
    "policy test",
    "policy decide",
    "policy explain",
    "corpus build",
    "corpus check",
    "schema",
    "completions",
    "man",
];

/// The project's root.
pub fn root() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Whether every case is wanted and not only a sample: `make exhaustive`.
pub fn exhaustive() -> bool {
    std::env::var_os("GATEDRUN_EXHAUSTIVE").is_some()
}

/// A file of the project.
pub fn file(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn text(path: &str) -> String {
    String::from_utf8(file(path)).unwrap()
}

/// The lines of a file between the first line that is `begin` and the next that is `end`.
pub fn lines_of(path: &str, begin: &str, end: &str) -> Vec<String> {
    let text = text(path);
    let lines = text.lines().skip_while(|line| *line != begin).skip(1);
    lines.take_while(|line| *line != end).map(str::to_owned).collect()
}

/// A folder of the test's own, with a space in its name, removed at the end.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("gatedrun test ").tempdir().unwrap())
    }

    /// A folder that is a project: the committed inputs, and the canonical task.
    pub fn project() -> Self {
        let folder = Self::new();
        for part in ["data", "policy", "tools", "tasks/canonical"] {
            copy(root().join(part).as_std_path(), &folder.path().join(part).into_std_path_buf());
        }
        folder
    }

    /// A project with its canonical run.
    pub fn with_run() -> Self {
        let folder = Self::project();
        let run = "runs/canonical/v1";
        copy(root().join(run).as_std_path(), folder.path().join(run).as_std_path());
        folder
    }

    /// A project whose policy has no examples, so that any of its rules can be changed.
    pub fn lenient_project() -> Self {
        let folder = Self::project();
        let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
        let mut kept = String::new();
        let mut skipping = false;
        for line in policy.lines() {
            skipping = line == "  examples:" || (skipping && line.starts_with("    "));
            if !skipping {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        folder.write("policy/v1.yaml", kept);
        folder
    }

    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Utf8PathBuf {
        let full = self.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, content).unwrap();
        full
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path().join(path)).unwrap()
    }

    /// Replaces text in a file, which must hold it.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let content = String::from_utf8(self.read(path)).unwrap();
        assert!(content.contains(from), "{path} does not hold {from:?}");
        self.write(path, content.replacen(from, to, 1));
    }

    pub fn library(&self) -> Library {
        Library::new(Root::Folder(self.path().to_owned()))
    }

    /// Runs the program in this folder with nothing but these variables in its environment.
    pub fn gatedrun(&self, args: &[&str]) -> Ran {
        self.gatedrun_with(args, &[])
    }

    /// Starts the program, with its output thrown away.
    pub fn spawn(&self, args: &[&str]) -> std::process::Child {
        self.spawn_to(args, std::process::Stdio::null())
    }

    /// Starts the program, with its output in a pipe that nobody reads.
    pub fn spawn_piped(&self, args: &[&str]) -> std::process::Child {
        self.spawn_to(args, std::process::Stdio::piped())
    }

    fn spawn_to(&self, args: &[&str], out: std::process::Stdio) -> std::process::Child {
        Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .stdout(out)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Runs the program where it could wait for ever; its exit code and what it says in error.
    pub fn gatedrun_in_time(&self, args: &[&str]) -> (i32, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let since = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            if since.elapsed().as_secs() > 30 {
                child.kill().unwrap();
                panic!("{args:?} has not ended");
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        (ended.status.code().unwrap_or(-1), told)
    }

    /// Runs the program with this on its standard input.
    pub fn gatedrun_stdin(&self, args: &[&str], input: &str) -> Ran {
        self.gatedrun_stdin_bytes(args, input.as_bytes())
    }

    /// Runs the program with these bytes on its standard input.
    pub fn gatedrun_stdin_bytes(&self, args: &[&str], input: &[u8]) -> Ran {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ran::new(child.wait_with_output().unwrap(), self.path().as_str())
    }

    /// Runs the program to a good end; the most memory that it held, in KiB, as the kernel says.
    pub fn peak_kib(&self, args: &[&str]) -> u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        loop {
            // The high-water mark only rises, so the last look before the end is near enough.
            if let Ok(text) = std::fs::read_to_string(&status)
                && let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:"))
            {
                peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            }
            if let Some(ended) = child.try_wait().unwrap() {
                assert!(ended.success(), "{args:?}");
                return peak;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Runs the program in a folder below this one.
    pub fn gatedrun_in(&self, below: &str, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path().join(below))
            .env_clear()
            .output()
            .unwrap();
        Ran::new(output, self.path().as_str())
    }

    pub fn gatedrun_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        Ran::new(output, self.path().as_str())
    }
}

/// What a process printed, with the test's folder replaced.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn new(output: Output, folder: &str) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(folder, "FOLDER");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Everything, for a snapshot.
    pub fn all(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs a task in memory.
pub fn run(inputs: &Inputs, work: &Utf8Path) -> (Recorded<Vec<u8>, Vec<u8>>, Vec<Record>) {
    let mut records = Vec::new();
    let recorded = gatedrun::run::run(
        inputs,
        work.to_owned(),
        gatedrun::run::Course::fresh(),
        Vec::new(),
        Vec::new(),
        |record| {
            records.push(record.clone());
        },
    )
    .unwrap();
    (recorded, records)
}

/// Reads a ledger back.
pub fn read_ledger(bytes: &[u8]) -> Result<Vec<Record>, gatedrun::ledger::LedgerError> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    Ok(records)
}

/// A task over the committed inputs with this script and, where given, a changed policy.
pub fn scripted(
    folder: &Folder,
    script: serde_json::Value,
    policy_edits: &[(&str, &str)],
) -> Inputs {
    let mut task: serde_json::Value =
        serde_json::from_slice(&file("tasks/canonical/v1.json")).unwrap();
    task["id"] = "test/script".into();
    task["llm"] = serde_json::json!({"script": script});
    task.as_object_mut().unwrap().remove("expected");
    folder.write("tasks/test/script.json", task.to_string());
    for (from, to) in policy_edits {
        folder.edit("policy/v1.yaml", from, to);
    }
    folder.library().load("tasks/test/script.json", None).unwrap()
}

/// A run that was cut short while a call ran whose contract promises nothing, and its task.
pub fn in_doubt() -> (Folder, String) {
    let folder = Folder::project();
    folder.edit("tools/write.json", "\"idempotentHint\": true", "\"idempotentHint\": false");
    let mut task: serde_json::Value =
        serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task.as_object_mut().unwrap().remove("expected");
    task["id"] = "test/doubt".into();
    task["llm"] = serde_json::json!({"script": [
        {"calls": [{"tool": "write", "arguments": {"path": "work/a.md", "content": "a"}}]},
        {"final_answer": "done"}
    ]});
    folder.write("tasks/test/doubt.json", task.to_string());
    assert_eq!(folder.gatedrun(&["run", "tasks/test/doubt.json"]).code, 0);
    let ledger = String::from_utf8(folder.read("runs/test/doubt/state.jsonl")).unwrap();
    let cut: String =
        ledger.split_inclusive('\n').take_while(|line| !line.contains("tool_attempted")).collect();
    std::fs::remove_dir_all(folder.path().join("runs/test/doubt")).unwrap();
    folder.write("runs/test/doubt.partial/state.jsonl", &cut);
    let at = cut.rfind("\"call_id\":\"").unwrap() + 11;
    (folder, cut[at..at + 21].to_owned())
}

/// The runs that are committed, as paths below `runs/`.
pub fn committed_runs() -> Vec<String> {
    let mut runs = Vec::new();
    for entry in walkdir::WalkDir::new(root().join("runs")).sort_by_file_name() {
        let entry = entry.unwrap();
        if entry.file_name() == "manifest.json" {
            let folder = Utf8Path::from_path(entry.path()).unwrap().parent().unwrap();
            runs.push(folder.strip_prefix(root().join("runs")).unwrap().to_string());
        }
    }
    assert!(!runs.is_empty());
    runs
}
