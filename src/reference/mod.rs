//! Shell: the keys of the configuration file and of the connector file, declared once as
//! data. From this come the JSON Schema that editors complete and check by
//! (`syncline schema`) and the reference in `docs`.
//!
//! The files are read by hand-written code, which knows how to tell what is wrong; this is
//! not what they are read by. Tests hold the two together: they compare the keys that the
//! readers ask for with the declared ones, in both directions, and make mistakes with
//! every one of them. A new key is one entry in `config` or `connector`.

mod config;
mod connector;
mod key;
mod page;
mod schema;
#[cfg(test)]
mod tests;

use self::key::Group;

/// A kind of file that people write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The configuration: what is kept in agreement, and for whom.
    Config,
    /// A connector file: how one kind of app works.
    Connector,
}

impl FileKind {
    /// Both.
    pub const ALL: [FileKind; 2] = [FileKind::Config, FileKind::Connector];

    /// What it is called.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            FileKind::Config => "Syncline configuration file",
            FileKind::Connector => "Syncline connector file",
        }
    }

    /// Its JSON Schema, of draft 7: the latest that the JSON service of VS Code knows in
    /// full, and Taplo (Even Better TOML) knows at all.
    #[must_use]
    pub fn schema(self) -> serde_json::Value {
        schema::of(self)
    }

    /// The reference of all its keys, as Markdown.
    #[must_use]
    pub fn reference(self) -> String {
        page::of(self)
    }

    fn top(self) -> &'static Group {
        match self {
            FileKind::Config => &config::TOP,
            FileKind::Connector => &connector::TOP,
        }
    }
}

/// A declared value; that it is TOML is held by a test.
fn toml_value(text: &str) -> Option<toml::Value> {
    toml::from_str::<toml::Table>(&format!("v = {text}")).ok()?.remove("v")
}
