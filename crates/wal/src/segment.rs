//! How the files are named.

const EXTENSION: &str = ".log";
/// A file that is being prepared; one that a crash left is deleted.
const UNFINISHED: &str = ".new";
/// Digits of a name, so that names sort as their numbers do.
const DIGITS: usize = 10;

/// The number of the first segment of a log.
pub(crate) const FIRST: u64 = 1;
/// The highest number that is taken for one: nobody gets there, and there is always a next.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// The file of a segment.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:0DIGITS$}{EXTENSION}")
}

/// The file of a segment that is being prepared.
pub(crate) fn unfinished_name(number: u64) -> String {
    format!("{number:0DIGITS$}{UNFINISHED}")
}

/// The number of the segment that a file is, if it is one.
pub(crate) fn number(name: &str) -> Option<u64> {
    let number = parse(name.strip_suffix(EXTENSION)?)?;
    (FIRST..=NUMBER_MAX).contains(&number).then_some(number)
}

/// Whether a crash left this file while it was prepared.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED).and_then(parse).is_some()
}

fn parse(digits: &str) -> Option<u64> {
    // No sign, no space: what `parse` takes besides digits is a file of somebody else.
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_number_and_nothing_else_is_a_segment() {
        assert_eq!(file_name(7), "0000000007.log");
        assert_eq!(number("0000000007.log"), Some(7));
        assert_eq!(number("7.log"), Some(7));
        assert_eq!(number(&file_name(NUMBER_MAX)), Some(NUMBER_MAX));
        for other in [
            "18446744073709551615.log",
            "0.log",
            "+7.log",
            "7.txt",
            ".log",
            "lock",
            "0000000007.new",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
        assert!(is_unfinished(&unfinished_name(3)));
        assert!(!is_unfinished("notes.new"));
    }
}
