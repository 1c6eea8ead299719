//! Checks the tables of a configuration against each other and against the connector
//! files, and builds the connections from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::declared::{Connection, DeclaredWebhook, Sync};
use super::files::Outside;
use super::http::HttpSide;
use super::keys::{shown, unknown};
use super::{AppSide, ConfiguredConnection, HttpSideFactory, Receive};
use crate::actors::spec::{SyncSpec, Webhook};
use crate::connectors::http::{HttpConnectorFile, HttpFactory, HttpSettings};
use crate::model::budget::Limits;
use crate::model::document::{Located, Problems, line_and_column};
use crate::model::hash::Digest;
use crate::model::ids::{ConnectionId, ObjectName, Scope, SyncNo};
use crate::model::side::{PerSide, Side};
use crate::reconcile::mapping::Mapping;
use crate::reconcile::reference::{Unbound, bind};

/// The scope of the only connection to the embedded store, where it names none.
const DEFAULT_SCOPE: &str = "default";

/// All tables of a configuration, as far as they could be read.
pub(super) struct Declared<'d> {
    pub text: &'d str,
    /// `None` for the embedded store.
    pub app: Option<HttpSide>,
    pub receive: Option<Receive>,
    /// Whether `[receive]` is there, readable or not.
    pub has_receive: bool,
    /// Connector files for connections that are added while it runs.
    pub connectors: Vec<Located<Arc<HttpConnectorFile>>>,
    pub connections: Vec<Connection>,
    pub syncs: Vec<Sync>,
}

impl Declared<'_> {
    /// Notes everything that does not fit together; the connections when nothing is
    /// wrong, and for each sync the name of its connector.
    pub fn check(&self, problems: &Problems, outside: &Outside<'_>) -> Option<Checked> {
        let checker = Checker { declared: self, problems, outside };
        checker.unique("connection", self.connections.iter().filter_map(|connection| connection.id.as_ref()));
        checker.unique("sync", self.syncs.iter().filter_map(|sync| sync.name.as_ref()));
        checker.connector_names();
        let connectors: Vec<Option<&str>> = self.syncs.iter().map(|sync| checker.connector_of(sync)).collect();
        let mut syncs: Vec<Vec<&Sync>> = self.connections.iter().map(|_| Vec::new()).collect();
        for (sync, connector) in self.syncs.iter().zip(&connectors) {
            let Some(connector) = connector else { continue };
            for at in checker.applies_to(sync, connector) {
                syncs[at].push(sync);
            }
            checker.objects(sync, connector);
        }
        checker.chosen_syncs(&mut syncs);
        checker.overrides(&syncs);
        for (connection, syncs) in self.connections.iter().zip(&syncs) {
            let id = connection.id.as_ref().map_or("", |id| id.value.as_str());
            checker.rivals(&format!("connection '{}'", shown(id)), syncs);
        }
        checker.references(&syncs);
        for connector in &self.connectors {
            let name = connector.value.name();
            let all = self.syncs.iter().zip(&connectors);
            let for_all = all.filter(|(sync, of)| **of == Some(name) && sync.connections.is_none());
            let for_all: Vec<&Sync> = for_all.map(|(sync, _)| sync).collect();
            checker.rivals(&format!("connector '{}'", shown(name)), &for_all);
        }
        checker.scopes(self.connections.len() == 1);
        let configured = checker.connections(&syncs)?;
        let connectors = connectors.into_iter().map(|name| name.map(str::to_owned)).collect();
        Some((configured, connectors))
    }

    /// The same for connections that are added to a configuration which was checked: its syncs
    /// apply to them by their connector.
    pub fn check_added(
        &self,
        connectors: &[Option<String>],
        problems: &Problems,
        outside: &Outside<'_>,
    ) -> Option<Vec<ConfiguredConnection>> {
        let checker = Checker { declared: self, problems, outside };
        checker.unique("connection", self.connections.iter().filter_map(|connection| connection.id.as_ref()));
        let syncs_of = |connection: &Connection| {
            let name = connection.remote.file.as_ref().map(|file| file.value.name());
            let all = self.syncs.iter().zip(connectors);
            let of_it = all.filter(|(sync, of)| name.is_some() && of.as_deref() == name && sync.connections.is_none());
            of_it.map(|(sync, _)| sync).collect()
        };
        let mut syncs: Vec<Vec<&Sync>> = self.connections.iter().map(syncs_of).collect();
        checker.chosen_syncs(&mut syncs);
        checker.overrides(&syncs);
        checker.references(&syncs);
        checker.scopes(false);
        checker.connections(&syncs)
    }
}

/// Connections, and for each sync the name of its connector.
type Checked = (Vec<ConfiguredConnection>, Vec<Option<String>>);

fn name_of(sync: &Sync) -> &str {
    sync.name.as_ref().map_or("", |name| name.value.as_str())
}

struct Checker<'c> {
    declared: &'c Declared<'c>,
    problems: &'c Problems,
    outside: &'c Outside<'c>,
}

impl<'c> Checker<'c> {
    fn line(&self, span: &Range<usize>) -> usize {
        line_and_column(self.declared.text, span.start).0
    }

    fn unique<'n>(&self, what: &str, names: impl Iterator<Item = &'n Located<String>>) {
        let mut seen: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
        for name in names {
            match seen.get(name.value.as_str()) {
                Some(first) => {
                    let line = self.line(first);
                    let message = format!("{what} '{}' stands in line {line} already", shown(&name.value));
                    self.problems.add_with_help(name.span.clone(), message, "give each its own name");
                }
                None => {
                    seen.insert(&name.value, &name.span);
                }
            }
        }
    }

    fn files(&self) -> impl Iterator<Item = &'c Located<Arc<HttpConnectorFile>>> + Clone {
        let of_connections = self.declared.connections.iter().filter_map(|connection| connection.remote.file.as_ref());
        of_connections.chain(&self.declared.connectors)
    }

    /// A sync says by name which connector it is for, so a name may stand for one file
    /// only.
    fn connector_names(&self) {
        let mut seen: BTreeMap<&str, &Located<Arc<HttpConnectorFile>>> = BTreeMap::new();
        for file in self.files() {
            let first = seen.entry(file.value.name()).or_insert(file);
            if !Arc::ptr_eq(&first.value, &file.value) {
                let (name, line) = (shown(file.value.name()), self.line(&first.span));
                let message = format!("this connector file is named '{name}', as another one is, in line {line}");
                self.problems.add_with_help(file.span.clone(), message, "give each connector file its own name");
            }
        }
    }

    /// Positions of the connections that a sync applies to.
    fn applies_to(&self, sync: &Sync, connector: &str) -> Vec<usize> {
        let of_connector = |connection: &Connection| {
            connection.remote.file.as_ref().is_some_and(|file| file.value.name() == connector)
        };
        let all = self.declared.connections.iter().enumerate();
        let Some(chosen) = &sync.connections else {
            return all.filter(|(_, connection)| of_connector(connection)).map(|(at, _)| at).collect();
        };
        if chosen.value.is_empty() {
            let help = "name at least one, or take 'connections' away for all of the connector";
            self.problems.add_with_help(chosen.span.clone(), "'connections' is empty: the sync applies to none", help);
        }
        let mut applied = Vec::new();
        for id in &chosen.value {
            let named = |connection: &Connection| connection.id.as_ref().is_some_and(|known| known.value == id.value);
            match self.declared.connections.iter().position(named) {
                Some(at) if of_connector(&self.declared.connections[at]) => applied.push(at),
                // A connection whose connector file is wrong is told of there.
                Some(at) if self.declared.connections[at].remote.file.is_none() => {}
                Some(_) => {
                    let message =
                        format!("connection '{}' is not of connector '{}'", shown(&id.value), shown(connector));
                    self.problems.add_with_help(id.span.clone(), message, "a sync is for one connector");
                }
                None => {
                    let known = self.declared.connections.iter().filter_map(|connection| connection.id.as_ref());
                    let message = format!("there is no connection '{}'", shown(&id.value));
                    unknown(id, message, known.map(|id| id.value.as_str()), self.problems);
                }
            }
        }
        applied
    }

    /// Name of the connector a sync is for: as it says, or the only one there is.
    fn connector_of(&self, sync: &Sync) -> Option<&'c str> {
        let mut names: Vec<&'c str> = self.files().map(|file| file.value.name()).collect();
        names.sort_unstable();
        names.dedup();
        // One that is wrong or missing is told of at its connection.
        let are_known = self.declared.connections.iter().all(|connection| connection.remote.file.is_some());
        match (&sync.connector, &names[..]) {
            (Some(wanted), _) => {
                let known = names.iter().find(|name| **name == wanted.value);
                if known.is_none() && are_known && !names.is_empty() {
                    let all = names.join(", ");
                    let message = format!("there is no connector '{}'; there is: {all}", shown(&wanted.value));
                    unknown(wanted, message, names.iter().copied(), self.problems);
                }
                known.copied()
            }
            (None, [only]) if are_known => Some(only),
            (None, [_, _, ..]) => {
                let help = format!("write connector = \"{}\", the name in one of the connector files", names[0]);
                let message = "'connector' is missing in [sync], and there are several";
                self.problems.add_with_help(sync.span.clone(), message, help);
                None
            }
            (None, [] | [_]) => None,
        }
    }

    /// Leaves each connection those of its syncs that it chooses.
    fn chosen_syncs(&self, syncs: &mut [Vec<&'c Sync>]) {
        for (connection, syncs) in self.declared.connections.iter().zip(syncs) {
            self.is_used(connection, syncs);
            let Some(chosen) = &connection.syncs else { continue };
            for name in &chosen.value {
                if connection.remote.file.is_some() && !syncs.iter().any(|sync| name_of(sync) == name.value) {
                    let message = format!("no sync '{}' applies to this connection", shown(&name.value));
                    unknown(name, message, syncs.iter().map(|sync| name_of(sync)), self.problems);
                }
            }
            if chosen.value.is_empty() {
                let help = "name at least one, or take 'syncs' away for all that apply";
                self.problems.add_with_help(chosen.span.clone(), "'syncs' is empty: nothing is synced", help);
            }
            syncs.retain(|sync| chosen.value.iter().any(|name| name.value == name_of(sync)));
        }
    }

    /// What connections say about fields must be about syncs that apply to them, and allowed
    /// there.
    fn overrides(&self, syncs: &[Vec<&Sync>]) {
        for (connection, syncs) in self.declared.connections.iter().zip(syncs) {
            for fields in &connection.fields {
                let name = &fields.sync.value;
                let Some(sync) = syncs.iter().find(|sync| name_of(sync) == name) else {
                    if connection.remote.file.is_some() {
                        let message = format!("no sync '{}' applies to this connection", shown(name));
                        unknown(&fields.sync, message, syncs.iter().map(|sync| name_of(sync)), self.problems);
                    }
                    continue;
                };
                let Some(rules) = &sync.rules else { continue };
                fields.overrides.check(&shown(name), rules, sync.overrides.as_ref(), self.problems);
            }
        }
    }

    /// The sync as it is for a connection.
    fn spec_for(&self, connection: &Connection, sync: &Sync) -> Option<Arc<SyncSpec>> {
        let spec = sync.spec.as_ref()?;
        let Some(fields) = connection.fields.iter().find(|fields| fields.sync.value == name_of(sync)) else {
            return Some(Arc::clone(spec));
        };
        let rules = sync.rules.as_ref()?;
        sync.variants.get(fields.said, || {
            let mapping = Mapping::compile(&rules.overridden(&fields.overrides), self.problems, spec.direction)?;
            Some(SyncSpec { mapping, ..SyncSpec::clone(spec) })
        })
    }

    /// A sync is for one connector.
    fn objects(&self, sync: &Sync, connector: &str) {
        let remote = self.files().find(|file| file.value.name() == connector);
        let app = self.declared.app.as_ref().and_then(|app| app.file.as_ref());
        for (side, file) in [(Side::App, app), (Side::Remote, remote)] {
            if let Some(file) = file {
                self.object(&file.value, side, sync);
            }
        }
    }

    fn is_used(&self, connection: &Connection, syncs: &[&Sync]) {
        if let (true, Some(id)) = (syncs.is_empty(), &connection.id) {
            let message = format!("no sync applies to connection '{}'", shown(&id.value));
            self.outside.warnings.add(id.span.clone(), message);
        }
    }

    /// Whether a connector file has a sync's object of a side, and its writes where the
    /// sync writes there.
    fn object(&self, file: &HttpConnectorFile, side: Side, sync: &Sync) {
        let Some(object) = &sync.objects[side] else { return };
        let (name, connector) = (shown(object.value.as_str()), shown(file.name()));
        if !file.objects().any(|known| *known == object.value) {
            let all: Vec<&str> = file.objects().map(ObjectName::as_str).collect();
            let message = format!("connector '{connector}' has no object '{name}'; it has: {}", all.join(", "));
            let word = Located { value: object.value.as_str().to_owned(), span: object.span.clone() };
            unknown(&word, message, file.objects().map(ObjectName::as_str), self.problems);
            return;
        }
        let Some(direction) = sync.direction.filter(|direction| direction.writes(side)) else { return };
        for missing in file.missing_writes(&object.value) {
            let message = format!(
                "direction = \"{direction}\" writes to '{name}', but connector '{connector}' has no [object.{name}.{missing}]"
            );
            match missing {
                // Nothing but deletions is held back then.
                "delete" => {
                    self.outside.warnings.add_with_help(object.span.clone(), message, "deletions are not carried there")
                }
                _ => {
                    let help = "declare it in the connector file, or choose another direction";
                    self.problems.add_with_help(object.span.clone(), message, help);
                }
            }
        }
    }

    /// Two syncs on the same two objects would each take the other's writes for edits.
    fn rivals(&self, whose: &str, syncs: &[&Sync]) {
        let mut seen: BTreeMap<(&ObjectName, &ObjectName), &Sync> = BTreeMap::new();
        for sync in syncs {
            let (Some(app), Some(remote), Some(name)) = (&sync.objects.app, &sync.objects.remote, &sync.name) else {
                continue;
            };
            let first = seen.entry((&app.value, &remote.value)).or_insert(sync);
            let Some(first_name) = first.name.as_ref().filter(|first| first.span != name.span) else { continue };
            if first.is_filtered && sync.is_filtered {
                continue;
            }
            let message = format!(
                "syncs '{}' and '{}' are for the same objects of {whose}",
                shown(&first_name.value),
                shown(&name.value),
            );
            let help = "make them one sync, or give both a 'filter' so that no record is in both";
            self.problems.add_with_help(name.span.clone(), message, help);
        }
    }

    /// Whether the references of each connection's syncs lead to syncs of it.
    fn references(&self, syncs: &[Vec<&Sync>]) {
        let mut told = BTreeSet::new();
        for (connection, syncs) in self.declared.connections.iter().zip(syncs) {
            // One that is wrong is told of by itself, and what a connection makes of it with it.
            let of_connection = |sync: &&Sync| match self.problems.is_empty() {
                true => self.spec_for(connection, sync),
                false => sync.spec.clone(),
            };
            let Some(specs) = syncs.iter().map(of_connection).collect::<Option<Vec<_>>>() else { continue };
            if specs.iter().all(|spec| spec.mapping.references().next().is_none()) {
                continue;
            }
            let named: Vec<_> = specs.iter().map(|spec| (&spec.name, SyncNo(0), &spec.mapping)).collect();
            for Unbound { sync, field, reason, help } in bind(&named).err().into_iter().flatten() {
                let name = &specs[sync].mapping.fields[field].name;
                let own = connection.fields.iter().filter(|fields| fields.sync.value == name_of(syncs[sync]));
                let own = own.flat_map(|fields| fields.overrides.references());
                let all = own.chain(syncs[sync].references.iter().cloned());
                let place = all.into_iter().find(|place| place.field == *name);
                // A sync that stands elsewhere is told of where the connection is.
                let span = place.as_ref().map_or(&connection.span, |place| &place.span).clone();
                let reason = place.map_or(reason.clone(), |place| format!("'{}': {reason}", place.key));
                if told.insert((span.start, reason.clone())) {
                    self.problems.add_with_help(span, reason, help);
                }
            }
        }
    }

    /// Whether each connection says whose records on your side are its own, where that
    /// must be said, and only where it has an effect.
    fn scopes(&self, is_only: bool) {
        for connection in &self.declared.connections {
            let Some(id) = connection.id.as_ref().map(|id| shown(&id.value)) else { continue };
            match (&self.declared.app, &connection.scope) {
                (None, None) if !is_only => {
                    let message = format!("connection '{id}' needs a 'scope': which of your app's records are its own");
                    self.problems.add_with_help(connection.span.clone(), message, "for example scope = \"acct_42\"");
                }
                (Some(app), None) if app.is_scoped => {
                    let message = format!("connection '{id}' needs a 'scope': [app] has {{scope}} in its base_url");
                    self.problems.add_with_help(connection.span.clone(), message, "for example scope = \"acct_42\"");
                }
                (Some(app), Some(scope)) if !app.is_scoped && app.settings.is_some() => {
                    let message =
                        format!("the scope of connection '{id}' has no effect: all records of [app] are synced");
                    let help = "put {scope} into the base_url of [app], or take 'scope' away";
                    self.problems.add_with_help(scope.span.clone(), message, help);
                }
                (None | Some(_), None | Some(_)) => {}
            }
        }
    }

    /// Checks connections against each other; all of them when nothing is wrong.
    fn connections(&self, syncs: &[Vec<&Sync>]) -> Option<Vec<ConfiguredConnection>> {
        self.shared_records(syncs);
        self.shared_accounts();
        self.webhooks();
        if !self.problems.is_empty() {
            return None;
        }
        let all = self.declared.connections.iter().zip(syncs);
        // Each of them, so that all problems are told.
        let configured: Vec<_> = all.map(|(connection, syncs)| self.configured(connection, syncs)).collect();
        configured.into_iter().collect()
    }

    /// Two connections that keep the same records of your app would carry one customer's
    /// data to the other.
    fn shared_records(&self, syncs: &[Vec<&Sync>]) {
        let mut first: HashMap<(Option<&Scope>, &ObjectName), &Connection> = HashMap::new();
        for (connection, syncs) in self.declared.connections.iter().zip(syncs) {
            let Some(id) = &connection.id else { continue };
            // One that is missing is told of by itself.
            let scope = match &self.declared.app {
                Some(app) if !app.is_scoped => None,
                Some(_) | None if connection.scope.is_none() => continue,
                Some(_) | None => connection.scope.as_ref(),
            };
            let objects = syncs.iter().filter_map(|sync| sync.objects.app.as_ref());
            let mut told = false;
            for object in objects {
                let other = *first.entry((scope.map(|scope| &scope.value), &object.value)).or_insert(connection);
                let Some(other_id) = other.id.as_ref().filter(|_| !std::ptr::eq(other, connection) && !told) else {
                    continue;
                };
                told = true;
                let (first_id, second_id) = (shown(&other_id.value), shown(&id.value));
                let object = shown(object.value.as_str());
                let whose = format!("connections '{first_id}' and '{second_id}' both sync '{object}'");
                let (span, message, help) = match scope {
                    None => {
                        let help = "put {scope} into the base_url of [app] and give each connection its own 'scope'";
                        let message = format!("{whose} of [app], which has one set of records for all");
                        (connection.span.clone(), message, help)
                    }
                    Some(scope) => {
                        let message = format!("{whose} in scope '{}'", shown(scope.value.as_str()));
                        (scope.span.clone(), message, "give each connection its own 'scope'")
                    }
                };
                self.problems.add_with_help(span, message, help);
            }
        }
    }

    /// The same account under two scopes is most often a variable that was copied with
    /// the rest, and gives one customer's data to the other.
    fn shared_accounts(&self) {
        let mut first: HashMap<Digest, &Located<String>> = HashMap::new();
        for connection in &self.declared.connections {
            let (Some(id), Some(account)) = (&connection.id, connection.remote.account()) else { continue };
            let other = *first.entry(account).or_insert(id);
            if !std::ptr::eq(other, id) {
                let message = format!(
                    "connections '{}' and '{}' have the same address and credentials",
                    shown(&other.value),
                    shown(&id.value),
                );
                let help = "each is meant to be another customer's account";
                self.outside.warnings.add_with_help(id.span.clone(), message, help);
            }
        }
    }

    fn configured(&self, connection: &Connection, syncs: &[&Sync]) -> Option<ConfiguredConnection> {
        let scope = connection.scope.as_ref().map(|scope| scope.value.clone());
        let (app, app_limits, scope) = match &self.declared.app {
            None => (AppSide::Embedded, Limits::default(), scope.or_else(|| Some(Scope::new(DEFAULT_SCOPE)))),
            Some(app) => {
                let factory = self.factory(app, app.settings_for(scope.as_ref())?)?;
                (AppSide::Http(factory), app.limits.clone(), scope)
            }
        };
        let remote = self.factory(&connection.remote, connection.remote.settings.clone()?)?;
        let webhook = match &connection.webhook {
            Some(declared) => Some(self.webhook(connection, declared)?),
            None => None,
        };
        let mut said = connection.said.clone();
        if let Some(app) = &self.declared.app {
            said.add("[app]", app.said.digest());
        }
        if let (Some(receive), Some(_)) = (&self.declared.receive, &webhook) {
            said.add("[receive] url", Digest::of(receive.url.as_bytes()));
        }
        for sync in syncs {
            let name = sync.name.as_ref().map_or("", |name| name.value.as_str());
            said.add(format!("sync '{name}'"), sync.said);
        }
        Some(ConfiguredConnection {
            said,
            document: connection.document.clone().into(),
            id: ConnectionId::new(connection.id.as_ref()?.value.as_str()),
            scope,
            app,
            remote,
            limits: PerSide { app: app_limits, remote: connection.remote.limits.clone() },
            webhook,
            paused: connection.paused,
            syncs: syncs.iter().map(|sync| self.spec_for(connection, sync)).collect::<Option<_>>()?,
        })
    }

    /// A connection's webhook, which needs somewhere to come in and a connector that says
    /// how it is known and read.
    fn webhook(&self, connection: &Connection, declared: &DeclaredWebhook) -> Option<Webhook> {
        let receive = self.declared.receive.as_ref()?;
        let file = connection.remote.file.as_ref()?;
        let path = declared.path.clone()?;
        let webhook = Webhook {
            path,
            base_url: receive.url.clone(),
            secrets: declared.secrets.clone()?,
            account: declared.account.clone(),
            spec: Arc::clone(file.value.webhook()?),
        };
        if let Some(problem) = webhook.problem() {
            self.problems.add(declared.span.clone(), format!("'webhook' cannot be used: {problem}"));
            return None;
        }
        Some(webhook)
    }

    /// What a webhook needs and is not there.
    fn webhooks(&self) {
        for connection in &self.declared.connections {
            let Some(declared) = &connection.webhook else { continue };
            if !self.declared.has_receive {
                let help = "add [receive] with listen = \"127.0.0.1:8100\" and the url under which others reach it";
                self.problems.add_with_help(
                    declared.span.clone(),
                    "there is no [receive] for webhooks to come in",
                    help,
                );
            }
            if let Some(file) = &connection.remote.file
                && file.value.webhook().is_none()
            {
                let message = format!("connector '{}' declares no [webhook]", shown(file.value.name()));
                let help = "add [webhook] with signature, type, objects and id to the connector file";
                self.problems.add_with_help(declared.span.clone(), message, help);
            }
        }
    }

    /// The connector's own last word on its settings; they were checked before, so it
    /// is only told where they stand.
    fn factory(&self, side: &HttpSide, settings: HttpSettings) -> Option<HttpSideFactory> {
        let file = side.file.as_ref()?;
        let factory = HttpFactory::new(Arc::clone(&file.value), settings);
        let refusals = factory.problems();
        for refusal in &refusals {
            let message = format!("connector '{}' refuses '{}'", shown(file.value.name()), refusal.setting);
            self.problems.add(side.span.clone(), message);
        }
        refusals.is_empty().then(|| HttpSideFactory(Arc::new(factory)))
    }
}
