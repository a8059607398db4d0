//! The words for what the parser refuses: what is wrong, and what to write.
//!
//! The parser's own words are those of the YAML specification ("mapping values", "flow", "scalar"),
//! which few who write a policy know.

use std::borrow::Cow;

use granit_parser::ErrorKind as Kind;

/// What is wrong, and what to write.
pub(super) fn words(kind: &Kind) -> Cow<'static, str> {
    match kind {
        Kind::UnclosedFlowCollection { open } => {
            format!("the bracket {open:?} is not closed; add the closing bracket").into()
        }
        Kind::MismatchedFlowCollectionEnd { open, close } => {
            format!("the bracket {open:?} is closed by {close:?}; write brackets of one kind")
                .into()
        }
        Kind::UnexpectedCharacter { character } if character.is_control() => {
            let code = u32::from(*character);
            format!("the character U+{code:04X} is not allowed here; remove it").into()
        }
        Kind::UnexpectedCharacter { character } => {
            format!("no text begins with {character:?}; write the text in double quotes").into()
        }
        other => plain(other).into(),
    }
}

/// Whether the parser refuses a tab.
pub(super) fn is_tab(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::TabNotAllowed
            | Kind::TabInBlockIndentation
            | Kind::TabInIndentation
            | Kind::TabInPlainScalar
            | Kind::TabAtBlockScalarStart
    )
}

fn plain(kind: &Kind) -> &'static str {
    match kind {
        Kind::DirectiveDisallowed => "directives (%YAML, %TAG) are not supported; remove the line",
        Kind::UnexpectedEofFlowSequence
        | Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping => {
            "an entry is missing between brackets; close the bracket, or remove a comma"
        }
        Kind::UnexpectedEofBlockSequence
        | Kind::UnexpectedEofBlockMapping
        | Kind::UnexpectedEof => "the file ends before the value does; it may be cut short",
        Kind::MisplacedFlowCollectionEnd => "nothing opens this bracket; remove it",
        Kind::ExpectedFlowMappingSeparator | Kind::ExpectedFlowSequenceSeparator => {
            "expected a comma or the closing bracket before this"
        }
        Kind::ExpectedBlockMappingKey | Kind::ExpectedBlockSequenceEntry => {
            "expected a key or an entry like those before it; indent it as they are"
        }
        Kind::InvalidIndentation | Kind::InvalidFlowScalarIndent => {
            "the indentation is wrong; indent it more, or close the bracket or quotation mark above"
        }
        Kind::UnclosedQuotedScalar
        | Kind::InvalidQuotedScalarIndent
        | Kind::DocumentIndicatorInQuotedScalar => {
            "the quotation mark above is not closed; close it on its line"
        }
        Kind::MappingValueNotAllowed
        | Kind::InvalidMappingValueWhitespace
        | Kind::InvalidColonPlacement
        | Kind::FlowMappingValueAdjacentCollection => {
            "a key is not allowed here; check the indentation and the `: ` of the line before, and write a text with a colon in double quotes"
        }
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey | Kind::MappingKeyNotAllowed => {
            "a key is one line of at most 1024 characters, followed by `: `"
        }
        kind if is_tab(kind) => "a tab is not allowed here; indent with spaces",
        Kind::RecursionLimitExceeded => "nested too deep; write it with fewer levels",
        Kind::UnknownQuotedScalarEscape => {
            "an unknown escape in double quotes; write a backslash as `\\\\`"
        }
        Kind::InvalidQuotedScalarHexEscape
        | Kind::InvalidLowSurrogateHexEscape
        | Kind::InvalidLowSurrogate
        | Kind::MissingLowSurrogate
        | Kind::UnpairedLowSurrogate
        | Kind::InvalidUnicodeEscape => {
            "the escape stands for no character; write the character itself"
        }
        Kind::InvalidBlockScalarHeader
        | Kind::InvalidBlockScalarIndent
        | Kind::ZeroBlockScalarIndent => {
            "a text after `|` or `>` begins on the next line, indented with spaces"
        }
        Kind::BlockEntryInFlowCollection
        | Kind::BlockSequenceEntryNotAllowed
        | Kind::InvalidBlockEntryWhitespace
        | Kind::PlainScalarStartsWithDashFlowIndicator => {
            "no list can begin here; begin it on a line of its own, or write a text in double quotes"
        }
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => {
            "the text ended at its quotation mark; write all of it within the quotes"
        }
        Kind::CommentNotSeparated | Kind::CommentInterceptedScalar => {
            "a comment begins here in the middle of a value; put it on a line of its own, or write the text in double quotes"
        }
        Kind::MissingAnchorOrAliasName => {
            "aliases and anchors are not supported; write a text that begins with * or & in double quotes"
        }
        Kind::BomInsideDocument => "a byte order mark (BOM) inside the file; remove it",
        Kind::ExpectedTagBang
        | Kind::UndeclaredTagHandle
        | Kind::InvalidTagTerminator
        | Kind::MissingTagUri
        | Kind::UnclosedVerbatimTag
        | Kind::InvalidTagEscape => {
            "tags are not supported; write a text that begins with ! in double quotes"
        }
        _ => "not the YAML that this program reads; write one key and value per line",
    }
}
