//! The words for how a run ends.

words! {
    /// Why a run ends.
    pub enum TerminalReason {
        /// The LLM gave its answer.
        FinalAnswer => "final_answer",
        /// A budget was used up.
        LoopBudget => "loop_budget",
        /// A rule denied, and says that the run then ends.
        PolicyDenialTerminal => "policy_denial_terminal",
        /// A failure mode that ends a run.
        FailureModeTerminal => "failure_mode_terminal",
        /// The steps of the run repeated the same state too often.
        NoProgress => "no_progress",
    }
}

words! {
    /// The ways in which a run is known to go wrong: a closed set.
    pub enum FailureMode {
        /// F1: an attempt or a call failed, in a foreseen way; the run continues.
        ToolCallFailure => "tool_call_failure",
        /// F2: a failure that may be temporary persisted, and no attempts are left.
        RetryExhaustion => "retry_exhaustion",
        /// F3: the arguments do not fit the tool's contract.
        SchemaMismatch => "schema_mismatch",
        /// F4: the same call too often.
        CycleDetection => "cycle_detection",
        /// F5: an unclassified error, a panic, or a result that does not fit the tool's contract.
        CataloguedUnhandled => "catalogued_unhandled",
    }
}
