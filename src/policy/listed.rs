//! What a policy may list: hosts and path prefixes, spelled so that a URL can match them.
//!
//! A spelling that no URL matches would be a rule that only looks as if it did something.

use url::{Host, Url};

/// What is wrong with an entry, and what to write instead.
pub type Misspelt = (String, String);

/// Whether a host in a policy is spelled as the standard writes it.
///
/// # Errors
/// What is wrong with it, and what to write.
///
/// ```
/// use gatedrun::policy::listed::check_host;
/// assert!(check_host("api.example.com").is_ok());
/// assert!(check_host("*.example.com").unwrap_err().0.contains("wildcards"));
/// assert!(check_host("0x7f.1").unwrap_err().1.contains("127.0.0.1"));
/// ```
pub fn check_host(host: &str) -> Result<(), Misspelt> {
    let shown = crate::problem::cut(host);
    let wrong = |what: &str, fix: &str| Err((format!("{what} (found {shown:?})"), fix.to_owned()));
    if host.contains('*') {
        return wrong("wildcards are not supported in a host", "list each host by its name");
    }
    if host.contains([',', ';']) || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return wrong("it is not one host", "write one host per entry, without spaces");
    }
    if host.contains("://") || host.contains(['/', '?', '#', '\\']) {
        return wrong(
            "contains more than a host",
            "write the host alone; schemes and path_prefix have keys of their own",
        );
    }
    if host.contains('@') {
        return wrong("a host has no credentials", "write what follows the @");
    }
    if host.starts_with('.') {
        return wrong("a leading dot does not include subdomains", "list each host by its name");
    }
    if host.contains(':') && !host.starts_with('[') {
        return match host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => {
                wrong("an IPv6 address stands in brackets", &format!("write \"[{address}]\""))
            }
            Err(_) => wrong("a host has no port", "write the host alone, and the port under ports"),
        };
    }
    if host.contains('%') {
        return wrong("a host is not percent-encoded", "write the characters themselves");
    }
    if let Some(name) = host.strip_suffix('.') {
        return wrong(
            "a trailing dot makes it another host to some readers",
            &format!("write {name:?}"),
        );
    }
    let read = match Host::parse(host) {
        Ok(read) => read.to_string(),
        Err(error) => {
            return wrong(
                &format!("it is not a valid host: {error}"),
                "write a name such as api.example.com, or an address",
            );
        }
    };
    if read != host && check_host(&read).is_ok() {
        return wrong("it is not spelled as URLs are read", &format!("write {read:?}"));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !host.starts_with('[') && !host.chars().all(is_name) {
        return wrong(
            "a host holds letters, digits, \"-\", \"_\" and \".\"",
            "write a name such as api.example.com",
        );
    }
    if !host.starts_with('[') && host.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return wrong(
            "a part of a host has 1 to 63 characters",
            "write a name such as api.example.com",
        );
    }
    Ok(())
}

/// The host that a text is probably meant to name, as a policy writes it; an example where none can be
/// made out.
///
/// ```
/// use gatedrun::policy::listed::host_meant;
/// assert_eq!(host_meant("https://api.test/v1"), "api.test");
/// assert_eq!(host_meant("*.api.test"), "api.example.com");
/// ```
pub fn host_meant(text: &str) -> String {
    // A dash without a space behind it begins a word, and no entry of a list.
    let text = text.strip_prefix('-').unwrap_or(text);
    let of_url = Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
    let before_port = text.split_once(':').map(|(host, _)| host.to_owned());
    let meant = [Some(text.to_owned()), of_url, before_port].into_iter().flatten();
    let mut valid = meant.filter(|host| !host.is_empty() && check_host(host).is_ok());
    let host = valid.next().unwrap_or_else(|| "api.example.com".to_owned());
    super::told::flow(&host.into())
}

/// Whether a path prefix in a policy can be the beginning of a URL's path.
///
/// # Errors
/// What is wrong with it, and what to write.
///
/// ```
/// use gatedrun::policy::listed::check_prefix;
/// assert!(check_prefix("/docs/").is_ok());
/// assert!(check_prefix("/a/../docs/").unwrap_err().1.contains("/docs/"));
/// assert!(check_prefix("/v1/*/").unwrap_err().0.contains("wildcards"));
/// ```
pub fn check_prefix(prefix: &str) -> Result<(), Misspelt> {
    let shown = crate::problem::cut(prefix);
    let wrong = |what: &str, fix: &str| Err((format!("{what} (found {shown:?})"), fix.to_owned()));
    // What is advised is valid, so that one change is enough.
    let write = |path: &str| {
        if path.is_empty() {
            return "write \"/\"".to_owned();
        }
        let begun = format!("/{}/", path.trim_matches('/'));
        match path.trim_matches('/').is_empty() || check_prefix(&begun).is_err() {
            true => "write the path alone, such as \"/docs/\"".to_owned(),
            false => format!("write {:?}", crate::problem::cut(&begun)),
        }
    };
    if prefix.contains("://") {
        let path = Url::parse(prefix).map_or_else(|_| String::new(), |url| url.path().to_owned());
        return wrong("a path prefix holds no scheme and no host", &write(&path));
    }
    if !prefix.starts_with('/') {
        return wrong("a path prefix begins with /", &write(prefix));
    }
    if let Some((what, from, literal)) = pattern(prefix) {
        let before = prefix.get(..from).and_then(|before| before.rfind('/'));
        let before = before.and_then(|slash| prefix.get(..=slash)).unwrap_or("/");
        let before = crate::problem::cut(before);
        let literal = literal.map_or_else(String::new, |literal| format!("; {literal}"));
        return wrong(
            what,
            &format!(
                "write one entry per path, or {before:?}, which allows every path that begins with it{literal}"
            ),
        );
    }
    if prefix.contains(",/") {
        return wrong("it is not one path prefix", "write one prefix per entry");
    }
    if prefix.contains(['?', '#']) {
        return wrong("a path prefix has no query and no fragment", "write the path alone");
    }
    if prefix.contains('\\') || prefix.chars().any(char::is_control) {
        return wrong(
            "no path of a URL holds a backslash or a control character",
            "separate names with /; regular expressions are not supported",
        );
    }
    let is_encoding = |after: &str| {
        after.get(..2).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if prefix.split('%').skip(1).any(|after| !is_encoding(after)) {
        return wrong(
            "a % in a path prefix is followed by two hexadecimal digits",
            "write a literal % as %25",
        );
    }
    if !prefix.ends_with('/') {
        return wrong("a path prefix ends with /", &write(prefix));
    }
    let url = Url::parse(&format!("https://host{prefix}"));
    let read = url.ok().and_then(|url| match super::url::parse(url.as_str()) {
        Ok(super::url::Target::Host(parsed)) if parsed.decoded_path().is_ok() => {
            Some(parsed.normal_path())
        }
        _ => None,
    });
    match read {
        Some(read) if read == prefix => Ok(()),
        Some(read) => wrong(
            "no URL's path begins so, since URLs are read in another form",
            &format!("write {:?}", crate::problem::cut(&read)),
        ),
        None => wrong(
            "no URL's path begins so",
            "write the names of the path, without percent-encoded slashes",
        ),
    }
}

/// What makes a prefix look like a pattern, where it does so, and how the character is written that is
/// meant literally, if a prefix can hold it.
///
/// URLs may hold most of these characters as they are, but a prefix is compared literally, so an
/// author who means a pattern gets an entry that matches nothing. What is common in paths and no sign
/// of a pattern by itself is left alone: `(a)`, `a:b`, `a+b`, `$a`.
fn pattern(prefix: &str) -> Option<(&'static str, usize, Option<&'static str>)> {
    const WILDCARD: &str = "wildcards are not supported in a path prefix";
    const PLACEHOLDER: &str = "placeholders are not supported in a path prefix";
    const EXPRESSION: &str = "regular expressions are not supported in a path prefix";
    let signs: [(&str, &str, Option<&str>); 14] = [
        ("(?", EXPRESSION, None),
        (")?", EXPRESSION, None),
        (")+", EXPRESSION, None),
        (".*", EXPRESSION, None),
        (".+", EXPRESSION, None),
        ("[", EXPRESSION, Some("a literal [ is written %5B")),
        ("]", EXPRESSION, Some("a literal ] is written %5D")),
        ("|", EXPRESSION, Some("a literal | is written %7C")),
        ("^", EXPRESSION, Some("a literal ^ is written %5E")),
        ("{", PLACEHOLDER, Some("a literal { is written %7B, and } is written %7D")),
        ("}", PLACEHOLDER, Some("a literal } is written %7D")),
        ("<", PLACEHOLDER, Some("a literal < is written %3C, and > is written %3E")),
        ("/:", PLACEHOLDER, None),
        ("*", WILDCARD, None),
    ];
    let found = signs.into_iter().filter_map(|(sign, what, literal)| {
        prefix.find(sign).map(|at| (at + usize::from(sign == "/:"), what, literal))
    });
    // The first sign names the kind, and of two at one place the longer, which stands first.
    found.min_by_key(|(at, ..)| *at).map(|(at, what, literal)| (what, at, literal))
}
