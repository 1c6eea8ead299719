//! XML as values: answers are read by one rule that depends on nothing but the document and what
//! the file declares, and bodies are written by its inverse.
//!
//! | XML | Value |
//! |---|---|
//! | the document | an object with one key, the name of the root element |
//! | an element with text alone | the text, as it stands |
//! | one with child elements or attributes | an object: attributes as `@name`, children by name, text of its own as `#text` |
//! | a child that stands several times, or that is declared as a list | a list, in the order of the document |
//! | an element with nothing in it, or `xsi:nil` | null |
//!
//! Names stand without their prefix unless the file gives their namespace one. Comments,
//! instructions, namespace declarations and what else belongs to `xsi` are left out. Nothing is
//! expanded: a document type is refused, and of entities only the five of XML itself are known.

#[cfg(feature = "xml")]
mod read;
mod spec;
#[cfg(all(test, feature = "xml"))]
mod tests;
mod write;

pub(super) use spec::XmlSpec;
pub(super) use write::{is_xml, to_xml};

/// An answer in XML as JSON text.
///
/// # Errors
/// When it is no XML that is taken, with the reason.
#[cfg(feature = "xml")]
pub(super) fn to_json(spec: &XmlSpec, text: &str) -> Result<String, String> {
    read::read(spec, text).map(|value| value.to_json())
}

#[cfg(not(feature = "xml"))]
pub(super) fn to_json(_: &XmlSpec, _: &str) -> Result<String, String> {
    Err("this program was built without XML".to_owned())
}
