//! A Directus for one test, and its items as a user of Directus sees them.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::records::{Object, Records};
use crate::served::{Served, client};

/// The tokens of the administrator and of the kernel's user, who may do nothing but read
/// and write contacts.
pub const ADMIN: &str = "admin-only-for-tests";
pub const USER: &str = "user-only-for-tests";

/// The header that its flow sends, as the connector file says.
const HEADER: &str = "X-Syncline-Token";

/// A running server.
pub struct Directus {
    served: Served,
    api: Api,
}

/// The collection of contacts.
#[derive(Clone)]
pub struct Contacts(Api);

/// What the kernel's user may do.
pub struct Policy {
    api: Api,
    id: String,
}

/// A flow that tells a URL of every change of a contact.
pub struct Flow {
    api: Api,
    request: String,
    url: String,
}

impl Directus {
    /// Installs Directus if it is missing and starts one on a free port; with a rate, it
    /// refuses more requests than that in a second.
    pub fn start(rate: Option<u32>) -> Self {
        let mut settings = vec![("DIRECTUS_TOKEN", ADMIN.to_owned())];
        settings.extend(rate.map(|rate| ("RATE", rate.to_string())));
        let served = Served::start("directus", &settings);
        let api = Api { client: client(), base: format!("http://127.0.0.1:{}", served.port) };
        Self { served, api }
    }

    /// Where its API begins.
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.served.port)
    }

    /// Makes the collection of contacts.
    pub async fn contacts(&self) -> Contacts {
        let fields = json!([
            field("id", "uuid", Some("uuid"), json!({ "is_primary_key": true, "length": 36 })),
            field("date_created", "timestamp", Some("date-created"), json!({})),
            field("date_updated", "timestamp", Some("date-updated"), json!({})),
            field("external_ref", "string", None, json!({ "is_unique": true })),
            field("email", "string", None, json!({})),
            field("ext_id", "string", None, json!({})),
            field("name", "string", None, json!({})),
            field("company", "string", None, json!({})),
            field("phone", "string", None, json!({})),
            field("tags", "json", Some("cast-json"), json!({})),
            field("notes", "text", None, json!({})),
            field("address", "json", Some("cast-json"), json!({})),
            field("birthday", "date", None, json!({})),
            field("score", "decimal", None, json!({ "numeric_precision": 10, "numeric_scale": 2 })),
            field("active", "boolean", Some("cast-boolean"), json!({})),
            // Of which the kernel does not know.
            field("stage", "string", None, json!({})),
        ]);
        let collection = json!({ "collection": "contacts", "schema": {}, "meta": {}, "fields": fields });
        self.api.call(Method::POST, "/collections", Some(collection)).await;
        Contacts(self.api.clone())
    }

    /// Makes the kernel's user, who may read and write contacts.
    pub async fn user(&self) -> Policy {
        let policy = json!({ "name": "sync", "admin_access": false, "app_access": false });
        let policy = id(self.api.call(Method::POST, "/policies", Some(policy)).await);
        let user = json!({ "email": "sync@example.com", "token": USER, "policies": [{ "policy": policy }] });
        self.api.call(Method::POST, "/users", Some(user)).await;
        let policy = Policy { api: self.api.clone(), id: policy };
        policy.permit().await;
        policy
    }

    /// Tells a URL of every change of a contact from now on, with this text in the header.
    pub async fn flow(&self, url: &str, token: &str) -> Flow {
        let api = self.api.clone();
        let events = ["items.create", "items.update", "items.delete"];
        let options = json!({ "type": "action", "scope": events, "collections": ["contacts"] });
        // Its runs need not be kept.
        let flow = json!({ "name": "tell", "status": "active", "trigger": "event", "accountability": null, "options": options });
        let flow = id(api.call(Method::POST, "/flows", Some(flow)).await);
        let request = json!({
            "flow": flow, "name": "send", "key": "send", "type": "request", "position_x": 19, "position_y": 1,
            "options": request(url, token),
        });
        let request = id(api.call(Method::POST, "/operations", Some(request)).await);
        api.call(Method::PATCH, &format!("/flows/{flow}"), Some(json!({ "operation": request }))).await;
        Flow { api, request, url: url.to_owned() }
    }
}

impl Policy {
    /// Lets the user read and write contacts.
    pub async fn permit(&self) {
        for action in ["create", "read", "update", "delete"] {
            let permission = json!({
                "policy": self.id, "collection": "contacts", "action": action,
                "fields": ["*"], "permissions": {}, "validation": {},
            });
            self.api.call(Method::POST, "/permissions", Some(permission)).await;
        }
    }

    /// Withdraws all of that.
    pub async fn forbid(&self) {
        let all = json!({ "query": { "filter": { "policy": { "_eq": self.id } }, "limit": -1 } });
        self.api.call(Method::DELETE, "/permissions", Some(all)).await;
    }
}

impl Flow {
    /// Sends another text in the header from now on.
    pub async fn send_token(&self, token: &str) {
        let change = json!({ "options": request(&self.url, token) });
        self.api.call(Method::PATCH, &format!("/operations/{}", self.request), Some(change)).await;
    }
}

fn request(url: &str, token: &str) -> Value {
    let headers = json!([{ "header": HEADER, "value": token }]);
    json!({ "method": "POST", "url": url, "headers": headers, "body": "{{$trigger}}" })
}

fn field(name: &str, kind: &str, special: Option<&str>, schema: Value) -> Value {
    let special: Vec<&str> = special.into_iter().collect();
    json!({ "field": name, "type": kind, "schema": schema, "meta": { "special": special } })
}

impl Contacts {
    /// Every contact, read in full, without what Directus adds.
    pub async fn all(&self) -> Records {
        let mut records = Records::new();
        for (id, mut object) in self.items().await {
            for key in ["date_created", "date_updated", "external_ref"] {
                object.remove(key);
            }
            assert!(records.insert(id.clone(), object).is_none(), "directus lists {id} twice");
        }
        records
    }

    /// The times of all contacts, which move with every write.
    pub async fn times(&self) -> Vec<(String, Value, Value)> {
        let items = self.items().await.into_iter();
        let mut times: Vec<_> =
            items.map(|(id, object)| (id, object["date_created"].clone(), object["date_updated"].clone())).collect();
        times.sort_by(|one, other| one.0.cmp(&other.0));
        times
    }

    async fn items(&self) -> Vec<(String, Object)> {
        let answer = self.0.call(Method::GET, "/items/contacts?limit=-1", None).await;
        let items = answer["data"].as_array().expect("a list has data");
        let named = |item: &Value| {
            let mut object = item.as_object().expect("items are objects").clone();
            let id = object.remove("id").and_then(|id| id.as_str().map(str::to_owned)).expect("items have an id");
            (id, object)
        };
        items.iter().map(named).collect()
    }

    /// New contacts in one request; their ids in the same order.
    pub async fn create(&self, contacts: Vec<Object>) -> Vec<String> {
        let emails: Vec<Value> = contacts.iter().map(|contact| contact["email"].clone()).collect();
        let answer = self.0.call(Method::POST, "/items/contacts?limit=-1&fields=id,email", Some(json!(contacts))).await;
        let made = answer["data"].as_array().expect("a list has data");
        let id_of =
            |email: &Value| made.iter().find(|item| item["email"] == *email).expect("all were made")["id"].clone();
        emails.iter().map(|email| id_of(email).as_str().expect("ids are texts").to_owned()).collect()
    }

    /// Some fields of one contact.
    pub async fn update(&self, id: &str, fields: Object) {
        self.0.call(Method::PATCH, &format!("/items/contacts/{id}"), Some(json!(fields))).await;
    }

    /// The same for several, in one request.
    pub async fn update_all(&self, ids: &[String], fields: Object) {
        self.0.call(Method::PATCH, "/items/contacts", Some(json!({ "keys": ids, "data": fields }))).await;
    }

    /// Several go, in one request.
    pub async fn delete(&self, ids: &[String]) {
        self.0.call(Method::DELETE, "/items/contacts", Some(json!(ids))).await;
    }
}

/// The API as its administrator calls it.
#[derive(Clone)]
struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// The answer to a call that must succeed. One that comes too soon is made again.
    async fn call(&self, method: Method, path: &str, content: Option<Value>) -> Value {
        loop {
            let url = format!("{}{path}", self.base);
            let mut request = self.client.request(method.clone(), &url).bearer_auth(ADMIN);
            if let Some(content) = &content {
                request = request.header("content-type", "application/json").body(content.to_string());
            }
            let answer = request.send().await.expect("directus answers");
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                let seconds = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
                tokio::time::sleep(Duration::from_secs(seconds.expect("it says when to come back"))).await;
                continue;
            }
            let status = answer.status();
            let bytes = answer.bytes().await.expect("a whole answer");
            assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
            return if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("it is JSON") };
        }
    }
}

fn id(answer: Value) -> String {
    answer["data"]["id"].as_str().expect("what was made has an id").to_owned()
}
