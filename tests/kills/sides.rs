//! Both sides as their users see and edit them: through their HTTP APIs, past the
//! kernel. Fields have the app's names throughout.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Map, Value, json};

/// Field in the app, property in the sandbox.
pub const FIELDS: [(&str, &str); 6] = [
    ("email", "email"),
    ("name", "full_name"),
    ("note", "notes"),
    ("tier", "plan"),
    ("title", "job_title"),
    ("phone", "phone"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    App,
    Remote,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::App, Self::Remote];

    /// Fields that may be edited there; the others belong to the other side.
    pub fn editable(self) -> [&'static str; 4] {
        match self {
            Self::App => ["name", "note", "phone", "tier"],
            Self::Remote => ["name", "note", "phone", "title"],
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::App => "app",
            Self::Remote => "remote",
        })
    }
}

pub type Fields = BTreeMap<String, Value>;

/// A record with the fields that are mapped.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: String,
    pub version: String,
    pub fields: Fields,
}

impl Record {
    pub fn email(&self) -> &str {
        self.fields.get("email").and_then(Value::as_str).unwrap_or_default()
    }
}

/// What came of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    Done,
    /// There is no such record (any more).
    Missing,
    /// No answer: it may have been done.
    Unknown,
}

/// Where both sides are reached.
pub struct Sides {
    http: Client,
    /// The sandbox, without the `/v1`.
    pub sandbox: String,
    /// The embedded store's API; elsewhere after each start.
    pub app: String,
}

impl Sides {
    pub fn new(sandbox: String) -> Self {
        // Plain http, but a client is not built without a provider.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(30));
        Self { http: builder.build().expect("a plain client can be made"), sandbox, app: String::new() }
    }

    /// All records of a side, as they really are.
    pub async fn records(&self, side: Side) -> Vec<Record> {
        match side {
            Side::App => self.app_records().await,
            Side::Remote => {
                let dump = self.sandbox("GET", "dump?account=acme").await;
                dump["objects"]["contacts"].as_array().expect("a list").iter().map(remote_record).collect()
            }
        }
    }

    async fn app_records(&self) -> Vec<Record> {
        let (mut records, mut cursor) = (Vec::new(), String::new());
        loop {
            let url = format!("{}?limit=1000{cursor}", self.app_objects());
            let answer = self.http.get(url).send().await.expect("the app side answers");
            let page = json_of(answer).await;
            records.extend(page["records"].as_array().expect("a list").iter().map(app_record));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return records,
            }
        }
    }

    pub async fn create(&self, side: Side, fields: &Fields) -> Sent {
        let url = match side {
            Side::App => self.app_objects(),
            Side::Remote => self.remote_objects(),
        };
        self.write(side, Method::POST, url, Some(fields)).await
    }

    pub async fn edit(&self, side: Side, id: &str, fields: &Fields) -> Sent {
        self.write(side, Method::PATCH, self.record(side, id), Some(fields)).await
    }

    pub async fn delete(&self, side: Side, id: &str) -> Sent {
        self.write(side, Method::DELETE, self.record(side, id), None).await
    }

    async fn write(&self, side: Side, method: Method, url: String, fields: Option<&Fields>) -> Sent {
        let request = self.http.request(method, url);
        let request = match (side, fields) {
            (Side::App, None) => request,
            (Side::App, Some(fields)) => with_json(request, &json!(fields)),
            (Side::Remote, None) => as_user(request),
            (Side::Remote, Some(fields)) => with_json(as_user(request), &json!({ "properties": properties(fields) })),
        };
        match request.send().await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => Sent::Done,
            Ok(StatusCode::NOT_FOUND) => Sent::Missing,
            Ok(status) => panic!("the {side} side refuses an edit with {status}"),
            Err(_) => Sent::Unknown,
        }
    }

    fn app_objects(&self) -> String {
        format!("{}/default/contacts", self.app)
    }

    fn remote_objects(&self) -> String {
        format!("{}/v1/contacts", self.sandbox)
    }

    fn record(&self, side: Side, id: &str) -> String {
        match side {
            Side::App => format!("{}/{id}", self.app_objects()),
            Side::Remote => format!("{}/{id}", self.remote_objects()),
        }
    }

    /// Tells a receiver something; what it answers.
    pub async fn tell(&self, url: &str, header: (&str, &str), body: &Value) -> StatusCode {
        let request = with_json(self.http.post(url), body).header(header.0, header.1);
        request.send().await.expect("the receiver answers").status()
    }

    /// Something of `/_sandbox/`.
    pub async fn sandbox(&self, method: &str, path: &str) -> Value {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}/_sandbox/{path}", self.sandbox));
        json_of(request.send().await.expect("the sandbox answers")).await
    }
}

/// A user of the sandbox, who is spared what befalls the kernel.
fn as_user(request: RequestBuilder) -> RequestBuilder {
    request.bearer_auth("sandbox-token-acme").header("Sandbox-Calm", "true")
}

fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/json").body(body.to_string())
}

async fn json_of(answer: reqwest::Response) -> Value {
    let status = answer.status();
    let text = answer.text().await.expect("a whole answer");
    assert!(status.is_success(), "{status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn app_record(answer: &Value) -> Record {
    let fields = FIELDS.iter().filter_map(|(app, _)| Some(((*app).to_owned(), answer["record"].get(app)?.clone())));
    Record { id: text(&answer["id"]), version: text(&answer["version"]), fields: fields.collect() }
}

fn remote_record(answer: &Value) -> Record {
    let property = |remote: &str| answer["properties"].get(remote).cloned();
    let fields = FIELDS.iter().filter_map(|(app, remote)| Some(((*app).to_owned(), property(remote)?)));
    Record { id: text(&answer["id"]), version: text(&answer["etag"]), fields: fields.collect() }
}

fn properties(fields: &Fields) -> Map<String, Value> {
    let of = |name: &str| FIELDS.iter().find(|(app, _)| *app == name).expect("a mapped field").1.to_owned();
    fields.iter().map(|(name, value)| (of(name), value.clone())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
