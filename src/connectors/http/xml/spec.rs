//! What a file declares of the app's XML.

use crate::model::document::Table;
use crate::model::path::Path;

use crate::connectors::http::fields::paths;

/// How the app's XML is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::connectors::http) struct XmlSpec {
    /// What is declared of elements, from the root element on.
    pub(super) root: Shape,
    /// The prefix of the names of a namespace, by its URI.
    pub(super) prefixes: Vec<(String, String)>,
}

/// What is declared of the elements of one path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// They are a list, however many there are.
    pub is_list: bool,
    pub kind: Kind,
    pub inner: Vec<(String, Shape)>,
}

/// What an element is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// By what it holds.
    #[default]
    AsItIs,
    /// Its text, whatever its attributes are.
    Text,
    /// An object, even where it holds text alone or nothing.
    Object,
}

impl Shape {
    fn at(&mut self, path: &Path) -> &mut Shape {
        path.segments().iter().fold(self, |shape, key| {
            let at = shape.inner.iter().position(|(other, _)| other == key).unwrap_or_else(|| {
                shape.inner.push((key.clone(), Shape::default()));
                shape.inner.len() - 1
            });
            &mut shape.inner[at].1
        })
    }

    #[cfg(feature = "xml")]
    pub fn child(&self, name: &str) -> Option<&Shape> {
        self.inner.iter().find(|(other, _)| other == name).map(|(_, shape)| shape)
    }
}

impl XmlSpec {
    /// `[xml]`
    pub fn parse(table: Table<'_>) -> Self {
        let mut spec = Self::default();
        if !cfg!(feature = "xml") {
            let help = "build it with the feature 'xml'";
            table.problems().add_with_help(table.span(), "this program was built without XML", help);
        }
        paths(&table, "lists").iter().for_each(|path| spec.root.at(path).is_list = true);
        for (key, kind) in [("texts", Kind::Text), ("objects", Kind::Object)] {
            for path in paths(&table, key) {
                let shape = spec.root.at(&path);
                if shape.kind != Kind::AsItIs {
                    let span = table.item(key).map_or(table.span(), |item| item.span());
                    table.problems().add(span, format!("'{path}' is declared as a text and as an object"));
                }
                shape.kind = kind;
            }
        }
        let prefixes = table.table("prefixes").map(|prefixes| prefixes.all()).unwrap_or_default();
        for (uri, item) in prefixes {
            match item.text() {
                Ok(prefix) if !prefix.value.is_empty() && !prefix.value.contains([':', '.', '@', '#']) => {
                    spec.prefixes.push((uri.value, prefix.value));
                }
                Ok(prefix) => {
                    let help = "for example { \"DAV:\" = \"d\" }";
                    let message = format!("'{}' is no prefix for the names of '{}'", prefix.value, uri.value);
                    let span = table.item("prefixes").map_or(prefix.span, |item| item.span());
                    table.problems().add_with_help(span, message, help);
                }
                Err(wanted) => table.problems().add(item.span(), format!("'{}' must be {wanted}", uri.value)),
            }
        }
        table.finish();
        spec
    }
}
