//! A path to one value inside a record: `properties.email`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Keys from the top of a record to one value. Written with dots; a key that itself
/// holds a dot, a quote or nothing at all is written in double quotes:
/// `meta."a.b"`. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Vec<String>);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a path: {reason}")]
pub struct PathError {
    text: String,
    reason: &'static str,
}

impl Path {
    /// A path of one key, taken verbatim.
    pub fn key(key: impl Into<String>) -> Self {
        Self(vec![key.into()])
    }

    /// A path of these keys, taken verbatim; `None` when there are none.
    #[must_use]
    pub fn of_keys(keys: Vec<String>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The keys, from the top.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// Whether one of the two paths lies on or under the other, so that writing both
    /// would write one value twice.
    #[must_use]
    pub fn overlaps(&self, other: &Path) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let fail = |reason| PathError { text: text.to_owned(), reason };
        let mut segments = Vec::new();
        let mut chars = text.chars().peekable();
        loop {
            let mut segment = String::new();
            if chars.peek() == Some(&'"') {
                chars.next();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => segment.push(chars.next().ok_or_else(|| fail("it ends in a backslash"))?),
                        Some(c) => segment.push(c),
                        None => return Err(fail("a quoted key is not closed")),
                    }
                }
            } else {
                while let Some(&c) = chars.peek() {
                    match c {
                        '.' => break,
                        '"' => return Err(fail("a quote stands inside a key: quote the whole key")),
                        c => segment.push(c),
                    }
                    chars.next();
                }
                if segment.is_empty() {
                    return Err(fail("a key is empty: two dots, or a dot at an end"));
                }
            }
            segments.push(segment);
            match chars.next() {
                None => return Ok(Self(segments)),
                Some('.') => {}
                Some(_) => return Err(fail("a dot must follow a quoted key")),
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            if segment.is_empty() || segment.contains(['.', '"', '\\']) {
                write!(f, "\"{}\"", segment.replace('\\', "\\\\").replace('"', "\\\""))?;
            } else {
                f.write_str(segment)?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_keys() {
        for (text, keys) in [
            ("email", vec!["email"]),
            ("properties.email", vec!["properties", "email"]),
            (r#"meta."a.b".c"#, vec!["meta", "a.b", "c"]),
            (r#""""#, vec![""]),
            (r#""say \"hi\"""#, vec!["say \"hi\""]),
        ] {
            let path: Path = text.parse().unwrap();
            assert_eq!(path.segments(), keys, "{text}");
            assert_eq!(path.to_string().parse::<Path>().unwrap(), path);
        }
    }

    #[test]
    fn refuses_what_is_no_path() {
        for text in ["", ".", "a.", ".a", "a..b", "\"a", "\"a\"b", "a\"b"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }
}
