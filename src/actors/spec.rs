//! What a connection is made of, as given by the configuration or a host program.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::connectors::webhook::payload::WebhookSpec;
use crate::connectors::webhook::signature::{MOST_SECRETS, Scheme};
use crate::connectors::{Calls, ConnectorFactory};
use crate::model::budget::Limits;
use crate::model::direction::Direction;
use crate::model::document::{DocumentError, Problems, Table, parse};
use crate::model::ids::{ConnectionId, ObjectName, Scope, SyncName};
use crate::model::schedule::Schedule;
use crate::model::side::{PerSide, Side};
use crate::reconcile::mapping::Mapping;
use crate::reconcile::merge::Initial;
use crate::reconcile::schema::{RecordSchema, Schemas};
use crate::reconcile::spec::MappingSpec;

/// One sync as declared; the same for all connections it applies to.
#[derive(Debug, Clone)]
pub struct SyncSpec {
    /// Its name, unique in the kernel.
    pub name: SyncName,
    /// The object on each side.
    pub objects: PerSide<ObjectName>,
    /// Which way changes go.
    pub direction: Direction,
    /// The field rules.
    pub mapping: Mapping,
    /// Who wins where a paired record differs and never agreed; `None` for the owner's
    /// value, `tie` where shared.
    pub initial: Option<Initial>,
    /// Who wins where nothing else decides.
    pub tie: Side,
    /// When it runs by itself; `None` for only when asked.
    pub schedule: Option<Schedule>,
    /// What its records must be before they are written.
    pub schemas: Schemas,
}

impl SyncSpec {
    /// A sync between an object of your app and one of the connected app, run when
    /// asked. `rules` is TOML text with the keys `match`, `filter` and `fields`, as they
    /// stand in a configuration file.
    ///
    /// # Errors
    /// With everything that is wrong with the rules, each with its line.
    pub fn parse(
        name: impl Into<SyncName>,
        app: impl Into<ObjectName>,
        remote: impl Into<ObjectName>,
        direction: Direction,
        rules: &str,
    ) -> Result<Self, DocumentError> {
        let name = name.into();
        let problems = Problems::new();
        let document = parse(rules, &problems);
        let top = Table::top(&document, &problems);
        let declared = MappingSpec::parse(&top);
        top.finish();
        match declared.and_then(|declared| Mapping::compile(&declared, &problems, direction)) {
            Some(mapping) if problems.is_empty() => Ok(Self {
                name,
                objects: PerSide { app: app.into(), remote: remote.into() },
                direction,
                mapping,
                initial: None,
                tie: Side::App,
                schedule: None,
                schemas: Schemas::default(),
            }),
            Some(_) | None => {
                Err(DocumentError::new(&format!("the rules of sync '{name}'"), rules, problems.into_sorted()))
            }
        }
    }

    /// Holds back what is not as a JSON Schema wants it, in your app's form, before it is written
    /// to either side.
    ///
    /// # Errors
    /// What is wrong with the schema, or that the program was built without the feature
    /// `json-schema`.
    pub fn checked_by(mut self, schema: &str) -> Result<Self, String> {
        self.schemas.both = Some(RecordSchema::compile(schema)?);
        Ok(self)
    }

    /// Runs it by the clock, too.
    #[must_use]
    pub fn scheduled(self, schedule: Schedule) -> Self {
        Self { schedule: Some(schedule), ..self }
    }
}

/// One customer's authorised account at a connected app.
#[derive(Clone)]
pub struct ConnectionSpec {
    /// Its name, unique in the kernel.
    pub id: ConnectionId,
    /// This customer's records on your side.
    pub scope: Option<Scope>,
    /// What talks to each side.
    pub connectors: PerSide<Arc<dyn ConnectorFactory>>,
    /// How much each side may be called.
    pub limits: PerSide<Limits>,
    /// A budget for your app's API that is shared by several connections, instead of
    /// the app limits above.
    pub shared_app_calls: Option<Calls>,
    /// What is kept in agreement.
    pub syncs: Vec<Arc<SyncSpec>>,
    /// Where the connected app's webhooks come in.
    pub webhook: Option<Webhook>,
    /// It is added paused.
    pub paused: bool,
}

/// Where a connected app's webhooks for one connection come in.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// What stands at the end of the URL, and nobody can guess.
    pub path: SecretString,
    /// Where the app reaches the scope with the route `/webhooks/{path}`, without a slash
    /// at the end: for schemes that sign the URL.
    pub base_url: String,
    /// The live secrets, several while one takes the place of another.
    pub secrets: Vec<SecretString>,
    /// The account that events of this connection name, where several share a path.
    pub account: Option<String>,
    /// How deliveries are known and read.
    pub spec: Arc<WebhookSpec>,
}

/// The shortest path that counts as one that nobody can guess, in bytes: 96 bits in
/// base64.
pub const LEAST_PATH_BYTES: usize = 16;

impl Webhook {
    /// The whole URL as the app knows it. It holds the path, so it is not for logs.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/webhooks/{}", self.base_url, self.path.expose_secret())
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let path = self.path.expose_secret();
        if path.len() < LEAST_PATH_BYTES {
            return Some(format!("its path has fewer than {LEAST_PATH_BYTES} characters, so it can be guessed"));
        }
        if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            return Some("its path may hold letters, digits, '-', '.', '_' and '~' only".to_owned());
        }
        let scheme = &self.spec.scheme;
        if self.secrets.is_empty() && *scheme != Scheme::Unsigned {
            return Some("it has no secret, so nobody could show that a delivery is genuine".to_owned());
        }
        if self.secrets.len() > MOST_SECRETS {
            return Some(format!("it has more than {MOST_SECRETS} secrets"));
        }
        if *scheme == Scheme::Unsigned && !self.secrets.is_empty() {
            return Some("its connector declares no signature, so a secret would not be asked for".to_owned());
        }
        self.secrets.iter().find_map(|secret| Some(format!("a secret of it {}", scheme.secret_problem(secret)?)))
    }
}

impl ConnectionSpec {
    /// A connection between your app and a connected app, with the default limits and
    /// without syncs.
    #[must_use]
    pub fn new(
        id: impl Into<ConnectionId>,
        app: impl ConnectorFactory + 'static,
        remote: impl ConnectorFactory + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            scope: None,
            connectors: PerSide { app: Arc::new(app), remote: Arc::new(remote) },
            limits: PerSide::default(),
            shared_app_calls: None,
            syncs: Vec::new(),
            webhook: None,
            paused: false,
        }
    }

    /// Keeps this in agreement.
    #[must_use]
    pub fn sync(mut self, sync: SyncSpec) -> Self {
        self.syncs.push(Arc::new(sync));
        self
    }

    /// Takes the connected app's webhooks.
    #[must_use]
    pub fn webhook(self, webhook: Webhook) -> Self {
        Self { webhook: Some(webhook), ..self }
    }

    /// Only these of your app's records are this customer's.
    #[must_use]
    pub fn scope(self, scope: impl Into<Scope>) -> Self {
        Self { scope: Some(scope.into()), ..self }
    }
}

impl fmt::Debug for ConnectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSpec")
            .field("id", &self.id)
            .field("scope", &self.scope)
            .field("syncs", &self.syncs.iter().map(|sync| &sync.name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_rules_are_told_all_at_once_with_their_lines() {
        let rules = "match = [\"mail\"]\n[fields]\nemail = { remote = \"email\", owner = \"nobody\" }\n";
        let error = SyncSpec::parse("people", "people", "contacts", Direction::TwoWay, rules).map(|_| ()).unwrap_err();
        assert_eq!(error.lines.len(), 2, "{error}");
        assert!(error.lines.iter().all(|line| line.starts_with("the rules of sync 'people':")), "{error}");
        let rules = "match = [\"email\"]\n[fields]\nemail = \"email\"\n";
        assert!(SyncSpec::parse("people", "people", "contacts", Direction::TwoWay, rules).is_ok());
    }
}
