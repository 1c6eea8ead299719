//! Records as somebody writes and reads them by hand, in the app's form, whichever side they
//! are of.

use super::mapping::{FieldRead, Mapping};
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::value::Value;

impl Mapping {
    /// A record in the app's form, respelled for a side: the fields that it names, and for a new
    /// one (`whole`) what every new record gets.
    ///
    /// # Errors
    /// When it names what is no field of the sync, or a value breaks a rule or cannot be
    /// respelled.
    pub fn spelled(&self, side: Side, record: &Value, whole: bool) -> Result<Value, String> {
        let (mut spelled, mut rest) = (Value::Object(Vec::new()), record.clone());
        for (index, field) in self.fields.iter().enumerate() {
            let given = record.get(&field.paths.app);
            rest.remove(&field.paths.app);
            let otherwise = || field.constant_for(side).or_else(|| self.default_for(side, index));
            let value = given.or_else(|| otherwise().filter(|_| whole));
            if value.is_none() && !whole {
                continue;
            }
            self.check(index, value).map_err(|fault| fault.to_string())?;
            if let Some(value) = self.to_side(side, index, value).map_err(|fault| fault.to_string())? {
                spelled.set(&field.paths[side], value);
            }
        }
        match first_leaf(&mut Vec::new(), &rest) {
            Some(path) => Err(format!("'{path}' is no field of the sync; it has: {}", self.names())),
            None => Ok(spelled),
        }
    }

    /// What to search a side for, by paths of the app's form.
    ///
    /// # Errors
    /// As [`Mapping::spelled`].
    pub fn spelled_criteria(&self, side: Side, criteria: Vec<(Path, Value)>) -> Result<Vec<(Path, Value)>, String> {
        let one = |(path, value): (Path, Value)| {
            let index = self.fields.iter().position(|field| field.paths.app == path);
            let index = index.ok_or_else(|| format!("'{path}' is no field of the sync; it has: {}", self.names()))?;
            let value = self.to_side(side, index, Some(&value)).map_err(|fault| fault.to_string())?;
            Ok((self.fields[index].paths[side].clone(), value.unwrap_or(Value::Null)))
        };
        criteria.into_iter().map(one).collect()
    }

    /// A record of a side in the app's form: its mapped fields.
    ///
    /// # Errors
    /// When it cannot be read, or one of its fields cannot.
    pub fn in_app_form(&self, side: Side, body: &Body) -> Result<Value, String> {
        let fields = self.read(side, body).map_err(|fault| fault.to_string())?;
        let mut record = Value::Object(Vec::new());
        for (field, read) in self.fields.iter().zip(fields.iter()) {
            match read {
                FieldRead::Value(Some(value)) => record.set(&field.paths.app, value.clone()),
                FieldRead::Value(None) => {}
                FieldRead::Fault(fault) => return Err(fault.to_string()),
            }
        }
        Ok(record)
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
        let spelled = mapping.spelled(Side::Remote, &record, true).unwrap();
        let want = r#"{"properties":{"email":"a@x.org","plan":"P","city":"Bern","source":"us"}}"#;
        assert_eq!(spelled.to_json(), want);
        let back = mapping.in_app_form(Side::Remote, &Body::from_value(&spelled)).unwrap();
        let want = r#"{"email":"a@x.org","plan":"pro","address":{"city":"Bern"},"source":"us"}"#;
        assert_eq!(back.to_json(), want);
        // Of a change only what it names.
        let change = mapping.spelled(Side::Remote, &value(r#"{"address":{"city":null}}"#), false).unwrap();
        assert_eq!(change.to_json(), r#"{"properties":{"city":null}}"#);
        let new = mapping.spelled(Side::Remote, &value(r#"{"email":"a@x.org"}"#), true).unwrap();
        assert_eq!(new.to_json(), r#"{"properties":{"email":"a@x.org","plan":"F","source":"us"}}"#);
        let sought =
            mapping.spelled_criteria(Side::Remote, vec![("plan".parse().unwrap(), value(r#""pro""#))]).unwrap();
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
            let error = mapping.spelled(Side::Remote, &value(record), false).unwrap_err();
            assert!(error.contains(told), "{record}: {error}");
        }
        let criteria = vec![("emial".parse().unwrap(), value("1"))];
        assert!(mapping.spelled_criteria(Side::Remote, criteria).unwrap_err().contains("no field of the sync"));
        let body = Body::from_json(r#"{"properties":{"plan":"X"}}"#);
        assert!(mapping.in_app_form(Side::Remote, &body).unwrap_err().contains("field 'plan'"));
    }
}
