use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use gatedrun::corpus::{Corpus, Manifest, build};
use gatedrun::json::Digest;

use crate::support::{Folder, file, root};

#[test]
fn the_committed_corpus_is_what_the_generator_writes() {
    for (name, bytes) in build::files(build::SEED) {
        assert_eq!(bytes, file(&format!("data/corpus/v1/{name}")), "{name}");
    }
    assert_ne!(build::files(1), build::files(2));
}

#[test]
fn there_are_25_documents_of_the_stated_size_and_two_carry_instructions() {
    let corpus = Corpus::load(&root().join("data/corpus/v1"), "data/corpus/v1").unwrap();
    assert_eq!(corpus.documents().len(), 25);
    let manifest: Manifest = serde_json::from_slice(&file("data/corpus/v1/manifest.json")).unwrap();
    let mut planted = 0;
    for (document, entry) in corpus.documents().iter().zip(&manifest.documents) {
        let chars = document.text.chars().count();
        assert!((700..=1500).contains(&chars), "{}: {chars}", document.id);
        assert_eq!((&document.id, &document.path), (&entry.id, &entry.path));
        let instructs = document.text.contains("Note to automated agents");
        assert_eq!(instructs, entry.planted_instruction, "{}", document.id);
        planted += u32::from(instructs);
    }
    assert_eq!(planted, 2);
}

#[test]
fn cross_references_are_true() {
    let corpus = Corpus::load(&root().join("data/corpus/v1"), "data/corpus/v1").unwrap();
    let mut references = 0;
    for document in corpus.documents() {
        let see_also = document.text.split("## See also").nth(1).unwrap();
        for line in see_also.lines().filter(|line| line.starts_with("- ")) {
            let id = &line[2..7];
            let other = corpus.get(&format!("{id}.md")).unwrap();
            assert_ne!(other.id, document.id);
            let subject = line.split(", ").nth(1).unwrap().split(" (").next().unwrap();
            assert!(other.title.ends_with(subject), "{}: {line}", document.id);
            references += 1;
        }
    }
    assert!(references > 30);
}

#[test]
fn each_piece_of_equipment_has_one_report() {
    let corpus = Corpus::load(&root().join("data/corpus/v1"), "data/corpus/v1").unwrap();
    let mut titles = BTreeMap::new();
    for document in corpus.documents() {
        let subject = document.title.split(", ").nth(1).unwrap();
        assert!(titles.insert(subject.to_owned(), &document.id).is_none(), "{subject}");
    }
}

#[test]
fn every_change_of_a_byte_a_name_or_the_list_is_named() {
    let folder = Folder::project();
    let at = folder.path().join("data/corpus/v1");
    let error = || Corpus::load(&at, "data/corpus/v1").unwrap_err().to_string();
    folder.edit("data/corpus/v1/op-09.md", "Team", "team");
    std::fs::remove_file(at.join("op-03.md")).unwrap();
    folder.write("data/corpus/v1/op-99.md", "# New\n");
    let all = error();
    assert!(all.contains("data/corpus/v1/op-09.md: it has changed: the manifest says"), "{all}");
    assert!(
        all.contains("data/corpus/v1/op-03.md: the manifest lists it, but it is not there"),
        "{all}"
    );
    assert!(
        all.contains("data/corpus/v1/op-99.md: it is there, but the manifest does not list it"),
        "{all}"
    );
    assert_eq!(all.lines().count(), 3);
    folder.write("data/corpus/v1/manifest.json", "{\"corpus\": 1, \"corpus\": 2}");
    assert!(error().contains("manifest.json: line 1, column 22: duplicate key"), "{}", error());
}

#[test]
fn other_peoples_files_are_a_corpus_too() {
    let folder = Folder::new();
    folder.write("docs/b/deep.txt", "Second text");
    folder.write("docs/a.md", "Intro\n\n# Heading here\nÜber Straßen");
    folder.write("docs/picture.png", [0xff, 0xd8]);
    folder.write("docs/.hidden/secret.md", "not this");
    let corpus = Corpus::load(&folder.path().join("docs"), "docs").unwrap();
    let found: Vec<_> =
        corpus.documents().iter().map(|d| (d.id.as_str(), d.title.as_str())).collect();
    assert_eq!(found, [("a", "Heading here"), ("b/deep", "b/deep")]);
    assert_eq!(corpus.manifest_sha256, None);
    assert_eq!(
        corpus.get("a.md").unwrap().sha256,
        Digest::of("Intro\n\n# Heading here\nÜber Straßen".as_bytes())
    );
    let (hits, matched) = corpus.index().search("ÜBER straßen", 5);
    assert_eq!((hits.len(), matched, hits[0].words), (1, 1, 2));
}

#[test]
fn what_cannot_be_a_document_is_told() {
    let folder = Folder::new();
    folder.write("docs/latin.md", b"caf\xe9");
    folder.write("docs/large.md", vec![b'x'; 1024 * 1024 + 1]);
    let link = |to: &str, at: &str| {
        std::os::unix::fs::symlink(to, folder.path().join("docs").join(at)).unwrap();
    };
    link("../none.md", "gone.md");
    link("..", "above");
    crate::verify::fifo(&folder.path().join("docs/pipe.md"));
    let name = std::ffi::OsStr::from_bytes(b"bad\xff.md");
    std::fs::write(folder.path().join("docs").as_std_path().join(name), "x").unwrap();
    let error = Corpus::load(&folder.path().join("docs"), "docs").unwrap_err().to_string();
    // In the order of names, whatever the order in which the folder is read.
    let named =
        ["above: a link to a folder", "bad", "gone.md", "large.md", "pipe.md: not a regular file"];
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), named.len(), "{error}");
    for (line, name) in lines.iter().zip(named) {
        assert!(line.contains(name), "{name}: {error}");
    }
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
    assert!(error.contains("the name is not UTF-8"), "{error}");
    std::fs::remove_dir_all(folder.path().join("docs")).unwrap();
    folder.write("docs/latin.md", b"caf\xe9");
    let error = Corpus::load(&folder.path().join("docs"), "docs").unwrap_err().to_string();
    assert_eq!(error, "docs/latin.md: byte 3: it is not UTF-8; save it as UTF-8");
    assert!(Corpus::load(&folder.path().join("none"), "none").is_err());
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let error = Corpus::load(&folder.path().join("empty"), "empty").unwrap_err().to_string();
    assert!(error.contains("it holds no document"), "{error}");
}

#[test]
fn a_corpus_may_be_a_link_as_a_whole() {
    let folder = Folder::project();
    for (from, to) in [("data/corpus/v1", "linked"), ("data/prompt", "prompts")] {
        std::fs::rename(folder.path().join(from), folder.path().join(to)).unwrap();
        let up = "../".repeat(from.matches('/').count());
        let to = format!("{up}{to}");
        std::os::unix::fs::symlink(to, folder.path().join(from)).unwrap();
    }
    let args: [&[&str]; 7] = [
        &["run"],
        &["check"],
        &["verify"],
        &["replay"],
        &["regression"],
        &["corpus", "check", "data/corpus/v1"],
        &["corpus", "check", "data/corpus/v1/"],
    ];
    for args in args {
        let ran = folder.gatedrun(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.all());
    }
    // The bytes are those of the same corpus without the link.
    let recorded = folder.read("runs/canonical/v1/state.jsonl");
    assert_eq!(recorded, file("runs/canonical/v1/state.jsonl"));
    // A link in it to a folder is still not followed, be the corpus a link or not.
    std::os::unix::fs::symlink("..", folder.path().join("linked/above")).unwrap();
    let ran = folder.gatedrun(&["check"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.out.contains("data/corpus/v1/above: a link to a folder"), "{}", ran.all());
    // Nor is a file a corpus.
    std::fs::remove_file(folder.path().join("data/corpus/v1")).unwrap();
    for document in ["linked/op-01.md", "linked/manifest.json"] {
        let to = folder.path().join(document);
        std::os::unix::fs::symlink(to, folder.path().join("data/corpus/v1")).unwrap();
        let ran = folder.gatedrun(&["check"]);
        assert!(ran.code == 2 && ran.out.contains("not a folder"), "{}", ran.all());
        std::fs::remove_file(folder.path().join("data/corpus/v1")).unwrap();
    }
}

#[test]
fn what_is_advised_for_an_edited_corpus_works() {
    for seed in ["20310101", "7"] {
        let folder = Folder::new();
        let ran = folder.gatedrun(&["corpus", "build", "notes", "--seed", seed]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        let both = || ["notes/op-01.md", "notes/manifest.json"].map(|path| folder.read(path));
        let built = both();
        folder.write("notes/op-01.md", "edited\n");
        let ran = folder.gatedrun(&["corpus", "check", "notes"]);
        assert_eq!(ran.code, 1, "{}", ran.all());
        let advice = ran.err.split("discard the edit with `gatedrun ").nth(1).unwrap();
        let command: Vec<&str> = advice.split('`').next().unwrap().split(' ').collect();
        assert_eq!(folder.gatedrun(&command).code, 0, "{command:?}");
        let ran = folder.gatedrun(&["corpus", "check", "notes"]);
        assert_eq!(ran.code, 0, "{}", ran.all());
        // The same corpus, and not one of another seed.
        assert!(both() == built, "{command:?}");
    }
}
