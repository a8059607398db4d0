//! What reaches beyond this process: other processes, networks, async runtimes. There is no edge yet;
//! `docs/architecture.md` says what one may do, and `tests/edges.rs` holds it.
