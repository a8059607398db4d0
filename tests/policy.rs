use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use camino::Utf8Path;
use gatedrun::contract::Contracts;
use gatedrun::corpus::Corpus;
use gatedrun::event::{Detail, ProposedCall, Rule, Totals, Usage};
use gatedrun::host::HostFault;
use gatedrun::inputs::Inputs;
use gatedrun::json;
use gatedrun::policy::call::{Denied, Standing, action};
use gatedrun::policy::cases::{Judge, read_table};
use gatedrun::policy::gate::{Gate, Verdict};
use gatedrun::policy::hosts::Hosts;
use gatedrun::policy::path::Mounts;
use gatedrun::policy::rules::loop_budget::Warning;
use gatedrun::policy::{self, spec::Policy};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Folder, file, root};

/// Everything that a gate needs, from the committed inputs.
struct World {
    inputs: Inputs,
    hosts: Hosts,
    folder: Folder,
}

impl World {
    fn new() -> Self {
        Self::with_policy(&[])
    }

    fn with_policy(edits: &[(&str, &str)]) -> Self {
        let folder = Folder::lenient_project();
        for (from, to) in edits {
            folder.edit("policy/v1.yaml", from, to);
        }
        let inputs = folder.library().load("tasks/canonical/v1.json", None).unwrap();
        let hosts = Hosts::of_mounts([("fixtures.local", "corpus")]);
        Self { inputs, hosts, folder }
    }

    fn gate(&self) -> Gate<'_> {
        let mounts = Mounts::new(Arc::clone(&self.inputs.corpus), self.folder.path().join("work"));
        Gate::new(&self.inputs.policy, &self.inputs.contracts, &self.hosts, mounts)
    }
}

fn call(tool: &str, arguments: Value) -> ProposedCall {
    ProposedCall { call_id: "call_0".into(), tool: tool.into(), arguments }
}

fn denied(decided: Result<(Verdict, Vec<Warning>), HostFault>) -> Option<Denied> {
    match decided.unwrap().0 {
        Verdict::Allow(_) => None,
        Verdict::Deny(denied) => Some(denied),
    }
}

/// Every row of every decision table; `gatedrun policy test` reads the same files.
#[test]
fn decision_tables() {
    let shared = shared();
    let judge = Judge::new(&shared.0, &shared.1);
    let mut failures = String::new();
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for (table, least) in [
        ("urls", 100),
        ("paths", 60),
        ("names", 200),
        ("registry", 20),
        ("arguments", 40),
        ("precedence", 10),
        ("cycles", 15),
        ("budgets", 10),
    ] {
        let path = format!("tests/cases/policy/{table}.jsonl");
        let cases = read_table(&path, &file(&path)).unwrap();
        assert!(cases.len() >= least, "{path} has lost cases");
        for case in cases {
            *rules.entry(case.decision.clone()).or_default() += 1;
            if let Some(what) = case.judge(&judge) {
                let _ = writeln!(failures, "{table}: {:?}: {what}", case.subject());
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
    for rule in Rule::ALL.into_iter().filter(|rule| *rule != Rule::Progress) {
        assert!(rules.contains_key(&format!("deny:{}", rule.as_str())), "no case for {rule:?}");
    }
    // Listing denied tools is worth nothing without its allow list.
    assert!(rules["allow"] > 50, "{rules:?}");
}

#[test]
fn examples_that_a_rule_contradicts_are_refused() {
    for (from, to, says) in [
        (
            "- {tool: search, arguments: {query: pump}}",
            "- {tool: shell, arguments: {}}",
            "/tool_registry/examples/allow/0): the rule denies its own example",
        ),
        (
            "url: \"https://example.com/\"",
            "url: \"https://fixtures.local/\"",
            "/url_allowlist/examples/deny/0): no rule denies this example",
        ),
        (
            "- {tool: shell, arguments: {}}",
            "- {tool: read, arguments: {path: /etc/passwd}}",
            "tool_registry lets this example pass; sandbox_path denies it",
        ),
        (
            "{run: {steps: 9, tokens: 50000}}",
            "{run: {steps: 9, tokens: 50001}}",
            "/loop_budget/examples/allow/0): the rule denies its own example",
        ),
        (
            "repeat: 4}",
            "repeat: 3}",
            "/cycle_detection/examples/deny/0): no rule denies this example",
        ),
    ] {
        let folder = Folder::project();
        folder.edit("policy/v1.yaml", from, to);
        let error = folder.library().load("tasks/canonical/v1.json", None).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// A call that one rule refuses, by rule. Two of them together show which is asked first.
fn offence(rule: Rule, tool: &mut String, arguments: &mut Value) {
    match rule {
        Rule::ToolRegistry => *tool = "shell".to_owned(),
        Rule::UrlAllowlist => arguments["url"] = "https://evil.invalid/".into(),
        Rule::SandboxPath => arguments["url"] = "file:///corpus/../../etc/passwd".into(),
        Rule::ArgSchema => arguments["extra"] = 1.into(),
        Rule::CycleDetection | Rule::LoopBudget | Rule::Progress => {}
    }
}

#[test]
fn each_rule_denies_alone_and_the_earlier_of_two_decides() {
    let world = World::new();
    let rules = [
        Rule::ToolRegistry,
        Rule::UrlAllowlist,
        Rule::SandboxPath,
        Rule::ArgSchema,
        Rule::CycleDetection,
    ];
    let mut pairs = 0;
    for (index, first) in rules.into_iter().enumerate() {
        for second in rules[index..].iter().copied() {
            // A URL cannot be off the allowlist and a file at once.
            if (first, second) == (Rule::UrlAllowlist, Rule::SandboxPath) {
                continue;
            }
            let (mut tool, mut arguments) =
                ("fetch".to_owned(), json!({"url": "https://fixtures.local/op-01.md"}));
            offence(second, &mut tool, &mut arguments);
            offence(first, &mut tool, &mut arguments);
            let mut gate = world.gate();
            let repeats = if second == Rule::CycleDetection { 4 } else { 1 };
            let mut last = None;
            for _ in 0..repeats {
                last =
                    denied(gate.decide_call(&call(&tool, arguments.clone()), &Standing::default()));
            }
            assert_eq!(last.unwrap().rule, first, "{first:?} before {second:?}");
            pairs += usize::from(first != second);
        }
    }
    assert_eq!(pairs, 9);
}

#[test]
fn ports_schemes_and_path_prefixes_are_listed_each() {
    let world = World::with_policy(&[(
        "    - host: fixtures.local\n      schemes: [https]\n",
        "    - {host: a.example.com, schemes: [https, http], ports: [8443], path_prefix: /docs/}\n    - {host: a.example.com, schemes: [http], path_prefix: /docs/open/}\n    - {host: \"127.0.0.1\", schemes: [http], ports: [8080]}\n    - {host: \"[::1]\", schemes: [http]}\n    - {host: xn--bcher-kva.example, schemes: [https]}\n",
    )]);
    for (url, allowed) in [
        ("https://a.example.com/docs/x", false),
        ("https://a.example.com:8443/docs/", true),
        ("https://a.example.com:8443/docs/a/b/c", true),
        ("https://a.example.com/docs", false),
        ("https://a.example.com/docsx/y", false),
        ("https://a.example.com/docs/../x", false),
        ("https://a.example.com/docs/%2e%2e/x", false),
        ("https://a.example.com/x/docs/", false),
        ("https://a.example.com/", false),
        ("https://a.example.com:8443/docs/x", true),
        ("https://a.example.com:8444/docs/x", false),
        ("http://a.example.com/docs/x", false),
        ("http://a.example.com:443/docs/x", false),
        ("http://127.0.0.1:8080/", true),
        ("http://127.0.0.1/", false),
        // A list of ports is all of them.
        ("https://a.example.com:443/docs/x", false),
        ("http://a.example.com:8443/docs/x", true),
        ("http://a.example.com/docs/open/x", true),
        ("HTTPS://A.Example.COM:8443/%64ocs/x", true),
        ("http://127.1:8080/", false),
        ("http://2130706433:8080/", false),
        ("http://[::1]/", true),
        ("http://[0:0:0:0:0:0:0:1]/", false),
        ("https://xn--bcher-kva.example/", true),
        ("https://bücher.example/", false),
        ("https://xn--bcher-KVA.example/", true),
    ] {
        let verdict = denied(
            world.gate().decide_call(&call("fetch", json!({"url": url})), &Standing::default()),
        );
        assert_eq!(verdict.is_none(), allowed, "{url}: {verdict:?}");
    }
}

#[test]
fn a_denied_tool_is_denied_even_if_it_is_allowed_too() {
    let world = World::with_policy(&[("denied: []", "denied: [read]")]);
    let denied = denied(
        world
            .gate()
            .decide_call(&call("read", json!({"path": "corpus/op-01.md"})), &Standing::default()),
    )
    .unwrap();
    assert_eq!(denied.rule, Rule::ToolRegistry);
    assert_eq!(denied.details[&Detail::RegistryMatch], "denied");
    assert!(denied.reason.contains("tool_registry.denied"));
}

#[test]
fn a_path_or_url_in_another_place_reaches_no_tool() {
    let world = World::new();
    for (tool, arguments) in [
        ("read", json!({"file": "/etc/passwd"})),
        ("read", json!({"path": ["/etc/passwd"]})),
        ("read", json!({"path": {"path": "/etc/passwd"}})),
        ("read", json!({"path": 7})),
        ("read", json!({"path": null})),
        ("read", json!({"path": "corpus/op-01.md", "Path": "/etc/passwd"})),
        ("read", json!(["/etc/passwd"])),
        ("read", json!("/etc/passwd")),
        ("fetch", json!({"uri": "https://evil.invalid/"})),
        ("fetch", json!({"url": ["https://evil.invalid/"]})),
        (
            "fetch",
            json!({"url": "https://fixtures.local/op-01.md", "redirect": "https://evil.invalid/"}),
        ),
        ("write", json!({"path": {"to": "/etc/passwd"}, "content": "x"})),
        ("write", json!({"path": "work/x", "content": 5})),
        ("search", json!({"query": "x", "top_k": 0})),
        ("search", json!({"query": "x", "top_k": 51})),
        ("search", json!({"query": "x", "top_k": "5"})),
        ("search", json!({"query": ""})),
        ("summarize", json!({"text": "x", "max_sentences": 1.5})),
        ("search", Value::Null),
    ] {
        let denied =
            denied(world.gate().decide_call(&call(tool, arguments.clone()), &Standing::default()))
                .unwrap();
        assert_eq!(denied.rule, Rule::ArgSchema, "{arguments}: {denied:?}");
        assert!(
            denied.details[&Detail::FailedPath].as_str().unwrap().starts_with('/'),
            "{denied:?}"
        );
        assert!(denied.details.contains_key(&Detail::SchemaError));
    }
}

#[test]
fn spellings_of_the_same_call_are_one_call() {
    let world = World::new();
    for (tool, spellings) in [
        (
            "search",
            [
                json!({"query": "x"}),
                json!({"query": "x", "top_k": 5}),
                json!({"top_k": 5.0, "query": "\u{78}"}),
            ],
        ),
        (
            "fetch",
            [
                json!({"url": "https://fixtures.local/op-07.md#1"}),
                json!({"url": "HTTPS://Fixtures.LOCAL//op-07%2Emd#2"}),
                json!({"url": "https://fixtures.local/./op-07.md?x=1"}),
            ],
        ),
        (
            "fetch",
            [
                json!({"url": "https://fixtures.local/%6fp-07.md"}),
                json!({"url": "file:///corpus/op-07.md"}),
                json!({"url": "https://fixtures.local:0443/b/%2e%2e/op-07.md"}),
            ],
        ),
        (
            "read",
            [
                json!({"path": "corpus/a.md"}),
                json!({"path": "./corpus//a.md"}),
                json!({"path": "corpus/b/../a.md"}),
            ],
        ),
        (
            "fetch",
            [
                json!({"url": "https://fixtures.local/a"}),
                json!({"url": "https://fixtures.local:443/a"}),
                json!({"url": "https://fixtures.local/b/../a"}),
            ],
        ),
    ] {
        let mut gate = world.gate();
        for spelling in &spellings {
            assert!(
                denied(gate.decide_call(&call(tool, spelling.clone()), &Standing::default()))
                    .is_none()
            );
        }
        let fourth =
            denied(gate.decide_call(&call(tool, spellings[0].clone()), &Standing::default()))
                .unwrap();
        assert_eq!(fourth.rule, Rule::CycleDetection);
        assert_eq!(fourth.details[&Detail::Repeats], 4);
        assert_eq!(fourth.details[&Detail::MaxRepeats], 3);
    }
}

/// Where no fixture serves a host, the URL is the key: its fragment stays with the reader, and the
/// standards read an encoded letter as the letter. A query and a slash more make another URL.
#[test]
fn spellings_of_one_url_are_one_call() {
    let shared = shared();
    let none = Hosts::default();
    let mounts = Mounts::new(Arc::clone(&shared.2), Utf8Path::new("/nonexistent").to_owned());
    for (spellings, one) in [
        (["/a#1", "/a#2", "/%61", "/b/../a"], true),
        (["/a%2fb", "/a%2Fb", "/a%2fb", "/a%2fb"], false),
        (["/a", "/a?", "/a?x", "//a"], false),
        (["/%7ea", "/~a", "/%7Ea", "/~%61"], true),
    ] {
        let mut gate = Gate::new(&shared.0, &shared.1, &none, mounts.clone());
        let last = spellings
            .map(|path| {
                let url = format!("https://fixtures.local{path}");
                denied(gate.decide_call(&call("fetch", json!({"url": url})), &Standing::default()))
            })
            .into_iter()
            .last()
            .flatten();
        let cycle = last.is_some_and(|denied| denied.rule == Rule::CycleDetection);
        assert_eq!(cycle, one, "{spellings:?}");
    }
}

/// The policy says what may be read, whatever host a task serves it under.
#[test]
fn a_fixture_serves_only_what_the_sandbox_reads() {
    let world = World::with_policy(&[("read: [corpus, work]", "read: [corpus]")]);
    let hosts = Hosts::of_mounts([("fixtures.local", "work")]);
    let mounts = Mounts::new(Arc::clone(&world.inputs.corpus), world.folder.path().join("work"));
    let mut gate = Gate::new(&world.inputs.policy, &world.inputs.contracts, &hosts, mounts);
    let fetch = call("fetch", json!({"url": "https://fixtures.local/a.md"}));
    let denial = denied(gate.decide_call(&fetch, &Standing::default())).unwrap();
    assert_eq!(denial.rule, Rule::SandboxPath);
    assert!(denial.reason.contains("mount \"work\" is not on sandbox.read"), "{}", denial.reason);
    assert_eq!(denial.details[&Detail::SandboxRoot], "work");
    let explained = gate.explain(&fetch);
    assert!(explained.iter().any(|(rule, answer)| *rule == Rule::SandboxPath && answer.is_err()));
}

#[test]
fn budgets_deny_before_the_work() {
    let world = World::new();
    let mut gate = world.gate();
    let used = |steps: u64, tokens: u64| Totals {
        steps,
        usage: Usage { input_tokens: tokens, output_tokens: 0, cost_microusd: 0 },
        ..Totals::default()
    };
    let next = |tokens: u64| Usage { input_tokens: tokens, output_tokens: 0, cost_microusd: 0 };
    assert!(gate.decide_step(&Standing { totals: used(9, 0), elapsed_ms: 0 }).is_ok());
    let denied = gate.decide_step(&Standing { totals: used(10, 0), elapsed_ms: 0 }).unwrap_err();
    assert_eq!(
        (
            denied.details[&Detail::Iterations].as_u64(),
            denied.details[&Detail::MaxIterations].as_u64()
        ),
        (Some(10), Some(10))
    );
    assert!(gate.decide_spending(&used(1, 49_000), next(1000)).is_ok());
    let denied = gate.decide_spending(&used(1, 49_000), next(1001)).unwrap_err();
    assert_eq!(denied.details[&Detail::Tokens], 50_001);
    assert_eq!(denied.details[&Detail::LimitKind], "tokens");
    // Sums saturate: a huge number denies instead of wrapping round to a small one.
    assert!(gate.decide_spending(&used(1, u64::MAX), next(u64::MAX)).is_err());
}

#[test]
fn arguments_over_their_bounds_are_refused() {
    let world = World::new();
    let mut deep = json!("x");
    for _ in 0..20 {
        deep = json!([deep]);
    }
    let refused = denied(
        world.gate().decide_call(&call("search", json!({"query": deep})), &Standing::default()),
    )
    .unwrap();
    assert!(refused.reason.contains("nest 21 deep"), "{}", refused.reason);
    let large = json!({"text": "x".repeat(400_000)});
    let refused =
        denied(world.gate().decide_call(&call("summarize", large), &Standing::default())).unwrap();
    assert!(refused.reason.contains("max_bytes is 300000"), "{}", refused.reason);
}

proptest! {
    /// The gate is total: whatever is proposed is allowed or denied, and never more than that.
    #[test]
    fn any_call_gets_a_decision(tool in "search|read|write|fetch|summarize|.{0,8}", text in ".{0,40}", number in any::<f64>()) {
        let contracts: &'static (Policy, Contracts, Arc<Corpus>) = shared();
        let hosts = Hosts::default();
        let mounts = Mounts::new(Arc::clone(&contracts.2), Utf8Path::new("/nonexistent/work").to_owned());
        let mut gate = Gate::new(&contracts.0, &contracts.1, &hosts, mounts);
        for arguments in [
            json!({"path": text, "content": text}), json!({"url": text}), json!({"query": text, "top_k": number}),
            json!({"text": text}), json!(text), json!([text]), json!({&text: text}),
        ] {
            let _ = gate.decide_call(&call(&tool, arguments), &Standing::default());
        }
    }

    /// What the URL rule allows, the standard's parser reads as a listed host over a listed scheme.
    #[test]
    fn an_allowed_url_is_what_it_looks_like(prefix in "(https|http|file|ftp)?:?/{0,3}", middle in "[a-z@.:%\\[\\]0-9]{0,20}", rest in ".{0,20}") {
        let text = format!("{prefix}{middle}fixtures.local{rest}");
        let shared = shared();
        let hosts = Hosts::default();
        let mounts = Mounts::new(Arc::clone(&shared.2), Utf8Path::new("/nonexistent/work").to_owned());
        let mut gate = Gate::new(&shared.0, &shared.1, &hosts, mounts);
        if let Ok((Verdict::Allow(_), _)) = gate.decide_call(&call("fetch", json!({"url": text})), &Standing::default()) {
            let url = url::Url::parse(&text).unwrap();
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.host_str(), Some("fixtures.local"));
            prop_assert_eq!(url.port(), None);
            prop_assert_eq!(url.username(), "");
            // A second reader, as simple as can be: what stands between // and the next delimiter.
            let authority = text.split("//").nth(1).unwrap().split(['/', '?', '#']).next().unwrap();
            prop_assert_eq!(authority.split(':').next().unwrap().to_ascii_lowercase(), "fixtures.local");
        }
    }

    /// A URL written otherwise than the standard writes it, and read alike by all, is decided about
    /// as its own normal form.
    #[test]
    fn a_spelling_is_decided_as_its_normal_form(
        cases in proptest::collection::vec(any::<bool>(), 22), port in "(:443|:0443|:)?",
        path in "(/[a-z%.]{0,3}|/%6[0-9a-f]|/%[0-9][0-9a-f]|/\\.\\.|/\\.){0,4}", evil in any::<bool>()
    ) {
        let host = if evil { "fixtures.invalid" } else { "fixtures.local" };
        let (scheme, authority): (String, String) = {
            let text: String = format!("https://{host}").chars().zip(cases.iter().chain(std::iter::repeat(&false)))
                .map(|(c, upper)| if *upper { c.to_ascii_uppercase() } else { c }).collect();
            let (scheme, authority) = text.split_once("://").unwrap();
            (scheme.to_owned(), authority.to_owned())
        };
        let spelling = format!("{scheme}://{authority}{port}{path}");
        let normal = url::Url::parse(&spelling).unwrap().to_string();
        let shared = shared();
        let judge = Judge::new(&shared.0, &shared.1);
        let decide = |url: &str| {
            denied(judge.gate().decide_call(&call("fetch", json!({"url": url})), &Standing::default()))
                .map(|denied| (denied.rule, denied.reason))
        };
        prop_assert_eq!(decide(&spelling), decide(&normal), "{} {}", spelling, normal);
        prop_assert!(decide(&spelling).is_some() || !evil);
    }

    /// Two actions never share a digest, and one action never has two: what is the same to a reader
    /// of JSON has one, and nothing else does.
    #[test]
    fn actions_and_digests_are_one_to_one(a in number(), b in number()) {
        let digest = |text: &str| {
            let value = json::normal(json::parse(text.as_bytes()).unwrap());
            json::rounded(&value).is_none().then(|| action("search", &value))
        };
        let nested = |number: &str| format!("{{\"b\":[{number}],\"a\":\"\\u0041\"}}");
        let turned = |number: &str| format!("{{ \"\\u0061\":\"A\", \"b\" : [ {number} ] }}");
        let (one, two) = (digest(&nested(&a.0)), digest(&turned(&b.0)));
        // What may be an action, and which two are one, by exact arithmetic.
        let is_exact = |value: &Exact| value.magnitude().is_none_or(|integer| integer < 1 << 53);
        prop_assert_eq!(one.is_some(), is_exact(&a.1), "{:?}", a);
        prop_assert_eq!(two.is_some(), is_exact(&b.1), "{:?}", b);
        if let (Some(one), Some(two)) = (one, two) {
            prop_assert_eq!(one == two, a.1 == b.1, "{:?} {:?}", a, b);
        }
    }
}

/// A number by exact arithmetic: an integer, or a fraction by its shortest text.
#[derive(Debug, Clone, PartialEq)]
enum Exact {
    Integer(i128),
    Fraction(String),
}

impl Exact {
    fn magnitude(&self) -> Option<u128> {
        match self {
            Self::Integer(integer) => Some(integer.unsigned_abs()),
            Self::Fraction(_) => None,
        }
    }
}

/// A number as some program writes it, and what it is.
fn number() -> impl Strategy<Value = (String, Exact)> {
    let near = |around: i128| (-3..=3_i128).prop_map(move |off| around + off);
    let integer = prop_oneof![
        near(0),
        near(1 << 53),
        near(-(1 << 53)),
        near(100),
        any::<i32>().prop_map(i128::from)
    ];
    prop_oneof![
        (integer, 0..5).prop_map(|(n, form)| {
            let text = match form {
                0 => n.to_string(),
                1 => format!("{n}.0"),
                2 => format!("{n}e0"),
                3 if n != 0 => format!("{n}0E-1"),
                _ if n == 0 => "-0.0".to_owned(),
                _ => format!("{n}.00e+0"),
            };
            // A double is what a fraction's text is read as.
            let n = if form == 0 { n } else { format!("{:.0}", n as f64).parse().unwrap() };
            (text, Exact::Integer(n))
        }),
        (-40..40_i32).prop_map(|n| {
            let text = format!("{}", f64::from(n * 2 + 1) / 8.0);
            (text.clone(), Exact::Fraction(text))
        }),
    ]
}

fn shared() -> &'static (Policy, Contracts, Arc<Corpus>) {
    static SHARED: std::sync::OnceLock<(Policy, Contracts, Arc<Corpus>)> =
        std::sync::OnceLock::new();
    SHARED.get_or_init(|| {
        let names: Vec<&str> = gatedrun::tools::TOOLS.iter().map(|tool| tool.name).collect();
        let contracts = names
            .iter()
            .map(|name| {
                let path = format!("tools/{name}.json");
                gatedrun::contract::Contract::load(&path, &file(&path)).unwrap()
            })
            .collect();
        let contracts = Contracts::new(contracts).unwrap();
        let policy = policy::load("policy/v1.yaml", &file("policy/v1.yaml"), &contracts).unwrap();
        let corpus = Corpus::load(&root().join("data/corpus/v1"), "data/corpus/v1").unwrap();
        (policy, contracts, Arc::new(corpus))
    })
}

#[test]
fn the_table_of_rules_names_each_once_in_the_order_of_precedence() {
    use gatedrun::policy::rules::{Ask, RULES};
    assert_eq!(RULES.map(|row| row.rule), Rule::ALL);
    let meta: Value = serde_json::from_slice(&file("policy/v1.schema.json")).unwrap();
    for row in RULES {
        // One file per rule, under the rule's id, and a section of the policy.
        let (id, key) = (row.rule.as_str(), row.key);
        let source = crate::support::text(&format!("src/policy/rules/{id}.rs"));
        assert!(source.contains(&format!("Rule::{:?},", row.rule)), "{id}");
        assert!(meta["properties"][key].is_object(), "{key}");
        assert!(!row.asks.is_empty(), "{id} is never asked");
        // It speaks of its own section alone.
        let said = row.section;
        let keys = said.keys.iter().map(|(key, _)| *key);
        let tried = said.tried.iter().map(|(key, _)| *key);
        for name in keys.chain(tried).chain(said.samples.iter().map(|(key, _)| *key)) {
            assert_eq!(name.split('.').next(), Some(key), "{id} speaks of {name}");
        }
    }
    let asks = RULES.iter().flat_map(|row| row.asks);
    let special = |ask: &&Ask| matches!(ask, Ask::Tool | Ask::Open | Ask::Budget | Ask::Step);
    // The gate names whom it asks these, so there is one of each.
    assert_eq!(asks.filter(special).count(), 4);
}
