//! What CI systems read of a back-test: JUnit XML and SARIF.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use crate::event::Rule;
use crate::evidence::STATE;
use crate::replay::backtest::{Change, Standing};

use super::replay::Tested;

/// A back-test as JUnit XML: a test case a run, failed where a required decision is lost.
///
/// # Errors
/// The serializer's.
pub fn junit(tested: &[Tested]) -> Result<Vec<u8>, String> {
    let mut suite = TestSuite::new("policy back-test");
    for one in tested {
        let status = if one.lost.is_empty() {
            TestCaseStatus::success()
        } else {
            let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            failed.set_message(format!("{} required decisions are lost", one.lost.len()));
            failed.set_type("decision_lost");
            failed.set_description(lines(&one.lost));
            failed
        };
        let mut case = TestCase::new(one.run.as_str(), status);
        case.set_classname(match one.test.standing {
            Standing::Exact => "exact".to_owned(),
            Standing::Bounded(step) => format!("bounded@{step}"),
        });
        if !one.test.changes.is_empty() {
            case.set_system_out(lines(&one.test.changes));
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("gatedrun");
    report.add_test_suite(suite);
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{}\n", sentence(change))).collect()
}

fn sentence(change: &Change) -> String {
    format!(
        "step {}, {}: {} -> {}{}",
        change.step,
        change.tool.as_deref().unwrap_or("the run"),
        change.was.as_deref().unwrap_or("not decided"),
        change.now.as_deref().unwrap_or("not reached"),
        change.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")),
    )
}

/// A back-test as SARIF 2.1.0: a result a changed decision, at its line of the ledger.
pub fn sarif(tested: &[Tested]) -> Vec<u8> {
    let rules: Vec<_> = ["allow"]
        .into_iter()
        .chain(Rule::ALL.map(Rule::as_str))
        .map(|id| json!({"id": id, "shortDescription": {"text": format!("decisions of {id}")}}))
        .collect();
    let results: Vec<_> = tested
        .iter()
        .flat_map(|one| {
            one.test.changes.iter().chain(&one.test.unknown).map(move |change| (one, change))
        })
        .map(|(one, change)| {
            let word = change.now.as_deref().or(change.was.as_deref()).unwrap_or("allow");
            let rule = word.split_once(':').map_or("allow", |(_, rule)| rule);
            let level = if one.lost.contains(change) { "error" } else { "note" };
            // A decision that was not made then has no line; SARIF's lines begin at 1.
            let line = change.seq.map_or(1, |seq| seq + 1);
            json!({
                "ruleId": rule,
                "level": level,
                "message": {"text": sentence(change)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": format!("{}/{STATE}", one.run).replace(' ', "%20")},
                    "region": {"startLine": line},
                }}],
            })
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "gatedrun",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "results": results,
        }],
    });
    let mut bytes = serde_json::to_vec_pretty(&log).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
