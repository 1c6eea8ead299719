//! Reading a document: event by event, on a stack of our own, within bounds.

use std::collections::HashMap;

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{LocalName, Namespace, ResolveResult};
use quick_xml::reader::NsReader;

use crate::connectors::http::text::clip;
use crate::model::value::{MAX_DEPTH, Value};

use super::spec::{Kind, Shape, XmlSpec};

/// Most elements and attributes of one document: a page of ten thousand records with fifty each.
const MAX_NODES: usize = 500_000;

/// Most attributes of one element.
const MAX_ATTRIBUTES: usize = 256;

/// The namespace of `xsi:nil` and `xsi:type`: <https://www.w3.org/TR/xmlschema-1/#Instance_Document_Constructions>
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// An element whose end has not come yet.
struct Open<'s> {
    name: String,
    shape: Option<&'s Shape>,
    attributes: Vec<(String, Value)>,
    children: Children,
    text: String,
    /// Some of its text was marked as such, so that spaces are meant.
    has_cdata: bool,
    is_nil: bool,
}

/// Child elements by name, in the order in which the names came first.
#[derive(Default)]
struct Children {
    lists: Vec<(String, Vec<Value>)>,
    places: HashMap<String, usize>,
}

impl Children {
    fn add(&mut self, name: String, value: Value) {
        let at = *self.places.entry(name.clone()).or_insert_with(|| {
            self.lists.push((name, Vec::new()));
            self.lists.len() - 1
        });
        self.lists[at].1.push(value);
    }
}

/// Reads a document.
///
/// # Errors
/// When it is not well formed, holds what is not taken, or exceeds a bound.
pub(super) fn read(spec: &XmlSpec, text: &str) -> Result<Value, String> {
    let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}'));
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut root = None;
    let mut num_nodes = 0;
    loop {
        let at = reader.buffer_position();
        let fault = |reason: String| format!("{reason} at byte {at}");
        let event = reader.read_event().map_err(|error| fault(clip(&error.to_string())))?;
        match event {
            Event::Start(start) | Event::Empty(start) if root.is_some() => {
                return Err(fault(format!("<{}> after the end of the document", clip(start.name().0))));
            }
            Event::Start(start) => {
                open.push(begin(spec, &reader, open.last(), &start, &mut num_nodes).map_err(fault)?);
                if open.len() > MAX_DEPTH {
                    return Err(fault(format!("elements nested deeper than {MAX_DEPTH} levels")));
                }
            }
            Event::Empty(start) => {
                let only = begin(spec, &reader, open.last(), &start, &mut num_nodes).map_err(fault)?;
                end(only, &mut open, &mut root);
            }
            Event::End(_) => match open.pop() {
                Some(last) => end(last, &mut open, &mut root),
                None => return Err(fault("an end without a beginning".to_owned())),
            },
            Event::Text(text) => add_text(&mut open, &text.xml10_content()).map_err(fault)?,
            Event::CData(text) => {
                add_text(&mut open, &text.xml10_content()).map_err(fault)?;
                open.iter_mut().last().into_iter().for_each(|open| open.has_cdata = true);
            }
            Event::GeneralRef(name) => {
                let known = match name.resolve_char_ref().map_err(|error| fault(clip(&error.to_string())))? {
                    Some(char) => char.to_string(),
                    None => resolve_predefined_entity(&name)
                        .ok_or_else(|| fault(format!("the entity '&{};' is not known", clip(&name))))?
                        .to_owned(),
                };
                add_text(&mut open, &known).map_err(fault)?;
            }
            Event::DocType(_) => return Err(fault("a document type, which is not taken".to_owned())),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    match (open.last(), root) {
        (Some(open), _) => Err(format!("the document ends within <{}>", clip(&open.name))),
        (None, Some((name, _))) if name.eq_ignore_ascii_case("html") => Err("a page of HTML".to_owned()),
        (None, Some((name, value))) => Ok(Value::Object(vec![(name, value)])),
        (None, None) => Err("there is no element".to_owned()),
    }
}

fn begin<'s>(
    spec: &'s XmlSpec,
    reader: &NsReader<&[u8]>,
    parent: Option<&Open<'s>>,
    start: &BytesStart<'_>,
    num_nodes: &mut usize,
) -> Result<Open<'s>, String> {
    let resolver = reader.resolver();
    let name = name(spec, resolver.resolve_element(start.name()));
    let shape = parent.map_or(Some(&spec.root), |parent| parent.shape).and_then(|shape| shape.child(&name));
    let mut open = Open {
        name,
        shape,
        attributes: Vec::new(),
        children: Children::default(),
        text: String::new(),
        has_cdata: false,
        is_nil: false,
    };
    // Checked here: the reader's own check compares each with each.
    for (i, attribute) in start.attributes().with_checks(false).enumerate() {
        if i == MAX_ATTRIBUTES {
            return Err(format!("<{}> has more than {MAX_ATTRIBUTES} attributes", clip(&open.name)));
        }
        let attribute = attribute.map_err(|error| clip(&error.to_string()))?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        *num_nodes += 1;
        let value = attribute.normalized_value(XmlVersion::Explicit1_0).map_err(|error| clip(&error.to_string()))?;
        let resolved = resolver.resolve_attribute(attribute.key);
        if let (ResolveResult::Bound(Namespace(XSI)), local) = &resolved {
            open.is_nil |= local.as_ref() == "nil" && matches!(value.trim(), "true" | "1");
            continue;
        }
        let key = format!("@{}", self::name(spec, resolved));
        if open.attributes.iter().any(|(other, _)| *other == key) {
            return Err(format!("<{}> has two attributes '{}'", clip(&open.name), clip(&key[1..])));
        }
        open.attributes.push((key, Value::string(value)));
    }
    *num_nodes += 1;
    if *num_nodes > MAX_NODES {
        return Err(format!("more than {MAX_NODES} elements and attributes"));
    }
    Ok(open)
}

/// A name as it stands in a value: without its prefix, or with the one that the file gives.
fn name(spec: &XmlSpec, (namespace, local): (ResolveResult<'_>, LocalName<'_>)) -> String {
    let prefix = match namespace {
        ResolveResult::Bound(Namespace(uri)) => spec.prefixes.iter().find(|(other, _)| other == uri),
        ResolveResult::Unbound | ResolveResult::Unknown(_) => None,
    };
    match prefix {
        Some((_, prefix)) => format!("{prefix}:{}", local.as_ref()),
        None => local.as_ref().to_owned(),
    }
}

fn add_text(open: &mut [Open<'_>], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(open) => open.text.push_str(text),
        None if trim(text).is_empty() => {}
        None => return Err("text outside of the document".to_owned()),
    }
    Ok(())
}

/// A text without the spaces around it, which are not all that Unicode knows:
/// <https://www.w3.org/TR/xml/#sec-common-syn>
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Gives an element that has ended to its parent, or makes it the root.
fn end(last: Open<'_>, open: &mut [Open<'_>], root: &mut Option<(String, Value)>) {
    let (name, value) = value(last);
    match open.last_mut() {
        Some(parent) => parent.children.add(name, value),
        None => *root = Some((name, value)),
    }
}

fn value(element: Open<'_>) -> (String, Value) {
    let Open { name, shape, attributes, children, text, has_cdata, is_nil } = element;
    let kind = shape.map_or(Kind::AsItIs, |shape| shape.kind);
    let says = has_cdata || !trim(&text).is_empty();
    let lists = shape.map_or(&[][..], |shape| &shape.inner).iter().filter(|(_, shape)| shape.is_list);
    if is_nil {
        return (name, Value::Null);
    }
    let mut entries = attributes;
    let has_children = !children.lists.is_empty();
    for (name, mut values) in children.lists {
        let is_list = shape.and_then(|shape| shape.child(&name)).is_some_and(|shape| shape.is_list);
        let value = match values.len() {
            1 if !is_list => values.remove(0),
            _ => Value::Array(values),
        };
        entries.push((name, value));
    }
    for (name, _) in lists {
        if !entries.iter().any(|(other, _)| other == name) {
            entries.push((name.clone(), Value::Array(Vec::new())));
        }
    }
    let value = match kind {
        Kind::AsItIs | Kind::Text if entries.is_empty() && !says => Value::Null,
        Kind::Text if !says => Value::Null,
        Kind::Text => Value::String(text),
        Kind::AsItIs if entries.is_empty() => Value::String(text),
        Kind::AsItIs | Kind::Object => {
            if says {
                let text = if has_children { trim(&text).to_owned() } else { text };
                entries.push(("#text".to_owned(), Value::String(text)));
            }
            Value::Object(entries)
        }
    };
    (name, value)
}
