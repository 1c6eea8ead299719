//! The reference of a file kind, as Markdown.

use super::FileKind;
use super::key::{Default, Group, Holds, Key, Need, When};

pub(super) fn of(kind: FileKind) -> String {
    let guide = match kind {
        FileKind::Config => "The guide is [configuration.md](configuration.md)",
        FileKind::Connector => "The guide is [connectors.md](connectors.md)",
    };
    let mut page = format!(
        "# {}: every key\n\n{guide}. Made from the declared keys: `src/reference`.\n\nA duration is a whole number and a unit: \
         `500ms`, `5s`, `2m`, `1h`, `1d`. A path is keys with dots\nbetween them; a key that holds a dot stands in quotes: \
         `meta.\"a.b\"`.\n",
        kind.title()
    );
    let mut groups: Vec<&Group> = Vec::new();
    collect(kind.top(), &mut groups);
    for group in groups {
        section(group, &mut page);
    }
    page
}

/// A group and those below it, each once, in the order of the keys.
fn collect(group: &'static Group, found: &mut Vec<&'static Group>) {
    if found.iter().any(|known| std::ptr::eq(*known, group)) {
        return;
    }
    found.push(group);
    for key in group.keys() {
        for below in groups_of(&key.holds) {
            collect(below, found);
        }
    }
}

fn groups_of(holds: &Holds) -> Vec<&'static Group> {
    match holds {
        Holds::Table(group) => vec![group],
        Holds::List(of) | Holds::Named(_, of) => groups_of(of),
        Holds::Either(kinds) => kinds.iter().flat_map(groups_of).collect(),
        Holds::Text
        | Holds::Path
        | Holds::Endpoint
        | Holds::Header
        | Holds::Character
        | Holds::Duration
        | Holds::Whole(..)
        | Holds::Number
        | Holds::Boolean
        | Holds::Words(_)
        | Holds::Any => Vec::new(),
    }
}

fn section(group: &Group, page: &mut String) {
    let heading = if group.heading.contains(' ') { group.heading.to_owned() } else { code(group.heading) };
    let about = group.about.trim_end_matches('.');
    page.push_str(&format!("\n## {heading}\n\n{}{}.\n", about[..1].to_uppercase(), &about[1..]));
    if !group.one_of.is_empty() {
        let names: Vec<String> = group.one_of.iter().map(|name| code(name)).collect();
        let or_none = if group.brought { ", or none where the object's `path` brings it" } else { "" };
        page.push_str(&format!("\nExactly one of {}{or_none}.\n", names.join(", ")));
    }
    page.push_str("\n| Key | Holds | Needed | Default | Means | Example |\n|---|---|---|---|---|---|\n");
    for key in group.keys() {
        let cells = [
            code(key.name),
            kind_of(&key.holds),
            needed(key),
            default(&key.default),
            key.about.to_owned(),
            code(&one_line(key.example)),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

fn code(text: &str) -> String {
    // A text that holds a backtick stands between two.
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kind_of(holds: &Holds) -> String {
    match holds {
        Holds::Text => "text".to_owned(),
        Holds::Path => "path".to_owned(),
        Holds::Endpoint => "path of the API".to_owned(),
        Holds::Header => "name of a header".to_owned(),
        Holds::Character => "one character".to_owned(),
        Holds::Duration => "duration".to_owned(),
        Holds::Whole(least, i64::MAX) => format!("whole number from {least}"),
        Holds::Whole(least, most) => format!("whole number, {least} to {most}"),
        Holds::Number => "number".to_owned(),
        Holds::Boolean => "`true` or `false`".to_owned(),
        Holds::Words(words) => words.iter().map(|word| code(word)).collect::<Vec<_>>().join(", "),
        Holds::Any => "any value".to_owned(),
        Holds::List(of) => format!("list: {}", kind_of(of)),
        Holds::Table(group) => format!("[table](#{})", anchor(group.heading)),
        Holds::Named(name, of) => format!("table; each name, such as {}: {}", code(name), kind_of(of)),
        Holds::Either(kinds) => kinds.iter().map(kind_of).collect::<Vec<_>>().join(" or "),
    }
}

fn needed(key: &Key) -> String {
    let need = match &key.need {
        Need::Always => "yes".to_owned(),
        Need::When(when) => said(when),
        Need::No => "no".to_owned(),
    };
    let mut told = match (&key.only, &key.need) {
        (Some(only), Need::No) => format!("no; only {}", said(only)),
        (Some(_) | None, Need::No | Need::Always | Need::When(_)) => need,
    };
    if !key.without.is_empty() {
        let others: Vec<String> = key.without.iter().map(|other| code(other)).collect();
        told.push_str(&format!("; not beside {}", others.join(", ")));
    }
    told
}

fn said(when: &When) -> String {
    match when {
        When::Is(key, words) => {
            let words: Vec<String> = words.iter().map(|word| code(word)).collect();
            format!("with {} {}", code(key), words.join(", "))
        }
        When::Beside(key) => format!("with {}", code(key)),
    }
}

fn default(default: &Default) -> String {
    match default {
        Default::None => String::new(),
        Default::Value(value) => code(value),
        Default::Said(said) => (*said).to_owned(),
    }
}

/// A heading's name in a link, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}
