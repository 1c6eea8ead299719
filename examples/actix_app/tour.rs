//! What the example shows: a few contacts to begin with, and a tour that checks itself.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value as Json, json};
use syncline::model::path::Path;
use syncline::model::value::Value;
use syncline::sandbox::{SandboxHandle, SandboxRecord, token};

use super::handlers::key;
use super::storage::{Contact, Database};
use super::{CUSTOMERS, EVENT_TOKEN, Failure, Running};

/// When a step is given up. Never reached when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some contacts that only one side has, and one that both have.
pub fn seed(database: &Database, crm: &SandboxHandle) -> Result<(), Failure> {
    for customer in CUSTOMERS {
        let contact = |name: &str, phone: Option<&str>| Contact {
            email: Some(format!("{}@{customer}.example", name.to_lowercase())),
            name: Some(name.to_owned()),
            phone: phone.map(str::to_owned),
        };
        database.contacts_of(customer).transact(|table| {
            table.put(&format!("{customer}-1"), &contact("Ada", Some("+44 20 1")))?;
            table.put(&format!("{customer}-2"), &contact("Bo", None))
        })?;
        for contact in [contact("Bo", Some("+46 8 2")), contact("Chen", None)] {
            let Contact { email, name, phone } = contact;
            let properties = json!({ "email": email, "full_name": name, "phone": phone });
            crm.create(customer, "contacts", &Value::from_json(&properties.to_string())?)?;
        }
    }
    Ok(())
}

/// What may be tried by hand.
pub fn explain(app: &Running) -> Result<(), Failure> {
    let (url, crm) = (&app.url, app.crm.api_url());
    println!("the app: {url}   the CRM: {crm}   Ctrl-C ends both\n");
    for customer in CUSTOMERS {
        println!("{customer}'s contacts in the app, and in its account of the CRM:");
        println!("  curl -H 'Authorization: Bearer {}' {url}/contacts", key(customer));
        println!("  curl -H 'Authorization: Bearer {}' {crm}/contacts", token(customer));
    }
    let header = format!("-H 'Authorization: Bearer {}' -H 'Content-Type: application/json'", key("acme"));
    println!("write in the app, then look into the CRM:");
    println!("  curl -X POST {header} -d '{{\"email\":\"eve@acme.example\",\"name\":\"Eve\"}}' {url}/contacts");
    println!("  curl -X PATCH {header} -d '{{\"phone\":\"+44 20 7\"}}' {url}/contacts/acme-1");
    println!("  curl -X DELETE -H 'Authorization: Bearer {}' {url}/contacts/acme-2", key("acme"));
    let chen = find(&app.crm, "globex", "chen@globex.example")?;
    println!("write in the CRM, and look into the app a second later:");
    let header = format!("-H 'Authorization: Bearer {}' -H 'Content-Type: application/json'", token("globex"));
    println!("  curl -X PATCH {header} -d '{{\"properties\":{{\"phone\":\"+1 555 9\"}}}}' {crm}/contacts/{}", chen.id);
    println!("say from elsewhere in your backend that a contact has changed:");
    let event = r#"{"scope":"acme","object":"contacts","id":"acme-1"}"#;
    println!("  curl -H 'Authorization: Bearer {EVENT_TOKEN}' -d '{event}' {url}/sync/events");
    Ok(())
}

/// The tour. Whether both sides agreed after each step.
pub async fn take(app: &Running) -> Result<bool, Failure> {
    let browser = Browser::new(&app.url)?;
    println!("1. the first sync pairs Bo, whom both know, and carries over the others");
    let mut agree =
        arrives(app, "acme", |all| all.len() == 3).await? && arrives(app, "globex", |all| all.len() == 3).await?;

    println!("2. acme edits Ada in the app: its handler fires an event");
    browser.ok("acme", Method::PATCH, "/contacts/acme-1", Some(json!({ "phone": "+44 20 7946" }))).await?;
    agree &= arrives(app, "acme", |all| all.iter().any(|one| one.phone.as_deref() == Some("+44 20 7946"))).await?;

    println!("3. globex edits Chen in the CRM: the schedule finds it");
    let chen = find(&app.crm, "globex", "chen@globex.example")?;
    app.crm.patch("globex", "contacts", &chen.id, &Value::from_json(r#"{"full_name":"Chen Wei"}"#)?)?;
    agree &= arrives(app, "globex", |all| all.iter().any(|one| one.name.as_deref() == Some("Chen Wei"))).await?;

    println!("4. acme deletes Bo in the app");
    browser.ok("acme", Method::DELETE, "/contacts/acme-2", None).await?;
    agree &= arrives(app, "acme", |all| all.len() == 2).await?;

    println!("5. globex asks for a contact of acme's");
    let (status, _) = browser.send(&key("globex"), Method::GET, "/contacts/acme-1", None).await?;
    println!("   {status}");
    agree &= status == StatusCode::NOT_FOUND;

    for customer in CUSTOMERS {
        println!("\n{customer}, the app | the CRM");
        let (ours, theirs) = (in_app(&app.database, customer)?, in_crm(&app.crm, customer)?);
        for (our, their) in ours.iter().zip(&theirs) {
            println!("  {} | {}", shown(our), shown(their));
        }
        agree &= ours == theirs;
    }
    println!("\n{}", if agree { "both sides agree" } else { "the sides DIFFER" });
    Ok(agree)
}

/// Waits until both sides of a customer hold the same, and `wanted` is true of it.
pub async fn arrives(app: &Running, customer: &str, wanted: impl Fn(&[Contact]) -> bool) -> Result<bool, Failure> {
    let looking = async {
        loop {
            let (ours, theirs) = (in_app(&app.database, customer)?, in_crm(&app.crm, customer)?);
            if ours == theirs && wanted(&ours) {
                return Ok::<(), Failure>(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(looked) => looked.map(|()| true),
        Err(_) => Ok(false),
    }
}

/// A customer's contacts in the app's table.
pub fn in_app(database: &Database, customer: &str) -> Result<Vec<Contact>, Failure> {
    let rows = database.contacts_of(customer).transact(|table| table.list())?;
    let mut contacts: Vec<Contact> = rows.into_iter().filter_map(|row| row.contact).collect();
    contacts.sort();
    Ok(contacts)
}

/// A customer's contacts in the CRM, in the app's form.
pub fn in_crm(crm: &SandboxHandle, customer: &str) -> Result<Vec<Contact>, Failure> {
    let contact = |record: SandboxRecord| -> Result<Contact, Failure> {
        let mut record: Json = serde_json::from_str(&record.properties.to_json())?;
        let mut take = |key: &str| record[key].take().as_str().map(str::to_owned);
        Ok(Contact { email: take("email"), name: take("full_name"), phone: take("phone") })
    };
    let mut contacts = crm.records(customer, "contacts")?.into_iter().map(contact).collect::<Result<Vec<_>, _>>()?;
    contacts.sort();
    Ok(contacts)
}

/// The contact of the CRM with this e-mail address.
pub fn find(crm: &SandboxHandle, customer: &str, email: &str) -> Result<SandboxRecord, Failure> {
    let key = Path::key("email");
    let mut records = crm.records(customer, "contacts")?.into_iter();
    let found = records.find(|record| record.properties.get(&key).and_then(Value::as_str) == Some(email));
    found.ok_or_else(|| format!("{customer} has no {email} in the CRM").into())
}

fn shown(contact: &Contact) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    format!("{:20} {:9} {:12}", text(&contact.email), text(&contact.name), text(&contact.phone))
}

/// Somebody who uses the app over HTTP.
pub struct Browser {
    http: Client,
    url: String,
}

impl Browser {
    pub fn new(url: &str) -> Result<Self, Failure> {
        Ok(Self { http: Client::builder().no_proxy().tls_certs_only([]).build()?, url: url.to_owned() })
    }

    /// Asks with a key; the status, and the answer where it is JSON.
    pub async fn send(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<Json>,
    ) -> Result<(StatusCode, Json), Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        Ok((answer.status(), serde_json::from_str(&answer.text().await?).unwrap_or_default()))
    }

    /// Asks as a customer for what must succeed.
    pub async fn ok(&self, customer: &str, method: Method, path: &str, body: Option<Json>) -> Result<Json, Failure> {
        let (status, json) = self.send(&key(customer), method.clone(), path, body).await?;
        println!("   {method} {path}: {status}");
        if status.is_success() { Ok(json) } else { Err(format!("{method} {path} answered {status}").into()) }
    }
}
