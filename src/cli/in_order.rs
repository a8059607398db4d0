//! Pieces of work on several threads, whose results are printed in the order of the pieces, as if one
//! had come after the other.
//!
//! What a piece says before its turn waits, up to a bound: from there on the piece waits too, so that
//! memory does not grow with what is said.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::Stop;
use super::output::{Terminal, Told};

/// How many lines of a piece wait for its turn.
const LINES_MAX: usize = 256;

/// How many threads work where nobody says it: one a core.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A piece that was begun: its number, what it says, and what it results in.
type Begun<T> = (usize, Receiver<Told>, Receiver<T>);

/// What there is to do: each piece by its number, with what the pieces of one thread share.
pub(super) trait Work: Sync {
    /// What the pieces that one thread does share.
    type Shared;
    /// What a piece results in.
    type Result: Send;

    /// Makes what the pieces of a thread share.
    fn shared(&self) -> Self::Shared;

    /// Does a piece.
    fn piece(
        &self,
        number: usize,
        shared: &mut Self::Shared,
        terminal: &mut Terminal,
    ) -> Self::Result;
}

/// Does so many pieces on so many threads; `done` gets the results in order.
///
/// # Errors
/// What `done` says: then no further piece is begun.
pub(super) fn in_order<W: Work>(
    work: &W,
    (pieces, threads): (usize, usize),
    terminal: &mut Terminal,
    mut done: impl FnMut(usize, W::Result, &mut Terminal) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (begun, beginnings) = mpsc::channel();
        let mut started = 0;
        // One piece, or one thread, is the caller's own: nothing has to wait.
        let threads = Some(threads.min(pieces)).filter(|threads| *threads > 1);
        for _ in 0..threads.unwrap_or(0) {
            let (base, begun) = (terminal.like(), begun.clone());
            let (next, is_over) = (&next, &is_over);
            let thread = move || work_through(work, pieces, (next, is_over), &base, &begun);
            // A machine that has no thread left for us leaves the work to those that there are.
            match std::thread::Builder::new().spawn_scoped(scope, thread) {
                Ok(_) => started += 1,
                Err(_) => break,
            }
        }
        drop(begun);
        if started == 0 {
            let mut shared = work.shared();
            return (0..pieces).try_for_each(|number| {
                let result = work.piece(number, &mut shared, terminal);
                done(number, result, terminal)
            });
        }
        let printed = print(pieces, &beginnings, terminal, &mut done);
        is_over.store(true, Ordering::Relaxed);
        printed
    })
}

/// What one thread does: piece after piece.
fn work_through<W: Work>(
    work: &W,
    pieces: usize,
    (next, is_over): (&AtomicUsize, &AtomicBool),
    base: &Terminal,
    begun: &mpsc::Sender<Begun<W::Result>>,
) {
    let mut shared = work.shared();
    while !is_over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= pieces {
            return;
        }
        let (says, said): (SyncSender<Told>, _) = mpsc::sync_channel(LINES_MAX);
        let (result, results) = mpsc::sync_channel(1);
        // Nobody listens where printing has stopped.
        if begun.send((number, said, results)).is_err() {
            return;
        }
        let mut terminal = base.telling(says);
        let _ = result.send(work.piece(number, &mut shared, &mut terminal));
    }
}

/// Prints what the pieces say, each in its turn.
fn print<T>(
    pieces: usize,
    beginnings: &Receiver<Begun<T>>,
    terminal: &mut Terminal,
    done: &mut impl FnMut(usize, T, &mut Terminal) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut waiting = BTreeMap::new();
    for number in 0..pieces {
        let (said, results) = loop {
            if let Some(begun) = waiting.remove(&number) {
                break begun;
            }
            // A thread that has panicked is met where all are joined.
            let Ok((begun, said, results)) = beginnings.recv() else { return Ok(()) };
            waiting.insert(begun, (said, results));
        };
        for told in said {
            terminal.tell(told);
        }
        if let Ok(result) = results.recv() {
            done(number, result, terminal)?;
        }
    }
    Ok(())
}
