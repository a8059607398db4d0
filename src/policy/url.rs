//! URLs: parsed once, by the URL standard (WHATWG). Which of them may be fetched is a rule's to say.
//!
//! What RFC 3986 and the URL standard read alike is one URL: upper and lower case of scheme and
//! host, a default port, dot segments, percent-encoded characters that need no encoding. What they
//! or their readers take differently (a trailing dot, full-width characters, a percent-encoded host,
//! a shortened address, credentials, backslashes) is refused, and the reason says how it was read.

use url::Url;

/// A URL that was parsed, and the text it was parsed from.
#[derive(Debug, Clone)]
pub struct ParsedUrl {
    url: Url,
    host: String,
}

/// Why a URL is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The host as the standard reads it, where there is one.
    pub host: Option<String>,
    /// Why, in words.
    pub reason: String,
}

/// What a text that is meant as a URL turns out to be.
#[derive(Debug)]
pub enum Target {
    /// Something on a host.
    Host(ParsedUrl),
    /// A path of a mount, from a `file:` URL: judged as a path.
    File(String),
}

impl ParsedUrl {
    /// The URL as the standard writes it.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host as the standard writes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The scheme.
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The port, where it is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.url.port()
    }

    /// What it leads to, in the one form that all its spellings share: without its fragment, which
    /// stays with the reader, and with nothing percent-encoded that needs no encoding.
    pub fn resource(&self) -> String {
        let mut url = self.url.clone();
        url.set_fragment(None);
        unreserved(url.as_str())
    }

    /// The path with nothing percent-encoded that needs no encoding.
    pub fn normal_path(&self) -> String {
        unreserved(self.url.path())
    }

    /// The path, percent-decoded once, without its leading slash.
    ///
    /// # Errors
    /// A path that hides a slash, or bytes that are not UTF-8, behind percent-encoding.
    pub fn decoded_path(&self) -> Result<String, String> {
        decode(self.url.path().trim_start_matches('/'))
    }
}

/// Reads a text as a URL.
///
/// # Errors
/// What the standard refuses, and what this project refuses besides: control characters, spaces
/// and backslashes, credentials, a host that is spelled otherwise than it is read.
pub fn parse(text: &str) -> Result<Target, Refusal> {
    let refuse = |reason: String| Err(Refusal { host: None, reason });
    if let Some(bad) = text.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '\\') {
        return refuse(format!("the URL holds {bad:?}, which parsers read differently"));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("it is no absolute URL of the form scheme://host/path".to_owned());
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(format!("it cannot be parsed: {error}")),
    };
    if !scheme.eq_ignore_ascii_case(url.scheme()) {
        return refuse(format!(
            "the scheme is written {scheme:?} and read {:?}; write it so",
            url.scheme()
        ));
    }
    if url.scheme() == "file" {
        return file_path(rest);
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let refuse = |reason: String| Err(Refusal { host: Some(host.clone()), reason });
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return refuse(format!(
            "it carries credentials before the host {host:?}; remove all up to @"
        ));
    }
    let written = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => &authority[..colon],
        _ => authority,
    };
    if !written.eq_ignore_ascii_case(&host) {
        return refuse(format!(
            "the host is written {written:?} and read {host:?}; write it as it is read"
        ));
    }
    Ok(Target::Host(ParsedUrl { url, host }))
}

/// The mount path of a `file:` URL, from what follows `file://`.
fn file_path(rest: &str) -> Result<Target, Refusal> {
    let refuse = |reason: String| Err(Refusal { host: None, reason });
    let Some(path) = rest.strip_prefix('/') else {
        return refuse("a file: URL has no host here; write file:///mount/path".to_owned());
    };
    if path.contains(['?', '#']) {
        return refuse("a file: URL has no query and no fragment".to_owned());
    }
    decode(path).map(Target::File).map_err(|reason| Refusal { host: None, reason })
}

/// Decodes what is percent-encoded and needs no encoding (RFC 3986, 6.2.2.2), and writes the rest in
/// upper case: the two spellings name one thing.
fn unreserved(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        normal.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = after;
        match (byte, digits) {
            (Some(byte), Some(digits)) => {
                let needs_none =
                    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                if needs_none {
                    normal.push(char::from(byte));
                } else {
                    normal.push('%');
                    normal.push_str(&digits.to_ascii_uppercase());
                }
                rest = after.get(2..).unwrap_or_default();
            }
            _ => normal.push('%'),
        }
    }
    normal.push_str(rest);
    normal
}

/// Percent-decodes once; a hidden slash or NUL is refused.
fn decode(path: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let decoded = match (digit(), digit()) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).unwrap_or(0),
            _ => return Err("the path holds a % that begins no percent-encoding".to_owned()),
        };
        if matches!(decoded, b'/' | b'\\' | 0) {
            return Err(format!(
                "the path hides {:?} behind percent-encoding",
                char::from(decoded)
            ));
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| "the path is not UTF-8 once decoded".to_owned())
}
