//! Somebody swaps folders and links while the gate opens: nothing may ever be read or written
//! outside. `make exhaustive` plays the full number of rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gatedrun::corpus::Corpus;
use gatedrun::event::Effect;
use gatedrun::policy::path::{MountPath, Mounts, Opened};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::Folder;

/// As many rounds as Linux's own test of openat2 plays, or a hundredth of them.
fn rounds() -> u32 {
    if crate::support::exhaustive() { 400_000 } else { 4_000 }
}

/// Swaps `work/d` with a link that leads out, without a pause, while `attempt` tries to use it.
fn while_swapped(
    effect: Effect,
    mut attempt: impl FnMut(&Mounts, &MountPath) -> bool,
) -> (u32, u32) {
    let folder = Folder::new();
    folder.write("work/d/x", "INSIDE");
    folder.write("outside/x", "SECRET");
    std::os::unix::fs::symlink("../outside", folder.path().join("work/link")).unwrap();
    let mounts = Mounts::new(Arc::new(Corpus::empty()), folder.path().join("work"));
    let path = MountPath::parse("work/d/x").unwrap();
    let stop = AtomicBool::new(false);
    let (mut reached, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (folder.path().join("work/d"), folder.path().join("work/link"));
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, a.as_std_path(), CWD, b.as_std_path(), RenameFlags::EXCHANGE)
                    .unwrap();
            }
        });
        let begin = std::time::Instant::now();
        let mut played = 0;
        // On a busy machine one side of the race may be slow to show: play on until it has.
        while played < rounds()
            || ((reached == 0 || refused == 0) && begin.elapsed().as_secs() < 30)
        {
            if attempt(&mounts, &path) {
                reached += 1;
            } else {
                refused += 1;
            }
            played += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(folder.read("outside/x"), b"SECRET", "{effect:?} reached out of the mount");
    let outside: Vec<_> = std::fs::read_dir(folder.path().join("outside")).unwrap().collect();
    assert_eq!(outside.len(), 1, "{effect:?} left something outside");
    (reached, refused)
}

#[test]
fn reading_never_leads_out_while_folders_and_links_are_swapped() {
    let (reached, refused) = while_swapped(Effect::ReadPath, |mounts, path| {
        match mounts.open_read(path, 100).unwrap() {
            Opened::Open(file) => match file.read() {
                Ok(text) => {
                    assert_eq!(text, "INSIDE");
                    true
                }
                Err(_) => false,
            },
            Opened::Refused(_) => false,
        }
    });
    // Both sides of the race were met, or nothing was shown.
    assert!(reached > 0 && refused > 0, "{reached} reached, {refused} refused");
}

#[test]
fn writing_never_leads_out_while_folders_and_links_are_swapped() {
    let (reached, refused) = while_swapped(Effect::WritePath, |mounts, path| {
        match mounts.open_write(path, 100).unwrap() {
            Opened::Open(place) => place.replace(b"WRITTEN", "key").is_ok(),
            Opened::Refused(_) => false,
        }
    });
    assert!(reached > 0 && refused > 0, "{reached} reached, {refused} refused");
}
