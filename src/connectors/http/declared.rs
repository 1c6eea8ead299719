//! What a configuration must know to check itself against a connector file, before
//! anything is called.

use super::file::HttpConnectorFile;
use super::session::Login;
use super::settings::{Auth, Credentials, HttpSettings, SettingsProblem};
use super::spec::{AuthKind, BatchKind};
use crate::model::ids::ObjectName;

impl HttpConnectorFile {
    /// The word of the file's `[auth]` kind; `None` where it declares none.
    #[must_use]
    pub fn auth_kind(&self) -> Option<&'static str> {
        self.auth.as_ref().map(|kind| match kind {
            AuthKind::None => "none",
            AuthKind::Bearer => "bearer",
            AuthKind::Basic => "basic",
            AuthKind::Header { .. } => "header",
            AuthKind::Query { .. } => "query",
            AuthKind::Fetched(spec) => match spec.login {
                Login::Client { .. } => "client_credentials",
                Login::Assertion { .. } => "jwt_bearer",
                Login::Password { .. } => "session",
            },
        })
    }

    /// Why these credentials do not fit the file, if they do not.
    #[must_use]
    pub fn credentials_problem(&self, credentials: &Credentials) -> Option<SettingsProblem> {
        Auth::new(self.auth.as_ref(), credentials).err()
    }

    /// The writes that an object has no endpoint for, by their keys in the file; all of
    /// them where there is no such object.
    #[must_use]
    pub fn missing_writes(&self, object: &ObjectName) -> Vec<&'static str> {
        let Some(object) = self.object(object) else { return vec!["create", "update", "delete"] };
        let batch = object.batch.as_ref().map(|batch| match &batch.kind {
            // Its entries are the single requests, which must be declared too.
            BatchKind::Requests { .. } => (false, false, false),
            BatchKind::Records { create, update, delete } => (create.is_some(), update.is_some(), delete.is_some()),
        });
        let (create, update, delete) = batch.unwrap_or_default();
        let has = [
            ("create", create || object.create.is_some()),
            ("update", update || object.update.is_some()),
            ("delete", delete || object.delete.is_some()),
        ];
        has.into_iter().filter(|(_, has)| !has).map(|(key, _)| key).collect()
    }
}

impl HttpSettings {
    /// What is wrong with the base URL, if anything.
    #[must_use]
    pub fn base_url_problem(&self) -> Option<SettingsProblem> {
        self.base().err()
    }
}
