//! The rules of a connector file by which answers are understood: `[[errors.rules]]`.

use regex::RegexBuilder;

use crate::model::document::Table;

use super::fields::{header_name, path, statuses, sub, word};
use super::rules::{Class, Pattern, Rule, Wait, WaitPlace, WaitUnit};

/// The most memory that a compiled pattern may take, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// One rule. One that could not be read is left out; what is wrong with it has been noted.
pub(super) fn rule(table: Table<'_>) -> Option<Rule> {
    if table.item("class").is_none() {
        let words: Vec<&str> = Class::ALL.iter().map(|(word, _)| *word).collect();
        let help = format!("one of: {}", words.join(", "));
        table.problems().add_with_help(table.span(), "'class' is missing in a rule: what does the answer mean?", help);
    }
    let class = word(&table, "class", &Class::ALL);
    let rule = Rule {
        class: class.unwrap_or(Class::Fail),
        statuses: statuses(&table, "status").unwrap_or_default(),
        header: header_name(&table, "header"),
        path: path(&table, "path"),
        is: is(&table),
        pattern: pattern(&table),
        wait: wait(&table, "wait"),
        pause_ms: table.duration_ms("pause").map(|pause| pause.value),
        field: path(&table, "field"),
    };
    check(&table, &rule);
    table.finish();
    class.map(|_| rule)
}

fn check(table: &Table<'_>, rule: &Rule) {
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    let looks = table.item("header").is_some() || table.item("path").is_some() || table.item("pattern").is_some();
    if !looks && table.item("status").is_none() {
        problem("class", "this rule fits every answer", "say which by status, header, path or pattern");
    }
    if !looks && rule.statuses.iter().any(|status| (200..300).contains(status)) {
        let help = "say by header, path or pattern which answers are meant";
        problem("status", "a success cannot mean something else by its status alone", help);
    }
    if !rule.is.is_empty() && rule.header.is_some() == rule.path.is_some() {
        problem("is", "'is' needs one of header and path", "name where that text stands: path = \"error.code\"");
    }
    if rule.class != Class::Limited {
        for key in ["wait", "pause"] {
            if table.item(key).is_some() {
                problem(key, &format!("'{key}' is for class = \"limited\""), "take it away");
            }
        }
    }
    if rule.class != Class::Invalid && rule.field.is_some() {
        problem("field", "'field' is for class = \"invalid\"", "take it away");
    }
}

/// One text or several.
fn is(table: &Table<'_>) -> Vec<String> {
    let is_list = table.item("is").is_some_and(|item| item.list().is_ok());
    let texts = if is_list { table.texts("is").unwrap_or_default() } else { table.text("is").into_iter().collect() };
    texts.into_iter().map(|text| text.value).collect()
}

fn pattern(table: &Table<'_>) -> Option<Pattern> {
    let text = table.text("pattern")?;
    match RegexBuilder::new(&text.value).size_limit(MAX_PATTERN_BYTES).build() {
        Ok(regex) => Some(Pattern(regex)),
        Err(error) => {
            // Its last line says what is wrong; the ones before draw the place.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            table.problems().add(text.span, format!("'pattern' is no regular expression: {reason}"));
            None
        }
    }
}

/// `wait = { header = "X-RateLimit-Reset", unit = "epoch" }`, or with `path` instead.
pub(super) fn wait(table: &Table<'_>, key: &str) -> Option<Wait> {
    let wait = sub(table, key, key)?;
    let unit = word(&wait, "unit", &WaitUnit::ALL).unwrap_or(WaitUnit::Seconds);
    let place = place(&wait, &format!("{key} = {{ header = \"X-RateLimit-Reset\", unit = \"epoch\" }}"));
    wait.finish();
    place.map(|place| Wait { place, unit })
}

/// Where something stands in an answer: `header`, or `path` into the body.
pub(super) fn place(table: &Table<'_>, help: &str) -> Option<WaitPlace> {
    let header = header_name(table, "header").map(WaitPlace::Header);
    let path = path(table, "path").map(WaitPlace::Path);
    match (header, path) {
        (Some(place), None) | (None, Some(place)) => Some(place),
        (Some(_), Some(_)) | (None, None) => {
            let name = table.name().trim_matches(['[', ']']).to_owned();
            table.problems().add_with_help(table.span(), format!("'{name}' needs either header or path"), help);
            None
        }
    }
}
