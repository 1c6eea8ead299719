//! References: a field that names another record, by the id it has on the same side. It is
//! carried over through the links of the sync that keeps those records in agreement.
//!
//! Such a field stays in each side's own form, also in the bases of a pair: a side has changed
//! only if it names another record, whatever becomes of the links. Only to compare the two sides,
//! and to write one of them, are ids looked up.

use std::collections::HashMap;

use crate::model::ids::{RecordId, SyncName, SyncNo};
use crate::model::marker::{BaseValue, LinkState, Marker};
use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};

use super::mapping::Mapping;
use super::shown_value;

/// The most ids that one value may hold.
const MOST_IDS: usize = 1_000;

/// How many of the records that a row awaits are remembered; with any of them it is looked at
/// again.
const MOST_AWAITED: usize = 8;

/// What a field that names records of another sync is declared to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The sync of the records that it names.
    pub sync: SyncName,
    /// How each side spells an id.
    pub spelling: PerSide<IdSpelling>,
    /// What becomes of a new record that names one which is not linked yet.
    pub until_linked: UntilLinked,
}

/// How an id is written in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdSpelling {
    /// As a text.
    #[default]
    Text,
    /// As a number.
    Number,
}

/// What becomes of a new record that names one which is not linked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UntilLinked {
    /// It is made once that one is linked.
    #[default]
    Wait,
    /// It is made without the field, which is written once that one is linked.
    LeaveOut,
}

impl Reference {
    /// A text that names it: the same for the same meaning, in every release.
    pub(super) fn identity(&self) -> String {
        format!("references:{}", self.sync)
    }
}

/// A reference, with the number of the sync that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Referred {
    /// The field, by index.
    pub field: usize,
    /// The sync of the records that it names.
    pub no: SyncNo,
    /// A new record does not wait for those it names: so declared, or because those may name it
    /// in turn, and both would wait for ever. Nor does any for one that was deleted.
    pub leave_out: bool,
}

/// Why the references of a connection's syncs cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbound {
    /// The sync, by index.
    pub sync: usize,
    /// The field, by index.
    pub field: usize,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub help: String,
}

/// Follows the references of a connection's syncs: of each sync those of its fields.
///
/// # Errors
/// With every one that leads to no sync of the connection, or that each new record must have
/// though it can only be written afterwards.
pub fn bind(syncs: &[(&SyncName, SyncNo, &Mapping)]) -> Result<Vec<Vec<Referred>>, Vec<Unbound>> {
    let target = |reference: &Reference| syncs.iter().position(|(name, _, _)| **name == reference.sync);
    let edges: Vec<Vec<usize>> = syncs
        .iter()
        .map(|(_, _, mapping)| mapping.references().filter_map(|(_, reference)| target(reference)).collect())
        .collect();
    let (mut bound, mut wrong) = (Vec::with_capacity(syncs.len()), Vec::new());
    for (at, (name, _, mapping)) in syncs.iter().enumerate() {
        let mut of_sync = Vec::new();
        for (field, reference) in mapping.references() {
            let declared = &mapping.fields[field];
            let Some(to) = target(reference) else {
                wrong.push(Unbound {
                    sync: at,
                    field,
                    reason: format!(
                        "'{}' references '{}', which is no sync of this connection",
                        declared.name, reference.sync
                    ),
                    help: format!(
                        "it has: {}",
                        syncs.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                });
                continue;
            };
            let in_circle = reaches(&edges, to, at);
            let leave_out = in_circle || reference.until_linked == UntilLinked::LeaveOut;
            if leave_out && declared.required {
                let why = if in_circle {
                    format!("and '{}' leads back to '{name}'", reference.sync)
                } else {
                    "and until_linked = \"leave_out\"".to_owned()
                };
                wrong.push(Unbound {
                    sync: at,
                    field,
                    reason: format!("'{}' is required, {why}: a new record would be written without it", declared.name),
                    help: "take 'required' away".to_owned(),
                });
            }
            of_sync.push(Referred { field, no: syncs[to].1, leave_out });
        }
        bound.push(of_sync);
    }
    if wrong.is_empty() { Ok(bound) } else { Err(wrong) }
}

/// Whether references lead from one sync to another, over any number of others.
fn reaches(edges: &[Vec<usize>], from: usize, to: usize) -> bool {
    let (mut seen, mut open) = (vec![false; edges.len()], vec![from]);
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            open.extend(&edges[at]);
        }
    }
    false
}

/// A record that a reference names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey {
    /// The sync that it belongs to.
    pub sync: SyncNo,
    /// The side it is of.
    pub side: Side,
    /// Its id there.
    pub id: RecordId,
}

/// What a record that a reference names is linked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The id on the other side.
    pub partner: RecordId,
    /// Both are there, as far as is known. Where one was deleted, the two still mean the same, but
    /// it is not named anew.
    pub stands: bool,
}

impl Linked {
    /// What a pair's marker says about its record of a side.
    #[must_use]
    pub fn of(marker: &Marker, side: Side) -> Option<Self> {
        let stands = match &marker.state {
            LinkState::Half => return None,
            LinkState::Linked => true,
            LinkState::Tomb { .. } => false,
        };
        Some(Self { partner: marker.sides[side.other()].id.clone()?, stands })
    }
}

/// What is known of the records that a case's references name.
#[derive(Debug, Default)]
pub struct Links(HashMap<LinkKey, Option<Linked>>);

/// A record waits for others to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Its side.
    pub side: Side,
    /// Its id.
    pub id: RecordId,
    /// What it names: with any of them linked it is looked at again.
    pub keys: Vec<LinkKey>,
}

impl Awaited {
    /// A record that awaits these.
    #[must_use]
    pub fn new(side: Side, id: RecordId, mut keys: Vec<LinkKey>) -> Self {
        keys.truncate(MOST_AWAITED);
        Self { side, id, keys }
    }
}

/// The links by which records written and read by hand are carried over.
pub struct LinksByHand<'l> {
    /// Where the fields of the sync lead that name records of others.
    pub references: &'l [Referred],
    /// What such a record is linked with, or why that is not known.
    pub look_up: &'l dyn Fn(&LinkKey) -> Result<Option<Linked>, String>,
}

impl LinksByHand<'_> {
    /// A value of a field as the other side names the same records; `None` where the field names
    /// none.
    pub(super) fn carried(
        &self,
        mapping: &Mapping,
        field: usize,
        from: Side,
        value: &Value,
    ) -> Option<Result<Value, String>> {
        let referred = *self.references.iter().find(|referred| referred.field == field)?;
        let reference = mapping.fields[field].reference.as_ref()?;
        let (mut links, mut keys) = (Links::default(), Vec::new());
        links.unknown(referred, from, value, &mut keys);
        for key in keys {
            match (self.look_up)(&key) {
                Ok(linked) => links.note(key, linked),
                Err(reason) => return Some(Err(reason)),
            }
        }
        let carried = links.carried(referred, from, reference.spelling[from.other()], value);
        Some(carried.map_err(|not| match not {
            NotCarried::Misspelled(reason) => reason,
            NotCarried::Unlinked { keys, .. } => {
                let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
                format!("{from} record {} of sync '{}' is not linked", ids.join(", "), reference.sync)
            }
        }))
    }
}

/// Why a reference cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotCarried {
    /// These are not linked.
    Unlinked {
        /// The records.
        keys: Vec<LinkKey>,
        /// All of them were deleted, so that nobody can say whether they will ever be linked.
        all_deleted: bool,
    },
    /// The id cannot be written as the side spells ids.
    Misspelled(String),
}

impl Links {
    /// Notes what was found.
    pub fn note(&mut self, key: LinkKey, linked: Option<Linked>) {
        self.0.insert(key, linked);
    }

    /// Those of the records that a value names which nobody has looked up.
    pub(super) fn unknown(&self, referred: Referred, side: Side, value: &Value, into: &mut Vec<LinkKey>) {
        for id in ids_of(value).unwrap_or_default().ids {
            let key = LinkKey { sync: referred.no, side, id };
            if !self.0.contains_key(&key) && !into.contains(&key) {
                into.push(key);
            }
        }
    }

    /// The same for a base; one that is not kept whole names nothing.
    pub(super) fn unknown_in_base(&self, referred: Referred, side: Side, base: &BaseValue, into: &mut Vec<LinkKey>) {
        if let BaseValue::Inline(value) = base {
            self.unknown(referred, side, value, into);
        }
    }

    fn linked(&self, referred: Referred, side: Side, id: &RecordId) -> Option<&Linked> {
        self.0.get(&LinkKey { sync: referred.no, side, id: id.clone() })?.as_ref()
    }

    /// Whether the two sides name the same records.
    pub(super) fn same(&self, referred: Referred, app: Option<&Value>, remote: Option<&Value>) -> bool {
        let (Some(app), Some(remote)) = (app, remote) else { return app.is_none() && remote.is_none() };
        match (ids_of(app), ids_of(remote)) {
            (Ok(app), Ok(remote)) if app.is_blank() || remote.is_blank() => app == remote,
            (Ok(app), Ok(remote)) => {
                let partner = |id| Some(&self.linked(referred, Side::App, id)?.partner);
                app.is_list == remote.is_list
                    && app.ids.len() == remote.ids.len()
                    && app.ids.iter().zip(&remote.ids).all(|(app, remote)| partner(app) == Some(remote))
            }
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// A value of one side as the other names the same records.
    ///
    /// # Errors
    /// When one of them is not linked, or has an id that the other side cannot spell.
    pub(super) fn carried(
        &self,
        referred: Referred,
        from: Side,
        spelling: IdSpelling,
        value: &Value,
    ) -> Result<Value, NotCarried> {
        let Ids { ids, is_list } = ids_of(value).map_err(NotCarried::Misspelled)?;
        if ids.is_empty() {
            return Ok(value.clone());
        }
        let (mut partners, mut unlinked) = (Vec::with_capacity(ids.len()), Vec::new());
        let mut all_deleted = true;
        for id in ids {
            match self.linked(referred, from, &id) {
                Some(Linked { partner, stands: true }) => partners.push(spelling.spell(partner)),
                not_linked @ (Some(Linked { stands: false, .. }) | None) => {
                    all_deleted &= not_linked.is_some();
                    unlinked.push(LinkKey { sync: referred.no, side: from, id });
                }
            }
        }
        if !unlinked.is_empty() {
            return Err(NotCarried::Unlinked { keys: unlinked, all_deleted });
        }
        let mut partners = partners.into_iter().collect::<Result<Vec<_>, _>>().map_err(NotCarried::Misspelled)?;
        match (is_list, partners.len()) {
            (false, 1) => Ok(partners.swap_remove(0)),
            _ => Ok(Value::Array(partners)),
        }
    }
}

impl IdSpelling {
    fn spell(self, id: &RecordId) -> Result<Value, String> {
        match self {
            IdSpelling::Text => Ok(Value::string(id.as_str())),
            IdSpelling::Number => Number::parse(id.as_str()).map(Value::Number).map_err(|_| {
                format!("the id '{}' is no number, as which it is to be written", super::shown(id.as_str()))
            }),
        }
    }
}

/// The ids that a value holds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ids {
    ids: Vec<RecordId>,
    is_list: bool,
}

impl Ids {
    /// Null, the empty text and the empty list name nothing.
    fn is_blank(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Whether a value names a record.
pub(super) fn names(value: &Value, id: &RecordId) -> bool {
    ids_of(value).is_ok_and(|ids| ids.ids.contains(id))
}

/// What is wrong with a value that is to name records, if anything.
pub(super) fn check(value: &Value) -> Result<(), String> {
    ids_of(value).map(|_| ())
}

fn ids_of(value: &Value) -> Result<Ids, String> {
    match value {
        Value::Null => Ok(Ids::default()),
        Value::String(text) if text.is_empty() => Ok(Ids::default()),
        Value::Array(entries) if entries.len() > MOST_IDS => Err(format!("it names more than {MOST_IDS} records")),
        Value::Array(entries) => {
            let ids = entries.iter().map(|entry| id_of(entry).ok_or_else(|| not_an_id(entry)));
            Ok(Ids { ids: ids.collect::<Result<_, _>>()?, is_list: true })
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            let id = id_of(value).ok_or_else(|| not_an_id(value))?;
            Ok(Ids { ids: vec![id], is_list: false })
        }
    }
}

fn id_of(value: &Value) -> Option<RecordId> {
    match value {
        Value::String(text) if !text.is_empty() => Some(RecordId::new(text.clone())),
        Value::Number(number) => Some(RecordId::new(number.as_str())),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn not_an_id(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::String(_) => format!("{} is not the id of a record", shown_value(value)),
        _ => format!("a {} is not the id of a record", value.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::direction::Direction;
    use crate::model::document::{Problems, Table, parse};
    use crate::reconcile::spec::MappingSpec;

    const REFERRED: Referred = Referred { field: 0, no: SyncNo(7), leave_out: false };

    fn links(known: &[(&str, Option<(&str, bool)>)]) -> Links {
        let mut links = Links::default();
        for (id, linked) in known {
            let key = LinkKey { sync: REFERRED.no, side: Side::App, id: RecordId::new(*id) };
            links.note(key, linked.map(|(partner, stands)| Linked { partner: partner.into(), stands }));
        }
        links
    }

    fn value(json: &str) -> Value {
        Value::from_json(json).unwrap()
    }

    #[test]
    fn ids_are_carried_over_one_by_one_as_the_side_spells_them() {
        let links = links(&[("a", Some(("1", true))), ("b", Some(("2", true))), ("3", Some(("x", true)))]);
        for (from, spelling, want) in [
            ("\"a\"", IdSpelling::Text, "\"1\""),
            ("\"a\"", IdSpelling::Number, "1"),
            ("3", IdSpelling::Text, "\"x\""),
            ("[\"b\",\"a\"]", IdSpelling::Number, "[2,1]"),
            ("[\"a\"]", IdSpelling::Text, "[\"1\"]"),
            ("[]", IdSpelling::Text, "[]"),
            ("null", IdSpelling::Number, "null"),
            ("\"\"", IdSpelling::Text, "\"\""),
        ] {
            let carried = links.carried(REFERRED, Side::App, spelling, &value(from)).unwrap();
            assert_eq!(carried.to_json(), want, "{from}");
        }
        let misspelled = links.carried(REFERRED, Side::App, IdSpelling::Number, &value("3"));
        assert_eq!(
            misspelled,
            Err(NotCarried::Misspelled("the id 'x' is no number, as which it is to be written".into()))
        );
    }

    #[test]
    fn what_is_not_linked_is_named_and_what_was_deleted_told_apart() {
        let links = links(&[("a", Some(("1", true))), ("new", None), ("gone", Some(("2", false)))]);
        for (from, unlinked, deleted) in [
            ("\"new\"", 1, false),
            ("\"gone\"", 1, true),
            ("[\"a\",\"gone\"]", 1, true),
            ("[\"new\",\"gone\"]", 2, false),
        ] {
            match links.carried(REFERRED, Side::App, IdSpelling::Text, &value(from)) {
                Err(NotCarried::Unlinked { keys, all_deleted }) => {
                    assert_eq!((keys.len(), all_deleted), (unlinked, deleted))
                }
                carried => panic!("{from}: {carried:?}"),
            }
        }
    }

    #[test]
    fn the_two_sides_are_the_same_where_they_name_the_same() {
        let links = links(&[("a", Some(("1", true))), ("b", Some(("2", true))), ("gone", Some(("3", false)))]);
        for (app, remote, same) in [
            ("\"a\"", "\"1\"", true),
            ("\"a\"", "1", true),
            ("\"a\"", "\"2\"", false),
            ("\"gone\"", "\"3\"", true),
            ("\"nobody\"", "\"1\"", false),
            ("[\"a\",\"b\"]", "[1,2]", true),
            ("[\"a\",\"b\"]", "[2,1]", false),
            ("[\"a\"]", "1", false),
            ("null", "\"\"", true),
            ("null", "1", false),
        ] {
            assert_eq!(links.same(REFERRED, Some(&value(app)), Some(&value(remote))), same, "{app} {remote}");
        }
        assert!(links.same(REFERRED, None, None) && !links.same(REFERRED, None, Some(&Value::Null)));
    }

    #[test]
    fn what_is_no_id_is_told() {
        for (json, told) in [
            ("true", "true is not the id of a record"),
            ("{}", "a object is not the id of a record"),
            ("[[1]]", "a list is not the id of a record"),
            ("[\"\"]", "'' is not the id of a record"),
        ] {
            assert_eq!(check(&value(json)), Err(told.to_owned()), "{json}");
        }
        let many = Value::Array(vec![value("1"); MOST_IDS + 1]);
        assert!(check(&many).unwrap_err().contains("more than 1000"));
    }

    fn mapping(references: &str) -> Mapping {
        let rules = format!("[fields]\nname = 'name'\n{references}");
        let problems = Problems::new();
        let document = parse(&rules, &problems);
        let spec = MappingSpec::parse(&Table::top(&document, &problems)).unwrap();
        let mapping = Mapping::compile(&spec, &problems, Direction::TwoWay);
        mapping.unwrap_or_else(|| panic!("{:?}", problems.into_sorted()))
    }

    #[test]
    fn syncs_that_name_each_other_do_not_wait_for_each_other() {
        let names = ["a", "b", "c", "d"].map(SyncName::from);
        // a names b, b names c, c names b; d names a and itself.
        let mappings = [
            mapping("x = { remote = 'x', references = 'b' }"),
            mapping("x = { remote = 'x', references = 'c' }"),
            mapping("x = { remote = 'x', references = 'b' }"),
            mapping("x = { remote = 'x', references = 'a' }\ny = { remote = 'y', references = 'd' }"),
        ];
        let syncs: Vec<_> = names
            .iter()
            .zip(&mappings)
            .enumerate()
            .map(|(i, (name, mapping))| (name, SyncNo(i as u16), mapping))
            .collect();
        let bound = bind(&syncs).unwrap();
        let told: Vec<Vec<(u16, bool)>> =
            bound.iter().map(|of| of.iter().map(|referred| (referred.no.0, referred.leave_out)).collect()).collect();
        assert_eq!(told, [vec![(1, false)], vec![(2, true)], vec![(1, true)], vec![(0, false), (3, true)]]);
    }
}
