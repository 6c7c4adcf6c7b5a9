//! SPDX licence expressions as packages write them: `MIT OR Apache-2.0`, `(A OR B) AND C`, `A WITH E`.

/// Whether some allowed choice satisfies the expression. What cannot be read is not allowed.
pub(super) fn is_allowed(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    // Old manifests write `MIT/Apache-2.0` for `OR`.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        allowed,
    };
    let verdict = parser.any();
    verdict == Some(true) && parser.words.is_empty()
}

struct Parser<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    /// `AND` binds tighter than `OR`.
    fn any(&mut self) -> Option<bool> {
        let mut verdict = self.all()?;
        while self.take("OR") {
            verdict |= self.all()?;
        }
        Some(verdict)
    }

    fn all(&mut self) -> Option<bool> {
        let mut verdict = self.one()?;
        while self.take("AND") {
            verdict &= self.one()?;
        }
        Some(verdict)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let verdict = self.any()?;
            return self.take(")").then_some(verdict);
        }
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        if !self.take("WITH") {
            return Some((self.allowed)(first));
        }
        let (exception, rest) = self.words.split_first()?;
        self.words = rest;
        // A licence is only widened by an exception.
        Some((self.allowed)(first) || (self.allowed)(&format!("{first} WITH {exception}")))
    }

    fn take(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if *first == word => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_needs_one_and_a_conjunction_all() {
        let check =
            |expression: &str| is_allowed(expression, &|name| ["MIT", "Zlib"].contains(&name));
        assert!(check("MIT"));
        assert!(check("GPL-3.0 OR MIT"));
        assert!(check("GPL-3.0/MIT"));
        assert!(check("(GPL-3.0 OR MIT) AND Zlib"));
        assert!(check("MIT WITH LLVM-exception"));
        assert!(!check("GPL-3.0"));
        assert!(!check("MIT AND GPL-3.0"));
        assert!(!check("MIT OR"));
        assert!(!check(""));
    }
}
