//! Trailers of commit messages.

use regraft_model::git::{INSTALLATION_TRAILER, PLAN_TRAILER};

/// `Key: value` lines of the last paragraph, in order; indented lines continue the one before. The subject is never a
/// trailer.
pub(crate) fn trailers(message: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> = message.trim_end().lines().collect();
    let Some(blank) = lines.iter().rposition(|line| line.trim().is_empty()) else {
        return Vec::new();
    };
    let mut found: Vec<(String, String)> = Vec::new();
    for line in &lines[blank + 1..] {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = trailer(line) {
            found.push((key.to_owned(), value.to_owned()));
        }
    }
    found
}

/// Whether a message carries an installation's key. Any line counts, not only the last paragraph: a forge that squashes
/// leaves our trailers in the middle, and a repair must not be committed twice.
pub(crate) fn carries_key(message: &str, key: &str, installation: &str) -> bool {
    let carries = |trailer_name: &str, wanted: &str| {
        message
            .lines()
            .filter_map(trailer)
            .any(|(name, value)| name.eq_ignore_ascii_case(trailer_name) && value == wanted)
    };
    carries(PLAN_TRAILER, key) && carries(INSTALLATION_TRAILER, installation)
}

fn trailer(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let token = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (token && value.starts_with([' ', '\t'])).then(|| (key, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &[(&str, &str)]) {
        let found = trailers(message);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected, "{message:?}");
    }

    #[test]
    fn trailers_are_the_key_value_lines_of_the_last_paragraph() {
        check(
            "Subject\n\nWhy: because\n\nRegraft-Plan: web-7.1\nRegraft-Action: rollback\n",
            &[("Regraft-Plan", "web-7.1"), ("Regraft-Action", "rollback")],
        );
        check(
            "Subject\r\n\r\nRegraft-Plan: web-7.1\r\n",
            &[("Regraft-Plan", "web-7.1")],
        );
        check("Subject\n\nKey: a\n b\n\n\n", &[("Key", "a b")]);
        check("fix: subject only", &[]);
        check("Subject\n\nno trailers here, see http://x", &[]);
        check("", &[]);
        check("\n\n", &[]);
    }

    #[test]
    fn a_squashed_message_still_carries_the_key_and_a_quoted_one_does_not() {
        let squashed = "Merge (#7)\n\n* Roll back\n\nRegraft-Plan: web-7.1\nRegraft-Installation: i\n\nCo-authored-by: A <a@b>\n";
        assert!(carries_key(squashed, "web-7.1", "i"));
        assert!(!carries_key(squashed, "web-7.2", "i"));
        assert!(!carries_key(squashed, "web-7.1", "other"));
        let carries = |plan: &str| {
            let message = format!("x\n\n{plan}\nRegraft-Installation: i\n");
            carries_key(&message, "web-7.1", "i")
        };
        assert!(carries("Regraft-Plan: web-7.1"));
        assert!(!carries("> Regraft-Plan: web-7.1"));
        assert!(!carries("Regraft-Plan: web-7.10"));
    }
}
