//! What CI systems read of a back-test: JUnit XML and SARIF.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use crate::event::Rule;
use crate::evidence::STATE;
use crate::replay::backtest::Standing;

use super::replay::{Refused, Tested, Told, Tried, tested};

/// A back-test as JUnit XML: a test case a run, failed where a required decision is lost, and in error
/// where nothing is known of the run.
///
/// # Errors
/// The serializer's.
pub fn junit(tried: &[Tried]) -> Result<Vec<u8>, String> {
    let mut suite = TestSuite::new("policy back-test");
    suite.add_test_cases(tried.iter().map(|one| match one {
        Tried::Tested(tested) => case(tested),
        Tried::Refused(refused) => refused_case(refused),
    }));
    let mut report = Report::new("gatedrun");
    report.add_test_suite(suite);
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn case(one: &Tested) -> TestCase {
    let status = if one.lost.is_empty() {
        TestCaseStatus::success()
    } else {
        let mut failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
        failed.set_message(format!("required decisions that are lost: {}", one.lost.len()));
        failed.set_type("decision_lost");
        failed.set_description(lines(one.told().filter(|told| told.is_lost)));
        failed
    };
    let mut case = TestCase::new(one.run.as_str(), status);
    case.set_classname(match one.test.standing {
        Standing::Exact => "exact".to_owned(),
        Standing::Bounded(step) => format!("bounded@{step}"),
    });
    if one.told().next().is_some() {
        case.set_system_out(lines(one.told()));
    }
    case
}

fn refused_case(refused: &Refused) -> TestCase {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(&refused.message);
    status.set_type(refused.standing);
    let mut case = TestCase::new(refused.run.as_str(), status);
    case.set_classname(refused.standing);
    case
}

fn lines<'t>(told: impl Iterator<Item = Told<'t>>) -> String {
    told.map(|told| format!("{}\n", sentence(&told))).collect()
}

fn sentence(told: &Told<'_>) -> String {
    let change = told.change;
    format!(
        "step {}, {}: {} -> {}{}",
        change.step,
        change.tool.as_deref().unwrap_or("the run"),
        change.was.as_deref().unwrap_or("not decided"),
        told.now,
        change.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")),
    )
}

/// A path as a URI: relative to where the program ran, where the path is.
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            other => {
                let _ = write!(uri, "%{other:02X}");
            }
        }
    }
    uri
}

/// A back-test as SARIF 2.1.0: a result a changed decision, at its line of the ledger, and a
/// notification a run of which nothing is known.
pub fn sarif(tried: &[Tried]) -> Vec<u8> {
    let rules: Vec<_> = ["allow"]
        .into_iter()
        .chain(Rule::ALL.map(Rule::as_str))
        .map(|id| json!({"id": id, "shortDescription": {"text": format!("decisions of {id}")}}))
        .collect();
    let results: Vec<_> = tested(tried)
        .flat_map(|one| one.told().map(move |told| (one, told)))
        .map(|(one, told)| {
            let change = told.change;
            // The rule that decides now, or that decided before.
            let words = change.now.iter().chain(&change.was);
            let rule = words.filter_map(|word| word.split_once(':')).map(|(_, rule)| rule).next();
            let rule = rule.unwrap_or("allow");
            let level = if told.is_lost { "error" } else { "note" };
            // A decision that was not made then has no line; SARIF's lines begin at 1.
            let line = change.seq.map_or(1, |seq| seq + 1);
            json!({
                "ruleId": rule,
                "level": level,
                "message": {"text": sentence(&told)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(one.run.join(STATE).as_str())},
                    "region": {"startLine": line},
                }}],
            })
        })
        .collect();
    let notifications: Vec<_> = tried
        .iter()
        .filter_map(|one| match one {
            Tried::Tested(_) => None,
            Tried::Refused(refused) => Some(json!({
                "level": "error",
                "message": {"text": refused.message},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(refused.run.join(STATE).as_str())},
                }}],
            })),
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
            "invocations": [{
                "executionSuccessful": notifications.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    });
    let mut bytes = serde_json::to_vec_pretty(&log).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
