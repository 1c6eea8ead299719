//! What the demo starts: the sandbox CRM, the embedded store with its REST API, and the
//! kernel between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Args;
use crate::cli::exit::Failure;
use crate::cli::run::{Listening, serve_embedded};
use crate::cli::target;
use crate::config::Config;
use crate::connectors::embedded::{Embedded, RecordWrite};
use crate::control::{Control, MakeSpecs};
use crate::kernel::Kernel;
use crate::model::ids::{ConnectionId, ObjectName, RecordId, Scope};
use crate::model::path::Path as ValuePath;
use crate::model::record::Body;
use crate::model::value::Value;
use crate::model::write::Outcome;
use crate::plan::{PlanReport, PlanRequest, plan};
use crate::sandbox::{Sandbox, SandboxHandle, seed, token};
use crate::store::Store;
use crate::temporary::TemporaryFolder;

/// The configuration that the demo runs, as a user would write it.
const CONFIG: &str = include_str!("../../../fixtures/demo/syncline.toml");

/// The connector file of the sandbox.
const CONNECTOR: &str = include_str!("../../../fixtures/connectors/sandbox.toml");

/// The sandbox's account.
pub(super) const ACCOUNT: &str = "acme";

/// The object on both sides.
pub(super) const OBJECT: &str = "contacts";

/// How often the demo lets the kernel read again before it compares the sides.
const MAX_SETTLING_RUNS: usize = 10;

/// Everything the demo started.
pub(super) struct World {
    pub sandbox: SandboxHandle,
    pub config: Arc<Config>,
    pub state: PathBuf,
    pub connection: ConnectionId,
    pub scope: Scope,
    pub store: Store,
    specs: MakeSpecs,
    kernel: Option<Kernel>,
    api: Option<Listening>,
    control: Option<Control>,
    // Removed when dropped, after the store is closed.
    folder: TemporaryFolder,
}

impl World {
    /// Starts the sandbox and the store, and seeds both; no kernel runs yet.
    pub async fn start(args: &Args) -> Result<Self, Failure> {
        let sandbox = Sandbox::builder().accounts([ACCOUNT]).demo().port(args.port).spawn_thread()?;
        let folder = TemporaryFolder::create_in(&std::env::temp_dir(), "demo")
            .map_err(|error| Failure::state(format!("failed to make a temporary folder: {error}")))?;
        let config = Arc::new(config(&sandbox)?);
        let state = args.state.clone().unwrap_or_else(|| folder.path().join("demo.redb"));
        if state.exists() {
            let place = state.display();
            return Err(Failure::state(format!("{place} is there already; the demo starts from an empty state file")));
        }
        let connection = config.connections.first().ok_or_else(|| Failure::usage("the demo has no connection"))?;
        let scope = connection.scope.clone().unwrap_or_else(|| Scope::from("default"));
        let connection = connection.id.clone();
        let store = target::open(&state)?;
        let specs = target::specs_of(target::registry(Arc::clone(&config), &store)?);
        let world = Self {
            sandbox,
            config,
            state,
            connection,
            scope,
            store,
            specs,
            kernel: None,
            api: None,
            control: None,
            folder,
        };
        world.seed_app().await?;
        Ok(world)
    }

    async fn seed_app(&self) -> Result<(), Failure> {
        for line in seed::APP_CONTACTS.lines().filter(|line| !line.trim().is_empty()) {
            let mut record =
                Value::from_json(line).map_err(|error| Failure::usage(format!("the demo's contacts: {error}")))?;
            let id = record.get(&key("id")).and_then(Value::as_str).map(RecordId::from);
            let id = id.ok_or_else(|| Failure::usage("a contact of the demo has no id"))?;
            record.remove(&key("id"));
            self.write_app(RecordWrite::Create { id, record: Body::from_value(&record) }).await?;
        }
        Ok(())
    }

    /// The dry run, over a copy of the state.
    pub async fn plan(&self) -> Result<PlanReport, Failure> {
        let request = PlanRequest { shown: 4, ..PlanRequest::default() };
        Ok(plan(&self.store, self.folder.path(), |copy| (self.specs)(copy), &request).await?)
    }

    /// Starts the kernel, without its schedule.
    pub async fn run(&mut self) -> Result<Kernel, Failure> {
        self.start_kernel(false).await
    }

    /// Lets the kernel also run by its schedule from now on, and serves what `run`
    /// serves: the app's REST API and the control socket.
    pub async fn follow_schedule(&mut self) -> Result<(), Failure> {
        let kernel = self.kernel()?;
        kernel.remove(&self.connection, false).await.map_err(|error| Failure::refused(error.to_string()))?;
        // The same state file, so the next kernel goes on where this one stood.
        let kernel = self.start_kernel(true).await?;
        if let Some(settings) = &self.config.embedded {
            self.api = Some(serve_embedded(settings, &kernel)?);
        }
        let control = Control::start(kernel, &self.state, Arc::clone(&self.specs), None);
        self.control = Some(control.map_err(|error| Failure::state(error.to_string()))?);
        Ok(())
    }

    async fn start_kernel(&mut self, schedules: bool) -> Result<Kernel, Failure> {
        let mut builder = Kernel::builder().store(self.store.clone()).schedules(schedules);
        for spec in (self.specs)(&self.store) {
            builder = builder.connection(spec);
        }
        let kernel = builder.start().await?;
        self.kernel = Some(kernel.clone());
        Ok(kernel)
    }

    pub fn kernel(&self) -> Result<&Kernel, Failure> {
        self.kernel.as_ref().ok_or_else(|| Failure::refused("the kernel has not started"))
    }

    /// Where the app's REST API listens.
    pub fn api_url(&self) -> Option<String> {
        self.api.as_ref().map(|api| format!("{}/{}/{OBJECT}", api.url, self.scope))
    }

    /// The app's records.
    pub fn app(&self) -> Embedded {
        Embedded::new(self.store.clone(), self.scope.clone())
    }

    /// Writes to your app's side and tells the kernel, as the REST API does.
    pub async fn write_app(&self, write: RecordWrite) -> Result<(), Failure> {
        let object = ObjectName::from(OBJECT);
        let outcome = self.app().write_one(&object, write).await.map_err(|error| Failure::state(error.to_string()))?;
        if let Some(kernel) = &self.kernel {
            kernel.app_changed(&self.scope, &object);
        }
        match outcome {
            Outcome::Written(_) | Outcome::Deleted => Ok(()),
            refused => Err(Failure::refused(format!("the app refused an edit: {refused:?}"))),
        }
    }

    /// Lets the kernel finish: runs until one changes nothing. Whether that was reached.
    pub async fn settle(&self) -> Result<bool, Failure> {
        for _ in 0..MAX_SETTLING_RUNS {
            let run = self.kernel()?.sync_now(&self.connection, None).await;
            let run = run.map_err(|error| Failure::refused(error.to_string()))?;
            if run.error.is_none() && run.totals.writes() == 0 && run.pending == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends everything in order; the folder goes with `self`.
    pub async fn end(self) {
        if let Some(api) = self.api {
            api.server.stop(true).await;
        }
        match self.kernel {
            Some(kernel) => kernel.shutdown().await,
            None => self.store.close().await,
        }
        if let Some(control) = self.control {
            control.stop().await;
        }
        self.sandbox.stop().await;
    }
}

/// The configuration, with the sandbox's address and token as its environment.
fn config(sandbox: &SandboxHandle) -> Result<Config, Failure> {
    let url = sandbox.api_url();
    let env = |name: &str| match name {
        "SANDBOX_URL" => Some(url.clone()),
        "SANDBOX_TOKEN" => Some(token(ACCOUNT)),
        _ => None,
    };
    let read_file = |path: &Path| match path.file_name().and_then(|name| name.to_str()) {
        Some("sandbox.toml") => Ok(CONNECTOR.to_owned()),
        Some(_) | None => Err(std::io::ErrorKind::NotFound.into()),
    };
    Ok(Config::parse("fixtures/demo/syncline.toml", CONFIG, Path::new("fixtures/demo"), &env, &read_file)?)
}

/// A path of one key.
pub(super) fn key(name: &str) -> ValuePath {
    ValuePath::key(name)
}
