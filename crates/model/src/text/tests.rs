use super::{one_line, redact, truncate};
use proptest::prelude::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(redact(text), expected);
}

#[test]
fn values_of_secret_keys_go() {
    check(
        "password=hunter2 user=shop",
        "password=[redacted] user=shop",
    );
    check("DB_PASSWORD=hunter2", "DB_PASSWORD=[redacted]");
    check(
        "--db-password hunter2 --verbose",
        "--db-password [redacted] --verbose",
    );
    check("--set=db.password=a=b", "--set=db.password=[redacted]");
    check("api_key: abc", "api_key: [redacted]");
    check(
        r#"{"token":"a b c","n":1}"#,
        r#"{"token":"[redacted]","n":1}"#,
    );
    check(
        r#"{"client_secret" : "a b"}"#,
        r#"{"client_secret" : "[redacted]"}"#,
    );
    check(r#"{"pwd":1234}"#, r#"{"pwd":[redacted]}"#);
    check("secret = abc", "secret = [redacted]");
    check("password='a b' x", "password='[redacted]' x");
}

#[test]
fn credentials_in_headers_and_addresses_go() {
    check(
        "Authorization: Bearer abc.def",
        "Authorization: Bearer [redacted]",
    );
    check(
        "authorization: Basic c2hvcDpodW50ZXIy end",
        "authorization: Basic [redacted] end",
    );
    check("sent bearer abcdef", "sent bearer [redacted]");
    check(
        "postgres://shop:hunter2@db:5432/shop",
        "postgres://[redacted]@db:5432/shop",
    );
    check(
        "https://ghp_x@github.com/a/b.git",
        "https://[redacted]@github.com/a/b.git",
    );
    check(
        "https://a/b?token=xyz&page=2",
        "https://a/b?token=[redacted]&page=2",
    );
}

#[test]
fn what_looks_like_a_key_goes() {
    check(
        "got ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "got [redacted]",
    );
    check(
        "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def_123",
        "jwt [redacted]",
    );
    check("k dGhpc0lzQVNlY3JldEtleTEyMzQ1Njc4OTA=", "k [redacted]");
    check("h 0123456789abcdef0123456789abcdef", "h [redacted]");
    check(
        "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b",
        "a [redacted] b",
    );
    check("a -----BEGIN PRIVATE KEY----- MIIE", "a [redacted]");
}

#[test]
fn what_kubernetes_says_stays() {
    for text in [
        r#"secret "db-credentials" not found"#,
        r#"couldn't find key DB_PASSWORD in Secret shop/db"#,
        r#"MountVolume.SetUp failed for volume "token" : secret "db" not found"#,
        "back-off 5m0s restarting failed container=web pod=web-7d9c5b6c4f-x2x9z_shop(1f0c8a52-3b8e-4a0f-9d67-0c7a5f1e2d3b)",
        "Failed to pull image \"registry.example.com:5000/shop/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
        r#"password authentication failed for user "shop""#,
        "dial tcp 10.0.0.1:5432: connect: connection refused",
        "2026-01-31T12:00:00.250Z exit code 137 (OOMKilled)",
    ] {
        check(text, text);
    }
}

#[test]
fn what_follows_the_host_of_a_url_is_taken_as_before() {
    let once = redact("://@passwordBearer ://");
    assert_eq!(redact(&once), once);
    let url = "https://me:hunter2@token.example/a ://";
    assert_eq!(redact(url), "https://[redacted]@token.example/a ://");
    assert_eq!(redact(&redact(url)), redact(url));
}

#[test]
fn text_is_cut_at_a_character() {
    assert_eq!(truncate("äöü", 6), "äöü");
    assert_eq!(truncate("äöü€", 8), "äö…");
    assert_eq!(truncate("abcdef", 2), "");
    assert_eq!(one_line(" a\n\tb\u{7}c  d "), "a b c d");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn redacting_twice_changes_nothing(text in "([a-zA-Z0-9 =:\"'&?/@,{}\\[\\]-]|password|token|://|Bearer |\\[redacted\\]|ä|-----BEGIN PRIVATE KEY-----|-----END ){0,40}") {
        let once = redact(&text);
        prop_assert_eq!(redact(&once), once.clone(), "{}", text);
    }

    #[test]
    fn a_password_in_an_assignment_never_survives(
        // What stands around the secret never spells its mark by chance.
        before in "[a-p ]{0,20}", key in "(DB_|db-|my)?(password|PASSWORD|token|apiKey|secret)",
        separator in "(=|: | = |=\"|: \"|:')", secret in "[a-z0-9]{3}zqx[a-z0-9]{0,40}", after in "( [a-p ]{0,10})?",
    ) {
        let text = format!("{before} {key}{separator}{secret}{after}");
        prop_assert!(!redact(&text).contains("zqx"), "{} -> {}", text, redact(&text));
    }

    #[test]
    fn cutting_keeps_the_bound_and_the_beginning(text in ".{0,100}", limit in 3usize..80) {
        let cut = truncate(&text, limit);
        prop_assert!(cut.len() <= limit);
        prop_assert!(text.starts_with(cut.trim_end_matches('…')) || text == cut);
    }
}
