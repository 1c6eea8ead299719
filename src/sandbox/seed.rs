//! Deterministic records that look like a customer's: accents in both Unicode forms,
//! right-to-left text, emoji, padded and empty texts, nulls, markup characters.

use crate::model::value::{Number, Value};

/// The remote side of the demo: about 40 contacts, one JSON object of properties a
/// line.
pub const CONTACTS: &str = include_str!("../../fixtures/sandbox/contacts.jsonl");

/// Your app's side of the demo: about 35 contacts in the app's own shape, `id`
/// included. About 25 have the e-mail address of one in [`CONTACTS`] and differ in
/// some fields.
pub const APP_CONTACTS: &str = include_str!("../../fixtures/sandbox/app-contacts.jsonl");

const FIRST: [&str; 20] = [
    "Amélie",
    "Anders",
    "Beatriz",
    "Chinedu",
    "Dóra",
    "Elif",
    "François",
    "Gözde",
    "Håkon",
    "Ioana",
    "Jürgen",
    "Kamala",
    "Léa",
    "Mateusz",
    "Noor",
    "Oisín",
    "Rosa",
    "Siân",
    "美咲",
    "Zuzana",
];
const LAST: [&str; 18] = [
    "Åkesson",
    "Bianchi",
    "Čapek",
    "D'Angelo",
    "Eriksen",
    "Groß",
    "Hernández",
    "İnce",
    "Jackson",
    "Kowalczyk",
    "Lefèvre",
    "Mbeki",
    "Núñez",
    "O'Neill",
    "Popović",
    "Rossi",
    "Şimşek",
    "鈴木",
];
const COMPANY: [&str; 8] = [
    "Nordwind & Töchter",
    "Smørrebrød ApS",
    "Maison <Lumière>",
    "Kestrel Labs",
    "富士見商事",
    "Umbra \"Retail\"",
    "Initrode",
    "Três Irmãos Lda",
];
const CITY: [(&str, &str, &str); 7] = [
    ("Genève", "CH", "1201"),
    ("São Luís", "BR", "65010-000"),
    ("Łódź", "PL", "90-001"),
    ("Osaka", "JP", "530-0001"),
    ("Ísafjörður", "IS", "400"),
    ("Denver", "US", "80202"),
    ("Malmö", "SE", "211 20"),
];
const JOB: [&str; 7] =
    ["Head of Sales", "CTO", "Buyer", "Office Manager", "Ingénieure R&D", "VP, Operations", "Praktikant"];
const PLAN: [&str; 3] = ["F", "P", "E"];
const TAGS: [&str; 7] = ["customer", "lead", "partner", "vip", "newsletter", "été", "日本"];
/// `None` is a null.
const NOTES: [Option<&str>; 9] = [
    Some(""),
    None,
    Some("Called on Monday\nsend the offer again"),
    Some("Very happy 🎉 said \"yes\", isn't 'maybe'"),
    Some("budget < 5k & more > 1 seat"),
    Some("composed caf\u{e9}, decomposed cafe\u{301}"),
    Some("Speaks עברית and العربية"),
    Some("col1\tcol2"),
    Some("  mind the blanks  "),
];

/// Records `start` to `start + num`, as properties. A record depends on its number
/// and the seed alone, so that two ranges overlap exactly. `companies` get the shape
/// of a company, everything else that of a contact.
pub fn generate(object: &str, start: u64, num: u64, seed: u64) -> impl Iterator<Item = Value> + use<> {
    let make = if object == "companies" { company } else { contact };
    (start..start.saturating_add(num)).map(move |i| make(i, &mut Dice::new(seed, i)))
}

/// Adds a text `bio` that brings the record's JSON to about `bytes`.
#[must_use]
pub fn padded(record: Value, bytes: usize) -> Value {
    let missing = bytes.saturating_sub(record.to_json().len() + r#","bio":"""#.len());
    match record {
        Value::Object(mut entries) if missing > 0 => {
            entries.push(("bio".to_owned(), Value::String(lorem(missing))));
            Value::Object(entries)
        }
        other => other,
    }
}

fn lorem(num_bytes: usize) -> String {
    "met at the fair, asked for a quote, will call back ".chars().cycle().take(num_bytes).collect()
}

fn contact(i: u64, dice: &mut Dice) -> Value {
    let (city, country, zip) = dice.pick(&CITY);
    let name = format!("{} {}", dice.pick(&FIRST), dice.pick(&LAST));
    let tags = TAGS.iter().filter(|_| dice.below(4) == 0).map(|tag| Value::string(*tag)).collect();
    object([
        ("email", Value::String(format!("user{i:06}@example.com"))),
        ("full_name", Value::String(name)),
        ("phone", Value::String(format!("+1 555 {:03} {:04}", i / 10_000 % 1_000, i % 10_000))),
        ("company", Value::string(dice.pick(&COMPANY))),
        ("job_title", Value::string(dice.pick(&JOB))),
        ("plan", Value::string(dice.pick(&PLAN))),
        ("tags", Value::Array(tags)),
        ("notes", dice.pick(&NOTES).map_or(Value::Null, Value::string)),
        ("city", Value::string(city)),
        (
            "address",
            object([
                ("street", Value::String(format!("{} Main St.", 1 + dice.below(999)))),
                ("city", Value::string(city)),
                ("zip", Value::string(zip)),
                ("country", Value::string(country)),
            ]),
        ),
    ])
}

fn company(i: u64, dice: &mut Dice) -> Value {
    let (city, country, _) = dice.pick(&CITY);
    let num_employees = i64::try_from(1 + dice.below(5_000)).unwrap_or(1);
    object([
        ("name", Value::String(format!("{} {i:06}", dice.pick(&COMPANY)))),
        ("domain", Value::String(format!("company{i:06}.example.com"))),
        ("city", Value::string(city)),
        ("country", Value::string(country)),
        ("num_employees", Value::Number(Number::from(num_employees))),
        ("notes", dice.pick(&NOTES).map_or(Value::Null, Value::string)),
    ])
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// SplitMix64, written out because a record must stay the same for ever.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, i: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = limit.max(1) as u64;
        usize::try_from(self.next() % limit).unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::Path;

    #[test]
    fn records_depend_on_number_and_seed_alone() {
        let all: Vec<Value> = generate("contacts", 0, 50, 7).collect();
        let part: Vec<Value> = generate("contacts", 40, 10, 7).collect();
        assert_eq!(all[40..], part);
        assert_ne!(all[0], generate("contacts", 0, 1, 8).next().expect("one"));
        let text = Value::Array(all).to_json();
        assert_eq!(
            format!("{:x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes())),
            "93027938545a7f3a",
            "the generator has changed"
        );
    }

    #[test]
    fn the_nasty_ones_are_among_them() {
        let all: Vec<Value> = generate("contacts", 0, 500, 1).collect();
        let notes = Path::key("notes");
        for wanted in NOTES {
            let wanted = wanted.map_or(Value::Null, Value::string);
            assert!(all.iter().any(|record| record.get(&notes) == Some(&wanted)), "{wanted}");
        }
        assert!(generate("companies", 0, 500, 1).any(|record| record.to_json().contains("<Lumière>")));
    }

    #[test]
    fn padding_reaches_the_size() {
        for record in generate("contacts", 0, 20, 1) {
            assert_eq!(padded(record.clone(), 1_024).to_json().len(), 1_024);
            assert_eq!(padded(record.clone(), 10), record);
        }
    }
}
