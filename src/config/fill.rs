//! `${NAME}` in a text: taken from the environment; `${file:PATH}`: from a file of its own.
//! So no secret has to stand in the configuration. `$${` stands for `${` itself.

use super::files::Outside;
use crate::model::document::{Located, Problems};

/// Where environment variables are looked up.
pub(super) type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// A text with its variables filled in.
#[derive(Clone)]
pub(super) struct Filled {
    /// The text to use. It may hold secrets.
    pub text: String,
    /// What was filled in.
    values: Vec<String>,
}

impl Filled {
    /// Whether all of it stands in the file.
    pub fn is_literal(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether a message about the text repeats something that was filled in.
    pub fn is_repeated_in(&self, message: &str) -> bool {
        // A URL is shown with its host in lower case.
        let message = message.to_lowercase();
        self.values.iter().any(|value| message.contains(&value.to_lowercase()))
    }
}

/// Fills in the variables of the text at `key`; notes each one that is not there.
pub(super) fn fill(key: &str, text: &Located<String>, outside: &Outside<'_>, problems: &Problems) -> Option<Filled> {
    let mut filled = Filled { text: String::new(), values: Vec::new() };
    let mut sound = true;
    let mut rest = text.value.as_str();
    while let Some(at) = rest.find('$') {
        filled.text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            filled.text.push_str("${");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("${") {
            let Some((name, after)) = after.split_once('}') else {
                // What follows is not shown: it may be a part of a secret.
                let help = "write ${NAME} or ${file:PATH}, or $${ for the two characters themselves";
                problems.add_with_help(text.span.clone(), format!("'${{' is not closed in '{key}'"), help);
                return None;
            };
            let value = match name.strip_prefix(FILE) {
                Some(path) => secret_file(key, path, outside),
                None => variable(key, name, outside.env),
            };
            match value {
                Ok(value) => {
                    outside.note_filled(&value);
                    filled.text.push_str(&value);
                    filled.values.push(value);
                }
                Err((message, help)) => {
                    problems.add_with_help(text.span.clone(), message, help);
                    sound = false;
                }
            }
            rest = after;
        } else {
            filled.text.push('$');
            rest = &rest[1..];
        }
    }
    filled.text.push_str(rest);
    sound.then_some(filled)
}

/// What `${file:PATH}` begins with.
const FILE: &str = "file:";

/// The longest secret that a file may hold, in bytes: far longer than any token.
const MAX_SECRET_BYTES: usize = 64 * 1024;

/// What a file holds, without the line's end that editors add, or what is wrong and what to do
/// about it. Nothing of what it holds is told.
fn secret_file(key: &str, path: &str, outside: &Outside<'_>) -> Result<String, (String, &'static str)> {
    let place = outside.path(path);
    let refuse = |what: &str| format!("{}, used in '{key}', {what}", place.display());
    let text = outside.read(path).map_err(|error| {
        (refuse(&format!("cannot be read: {error}")), "a path is relative to the folder of the configuration")
    })?;
    let value = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
    if value.is_empty() {
        return Err((refuse("is empty"), "write the secret into it, and nothing else"));
    }
    // A key in PEM has lines.
    let is_odd = |c: char| c.is_control() && !(value.starts_with("-----BEGIN ") && matches!(c, '\n' | '\r'));
    if value.len() > MAX_SECRET_BYTES || value.chars().any(is_odd) {
        return Err((refuse("is not one line of text"), "write the secret into it, and nothing else"));
    }
    Ok(value.to_owned())
}

/// The value of a variable, or what is wrong and what to do about it.
fn variable(key: &str, name: &str, env: &Env<'_>) -> Result<String, (String, &'static str)> {
    if !is_name(name) {
        let message = format!("what stands between '${{' and '}}' in '{key}' is not a name");
        return Err((message, "write ${NAME}: letters, digits and _, no digit first"));
    }
    match env(name) {
        None => Err((format!("environment variable '{name}', used in '{key}', is not set"), "set it before starting")),
        Some(value) if value.is_empty() => {
            Err((format!("environment variable '{name}', used in '{key}', is empty"), "set it before starting"))
        }
        Some(value) => Ok(value),
    }
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.len() <= 200 && name.chars().all(word) && name.starts_with(|c: char| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    fn filled(text: &str) -> Result<String, Vec<String>> {
        let env = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "B_2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let read_file = |path: &Path| match path.to_str() {
            Some("d/token") => Ok("s3cret\r\n".to_owned()),
            Some("d/empty") => Ok("\n".to_owned()),
            Some("d/key") => Ok("-----BEGIN X-----\ns3cret\n-----END X-----\n".to_owned()),
            Some("d/two") => Ok("s3cret\ns3cret\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let outside = Outside::new(Path::new("d"), &env, &read_file);
        let problems = Problems::new();
        let text = Located { value: text.to_owned(), span: 0..0 };
        let filled = fill("k", &text, &outside, &problems);
        assert_eq!(filled.is_none(), !problems.is_empty());
        filled.map(|filled| filled.text).ok_or(problems.into_sorted().into_iter().map(|p| p.message).collect())
    }

    #[test]
    fn variables_are_filled_in_once_and_dollars_can_be_meant() {
        for (text, want) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "alpha"),
            ("x${A}y${A}z", "xalphayalphaz"),
            ("${B_2}", "${A}"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("$A $ {A} $", "$A $ {A} $"),
            ("ü${A}ü", "üalphaü"),
            ("Bearer ${file:token}", "Bearer s3cret"),
            ("${file:key}", "-----BEGIN X-----\ns3cret\n-----END X-----"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_told_without_the_text() {
        for (text, want) in [
            (
                "${NO} ${A} ${NEITHER}",
                vec![
                    "environment variable 'NO', used in 'k', is not set",
                    "environment variable 'NEITHER', used in 'k', is not set",
                ],
            ),
            ("${EMPTY}", vec!["environment variable 'EMPTY', used in 'k', is empty"]),
            ("s3cret${", vec!["'${' is not closed in 'k'"]),
            ("${s3cret!}", vec!["what stands between '${' and '}' in 'k' is not a name"]),
            ("${file:empty}", vec!["d/empty, used in 'k', is empty"]),
            ("${file:two}", vec!["d/two, used in 'k', is not one line of text"]),
            ("${file:no}", vec!["d/no, used in 'k', cannot be read: entity not found"]),
            ("${}", vec!["what stands between '${' and '}' in 'k' is not a name"]),
            ("${1A}", vec!["what stands between '${' and '}' in 'k' is not a name"]),
        ] {
            assert_eq!(filled(text), Err(want.into_iter().map(str::to_owned).collect()), "{text}");
        }
    }

    #[test]
    fn a_filled_in_text_is_found_in_a_message_whatever_its_case() {
        let text = Located { value: "https://${HOST}/".to_owned(), span: 0..0 };
        let env = |_: &str| Some("Secret.Example".to_owned());
        let no_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        let outside = Outside::new(Path::new(""), &env, &no_file);
        let filled = fill("base_url", &text, &outside, &Problems::new()).unwrap();
        assert!(filled.is_repeated_in("'secret.example' is private"));
        assert!(!filled.is_repeated_in("http without TLS"));
        assert!(!filled.is_literal());
    }
}
