//! `sandbox`: the sandbox on a port of this machine, until it is told to end.

mod webhooks;

use self::webhooks::WebhookArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::run::told_to_end;
use crate::model::document::nearest;
use crate::sandbox::{Dialect, Hostile, Sandbox, SandboxBuilder, SandboxHandle, Webhook, token, webhook_secret};

const HELP: &str = "\
Dialects: 'crm' is an app of our own. The others imitate what a sync of records meets of a vendor's
API, from the vendor's documents: paths, errors, limits, lags, batches and signed webhooks. Each goes
with the connector file of its name.

Hostile mode: some of the requests meet what real apps do. An answer is lost, cut off or
broken though the write was carried out, or it was not, or it is carried out later; 500, 502 and 503;
429 with Retry-After in seconds, as a date or without; slow answers; reads that lag behind writes;
pages that begin with what stood on the one before. Rates are drawn from the seed.

It can be switched while the sandbox runs, from this machine:
  curl -X POST   'http://127.0.0.1:8090/_sandbox/hostile?seed=7'
  curl -X POST    http://127.0.0.1:8090/_sandbox/hostile -d '{\"answer_lost\":50,\"late\":20,\"late_ms\":3000}'
  curl -X DELETE  http://127.0.0.1:8090/_sandbox/hostile
Requests with the header 'Sandbox-Calm: true' are spared. /_sandbox/stats counts the mishaps.

Webhooks: each write of an account, through the API or not, is told to a URL as Standard Webhooks
say, and can be lost, doubled, late, overtaken, ahead of the write's answer or about an older state.
They can be switched while the sandbox runs, too; the URL and the secret stay if left out:
  curl -X POST   'http://127.0.0.1:8090/_sandbox/webhooks?account=acme' -d '{\"url\":\"http://…\",\"loss\":50}'
  curl            http://127.0.0.1:8090/_sandbox/webhooks
  curl -X DELETE  http://127.0.0.1:8090/_sandbox/webhooks";

/// Arguments of `sandbox`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Which kind of app it is.
    #[arg(long, default_value = "crm", value_parser = dialect, value_name = "NAME")]
    dialect: Dialect,
    /// Port of this machine to listen on; 0 for a free one.
    #[arg(long, default_value_t = 8090)]
    port: u16,
    /// Names of the accounts; each has records, a token and a limit of its own.
    #[arg(long, value_delimiter = ',', default_value = "acme", value_name = "NAMES")]
    accounts: Vec<String>,
    /// Generate records from this seed, instead of the demo's forty contacts.
    #[arg(long, value_name = "NUM")]
    seed: Option<u64>,
    /// How many records of each object are generated in each account.
    #[arg(long, requires = "seed", default_value_t = 1_000, value_name = "NUM")]
    records: u64,
    /// Start without records.
    #[arg(long, conflicts_with = "seed")]
    empty: bool,
    /// Requests an account may make: `100/10s`. A dialect has the limits of its vendor.
    #[arg(long, value_parser = rate_limit, value_name = "NUM/TIME")]
    rate_limit: Option<(usize, i64)>,
    /// Records on a page, by default and at most.
    #[arg(long, default_value_t = 100, value_name = "NUM")]
    page_size: usize,
    /// Records in a batch at most.
    #[arg(long, default_value_t = 100, value_name = "NUM")]
    batch_size: usize,
    /// Trim texts and lower-case e-mail addresses when storing, as many apps do. The
    /// demo's contacts imply it.
    #[arg(long)]
    normalise: bool,
    /// Misbehave as real apps do, at rates drawn from a seed; see below.
    #[arg(long)]
    hostile: bool,
    /// The seed; one at random where not told.
    #[arg(long, requires = "hostile", value_name = "NUM")]
    hostile_seed: Option<u64>,
    #[command(flatten)]
    webhooks: WebhookArgs,
}

fn dialect(text: &str) -> Result<Dialect, String> {
    let known = Dialect::ALL.map(Dialect::name);
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == text);
    found.ok_or_else(|| match nearest(text, known.into_iter()) {
        Some(near) => format!("there is no such dialect; did you mean '{near}'?"),
        None => format!("there is no such dialect, but {}", known.join(", ")),
    })
}

/// Parses `100/10s`.
fn rate_limit(text: &str) -> Result<(usize, i64), String> {
    let wanted = || format!("'{text}' is no rate limit; write requests per time: 100/10s");
    let (requests, per) = text.split_once('/').ok_or_else(wanted)?;
    let requests = requests.trim().parse::<usize>().ok().filter(|requests| *requests > 0).ok_or_else(wanted)?;
    let per_ms = crate::model::document::parse_duration_ms(per.trim()).filter(|ms| *ms > 0).ok_or_else(wanted)?;
    Ok((requests, i64::try_from(per_ms).map_err(|_| wanted())?))
}

pub(super) async fn execute(args: Args, out: &Output) -> Result<Exit, Failure> {
    let accounts = args.accounts.clone();
    let dialect = args.dialect;
    let hostile = args.hostile.then(|| Hostile::swarm(args.hostile_seed.unwrap_or_else(|| fastrand::u64(..1_000_000))));
    let webhook = args.webhooks.wanted()?;
    let has_secret = webhook.as_ref().is_some_and(|webhook| webhook.secret.is_some());
    let mut builder = builder(args);
    if let Some(hostile) = &hostile {
        builder = builder.hostile(hostile.clone());
    }
    for (account, webhook) in accounts.iter().zip(webhook.iter().cycle()) {
        builder = builder.webhook(account, webhook.clone());
    }
    let sandbox = builder.start()?;
    tell(&sandbox, dialect, &accounts, (hostile.as_ref(), webhook.as_ref()), out);
    if webhook.is_some() && !has_secret {
        for account in &accounts {
            out.say(format!("  signed for {account} with {}", webhook_secret(account)));
        }
    }
    told_to_end().await.map_err(|error| Failure::refused(format!("failed to listen for signals: {error}")))?;
    sandbox.stop().await;
    Ok(Exit::Done)
}

fn builder(args: Args) -> SandboxBuilder {
    let mut builder = Sandbox::builder()
        .dialect(args.dialect)
        .port(args.port)
        .accounts(args.accounts.clone())
        .page_size(args.page_size)
        .batch_size(args.batch_size);
    if let Some((requests, per_ms)) = args.rate_limit {
        builder = builder.rate_limit(requests, per_ms);
    }
    if args.normalise {
        builder = builder.normalise(true);
    }
    match args.seed {
        None if args.empty => builder,
        None => builder.demo(),
        Some(seed) => {
            for account in &args.accounts {
                for object in builder.object_names() {
                    builder = builder.seed(account, &object, args.records, seed);
                }
            }
            builder
        }
    }
}

fn tell(
    sandbox: &SandboxHandle,
    dialect: Dialect,
    accounts: &[String],
    (hostile, webhook): (Option<&Hostile>, Option<&Webhook>),
    out: &Output,
) {
    let tokens: Vec<_> =
        accounts.iter().map(|account| serde_json::json!({ "account": account, "token": token(account) })).collect();
    let first = accounts.first().map(|account| config(sandbox, dialect, account));
    out.value(&serde_json::json!({
        "url": sandbox.api_url(), "accounts": tokens, "hostile": hostile, "webhook": webhook, "config": first,
    }));
    let what = match dialect {
        Dialect::Crm => "sandbox CRM".to_owned(),
        other => format!("sandbox in the dialect of {}", other.name()),
    };
    out.say(format!("{what} at {}; end it with Ctrl-C", out.bold(&sandbox.api_url())));
    for account in accounts {
        out.say(format!("  account {account}, token {}", token(account)));
    }
    if let Some(account) = accounts.first() {
        let header = format!("Authorization: Bearer {}", token(account));
        out.say(format!("try: curl -H '{header}' '{}{}'", sandbox.api_url(), dialect.example()));
        if dialect != Dialect::Crm {
            let file = dialect.connector();
            out.say(format!("connect it: put {file} of this project's fixtures/connectors beside this syncline.toml:"));
            for line in config(sandbox, dialect, account).lines() {
                out.say(format!("  {line}"));
            }
            let object = dialect.object();
            out.say(format!("does the file fit? syncline connector try syncline.toml {account} {object}"));
        }
    }
    if let Some(hostile) = hostile {
        let seed = hostile.seed;
        out.say(format!("hostile, as --hostile-seed {seed} draws: {}/_sandbox/hostile", sandbox.base_url()));
    }
    out.say(format!("what it was asked: {}/_sandbox/stats?log=20", sandbox.base_url()));
    if let Some(webhook) = webhook {
        let (url, base_url) = (webhook.shown_url(), sandbox.base_url());
        out.say(format!("webhooks go to {url}; what came of them: {base_url}/_sandbox/webhooks"));
    }
}

/// A configuration that connects it, with the connector file beside it.
fn config(sandbox: &SandboxHandle, dialect: Dialect, account: &str) -> String {
    let (file, url, token) = (dialect.connector(), sandbox.api_url(), token(account));
    let fields = dialect.fields();
    let lines: String = fields.iter().map(|(ours, theirs)| format!("{ours} = \"{theirs}\"\n")).collect();
    format!(
        "state = \"{account}.redb\"\n\n[[connection]]\nid = \"{account}\"\nconnector = \"{file}\"\nbase_url = \"{url}\"\n\
         auth = {{ bearer = \"{token}\" }}\nallow_private = true\n\n[[sync]]\nname = \"contacts\"\napp = \"contacts\"\n\
         remote = \"{}\"\ndirection = \"two_way\"\nmatch = [\"{}\"]\n\n[sync.fields]\n{lines}",
        dialect.object(),
        fields.first().map_or("", |(ours, _)| ours),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects_are_known_by_their_names() {
        for known in Dialect::ALL {
            assert_eq!(dialect(known.name()), Ok(known));
        }
        assert!(dialect("hubspott").is_err_and(|told| told.contains("did you mean 'hubspot'?")));
        assert!(dialect("sap").is_err_and(|told| told.contains("crm, ")));
    }

    #[test]
    fn rate_limits_parse() {
        assert_eq!(rate_limit("100/10s"), Ok((100, 10_000)));
        for text in ["100", "100/", "/10s", "0/1s", "100/0s", "x/1s", "1/1parsec"] {
            assert!(rate_limit(text).is_err(), "{text}");
        }
    }
}
