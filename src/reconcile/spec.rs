//! The mapping language as it stands in a document: which keys there are, of which
//! type, and where each one stands. What they mean together is checked when the
//! mapping is compiled.

use std::collections::BTreeSet;
use std::ops::Range;

use super::dates::Form;
use super::lens::Transform;
use super::pieces::Rest;
use super::place::{MAX_PARTS, Place};
use super::reference::{IdSpelling, Reference, UntilLinked};
use super::rules::Kind;
use crate::model::document::{Item, Located, Problems, Table, nearest};
use crate::model::path::Path;
use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};
use crate::model::zone::parse_zone;

/// The most keys a path may have. Far beyond any real record, far below the depth at
/// which JSON decoding stops.
const MAX_PATH_KEYS: usize = 32;

/// Which side decides a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Your app: the field is written to the connected app only.
    App,
    /// The connected app: the field is written to your app only.
    Remote,
    /// Both: changes are merged, and a true conflict goes by the field's
    /// [`ConflictPolicy`].
    Shared,
}

/// Who wins when both sides changed one shared field in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ConflictPolicy {
    /// The sync's `tie` decides.
    #[default]
    MergeThenTie,
    /// Your app's value.
    AppWins,
    /// The connected app's value.
    RemoteWins,
    /// The value of the record that was modified last.
    NewestWins,
}

/// A sync's mapping as declared, with the place of everything in it.
#[derive(Debug, Clone)]
pub struct MappingSpec {
    pub(super) span: Range<usize>,
    pub(super) match_fields: Vec<Located<String>>,
    pub(super) filter: Vec<ConditionSpec>,
    pub(super) fields: Vec<FieldSpec>,
    /// Names of fields that could not be read; naming them elsewhere is no second
    /// mistake.
    pub(super) unreadable: BTreeSet<String>,
    /// Whether all of it could be read.
    pub(super) sound: bool,
}

/// Those of some fields that name records of another sync, and where they say so.
pub(super) fn references_of(fields: &[FieldSpec]) -> Vec<DeclaredReference> {
    let declared = fields.iter().filter_map(|field| {
        let reference = field.reference.as_ref()?;
        let key = if field.reference_is_table { "sync" } else { "references" };
        Some(DeclaredReference { field: field.name.value.clone(), key, span: reference.span.clone() })
    });
    declared.collect()
}

/// A field that names records of another sync, and where it says of which.
#[derive(Debug, Clone)]
pub struct DeclaredReference {
    /// The field.
    pub field: String,
    /// The key that holds the name of the sync.
    pub key: &'static str,
    /// Its place.
    pub span: Range<usize>,
}

/// App values and the remote values that stand for them.
pub(super) type EnumValues = Vec<(Located<String>, Located<Value>)>;

/// One field as declared.
#[derive(Debug, Clone)]
pub(super) struct FieldSpec {
    pub(super) name: Located<String>,
    pub(super) places: PerSide<Option<Located<Stands>>>,
    /// Between the pieces of the app's text.
    pub(super) split: Option<Located<String>>,
    /// Between the pieces of the remote's text.
    pub(super) join: Option<Located<String>>,
    pub(super) rest: Option<Located<Rest>>,
    pub(super) owner: Option<Located<Owner>>,
    pub(super) conflict: Option<Located<ConflictPolicy>>,
    pub(super) required: Option<Located<bool>>,
    pub(super) default: Option<Located<Value>>,
    pub(super) constant: Option<Located<Value>>,
    pub(super) transforms: Option<Vec<Located<Transform>>>,
    pub(super) values: Option<Located<EnumValues>>,
    pub(super) values_default: Option<Located<PerSide<Option<Located<Value>>>>>,
    pub(super) boolean: Option<Located<(Value, Value)>>,
    pub(super) date: Option<Located<DateSpec>>,
    pub(super) expressions: PerSide<Option<Located<String>>>,
    /// With the place of the sync's name.
    pub(super) reference: Option<Located<Reference>>,
    pub(super) reference_is_table: bool,
    pub(super) kind: Option<Located<Kind>>,
    pub(super) min_length: Option<Located<usize>>,
    pub(super) max_length: Option<Located<usize>>,
    pub(super) min: Option<Located<Number>>,
    pub(super) max: Option<Located<Number>>,
    pub(super) pattern: Option<Located<String>>,
    pub(super) one_of: Option<Located<Vec<Located<Value>>>>,
}

/// Where a field stands on a side, as declared.
#[derive(Debug, Clone)]
pub(super) enum Stands {
    /// At one path or in one entry of a list.
    Once(Path, Place),
    /// At several paths.
    Several(Vec<Path>),
}

#[derive(Debug, Clone)]
pub(super) struct DateSpec {
    pub(super) forms: PerSide<Form>,
    pub(super) zone: chrono_tz::Tz,
}

/// What one field must be for a record to be in scope.
#[derive(Debug, Clone)]
pub(super) struct ConditionSpec {
    pub(super) field: Located<String>,
    pub(super) tests: Vec<TestSpec>,
}

#[derive(Debug, Clone)]
pub(super) enum TestSpec {
    In(Vec<Located<Value>>),
    Not(Vec<Located<Value>>),
    Min(Located<Number>),
    Max(Located<Number>),
    Present(bool),
}

const OWNERS: [(&str, Owner); 3] = [("app", Owner::App), ("remote", Owner::Remote), ("shared", Owner::Shared)];

const SPELLINGS: [(&str, IdSpelling); 2] = [("text", IdSpelling::Text), ("number", IdSpelling::Number)];

const UNTIL_LINKED: [(&str, UntilLinked); 2] = [("wait", UntilLinked::Wait), ("leave_out", UntilLinked::LeaveOut)];

const CONFLICTS: [(&str, ConflictPolicy); 3] = [
    ("app_wins", ConflictPolicy::AppWins),
    ("remote_wins", ConflictPolicy::RemoteWins),
    ("newest_wins", ConflictPolicy::NewestWins),
];

impl Owner {
    /// The word used in configuration, logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Owner::App => "app",
            Owner::Remote => "remote",
            Owner::Shared => "shared",
        }
    }
}

impl MappingSpec {
    /// Takes the keys `match`, `filter` and `fields` from a sync's table and notes what
    /// is wrong with them. Returns what could be read, so that the rest can be checked
    /// too; `None` when there are no fields at all.
    #[must_use]
    pub fn parse(sync: &Table<'_>) -> Option<MappingSpec> {
        let problems = sync.problems();
        let before = problems.len();
        let match_fields = sync.texts("match").unwrap_or_default();
        let filter = sync.item("filter").map(|item| parse_filter(item, problems)).unwrap_or_default();
        let table = sync.required_table("fields")?;
        let (mut fields, mut unreadable) = (Vec::new(), BTreeSet::new());
        for (name, item) in table.all() {
            let known = problems.len();
            let field = FieldSpec::parse(name.clone(), item, "sync.fields", problems);
            match field.filter(|_| problems.len() == known) {
                Some(field) => fields.push(field),
                None => {
                    unreadable.insert(name.value);
                }
            }
        }
        let (span, sound) = (table.span(), problems.len() == before);
        Some(MappingSpec { span, match_fields, filter, fields, unreadable, sound })
    }

    /// The fields that name records of another sync, and where they say so.
    #[must_use]
    pub fn references(&self) -> Vec<DeclaredReference> {
        references_of(&self.fields)
    }

    /// How many fields are declared, readable or not.
    pub(super) fn num_fields(&self) -> usize {
        self.fields.len() + self.unreadable.len()
    }

    /// Whether a field is declared, readable or not.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.value.as_str()).chain(self.unreadable.iter().map(String::as_str))
    }
}

impl ConditionSpec {
    /// The same as if all of it stood here.
    pub(super) fn moved(&self, here: &Range<usize>) -> Self {
        let at = |value: &Located<Value>| Located { value: value.value.clone(), span: here.clone() };
        let bound = |bound: &Located<Number>| Located { value: bound.value.clone(), span: here.clone() };
        let test = |test: &TestSpec| match test {
            TestSpec::In(values) => TestSpec::In(values.iter().map(at).collect()),
            TestSpec::Not(values) => TestSpec::Not(values.iter().map(at).collect()),
            TestSpec::Min(min) => TestSpec::Min(bound(min)),
            TestSpec::Max(max) => TestSpec::Max(bound(max)),
            TestSpec::Present(present) => TestSpec::Present(*present),
        };
        let field = Located { value: self.field.value.clone(), span: here.clone() };
        Self { field, tests: self.tests.iter().map(test).collect() }
    }
}

impl FieldSpec {
    /// Its transforms, in their order.
    pub(super) fn transforms(&self) -> &[Located<Transform>] {
        self.transforms.as_deref().unwrap_or_default()
    }

    /// Reads a field; `above` names the table that it stands in.
    pub(super) fn parse(name: Located<String>, item: Item<'_>, above: &str, problems: &Problems) -> Option<Self> {
        if let Ok(text) = item.text() {
            let remote = place(text, problems);
            return Some(Self::plain(name, PerSide { app: None, remote }));
        }
        let Ok(table) = item.table(&format!("{above}.{}", name.value)) else {
            let message = format!("'{}' must be a path or a table, not {}", name.value, item.kind());
            let help = format!("write {} = \"path.in.the.remote\"", name.value);
            problems.add_with_help(item.span(), message, help);
            return None;
        };
        let field = Self::parse_table(name, &table);
        table.finish();
        Some(field)
    }

    fn parse_table(name: Located<String>, table: &Table<'_>) -> Self {
        Self {
            name,
            places: PerSide::from_fn(|side| stands(table, side.as_str())),
            split: separator(table, "split"),
            join: separator(table, "join"),
            rest: word(table, "rest", &[("first", Rest::First), ("last", Rest::Last)]),
            owner: word(table, "owner", &OWNERS),
            conflict: word(table, "conflict", &CONFLICTS),
            required: table.boolean("required"),
            default: value(table, "default"),
            constant: value(table, "constant"),
            transforms: transforms(table),
            values: values(table),
            values_default: values_default(table),
            boolean: boolean(table),
            date: date(table),
            expressions: PerSide { app: table.text("to_app"), remote: table.text("to_remote") },
            reference: reference(table),
            reference_is_table: table.item("references").is_some_and(|item| item.text().is_err()),
            kind: word(table, "type", &Kind::ALL.map(|kind| (kind.as_str(), kind))),
            min_length: count(table, "min_length"),
            max_length: count(table, "max_length"),
            min: number(table, "min"),
            max: number(table, "max"),
            pattern: table.text("pattern"),
            one_of: one_of(table),
        }
    }

    fn plain(name: Located<String>, places: PerSide<Option<Located<Stands>>>) -> Self {
        Self {
            name,
            places,
            split: None,
            join: None,
            rest: None,
            owner: None,
            conflict: None,
            required: None,
            default: None,
            constant: None,
            transforms: None,
            values: None,
            values_default: None,
            boolean: None,
            date: None,
            expressions: PerSide::default(),
            reference: None,
            reference_is_table: false,
            kind: None,
            min_length: None,
            max_length: None,
            min: None,
            max: None,
            pattern: None,
            one_of: None,
        }
    }
}

/// The sync whose records a field names: its name, or a table with more about it.
fn reference(table: &Table<'_>) -> Option<Located<Reference>> {
    let item = table.item("references")?;
    let span = item.span();
    if let Ok(name) = item.text() {
        let reference =
            Reference { sync: name.value.into(), spelling: PerSide::default(), until_linked: UntilLinked::default() };
        return Some(Located { value: reference, span });
    }
    let Ok(about) = item.table("references") else {
        let message = format!("'references' must be the name of a sync or a table, not {}", item.kind());
        table.problems().add_with_help(span, message, "write references = \"companies\"");
        return None;
    };
    let spelled = |key| word(&about, key, &SPELLINGS).map(|word| word.value).unwrap_or_default();
    let sync = about.required_text("sync");
    let spelling = PerSide { app: spelled("app"), remote: spelled("remote") };
    let until_linked = word(&about, "until_linked", &UNTIL_LINKED).map(|word| word.value).unwrap_or_default();
    about.finish();
    let Located { value: sync, span } = sync?;
    Some(Located { value: Reference { sync: sync.into(), spelling, until_linked }, span })
}

/// One or several paths.
fn stands(table: &Table<'_>, key: &str) -> Option<Located<Stands>> {
    let item = table.item(key)?;
    if let Ok(text) = item.text() {
        return place(text, table.problems());
    }
    let Ok(_) = item.list() else {
        let message = format!("'{key}' must be a text or a list of texts, not {}", item.kind());
        table.problems().add_with_help(
            item.span(),
            message,
            "write a path, or several: [\"first_name\", \"last_name\"]",
        );
        return None;
    };
    let before = table.problems().len();
    let mut paths = Vec::new();
    for text in table.texts(key)? {
        let span = text.span.clone();
        match place(text, table.problems())?.value {
            Stands::Once(path, Place::Path) => paths.push(path),
            Stands::Once(..) | Stands::Several(_) => {
                let message = "an entry of a list cannot be one of several paths";
                table.problems().add_with_help(span, message, "make it a field of its own");
            }
        }
    }
    if table.problems().len() > before {
        return None;
    }
    if !(2..=MAX_PARTS).contains(&paths.len()) {
        let message = format!("'{key}' must be a path or from 2 to {MAX_PARTS} of them, not {}", paths.len());
        table.problems().add_with_help(item.span(), message, "write a single one as a text");
        return None;
    }
    Some(Located { value: Stands::Several(paths), span: item.span() })
}

fn place(text: Located<String>, problems: &Problems) -> Option<Located<Stands>> {
    match Place::parse(&text.value) {
        Ok((path, _)) if path.segments().len() > MAX_PATH_KEYS => {
            problems.add(text.span, format!("a path may have at most {MAX_PATH_KEYS} keys"));
            None
        }
        Ok((path, place)) => Some(Located { value: Stands::Once(path, place), span: text.span }),
        Err(error) => {
            let help =
                "write keys with dots between them, and a key that holds a dot or a bracket in quotes: meta.\"a.b\"";
            problems.add_with_help(text.span, error, help);
            None
        }
    }
}

/// What stands between the pieces of a text.
fn separator(table: &Table<'_>, key: &str) -> Option<Located<String>> {
    let text = table.text(key)?;
    if text.value.is_empty() {
        let message = format!("'{key}' is empty: nothing would separate the pieces");
        table.problems().add_with_help(text.span, message, "write what stands between them, such as \" \" or \";\"");
        return None;
    }
    Some(text)
}

/// One of a few words.
fn word<T: Copy>(table: &Table<'_>, key: &str, words: &[(&str, T)]) -> Option<Located<T>> {
    let text = table.text(key)?;
    choose(&text, key, words, table.problems())
}

fn choose<T: Copy>(text: &Located<String>, key: &str, words: &[(&str, T)], problems: &Problems) -> Option<Located<T>> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(Located { value: *value, span: text.span.clone() });
    }
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("'{key}' must be one of {}, not '{}'", list.join(", "), text.value);
    match nearest(&text.value, list.into_iter()) {
        Some(near) => problems.add_with_help(text.span.clone(), message, format!("did you mean '{near}'?")),
        None => problems.add(text.span.clone(), message),
    }
    None
}

fn item_value(item: Item<'_>, key: &str, problems: &Problems) -> Option<Located<Value>> {
    match item.value() {
        Ok(value) => Some(Located { value, span: item.span() }),
        Err(wanted) => {
            problems.add(item.span(), format!("'{key}' must be {wanted}"));
            None
        }
    }
}

fn item_number(item: Item<'_>, key: &str, problems: &Problems) -> Option<Located<Number>> {
    match item.value() {
        Ok(Value::Number(value)) => Some(Located { value, span: item.span() }),
        Ok(_) | Err(_) => {
            problems.add(item.span(), format!("'{key}' must be a number, not {}", item.kind()));
            None
        }
    }
}

fn item_values(item: Item<'_>, key: &str, problems: &Problems) -> Option<Vec<Located<Value>>> {
    let Ok(items) = item.list() else {
        problems.add(item.span(), format!("'{key}' must be a list, not {}", item.kind()));
        return None;
    };
    Some(items.into_iter().filter_map(|item| item_value(item, key, problems)).collect())
}

fn value(table: &Table<'_>, key: &str) -> Option<Located<Value>> {
    item_value(table.item(key)?, key, table.problems())
}

fn number(table: &Table<'_>, key: &str) -> Option<Located<Number>> {
    item_number(table.item(key)?, key, table.problems())
}

fn count(table: &Table<'_>, key: &str) -> Option<Located<usize>> {
    let integer = table.integer(key)?;
    match usize::try_from(integer.value) {
        Ok(value) => Some(Located { value, span: integer.span }),
        Err(_) => {
            table.problems().add(integer.span, format!("'{key}' must not be negative"));
            None
        }
    }
}

fn one_of(table: &Table<'_>) -> Option<Located<Vec<Located<Value>>>> {
    let item = table.item("one_of")?;
    let value = item_values(item, "one_of", table.problems())?;
    Some(Located { value, span: item.span() })
}

fn transforms(table: &Table<'_>) -> Option<Vec<Located<Transform>>> {
    let item = table.item("transform")?;
    let words = Transform::ALL.map(|transform| (transform.as_str(), transform));
    let texts = match item.text() {
        Ok(text) => vec![text],
        Err(_) => table.texts("transform").unwrap_or_default(),
    };
    Some(texts.iter().filter_map(|text| choose(text, "transform", &words, table.problems())).collect())
}

fn values(table: &Table<'_>) -> Option<Located<EnumValues>> {
    let values = table.table("values")?;
    let mut pairs = Vec::new();
    for (name, item) in values.all() {
        let value = scalar(item, &name.value, table.problems());
        pairs.extend(value.map(|value| (name, value)));
    }
    if values.all().is_empty() {
        table.problems().add_with_help(values.span(), "'values' is empty", "write app = \"remote\" for each value");
    }
    Some(Located { value: pairs, span: values.span() })
}

fn values_default(table: &Table<'_>) -> Option<Located<PerSide<Option<Located<Value>>>>> {
    let defaults = table.table("values_default")?;
    let value = PerSide::from_fn(|side| {
        let item = defaults.item(side.as_str())?;
        scalar(item, side.as_str(), table.problems())
    });
    let span = defaults.span();
    defaults.finish();
    Some(Located { value, span })
}

fn boolean(table: &Table<'_>) -> Option<Located<(Value, Value)>> {
    let forms = table.table("boolean")?;
    let form = |key: &str| match forms.item(key) {
        Some(item) => scalar(item, key, table.problems()).map(|value| value.value),
        None => {
            table.problems().add_with_help(
                forms.span(),
                format!("'{key}' is missing in {}", forms.name()),
                "write both, such as boolean = { true = \"yes\", false = \"no\" }",
            );
            None
        }
    };
    let (yes, no, span) = (form("true"), form("false"), forms.span());
    forms.finish();
    Some(Located { value: (yes?, no?), span })
}

/// A text, number or boolean that a lens can stand for: the empty text cannot, because
/// it passes through unchanged.
fn scalar(item: Item<'_>, key: &str, problems: &Problems) -> Option<Located<Value>> {
    let value = item_value(item, key, problems)?;
    match &value.value {
        Value::String(text) if text.is_empty() => {
            let help = "null, absent and the empty text pass through every transform unchanged";
            problems.add_with_help(value.span, format!("'{key}' must not be the empty text"), help);
            None
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            problems.add(value.span, format!("'{key}' must be a text, a number or a boolean, not {}", item.kind()));
            None
        }
    }
}

fn date(table: &Table<'_>) -> Option<Located<DateSpec>> {
    let settings = table.table("date")?;
    let problems = table.problems();
    let form = |side: Side| {
        let Some(text) = settings.text(side.as_str()) else { return Some(Form::Iso) };
        let help = "write iso, date, s, ms, or a pattern such as %d/%m/%Y";
        Form::parse(&text.value).map_err(|reason| problems.add_with_help(text.span, reason, help)).ok()
    };
    let (app, remote) = (form(Side::App), form(Side::Remote));
    let zone = match settings.text("zone") {
        None => Some(chrono_tz::Tz::UTC),
        Some(name) => parse_zone(&name.value)
            .map_err(|near| {
                let help = near
                    .map_or("write a name such as Europe/Berlin".to_owned(), |near| format!("did you mean '{near}'?"));
                problems.add_with_help(name.span, format!("'{}' is not a time zone", name.value), help);
            })
            .ok(),
    };
    let span = settings.span();
    settings.finish();
    Some(Located { value: DateSpec { forms: PerSide { app: app?, remote: remote? }, zone: zone? }, span })
}

fn parse_filter(item: Item<'_>, problems: &Problems) -> Vec<ConditionSpec> {
    if let Ok(table) = item.table("filter") {
        return table.all().into_iter().filter_map(|(field, item)| short_condition(field, item, problems)).collect();
    }
    let Ok(items) = item.list() else {
        let help = "write filter = { tier = \"pro\" } or filter = [{ field = \"tier\", in = [\"pro\"] }]";
        problems.add_with_help(item.span(), format!("'filter' must be a table or a list, not {}", item.kind()), help);
        return Vec::new();
    };
    items.into_iter().filter_map(|item| long_condition(item, problems)).collect()
}

fn short_condition(field: Located<String>, item: Item<'_>, problems: &Problems) -> Option<ConditionSpec> {
    if item.list().is_ok() || item.table("filter").is_ok() {
        let help = format!("write filter = [{{ field = \"{}\", in = [...] }}]", field.value);
        problems.add_with_help(item.span(), format!("'{}' must be one value here", field.value), help);
        return None;
    }
    let value = item_value(item, &field.value, problems)?;
    Some(ConditionSpec { field, tests: vec![TestSpec::In(vec![value])] })
}

fn long_condition(item: Item<'_>, problems: &Problems) -> Option<ConditionSpec> {
    let Ok(table) = item.table("filter") else {
        problems.add(item.span(), format!("an entry of 'filter' must be a table, not {}", item.kind()));
        return None;
    };
    let mut tests = Vec::new();
    tests.extend(value(&table, "is").map(|value| TestSpec::In(vec![value])));
    tests.extend(table.item("in").and_then(|item| item_values(item, "in", problems)).map(TestSpec::In));
    tests.extend(table.item("not").and_then(|item| one_or_many(item, "not", problems)).map(TestSpec::Not));
    tests.extend(number(&table, "min").map(TestSpec::Min));
    tests.extend(number(&table, "max").map(TestSpec::Max));
    tests.extend(table.boolean("present").map(|present| TestSpec::Present(present.value)));
    let (field, span) = (table.required_text("field"), table.span());
    let before = problems.len();
    table.finish();
    let field = field?;
    if tests.is_empty() && problems.len() == before {
        let help = "add is, in, not, min, max or present";
        problems.add_with_help(span, format!("the condition on '{}' asks for nothing", field.value), help);
    }
    Some(ConditionSpec { field, tests })
}

fn one_or_many(item: Item<'_>, key: &str, problems: &Problems) -> Option<Vec<Located<Value>>> {
    match item.list() {
        Ok(_) => item_values(item, key, problems),
        Err(_) => item_value(item, key, problems).map(|value| vec![value]),
    }
}
