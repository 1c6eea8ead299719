//! The records of a big file, a piece at a time: lines of JSON, or one JSON text. Pure.

use serde_json::value::RawValue;

use crate::model::path::Path;

use super::raw::at;

/// The longest piece that is asked for at once, in bytes; a line must fit into it.
pub(super) const PIECE_BYTES: u64 = 8 * 1024 * 1024;

/// Most records of one page.
pub(super) const PAGE_RECORDS: usize = 5_000;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON text on each line.
    Lines,
    /// One JSON text.
    Json,
    /// Values between commas, with their names in the first line.
    Csv,
}

/// The records of a piece.
#[derive(Debug)]
pub(super) struct Piece<'b> {
    pub records: Vec<&'b RawValue>,
    /// Lines that are no JSON, with their number within the piece from 1.
    pub broken: Vec<(usize, String)>,
    /// Where the next piece begins: in bytes, or in records of one JSON text.
    pub next: u64,
    /// Nothing comes after it.
    pub is_last: bool,
}

/// Where a piece stands in its file, as an answer tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first byte of the piece.
    pub from: u64,
    /// The length of the file, where known.
    pub total: Option<u64>,
}

/// Reads `Content-Range: bytes 0-99/1234`.
pub(super) fn content_range(text: &str) -> Option<Span> {
    let range = text.trim().strip_prefix("bytes")?.trim_start();
    let (range, total) = range.split_once('/')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    if range.trim() == "*" {
        return Some(Span { from: total?, total });
    }
    let from = range.split_once('-')?.0.trim().parse().ok()?;
    Some(Span { from, total })
}

/// The lines of a piece that begins at a byte of its file. The last one belongs to the next
/// piece unless the file ends with it.
///
/// # Errors
/// When not even one line is whole, with a sentence.
pub(super) fn lines(bytes: &[u8], from: u64, ends: bool) -> Result<Piece<'_>, String> {
    let (mut records, mut broken, mut at_byte, mut number) = (Vec::new(), Vec::new(), 0, 0);
    while at_byte < bytes.len() && records.len() + broken.len() < PAGE_RECORDS {
        let rest = &bytes[at_byte..];
        let (line, length) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&rest[..end], end + 1),
            None if ends => (rest, rest.len()),
            None => break,
        };
        at_byte += length;
        number += 1;
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) => broken.push((number, String::from_utf8_lossy(line).into_owned())),
        }
    }
    if at_byte == 0 && !bytes.is_empty() {
        return Err(format!("a line is longer than {} MiB", PIECE_BYTES / (1024 * 1024)));
    }
    let is_last = ends && at_byte == bytes.len();
    Ok(Piece { records, broken, next: from + at_byte as u64, is_last })
}

/// Some of the records of one JSON text, from a record on.
///
/// # Errors
/// When it holds no list there, with a sentence.
pub(super) fn some_of<'b>(text: &'b str, records: Option<&Path>, from: u64) -> Result<Piece<'b>, String> {
    let json: &RawValue = serde_json::from_str(text).map_err(|error| format!("the file is no JSON: {error}"))?;
    let named = || records.map_or_else(|| "the top".to_owned(), |path| format!("'{path}'"));
    let list = at(json, records)?.filter(|raw| raw.get().starts_with('['));
    let list = list.ok_or_else(|| format!("the file has no list of records at {}", named()))?;
    let all: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|error| error.to_string())?;
    let from = usize::try_from(from).unwrap_or(usize::MAX).min(all.len());
    let to = all.len().min(from + PAGE_RECORDS);
    Ok(Piece { records: all[from..to].to_vec(), broken: Vec::new(), next: to as u64, is_last: to == all.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_answers_tell_them() {
        for (text, want) in [
            ("bytes 0-99/1234", Some((0, Some(1234)))),
            ("bytes 100-199/*", Some((100, None))),
            ("bytes */1234", Some((1234, Some(1234)))),
            ("bytes */*", None),
            ("bytes 0-99", None),
            ("lines 0-99/1234", None),
            ("bytes a-b/c", None),
            ("", None),
        ] {
            assert_eq!(content_range(text).map(|span| (span.from, span.total)), want, "{text}");
        }
    }

    /// However a file is cut, its lines come once each and in order.
    #[test]
    fn lines_come_once_each_however_the_file_is_cut() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            let ends = ["\n", "\r\n", "\n\n"];
            let mut file = String::new();
            let mut want = Vec::new();
            for i in 0..random.usize(..40) {
                let line = format!("{{\"id\":{i},\"text\":\"{}\"}}", "ü\\n ".repeat(random.usize(..9)));
                file.push_str(&line);
                file.push_str(ends[random.usize(..3)]);
                want.push(line);
            }
            if random.bool() {
                while file.ends_with(['\n', '\r']) {
                    file.pop();
                }
            }
            let (mut got, mut from) = (Vec::new(), 0);
            loop {
                // Also within a character.
                let to = (from + random.usize(60..300)).min(file.len());
                let piece = match lines(&file.as_bytes()[from..to], from as u64, to == file.len()) {
                    Ok(piece) => piece,
                    // Cut too short for a line: a real piece is longer than any.
                    Err(_) => continue,
                };
                assert!(piece.broken.is_empty(), "seed {seed}");
                got.extend(piece.records.iter().map(|record| record.get().to_owned()));
                from = usize::try_from(piece.next).unwrap();
                if piece.is_last {
                    break;
                }
            }
            assert_eq!(got, want, "seed {seed}");
        }
    }

    #[test]
    fn pages_are_bounded_and_broken_lines_are_told() {
        let file = "{\"id\":1}\n".repeat(PAGE_RECORDS + 2);
        let file = file.as_bytes();
        let first = lines(file, 0, true).unwrap();
        assert_eq!((first.records.len(), first.is_last, first.next), (PAGE_RECORDS, false, 9 * PAGE_RECORDS as u64));
        let rest = lines(&file[9 * PAGE_RECORDS..], first.next, true).unwrap();
        assert_eq!((rest.records.len(), rest.is_last), (2, true));
        let piece = lines(b"{\"id\":1}\n<html>\n{\"id\":2}\n\"\xff\"", 0, true).unwrap();
        let broken: Vec<(usize, &str)> = piece.broken.iter().map(|(line, text)| (*line, text.as_str())).collect();
        assert_eq!((piece.records.len(), &broken[..]), (2, &[(2, "<html>"), (4, "\"\u{fffd}\"")][..]));
        assert!(lines(b"no end", 0, false).unwrap_err().contains("longer than 8 MiB"));
        assert!(lines(b"", 7, true).unwrap().is_last);
        let json = format!("{{\"all\":[{}]}}", vec!["1"; PAGE_RECORDS + 1].join(","));
        let all = Path::key("all");
        let first = some_of(&json, Some(&all), 0).unwrap();
        assert_eq!((first.records.len(), first.is_last), (PAGE_RECORDS, false));
        let rest = some_of(&json, Some(&all), first.next).unwrap();
        assert_eq!((rest.records.len(), rest.is_last), (1, true));
        assert!(some_of("[]", None, 9).unwrap().is_last);
        for broken in ["", "{}", "{\"all\":{}}", "[1"] {
            assert!(some_of(broken, Some(&all), 0).is_err(), "{broken}");
        }
    }
}
