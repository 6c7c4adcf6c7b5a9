//! Strict host keys: a host is talked to only if its key is in the given known_hosts file.
//!
//! Format: OpenSSH `sshd(8)`, "SSH_KNOWN_HOSTS FILE FORMAT": plain, `[host]:port`, patterns with `*`, `?` and `!`,
//! hashed names (`|1|salt|hash`), `@revoked`. Certificate authorities (`@cert-authority`) are not supported: libssh2
//! asks for no host certificates.

use crate::error::Failure;
use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use std::path::Path;

/// A known_hosts file beyond this is a mistake.
const MAX_KNOWN_HOSTS_BYTES: u64 = 4 * 1024 * 1024;

/// The standard port, whose hosts are written without it.
const SSH_PORT: u16 = 22;

/// A host key as a server shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered<'a> {
    /// `ssh-ed25519`, ...
    pub(crate) key_type: &'a str,
    /// The raw key in wire format.
    pub(crate) key: &'a [u8],
}

/// Checks a server's key against a file.
pub(crate) fn check(
    file: &Path,
    host: &str,
    port: u16,
    offered: Offered<'_>,
) -> Result<(), Failure> {
    let unreadable = |error: String| {
        Failure::Authentication(format!(
            "cannot read known_hosts {}: {error}",
            file.display()
        ))
    };
    let size_bytes = std::fs::metadata(file)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if size_bytes > MAX_KNOWN_HOSTS_BYTES {
        return Err(unreadable(format!(
            "longer than {MAX_KNOWN_HOSTS_BYTES} bytes"
        )));
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    judge(&String::from_utf8_lossy(&bytes), host, port, offered)
}

fn judge(text: &str, host: &str, port: u16, offered: Offered<'_>) -> Result<(), Failure> {
    let name = match port {
        SSH_PORT => host.to_lowercase(),
        port => format!("[{}]:{port}", host.to_lowercase()),
    };
    let shown = format!("{} {}", offered.key_type, fingerprint(offered.key));
    let mismatch = || Failure::HostKeyMismatch {
        host: name.clone(),
        offered: shown.clone(),
    };
    let entries: Vec<Entry<'_>> = text
        .lines()
        .filter_map(Entry::parse)
        .filter(|entry| entry.names(&name))
        .collect();
    let same = |entry: &&Entry<'_>| entry.key == offered.key;
    if entries
        .iter()
        .any(|entry| entry.marker == Marker::Revoked && entry.key == offered.key)
    {
        return Err(mismatch());
    }
    let mut plain = entries.iter().filter(|entry| entry.marker == Marker::None);
    if plain.clone().any(|entry| same(&entry)) {
        return Ok(());
    }
    if plain
        .clone()
        .any(|entry| entry.key_type == offered.key_type)
    {
        return Err(mismatch());
    }
    let known = match plain.next() {
        Some(entry) => format!(
            " (known_hosts has its {} key; add this type too)",
            entry.key_type
        ),
        None => String::new(),
    };
    Err(Failure::HostKeyUnknown {
        host: name,
        offered: shown,
        known,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    Other,
}

#[derive(Debug)]
struct Entry<'a> {
    marker: Marker,
    hosts: &'a str,
    key_type: &'a str,
    key: Vec<u8>,
}

impl<'a> Entry<'a> {
    /// A line, unless it is empty, a comment or broken: a broken line must not open the door.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().peekable();
        let marker = match fields.peek()? {
            first if first.starts_with('#') => return None,
            &"@revoked" => Marker::Revoked,
            first if first.starts_with('@') => Marker::Other,
            _ => Marker::None,
        };
        if marker != Marker::None {
            fields.next();
        }
        let (hosts, key_type, key) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self {
            marker,
            hosts,
            key_type,
            key: base64::decode_block(key).ok()?,
        })
    }

    fn names(&self, name: &str) -> bool {
        if let Some(hashed) = self.hosts.strip_prefix("|1|") {
            return hash_matches(hashed, name).unwrap_or(false);
        }
        let mut found = false;
        for pattern in self.hosts.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches(&pattern.to_lowercase(), name) => return false,
                Some(_) => {}
                None => found |= matches(&pattern.to_lowercase(), name),
            }
        }
        found
    }
}

/// HMAC-SHA1 of the name with the salt as key, both in base64.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let key = PKey::hmac(&base64::decode_block(salt).ok()?).ok()?;
    let mut signer = Signer::new(MessageDigest::sha1(), &key).ok()?;
    let computed = signer.sign_oneshot_to_vec(name.as_bytes()).ok()?;
    Some(computed == base64::decode_block(hash).ok()?)
}

/// `*` and `?` patterns without recursion: on a mismatch, the last star swallows one character more.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    p = at + 1;
                    n = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// As OpenSSH shows keys: `SHA256:` and base64 without padding.
fn fingerprint(key: &[u8]) -> String {
    let encoded = base64::encode_block(&sha256(key));
    format!("SHA256:{}", encoded.trim_end_matches('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"0000 the key of the host";
    const OTHER: &[u8] = b"0000 another key for it.";

    fn verdict(text: &str, host: &str, port: u16) -> String {
        let offered = Offered {
            key_type: "ssh-ed25519",
            key: KEY,
        };
        match judge(text, host, port, offered) {
            Ok(()) => "trusted".to_owned(),
            Err(failure) => failure.to_string(),
        }
    }

    fn line(hosts: &str, key_type: &str, key: &[u8]) -> String {
        format!("{hosts} {key_type} {} comment\n", base64::encode_block(key))
    }

    fn hashed(name: &str) -> String {
        let salt = b"twenty bytes of salt";
        let key = PKey::hmac(salt).unwrap();
        let hash = Signer::new(MessageDigest::sha1(), &key)
            .unwrap()
            .sign_oneshot_to_vec(name.as_bytes())
            .unwrap();
        format!(
            "|1|{}|{}",
            base64::encode_block(salt),
            base64::encode_block(&hash)
        )
    }

    #[test]
    fn known_hosts_are_trusted_in_every_form_of_their_name() {
        for (hosts, host, port) in [
            ("git.example.org", "git.example.org", 22),
            ("a.example.org,git.example.org,10.0.0.1", "10.0.0.1", 22),
            ("[git.example.org]:2222", "git.example.org", 2222),
            ("*.example.org", "git.example.org", 22),
            ("git?.example.org", "git1.example.org", 22),
            ("GIT.example.org", "git.Example.org", 22),
            (&hashed("git.example.org"), "git.example.org", 22),
            (&hashed("[127.0.0.1]:2222"), "127.0.0.1", 2222),
        ] {
            let text = line(hosts, "ssh-ed25519", KEY);
            assert_eq!(verdict(&text, host, port), "trusted", "{hosts}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_was_shown() {
        let cases = [
            ("", String::new()),
            ("comment", format!("# {}", line("h", "ssh-ed25519", KEY))),
            ("other port", line("[h]:2222", "ssh-ed25519", KEY)),
            ("negated", line("h,!h", "ssh-ed25519", KEY)),
            ("broken", "h ssh-ed25519 ***\n".to_owned()),
            ("authority", line("@cert-authority h", "ssh-ed25519", KEY)),
            ("changed", line("h", "ssh-ed25519", OTHER)),
            ("other type", line("h", "ecdsa-sha2-nistp256", OTHER)),
            (
                "revoked",
                line("h", "ssh-ed25519", KEY) + &line("@revoked h", "ssh-ed25519", KEY),
            ),
            ("other host", line(&hashed("g"), "ssh-ed25519", KEY)),
        ];
        let shown: String = cases
            .iter()
            .map(|(name, text)| format!("{name}: {}\n", verdict(text, "h", 22)))
            .collect();
        insta::assert_snapshot!(shown);
    }
}
