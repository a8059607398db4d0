use std::borrow::Cow;

use gatedrun::json::JsonText;
use gatedrun::{json, yaml};
use proptest::prelude::*;
use serde_json::Value;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_form_is_what_rfc_8785_says(value in value()) {
        let ours = json::canonical(&value);
        // The library is the standard's own; ours is only a faster way to the same bytes, except
        // that integers which no double holds keep their digits instead of colliding.
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
    }

    #[test]
    fn json_reads_back_what_it_writes(value in value()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(json::parse(&text).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = json::parse(&bytes);
        let _ = yaml::parse(&bytes);
    }
}

/// What is read as a text is held to what parser and writer make of it; whether it was taken as its
/// own canonical form.
fn checked(text: &str) -> Option<bool> {
    let mut read: JsonText = serde_json::from_str(text).ok()?;
    let checked = read.check();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let due = JsonText::of(&value);
            assert_eq!(due.as_str(), value.to_string(), "{text}");
            let found = checked.unwrap();
            assert_eq!(found.is_none(), due.as_str() == read.as_str(), "{text}");
            assert!(found.is_none_or(|found| found == due), "{text}");
            assert_eq!(*due.canonical(), json::canonical(&value), "{text}");
            assert_eq!(*read.canonical(), json::canonical(&value), "{text}");
        }
        Err(_) => assert!(checked.is_err(), "{text}"),
    }
    Some(matches!(read.canonical(), Cow::Borrowed(_)))
}

proptest! {
    #[test]
    fn a_text_is_judged_as_parser_and_writer_judge_it(
        text in r#"(\{("[a-cé\\n]{0,2}":(-?[0-9]{1,17}|"[ -~\\né]{0,4}"|\[(1,)?2\]|1\.50?|null),?){0,3}\}|"(\\[nrtu"/\\]|[0-9a-f]{1,4}|é){0,6}"|-?[0-9]{1,18}(\.[0-9]{1,3})?(e[0-9])?)"#
    ) {
        checked(&text);
    }

    #[test]
    fn the_text_of_any_value_is_as_it_is_written(value in value()) {
        checked(&value.to_string());
        checked(&serde_json::to_string_pretty(&value).unwrap());
    }
}

#[test]
fn a_plain_text_is_its_own_canonical_form() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "999999999999999",
        "\"\"",
        "[]",
        "{}",
        r#"{"a":[1,{"b":"x\ny\u0000\u001f\"\\"}],"b":{}}"#,
        "\"\u{7f}é\u{2028}\"",
        &deep(64),
    ] {
        assert_eq!(checked(text), Some(true), "{text}");
    }
    for text in [
        "-0",
        "1.0",
        "1e3",
        "9007199254740993",
        "-9007199254740993",
        "99999999999999999999",
        "[1, 2]",
        "[ ]",
        "{ }",
        r#"{"a" :1}"#,
        r#"{"a": 1}"#,
        r#"{"a":1 }"#,
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"é":1}"#,
        r#"{"\n":1}"#,
        r#""\/""#,
        r#""\u0041""#,
        r#""\u000a""#,
        r#""\u001F""#,
        r#""\u0008""#,
        r#""\u000c""#,
        r#""\u0009""#,
        r#""\u000d""#,
        r#""\ud83d\ude00""#,
        r#""\ud800""#,
        &deep(65),
        &deep(200),
    ] {
        assert_eq!(checked(text), Some(false), "{text}");
    }
}

#[test]
fn json_is_strict() {
    for (text, what) in [
        (r#"{"a":1,"a":2}"#, "duplicate key \"a\""),
        (r#"{"a":{"b":1,"b":1}}"#, "duplicate key \"b\""),
        ("{\"a\":1} x", "follows the end"),
        ("9223372036854775808", "larger than 9223372036854775807"),
        ("18446744073709551616", "18446744073709551616 is larger than 9223372036854775807"),
        ("-9223372036854775809", "-9223372036854775809 is smaller than -9223372036854775808"),
        (
            "{\"a\":\"\\\"1\",\n \"b\":[1.5e300,99999999999999999999]}",
            "line 2, column 15: the integer",
        ),
        ("1e999", "too large for any reader"),
        ("NaN", "expected a value"),
        (r#""\ud800""#, "half of a surrogate pair"),
        (r#""\q""#, r"write a backslash as `\\`"),
        ("\"\n\"", r"such as `\n`"),
        ("{'a':1}", "a key in double quotes"),
        ("", "it is empty"),
        ("\u{feff}{}", "byte order mark"),
        (&"[".repeat(200), "nested deeper"),
    ] {
        let error = json::parse(text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains(what), "{text}: {error}");
        assert!(error.line >= 1);
    }
    assert!(json::parse(b"\"\xff\"").is_err());
    // A fraction says that it is one, and so does a text.
    for text in ["1e30", "-1.0e19", "[1e19, \"99999999999999999999\"]"] {
        assert!(json::parse(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn equal_calls_have_equal_canonical_forms() {
    for (a, b) in [
        (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
        (r#"{"a":1}"#, r#"{"a":1.0}"#),
        (r#"{"a":"é"}"#, r#"{"a":"\u00e9"}"#),
        (r#"{"a":100}"#, r#"{"a":1e2}"#),
    ] {
        let canonical = |text: &str| json::canonical(&json::parse(text.as_bytes()).unwrap());
        assert_eq!(canonical(a), canonical(b), "{a} {b}");
    }
}

/// What our reader takes is what YAML 1.1 and YAML 1.2 readers take; the rest is refused with its line.
#[test]
fn yaml_is_a_strict_subset() {
    let table = crate::support::text("tests/cases/yaml.jsonl");
    let mut failures = String::new();
    for row in table.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let text = row["text"].as_str().unwrap();
        let failure = match (yaml::parse(text.as_bytes()), row.get("value")) {
            (Ok(read), Some(value)) if read.value == *value => continue,
            (Err(errors), None) => {
                let first = &errors[0];
                let line = first.place.map(|place| place.line);
                let says = row["says"].as_str().unwrap();
                if line == row["line"].as_u64() && first.message.contains(says) {
                    continue;
                }
                format!("{errors:?}")
            }
            (read, _) => format!("{:?}", read.map(|document| document.value)),
        };
        failures.push_str(&format!("{row}\n  {failure}\n"));
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(table.lines().count() >= 140);
}

/// Another reader's value of a document that ours takes.
fn read_alike(text: &str) {
    if let Ok(read) = yaml::parse(text.as_bytes()) {
        let other: Result<Value, _> = serde_yaml::from_str(text);
        let other = other.unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(json::normal(other), json::normal(read.value), "{text:?}");
    }
}

#[test]
fn another_reader_of_yaml_reads_the_same() {
    for row in crate::support::text("tests/cases/yaml.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        read_alike(row["text"].as_str().unwrap());
    }
}

proptest::proptest! {
    #[test]
    fn another_reader_of_yaml_reads_generated_documents_the_same(
        scalars in proptest::collection::vec("[0-9a-zA-Z_.:+~=?\"' #,-]{1,8}", 1..5),
        form in 0..5,
    ) {
        let text = match form {
            0 => scalars.iter().enumerate().map(|(n, s)| format!("k{n}: {s}\n")).collect(),
            1 => scalars.iter().map(|s| format!("- {s}\n")).collect(),
            2 => format!("a: [{}]\n", scalars.join(", ")),
            3 => scalars.iter().fold("a:\n".to_owned(), |text, s| format!("{text}  {s}: 1\n")),
            _ => format!("a: |\n  {}\n", scalars.join("\n  ")),
        };
        read_alike(&text);
    }
}

#[test]
fn yaml_is_bounded() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b]\n";
    let wide = "[".to_owned() + &"1,".repeat(1_100_000) + "1]";
    for text in ["[".repeat(100_000), "- ".repeat(100_000), bomb.to_owned(), wide] {
        let errors = yaml::parse(text.as_bytes()).unwrap_err();
        assert!(errors[0].place.is_some(), "{errors:?}");
        assert!(errors.iter().all(|error| !error.message.contains('{')), "{errors:?}");
    }
}
