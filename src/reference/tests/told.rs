//! Danger: a mistake in a file that is passed over, or told without its place or a way out.

use super::example::read;
use super::mistakes::{Mistake, all};
use crate::model::document::line_and_column;
use crate::reference::FileKind;

impl Mistake {
    /// What is wrong with how it is told.
    fn verdict(&self) -> Result<(), String> {
        let Err(lines) = read(self.kind, &self.text) else { return Err("it is taken".to_owned()) };
        let tells = |line: &String| {
            let all = self.told.iter().all(|told| line.contains(told));
            let one = self.told_one_of.is_empty() || self.told_one_of.iter().any(|told| line.contains(told));
            let listed = self.choices.as_ref().is_none_or(|choices| lists(line, choices));
            let named = self.named.is_none_or(|name| names(line, name));
            self.is_there(line) && all && one && named && listed
        };
        if lines.iter().any(tells) { Ok(()) } else { Err(format!("it is told as {lines:#?}")) }
    }

    /// Whether a line of a message names a place within the span.
    fn is_there(&self, line: &str) -> bool {
        let mut parts = line.split(':').skip(1).map(|part| part.parse::<usize>().ok());
        let (Some(Some(line)), Some(Some(column))) = (parts.next(), parts.next()) else { return false };
        let Some(span) = &self.span else { return true };
        let (start, end) = (line_and_column(&self.text, span.start), line_and_column(&self.text, span.end));
        (start..=end).contains(&(line, column))
    }
}

/// Whether a message holds a key's name as a word.
fn names(line: &str, name: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
}

/// Whether a message lists exactly these choices.
fn lists(line: &str, choices: &[String]) -> bool {
    let Some((_, rest)) = line.split_once("one of") else { return false };
    let list = rest.trim_start_matches(':').split(", not '").next().unwrap_or(rest).trim_end_matches(')');
    let mut listed: Vec<&str> = list.split(',').map(str::trim).collect();
    let mut choices: Vec<&str> = choices.iter().map(String::as_str).collect();
    listed.sort_unstable();
    choices.sort_unstable();
    listed == choices
}

fn check(kind: FileKind) {
    let all = all(kind);
    assert!(all.len() > 500, "{} mistakes were made", all.len());
    let told = |mistake: &Mistake| {
        let wrong = mistake.verdict().err()?;
        let (places, told, one) = (&mistake.span, &mistake.told, &mistake.told_one_of);
        let span = places.as_ref().map(|span| line_and_column(&mistake.text, span.start));
        Some(format!(
            "{}: {wrong}\n{}\nwanted at {span:?}: {told:?} {one:?} {:?}\n{}",
            mistake.what, mistake.hint, mistake.choices, mistake.text
        ))
    };
    let wrong: Vec<String> = all.iter().filter_map(told).collect();
    assert!(wrong.is_empty(), "{} of {} mistakes\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn every_mistake_in_a_configuration_is_told_with_its_place_and_a_way_out() {
    check(FileKind::Config);
}

#[test]
fn every_mistake_in_a_connector_file_is_told_with_its_place_and_a_way_out() {
    check(FileKind::Connector);
}
