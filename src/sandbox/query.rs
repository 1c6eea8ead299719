//! The parameters of a request. An unknown or repeated one is refused, because one
//! that is silently ignored (a misspelt `updated_since`) is found too late.

use std::borrow::Cow;

use chrono::DateTime;
use url::form_urlencoded;

use super::collection::{Listing, Order, Position, Shift, Start};
use super::refusal::Refusal;

const LISTING: [&str; 6] = ["limit", "after", "page", "updated_since", "sort", "include_archived"];
const SEARCH: [&str; 3] = ["property", "value", "limit"];

/// The parameters as they stood.
#[derive(Debug)]
pub(super) struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// Records to find: all of these properties have these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) wanted: Vec<(String, String)>,
    pub(super) limit: usize,
}

impl<'a> Params<'a> {
    pub(super) fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    /// Refuses parameters other than these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
            Some((name, _)) if known.is_empty() => Err(Refusal::bad_parameter(name, "is not known here")),
            Some((name, _)) => {
                Err(Refusal::bad_parameter(name, format!("is not known here; known are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    /// The value of a parameter that may stand once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_ref());
        let first = values.next();
        match values.next() {
            Some(_) => Err(Refusal::bad_parameter(name, "stands twice")),
            None => Ok(first),
        }
    }

    /// The names of all parameters.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_ref())
    }

    /// All values of a parameter, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_ref())
    }

    /// A whole number from 1.
    pub(super) fn count(&self, name: &str) -> Result<Option<usize>, Refusal> {
        let parse = |text: &str| match text.parse() {
            Ok(count) if count >= 1 => Ok(count),
            Ok(_) | Err(_) => Err(Refusal::bad_parameter(name, "must be a whole number from 1")),
        };
        self.one(name)?.map(parse).transpose()
    }

    /// What to list. A `limit` above the page size is lowered to it.
    pub(super) fn listing(&self, page_size: usize) -> Result<Listing, Refusal> {
        self.only(&LISTING)?;
        let since_ms = self.one("updated_since")?.map(parse_time).transpose()?;
        let order = match self.one("sort")? {
            Some("id") => Order::Id,
            Some("updated_at") => Order::Updated,
            Some(_) => return Err(Refusal::bad_parameter("sort", "must be id or updated_at")),
            None if since_ms.is_some() => Order::Updated,
            None => Order::Id,
        };
        let include_archived = match self.one("include_archived")? {
            Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(Refusal::bad_parameter("include_archived", "must be true or false")),
            None => since_ms.is_some(),
        };
        let start = match (self.one("after")?, self.count("page")?) {
            (Some(_), Some(_)) => return Err(Refusal::bad_parameter("page", "cannot be used together with after")),
            (Some(token), None) => {
                let position = Position::from_token(token, order);
                let unfit = || Refusal::bad_parameter("after", "is not a cursor of this listing");
                Start::After(position.ok_or_else(unfit)?)
            }
            (None, Some(page)) => Start::Page(page),
            (None, None) => Start::Beginning,
        };
        let limit = self.count("limit")?.unwrap_or(page_size).min(page_size);
        Ok(Listing { order, since_ms, include_archived, start, limit, shift: Shift::None })
    }

    /// What to find: as many `value` as `property`, paired in order.
    pub(super) fn search(&self, page_size: usize) -> Result<Search, Refusal> {
        self.only(&SEARCH)?;
        let pairs = self.all("property").zip(self.all("value"));
        let wanted: Vec<_> = pairs.map(|(property, value)| (property.to_owned(), value.to_owned())).collect();
        if wanted.is_empty() || self.all("property").count() != self.all("value").count() {
            return Err(Refusal::bad_parameter("property", "must stand as often as value, at least once"));
        }
        Ok(Search { wanted, limit: self.count("limit")?.unwrap_or(page_size).min(page_size) })
    }

    /// The same listing at another place, as path and query.
    pub(super) fn link(&self, path: &str, place: (&str, &str)) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(name, _)| name != "after" && name != "page"));
        query.append_pair(place.0, place.1);
        format!("{path}?{}", query.finish())
    }
}

/// Milliseconds since 1970, or ISO 8601 with a zone.
fn parse_time(text: &str) -> Result<i64, Refusal> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    // An unescaped `+02:00` arrives with a blank.
    let text = text.replace(' ', "+");
    DateTime::parse_from_rfc3339(&text).map(|time| time.timestamp_millis()).map_err(|_| {
        Refusal::bad_parameter("updated_since", "must be like 2026-03-01T12:00:00.000Z, or milliseconds since 1970")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings() {
        let plain = Listing {
            order: Order::Id,
            since_ms: None,
            include_archived: false,
            start: Start::Beginning,
            limit: 50,
            shift: Shift::None,
        };
        let since = Listing { order: Order::Updated, since_ms: Some(1_500), include_archived: true, ..plain.clone() };
        for (query, expected) in [
            ("", plain.clone()),
            ("limit=20", Listing { limit: 20, ..plain.clone() }),
            ("limit=5000", plain.clone()),
            ("page=3", Listing { start: Start::Page(3), ..plain.clone() }),
            ("sort=updated_at", Listing { order: Order::Updated, ..plain.clone() }),
            ("include_archived=true", Listing { include_archived: true, ..plain.clone() }),
            ("after=i65", Listing { start: Start::After(Position::Id(101)), ..plain.clone() }),
            ("updated_since=1500", since.clone()),
            ("updated_since=1970-01-01T00:00:01.500Z", since.clone()),
            ("updated_since=1970-01-01T00:00:01.5009Z", since.clone()),
            ("updated_since=1970-01-01T02:00:01.5+02:00", since.clone()),
            ("updated_since=1970-01-01T02:00:01.5%2B02:00", since.clone()),
            ("updated_since=1500&sort=id", Listing { order: Order::Id, ..since.clone() }),
            ("updated_since=1500&include_archived=false", Listing { include_archived: false, ..since.clone() }),
            (
                "updated_since=1500&after=u5dc-65",
                Listing { start: Start::After(Position::Updated(1_500, 101)), ..since },
            ),
        ] {
            assert_eq!(Params::parse(query).listing(50), Ok(expected), "{query}");
        }
    }

    #[test]
    fn bad_parameters_are_named() {
        for (query, named) in [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=99999999999999999999999", "limit"),
            ("limit=1&limit=2", "limit"),
            ("page=0", "page"),
            ("page=1&after=i1", "page"),
            ("after=u5dc-65", "after"),
            ("after=", "after"),
            ("updated_since=1500&after=i65", "after"),
            ("updated_since=yesterday", "updated_since"),
            ("updated_since=2026-01-01", "updated_since"),
            ("sort=name", "sort"),
            ("include_archived=1", "include_archived"),
            ("update_since=1", "update_since"),
        ] {
            match Params::parse(query).listing(50) {
                Err(Refusal::BadParameter { name, .. }) => assert_eq!(name, named, "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
    }

    #[test]
    fn searches() {
        let search = Params::parse("property=a&value=1%202&property=b&value=&limit=3").search(50).expect("valid");
        assert_eq!(search.wanted, [("a".into(), "1 2".into()), ("b".into(), String::new())]);
        assert_eq!(search.limit, 3);
        for query in ["", "property=a", "value=a", "property=a&value=1&value=2", "property=a&value=1&page=1"] {
            assert!(Params::parse(query).search(50).is_err(), "{query}");
        }
    }

    #[test]
    fn links_keep_the_other_parameters() {
        let params = Params::parse("updated_since=1970-01-01T02:00:01%2B02:00&after=u1-1&limit=2");
        let expected = "/v1/contacts?updated_since=1970-01-01T02%3A00%3A01%2B02%3A00&limit=2&after=u2-2";
        assert_eq!(params.link("/v1/contacts", ("after", "u2-2")), expected);
    }
}
