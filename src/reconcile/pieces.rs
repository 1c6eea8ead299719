//! A text and the pieces it is made of: `Ada Lovelace` and a first and a last name, `a;b` and
//! a list of two.

use super::shown_value;
use crate::model::value::Value;

/// How a text is cut into pieces, and made of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    /// What stands between two pieces; never empty.
    pub(super) separator: String,
    /// Which of a fixed number of pieces takes what is left of a text that has more.
    pub(super) rest: Rest,
}

/// Which of a fixed number of pieces takes what is left of a text that has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Rest {
    /// The first: `Ada Maria`, `Lovelace`.
    First,
    /// The last: `Ada`, `Maria Lovelace`.
    #[default]
    Last,
}

impl Rest {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Rest::First => "first",
            Rest::Last => "last",
        }
    }
}

impl Pieces {
    /// A list of texts as one text.
    ///
    /// # Errors
    /// When an entry is no text, or could not be told from its neighbours any more.
    pub(super) fn join_list(&self, value: &Value) -> Result<Value, String> {
        let Value::Array(items) = value else { return Err(format!("it is a {}, not a list", value.kind())) };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Value::String(text) if text.is_empty() => return Err("an entry is empty".to_owned()),
                Value::String(text) if text.contains(&self.separator) => {
                    return Err(format!(
                        "the entry {} holds '{}', which separates them",
                        shown_value(item),
                        self.separator
                    ));
                }
                Value::String(text) => texts.push(text.as_str()),
                other => return Err(format!("an entry is a {}, not a text", other.kind())),
            }
        }
        let joined = texts.join(&self.separator);
        // Two halves of a separator that is longer than a character could have met.
        if self.cut(&joined).eq(texts) {
            Ok(Value::String(joined))
        } else {
            Err(format!("with '{}' between its entries, others would be read", self.separator))
        }
    }

    /// A text as a list of its pieces; none is empty.
    ///
    /// # Errors
    /// When it is no text.
    pub(super) fn split_list(&self, value: &Value) -> Result<Value, String> {
        match value {
            Value::String(text) => Ok(Value::Array(self.cut(text).map(Value::string).collect())),
            other => Err(format!("it is a {}, not a text", other.kind())),
        }
    }

    fn cut<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        text.split(self.separator.as_str()).filter(|piece| !piece.is_empty())
    }

    /// The text of some pieces, without those that are blank.
    pub(super) fn join(&self, pieces: &[Option<&str>]) -> String {
        filled(pieces).collect::<Vec<_>>().join(&self.separator)
    }

    /// As many pieces as there are in `current`, of which the text is made. What stands there
    /// says which piece the change is of: of `Ada Maria`, `Lovelace` and the text
    /// `Ada Maria Byron` only the last is another.
    pub(super) fn put(&self, text: &str, current: &[Option<&str>]) -> Vec<Option<String>> {
        if self.join(current) == text {
            return current.iter().map(|piece| piece.map(str::to_owned)).collect();
        }
        let order: Vec<usize> = match self.rest {
            Rest::First => (0..current.len()).collect(),
            Rest::Last => (0..current.len()).rev().collect(),
        };
        let kept = order.into_iter().find_map(|changed| self.keep_others(text, current, changed));
        kept.unwrap_or_else(|| self.cut_into(text, current.len()))
    }

    /// All pieces but one as they are, where the text still begins and ends with them.
    fn keep_others(&self, text: &str, current: &[Option<&str>], changed: usize) -> Option<Vec<Option<String>>> {
        let (before, after) = (self.join(&current[..changed]), self.join(&current[changed + 1..]));
        if before.is_empty() && after.is_empty() {
            return None;
        }
        let mut middle = text;
        if !before.is_empty() {
            middle = middle.strip_prefix(&before)?.strip_prefix(&self.separator)?;
        }
        if !after.is_empty() {
            middle = middle.strip_suffix(&after)?.strip_suffix(&self.separator)?;
        }
        let mut pieces: Vec<Option<String>> = current.iter().map(|piece| piece.map(str::to_owned)).collect();
        pieces[changed] = Some(middle.to_owned()).filter(|middle| !middle.is_empty());
        pieces[changed].is_some().then_some(pieces)
    }

    /// At most so many pieces, none of them empty: a separator beside which nothing stands is
    /// part of a piece.
    fn cut_into(&self, text: &str, most: usize) -> Vec<Option<String>> {
        let mut pieces = Vec::with_capacity(most);
        let mut rest = text;
        while pieces.len() + 1 < most {
            let Some((piece, left)) = self.cut_once(rest) else { break };
            let (taken, remains) = match self.rest {
                Rest::First => (left, piece),
                Rest::Last => (piece, left),
            };
            pieces.push(Some(taken.to_owned()));
            rest = remains;
        }
        pieces.push(Some(rest.to_owned()));
        if self.rest == Rest::First {
            pieces.reverse();
        }
        pieces.resize(most, None);
        pieces
    }

    /// The text at the outermost separator that has something on both sides.
    fn cut_once<'t>(&self, text: &'t str) -> Option<(&'t str, &'t str)> {
        let parts = |at: usize| (&text[..at], &text[at + self.separator.len()..]);
        let full = |(left, right): &(&str, &str)| !left.is_empty() && !right.is_empty();
        let mut all = text.match_indices(self.separator.as_str()).map(|(at, _)| parts(at));
        match self.rest {
            Rest::Last => all.find(full),
            Rest::First => text.rmatch_indices(self.separator.as_str()).map(|(at, _)| parts(at)).find(full),
        }
    }

    /// A text that names it: the same for the same meaning.
    pub(super) fn identity(&self) -> String {
        format!("{}:{}", Value::string(self.separator.as_str()), self.rest.as_str())
    }

    /// How some pieces break the laws: what they are made of must be what they were, and a text
    /// must be read back as it was written.
    pub(super) fn broken_law(&self, number: usize) -> Option<String> {
        let (texts, lists) = (self.sample_texts(), self.sample_pieces(number));
        for list in &lists {
            let current: Vec<Option<&str>> = list.iter().map(|piece| piece.as_deref()).collect();
            let text = self.join(&current);
            let again = self.put(&text, &current);
            if again != *list {
                return Some(format!("{list:?} reads as '{text}' and would be written as {again:?}"));
            }
            for text in texts.iter().filter(|text| !text.is_empty()) {
                let put = self.put(text, &current);
                let back = self.join(&put.iter().map(|piece| piece.as_deref()).collect::<Vec<_>>());
                if back != *text {
                    return Some(format!("'{text}' over {list:?} becomes {put:?}, which reads as '{back}'"));
                }
            }
        }
        None
    }

    fn sample_texts(&self) -> Vec<String> {
        let s = &self.separator;
        let texts =
            ["a", "a S b", "aSb", "aSbSc", "aSbScSd", "SaSb", "aSbS", "aSSb", "S", "SS", "aS", "Sa", "A bSc dSe f"];
        texts.iter().map(|text| text.replace('S', s)).chain(["".to_owned()]).collect()
    }

    fn sample_pieces(&self, number: usize) -> Vec<Vec<Option<String>>> {
        let s = &self.separator;
        let pieces = [None, Some("".to_owned()), Some("a".to_owned()), Some(format!("b{s}c")), Some(format!("{s}d"))];
        let line = |first: usize, step: usize| (0..number).map(|n| pieces[(first + n * step) % 5].clone()).collect();
        (0..5).flat_map(|first| (0..5).map(move |step| (first, step))).map(|(first, step)| line(first, step)).collect()
    }
}

fn filled<'t>(pieces: &[Option<&'t str>]) -> impl Iterator<Item = &'t str> {
    pieces.iter().copied().flatten().filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(separator: &str, rest: Rest) -> Pieces {
        Pieces { separator: separator.to_owned(), rest }
    }

    fn told(put: &[Option<String>]) -> String {
        put.iter().map(|piece| piece.as_deref().unwrap_or("-")).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_change_goes_to_the_piece_it_is_of() {
        for (rest, current, text, want) in [
            (Rest::Last, "-|-", "Ada Lovelace", "Ada|Lovelace"),
            (Rest::Last, "-|-", "Ada Maria Lovelace", "Ada|Maria Lovelace"),
            (Rest::First, "-|-", "Ada Maria Lovelace", "Ada Maria|Lovelace"),
            (Rest::Last, "-|-", "Madonna", "Madonna|-"),
            (Rest::First, "-|-", "Madonna", "Madonna|-"),
            (Rest::Last, "Ada Maria|Lovelace", "Ada Maria Lovelace", "Ada Maria|Lovelace"),
            (Rest::Last, "Ada Maria|Lovelace", "Ada Maria Byron", "Ada Maria|Byron"),
            (Rest::Last, "Ada|von Lovelace", "Augusta Ada von Lovelace", "Augusta Ada|von Lovelace"),
            (Rest::Last, "Ada|Lovelace", "Ada Maria Lovelace", "Ada|Maria Lovelace"),
            (Rest::First, "Ada|Lovelace", "Ada Maria Lovelace", "Ada Maria|Lovelace"),
            (Rest::Last, "Ada Maria|-", "Ada Maria Lovelace", "Ada Maria|Lovelace"),
            (Rest::Last, "Madonna|-", "Ada Lovelace", "Ada|Lovelace"),
            (Rest::Last, "Ada|Lovelace", "Ada", "Ada|-"),
            (Rest::Last, "Ada|Lovelace", " Ada", " Ada|-"),
            (Rest::Last, "-|-", "Ada  Lovelace", "Ada| Lovelace"),
            (Rest::Last, "a|b|c", "a x c", "a|x|c"),
            (Rest::Last, "-|-|-", "a b c d", "a|b|c d"),
            (Rest::First, "-|-|-", "a b c d", "a b|c|d"),
        ] {
            let current: Vec<Option<&str>> =
                current.split('|').map(|piece| Some(piece).filter(|p| *p != "-")).collect();
            assert_eq!(told(&pieces(" ", rest).put(text, &current)), want, "{rest:?} {current:?} {text}");
        }
    }

    #[test]
    fn a_list_and_its_text() {
        let by = pieces(";", Rest::Last);
        let json = |text: &str| Value::from_json(text).unwrap();
        for (list, text) in [(r#"["a","b"]"#, "a;b"), (r#"["a b"]"#, "a b"), ("[]", "")] {
            assert_eq!(by.join_list(&json(list)), Ok(Value::string(text)));
            assert_eq!(by.split_list(&Value::string(text)), Ok(json(list)));
        }
        assert_eq!(by.split_list(&Value::string(";a;;b;")), Ok(json(r#"["a","b"]"#)));
        for (list, told) in [
            (r#"["a;b"]"#, "the entry 'a;b' holds ';'"),
            (r#"["a",""]"#, "an entry is empty"),
            ("[1]", "an entry is a number, not a text"),
            (r#""a""#, "it is a text, not a list"),
        ] {
            assert!(by.join_list(&json(list)).unwrap_err().contains(told), "{list}");
        }
        let error = pieces("; ", Rest::Last).join_list(&json(r#"["a;","b"]"#));
        assert_eq!(error, Ok(Value::string("a;; b")));
        assert!(
            pieces("aa", Rest::Last).join_list(&json(r#"["ba","c"]"#)).unwrap_err().contains("others would be read")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_put_is_read_back_and_what_was_read_is_left(
            current in proptest::collection::vec(proptest::option::of("[ab ]{0,4}"), 2..4),
            text in "[ab ]{1,8}",
            first in any::<bool>(),
            separator in prop_oneof![Just(" "), Just("a"), Just("ab"), Just("aa")],
        ) {
            let by = pieces(separator, if first { Rest::First } else { Rest::Last });
            let current: Vec<Option<&str>> = current.iter().map(|piece| piece.as_deref()).collect();
            let put = by.put(&text, &current);
            let read: Vec<Option<&str>> = put.iter().map(|piece| piece.as_deref()).collect();
            prop_assert_eq!(by.join(&read), text);
            let left = by.put(&by.join(&current), &current);
            prop_assert_eq!(left.iter().map(|piece| piece.as_deref()).collect::<Vec<_>>(), current);
        }

        #[test]
        fn a_list_that_is_joined_is_read_back(
            list in proptest::collection::vec("[ab;]{0,3}", 0..4),
            separator in prop_oneof![Just(";"), Just("ab"), Just("aa")],
        ) {
            let by = pieces(separator, Rest::Last);
            let list = Value::Array(list.into_iter().map(Value::String).collect());
            if let Ok(text) = by.join_list(&list) {
                prop_assert_eq!(by.split_list(&text), Ok(list));
            }
        }
    }
}
