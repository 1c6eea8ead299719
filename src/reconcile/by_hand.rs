//! Records as somebody writes and reads them by hand, in the app's form, whichever side they
//! are of.

use super::mapping::{FieldRead, Mapping};
use super::reference::LinksByHand;
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::value::Value;

/// What becomes of a record that is given by hand.
#[derive(Debug, Clone, Copy)]
pub enum ByHand<'r> {
    /// A new one, which gets what every new record gets.
    New,
    /// A change of the fields that it names, in this record where that has to be known.
    Change(Option<&'r Body>),
}

impl Mapping {
    /// Whether a record of a side has to be known before the fields that `record` names can be
    /// changed in it.
    #[must_use]
    pub fn needs_reading(&self, side: Side, record: &Value) -> bool {
        self.fields.iter().any(|field| field.needs_current(side) && field.stands_in(Side::App, record))
    }

    /// A record in the app's form, respelled for a side.
    ///
    /// # Errors
    /// When it names what is no field of the sync, or a value breaks a rule or cannot be
    /// respelled.
    pub fn spelled(
        &self,
        side: Side,
        record: &Value,
        what: ByHand<'_>,
        links: &LinksByHand<'_>,
    ) -> Result<Value, String> {
        let (mut puts, mut rest) = (Vec::new(), record.clone());
        let is_new = matches!(what, ByHand::New);
        for (index, field) in self.fields.iter().enumerate() {
            let (place, path) = (&field.places.app, &field.paths.app);
            let given = place.read(path, record).map_err(|reason| format!("field '{}': {reason}", field.name))?;
            place.remove(path, &mut rest);
            let otherwise = || field.constant_for(side).or_else(|| self.default_for(side, index));
            let value = given.as_ref().or_else(|| otherwise().filter(|_| is_new));
            if value.is_none() && !is_new {
                continue;
            }
            self.check(index, value).map_err(|fault| fault.to_string())?;
            match self.by_hand(side, index, value, links)? {
                Some(value) => puts.push((index, Some(value))),
                None if !is_new && field.needs_current(side) => puts.push((index, None)),
                None => {}
            }
        }
        if let Some(path) = first_leaf(&mut Vec::new(), &rest) {
            return Err(format!("'{path}' is no field of the sync; it has: {}", self.names()));
        }
        let current = match what {
            ByHand::New => None,
            ByHand::Change(current) => current,
        };
        let mut spelled = Value::Object(Vec::new());
        for change in self.changes(side, current, puts).map_err(|fault| fault.to_string())? {
            spelled.set(&change.path, change.value.unwrap_or(Value::Null));
        }
        Ok(spelled)
    }

    /// What to search a side for, by paths of the app's form.
    ///
    /// # Errors
    /// As [`Mapping::spelled`], and for a field that stands at several paths.
    pub fn spelled_criteria(
        &self,
        side: Side,
        criteria: Vec<(Path, Value)>,
        links: &LinksByHand<'_>,
    ) -> Result<Vec<(Path, Value)>, String> {
        let one = |(path, value): (Path, Value)| {
            let index = self.fields.iter().position(|field| field.paths.app == path);
            let index = index.ok_or_else(|| format!("'{path}' is no field of the sync; it has: {}", self.names()))?;
            if self.fields[index].num_further(side) > 0 {
                return Err(format!("'{path}' stands at several paths of the {side}, by which nothing can be found"));
            }
            let value = self.by_hand(side, index, Some(&value), links)?;
            Ok((self.fields[index].paths[side].clone(), value.unwrap_or(Value::Null)))
        };
        criteria.into_iter().map(one).collect()
    }

    /// A record of a side in the app's form: its mapped fields.
    ///
    /// # Errors
    /// When it cannot be read, or one of its fields cannot.
    pub fn in_app_form(&self, side: Side, body: &Body, links: &LinksByHand<'_>) -> Result<Value, String> {
        let fields = self.read(side, body).map_err(|fault| fault.to_string())?;
        let mut puts = Vec::with_capacity(self.fields.len());
        for (index, read) in fields.iter().enumerate() {
            match read {
                FieldRead::Value(Some(value)) => {
                    let carried = (side == Side::Remote).then(|| links.carried(self, index, side, value)).flatten();
                    let value = carried.unwrap_or_else(|| Ok(value.clone()));
                    let told = |reason| format!("field '{}': {reason}", self.fields[index].name);
                    puts.push((index, Some(value.map_err(told)?)));
                }
                FieldRead::Value(None) => {}
                FieldRead::Fault(fault) => return Err(fault.to_string()),
            }
        }
        self.new_record(Side::App, puts).map_err(|fault| fault.to_string())
    }

    fn by_hand(
        &self,
        side: Side,
        index: usize,
        value: Option<&Value>,
        links: &LinksByHand<'_>,
    ) -> Result<Option<Value>, String> {
        let carried = value.filter(|_| side == Side::Remote);
        match carried.and_then(|value| links.carried(self, index, Side::App, value)) {
            Some(carried) => {
                carried.map(Some).map_err(|reason| format!("field '{}': {reason}", self.fields[index].name))
            }
            None => self.to_side(side, index, value).map_err(|fault| fault.to_string()),
        }
    }

    fn names(&self) -> String {
        self.fields.iter().map(|field| field.paths.app.to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// The first path at which something stands.
fn first_leaf(keys: &mut Vec<String>, value: &Value) -> Option<Path> {
    let Value::Object(entries) = value else { return Path::of_keys(keys.clone()) };
    entries.iter().find_map(|(key, value)| {
        keys.push(key.clone());
        let found = first_leaf(keys, value);
        keys.pop();
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::direction::Direction;
    use crate::model::document::{Problems, Table, parse};
    use crate::reconcile::spec::MappingSpec;

    const NONE: LinksByHand<'static> = LinksByHand { references: &[], look_up: &|_| Ok(None) };

    fn mapping() -> Mapping {
        let rules = "match = ['email']\n[fields]\nemail = { remote = 'properties.email', transform = 'lowercase' }\n\
                     plan = { remote = 'properties.plan', values = { pro = 'P', free = 'F' }, default = 'free' }\n\
                     \"address.city\" = { app = 'address.city', remote = 'properties.city', max_length = 5 }\n\
                     source = { remote = 'properties.source', constant = 'us', owner = 'app' }\n";
        let problems = Problems::new();
        let document = parse(rules, &problems);
        let spec = MappingSpec::parse(&Table::top(&document, &problems)).unwrap();
        let mapping = Mapping::compile(&spec, &problems, Direction::TwoWay);
        mapping.unwrap_or_else(|| panic!("{:?}", problems.into_sorted()))
    }

    fn value(json: &str) -> Value {
        Value::from_json(json).unwrap()
    }

    #[test]
    fn a_record_is_respelled_for_a_side_and_back() {
        let mapping = mapping();
        let record = value(r#"{"email":"A@X.org","plan":"pro","address":{"city":"Bern"}}"#);
        let spelled = mapping.spelled(Side::Remote, &record, ByHand::New, &NONE).unwrap();
        let want = r#"{"properties":{"email":"a@x.org","plan":"P","city":"Bern","source":"us"}}"#;
        assert_eq!(spelled.to_json(), want);
        let back = mapping.in_app_form(Side::Remote, &Body::from_value(&spelled), &NONE).unwrap();
        let want = r#"{"email":"a@x.org","plan":"pro","address":{"city":"Bern"},"source":"us"}"#;
        assert_eq!(back.to_json(), want);
        // Of a change only what it names.
        let change =
            mapping.spelled(Side::Remote, &value(r#"{"address":{"city":null}}"#), ByHand::Change(None), &NONE).unwrap();
        assert_eq!(change.to_json(), r#"{"properties":{"city":null}}"#);
        let new = mapping.spelled(Side::Remote, &value(r#"{"email":"a@x.org"}"#), ByHand::New, &NONE).unwrap();
        assert_eq!(new.to_json(), r#"{"properties":{"email":"a@x.org","plan":"F","source":"us"}}"#);
        let sought =
            mapping.spelled_criteria(Side::Remote, vec![("plan".parse().unwrap(), value(r#""pro""#))], &NONE).unwrap();
        assert_eq!(sought, [("properties.plan".parse().unwrap(), value(r#""P""#))]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mapping = mapping();
        for (record, told) in [
            (r#"{"emial":"a"}"#, "'emial' is no field of the sync; it has: email, plan, address.city, source"),
            (r#"{"address":{"zip":"1"}}"#, "'address.zip' is no field of the sync"),
            (r#"{"plan":"gold"}"#, "field 'plan'"),
            (r#"{"address":{"city":"Winterthur"}}"#, "field 'address.city'"),
        ] {
            let error = mapping.spelled(Side::Remote, &value(record), ByHand::Change(None), &NONE).unwrap_err();
            assert!(error.contains(told), "{record}: {error}");
        }
        let criteria = vec![("emial".parse().unwrap(), value("1"))];
        assert!(mapping.spelled_criteria(Side::Remote, criteria, &NONE).unwrap_err().contains("no field of the sync"));
        let body = Body::from_json(r#"{"properties":{"plan":"X"}}"#);
        assert!(mapping.in_app_form(Side::Remote, &body, &NONE).unwrap_err().contains("field 'plan'"));
    }
}
