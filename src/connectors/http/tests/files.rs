//! Connector files: what is accepted, and how problems are told.

use super::*;
use crate::model::budget::Window;
use crate::model::write::DEFAULT_CREATE_SETTLE_MS;

fn problems(text: &str) -> Vec<String> {
    HttpConnectorFile::parse("crm.toml", text).map(|_| ()).unwrap_err().lines
}

#[test]
fn the_shipped_files_are_accepted() {
    for (name, text) in [
        ("kinto", include_str!("../../../../fixtures/connectors/kinto.toml")),
        ("crm", include_str!("../../../../fixtures/connectors/sandbox.toml")),
    ] {
        let file = HttpConnectorFile::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.name(), name);
        let capabilities = capabilities(file.object(&"contacts".into()).unwrap());
        assert!(capabilities.changes && capabilities.conditional && capabilities.writable, "{name}");
        assert_eq!(capabilities.batch, 100);
    }
}

#[test]
fn an_app_that_says_little_can_be_declared() {
    let text = include_str!("../../../../fixtures/connectors/directus.toml");
    let file = HttpConnectorFile::parse("directus.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let capabilities = capabilities(file.object(&"contacts".into()).unwrap());
    assert!(capabilities.changes && !capabilities.conditional && capabilities.writable);
    assert_eq!((capabilities.create, capabilities.read_ids), (CreateRecovery::ExternalId, 50));
    assert_eq!(file.webhook().unwrap().ids.len(), 2);
}

#[test]
fn apps_of_very_different_styles_can_be_declared() {
    for (text, object, want) in [
        (include_str!("../../../../fixtures/connectors/stripe.toml"), "customers", (20, false, 1)),
        (include_str!("../../../../fixtures/connectors/hubspot.toml"), "contacts", (100, false, 100)),
        (include_str!("../../../../fixtures/connectors/graph.toml"), "contacts", (20, true, 20)),
    ] {
        let file = HttpConnectorFile::parse("app.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let can = capabilities(file.object(&object.into()).unwrap());
        assert!(can.changes && can.deletions && can.writable && file.webhook().is_some(), "{}: {can:?}", file.name());
        assert_eq!((can.read_ids, can.conditional, can.batch), want, "{}", file.name());
        assert!(can.find.iter().any(|path| path.to_string().contains("mail")), "{}: {:?}", file.name(), can.find);
    }
}

#[test]
fn a_simple_app_takes_few_lines() {
    let text = r#"
name = "crm"
limits = { requests = 100, per = "10s", concurrency = 8 }
[object.contacts]
id = "id"
[object.contacts.list]
get = "/contacts"
[object.contacts.read]
get = "/contacts/{id}"
[object.contacts.find]
get = "/contacts"
params = { email = "email" }
[object.contacts.create]
post = "/contacts"
[object.contacts.update]
patch = "/contacts/{id}"
[object.contacts.delete]
delete = "/contacts/{id}"
"#;
    let file = HttpConnectorFile::parse("crm.toml", text).unwrap();
    assert_eq!(file.limits().windows, [Window::new(100, 10_000)]);
    assert_eq!(file.limits().concurrency, 8);
    let object = file.object(&"contacts".into()).unwrap();
    assert_eq!(
        capabilities(object),
        Capabilities {
            read_ids: 20,
            find: vec![Path::key("email")],
            update: UpdateStyle::Fields,
            create: CreateRecovery::Find { settle_ms: DEFAULT_CREATE_SETTLE_MS },
            ..Capabilities::default()
        }
    );
}

/// An app with offsets, a filter in JSON, times that are null until the first edit, and
/// other statuses than usual.
#[test]
fn an_app_of_its_own_habits_can_be_declared() {
    let text = r#"
name = "directus"
auth = { kind = "bearer" }
[object.contacts]
id = "id"
modified = ["date_updated", "date_created"]
read_only = ["user_created", "user_updated"]
record = "data"
[object.contacts.list]
get = "/items/contacts"
query = { sort = "date_updated,date_created,id", meta = "filter_count" }
records = "data"
page = { kind = "offset", size = 100, total = "meta.filter_count" }
[object.contacts.list.cursor]
kind = "time"
param = "filter"
format = '{"_or":[{"date_updated":{"_gte":"{cursor}"}},{"date_created":{"_gte":"{cursor}"}}]}'
[object.contacts.read]
get = "/items/contacts/{id}"
missing = [403, 404]
[object.contacts.find]
get = "/items/contacts"
params.email = { "filter[email][_eq]" = "{value}" }
[object.contacts.create]
post = "/items/contacts"
[object.contacts.update]
patch = "/items/contacts/{id}"
missing = [403, 404]
[object.contacts.delete]
delete = "/items/contacts/{id}"
[object.contacts.batch]
kind = "records"
create = { post = "/items/contacts", results = "data" }
update = { patch = "/items/contacts", results = "data" }
delete = { delete = "/items/contacts", item = "{id}" }
"#;
    let file = HttpConnectorFile::parse("directus.toml", text).unwrap_or_else(|error| panic!("{error}"));
    let object = file.object(&"contacts".into()).unwrap();
    assert_eq!(object.modified.len(), 2);
    assert_eq!(capabilities(object).find, [Path::key("email")]);
}

#[test]
fn all_problems_are_told_at_once_with_place_and_fix() {
    let text = r#"name = "crm"
[auth]
kind = "beerer"
[limits]
requests = 100
[object.contacts]
id = "a..b"
versoin = "etag"
[object.contacts.list]
get = "contacts"
page = { kind = "offset", size = 1 }
cursor = { kind = "time", op = "=>", lookback = "soon" }
[object.contacts.update]
put = "/contacts"
if_match = true
[object.contacts.create]
post = "/contacts"
recovery = "client_id"
body = { data = "{recrod}" }
[errors]
limited = [42]
"#;
    let lines = problems(text);
    let expected = [
        "crm.toml:3:8: 'beerer' is no kind (did you mean 'bearer'?)",
        "crm.toml:4:1: 'requests' and 'per' belong together (for example requests = 100, per = \"10s\")",
        "crm.toml:7:6: 'a..b' is not a path: a key is empty: two dots, or a dot at an end",
        "crm.toml:8:1: unknown key 'versoin' in [object.contacts] (did you mean 'version'?)",
        "crm.toml:10:7: 'contacts' is no path (a path begins with '/' and is appended to the connection's base_url)",
        "crm.toml:11:8: nothing tells where these pages end",
        "crm.toml:11:8: offset pages need a size of at least 2 (each page overlaps the one before by one record)",
        "crm.toml:12:10: 'param' is missing in [cursor]",
        "crm.toml:12:10: the cursor has no field to follow",
        "crm.toml:12:32: '=>' is no op (did you mean",
        "crm.toml:12:49: 'lookback' is not a length this cursor can have (write a duration: 500ms, 5s, 2m)",
        "crm.toml:13:1: the path of [object.contacts.update] names no record (put {id} where the record's id belongs)",
        "crm.toml:15:12: 'if_match' needs a version (declare version or version_header of the object)",
        "crm.toml:18:12: nothing tells the side which id the client chose",
        "crm.toml:18:12: an unknown create is recovered by reading its id (declare [read])",
        "crm.toml:19:8: '{recrod}' is no name for 'body'",
        "crm.toml:21:11: 'limited' must be a list of HTTP statuses (for example limited = [404, 410])",
    ];
    for (line, want) in lines.iter().zip(expected) {
        assert!(line.starts_with(want), "{line}\nwanted: {want}\nall:\n{}", lines.join("\n"));
    }
    assert_eq!(lines.len(), expected.len(), "{}", lines.join("\n"));
}

#[test]
fn what_cannot_work_is_refused() {
    let object = |lines: &str| format!("name = \"crm\"\n[object.x]\nid = \"id\"\n{lines}\n");
    let list = "[object.x.list]\nget = \"/x\"\n";
    for (lines, want) in [
        ("", "[object.x.list] is missing"),
        ("[object.x.list]\nput = \"/x\"\n", "needs a path under one of: get, post"),
        ("[object.x.list]\nget = \"/x?y=1\"\n", "holds what no path may hold"),
        ("[object.x.list]\nget = \"/x/../y\"\n", "holds '.' or '..'"),
        ("[object.x.list]\nget = \"/{name}\"\n", "unknown name in braces"),
        ("[object.x.list]\nget = \"/x\"\nheaders = { \"a b\" = \"c\" }", "is not a header"),
        ("[object.x.list]\nget = \"/x\"\nheaders = { a = \"c\\nd\" }", "is not a header"),
        ("[object.x.list]\nget = \"/x\"\npage = { kind = \"cursor\" }", "'next' is missing"),
        ("[object.x.list]\nget = \"/x\"\ndeleted = { value = 1 }", "needs either flag or tombstone"),
        (&format!("{list}[object.x.create]\npost = \"/x\"\nput = \"/x\""), "one method only"),
        (&format!("{list}[object.x.create]\npost = \"/x\"\nrecovery = \"find\""), "recovered by finding it"),
        (
            &format!("{list}[object.x.create]\npost = \"/x\"\nrecovery = {{ kind = \"idempotency_key\" }}"),
            "needs its header",
        ),
        (
            &format!("{list}[object.x.create]\npost = \"/x\"\nrecovery = {{ kind = \"external_id\", field = \"e\" }}"),
            "finding its external id",
        ),
        (&format!("{list}[object.x.update]\nput = \"/x/{{id}}\"\nmakes_missing = true"), "needs 'if_match'"),
        (&format!("{list}[object.x.update]\nput = \"/x/{{id}}\"\nmissing = [403]"), "holds a refusal"),
        (&format!("{list}[object.x.delete]\ndelete = \"/x/{{id}}\"\nmissing = [404, 401]"), "holds a refusal"),
        (&format!("{list}[object.x.create]\npost = \"/x\"\nduplicate_text = \"X\""), "needs 'duplicate'"),
        (&format!("{list}[object.x.read_many]\nget = \"/x\"\nparam = \"ids\""), "needs [read]"),
        (&format!("{list}[object.x.batch]\nkind = \"recrods\""), "did you mean 'records'"),
        ("list = 5", "must be a table"),
    ] {
        let lines = problems(&object(lines)).join("\n");
        assert!(lines.contains(want), "wanted {want}:\n{lines}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let whole = include_str!("../../../../fixtures/connectors/kinto.toml");
    for cut in (0..whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
        drop(HttpConnectorFile::parse("cut.toml", &whole[..cut]));
    }
    let mut random = fastrand::Rng::with_seed(7);
    let pieces = ["{", "}", "[", "]", "=", "\"", "5", "true", "\n", "{id}", "kind"];
    for round in 0..2_000 {
        let mut text = whole.to_owned();
        let mut at = random.usize(..text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, pieces[random.usize(..pieces.len())]);
        drop(HttpConnectorFile::parse(&format!("seed 7, round {round}"), &text));
    }
}
