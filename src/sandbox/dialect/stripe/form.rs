//! Bodies that are forms with keys in brackets: `metadata[plan]=pro`.

use serde_json::{Map, Value as Json};
use url::form_urlencoded;

use super::super::super::answer::Answer;
use super::super::super::asked::Asked;
use super::{error, invalid};

/// How deep keys may stand within one another.
const DEEPEST: usize = 5;

/// A form as the tree that its keys stand for.
pub(super) struct Form(Map<String, Json>);

impl Form {
    /// Reads the body of a request; another type than a form's is refused.
    pub(super) fn parse(asked: &Asked<'_>) -> Result<Self, Answer> {
        let is_form = asked.content_type.is_none_or(|text| text.starts_with("application/x-www-form-urlencoded"));
        if !is_form && !asked.body.is_empty() {
            let message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded).";
            return Err(error(400, "invalid_request_error", None, None, message));
        }
        let mut top = Map::new();
        for (key, value) in form_urlencoded::parse(asked.body) {
            let steps = steps(&key).ok_or_else(|| invalid(&key, "Invalid hash"))?;
            put(&mut top, &steps, value.into_owned()).ok_or_else(|| invalid(&key, "Invalid hash"))?;
        }
        let entries = top.into_iter().map(|(key, value)| (key, lists(value)));
        Ok(Self(entries.collect()))
    }

    pub(super) fn entries(&self) -> &Map<String, Json> {
        &self.0
    }
}

/// The keys of `a[b][c]`.
fn steps(key: &str) -> Option<Vec<String>> {
    let (first, mut rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    let mut steps = vec![first.to_owned()];
    while let Some(inner) = rest.strip_prefix('[') {
        let (step, behind) = inner.split_once(']')?;
        steps.push(step.to_owned());
        rest = behind;
    }
    (rest.is_empty() && !first.is_empty() && steps.len() <= DEEPEST).then_some(steps)
}

fn put(table: &mut Map<String, Json>, steps: &[String], value: String) -> Option<()> {
    match steps {
        [] => None,
        [last] => {
            let key = if last.is_empty() { table.len().to_string() } else { last.clone() };
            table.insert(key, Json::String(value)).is_none().then_some(())
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Json::Object(Map::new()));
            put(inner.as_object_mut()?, rest, value)
        }
    }
}

/// A table whose keys count from 0 is a list.
fn lists(value: Json) -> Json {
    let Json::Object(table) = value else { return value };
    let is_list = !table.is_empty() && (0..table.len()).all(|at| table.contains_key(&at.to_string()));
    if is_list {
        let mut items: Vec<(usize, Json)> =
            table.into_iter().filter_map(|(key, value)| Some((key.parse().ok()?, lists(value)))).collect();
        items.sort_by_key(|(at, _)| *at);
        return Json::Array(items.into_iter().map(|(_, value)| value).collect());
    }
    Json::Object(table.into_iter().map(|(key, value)| (key, lists(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_brackets_are_a_tree() {
        for (key, want) in [
            ("email", Some(vec!["email"])),
            ("metadata[a b]", Some(vec!["metadata", "a b"])),
            ("a[b][]", Some(vec!["a", "b", ""])),
            ("a[b", None),
            ("a]b", Some(vec!["a]b"])),
            ("a[b]c", None),
            ("[a]", None),
            ("a[b][c][d][e][f]", None),
        ] {
            let want = want.map(|steps| steps.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(steps(key), want, "{key}");
        }
    }
}
