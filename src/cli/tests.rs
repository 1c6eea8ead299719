use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, String> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    Cli::try_parse_from(std::iter::once("syncline").chain(words)).map_err(|error| error.to_string())
}

#[test]
fn the_commands_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_parses() {
    for line in [
        "demo",
        "demo --once --port 8090 --state demo.redb --json",
        "run acme.toml --log-json --threads 2",
        "sync acme.toml",
        "sync acme.toml --connection acme --sync contacts --once",
        "sync acme.toml --full --json",
        "sync acme.toml --connection acme --sync contacts --record 7 --side remote",
        "plan acme.toml --connection acme --sync contacts --limit 0",
        "check acme.toml --offline",
        "status acme.toml",
        "status --state acme.redb",
        "dump acme.redb",
        "pause acme.toml acme",
        "resume acme.toml acme",
        "list acme.toml acme contacts --side app --json",
        "read acme.toml acme contacts 7",
        "find acme.toml acme contacts properties.email=a@example.com age:=7",
        "create acme.toml acme contacts {\"email\":\"a\"}",
        "update acme.toml acme contacts 7 -",
        "delete acme.toml acme contacts 7",
        "create acme.toml acme contacts {} --sync contacts",
        "connection list acme.toml",
        "connection show acme.toml acme",
        "connection add acme.toml -",
        "connection change acme.toml acme-two.toml",
        "connection remove acme.toml acme --purge",
        "reload acme.toml",
        "connector check crm.toml",
        "connector try acme.toml acme contacts --record -",
        "schema config",
        "schema connector",
        "sandbox --port 0 --accounts a,b --seed 7 --records 10 --rate-limit 100/10s --page-size 5",
        "sandbox --webhook http://127.0.0.1:1/w --webhook-secret whsec_x --webhook-thin --webhook-loss 50 --webhook-old 1",
        "--json status acme.toml",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_does_not_fit_together_is_told_with_a_way_out() {
    for (line, told) in [
        ("", "Usage"),
        ("rum acme.toml", "run"),
        ("run", "<FILE>"),
        ("schema konfig", "possible values: config, connector"),
        ("status", "<FILE>"),
        ("status acme.toml --state acme.redb", "cannot be used with"),
        ("sync acme.toml --record 7", "--connection"),
        ("sync acme.toml --connection a --sync b --record 7 --side left", "possible values: app, remote"),
        ("sandbox --rate-limit much", "100/10s"),
        ("sandbox --empty --seed 7", "cannot be used with"),
        ("sandbox --webhook-loss 50", "--webhook <URL>"),
        ("demo --port 70000", "0..=65535"),
    ] {
        let error = parse(line).err().unwrap_or_else(|| panic!("{line} was accepted"));
        assert!(error.contains(told), "{line}: {error}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    let help = Cli::command().render_long_help().to_string();
    for code in ["  0  ", "  1  ", "  2  ", "  3  ", "  4  "] {
        assert!(help.contains(code), "{help}");
    }
}
