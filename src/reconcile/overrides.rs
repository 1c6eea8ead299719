//! What one connection's mapping says otherwise than its sync: customers have fields of their
//! own.

use std::ops::Range;

use super::spec::{DeclaredReference, EnumValues, FieldSpec, MappingSpec, references_of};
use crate::model::document::{Located, Problems, Table};
use crate::model::side::PerSide;
use crate::model::value::Value;

/// Which fields of a sync a connection may declare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overridable {
    /// Those that the sync does not have.
    Added,
    /// Any.
    All,
    /// These, whether the sync has them or not.
    Named(Vec<String>),
}

/// The fields that a connection declares for a sync.
#[derive(Debug, Clone)]
pub struct Overrides {
    span: Range<usize>,
    fields: Vec<FieldSpec>,
}

impl Overrides {
    /// Takes the fields from a connection's table and notes what is wrong with them.
    #[must_use]
    pub fn parse(table: &Table<'_>, sync: &str) -> Self {
        let problems = table.problems();
        let place = format!("connection.fields.{sync}");
        let read = |(name, item)| FieldSpec::parse(name, item, &place, problems);
        Self { span: table.span(), fields: table.all().into_iter().filter_map(read).collect() }
    }

    /// The fields that name records of another sync, and where they say so.
    #[must_use]
    pub fn references(&self) -> Vec<DeclaredReference> {
        references_of(&self.fields)
    }

    /// Notes each field that a connection may not declare.
    pub fn check(&self, sync: &str, spec: &MappingSpec, allowed: Option<&Overridable>, problems: &Problems) {
        for field in &self.fields {
            let name = &field.name.value;
            let is_known = spec.fields.iter().any(|known| known.name.value == *name);
            let (is_allowed, help) = match allowed {
                None => (false, format!("write overrides = [\"{name}\"] in the sync, or \"add\", or \"replace\"")),
                Some(Overridable::All) => (true, String::new()),
                Some(Overridable::Added) => {
                    (!is_known, format!("its overrides are \"add\": write \"replace\", or a list with \"{name}\""))
                }
                Some(Overridable::Named(names)) => {
                    (names.contains(name), format!("its overrides are {}: add \"{name}\"", names.join(", ")))
                }
            };
            if !is_allowed {
                let what = if is_known { "say otherwise what is" } else { "add" };
                let message = format!("sync '{sync}' does not let a connection {what} '{name}'");
                problems.add_with_help(field.name.span.clone(), message, help);
            }
        }
    }
}

impl MappingSpec {
    /// The same with what a connection says otherwise. Whatever comes of the two together is
    /// told at the place of the connection's.
    #[must_use]
    pub fn overridden(&self, by: &Overrides) -> Self {
        let mut fields: Vec<FieldSpec> = self.fields.iter().map(|field| moved(field, &by.span)).collect();
        for field in &by.fields {
            match fields.iter_mut().find(|known| known.name.value == field.name.value) {
                Some(known) => *known = over(known, field),
                None => fields.push(field.clone()),
            }
        }
        let located = |name: &Located<String>| Located { value: name.value.clone(), span: by.span.clone() };
        Self {
            span: by.span.clone(),
            match_fields: self.match_fields.iter().map(located).collect(),
            filter: self.filter.iter().map(|condition| condition.moved(&by.span)).collect(),
            fields,
            unreadable: self.unreadable.clone(),
            sound: self.sound,
        }
    }
}

/// A field with what is said otherwise about it, key by key. Another form of the value takes the
/// place of all that was said about it.
fn over(known: &FieldSpec, field: &FieldSpec) -> FieldSpec {
    let says_form = field.values.is_some()
        || field.boolean.is_some()
        || field.date.is_some()
        || field.split.is_some()
        || field.join.is_some()
        || field.expressions.app.is_some()
        || field.expressions.remote.is_some();
    let form = if says_form { field } else { known };
    let known = &moved(known, &field.name.span);
    let form = if says_form { form.clone() } else { moved(form, &field.name.span) };
    let keeps_default = !says_form || known.values.is_some() && field.values.is_some();
    let values_default = known.values_default.clone().filter(|_| keeps_default);
    FieldSpec {
        name: field.name.clone(),
        places: PerSide::from_fn(|side| field.places[side].clone().or(known.places[side].clone())),
        split: form.split,
        join: form.join,
        rest: field.rest.clone().or(known.rest.clone().filter(|_| !says_form)),
        owner: field.owner.clone().or(known.owner.clone()),
        conflict: field.conflict.clone().or(known.conflict.clone()),
        required: field.required.clone().or(known.required.clone()),
        default: field.default.clone().or(known.default.clone()),
        constant: field.constant.clone().or(known.constant.clone()),
        transforms: field.transforms.clone().or(known.transforms.clone()),
        values: form.values,
        values_default: field.values_default.clone().or(values_default),
        boolean: form.boolean,
        date: form.date,
        expressions: form.expressions,
        reference: field.reference.clone().or(known.reference.clone()),
        reference_is_table: field.reference_is_table || field.reference.is_none() && known.reference_is_table,
        kind: field.kind.clone().or(known.kind.clone()),
        min_length: field.min_length.clone().or(known.min_length.clone()),
        max_length: field.max_length.clone().or(known.max_length.clone()),
        min: field.min.clone().or(known.min.clone()),
        max: field.max.clone().or(known.max.clone()),
        pattern: field.pattern.clone().or(known.pattern.clone()),
        one_of: field.one_of.clone().or(known.one_of.clone()),
    }
}

/// A field as if all of it stood here: it may stand in another document.
fn moved(field: &FieldSpec, here: &Range<usize>) -> FieldSpec {
    fn at<T: Clone>(located: &Option<Located<T>>, here: &Range<usize>) -> Option<Located<T>> {
        located.as_ref().map(|located| Located { value: located.value.clone(), span: here.clone() })
    }
    let list = |list: &[Located<Value>]| -> Vec<Located<Value>> {
        list.iter().map(|value| Located { value: value.value.clone(), span: here.clone() }).collect()
    };
    let pairs = |pairs: &EnumValues| -> EnumValues {
        let pair = |(app, remote): &(Located<String>, Located<Value>)| {
            let app = Located { value: app.value.clone(), span: here.clone() };
            (app, Located { value: remote.value.clone(), span: here.clone() })
        };
        pairs.iter().map(pair).collect()
    };
    FieldSpec {
        name: Located { value: field.name.value.clone(), span: here.clone() },
        places: PerSide::from_fn(|side| at(&field.places[side], here)),
        split: at(&field.split, here),
        join: at(&field.join, here),
        rest: at(&field.rest, here),
        owner: at(&field.owner, here),
        conflict: at(&field.conflict, here),
        required: at(&field.required, here),
        default: at(&field.default, here),
        constant: at(&field.constant, here),
        transforms: field
            .transforms
            .as_ref()
            .map(|transforms| transforms.iter().map(|one| Located { value: one.value, span: here.clone() }).collect()),
        values: field.values.as_ref().map(|all| Located { value: pairs(&all.value), span: here.clone() }),
        values_default: field.values_default.as_ref().map(|defaults| {
            let value = PerSide::from_fn(|side| at(&defaults.value[side], here));
            Located { value, span: here.clone() }
        }),
        boolean: at(&field.boolean, here),
        date: at(&field.date, here),
        expressions: PerSide::from_fn(|side| at(&field.expressions[side], here)),
        reference: at(&field.reference, here),
        reference_is_table: field.reference_is_table,
        kind: at(&field.kind, here),
        min_length: at(&field.min_length, here),
        max_length: at(&field.max_length, here),
        min: at(&field.min, here),
        max: at(&field.max, here),
        pattern: at(&field.pattern, here),
        one_of: field.one_of.as_ref().map(|all| Located { value: list(&all.value), span: here.clone() }),
    }
}
