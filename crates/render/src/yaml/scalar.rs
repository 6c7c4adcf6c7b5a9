//! Types of plain scalars.

use super::Content;
use serde_json::Number;

/// Types a plain scalar as go-yaml does; `None` for numbers that JSON has not.
pub(super) fn plain(text: &str) -> Option<Content> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Content::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Content::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Content::Bool(false)
        }
        _ => match text.trim_start_matches(['-', '+']) {
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => return None,
            _ => match number(text) {
                Numeric::Is(number) => Content::Number(number),
                Numeric::TooLarge => return None,
                Numeric::No => Content::Text(text.to_owned()),
            },
        },
    })
}

enum Numeric {
    Is(Number),
    TooLarge,
    No,
}

fn number(text: &str) -> Numeric {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
        return Numeric::No;
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Numeric::Is(number);
    }
    if !is_float(&digits) {
        return Numeric::No;
    }
    match digits.trim_start_matches('+').parse::<f64>() {
        // JSON has one kind of number: 1.0 and 1e3 are whole, as Go writes them.
        Ok(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            let whole = float as i64;
            Numeric::Is(whole.into())
        }
        Ok(float) => Number::from_f64(float).map_or(Numeric::TooLarge, Numeric::Is),
        Err(_) => Numeric::No,
    }
}

/// Signed, with the prefixes of Go's `ParseInt(text, 0, 64)`.
fn integer(text: &str) -> Option<Number> {
    let (negative, magnitude) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !magnitude.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let lower = magnitude.to_ascii_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        Some(prefix) if prefix.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    match negative {
        false => Some(value.into()),
        true => i64::try_from(-i128::from(value)).ok().map(Number::from),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, the pattern of go-yaml.
fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let good_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    let good_mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && all_digits(fraction),
        Some((whole, fraction)) => all_digits(whole) && all_digits(fraction),
        None => !mantissa.is_empty() && all_digits(mantissa),
    };
    good_mantissa && good_exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(text: &str, expected: Value) {
        let node = super::super::Node {
            at: super::super::Position::default(),
            content: plain(text).expect("representable"),
        };
        assert_eq!(node.into_value(), expected, "{text}");
    }

    #[test]
    fn plain_scalars_are_typed_as_kubectl_types_them() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("on", json!(true)),
            ("Off", json!(false)),
            ("n", json!(false)),
            ("8080", json!(8080)),
            ("-12", json!(-12)),
            ("0644", json!(420)),
            ("0o644", json!(420)),
            ("0x1F", json!(31)),
            ("1_000", json!(1000)),
            ("1.5", json!(1.5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("089", json!(89)),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_only_looks_like_a_number_stays_text() {
        for text in [
            "1.2.3",
            "10m",
            "1Gi",
            "2026-01-31",
            "2026-01-31T12:00:00Z",
            "12:30",
            "-",
            "+",
            ".",
            "1e",
            "0x",
            "--1",
            "v1",
            "yess",
            "+-1",
            "1.2.3-rc",
            "127.0.0.1",
            "_1",
            "0b2",
        ] {
            check(text, json!(text));
        }
    }

    #[test]
    fn numbers_json_does_not_have_are_refused() {
        for text in [".inf", "-.Inf", ".nan", "1e999"] {
            assert!(plain(text).is_none(), "{text}");
        }
    }
}
