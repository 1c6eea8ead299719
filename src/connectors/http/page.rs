//! Pages: what continues a list, when it ends, and whether it shifted or runs in a
//! circle. Pure; everything a read must remember between pages is in [`Run`], which
//! travels in the page token.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::model::cursor::PageToken;
use crate::model::hash::RawHash;
use crate::model::write::{ConnectorError, NextStep};

use super::cursor::Track;
use super::export::Export;
use super::spec::{End, PageKind, PageSpec};

/// Most pages of one read, where the file does not say.
pub(super) const DEFAULT_MAX_PAGES: u64 = 100_000;

/// Most empty pages in a row.
const MAX_EMPTY_PAGES: u64 = 1_000;

/// How many ids of the page before are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// How often a whole page may come again before the pages are said to repeat.
const MAX_REPEATED_PAGES: u64 = 3;

/// What one read remembers between its pages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Run {
    /// Where the next page is; `None` for the first.
    pub at: Option<At>,
    /// The changes have been read, and now the deletions are.
    #[serde(default)]
    pub deletions: bool,
    /// Deletions have a list of their own. Told anew with each page.
    #[serde(skip)]
    pub has_deletions: bool,
    /// The position from which the list was begun anew, as a cursor.
    #[serde(default)]
    pub from: Option<String>,
    /// Who it is among lists of which the side allows one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<u64>,
    /// The job that makes the list, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
    /// How often the list was begun anew because what continues it was no longer known.
    #[serde(default)]
    pub anew: u32,
    /// How many records came since the list was begun.
    #[serde(default)]
    results: u64,
    pages: u64,
    empty: u64,
    repeated: u64,
    /// The last record of the page before, which an overlapping page must begin with.
    last: Option<u64>,
    recent: Vec<u64>,
    total: Option<u64>,
    previous_token: Option<u64>,
    /// Brent's tortoise: it waits while the pages go on, and is moved up whenever their
    /// number doubles, so a circle of any length meets it.
    tortoise: Option<u64>,
    /// What was seen of positions.
    pub track: Track,
}

/// What continues a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum At {
    /// A page number or an offset.
    Number(u64),
    /// A token for a parameter.
    Token(String),
    /// A URL.
    Url(String),
}

/// What an answer said about paging.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// A hash of each record's id, or of its text where it has none, in order.
    pub marks: Vec<u64>,
    /// The token or URL that continues the list.
    pub next: Option<String>,
    /// Whether the side says that there is more.
    pub more: Option<bool>,
    /// How many records it says there are.
    pub total: Option<u64>,
}

/// What follows from a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// There is another page.
    pub goes_on: bool,
    /// The pages shifted.
    pub drifted: bool,
    /// The first record is the overlap with the page before.
    pub overlaps: bool,
}

/// The mark of a record.
pub(super) fn mark(text: &str) -> u64 {
    // The lower half of the hash serves as well.
    RawHash::of(text.as_bytes()).0 as u64
}

impl Run {
    /// Continues the read of a token.
    ///
    /// # Errors
    /// When the token was not made here.
    pub fn from_token(token: &PageToken) -> Result<Self, ConnectorError> {
        serde_json::from_str(token.as_str())
            .map_err(|_| ConnectorError::new(NextStep::Fail, "the page token was not made by this connector"))
    }

    /// The token for the next page.
    pub fn to_token(&self) -> PageToken {
        PageToken::new(serde_json::to_string(self).expect("numbers and texts always serialise"))
    }

    /// Whether no page has been read yet.
    pub fn is_first(&self) -> bool {
        self.pages == 0
    }

    /// Takes note of a page and moves to the next.
    ///
    /// # Errors
    /// When the pages repeat or never end, with a sentence.
    pub fn advance(&mut self, spec: &PageSpec, seen: &Seen) -> Result<Turn, String> {
        self.pages += 1;
        self.results = self.results.saturating_add(seen.marks.len() as u64);
        let counted = !spec.kind.is_stable();
        let overlaps = self.last.is_some() && self.last == seen.marks.first().copied();
        let fresh = &seen.marks[usize::from(overlaps)..];
        let mut drifted = self.last.is_some() && !overlaps;
        if counted {
            drifted |= self.total_changed(seen.total) | self.repeats(fresh)?;
        }
        self.count_empty(fresh)?;
        let next = self.next(spec, seen, fresh)?;
        if next.is_some() && self.pages >= spec.max_pages {
            let max = spec.max_pages;
            return Err(format!("the pages repeat: no end after {max} pages (max_pages of the connector file)"));
        }
        if counted {
            self.recent = seen.marks.iter().rev().take(MAX_REMEMBERED).copied().collect();
        }
        self.last = match (&spec.kind, fresh.last()) {
            (PageKind::Offset { .. }, Some(last)) if self.will_overlap(seen, next.as_ref()) => Some(*last),
            _ => None,
        };
        let goes_on = next.is_some();
        self.at = next;
        Ok(Turn { goes_on, drifted, overlaps })
    }

    /// Takes note of a page that no answer tells the end of.
    ///
    /// # Errors
    /// When there are too many, with a sentence.
    pub fn step(&mut self, spec: &PageSpec) -> Result<(), String> {
        self.pages += 1;
        if self.pages > spec.max_pages {
            return Err(format!("no end after {} pages (max_pages of the connector file)", spec.max_pages));
        }
        Ok(())
    }

    /// Begins the list anew at a position, because the side gives only so many records in one.
    pub fn begin_anew(&mut self, from: Option<String>) {
        let Self { at, from: position, results, last, recent, total, previous_token, tortoise, .. } = self;
        (*at, *position, *results, *last) = (None, from, 0, None);
        // What comes next may be the same as in the list before: the boundary, page numbers.
        recent.clear();
        (*total, *previous_token, *tortoise) = (None, None, None);
    }

    /// Goes on with the list of deletions.
    pub fn begin_deletions(&mut self) {
        self.begin_anew(None);
        self.deletions = true;
    }

    /// Whether the next page would reach beyond what the side gives in one list.
    pub fn is_at_cap(&self, spec: &PageSpec) -> bool {
        let size = spec.size.as_ref().map_or(1, |(_, size)| *size);
        spec.max_results.is_some_and(|max| self.results.saturating_add(size) > max)
    }

    fn total_changed(&mut self, total: Option<u64>) -> bool {
        let before = std::mem::replace(&mut self.total, total);
        matches!((before, total), (Some(before), Some(now)) if before != now)
    }

    /// Whether records of the page before, or of this one, come again.
    fn repeats(&mut self, fresh: &[u64]) -> Result<bool, String> {
        let mut known: HashSet<u64> = self.recent.iter().copied().collect();
        let again = fresh.iter().filter(|mark| self.recent.contains(mark)).count();
        self.repeated = if again > 1 && again == fresh.len() { self.repeated + 1 } else { 0 };
        if self.repeated >= MAX_REPEATED_PAGES {
            return Err("the pages repeat: the same records come page after page".to_owned());
        }
        Ok(!fresh.iter().all(|mark| known.insert(*mark)))
    }

    fn count_empty(&mut self, fresh: &[u64]) -> Result<(), String> {
        self.empty = if fresh.is_empty() { self.empty + 1 } else { 0 };
        if self.empty > MAX_EMPTY_PAGES {
            return Err(format!("the pages repeat: more than {MAX_EMPTY_PAGES} empty pages in a row"));
        }
        Ok(())
    }

    fn next(&mut self, spec: &PageSpec, seen: &Seen, fresh: &[u64]) -> Result<Option<At>, String> {
        let size = spec.size.as_ref().map(|(_, size)| *size);
        let ended = match spec.end {
            Some(End::Empty) => fresh.is_empty(),
            Some(End::Short) => size.is_some_and(|size| (seen.marks.len() as u64) < size),
            None => false,
        };
        if ended || seen.more == Some(false) {
            return Ok(None);
        }
        match &spec.kind {
            PageKind::One => Ok(None),
            PageKind::Page { first, .. } => {
                let number = self.number().unwrap_or(*first);
                let reached = size.map(|size| (number - first + 1).saturating_mul(size));
                counted_next(spec, seen, reached, number + 1)
            }
            PageKind::Offset { .. } => {
                let offset = self.number().unwrap_or(0);
                let reached = offset + seen.marks.len() as u64;
                // Each page begins with the last record of the one before, if that had
                // any: if it does not, the pages have shifted.
                let next = match (seen.marks.len(), fresh.len()) {
                    (0, _) => offset + size.unwrap_or(1),
                    (_, 0) => reached,
                    (_, _) => reached - 1,
                };
                // A page of one record overlaps with itself only.
                let next = if next == offset { reached } else { next };
                counted_next(spec, seen, Some(reached), next)
            }
            PageKind::Cursor { .. } | PageKind::Keyset { .. } => self.linked_next(seen, At::Token),
            PageKind::LinkHeader { .. } | PageKind::NextUrl { .. } => self.linked_next(seen, At::Url),
        }
    }

    /// Whether the page at this offset begins with the last record of the page just seen.
    /// The one after a page of a single record does not.
    fn will_overlap(&self, seen: &Seen, next: Option<&At>) -> bool {
        let reached = self.number().unwrap_or(0) + seen.marks.len() as u64;
        matches!(next, Some(At::Number(next)) if *next < reached)
    }

    fn number(&self) -> Option<u64> {
        match self.at {
            Some(At::Number(number)) => Some(number),
            Some(At::Token(_) | At::Url(_)) | None => None,
        }
    }

    fn linked_next(&mut self, seen: &Seen, make: impl Fn(String) -> At) -> Result<Option<At>, String> {
        let Some(token) = seen.next.as_ref().filter(|token| !token.is_empty()) else {
            return match seen.more {
                Some(true) => Err("the answer says that there is more, but not where".to_owned()),
                Some(false) | None => Ok(None),
            };
        };
        let hash = mark(token);
        if self.previous_token == Some(hash) || self.tortoise == Some(hash) {
            return Err("the pages repeat: the same continuation came twice".to_owned());
        }
        self.previous_token = Some(hash);
        if self.pages.is_power_of_two() {
            self.tortoise = Some(hash);
        }
        Ok(Some(make(token.clone())))
    }
}

/// The next page by number, unless the side says that this was the last.
fn counted_next(spec: &PageSpec, seen: &Seen, reached: Option<u64>, next: u64) -> Result<Option<At>, String> {
    match (seen.total, reached) {
        (Some(total), Some(reached)) if reached >= total => return Ok(None),
        (Some(_), Some(_)) => return Ok(Some(At::Number(next))),
        (Some(_) | None, Some(_) | None) => {}
    }
    if seen.more.is_none() && spec.end.is_none() {
        return Err("nothing in the answer tells whether there are more pages".to_owned());
    }
    Ok(Some(At::Number(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: PageKind) -> PageSpec {
        PageSpec {
            kind,
            size: Some((Some("limit".into()), 3)),
            total: None,
            more: None,
            end: None,
            max_pages: 50,
            max_results: None,
            alone: false,
        }
    }

    fn seen(marks: &[u64]) -> Seen {
        Seen { marks: marks.to_vec(), ..Seen::default() }
    }

    fn linked(token: &str) -> Seen {
        Seen { marks: vec![1], next: Some(token.to_owned()), ..Seen::default() }
    }

    fn cursor() -> PageSpec {
        spec(PageKind::Cursor { param: Some("c".into()), next: crate::model::path::Path::key("next") })
    }

    /// Steps until the end or an error; the number of pages it took.
    fn steps(spec: &PageSpec, mut answer: impl FnMut(u64) -> Seen) -> Result<u64, String> {
        let mut run = Run::default();
        for page in 0..10_000 {
            // Through the token, as a real read goes.
            run = Run::from_token(&run.to_token()).unwrap();
            if !run.advance(spec, &answer(page))?.goes_on {
                return Ok(page + 1);
            }
        }
        Err("never ends".to_owned())
    }

    #[test]
    fn a_circle_of_any_length_is_noticed() {
        for length in [1, 2, 3, 5, 8, 13] {
            let many = PageSpec { max_pages: 1_000_000, ..cursor() };
            let error = steps(&many, |page| linked(&(page % length).to_string())).unwrap_err();
            assert!(error.contains("the same continuation came twice"), "{length}: {error}");
        }
        let error = steps(&cursor(), |page| linked(&page.to_string())).unwrap_err();
        assert!(error.contains("no end after 50 pages"), "{error}");
        let long = |page: u64| if page < 49 { linked(&page.to_string()) } else { seen(&[1]) };
        assert_eq!(steps(&cursor(), long), Ok(50), "exactly as many pages as allowed");
    }

    #[test]
    fn empty_pages_are_no_end_unless_declared_and_not_for_ever() {
        let empties = |many: u64| {
            move |page: u64| {
                if page < many { Seen { marks: vec![], ..linked(&page.to_string()) } } else { seen(&[1]) }
            }
        };
        let many = PageSpec { max_pages: 1_000_000, ..cursor() };
        assert_eq!(steps(&many, empties(1_000)), Ok(1_001));
        assert!(steps(&many, empties(1_001)).unwrap_err().contains("empty pages"));
        assert_eq!(steps(&PageSpec { end: Some(End::Empty), ..many }, empties(9)), Ok(1));
    }

    #[test]
    fn counted_pages_end_where_declared() {
        let page = || spec(PageKind::Page { param: Some("p".into()), first: 1 });
        let full = |last: u64| {
            move |page: u64| if page < last { seen(&[page * 3, page * 3 + 1, page * 3 + 2]) } else { seen(&[]) }
        };
        assert_eq!(steps(&PageSpec { end: Some(End::Empty), ..page() }, full(4)), Ok(5));
        let short = |page: u64| if page < 4 { seen(&[page * 3, page * 3 + 1, page * 3 + 2]) } else { seen(&[99]) };
        assert_eq!(steps(&PageSpec { end: Some(End::Short), ..page() }, short), Ok(5));
        let total = |page: u64| Seen { total: Some(10), ..full(99)(page) };
        assert_eq!(steps(&page(), total), Ok(4));
        let more = |page: u64| Seen { more: Some(page < 2), ..full(99)(page) };
        assert_eq!(steps(&page(), more), Ok(3));
        assert!(steps(&page(), full(4)).unwrap_err().contains("nothing in the answer"));
        let stuck = PageSpec { end: Some(End::Empty), max_pages: 1_000_000, ..page() };
        assert!(steps(&stuck, |_| seen(&[1, 2, 3])).unwrap_err().contains("same records"));
    }

    #[test]
    fn offset_pages_overlap_and_a_shift_is_noticed() {
        // A list of ids that may change before a page; page by page of 3.
        let read_to = |end: End, list_at: &dyn Fn(u64) -> Vec<u64>| {
            let spec = PageSpec { end: Some(end), ..spec(PageKind::Offset { param: Some("o".into()) }) };
            let (mut run, mut ids, mut drifted) = (Run::default(), Vec::new(), false);
            for page in 0..20 {
                let offset = usize::try_from(run.number().unwrap_or(0)).unwrap();
                let list = list_at(page);
                let answer: Vec<u64> = list.iter().skip(offset).take(3).copied().collect();
                let turn = run.advance(&spec, &seen(&answer)).unwrap();
                drifted |= turn.drifted;
                ids.extend(&answer[usize::from(turn.overlaps)..]);
                if !turn.goes_on {
                    return (ids, drifted);
                }
            }
            panic!("never ends");
        };
        let read = |list_at: &dyn Fn(u64) -> Vec<u64>| read_to(End::Short, list_at);
        for length in 0..12 {
            let list: Vec<u64> = (100..100 + length).collect();
            for end in [End::Short, End::Empty] {
                assert_eq!(read_to(end, &|_| list.clone()), (list.clone(), false), "{length} {end:?}");
            }
        }
        let deleted = |page| if page < 2 { (100..110).collect() } else { (101..110).collect() };
        assert!(read(&deleted).1, "a deleted record shifts the rest forward");
        let inserted = |page| if page < 2 { (100..110).collect() } else { (99..110).collect() };
        assert!(read(&inserted).1, "an inserted record shifts the rest back");
        let shrunk = |page| if page < 1 { (100..110).collect() } else { (100..102).collect() };
        assert!(read(&shrunk).1, "the overlap is gone");
    }

    #[test]
    fn repeated_ids_and_a_changed_total_are_drift() {
        let spec = PageSpec { end: Some(End::Empty), ..spec(PageKind::Page { param: Some("p".into()), first: 0 }) };
        let drift = |first: Seen, second: Seen| {
            let mut run = Run::default();
            assert!(!run.advance(&spec, &first).unwrap().drifted);
            run.advance(&spec, &second).unwrap().drifted
        };
        let total = |marks: &[u64], total| Seen { total: Some(total), ..seen(marks) };
        assert!(!drift(seen(&[1, 2, 3]), seen(&[4, 5, 6])));
        assert!(drift(seen(&[1, 2, 3]), seen(&[3, 4, 5])));
        assert!(drift(seen(&[1, 2, 3]), seen(&[4, 4, 5])));
        assert!(!drift(total(&[1, 2, 3], 9), total(&[4, 5, 6], 9)));
        assert!(drift(total(&[1, 2, 3], 9), total(&[4, 5, 6], 8)));
    }
}
