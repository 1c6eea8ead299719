//! The kernel at home in an actix-web app: `cargo run --example actix_app`.
//!
//! An app with two customers keeps their contacts in its own SQLite table and serves them
//! over HTTP. The kernel runs inside of it and keeps each customer's contacts in agreement
//! with that customer's account of a CRM (the sandbox, which the example starts as well).
//!
//! | File | Is |
//! |---|---|
//! | `actix_app/storage.rs` | the app's table, and its list of changes |
//! | `actix_app/handlers.rs` | the app's HTTP; each write fires an event |
//! | `actix_app/connector.rs` | what the kernel asks of the storage, in under 80 lines |
//! | this file | the sync, the server, and how both end |
//! | `actix_app/tour.rs` | `cargo run --example actix_app -- --once`: a tour that checks itself |

#[path = "actix_app/connector.rs"]
pub(crate) mod connector;
#[path = "actix_app/handlers.rs"]
pub(crate) mod handlers;
#[path = "actix_app/storage.rs"]
pub(crate) mod storage;
#[path = "actix_app/tour.rs"]
pub(crate) mod tour;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use syncline::connectors::http::{Credentials, HttpConnectorFile, HttpFactory, HttpSettings};
use syncline::connectors::{Connector, ConnectorScope};
use syncline::model::direction::Direction;
use syncline::model::write::{ConnectorError, NextStep};
use syncline::sandbox::{Sandbox, SandboxHandle, token};
use syncline::{ConnectionSpec, Kernel, Schedule, SyncSpec};

use self::handlers::Shared;
use self::storage::Database;

/// The app's customers; each has an account of the same name at the CRM.
pub(crate) const CUSTOMERS: [&str; 2] = ["acme", "globex"];

/// What other parts of your backend post events with.
pub(crate) const EVENT_TOKEN: &str = "token-of-the-backend";

/// How the CRM's API works.
const CRM: &str = include_str!("../fixtures/connectors/sandbox.toml");

const RULES: &str = r#"
match = ["email"]
[fields]
email = { remote = "properties.email", transform = "lowercase" }
name  = "properties.full_name"
phone = { remote = "properties.phone", conflict = "newest_wins" }
"#;

/// One connection for each customer, with that customer's contacts and account.
async fn start_kernel(folder: &Path, database: &Database, crm: &str, by_the_clock: bool) -> Result<Kernel, Failure> {
    let file = Arc::new(HttpConnectorFile::parse("sandbox.toml", CRM)?);
    let sync = SyncSpec::parse("contacts", connector::OBJECT, "contacts", Direction::TwoWay, RULES)?;
    // The safety net: it finds what no event and no webhook told.
    let sync = sync.scheduled(Schedule::parse("every 1s")?);
    let mut builder = Kernel::builder().state(folder.join("syncline.redb")).schedules(by_the_clock);
    for customer in CUSTOMERS {
        let database = database.clone();
        let app = move |connection: &ConnectorScope| match &connection.scope {
            Some(customer) => Ok(Box::new(database.contacts_of(customer.as_str())) as Box<dyn Connector>),
            None => Err(ConnectorError::new(NextStep::Fail, "whose contacts? The connection has no scope")),
        };
        let mut account = HttpSettings::new(crm);
        account.credentials = Credentials::Token(token(customer).into());
        account.allow_private = true; // only because the sandbox is on this machine
        let remote = HttpFactory::new(Arc::clone(&file), account);
        builder = builder.connection(ConnectionSpec::new(customer, app, remote).scope(customer).sync(sync.clone()));
    }
    Ok(builder.start().await?)
}

/// The app's routes, and the kernel's under a prefix.
fn routes(shared: web::Data<Shared>) -> impl FnOnce(&mut web::ServiceConfig) {
    let (webhooks, events) = (shared.kernel.webhooks(), shared.kernel.events().with_token(EVENT_TOKEN));
    move |config| {
        let sync = web::scope("/sync").configure(webhooks.configure()).configure(events.configure());
        config.app_data(shared).configure(handlers::configure).service(sync);
    }
}

type Failure = Box<dyn Error>;

/// The app as it runs, and the CRM of its customers.
pub(crate) struct Running {
    pub url: String,
    pub database: Database,
    pub kernel: Kernel,
    pub crm: SandboxHandle,
    server: ServerHandle,
    // Last, so that it is removed once all others have let go of it.
    _folder: tempfile::TempDir,
}

impl Running {
    /// Starts everything, on ports that are free. `by_the_clock`: the schedule runs, too.
    pub async fn start(by_the_clock: bool) -> Result<Self, Failure> {
        let crm = Sandbox::builder().accounts(CUSTOMERS).normalise(true).spawn_thread()?;
        let folder = tempfile::tempdir()?;
        let database = Database::open(&folder.path().join("app.sqlite"))?;
        tour::seed(&database, &crm)?;
        let kernel = start_kernel(folder.path(), &database, &crm.api_url(), by_the_clock).await?;

        let shared = web::Data::new(Shared { database: database.clone(), kernel: kernel.clone() });
        let server = HttpServer::new(move || App::new().configure(routes(shared.clone())))
            .workers(1)
            // At a signal actix-web would stop the whole actix system, the kernel's actors too.
            .disable_signals()
            .bind(("127.0.0.1", 0))?;
        let url = server.addrs().first().map(|address| format!("http://{address}")).ok_or("no address")?;
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Ok(Self { url, database, kernel, crm, server: handle, _folder: folder })
    }

    /// Answers what was asked, then has the kernel finish what is in flight.
    pub async fn stop(self) {
        self.server.stop(true).await;
        self.kernel.shutdown().await;
        self.crm.stop().await;
    }
}

/// Returns at Ctrl-C (SIGINT) and SIGTERM.
async fn told_to_end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[actix_web::main]
async fn main() -> Result<ExitCode, Failure> {
    let app = Running::start(true).await?;
    let agree = match std::env::args().nth(1).as_deref() {
        None => {
            tour::explain(&app)?;
            told_to_end().await?;
            println!("\nfinishing what is in flight …");
            Ok(true)
        }
        Some("--once") => tour::take(&app).await,
        Some(other) => Err(format!("unknown argument '{other}'; there is only --once").into()),
    };
    app.stop().await;
    println!("stopped");
    Ok(if agree? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
