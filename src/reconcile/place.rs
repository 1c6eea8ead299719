//! Where a field stands on one side: at one path, at several, or in one entry of a list of
//! objects. A value is put there without disturbing what else stands beside it, so a record has
//! to be known before it is changed wherever that matters.

use super::entry::{Entry, Which, unquoted_at};
use super::mapping::{Field, FieldFault, Fields, Mapping};
use super::pieces::Pieces;
use crate::model::hash::Digest;
use crate::model::path::Path;
use crate::model::record::Body;
use crate::model::side::Side;
use crate::model::value::Value;
use crate::model::write::Change;

/// The most paths of one field on one side.
pub(super) const MAX_PARTS: usize = 16;

/// Where a field stands on one side.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// At one path, which has all of it.
    Path,
    /// At several paths.
    Parts(Parts),
    /// In one entry of a list.
    Entry(Entry),
}

/// Several paths that are one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parts {
    pub(super) paths: Vec<Path>,
    /// How they are one text; without it they are a list of their values.
    pub(super) text: Option<Pieces>,
}

impl Place {
    /// Reads a place of one path or of one entry, with its name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<(Path, Self), String> {
        let path = |text: &str| text.parse::<Path>().map_err(|error| error.to_string());
        let Some(open) = unquoted_at(text, '[') else { return Ok((path(text)?, Place::Path)) };
        let wrong = |reason: &str| format!("'{text}' is not a path: {reason}");
        let (list, rest) = (path(&text[..open])?, &text[open + 1..]);
        let close = unquoted_at(rest, ']').ok_or_else(|| wrong("a bracket is not closed"))?;
        let which = Which::parse(&rest[..close]).map_err(|reason| wrong(&reason))?;
        let inner = match &rest[close + 1..] {
            "" => None,
            after => {
                let after = after.strip_prefix('.').ok_or_else(|| wrong("a dot must follow the brackets"))?;
                if unquoted_at(after, '[').is_some() {
                    return Err(wrong("an entry of a list in an entry of a list cannot be chosen"));
                }
                Some(path(after)?)
            }
        };
        let entry = Entry { list, which, inner };
        match entry.problem() {
            Some(reason) => Err(wrong(reason)),
            None => Ok((entry.named(), Place::Entry(entry))),
        }
    }

    /// Of how many values it is a list, where several paths are one.
    pub(super) fn list_length(&self) -> Option<usize> {
        match self {
            Place::Parts(Parts { paths, text: None }) => Some(paths.len()),
            Place::Path | Place::Parts(_) | Place::Entry(_) => None,
        }
    }

    /// The name of several paths.
    pub(super) fn name_of(paths: &[Path]) -> Path {
        Path::key(paths.iter().map(Path::to_string).collect::<Vec<_>>().join(" + "))
    }

    /// The value as it stands in a record.
    ///
    /// # Errors
    /// When what stands there cannot be it.
    pub(super) fn read(&self, path: &Path, record: &Value) -> Result<Option<Value>, String> {
        match self {
            Place::Path => Ok(record.get(path).cloned()),
            Place::Parts(parts) => parts.read(parts.paths.iter().map(|path| record.get(path).cloned()).collect()),
            Place::Entry(entry) => entry.read(record.get(&entry.list)),
        }
    }

    /// Takes the value out of a record, and a list with it.
    pub(super) fn remove(&self, path: &Path, record: &mut Value) {
        match self {
            Place::Path => record.remove(path),
            Place::Parts(parts) => parts.paths.iter().for_each(|path| record.remove(path)),
            Place::Entry(entry) => record.remove(&entry.list),
        }
    }

    /// A text that names it: the same for the same meaning.
    pub(super) fn identity(&self, path: &Path) -> String {
        match self {
            Place::Path => path.to_string(),
            Place::Parts(parts) => parts.identity(),
            Place::Entry(entry) => entry.identity(),
        }
    }
}

impl Parts {
    /// Several values as one; absent where all are.
    pub(super) fn read(&self, values: Vec<Option<Value>>) -> Result<Option<Value>, String> {
        if values.iter().all(Option::is_none) {
            return Ok(None);
        }
        let Some(pieces) = &self.text else {
            return Ok(Some(Value::Array(values.into_iter().map(|value| value.unwrap_or(Value::Null)).collect())));
        };
        let texts = self.texts(&values)?;
        let joined = pieces.join(&texts);
        let blank = if texts.contains(&Some("")) { Value::string("") } else { Value::Null };
        Ok(Some(if joined.is_empty() { blank } else { Value::String(joined) }))
    }

    fn texts<'v>(&self, values: &'v [Option<Value>]) -> Result<Vec<Option<&'v str>>, String> {
        let text = |(path, value): (&Path, &'v Option<Value>)| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(format!("{path} is a {}, not a text", other.kind())),
        };
        self.paths.iter().zip(values).map(text).collect()
    }

    /// What each of the paths is to hold, so that all of them are the value.
    fn put(&self, value: Option<&Value>, current: &[Option<Value>]) -> Result<Vec<Option<Value>>, String> {
        let number = self.paths.len();
        match (value, &self.text) {
            (None | Some(Value::Null), _) => Ok(vec![None; number]),
            (Some(Value::String(text)), Some(_)) if text.is_empty() => Ok(vec![Some(Value::string("")); number]),
            (Some(Value::String(text)), Some(pieces)) => {
                // What stands there and is no text is not kept.
                let current = self.texts(current).unwrap_or_else(|_| vec![None; number]);
                Ok(pieces.put(text, &current).into_iter().map(|piece| piece.map(Value::String)).collect())
            }
            (Some(other), Some(_)) => Err(format!("it is a {}, not a text", other.kind())),
            (Some(Value::Array(items)), None) if items.len() == number => {
                Ok(items.iter().map(|item| Some(item.clone()).filter(|item| *item != Value::Null)).collect())
            }
            (Some(other), None) => Err(format!("it is {}, not a list of {number}", super::shown_value(other))),
        }
    }

    fn identity(&self) -> String {
        let paths: Vec<String> = self.paths.iter().map(Path::to_string).collect();
        let text = self.text.as_ref().map(Pieces::identity).unwrap_or_default();
        format!("parts [{}] {text}", paths.join(","))
    }
}

impl Field {
    /// Whether what stands on a side has to be known before it is changed.
    pub(super) fn needs_current(&self, side: Side) -> bool {
        match &self.places[side] {
            Place::Path => false,
            Place::Parts(_) | Place::Entry(_) => true,
        }
    }

    /// Whether a record of a side holds it.
    pub(super) fn stands_in(&self, side: Side, record: &Value) -> bool {
        self.places[side].read(&self.paths[side], record).is_ok_and(|value| value.is_some())
    }
}

/// A value of a field in a side's form; `None` takes it away.
pub(super) type Put = (usize, Option<Value>);

impl Mapping {
    /// Whether one of these fields can be changed on a side only by who knows what stands there.
    pub(super) fn needs_current(&self, side: Side, fields: impl IntoIterator<Item = usize>) -> bool {
        fields.into_iter().any(|index| self.fields[index].needs_current(side))
    }

    /// What has to change in a record of a side so that its fields hold these values. Without a
    /// record it is a new one.
    ///
    /// # Errors
    /// When a value cannot stand there beside what does.
    pub(super) fn changes(
        &self,
        side: Side,
        current: Option<&Body>,
        puts: Vec<Put>,
    ) -> Result<Vec<Change>, FieldFault> {
        if !self.needs_current(side, puts.iter().map(|(index, _)| *index)) {
            let plain = |(index, value): Put| Change { path: self.fields[index].paths[side].clone(), value };
            return Ok(puts.into_iter().map(plain).collect());
        }
        let record = match current.map(Body::decode).transpose() {
            Ok(record) => record.unwrap_or_else(|| Value::Object(Vec::new())),
            Err(error) => {
                let first = puts.first().map_or(0, |(index, _)| *index);
                return Err(self.fields[first].fault(side, format!("the record there cannot be read: {error}")));
            }
        };
        let mut writer = Writer { mapping: self, side, record, changes: Vec::new(), lists: Vec::new() };
        // Values are set before others are taken away, so that no entry goes that is still used.
        let (set, cleared): (Vec<_>, Vec<_>) = puts.into_iter().partition(|(_, value)| value.is_some());
        for (index, value) in set.into_iter().chain(cleared) {
            writer.put(index, value).map_err(|reason| self.fields[index].fault(side, reason))?;
        }
        Ok(writer.finish())
    }
}

impl Mapping {
    /// A new record of a side with these values.
    ///
    /// # Errors
    /// As [`Mapping::changes`].
    pub(super) fn new_record(&self, side: Side, puts: Vec<Put>) -> Result<Value, FieldFault> {
        let mut record = Value::Object(Vec::new());
        for Change { path, value } in self.changes(side, None, puts)? {
            if let Some(value) = value {
                record.set(&path, value);
            }
        }
        Ok(record)
    }
}

impl Mapping {
    /// Whether a search of a side that was for the match fields of `sought` may well have found
    /// this record, and it is another: an app finds a record by any entry of a list, and the
    /// field is one of them.
    #[must_use]
    pub fn is_found_besides(&self, side: Side, sought: &Fields, found: &Body) -> bool {
        self.matches_by_entry(side) && self.is_of_another_key(side, self.match_key(sought), found)
    }

    /// The same of a match key that is known.
    #[must_use]
    pub fn is_of_another_key(&self, side: Side, sought: Option<Digest>, found: &Body) -> bool {
        let key = |body: &Body| self.read(side, body).ok().and_then(|fields| self.match_key(&fields));
        self.matches_by_entry(side) && sought.is_some() && key(found) != sought
    }

    fn matches_by_entry(&self, side: Side) -> bool {
        self.match_fields.iter().any(|index| matches!(self.fields[*index].places[side], Place::Entry(_)))
    }
}

/// Gathers the changes of one record.
struct Writer<'m> {
    mapping: &'m Mapping,
    side: Side,
    /// As it stands there now.
    record: Value,
    changes: Vec<Change>,
    /// The lists whose entries change, as they will be.
    lists: Vec<(Path, Value)>,
}

impl Writer<'_> {
    fn put(&mut self, index: usize, value: Option<Value>) -> Result<(), String> {
        let field = &self.mapping.fields[index];
        match &field.places[self.side] {
            Place::Path => self.changes.push(Change { path: field.paths[self.side].clone(), value }),
            Place::Parts(parts) => self.put_parts(parts, value.as_ref())?,
            Place::Entry(entry) => self.put_entry(index, entry, value)?,
        }
        Ok(())
    }

    fn put_parts(&mut self, parts: &Parts, value: Option<&Value>) -> Result<(), String> {
        let current: Vec<Option<Value>> = parts.paths.iter().map(|path| self.record.get(path).cloned()).collect();
        for ((path, new), old) in parts.paths.iter().zip(parts.put(value, &current)?).zip(current) {
            let stays = match (&new, &old) {
                (Some(new), Some(old)) => new.same(old),
                (None, None | Some(Value::Null)) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !stays {
                self.changes.push(Change { path: path.clone(), value: new });
            }
        }
        Ok(())
    }

    fn put_entry(&mut self, index: usize, entry: &Entry, value: Option<Value>) -> Result<(), String> {
        let at = self.lists.iter().position(|(path, _)| *path == entry.list).unwrap_or_else(|| {
            let list = self.record.get(&entry.list).cloned().unwrap_or(Value::Null);
            self.lists.push((entry.list.clone(), list));
            self.lists.len() - 1
        });
        let list = &mut self.lists[at].1;
        match value {
            Some(value) => entry.set(list, value),
            None => {
                let fields = self.mapping.fields.iter().enumerate().filter(|(other, _)| *other != index);
                let entries = fields.filter_map(|(_, field)| match &field.places[self.side] {
                    Place::Entry(other) if other.list == entry.list => Some(other),
                    Place::Path | Place::Parts(_) | Place::Entry(_) => None,
                });
                entry.clear(list, &entries.collect::<Vec<_>>())
            }
        }
    }

    fn finish(self) -> Vec<Change> {
        let Self { record, mut changes, lists, .. } = self;
        for (path, list) in lists {
            let stays = record.get(&path).map_or(list == Value::Null, |old| old.same(&list));
            if !stays {
                changes.push(Change { path, value: Some(list) });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::direction::Direction;
    use crate::model::document::{DocumentError, Problems, Table, parse};
    use crate::reconcile::spec::MappingSpec;

    fn compiled(fields: &str, direction: Direction) -> Result<Mapping, String> {
        let problems = Problems::new();
        let rules = format!("match = ['id']\n[fields]\nid = 'id'\n{fields}");
        let document = parse(&rules, &problems);
        let spec = MappingSpec::parse(&Table::top(&document, &problems)).unwrap();
        let mapping = Mapping::compile(&spec, &problems, direction);
        mapping.ok_or_else(|| DocumentError::new("f", &rules, problems.into_sorted()).to_string())
    }

    fn mapping(fields: &str) -> Mapping {
        compiled(fields, Direction::TwoWay).unwrap_or_else(|error| panic!("{error}"))
    }

    fn json(text: &str) -> Value {
        Value::from_json(text).unwrap()
    }

    /// The remote's values of all fields but the first, as the app would have them.
    fn read(mapping: &Mapping, side: Side, body: &str) -> Vec<String> {
        let fields = mapping.read(side, &Body::from_json(body)).unwrap();
        let shown = (1..mapping.fields.len()).map(|index| match fields.value(index) {
            Ok(value) => value.map_or("-".to_owned(), Value::to_json),
            Err(fault) => format!("!{}", fault.reason),
        });
        shown.collect()
    }

    /// What is written to a side that holds this, so that the second field has a value.
    fn put(mapping: &Mapping, side: Side, body: &str, value: &str) -> String {
        let value = (value != "-").then(|| json(value));
        let spelled = match mapping.to_side(side, 1, value.as_ref()) {
            Ok(spelled) => spelled,
            Err(fault) => return format!("!{}", fault.reason),
        };
        match mapping.changes(side, Some(&Body::from_json(body)), vec![(1, spelled)]) {
            Ok(changes) => {
                let shown = changes.iter().map(|change| {
                    format!("{}={}", change.path, change.value.as_ref().map_or("-".to_owned(), Value::to_json))
                });
                shown.collect::<Vec<_>>().join(" ")
            }
            Err(fault) => format!("!{}", fault.reason),
        }
    }

    const NAME: &str = "name = { remote = ['p.first', 'p.last'], split = ' ' }";

    #[test]
    fn a_name_stands_at_two_paths() {
        let mapping = mapping(NAME);
        for (body, want) in [
            (r#"{"id":1,"p":{"first":"Ada","last":"Lovelace"}}"#, r#""Ada Lovelace""#),
            (r#"{"id":1,"p":{"last":"Lovelace"}}"#, r#""Lovelace""#),
            (r#"{"id":1,"p":{"first":null,"last":null}}"#, "null"),
            (r#"{"id":1,"p":{"first":"","last":null}}"#, r#""""#),
            (r#"{"id":1,"p":{}}"#, "-"),
            (r#"{"id":1}"#, "-"),
            (r#"{"id":1,"p":{"first":5,"last":"x"}}"#, "!p.first is a number, not a text"),
            (r#"{"id":1,"p":7}"#, "!p is a number, not an object"),
        ] {
            assert_eq!(read(&mapping, Side::Remote, body), [want], "{body}");
        }
        for (body, value, want) in [
            (r#"{"p":{"first":"Ada Maria","last":"Lovelace"}}"#, r#""Ada Maria Byron""#, r#"p.last="Byron""#),
            (r#"{"p":{"first":"Ada","last":"Lovelace"}}"#, r#""Bob Ross""#, r#"p.first="Bob" p.last="Ross""#),
            (r#"{"p":{"first":"Ada","last":"Lovelace"}}"#, r#""Ada Lovelace""#, ""),
            (r#"{"p":{"first":"Ada","last":"Lovelace"}}"#, r#""Ada""#, "p.last=-"),
            (r#"{"p":{"first":"Ada"}}"#, "null", "p.first=-"),
            (r#"{"p":{"first":"Ada","last":null}}"#, "-", "p.first=-"),
            ("{}", r#""Ada Maria Lovelace""#, r#"p.first="Ada" p.last="Maria Lovelace""#),
            ("{}", "5", "!it is a number, not a text"),
        ] {
            assert_eq!(put(&mapping, Side::Remote, body, value), want, "{body} {value}");
        }
        let new = mapping.new_record(Side::Remote, vec![(1, Some(json(r#""Madonna""#)))]).unwrap();
        assert_eq!(new.to_json(), r#"{"p":{"first":"Madonna"}}"#);
    }

    #[test]
    fn two_paths_in_the_app_are_one_text_of_the_remote() {
        let mapping = mapping("name = { app = ['first', 'last'], remote = 'full', join = ', ', rest = 'first' }");
        assert_eq!(read(&mapping, Side::App, r#"{"first":"Ada","last":"Lovelace"}"#), [r#""Ada, Lovelace""#]);
        assert_eq!(read(&mapping, Side::Remote, r#"{"full":"a, b, c"}"#), [r#""a, b, c""#]);
        assert_eq!(put(&mapping, Side::App, "{}", r#""a, b, c""#), r#"first="a, b" last="c""#);
    }

    #[test]
    fn a_list_is_one_text_there() {
        let mapping = mapping("tags = { remote = 'labels', join = ';', type = 'list' }");
        assert_eq!(read(&mapping, Side::Remote, r#"{"labels":"a;b"}"#), [r#"["a","b"]"#]);
        assert_eq!(read(&mapping, Side::Remote, r#"{"labels":""}"#), ["[]"]);
        assert_eq!(read(&mapping, Side::Remote, r#"{"labels":null}"#), ["null"]);
        assert_eq!(put(&mapping, Side::Remote, "{}", r#"["a","b"]"#), r#"labels="a;b""#);
        assert!(put(&mapping, Side::Remote, "{}", r#"["a;b"]"#).contains("the entry 'a;b' holds ';'"));
        let split = self::mapping("tags = { remote = 'labels', split = ';' }");
        assert_eq!(read(&split, Side::Remote, r#"{"labels":["a","b"]}"#), [r#""a;b""#]);
        assert_eq!(put(&split, Side::Remote, "{}", r#""a;b""#), r#"labels=["a","b"]"#);
    }

    #[test]
    fn several_paths_are_a_list_for_expressions() {
        let fields = "geo = { remote = ['lat', 'lng'], to_remote = '[value.lat, value.lng]', type = 'object', \
                      to_app = \"{'lat': value[0], 'lng': value[1]}\" }";
        let mapping = mapping(fields);
        assert_eq!(read(&mapping, Side::Remote, r#"{"lat":1.5,"lng":7}"#), [r#"{"lat":1.5,"lng":7}"#]);
        assert_eq!(put(&mapping, Side::Remote, r#"{"lat":1.5}"#, r#"{"lat":1.5,"lng":8}"#), "lng=8");
        let lossy =
            "name = { remote = ['a', 'b'], to_remote = \"value | split(' ')\", to_app = \"value | join(' ')\" }";
        let error = compiled(lossy, Direction::TwoWay).err().unwrap();
        assert!(error.contains("the transform of 'name' cannot be undone: [\"a\",null] becomes"), "{error}");
        let short = "name = { remote = ['a', 'b'], to_remote = \"[value]\", to_app = \"value[0]\", type = 'text' }";
        let error = compiled(short, Direction::TwoWay).err().unwrap();
        assert!(error.contains("not a list of 2"), "{error}");
    }

    #[test]
    fn entries_of_a_list_are_fields() {
        let fields = "work = 'phones[type=work].n'\nhome = 'phones[type=home].n'\next = 'phones[type=work].ext'\n\
                      mail = { app = 'm', remote = 'mails[first].address', transform = 'lowercase' }";
        let mapping = mapping(fields);
        let body =
            r#"{"id":1,"phones":[{"type":"home","n":"1"},{"type":"work","n":"2","x":1}],"mails":[{"address":"A"}]}"#;
        assert_eq!(read(&mapping, Side::Remote, body), [r#""2""#, r#""1""#, "-", r#""a""#]);
        assert_eq!(read(&mapping, Side::Remote, r#"{"id":1,"phones":null}"#), ["-", "-", "-", "-"]);
        assert_eq!(read(&mapping, Side::Remote, r#"{"phones":{}}"#)[0], "!phones is a object, not a list");
        let value = |json: &str| Some(self::json(json));
        let changed = |puts: Vec<Put>| {
            let changes = mapping.changes(Side::Remote, Some(&Body::from_json(body)), puts).unwrap();
            changes.iter().map(|change| change.value.as_ref().unwrap().to_json()).collect::<Vec<_>>()
        };
        // One list is written once, whatever of it changes.
        assert_eq!(
            changed(vec![(1, None), (2, value("\"9\"")), (3, value("\"7\""))]),
            [r#"[{"type":"home","n":"9"},{"type":"work","x":1,"ext":"7"}]"#]
        );
        assert_eq!(changed(vec![(1, None)]), [r#"[{"type":"home","n":"1"}]"#]);
        assert!(changed(vec![(1, value("\"2\""))]).is_empty());
        assert!(changed(vec![(3, None)]).is_empty(), "what is not there is not taken away");
        let new = mapping.new_record(Side::Remote, vec![(1, value("\"2\"")), (3, value("\"7\"")), (4, value("\"a\""))]);
        assert_eq!(
            new.unwrap().to_json(),
            r#"{"phones":[{"type":"work","n":"2","ext":"7"}],"mails":[{"address":"a"}]}"#
        );
        assert_eq!(mapping.fields[1].paths.remote.to_string(), "phones[type=work].n");
    }

    #[test]
    fn nested_objects_and_paths_into_others_do_not_touch_each_other() {
        let mapping = mapping("address = 'p.address'\ncity = 'q.address.city'\nzip = 'q.address.zip'\ntags = 'q.tags'");
        let body = r#"{"id":1,"p":{"address":{"a":1}},"q":{"address":{"city":"B","zip":"1","x":2},"tags":[1]}}"#;
        assert_eq!(read(&mapping, Side::Remote, body), [r#"{"a":1}"#, "\"B\"", "\"1\"", "[1]"]);
        let mut record = json(body);
        for change in
            mapping.changes(Side::Remote, None, vec![(2, Some(json("\"C\""))), (4, Some(json("[]")))]).unwrap()
        {
            record.set(&change.path, change.value.unwrap());
        }
        let want = r#"{"id":1,"p":{"address":{"a":1}},"q":{"address":{"city":"C","zip":"1","x":2},"tags":[]}}"#;
        assert_eq!(record.to_json(), want);
    }

    #[test]
    fn what_overlaps_or_contradicts_is_told_with_its_place() {
        for (fields, told) in [
            ("a = 'x'\nb = 'x.y'", "f:5:5: 'b' and 'a' overlap in the remote: x.y and x (map each value once)"),
            ("a = 'x.y'\nb = 'x'", "'b' and 'a' overlap in the remote: x and x.y"),
            ("a = { app = 'o', remote = 'x' }\nb = { app = 'o.k', remote = 'y' }", "'b' and 'a' overlap in the app"),
            ("a = { remote = ['x', 'y'], split = ' ' }\nb = 'y'", "'b' and 'a' overlap in the remote: y and x + y"),
            ("b = 'y'\na = { remote = ['x', 'y.z'], split = ' ' }", "'a' and 'b' overlap in the remote: x + y.z and y"),
            ("a = { remote = ['x', 'x.y'], split = ' ' }", "the paths of 'a' overlap in the remote: x + x.y"),
            ("a = 'x'\nb = 'x[first].y'", "'b' and 'a' overlap in the remote: x[first].y and x"),
            ("a = 'x[first].y'\nb = 'x'", "'b' and 'a' overlap in the remote: x and x[first].y"),
            ("a = 'x[first].y'\nb = 'x.y'", "'b' and 'a' overlap in the remote: x.y and x[first].y"),
            ("a = 'x[first].y'\nb = 'x[type=w].z'", "'b' and 'a' overlap in the remote"),
            ("a = 'x[type=w].y'\nb = 'x[type=w].y.z'", "'b' and 'a' overlap in the remote"),
            ("a = 'x[type=w]'", "a key of the entry must follow the brackets"),
            ("a = 'x[type=w].type'", "the key by which the entry is chosen cannot be the value"),
            ("a = 'x[0].y'", "'0' does not say which entry: write first, only, or key=value"),
            ("a = 'x[first].y[first].z'", "an entry of a list in an entry of a list cannot be chosen"),
            ("a = 'x[first'", "a bracket is not closed"),
            ("a = 'x[first]y'", "a dot must follow the brackets"),
            ("a = { remote = ['x'], split = ' ' }", "'remote' must be a path or from 2 to 16 of them, not 1"),
            ("a = { remote = ['x', 'y[first].z'], split = ' ' }", "an entry of a list cannot be one of several paths"),
            (
                "a = { remote = ['x', 'y'], join = ' ' }",
                "'join' is about a text in the remote, where 'a' stands at several",
            ),
            (
                "a = { app = ['x', 'y'], remote = 'z', split = ' ' }",
                "'split' is about a text in the app, where 'a' stands",
            ),
            ("a = { app = ['x', 'y'], remote = ['z', 'w'], join = ' ' }", "'a' stands at several paths on both sides"),
            ("a = { remote = 'x', split = ' ', rest = 'first' }", "'rest' of 'a' says which of several paths"),
            ("a = { remote = 'x', split = '' }", "'split' is empty"),
            ("a = { remote = 'x', split = ' ', join = ' ' }", "'split' and 'join' both say what the remote's form is"),
            (
                "a = { remote = 'x', join = ' ', type = 'text' }",
                "type = \"text\" of 'a', but its transform takes a list",
            ),
            ("a = { remote = 'x', split = ' ', date = {} }", "both say what the remote's form is"),
        ] {
            let error = compiled(fields, Direction::TwoWay).err().unwrap_or_else(|| panic!("{fields} is taken"));
            assert!(error.contains(told), "{fields}: {error}");
        }
        let error = compiled("id2 = { remote = ['x', 'y'], split = ' ' }", Direction::TwoWay);
        assert!(error.is_ok());
        for fine in ["a = 'x[type=w].y'\nb = 'x[type=h].y'\nc = 'x[type=w].z'", "a = 'x[first].y'\nb = 'x[first].z'"] {
            assert!(compiled(fine, Direction::TwoWay).is_ok(), "{fine}");
        }
    }

    #[test]
    fn what_an_app_finds_by_another_entry_is_another_record() {
        let rules = "match = ['mail']\n[fields]\nmail = { remote = 'm[first].a', transform = 'lowercase' }";
        let problems = Problems::new();
        let document = parse(rules, &problems);
        let spec = MappingSpec::parse(&Table::top(&document, &problems)).unwrap();
        let by_entry = Mapping::compile(&spec, &problems, Direction::TwoWay).unwrap();
        assert_eq!(by_entry.fields[0].paths.remote, "m[first].a".parse().unwrap(), "as a connector's search names it");
        let sought = by_entry.read(Side::App, &Body::from_json(r#"{"mail":"B@x"}"#)).unwrap();
        for (found, besides) in [
            (r#"{"m":[{"a":"a@x"},{"a":"b@x"}]}"#, true),
            (r#"{"m":[{"a":"b@x"},{"a":"a@x"}]}"#, false),
            (r#"{"m":[]}"#, true),
        ] {
            assert_eq!(by_entry.is_found_besides(Side::Remote, &sought, &Body::from_json(found)), besides, "{found}");
            // A field at one path is searched for as it is: what is found is taken as before.
            assert!(!by_entry.is_found_besides(Side::App, &sought, &Body::from_json(r#"{"mail":"other"}"#)));
        }
    }

    #[test]
    fn the_same_meaning_has_the_same_identity() {
        let a = mapping("a = 'x[type=work].y'\nname = { remote = ['f', 'l'], split = ' ' }");
        let b = mapping("a = 'x[ type = \"work\" ].y'\nname = { remote = ['f', 'l'], split = ' ', rest = 'last' }");
        let c = mapping("a = 'x[type=work].y'\nname = { remote = ['f', 'l'], split = ' ', rest = 'first' }");
        assert_eq!(a.field_identities(), b.field_identities());
        assert_eq!(a.hash, b.hash);
        assert_ne!(a.hash, c.hash);
        assert_eq!(a.field_identities()[1], "\"a\" app=a remote=x entry [type=work] y ");
        assert_eq!(a.field_identities()[0], "\"id\" app=id remote=id ", "as it was before there were entries");
    }
}
