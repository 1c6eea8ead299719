//! Rounds of changes (<https://learn.microsoft.com/en-us/graph/delta-query-overview>): pages
//! joined by `@odata.nextLink`, the last of which has the `@odata.deltaLink` of the next round.
//! A page may be empty and not the last, a contact may come twice in one round, and a link that
//! is too old is answered with 410.

use serde_json::{Value as Json, json};

use super::super::super::answer::Answer;
use super::super::super::asked::Asked;
use super::super::super::collection::{Record, Shift};
use super::super::super::state::State;
use super::{CONTACTS, Graph, Speech, error, missing, origin, part, show};

/// Contacts on a page where the request does not say, and at most.
const PAGE: (usize, usize) = (50, 999);

/// Where a round is: what its links hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The first round shows what there is, and only those deletions that come while it lasts.
    first: bool,
    /// When the round began.
    begun_ms: i64,
    /// The last entry that was shown: its time and id.
    at: (i64, u64),
    /// How many pages came before.
    num_pages: u32,
    issued_ms: i64,
}

impl Place {
    fn to_token(self) -> String {
        let Self { first, begun_ms, at, num_pages, issued_ms } = self;
        format!("{}.{begun_ms}.{}.{}.{num_pages}.{issued_ms}", u8::from(first), at.0, at.1)
    }

    fn from_token(text: &str) -> Option<Self> {
        let parts: Option<Vec<i64>> = text.split('.').map(|part| part.parse().ok()).collect();
        let [first, begun_ms, at, id, num_pages, issued_ms] = parts?[..] else { return None };
        let (id, num_pages) = (id.try_into().ok()?, num_pages.try_into().ok()?);
        Some(Self { first: first == 1, begun_ms, at: (at, id), num_pages, issued_ms })
    }
}

pub(super) fn round(state: &mut State, asked: &Asked<'_>) -> Result<Answer, Answer> {
    let now_ms = asked.now_ms;
    let params = asked.params();
    let bad = |message: &str| error(400, "BadRequest", message, now_ms);
    let known = |name: &&str| !["$deltatoken", "$skiptoken", "$select"].contains(name);
    if let Some(name) = params.names().find(known) {
        return Err(bad(&format!("The query parameter '{name}' is not supported with change tracking.")));
    }
    let token = |name: &str| params.one(name).map_err(|refusal| bad(&refusal.message()));
    let place = match (token("$skiptoken")?, token("$deltatoken")?) {
        (None, None) => Place { first: true, begun_ms: now_ms, at: (i64::MIN, 0), num_pages: 0, issued_ms: now_ms },
        (Some(text), None) => Place::from_token(text).ok_or_else(|| bad("Badly formed token."))?,
        (None, Some("latest")) => {
            let last =
                state.account(asked.account_no).collection(CONTACTS).ok().and_then(|all| all.all().map(at).max());
            let at = last.unwrap_or((i64::MIN, 0));
            let place = Place { first: false, begun_ms: now_ms, at, num_pages: 0, issued_ms: now_ms };
            return Ok(page(asked, Vec::new(), place, "deltaLink"));
        }
        (None, Some(text)) => {
            let place = Place::from_token(text).ok_or_else(|| bad("Badly formed token."))?;
            Place { first: false, begun_ms: now_ms, num_pages: 0, ..place }
        }
        (Some(_), Some(_)) => return Err(bad("$skiptoken and $deltatoken exclude one another.")),
    };
    if now_ms.saturating_sub(place.issued_ms) > asked.settings.token_life_ms {
        return Err(error(
            410,
            "syncStateNotFound",
            "The sync state generation is not found; a full sync is needed.",
            now_ms,
        ));
    }
    let collection = state.account(asked.account_no).collection(CONTACTS).map_err(|_| missing(now_ms))?;
    let collection = asked.seen(collection);
    let shown = |(_, gone): &(&Record, Option<i64>)| !place.first || gone.is_none_or(|gone| gone >= place.begun_ms);
    let mut all: Vec<(&Record, Option<i64>)> = collection.all().filter(shown).collect();
    all.sort_by_key(|entry| at(*entry));
    let start = all.partition_point(|entry| at(*entry) <= place.at);
    let limit = asked.prefer.and_then(page_size).unwrap_or(PAGE.0).clamp(1, PAGE.1);
    // The second page of a round is empty, the third begins with what the first has shown.
    let is_last = start + limit >= all.len();
    let (limit, shift) = match place.num_pages {
        1 if !is_last => (0, Shift::None),
        2 => (limit, Shift::Back),
        _ => (limit, asked.shift),
    };
    let entries = part(&all, start, shift, limit);
    let next = Place {
        // What is shown again leaves the place behind what was shown first.
        at: entries.last().map_or(place.at, |entry| at(*entry)).max(place.at),
        num_pages: place.num_pages + 1,
        issued_ms: now_ms,
        ..place
    };
    let is_end = all.last().is_none_or(|entry| at(*entry) <= next.at);
    let value = entries.iter().map(|(record, gone)| match gone {
        None => show(record),
        Some(_) => json!({ "id": Graph.id_text(record.id), "@removed": { "reason": "deleted" } }),
    });
    Ok(page(asked, value.collect(), next, if is_end { "deltaLink" } else { "nextLink" }))
}

/// When an entry last changed, and its id.
fn at((record, gone): (&Record, Option<i64>)) -> (i64, u64) {
    (gone.unwrap_or(record.updated_ms), record.id)
}

fn page(asked: &Asked<'_>, value: Vec<Json>, place: Place, link: &str) -> Answer {
    let token = if link == "nextLink" { "$skiptoken" } else { "$deltatoken" };
    let url = format!("{}{}?{token}={}", origin(asked), asked.path, place.to_token());
    let mut body =
        json!({ "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(contact)", "value": value });
    body[format!("@odata.{link}")] = json!(url);
    Answer::json(&body)
}

/// `odata.maxpagesize=50` among the preferences.
fn page_size(prefer: &str) -> Option<usize> {
    prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("odata.maxpagesize=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_were() {
        let place = Place { first: true, begun_ms: 7, at: (i64::MIN, 0), num_pages: 3, issued_ms: 9 };
        assert_eq!(Place::from_token(&place.to_token()), Some(place));
        for text in ["", "1", "1.2.3.4.5", "1.2.3.-4.5.6", "a.b.c.d.e.f"] {
            assert_eq!(Place::from_token(text), None, "{text}");
        }
        assert_eq!(page_size("IdType=\"ImmutableId\", odata.maxpagesize=3"), Some(3));
        assert_eq!(page_size("IdType=\"ImmutableId\""), None);
    }
}
