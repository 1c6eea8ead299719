//! Apps that speak XML, declared by files alone: one by SOAP, one by CardDAV.
#![cfg(feature = "xml")]

use super::*;
use crate::connectors::http::xml::{XmlSpec, to_json};
use crate::model::ids::Version;
use crate::model::record::Body;
use crate::model::write::{Change, Create, Delete, Update};

const SOAP: &str = include_str!("../../../../fixtures/connectors/soap.toml");
const CARDDAV: &str = include_str!("../../../../fixtures/connectors/carddav.toml");

fn bench(file: &str, answer: impl FnMut(&HttpRequest) -> Answer + 'static) -> Bench {
    let credentials = Credentials::Basic { user: "u".into(), password: "p".to_owned().into() };
    Bench::with_settings(file, HttpSettings { credentials, ..HttpSettings::new(BASE) }, answer)
}

/// A contact of the SOAP app.
#[derive(Clone)]
struct Contact {
    id: u32,
    revision: u32,
    email: &'static str,
    phone: String,
    tags: Vec<&'static str>,
    deleted: bool,
}

fn contact(id: u32, email: &'static str, tags: &[&'static str]) -> Contact {
    Contact { id, revision: 1, email, phone: "1".into(), tags: tags.to_vec(), deleted: false }
}

fn shown_contact(contact: &Contact) -> String {
    let Contact { id, revision, email, phone, tags, deleted } = contact;
    let tags: String = tags.iter().map(|tag| format!("<Tag>{tag}</Tag>")).collect();
    format!(
        "<Contact>\n  <Id>{id}</Id><Revision>{revision}</Revision><ModifiedOn>2026-11-23T10:00:0{id}Z</ModifiedOn>\
         <Email>{email}</Email><Phone kind=\"work\">{phone}</Phone>{tags}<Deleted>{deleted}</Deleted><Note/>\n</Contact>"
    )
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

fn fault(code: &str, detail: &str) -> Answer {
    // As many apps have it: an error inside a success.
    ok(&envelope(&format!(
        "<soap:Fault><faultcode>soap:Client</faultcode><faultstring>no</faultstring>\
         <detail><Code>{code}</Code>{detail}</detail></soap:Fault>"
    )))
}

/// Answers as the app would, from what the request says.
fn soap(mut contacts: Vec<Contact>) -> impl FnMut(&HttpRequest) -> Answer {
    move |request| {
        assert_eq!((request.method, request.url.as_str()), (Method::Post, "https://api.example.com/v1/soap/contacts"));
        assert_eq!(request.header("content-type"), Some("text/xml; charset=utf-8"));
        assert_eq!(request.header("accept"), Some("application/xml, text/xml"));
        let told = value(&to_json(&XmlSpec::default(), request.body.as_deref().unwrap()).unwrap());
        let body = told.get(&"Envelope.Body".parse().unwrap()).unwrap().clone();
        let text = |path: &str| body.get(&path.parse().unwrap()).and_then(Value::as_str).map(str::to_owned);
        match request.header("SOAPAction").unwrap() {
            "urn:crm/ListContacts" => {
                let since = text("ListContacts.ModifiedSince").unwrap_or_default();
                let from: usize = text("ListContacts.Page").map_or(0, |page| page.parse().unwrap());
                let email = text("ListContacts.Filter.#text");
                let fits = |contact: &&Contact| {
                    format!("2026-11-23T10:00:0{}.000Z", contact.id) >= since
                        && email.as_ref().is_none_or(|email| contact.email == email)
                };
                let all: Vec<String> = contacts.iter().filter(fits).map(shown_contact).collect();
                let page: String = all.iter().skip(from).take(2).map(String::as_str).collect();
                let next =
                    if from + 2 < all.len() { format!("<NextPage>{}</NextPage>", from + 2) } else { String::new() };
                ok(&envelope(&format!(
                    "<ListContactsResponse xmlns=\"urn:crm\"><Contacts>{page}</Contacts>{next}</ListContactsResponse>"
                )))
            }
            "urn:crm/GetContact" => {
                let id: u32 = text("GetContact.Id").unwrap().parse().unwrap();
                match contacts.iter().find(|contact| contact.id == id) {
                    Some(contact) => ok(&envelope(&format!(
                        "<GetContactResponse xmlns=\"urn:crm\">{}</GetContactResponse>",
                        shown_contact(contact)
                    ))),
                    None => fault("CONTACT_NOT_FOUND", ""),
                }
            }
            "urn:crm/SaveContact" => {
                let email = text("SaveContact.Contact.Email");
                if email.as_deref() == Some("bad") {
                    return fault("VALIDATION", "<Field>Email</Field>");
                }
                let id = match text("SaveContact.Id").map(|id| id.parse::<u32>().unwrap()) {
                    Some(id) => {
                        let Some(contact) = contacts.iter_mut().find(|contact| contact.id == id) else {
                            return fault("CONTACT_NOT_FOUND", "");
                        };
                        contact.revision += 1;
                        contact.phone = text("SaveContact.Contact.Phone").unwrap_or_default();
                        id
                    }
                    None if contacts.iter().any(|contact| Some(contact.email) == email.as_deref()) => {
                        return fault("DUPLICATE_EMAIL", "");
                    }
                    None => {
                        contacts.push(contact(9, "new@x", &[]));
                        9
                    }
                };
                ok(&envelope(&format!(
                    "<GetContactResponse xmlns=\"urn:crm\"><Contact><Id>{id}</Id></Contact></GetContactResponse>"
                )))
            }
            "urn:crm/DeleteContact" => {
                let id = text("DeleteContact.Id").unwrap();
                contacts.retain(|contact| contact.id.to_string() != id);
                ok(&envelope("<DeleteContactResponse xmlns=\"urn:crm\"/>"))
            }
            other => panic!("{other}"),
        }
    }
}

fn three() -> Vec<Contact> {
    let gone = Contact { deleted: true, ..contact(3, "c@x", &["x", "y"]) };
    vec![contact(1, "a@x", &["x"]), contact(2, "b&lt;&#x40;x", &[]), gone]
}

#[actix_web::test]
async fn a_soap_app_is_listed_and_followed() {
    let bench = bench(SOAP, soap(three()));
    let object = "contacts".into();
    let read = async |read| bench.connector.read(&bench.calls, &object, read).await.unwrap();
    let first = read(Read::All { page: None }).await;
    assert_eq!(names(&first.entries), ["1", "2"]);
    let want = r#"{"Id":"1","Revision":"1","ModifiedOn":"2026-11-23T10:00:01Z","Email":"a@x","Phone":"1","Tag":["x"],"Deleted":"false","Note":null}"#;
    assert_eq!(live(&first.entries[0]).body.as_str(), want);
    // No tag is an empty list, and one is a list of one.
    assert!(
        live(&first.entries[1])
            .body
            .as_str()
            .contains(r#""Email":"b<@x","Phone":"1","Deleted":"false","Note":null,"Tag":[]"#)
    );
    let last = read(Read::All { page: first.next }).await;
    assert_eq!((names(&last.entries), last.next), (vec!["-3".to_owned()], None));
    let cursor = last.cursor.unwrap();
    assert!(cursor.as_str().starts_with("t:2026-11-23T10:00:03"), "{cursor:?}");
    // Five minutes of lookback reach them all; a later position none.
    assert_eq!(names(&read(Read::Changes { since: cursor, page: None }).await.entries), ["1", "2"]);
    let later = read(Read::Changes { since: Cursor::new("t:2026-11-23T11:00:00.000000Z"), page: None }).await;
    assert!(later.entries.is_empty() && later.next.is_none(), "an empty element is an empty list: {later:?}");
    let body = bench.sent().last().unwrap().body.clone().unwrap();
    let want = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
                <soap:Body><ListContacts xmlns=\"urn:crm\"><ModifiedSince>2026-11-23T10:55:00.000Z</ModifiedSince>\
                <PageSize>2</PageSize></ListContacts></soap:Body></soap:Envelope>";
    assert_eq!(body, want);
    let found = read(Read::Find(vec![(Path::key("Email"), Value::string("a@x"))])).await;
    assert_eq!(names(&found.entries), ["1"]);
    let page = read(Read::Ids(vec!["2".into(), "7".into()])).await;
    assert_eq!(names(&page.entries), ["2", "-7"], "a fault inside a success says that it is gone");
}

#[actix_web::test]
async fn a_soap_app_is_written_to() {
    let bench = bench(SOAP, soap(three()));
    let object = "contacts".into();
    let write = async |write| word(&bench.connector.write(&bench.calls, &object, vec![write]).await[0]);
    let create = |email: &str| {
        let record = value(&format!(r#"{{"Email":"{email}","Tag":["<a>","b & c"],"Note":null,"Owner":"never"}}"#));
        Write::Create(Create { record, idempotency_key: "k".into(), external_id: "e".into() })
    };
    let update = |id: &str, phone: &str| {
        let changes = vec![
            Change { path: Path::key("Phone"), value: Some(Value::string(phone)) },
            Change { path: Path::key("Note"), value: None },
        ];
        Write::Update(Update { id: id.into(), expected: Some(Version::from("1")), current: None, changes })
    };
    assert_eq!(write(create("new@x")).await, "written 9");
    let body = bench.sent()[0].body.clone().unwrap();
    assert!(body.ends_with(
        "<SaveContact xmlns=\"urn:crm\"><Contact><Email>new@x</Email><Tag>&lt;a&gt;</Tag><Tag>b &amp; c</Tag><Note/></Contact>\
         </SaveContact></soap:Body></soap:Envelope>"
    ), "{body}");
    assert_eq!(write(create("a@x")).await, "duplicate ?");
    assert_eq!(write(create("bad")).await, "rejected Email");
    assert_eq!(write(update("1", "+49")).await, "written 1");
    let body = bench.sent().last().unwrap().body.clone().unwrap();
    assert!(body.contains("<Id>1</Id><Revision>1</Revision><Contact><Phone>+49</Phone><Note/></Contact>"), "{body}");
    assert_eq!(write(update("8", "+49")).await, "missing");
    assert_eq!(write(Write::Delete(Delete { id: "1".into(), expected: None })).await, "deleted");
    // What XML cannot say is held back, and nothing is sent.
    let num_sent = bench.sent().len();
    assert_eq!(write(update("2", "a\u{1}b")).await, "rejected");
    assert_eq!(bench.sent().len(), num_sent);
}

#[actix_web::test]
async fn what_is_no_xml_answer_is_never_an_empty_list() {
    let envelope = envelope("<ListContactsResponse><Contacts/></ListContactsResponse>");
    for (body, want) in [
        ("<html><body>log in</body></html>".to_owned(), "a page of HTML"),
        (envelope[..envelope.len() - 3].to_owned(), "no XML"),
        (format!("<!DOCTYPE x [<!ENTITY a \"b\">]>{envelope}"), "a document type, which is not taken"),
        (envelope.replace("<Contacts/>", "<Contacts>&a;</Contacts>"), "the entity '&a;' is not known"),
        (envelope.replace("<Contacts/>", ""), "there is nothing at"),
        (envelope.replace("</soap:Body>", "</soap:Bodi>"), "no XML"),
        ("<a/><b/>".to_owned(), "after the end of the document"),
        (String::new(), "not JSON"),
    ] {
        let told = body.clone();
        let bench = bench(SOAP, move |_| ok(&told));
        let error = bench.connector.read(&bench.calls, &"contacts".into(), Read::All { page: None }).await.unwrap_err();
        assert!(error.next == NextStep::Retry && error.message.contains(want), "{body}: {error:?}");
        // A write that is so answered may have been carried out.
        let delete = Write::Delete(Delete { id: "1".into(), expected: None });
        if body.starts_with("<html") {
            let outcomes = bench.connector.write(&bench.calls, &"contacts".into(), vec![delete]).await;
            assert_eq!(word(&outcomes[0]), "unknown", "{body}");
        }
    }
}

const CARD: &str = "BEGIN:VCARD\r\nUID:a\r\nFN:Ann &amp; Bob\r\nEND:VCARD\r\n";

fn response(href: &str, etag: &str) -> String {
    format!(
        "<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:getetag>\"{etag}\"</d:getetag>\
         <d:getlastmodified>Mon, 23 Nov 2026 08:59:49 GMT</d:getlastmodified>\
         <card:address-data><![CDATA[{CARD}]]></card:address-data></d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
    )
}

fn multistatus(responses: &str, token: &str) -> Answer {
    status(
        207,
        &format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><d:multistatus xmlns:d=\"DAV:\" \
             xmlns:card=\"urn:ietf:params:xml:ns:carddav\">{responses}{token}</d:multistatus>"
        ),
    )
}

#[actix_web::test]
async fn an_address_book_is_listed_followed_and_read() {
    let bench = bench(CARDDAV, |request| {
        let body = request.body.clone().unwrap();
        match (request.method, request.url.strip_prefix(BASE).unwrap()) {
            (Method::Report, "/") if body.contains("<d:sync-token></d:sync-token>") => multistatus(
                &format!("{}{}", response("/v1/a%2Bb%40x.vcf", "1"), response("https://api.example.com/v1/c.vcf", "2")),
                "<d:sync-token>https://x/sync/5</d:sync-token>",
            ),
            (Method::Report, "/") if body.contains("<d:sync-token>https://x/sync/5</d:sync-token>") => multistatus(
                "<d:response><d:href>/v1/c.vcf</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>\
                 <d:response><d:href>/v1/</d:href><d:status>HTTP/1.1 200 OK</d:status></d:response>",
                "<d:sync-token>https://x/sync/6</d:sync-token>",
            ),
            (Method::Report, "/") => status(403, "<d:error xmlns:d=\"DAV:\"><d:valid-sync-token/></d:error>"),
            (Method::Propfind, "/a%2Bb%40x.vcf") => multistatus(&response("/v1/a%2bb@x.vcf", "1"), ""),
            (Method::Propfind, _) => status(404, ""),
            other => panic!("{other:?}"),
        }
    });
    let object = "cards".into();
    let read = async |read| bench.connector.read(&bench.calls, &object, read).await;
    let all = read(Read::All { page: None }).await.unwrap();
    assert_eq!(names(&all.entries), ["a+b@x", "c"]);
    let first = live(&all.entries[0]);
    assert_eq!(first.version, Some(Version::from("\"1\"")));
    assert_eq!(first.modified.unwrap().to_rfc3339(), "2026-11-23T08:59:49+00:00");
    let card = first.body.decode().unwrap().get(&"propstat.prop.address-data".parse().unwrap()).cloned();
    // Marked text is taken as it stands, but for the ends of its lines.
    assert_eq!(card, Some(Value::string(CARD.replace("\r\n", "\n"))));
    let changes = read(Read::Changes { since: all.cursor.unwrap(), page: None }).await.unwrap();
    assert_eq!(names(&changes.entries), ["-c", "!multistatus.response[1].href"]);
    let token = changes.cursor.unwrap();
    assert_eq!(token.as_str(), "o:https://x/sync/6");
    let error = read(Read::Changes { since: token, page: None }).await.unwrap_err();
    assert_eq!(error.next, NextStep::Resync, "{error:?}");
    let page = read(Read::Ids(vec!["a+b@x".into(), "c".into()])).await.unwrap();
    assert_eq!(names(&page.entries), ["a+b@x", "-c"]);
    assert_eq!(bench.sent()[0].header("Depth"), Some("1"));
}

#[actix_web::test]
async fn a_card_is_written_as_the_text_it_is() {
    let bench = bench(CARDDAV, |request| match (request.method, request.header("If-Match")) {
        (Method::Put, None) if request.url.ends_with("/there.vcf") => status(412, ""),
        (Method::Put, None) => Ok(HttpResponse::new(201, "").with_header("ETag", "\"7\"")),
        (Method::Put | Method::Delete, Some("\"1\"")) => status(204, ""),
        (Method::Put | Method::Delete, _) => status(412, ""),
        other => panic!("{other:?}"),
    });
    let object = "cards".into();
    let write = async |write| bench.connector.write(&bench.calls, &object, vec![write]).await.remove(0);
    let create = |external_id: &str| {
        let record = value(r#"{"propstat":{"prop":{"address-data":"BEGIN:VCARD\n"}}}"#);
        Write::Create(Create { record, idempotency_key: "k".into(), external_id: external_id.into() })
    };
    let created = write(create("e/1")).await;
    assert!(
        matches!(&created, Outcome::Written(stored) if stored.id.as_str() == "e/1" && stored.version == Some("\"7\"".into())
            && stored.body.is_none()),
        "a side that takes our id and says nothing else has made it: {created:?}"
    );
    assert_eq!(word(&write(create("there")).await), "duplicate ?");
    let update = |expected: &str| {
        let current = Some(Body::from_json(r#"{"href":"x","propstat":{"prop":{"address-data":"OLD"}}}"#));
        let change =
            Change { path: "propstat.prop.address-data".parse().unwrap(), value: Some(Value::string("NEW <&>")) };
        Write::Update(Update {
            id: "a+b@x".into(),
            expected: Some(Version::from(expected)),
            current,
            changes: vec![change],
        })
    };
    assert_eq!(word(&write(update("\"1\"")).await), "written a+b@x");
    assert_eq!(word(&write(update("\"0\"")).await), "changed");
    let delete = Write::Delete(Delete { id: "a+b@x".into(), expected: Some(Version::from("\"1\"")) });
    assert_eq!(word(&write(delete).await), "deleted");
    let sent = bench.sent();
    assert!(sent[0].url.ends_with("/e%2F1.vcf") && sent[0].header("If-None-Match") == Some("*"), "{:?}", sent[0]);
    assert_eq!((sent[0].body.as_deref(), sent[0].header("content-type")), (Some("BEGIN:VCARD\n"), Some("text/vcard")));
    assert_eq!(
        (sent[2].body.as_deref(), sent[2].url.as_str()),
        (Some("NEW <&>"), "https://api.example.com/v1/a%2Bb%40x.vcf")
    );
}

#[test]
fn xml_that_cannot_be_meant_is_told() {
    for (from, to, want) in [
        (
            "[xml]\n",
            "[xml]\nobjects = [\"Envelope.Body.GetContactResponse.Contact.Phone\"]\n",
            "is declared as a text and as an object",
        ),
        ("[xml]\n", "[xml]\nprefixes = { \"DAV:\" = \"\" }\n", "'' is no prefix for the names of 'DAV:'"),
        ("[xml]\n", "[xml]\nlist = []\n", "did you mean 'lists'?"),
        ("post = \"/soap/contacts\"\n", "post = \"/soap/contacts\"\nmethod = \"REPROT\"\n", "did you mean 'REPORT'?"),
        ("id = \"Id\"", "id = \"Id\"\nid_in = \"/x\"", "'id_in' must hold {id} once"),
        (
            "id = \"Id\"",
            "id = [\"Id\", \"x\"]\nid_separator = \"/\"\nid_in = \"/{id}\"",
            "'id_in' is for an 'id' of one path",
        ),
    ] {
        let lines = HttpConnectorFile::parse("crm.toml", &SOAP.replacen(from, to, 1)).map(|_| ()).unwrap_err().lines;
        assert!(lines.iter().any(|line| line.contains(want)), "{to}: {lines:#?}");
    }
}
