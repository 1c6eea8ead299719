//! What a connector file comes to, told to whoever wrote it: what the kernel can do with
//! each object by it, and what it cannot do for want of a key.

use serde::Serialize;

use crate::model::ids::ObjectName;
use crate::model::path::Path;
use crate::model::write::CreateRecovery;

use super::file::HttpConnectorFile;
use super::spec::{
    BatchKind, BatchSpec, CursorKind, CursorSpec, Endpoint, ListSpec, ObjectSpec, OrderedSpec, PageKind, Piece, Unit,
};

/// What a file declares about one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ObjectSummary {
    /// The object.
    pub object: ObjectName,
    /// What can be done with it, by the key that says so: `list`, `changes`, …
    pub can: Vec<(&'static str, String)>,
    /// What cannot, what follows from that, and the key that would help.
    pub lacks: Vec<String>,
}

impl HttpConnectorFile {
    /// What the file comes to, object by object.
    #[must_use]
    pub fn summary(&self) -> Vec<ObjectSummary> {
        let one = |name: &ObjectName| {
            let spec = self.object(name)?;
            Some(ObjectSummary { object: name.clone(), can: can(spec), lacks: lacks(spec, self.webhook().is_some()) })
        };
        self.objects().filter_map(one).collect()
    }
}

fn can(object: &ObjectSpec) -> Vec<(&'static str, String)> {
    let mut can = Vec::new();
    if let Some(list) = &object.list {
        let each = object.parent.as_ref().map_or(String::new(), |parent| format!(", for each of '{parent}'"));
        can.push(("list", format!("{}, {}{each}", asked(&list.endpoint), paged(list))));
        can.push(("changes", changes(object, list)));
    }
    for also in &object.also {
        can.push(("also", format!("{}, {}", asked(&also.list.endpoint), paged(&also.list))));
    }
    if let Some(deletions) = deletions(object) {
        can.push(("deletions", deletions));
    }
    if let Some(read) = &object.read {
        can.push(("read", asked(&read.endpoint)));
    }
    if let Some(many) = &object.read_many {
        can.push(("read_many", format!("{}, {} at a time", asked(&many.endpoint), many.size)));
    }
    if let Some(parts) = &object.parts {
        let num_requests = parts.reads.len().max(parts.read_manys.len());
        can.push(("properties", format!("read in {num_requests} requests, put together where they show one state")));
    }
    if let Some(find) = &object.find {
        let paths: Vec<String> = find.params.iter().map(|(path, _)| path.to_string()).collect();
        can.push(("find", format!("{}, by {}", asked(&find.list.endpoint), paths.join(", "))));
    }
    if let Some(create) = &object.create {
        can.push(("create", format!("{}; {}", asked(&create.endpoint), recovery(create.recovery))));
    }
    if let Some(update) = &object.update {
        let what = if update.whole { "the whole record" } else { "what changes" };
        let guard = if update.if_match.is_some() { ", only as it was read (If-Match)" } else { "" };
        can.push(("update", format!("{}, {what}{guard}", asked(&update.endpoint))));
    }
    if let Some(delete) = &object.delete {
        can.push(("delete", asked(&delete.endpoint)));
    }
    if let Some(batch) = &object.batch {
        can.push(("batch", batched(batch)));
    }
    can
}

fn asked(endpoint: &Endpoint) -> String {
    let pieces = endpoint.path.0.iter().map(|piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Id => "{id}".to_owned(),
        Piece::Parent => "{parent}".to_owned(),
        Piece::IdPart(name) => format!("{{id.{name}}}"),
        Piece::ExternalId => "{external_id}".to_owned(),
    });
    format!("{} {}", endpoint.method.as_str(), pieces.collect::<String>())
}

fn paged(list: &ListSpec) -> String {
    let how = match &list.page.kind {
        PageKind::One => return "all in one answer".to_owned(),
        PageKind::Page { .. } => "by page number",
        PageKind::Offset { .. } => "by offset, each page overlapping the one before",
        PageKind::Cursor { .. } => "by a token of the answer",
        PageKind::Keyset { .. } => "by the last record's key",
        PageKind::LinkHeader { .. } => "by a link in a header",
        PageKind::NextUrl { .. } => "by a link in the answer",
    };
    let size = list.page.size.as_ref().map_or(String::new(), |(_, size)| format!(" of {size}"));
    let most = list.page.max_results.map_or(String::new(), |max| format!(", at most {max} in one list"));
    format!("pages{size} {how}{most}")
}

fn changes(object: &ObjectSpec, list: &ListSpec) -> String {
    let Some(cursor) = object.changes.as_ref().unwrap_or(list).cursor.as_ref() else {
        return "none known: everything is read each time".to_owned();
    };
    let position = position(object, cursor);
    match &object.changes {
        None => format!("the same list, {position}"),
        Some(changes) => {
            let thin = if changes.thin { ", each record read by its id" } else { "" };
            format!("{}, {}, {position}{thin}", asked(&changes.endpoint), paged(changes))
        }
    }
}

fn position(object: &ObjectSpec, cursor: &CursorSpec) -> String {
    let retention = cursor.retention_ms.map_or(String::new(), |ms| format!(", remembered for {}", length(ms * 1_000)));
    let position = match &cursor.kind {
        CursorKind::Opaque { .. } => "from a token that the side gives".to_owned(),
        CursorKind::Ordered(ordered) => {
            let field = ordered.field.iter().chain(&object.modified).next();
            let field = field.map_or("a header".to_owned(), |path: &Path| format!("'{path}'"));
            let back = u64::try_from(ordered.lookback).unwrap_or(0);
            format!("from the newest {field} on{}", if back == 0 { String::new() } else { lookback(ordered, back) })
        }
    };
    format!("{position}{retention}")
}

fn lookback(ordered: &OrderedSpec, back: u64) -> String {
    if !ordered.is_time && ordered.unit == Unit::Iso {
        return format!(", {back} before it");
    }
    let micros = if ordered.is_time { back } else { back * u64::try_from(ordered.unit.micros()).unwrap_or(1) };
    format!(", {} before it", length(micros))
}

/// A length of time in the largest unit that says it exactly.
fn length(micros: u64) -> String {
    for (unit, size) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)] {
        if micros >= size && micros.is_multiple_of(size) {
            return format!("{}{unit}", micros / size);
        }
    }
    format!("{}ms", micros / 1_000)
}

fn deletions(object: &ObjectSpec) -> Option<String> {
    if let Some(deletions) = &object.deletions {
        return Some(format!("{}, {}", asked(&deletions.endpoint), paged(deletions)));
    }
    let in_changes = object.changes.as_ref().is_some_and(|changes| changes.deleted.is_some());
    match &object.deleted {
        Some(spec) if spec.tombstone => Some(format!("told by entries with '{}'", spec.path)),
        Some(spec) => Some(format!("told by the flag '{}'", spec.path)),
        None => in_changes.then(|| "told among the changes".to_owned()),
    }
}

fn recovery(recovery: CreateRecovery) -> String {
    match recovery {
        CreateRecovery::ClientId => "a lost answer: its id, which we choose, is read".to_owned(),
        CreateRecovery::IdempotencyKey { life_ms } => {
            format!("a lost answer: sent again with the same key, for {}", length(life_ms * 1_000))
        }
        CreateRecovery::ExternalId => "a lost answer: found by our id in it".to_owned(),
        CreateRecovery::Find { settle_ms } => {
            format!("a lost answer: searched by the match key after {}", length(settle_ms * 1_000))
        }
        CreateRecovery::Park => "a lost answer: left to a person".to_owned(),
    }
}

fn batched(batch: &BatchSpec) -> String {
    match &batch.kind {
        BatchKind::Requests { endpoint, .. } => format!("{}, {} requests at a time", asked(endpoint), batch.size),
        BatchKind::Records { create, update, delete } => {
            let all = [("create", create), ("update", update), ("delete", delete)];
            let some = all.into_iter().filter(|(_, endpoint)| endpoint.is_some()).map(|(key, _)| key);
            format!("{}, {} records at a time", some.collect::<Vec<_>>().join(", "), batch.size)
        }
    }
}

/// What is missing that a sync would feel.
fn lacks(object: &ObjectSpec, has_webhook: bool) -> Vec<String> {
    let mut lacks = Vec::new();
    let mut lack = |is: bool, text: &str| lacks.extend(is.then(|| text.to_owned()));
    let has_cursor = object.list.as_ref().is_some_and(|list| list.cursor.is_some());
    lack(!has_cursor, "no 'cursor': every run reads everything");
    lack(
        object.read.is_none(),
        "no 'read': a record cannot be looked at by its id, so what a list leaves out is never taken for deleted, \
         and webhooks lead to a read of the list",
    );
    let tells_deletions = deletions(object).is_some();
    lack(
        has_cursor && !tells_deletions && !has_webhook,
        "no 'deleted', no 'deletions' and no [webhook]: that a record was deleted is seen only when everything is \
         read (syncline sync --full)",
    );
    lack(object.find.is_none(), "no 'find': a record that is there already is found only by reading everything");
    lack(object.create.is_none(), "no 'create': nothing is made there");
    lack(object.update.is_none(), "no 'update': nothing is changed there");
    lack(object.delete.is_none(), "no 'delete': deletions are not carried there");
    let guarded = object.update.as_ref().is_none_or(|update| update.if_match.is_some());
    lack(
        !guarded,
        "no 'if_match' of 'update': somebody's edit between our read and our write may be overwritten in the same field",
    );
    let parked = object.create.as_ref().is_some_and(|create| create.recovery == CreateRecovery::Park);
    lack(parked, "no 'recovery' of 'create': when its answer is lost, a person has to look whether it was made");
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> ObjectSummary {
        HttpConnectorFile::parse("x.toml", text).unwrap_or_else(|error| panic!("{error}")).summary().remove(0)
    }

    fn said(summary: &ObjectSummary, key: &str) -> String {
        summary.can.iter().find(|(other, _)| *other == key).map_or(String::new(), |(_, text)| text.clone())
    }

    #[test]
    fn a_whole_file_is_told_in_a_line_for_each_key() {
        let summary = summary(include_str!("../../../fixtures/connectors/hubspot.toml"));
        for (key, want) in [
            ("list", "GET /crm/v3/objects/contacts, pages of 100 by a token of the answer"),
            (
                "changes",
                "POST /crm/v3/objects/contacts/search, pages of 200 by a token of the answer, at most 10000 in one \
                 list, from the newest 'updatedAt' on, 2m before it",
            ),
            ("deletions", "GET /crm/v3/objects/contacts, pages of 100 by a token of the answer"),
            ("read_many", "POST /crm/v3/objects/contacts/batch/read, 100 at a time"),
            ("find", "POST /crm/v3/objects/contacts/search, by properties.email"),
            ("create", "POST /crm/v3/objects/contacts; a lost answer: searched by the match key after 1m"),
            ("update", "PATCH /crm/v3/objects/contacts/{id}, what changes"),
            ("batch", "create, update, delete, 100 records at a time"),
        ] {
            assert_eq!(said(&summary, key), want);
        }
        assert_eq!(summary.lacks.len(), 1, "{:?}", summary.lacks);
        assert!(summary.lacks[0].contains("if_match"));
        let events = self::summary(include_str!("../../../fixtures/connectors/stripe.toml"));
        assert!(said(&events, "changes").ends_with("1m before it, remembered for 29d, each record read by its id"));
    }

    #[test]
    fn what_a_bare_file_cannot_do_is_told_with_the_key() {
        let summary =
            summary("name = \"x\"\n[object.x]\nid = \"id\"\nlist = { get = \"/x\" }\ncreate = { post = \"/x\" }\n");
        assert_eq!(said(&summary, "list"), "GET /x, all in one answer");
        assert_eq!(said(&summary, "changes"), "none known: everything is read each time");
        for key in ["'cursor'", "'read'", "'find'", "'update'", "'delete'", "'recovery'"] {
            assert!(summary.lacks.iter().any(|lack| lack.contains(key)), "{key}: {:#?}", summary.lacks);
        }
    }
}
