//! A Kinto server for one test, and its records as a user of Kinto sees them.

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::records::{Edit, Object, Records, Side};
use crate::served::{Served, client};

/// As the configuration files say.
const USER: &str = "team";
pub const PASSWORD: &str = "only-for-tests";
const BUCKET: &str = "crm";

/// Kinto takes no more requests in one batch.
const BATCH: usize = 100;

/// A running server.
pub struct Kinto(Served);

impl Kinto {
    /// Installs Kinto if it is missing and starts one on a free port.
    pub fn start() -> Self {
        Self(Served::start("kinto", &[]))
    }

    /// Where its API begins.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.0.port)
    }

    /// Makes a collection and gives access to its records.
    pub async fn collection(&self, name: &str) -> Collection {
        let root = self.base_url();
        let path = format!("/v1/buckets/{BUCKET}/collections/{name}/records");
        let records = format!("{root}/buckets/{BUCKET}/collections/{name}/records");
        let collection = Collection { client: client(), batch: format!("{root}/batch"), path, records };
        for parent in [format!("{root}/buckets/{BUCKET}"), format!("{root}/buckets/{BUCKET}/collections/{name}")] {
            collection.call(Method::PUT, &parent, None).await;
        }
        collection
    }
}

/// One collection of records.
pub struct Collection {
    client: Client,
    batch: String,
    path: String,
    records: String,
}

#[async_trait(?Send)]
impl Side for Collection {
    async fn all(&self) -> Records {
        let mut records = Records::new();
        for mut object in self.list(&format!("{}?_sort=id", self.records)).await {
            let id = object.remove("id").and_then(|id| id.as_str().map(str::to_owned)).expect("records have an id");
            object.remove("last_modified");
            assert!(records.insert(id.clone(), object).is_none(), "kinto lists {id} twice");
        }
        records
    }

    async fn make(&self, edits: Vec<Edit>) {
        let requests: Vec<Value> = edits.into_iter().map(|edit| self.request(edit)).collect();
        for requests in requests.chunks(BATCH) {
            let answer = self.call(Method::POST, &self.batch, Some(json!({ "requests": requests }))).await;
            let answer: Value = body(answer).await;
            let responses = answer["responses"].as_array().expect("a batch has responses");
            assert_eq!(responses.len(), requests.len());
            for response in responses {
                assert!(matches!(response["status"].as_u64(), Some(200 | 201)), "kinto refused: {response}");
            }
        }
    }

    async fn position(&self) -> String {
        let answer = self.call(Method::HEAD, &self.records, None).await;
        header(answer.headers(), "etag").expect("a list has an ETag")
    }

    async fn written_since(&self, position: &str) -> usize {
        self.list(&format!("{}?_since={position}", self.records)).await.len()
    }
}

impl Collection {
    /// Reads a list to its end.
    async fn list(&self, first: &str) -> Vec<Object> {
        let (mut all, mut next) = (Vec::new(), Some(first.to_owned()));
        while let Some(url) = next {
            let answer = self.call(Method::GET, &url, None).await;
            next = header(answer.headers(), "next-page");
            let page: Value = body(answer).await;
            let records = page["data"].as_array().expect("a list has data");
            all.extend(records.iter().map(|record| record.as_object().expect("records are objects").clone()));
        }
        all
    }

    fn request(&self, edit: Edit) -> Value {
        match edit {
            Edit::Create(object) => json!({ "method": "POST", "path": self.path, "body": { "data": object } }),
            Edit::Replace(id, object) => {
                let path = format!("{}/{id}", self.path);
                json!({ "method": "PUT", "path": path, "body": { "data": object } })
            }
            Edit::Delete(id) => json!({ "method": "DELETE", "path": format!("{}/{id}", self.path) }),
        }
    }

    async fn call(&self, method: Method, url: &str, content: Option<Value>) -> Response {
        let mut request = self.client.request(method.clone(), url).basic_auth(USER, Some(PASSWORD));
        if let Some(content) = content {
            request = request.header("content-type", "application/json").body(content.to_string());
        }
        let answer = request.send().await.expect("kinto answers");
        assert!(answer.status().is_success(), "{method} {url}: {}", answer.status());
        answer
    }
}

async fn body(answer: Response) -> Value {
    let bytes = answer.bytes().await.expect("a whole answer");
    serde_json::from_slice(&bytes).expect("kinto answers in JSON")
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(HeaderValue::to_str).map(|text| text.expect("a header is ASCII").to_owned())
}
