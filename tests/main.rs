//! What is tested, and where. Cases are data in `tests/cases/`; a new case needs no code.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

/// Folders, processes and the project's own files, for all the others.
mod support;

/// Strict JSON and YAML: what is read, what is refused, and that canonical form is RFC 8785's.
mod formats;
/// The ledger: what is written is read back; nothing else is; the grammar refuses what may not be.
mod ledger;
/// Decision tables: every rule, every pair of rules, URLs and paths.
mod policy;
/// The policy as a file: what may be left out, what is wrong with it, what is hardly meant.
mod policy_file;
/// One text, one reading: patterns, hosts, numbers, the service, messages.
mod readers;
/// Tools with several effects: their grants, what a denial names, what follows from effects.
mod effects;
/// A mount beside the built-in ones: handed in, listed by policy, read through the gate.
mod mounts;
/// Folders and links swapped while the gate opens.
mod races;
/// Names that a run may write, cloned and looked at by a real Git.
mod names;
/// One failing system call at a time.
mod host;
/// The five tools, and what they may hold.
mod tools;
/// The scripted LLM: references, choices, errors.
mod script;
/// Bad inputs: each gets what, where and how to fix it; several are reported together.
mod inputs;
/// What is said of broken inputs: plain words, places, bounds, and advice that works.
mod messages;
/// The corpus: what is built, what is checked, other people's files.
mod corpus;
/// Ten thousand random runs, and what holds in each of them.
mod simulation;
/// Killed and resumed, or run again over its own record: the same bytes.
mod recovery;
/// A run folder is changed in one step, by one writer, and never by who reads or refuses.
mod transactions;
/// What an accept takes and says, and what a fault or a kill on the way leaves.
mod accepting;
/// What a killed or refused command leaves, what is said of it, and what it is not taken for.
mod leftovers;
/// Evidence in the hands of a stranger: what is found, and where.
mod verify;
/// Verdicts name their cause, one bad neighbour hides no other's, and a reader stays with one run.
mod verdicts;
/// Evidence forged as a whole: what cannot be is found, nothing is followed, nothing swells.
mod hostile;
/// Good evidence and bad, signed and not, and the verdict that two verifiers must come to.
mod vectors;
/// Mutated inputs for the gate and every parser.
mod fuzzed;
/// The public test suites of JSON Schema and YAML, where they were fetched.
mod suites;
/// Checked out by a git that rewrites line ends: one plain line, and advice that holds.
mod line_ends;
/// Other policies on recorded runs, against plain execution.
mod backtest;
/// The back-test against the truth: random pairs of policies, predicted and executed.
mod differential;
/// Text that others chose, read back by the readers of each kind of output.
mod text;
/// The artifacts: projected from the ledger alone, valid OTLP, safe for people.
mod evidence;
/// A program that guards its own loop with the library, and the run that remains.
mod facade;
/// The program as a process: output, exit codes, files, environment.
mod cli;
/// What a new user does first: README's commands in an empty folder and in a clone.
mod first;
/// What messages advise, done.
mod advice;
/// What every command has in common: colour, quiet, progress, errors as JSON, typos, long lines.
mod habits;
/// Completion scripts and manual pages.
mod shell;
/// What CI relies on: nothing checked is never green, verdicts name their cause, reports are readable.
mod gates;
/// What committed runs are held against: whole ledgers, every task's run, the same call.
mod baseline;
/// The commands about evidence as processes: verify, sign, replay, resume, diff, review.
mod commands;
/// What a command reads and writes by name, and what the machine does meanwhile: FIFOs, devices,
/// kills, full disks, closed outputs, no threads, no temporary folder.
mod machine;
/// What a command writes by name replaces no input and goes into no evidence.
mod outputs;
/// What each command may change, against the table in docs/evidence.md.
mod changes;
/// What a user may call a run or a task, and from where.
mod called;
/// Proposals walked, and a class of them accepted at once.
mod reviewed;
/// What reaches beyond the process: its folder, its features, its crates.
mod edges;
/// The shape of the code: module order, what is absent, committed files.
mod architecture;
mod uses;
/// Plain English in docs, messages and comments.
mod prose;
/// Docs agree with code and evidence; generated docs are up to date.
mod docs;
/// The JSON Schemas as strict readers of them want them.
mod schemas;
