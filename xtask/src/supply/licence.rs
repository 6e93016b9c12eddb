//! SPDX licence expressions, as `Cargo.toml` has them: `MIT OR Apache-2.0`, `(A AND B) OR C WITH D`, and the old `MIT/Apache-2.0`.

use anyhow::{Context, bail};

/// The expression in today's form.
pub(crate) fn expression(text: &str) -> String {
    text.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// Whether an expression can be satisfied with allowed licences only.
///
/// # Errors
/// If it is no expression.
pub(crate) fn allows(text: &str, allowed: &dyn Fn(&str) -> bool) -> anyhow::Result<bool> {
    let spaced = expression(text).replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, allowed };
    let allows = parser.any().with_context(|| format!("licence \"{text}\""))?;
    if parser.at < words.len() {
        bail!("licence \"{text}\" goes on after its end");
    }
    Ok(allows)
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    /// AND binds closer than OR (SPDX 2.3, annex D.4.5).
    fn any(&mut self) -> anyhow::Result<bool> {
        let mut allows = self.all()?;
        while self.take("OR") {
            allows |= self.all()?;
        }
        Ok(allows)
    }

    fn all(&mut self) -> anyhow::Result<bool> {
        let mut allows = self.one()?;
        while self.take("AND") {
            allows &= self.one()?;
        }
        Ok(allows)
    }

    fn one(&mut self) -> anyhow::Result<bool> {
        if self.take("(") {
            let allows = self.any()?;
            if !self.take(")") {
                bail!("a bracket is open");
            }
            return Ok(allows);
        }
        let name = match self.words.get(self.at) {
            Some(&name) if !["OR", "AND", "WITH", ")"].contains(&name) => name,
            _ => bail!("a licence is missing"),
        };
        self.at += 1;
        if !self.take("WITH") {
            return Ok((self.allowed)(name));
        }
        let exception = self.words.get(self.at).context("an exception is missing")?;
        self.at += 1;
        Ok((self.allowed)(&format!("{name} WITH {exception}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_by_what_is_allowed() {
        let allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        let allows = |text| allows(text, &allowed).unwrap();
        for text in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "MIT AND ISC",
            "GPL-3.0 AND LGPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND (ISC OR GPL-3.0)",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
        ] {
            assert!(allows(text), "{text}");
        }
        for text in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT AND (GPL-3.0 OR LGPL-3.0)",
            "Apache-2.0",
            "Apache-2.0 WITH Classpath-exception-2.0",
            "GPL-3.0 OR MIT AND AGPL-3.0",
        ] {
            assert!(!allows(text), "{text}");
        }
        for text in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "MIT AND AND ISC"] {
            assert!(super::allows(text, &allowed).is_err(), "{text}");
        }
        assert_eq!(expression("MIT / Apache-2.0"), "MIT OR Apache-2.0");
    }
}
