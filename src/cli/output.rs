//! What a person or a script sees: sentences, tables, JSON. Foreign text is clipped and
//! cannot move the cursor, change colours or turn the reading direction of a terminal.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, LineStyle, Row, Table, TableStyle};
use serde::Serialize;

use super::exit::Failure;
use crate::telemetry::colours_wanted;

/// How wide a table is drawn where it is not drawn to a terminal.
const PLAIN_WIDTH: u16 = 160;

/// A line under the header and nothing else: dense, and easy to cut apart.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// JSON is wanted.
    pub json: bool,
    colours: bool,
    is_terminal: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { json, colours: colours_wanted(is_terminal), is_terminal }
    }

    /// Prints a line for people; nothing where JSON is wanted.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            print_line(line.as_ref());
        }
    }

    /// Prints a value as one line of JSON where JSON is wanted.
    pub fn value(&self, value: &impl Serialize) {
        if self.json {
            match serde_json::to_string(value) {
                Ok(text) => print_line(&text),
                Err(error) => tracing::error!("failed to write JSON: {error}"),
            }
        }
    }

    /// Prints text as it is, whoever reads it.
    pub fn raw(&self, text: &str) {
        print_line(text.trim_end_matches('\n'));
    }

    /// Tells why a command did not do its work.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let problems: Vec<&str> = failure.message.lines().collect();
            self.value(&serde_json::json!({ "error": failure.message, "problems": problems }));
        }
        let prefix =
            if colours_wanted(std::io::stderr().is_terminal()) { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        for line in failure.message.lines() {
            note(&format!("{prefix} {line}"));
        }
    }

    /// An empty table with a header.
    pub fn table<const N: usize>(&self, header: [&str; N]) -> Table {
        let mut table = Table::new();
        let cell =
            |text: &str| if self.colours { Cell::new(text).add_attribute(Attribute::Bold) } else { Cell::new(text) };
        table.load_style(STYLE).set_header(header.map(cell));
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if !self.is_terminal {
            table.set_width(PLAIN_WIDTH);
        }
        table
    }

    /// Prints a table, if it has rows.
    pub fn print_table(&self, table: &Table) {
        if table.row_count() > 0 {
            self.say(table.trim_fmt());
        }
    }

    /// Prints a table, if it has rows, after a blank line.
    pub fn print_apart(&self, table: &Table) {
        if table.row_count() > 0 {
            self.say("");
            self.print_table(table);
        }
    }

    /// Emphasised on a terminal.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Good news.
    pub fn green(&self, text: &str) -> String {
        self.styled("32", text)
    }

    /// Bad news.
    pub fn red(&self, text: &str) -> String {
        self.styled("31", text)
    }

    /// A cell that is good or bad news.
    pub fn verdict(&self, good: bool, text: &str) -> Cell {
        let colour = if good { Color::Green } else { Color::Red };
        if self.colours { Cell::new(text).fg(colour) } else { Cell::new(text) }
    }

    fn styled(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A reader that went away (`| head`) is no failure of ours.
fn print_line(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// A line on stderr, beside what the command prints.
pub(super) fn note(line: &str) {
    // Nobody is left to tell when stderr is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// A row of cells.
pub(super) fn row<const N: usize>(cells: [String; N]) -> Row {
    Row::from(cells)
}

/// Foreign text for a terminal: at most so many characters, without anything that a
/// terminal would obey.
pub(super) fn clip(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count >= max_chars {
            out.push('…');
            break;
        }
        if is_obeyed(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Control characters, and those that turn or hide text around them.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A length of time as a person says it.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        3_600_000..86_400_000 => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

/// `1 record`, `2 records`.
pub(super) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_clipped_and_cannot_speak_to_the_terminal() {
        for (text, want) in [
            ("plain", "plain"),
            ("two\nlines\tand\u{1b}[31m red", "two\\nlines\\tand\\u{1b}[31m red"),
            ("שלום and \u{202e}reversed", "שלום and \\u{202e}reversed"),
            ("\u{9b}1m", "\\u{9b}1m"),
        ] {
            assert_eq!(clip(text, 100), want);
        }
        assert_eq!(clip("ééééé", 3), "ééé…");
    }

    #[test]
    fn lengths_of_time_read_well() {
        for (ms, want) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ms), want);
        }
    }
}
