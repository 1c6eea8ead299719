//! What a key is declared by. Everything is built in constants, one expression a key:
//! `text("name", "what syncs call it").required().example("\"crm\"")`.

/// The version since which a key is there, where it does not say.
pub(super) const FIRST_VERSION: &str = "0.1.0";

/// A table of a file: which keys it may hold.
#[derive(Debug)]
pub(super) struct Group {
    /// How the table is written, for a heading: `[object.NAME.list]`.
    pub heading: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The least that such a table may hold, as a TOML inline table.
    pub example: &'static str,
    /// Its keys; some lists of them are shared with other tables.
    pub keys: &'static [&'static [Key]],
    /// Exactly one of these stands in it.
    pub one_of: &'static [&'static str],
    /// Where none of these stands in it, the `path` of the object may bring one.
    pub brought: bool,
    /// The static's name and its source file, for whoever has to add a key.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests say it"))]
    pub declared_in: (&'static str, &'static str),
}

impl Group {
    /// All its keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().flat_map(|keys| keys.iter())
    }

    /// One key.
    #[cfg(test)]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it means, in Markdown of one line.
    pub about: &'static str,
    /// What may stand there.
    pub holds: Holds,
    /// Whether it must be there.
    pub need: Need,
    /// It may be there only then.
    pub only: Option<When>,
    /// What stands for it where it is absent.
    pub default: Default,
    /// A value of it, as TOML.
    pub example: &'static str,
    /// A value of the right kind that is refused all the same, as TOML.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests make a mistake of it"))]
    pub wrong: &'static str,
    /// What has to stand beside it, as TOML lines, so that the example is a good one.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests make documents of the examples"))]
    pub with: &'static str,
    /// What has to stand beside its table, as TOML lines.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests make documents of the examples"))]
    pub around: &'static str,
    /// What must not stand beside it.
    pub without: &'static [&'static str],
    /// The first version that takes it.
    pub since: &'static str,
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    /// Any text.
    Text,
    /// A path within a record or an answer.
    Path,
    /// A path of the API, from its `/` on.
    Endpoint,
    /// The name of a header.
    Header,
    /// One character.
    Character,
    /// `500ms`, `5s`, `2m`, `1h`, `1d`.
    Duration,
    /// A whole number within bounds.
    Whole(i64, i64),
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of these texts.
    Words(&'static [&'static str]),
    /// Any value.
    Any,
    /// A list, each entry of which is this.
    List(&'static Holds),
    /// A table with the keys of a group.
    Table(&'static Group),
    /// A table with free names, an example of one, each of which holds this.
    Named(&'static str, &'static Holds),
    /// One of several kinds.
    Either(&'static [Holds]),
}

/// A text, a number or a boolean.
pub(super) const SCALAR: Holds = Holds::Either(&[Holds::Text, Holds::Number, Holds::Boolean]);

/// A list of HTTP statuses.
pub(super) const STATUSES: Holds = Holds::List(&Holds::Whole(200, 599));

/// A path or a list of them.
pub(super) const PATHS: Holds = Holds::Either(&[Holds::Path, Holds::List(&Holds::Path)]);

/// Whether a key must be there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// It may be absent.
    No,
    /// It must be there.
    Always,
    /// It must be there then.
    When(When),
}

/// A condition on the other keys of a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// The key holds one of the words.
    Is(&'static str, &'static [&'static str]),
    /// The key is there.
    Beside(&'static str),
}

/// What stands for a key where it is absent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// Nothing.
    None,
    /// This value, as TOML.
    Value(&'static str),
    /// What these words say.
    Said(&'static str),
}

/// A key of any kind.
pub(super) const fn key(name: &'static str, holds: Holds, about: &'static str) -> Key {
    Key {
        name,
        about,
        holds,
        need: Need::No,
        only: None,
        default: Default::None,
        example: "",
        wrong: "",
        with: "",
        around: "",
        without: &[],
        since: FIRST_VERSION,
    }
}

/// A text.
pub(super) const fn text(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Text, about)
}

/// A path within a record or an answer.
pub(super) const fn path(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Path, about)
}

/// A path of the API.
pub(super) const fn endpoint(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Endpoint, about)
}

/// The name of a header.
pub(super) const fn header(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Header, about)
}

/// A duration.
pub(super) const fn duration(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Duration, about).example("\"5m\"")
}

/// A whole number within bounds.
pub(super) const fn whole(name: &'static str, least: i64, most: i64, about: &'static str) -> Key {
    key(name, Holds::Whole(least, most), about)
}

/// `true` or `false`.
pub(super) const fn boolean(name: &'static str, about: &'static str) -> Key {
    key(name, Holds::Boolean, about).example("true")
}

/// One of some words.
pub(super) const fn word(name: &'static str, words: &'static [&'static str], about: &'static str) -> Key {
    key(name, Holds::Words(words), about)
}

/// A list of HTTP statuses.
pub(super) const fn statuses(name: &'static str, about: &'static str) -> Key {
    key(name, STATUSES, about)
}

/// A table with the keys of a group.
pub(super) const fn table(name: &'static str, group: &'static Group) -> Key {
    key(name, Holds::Table(group), group.about).example(group.example)
}

impl Key {
    /// It must be there.
    pub const fn required(self) -> Self {
        Self { need: Need::Always, ..self }
    }

    /// It must be there then.
    pub const fn needed(self, when: When) -> Self {
        Self { need: Need::When(when), ..self }
    }

    /// It may be there only then.
    pub const fn only(self, when: When) -> Self {
        Self { only: Some(when), ..self }
    }

    /// What stands for it where it is absent, as TOML.
    pub const fn default(self, value: &'static str) -> Self {
        Self { default: Default::Value(value), ..self }
    }

    /// What stands for it where it is absent, in words.
    pub const fn otherwise(self, said: &'static str) -> Self {
        Self { default: Default::Said(said), ..self }
    }

    /// A value of it, as TOML.
    pub const fn example(self, value: &'static str) -> Self {
        Self { example: value, ..self }
    }

    /// A value of the right kind that is refused all the same, as TOML: what the kind alone
    /// does not say.
    pub const fn wrong(self, value: &'static str) -> Self {
        Self { wrong: value, ..self }
    }

    /// What has to stand beside it, as TOML lines.
    pub const fn with(self, lines: &'static str) -> Self {
        Self { with: lines, ..self }
    }

    /// What has to stand beside its table, as TOML lines.
    pub const fn around(self, lines: &'static str) -> Self {
        Self { around: lines, ..self }
    }

    /// What must not stand beside it.
    pub const fn without(self, keys: &'static [&'static str]) -> Self {
        Self { without: keys, ..self }
    }

    /// The first version that takes it.
    #[expect(dead_code, reason = "there was one version only so far")]
    pub const fn since(self, version: &'static str) -> Self {
        Self { since: version, ..self }
    }
}
