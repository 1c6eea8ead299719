//! The `[webhook]` table of a connector file.

use crate::connectors::http::fields::{header_name, path, paths, sub, word};
use crate::model::document::{Located, Table, nearest};
use crate::model::ids::ObjectName;

use super::payload::{Handshake, ObjectPlace, WebhookSpec};
use super::signature::{
    Algorithm, DEFAULT_TOLERANCE_S, Encoding, Form, Hmac, Part, Scheme, SecretForm, Stamp, StampPlace,
};

/// Reads `[webhook]`; `objects` are those that the file declares.
pub(in crate::connectors) fn webhook(table: Table<'_>, objects: &[&ObjectName]) -> Option<WebhookSpec> {
    let before = table.problems().len();
    let scheme = signature(&table);
    let object = object(&table, objects);
    let spec = WebhookSpec {
        scheme: scheme.unwrap_or(Scheme::Unsigned),
        events: path(&table, "events"),
        object: object.unwrap_or(ObjectPlace::Any),
        ids: paths(&table, "id"),
        account: path(&table, "account"),
        record: path(&table, "record"),
        handshake: sub(&table, "handshake", "webhook.handshake").and_then(handshake),
    };
    if let (Some(item), ObjectPlace::Any) = (table.item("id"), &spec.object) {
        let help = "add object = \"contacts\", or type = \"path\" with objects = { \"contact.*\" = \"contacts\" }";
        table.problems().add_with_help(item.span(), "'id' names a record, but nothing says of which object", help);
    }
    if let (Some(item), false) = (table.item("record"), matches!(spec.scheme, Scheme::Hmac(_))) {
        let help = "take 'record' away: the record is then read";
        let message = "'record' is believed only of deliveries that are signed, by a keyed hash over their body";
        table.problems().add_with_help(item.span(), message, help);
    }
    let is_well = table.problems().len() == before;
    table.finish();
    is_well.then_some(spec)
}

fn object(table: &Table<'_>, objects: &[&ObjectName]) -> Option<ObjectPlace> {
    let known = |name: &Located<String>| {
        let found = objects.iter().find(|object| object.as_str() == name.value);
        if found.is_none() {
            let message = format!("there is no [object.{}]", name.value);
            match nearest(&name.value, objects.iter().map(|object| object.as_str())) {
                Some(near) => {
                    table.problems().add_with_help(name.span.clone(), message, format!("did you mean '{near}'?"));
                }
                None => table.problems().add(name.span.clone(), message),
            }
        }
        found.map(|object| (*object).clone())
    };
    let always = table.text("object");
    let by = path(table, "type");
    let names = table.table("objects");
    match (always, by, names) {
        (Some(name), None, None) => Some(ObjectPlace::Always(known(&name)?)),
        (None, Some(path), Some(names)) => {
            let mut list = Vec::new();
            for (pattern, item) in names.all() {
                match item.text() {
                    Ok(name) => list.extend(known(&name).map(|object| (pattern.value, object))),
                    Err(wanted) => {
                        let message = format!("'{}' must be {wanted}: the name of an object", pattern.value);
                        table.problems().add(item.span(), message);
                    }
                }
            }
            Some(ObjectPlace::By { path, names: list })
        }
        (None, None, None) => Some(ObjectPlace::Any),
        (Some(name), _, _) => {
            let help = "keep 'object' where all events are about one object, else the other two";
            table.problems().add_with_help(name.span, "'object' stands beside 'type' or 'objects'", help);
            None
        }
        (None, Some(_), None) | (None, None, Some(_)) => {
            let help = "for example type = \"type\", objects = { \"contact.*\" = \"contacts\" }";
            table.problems().add_with_help(table.span(), "'type' and 'objects' belong together", help);
            None
        }
    }
}

fn handshake(table: Table<'_>) -> Option<Handshake> {
    let query = table.text("query").map(|param| Handshake::Query { param: param.value });
    let body = path(&table, "body").map(|path| Handshake::Body { path });
    if query.is_some() == body.is_some() {
        let help = "for example handshake = { query = \"validationToken\" } or { body = \"challenge\" }";
        table.problems().add_with_help(table.span(), "a handshake answers what stands in 'query' or 'body'", help);
    }
    table.finish();
    query.or(body)
}

const SIGNATURE_HELP: &str = "a preset such as \"standard-webhooks\", \"basic\", \"none\", { token = \"X-Token\" }, { token_at = \"path\" } or \
                              { hmac = \"sha256\", header = \"X-Signature\", signed = [\"{body}\"] }";

fn signature(table: &Table<'_>) -> Option<Scheme> {
    let Some(item) = table.item("signature") else {
        let message = "'signature' is missing in webhook: how is a delivery known to be genuine?";
        table.problems().add_with_help(table.span(), message, SIGNATURE_HELP);
        return None;
    };
    if let Ok(name) = item.text() {
        let scheme = match name.value.as_str() {
            "none" => Some(Scheme::Unsigned),
            "basic" => Some(Scheme::Basic),
            preset => Scheme::preset(preset),
        };
        if scheme.is_none() {
            let known = Scheme::PRESETS.iter().copied().chain(["none", "basic"]);
            let help = match nearest(&name.value, known.clone()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("one of: {}", known.collect::<Vec<_>>().join(", ")),
            };
            table.problems().add_with_help(name.span, format!("'{}' is no signature", name.value), help);
        }
        return scheme;
    }
    let declared = sub(table, "signature", "webhook.signature")?;
    if declared.item("token_at").is_some() {
        let at = path(&declared, "token_at");
        declared.finish();
        return Some(Scheme::BodyToken { path: at?, events: path(table, "events") });
    }
    if declared.item("token").is_some() {
        let header = header_name(&declared, "token");
        let prefix = declared.text("prefix").map(|prefix| prefix.value).unwrap_or_default();
        declared.finish();
        return Some(Scheme::Token { header: header?, prefix });
    }
    hmac(declared).map(Scheme::Hmac)
}

fn hmac(table: Table<'_>) -> Option<Hmac> {
    let problems = table.problems();
    let algorithm = word(&table, "hmac", &[("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512)]);
    if table.item("hmac").is_none() {
        problems.add_with_help(table.span(), "a signature has 'hmac', 'token' or 'token_at'", SIGNATURE_HELP);
    }
    let encoding = word(&table, "encoding", &[("hex", Encoding::Hex), ("base64", Encoding::Base64)]);
    let secret = word(&table, "secret", &[("text", SecretForm::Text), ("whsec", SecretForm::Whsec)]);
    let header = header_name(&table, "header");
    if table.item("header").is_none() {
        problems.add(table.span(), "'header' is missing in webhook.signature: where does the signature stand?");
    }
    let prefix = table.text("prefix").map(|prefix| prefix.value).unwrap_or_default();
    let form = match sub(&table, "list", "webhook.signature.list") {
        Some(list) => list_form(list),
        None => Some(Form::One { prefix }),
    };
    let id = header_name(&table, "id");
    let stamp = stamp(&table);
    let signed = signed(&table, stamp.is_some(), id.is_some());
    table.finish();
    Some(Hmac {
        algorithm: algorithm?,
        encoding: encoding.unwrap_or(Encoding::Hex),
        secret: secret.unwrap_or(SecretForm::Text),
        header: header?,
        form: form?,
        signed: signed?,
        stamp,
        id,
    })
}

fn list_form(table: Table<'_>) -> Option<Form> {
    let one = |key: &str, default: char| match table.text(key) {
        None => Some(default),
        Some(text) => {
            let mut chars = text.value.chars();
            let only = chars.next().filter(|_| chars.next().is_none());
            if only.is_none() {
                table.problems().add(text.span, format!("'{key}' must be one character"));
            }
            only
        }
    };
    let (separator, between) = (one("separator", ','), one("between", '='));
    let name = table.required_text("name");
    table.finish();
    Some(Form::List { separator: separator?, between: between?, name: name?.value })
}

fn stamp(table: &Table<'_>) -> Option<Stamp> {
    let header = header_name(table, "timestamp");
    let entry = table.text("timestamp_entry").map(|entry| entry.value);
    let millis = word(table, "timestamp_unit", &[("s", false), ("ms", true)]).unwrap_or(false);
    let tolerance = table.duration_ms("tolerance");
    let tolerance_s = tolerance.as_ref().map_or(DEFAULT_TOLERANCE_S, |tolerance| tolerance.value.div_ceil(1_000));
    let place = header.map(StampPlace::Header).or(entry.map(StampPlace::Entry));
    if let (None, Some(tolerance)) = (&place, &tolerance) {
        let help =
            "add timestamp = \"X-Timestamp\", or timestamp_entry = \"t\" where it stands in the signature's list";
        table.problems().add_with_help(tolerance.span.clone(), "'tolerance' needs a time that is signed", help);
    }
    Some(Stamp { place: place?, millis, tolerance_s })
}

/// What is signed: texts, each of plain text or of one `{part}`.
fn signed(table: &Table<'_>, has_stamp: bool, has_id: bool) -> Option<Vec<Part>> {
    let Some(texts) = table.texts("signed") else {
        if table.item("signed").is_none() {
            let help = "for example signed = [\"{timestamp}\", \".\", \"{body}\"]";
            table.problems().add_with_help(table.span(), "'signed' is missing in webhook.signature", help);
        }
        return None;
    };
    let span = table.item("signed").map_or(table.span(), |item| item.span());
    let mut parts = Vec::new();
    for text in &texts {
        parts.push(match text.value.as_str() {
            "{body}" => Part::Body,
            "{timestamp}" => Part::Stamp,
            "{id}" => Part::Id,
            "{method}" => Part::Method,
            "{url}" => Part::DecodedUrl,
            plain if !plain.contains(['{', '}']) => Part::Text(plain.to_owned()),
            other => {
                let help = "{body}, {timestamp}, {id}, {method} or {url}, each in a text of its own";
                table.problems().add_with_help(text.span.clone(), format!("'{other}' is nothing that is signed"), help);
                return None;
            }
        });
    }
    for (part, is_there, key) in [(Part::Stamp, has_stamp, "timestamp"), (Part::Id, has_id, "id")] {
        if parts.contains(&part) && !is_there {
            let message = format!("{{{key}}} is signed, but '{key}' does not say where it stands");
            table.problems().add(span.clone(), message);
        }
        if !parts.contains(&part) && is_there {
            // Whoever can replay a delivery could give it another time or name.
            let message = format!("'{key}' is declared, but not a part of what is signed");
            table.problems().add_with_help(span.clone(), message, format!("add \"{{{key}}}\" to 'signed'"));
        }
    }
    if !parts.contains(&Part::Body) {
        table.problems().add(span, "the body is not a part of what is signed");
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::http::HttpConnectorFile;
    use crate::model::path::Path;

    fn parse(webhook: &str) -> Result<WebhookSpec, Vec<String>> {
        let text = format!(
            "name = 'crm'\n[webhook]\n{webhook}\n[object.contacts]\nid = 'id'\n[object.contacts.list]\nget = '/c'\nrecords = 'r'\n"
        );
        let file = HttpConnectorFile::parse("crm.toml", &text).map_err(|error| error.lines)?;
        Ok(file.webhook().unwrap().as_ref().clone())
    }

    #[test]
    fn a_hash_of_ones_own_is_declared_as_the_presets_are() {
        let own = "signature = { hmac = 'sha256', header = 'Stripe-Signature', list = { name = 'v1' }, \
                   timestamp_entry = 't', signed = ['{timestamp}', '.', '{body}'] }\nobject = 'contacts'\nid = 'id'";
        assert_eq!(parse(own).unwrap().scheme, Scheme::preset("stripe").unwrap());
        let own = "signature = { hmac = 'sha256', header = 'X-HubSpot-Signature-v3', encoding = 'base64', \
                   timestamp = 'X-HubSpot-Request-Timestamp', timestamp_unit = 'ms', tolerance = '5m', \
                   signed = ['{method}', '{url}', '{body}', '{timestamp}'] }";
        assert_eq!(parse(own).unwrap().scheme, Scheme::preset("hubspot-v3").unwrap());
        let own = "signature = { hmac = 'sha256', header = 'webhook-signature', encoding = 'base64', secret = 'whsec', \
                   list = { name = 'v1', separator = ' ', between = ',' }, timestamp = 'webhook-timestamp', \
                   id = 'webhook-id', signed = ['{id}', '.', '{timestamp}', '.', '{body}'] }";
        assert_eq!(parse(own).unwrap().scheme, Scheme::preset("standard-webhooks").unwrap());
        let at = parse("signature = { token_at = 'clientState' }\nevents = 'value'\nobject = 'contacts'\nid = 'id'");
        let (path, events) = (Path::key("clientState"), Some(Path::key("value")));
        assert_eq!(at.unwrap().scheme, Scheme::BodyToken { path, events });
        let ping = parse("signature = 'none'").unwrap();
        assert_eq!((ping.scheme, ping.object, ping.ids), (Scheme::Unsigned, ObjectPlace::Any, Vec::new()));
    }

    #[test]
    fn wrong_declarations_are_told_with_what_to_do() {
        const HASH: &str = "hmac = 'sha256', header = 'X-Sig'";
        for (webhook, said) in [
            ("".to_owned(), "'signature' is missing"),
            ("signature = 'stripes'".to_owned(), "did you mean 'stripe'?"),
            ("signature = 5".to_owned(), "must be a table"),
            (
                "signature = 'none'\nobject = 'contacts'\nrecord = 'data'".to_owned(),
                "only of deliveries that are signed",
            ),
            ("signature = { }".to_owned(), "a signature has 'hmac', 'token' or 'token_at'"),
            ("signature = { token = 'a b' }".to_owned(), "is not the name of a header"),
            ("signature = { token_at = 'a..b' }".to_owned(), "is not a path"),
            ("signature = { token_at = 'a', token = 'X' }".to_owned(), "unknown key 'token'"),
            ("signature = { hmac = 'md5', header = 'X', signed = ['{body}'] }".to_owned(), "'md5' is no hmac"),
            ("signature = { hmac = 'sha256', signed = ['{body}'] }".to_owned(), "'header' is missing"),
            (format!("signature = {{ {HASH} }}"), "'signed' is missing"),
            (format!("signature = {{ {HASH}, signed = ['x'] }}"), "the body is not a part"),
            (
                format!("signature = {{ {HASH}, signed = ['{{body}}', '{{time}}'] }}"),
                "'{time}' is nothing that is signed",
            ),
            (format!("signature = {{ {HASH}, signed = ['{{body}}', '{{id}}'] }}"), "does not say where it stands"),
            (format!("signature = {{ {HASH}, signed = ['{{body}}'], id = 'X-Id' }}"), "not a part of what is signed"),
            (
                format!("signature = {{ {HASH}, signed = ['{{body}}'], tolerance = '1m' }}"),
                "needs a time that is signed",
            ),
            (format!("signature = {{ {HASH}, signed = ['{{body}}'], list = {{ }} }}"), "'name' is missing"),
            (
                format!("signature = {{ {HASH}, signed = ['{{body}}'], list = {{ name = 'v', separator = ', ' }} }}"),
                "must be one character",
            ),
            (format!("signature = {{ {HASH}, signed = ['{{body}}'], heder = 'X' }}"), "did you mean 'header'?"),
            ("signature = 'none'\nobject = 'contact'".to_owned(), "did you mean 'contacts'?"),
            ("signature = 'none'\ntype = 'type'".to_owned(), "'type' and 'objects' belong together"),
            ("signature = 'none'\nobjects = { a = 'contacts' }".to_owned(), "'type' and 'objects' belong together"),
            ("signature = 'none'\ntype = 'type'\nobjects = { a = 'x' }".to_owned(), "there is no [object.x]"),
            (
                "signature = 'none'\ntype = 'type'\nobject = 'contacts'\nobjects = { a = 'contacts' }".to_owned(),
                "stands beside 'type'",
            ),
            ("signature = 'none'\nid = 'id'".to_owned(), "nothing says of which object"),
            ("signature = 'none'\nobject = 'contacts'\nid = ['a..b']".to_owned(), "is not a path"),
            ("signature = 'none'\nobject = 'contacts'\nid = [1]".to_owned(), "must be a text"),
            ("signature = 'none'\nhandshake = { }".to_owned(), "'query' or 'body'"),
            ("signature = 'none'\nevent = 'x'".to_owned(), "did you mean 'events'?"),
        ] {
            let lines = parse(&webhook).unwrap_err();
            assert!(lines.iter().any(|line| line.contains(said)), "{webhook}\n{said}: {lines:#?}");
        }
    }
}
