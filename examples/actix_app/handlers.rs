//! The app's own HTTP: each customer lists, makes, edits and deletes its contacts. After
//! each write the kernel is told which contact it was; what stands in it, the kernel reads
//! when its turn comes.

use std::future::{Ready, ready};

use actix_web::error::{ErrorInternalServerError, ErrorNotFound, ErrorUnauthorized, ErrorUnprocessableEntity};
use actix_web::http::header::AUTHORIZATION;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, dev, web};
use serde_json::{Map, Value, json};
use syncline::Kernel;
use syncline::triggers::event::{Event, Fire, Whose};

use super::CUSTOMERS;
use super::connector::OBJECT;
use super::storage::{Contact, Contacts, Database, Row, Table};

/// What the handlers share.
pub struct Shared {
    pub database: Database,
    pub kernel: Kernel,
}

/// Who is asking. Made from the request's key alone, so that no handler can be asked for
/// the contacts of somebody else.
struct Login {
    customer: &'static str,
    contacts: Contacts,
}

impl FromRequest for Login {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let header = request.headers().get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let customer = CUSTOMERS.into_iter().find(|customer| header == Some(&format!("Bearer {}", key(customer))));
        let login = customer.zip(request.app_data::<web::Data<Shared>>()).map(|(customer, shared)| {
            let contacts = shared.database.contacts_of(customer);
            Login { customer, contacts }
        });
        ready(login.ok_or_else(|| ErrorUnauthorized("whose contacts? Authorization: Bearer key-of-CUSTOMER\n")))
    }
}

/// What a customer calls the app with. Yours are kept where you keep secrets.
pub fn key(customer: &str) -> String {
    format!("key-of-{customer}")
}

pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/contacts").get(list).post(create))
        .service(web::resource("/contacts/{id}").get(show).patch(edit).delete(delete));
}

async fn list(login: Login) -> Result<HttpResponse, Error> {
    let rows = transact(&login, |table| table.list()).await?;
    Ok(HttpResponse::Ok().json(rows.into_iter().filter_map(shown).collect::<Vec<_>>()))
}

async fn show(login: Login, id: web::Path<String>) -> Result<HttpResponse, Error> {
    let row = transact(&login, move |table| table.get(&id)).await?;
    answer(row)
}

async fn create(login: Login, contact: web::Json<Contact>, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let made = transact(&login, move |table| {
        let id = table.new_id()?;
        table.put(&id, &contact)?;
        table.get(&id)
    });
    let made = made.await?;
    tell(&shared.kernel, &login, made.as_ref()).await;
    Ok(HttpResponse::Created().json(made.and_then(shown)))
}

async fn edit(
    login: Login,
    id: web::Path<String>,
    fields: web::Json<Map<String, Value>>,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let edited = transact(&login, move |table| {
        let Some(contact) = table.get(&id)?.and_then(|row| row.contact) else { return Ok(Ok(None)) };
        let mut contact = json!(contact);
        if let Value::Object(kept) = &mut contact {
            kept.extend(fields.into_inner());
        }
        match serde_json::from_value(contact) {
            Ok(contact) => table.put(&id, &contact)?,
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(table.get(&id)?))
    });
    let edited = edited.await?.map_err(ErrorUnprocessableEntity)?;
    tell(&shared.kernel, &login, edited.as_ref()).await;
    answer(edited)
}

async fn delete(login: Login, id: web::Path<String>, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let deleted = transact(&login, move |table| if table.delete(&id)? { table.get(&id) } else { Ok(None) }).await?;
    if deleted.is_none() {
        return answer(None);
    }
    tell(&shared.kernel, &login, deleted.as_ref()).await;
    Ok(HttpResponse::NoContent().finish())
}

/// Tells the kernel which contact was written. It is written, so the customer gets a
/// success either way: what the kernel is not told, the schedule finds.
async fn tell(kernel: &Kernel, login: &Login, row: Option<&Row>) {
    let Some(row) = row else { return };
    let whose = Whose::Scope(login.customer.into());
    let event = Event::new(whose, OBJECT, [row.id.as_str().into()]);
    if let Err(error) = kernel.fire(Fire { events: vec![event], key: None, settle_ms: 0 }).await {
        eprintln!("the kernel was not told: {error}");
    }
}

/// SQLite blocks, so it works on a thread of its own.
async fn transact<T: Send + 'static>(
    login: &Login,
    work: impl FnOnce(&Table<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let contacts = login.contacts.clone();
    web::block(move || contacts.transact(work)).await?.map_err(ErrorInternalServerError)
}

fn answer(row: Option<Row>) -> Result<HttpResponse, Error> {
    let shown = row.and_then(shown).ok_or_else(|| ErrorNotFound("there is no such contact\n"))?;
    Ok(HttpResponse::Ok().json(shown))
}

fn shown(row: Row) -> Option<Value> {
    let Contact { email, name, phone } = row.contact?;
    Some(json!({ "id": row.id, "email": email, "name": name, "phone": phone }))
}
