//! What the ledger says of a decision.

use crate::event::{Decision, Details, GateDecided, ProposedCall, Rule, Subject};

use super::call::Denied;
use super::gate::{Gate, Verdict};
use super::rules::loop_budget::Warning;

impl Gate<'_> {
    /// The ledger's event for a verdict about a call.
    pub fn call_event(&self, call: &ProposedCall, verdict: &mut Verdict) -> GateDecided {
        let effects = self.contracts().get(&call.tool).map_or_else(Vec::new, |contract| {
            contract.effects.iter().map(|effect| effect.effect).collect()
        });
        let (decision, rule_id, reason, details) = match verdict {
            Verdict::Allow(allowed) => {
                (Decision::Allow, None, "every rule allows it".to_owned(), allowed.take_details())
            }
            Verdict::Deny(denied) => {
                (Decision::Deny, Some(denied.rule), denied.reason.clone(), denied.details.clone())
            }
        };
        GateDecided {
            subject: Subject::Call,
            call_id: Some(call.call_id.clone()),
            tool: Some(call.tool.clone()),
            effects,
            decision,
            rule_id,
            error_class: rule_id.map(|rule| rule.facts().class),
            reason,
            details,
            policy_version: self.version().to_owned(),
        }
    }

    /// The ledger's event for a step that may not be.
    pub fn step_event(&self, denied: &Denied) -> GateDecided {
        GateDecided {
            decision: Decision::Deny,
            rule_id: Some(denied.rule),
            error_class: Some(denied.rule.facts().class),
            ..self.about_the_run(denied.reason.clone(), denied.details.clone())
        }
    }

    /// The ledger's event for a warning.
    pub fn warning_event(&self, warning: Warning) -> GateDecided {
        GateDecided {
            rule_id: Some(Rule::LoopBudget),
            ..self.about_the_run(warning.reason, warning.details)
        }
    }

    fn about_the_run(&self, reason: String, details: Details) -> GateDecided {
        GateDecided {
            subject: Subject::Step,
            call_id: None,
            tool: None,
            effects: Vec::new(),
            decision: Decision::Allow,
            rule_id: None,
            error_class: None,
            reason,
            details,
            policy_version: self.version().to_owned(),
        }
    }
}
