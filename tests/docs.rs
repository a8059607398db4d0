//! Docs are tested: generated pages are what the code says, and names and paths in the others
//! exist. `UPDATE_DOCS=1 make test` writes the generated ones again; CI never does.

use std::fmt::Write as _;

use gatedrun::event::{ErrorClass, ErrorFacts, FailureMode, Rule};
use gatedrun::evidence::trace::ATTRIBUTES;
use serde_json::Value;

use crate::support::{COMMANDS, Folder, root, text};

/// Compares a generated file with the committed one, or writes it on request.
fn generated(path: &str, content: &str) {
    let full = root().join(path);
    let committed = std::fs::read_to_string(&full).unwrap_or_default();
    if std::env::var_os("UPDATE_DOCS").is_some() && std::env::var_os("CI").is_none() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, content).unwrap();
    } else {
        assert!(
            committed == content,
            "{path} is not what the code says; write it with UPDATE_DOCS=1 make test"
        );
    }
}

/// Replaces what stands between `<!-- generated: NAME -->` and `<!-- end -->` in a page.
pub fn generated_part(path: &str, name: &str, content: &str) {
    let page = text(path);
    let begin = format!("<!-- generated: {name} -->\n");
    let (head, rest) =
        page.split_once(&begin).unwrap_or_else(|| panic!("{path} has no part {name}"));
    let (_, tail) = rest.split_once("<!-- end -->").unwrap();
    generated(path, &format!("{head}{begin}\n{content}\n<!-- end -->{tail}"));
}

/// A schema as the program prints it.
fn schema(name: &str) -> Value {
    let ran = Folder::new().gatedrun(&["schema", name]);
    assert_eq!(ran.code, 0, "{name}: {}", ran.all());
    serde_json::from_str(&ran.out).unwrap()
}

/// The name under which a schema can be referred to, wherever its file lies.
fn schema_id(name: &str) -> String {
    format!("urn:gatedrun:schema:{name}")
}

fn details() -> Value {
    serde_json::to_value(schemars::schema_for!(gatedrun::event::Detail)).unwrap()
}

/// The first paragraph of a schema's description, on one line.
fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or("");
    text.split("\n\n").next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A type as a reader would say it.
fn type_of(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return format!(
            "[{0}](#{1})",
            reference.rsplit('/').next().unwrap(),
            reference.rsplit('/').next().unwrap().to_lowercase()
        );
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(list) = schema[key].as_array() {
            return list.iter().map(type_of).collect::<Vec<_>>().join(" or ");
        }
    }
    let name = |value: &Value| value.as_str().unwrap_or("").to_owned();
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().map(name).collect::<Vec<_>>().join(" or "),
        _ if schema["additionalProperties"].is_object() => "object".to_owned(),
        _ => "any JSON".to_owned(),
    }
}

/// The fields of a struct in the order of its source, which is the order in the file.
fn field_order(name: &str) -> Vec<String> {
    let source: String =
        ["mod", "policy", "error"].map(|file| text(&format!("src/event/{file}.rs"))).concat();
    let body = source
        .split(&format!("pub struct {name} {{"))
        .nth(1)
        .unwrap_or_else(|| panic!("no struct {name}"));
    let body = if body.starts_with('}') { "" } else { body.split("\n}").next().unwrap() };
    body.lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'))
        .map(|(field, _)| field.to_owned())
        .collect()
}

fn fields(schema: &Value, name: &str) -> String {
    let mut table = String::from("| field | type | meaning |\n|---|---|---|\n");
    let order = field_order(name);
    let properties = schema["properties"].as_object();
    let known = properties.into_iter().flatten().filter(|(field, _)| *field != "kind").count();
    assert_eq!(known, order.len(), "{name}: {order:?}");
    for field in &order {
        let says = &schema["properties"][field];
        let _ = writeln!(table, "| `{field}` | {} | {} |", type_of(says), description(says));
    }
    if order.is_empty() { "No fields.\n".to_owned() } else { table }
}

fn words(schema: &Value) -> String {
    let mut list = String::new();
    for word in schema["oneOf"].as_array().into_iter().flatten() {
        if let Some(name) = word["const"].as_str() {
            let _ = writeln!(list, "- `{name}`: {}", description(word));
        }
    }
    list
}

#[test]
fn the_ledger_page_says_what_is_newer_than_format_1() {
    let mut table = String::from("| format | has |\n|---:|---|\n");
    for newer in &gatedrun::event::NEWER {
        let _ = writeln!(table, "| {} | {} |", newer.since, newer.what);
    }
    generated_part("docs/ledger.md", "formats", table.trim_end());
}

#[test]
fn the_ledger_page_says_what_the_types_say() {
    let schema = schema("record");
    let mut page = String::from("### Record\n\n");
    page.push_str(&fields(&schema, "Record"));
    let definitions = schema["$defs"].as_object().unwrap();
    let kinds = definitions["Event"]["oneOf"].as_array().unwrap();
    for kind in kinds {
        let name = kind["properties"]["kind"]["const"].as_str().unwrap();
        let camel: String =
            name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let _ = write!(page, "\n### `{name}`\n\n{}\n\n{}", description(kind), fields(kind, &camel));
    }
    page.push_str("\n## Parts\n");
    for (name, definition) in definitions.iter().filter(|(name, _)| *name != "Event") {
        let body = if definition["oneOf"].is_array() {
            words(definition)
        } else {
            fields(definition, name)
        };
        let _ = write!(page, "\n### {name}\n\n{}\n\n{body}", description(definition));
    }
    generated_part("docs/ledger.md", "records", page.trim_end());
}

#[test]
fn every_kind_of_event_has_its_schema() {
    let schema = schema("record");
    let pretty = |value: &Value| format!("{}\n", serde_json::to_string_pretty(value).unwrap());
    for kind in schema["$defs"]["Event"]["oneOf"].as_array().unwrap() {
        let name = kind["properties"]["kind"]["const"].as_str().unwrap();
        let mut alone = kind.clone();
        alone["$schema"] = schema["$schema"].clone();
        alone["$id"] = schema_id(name).into();
        alone["title"] = name.into();
        alone["$defs"] = schema["$defs"].clone();
        alone["$defs"].as_object_mut().unwrap().remove("Event");
        generated(&format!("docs/schema/{name}.schema.json"), &pretty(&alone));
    }
    // The schema accepts what is committed, and refuses what is not of the format.
    let compiled = jsonschema::validator_for(&schema).unwrap();
    for run in crate::support::committed_runs() {
        for line in text(&format!("runs/{run}/state.jsonl")).lines() {
            let mut record: Value = serde_json::from_str(line).unwrap();
            assert!(compiled.is_valid(&record), "{line}");
            record["event"]["kind"] = "no_kind".into();
            assert!(!compiled.is_valid(&record));
        }
    }
}

#[test]
fn every_schema_that_the_program_prints_has_its_file() {
    let names = Folder::new().gatedrun(&["schema"]).out;
    for name in names.lines() {
        let printed = Folder::new().gatedrun(&["schema", name]).out;
        match name {
            // These are written by hand, and built into the program.
            "policy" => assert!(printed == text("policy/v1.schema.json")),
            "task" => assert!(printed == text("tasks/task.schema.json")),
            "contract" => assert!(printed == text("tools/contract.schema.json")),
            _ => generated(&format!("docs/schema/{name}.schema.json"), &printed),
        }
    }
}

#[test]
fn the_trace_page_lists_every_attribute() {
    let mut table = String::from("| attribute | meaning |\n|---|---|\n");
    for (name, says) in ATTRIBUTES {
        let _ = writeln!(table, "| `{name}` | {says} |");
    }
    for detail in details()["oneOf"].as_array().unwrap() {
        // It may quote an argument, and a trace carries no content.
        if detail["const"] == "schema_error" {
            continue;
        }
        // For the same reason the trace has less of a URL than the ledger.
        let says = match detail["const"].as_str() {
            Some("url") => "The origin of the URL as proposed: scheme, host and port.".to_owned(),
            _ => description(detail),
        };
        let _ = writeln!(table, "| `policy.{}` | {says} |", detail["const"].as_str().unwrap());
    }
    generated_part("docs/artifacts.md", "attributes", table.trim_end());
    assert!(ATTRIBUTES.is_sorted());
}

#[test]
fn the_command_line_page_is_the_help() {
    let folder = Folder::new();
    let mut page = String::new();
    for command in [""].into_iter().chain(COMMANDS) {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let help = folder.gatedrun(&args).out;
        let help: String = help.lines().map(str::trim_end).flat_map(|line| [line, "\n"]).collect();
        let _ = write!(
            page,
            "\n### `{}`\n\n```text\n{}\n```\n",
            format!("gatedrun {command}").trim(),
            help.trim_end()
        );
    }
    generated_part("docs/cli.md", "help", page.trim());
    let mut codes = String::from("| code | meaning |\n|---:|---|\n");
    for (code, says) in gatedrun::cli::exit::ALL {
        let _ = writeln!(codes, "| {code} | {says} |");
    }
    generated_part("docs/cli.md", "exit codes", codes.trim_end());
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    let folder = Folder::project();
    crate::support::copy(
        root().join("runs/canonical").as_std_path(),
        folder.path().join("runs/canonical").as_std_path(),
    );
    let ran = folder.gatedrun(&["run", "tasks/canonical/v1.json"]);
    generated_part(
        "README.md",
        "make canonical",
        &format!("```text\n$ make canonical\n{}```", ran.out),
    );
    folder.edit("policy/v1.yaml", "jitter_percent: 20", "jitter_percent: 10");
    let ran = folder.gatedrun_with(&["check", "runs/canonical/v1"], &[("CI", "true")]);
    let first: String = ran.out.lines().take(5).flat_map(|line| [line, "\n"]).collect();
    generated_part(
        "README.md",
        "drift",
        &format!("```text\n$ gatedrun check runs/canonical/v1\n{first}exit code {}\n```", ran.code),
    );
}

#[test]
fn the_evidence_page_shows_what_the_program_prints() {
    let folder = Folder::project();
    for part in ["runs/canonical", "runs/failure_modes", "tasks/failure_modes"] {
        let to = folder.path().join(part);
        crate::support::copy(root().join(part).as_std_path(), to.as_std_path());
    }
    const PAGE: &str = "docs/evidence.md";
    let shown_in = |folder: &Folder, name: &str, commands: &[&str]| {
        let mut text = String::new();
        for command in commands {
            let args: Vec<&str> = command.split_whitespace().skip(1).collect();
            let ran = folder.gatedrun(&args);
            let _ = write!(text, "$ {command}\n{}", ran.out);
            if ran.code != 0 {
                let _ = writeln!(text, "exit code {}", ran.code);
            }
        }
        generated_part(PAGE, name, &format!("```text\n{text}```"));
    };
    let shown = |name: &str, commands: &[&str]| shown_in(&folder, name, commands);
    let run = "runs/canonical/v1";
    let verify = format!("gatedrun verify {run}");
    // What a reader sees first: a good run, and the same with one number changed.
    let good = folder.gatedrun(&["verify", run]).out;
    folder.edit(&format!("{run}/run_report.md"), "75 days", "57 days");
    let bad = folder.gatedrun(&["verify", run]);
    let session = format!(
        "```text\n$ {verify}\n{good}$ sed -i 's/75 days/57 days/' {run}/run_report.md\n$ {verify}\n{}exit code {}\n```",
        bad.out, bad.code
    );
    generated_part(PAGE, "verify", &session);
    generated_part("README.md", "tampered", &session);
    shown("verify json", &[&format!("{verify} --json")]);
    folder.edit(&format!("{run}/run_report.md"), "57 days", "75 days");
    // A key that is not drawn by lot, so that the page stays the same.
    let seed = gatedrun::json::Digest::of(b"docs");
    let pair = gatedrun::evidence::attest::generate(seed.as_bytes()).unwrap();
    let private = folder.write("key.pem", pair.private);
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(private, own).unwrap();
    folder.write("key.pub.pem", pair.public);
    shown(
        "signature",
        &[
            &format!("gatedrun sign {run} --key key.pem"),
            &format!("{verify} --key key.pub.pem"),
            &verify,
        ],
    );
    std::fs::remove_file(folder.path().join(run).join("attestation.intoto.json")).unwrap();
    let lenient = Folder::lenient_project();
    let policy = String::from_utf8(lenient.read("policy/v1.yaml")).unwrap();
    folder.write("next.yaml", policy.replace("denied: []", "denied: [fetch]"));
    let lenient = policy.replace("on_deny: terminate", "on_deny: continue");
    folder.write("lenient.yaml", lenient.replace("denied: []", "denied: [fetch]"));
    shown(
        "backtest",
        &[
            &format!("gatedrun replay {run} --policy next.yaml --require allow"),
            &format!("gatedrun replay {run} --policy lenient.yaml"),
        ],
    );
    let mut keys = String::from("| key | back-test |\n|---|---|\n");
    for (key, how) in gatedrun::replay::limits::keys() {
        let _ = writeln!(keys, "| `{key}` | {} |", how.as_str());
    }
    generated_part(PAGE, "backtest keys", keys.trim_end());
    shown("backtest json", &[&format!("gatedrun replay {run} --policy lenient.yaml --json")]);
    let retries = "runs/failure_modes/retry_exhaustion";
    folder.edit("policy/v1.yaml", "max_retries: 3", "max_retries: 2");
    shown("replay", &[&format!("gatedrun replay {retries}")]);
    shown("replay json", &[&format!("gatedrun replay {retries} --json")]);
    assert_eq!(folder.gatedrun(&["check", retries]).code, 1);
    shown("diff", &[&format!("gatedrun diff {retries} {retries}.new")]);
    shown("review", &["gatedrun review --accept", &format!("gatedrun check {retries}")]);
    folder.write("policy/v1.yaml", crate::support::file("policy/v1.yaml"));
    let ledger = folder.read(&format!("{run}/state.jsonl"));
    std::fs::remove_dir_all(folder.path().join(run)).unwrap();
    folder.write(&format!("{run}.partial/state.jsonl"), &ledger[..9000]);
    shown("resume", &[&format!("gatedrun resume {run}"), &format!("gatedrun check {run}")]);
    let (folder, call) = crate::support::in_doubt();
    let ran = folder.gatedrun(&["resume", "runs/test/doubt"]);
    let reason = ["--reason", "the file is not there"];
    let settle = format!("{call}=did-not");
    let args = [&["resume", "runs/test/doubt", "--settle", &settle], &reason[..]].concat();
    let settled = folder.gatedrun(&args);
    let session = format!(
        "```text\n$ gatedrun resume runs/test/doubt\n{}{}exit code {}\n$ gatedrun resume runs/test/doubt --settle {settle} --reason 'the file is not there'\n{}```",
        ran.out, ran.err, ran.code, settled.out
    );
    generated_part(PAGE, "in doubt", &session);
    // What a check says of runs and tasks that do not go together.
    let folder = Folder::project();
    for part in ["runs/failure_modes", "tasks/failure_modes"] {
        let to = folder.path().join(part);
        crate::support::copy(root().join(part).as_std_path(), to.as_std_path());
    }
    let modes = |part: &str, mode: &str| folder.path().join(part).join("failure_modes").join(mode);
    std::fs::remove_file(modes("tasks", "cycle_detection.json")).unwrap();
    std::fs::remove_dir_all(modes("runs", "tool_call_failure")).unwrap();
    folder.write("tasks/failure_modes/schema_mismatch.json", "{\"format\": 1,");
    folder.edit("runs/failure_modes/retry_exhaustion/run_report.md", "of which 3", "of which 2");
    shown_in(&folder, "check", &["gatedrun check runs"]);
    shown_in(&folder, "check json", &["gatedrun check runs/failure_modes/cycle_detection --json"]);
}

#[test]
fn the_defaults_of_a_policy_are_in_its_page() {
    use gatedrun::policy::section::Fallback;
    use gatedrun::policy::told::flow;
    let mut table = String::from("| key | default |\n|---|---|\n");
    for (key, fallback) in gatedrun::policy::defaults::keys() {
        let default = match fallback {
            Fallback::Required => "required".to_owned(),
            Fallback::Unset(meaning) => (*meaning).to_owned(),
            _ => format!("`{}`", flow(&fallback.value().unwrap())),
        };
        let _ = writeln!(table, "| `{key}` | {default} |");
    }
    generated_part("policy/README.md", "defaults", table.trim_end());
}

/// Every page that a person wrote.
fn pages() -> Vec<String> {
    let mut pages = vec![
        "README.md".to_owned(),
        "failure_modes.md".to_owned(),
        "policy/README.md".to_owned(),
        "CONTRIBUTING.md".to_owned(),
        "CHANGELOG.md".to_owned(),
    ];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages
}

#[test]
fn paths_links_and_targets_in_docs_exist() {
    let makefile = text("Makefile");
    let top =
        ["src", "tools", "policy", "data", "tasks", "runs", "scripts", "tests", "docs", "benches"];
    let mut checked = 0;
    for page in pages() {
        let content = text(&page);
        let here = camino::Utf8Path::new(&page).parent().unwrap().to_owned();
        for link in content.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with('#') && !link.contains("://") {
                let target = root().join(&here).join(link.split('#').next().unwrap());
                assert!(target.exists(), "{page} links to {link}");
                checked += 1;
            }
        }
        // Text in backquotes that looks like a path of this project, or a target of the Makefile.
        for code in content.split('`').skip(1).step_by(2) {
            let first = code.split('/').next().unwrap();
            let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if plain && code.contains('/') && top.contains(&first) {
                assert!(root().join(code).exists(), "{page} names {code}");
                checked += 1;
            }
            if let Some(target) = code.strip_prefix("make ") {
                let target = target.split_whitespace().next().unwrap();
                assert!(makefile.contains(&format!("\n{target}:")), "{page} names make {target}");
                checked += 1;
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

#[test]
fn the_words_of_the_code_are_in_its_pages() {
    let policy = text("policy/README.md");
    for rule in Rule::ALL {
        assert!(
            policy.contains(&format!("`{}`", rule.as_str())),
            "policy/README.md lacks {}",
            rule.as_str()
        );
    }
    let modes = text("failure_modes.md");
    for mode in FailureMode::ALL {
        assert!(
            modes.contains(&format!("`{}`", mode.as_str())),
            "failure_modes.md lacks {}",
            mode.as_str()
        );
    }
    let mut table = String::from(
        "| class | source | category | retryable | unforeseen |\n|---|---|---|---|---|\n",
    );
    for class in ErrorClass::ALL {
        let ErrorFacts { source, category, retryable, .. } = class.facts();
        let word = |yes: bool| if yes { "yes" } else { "no" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            class.as_str(),
            source.as_str(),
            category.as_str(),
            word(retryable),
            word(class.facts().is_unforeseen)
        );
    }
    generated_part("failure_modes.md", "error classes", table.trim_end());
    let architecture = text("docs/architecture.md");
    for line in text("src/lib.rs").lines() {
        if let Some(module) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';'))
        {
            assert!(
                architecture.contains(&format!("`{module}")),
                "docs/architecture.md lacks {module}"
            );
        }
    }
    // The limits that policy/README.md states are those of policy/v1.yaml.
    for line in text("policy/v1.yaml").lines() {
        if let Some((key, value)) = line.trim().split_once(": ")
            && (key.starts_with("max_") || key.starts_with("backoff_") || key == "jitter_percent")
        {
            assert!(
                policy.contains(&format!("`{key}` {value}")),
                "policy/README.md does not state {key} {value}"
            );
        }
    }
}

#[test]
fn every_direct_dependency_is_explained() {
    let page = text("docs/dependencies.md");
    let manifest = text("Cargo.toml");
    let mut explained = 0;
    for section in ["[dependencies]", "[dev-dependencies]"] {
        let section = manifest.split(section).nth(1).unwrap().split("\n[").next().unwrap();
        for line in section.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")) {
            let name = line.split(" = ").next().unwrap();
            assert!(page.contains(&format!("`{name}`")), "docs/dependencies.md lacks {name}");
            explained += 1;
        }
    }
    assert!(explained > 15);
}

/// A row of a table that links to a run: what it says of the run is what the run's evidence says.
#[test]
fn what_pages_say_of_runs_is_what_the_runs_say() {
    let mut checked = 0;
    for page in ["docs/policy-gates.md", "docs/failure-modes.md"] {
        let content = text(page);
        let sections = content.split("\n\n").flat_map(|block| {
            if block.starts_with('|') {
                block.lines().map(str::to_owned).collect()
            } else {
                vec![block.to_owned()]
            }
        });
        for section in sections {
            let Some(link) = section.split("](../runs/").nth(1) else { continue };
            let Some((head, _)) = section.split_once("ends with `").or(section.rsplit_once("| `"))
            else {
                continue;
            };
            let run = link.split("/run_report.md").next().unwrap();
            let rest = &section[head.len()..];
            let says = rest.split('`').nth(1).unwrap();
            let manifest: Value =
                serde_json::from_str(&text(&format!("runs/{run}/manifest.json"))).unwrap();
            assert_eq!(manifest["outcome"]["terminal_reason"], says, "{page}: {run}");
            let evidence = text(&format!("runs/{run}/trace.json"));
            for word in section.split('`').skip(1).step_by(2) {
                let is_name = word.starts_with("policy.")
                    || word.starts_with("agent.")
                    || Rule::ALL.iter().any(|rule| rule.as_str() == word);
                assert!(
                    !is_name || evidence.contains(word),
                    "{page}: {word} is not in the trace of {run}"
                );
            }
            checked += 1;
        }
    }
    assert!(checked >= 18, "{checked}");
    // Every committed run of a gate or a failure mode has its place in a page.
    let pages = text("docs/policy-gates.md") + &text("docs/failure-modes.md");
    for run in crate::support::committed_runs() {
        assert!(
            run == "canonical/v1" || pages.contains(&format!("runs/{run}/run_report.md")),
            "{run} is in no page"
        );
    }
}

/// What other verifiers read of the order of events.
#[test]
fn the_order_of_events_is_what_the_ledger_holds_to() {
    let order = gatedrun::ledger::order();
    let steps = order["order"].as_array().unwrap();
    assert!(steps.len() > 20 && order["rules"].as_array().unwrap().len() == Rule::ALL.len());
    let lines = |rows: &Value| {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| format!("    {row}")).collect::<Vec<_>>().join(",\n")
    };
    let text = format!(
        "{{\n  \"order\": [\n{}\n  ],\n  \"rules\": [\n{}\n  ]\n}}\n",
        lines(&order["order"]),
        lines(&order["rules"])
    );
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), order);
    generated("docs/grammar.json", &text);
}

/// The task that `docs/tasks.md` shows is one, and its tables name every key, mode and operator.
#[test]
fn the_page_about_tasks_shows_one_that_runs() {
    let page = text("docs/tasks.md");
    let task = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = Folder::project();
    folder.write("tasks/first.json", task);
    let ran = folder.gatedrun(&["run", "tasks/first.json"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert_eq!(folder.gatedrun(&["check", "runs/first"]).code, 0);
    let schema: Value = serde_json::from_str(&text("tasks/task.schema.json")).unwrap();
    let keys = |pointer: &str| {
        let keys = schema.pointer(pointer).and_then(Value::as_object).unwrap().keys();
        keys.filter(|key| *key != "$schema").cloned().collect::<Vec<_>>()
    };
    let modes = schema.pointer("/$defs/fault/properties/mode/enum").and_then(Value::as_array);
    let modes = modes.unwrap().iter().map(|mode| mode.as_str().unwrap().to_owned());
    let due = [
        keys("/properties"),
        keys("/properties/expected/properties"),
        keys("/$defs/turn/properties"),
        keys("/$defs/fault/properties"),
        modes.collect(),
        vec!["choose".to_owned(), "unknown_tool".to_owned()],
    ];
    for key in due.into_iter().flatten().filter(|key| *key != "tool" && *key != "mode") {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("\"{key}\"")),
            "{key}"
        );
    }
}
