//! What `review --accept` and `run --accept` take, what they say of it, and what a fault of the
//! machine or a kill on the way leaves.

use crate::support::Folder;
use crate::transactions::{RUN, injected, names, ok, proposed, tree};

/// A proposal that `check` lays again once this was done to it.
fn refused(spoil: impl Fn(&Folder), due: &str) {
    let folder = proposed();
    spoil(&folder);
    let before = tree(&folder);
    let ran = folder.gatedrun(&["review", "--accept"]);
    assert!(ran.code == 1 && ran.err.contains(due), "{due}: {}", ran.all());
    assert!(tree(&folder) == before, "{due}: something was changed");
}

#[test]
fn what_verify_would_not_pass_is_not_accepted() {
    let new = format!("{RUN}.new");
    let envelope = format!("{new}/attestation.intoto.json");
    refused(
        |folder| drop(folder.write(&envelope, "{}")),
        "it is malformed (attestation.intoto.json",
    );
    let folder_made = |path: &'static str| {
        let new = new.clone();
        move |folder: &Folder| {
            std::fs::create_dir_all(folder.path().join(&new).join(path)).unwrap();
        }
    };
    refused(folder_made("work/empty"), "work/empty: the run made no such folder");
    refused(folder_made("work/n/o/p"), "work/n/o: the run made no such folder");
    // A signature that is right is no reason against it.
    let folder = proposed();
    ok(&folder.gatedrun(&["keygen", "k.pem"]), 0);
    ok(&folder.gatedrun(&["sign", &new, "--key", "k.pem"]), 0);
    ok(&folder.gatedrun(&["review", "--accept"]), 0);
    ok(&folder.gatedrun(&["verify", RUN, "--key", "k.pub.pem", "--require-signature"]), 0);
}

#[test]
fn a_fault_of_the_machine_says_nothing_about_the_proposal() {
    let step = if crate::support::exhaustive() { 1 } else { 5 };
    for fault in
        ["openat:error=EIO", "getdents64:error=EIO", "read:error=EIO", "openat:error=EACCES"]
    {
        let mut met = 0;
        let mut folder = proposed();
        for when in (20..150).step_by(step) {
            if !names(&folder).contains(&"side.new".to_owned()) {
                folder = proposed();
            }
            let injection = format!("inject={fault}:when={when}");
            let Some((code, err)) = injected(&folder, &["review", "--accept"], &injection) else {
                return;
            };
            let is_input = fault.ends_with("EACCES") && err.contains("inputs cannot be loaded");
            let is_right = match code {
                0 => true,
                2 if is_input => err.contains("repeat the command"),
                8 => err.contains("repeat the command") || err.contains("may write to"),
                _ => false,
            };
            assert!(is_right, "{injection}: exit {code}: {err}");
            assert!(!err.contains("--reject"), "{injection}: {err}");
            met += usize::from(code != 0);
        }
        assert!(met > 0 || fault.starts_with("get"), "{fault}: no fault was met");
    }
}
