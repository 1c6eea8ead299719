//! JSON Schema of mapped records: what a record must be before it is written, beyond the rules of
//! its fields. Part of the feature `json-schema`; without it no schema can be declared.
//!
//! A schema stands by itself: what it refers to outside of its own text is refused, and nothing
//! is fetched or opened. It is compiled once.

use std::fmt;

use super::before_write::spelled;
use super::case::{Case, Step};
use super::mapping::Mapping;
use super::place::Put;
use super::plan::{Effect, Fault, fields_of, keep_visible, quick};
use super::sync::BoundSync;
use crate::model::ids::RecordId;
use crate::model::side::{PerSide, Side};
use crate::model::work::QuarantineKind;

/// The longest schema, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 256 * 1024;

/// What the mapped records of a sync must be before they are written.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    /// In the app's form, whichever side is written.
    pub both: Option<RecordSchema>,
    /// In the form of the side that is written.
    pub sides: PerSide<Option<RecordSchema>>,
}

/// Where a record is not as its schema wants it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFault {
    /// Where in the record: `address.city`, `phones[1]`; empty for the top.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl Schemas {
    /// Whether there is one for what is written to a side.
    #[must_use]
    pub fn has(&self, side: Side) -> bool {
        self.both.is_some() || self.sides[side].is_some()
    }
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.place.is_empty() { "the top" } else { &self.place };
        write!(f, "{} at {place}", self.reason)
    }
}

#[cfg(not(feature = "json-schema"))]
mod engine {
    use super::SchemaFault;
    use crate::model::value::Value;

    /// There is none without the feature `json-schema`.
    #[derive(Debug, Clone)]
    pub enum RecordSchema {}

    impl RecordSchema {
        /// Refuses every schema.
        ///
        /// # Errors
        /// Always: this program was built without the feature.
        pub fn compile(_: &str) -> Result<Self, String> {
            Err("this program was built without the feature 'json-schema'".to_owned())
        }

        /// Nothing to check by.
        ///
        /// # Errors
        /// None.
        pub fn check(&self, _: &Value) -> Result<(), SchemaFault> {
            match *self {}
        }
    }
}

#[cfg(feature = "json-schema")]
mod engine {
    use std::error::Error;
    use std::fmt;
    use std::fmt::Write as _;
    use std::sync::Arc;

    use boon::{Compiler, ErrorKind, InstanceLocation, InstanceToken, SchemaIndex, UrlLoader, ValidationError};

    use super::{MAX_SCHEMA_BYTES, SchemaFault};
    use crate::model::value::Value;
    use crate::reconcile::shown;

    /// A compiled schema. Cheap to clone.
    #[derive(Clone)]
    pub struct RecordSchema(Arc<(boon::Schemas, SchemaIndex)>);

    impl fmt::Debug for RecordSchema {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RecordSchema").finish_non_exhaustive()
        }
    }

    /// Nothing is loaded.
    struct Nowhere;

    impl UrlLoader for Nowhere {
        fn load(&self, _: &str) -> Result<serde_json::Value, Box<dyn Error>> {
            Err("a schema must stand by itself: write what it refers to under its '$defs'".into())
        }
    }

    /// What the schema is called inside; its own references are relative to it.
    const NAME: &str = "schema:/record";

    impl RecordSchema {
        /// Compiles a schema; one that does not say its draft is of 2020-12.
        ///
        /// # Errors
        /// What is wrong with it.
        pub fn compile(text: &str) -> Result<Self, String> {
            if text.len() > MAX_SCHEMA_BYTES {
                return Err(format!("it is longer than {MAX_SCHEMA_BYTES} bytes"));
            }
            let json: serde_json::Value =
                serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
            let mut compiler = Compiler::new();
            compiler.use_loader(Box::new(Nowhere));
            compiler.set_default_draft(boon::Draft::V2020_12);
            compiler.enable_format_assertions();
            let mut schemas = boon::Schemas::new();
            compiler.add_resource(NAME, json).map_err(|error| one_line(&format!("{error:#}")))?;
            let index = compiler.compile(NAME, &mut schemas).map_err(|error| one_line(&format!("{error:#}")))?;
            Ok(Self(Arc::new((schemas, index))))
        }

        /// Checks a record.
        ///
        /// # Errors
        /// With the first place where it is not as the schema wants it.
        pub fn check(&self, record: &Value) -> Result<(), SchemaFault> {
            let json = serde_json::from_str(&record.to_json()).map_err(|error| SchemaFault {
                place: String::new(),
                reason: format!("a number of it is beyond what a schema can check: {}", shown(&error.to_string())),
            })?;
            let (schemas, index) = &*self.0;
            schemas.validate(&json, *index).map_err(|error| fault(&error))
        }
    }

    fn one_line(text: &str) -> String {
        shown(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The first of what is wrong, at the deepest place. Where one of several had to fit, what is
    /// wrong with one of them says little.
    fn fault(error: &ValidationError<'_, '_>) -> SchemaFault {
        let mut error = error;
        while let (
            ErrorKind::Group | ErrorKind::Schema { .. } | ErrorKind::Reference { .. } | ErrorKind::AllOf,
            Some(cause),
        ) = (&error.kind, error.causes.first())
        {
            error = cause;
        }
        SchemaFault { place: place(&error.instance_location), reason: reason(&error.kind) }
    }

    /// Without the record's own value: it may be anything, and the reason is kept.
    fn reason(kind: &ErrorKind<'_, '_>) -> String {
        match kind {
            ErrorKind::Format { want, .. } => format!("it is no valid {want}"),
            ErrorKind::Pattern { want, .. } => format!("it does not match the pattern '{}'", shown(want)),
            other => one_line(&other.to_string()),
        }
    }

    fn place(location: &InstanceLocation<'_>) -> String {
        let mut place = String::new();
        for token in &location.tokens {
            match token {
                InstanceToken::Prop(key) if place.is_empty() => place.push_str(&shown(key)),
                InstanceToken::Prop(key) => {
                    place.push('.');
                    place.push_str(&shown(key));
                }
                InstanceToken::Item(index) => {
                    let _ = write!(place, "[{index}]");
                }
            }
        }
        place
    }
}

pub use engine::RecordSchema;

/// Holds a plan back whose records are not as the sync's schemas want them.
#[must_use]
pub fn checked(sync: &BoundSync, case: &Case, step: Step) -> Step {
    let Step::Plan(plan) = &step else { return step };
    let unfit = match &plan.effect {
        Effect::Create(creation) if sync.schemas.has(creation.target) => {
            unfit(sync, creation.target, creation.values.clone()).err().map(|fault| (creation.target, fault))
        }
        Effect::Update(updates) => {
            let mut found = None;
            for side in Side::BOTH {
                let Some(update) = updates.writes[side].as_ref().filter(|_| sync.schemas.has(side)) else { continue };
                let Some(seen) = case.seen[side].as_ref().and_then(fields_of) else {
                    let id: RecordId = update.id.clone();
                    return Step::Read(side, id);
                };
                let held = (0..sync.mapping.fields.len()).filter(|index| !update.fields.contains(index));
                let held = held.filter_map(|index| Some((index, Some(seen.value(index).ok()??.clone()))));
                let values = update.values.iter().cloned().chain(held).collect();
                found = found.or(unfit(sync, side, values).err().map(|fault| (side, fault)));
            }
            found
        }
        Effect::Create(_)
        | Effect::Delete(_)
        | Effect::Keep(_)
        | Effect::Half(_)
        | Effect::Forget
        | Effect::Hold(..)
        | Effect::Quarantine(..)
        | Effect::OutOfScope(_) => None,
    };
    let Some((side, SchemaFault { place, reason })) = unfit else { return step };
    let reason = format!("the record for the {side} is not as its schema wants it: {reason}");
    let path = Some(if place.is_empty() { "the top".to_owned() } else { place });
    quick(case, Effect::Quarantine(Fault { kind: QuarantineKind::Invalid, reason, path }, keep_visible(sync, case)))
}

/// Checks a record as it is to stand on a side, given its values in the app's form.
fn unfit(sync: &BoundSync, side: Side, values: Vec<Put>) -> Result<(), SchemaFault> {
    let mapping: &Mapping = &sync.mapping;
    let made = |fault: super::mapping::FieldFault| SchemaFault { place: fault.path, reason: fault.reason };
    if let Some(schema) = &sync.schemas.sides[side] {
        let record = spelled(mapping, side, &values).and_then(|puts| mapping.new_record(side, puts)).map_err(made)?;
        schema.check(&record)?;
    }
    if let Some(schema) = &sync.schemas.both {
        schema.check(&mapping.new_record(Side::App, values).map_err(made)?)?;
    }
    Ok(())
}

#[cfg(all(test, feature = "json-schema"))]
mod tests {
    use super::*;
    use crate::model::value::Value;

    fn checks(schema: &str, record: &str) -> Result<(), String> {
        let schema = RecordSchema::compile(schema)?;
        schema.check(&Value::from_json(record).unwrap()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_record_is_checked_at_each_of_its_places() {
        let schema = r##"{ "type": "object", "required": ["email"], "properties": {
            "email": { "type": "string", "format": "email", "maxLength": 12 },
            "age": { "type": "integer", "minimum": 0 },
            "address": { "$ref": "#/$defs/address" },
            "phones": { "type": "array", "items": { "type": "object", "properties": { "n": { "pattern": "^[0-9]+$" } } } } },
            "$defs": { "address": { "type": "object", "properties": { "zip": { "type": "string" } } } } }"##;
        for (record, want) in [
            (r#"{"email":"a@x.io","age":3}"#, ""),
            ("{}", "missing properties 'email' at the top"),
            (r#"{"email":"a"}"#, "it is no valid email at email"),
            (r#"{"email":"a@x.io","age":-1}"#, "must be >=0, but got -1 at age"),
            (r#"{"email":"a@x.io","address":{"zip":7}}"#, "want string, but got number at address.zip"),
            (
                r#"{"email":"a@x.io","phones":[{"n":"1"},{"n":"x"}]}"#,
                "it does not match the pattern '^[0-9]+$' at phones[1].n",
            ),
            (
                r#"{"email":"a@x.io","age":1e400}"#,
                "a number of it is beyond what a schema can check: number out of range",
            ),
        ] {
            match checks(schema, record) {
                Ok(()) => assert!(want.is_empty(), "{record} passes"),
                Err(told) => assert!(!want.is_empty() && told.starts_with(want), "{record}: {told}"),
            }
        }
    }

    #[test]
    fn a_schema_that_is_wrong_or_reaches_out_is_refused() {
        for (schema, told) in [
            ("{", "it is not JSON"),
            (r#"{ "type": "strin" }"#, ""),
            (r#"{ "pattern": "(" }"#, ""),
            (r#"{ "$ref": "https://example.com/contact.json" }"#, "must stand by itself"),
            (r#"{ "$ref": "file:///etc/passwd" }"#, "must stand by itself"),
            (r#"{ "$ref": "other.json" }"#, "must stand by itself"),
            (r##"{ "$ref": "#/$defs/nowhere" }"##, ""),
            (r#"{ "$schema": "https://example.com/draft" }"#, "must stand by itself"),
        ] {
            let error = RecordSchema::compile(schema).map(|_| ()).expect_err(schema);
            assert!(error.contains(told), "{schema}: {error}");
        }
        let long = format!("{{ \"title\": \"{}\" }}", "x".repeat(MAX_SCHEMA_BYTES));
        assert!(RecordSchema::compile(&long).unwrap_err().contains("longer than"));
    }

    #[test]
    fn one_that_goes_round_in_circles_ends() {
        let told = checks(r##"{ "$ref": "#" }"##, "{}").unwrap_err();
        assert!(told.contains("cycle"), "{told}");
        let list = r##"{ "type": "object", "properties": { "next": { "$ref": "#" } } }"##;
        let deep = format!("{}{}{}", r#"{"next":"#.repeat(100), "{}", "}".repeat(100));
        checks(list, &deep).unwrap();
    }
}
