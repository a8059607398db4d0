//! Text that others chose, in every kind of output, read back by real readers: CommonMark and
//! GitHub's dialect by two parsers, JSON by `serde_json`.

use std::fmt::Write as _;

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::{Value, json};

use gatedrun::event::{Detail, Event as Recorded};
use gatedrun::evidence::text::{self, hides, markdown, quotation, terminal};

use super::hostile::{projected, records};
use super::support::file;

/// Every dialect that the parser knows, besides the one that prints other characters.
fn dialects() -> Options {
    Options::all() - Options::ENABLE_SMART_PUNCTUATION - Options::ENABLE_OLD_FOOTNOTES
}

/// The text of a document in which nothing else may be than these elements, with line ends kept.
fn read(document: &str, allowed: impl Fn(&Tag<'_>) -> bool) -> String {
    let mut text = String::new();
    for event in Parser::new_ext(document, dialects()) {
        match event {
            Event::Text(part) => text.push_str(&part),
            Event::HardBreak => text.push('\n'),
            Event::Start(tag) if allowed(&tag) => {}
            Event::End(TagEnd::Paragraph) => text.push_str("\n\n"),
            Event::End(_) => {}
            other => panic!("{other:?} in {document:?}"),
        }
    }
    text
}

/// What GitHub's dialect makes of a document, in HTML without the elements that are expected.
fn github(document: &str) -> String {
    let mut options = markdown::Options::gfm();
    options.parse.constructs.math_flow = true;
    options.parse.constructs.math_text = true;
    options.parse.constructs.gfm_footnote_definition = true;
    markdown::to_html_with_options(document, &options).unwrap()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn is_quoted_as_it_is(text: &str) {
    let quoted = quotation(text);
    assert!(quoted.ends_with('\n') && quoted.lines().all(|line| line.starts_with('>')));
    assert!(!quoted.lines().any(|line| line.ends_with(char::is_whitespace)), "{quoted:?}");
    assert!(!quoted.chars().any(|c| hides(c) && c != '\n'), "{quoted:?}");
    if text.chars().all(|c| c == '\n') {
        return;
    }
    let mut wanted = String::new();
    for paragraph in text.split("\n\n").map(|part| part.trim_matches('\n')) {
        if !paragraph.is_empty() {
            let lines: Vec<String> = paragraph.split('\n').map(terminal).collect();
            let _ = write!(wanted, "{}\n\n", lines.join("\n"));
        }
    }
    let document = format!("# A\n\n{quoted}\n## B\n");
    let body =
        read(&format!("{quoted}\n"), |tag| matches!(tag, Tag::BlockQuote(None) | Tag::Paragraph));
    assert_eq!(body, wanted, "{quoted:?}");
    let quotations = Parser::new_ext(&document, dialects())
        .filter(|event| matches!(event, Event::Start(Tag::BlockQuote(_))))
        .count();
    assert_eq!(quotations, 1, "{quoted:?}");
    let seen = github(&quoted).replace("<br />\n", "\n");
    let seen = seen.replace("<blockquote>\n", "").replace("</blockquote>\n", "");
    let seen = seen.replace("</blockquote>", "").replace("</p>\n", "\n\n").replace("<p>", "");
    assert_eq!(seen, html(&wanted), "{quoted:?}");
}

fn is_a_line_as_it_is(text: &str) {
    let (visible, escaped) = (terminal(text), markdown(text));
    assert!(!visible.chars().chain(escaped.chars()).any(hides), "{escaped:?}");
    let is_heading = |tag: &Tag<'_>| matches!(tag, Tag::Heading { id: None, classes, attrs, .. } if classes.is_empty() && attrs.is_empty());
    if text.is_empty() {
        return;
    }
    assert_eq!(read(&escaped, |tag| *tag == Tag::Paragraph), format!("{visible}\n\n"));
    assert_eq!(github(&escaped), format!("<p>{}</p>", html(&visible)), "{escaped:?}");
    assert_eq!(read(&format!("# T: {escaped}\n"), is_heading), format!("T: {visible}"));
    let list = read(&format!("- T: {escaped}\n"), |tag| matches!(tag, Tag::List(_) | Tag::Item));
    assert_eq!(list, format!("T: {visible}"));
    let cells = read(&format!("| a | b |\n|---|---|\n| {escaped} | c |\n"), |tag| {
        matches!(tag, Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell)
    });
    assert_eq!(cells, format!("ab{visible}c"), "{escaped:?}");
    let table = github(&format!("| a | b |\n|---|---|\n| {escaped} | c |\n"));
    assert!(table.contains(&format!("<td>{}</td>\n<td>c</td>", html(&visible))), "{table}");
}

fn is_json_as_it_is(text: &str) {
    let line = text::json(&text);
    assert!(!line.chars().any(hides), "{line:?}");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), Value::from(text));
}

#[test]
fn every_character_is_shown_and_only_shown() {
    // Of the planes that hold nothing but private use and nothing at all, the edges will do.
    let all: Vec<char> = ('\0'..='\u{3ffff}').chain('\u{dff00}'..='\u{e1fff}').collect();
    for characters in all.chunks(4096) {
        // Within a word, at both edges of a line, and by itself.
        let within: String = characters.iter().flat_map(|c| ['x', *c, 'y']).collect();
        is_a_line_as_it_is(&within);
        is_json_as_it_is(&within);
        let lines: String =
            characters.iter().filter(|c| **c != '\n').map(|c| format!("{c}x{c}\n{c}\n")).collect();
        is_quoted_as_it_is(&lines);
    }
    ('\0'..='\u{ff}').for_each(|character| is_a_line_as_it_is(&character.to_string()));
}

/// The set of characters that hide is part of what a report's bytes are a function of: a newer
/// Unicode must not change it unseen.
#[test]
fn the_characters_that_hide_are_these() {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for code in ('\0'..=char::MAX).filter(|c| hides(*c)).map(u32::from) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == code => *last = code,
            _ => ranges.push((code, code)),
        }
    }
    let made: String = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                format!("{first:04X}\n")
            } else {
                format!("{first:04X}..{last:04X}\n")
            }
        })
        .collect();
    assert_eq!(made, String::from_utf8(file("tests/cases/hidden_characters.txt")).unwrap());
}

#[test]
fn texts_that_would_be_something_else_are_texts() {
    let cases: Vec<String> =
        serde_json::from_slice(&file("tests/cases/hostile_texts.json")).unwrap();
    for text in &cases {
        for lead in ["", " ", "   ", "     ", "a\n", "a\n   ", "\n", "a\n\n"] {
            let text = format!("{lead}{text}");
            is_quoted_as_it_is(&text);
            is_a_line_as_it_is(&text);
            is_json_as_it_is(&text);
        }
    }
}

/// Texts of what is markup somewhere, and of any other character.
fn texts() -> impl Strategy<Value = String> {
    let markup = prop::sample::select(vec![
        "\n",
        "\n\n",
        " ",
        "  ",
        "    ",
        "\t",
        "\r",
        "\\",
        "`",
        "```",
        "*",
        "**",
        "_",
        "__",
        "[",
        "]",
        "(",
        ")",
        "](",
        "![",
        "<",
        ">",
        "<b>",
        "</b>",
        "<!--",
        "-->",
        "&amp;",
        "&#32;",
        "&",
        "#",
        "##",
        "|",
        "|---|",
        "---",
        "===",
        "-",
        "+",
        "1.",
        "1)",
        "12",
        ":",
        ":-",
        "://",
        "https",
        "http://a",
        "www.",
        "www",
        ".",
        "@",
        "@user",
        "#1",
        "$",
        "$$",
        "~",
        "~~",
        "^",
        "{",
        "}",
        "{#id}",
        "[^1]",
        "[^1]: x",
        "[a]: b",
        "!",
        "=",
        "\"",
        "'",
        "a",
        "b1",
        "\u{200b}",
        "\u{ad}",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{9b}",
        "\u{e0041}",
        "é",
    ]);
    let part = prop_oneof![
        4 => markup.prop_map(str::to_owned),
        1 => any::<char>().prop_map(|character| character.to_string()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_text(text in texts()) {
        is_quoted_as_it_is(&text);
        is_a_line_as_it_is(&text);
        is_json_as_it_is(&text);
    }

    #[test]
    fn any_text_leaves_a_report_its_shape(text in texts()) {
        let run = "on_deny/mixed";
        // A shape costs more than a text: one in sixteen will do.
        if text.len() % 16 == 0 {
            is_one_report(run, &text, &shape(&report_of(run, "plain")));
        }
    }
}

/// A run's record in which everything that others choose is this text.
fn report_of(run: &str, text: &str) -> String {
    let mut events = records(run);
    let text = text.to_owned();
    for record in &mut events {
        match &mut record.event {
            Recorded::RunStarted(started) => {
                started.title = text.clone();
                started.question = text.clone();
                started.task = text.clone();
                started.corpus.name = text.clone();
                started.llm.model = text.clone();
                started.inputs.iter_mut().for_each(|input| input.path = text.clone());
            }
            Recorded::LlmReplied(replied) => {
                replied.text = Some(text.clone());
                replied.calls.iter_mut().for_each(|call| {
                    call.tool = text.clone();
                    call.arguments = json!({text.clone(): text, "b": [text]});
                });
                replied.final_answer = replied.final_answer.as_ref().map(|_| text.clone());
            }
            Recorded::GateDecided(gate) => {
                gate.tool = gate.tool.as_ref().map(|_| text.clone());
                gate.reason = text.clone();
                gate.details.insert(Detail::Url, json!(text));
            }
            Recorded::ToolStarted(started) => started.tool = text.clone(),
            Recorded::ToolAttempted(attempted) => {
                attempted.error.iter_mut().for_each(|error| error.message = text.clone());
            }
            Recorded::ToolFinished(finished) => {
                finished.origin = Some(text.clone());
                finished.error.iter_mut().for_each(|error| error.message = text.clone());
            }
            Recorded::RunFinished(finished) => {
                finished.answer = finished.answer.as_ref().map(|_| text.clone());
            }
            _ => {}
        }
    }
    String::from_utf8(projected(events).report).unwrap()
}

/// The shape of a report: its elements, without their texts.
fn shape(report: &str) -> Vec<String> {
    Parser::new_ext(report, dialects())
        .filter_map(|event| match event {
            Event::Start(Tag::Heading { level, id: None, classes, attrs }) => {
                Some(format!("{level} {classes:?} {attrs:?}"))
            }
            Event::Start(Tag::BlockQuote(None)) => Some("quotation".to_owned()),
            Event::Start(Tag::Paragraph) | Event::End(_) | Event::Text(_) | Event::HardBreak => {
                None
            }
            Event::Start(Tag::List(_)) => Some("list".to_owned()),
            Event::Start(other) => Some(format!("{other:?}")),
            Event::InlineHtml(html) => Some(html.into_string()),
            Event::Code(code) => Some(code.into_string()),
            other => panic!("{other:?} in {report}"),
        })
        .collect()
}

fn is_one_report(run: &str, text: &str, shape_of_it: &[String]) {
    let report = report_of(run, text);
    // Where there is no text, its place is left out.
    if text.chars().any(|character| character != '\n') {
        assert_eq!(shape(&report), shape_of_it, "{text:?}\n{report}");
    }
    for line in report.lines() {
        assert!(!line.ends_with(char::is_whitespace), "{line:?} for {text:?}");
        assert!(!line.chars().any(hides), "{line:?} for {text:?}");
    }
    assert!(report.ends_with('\n') && !report.ends_with("\n\n"), "{report:?}");
    assert!(!github(&report).contains("<a "), "{report}");
}

#[test]
fn a_report_has_one_shape_whatever_others_wrote() {
    let texts: Vec<String> =
        serde_json::from_slice(&file("tests/cases/hostile_texts.json")).unwrap();
    for run in ["on_deny/mixed", "failure_modes/retry_exhaustion"] {
        let plain = shape(&report_of(run, "plain"));
        assert!(plain.iter().filter(|part| *part == "quotation").count() > 0);
        for text in texts.iter().map(String::as_str).chain([""]) {
            is_one_report(run, text, &plain);
        }
    }
}
