//! Checks docker-compose.yml, the files it names, and .env.example against the programs' own settings. Needs no Docker.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use embedded::postgres::{Options, PrivateCluster};
use runtime::config::DatabaseConfig;
use runtime::database;
use serde_json::{Map, Value};
use tests::programs::{self, root};

const IMAGE: &str = "articurated:local";
const PROGRAMS: [&str; 7] = ["command", "outbox-relay", "workers", "query", "ops", "payment-gateway", "standalone"];
/// The logins of the database in docker-compose.yml, and the role of each.
const LOGINS: [(&str, &str); 5] = [
    ("command", "articurated_command"),
    ("relay", "articurated_relay"),
    ("workers", "articurated_workers"),
    ("query", "articurated_query"),
    ("operations", "articurated_operator"),
];

/// A program's settings, read from its `--help`.
#[derive(Debug, Default)]
struct Help {
    flags: BTreeSet<String>,
    /// Variable → default; empty when there is none.
    defaults: BTreeMap<String, String>,
    required: BTreeSet<String>,
}

/// A setting in .env.example: its default, and the programs in the heading above it.
type Documented = BTreeMap<String, (String, BTreeSet<String>)>;

static COMPOSE: LazyLock<Value> = LazyLock::new(|| {
    let mut compose: yaml_serde::Value = yaml_serde::from_str(&read("docker-compose.yml")).expect("YAML");
    compose.apply_merge().expect("mappings are merged into mappings");
    serde_json::to_value(compose).expect("nothing but JSON's types")
});

/// The crate of a program.
fn package(program: &str) -> &str {
    if program == "ops" { "operations" } else { program }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The text between the first `before` and the next `after`.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

fn help(command: &[&str]) -> Help {
    let (program, subcommand) = command.split_first().expect("a program");
    let output = Command::new(programs::folder().join(program)).args(subcommand).arg("--help").env_clear().output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{command:?} is no command");
    let text = String::from_utf8(output.stdout).expect("help is text");
    let usage = between(&text, "Usage: ", "\n").expect("a usage line");
    let (mut help, mut flag, mut variable) = (Help::default(), "", "");
    for line in text.lines().map(str::trim_start) {
        if line.starts_with('-') {
            flag = line.split(' ').find(|word| word.starts_with("--")).unwrap_or(flag);
            help.flags.insert(flag.to_owned());
        }
        // Where all descriptions are short, clap prints them on the flag's own line.
        if let Some(name) = between(line, "[env: ", "]") {
            variable = name.trim_end_matches('=');
            help.defaults.insert(variable.to_owned(), String::new());
            if usage.contains(flag) {
                help.required.insert(variable.to_owned());
            }
        }
        if let Some(default) = between(line, "[default: ", "]") {
            help.defaults.insert(variable.to_owned(), default.trim_matches('"').to_owned());
        }
    }
    assert!(!help.defaults.is_empty(), "{command:?} has no settings");
    help
}

fn services() -> &'static Map<String, Value> {
    COMPOSE["services"].as_object().expect("services")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().expect("a string")).collect()
}

/// The services that run a program of ours, each with its command line.
fn processes() -> Vec<(&'static str, &'static Value, Vec<&'static str>)> {
    let ours = services().iter().filter(|(_, service)| service["image"] == IMAGE && service["entrypoint"].is_null());
    ours.map(|(name, service)| (name.as_str(), service, strings(&service["command"]))).collect()
}

/// A variable of a service, with its interpolations at their defaults.
fn variable(service: &Value, name: &str) -> Option<String> {
    match &service["environment"][name] {
        Value::Null => None,
        Value::String(text) => Some(interpolated(text)),
        other => Some(other.to_string()),
    }
}

fn interpolated(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, after) = after.split_once('}').expect("a closed interpolation");
        plain.push_str(before);
        plain.push_str(inner.split_once(":-").expect("a default").1);
        rest = after;
    }
    plain + rest
}

/// The port that a process listens on.
fn port(service: &Value) -> Option<String> {
    let ports = ["COMMAND_PORT", "QUERY_PORT", "OPS_PORT", "WORKERS_PORT", "RELAY_PORT", "GATEWAY_PORT"];
    ports.into_iter().find_map(|name| variable(service, name))
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs(text.trim_end_matches('s').parse().expect("a number of seconds"))
}

#[test]
fn every_process_of_ours_runs_a_program_with_settings_that_it_has() {
    let mut run = BTreeSet::new();
    for (name, service, command) in processes() {
        assert!(PROGRAMS.contains(&command[0]), "{name}: {command:?}");
        run.insert(command[0]);
        let words: Vec<_> = command.iter().copied().take_while(|word| !word.starts_with('-')).collect();
        let mut help = self::help(&words);
        if words == ["ops"] {
            // Operators run the other commands of `ops` in the same container.
            help.defaults.extend(self::help(&["ops", "replay"]).defaults);
        }
        for flag in command.iter().filter(|word| word.starts_with('-')) {
            let flag = flag.split('=').next().expect("split gives one at least");
            assert!(help.flags.contains(flag), "{name}: {} has no flag {flag}", command[0]);
        }
        let environment = service["environment"].as_object().expect("settings");
        for variable in environment.keys() {
            assert!(help.defaults.contains_key(variable), "{name}: {} has no setting {variable}", command[0]);
        }
        for variable in &help.required {
            assert!(environment.contains_key(variable), "{name} lacks {variable}");
        }
        // Compose passes only listed variables on. Without this a line of .env would have no effect.
        for variable in help.defaults.keys().filter(|_| port(service).is_some()) {
            assert!(environment.contains_key(variable), "{name} does not pass {variable} on");
        }
    }
    assert_eq!(run, BTreeSet::from(PROGRAMS));
}

/// docker-compose 1.29 refuses the whole file for any of these.
#[test]
fn nothing_needs_a_newer_compose_than_debian_has() {
    let top = COMPOSE.as_object().expect("a mapping").keys();
    for key in top.filter(|key| !key.starts_with("x-")) {
        assert!(["services", "volumes"].contains(&key.as_str()), "{key}");
    }
    for (name, service) in services() {
        assert!(service["env_file"].is_null(), "{name} gets every variable of a file");
        let check = service["healthcheck"].as_object().into_iter().flat_map(Map::keys);
        for key in check {
            let known = ["test", "interval", "timeout", "retries", "start_period"];
            assert!(known.contains(&key.as_str()), "{name}: {key}");
        }
    }
    let dockerfile = read("deploy/Dockerfile");
    assert!(!dockerfile.contains("--mount"), "Docker 20.10 builds without BuildKit");
}

/// Runs each Compose that is installed; `config` needs no engine.
#[test]
fn every_compose_that_is_installed_reads_the_file_as_we_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = folder.path().join("settings");
    std::fs::write(&settings, "COMMAND_PORT=1\nINVOICE_PREFIX=ZZ\nDATABASE_PASSWORD_RELAY=secret\n")?;
    let file = root().join("docker-compose.yml");
    for compose in [&["docker-compose"][..], &["docker", "compose"]] {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(compose[0]);
            command.args(&compose[1..]).args(arguments).current_dir(root()).env_clear();
            command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?)))).output()
        };
        if !run(&["version"]).is_ok_and(|output| output.status.success()) {
            eprintln!("{compose:?} is not installed here; skipped");
            continue;
        }
        let (settings, file) = (settings.to_str().context("a plain path")?, file.to_str().context("a plain path")?);
        let output = run(&["--env-file", settings, "--file", file, "config"])?;
        ensure!(output.status.success(), "{compose:?}: {}", String::from_utf8_lossy(&output.stderr));
        let config: Value = yaml_serde::from_slice(&output.stdout)?;
        for (name, service) in services() {
            let given = config["services"][name]["environment"].as_object();
            let listed = service["environment"].as_object();
            let names = |of: Option<&Map<String, Value>>| of.into_iter().flat_map(Map::keys).cloned().collect();
            let (given_names, listed): (BTreeSet<String>, BTreeSet<String>) = (names(given), names(listed));
            assert_eq!(given_names, listed, "{compose:?}: {name}");
        }
        let environment = |service: &str| &config["services"][service]["environment"];
        assert_eq!(environment("workers")["INVOICE_PREFIX"], "ZZ", "{compose:?}: a setting of .env");
        assert!(environment("workers")["PDF_TABS"].is_null(), "{compose:?}: a setting that .env does not have");
        let port = &environment("command")["COMMAND_PORT"];
        assert!(port == 8001 || port == "8001", "{compose:?}: .env must not change the wiring, and has: {port}");
        let url = environment("outbox-relay")["DATABASE_URL"].as_str().context("an address")?;
        assert_eq!(url, "postgres://relay:secret@postgres:5432/articurated", "{compose:?}");
    }
    Ok(())
}

#[test]
fn a_service_waits_only_for_what_can_come() {
    for (name, service) in services() {
        let awaited = service["depends_on"].as_object().cloned().unwrap_or_default();
        for (other, how) in awaited {
            let target =
                services().get(&other).unwrap_or_else(|| panic!("{name} depends on {other}, which does not exist"));
            match how["condition"].as_str().expect("a condition") {
                "service_healthy" => assert!(!target["healthcheck"]["test"].is_null(), "{other} has no health check"),
                "service_completed_successfully" => {
                    assert_eq!(target["restart"], "no", "{other} restarts, so it never completes");
                }
                other => panic!("{name}: {other}"),
            }
        }
        let ends = service["restart"] == "no";
        assert!(ends || !service["healthcheck"]["test"].is_null(), "{name} has no health check");
        assert!(!service["mem_limit"].is_null(), "{name} has no memory limit");
    }
}

#[test]
fn ports_and_addresses_agree() {
    let proxy = read("deploy/proxy/nginx.conf");
    for (name, service, _) in processes() {
        let Some(port) = port(service) else { continue };
        assert_eq!(variable(service, "BIND_ADDRESS").as_deref(), Some("0.0.0.0"), "{name} is unreachable");
        let check = strings(&service["healthcheck"]["test"]).join(" ");
        assert!(check.ends_with(&format!("http://127.0.0.1:{port}/health/ready")), "{name}: {check}");
        for published in strings(&service["ports"]) {
            assert!(published.ends_with(&format!(":{port}")), "{name} does not listen on {published}");
        }
        if let Some(upstream) = between(&proxy, &format!("server {name}:"), " ") {
            assert_eq!(upstream, port, "the proxy's {name}");
        }
        for (variable_name, scheme) in [("DATABASE_URL", "postgres"), ("RABBITMQ_URL", "amqp"), ("GATEWAY_URL", "http")]
        {
            let Some(url) = variable(service, variable_name) else { continue };
            let url = reqwest::Url::parse(&url).unwrap_or_else(|error| panic!("{name}: {url}: {error}"));
            let host = url.host_str().expect("a host");
            let target = services().get(host).unwrap_or_else(|| panic!("{name}: there is no service {host}"));
            assert_eq!(url.scheme(), scheme, "{name}: {url}");
            if let Some(listens) = self::port(target) {
                assert_eq!(url.port().map(|port| port.to_string()), Some(listens), "{name}: {url}");
            }
        }
    }
    assert!(proxy.contains("server command:") && proxy.contains("server query:") && proxy.contains("listen 8000;"));
    assert!(strings(&services()["proxy"]["ports"])[0].ends_with(":8000:8000"));
}

/// The proxy sends GET to the query service and everything else to the command service, but for the writes that it names.
#[test]
fn the_proxy_knows_the_writes_of_the_query_service() {
    let proxy = read("deploy/proxy/nginx.conf");
    let mut writes = 0;
    for (path, item) in query::openapi().paths.paths {
        if item.post.is_some() || item.patch.is_some() || item.put.is_some() || item.delete.is_some() {
            let location = format!("location = {path} {{\n            proxy_pass http://query;");
            assert!(proxy.contains(&location), "deploy/proxy/nginx.conf sends {path} to the command service");
            writes += 1;
        }
    }
    assert_eq!(writes, 1);
    for (path, item) in command::openapi().paths.paths {
        assert!(item.get.is_none(), "{path} of the command service is read through the query service");
    }
}

#[test]
fn files_and_volumes_that_are_mounted_exist() {
    for (name, service) in services() {
        for mount in strings(&service["volumes"]) {
            let source = mount.split(':').next().expect("split gives one at least");
            if let Some(file) = source.strip_prefix("./") {
                // Docker creates a folder for a missing path, which is wrong where the path is a file.
                assert!(["invoices", "seals"].contains(&file) || root().join(file).is_file(), "{name}: {mount}");
            } else {
                assert!(COMPOSE["volumes"].get(source).is_some(), "{name}: {mount}");
            }
        }
        for option in strings(&service["security_opt"]) {
            if let Some(profile) = option.strip_prefix("seccomp=") {
                serde_json::from_str::<Value>(&read(profile)).unwrap_or_else(|error| panic!("{profile}: {error}"));
            }
        }
    }
    let store = |name: &str| variable(&services()[name], "INVOICE_STORE_URL").expect("an invoice store");
    for (name, mode) in [("workers", ""), ("query", ":ro")] {
        let mount = format!("./invoices:{}{mode}", store(name));
        assert!(strings(&services()[name]["volumes"]).contains(&mount.as_str()), "{name} has no {mount}");
    }
}

#[test]
fn one_service_builds_the_image_that_holds_every_program() {
    let builds: Vec<_> = services().values().filter(|service| !service["build"].is_null()).collect();
    assert_eq!(builds.len(), 1);
    let dockerfile = read(builds[0]["build"]["dockerfile"].as_str().expect("a Dockerfile"));
    assert_eq!(builds[0]["image"], IMAGE);
    let copied = between(&dockerfile, "&& cp ", " /programs/").expect("the programs are copied out of the builder");
    assert_eq!(copied.split(' ').collect::<BTreeSet<_>>(), BTreeSet::from(PROGRAMS));
    for program in PROGRAMS {
        assert!(dockerfile.contains(&format!("-p {} ", package(program))), "{program} is not built");
    }
}

#[test]
fn a_process_is_not_killed_while_it_drains() {
    let drain = |file: &str| {
        let source = read(file);
        let constant = between(&source, "const DRAIN", ";")?.to_owned();
        Some(seconds(between(&constant, "from_secs(", ")")?))
    };
    let http = drain("crates/runtime/src/http/serve.rs").expect("a limit on draining requests");
    for (name, service, command) in processes() {
        if service["restart"] == "no" {
            continue;
        }
        let tasks = drain(&format!("{}/src/main.rs", package(command[0]))).unwrap_or_default();
        let grace = seconds(service["stop_grace_period"].as_str().expect("a grace period"));
        assert!(grace > http + tasks, "{name}: {grace:?} for {:?}", http + tasks);
    }
}

/// .env.example.
fn documented() -> Documented {
    let (mut settings, mut readers, mut explained) = (Documented::new(), BTreeSet::new(), false);
    for line in read(".env.example").lines() {
        if let Some(heading) = between(line, "# == ", " ==") {
            readers = heading.split(", ").map(str::to_owned).collect();
        } else if let Some((name, default)) = line.strip_prefix('#').and_then(|line| line.split_once('='))
            && !name.starts_with(' ')
        {
            assert!(explained, "{name} has no comment");
            let twice = settings.insert(name.to_owned(), (default.to_owned(), readers.clone()));
            assert!(twice.is_none(), ".env.example has {name} twice");
        }
        assert!(line.is_empty() || line.starts_with('#'), ".env.example must be all comments, but has {line:?}");
        explained = line.starts_with("# ");
    }
    settings
}

#[test]
fn env_example_lists_every_setting_with_its_default_under_its_readers() {
    let mut known = Documented::new();
    let commands = PROGRAMS.iter().map(|program| vec![*program]).filter(|command| command[0] != "standalone");
    let operators =
        [vec!["ops", "replay"], vec!["ops", "audit"], vec!["ops", "doctor"], vec!["ops", "customer", "erase"]];
    let standalone = ["run", "migrate"].map(|command| vec!["standalone", command]);
    for command in commands.chain(operators).chain(standalone) {
        for (name, default) in help(&command).defaults {
            let (documented, readers) = known.entry(name.clone()).or_insert_with(|| (default.clone(), BTreeSet::new()));
            assert_eq!(*documented, default, "{name}: {command:?} and {readers:?} do not have the same default");
            readers.insert(command[0].to_owned());
        }
    }
    let compose = read("docker-compose.yml");
    for (name, rest) in compose.split("${").skip(1).filter_map(|text| text.split_once(":-")) {
        let default = rest.split_once('}').expect("a closed interpolation").0.to_owned();
        let readers = BTreeSet::from(["docker compose".to_owned()]);
        let same = known.entry(name.to_owned()).or_insert_with(|| (default.clone(), readers));
        assert_eq!(same.0, default, "{name} has two defaults in docker-compose.yml");
    }
    let documented = documented();
    let wrong: Vec<_> = known
        .iter()
        .map(|(name, setting)| (name, setting, documented.get(name)))
        .filter(|(_, setting, documented)| *documented != Some(*setting))
        .collect();
    assert!(wrong.is_empty(), "(setting, the programs' own, .env.example's): {wrong:#?}");
    let unknown: Vec<_> = documented.keys().filter(|name| !known.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "no program reads {unknown:?}");
}

#[test]
fn the_readme_has_every_setting_of_env_example_with_its_default() {
    let settings = read("docs/settings.md");
    let table = between(&settings, "<!-- settings -->", "<!-- /settings -->").expect("the table of settings");
    let rows: BTreeMap<_, _> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name, rest.split(" |").next().unwrap_or_default().trim().trim_matches('`')))
        .collect();
    let documented = documented();
    let expected: BTreeMap<_, _> =
        documented.iter().map(|(name, (default, _))| (name.as_str(), default.as_str())).collect();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn each_login_of_the_compose_database_can_take_its_own_roles_and_no_others() -> Result<()> {
    let password = |login: &str| format!("hush-{login}");
    let secret = |login: &str| format!("DATABASE_PASSWORD_{}", login.to_uppercase());
    let folder = tempfile::tempdir()?;
    let cluster = PrivateCluster::start(Options::new(folder.path().join("postgres"))).await?;
    cluster.create_database("articurated").await?;
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file"]);
    psql.arg(root().join("deploy/postgres/logins.sql")).arg(cluster.url("articurated"));
    psql.envs(LOGINS.iter().map(|(login, _)| *login).chain(["migrate"]).map(|login| (secret(login), password(login))));
    ensure!(psql.status().context("psql")?.success(), "logins.sql fails");

    let config = |login: &str| DatabaseConfig {
        database_url: format!("postgres://{login}:{}@127.0.0.1:{}/articurated", password(login), cluster.port()).into(),
        max_connections: 1,
        ..DatabaseConfig::default()
    };
    let migrating = database::connect(&config("migrate"), None, "deploy").await?;
    schema::migrate(&migrating).await?;
    migrating.close().await;
    for (login, _) in LOGINS {
        for (owner, role) in LOGINS.into_iter().chain([("relay", "articurated_maintenance")]) {
            let pool = database::connect(&config(login), Some(role), "deploy").await;
            assert_eq!(pool.is_ok(), login == owner, "{login} as {role}: {:?}", pool.err());
        }
    }

    // Each process has the password of its own login, and no two logins share one.
    let urls = services().values().filter_map(|service| variable(service, "DATABASE_URL"));
    let used: BTreeMap<_, _> = urls
        .filter_map(|url| {
            let (login, password) = between(&url, "postgres://", "@")?.split_once(':')?;
            Some((login.to_owned(), password.to_owned()))
        })
        .collect();
    let logins = LOGINS.iter().map(|(login, _)| *login).chain(["migrate"]);
    let set: BTreeMap<_, _> = logins
        .filter_map(|login| Some((login.to_owned(), variable(&services()["postgres"], &secret(login))?)))
        .collect();
    assert_eq!(used, set);
    assert_eq!(set.values().collect::<BTreeSet<_>>().len(), LOGINS.len() + 1);
    Ok(())
}

static ALERTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let file: Value = yaml_serde::from_str(&read("deploy/prometheus/alerts.yml")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules")).cloned().collect()
});

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{value} has no {field}"))
}

#[test]
fn each_alert_fires_on_the_series_that_it_is_for() {
    let tested: Value = yaml_serde::from_str(&read("deploy/prometheus/alerts_test.yml")).expect("YAML");
    let tested: BTreeSet<_> =
        tested["tests"].as_array().expect("tests").iter().map(|test| text(test, "name")).collect();
    assert_eq!(tested, ALERTS.iter().map(|alert| text(alert, "alert")).collect());
    let promtool =
        Command::new("promtool").args(["test", "rules"]).arg(root().join("deploy/prometheus/alerts_test.yml")).output();
    let promtool = promtool.expect("promtool: scripts/setup.sh test installs it");
    assert!(
        promtool.status.success(),
        "{}{}",
        String::from_utf8_lossy(&promtool.stdout),
        String::from_utf8_lossy(&promtool.stderr)
    );
}

#[test]
fn each_alert_has_a_runbook_that_names_a_command_of_ops() {
    let output = Command::new(programs::folder().join("ops")).arg("--help").env_clear().output().expect("ops");
    let help = String::from_utf8(output.stdout).expect("text");
    let known = |command: &str| help.lines().any(|line| line.split_whitespace().next() == Some(command));
    for alert in ALERTS.iter() {
        let page = read(text(&alert["annotations"], "runbook"));
        assert!(page.starts_with(&format!("# {}\n", text(alert, "alert"))), "{page}");
        let named: Vec<&str> = page.split("`ops ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()).collect();
        assert!(!named.is_empty() && named.iter().all(|command| known(command)), "{}: {named:?}", text(alert, "alert"));
    }
    let pages = std::fs::read_dir(root().join("docs/runbooks")).expect("runbooks").count();
    assert_eq!(pages, ALERTS.len() + 1, "a page for each alert, and their list");
}

/// An alert on a series that does not exist never fires.
#[test]
fn alerts_ask_for_metrics_that_the_programs_have() {
    let sources = ["crates", "command", "outbox-relay", "workers", "query"].map(|folder| root().join(folder));
    let find = Command::new("grep")
        .args(["-rhoE", "--include=*.rs", "\"[a-z]+(_[a-z]+)+\""])
        .args(sources)
        .output()
        .expect("grep");
    let found = String::from_utf8(find.stdout).expect("text");
    let names: BTreeSet<_> = found.lines().map(|name| name.trim_matches('"')).collect();
    let is_metric = |word: &&str| {
        ["_seconds", "_total", "_rows", "_bytes", "_left", "_count"].iter().any(|end| word.ends_with(end))
    };
    for alert in ALERTS.iter() {
        let expression = text(alert, "expr");
        let metrics: Vec<_> =
            expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_metric).collect();
        assert!(!metrics.is_empty(), "{expression}");
        for metric in metrics {
            let name = metric.strip_suffix("_count").unwrap_or(metric);
            assert!(names.contains(name), "{}: no program has {name}", text(alert, "alert"));
        }
    }
}
