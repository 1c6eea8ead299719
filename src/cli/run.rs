//! `run`: the kernel, with its schedules, the embedded store's REST API and the control
//! socket, until it is told to end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::{connection, progress, target};
use crate::config::{Config, EmbeddedApi as EmbeddedSettings, Receive};
use crate::connectors::ConnectorFactory;
use crate::connectors::embedded::EmbeddedFactory;
use crate::control::{Control, MakeSpecs};
use crate::kernel::Kernel;
use crate::model::ids::{ObjectName, Scope};
use crate::registry::{Connections, Registry};
use crate::web::embedded::EmbeddedApi;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file.
    file: PathBuf,
    /// Log one JSON object a line.
    #[arg(long)]
    pub log_json: bool,
    /// Threads to spread connections over; one for each processor, at most one for each
    /// connection, where not told.
    #[arg(long, value_name = "NUM")]
    threads: Option<usize>,
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let config = Arc::new(target::load(&args.file)?);
    let store = target::open(&config.state)?;
    let env = target::environment();
    let registry = Registry::load(Arc::clone(&config), Some(&store), &env)?;
    let num_threads = args.threads.unwrap_or_else(|| default_threads(registry.connections().count()));
    let mut builder = Kernel::builder().store(store.clone()).arbiters(num_threads);
    if let Some(late_after) = config.late_after {
        builder = builder.late_after(late_after);
    }
    let kernel = builder.start().await?;
    let embedded = Arc::new(EmbeddedFactory::new(store));
    let connections = match Connections::start(kernel.clone(), registry, embedded, env).await {
        Ok(connections) => connections,
        Err(error) => {
            kernel.shutdown().await;
            return Err(error.into());
        }
    };
    let served = serve(&config, &kernel, &connections);
    let Served { control, embedded, receive } = match served {
        Ok(served) => served,
        Err(failure) => {
            kernel.shutdown().await;
            return Err(failure);
        }
    };
    let state = config.state.display().to_string();
    let listens = embedded.as_ref().map(|api| api.url.clone());
    let receives = receive.as_ref().map(|receiver| receiver.url.clone());
    out.value(&serde_json::json!({
        "state": state,
        "control": control.path().display().to_string(),
        "embedded": listens,
        "receive": receives,
        "connections": kernel.connections(),
    }));
    tracing::info!(
        state,
        embedded = listens,
        receive = receives,
        connections = kernel.connections().len(),
        "running; end it with Ctrl-C or SIGTERM"
    );
    if kernel.connections().is_empty() {
        tracing::info!("there is no connection yet: add one with `syncline connection add`");
    }
    let progress = actix_web::rt::spawn(progress::log(kernel.clone()));
    let reloads = actix_web::rt::spawn(reload_when_told(connections));
    told_to_end().await.map_err(|error| Failure::refused(format!("failed to listen for signals: {error}")))?;
    tracing::info!("ending: what is in flight is finished, nothing new is taken; once more to end at once");
    progress.abort();
    reloads.abort();
    tokio::select! {
        () = end(&kernel, [receive, embedded], control) => tracing::info!("ended"),
        _ = told_to_end() => tracing::warn!("ended at once; what was in flight is taken up at the next start"),
    }
    Ok(Exit::Done)
}

/// More threads than processors gain nothing, and a connection lives on one.
fn default_threads(num_connections: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match num_connections.min(processors) {
        0 | 1 => 0,
        more => more,
    }
}

/// What the process listens with.
struct Served {
    control: Control,
    embedded: Option<Listening>,
    receive: Option<Listening>,
}

/// The control socket, and the embedded store's API and the receiver where they are
/// wanted.
fn serve(config: &Config, kernel: &Kernel, connections: &Connections) -> Result<Served, Failure> {
    let embedded = config.embedded.as_ref().map(|settings| serve_embedded(settings, kernel)).transpose()?;
    let receive = config.receive.as_ref().map(|settings| serve_receiver(settings, kernel)).transpose()?;
    let planned = connections.clone();
    let specs: MakeSpecs = Arc::new(move |store| {
        let embedded: Arc<dyn ConnectorFactory> = Arc::new(EmbeddedFactory::new(store.clone()));
        planned.specs(&embedded)
    });
    let control = Control::start(kernel.clone(), &config.state, specs, Some(connections.clone()));
    Ok(Served { control: control.map_err(|error| Failure::state(error.to_string()))?, embedded, receive })
}

async fn end(kernel: &Kernel, listening: [Option<Listening>; 2], control: Control) {
    for one in listening.into_iter().flatten() {
        one.server.stop(true).await;
    }
    kernel.shutdown().await;
    control.stop().await;
}

/// Something that listens for HTTP.
pub(super) struct Listening {
    /// Where.
    pub url: String,
    /// To stop it by.
    pub server: actix_web::dev::ServerHandle,
}

/// Serves the embedded store at `/records/{scope}/{object}`.
pub(super) fn serve_embedded(settings: &EmbeddedSettings, kernel: &Kernel) -> Result<Listening, Failure> {
    let told = kernel.clone();
    let on_change = Arc::new(move |scope: &Scope, object: &ObjectName| told.app_changed(scope, object));
    let mut api = EmbeddedApi::new(kernel.store().clone(), on_change);
    if let Some(token) = &settings.token {
        api = api.with_token(token.expose_secret());
    }
    let app = move || actix_web::App::new().service(actix_web::web::scope("/records").configure(api.configure()));
    let listen = settings.listen;
    let refused = |error: std::io::Error| {
        Failure::refused(format!("failed to listen on {listen} for the embedded store ([embedded] listen): {error}"))
    };
    let server = actix_web::HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(5);
    let server = server.bind(listen).map_err(refused)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(Listening { url: format!("http://{address}/records"), server: handle })
}

/// How long the first bytes of a request may take to be whole headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// How many connections wait to be accepted once there are as many as may be; the system
/// refuses the rest.
const WAITING_CONNECTIONS: u32 = 128;

/// How long an idle connection to the receiver is kept.
const RECEIVER_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Takes webhooks at `/webhooks/{path}`; events at `/events` and requests at `/sync` where a
/// token guards them or nobody else can reach them; actions at `/actions` where a token does.
fn serve_receiver(settings: &Receive, kernel: &Kernel) -> Result<Listening, Failure> {
    let (webhooks, mut events, mut manual) = (kernel.webhooks(), kernel.events(), kernel.manual());
    if let Some(token) = &settings.token {
        events = events.with_token(token.expose_secret());
        manual = manual.with_token(token.expose_secret());
    }
    // Whoever may act may read and change every record: only with a token.
    let actions = settings.token.as_ref().map(|token| kernel.actions().with_token(token.expose_secret()));
    let takes_orders = settings.token.is_some() || settings.listen.ip().is_loopback();
    let app = move || {
        let app = actix_web::App::new().configure(webhooks.configure());
        app.configure(|config| {
            if takes_orders {
                config.configure(events.configure()).configure(manual.configure());
            }
            if let Some(actions) = &actions {
                config.configure(actions.configure());
            }
        })
    };
    let listen = settings.listen;
    let refused = |error: std::io::Error| {
        Failure::refused(format!("failed to listen on {listen} for webhooks and events ([receive] listen): {error}"))
    };
    let server = actix_web::HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(5);
    let server = server.keep_alive(RECEIVER_KEEP_ALIVE).client_request_timeout(HEADERS_WITHIN);
    let server = server.max_connections(settings.connections).backlog(WAITING_CONNECTIONS);
    let server = server.bind(listen).map_err(refused)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok(Listening { url: format!("http://{address}"), server: handle })
}

/// Reads the configuration again at each SIGHUP.
#[cfg(unix)]
async fn reload_when_told(connections: Connections) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        match connections.reload().await {
            Ok(reload) => connection::lines(&reload).iter().for_each(|line| tracing::info!("reloaded: {line}")),
            Err(error) => tracing::error!("the configuration was not reloaded, nothing is changed: {error}"),
        }
    }
}

/// There is no such signal here.
#[cfg(not(unix))]
async fn reload_when_told(_: Connections) {}

/// Returns at SIGINT (Ctrl-C) or SIGTERM.
#[cfg(unix)]
pub(super) async fn told_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Returns at Ctrl-C.
#[cfg(not(unix))]
pub(super) async fn told_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
