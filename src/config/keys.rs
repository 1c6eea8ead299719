//! Small readers of single keys.

use crate::model::document::{Located, Problems, Table, nearest};

/// The longest name of a connection or sync, in bytes: it stands in tables and logs.
const MAX_NAME_BYTES: usize = 100;

/// A text that must be there and hold something.
pub(super) fn non_empty(table: &Table<'_>, key: &str) -> Option<Located<String>> {
    let text = table.required_text(key)?;
    if text.value.trim().is_empty() {
        table.problems().add(text.span, format!("'{key}' is empty"));
        return None;
    }
    Some(text)
}

/// A name that can be printed and typed.
pub(super) fn name(table: &Table<'_>, key: &str) -> Option<Located<String>> {
    let text = non_empty(table, key)?;
    if text.value.contains("${") {
        let help = "variables stand for secrets: in base_url, auth, token and webhook";
        table.problems().add_with_help(text.span, format!("no variable is filled in in '{key}'"), help);
        return None;
    }
    let printable = text.value.trim() == text.value && !text.value.chars().any(char::is_control);
    if printable && text.value.len() <= MAX_NAME_BYTES {
        return Some(text);
    }
    let message = format!("'{key}' is not a name");
    let help = format!("at most {MAX_NAME_BYTES} bytes, no control characters, no space at either end");
    table.problems().add_with_help(text.span, message, help);
    None
}

/// One of a few words.
pub(super) fn word<T: Copy>(table: &Table<'_>, key: &str, words: &[(&str, T)]) -> Option<Located<T>> {
    let text = table.text(key)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(Located { value: *value, span: text.span });
    }
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("'{key}' must be one of {}, not '{}'", list.join(", "), shown(&text.value));
    unknown(&text, message, list.into_iter(), table.problems());
    None
}

/// Notes that a word is not known, with the nearest one that is.
pub(super) fn unknown<'k>(
    word: &Located<String>,
    message: String,
    known: impl Iterator<Item = &'k str>,
    problems: &Problems,
) {
    match nearest(&word.value, known) {
        Some(near) => problems.add_with_help(word.span.clone(), message, format!("did you mean '{near}'?")),
        None => problems.add(word.span.clone(), message),
    }
}

/// A whole number within bounds.
pub(super) fn bounded<T: TryFrom<i64>>(
    number: &Located<i64>,
    key: &str,
    least: i64,
    most: i64,
    problems: &Problems,
) -> Option<T> {
    let within = (least..=most).contains(&number.value);
    let value = T::try_from(number.value).ok().filter(|_| within);
    if value.is_none() {
        problems.add(number.span.clone(), format!("'{key}' must be from {least} to {most}, not {}", number.value));
    }
    value
}

/// A text from a file made fit for a message: cut, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut out: String = text.chars().take(MAX_CHARS).flat_map(escaped).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    out
}

fn escaped(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}
