//! Real services, started and stopped, and started by a process that is then killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use embedded::{postgres, rabbitmq};
use sqlx::{Connection, PgConnection};

const FOLDER_VARIABLE: &str = "EMBEDDED_TEST_FOLDER";
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether the process is alive and holds resources. A zombie does not.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

fn wait_until_gone(pids: &[u32]) {
    let until = Instant::now() + DEADLINE;
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(
            Instant::now() < until,
            "still alive: {:?}",
            pids.iter().filter(|pid| is_alive(**pid)).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every process with the folder on its command line: the services and all their helpers.
fn processes_of(folder: &Path) -> Vec<u32> {
    let needle = folder.to_str().expect("a plain path");
    let pids =
        fs::read_dir("/proc").expect("a Linux").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| *pid != std::process::id() && is_alive(*pid))
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(needle))
        })
        .collect()
}

#[tokio::test]
async fn a_cluster_keeps_its_data_across_a_stop_and_leaves_no_process() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = place.path().join("postgres");

    let cluster = postgres::PrivateCluster::start(postgres::Options::new(&folder)).await.unwrap();
    cluster.create_database("orders").await.unwrap();
    let mut connection = PgConnection::connect(&cluster.url("orders")).await.unwrap();
    sqlx::query("create table kept (n integer)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    cluster.create_database_from_template("copy", "orders").await.unwrap();

    let refused = postgres::PrivateCluster::start(postgres::Options::new(&folder)).await.unwrap_err();
    assert!(refused.to_string().contains("in use by another run"), "{refused}");

    let (port, pid) = (cluster.port(), cluster.pid());
    cluster.stop().await;
    wait_until_gone(&[pid]);
    assert_eq!(processes_of(place.path()), Vec::<u32>::new());

    let again = postgres::PrivateCluster::start(postgres::Options::new(&folder)).await.unwrap();
    assert_eq!(again.port(), port, "the port is remembered");
    let mut connection = PgConnection::connect(&again.url("copy")).await.unwrap();
    sqlx::query("insert into kept values (1)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    again.drop_database("copy").await.unwrap();
    assert!(!again.database_exists("copy").await.unwrap());
    assert!(again.database_exists("orders").await.unwrap());
    again.stop().await;

    let fresh = postgres::Options { fresh: true, ..postgres::Options::new(&folder) };
    let empty = postgres::PrivateCluster::start(fresh).await.unwrap();
    assert!(!empty.database_exists("orders").await.unwrap());
    empty.stop().await;
}

#[tokio::test]
async fn a_cluster_that_crashes_comes_back_on_its_port_with_what_was_committed() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = postgres::Options::new(place.path().join("postgres"));
    let mut cluster = postgres::PrivateCluster::start(options).await.unwrap();
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    sqlx::raw_sql(
        "create table kept (n integer); begin; insert into kept values (1); commit; begin; insert into kept values (2)",
    )
    .execute(&mut connection)
    .await
    .unwrap();

    let (port, crashed) = (cluster.port(), cluster.pid());
    cluster.kill();
    wait_until_gone(&[crashed]);
    assert!(sqlx::query("commit").execute(&mut connection).await.is_err(), "the connection broke with the server");
    cluster.restart().await.unwrap();
    assert_eq!(cluster.port(), port);
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let kept: Vec<i32> = sqlx::query_scalar("select n from kept").fetch_all(&mut connection).await.unwrap();
    assert_eq!(kept, [1]);
    connection.close().await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_cluster_asks_for_its_password_and_a_taken_port_is_refused() {
    let place = tempfile::tempdir().unwrap();
    // Closed to the user postgres: as root, the folder has to be created elsewhere.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let folder = place.path().join("postgres");

    let cluster = postgres::PrivateCluster::start(postgres::Options::new(&folder)).await.unwrap();
    let without = format!("postgres://articurated@127.0.0.1:{}/postgres", cluster.port());
    assert!(
        PgConnection::connect(&without).await.is_err(),
        "the superuser must not be open to every user of this machine"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = postgres::Options { port: Some(port), ..postgres::Options::new(place.path().join("other")) };
    let refused = postgres::PrivateCluster::start(options).await.unwrap_err();
    assert!(refused.to_string().contains(&format!("port {port}")), "{refused}");

    cluster.stop().await;
    for link in ["postgres", "other"] {
        fs::remove_dir_all(place.path().join(link).canonicalize().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_node_can_be_killed_restarted_and_stopped() {
    let place = tempfile::tempdir().unwrap();
    let mut node = rabbitmq::PrivateNode::start(rabbitmq::Options::new(place.path().join("rabbitmq"))).await.unwrap();
    let users = node.ctl(&["list_users"]).await.unwrap();
    assert!(users.contains("articurated") && !users.contains("guest"), "{users}");

    let [crashed, _] = node.pids();
    node.kill();
    wait_until_gone(&[crashed]);
    node.restart().await.unwrap();
    assert_ne!(node.pids()[0], crashed);
    node.ctl(&["add_vhost", "still_works"]).await.unwrap();

    let pids = node.pids();
    node.stop().await;
    wait_until_gone(&pids);
    assert_eq!(processes_of(place.path()), Vec::<u32>::new());
}

#[test]
fn nothing_survives_the_kill_of_the_process_that_started_it() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "holds_services_until_it_is_killed", "--nocapture"])
        .env(FOLDER_VARIABLE, place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    let held = lines.find_map(|line| line.strip_prefix("held:").map(str::to_owned)).expect("the services start");
    let pids: Vec<u32> = held.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.iter().filter(|pid| is_alive(**pid)).count(), 3, "{pids:?}");

    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until_gone(&pids);
    let until = Instant::now() + DEADLINE;
    while !processes_of(place.path()).is_empty() {
        assert!(Instant::now() < until, "{:?}", processes_of(place.path()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
#[ignore = "the process that the test above starts and kills"]
async fn holds_services_until_it_is_killed() {
    let Some(place) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let place = Path::new(&place);
    let cluster = postgres::PrivateCluster::start(postgres::Options::new(place.join("postgres"))).await.unwrap();
    let node = rabbitmq::PrivateNode::start(rabbitmq::Options::new(place.join("rabbitmq"))).await.unwrap();
    let [broker, epmd] = node.pids();
    println!("\nheld: {} {broker} {epmd}", cluster.pid());
    std::future::pending::<()>().await;
}
