use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use base64ct::{Base64, Encoding};
use camino::Utf8Path;
use serde::Deserialize;
use serde_json::Value;

use crate::commands::{long, signal};
use crate::support::{Folder, copy, file, root, text};
use crate::verify::fifo;

const TASK: &str = "tasks/canonical/v1.json";
const RUN: &str = "runs/canonical/v1";
const ATTESTATION: &str = "runs/canonical/v1/attestation.intoto.json";

/// The program in a shell, with stdout as the shell makes it; exit code and stderr.
fn in_shell(folder: &Folder, args: &[&str], redirection: &str) -> (i32, String) {
    let ran = Command::new("sh")
        .arg("-c")
        .arg(format!("exec \"$0\" \"$@\" {redirection}"))
        .arg(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("CI", "1")
        .output()
        .unwrap();
    (ran.status.code().unwrap_or(-1), String::from_utf8(ran.stderr).unwrap())
}

/// The program with a reader of stdout that leaves at once.
fn unread(folder: &Folder, args: &[&str]) -> i32 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("CI", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.wait().unwrap().code().unwrap_or(-1)
}

/// A project in which every command that judges has something to find.
fn with_defects() -> (Folder, Vec<(Vec<&'static str>, i32)>) {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    copy(folder.path().join(RUN).as_std_path(), folder.path().join("runs/good/v1").as_std_path());
    let good = String::from_utf8(folder.read(TASK)).unwrap();
    folder.write("tasks/good/v1.json", good.replace("canonical/v1", "good/v1"));
    folder.gatedrun(&["run", "tasks/good/v1.json", "--accept"]);
    folder.edit(&format!("{RUN}/run_report.md"), "75 days", "57 days");
    folder.write(
        "cases.jsonl",
        "{\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}, \"decision\": \"allow\"}\n",
    );
    let policy = String::from_utf8(folder.read("policy/v1.yaml")).unwrap();
    folder.write("next.yaml", policy.replace("denied: []", "denied: [fetch]"));
    let commands = vec![
        (vec!["verify", RUN], 1),
        (vec!["verify", "runs", "--json"], 1),
        (vec!["check", RUN], 1),
        (vec!["check", "runs", "--json"], 1),
        (vec!["check", RUN, "--attest", "att.json", "--key", "k.pem"], 1),
        (vec!["replay", "runs"], 1),
        (vec!["policy", "test", "policy/v1.yaml", "cases.jsonl"], 1),
        (vec!["show", RUN], 0),
        (vec!["verify", "runs/good/v1"], 0),
    ];
    (folder, commands)
}

#[test]
fn who_reads_stdout_does_not_decide_the_exit_code() {
    let (folder, commands) = with_defects();
    for (args, due) in &commands {
        let ran = folder.gatedrun_with(args, &[("CI", "1")]);
        assert_eq!(ran.code, *due, "{args:?}: {}", ran.all());
        for _ in 0..20 {
            let _ = std::fs::remove_file(folder.path().join("att.json"));
            assert_eq!(unread(&folder, args), *due, "{args:?} with a closed reader");
            let attests = args.contains(&"--attest");
            assert!(!attests || folder.path().join("att.json").exists(), "no attestation");
        }
        assert_eq!(in_shell(&folder, args, ">&-").0, *due, "{args:?} with stdout closed");
        // A full device: the message says where, and a good verdict is not reported as one.
        let (code, told) = in_shell(&folder, args, ">/dev/full");
        assert_eq!(code, 8, "{args:?} with a full stdout: {told}");
        assert!(told.contains("stdout: no space left on the device"), "{args:?}: {told}");
    }
    assert_eq!(in_shell(&folder, &["--help"], ">/dev/full").0, 8);
    // Regression, on what is worse.
    let folder = Folder::with_run();
    folder.edit(TASK, "\"75 days\"", "\"76 days\"");
    folder.edit(TASK, "\"max_sentences\": 2", "\"max_sentences\": 3");
    let due = folder.gatedrun(&["regression"]).code;
    assert_ne!(due, 0);
    assert!((0..20).all(|_| unread(&folder, &["regression"]) == due));
}

/// Everything that writes a file where its user says, with a place for that.
fn writers() -> [(&'static str, Vec<&'static str>); 3] {
    let replay = ["replay", RUN, "--policy", "policy/v1.yaml"];
    [
        ("--junit", replay.to_vec()),
        ("--sarif", replay.to_vec()),
        ("--attest", vec!["check", RUN, "--key", "k.pem"]),
    ]
}

#[test]
fn outputs_go_to_regular_files_only() {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    let at = |name: &str| folder.path().join(name);
    fifo(&at("fifo"));
    std::fs::create_dir(at("folder")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("fifo", at("to-fifo")).unwrap();
    symlink("loop", at("loop")).unwrap();
    folder.write("file", "");
    for (option, command) in writers() {
        for (name, says) in [
            ("fifo", "fifo: not a regular file (found a FIFO or a pipe)"),
            ("to-fifo", "to-fifo: not a regular file (found a FIFO or a pipe)"),
            ("folder", "folder: not a regular file (found a folder)"),
            ("socket", "socket: not a regular file (found a socket)"),
            ("/dev/full", "/dev/full: not a regular file (found a device)"),
            ("/dev/stdout", "/dev/stdout: not a regular file"),
            ("dangling", "dangling: a broken link"),
            ("loop", "loop: cannot write"),
            ("-", "\"-\": not the name of a file"),
            ("new/", "\"new/\": not the name of a file"),
            ("nowhere/x", "the folder nowhere does not exist"),
            ("file/x", "file/x: cannot write: a part of its path is not a folder"),
            ("runs/canonical/v1/x.json", "it is in the folder of the run"),
            ("runs/canonical/v1/manifest.json", "it is in the folder of the run"),
        ] {
            let ran = folder.gatedrun(&[&command[..], &[option, name]].concat());
            assert_eq!(ran.code, 2, "{option} {name}: {}", ran.all());
            assert!(ran.err.contains(says), "{option} {name}: {}", ran.all());
            assert!(ran.out.is_empty(), "{option} {name}: before any work: {}", ran.all());
        }
        assert!(at("fifo").metadata().unwrap().file_type().is_fifo());
        assert!(Utf8Path::new("/dev/full").metadata().unwrap().file_type().is_char_device());
        // A link to a file is followed, and the file keeps its permissions.
        let real = folder.write("below/real.xml", "");
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        let _ = symlink("below/real.xml", at("link"));
        let ran = folder.gatedrun(&[&command[..], &[option, "link"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert!(at("link").symlink_metadata().unwrap().is_symlink());
        assert_ne!(std::fs::read(&real).unwrap(), b"");
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        // Where stdout goes is not replaced under it.
        let (code, told) =
            in_shell(&folder, &[&command[..], &[option, "out.txt"]].concat(), ">out.txt");
        assert!(code == 2 && told.contains("stdout goes to this file"), "{code}: {told}");
    }
    // What the command reads is not what it writes.
    let key = folder.read("k.pem");
    let ran = folder.gatedrun(&["check", RUN, "--key", "k.pem", "--attest", "./k.pem"]);
    assert!(ran.code == 2 && folder.read("k.pem") == key, "{}", ran.all());
    let ran = folder.gatedrun(&[
        "replay",
        RUN,
        "--policy",
        "policy/v1.yaml",
        "--junit",
        "policy/v1.yaml",
    ]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    let both = ["--junit", "one.xml", "--sarif", "./below/../one.xml"];
    let ran = folder.gatedrun(&[&writers()[0].1[..], &both[..]].concat());
    assert!(
        ran.code == 2 && ran.err.contains("two outputs cannot go to one file"),
        "{}",
        ran.all()
    );
    // An attestation in a run is a file, and no link.
    symlink("/dev/null", at(ATTESTATION)).unwrap();
    let ran = folder.gatedrun(&["sign", RUN, "--key", "k.pem"]);
    assert!(ran.code == 2 && ran.err.contains("found a link"), "{}", ran.all());
    drop(socket);
}

#[test]
fn a_folder_that_may_not_be_written_is_the_hosts_refusal() {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    let nobody = |args: &[&str]| {
        let ran = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "./gatedrun"])
            .args(args)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output();
        ran.ok().map(|ran| (ran.status.code(), String::from_utf8(ran.stderr).unwrap()))
    };
    std::fs::copy(env!("CARGO_BIN_EXE_gatedrun"), folder.path().join("gatedrun")).unwrap();
    for name in ["", "k.pem"] {
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join(name), all).unwrap();
    }
    if nobody(&["--version"]).is_none_or(|(code, _)| code != Some(0)) {
        println!("skipped: this process cannot become another user");
        return;
    }
    for args in [
        &["keygen", "other.pem"][..],
        &["sign", RUN, "--key", "k.pem"],
        &["check", RUN, "--key", "k.pem", "--attest", "att.json"],
        &["replay", RUN, "--policy", "policy/v1.yaml", "--junit", "junit.xml"],
        &["corpus", "build", "corpus"],
        &["run", TASK, "--out", "mine"],
    ] {
        let (code, told) = nobody(args).unwrap();
        assert_eq!(code, Some(8), "{args:?}: {told}");
        assert!(told.contains("permission denied"), "{args:?}: {told}");
        assert!(told.contains("choose a folder that you may write to"), "{args:?}: {told}");
    }
}

/// The calls of the system that the writer makes, in which it is killed.
const CALLS: [&str; 8] =
    ["write", "fsync", "rename", "renameat2", "flock", "fchmod", "unlink", "fstat"];

/// The program, killed when it makes a call for the nth time; whether it was.
fn killed(folder: &Folder, call: &str, nth: u32, args: &[&str]) -> Option<bool> {
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let ran = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_gatedrun")])
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .output();
    ran.ok().map(|ran| !ran.status.success())
}

fn leftovers(folder: &Folder) -> Vec<String> {
    let all = walkdir::WalkDir::new(folder.path()).into_iter().map(|entry| entry.unwrap());
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("tmp")).collect()
}

#[test]
fn a_killed_writer_leaves_the_old_or_the_new() {
    let folder = Folder::with_run();
    for key in ["a.pem", "b.pem"] {
        assert_eq!(folder.gatedrun(&["keygen", key]).code, 0);
    }
    assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "a.pem"]).code, 0);
    let one = folder.read(ATTESTATION);
    let (mut kills, mut left) = (0, 0);
    for call in CALLS {
        for nth in 1..=3 {
            folder.write(ATTESTATION, &one);
            let Some(was_killed) = killed(&folder, call, nth, &["sign", RUN, "--key", "b.pem"])
            else {
                println!("skipped: no strace here");
                return;
            };
            kills += u32::from(was_killed);
            left += leftovers(&folder).len();
            let ran = folder.gatedrun(&["verify", RUN, "--key", "a.pub.pem"]);
            assert_eq!(ran.code, 0, "{call} {nth}: {}", ran.all());
            let ran = folder.gatedrun(&["sign", RUN, "--key", "b.pem"]);
            assert_eq!(ran.code, 0, "{call} {nth}: {}", ran.all());
            assert_eq!(leftovers(&folder), Vec::<String>::new(), "{call} {nth}");
        }
    }
    assert!(kills > 8 && left > 2, "{kills} kills left {left} files: the test has lost its eyes");
    for call in CALLS {
        for nth in 1..=3 {
            let folder = Folder::new();
            killed(&folder, call, nth, &["keygen", "k.pem"]);
            let has = |name: &str| folder.path().join(name).exists();
            let (private, public) = (has("k.pem"), has("k.pub.pem"));
            let again = folder.gatedrun(&["keygen", "k.pem"]);
            match (private, public) {
                (false, false) => assert_eq!(again.code, 0, "{call} {nth}: {}", again.all()),
                (true, true) => assert_eq!(again.code, 2, "{call} {nth}: {}", again.all()),
                (private, _) => {
                    // The private key is kept, and its public half completes the pair.
                    assert!(private && again.code == 0, "{}", again.all());
                    assert!(
                        again.err.contains("k.pem: already exists and was kept"),
                        "{}",
                        again.err
                    );
                }
            }
            let run = folder.path().join(RUN);
            std::fs::create_dir_all(run.parent().unwrap()).unwrap();
            copy(root().join(RUN).as_std_path(), run.as_std_path());
            assert_eq!(folder.gatedrun(&["sign", RUN, "--key", "k.pem"]).code, 0);
            let verify = ["verify", RUN, "--key", "k.pub.pem", "--require-signature"];
            let ran = folder.gatedrun(&[&verify[..], &["--project", root().as_str()]].concat());
            assert_eq!(ran.code, 0, "one pair: {}", ran.all());
            assert!(folder.read("k.pem").len() > 100 && folder.read("k.pub.pem").len() > 100);
            assert!(private || leftovers(&folder).is_empty(), "{call} {nth}");
        }
    }
}

#[test]
fn keygen_makes_a_pair_or_nothing() {
    let folder = Folder::new();
    folder.write("kk.pub.pem", "mine");
    let ran = folder.gatedrun(&["keygen", "kk.pem"]);
    assert!(ran.code == 2 && ran.err.contains("kk.pub.pem: already exists"), "{}", ran.all());
    assert!(!folder.path().join("kk.pem").exists(), "no half of a pair");
    folder.write("half.pem", "mine");
    let ran = folder.gatedrun(&["keygen", "half.pem"]);
    assert!(ran.code == 2 && ran.err.contains("half.pem"), "not a key: {}", ran.all());
    assert!(!folder.path().join("half.pub.pem").exists());
    symlink("elsewhere.pem", folder.path().join("link.pem")).unwrap();
    assert_eq!(folder.gatedrun(&["keygen", "link.pem"]).code, 2);
    assert!(!folder.path().join("elsewhere.pem").exists());
    let ran = folder.gatedrun(&["keygen", "nowhere/k.pem"]);
    assert!(
        ran.code == 2 && ran.err.contains("the folder nowhere does not exist"),
        "{}",
        ran.all()
    );
    // A key that others can read is warned of.
    let folder = Folder::with_run();
    assert_eq!(folder.gatedrun(&["keygen", "k.pem"]).code, 0);
    let ran = folder.gatedrun(&["sign", RUN, "--key", "k.pem"]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{}", ran.all());
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.path().join("k.pem"), open).unwrap();
    let ran = folder.gatedrun(&["sign", RUN, "--key", "k.pem"]);
    assert!(ran.code == 0 && ran.err.contains("chmod 600 k.pem"), "{}", ran.all());
}

/// The expected value was computed by securesystemslib 1.6.0, `SSlibKey.from_crypto(key).keyid`, for
/// the first test vector of RFC 8032.
#[test]
fn a_key_id_is_the_one_that_securesystemslib_computes() {
    let public: [u8; 32] = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07,
        0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07,
        0x51, 0x1a,
    ];
    let key = ed25519_dalek::VerifyingKey::from_bytes(&public).unwrap();
    assert_eq!(
        gatedrun::evidence::attest::key_id(&key),
        "74c181c7ad8a0855d4b55e44d2ba87aabdddb196832571f15f92fece332e4916"
    );
}

#[test]
fn a_second_signature_stands_beside_the_first() {
    let folder = Folder::with_run();
    for name in ["a.pem", "b.pem", "c.pem"] {
        assert_eq!(folder.gatedrun(&["keygen", name]).code, 0);
    }
    let sign = |key: &str| folder.gatedrun(&["sign", RUN, "--key", key]);
    let verify = |keys: &[&str]| {
        let keys = keys.iter().flat_map(|key| ["--key", key]);
        folder.gatedrun(&["verify", RUN].into_iter().chain(keys).collect::<Vec<_>>())
    };
    assert_eq!(sign("a.pem").code, 0);
    let second = sign("b.pem");
    assert!(second.code == 0 && second.out.contains("kept the signature by"), "{}", second.all());
    let both = folder.read(ATTESTATION);
    // The same in either order, and signing again changes nothing.
    std::fs::remove_file(folder.path().join(ATTESTATION)).unwrap();
    for key in ["b.pem", "a.pem", "b.pem"] {
        assert_eq!(sign(key).code, 0);
    }
    assert!(folder.read(ATTESTATION) == both);
    for (keys, due) in [
        (&["a.pub.pem"][..], 0),
        (&["b.pub.pem"], 0),
        (&["a.pub.pem", "b.pub.pem"], 0),
        (&["c.pub.pem", "b.pub.pem"], 0),
        (&["c.pub.pem"], 0),
        (&[], 0),
    ] {
        let ran = verify(keys);
        assert_eq!(ran.code, due, "{keys:?}: {}", ran.all());
        let is_named = ran.out.contains("; not checked: names key");
        assert_eq!(
            is_named,
            keys == ["a.pub.pem"]
                || keys == ["b.pub.pem"]
                || keys.len() == 2 && keys[0] == "c.pub.pem",
            "{}",
            ran.all()
        );
    }
    let ran = folder.gatedrun(&["verify", RUN, "--key", "a.pub.pem", "--json"]);
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    let verified: Vec<&Value> =
        line["signatures"].as_array().unwrap().iter().map(|one| &one["verified"]).collect();
    assert!(verified.len() == 2 && verified.iter().any(|v| **v == Value::Bool(true)), "{line}");
    // A key id that was changed while the key's signature stands.
    let text = String::from_utf8(both.clone()).unwrap();
    let at = text.rfind("\"keyid\":\"").unwrap() + 9 + 63;
    let letter = if &text[at..=at] == "f" { "e" } else { "f" };
    folder.write(ATTESTATION, format!("{}{letter}{}", &text[..at], &text[at + 1..]));
    let ran = verify(&["a.pub.pem", "b.pub.pem"]);
    assert!(ran.code == 1 && ran.out.contains("its keyid was changed"), "{}", ran.all());
    // The key id of earlier versions names the key too, and is replaced where the key signs again.
    std::fs::remove_file(folder.path().join(ATTESTATION)).unwrap();
    assert_eq!(sign("a.pem").code, 0);
    let pem = String::from_utf8(folder.read("a.pub.pem")).unwrap();
    let key = gatedrun::evidence::attest::verifying_key(&pem).unwrap();
    let old = gatedrun::json::Digest::of(key.as_bytes()).to_string();
    folder.edit(ATTESTATION, &gatedrun::evidence::attest::key_id(&key), &old);
    let ran = verify(&["a.pub.pem"]);
    let id = gatedrun::evidence::attest::key_id(&key);
    assert!(ran.code == 0 && ran.out.contains(&format!("signed by {id},")), "{}", ran.all());
    let ran = verify(&["b.pub.pem"]);
    assert!(
        ran.code == 0 && ran.out.contains(&format!("names key {old}, not given")),
        "{}",
        ran.all()
    );
    let before = folder.read(ATTESTATION);
    let sig =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).split("\"sig\":").nth(1).map(str::to_owned);
    let ran = sign("a.pem");
    assert!(ran.code == 0 && ran.err.contains("as earlier versions did"), "{}", ran.all());
    let after = String::from_utf8(folder.read(ATTESTATION)).unwrap();
    assert!(after.contains(&id) && !after.contains(&old), "{after}");
    assert_eq!(sig(after.as_bytes()), sig(&before));
    // A keyid that no key has is dropped where somebody signs.
    folder.edit(ATTESTATION, &id, "zz");
    let ran = verify(&["b.pub.pem"]);
    assert!(ran.code == 1 && ran.out.contains("64 lower-case"), "{}", ran.all());
    let ran = sign("b.pem");
    assert!(
        ran.code == 0 && ran.err.contains("dropped the signature of the key zz"),
        "{}",
        ran.all()
    );
    assert_eq!(verify(&["b.pub.pem"]).code, 0);
    // Where the run differs now, the old signatures go, and their keys are named.
    copy(
        root().join("runs/canonical/v1").as_std_path(),
        folder.path().join("runs/other/v1").as_std_path(),
    );
    folder.write(ATTESTATION, &both);
    let ran = folder.gatedrun(&["run", TASK, "--seed", "3", "--out", "other"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    folder.write("other/attestation.intoto.json", &both);
    let ran = folder.gatedrun(&["sign", "other", "--key", "c.pem"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(ran.err.matches("the run has changed since").count(), 2, "{}", ran.all());
    let envelope: Value =
        serde_json::from_slice(&folder.read("other/attestation.intoto.json")).unwrap();
    assert_eq!(envelope["signatures"].as_array().unwrap().len(), 1);
}

/// The fields that in-toto has published; any other is an error, as for its own readers.
mod in_toto {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Statement {
        #[serde(rename = "_type")]
        pub kind: String,
        pub subject: Vec<Resource>,
        #[serde(rename = "predicateType")]
        pub predicate_type: String,
        pub predicate: TestResult,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    pub struct TestResult {
        pub result: String,
        pub configuration: Vec<Resource>,
        #[expect(dead_code, reason = "published, and not written here")]
        pub url: Option<String>,
        #[serde(default)]
        pub passed_tests: Vec<String>,
        #[serde(default)]
        pub warned_tests: Vec<String>,
        #[serde(default)]
        pub failed_tests: Vec<String>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "published, and not all written here")]
    pub struct Resource {
        pub name: Option<String>,
        pub uri: Option<String>,
        #[serde(default)]
        pub digest: BTreeMap<String, String>,
        pub content: Option<String>,
        pub download_location: Option<String>,
        pub media_type: Option<String>,
        #[serde(default)]
        pub annotations: BTreeMap<String, Value>,
    }
}

#[test]
fn a_signed_check_is_the_predicate_that_in_toto_has_published() {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    let ran = folder.gatedrun(&["check", RUN, "--attest", "att.json", "--key", "k.pem"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let envelope: Value = serde_json::from_slice(&folder.read("att.json")).unwrap();
    let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
    let said: in_toto::Statement = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said.kind, "https://in-toto.io/Statement/v1");
    assert_eq!(said.predicate_type, "https://in-toto.io/attestation/test-result/v0.1");
    assert!(["PASSED", "WARNED", "FAILED"].contains(&said.predicate.result.as_str()));
    assert_eq!(said.predicate.passed_tests, [RUN]);
    assert!(said.predicate.warned_tests.is_empty() && said.predicate.failed_tests.is_empty());
    assert!(!said.predicate.configuration.is_empty());
    assert!(said.subject.iter().all(|one| one.digest["sha256"].len() == 64));
    // A descriptor has one of these three.
    for one in said.predicate.configuration.iter().chain(&said.subject) {
        assert!(one.uri.is_some() || !one.digest.is_empty() || one.content.is_some());
    }
}

#[test]
fn nothing_that_is_named_is_waited_for_or_read_without_end() {
    let folder = Folder::with_run();
    folder.gatedrun(&["keygen", "k.pem"]);
    fifo(&folder.path().join("fifo"));
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let huge = std::fs::File::create(folder.path().join("huge")).unwrap();
    huge.set_len(30 << 30).unwrap();
    let good = "builtin:policy/v1.yaml";
    let call = r#"{"tool": "search", "arguments": {"query": "x"}}"#;
    for bad in ["fifo", "folder", "socket", "huge", "/dev/zero", "/dev/full"] {
        for args in [
            &["policy", "check", bad][..],
            &["policy", "check", bad, "--json"],
            &["policy", "test", bad],
            &["policy", "test", good, bad],
            &["policy", "explain", bad, call],
            &["policy", "decide", bad],
            &["run", bad],
            &["check", RUN, "--task", bad],
            &["replay", RUN, "--policy", bad],
            &["sign", RUN, "--key", bad],
            &["verify", RUN, "--key", bad],
            &["check", RUN, "--attest", "att.json", "--key", bad],
        ] {
            let since = std::time::Instant::now();
            let (code, told) = folder.gatedrun_in_time(args);
            // These two report on stdout.
            assert_eq!(code, 2, "{args:?}: {told}");
            let is_told = args.contains(&"--json") || args.contains(&"--task");
            let says = match bad {
                "huge" => "larger than",
                "folder" if args[0] == "run" => "a folder without tasks;",
                _ => "not a regular file",
            };
            assert!(is_told || told.contains(says), "{args:?}: {told}");
            assert!(since.elapsed().as_secs() < 10, "{args:?}");
        }
        // In a folder that is read as a whole.
        if bad.starts_with('/') {
            continue;
        }
        for (place, command) in [
            ("c/tools/x.json", &["policy", "check", good, "--contracts", "c/tools"][..]),
            ("d/x.md", &["corpus", "check", "d"]),
        ] {
            let place = folder.path().join(place);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            let _ = std::fs::remove_file(&place);
            symlink(folder.path().join(bad), &place).unwrap();
            let (code, told) = folder.gatedrun_in_time(command);
            assert!(code == 2 || code == 1, "{bad} as {place}: {code} {told}");
            std::fs::remove_file(&place).unwrap();
            std::fs::rename(folder.path().join(bad), &place).unwrap();
            let (code, told) = folder.gatedrun_in_time(command);
            // A folder in a corpus is a folder of documents.
            assert!(code == 2 || code == 1, "{bad} as {place}: {code} {told}");
            std::fs::rename(&place, folder.path().join(bad)).unwrap();
        }
    }
    drop(socket);
}

#[test]
fn no_width_is_allocated_that_no_terminal_has() {
    let folder = Folder::with_run();
    let other = root().join("runs/policy_gates/pg1_off_allowlist_url");
    let diff = |width: &str| folder.gatedrun(&["diff", RUN, other.as_str(), "--width", width]);
    for width in ["20", "120", "1000"] {
        assert_eq!(diff(width).code, 1, "{}", diff(width).all());
    }
    for width in ["0", "19", "1001", "4000000000", "18446744073709551615", "x", "-1"] {
        assert_eq!(diff(width).code, 2, "{width}: {}", diff(width).all());
    }
}

#[test]
fn a_machine_without_threads_is_served_by_the_one_that_there_is() {
    let folder = Folder::with_run();
    std::fs::copy(env!("CARGO_BIN_EXE_gatedrun"), folder.path().join("gatedrun")).unwrap();
    for name in ["", "gatedrun"] {
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join(name), all).unwrap();
    }
    let starved = |args: &[&str]| {
        Command::new("setpriv")
            .args(["--reuid=65533", "--regid=65533", "--clear-groups"])
            .args(["prlimit", "--nproc=1:1", "./gatedrun"])
            .args(args)
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
    };
    for args in [&["verify", RUN][..], &["verify", "runs", "--json"], &["check", RUN]] {
        let Ok(ran) = starved(args) else { return println!("skipped: no setpriv here") };
        let told = String::from_utf8_lossy(&ran.stderr);
        if told.contains("setpriv") {
            return println!("skipped: this process cannot become another user");
        }
        assert_eq!(ran.status.code(), Some(0), "{args:?}: {told}");
    }
}

#[test]
fn a_temporary_folder_that_cannot_be_used_is_named() {
    let folder = Folder::with_run();
    folder.write("a-file", "");
    for args in
        [&["check", RUN][..], &["regression"], &["replay", RUN, "--policy", "policy/v1.yaml"]]
    {
        for tmp in ["/nonexistent", "a-file", "/proc"] {
            let ran = folder.gatedrun_with(args, &[("TMPDIR", tmp)]);
            assert_eq!(ran.code, 8, "{args:?} {tmp}: {}", ran.all());
            assert!(ran.err.contains(&format!("TMPDIR ({tmp})")), "{args:?}: {}", ran.all());
            assert!(!ran.out.contains("differs"), "{args:?}: {}", ran.all());
        }
        let ran = folder.gatedrun_with(args, &[("TMPDIR", "")]);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    }
}

#[test]
fn a_signal_ends_a_check_without_leaving_anything() {
    let folder = Folder::lenient_project();
    long(&folder, 20_000);
    assert_eq!(folder.gatedrun(&["run", "tasks/test/long.json", "--json"]).code, 0);
    std::fs::remove_dir_all(folder.path().join("tasks/canonical")).unwrap();
    for command in [&["check"][..], &["regression"]] {
        for name in ["-INT", "-TERM"] {
            let tmp = folder.path().join("tmp");
            std::fs::create_dir_all(&tmp).unwrap();
            let child = Command::new(env!("CARGO_BIN_EXE_gatedrun"))
                .args(command)
                .current_dir(folder.path())
                .env_clear()
                .env("TMPDIR", &tmp)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            while tmp.read_dir_utf8().unwrap().next().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            signal(&child, name);
            let ended = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(7), "{command:?} {name}: {told}");
            assert!(told.contains("interrupted"), "{told}");
            assert!(!String::from_utf8_lossy(&ended.stdout).contains("differs"));
            assert_eq!(tmp.read_dir_utf8().unwrap().count(), 0, "{command:?} {name}");
        }
    }
}

#[test]
fn ci_is_known_by_whatever_says_so() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        variable: String,
        value: String,
        is_ci: bool,
    }
    let cases: Vec<Case> = serde_json::from_slice(&file("tests/cases/ci.json")).unwrap();
    let page = text("docs/cli.md");
    let folder = Folder::with_run();
    for Case { variable, value, is_ci } in cases {
        assert!(page.contains(&format!("`{variable}`")), "docs/cli.md lacks {variable}");
        let environment = [(variable.as_str(), value.as_str())];
        for args in [&["run", TASK, "--accept"][..], &["review", "runs", "--accept"]] {
            let ran = folder.gatedrun_with(args, &environment);
            assert_eq!(ran.code, if is_ci { 2 } else { 0 }, "{variable}={value}: {}", ran.all());
            let named = ran.err.contains(&format!("in CI ({variable} is set)"));
            assert_eq!(named, is_ci, "{variable}={value}: {}", ran.all());
        }
    }
}
