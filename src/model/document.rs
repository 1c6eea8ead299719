//! A declared TOML text (configuration or connector file), read with the place of
//! everything in it, so that *all* its problems are told at once, each with its line.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::value::Value;

#[cfg(test)]
pub(crate) mod asked;

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the document.
    pub span: Range<usize>,
    /// What is wrong, with the key it is about.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Everything found wrong so far. Shared by all tables of one document.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// No problem yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a problem.
    pub fn add(&self, span: Range<usize>, message: impl Into<String>) {
        self.0.borrow_mut().push(Problem { span, message: message.into(), help: None });
    }

    /// Notes a problem and what to do about it.
    pub fn add_with_help(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.0.borrow_mut().push(Problem { span, message: message.into(), help: Some(help.into()) });
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// How many were noted so far, so that a reader of one part can tell whether that
    /// part added any.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// All problems in the order in which they stand in the document.
    #[must_use]
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.span.start);
        problems.dedup();
        problems
    }
}

/// A document's problems made ready to print, with the document's name and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentError {
    /// Each as `file:line:column: message (help)`.
    pub lines: Vec<String>,
}

impl DocumentError {
    /// Gives problems their file name and lines.
    #[must_use]
    pub fn new(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        let lines = problems
            .into_iter()
            .map(|problem| {
                let (line, column) = line_and_column(text, problem.span.start);
                let help = problem.help.map(|help| format!(" ({help})")).unwrap_or_default();
                format!("{file}:{line}:{column}: {}{help}", problem.message)
            })
            .collect();
        Self { lines }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for DocumentError {}

/// Line and column, both from 1, of a byte offset.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place in the document.
    pub span: Range<usize>,
}

/// Parses a document. Syntax errors become problems, and what could be read is still
/// returned.
#[must_use]
pub fn parse<'d>(text: &'d str, problems: &Problems) -> Spanned<DeTable<'d>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span().unwrap_or(0..0), error.message().to_owned());
    }
    table
}

/// One table being read: each key is taken by name and type, and [`Table::finish`]
/// tells which keys nobody asked for.
#[derive(Debug)]
pub struct Table<'d> {
    name: String,
    span: Range<usize>,
    entries: &'d DeTable<'d>,
    /// Other tables that stand for what this one leaves out, the nearest first. They are
    /// read on their own somewhere else, so their unknown keys are not noted here.
    behind: Vec<&'d DeTable<'d>>,
    /// What names in its texts stand for, such as `{path}`; tables within have the same.
    given: Rc<Vec<(&'static str, Value)>>,
    problems: &'d Problems,
    known: RefCell<BTreeSet<String>>,
}

/// What a key says about a part that may also be left out.
#[derive(Debug)]
pub enum Part<'d> {
    /// Nothing.
    Unsaid,
    /// `false`: it is not there.
    Off,
    /// A table.
    There(Table<'d>),
}

/// A key's value, not yet typed.
#[derive(Debug, Clone, Copy)]
pub struct Item<'d> {
    value: &'d Spanned<DeValue<'d>>,
    problems: &'d Problems,
}

impl<'d> Table<'d> {
    /// The top table of a parsed document.
    #[must_use]
    pub fn top(table: &'d Spanned<DeTable<'d>>, problems: &'d Problems) -> Self {
        #[cfg(test)]
        asked::top(table.get_ref());
        Self::new("the top".to_owned(), table.span(), table.get_ref(), problems)
    }

    fn new(name: String, span: Range<usize>, entries: &'d DeTable<'d>, problems: &'d Problems) -> Self {
        Self { name, span, entries, behind: Vec::new(), given: Rc::default(), problems, known: RefCell::default() }
    }

    /// The same table, with another that stands for what it leaves out.
    #[must_use]
    pub fn before(mut self, other: &Table<'d>) -> Self {
        self.behind.push(other.entries);
        self.behind.extend(&other.behind);
        self
    }

    /// The same table under another name and at another place, for messages.
    #[must_use]
    pub fn told_as(mut self, name: String, span: Range<usize>) -> Self {
        (self.name, self.span) = (name, span);
        self
    }

    /// The same table, in whose texts these names stand for something.
    #[must_use]
    pub fn giving(mut self, given: Vec<(&'static str, Value)>) -> Self {
        self.given = Rc::new(given);
        self
    }

    /// The same table with the names of another one.
    #[must_use]
    pub fn given_as(mut self, other: &Table<'d>) -> Self {
        self.given = Rc::clone(&other.given);
        self
    }

    /// What a name in its texts stands for.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&Value> {
        self.given.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn layers(&self) -> impl Iterator<Item = &'d DeTable<'d>> {
        std::iter::once(self.entries).chain(self.behind.iter().copied())
    }

    /// Place of the table's heading.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Name of the table, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where problems of this document go.
    #[must_use]
    pub fn problems(&self) -> &'d Problems {
        self.problems
    }

    /// A key's value of any kind.
    #[must_use]
    pub fn item(&self, key: &str) -> Option<Item<'d>> {
        self.know(key);
        self.layers().find_map(|layer| layer.get(key)).map(|value| Item { value, problems: self.problems })
    }

    /// A table at a key, with those behind it at the same key, or `false`.
    #[must_use]
    pub fn part(&self, key: &str, name: &str) -> Part<'d> {
        self.know(key);
        let mut part: Option<Table<'d>> = None;
        for value in self.layers().filter_map(|layer| layer.get(key)) {
            let item = Item { value, problems: self.problems };
            match (item.table(name), &mut part) {
                (Ok(table), Some(part)) => part.behind.push(table.entries),
                (Ok(table), None) => part = Some(table.given_as(self)),
                // What is said first counts.
                (Err(_), Some(_)) => {}
                (Err(_), None) if item.boolean().is_ok_and(|is| !is.value) => return Part::Off,
                (Err(_), None) => {
                    let message = format!("'{key}' must be a table, or false where there is none, not {}", item.kind());
                    self.problems.add(item.span(), message);
                    return Part::Off;
                }
            }
        }
        part.map_or(Part::Unsaid, Part::There)
    }

    /// Those of some keys that there are, in the nearest table that has any.
    #[must_use]
    pub fn nearest_of(&self, keys: &[&'static str]) -> Vec<&'static str> {
        keys.iter().for_each(|key| self.know(key));
        let found = |layer: &DeTable<'_>| keys.iter().copied().filter(|key| layer.get(*key).is_some()).collect();
        self.layers().map(found).find(|found: &Vec<_>| !found.is_empty()).unwrap_or_default()
    }

    /// The key is one that is asked for here.
    fn know(&self, key: &str) {
        #[cfg(test)]
        self.layers().for_each(|layer| asked::key(layer, key));
        self.known.borrow_mut().insert(key.to_owned());
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Located<String>> {
        self.typed(key, Item::text)
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, key: &str) -> Option<Located<i64>> {
        self.typed(key, Item::integer)
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self, key: &str) -> Option<Located<bool>> {
        self.typed(key, Item::boolean)
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(&self, key: &str) -> Option<Vec<Located<String>>> {
        self.typed(key, |item| {
            item.list().map(|items| items.into_iter().filter_map(|item| item.text_or_note()).collect())
        })
    }

    /// A table.
    #[must_use]
    pub fn table(&self, key: &str) -> Option<Table<'d>> {
        self.typed(key, |item| item.table(key)).map(|table| table.given_as(self))
    }

    /// A list of tables: `[[key]]`.
    #[must_use]
    pub fn tables(&self, key: &str) -> Vec<Table<'d>> {
        let list = self.typed(key, |item| item.list()).unwrap_or_default();
        list.into_iter().filter_map(|item| item.expect("a table", item.table(key))).collect()
    }

    /// A duration such as `500ms`, `5s`, `2m`, `1h`, `1d`, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self, key: &str) -> Option<Located<u64>> {
        let text = self.text(key)?;
        match parse_duration_ms(&text.value) {
            Some(value) => Some(Located { value, span: text.span }),
            None => {
                self.problems.add_with_help(
                    text.span,
                    format!("'{key}' is not a duration: '{}'", text.value),
                    "write a whole number and a unit: 500ms, 5s, 2m, 1h, 1d",
                );
                None
            }
        }
    }

    /// Like [`Table::text`], and a problem when the key is absent.
    #[must_use]
    pub fn required_text(&self, key: &str) -> Option<Located<String>> {
        if self.item(key).is_none() {
            self.missing(key);
        }
        self.text(key)
    }

    /// Like [`Table::table`], and a problem when the key is absent.
    #[must_use]
    pub fn required_table(&self, key: &str) -> Option<Table<'d>> {
        if self.item(key).is_none() {
            self.missing(key);
        }
        self.table(key)
    }

    fn missing(&self, key: &str) {
        self.know(key);
        self.problems.add(self.span(), format!("'{key}' is missing in {}", self.name));
    }

    /// All keys with their values, in the order of the document; all count as known.
    #[must_use]
    pub fn all(&self) -> Vec<(Located<String>, Item<'d>)> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                let located = Located { value: key.get_ref().to_string(), span: key.span() };
                (located, Item { value, problems: self.problems })
            })
            .collect();
        all.sort_by_key(|(key, _)| key.span.start);
        self.known.borrow_mut().extend(all.iter().map(|(key, _)| key.value.clone()));
        all
    }

    /// The table as TOML of its own, one key a line, sorted, without comments: what two
    /// tables that say the same have in common.
    #[must_use]
    pub fn canonical(&self) -> Vec<(String, String)> {
        let lines = self.entries.iter().map(|(key, value)| {
            let mut text = String::new();
            write_value(value.get_ref(), &mut text);
            (key.get_ref().to_string(), text)
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    }

    /// Notes each key nobody asked for, with the nearest known one.
    pub fn finish(self) {
        for (key, near) in self.strange() {
            let message = format!("unknown key '{}' in {}", key.get_ref(), self.name);
            match near {
                Some(near) => self.problems.add_with_help(key.span(), message, format!("did you mean '{near}'?")),
                None => {
                    let known = self.known.borrow();
                    let list: Vec<&str> = known.iter().map(String::as_str).collect();
                    self.problems.add_with_help(key.span(), message, format!("known keys: {}", list.join(", ")));
                }
            }
        }
    }

    /// Like [`Table::finish`] where the key that decides which others there are is missing
    /// or wrong: notes only the keys that look like a misspelled known one.
    pub fn finish_undecided(self) {
        for (key, near) in self.strange() {
            if let Some(near) = near {
                let message = format!("unknown key '{}' in {}", key.get_ref(), self.name);
                self.problems.add_with_help(key.span(), message, format!("did you mean '{near}'?"));
            }
        }
    }

    /// The keys nobody asked for, each with the nearest known one.
    fn strange(&self) -> Vec<(&'d Spanned<Cow<'d, str>>, Option<String>)> {
        let known = self.known.borrow();
        let strange = self.entries.keys().filter(|key| !known.contains(key.get_ref().as_ref()));
        let near = |key: &str| nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
        strange.map(|key| (key, near(key.get_ref()))).collect()
    }

    fn typed<T>(&self, key: &str, read: impl FnOnce(Item<'d>) -> Result<T, &'static str>) -> Option<T> {
        let item = self.item(key)?;
        match read(item) {
            Ok(value) => Some(value),
            Err(wanted) => {
                self.problems.add(item.span(), format!("'{key}' must be {wanted}, not {}", item.kind()));
                None
            }
        }
    }
}

impl<'d> Item<'d> {
    /// Its place.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// What kind of TOML value it is.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.value.get_ref().type_str()
    }

    /// As a text.
    ///
    /// # Errors
    /// With what was wanted.
    pub fn text(self) -> Result<Located<String>, &'static str> {
        match self.value.get_ref() {
            DeValue::String(text) => Ok(Located { value: text.to_string(), span: self.span() }),
            _ => Err("a text"),
        }
    }

    /// As a whole number.
    ///
    /// # Errors
    /// With what was wanted.
    pub fn integer(self) -> Result<Located<i64>, &'static str> {
        match self.value.get_ref() {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .map(|value| Located { value, span: self.span() })
                .map_err(|_| "a whole number of at most 64 bits"),
            _ => Err("a whole number"),
        }
    }

    /// As `true` or `false`.
    ///
    /// # Errors
    /// With what was wanted.
    pub fn boolean(self) -> Result<Located<bool>, &'static str> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(Located { value: *value, span: self.span() }),
            _ => Err("true or false"),
        }
    }

    /// As a list.
    ///
    /// # Errors
    /// With what was wanted.
    pub fn list(self) -> Result<Vec<Item<'d>>, &'static str> {
        match self.value.get_ref() {
            DeValue::Array(items) => Ok(items.iter().map(|value| Item { value, problems: self.problems }).collect()),
            _ => Err("a list"),
        }
    }

    /// As a table, named for messages.
    ///
    /// # Errors
    /// With what was wanted.
    pub fn table(self, name: &str) -> Result<Table<'d>, &'static str> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(format!("[{name}]"), self.span(), entries, self.problems)),
            _ => Err("a table"),
        }
    }

    /// As a JSON value (dates become texts), for constants and defaults.
    ///
    /// # Errors
    /// With what was wanted: a float that JSON cannot say (`nan`, `inf`).
    pub fn value(self) -> Result<Value, &'static str> {
        use super::value::{Number, Value};
        Ok(match self.value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(_) => Value::Number(Number::from(self.integer()?.value)),
            DeValue::Float(float) => Value::Number(Number::parse(float.as_str()).map_err(|_| "a number JSON can say")?),
            DeValue::Datetime(date) => Value::String(date.to_string()),
            DeValue::Array(_) => Value::Array(self.list()?.into_iter().map(Item::value).collect::<Result<_, _>>()?),
            DeValue::Table(_) => {
                let entries = self.table("value")?.all();
                let entries = entries.into_iter().map(|(key, item)| Ok((key.value, item.value()?)));
                Value::Object(entries.collect::<Result<_, &'static str>>()?)
            }
        })
    }

    fn text_or_note(self) -> Option<Located<String>> {
        self.expect("a text", self.text())
    }

    fn expect<T>(self, wanted: &str, result: Result<T, &'static str>) -> Option<T> {
        if result.is_err() {
            self.problems.add(self.span(), format!("must be {wanted}, not {}", self.kind()));
        }
        result.ok()
    }
}

/// A key as TOML writes it.
#[must_use]
pub fn write_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}

fn write_value(value: &DeValue<'_>, out: &mut String) {
    match value {
        DeValue::String(text) => out.push_str(&toml::Value::String(text.to_string()).to_string()),
        DeValue::Integer(integer) => {
            out.push_str(match integer.radix() {
                2 => "0b",
                8 => "0o",
                16 => "0x",
                _ => "",
            });
            out.push_str(integer.as_str());
        }
        DeValue::Float(float) => out.push_str(float.as_str()),
        DeValue::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        DeValue::Datetime(date) => out.push_str(&date.to_string()),
        DeValue::Array(items) => {
            write_list(out, ('[', ']'), items.iter(), |item, out| write_value(item.get_ref(), out))
        }
        DeValue::Table(entries) => {
            let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key.get_ref(), value.get_ref())).collect();
            entries.sort_by_key(|(key, _)| *key);
            write_list(out, ('{', '}'), entries.into_iter(), |(key, value), out| {
                out.push_str(&write_key(key));
                out.push_str(" = ");
                write_value(value, out);
            });
        }
    }
}

fn write_list<T>(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (n, item) in items.enumerate() {
        out.push_str(if n > 0 { ", " } else { "" });
        write(item, out);
    }
    out.push(close);
}

/// Parses `500ms`, `5s`, `2m`, `1h`, `1d` into milliseconds.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The known word nearest to a misspelled one, if any is near.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known.map(|k| (distance(word, k), k)).filter(|(d, k)| *d <= 1 + k.len().min(word.len()) / 4).min().map(|(_, k)| k)
}

/// Levenshtein distance, with a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once_with_their_lines() {
        let text = "state = 5\nscheduel = \"every 5m\"\n\n[app]\nlimit = \"5 fortnights\"\n";
        let problems = Problems::new();
        let table = parse(text, &problems);
        let top = Table::top(&table, &problems);
        assert_eq!(top.text("state"), None);
        assert_eq!(top.text("schedule"), None);
        let app = top.table("app").unwrap();
        assert_eq!(app.duration_ms("limit"), None);
        let _ = app.required_text("name");
        app.finish();
        top.finish();
        let error = DocumentError::new("a.toml", text, problems.into_sorted());
        assert_eq!(
            error.lines,
            [
                "a.toml:1:9: 'state' must be a text, not integer",
                "a.toml:2:1: unknown key 'scheduel' in the top (did you mean 'schedule'?)",
                "a.toml:4:1: 'name' is missing in [app]",
                "a.toml:5:9: 'limit' is not a duration: '5 fortnights' (write a whole number and a unit: 500ms, 5s, 2m, 1h, 1d)",
            ]
        );
    }

    #[test]
    fn what_hangs_on_a_missing_key_is_not_called_unknown() {
        let text = "kin = 'x'\nname = 'n'\n";
        let problems = Problems::new();
        let table = parse(text, &problems);
        let top = Table::top(&table, &problems);
        assert!(top.item("kind").is_none());
        top.finish_undecided();
        let error = DocumentError::new("a.toml", text, problems.into_sorted());
        assert_eq!(error.lines, ["a.toml:1:1: unknown key 'kin' in the top (did you mean 'kind'?)"]);
    }

    #[test]
    fn tables_that_say_the_same_are_written_the_same() {
        let written = |text: &str| {
            let problems = Problems::new();
            let document = parse(text, &problems);
            let lines = Table::top(&document, &problems).canonical();
            assert!(problems.is_empty());
            lines.into_iter().map(|(key, value)| format!("{} = {value}\n", write_key(&key))).collect::<String>()
        };
        let one = "# a comment\nb = 1\na = 'x\"y'\n[c]\n\"d e\" = [1.5, 0xff, true]\n[[c.list]]\nat = 2020-01-02\n";
        let canonical = written(one);
        assert_eq!(canonical, "a = 'x\"y'\nb = 1\nc = {\"d e\" = [1.5, 0xff, true], list = [{at = 2020-01-02}]}\n");
        assert_eq!(written(&canonical), canonical);
        assert_eq!(
            written("a = \"x\\\"y\"\nb=1\nc.list=[{at=2020-01-02}]\nc.\"d e\" = [ 1.5 , 0xff, true ]"),
            canonical
        );
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("5s", Some(5_000)),
            ("1 h", Some(3_600_000)),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(parse_duration_ms(text), ms, "{text}");
        }
    }
}
