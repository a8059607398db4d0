//! Which event may follow which: the one table, which `grammar` asks and which other verifiers read as
//! `docs/grammar.json`.

use serde::Serialize;

use crate::event::{AttemptOutcome, Decision, Event, Rule, Subject};

macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$says:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$says])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            const COUNT: usize = [$(Self::$variant),+].len();
        }
    };
}

named! {
    /// Where a run stands between two events.
    Place {
        /// Nothing is recorded.
        Start => "start",
        /// Between two steps.
        Between => "between",
        /// A step has begun.
        Open => "open",
        /// The LLM is asked.
        Asked => "asked",
        /// The calls of a reply are decided and made, one after the other.
        Deciding => "deciding",
        /// A call is allowed, and not started.
        Allowed => "allowed",
        /// A call is started, and an attempt of it is expected.
        Running => "running",
        /// An attempt is in doubt, and a person has to say what became of it.
        Doubt => "doubt",
        /// An attempt that was in doubt did not take place: another may follow, or the end.
        Free => "free",
        /// The last attempt of a call is recorded.
        Settled => "settled",
        /// The run can only end.
        Stopping => "stopping",
        /// The run has ended.
        Finished => "finished",
    }
}

named! {
    /// An event, as far as the order depends on it: its kind, and what distinguishes two of a kind.
    Word {
        RunStarted => "run_started",
        StepStarted => "step_started",
        LlmCalled => "llm_called",
        LlmReplied => "llm_replied",
        StepAllowed => "gate_decided step allow",
        StepDenied => "gate_decided step deny",
        CallAllowed => "gate_decided call allow",
        CallDenied => "gate_decided call deny",
        ToolStarted => "tool_started",
        /// The attempt is the last.
        Attempted => "tool_attempted",
        /// Another attempt follows.
        AttemptedAgain => "tool_attempted transient_failure",
        AttemptedInDoubt => "tool_attempted in_doubt",
        NotTaken => "tool_reconciled",
        TookPlace => "tool_reconciled took_place",
        ToolFinished => "tool_finished",
        StepFinished => "step_finished",
        /// With calls of the step that were not decided.
        StepCut => "step_finished cut",
        RunFinished => "run_finished",
    }
}

impl Word {
    /// The word for an event; `is_cut` where calls of its step are not decided yet.
    pub(super) fn of(event: &Event, is_cut: bool) -> Self {
        match event {
            Event::RunStarted(_) => Self::RunStarted,
            Event::StepStarted(_) => Self::StepStarted,
            Event::LlmCalled(_) => Self::LlmCalled,
            Event::LlmReplied(_) => Self::LlmReplied,
            Event::GateDecided(gate) => match (gate.subject, gate.decision) {
                (Subject::Step, Decision::Allow) => Self::StepAllowed,
                (Subject::Step, Decision::Deny) => Self::StepDenied,
                (Subject::Call, Decision::Allow) => Self::CallAllowed,
                (Subject::Call, Decision::Deny) => Self::CallDenied,
            },
            Event::ToolStarted(_) => Self::ToolStarted,
            Event::ToolAttempted(attempted) => match attempted.outcome {
                AttemptOutcome::TransientFailure => Self::AttemptedAgain,
                AttemptOutcome::InDoubt => Self::AttemptedInDoubt,
                AttemptOutcome::Success | AttemptOutcome::Exhausted | AttemptOutcome::Failed => {
                    Self::Attempted
                }
            },
            Event::ToolReconciled(reconciled) if reconciled.took_place => Self::TookPlace,
            Event::ToolReconciled(_) => Self::NotTaken,
            Event::ToolFinished(_) => Self::ToolFinished,
            Event::StepFinished(_) if is_cut => Self::StepCut,
            Event::StepFinished(_) => Self::StepFinished,
            Event::RunFinished(_) => Self::RunFinished,
        }
    }
}

/// What may happen where, and where the run stands then.
const STEPS: [(Place, Word, Place); 28] = {
    use Place as P;
    use Word as W;
    [
        (P::Start, W::RunStarted, P::Between),
        (P::Between, W::StepStarted, P::Open),
        (P::Between, W::StepAllowed, P::Between),
        (P::Between, W::StepDenied, P::Stopping),
        (P::Between, W::RunFinished, P::Finished),
        (P::Open, W::LlmCalled, P::Asked),
        (P::Asked, W::LlmReplied, P::Deciding),
        // A budget warns in the middle of a step.
        (P::Deciding, W::StepAllowed, P::Deciding),
        (P::Deciding, W::CallAllowed, P::Allowed),
        (P::Deciding, W::CallDenied, P::Deciding),
        (P::Deciding, W::StepFinished, P::Between),
        (P::Deciding, W::StepCut, P::Stopping),
        (P::Allowed, W::ToolStarted, P::Running),
        (P::Running, W::Attempted, P::Settled),
        (P::Running, W::AttemptedAgain, P::Running),
        (P::Running, W::AttemptedInDoubt, P::Doubt),
        // The attempt after it is what was said, or is made then.
        (P::Running, W::NotTaken, P::Running),
        (P::Running, W::TookPlace, P::Running),
        (P::Doubt, W::NotTaken, P::Free),
        (P::Doubt, W::TookPlace, P::Settled),
        (P::Free, W::Attempted, P::Settled),
        (P::Free, W::AttemptedAgain, P::Running),
        (P::Free, W::AttemptedInDoubt, P::Doubt),
        (P::Free, W::NotTaken, P::Running),
        (P::Free, W::TookPlace, P::Running),
        (P::Free, W::ToolFinished, P::Deciding),
        (P::Settled, W::ToolFinished, P::Deciding),
        (P::Stopping, W::RunFinished, P::Finished),
    ]
};

/// [`STEPS`] by place and word, so that a long ledger is read without a search.
#[expect(clippy::indexing_slicing, reason = "computed by the compiler, which refuses what panics")]
static NEXT: [[Option<Place>; Word::COUNT]; Place::COUNT] = {
    let mut next = [[None; Word::COUNT]; Place::COUNT];
    let mut at = 0;
    while at < STEPS.len() {
        let (from, word, to) = STEPS[at];
        next[from as usize][word as usize] = Some(to);
        at += 1;
    }
    next
};

impl Place {
    /// Where the run stands after this event; `None` where it may not happen.
    pub(super) fn after(self, word: Word) -> Option<Self> {
        *NEXT.get(self as usize)?.get(word as usize)?
    }

    /// What may happen here, in words.
    pub(super) fn expects(self) -> &'static str {
        match self {
            Self::Start => "run_started",
            Self::Between => "step_started, a gate_decided about the step, or run_finished",
            Self::Open => "llm_called",
            Self::Asked => "llm_replied",
            Self::Deciding => "the gate_decided of the next call, or step_finished",
            Self::Allowed => "tool_started of the call that was allowed",
            Self::Running => "tool_attempted",
            Self::Doubt => "tool_reconciled",
            Self::Free => "tool_attempted or tool_finished",
            Self::Settled => "tool_finished",
            Self::Stopping => "run_finished",
            Self::Finished => "nothing: the run has ended",
        }
    }
}

/// The order of events as data, and what a denial by each rule means: what a verifier that shares no
/// code with this program needs beside the schema of a record.
pub fn exported() -> serde_json::Value {
    let steps: Vec<_> = STEPS
        .iter()
        .map(|(from, event, to)| serde_json::json!({"from": from, "event": event, "to": to}))
        .collect();
    let rules = Rule::ALL.map(|rule| {
        let facts = rule.facts();
        serde_json::json!({
            "rule": rule,
            "error_class": facts.class,
            "terminal_reason": facts.terminal_reason,
            "failure_mode": facts.failure_mode,
        })
    });
    serde_json::json!({"order": steps, "rules": rules})
}
