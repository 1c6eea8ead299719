//! The settings of a side that is reached by the HTTP connector: the same keys for
//! `[app]` and `[[connection]]`.

use std::ops::Range;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::files::Outside;
use super::fill::{Filled, fill};
use super::keys::{bounded, non_empty, shown};
use super::said::Said;
use crate::connectors::http::{Credentials, HttpConnectorFile, HttpSettings, required_window};
use crate::model::budget::Limits;
use crate::model::document::{Located, Problems, Table};
use crate::model::hash::Digest;
use crate::model::ids::Scope;

/// Stands for a connection's scope in the base URL of `[app]`.
const SCOPE: &str = "{scope}";

/// What a path segment may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A side as far as it could be read.
#[derive(Clone)]
pub(super) struct HttpSide {
    pub span: Range<usize>,
    /// The connector file and where it is named.
    pub file: Option<Located<Arc<HttpConnectorFile>>>,
    /// `None` when anything is wrong with them.
    pub settings: Option<HttpSettings>,
    pub limits: Limits,
    /// The base URL has a place for the scope.
    pub is_scoped: bool,
    /// What its table says, key by key.
    pub said: Said,
}

impl HttpSide {
    /// The settings for one connection, with its scope in its place.
    pub fn settings_for(&self, scope: Option<&Scope>) -> Option<HttpSettings> {
        let mut settings = self.settings.clone()?;
        if let (true, Some(scope)) = (self.is_scoped, scope) {
            settings.base_url = with_scope(&settings.base_url, scope.as_str());
        }
        Some(settings)
    }

    /// Which account it is: two with the same address and the same credentials are one.
    pub fn account(&self) -> Option<Digest> {
        let settings = self.settings.as_ref()?;
        let (kind, whose, user) = match &settings.credentials {
            Credentials::Token(token) => ("token", token.expose_secret(), None),
            Credentials::Basic { user, .. } => ("user", user.as_str(), None),
            Credentials::Client { id, .. } => ("client", id.as_str(), None),
            Credentials::Jwt { issuer, subject, .. } => ("jwt", issuer.as_str(), subject.as_deref()),
            // Without credentials nothing tells accounts apart but the address.
            Credentials::None => ("none", "", None),
        };
        let url = settings.base_url.trim_end_matches('/');
        let user = user.map_or_else(String::new, |user| format!("\0{user}"));
        Some(Digest::of(format!("{kind}\0{whose}\0{url}{user}").as_bytes()))
    }
}

/// Reads the keys of an HTTP side. Only your app's side may have a place for the scope.
pub(super) fn http_side(table: &Table<'_>, may_be_scoped: bool, outside: &Outside<'_>) -> HttpSide {
    let problems = table.problems();
    let before = problems.len();
    let connector = non_empty(table, "connector");
    let file = connector.and_then(|written| {
        let value = outside.connector(&written, problems)?;
        Some(Located { value, span: written.span })
    });
    let digest = file.as_ref().map(|file| file.value.digest);
    let file = file.map(|file| Located { value: file.value.file, span: file.span });
    let url = non_empty(table, "base_url");
    let allow_private = table.boolean("allow_private").is_some_and(|allow| allow.value);
    let is_scoped = url.as_ref().is_some_and(|url| may_be_scoped && url.value.contains(SCOPE));
    let base_url = url.and_then(|url| base_url(&url, allow_private, is_scoped, outside, problems));
    let ca = table.text("ca").and_then(|written| outside.text("ca", &written, problems));
    let credentials = credentials(table, outside);
    if let (Some(file), Some(credentials)) = (&file, &credentials) {
        check_credentials(&file.value, credentials, problems);
    }
    let limits = limits(table, file.as_ref().map(|file| file.value.limits()));
    let settings = match (base_url, credentials) {
        (Some(base_url), Some(credentials)) if problems.len() == before => {
            let mut settings = HttpSettings::new(base_url);
            settings.credentials = credentials.credentials;
            settings.allow_private = allow_private;
            settings.pinned_ca = ca;
            Some(settings)
        }
        (Some(_) | None, Some(_) | None) => None,
    };
    let mut said = Said::of(table);
    said.add("connector", digest.map_or(Digest([0; 16]), |digest| digest));
    HttpSide { span: table.span(), file, settings, limits, is_scoped, said }
}

fn base_url(
    url: &Located<String>,
    allow_private: bool,
    is_scoped: bool,
    outside: &Outside<'_>,
    problems: &Problems,
) -> Option<String> {
    let filled = fill("base_url", url, outside, problems)?;
    if is_scoped && !scope_is_in_path(&filled.text) {
        let help = "write it as a part of the path: https://api.example.com/accounts/{scope}";
        problems.add_with_help(url.span.clone(), "'{scope}' must be a whole segment of the path", help);
        return None;
    }
    let example = if is_scoped { with_scope(&filled.text, "scope") } else { filled.text.clone() };
    let mut settings = HttpSettings::new(example);
    settings.allow_private = allow_private;
    let Some(problem) = settings.base_url_problem() else { return Some(filled.text) };
    if filled.is_repeated_in(&problem.message) {
        // What was filled in may be a secret.
        let help = "check the variables in it; it must be an https URL without user, '?' and '#'";
        problems.add_with_help(url.span.clone(), "'base_url' cannot be used as it is filled in", help);
    } else {
        problems.add(url.span.clone(), format!("'base_url' cannot be used: {}", problem.message));
    }
    None
}

/// Whether each place for the scope is a whole segment behind the host, so that no
/// scope can change which host is called or reach a neighbour's path.
fn scope_is_in_path(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    !host.contains(SCOPE) && path.split('/').all(|segment| segment == SCOPE || !segment.contains(SCOPE))
}

fn with_scope(url: &str, scope: &str) -> String {
    url.replace(SCOPE, &utf8_percent_encode(scope, SEGMENT).to_string())
}

/// Credentials with the word they were given by and their place.
struct Given {
    word: Option<&'static str>,
    span: Range<usize>,
    credentials: Credentials,
}

/// Reads `auth`; without it there are none, said to stand at the table's heading.
fn credentials(table: &Table<'_>, outside: &Outside<'_>) -> Option<Given> {
    let Some(item) = table.item("auth") else {
        return Some(Given { word: None, span: table.span(), credentials: Credentials::None });
    };
    let (auth, span) = (table.table("auth")?, item.span());
    let bearer = auth.item("bearer").map(|_| "bearer");
    let key = auth.item("key").map(|_| "key");
    let basic = auth.item("basic").map(|_| "basic");
    let client = auth.item("client").map(|_| "client");
    let jwt = auth.item("jwt").map(|_| "jwt");
    let given: Vec<&'static str> = [bearer, key, basic, client, jwt].into_iter().flatten().collect();
    let problems = table.problems();
    let before = problems.len();
    let credentials = match given[..] {
        ["basic"] => auth.table("basic").and_then(|basic| basic_credentials(basic, outside)),
        ["client"] => auth.table("client").and_then(|client| client_credentials(client, outside)),
        ["jwt"] => auth.table("jwt").and_then(|jwt| jwt_credentials(jwt, outside)),
        [word] => secret(&auth, word, outside).map(Credentials::Token),
        [] => None,
        [..] => {
            let message = format!("'auth' holds {}, but a connection has one kind of credentials", given.join(" and "));
            problems.add_with_help(span.clone(), message, "keep one of them");
            None
        }
    };
    auth.finish();
    if given.is_empty() && problems.len() == before {
        let help = "write { bearer = \"${TOKEN}\" }, { key = \"${KEY}\" }, { basic = { user = \"...\", password = \"${PASSWORD}\" } }, { client = { id = \"...\", secret = \"${SECRET}\" } } or { jwt = { issuer = \"...\", key = \"${file:key.pem}\" } }";
        problems.add_with_help(span.clone(), "'auth' is empty", help);
    }
    Some(Given { word: given.first().copied(), span, credentials: credentials? })
}

fn basic_credentials(basic: Table<'_>, outside: &Outside<'_>) -> Option<Credentials> {
    let user = non_empty(&basic, "user").and_then(|user| fill("user", &user, outside, basic.problems()));
    let password = secret(&basic, "password", outside);
    basic.finish();
    Some(Credentials::Basic { user: user?.text, password: password? })
}

fn client_credentials(client: Table<'_>, outside: &Outside<'_>) -> Option<Credentials> {
    let problems = client.problems();
    let id = non_empty(&client, "id").and_then(|id| fill("id", &id, outside, problems));
    let secret = secret(&client, "secret", outside);
    let url = token_url(&client, outside);
    client.finish();
    Some(Credentials::Client { id: id?.text, secret: secret?, url: url? })
}

fn jwt_credentials(jwt: Table<'_>, outside: &Outside<'_>) -> Option<Credentials> {
    let filled = |key: &str| {
        let text = jwt.item(key).and_then(|_| non_empty(&jwt, key))?;
        Some(fill(key, &text, outside, jwt.problems())?.text)
    };
    let issuer = non_empty(&jwt, "issuer").and_then(|issuer| fill("issuer", &issuer, outside, jwt.problems()));
    let key = secret(&jwt, "key", outside);
    let (subject, key_id) = (filled("subject"), filled("key_id"));
    let url = token_url(&jwt, outside);
    jwt.finish();
    Some(Credentials::Jwt { issuer: issuer?.text, subject, key: key?, key_id, url: url? })
}

/// Where a connection's tokens are fetched, where it says so.
fn token_url(table: &Table<'_>, outside: &Outside<'_>) -> Option<Option<String>> {
    if table.item("url").is_none() {
        return Some(None);
    }
    let url = non_empty(table, "url")?;
    let filled = fill("url", &url, outside, table.problems())?;
    if !filled.text.starts_with("https://") {
        let help = "write an https URL, or a path of the API in the connector file";
        table.problems().add_with_help(url.span, "the 'url' at which tokens are fetched must be an https URL", help);
    }
    Some(Some(filled.text))
}

/// A secret at a key that is there; a warning when it stands in the file itself.
pub(super) fn secret(table: &Table<'_>, key: &str, outside: &Outside<'_>) -> Option<SecretString> {
    let text = non_empty(table, key)?;
    let filled: Filled = fill(key, &text, outside, table.problems())?;
    if filled.is_literal() {
        let help = "write \"${NAME}\" and set that environment variable, or \"${file:PATH}\"";
        outside.warnings.add_with_help(text.span, format!("'{key}' is a secret that stands in this file"), help);
    }
    Some(filled.text.into())
}

/// A list of secrets at a key that is there.
pub(super) fn secrets(table: &Table<'_>, key: &str, outside: &Outside<'_>) -> Option<Vec<SecretString>> {
    let mut secrets = Vec::new();
    for text in table.texts(key)? {
        let filled: Filled = fill(key, &text, outside, table.problems())?;
        if filled.is_literal() {
            let help = "write \"${NAME}\" and set that environment variable, or \"${file:PATH}\"";
            outside.warnings.add_with_help(text.span, format!("'{key}' holds a secret that stands in this file"), help);
        }
        secrets.push(filled.text.into());
    }
    Some(secrets)
}

/// Whether the credentials are of the kind that the connector file declares.
fn check_credentials(file: &HttpConnectorFile, given: &Given, problems: &Problems) {
    let kind = file.auth_kind();
    let wanted = match kind {
        Some("bearer") => "auth = { bearer = \"${TOKEN}\" }",
        Some("header" | "query") => "auth = { key = \"${KEY}\" }",
        Some("basic" | "session") => "auth = { basic = { user = \"...\", password = \"${PASSWORD}\" } }",
        Some("jwt_bearer") => "auth = { jwt = { issuer = \"...\", key = \"${file:key.pem}\" } }",
        Some("client_credentials") => "auth = { client = { id = \"...\", secret = \"${SECRET}\" } }",
        Some(_) => "no 'auth'",
        None => "auth = { bearer = \"${TOKEN}\" }, or declare [auth] in the connector file",
    };
    let fits = match given.word {
        Some("bearer") => matches!(kind, None | Some("bearer")),
        Some("key") => matches!(kind, Some("header" | "query")),
        Some("basic") => matches!(kind, None | Some("basic" | "session")),
        Some("client") => matches!(kind, Some("client_credentials")),
        Some("jwt") => matches!(kind, Some("jwt_bearer")),
        // None may be enough: that is for the connector to say.
        Some(_) | None => true,
    };
    let name = shown(file.name());
    if !fits {
        let word = given.word.unwrap_or_default();
        let message = match kind {
            Some(kind) => format!("'{word}' does not fit connector '{name}', which declares auth kind '{kind}'"),
            None => format!("'{word}' does not fit connector '{name}', which does not say where it goes"),
        };
        problems.add_with_help(given.span.clone(), message, format!("write {wanted}"));
    } else if let Some(problem) = file.credentials_problem(&given.credentials) {
        let message = format!("'auth' does not fit connector '{name}': {}", problem.message);
        problems.add_with_help(given.span.clone(), message, format!("write {wanted}"));
    }
}

/// The limits declared here; what is not declared is the connector file's.
fn limits(table: &Table<'_>, of_file: Option<&Limits>) -> Limits {
    let mut limits = of_file.cloned().unwrap_or_default();
    if table.item("limits").is_some() {
        limits.windows = table.tables("limits").into_iter().filter_map(required_window).collect();
    }
    if let Some(concurrency) = table.integer("concurrency") {
        limits.concurrency = bounded(&concurrency, "concurrency", 1, 1_000, table.problems()).unwrap_or(1);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_segment_of_the_path_whatever_it_holds() {
        for (url, fits) in [
            ("https://api.example.com/a/{scope}", true),
            ("https://api.example.com/{scope}/v1", true),
            ("https://{scope}.example.com/", false),
            ("https://{scope}", false),
            ("https://api.example.com/a-{scope}", false),
            ("{scope}", false),
        ] {
            assert_eq!(scope_is_in_path(url), fits, "{url}");
        }
        let url = with_scope("https://api.example.com/{scope}/v1", "a/b?c#d é");
        assert_eq!(url, "https://api.example.com/a%2Fb%3Fc%23d%20%C3%A9/v1");
    }
}
