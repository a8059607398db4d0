//! What shells and `man` are given.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{COMMANDS, Folder};

#[test]
fn completion_scripts_are_scripts_that_name_every_command() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let made = folder.gatedrun(&["completions", shell]);
        assert_eq!(made.code, 0, "{}", made.err);
        for command in COMMANDS {
            let word = command.split_whitespace().last().unwrap();
            assert!(made.out.contains(word), "{shell}: {command}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            bash.stdin.take().unwrap().write_all(made.out.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success(), "bash reads it");
        }
    }
    assert_eq!(folder.gatedrun(&["completions", "tcsh"]).code, 2);
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::new();
    let made = folder.gatedrun(&["man", "pages"]);
    assert_eq!(made.code, 0, "{}", made.err);
    for command in COMMANDS {
        let page = format!("pages/gatedrun-{}.1", command.replace(' ', "-"));
        let text = String::from_utf8(folder.read(&page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    folder.write("file", "");
    let refused = folder.gatedrun(&["man", "file"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(refused.err.contains("file: not a folder"), "{}", refused.err);
}
