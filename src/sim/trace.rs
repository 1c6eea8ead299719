//! What happened, as a hash that must be the same each time, and as the last lines for
//! a person when something is wrong.

use std::collections::VecDeque;
use std::fmt;

/// How many lines are kept for a person.
const LINES_KEPT: usize = 200;

/// What happened so far.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    /// Kept only when somebody will read them.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    pub fn new(for_a_person: bool) -> Self {
        Self { hash: 0, events: 0, lines: for_a_person.then(VecDeque::new) }
    }

    /// Notes one event.
    pub fn note(&mut self, at_ms: u64, what: fmt::Arguments<'_>) {
        let text = match what.as_str() {
            Some(text) => std::borrow::Cow::Borrowed(text),
            None => std::borrow::Cow::Owned(what.to_string()),
        };
        self.events += 1;
        self.hash = xxhash_rust::xxh3::xxh3_64_with_seed(text.as_bytes(), self.hash ^ at_ms.rotate_left(32));
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10.3} s  {text}", at_ms as f64 / 1_000.0));
        }
    }

    /// Takes the last line back if it is of this kind; it stays in the hash.
    pub fn forget_last(&mut self, kind: &str) {
        if let Some(lines) = &mut self.lines
            && lines.back().is_some_and(|line| line.contains(kind))
        {
            lines.pop_back();
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_what_and_when_and_on_the_order() {
        let hash = |events: &[(u64, &str)]| {
            let mut trace = Trace::new(false);
            events.iter().for_each(|(at_ms, what)| trace.note(*at_ms, format_args!("{what}")));
            trace.hash()
        };
        assert_eq!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "a"), (2, "b")]));
        assert_ne!(hash(&[(1, "a"), (2, "b")]), hash(&[(1, "b"), (2, "a")]));
        assert_ne!(hash(&[(1, "a")]), hash(&[(2, "a")]));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut trace = Trace::new(true);
        (0..500).for_each(|n| trace.note(n, format_args!("event {n}")));
        let lines = trace.lines();
        assert_eq!(lines.len(), LINES_KEPT);
        assert!(lines[0].ends_with("event 300") && lines[LINES_KEPT - 1].ends_with("event 499"), "{lines:?}");
    }
}
