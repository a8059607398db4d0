//! A mount beside the two built-in ones, through the real gate: handed in, listed by policy, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatedrun::contract::{Contract, Contracts};
use gatedrun::corpus::Corpus;
use gatedrun::event::{Detail, ProposedCall, Rule};
use gatedrun::policy::call::{Denied, Standing};
use gatedrun::policy::capability::Grant;
use gatedrun::policy::gate::{Gate, Verdict};
use gatedrun::policy::hosts::Hosts;
use gatedrun::policy::path::{Mount, MountName, MountNames, MountPath, Mounts, Opened};
use gatedrun::policy::{self, spec::Policy};
use serde_json::{Value, json};

use crate::support::{Folder, file};

fn contracts() -> Contracts {
    let contract = |name: &str| {
        let path = format!("tools/{name}.json");
        Contract::load(&path, &file(&path)).unwrap()
    };
    Contracts::new(vec![contract("read"), contract("write"), contract("fetch")]).unwrap()
}

fn documents(files: &[(&str, &str)]) -> Arc<Corpus> {
    let files: BTreeMap<String, Vec<u8>> =
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    Arc::new(Corpus::from_files("documents", files).unwrap())
}

fn library() -> MountName {
    MountName::new("library").unwrap()
}

fn names() -> MountNames {
    MountNames::built_in().and(&library()).unwrap()
}

/// The corpus, a work folder, and documents under a third name.
fn mounts(folder: &Folder) -> Mounts {
    let corpus = documents(&[("a.md", "of the corpus")]);
    Mounts::new(corpus, folder.path().join("work"))
        .and(Mount::documents(library(), documents(&[("guide/a.md", "of the library")])))
        .unwrap()
}

fn policy_text(read: &str, write: &str) -> String {
    format!(
        "version: 1\ntool_registry:\n  allowed: [read, write, fetch]\nurl_allowlist:\n  hosts:\n    - host: library.test\n    - host: other.test\nsandbox:\n  read: [{read}]\n  write: [{write}]\n"
    )
}

fn policy_over(names: &MountNames, read: &str, write: &str) -> Result<Policy, String> {
    policy::read_over("p.yaml", policy_text(read, write).as_bytes(), &contracts(), names)
        .map(|(policy, _)| policy)
        .map_err(|problems| problems.to_string())
}

fn decided(policy: &Policy, mounts: &Mounts, tool: &str, arguments: Value) -> Verdict {
    // A host is served from any mount that there is.
    let (contracts, hosts) = (contracts(), Hosts::of_mounts([("library.test", "library")]));
    let mut gate = Gate::new(policy, &contracts, &hosts, mounts.clone());
    let call = ProposedCall { call_id: "call_0".into(), tool: tool.into(), arguments };
    gate.decide_call(&call, &Standing::default()).unwrap().0
}

fn denied(verdict: Verdict) -> Denied {
    match verdict {
        Verdict::Allow(allowed) => panic!("{allowed:?}"),
        Verdict::Deny(denied) => denied,
    }
}

fn read(verdict: Verdict) -> String {
    let Verdict::Allow(allowed) = verdict else { panic!("{verdict:?}") };
    let [Grant::Read(file)] = allowed.grants() else { panic!("{allowed:?}") };
    format!("{}: {}", file.name(), file.read().unwrap())
}

#[test]
fn a_third_mount_is_read_where_policy_lists_it() {
    let folder = Folder::new();
    let mounts = mounts(&folder);
    let listed = policy_over(&names(), "corpus, library", "work").unwrap();
    let from = |policy, path: &str| decided(policy, &mounts, "read", json!({"path": path}));
    assert_eq!(read(from(&listed, "library/./guide/a.md")), "library/guide/a.md: of the library");
    assert_eq!(read(from(&listed, "corpus/a.md")), "corpus/a.md: of the corpus");
    let refused = denied(from(&listed, "library/../corpus/a.md"));
    assert_eq!(refused.reason, "the path leaves its mount library");
    // The names are those of the mounts that were handed in.
    let refused = denied(from(&listed, "shelf/a.md"));
    assert_eq!(refused.reason, "\"shelf\" is no mount; the mounts are corpus, work, library");

    let unlisted = policy_over(&names(), "corpus", "work").unwrap();
    let refused = denied(from(&unlisted, "library/guide/a.md"));
    assert_eq!(refused.rule, Rule::SandboxPath);
    assert_eq!(refused.reason, "mount \"library\" is not on sandbox.read");
    assert_eq!(refused.details[&Detail::SandboxRoot], "library");
    assert_eq!(refused.details[&Detail::ResolvedPath], "guide/a.md");
}

#[test]
fn a_host_is_served_from_a_third_mount() {
    let folder = Folder::new();
    let mounts = mounts(&folder);
    let from = |read: &str, url: &str| {
        let policy = policy_over(&names(), read, "work").unwrap();
        decided(&policy, &mounts, "fetch", json!({"url": url}))
    };
    let file = |verdict: Verdict| {
        let Verdict::Allow(allowed) = verdict else { panic!("{verdict:?}") };
        let [Grant::Fetch(url)] = allowed.grants() else { panic!("{allowed:?}") };
        url.source().map(|file| file.name().to_owned())
    };
    let url = "https://library.test/guide/a.md";
    assert_eq!(file(from("library", url)).as_deref(), Some("library/guide/a.md"));
    let refused = denied(from("corpus", url));
    assert_eq!(refused.reason, "mount \"library\" is not on sandbox.read");
    // Only a network would lead to a host that nothing serves.
    assert_eq!(file(from("library", "https://other.test/guide/a.md")), None);
}

/// Whoever hands in no third mount has none, whatever the policy lists.
#[test]
fn a_mount_that_is_not_handed_in_is_none() {
    let folder = Folder::new();
    let two = Mounts::new(documents(&[("a.md", "x")]), folder.path().join("work"));
    let listed = policy_over(&names(), "corpus, library", "work").unwrap();
    let refused = denied(decided(&listed, &two, "read", json!({"path": "library/guide/a.md"})));
    assert_eq!(refused.reason, "\"library\" is no mount; the mounts are corpus, work");
    // Nor where its path was read with names that it does have.
    let path = MountPath::parse_in("library/guide/a.md", &names()).unwrap();
    assert!(matches!(two.open_read(&path, 10).unwrap(), Opened::Refused(_)));
    assert!(matches!(two.open_write(&path, 10).unwrap(), Opened::Refused(_)));
}

#[test]
fn a_policy_lists_the_mounts_that_there_are() {
    let problem = policy_over(MountNames::built_in(), "corpus, library", "work").unwrap_err();
    assert!(problem.contains("must be corpus or work (found \"library\")"), "{problem}");
    let problem = policy_over(&names(), "corpus, shelf", "work").unwrap_err();
    assert!(problem.contains("must be corpus, work or library (found \"shelf\")"), "{problem}");
    let problem = policy_over(&names(), "library", "library").unwrap_err();
    assert!(problem.contains("can only be work (found \"library\")"), "{problem}");
    // Its examples are judged over the same mounts.
    let example = |list: &str| {
        format!(
            "{}  examples:\n    {list}: [{{tool: read, arguments: {{path: library/a.md}}}}]\n",
            policy_text("library", "work")
        )
    };
    let load = |text: String| policy::read_over("p", text.as_bytes(), &contracts(), &names());
    load(example("allow")).unwrap();
    assert!(load(example("deny")).is_err());
}

/// A mount that was handed in is read-only, even for a policy that would let it be written.
#[test]
fn a_third_mount_is_never_written() {
    let folder = Folder::new();
    let mounts = mounts(&folder);
    let mut lax = policy_over(&names(), "corpus, library", "work").unwrap();
    lax.rules.sandbox_path.write.extend(["library".to_owned(), "corpus".to_owned()]);
    for path in ["library/x.md", "corpus/x.md"] {
        let arguments = json!({"path": path, "content": "x"});
        let refused = denied(decided(&lax, &mounts, "write", arguments));
        assert_eq!(refused.rule, Rule::SandboxPath);
        assert_eq!(refused.reason, format!("opening {path} was refused: its mount is read-only"));
    }
    assert!(!folder.path().join("work/x.md").exists());
}

#[test]
fn a_folder_of_the_machine_is_read_and_nothing_leads_out_of_it() {
    let folder = Folder::new();
    folder.write("shelf/a/b.md", "of the shelf");
    folder.write("secret.md", "SECRET");
    std::os::unix::fs::symlink("../secret.md", folder.path().join("shelf/link.md")).unwrap();
    std::os::unix::fs::symlink("..", folder.path().join("shelf/up")).unwrap();
    std::fs::hard_link(folder.path().join("secret.md"), folder.path().join("shelf/hard.md"))
        .unwrap();
    let shelf = Mount::folder(library(), folder.path().join("shelf"));
    let mounts = Mounts::new(documents(&[("a.md", "x")]), folder.path().join("work"));
    let mounts = mounts.and(shelf).unwrap();
    let policy = policy_over(&names(), "library", "work").unwrap();
    let from = |path: &str| decided(&policy, &mounts, "read", json!({"path": path}));
    assert_eq!(read(from("library/a/b.md")), "library/a/b.md: of the shelf");
    for path in ["library/link.md", "library/up/secret.md", "library/hard.md"] {
        let refused = denied(from(path));
        assert!(refused.details.contains_key(&Detail::OpenRefused), "{refused:?}");
    }
    // What is not there is the tool's error, as in the other mounts.
    let Verdict::Allow(absent) = from("library/none.md") else { panic!("denied") };
    let [Grant::Read(file)] = absent.grants() else { panic!("{absent:?}") };
    assert!(file.read().is_err());
}

#[test]
fn a_name_is_given_once_and_can_stand_in_a_path() {
    let folder = Folder::new();
    for taken in ["corpus", "work", "library"] {
        let name = MountName::new(taken).unwrap();
        let mount = Mount::documents(name, documents(&[("a.md", "x")]));
        let refused = mounts(&folder).and(mount).unwrap_err();
        assert_eq!(refused, format!("there is a mount {taken:?} already"));
    }
    let long = "a".repeat(65);
    for bad in ["", ".", "..", "a/b", "A", "a b", "-a", "9", "ä", "a\0", long.as_str()] {
        assert!(MountName::new(bad).is_err(), "{bad:?}");
    }
    assert!(MountName::new(&long[1..]).is_ok());
}
