//! `[auth]` of a connector file.

use crate::model::document::Table;
use crate::model::path::Path;
use crate::model::value::Value;

use super::fields::{endpoint_at, header_name, pairs, path, set_content_type, sub, word};
use super::guard::url_problem;
use super::jwt::{Algorithm, OWN_CLAIMS};
use super::session::{Login, Sent, SessionSpec, TokenPlace};
use super::spec::{AuthKind, Piece};
use super::transport::Method;

#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthWord {
    None,
    Bearer,
    Basic,
    Header,
    Query,
    Client,
    Jwt,
    Session,
}

const WORDS: [(&str, AuthWord); 8] = [
    ("none", AuthWord::None),
    ("bearer", AuthWord::Bearer),
    ("basic", AuthWord::Basic),
    ("header", AuthWord::Header),
    ("query", AuthWord::Query),
    ("client_credentials", AuthWord::Client),
    ("jwt_bearer", AuthWord::Jwt),
    ("session", AuthWord::Session),
];

/// `auth = "bearer"`, or a table where more is to be said.
pub(super) fn auth_of(top: &Table<'_>) -> Option<AuthKind> {
    let item = top.item("auth")?;
    if item.text().is_err() {
        return sub(top, "auth", "auth").and_then(auth);
    }
    match word(top, "auth", &WORDS)? {
        AuthWord::None => Some(AuthKind::None),
        AuthWord::Bearer => Some(AuthKind::Bearer),
        AuthWord::Basic => Some(AuthKind::Basic),
        AuthWord::Header | AuthWord::Query => {
            let help = "for example auth = { kind = \"header\", name = \"X-Key\" }";
            top.problems().add_with_help(item.span(), "the name of what holds the key is missing in 'auth'", help);
            None
        }
        AuthWord::Client | AuthWord::Jwt | AuthWord::Session => {
            let help = "for example auth = { kind = \"client_credentials\", url = \"/oauth/token\" }";
            top.problems().add_with_help(item.span(), "how a token is fetched is missing in 'auth'", help);
            None
        }
    }
}

fn auth(table: Table<'_>) -> Option<AuthKind> {
    if table.item("kind").is_none() {
        table.problems().add(table.span(), "'kind' is missing in [auth]");
    }
    let Some(word) = word(&table, "kind", &WORDS) else {
        table.finish_undecided();
        return None;
    };
    let kind = match word {
        AuthWord::None => AuthKind::None,
        AuthWord::Bearer => AuthKind::Bearer,
        AuthWord::Basic => AuthKind::Basic,
        AuthWord::Header => AuthKind::Header {
            name: table.required_text("name").and_then(|_| header_name(&table, "name")).unwrap_or_default(),
            prefix: table.text("prefix").map(|prefix| prefix.value).unwrap_or_default(),
        },
        AuthWord::Query => {
            AuthKind::Query { name: table.required_text("name").map(|name| name.value).unwrap_or_default() }
        }
        AuthWord::Client => AuthKind::Fetched(Box::new(client(&table))),
        AuthWord::Jwt => AuthKind::Fetched(Box::new(jwt(&table))),
        AuthWord::Session => AuthKind::Fetched(Box::new(session(&table))),
    };
    table.finish();
    Some(kind)
}

/// `kind = "client_credentials"`
fn client(table: &Table<'_>) -> SessionSpec {
    let login = Login::Client {
        url: url(table),
        scope: table.text("scope").map(|scope| scope.value),
        in_body: word(table, "client", &[("basic", false), ("body", true)]).unwrap_or(false),
        params: pairs(table, "params"),
    };
    granted(table, login)
}

/// `kind = "jwt_bearer"`
fn jwt(table: &Table<'_>) -> SessionSpec {
    let login = Login::Assertion {
        url: url(table),
        audience: table.text("audience").map(|audience| audience.value),
        scope: table.text("scope").map(|scope| scope.value),
        algorithm: word(table, "algorithm", &[("RS256", Algorithm::Rs256), ("ES256", Algorithm::Es256)])
            .unwrap_or(Algorithm::Rs256),
        claims: claims(table),
        params: pairs(table, "params"),
    };
    granted(table, login)
}

/// Further claims of an assertion.
fn claims(table: &Table<'_>) -> Vec<(String, String)> {
    let Some(entries) = table.table("claims") else { return Vec::new() };
    let mut claims = Vec::new();
    for (name, item) in entries.all() {
        if OWN_CLAIMS.contains(&name.value.as_str()) {
            let help = "'audience' sets aud; the connection sets iss and sub; times and id make themselves";
            let message = format!("'{}' is none of the further claims", name.value);
            table.problems().add_with_help(name.span, message, help);
            continue;
        }
        match item.text() {
            Ok(text) => claims.push((name.value, text.value)),
            Err(wanted) => table.problems().add(item.span(), format!("'{}' must be {wanted}", name.value)),
        }
    }
    claims
}

/// What is granted a token by OAuth 2.0.
fn granted(table: &Table<'_>, login: Login) -> SessionSpec {
    let token = path(table, "token").unwrap_or_else(|| Path::key("access_token"));
    SessionSpec { login, token: TokenPlace::Path(token), sent: Sent::Bearer, life_ms: life(table) }
}

/// Where tokens are fetched.
fn url(table: &Table<'_>) -> String {
    let url = table.required_text("url");
    if let Some(url) = &url
        && let Some(problem) = url_mistake(&url.value)
    {
        let help = "a path of the API, such as /oauth/token, or a whole URL";
        table.problems().add_with_help(url.span.clone(), format!("'url' {problem}"), help);
    }
    url.map(|url| url.value).unwrap_or_default()
}

/// What is wrong with the address of tokens, if anything.
fn url_mistake(text: &str) -> Option<String> {
    if text.starts_with('/') {
        return text.contains(['?', '#', ' ']).then(|| "holds what no path may hold".to_owned());
    }
    match url::Url::parse(text) {
        Ok(url) => url_problem(&url, true).map(|problem| format!("cannot be used: {problem}")),
        Err(error) => Some(format!("is neither a path nor a URL: {error}")),
    }
}

/// `kind = "session"`
fn session(table: &Table<'_>) -> SessionSpec {
    if table.item("post").is_none() {
        table.problems().add_with_help(table.span(), "'post' is missing in [auth]", "post = \"/login\"");
    }
    let mut endpoint = endpoint_at(table, "post", Method::Post);
    if !endpoint.path.0.iter().all(|piece| matches!(piece, Piece::Text(_))) && table.item("post").is_some() {
        let span = table.item("post").map_or(table.span(), |item| item.span());
        table.problems().add(span, "'post' of [auth] names no record: it has no {id}");
    }
    set_content_type(table, &mut endpoint);
    let problem = |key: &str, message: &str, help: &str| {
        let span = table.item(key).map_or(table.span(), |item| item.span());
        table.problems().add_with_help(span, message, help);
    };
    let example = "body = { user = \"{user}\", password = \"{password}\" }";
    let body = match table.item("body") {
        None => {
            problem("body", "'body' is missing in [auth]", example);
            Value::Null
        }
        Some(item) => match item.value() {
            Ok(body) if holds(&body, "{password}") => body,
            Ok(body) => {
                problem("body", "'body' holds no \"{password}\"", example);
                body
            }
            Err(wanted) => {
                problem("body", &format!("'body' must be {wanted}"), example);
                Value::Null
            }
        },
    };
    let (token, header) = (path(table, "token"), header_name(table, "token_header"));
    let token = match (token, header) {
        (Some(_), Some(_)) => {
            problem("token_header", "'token_header' beside 'token': the token stands in one of them", "keep one");
            TokenPlace::Header(String::new())
        }
        (Some(path), None) => TokenPlace::Path(path),
        (None, Some(header)) => TokenPlace::Header(header),
        (None, None) => TokenPlace::Path(Path::key("token")),
    };
    let sent = word(table, "sent", &[("header", 1), ("cookie", 2)]).unwrap_or(0);
    let name = header_name(table, "name");
    let prefix = table.text("prefix").map(|prefix| prefix.value);
    if sent != 0 && table.item("name").is_none() {
        problem("sent", "'name' is missing: of the header or the cookie", "name = \"X-Token\"");
    }
    if sent == 0 && table.item("name").is_some() {
        problem("name", "'name' needs sent = \"header\" or sent = \"cookie\"", "take it away");
    }
    if sent != 1 && prefix.is_some() {
        problem("prefix", "'prefix' is for sent = \"header\"", "take it away");
    }
    let name = name.unwrap_or_default();
    let sent = match sent {
        1 => Sent::Header { name, prefix: prefix.unwrap_or_default() },
        2 => Sent::Cookie { name },
        _ => Sent::Bearer,
    };
    SessionSpec { login: Login::Password { endpoint, body }, token, sent, life_ms: life(table) }
}

fn life(table: &Table<'_>) -> Option<u64> {
    table.duration_ms("life").map(|life| life.value)
}

fn holds(body: &Value, name: &str) -> bool {
    super::compose::holds(body, name)
}
