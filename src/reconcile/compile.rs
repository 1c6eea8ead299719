//! Checks a declared mapping and compiles it. Every problem is noted with its place and
//! what to do about it; a mapping comes out only if there is none.

mod places;

use regex::{Regex, RegexBuilder};

use super::dates::{DateLens, Form};
use super::expression::{Expression, ExpressionLens};
use super::filter::{Condition, Test};
use super::lens::{Lens, Shape, Step, Transform, Values};
use super::mapping::{Field, Mapping};
use super::rules::{Kind, Rules};
use super::spec::{ConditionSpec, ConflictPolicy, FieldSpec, MappingSpec, Owner, Stands, TestSpec};
use super::{decimal, shown, shown_value};
use crate::model::direction::Direction;
use crate::model::document::{Located, Problems, nearest};
use crate::model::hash::Digest;
use crate::model::ids::FieldNo;
use crate::model::side::{PerSide, Side};
use crate::model::value::{Number, Value};

/// The most fields of one sync. More is a generated file gone wrong.
const MAX_FIELDS: usize = 1_000;

/// The most entries of one `values`, `one_of`, `match` or `filter`.
const MAX_ENTRIES: usize = 1_000;

/// How large a compiled pattern may be, in bytes. Matching takes linear time in any
/// case; this bounds the memory of one pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;

pub(super) fn compile(spec: &MappingSpec, problems: &Problems, direction: Direction) -> Option<Mapping> {
    let before = problems.len();
    check_sizes(spec, problems);
    if problems.len() > before {
        return None;
    }
    let compiler = Compiler { spec, problems, direction };
    let fields: Vec<Option<Field>> = spec.fields.iter().map(|field| compiler.field(field)).collect();
    let tries = PerSide::from_fn(|side| compiler.trie(side, &fields));
    let match_fields = compiler.match_fields();
    let filter = compiler.filter(&fields);
    let mut fields: Vec<Field> = fields.into_iter().collect::<Option<_>>()?;
    if !spec.sound || problems.len() > before {
        return None;
    }
    for (i, field) in fields.iter_mut().enumerate() {
        field.no = FieldNo(u16::try_from(i).unwrap_or(u16::MAX));
    }
    let (hash, filter_hash) = (hash(&fields, &match_fields), filter_hash(&fields, &filter));
    let further = |side: Side| fields.iter().map(|field| field.num_further(side)).sum::<usize>();
    let num_slots = PerSide::from_fn(|side| fields.len() + further(side));
    Some(Mapping { fields, match_fields, hash, filter_hash, direction, filter, tries, num_slots })
}

fn check_sizes(spec: &MappingSpec, problems: &Problems) {
    let fields = spec.num_fields();
    if fields == 0 {
        problems.add_with_help(
            spec.span.clone(),
            "a sync needs at least one field",
            "write name = \"path.in.the.remote\" for each field",
        );
    }
    if fields > MAX_FIELDS {
        problems.add(spec.span.clone(), format!("a sync may have at most {MAX_FIELDS} fields, not {fields}"));
    }
    let mut lists = vec![("match", spec.match_fields.len(), spec.span.clone())];
    lists.push(("filter", spec.filter.iter().map(|condition| condition.tests.len()).sum(), spec.span.clone()));
    for field in &spec.fields {
        lists.extend(field.values.as_ref().map(|values| ("values", values.value.len(), values.span.clone())));
        lists.extend(field.one_of.as_ref().map(|list| ("one_of", list.value.len(), list.span.clone())));
        let transforms = field.transforms().first().map(|first| first.span.clone());
        lists.extend(transforms.map(|span| ("transform", field.transforms().len(), span)));
    }
    for (key, length, span) in lists {
        if length > MAX_ENTRIES {
            problems.add(span, format!("'{key}' may have at most {MAX_ENTRIES} entries, not {length}"));
        }
    }
}

struct Compiler<'s> {
    spec: &'s MappingSpec,
    problems: &'s Problems,
    direction: Direction,
}

impl Compiler<'_> {
    fn field(&self, spec: &FieldSpec) -> Option<Field> {
        let before = self.problems.len();
        let owner = self.owner(spec);
        let constant = self.constant(spec, owner);
        let places = self.places(spec, constant.as_ref().map(|(from, _)| *from));
        let conflict = self.conflict(spec, owner);
        let rules = self.rules(spec);
        let lists = PerSide::from_fn(|side| places.as_ref().and_then(|places| places[side].1.list_length()));
        let lens = self.lens(spec, rules.as_ref(), lists);
        self.reference(spec);
        if let (Some(lens), Some(rules)) = (&lens, &rules) {
            self.check_values(spec, lens, rules);
        }
        if self.problems.len() > before {
            return None;
        }
        let places = places?;
        let paths = PerSide::from_fn(|side| places[side].0.clone());
        let places = PerSide { app: places.app.1, remote: places.remote.1 };
        Some(Field {
            no: FieldNo(0),
            name: spec.name.value.clone(),
            paths,
            places,
            owner,
            conflict,
            required: spec.required.as_ref().is_some_and(|required| required.value),
            default: spec.default.as_ref().map(|default| default.value.clone()),
            reference: spec.reference.as_ref().map(|reference| reference.value.clone()),
            constant,
            lens: lens?,
            rules: rules?,
        })
    }

    /// What a reference says about its values leaves no room for other rules.
    fn reference(&self, spec: &FieldSpec) {
        if spec.reference.is_none() {
            return;
        }
        for side in Side::BOTH {
            if let Some(Located { value: Stands::Several(_), span }) = &spec.places[side] {
                let message = format!("'{}' holds ids, which are no parts of one value", spec.name.value);
                self.problems.add_with_help(span.clone(), message, "make each path a field of its own");
            }
        }
        let excess = [
            ("constant", spec.constant.as_ref().map(|constant| &constant.span)),
            ("default", spec.default.as_ref().map(|default| &default.span)),
            ("transform", spec.transforms().first().map(|transform| &transform.span)),
            ("values", spec.values.as_ref().map(|values| &values.span)),
            ("boolean", spec.boolean.as_ref().map(|boolean| &boolean.span)),
            ("date", spec.date.as_ref().map(|date| &date.span)),
            ("to_remote", spec.expressions.remote.as_ref().map(|text| &text.span)),
            ("to_app", spec.expressions.app.as_ref().map(|text| &text.span)),
            ("type", spec.kind.as_ref().map(|kind| &kind.span)),
            ("min_length", spec.min_length.as_ref().map(|length| &length.span)),
            ("max_length", spec.max_length.as_ref().map(|length| &length.span)),
            ("min", spec.min.as_ref().map(|min| &min.span)),
            ("max", spec.max.as_ref().map(|max| &max.span)),
            ("pattern", spec.pattern.as_ref().map(|pattern| &pattern.span)),
            ("one_of", spec.one_of.as_ref().map(|list| &list.span)),
            ("split", spec.split.as_ref().map(|split| &split.span)),
            ("join", spec.join.as_ref().map(|join| &join.span)),
            ("rest", spec.rest.as_ref().map(|rest| &rest.span)),
        ];
        for (key, span) in excess {
            if let Some(span) = span {
                let message = format!(
                    "'{}' holds ids, which are not the same on the two sides: '{key}' means nothing",
                    spec.name.value
                );
                self.problems.add_with_help(span.clone(), message, format!("take '{key}' away"));
            }
        }
    }

    /// The declared owner, or the one that follows from the direction.
    fn owner(&self, spec: &FieldSpec) -> Owner {
        let name = &spec.name.value;
        let follows = match self.direction {
            Direction::Out => Owner::App,
            Direction::In => Owner::Remote,
            Direction::TwoWay => Owner::Shared,
        };
        let Some(owner) = &spec.owner else { return follows };
        let fits = match self.direction {
            Direction::TwoWay => true,
            Direction::Out | Direction::In => owner.value == follows,
        };
        if !fits {
            let message = format!(
                "'{name}' is owned by '{}', but direction = \"{}\" only carries the {}'s values",
                owner.value.as_str(),
                self.direction,
                follows.as_str(),
            );
            let help = format!("take 'owner' away, write owner = \"{}\", or direction = \"two_way\"", follows.as_str());
            self.problems.add_with_help(owner.span.clone(), message, help);
        }
        owner.value
    }

    fn conflict(&self, spec: &FieldSpec, owner: Owner) -> ConflictPolicy {
        let Some(conflict) = &spec.conflict else { return ConflictPolicy::default() };
        let name = &spec.name.value;
        if self.direction != Direction::TwoWay {
            let message = format!("'{name}' cannot be in conflict: direction = \"{}\" has one source", self.direction);
            self.problems.add_with_help(conflict.span.clone(), message, "take 'conflict' away");
        } else if owner != Owner::Shared {
            let message = format!("'{name}' cannot be in conflict: the {} owns it", owner.as_str());
            self.problems.add_with_help(conflict.span.clone(), message, "take 'conflict' or 'owner' away");
        }
        conflict.value
    }

    /// A constant with the side it is taken to come from.
    fn constant(&self, spec: &FieldSpec, owner: Owner) -> Option<(Side, Value)> {
        let constant = spec.constant.as_ref()?;
        let name = &spec.name.value;
        let from = match owner {
            Owner::App => Side::App,
            Owner::Remote => Side::Remote,
            Owner::Shared => {
                let message = format!("'{name}' is a constant, which goes one way only");
                let help = "write owner = \"app\" to set it in the remote, or owner = \"remote\" to set it in the app";
                self.problems.add_with_help(constant.span.clone(), message, help);
                return None;
            }
        };
        let excess = [
            ("transform", spec.transforms().first().map(|transform| &transform.span)),
            ("values", spec.values.as_ref().map(|values| &values.span)),
            ("boolean", spec.boolean.as_ref().map(|boolean| &boolean.span)),
            ("date", spec.date.as_ref().map(|date| &date.span)),
            ("required", spec.required.as_ref().map(|required| &required.span)),
            ("default", spec.default.as_ref().map(|default| &default.span)),
            ("split", spec.split.as_ref().map(|text| &text.span)),
            ("join", spec.join.as_ref().map(|text| &text.span)),
            (from.as_str(), spec.places[from].as_ref().map(|place| &place.span)),
        ];
        for (key, span) in excess {
            if let Some(span) = span {
                let message = format!("'{name}' is a constant for the {}, where '{key}' means nothing", from.other());
                self.problems.add_with_help(span.clone(), message, format!("take '{key}' away"));
            }
        }
        Some((from, constant.value.clone()))
    }

    /// Builds the chain of steps and proves that it can be trusted.
    fn lens(&self, spec: &FieldSpec, rules: Option<&Rules>, lists: PerSide<Option<usize>>) -> Option<Lens> {
        let before = self.problems.len();
        self.check_transforms(spec.transforms());
        let mut steps: Vec<Step> = self.joined(spec).into_iter().collect();
        steps.extend(spec.transforms().iter().map(|step| Step::Transform(step.value)));
        let forms = [
            spec.values.as_ref().map(|values| ("values", &values.span)),
            spec.boolean.as_ref().map(|boolean| ("boolean", &boolean.span)),
            spec.date.as_ref().map(|date| ("date", &date.span)),
            spec.split.as_ref().map(|text| ("split", &text.span)),
            spec.join.as_ref().map(|text| ("join", &text.span)),
            spec.expressions.remote.as_ref().map(|text| ("to_remote", &text.span)),
            spec.expressions
                .app
                .as_ref()
                .filter(|_| spec.expressions.remote.is_none())
                .map(|text| ("to_app", &text.span)),
        ];
        let forms: Vec<_> = forms.into_iter().flatten().collect();
        if let [(first, _), (second, span), ..] = forms[..] {
            let message = format!("'{first}' and '{second}' both say what the remote's form is");
            self.problems.add_with_help(span.clone(), message, "keep one of them");
            return None;
        }
        steps.extend(self.values(spec).map(Step::Values));
        steps.extend(spec.boolean.as_ref().and_then(|boolean| self.boolean(boolean)));
        steps.extend(
            spec.date
                .as_ref()
                .map(|date| Step::Date(DateLens { forms: date.value.forms.clone(), zone: date.value.zone })),
        );
        steps.extend(self.expression(spec).map(Step::Expression));
        steps.extend(self.split(spec));
        let lens = Lens::new(steps).with_lists(lists);
        if self.problems.len() == before {
            self.check_lens(spec, &lens, rules);
        }
        (self.problems.len() == before).then_some(lens)
    }

    /// The formulas of a field; each way that is gone needs one, and what is written has to be read
    /// back.
    fn expression(&self, spec: &FieldSpec) -> Option<ExpressionLens> {
        let PerSide { app, remote } = &spec.expressions;
        let (missing, beside) = match (app, remote) {
            (None, None) => return None,
            (Some(_), Some(_)) => (None, None),
            (None, Some(remote)) => (Some("to_app"), Some(remote)),
            (Some(_), None) if self.direction == Direction::In => (None, None),
            (Some(app), None) => (Some("to_remote"), Some(app)),
        };
        if let (Some(missing), Some(beside)) = (missing, beside) {
            let message = format!("'{missing}' is missing in the field '{}'", spec.name.value);
            let help = "write both ways: what is written has to be read back";
            self.problems.add_with_help(beside.span.clone(), message, help);
        }
        let compiled = |key: &str, text: &Option<Located<String>>| {
            let text = text.as_ref()?;
            let refuse = |reason: String| {
                let message = format!("'{key}' cannot be '{}'", shown(&text.value));
                self.problems.add_with_help(text.span.clone(), message, reason);
            };
            Expression::compile(&text.value).map_err(refuse).ok()
        };
        let to = PerSide { app: compiled("to_app", app), remote: compiled("to_remote", remote) };
        Some(ExpressionLens { to })
    }

    fn check_transforms(&self, transforms: &[Located<Transform>]) {
        let find = |wanted| transforms.iter().find(|transform| transform.value == wanted);
        if let (Some(_), Some(upper)) = (find(Transform::Lowercase), find(Transform::Uppercase)) {
            let message = "'lowercase' and 'uppercase' undo each other";
            self.problems.add_with_help(upper.span.clone(), message, "keep one of them");
        }
    }

    fn check_lens(&self, spec: &FieldSpec, lens: &Lens, rules: Option<&Rules>) {
        let obeys = |value: &Value| rules.is_none_or(|rules| rules.check(Some(value)).is_ok());
        let name = &spec.name.value;
        let span = spec.lens_span();
        if let Some(misfit) = lens.misfit() {
            self.problems.add(span, format!("the transforms of '{name}' do not fit together: {misfit}"));
        } else if let Some(value) = lens.unreachable_value() {
            let message = format!("{} among the values of '{name}' can never be met", shown_value(value));
            self.problems.add_with_help(span, message, "the transforms come first: write it as they leave it");
        } else if let Some(told) = lens.broken_law(self.direction, &obeys) {
            let message = format!("the transform of '{name}' cannot be undone: {told}");
            self.problems.add_with_help(span, message, "choose forms of which each says as much as the other");
        }
    }

    fn boolean(&self, boolean: &Located<(Value, Value)>) -> Option<Step> {
        let (yes, no) = boolean.value.clone();
        if yes.same(&no) {
            self.problems.add(boolean.span.clone(), "true and false must differ in the remote");
            return None;
        }
        Some(Step::Boolean { yes, no })
    }

    fn values(&self, spec: &FieldSpec) -> Option<Values> {
        let Some(values) = &spec.values else {
            if let Some(default) = &spec.values_default {
                self.problems.add_with_help(
                    default.span.clone(),
                    "'values_default' stands without 'values'",
                    "add values = { app = \"remote\" }",
                );
            }
            return None;
        };
        let kind = spec.kind.as_ref().map(|kind| kind.value);
        let mut pairs = Vec::new();
        for (app, remote) in &values.value {
            match app_value(&app.value, kind) {
                Some(value) => pairs.push(PerSide { app: value, remote: remote.value.clone() }),
                None => self.problems.add(app.span.clone(), format!("'{}' is not of the field's type", app.value)),
            }
        }
        let default = spec.values_default.as_ref().map(|default| &default.value);
        let default = PerSide::from_fn(|side| {
            default.and_then(|default| default[side].as_ref()).map(|value| value.value.clone())
        });
        let values_lens = Values::new(pairs, default);
        // Out of the app, several values may become one; the way back is never written.
        if self.direction != Direction::Out
            && let Some((first, second, remote)) = values_lens.ambiguous()
        {
            let (first, second, remote) = (shown_value(first), shown_value(second), shown_value(remote));
            let message = format!("{first} and {second} both become {remote}, which cannot be undone");
            let help = format!("say which one {remote} means: values_default = {{ app = ... }}");
            self.problems.add_with_help(values.span.clone(), message, help);
        }
        Some(values_lens)
    }

    fn rules(&self, spec: &FieldSpec) -> Option<Rules> {
        let before = self.problems.len();
        let rules = Rules {
            required: spec.required.as_ref().is_some_and(|required| required.value),
            kind: spec.kind.as_ref().map(|kind| kind.value),
            min_length: spec.min_length.as_ref().map(|length| length.value),
            max_length: spec.max_length.as_ref().map(|length| length.value),
            min: spec.min.as_ref().map(|min| min.value.clone()),
            max: spec.max.as_ref().map(|max| max.value.clone()),
            pattern: spec.pattern.as_ref().and_then(|pattern| self.pattern(pattern)),
            one_of: spec.one_of.iter().flat_map(|list| &list.value).map(|value| value.value.clone()).collect(),
        };
        self.check_bounds(spec, &rules);
        self.check_rules_fit_type(spec);
        (self.problems.len() == before).then_some(rules)
    }

    fn pattern(&self, pattern: &Located<String>) -> Option<Regex> {
        let compiled =
            RegexBuilder::new(&pattern.value).size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES).build();
        match compiled {
            Ok(regex) => Some(regex),
            Err(error) => {
                let (message, help) = match error {
                    regex::Error::CompiledTooBig(_) => ("it is too large".to_owned(), "lower its repeat counts"),
                    error => (shown(&regex_reason(&error.to_string())), "in single quotes '...' a backslash is itself"),
                };
                let message = format!("'pattern' is not a usable regular expression: {message}");
                self.problems.add_with_help(pattern.span.clone(), message, help);
                None
            }
        }
    }

    fn check_bounds(&self, spec: &FieldSpec, rules: &Rules) {
        if let (Some(min), Some(max), Some(at)) = (rules.min_length, rules.max_length, &spec.max_length)
            && min > max
        {
            self.problems.add(at.span.clone(), format!("'max_length' ({max}) is less than 'min_length' ({min})"));
        }
        if let (Some(min), Some(max), Some(at)) = (&rules.min, &rules.max, &spec.max)
            && decimal::compare(min, max).is_gt()
        {
            let message = format!("'max' ({}) is less than 'min' ({})", max.as_str(), min.as_str());
            self.problems.add(at.span.clone(), message);
        }
        if let Some(list) = spec.one_of.as_ref().filter(|list| list.value.is_empty()) {
            self.problems.add(list.span.clone(), "'one_of' is empty, so that no value would pass");
        }
        let contradiction = spec.max_length.as_ref().filter(|max| rules.required && max.value == 0);
        if let Some(max) = contradiction {
            self.problems.add(max.span.clone(), "'required' and 'max_length = 0' contradict each other");
        }
    }

    /// A rule that no value of the declared type can meet is a mistake.
    fn check_rules_fit_type(&self, spec: &FieldSpec) {
        let Some(kind) = spec.kind.as_ref().map(|kind| kind.value) else { return };
        let text = kind.shape() == Shape::Text;
        let rules = [
            ("min_length", spec.min_length.as_ref().map(|at| &at.span), text || kind == Kind::List, "texts and lists"),
            ("max_length", spec.max_length.as_ref().map(|at| &at.span), text || kind == Kind::List, "texts and lists"),
            ("min", spec.min.as_ref().map(|at| &at.span), kind.is_number(), "numbers"),
            ("max", spec.max.as_ref().map(|at| &at.span), kind.is_number(), "numbers"),
            ("pattern", spec.pattern.as_ref().map(|at| &at.span), text, "texts"),
        ];
        for (key, span, fits, what) in rules {
            if let Some(span) = span.filter(|_| !fits) {
                let message = format!("'{key}' is for {what}, but type = \"{}\"", kind.as_str());
                self.problems.add_with_help(span.clone(), message, format!("take '{key}' away, or change 'type'"));
            }
        }
    }

    /// The declared values must obey the rules and the lens that they stand beside.
    fn check_values(&self, spec: &FieldSpec, lens: &Lens, rules: &Rules) {
        self.check_type_fits_lens(spec, lens);
        let default = spec.default.iter().map(|value| ("default", value));
        let one_of = spec.one_of.iter().flat_map(|list| &list.value).map(|value| ("one_of", value));
        let constant = spec.constant.iter().map(|value| ("constant", value));
        for (key, value) in default.chain(one_of).chain(constant) {
            let obeys = match key {
                // The list itself is the rule; required is about a record.
                "one_of" => rules.check_kind(&value.value),
                _ => rules.check(Some(&value.value)),
            };
            let obeys = obeys.and_then(|()| lens.apply(Side::Remote, value.value.clone()).map(|_| ()));
            if let Err(reason) = obeys {
                let message = format!("'{key}' of '{}' breaks the field's own rules: {reason}", spec.name.value);
                self.problems.add_with_help(value.span.clone(), message, "values stand here in the app's form");
            }
        }
    }

    fn check_type_fits_lens(&self, spec: &FieldSpec, lens: &Lens) {
        let Some(kind) = spec.kind.as_ref() else { return };
        let name = &spec.name.value;
        let takes = lens.app_shape();
        if !lens.is_plain() && !kind.value.shape().fits(takes) {
            let message =
                format!("type = \"{}\" of '{name}', but its transform takes {}", kind.value.as_str(), takes.as_str());
            self.problems.add_with_help(kind.span.clone(), message, "'type' is about the app's form");
            return;
        }
        let form = spec.date.as_ref().map(|date| &date.value.forms.app);
        let fits = match (kind.value, form) {
            (Kind::Date, Some(Form::Iso)) | (Kind::DateTime, Some(Form::Date)) => false,
            (
                Kind::Text
                | Kind::Number
                | Kind::Integer
                | Kind::Boolean
                | Kind::Date
                | Kind::DateTime
                | Kind::List
                | Kind::Object,
                _,
            ) => true,
        };
        if !fits {
            let message = format!("type = \"{}\" of '{name}' is not the app's form of its date", kind.value.as_str());
            let help =
                "type = \"date\" goes with date = { app = \"date\" }, and type = \"datetime\" with app = \"iso\"";
            self.problems.add_with_help(kind.span.clone(), message, help);
        }
    }

    fn match_fields(&self) -> Vec<usize> {
        let mut positions = Vec::new();
        for name in &self.spec.match_fields {
            let Some(position) = self.position(name, "match") else { continue };
            if self.spec.fields[position].constant.is_some() {
                let message = format!("'{}' is a constant, by which no two records can be told apart", name.value);
                self.problems.add_with_help(name.span.clone(), message, "match on a field that differs");
            }
            self.check_match(name, &self.spec.fields[position]);
            if self.spec.fields[position].reference.is_some() {
                let message = format!("'{}' holds ids, which are not the same on the two sides", name.value);
                self.problems.add_with_help(name.span.clone(), message, "match on a field that both sides hold");
            }
            if positions.contains(&position) {
                self.problems.add(name.span.clone(), format!("'{}' stands twice in 'match'", name.value));
            }
            positions.push(position);
        }
        positions
    }

    /// Where a field named elsewhere stands; `None`, and a problem, when there is none.
    fn position(&self, name: &Located<String>, key: &str) -> Option<usize> {
        let position = self.spec.fields.iter().position(|field| field.name.value == name.value);
        if position.is_none() && !self.spec.unreadable.contains(&name.value) {
            let message = format!("'{key}' names '{}', which is not among the fields", name.value);
            let help = match nearest(&name.value, self.spec.names()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => "name a field of [sync.fields]".to_owned(),
            };
            self.problems.add_with_help(name.span.clone(), message, help);
        }
        position
    }

    fn filter(&self, fields: &[Option<Field>]) -> Vec<Condition> {
        self.spec.filter.iter().flat_map(|spec| self.conditions(spec, fields)).collect()
    }

    fn conditions(&self, spec: &ConditionSpec, fields: &[Option<Field>]) -> Vec<Condition> {
        let Some(position) = self.position(&spec.field, "filter") else { return Vec::new() };
        let Some(field) = &fields[position] else { return Vec::new() };
        if field.constant.is_some() {
            let message = format!("'{}' is a constant, which no record can leave", field.name);
            self.problems.add_with_help(spec.field.span.clone(), message, "filter on a field that differs");
        }
        if field.reference.is_some() && spec.tests.iter().any(|test| !matches!(test, TestSpec::Present(_))) {
            let message = format!("'{}' holds ids, which are not the same on the two sides", field.name);
            let help = "ask for 'present', or filter on another field";
            self.problems.add_with_help(spec.field.span.clone(), message, help);
            return Vec::new();
        }
        spec.tests.iter().map(|test| Condition { field: position, test: self.test(test, field) }).collect()
    }

    fn test(&self, spec: &TestSpec, field: &Field) -> Test {
        let values = |list: &[Located<Value>]| -> Vec<Value> {
            list.iter().for_each(|value| self.check_filter_value(value, field));
            list.iter().map(|value| value.value.clone()).collect()
        };
        let bound = |bound: &Located<Number>| -> Number {
            if field.rules.kind.is_some_and(|kind| !kind.is_number()) {
                let message = format!("'{}' is not a number, so it has no 'min' or 'max'", field.name);
                self.problems.add(bound.span.clone(), message);
            }
            bound.value.clone()
        };
        match spec {
            TestSpec::In(list) => Test::In(values(list)),
            TestSpec::Not(list) => Test::Not(values(list)),
            TestSpec::Min(min) => Test::Min(bound(min)),
            TestSpec::Max(max) => Test::Max(bound(max)),
            TestSpec::Present(present) => Test::Present(*present),
        }
    }

    /// A value that the field can never have would silently leave every record out.
    fn check_filter_value(&self, value: &Located<Value>, field: &Field) {
        let possible = field.rules.check_kind(&value.value);
        let possible = possible.and_then(|()| field.lens.apply(Side::Remote, value.value.clone()).map(|_| ()));
        if let Err(reason) = possible {
            let message = format!("'filter' asks for what '{}' can never be: {reason}", field.name);
            self.problems.add_with_help(value.span.clone(), message, "values stand here in the app's form");
        }
    }
}

impl FieldSpec {
    /// Where the lens stands, for messages about all of it.
    fn lens_span(&self) -> std::ops::Range<usize> {
        let spans = [
            self.values.as_ref().map(|values| &values.span),
            self.boolean.as_ref().map(|boolean| &boolean.span),
            self.date.as_ref().map(|date| &date.span),
            self.expressions.remote.as_ref().map(|text| &text.span),
            self.expressions.app.as_ref().map(|text| &text.span),
            self.split.as_ref().or(self.join.as_ref()).map(|text| &text.span),
            self.transforms().first().map(|transform| &transform.span),
        ];
        spans.into_iter().flatten().next().unwrap_or(&self.name.span).clone()
    }
}

/// A key of `values` as a value of the field's type; keys of a TOML table are texts.
fn app_value(text: &str, kind: Option<Kind>) -> Option<Value> {
    let value = match kind.map(Kind::shape) {
        Some(Shape::Number) => Value::Number(Number::parse(text).ok()?),
        Some(Shape::Boolean) => Value::Bool(text.parse().ok()?),
        Some(Shape::Text | Shape::List | Shape::Object | Shape::Any) | None => Value::string(text),
    };
    kind.is_none_or(|kind| kind.holds(&value)).then_some(value)
}

/// The reason and the place out of the picture which the regex crate draws.
fn regex_reason(error: &str) -> String {
    let reason = error.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(error);
    let caret = error.lines().find(|line| line.trim_start().starts_with('^')).and_then(|line| line.find('^'));
    match caret {
        // The picture is indented by four.
        Some(column) if column >= 4 => format!("{reason}, at character {}", column - 3),
        Some(_) | None => reason.to_owned(),
    }
}

fn hash(fields: &[Field], match_fields: &[usize]) -> Digest {
    // Sorted, so that a field may move within the document.
    let mut texts: Vec<String> =
        fields.iter().map(|field| format!("{} owner={}", field.identity(), field.owner.as_str())).collect();
    texts.sort();
    texts.push("match".to_owned());
    texts.extend(match_fields.iter().map(|i| fields[*i].name.clone()));
    Value::Array(texts.into_iter().map(Value::String).collect()).digest()
}

fn filter_hash(fields: &[Field], filter: &[Condition]) -> Digest {
    let mut texts: Vec<String> = filter
        .iter()
        .map(|condition| format!("{} {}", fields[condition.field].identity(), condition.identity()))
        .collect();
    texts.sort();
    Value::Array(texts.into_iter().map(Value::String).collect()).digest()
}
