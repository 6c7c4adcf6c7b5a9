//! Certificates: any bytes in the place of one, and any names in an otherwise good one.

use crate::input::split;
use regraft_replica::certs::{ClientRole, Identity};
use std::collections::BTreeSet;

/// The type of a name that is a DNS name, as X.509 has it.
const DNS_NAME: u8 = 0x82;

/// Asks whom a certificate names: the input itself, or after an `N` one with the parts as alternative names.
///
/// A part that begins with `m` or `c` is the beginning of a name of a member or a client; any other is all of a name.
///
/// Promises: a certificate names one member or client of this cluster's rules, or is refused; one that names somebody says so
/// in exactly these words; one that names two is refused.
pub fn certificates(input: &[u8]) {
    match input.split_first() {
        Some((b'N', names)) => {
            let names: Vec<Vec<u8>> = split(names).into_iter().map(name).collect();
            check_names(&names);
        }
        _ => check_any(input),
    }
}

fn name(part: &[u8]) -> Vec<u8> {
    match part.split_first() {
        Some((b'm', rest)) => [rest, b".member.regraft"].concat(),
        Some((b'c', rest)) => [rest, b".client.regraft"].concat(),
        _ => part.to_vec(),
    }
}

fn check_any(der: &[u8]) {
    let Ok(identity) = Identity::of_certificate(&der.to_vec().into()) else {
        return;
    };
    let says = |name: &str| {
        der.windows(name.len())
            .any(|bytes| bytes == name.as_bytes())
    };
    assert!(
        names_of(&identity).iter().any(|name| says(name)),
        "{identity}"
    );
}

fn check_names(names: &[Vec<u8>]) {
    let der = certificate(names);
    let found = Identity::of_certificate(&der.clone().into());
    // A name is a text of ASCII, or the certificate is none.
    if names.iter().any(|name| !name.is_ascii()) {
        return;
    }
    let named: BTreeSet<Identity> = names
        .iter()
        .filter_map(|name| expected(std::str::from_utf8(name).ok()?))
        .collect();
    match found {
        Ok(identity) => assert!(named.iter().eq([&identity]), "{identity}, not {named:?}"),
        Err(reason) => assert!(named.len() != 1, "{named:?} is refused: {reason}"),
    }
}

/// How somebody may be named.
fn names_of(identity: &Identity) -> Vec<String> {
    match identity {
        Identity::Member {
            node_id,
            cluster_id,
        } => vec![format!("{node_id}.{cluster_id}.member.regraft")],
        Identity::Client { name, role } => {
            let mut names = vec![format!("{name}.{role}.client.regraft")];
            if *role == ClientRole::Operator {
                names.push(format!("{name}.client.regraft"));
            }
            names
        }
    }
}

/// Whom a name means, from the four words of which it consists.
fn expected(name: &str) -> Option<Identity> {
    let words: Vec<&str> = name.split('.').collect();
    let is_label = |word: &str| {
        let inner = word.trim_matches('-');
        inner == word
            && (1..=40).contains(&word.len())
            && word
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
    };
    let identity = match words[..] {
        [node_id, cluster_id, "member", "regraft"] => Identity::Member {
            node_id: node_id.parse().ok()?,
            cluster_id: cluster_id.to_owned(),
        },
        [name, role, "client", "regraft"] => Identity::Client {
            name: name.to_owned(),
            role: role.parse().ok()?,
        },
        [name, "client", "regraft"] => Identity::Client {
            name: name.to_owned(),
            role: ClientRole::Operator,
        },
        _ => return None,
    };
    let is_good = match &identity {
        Identity::Member {
            node_id,
            cluster_id,
        } => *node_id > 0 && is_label(cluster_id),
        Identity::Client { name, .. } => is_label(name),
    };
    (is_good && names_of(&identity).iter().any(|it| it == name)).then_some(identity)
}

/// A certificate with these alternative names, signed by nobody.
fn certificate(names: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<u8> = names
        .iter()
        .flat_map(|name| tagged(DNS_NAME, &[name.as_slice()]))
        .collect();
    // id-ce-subjectAltName, and as algorithms id-Ed25519.
    let names = tagged(0x04, &[&tagged(0x30, &[&names])]);
    let extension = tagged(0x30, &[&tagged(0x06, &[&[0x55, 0x1d, 0x11]]), &names]);
    let extensions = tagged(0xa3, &[&tagged(0x30, &[&extension])]);
    let algorithm = tagged(0x30, &[&tagged(0x06, &[&[0x2b, 0x65, 0x70]])]);
    let bits = tagged(0x03, &[&[0; 33]]);
    let key = tagged(0x30, &[&algorithm, &bits]);
    let nobody = tagged(0x30, &[]);
    let day = tagged(0x17, &[b"260101000000Z"]);
    let validity = tagged(0x30, &[&day, &day]);
    let version = tagged(0xa0, &[&tagged(0x02, &[&[2]])]);
    let serial = tagged(0x02, &[&[1]]);
    let body = tagged(
        0x30,
        &[
            &version,
            &serial,
            &algorithm,
            &nobody,
            &validity,
            &nobody,
            &key,
            &extensions,
        ],
    );
    tagged(0x30, &[&body, &algorithm, &bits])
}

/// A value of DER: its tag, its length, what it consists of.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let long: Vec<u8> = length.iter().copied().skip_while(|it| *it == 0).collect();
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            bytes.extend(long);
        }
    }
    bytes.extend(content);
    bytes
}
