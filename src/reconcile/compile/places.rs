//! Checks where fields stand: each value has one field, and what stands at several paths can be
//! put together and taken apart.

use super::Compiler;
use crate::model::document::Located;
use crate::model::path::Path;
use crate::model::side::{PerSide, Side};
use crate::reconcile::extract::Trie;
use crate::reconcile::lens::Step;
use crate::reconcile::mapping::Field;
use crate::reconcile::pieces::Pieces;
use crate::reconcile::place::{Parts, Place};
use crate::reconcile::shown;
use crate::reconcile::spec::{FieldSpec, Stands};

impl Compiler<'_> {
    /// Where a field stands on each side, with a name for it.
    pub(super) fn places(&self, spec: &FieldSpec, constant_from: Option<Side>) -> Option<PerSide<(Path, Place)>> {
        let name = &spec.name.value;
        let before = self.problems.len();
        self.check_pieces(spec);
        let app = match &spec.places.app {
            Some(stands) => Some(self.place(spec, Side::App, stands)),
            None if constant_from == Some(Side::App) => Some((Path::key(name.as_str()), Place::Path)),
            None => match Place::parse(name) {
                Ok(place) => Some(place),
                Err(_) => {
                    let message = format!("the name '{}' is not a path in the app", shown(name));
                    self.problems.add_with_help(spec.name.span.clone(), message, "say where it stands: app = \"path\"");
                    None
                }
            },
        };
        let remote = match &spec.places.remote {
            Some(stands) => Some(self.place(spec, Side::Remote, stands)),
            None if constant_from == Some(Side::Remote) => Some((Path::key(name.as_str()), Place::Path)),
            None => {
                let message = format!("'{name}' does not say where it stands in the remote");
                let help = "add remote = \"path\"; a field name that holds a dot must stand in quotes";
                self.problems.add_with_help(spec.name.span.clone(), message, help);
                None
            }
        };
        let places = PerSide { app: app?, remote: remote? };
        (self.problems.len() == before).then_some(places)
    }

    fn place(&self, spec: &FieldSpec, side: Side, stands: &Located<Stands>) -> (Path, Place) {
        match &stands.value {
            Stands::Once(path, place) => (path.clone(), place.clone()),
            Stands::Several(paths) => {
                let text = self.text_over(spec, side);
                if let Some(told) = text.as_ref().and_then(|pieces| pieces.broken_law(paths.len())) {
                    let message = format!("'{}' cannot be put together and taken apart: {told}", spec.name.value);
                    self.problems.add_with_help(stands.span.clone(), message, "choose another separator");
                }
                (Place::name_of(paths), Place::Parts(Parts { paths: paths.clone(), text }))
            }
        }
    }

    /// How several paths of a side are one text, where they are.
    fn text_over(&self, spec: &FieldSpec, side: Side) -> Option<Pieces> {
        let separator = match side {
            Side::App => spec.join.as_ref(),
            Side::Remote => spec.split.as_ref(),
        };
        separator.map(|separator| self.pieces(spec, separator))
    }

    fn pieces(&self, spec: &FieldSpec, separator: &Located<String>) -> Pieces {
        let rest = spec.rest.as_ref().map(|rest| rest.value).unwrap_or_default();
        Pieces { separator: separator.value.clone(), rest }
    }

    /// The app's list as the remote's text, where both stand at one path.
    pub(super) fn joined(&self, spec: &FieldSpec) -> Option<Step> {
        let separator = spec.join.as_ref().filter(|_| !is_several(spec, Side::App))?;
        Some(Step::Pieces { by: self.pieces(spec, separator), text_on: Side::Remote })
    }

    /// The app's text as the remote's list, where both stand at one path.
    pub(super) fn split(&self, spec: &FieldSpec) -> Option<Step> {
        let separator = spec.split.as_ref().filter(|_| !is_several(spec, Side::Remote))?;
        Some(Step::Pieces { by: self.pieces(spec, separator), text_on: Side::App })
    }

    /// What is said about a text and its pieces must fit the paths.
    fn check_pieces(&self, spec: &FieldSpec) {
        let name = &spec.name.value;
        let several = PerSide::from_fn(|side| is_several(spec, side));
        if let (true, true, Some(remote)) = (several.app, several.remote, &spec.places.remote) {
            let message = format!("'{name}' stands at several paths on both sides");
            self.problems.add_with_help(remote.span.clone(), message, "map each of them by itself");
        }
        let wrong = [(&spec.split, "split", Side::App, "join"), (&spec.join, "join", Side::Remote, "split")];
        for (separator, key, text_on, other) in wrong {
            if let Some(separator) = separator.as_ref().filter(|_| several[text_on]) {
                let message =
                    format!("'{key}' is about a text in the {text_on}, where '{name}' stands at several paths");
                self.problems.add_with_help(separator.span.clone(), message, format!("write {other} = \"…\" instead"));
            }
        }
        let fixed = several.app && spec.join.is_some() || several.remote && spec.split.is_some();
        if let Some(rest) = spec.rest.as_ref().filter(|_| !fixed) {
            let message = format!("'rest' of '{name}' says which of several paths takes the rest, and there are none");
            let help = "take 'rest' away, or write remote = [\"first_name\", \"last_name\"] and split = \" \"";
            self.problems.add_with_help(rest.span.clone(), message, help);
        }
    }

    /// A text that can be spelled in several ways on a side cannot be searched for there.
    pub(super) fn check_match(&self, name: &Located<String>, spec: &FieldSpec) {
        if Side::BOTH.into_iter().any(|side| is_several(spec, side)) {
            let message = format!("'{}' stands at several paths, by which no record can be found", name.value);
            self.problems.add_with_help(
                name.span.clone(),
                message,
                "match on a field that stands at one path on each side",
            );
        }
    }

    /// One side's paths. Two fields that meet would write one value twice.
    pub(super) fn trie(&self, side: Side, fields: &[Option<Field>]) -> Trie {
        let mut trie = Trie::default();
        let mut owners: Vec<usize> = (0..fields.len()).collect();
        for (i, field) in fields.iter().enumerate() {
            let Some(field) = field.as_ref().filter(|field| !field.comes_from(side)) else { continue };
            let met = match &field.places[side] {
                Place::Path => trie.insert(&field.paths[side], i).err(),
                Place::Parts(parts) => parts.paths.iter().enumerate().find_map(|(n, path)| {
                    let slot = if n == 0 { i } else { owners.len() };
                    owners.extend((n > 0).then_some(i));
                    trie.insert(path, slot).err()
                }),
                Place::Entry(entry) => match trie.insert_list(&entry.list, i) {
                    Err(other) => Some(other),
                    Ok(sharing) => sharing.into_iter().find(|other| match &fields[*other] {
                        Some(Field { places, .. }) => {
                            matches!(&places[side], Place::Entry(other) if entry.meets(other))
                        }
                        None => false,
                    }),
                },
            };
            if let Some(other) = met {
                self.overlap(side, fields, i, owners[other]);
            }
        }
        trie
    }

    fn overlap(&self, side: Side, fields: &[Option<Field>], index: usize, other: usize) {
        let spec = &self.spec.fields[index];
        let span = spec.places[side].as_ref().map_or(&spec.name.span, |place| &place.span).clone();
        let path = |index: usize| fields[index].as_ref().map(|field| field.place_text(side)).unwrap_or_default();
        let name = &spec.name.value;
        if index == other {
            let message = format!("the paths of '{name}' overlap in the {side}: {}", path(index));
            self.problems.add_with_help(span, message, "name each value once");
            return;
        }
        let other_name = &self.spec.fields[other].name.value;
        let message = format!("'{name}' and '{other_name}' overlap in the {side}: {} and {}", path(index), path(other));
        self.problems.add_with_help(span, message, "map each value once");
    }
}

fn is_several(spec: &FieldSpec, side: Side) -> bool {
    matches!(spec.places[side].as_ref().map(|place| &place.value), Some(Stands::Several(_)))
}
