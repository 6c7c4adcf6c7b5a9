//! Foreign texts before they are replicated, logged or committed: without secrets, on one line, not too long.
//!
//! Redaction errs on the side of taking out too much, except where kubelet's messages *name* secrets
//! (`secret "db-credentials" not found`, `key 'DB_PASSWORD'`): those names are the evidence.

#[cfg(test)]
mod tests;

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Parts of a key that make its value a secret, in lower case without `-` and `_`.
const SENSITIVE: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "sessionkey",
    "credential",
    "authorization",
    "cookie",
];
/// Beginnings of the tokens of well-known issuers.
const TOKEN_PREFIXES: [&str; 12] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "eyJ",
    "sk-",
];
/// Where the host of a URL ends.
const URL_ENDS: [char; 3] = ['/', '?', '#'];
/// Shortest run after a token prefix that is taken for one.
const MIN_PREFIXED_CHARS: usize = 16;
/// Shortest run of hexadecimal digits taken for a secret.
const MIN_HEX_CHARS: usize = 32;
/// Shortest run of mixed letters and digits taken for a secret.
const MIN_MIXED_CHARS: usize = 24;

/// The text without passwords, tokens, bearer credentials, user information of URLs, private keys, and long runs
/// that look like keys. Redacting twice changes nothing.
pub fn redact(text: &str) -> String {
    let mut redactor = Redactor {
        rest: text,
        out: String::with_capacity(text.len()),
        expects: Expects::Nothing,
    };
    while !redactor.rest.is_empty() {
        redactor.step();
    }
    redactor.out
}

/// The text on one line: every run of white space and control characters is one space.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A number of things: `1 file`, `2 files`.
pub fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

/// The text cut to `max_bytes` at a character, with `…` where it was cut.
pub fn truncate(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let mut end = max_bytes.saturating_sub(ELLIPSIS.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut cut = text[..end].to_owned();
    if max_bytes >= ELLIPSIS.len() {
        cut.push_str(ELLIPSIS);
    }
    cut
}

/// What the words so far say about the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Nothing,
    /// A sensitive key without a separator: `password`.
    Separator,
    /// A key and a separator on its own, `token :`; only a quoted value follows in data.
    QuotedSecret,
    /// `password=`, `Bearer`.
    Secret,
}

struct Redactor<'t> {
    rest: &'t str,
    out: String,
    expects: Expects,
}

impl<'t> Redactor<'t> {
    fn take_word(&mut self) -> &'t str {
        let end = self.rest.find(is_delimiter).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn step(&mut self) {
        if let Some(after) = self.rest.strip_prefix(REDACTED) {
            self.out.push_str(REDACTED);
            self.rest = after;
            self.expects = Expects::Nothing;
            if after.starts_with('@') {
                // The user information of a URL was taken out before: here its host goes on.
                let word = self.take_word();
                let host_end = word.find(URL_ENDS).unwrap_or(word.len());
                self.out.push_str(&word[..host_end]);
                self.behind_host(&word[host_end..]);
            }
        } else if self.rest.starts_with("-----BEGIN ") && self.take_private_key() {
            self.expects = Expects::Nothing;
        } else if let Some(delimiter) = self.rest.chars().next().filter(|c| is_delimiter(*c)) {
            self.delimiter(delimiter);
        } else {
            let word = self.take_word();
            self.expects = self.word(word);
        }
    }

    /// A PEM block, whole or cut off; certificates are no secrets.
    fn take_private_key(&mut self) -> bool {
        let header = self.rest.get(..64).unwrap_or(self.rest);
        if !header.contains("PRIVATE KEY-----") {
            return false;
        }
        let after_header = self.rest.find("PRIVATE KEY-----").unwrap_or(0) + 1;
        self.rest = match self.rest[after_header..].find("-----END ") {
            Some(end) => {
                let footer = &self.rest[after_header + end + "-----END ".len()..];
                footer
                    .find("-----")
                    .map_or("", |close| &footer[close + "-----".len()..])
            }
            None => "",
        };
        self.out.push_str(REDACTED);
        true
    }

    fn delimiter(&mut self, delimiter: char) {
        self.out.push(delimiter);
        self.rest = &self.rest[delimiter.len_utf8()..];
        let quoted = matches!(delimiter, '"' | '\'' | '`');
        if quoted && matches!(self.expects, Expects::Secret | Expects::QuotedSecret) {
            let end = self.rest.find(delimiter).unwrap_or(self.rest.len());
            if end > 0 {
                self.out.push_str(REDACTED);
            }
            self.rest = &self.rest[end..];
            self.expects = Expects::Nothing;
            // The closing quote is no opening one.
            if self.rest.starts_with(delimiter) {
                self.out.push(delimiter);
                self.rest = &self.rest[delimiter.len_utf8()..];
            }
        } else if matches!(delimiter, ',' | ';' | '}' | ')' | '\n') {
            self.expects = Expects::Nothing;
        }
    }

    /// Writes a word and says what may follow.
    fn word(&mut self, word: &str) -> Expects {
        let is_separator = matches!(word, "=" | ":" | ":=");
        match self.expects {
            Expects::Secret if is_scheme(word) || is_separator => {
                self.out.push_str(word);
                return Expects::Secret;
            }
            Expects::Secret => {
                self.out.push_str(REDACTED);
                return Expects::Nothing;
            }
            Expects::Separator if is_separator => {
                self.out.push_str(word);
                return match word {
                    ":" => Expects::QuotedSecret,
                    _ => Expects::Secret,
                };
            }
            Expects::Separator if word.starts_with([':', '=']) => {
                self.out.push_str(&word[..1]);
                self.out.push_str(REDACTED);
                return Expects::Nothing;
            }
            _ => {}
        }
        if word.contains("://") {
            self.url(word);
            return Expects::Nothing;
        }
        self.plain(word)
    }

    /// A word that is no URL: `key=value` pairs, schemes, options, tokens.
    fn plain(&mut self, word: &str) -> Expects {
        let mut start = 0;
        for (at, separator) in word.match_indices(['=', ':', '&', '?']) {
            if matches!(separator, "=" | ":") && is_sensitive(&word[start..at]) {
                self.opaque(&word[..start]);
                self.out.push_str(&word[start..=at]);
                if at + 1 == word.len() {
                    return Expects::Secret;
                }
                self.out.push_str(REDACTED);
                return Expects::Nothing;
            }
            start = at + 1;
        }
        self.opaque(word);
        if is_sensitive(word) {
            return match word.starts_with("--") {
                true => Expects::Secret,
                false => Expects::Separator,
            };
        }
        match word.eq_ignore_ascii_case("bearer") {
            true => Expects::Secret,
            false => Expects::Nothing,
        }
    }

    fn url(&mut self, word: &str) {
        let authority_start = word.find("://").map_or(0, |at| at + 3);
        let authority_end = word[authority_start..]
            .find(URL_ENDS)
            .map_or(word.len(), |at| authority_start + at);
        let authority = &word[authority_start..authority_end];
        self.out.push_str(&word[..authority_start]);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                self.out.push_str(REDACTED);
                self.out.push('@');
                self.out.push_str(host);
            }
            None => self.opaque(authority),
        }
        self.behind_host(&word[authority_end..]);
    }

    /// Path, query and fragment of a URL, piece by piece.
    fn behind_host(&mut self, word: &str) {
        let mut start = 0;
        while start < word.len() {
            let end = word[start + 1..]
                .find(['&', '?', '#', '/'])
                .map_or(word.len(), |at| start + 1 + at);
            self.plain(&word[start..end]);
            start = end;
        }
    }

    /// Writes a piece, without the runs in it that look like keys.
    fn opaque(&mut self, piece: &str) {
        let mut start = 0;
        while start < piece.len() {
            let run_end = piece[start..]
                .find(|c: char| !is_key_char(c))
                .map_or(piece.len(), |at| start + at);
            let run = &piece[start..run_end];
            if looks_like_key(run, &piece[..start]) {
                self.out.push_str(REDACTED);
            } else {
                self.out.push_str(run);
            }
            let next = piece[run_end..]
                .find(is_key_char)
                .map_or(piece.len(), |at| run_end + at);
            self.out.push_str(&piece[run_end..next]);
            start = next;
        }
    }
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>'
        )
}

fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "digest", "token"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn is_sensitive(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(|c| !matches!(c, '-' | '_' | '.'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SENSITIVE.iter().any(|part| plain.contains(part))
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '=' | '-' | '.')
}

/// Whether a run looks like a key. Image digests and the names Kubernetes makes do not.
fn looks_like_key(run: &str, before: &str) -> bool {
    if run.len() >= MIN_PREFIXED_CHARS
        && TOKEN_PREFIXES.iter().any(|prefix| run.starts_with(prefix))
    {
        return true;
    }
    run.split(['/', '-', '.', '_']).any(|part| {
        let hex = part.len() >= MIN_HEX_CHARS && part.bytes().all(|b| b.is_ascii_hexdigit());
        let is_digest = before.ends_with("sha256:") && part.len() == run.len();
        hex && !is_digest
    }) || run.split('/').any(is_mixed)
}

/// Whether it has the mix of characters of base64.
fn is_mixed(run: &str) -> bool {
    let count = |is: fn(&u8) -> bool| run.bytes().filter(is).count();
    run.len() >= MIN_MIXED_CHARS
        && count(u8::is_ascii_uppercase) >= 2
        && count(u8::is_ascii_lowercase) >= 2
        && count(u8::is_ascii_digit) >= 2
}
