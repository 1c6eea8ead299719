//! Contacts as they are found in the wild, made from a seed.

use serde_json::{Value, json};

use crate::fields::Field;
use crate::records::Object;

/// What `contacts.toml` maps. The match key comes first.
pub const FIELDS: [Field; 11] = [
    Field { app: "email", remote: "email" },
    Field { app: "ext_id", remote: "external_ref" },
    Field { app: "name", remote: "full_name" },
    Field { app: "company", remote: "company.name" },
    Field { app: "phone", remote: "phone" },
    Field { app: "tags", remote: "labels" },
    Field { app: "notes", remote: "notes" },
    Field { app: "address.street", remote: "location.street" },
    Field { app: "address.city", remote: "location.town" },
    Field { app: "address.zip", remote: "location.postcode" },
    Field { app: "address.country", remote: "location.country" },
];

const FIRST: [&str; 12] =
    ["Ana", "Björn", "Chloé", "Dmitri", "Élodie", "Fatima", "João", "Kateřina", "Łukasz", "Nguyễn", "太郎", "Zoë"];
const LAST: [&str; 10] =
    ["Ångström", "Çelik", "Dvořák", "O'Connor", "Fernández", "Müller", "Østergård", "Smith", "山田", "Şahin"];
const COMPANIES: [&str; 7] =
    ["Acme & Sons", "Blåbær AS", "Café Noir SARL", "Delta <Labs>", "Échelle", "Fuji 電機", "Globex"];
const CITIES: [(&str, &str, &str); 6] = [
    ("Zürich", "CH", "8001"),
    ("São Paulo", "BR", "01310-100"),
    ("Kraków", "PL", "31-001"),
    ("Tokyo", "JP", "100-0001"),
    ("Reykjavík", "IS", "101"),
    ("Austin", "US", "73301"),
];
const TAGS: [&str; 7] = ["customer", "lead", "partner", "vip", "newsletter", "été", "日本"];
const NOTES: [&str; 9] = [
    "",
    "Line one\nLine two",
    "Emoji 🚀 and quotes \"x\" 'y'",
    "a < b && c > d",
    "é in one code point, e\u{301} in two",
    "right to left: שלום",
    "tab\there",
    "  padded  ",
    "\u{0}\u{7f}\u{2028}",
];

/// The contact with a number as your app holds it.
pub fn in_app(number: u32, rng: &mut fastrand::Rng) -> Object {
    let mut contact = Object::new();
    for (field, value) in FIELDS.iter().zip(values(number, rng)) {
        if let Some(value) = value {
            crate::fields::put(&mut contact, field.app, Some(value));
        }
    }
    contact.insert("internal_note".into(), json!({ "score": number, "seen": [1, null, "x"] }));
    contact
}

/// The contact with a number as the connected app holds it: some addresses in another
/// case, and with much that nobody maps.
pub fn in_remote(number: u32, rng: &mut fastrand::Rng) -> Object {
    let mut contact = Object::new();
    for (field, value) in FIELDS.iter().zip(values(number, rng)) {
        if let Some(value) = value {
            crate::fields::put(&mut contact, field.remote, Some(value));
        }
    }
    if number.is_multiple_of(3) {
        contact.insert("email".into(), json!(email(number).to_uppercase()));
    }
    add_unmapped(number, &mut contact);
    contact
}

/// How the connected app holds a contact that your app holds too: with other values in
/// some fields.
pub fn in_remote_too(number: u32, in_app: &Object, rng: &mut fastrand::Rng) -> Object {
    let mut contact = in_remote(number, rng);
    for field in &FIELDS[1..] {
        // One in four differs, and of those some are blank, each in its own way.
        let value = match rng.u32(..20) {
            0 | 1 => continue,
            2 => None,
            3 => Some(Value::Null),
            4 if field.app == "tags" => Some(json!([])),
            4 => Some(json!("")),
            _ => crate::fields::at(in_app, field.app).cloned(),
        };
        crate::fields::put(&mut contact, field.remote, value);
    }
    contact
}

/// What your app does not know of. It must be the same ever after.
fn add_unmapped(number: u32, contact: &mut Object) {
    contact.insert("stage".into(), json!(["new", "won", "lost"][number as usize % 3]));
    contact.insert("custom".into(), json!({ "points": number, "rate": 0.25, "none": null, "list": [{ "a": 1 }] }));
    crate::fields::put(contact, "company.size", Some(json!(number % 500)));
    crate::fields::put(contact, "location.verified", Some(json!(number.is_multiple_of(2))));
}

fn email(number: u32) -> String {
    format!("user{number:06}@example.com")
}

/// One value for each field, in their order; `None` for a key that is absent.
fn values(number: u32, rng: &mut fastrand::Rng) -> [Option<Value>; 11] {
    let (city, country, zip) = CITIES[rng.usize(..CITIES.len())];
    let tags: Vec<&str> = TAGS.into_iter().filter(|_| rng.u8(..4) == 0).collect();
    let phone = format!("+1 555 {:03} {:04}", number / 10_000, number % 10_000);
    let name = format!("{} {}", pick(rng, &FIRST), pick(rng, &LAST));
    [
        Some(json!(email(number))),
        Some(json!(format!("c-{number:06}"))),
        Some(json!(name)),
        sometimes(rng, |rng| json!(pick(rng, &COMPANIES))),
        sometimes(rng, |_| json!(phone)),
        Some(json!(tags)),
        sometimes(rng, |rng| json!(pick(rng, &NOTES))),
        Some(json!(format!("{} Main St.", rng.u32(1..1_000)))),
        Some(json!(city)),
        sometimes(rng, |_| json!(zip)),
        Some(json!(country)),
    ]
}

fn pick<'t>(rng: &mut fastrand::Rng, texts: &[&'t str]) -> &'t str {
    texts[rng.usize(..texts.len())]
}

/// Mostly a value, sometimes null, sometimes nothing at all.
fn sometimes(rng: &mut fastrand::Rng, value: impl FnOnce(&mut fastrand::Rng) -> Value) -> Option<Value> {
    match rng.u8(..10) {
        0 => None,
        1 => Some(Value::Null),
        _ => Some(value(rng)),
    }
}
