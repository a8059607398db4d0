//! Regular expressions of contracts: ECMA-262 with the flag `u`, as JSON Schema means them, written
//! for the engine that runs them here.
//!
//! The engine reads some of the same signs otherwise (`.` takes a carriage return, `\b` knows `é`).
//! Each sign is translated to one that both read alike, and what has no such form is refused, so that
//! a pattern never lets through what its author forbade.

use std::collections::HashSet;
use std::fmt::Write as _;

/// The pattern for the engine.
///
/// # Errors
/// What the engine would read otherwise than ECMA-262, and what to write.
///
/// ```
/// use gatedrun::schema::translate;
/// assert_eq!(translate("^a+$").unwrap(), "^a+$");
/// assert!(translate("(?i)abc").unwrap_err().contains("flags"));
/// ```
pub fn translate(pattern: &str) -> Result<String, String> {
    let out = String::with_capacity(pattern.len());
    let mut reader = Reader { rest: pattern, out, depth: 0, names: HashSet::new() };
    reader.pattern()?;
    Ok(reader.out)
}

/// Characters of `\s`: white space and line ends.
const SPACE: &[(u32, u32)] = &[
    (0x09, 0x0d),
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x2000, 0x200a),
    (0x2028, 0x2029),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
    (0xfeff, 0xfeff),
];
const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const LINE_END: &[(u32, u32)] = &[(0x0a, 0x0a), (0x0d, 0x0d), (0x2028, 0x2029)];
const LAST: u32 = 0x10_ffff;

/// General categories, which both sides know by these names.
const CATEGORIES: &[&str] = &[
    "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc",
    "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "Cc",
    "Cf",
];

/// A sign after a backslash.
enum Escape {
    /// One character.
    Char(u32),
    /// Characters by their ranges.
    Set(Vec<(u32, u32)>),
    /// A general category, and whether it is meant.
    Category(&'static str, bool),
}

struct Reader<'p> {
    rest: &'p str,
    out: String,
    depth: usize,
    /// The names of the groups so far.
    names: HashSet<&'p str>,
}

fn complement(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut others = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    for (first, last) in ranges {
        if *first > next {
            others.push((next, first - 1));
        }
        next = last + 1;
    }
    others.push((next, LAST));
    others
}

impl<'p> Reader<'p> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
        Some(next)
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn pattern(&mut self) -> Result<(), String> {
        // Whether the last sign may be repeated.
        let mut atom = false;
        // Which of the open groups only look, and so may not be repeated.
        let mut groups = Vec::new();
        while let Some(sign) = self.next() {
            match sign {
                '^' | '$' => {
                    self.out.push(sign);
                    atom = false;
                }
                '|' => {
                    self.out.push('|');
                    atom = false;
                }
                '.' => {
                    self.set(&complement(LINE_END));
                    atom = true;
                }
                '(' => {
                    groups.push(self.group()?);
                    self.depth += 1;
                    if self.depth > 100 {
                        return Err("its groups nest deeper than 100".to_owned());
                    }
                    atom = false;
                }
                ')' => {
                    let looks =
                        groups.pop().ok_or("a ) closes no group; write \\) for the sign")?;
                    self.depth -= 1;
                    self.out.push(')');
                    atom = !looks;
                }
                '*' | '+' | '?' | '{' => {
                    if !atom {
                        return Err(format!("{sign} repeats nothing; write \\{sign} for the sign"));
                    }
                    self.quantifier(sign)?;
                    atom = false;
                }
                '[' => {
                    self.class()?;
                    atom = true;
                }
                ']' | '}' => {
                    return Err(format!("{sign} closes nothing; write \\{sign} for the sign"));
                }
                '\\' => atom = self.escaped()?,
                other => {
                    self.char(u32::from(other));
                    atom = true;
                }
            }
        }
        if groups.is_empty() { Ok(()) } else { Err("a group is not closed; add )".to_owned()) }
    }

    /// What follows `(`; whether the group only looks.
    fn group(&mut self) -> Result<bool, String> {
        if !self.eat("?") {
            self.out.push('(');
            return Ok(false);
        }
        for (sign, looks) in [(":", false), ("=", true), ("!", true), ("<=", true), ("<!", true)] {
            if self.eat(sign) {
                self.out.push_str("(?");
                self.out.push_str(sign);
                return Ok(looks);
            }
        }
        if self.eat("<") {
            let (name, rest) = self.rest.split_once('>').unwrap_or_default();
            let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            if !is_name {
                return Err(
                    "a group's name holds letters, digits and _; write (?<name>…)".to_owned()
                );
            }
            // In different alternatives ES2025 takes a name twice, and every edition before it does not.
            if !self.names.insert(name) {
                return Err(format!(
                    "two groups are named {:?}; give each a name of its own, or write (?:…)",
                    crate::problem::cut(name)
                ));
            }
            self.rest = rest;
            // Nothing refers to it, so that its name makes no difference.
            self.out.push('(');
            return Ok(false);
        }
        Err(if self.rest.starts_with("P<") {
            "(?P<name>…) is not of ECMA-262; write (?<name>…)".to_owned()
        } else if self.rest.starts_with('>')
            || self.rest.starts_with('(')
            || self.rest.starts_with('#')
        {
            "atomic groups, conditions and comments are not of ECMA-262; write (?:…)".to_owned()
        } else {
            "flags such as (?i) are not of ECMA-262; write both cases, as in [aA]".to_owned()
        })
    }

    /// A quantifier, from its first sign on.
    fn quantifier(&mut self, sign: char) -> Result<(), String> {
        if sign == '{' {
            let (inside, rest) = self.rest.split_once('}').unwrap_or_default();
            let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
            let number = |text: &str| {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
            };
            let bounds = match (number(least), number(most)) {
                (Some(least), Some(most)) => least <= most,
                (Some(_), None) => most.is_empty() && inside.contains(','),
                (None, _) => false,
            };
            if !bounds {
                return Err(
                    "{ begins no repetition such as {2,5}; write \\{ for the sign".to_owned()
                );
            }
            self.rest = rest;
            let _ = write!(self.out, "{{{inside}}}");
        } else {
            self.out.push(sign);
        }
        if self.eat("?") {
            self.out.push('?');
        }
        match self.peek() {
            Some('+') => Err("possessive repetition is not of ECMA-262; write one sign".to_owned()),
            Some('*' | '?') => {
                Err("a repetition is repeated; put a group (?:…) around it".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What follows a backslash outside of a class; whether it may be repeated.
    fn escaped(&mut self) -> Result<bool, String> {
        match self.peek() {
            Some('b') => {
                self.next();
                // A word character on one side, and none on the other.
                self.out.push_str(
                    "(?:(?<=[0-9A-Z_a-z])(?![0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?=[0-9A-Z_a-z]))",
                );
                return Ok(false);
            }
            Some('B') => {
                self.next();
                // No word character on both sides, or one on both.
                self.out.push_str(
                    "(?:(?<=[0-9A-Z_a-z])(?=[0-9A-Z_a-z])|(?<![0-9A-Z_a-z])(?![0-9A-Z_a-z]))",
                );
                return Ok(false);
            }
            _ => {}
        }
        match self.escape(false)? {
            Escape::Char(code) => self.char(code),
            Escape::Set(ranges) => self.set(&ranges),
            Escape::Category(name, true) => {
                let _ = write!(self.out, "\\p{{{name}}}");
            }
            Escape::Category(name, false) => {
                let _ = write!(self.out, "\\P{{{name}}}");
            }
        }
        Ok(true)
    }

    fn escape(&mut self, in_class: bool) -> Result<Escape, String> {
        let Some(sign) = self.next() else {
            return Err("it ends in a backslash; write \\\\ for the sign".to_owned());
        };
        let code = match sign {
            'd' => return Ok(Escape::Set(DIGIT.to_vec())),
            'D' => return Ok(Escape::Set(complement(DIGIT))),
            'w' => return Ok(Escape::Set(WORD.to_vec())),
            'W' => return Ok(Escape::Set(complement(WORD))),
            's' => return Ok(Escape::Set(SPACE.to_vec())),
            'S' => return Ok(Escape::Set(complement(SPACE))),
            'p' | 'P' => return self.category(sign == 'p'),
            't' => 0x09,
            'n' => 0x0a,
            'v' => 0x0b,
            'f' => 0x0c,
            'r' => 0x0d,
            'b' if in_class => 0x08,
            '-' if in_class => u32::from('-'),
            '0' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => 0,
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => u32::from(letter) % 32,
                _ => return Err("\\c needs a letter".to_owned()),
            },
            'x' => self.hex(2).ok_or("\\x needs two hexadecimal digits; write \\u{…} for more")?,
            'u' => self.unicode()?,
            '^' | '$' | '\\' | '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|'
            | '/' => u32::from(sign),
            '1'..='9' | 'k' => {
                return Err("references to groups are not supported; write the text out".to_owned());
            }
            'A' => return Err("\\A is not of ECMA-262; write ^".to_owned()),
            'z' | 'Z' => return Err(format!("\\{sign} is not of ECMA-262; write $")),
            other => {
                return Err(format!(
                    "\\{other} means nothing in ECMA-262; write {other}, or \\u{{…}}"
                ));
            }
        };
        Ok(Escape::Char(code))
    }

    /// So many hexadecimal digits.
    fn hex(&mut self, count: usize) -> Option<u32> {
        let digits = self.rest.get(..count)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = self.rest.get(count..)?;
        u32::from_str_radix(digits, 16).ok()
    }

    fn unicode(&mut self) -> Result<u32, String> {
        let wrong =
            || "\\u needs four hexadecimal digits, or some in braces, up to 10FFFF".to_owned();
        if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or_else(wrong)?;
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            self.rest = rest;
            let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
            return char::from_u32(code).map(u32::from).ok_or_else(wrong);
        }
        let code = self.hex(4).ok_or_else(wrong)?;
        if (0xd800..0xdc00).contains(&code) && self.eat("\\u") {
            let low = self.hex(4).filter(|low| (0xdc00..0xe000).contains(low));
            let low = low.ok_or("half a surrogate pair is not a character; write \\u{…}")?;
            return Ok(0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00));
        }
        char::from_u32(code)
            .map(u32::from)
            .ok_or_else(|| "half a surrogate pair is not a character; write \\u{…}".to_owned())
    }

    fn category(&mut self, meant: bool) -> Result<Escape, String> {
        let (name, rest) =
            self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap_or_default();
        match CATEGORIES.iter().find(|known| **known == name) {
            Some(known) => {
                self.rest = rest;
                Ok(Escape::Category(known, meant))
            }
            None => {
                Err("\\p is supported with a general category, such as \\p{L} or \\p{Nd}"
                    .to_owned())
            }
        }
    }

    /// A class, from behind its `[` on.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.eat("^") {
            self.out.push('^');
        }
        if self.peek() == Some(']') {
            return Err(
                "an empty class matches nothing or everything; write what is meant".to_owned()
            );
        }
        while let Some(first) = self.class_atom()? {
            // A hyphen between two characters makes a range; at either end it is itself.
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                match (first, self.class_atom()?) {
                    (Escape::Char(first), Some(Escape::Char(last))) if first <= last => {
                        self.range(first, last);
                    }
                    (Escape::Char(_), Some(Escape::Char(_))) => {
                        return Err(
                            "a range in a class runs backwards; write the smaller first".to_owned()
                        );
                    }
                    (_, None) => return Err("a class is not closed; add ]".to_owned()),
                    _ => {
                        return Err("a range ends in a set of characters; write \\- for the sign"
                            .to_owned());
                    }
                }
                continue;
            }
            match first {
                Escape::Char(code) => self.range(code, code),
                Escape::Set(ranges) => {
                    ranges.iter().for_each(|(first, last)| self.range(*first, *last));
                }
                Escape::Category(name, meant) => {
                    let sign = if meant { 'p' } else { 'P' };
                    let _ = write!(self.out, "\\{sign}{{{name}}}");
                }
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// The next member of a class; none at its end.
    fn class_atom(&mut self) -> Result<Option<Escape>, String> {
        match self.next() {
            None => Err("a class is not closed; add ]".to_owned()),
            Some(']') => Ok(None),
            Some('\\') => self.escape(true).map(Some),
            Some(other) => Ok(Some(Escape::Char(u32::from(other)))),
        }
    }

    /// A set of characters as a class of its own.
    fn set(&mut self, ranges: &[(u32, u32)]) {
        self.out.push('[');
        ranges.iter().for_each(|(first, last)| self.range(*first, *last));
        self.out.push(']');
    }

    /// A range in a class. Letters and digits stand as they are; no sign of the engine's can arise.
    fn range(&mut self, first: u32, last: u32) {
        self.code(first);
        if first < last {
            self.out.push('-');
            self.code(last);
        }
    }

    fn char(&mut self, code: u32) {
        self.code(code);
    }

    fn code(&mut self, code: u32) {
        match char::from_u32(code)
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | ','))
        {
            Some(plain) => self.out.push(plain),
            None => {
                let _ = write!(self.out, "\\u{{{code:X}}}");
            }
        }
    }
}
