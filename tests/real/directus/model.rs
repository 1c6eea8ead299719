//! What the contacts of both sides must come to, worked out beside the kernel, and the
//! edits that lead there.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use syncline::model::side::PerSide;

use crate::backfill::first_wins;
use crate::contacts::in_app;
use crate::fields::{View, Views, assert_same, by_key};
use crate::records::{Object, Records};

/// What `directus.toml` maps, by the same names on both sides. The match key comes first.
const FIELDS: [&str; 11] =
    ["email", "ext_id", "name", "company", "phone", "tags", "notes", "address", "birthday", "score", "active"];

/// The position of the match key.
const EMAIL: usize = 0;

/// Each side's users edit fields of their own, so that what must come out does not
/// depend on who is quicker. `name` is contested.
const APP_EDITS: [&str; 3] = ["phone", "notes", "score"];
const REMOTE_EDITS: [&str; 5] = ["company", "tags", "address", "birthday", "active"];

/// The contacts that both sides must come to hold.
#[derive(Default)]
pub struct Model {
    wanted: Views,
    /// Names that both sides gave a contact at about the same time; one of them must win.
    contested: BTreeMap<String, [Value; 2]>,
    /// How many contacts were made up.
    num_made: u32,
}

/// One edit in Directus: a request.
pub enum RemoteEdit {
    Create(Vec<Object>),
    Update(String, Object),
    /// One after another.
    Updates(String, Vec<Object>),
    UpdateAll(Vec<String>, Object),
    Delete(Vec<String>),
}

/// One edit in your app, which fires an event.
pub enum AppEdit {
    Create(Object),
    Update(String, Object),
    Delete(String),
}

/// What the users of both sides do at once.
pub struct Round {
    pub app: Vec<AppEdit>,
    pub remote: Vec<RemoteEdit>,
}

impl Model {
    /// A list for each side, some contacts in both with other values: what they hold must
    /// be paired, and one wins.
    pub fn lists(rng: &mut fastrand::Rng, only_remote: u32, both: u32, only_app: u32) -> (Self, PerSide<Vec<Object>>) {
        let mut model = Self::default();
        let mut lists = PerSide::<Vec<Object>>::default();
        for _ in 0..only_remote {
            lists.remote.push(model.make(rng));
        }
        for _ in 0..both {
            let in_remote = model.make(rng);
            let mut in_app = in_remote.clone();
            for field in &FIELDS[1..] {
                match rng.u8(..8) {
                    0 => drop(in_app.remove(*field)),
                    1 => drop(in_app.insert((*field).to_owned(), value(field, rng))),
                    _ => {}
                }
            }
            let wanted =
                view(&in_remote).iter().zip(&view(&in_app)).map(|(one, other)| first_wins(one, other)).collect();
            model.wanted.insert(email(&in_remote), wanted);
            lists.remote.push(in_remote);
            lists.app.push(in_app);
        }
        for _ in 0..only_app {
            lists.app.push(model.make(rng));
        }
        rng.shuffle(&mut lists.app);
        rng.shuffle(&mut lists.remote);
        (model, lists)
    }

    /// How many contacts there must be.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// A new contact, which both sides must come to hold.
    pub fn make(&mut self, rng: &mut fastrand::Rng) -> Object {
        let mut contact = in_app(self.num_made, rng);
        self.num_made += 1;
        contact.remove("internal_note");
        for field in ["birthday", "score", "active"] {
            contact.insert(field.to_owned(), value(field, rng));
        }
        self.wanted.insert(email(&contact), view(&contact));
        contact
    }

    /// Edits for both sides of what they hold now: on different contacts, on different
    /// fields of the same, on the same field.
    pub fn round(&mut self, rng: &mut fastrand::Rng, now: &PerSide<Records>) -> Round {
        let ids = PerSide { app: ids(&now.app), remote: ids(&now.remote) };
        let on_both = |email: &&String| ids.app.contains_key(*email) && ids.remote.contains_key(*email);
        let known: Vec<String> = self.wanted.keys().filter(on_both).cloned().collect();
        // What is deleted is never edited: an edit may bring it back.
        let (mut doomed, mut edited): (Vec<String>, Vec<String>) =
            known.into_iter().partition(|email| is_doomed(email));
        rng.shuffle(&mut doomed);
        rng.shuffle(&mut edited);
        let mut round = Round { app: Vec::new(), remote: Vec::new() };

        round.remote.push(RemoteEdit::Create((0..5).map(|_| self.make(rng)).collect()));
        round.app.extend((0..5).map(|_| AppEdit::Create(self.make(rng))));
        for (number, email) in edited.iter().take(40).enumerate() {
            let (in_app, in_remote) = (ids.app[email].clone(), ids.remote[email].clone());
            if number % 4 != 0 {
                round.app.push(AppEdit::Update(in_app.clone(), self.edit(email, &APP_EDITS, rng)));
            }
            if number % 4 != 1 {
                round.remote.push(RemoteEdit::Update(in_remote.clone(), self.edit(email, &REMOTE_EDITS, rng)));
            }
            if number % 8 == 7 {
                let names = [value("name", rng), value("name", rng)];
                let named = |name: &Value| Object::from_iter([("name".to_owned(), name.clone())]);
                round.app.push(AppEdit::Update(in_app, named(&names[0])));
                round.remote.push(RemoteEdit::Update(in_remote, named(&names[1])));
                self.contested.insert(email.clone(), names);
            }
        }
        let several: Vec<String> = edited.iter().skip(40).take(20).cloned().collect();
        let company = value("company", rng);
        several.iter().for_each(|email| self.set(email, "company", company.clone()));
        let of_several = several.iter().map(|email| ids.remote[email].clone()).collect();
        round.remote.push(RemoteEdit::UpdateAll(of_several, Object::from_iter([("company".to_owned(), company)])));
        let gone: Vec<String> = doomed.into_iter().take(6).collect();
        gone.iter().for_each(|email| drop(self.wanted.remove(email)));
        let (here, there) = gone.split_at(gone.len() / 2);
        round.app.extend(here.iter().map(|email| AppEdit::Delete(ids.app[email].clone())));
        round.remote.push(RemoteEdit::Delete(there.iter().map(|email| ids.remote[email].clone()).collect()));
        rng.shuffle(&mut round.app);
        rng.shuffle(&mut round.remote);
        round
    }

    /// Some edits in Directus of each of some contacts, a request for each.
    pub fn flood(&mut self, rng: &mut fastrand::Rng, now: &Records, num: usize, each: usize) -> Vec<RemoteEdit> {
        let mut few: Vec<(String, String)> = ids(now).into_iter().collect();
        rng.shuffle(&mut few);
        let mut edits = |email: &str| (0..each).map(|_| self.edit(email, &REMOTE_EDITS, rng)).collect();
        few.into_iter().take(num).map(|(email, id)| RemoteEdit::Updates(id, edits(&email))).collect()
    }

    /// Panics unless both sides hold what they must.
    pub fn assert_held(&self, now: &PerSide<Records>) {
        let views = PerSide { app: views(&now.app), remote: views(&now.remote) };
        assert_same("both sides agree", &views.app, &views.remote);
        assert_same("both sides are as edited", &views.app, &self.wanted_of(&views.app));
    }

    /// Whether both sides hold what they must.
    pub fn is_held(&self, now: &PerSide<Records>) -> bool {
        let views = PerSide { app: views(&now.app), remote: views(&now.remote) };
        views.app == views.remote && views.app == self.wanted_of(&views.app)
    }

    /// What must be there, with that of the contested names which is there.
    fn wanted_of(&self, now: &Views) -> Views {
        let mut wanted = self.wanted.clone();
        for (email, names) in &self.contested {
            let name = now.get(email).and_then(|view| view[position("name")].clone());
            if let (Some(view), Some(name)) = (wanted.get_mut(email), name.filter(|name| names.contains(name))) {
                view[position("name")] = Some(name);
            }
        }
        wanted
    }

    /// New values for one or two of these fields of a contact.
    fn edit(&mut self, email: &str, fields: &[&str], rng: &mut fastrand::Rng) -> Object {
        let mut changes = Object::new();
        for _ in 0..2 {
            let field = fields[rng.usize(..fields.len())];
            let value = value(field, rng);
            self.set(email, field, value.clone());
            changes.insert(field.to_owned(), value);
        }
        changes
    }

    fn set(&mut self, email: &str, field: &str, value: Value) {
        let view = self.wanted.get_mut(email).expect("only what is there is edited");
        view[position(field)] = Some(value);
    }
}

fn position(field: &str) -> usize {
    FIELDS.iter().position(|other| *other == field).expect("it is mapped")
}

/// A contact's mapped fields. A column of Directus that holds nothing holds null, so an
/// absent key counts as null.
fn view(contact: &Object) -> View {
    FIELDS.iter().map(|field| Some(contact.get(*field).cloned().unwrap_or(Value::Null))).collect()
}

fn views(records: &Records) -> Views {
    by_key(records, view, EMAIL)
}

fn ids(records: &Records) -> BTreeMap<String, String> {
    records.iter().map(|(id, contact)| (email(contact), id.clone())).collect()
}

fn email(contact: &Object) -> String {
    contact["email"].as_str().expect("contacts have an address").to_owned()
}

/// One contact in seven.
fn is_doomed(email: &str) -> bool {
    let digits: String = email.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u32>().is_ok_and(|number| number.is_multiple_of(7))
}

/// A value for a field, now and then null.
fn value(field: &str, rng: &mut fastrand::Rng) -> Value {
    if rng.u8(..8) == 0 && field != "name" {
        return Value::Null;
    }
    let number = rng.u32(..100_000);
    match field {
        // Two decimals are kept, and 12.0 comes back as 12.
        "score" => json!(f64::from(number) + 0.25),
        "active" => json!(number % 2 == 0),
        "birthday" => json!(format!("19{:02}-{:02}-{:02}", number % 100, number % 12 + 1, number % 28 + 1)),
        "tags" => json!(["été", format!("tag {number}")]),
        "address" => json!({ "street": format!("{number} Main St."), "city": "Zürich", "zip": null, "country": "CH" }),
        "notes" => json!(format!("  note {number}\n<b>\"x\"</b> 🚀 ")),
        other => json!(format!("{other} {number}")),
    }
}
