//! Values between commas (RFC 4180) as records: each row an object, its keys the paths that the
//! first line names. All values are texts; a value that is not there at all is null.

use serde_json::value::RawValue;

use crate::model::path::Path;
use crate::model::value::Value;

use super::download::{PAGE_RECORDS, Piece};

/// Most columns of a file.
const MAX_COLUMNS: usize = 10_000;

/// Some rows of a file.
pub(super) struct Rows {
    records: Vec<Box<RawValue>>,
    next: u64,
    is_last: bool,
}

impl Rows {
    /// As any other piece of a file.
    pub fn piece(&self) -> Piece<'_> {
        let records = self.records.iter().map(|record| &**record).collect();
        Piece { records, broken: Vec::new(), next: self.next, is_last: self.is_last }
    }
}

/// A page of rows from one on, counted from 0 without the first line, which must have the columns
/// that are needed: else any text without line breaks would be an empty list.
///
/// # Errors
/// When the text is not what its first line says, with a sentence. A row that is too short would
/// put its values under the wrong names.
pub(super) fn rows(text: &str, needed: &[&Path], from: u64) -> Result<Rows, String> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 };
    let names = reader.row()?.ok_or("the file has not even a first line")?;
    if names.len() > MAX_COLUMNS {
        return Err(format!("the file has {} columns; at most {MAX_COLUMNS} are taken", names.len()));
    }
    let mut paths = Vec::with_capacity(names.len());
    for name in names {
        let name = name.unwrap_or_default();
        let path: Path = name.trim().parse().map_err(|error| format!("the column '{name}' is no path: {error}"))?;
        if paths.contains(&path) {
            return Err(format!("two columns are called '{name}'"));
        }
        paths.push(path);
    }
    if let Some(missing) = needed.iter().find(|path| !paths.contains(path)) {
        return Err(format!("the first line has no column '{missing}'"));
    }
    let (mut number, mut records) = (0, Vec::new());
    loop {
        let line = reader.line;
        let Some(row) = reader.row()? else {
            return Ok(Rows { records, next: number, is_last: true });
        };
        if row.len() != paths.len() {
            return Err(format!("line {line} has {} values, and the first line has {}", row.len(), paths.len()));
        }
        if records.len() == PAGE_RECORDS {
            return Ok(Rows { records, next: number, is_last: false });
        }
        number += 1;
        if number > from {
            records.push(record(&paths, row)?);
        }
    }
}

fn record(paths: &[Path], row: Vec<Option<String>>) -> Result<Box<RawValue>, String> {
    let mut record = Value::Object(Vec::new());
    for (path, value) in paths.iter().zip(row) {
        record.set(path, value.map_or(Value::Null, Value::string));
    }
    RawValue::from_string(record.to_json()).map_err(|error| error.to_string())
}

struct Reader<'t> {
    rest: &'t str,
    /// The line where it stands, from 1.
    line: usize,
}

impl Reader<'_> {
    /// The next row that is not blank; `None` for a value that is not there, while one of two
    /// quotes is the empty text.
    fn row(&mut self) -> Result<Option<Vec<Option<String>>>, String> {
        while let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut row = Vec::new();
        loop {
            row.push(self.value()?);
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            let end = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
            if end.is_some() {
                self.line += 1;
            }
            self.rest = end.unwrap_or_default();
            return Ok(Some(row));
        }
    }

    fn value(&mut self) -> Result<Option<String>, String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            let plain = if rest.starts_with(',') { value } else { value.strip_suffix('\r').unwrap_or(value) };
            self.rest = &self.rest[plain.len()..];
            if plain.contains('"') {
                return Err(format!("line {}: a quote within a value that is not quoted", self.line));
            }
            return Ok((!plain.is_empty()).then(|| plain.to_owned()));
        };
        let (mut value, mut rest) = (String::new(), quoted);
        loop {
            let (before, after) =
                rest.split_once('"').ok_or_else(|| format!("line {}: a quote that is not closed", self.line))?;
            self.line += before.matches('\n').count();
            value.push_str(before);
            match after.strip_prefix('"') {
                Some(after) => {
                    value.push('"');
                    rest = after;
                }
                None if after.is_empty() || after.starts_with([',', '\r', '\n']) => {
                    self.rest = after.strip_prefix('\r').filter(|rest| rest.is_empty()).unwrap_or(after);
                    return Ok(Some(value));
                }
                None => return Err(format!("line {}: something behind a quote", self.line)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<String>, String> {
        let id = Path::key("Id");
        let needed: &[&Path] = if text.starts_with("a,b") { &[] } else { &[&id] };
        let rows = rows(text, needed, 0)?;
        Ok(rows.piece().records.iter().map(|record| record.get().to_owned()).collect())
    }

    #[test]
    fn rows_are_records() {
        for (text, want) in [
            ("Id,Name\n", vec![]),
            ("Id,Name\n1,Ada\r\n2,\n", vec![r#"{"Id":"1","Name":"Ada"}"#, r#"{"Id":"2","Name":null}"#]),
            ("\u{feff}\"Id\",\"Name\"\n\"1\",\"\"", vec![r#"{"Id":"1","Name":""}"#]),
            ("Id,Owner.Name\n1,\"a, \"\"b\"\"\nc\"\n\n", vec![r#"{"Id":"1","Owner":{"Name":"a, \"b\"\nc"}}"#]),
            ("Id\n007\n1e5", vec![r#"{"Id":"007"}"#, r#"{"Id":"1e5"}"#]),
            ("Id,N\r\n1,\r\n", vec![r#"{"Id":"1","N":null}"#]),
        ] {
            assert_eq!(all(text).unwrap(), want, "{text:?}");
        }
        for (text, want) in [
            ("Id,Name\n1\n", "line 2 has 1 values, and the first line has 2"),
            ("Id,Name\n\"a\nb\",2\n1,2,3\n", "line 4 has 3 values"),
            ("", "not even a first line"),
            ("<html>", "no column 'Id'"),
            ("Id,Id\n1,2\n", "two columns are called 'Id'"),
            ("Id,\n1,2\n", "is no path"),
            ("Id\n\"1\n", "a quote that is not closed"),
            ("Id\n\"1\"x\n", "something behind a quote"),
            ("Id\n1\"x\n", "a quote within a value"),
        ] {
            let error = all(text).unwrap_err();
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_was_written_is_read_and_pages_are_bounded() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let letters = ['a', '"', ',', '\n', '\r', 'ü', ' '];
        for _ in 0..200 {
            let mut text = "a,b".to_owned();
            let mut want = Vec::new();
            for _ in 0..random.usize(..5) {
                let mut value = || (0..random.usize(..6)).map(|_| letters[random.usize(..7)]).collect::<String>();
                let (a, b) = (value(), value());
                let quoted = |value: &str| format!("\"{}\"", value.replace('"', "\"\""));
                text.push_str(&format!("\r\n{},{}", quoted(&a), quoted(&b)));
                let mut record = Value::Object(Vec::new());
                record.set(&Path::key("a"), Value::string(a));
                record.set(&Path::key("b"), Value::string(b));
                want.push(record.to_json());
            }
            assert_eq!(all(&text).unwrap(), want, "seed {seed}: {text:?}");
        }
        let text = format!("Id\n{}", "1\n".repeat(PAGE_RECORDS + 1));
        let first = rows(&text, &[], 0).unwrap();
        assert_eq!((first.records.len(), first.is_last, first.next), (PAGE_RECORDS, false, PAGE_RECORDS as u64));
        let rest = rows(&text, &[], first.next).unwrap();
        assert_eq!((rest.records.len(), rest.is_last), (1, true));
    }
}
