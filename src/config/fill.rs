//! `${NAME}` in a text: taken from the environment, so that no secret has to stand in a
//! file. `$${` stands for `${` itself.

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
pub(super) fn fill(key: &str, text: &Located<String>, env: &Env<'_>, problems: &Problems) -> Option<Filled> {
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
                let help = "write ${NAME}, or $${ for the two characters themselves";
                problems.add_with_help(text.span.clone(), format!("'${{' is not closed in '{key}'"), help);
                return None;
            };
            match variable(key, name, env) {
                Ok(value) => {
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
    use super::*;

    fn filled(text: &str) -> Result<String, Vec<String>> {
        let env = |name: &str| match name {
            "A" => Some("alpha".to_owned()),
            "B_2" => Some("${A}".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let problems = Problems::new();
        let text = Located { value: text.to_owned(), span: 0..0 };
        let filled = fill("k", &text, &env, &problems);
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
            ("${}", vec!["what stands between '${' and '}' in 'k' is not a name"]),
            ("${1A}", vec!["what stands between '${' and '}' in 'k' is not a name"]),
        ] {
            assert_eq!(filled(text), Err(want.into_iter().map(str::to_owned).collect()), "{text}");
        }
    }

    #[test]
    fn a_filled_in_text_is_found_in_a_message_whatever_its_case() {
        let text = Located { value: "https://${HOST}/".to_owned(), span: 0..0 };
        let filled = fill("base_url", &text, &|_| Some("Secret.Example".to_owned()), &Problems::new()).unwrap();
        assert!(filled.is_repeated_in("'secret.example' is private"));
        assert!(!filled.is_repeated_in("http without TLS"));
        assert!(!filled.is_literal());
    }
}
