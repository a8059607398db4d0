use gatedrun::policy::listed::{check_host, check_prefix};
use gatedrun::schema::{Schema, translate};
use serde_json::{Value, json};

use crate::support::{Folder, file, text};

const POLICY: &str = "builtin:policy/v1.yaml";

/// Each pattern, each text, and what `new RegExp(pattern, "u").test(text)` says in Node.
#[test]
fn a_pattern_is_read_as_ecma_262_has_it() {
    let table: Value = serde_json::from_slice(&file("tests/cases/patterns.json")).unwrap();
    let texts = table["texts"].as_array().unwrap();
    let mut failures = String::new();
    let mut pairs = 0;
    for row in table["patterns"].as_array().unwrap() {
        let schema = Schema::compile(&json!({"type": "string", "pattern": row["pattern"]}));
        let schema = schema.unwrap_or_else(|error| panic!("{row}: {error:?}"));
        for (index, text) in texts.iter().enumerate() {
            let expected = row["matches"].as_array().unwrap().contains(&json!(index));
            if schema.violations(text).is_empty() != expected {
                failures.push_str(&format!("{} {text}: expected {expected}\n", row["pattern"]));
            }
            pairs += 1;
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(pairs > 8000, "{pairs}");
    for row in table["refused"].as_array().unwrap() {
        let error = translate(row["pattern"].as_str().unwrap()).expect_err(&row.to_string());
        assert!(error.contains(row["says"].as_str().unwrap()), "{row}: {error}");
    }
}

/// The table's matches are Node's own, where Node is installed.
#[test]
fn the_table_of_patterns_is_what_node_says() {
    let script = r#"
        const table = JSON.parse(require("fs").readFileSync("tests/cases/patterns.json", "utf8"));
        for (const { pattern, matches } of table.patterns) {
            const found = table.texts.flatMap((text, i) => (new RegExp(pattern, "u").test(text) ? [i] : []));
            if (JSON.stringify(found) !== JSON.stringify(matches)) console.log(pattern, found, matches);
        }"#;
    let node = std::process::Command::new("node")
        .args(["-e", script])
        .current_dir(crate::support::root())
        .output();
    // Without Node the table stands for itself.
    let Ok(output) = node else { return };
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

/// What is accepted here, Node accepts: a pattern that is a SyntaxError elsewhere would be a contract
/// that other readers cannot load.
#[test]
fn no_pattern_is_accepted_that_node_refuses() {
    const SIGNS: [&str; 46] = [
        "a", "b", "-", ",", "1", "^", "$", ".", "|", "(", "(", ")", ")", "(?:", "(?=", "(?!",
        "(?<=", "(?<!", "(?<n>", "(?<m>", "(?<n", "[", "[^", "]", "*", "+", "?", "{", "}", "{2}",
        "{1,2}", "{2,1}", "\\", "\\-", "\\k<n>", "\\1", "\\0", "\\c", "\\x41", "\\u0041",
        "\\u{61}", "\\ud83d", "\\d", "\\b", "\\p{L}", "\\/",
    ];
    let mut state: u64 = 7;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % below).unwrap()
    };
    let mut accepted = Vec::new();
    for _ in 0..60_000 {
        let length = 1 + random(8);
        let pattern: String = (0..length).map(|_| SIGNS[random(SIGNS.len() as u64)]).collect();
        if translate(&pattern).is_ok() {
            accepted.push(pattern);
        }
    }
    assert!(accepted.len() > 3000, "{}", accepted.len());
    let folder = Folder::new();
    folder.write("patterns.json", serde_json::to_string(&accepted).unwrap());
    let script = r#"
        for (const pattern of JSON.parse(require("fs").readFileSync("patterns.json", "utf8"))) {
            try { new RegExp(pattern, "u"); } catch (error) { console.log(error.message); }
        }"#;
    let node =
        std::process::Command::new("node").args(["-e", script]).current_dir(folder.path()).output();
    let Ok(output) = node else { return };
    let refused = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && refused.is_empty(), "{refused}");
}

#[test]
fn a_contract_whose_pattern_reads_otherwise_is_refused_at_its_place() {
    let folder = Folder::project();
    folder.edit("tools/search.json", "\"query\": {", "\"query\": {\"pattern\": \"(?i)abc\", ");
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    for part in ["tools/search.json: ", "/inputSchema/properties/query/pattern", "write both cases"]
    {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

#[test]
fn a_schema_in_another_dialect_is_refused_at_its_place() {
    let folder = Folder::project();
    let dialect = "\"inputSchema\": {\"$schema\": \"http://json-schema.org/draft-07/schema#\", ";
    folder.edit("tools/search.json", "\"inputSchema\": {", dialect);
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    for part in
        ["/inputSchema/$schema", "draft/2020-12/schema", "found \"http://json-schema.org/draft-07"]
    {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

#[test]
fn a_key_or_text_that_breaks_its_pattern_is_told_what_is_expected() {
    for (file, old, new, says) in [
        (
            "tasks/canonical/v1.json",
            "\"fixtures.local\": \"corpus\"",
            "\"H0\": \"corpus\"",
            "expected each key to be a host in lower case, without a port, such as `fixtures.local`, found \"H0\"\n",
        ),
        (
            "tasks/canonical/v1.json",
            "\"id\": \"canonical/v1\"",
            "\"id\": \"Canonical/v1\"",
            "separated by `/`, found \"Canonical/v1\"\n",
        ),
        (
            "tools/search.json",
            "\"corpus:search\"",
            "\"search\"",
            "expected two lower-case words with a colon between them",
        ),
    ] {
        let folder = Folder::project();
        folder.edit(file, old, new);
        let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(ran.err.contains(says), "{says}: {}", ran.err);
    }
    let schema = json!({
        "$defs": {"name": {"pattern": "^a$"}},
        "propertyNames": {"$ref": "#/$defs/name"}
    });
    let found = Schema::compile(&schema).unwrap().violations(&json!({"b": 1}));
    assert_eq!(
        found[0].told(),
        "expected each key to be a text of the form that its schema states, found \"b\""
    );
}

#[test]
fn hosts_and_prefixes_that_no_url_matches_are_refused_with_what_to_write() {
    let table = text("tests/cases/hosts.jsonl");
    let mut failures = String::new();
    for line in table.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let found = match (row["host"].as_str(), row["path_prefix"].as_str()) {
            (Some(host), _) => check_host(host),
            (None, prefix) => check_prefix(prefix.unwrap()),
        };
        let fits = match (&found, row["says"].as_str()) {
            (Ok(()), None) => true,
            (Err((what, fix)), Some(says)) => format!("{what}; {fix}").contains(says),
            _ => false,
        };
        if !fits {
            failures.push_str(&format!("{line}: {found:?}\n"));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(table.lines().count() >= 100);
}

/// A prefix that is empty is refused in a policy too, and not passed over as one that is missing.
#[test]
fn an_empty_prefix_is_refused() {
    let folder = Folder::project();
    folder.write(
        "p.yaml",
        "version: 1\ntool_registry:\n  allowed: [fetch]\nurl_allowlist:\n  hosts:\n    - host: a.example\n      path_prefix: \"\"\n",
    );
    let ran = folder.gatedrun(&["policy", "check", "p.yaml"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("line 7, column 20"), "{}", ran.err);
    assert!(ran.err.contains("write \"/\""), "{}", ran.err);
}

/// One host is served from one mount, and is written as a policy writes it, wherever it is given.
#[test]
fn fixtures_are_read_alike_wherever_they_are_given() {
    let folder = Folder::project();
    let decide = |fixtures: &[&str]| {
        let fixtures = fixtures.iter().flat_map(|fixture| ["--fixtures", fixture]);
        let args: Vec<&str> = ["policy", "decide", POLICY].into_iter().chain(fixtures).collect();
        folder.gatedrun_stdin(&args, "")
    };
    assert_eq!(decide(&["fixtures.local=corpus"]).code, 0);
    let twice = decide(&["fixtures.local=corpus", "fixtures.local=work"]);
    assert_eq!(twice.code, 2, "{}", twice.all());
    assert!(twice.err.contains("fixtures.local is given twice"), "{}", twice.err);
    for host in ["a..b", "127.1"] {
        let on_the_line = decide(&[&format!("{host}=corpus")]);
        let mut task: Value = serde_json::from_str(&text("tasks/canonical/v1.json")).unwrap();
        task["fixtures"] = json!({host: "corpus", "fixtures.local": "corpus"});
        folder.write("tasks/canonical/v1.json", task.to_string());
        let in_a_task = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
        assert_eq!((on_the_line.code, in_a_task.code), (2, 2), "{host}: {}", in_a_task.all());
        assert!(in_a_task.err.contains(&format!("(/fixtures/{host})")), "{}", in_a_task.err);
    }
}

/// However the path of an input is written, it is recorded as one input.
#[test]
fn an_input_has_one_name() {
    let folder = Folder::project();
    folder.edit("tasks/canonical/v1.json", "\"data/corpus/v1\"", "\"data//corpus/./v1/\"");
    folder.edit("tasks/canonical/v1.json", "\"tools\"", "\"./tools/.\"");
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let ledger = String::from_utf8(folder.read("runs/canonical/v1/state.jsonl")).unwrap();
    let first: Value = serde_json::from_str(ledger.lines().next().unwrap()).unwrap();
    let paths: Vec<&str> = first["event"]["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&"data/corpus/v1/manifest.json"), "{paths:?}");
    assert!(paths.contains(&"tools/fetch.json"), "{paths:?}");
}

fn answers(args: &[&str], input: &[u8]) -> (i32, Vec<Value>, String) {
    let folder = Folder::project();
    let ran = folder.gatedrun_stdin_bytes(args, input);
    let answers = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (ran.code, answers, ran.err)
}

fn decide(input: &[u8]) -> (i32, Vec<Value>) {
    let (code, answers, err) = answers(&["policy", "decide", POLICY], input);
    assert_eq!(err, "");
    (code, answers)
}

#[test]
fn the_service_gives_each_line_one_answer_and_outlives_them_all() {
    let good =
        br#"{"call_id": "a", "tool": "search", "arguments": {"query": "x"}, "role": "extra"}"#;
    for (bad, says, call_id) in [
        (&b"junk"[..], "expected", Value::Null),
        (b"", "", Value::Null),
        (b"   ", "", Value::Null),
        (b"[]", "expected an object, found an empty array", Value::Null),
        (b"null", "expected an object, found null", Value::Null),
        (b"{}", "\"tool\" is missing", Value::Null),
        (br#"{"call_id": "b"}"#, "\"tool\" is missing", json!("b")),
        (br#"{"call_id": "b", "tool": 5}"#, "tool: expected a string", json!("b")),
        (br#"{"call_id": 7, "tool": "search"}"#, "call_id", json!(7)),
        (br#"{"tool":"a","tool":"b"}"#, "duplicate key", Value::Null),
        (br#"{"tool":"search","arguments":{"query":"\ud800"}}"#, "", Value::Null),
        (b"{\"tool\":\"search\",\"arguments\":{\"query\":\"\xff\"}}", "", Value::Null),
        (
            br#"{"tool":"search","arguments":{"query":"x","top_k":18446744073709551615}}"#,
            "larger than",
            Value::Null,
        ),
        (br#"{"tool":"search"} {"tool":"search"}"#, "follows the end", Value::Null),
        (b"\xef\xbb\xbf{\"tool\":\"search\"}", "", Value::Null),
    ] {
        let input = [bad, b"\n", good, b"\r\n", bad, b"\n", good].concat();
        let (code, answers) = decide(&input);
        let shown = String::from_utf8_lossy(bad);
        assert_eq!((code, answers.len()), (2, 4), "{shown}: {answers:?}");
        for (index, line) in [(0, 1), (2, 3)] {
            let answer = &answers[index];
            assert_eq!(answer["decision"], "deny", "{answer}");
            assert_eq!(answer["line"], line, "{answer}");
            assert_eq!(answer["call_id"], call_id, "{answer}");
            assert_eq!(answer["run_ends"], false, "{answer}");
            assert!(answer["error"].as_str().unwrap().contains(says), "{shown}: {answer}");
        }
        for answer in [&answers[1], &answers[3]] {
            assert_eq!((&answer["decision"], &answer["call_id"]), (&json!("allow"), &json!("a")));
        }
    }
}

#[test]
fn a_refused_line_is_answered_with_the_id_that_its_caller_gave() {
    let too_long = format!("{{\"call_id\":\"big\",\"tool\":\"{}\"}}", "x".repeat(9 << 20));
    for (line, call_id) in [
        (&br#"{"call_id":"c2","tool":"search","tool":"x"}"#[..], json!("c2")),
        (br#"{"call_id":"c3","tool":"search","arguments":{"query":"\ud800"}}"#, json!("c3")),
        (b"{\"tool\":\"search\",\"x\":\"\xff\",\"call_id\":\"c4\"}", json!("c4")),
        (b"\xef\xbb\xbf {\"call_id\" : \"c5\"}", json!("c5")),
        (br#"{"call_id":"c6","tool":"#, json!("c6")),
        (br#"{"x":[{"call_id":"no"}],"call_\u0069d":"c7"} x"#, json!("c7")),
        (br#"{"call_id":8,"tool":"a","tool":"b"}"#, json!(8)),
        (br#"{"tool":{"call_id":"no"}}"#, Value::Null),
        (br#"{"x":"call_id":"no"}"#, Value::Null),
        (br#"[{"call_id":"no"}]"#, Value::Null),
        (br#"{"tool":5} {"call_id":"no"}"#, Value::Null),
        (br#"{"call_id":"a","call_id":"b"}"#, Value::Null),
        (br#"{"call_id":"a","call_id":"a"}"#, json!("a")),
        (br#"{"call_id":"cut"#, Value::Null),
        (br#"{"call_id":12"#, Value::Null),
        (br#"{"call_id":"\ud800"}"#, Value::Null),
        (br#"{"call_id":["no"],"tool":"search"}"#, Value::Null),
        (too_long.as_bytes(), json!("big")),
    ] {
        let (code, answers) = decide(line);
        let shown = String::from_utf8_lossy(&line[..line.len().min(99)]);
        assert_eq!((code, answers.len()), (2, 1), "{shown}");
        assert_eq!(answers[0]["call_id"], call_id, "{shown}");
    }
}

/// An answer stays short, whatever a call holds, and says what is wrong.
#[test]
fn what_an_answer_quotes_is_bounded() {
    let big = "x".repeat(1_000_000);
    for (call, says) in [
        (json!({"tool": big}), "is not on"),
        (json!({"tool": "read", "arguments": {"path": big}}), "1000000 bytes"),
        (json!({"tool": "fetch", "arguments": {"url": format!("https://{big}")}}), "host"),
        (
            json!({"tool": "fetch", "arguments": {"url": format!("{big}://fixtures.local/")}}),
            "scheme",
        ),
        (
            json!({"tool": "fetch", "arguments": {"url": format!("https://fixtures.local/{big}")}}),
            "",
        ),
        (json!({"tool": "search", "arguments": {"query": "x", (&big): 1}}), "bytes"),
        (json!({"call_id": big, "tool": "search"}), "the limit is 1024"),
        (json!({"call_id": [big], "tool": "search"}), "call_id"),
    ] {
        let folder = Folder::project();
        let ran = folder.gatedrun_stdin(&["policy", "decide", POLICY], &call.to_string());
        assert!(ran.out.len() < 10_000, "{says}: {}", ran.out.len());
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        let why = answer["reason"].as_str().or(answer["error"].as_str()).unwrap();
        assert!(why.contains(says), "{says}: {why}");
    }
}

#[test]
fn an_overlong_line_is_refused_whole() {
    const MAX: usize = 8 * 1024 * 1024;
    let call = r#"{"tool":"search","arguments":{"query":"a"}}"#;
    let denied = "{\"tool\":\"read\",\"arguments\":{\"path\":\"/etc/passwd\"}}\n";
    for (pad, after, is_call) in [
        (MAX - call.len(), String::new(), true),
        (MAX - call.len() + 1, String::new(), false),
        (MAX - call.len(), call.to_owned(), false),
        (2 * MAX, call.to_owned(), false),
    ] {
        let input = format!("{call}{}{after}\n{denied}", " ".repeat(pad));
        let (code, answers) = decide(input.as_bytes());
        assert_eq!((code, answers.len()), (if is_call { 0 } else { 2 }, 2), "{pad}: {answers:?}");
        assert_eq!(answers[0]["decision"], if is_call { "allow" } else { "deny" });
        assert_eq!(answers[0].get("error").is_none(), is_call);
        assert_eq!(answers[1]["rule_id"], "sandbox_path");
    }
    // The last line, without its line feed.
    let (code, answers) = decide(" ".repeat(MAX + 1).as_bytes());
    assert_eq!((code, answers.len()), (2, 1));
}

#[test]
fn after_a_denial_that_ends_the_run_every_call_is_denied() {
    let search = "{\"call_id\": \"s\", \"tool\": \"search\", \"arguments\": {\"query\": \"x\"}}\n";
    let read = "{\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}}\n";
    let input = format!("{search}{read}{search}junk\n{search}");
    let (_, answers) = decide(input.as_bytes());
    let ends: Vec<_> = answers.iter().map(|answer| answer["run_ends"].as_bool().unwrap()).collect();
    assert_eq!(ends, [false, true, true, true, true]);
    for index in [2, 4] {
        assert_eq!(answers[index]["call_id"], "s");
        assert_eq!(answers[index]["decision"], "deny");
        let ended =
            format!("the run ended with call_2: {}", answers[1]["reason"].as_str().unwrap());
        assert_eq!(answers[index]["reason"], ended);
        assert_eq!(answers[index]["rule_id"], "sandbox_path");
    }
    // Where the policy says continue, the run continues.
    let folder = Folder::project();
    let args = ["policy", "decide", "policy/variants/continue.yaml"];
    let ran = folder.gatedrun_stdin(&args, &format!("{read}{search}"));
    let last: Value = serde_json::from_str(ran.out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["decision"], &last["run_ends"]), (&json!("allow"), &json!(false)));
}

#[test]
fn the_service_decides_as_a_run_where_fixtures_serve_a_host() {
    let fetch = |path: &str| {
        format!(
            "{{\"tool\": \"fetch\", \"arguments\": {{\"url\": \"https://fixtures.local/{path}\"}}}}\n"
        )
    };
    let input = format!("{}{}", fetch("op-07.md"), fetch("a%00"));
    let odd = fetch(".../x");
    for (world, allowed) in [
        (vec![], "allow"),
        (vec!["--task", "tasks/canonical/v1.json"], "deny"),
        (vec!["--fixtures", "fixtures.local=corpus"], "deny"),
    ] {
        let args = [vec!["policy", "decide", POLICY], world].concat();
        let (code, found, err) = answers(&args, odd.as_bytes());
        assert_eq!(code, 0, "{err}");
        assert_eq!(found[0]["decision"], allowed, "{args:?} {found:?}");
        let (_, found, _) = answers(&args, input.as_bytes());
        assert_eq!(found[0]["decision"], "allow");
        assert_eq!(found[1]["decision"], "deny");
    }
    for wrong in ["fixtures.local", "fixtures.local=attic", "=corpus", "*=corpus"] {
        let (code, _, err) = answers(&["policy", "decide", POLICY, "--fixtures", wrong], b"");
        assert_eq!(code, 2, "{wrong}");
        assert!(err.contains("--fixtures"), "{err}");
    }
}

#[test]
fn numbers_that_readers_round_are_denied_as_arguments() {
    for (number, decision) in [
        ("9007199254740991", "deny"),
        ("9007199254740992", "deny"),
        ("9007199254740993", "deny"),
        ("-9007199254740993", "deny"),
        ("9007199254740993.0", "deny"),
        ("1e16", "deny"),
        ("1.0", "allow"),
        ("50e0", "allow"),
    ] {
        let folder = Folder::project();
        folder.edit("tools/search.json", "\"maximum\": 50", "\"maximum\": 9007199254740991");
        let call = format!(r#"{{"tool":"search","arguments":{{"query":"x","top_k":{number}}}}}"#);
        let args = ["policy", "decide", "policy/v1.yaml", "--contracts", "tools"];
        let ran = folder.gatedrun_stdin(&args, &call);
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        let decision = if number == "9007199254740991" { "allow" } else { decision };
        assert_eq!(answer["decision"], decision, "{answer}");
    }
    // Without a bound in the contract, the numbers' own bound denies.
    let folder = Folder::project();
    folder.edit("tools/search.json", ", \"maximum\": 50", "");
    let call = r#"{"tool":"search","arguments":{"query":"x","top_k":9007199254740993}}"#;
    let args = ["policy", "decide", "policy/v1.yaml", "--contracts", "tools"];
    let ran = folder.gatedrun_stdin(&args, call);
    assert!(ran.out.contains("is beyond ±9007199254740991"), "{}", ran.all());
    assert!(ran.out.contains("\"failed_path\":\"/top_k\""), "{}", ran.all());
}

#[test]
fn a_table_that_tests_nothing_or_asks_for_no_rule_is_refused() {
    let folder = Folder::project();
    let bare: String = {
        // The built-in policy without its examples.
        let mut kept = Vec::new();
        let mut skipping = false;
        for line in text("policy/v1.yaml").lines() {
            let indent = line.len() - line.trim_start().len();
            if line == "  examples:" {
                skipping = true;
                continue;
            }
            skipping = skipping && (indent > 2 || line.is_empty());
            if !skipping {
                kept.push(line.to_owned());
            }
        }
        kept.join("\n") + "\n"
    };
    folder.write("bare.yaml", bare);
    folder.write("empty.jsonl", "\n");
    for args in [
        vec!["policy", "test", "bare.yaml"],
        vec!["policy", "test", "bare.yaml", "empty.jsonl"],
        vec!["policy", "test", POLICY, "empty.jsonl"],
    ] {
        let ran = folder.gatedrun(&args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.all());
        assert!(ran.err.contains("nothing was tested"), "{}", ran.err);
    }
    let call = "\"tool\": \"read\", \"arguments\": {\"path\": \"/etc/passwd\"}";
    for (decision, says) in [
        ("deny:sandbox_pth", "unknown rule \"sandbox_pth\"; did you mean \"sandbox_path\"?"),
        ("denied", "unknown decision \"denied\""),
        ("allow:sandbox_path", "unknown decision"),
        ("", "unknown decision"),
    ] {
        folder.write("t.jsonl", format!("\n{{{call}, \"decision\": \"{decision}\"}}\n"));
        let ran = folder.gatedrun(&["policy", "test", POLICY, "t.jsonl"]);
        assert_eq!(ran.code, 2, "{}", ran.all());
        assert!(
            ran.err.contains("t.jsonl: line 2, column 68 (/decision): ") && ran.err.contains(says),
            "{}",
            ran.err
        );
    }
    folder.write("t.jsonl", format!("{{{call}, \"decision\": \"deny\", \"repeat\": 1.0}}\n"));
    assert_eq!(folder.gatedrun(&["policy", "test", POLICY, "t.jsonl"]).code, 0);
    folder.write("t.jsonl", format!("\n{{{call}, \"decision\": \"allow\"}}\n"));
    let ran = folder.gatedrun(&["policy", "test", POLICY, "t.jsonl"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.starts_with("t.jsonl:2: read "), "{}", ran.out);
}

/// Whatever is wrong and however often, a message is short, in order, and gives its reason.
#[test]
fn messages_are_bounded_in_order_and_give_their_reason() {
    let folder = Folder::project();
    let long = "x".repeat(300_000);
    let many = |row: &str, count: usize| vec![row; count].join(", ");
    let policy = text("policy/v1.yaml");
    let edits = [
        ("allowed: [search, fetch", format!("allowed: [{}, search, fetch", many("serch", 9000))),
        ("allowed: [search, fetch", format!("allowed: [{long}, search, fetch")),
        ("max_repeats: 3", format!("max_repeats: {long}")),
        ("max_repeats: 3", format!("max_repeats: 3\n  {long}: 1")),
        (
            "  max_repeats: 3",
            "  ".to_owned()
                + &(0..5000).map(|n| format!("k{n}: 1\n  ")).collect::<String>()
                + "max_repeats: 3",
        ),
        ("    - host: fixtures.local", format!("    - host: \"{long}\"")),
        (
            "    - host: fixtures.local",
            format!(
                "    - {{host: \"*\", schemes: [{}]}}\n    - host: fixtures.local",
                many("ftp", 9000)
            ),
        ),
        ("max_iterations: 10", format!("max_iterations: !!{} 10", "y".repeat(3000))),
        ("version: 1", "version: 1\n".to_owned() + &"a: yes\n".repeat(9000)),
        ("version: 1", format!("version: [{}]", many("no", 20_000))),
    ];
    for (from, to) in &edits {
        assert!(policy.contains(from));
        folder.write("p.yaml", policy.replacen(from, to, 1));
        let ran = folder.gatedrun(&["policy", "check", "p.yaml"]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.len() < 20_000, "{}: {} bytes", &to[..20.min(to.len())], ran.err.len());
        let lines: Vec<u64> = ran
            .err
            .lines()
            .filter_map(|line| line.split_once("line ")?.1.split(',').next()?.parse().ok())
            .collect();
        assert!(lines.is_sorted() && lines.len() <= 10 && !lines.is_empty(), "{}", ran.err);
        let json = folder.gatedrun(&["policy", "check", "--json", "p.yaml"]);
        let verdict: Value = serde_json::from_str(&json.out).unwrap();
        let listed = verdict["findings"].as_array().unwrap().len() as u64;
        assert!(listed <= 100, "{listed}");
        let total = listed + verdict["findings_omitted"].as_u64().unwrap();
        let noun = if total == 1 { "finding" } else { "findings" };
        assert!(ran.err.ends_with(&format!("{total} {noun}\n")), "{total}: {}", ran.err);
    }
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    let call = json!({"tool": "serch", "arguments": {"query": "x"}});
    for (script, says) in [
        (
            json!([{"calls": vec![call.clone(); 20_000]}]),
            "expected at most 1000 entries, found 20000",
        ),
        (json!(vec![json!({"calls": [call]}); 20_000]), "unknown tool \"serch\""),
        (
            json!(vec![json!({"calls": [call], "final_answer": "x"}); 20_000]),
            "exactly one of the keys \"calls\", \"final_answer\"",
        ),
        (
            json!([{"final_answer": "x", "text": {"$concat": &long}}]),
            "$concat needs a list of at least one part",
        ),
        (json!([{"final_answer": {long.as_str(): {"$result": 1}}}]), "expected an object"),
        (json!([{"final_answer": {(format!("${long}")): 1}}]), "unknown operator"),
    ] {
        task["llm"] = json!({"script": script});
        folder.write("tasks/canonical/v1.json", task.to_string());
        let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
        assert_eq!(ran.code, 2);
        assert!(ran.err.len() < 20_000, "{says}: {}", ran.err.len());
        let first = ran.err.lines().next().unwrap();
        assert!(first.contains(says) && first.len() < 1000, "{says}: {first}");
    }
}

#[test]
fn a_run_that_cannot_be_made_leaves_nothing_in_its_way() {
    let folder = Folder::lenient_project();
    folder.edit("policy/v1.yaml", "max_tokens: 50000", "max_tokens: 1000000000");
    let mut task: Value = serde_json::from_slice(&folder.read("tasks/canonical/v1.json")).unwrap();
    task["llm"] = json!({"script": [{"final_answer": "y".repeat(17 << 20)}]});
    task.as_object_mut().unwrap().remove("expected");
    folder.write("tasks/canonical/v1.json", task.to_string());
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    assert_eq!(ran.code, 2, "{}", ran.all());
    assert!(ran.err.contains("a line of the ledger has at most"), "{}", ran.err);
    assert!(!folder.path().join("runs/canonical/v1.partial").exists());
    folder.write("tasks/canonical/v1.json", file("tasks/canonical/v1.json"));
    assert_eq!(folder.gatedrun(&["run", "tasks/canonical/v1.json"]).code, 0);
}
