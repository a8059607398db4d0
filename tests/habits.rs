//! What every command has in common.

use std::process::Command;

use gatedrun::cli::look::Colour;
use serde_json::{Value, json};

use crate::commands::long;
use crate::support::{COMMANDS, Folder, Ran, copy, root};

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";

/// Starts a program on a terminal of so many columns, and prints what it showed there.
const PTY: &str = r#"
import fcntl, os, pty, struct, sys, termios
columns, folder, variables, command = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
pid, fd = pty.fork()
if pid == 0:
    os.chdir(folder)
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    os.execve(command[0], command, dict(part.split("=") for part in variables.split(",") if part))
shown = b""
while True:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    shown += part
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(shown)
sys.exit(code)
"#;

/// What a command shows on a terminal; none where there is no python3 to make one.
fn on_terminal(
    folder: &Folder,
    columns: u64,
    variables: &str,
    args: &[&str],
) -> Option<(i32, String)> {
    let output = Command::new("python3")
        .args(["-c", PTY, &columns.to_string(), folder.path().as_str(), variables])
        .arg(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .output();
    let Ok(output) = output else {
        // Written past the test's capture, so that it is seen.
        let skipped = "SKIPPED: python3 is missing, so nothing was tried on a terminal\n";
        std::io::Write::write_all(&mut std::io::stderr(), skipped.as_bytes()).unwrap();
        return None;
    };
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    Some((output.status.code().unwrap(), shown))
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn colour_is_as_the_user_then_the_environment_then_the_terminal_says() {
    // (option, variables, on a terminal, in a pipe)
    type Case = (Colour, &'static [(&'static str, &'static str)], bool, bool);
    let cases: [Case; 12] = [
        (Colour::Auto, &[], true, false),
        (Colour::Always, &[("NO_COLOR", "1"), ("TERM", "dumb")], true, true),
        (Colour::Never, &[("CLICOLOR_FORCE", "1")], false, false),
        (Colour::Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false, false),
        (Colour::Auto, &[("NO_COLOR", "")], true, false),
        (Colour::Auto, &[("CLICOLOR_FORCE", "1")], true, true),
        (Colour::Auto, &[("CLICOLOR_FORCE", "0")], true, false),
        (Colour::Auto, &[("FORCE_COLOR", "1")], true, true),
        (Colour::Auto, &[("FORCE_COLOR", "0")], false, false),
        (Colour::Auto, &[("TERM", "dumb")], false, false),
        (Colour::Auto, &[("TERM", "dumb"), ("FORCE_COLOR", "1")], true, true),
        (Colour::Auto, &[("CLICOLOR", "0")], false, false),
    ];
    for (option, variables, on_terminal, in_pipe) in cases {
        let of = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let is = (option.is_on(of, true), option.is_on(of, false));
        assert_eq!(is, (on_terminal, in_pipe), "{option:?} {variables:?}");
    }
    let folder = Folder::with_run();
    let coloured = |ran: Ran| ran.out.contains("\x1b[32m");
    assert!(!coloured(folder.gatedrun(&["check"])));
    assert!(coloured(folder.gatedrun(&["--color", "always", "check"])));
    assert!(coloured(folder.gatedrun(&["check", "--color=always"])));
    assert!(coloured(folder.gatedrun_with(&["check"], &[("CLICOLOR_FORCE", "1")])));
    if let Some((_, shown)) = on_terminal(&folder, 80, "", &["check"]) {
        assert!(shown.contains("\x1b[32m"), "{shown:?}");
        let (_, shown) = on_terminal(&folder, 80, "NO_COLOR=1", &["check"]).unwrap();
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn quiet_leaves_results_and_errors() {
    let folder = Folder::project();
    let loud = folder.gatedrun(&["run", TASK, "--out", "loud"]);
    let quiet = folder.gatedrun(&["run", TASK, "--out", "quiet", "-q"]);
    assert!(loud.out.contains("step 1") && loud.err.contains("isolation"), "{}", loud.all());
    assert!(!quiet.out.contains("step 1") && quiet.err.is_empty(), "{}", quiet.all());
    assert!(quiet.out.contains("final_answer after 5 steps"), "{}", quiet.all());
    let ran = folder.gatedrun(&["--quiet", "verify", "loud"]);
    assert!(ran.err.is_empty() && ran.out.starts_with("loud: "), "{}", ran.all());
    let ran = folder.gatedrun(&["-q", "verify", "absent"]);
    assert!(ran.code == 2 && ran.err.contains("absent"), "{}", ran.all());
}

/// A project with a run that takes more than a second to verify, however fast the machine is.
fn over_a_second(run: &str) -> Folder {
    let mut steps = 16_000;
    loop {
        let folder = Folder::lenient_project();
        long(&folder, steps);
        let ran = folder.gatedrun(&["run", "tasks/test/long.json", "-q"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let since = std::time::Instant::now();
        folder.gatedrun(&["verify", run]);
        if since.elapsed().as_millis() > 1_500 {
            return folder;
        }
        steps *= 2;
    }
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let run = "runs/test/long";
    let folder = over_a_second(run);
    let is_shown = |shown: &str| shown.contains(" events  ");
    for args in [&["verify", run][..], &["check", run], &["replay", run]] {
        let ran = folder.gatedrun(args);
        assert!(ran.code != 2 && !is_shown(&ran.all()), "{}", ran.all());
        let Some((code, shown)) = on_terminal(&folder, 80, "TERM=xterm", args) else { return };
        assert_eq!(code, ran.code, "{shown}");
        assert!(is_shown(&shown), "{args:?}: {shown:?}");
        // It is wiped: what is left of it is not followed by an end of line.
        let last = shown.rfind(" events  ").unwrap();
        assert!(shown[last..].contains("\x1b[2K"), "{args:?}: {:?}", &shown[last..]);
    }
    for silent in ["--json", "-q"] {
        let args = ["verify", run, silent];
        let (_, shown) = on_terminal(&folder, 80, "TERM=xterm", &args).unwrap();
        assert!(!is_shown(&shown), "{args:?}: {shown:?}");
    }
    let (_, shown) = on_terminal(&folder, 80, "TERM=dumb", &["verify", run]).unwrap();
    assert!(!is_shown(&shown), "{shown:?}");
}

#[test]
fn list_names_every_task_and_run_and_how_it_stands() {
    let folder = Folder::with_run();
    let task = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("tasks/canonical/new.json", task.replace("canonical/v1", "canonical/new"));
    copy(
        folder.path().join(RUN).as_std_path(),
        folder.path().join("runs/canonical/orphan").as_std_path(),
    );
    copy(
        folder.path().join(RUN).as_std_path(),
        folder.path().join("runs/canonical/v1.new").as_std_path(),
    );
    folder.write("runs/canonical/cut.partial/state.jsonl", "");
    folder.gatedrun(&["keygen", "k.pem"]);
    folder.gatedrun(&["sign", RUN, "--key", "k.pem"]);
    let ran = folder.gatedrun(&["list", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let rows: Vec<Value> = lines(&ran)
        .iter()
        .map(|row| json!([row["run"], row["task"], row["standing"], row["end"], row["signed"]]))
        .collect();
    let due = json!([
        ["runs/canonical/cut.partial", null, "unfinished", null, false],
        [null, "tasks/canonical/new.json", "no_run", null, false],
        ["runs/canonical/orphan", null, "no_task", "final_answer", false],
        [RUN, TASK, "committed", "final_answer", true],
        ["runs/canonical/v1.new", TASK, "proposal", "final_answer", false],
    ]);
    assert_eq!(Value::Array(rows), due, "{}", ran.out);
    let row = &lines(&ran)[3];
    assert_eq!((&row["events"], &row["decisions"]), (&json!(38), &json!({"allow": 4})));
    insta::assert_snapshot!("list", folder.gatedrun(&["list"]).all());
    folder.edit("runs/canonical/orphan/state.jsonl", "\"seq\":2,", "\"seq\":two,");
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.code == 5 && ran.out.contains("state.jsonl: "), "{}", ran.all());
    let whole = folder.read(&format!("{RUN}/state.jsonl"));
    let lines = whole.split_inclusive(|byte| *byte == b'\n');
    let cut = lines.take(3).flatten().copied().collect::<Vec<u8>>();
    folder.write("runs/canonical/orphan/state.jsonl", cut);
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.code == 5 && ran.out.contains("the ledger ends before"), "{}", ran.all());
    std::fs::remove_dir_all(folder.path().join("runs/canonical/orphan")).unwrap();
    folder.write("tasks/canonical/new.json", "{\n  oops");
    let ran = folder.gatedrun(&["list"]);
    assert!(ran.code == 2 && ran.out.contains("new.json: line 2, column 3"), "{}", ran.all());
    let ran = folder.gatedrun(&["list", "data"]);
    assert!(ran.code == 2 && ran.err.contains("name a project's folder"), "{}", ran.all());
}

#[test]
fn run_takes_a_folder_of_tasks() {
    let folder = Folder::project();
    let task = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("tasks/canonical/broken.json", "{");
    folder.write("tasks/canonical/v2.json", task.replace("canonical/v1", "canonical/v2"));
    for named in ["tasks", "tasks/canonical", "."] {
        let ran = folder.gatedrun(&["run", named, "--json"]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        let found: Vec<Value> =
            lines(&ran).iter().map(|line| json!([line["task"], line["error"]["code"]])).collect();
        let due = json!([[null, 2], ["canonical/v1", null], ["canonical/v2", null]]);
        assert_eq!(Value::Array(found), due, "{named}: {}", ran.out);
    }
    let ran = folder.gatedrun(&["run", "data/corpus/v1/absent"]);
    assert!(ran.code == 2 && ran.err.contains("no such file"), "{}", ran.all());
    folder.write("tasks/empty/readme.txt", "");
    let ran = folder.gatedrun(&["run", "tasks/empty"]);
    assert!(ran.code == 2 && ran.err.contains("empty: no tasks in this folder"), "{}", ran.all());
    // What lies deeper belongs to others: their tasks are not run.
    let above = Folder::new();
    copy(folder.path().as_std_path(), above.path().join("theirs").as_std_path());
    std::fs::remove_dir_all(above.path().join("theirs/runs")).unwrap();
    let ran = above.gatedrun(&["run", "."]);
    assert!(ran.code == 2 && ran.err.contains(".: a folder without"), "{}", ran.all());
    assert!(!above.path().join("theirs/runs").exists());
    let ran = folder.gatedrun(&["run", "tasks", "--out", "x"]);
    assert!(ran.code == 2 && ran.err.contains("--out"), "{}", ran.all());
    let ran = folder.gatedrun(&["run", RUN]);
    assert!(ran.code == 2 && ran.err.contains("a run, not a task"), "{}", ran.all());
}

#[test]
fn with_json_an_error_is_a_line_on_stdout() {
    let folder = Folder::with_run();
    let cases: [&[&str]; 9] = [
        &["run", "absent.json"],
        &["check", "absent"],
        &["verify", "--ouput"],
        &["sign", "absent", "--key", "absent.pem"],
        &["keygen", "no/such/folder/k.pem"],
        &["policy", "explain", "policy/v1.yaml", "{"],
        &["policy", "decide", "absent.yaml"],
        &["corpus", "check", "absent"],
        &["review"],
    ];
    for args in cases {
        let plain = folder.gatedrun(args);
        let ran = folder.gatedrun(&[args, &["--json"]].concat());
        let [line] = lines(&ran).try_into().unwrap_or_else(|_| panic!("{}", ran.all()));
        assert_eq!(line["error"]["code"], ran.code, "{}", ran.all());
        let message = line["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty() && ran.code != 0 && ran.err.is_empty(), "{}", ran.all());
        if args != ["review"] {
            assert!(plain.code == ran.code && plain.out.is_empty(), "{}", plain.all());
        }
    }
}

#[test]
fn every_command_that_prints_data_takes_json() {
    let folder = Folder::new();
    for command in COMMANDS {
        let args: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let takes = folder.gatedrun(&args).out.contains("--json");
        assert_eq!(takes, !matches!(command, "completions" | "man"), "{command}");
    }
    let folder = Folder::with_run();
    let keys = &lines(&folder.gatedrun(&["keygen", "k.pem", "--json"]))[0];
    assert_eq!((&keys["private"], &keys["public"]), (&json!("k.pem"), &json!("k.pub.pem")));
    let signed = &lines(&folder.gatedrun(&["sign", RUN, "--key", "k.pem", "--json"]))[0];
    assert_eq!((&signed["verdict"], &signed["keyid"]), (&json!("signed"), &keys["keyid"]));
    let call = r#"{"tool": "read", "arguments": {"path": "/etc/passwd"}}"#;
    let ran = folder.gatedrun(&["policy", "explain", "policy/v1.yaml", call, "--json"]);
    let told = &lines(&ran)[0];
    assert_eq!((&told["decision"], &told["rule_id"]), (&json!("deny"), &json!("sandbox_path")));
    let built = &lines(&folder.gatedrun(&["corpus", "build", "new", "--json"]))[0];
    let written = built["written"].as_array().unwrap().len();
    assert!(written > 1 && built["files"] == written, "{built}");
    copy(
        folder.path().join(RUN).as_std_path(),
        folder.path().join("runs/canonical/v1.new").as_std_path(),
    );
    let ran = folder.gatedrun(&["review", "--reject", "--json"]);
    assert_eq!(lines(&ran), [json!({"run": RUN, "verdict": "rejected", "message": null})]);
    let ran = folder.gatedrun(&["run", TASK, "--json"]);
    assert_eq!(lines(&ran)[0]["verdict"], "identical", "{}", ran.all());
}

#[test]
fn a_slip_is_answered_with_what_was_meant() {
    let folder = Folder::project();
    for (args, meant) in [
        (&["run", "--ouput", "x"][..], "'--out'"),
        (&["run", "--output=x"], "'--out'"),
        (&["check", "--junt", "x"], "'--junit'"),
        (&["policy", "check", "--contract", "x"], "'--contracts'"),
        (&["verify", "--quite"], "'--quiet'"),
    ] {
        let ran = folder.gatedrun(args);
        assert!(ran.code == 2 && ran.err.contains(meant), "{}", ran.all());
        assert!(!ran.err.contains("-- --"), "{}", ran.all());
    }
    let ran = folder.gatedrun(&["run", "--nothing-like-it"]);
    assert!(ran.code == 2 && !ran.err.contains("tip"), "{}", ran.all());
    for args in [&["run", "--seed", "-1"][..], &["corpus", "build", "x", "--seed", "one"]] {
        let ran = folder.gatedrun(args);
        let due = "a seed is a whole number from 0 to 9223372036854775807";
        assert!(ran.code == 2 && ran.err.contains(due), "{}", ran.all());
    }
    let edited = |path: &str, from: &str, to: &str| {
        let folder = Folder::project();
        folder.edit(path, from, to);
        folder.gatedrun(&["run", TASK]).err
    };
    let told = edited(TASK, "\"question\"", "\"qestion\"");
    assert!(told.contains("unknown key \"qestion\"; rename it to \"question\""), "{told}");
    assert!(!told.contains("missing"), "{told}");
    let told = edited(TASK, "reason\": \"final_answer\"", "reason\": \"final_anser\"");
    assert!(told.contains("(did you mean \"final_answer\"?)"), "{told}");
    for end in ["loop_budget", "no_progress"] {
        assert!(told.contains(&format!("\"{end}\"")), "{told}");
    }
    let told = edited("policy/v1.yaml", "max_iterations: 10", "max_iteration: 10");
    assert!(told.contains("rename it to `max_iterations`"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let told = edited("tools/read.json", "\"description\"", "\"descripton\"");
    assert!(told.contains("rename it to \"description\"") && !told.contains("missing"), "{told}");
}

#[test]
fn help_lists_every_exit_code() {
    let help = Folder::new().gatedrun(&["--help"]).out;
    for (code, says) in gatedrun::cli::exit::ALL {
        let first = says.split(' ').take(4).collect::<Vec<_>>().join(" ");
        assert!(help.contains(&format!("  {code:>3}  {first}")), "{code}: {help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

#[test]
fn lines_fit_the_terminal() {
    let folder = Folder::with_run();
    let wrong = "a/folder/whose/name/is/quite/long/and/which/does/not/exist at all";
    folder.edit("runs/canonical/v1/run_report.md", "final_answer", "final_anwser");
    folder.gatedrun(&["run", TASK, "--seed", "1", "--out", "other"]);
    for columns in [40, 80] {
        for args in [
            &["show", RUN][..],
            &["show", "other"],
            &["check", RUN],
            &["verify", RUN],
            &["diff", RUN, "other"],
            &["verify", wrong],
            &["run", "--seed", "-1"],
        ] {
            let Some((_, shown)) = on_terminal(&folder, columns, "NO_COLOR=1", args) else {
                return;
            };
            assert!(!shown.is_empty());
            for line in shown.lines() {
                let width = line.trim_end_matches('\r').chars().count() as u64;
                assert!(width <= columns, "{args:?} at {columns}: {width} columns: {line:?}");
            }
        }
    }
}

#[test]
fn an_error_says_what_is_so_and_what_to_write() {
    let folder = Folder::project();
    let run = "runs/canonical/v1";
    copy(root().join(run).as_std_path(), folder.path().join(run).as_std_path());
    copy(root().join(run).as_std_path(), folder.path().join("lost").as_std_path());
    std::fs::remove_file(folder.path().join("lost/state.jsonl")).unwrap();
    folder.write("notes.md", "notes");
    let long = "x".repeat(3000);
    let cases: [(&[&str], i32, &str); 14] = [
        (&["review", "runs/canonical/v1.partial"], 2, "name the run, runs/canonical/v1"),
        (&["review", "notes.md"], 2, "notes.md: not a folder; name a run or a folder of runs"),
        (&["review", "nothing"], 2, "nothing: no such folder"),
        (&["review"], 0, "runs: no proposal; `gatedrun check` and `gatedrun run` write one"),
        (&["regression", "notes.md"], 2, "notes.md: not a folder; name a project's folder"),
        (&["--json", "verify"], 2, "'--json' belongs after the command"),
        (&["keygen", "notes.md"], 2, "already exists, and keygen replaces no file"),
        (&["verify", "--key", "notes.md"], 2, "not an Ed25519 public key in PEM (\"BEGIN"),
        (&["sign", run, "--key", "notes.md"], 2, "not an Ed25519 private key in PEM (PKCS#8"),
        (&["diff", run, run, "--width", "5"], 2, "a whole number from 20 to 1000 is expected"),
        (&["show", "lost"], 5, "lost/state.jsonl: no such file; restore it"),
        (&["diff", "lost", run], 5, "lost/state.jsonl: cannot be read: no such file"),
        (&["frob"], 2, "unrecognized subcommand 'frob'"),
        (&["show", &long], 2, "xxx…"),
    ];
    for (args, code, said) in cases {
        let ran = folder.gatedrun(args);
        let name = args.concat().chars().take(60).collect::<String>();
        assert_eq!(ran.code, code, "{name}: {}", ran.all());
        assert!(ran.all().contains(said), "{name}: {}", ran.all());
        for raw in ["os error", "ASN.1", "error:", "For more information"] {
            assert!(!ran.all().contains(raw), "{name}: {raw}: {}", ran.all());
        }
    }
    std::fs::rename(folder.path().join(run), folder.path().join("mine")).unwrap();
    let ran = folder.gatedrun(&["show", "mine"]);
    let next = "`gatedrun check mine --task tasks/canonical/v1.json` runs the task again";
    assert!(ran.out.contains(next), "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "mine", "--task", "tasks/canonical/v1.json"]).code, 0);
    let help = Folder::new().gatedrun(&[]);
    assert!(help.code == 2 && help.err.starts_with("Run an LLM agent"), "{}", help.all());
}

#[test]
fn a_run_of_another_seed_is_not_offered_for_review() {
    let folder = Folder::with_run();
    let ran = folder.gatedrun(&["run", TASK, "--seed", "3"]);
    assert!(ran.code == 1 && ran.out.contains("cannot be accepted: the run in"), "{}", ran.all());
    assert!(ran.out.contains("--out") && !ran.out.contains("gatedrun review"), "{}", ran.all());
    let ran = folder.gatedrun(&["run", TASK, "--seed", "3", "--out", "seed-3"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    // The next step that is named confirms the run.
    let ran = folder.gatedrun(&["show", "seed-3"]);
    let next = "gatedrun verify seed-3 --project .";
    assert!(ran.out.contains(next), "{}", ran.all());
    let ran = folder.gatedrun(&["verify", "seed-3"]);
    assert!(ran.code == 6 && ran.out.contains("`--project .`"), "{}", ran.all());
    let args: Vec<&str> = next.split(' ').skip(1).collect();
    let ran = folder.gatedrun(&args);
    assert!(ran.code == 0 && ran.out.contains("verified"), "{}", ran.all());
}

#[test]
fn what_is_built_in_needs_no_project() {
    let folder = Folder::new();
    assert_eq!(folder.gatedrun(&["run", "--out", "here"]).code, 0);
    let ran = folder.gatedrun(&["verify", "here"]);
    assert!(ran.code == 0 && ran.out.contains("here: verified"), "{}", ran.all());
    let ledger = String::from_utf8(folder.read("here/state.jsonl")).unwrap();
    // A path without the prefix is one of a project, whatever else has it.
    assert!(ledger.contains("builtin:policy/v1.yaml"));
    let (project, out) = (Folder::project(), folder.path().join("there"));
    assert_eq!(project.gatedrun(&["run", TASK, "--out", out.as_str()]).code, 0);
    let ran = folder.gatedrun(&["verify", "there"]);
    assert!(ran.code == 6 && ran.out.contains("--project"), "{}", ran.all());
}

#[test]
fn a_project_with_other_tasks_has_no_task_of_its_own_accord() {
    let folder = Folder::project();
    let task = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("tasks/mine.json", task.replace("canonical/v1", "mine"));
    std::fs::remove_file(folder.path().join(TASK)).unwrap();
    let ran = folder.gatedrun(&["run"]);
    assert!(ran.code == 2 && ran.err.contains("for example tasks/mine.json"), "{}", ran.all());
    assert!(!folder.path().join("runs").exists());
    assert_eq!(folder.gatedrun(&["run", "builtin:tasks/canonical/v1.json"]).code, 0);
    let empty = Folder::new();
    std::fs::create_dir(empty.path().join("runs")).unwrap();
    let ran = empty.gatedrun(&["regression"]);
    assert!(ran.code == 2 && ran.err.contains(".: nothing was checked"), "{}", ran.all());
}

#[test]
fn an_error_in_a_file_names_it_by_a_path_that_opens() {
    let (folder, other) = (Folder::project(), Folder::new());
    folder.edit("policy/v1.yaml", "version: 1", "version: 7");
    let task = folder.path().join(TASK);
    let ran = other.gatedrun(&["run", task.as_str()]);
    let named = format!("{}: line ", folder.path().join("policy/v1.yaml"));
    assert!(ran.code == 2 && ran.err.contains(&named), "{}", ran.all());
}

#[test]
fn a_key_of_the_wrong_kind_is_told_apart() {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    let ran = folder.gatedrun(&["verify", RUN, "--key", "k.pem"]);
    assert!(ran.code == 2 && ran.err.contains("this is a private key"), "{}", ran.all());
    let ran = folder.gatedrun(&["verify", RUN, "--key", "none.pem"]);
    assert!(ran.code == 2 && ran.err.contains("name a public key"), "{}", ran.all());
    let ran = folder.gatedrun(&["sign", RUN, "--key", "none.pem"]);
    assert!(ran.code == 2 && ran.err.contains("gatedrun keygen"), "{}", ran.all());
    let long = "x".repeat(300);
    for command in ["verify", "show", "check", "replay"] {
        let ran = folder.gatedrun(&[command, &long]);
        assert!(ran.code == 2 && ran.err.contains("no such"), "{command}: {}", ran.all());
    }
}

#[test]
fn what_needs_a_call_and_has_none_is_refused() {
    let folder = Folder::project();
    let policy = "policy/v1.yaml";
    for option in [["--fixtures", "fixtures.local=corpus"], ["--task", TASK]] {
        let ran = folder
            .gatedrun(&[["policy", "explain", policy], [option[0], option[1], "-q"]].concat());
        assert!(ran.code == 2 && ran.err.contains("add the call"), "{}", ran.all());
    }
    let call = r#"{"tool": "read", "args": {"path": "corpus/op-01.md"}}"#;
    let ran = folder.gatedrun(&["policy", "explain", policy, call]);
    assert!(ran.code == 2 && ran.err.contains("rename \"args\" to \"arguments\""), "{}", ran.all());
    // Other keys are the caller's own.
    let call = r#"{"tool": "read", "arguments": {"path": "corpus/op-01.md"}, "args": 1}"#;
    assert_eq!(folder.gatedrun(&["policy", "explain", policy, call]).code, 0);
}
