use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

const HELPER: &str = "ARTICURATED_PDF_TEST_HELPER";
/// For conditions that usually hold after milliseconds. The machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn renderer(tabs: usize, deadline: Duration) -> Renderer {
    Renderer::start(PdfSettings { tabs, deadline, ..PdfSettings::default() })
}

async fn current(renderer: &Renderer) -> Arc<Chromium> {
    renderer.browser().await.expect("a browser")
}

/// The requests of documents that this browser has refused.
pub(crate) async fn refused(renderer: &Renderer) -> usize {
    current(renderer).await.connection.refused()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).expect("the process is there");
}

fn pid(browser: &Chromium) -> i32 {
    browser.process_id.cast_signed()
}

/// The processes of a browser's group that have not ended, with their command lines.
fn processes(group: i32) -> Vec<(i32, String)> {
    let folders = std::fs::read_dir("/proc").expect("a Linux").flatten();
    let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.len() > 2 && fields[0] != "Z" && fields[2] == group.to_string()
    })
    .map(|id| (id, std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default()))
    .collect()
}

fn is_gone(group: i32, profile: &Path) -> bool {
    processes(group).is_empty() && !profile.exists()
}

/// What a tool of poppler says about a PDF.
pub(crate) fn poppler(tool: &str, arguments: &[&str], pdf: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(pdf).expect("written");
    let mut command = Command::new(tool);
    command.args(arguments).arg(file.path());
    if tool == "pdftotext" {
        command.arg("-");
    }
    let output = command.output().expect("poppler-utils are installed");
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(crate) fn text(pdf: &[u8]) -> String {
    poppler("pdftotext", &["-layout"], pdf)
}

/// Keeps a tab busy for far longer than any deadline here.
fn endless_html() -> String {
    format!("<table>{}</table>", "<tr><td>a<td>b<td>c".repeat(600_000))
}

/// Keeps a tab busy for long enough that a test sees it.
fn slow_html() -> String {
    format!("<p>printed<table>{}</table>", "<tr><td>a<td>b".repeat(5_000))
}

#[tokio::test]
async fn two_megabytes_of_html_are_one_message() {
    let renderer = renderer(1, DEADLINE);
    let html = format!("<!-- {} --><p>the end", "x".repeat(2 << 20));
    assert!(text(&renderer.render(html).await.expect("a PDF")).contains("the end"));
    renderer.shutdown().await;
}

/// Requests an address in eight ways, and tries to read files and to run scripts.
fn reaching_html(port: u16) -> String {
    let address = format!("http://127.0.0.1:{port}");
    format!(
        r#"<p>the text itself</p><link rel="preconnect" href="{address}">
        <script src="{address}/script"></script><script>document.write("a script ran")</script>
        <img src="{address}/image"><img src="http://[::ffff:127.0.0.1]:{port}/mapped">
        <img src="x" onerror="document.write('a handler ran')">
        <iframe src="{address}/frame"></iframe><object data="{address}/object"></object>
        <iframe src="file:///etc/passwd" width="800"></iframe><object data="file:///etc/passwd"></object>
        <link rel="stylesheet" href="{address}/style"><style>@import url("{address}/import");
        i {{ background: url(http://localhost:{port}/background) }}
        @font-face {{ font-family: x; src: url({address}/font) }} i {{ font-family: x }}</style><i>x</i>"#
    )
}

#[tokio::test]
async fn nothing_is_fetched_and_no_script_runs() {
    let renderer = renderer(1, DEADLINE);
    let browser = current(&renderer).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("non-blocking");
    let port = listener.local_addr().expect("an address").port();
    let leaving = format!(r#"<meta http-equiv="refresh" content="0;url=http://127.0.0.1:{port}/"><p>the text itself"#);
    let mut refused = 0;
    for (html, requests) in [(reaching_html(port), 8), (leaving, 1)] {
        let text = text(&renderer.render(html).await.expect("a PDF"));
        assert!(text.contains("the text itself"), "{text}");
        assert!(!text.contains("root:") && !text.contains(" ran"), "{text}");
        refused += requests;
        eventually("each request is refused", || browser.connection.refused() >= refused).await;
        let connection = listener.accept().map_err(|error| error.kind());
        assert_eq!(connection.map(|(_, peer)| peer), Err(std::io::ErrorKind::WouldBlock));
    }
    let after = text(&renderer.render("<p>afterwards".to_owned()).await.expect("a PDF"));
    assert_eq!(after.trim(), "afterwards");
    assert!(Arc::ptr_eq(&browser, &current(&renderer).await), "the tab survived it");
    drop(browser);
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_document_past_its_deadline_ends_alone() {
    let renderer = renderer(2, Duration::from_secs(5));
    let (endless, short) =
        tokio::join!(renderer.render(endless_html()), async { renderer.render("<p>short".to_owned()).await });
    assert!(matches!(endless, Err(PdfError::Deadline(_))), "{endless:?}");
    assert!(text(&short.expect("a PDF")).contains("short"));
    assert!(text(&renderer.render("<p>afterwards".to_owned()).await.expect("a PDF")).contains("afterwards"));
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_browser_that_hangs_is_replaced_and_killed() {
    let renderer = renderer(1, Duration::from_secs(3));
    let browser = current(&renderer).await;
    let (group, profile) = (pid(&browser), browser.profile.clone());
    drop(browser);
    signal(group, Signal::SIGSTOP);
    let hung = renderer.render("<p>first".to_owned()).await;
    assert!(matches!(hung, Err(PdfError::Deadline(_))), "{hung:?}");
    assert!(text(&renderer.render("<p>second".to_owned()).await.expect("a PDF")).contains("second"));
    eventually("the stopped browser is gone", || is_gone(group, &profile)).await;
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_document_survives_the_crash_of_its_browser() {
    let renderer = renderer(1, DEADLINE);
    let browser = current(&renderer).await;
    let (group, profile) = (pid(&browser), browser.profile.clone());
    let printing = tokio::spawn({
        let renderer = renderer.clone();
        async move { renderer.render(slow_html()).await }
    });
    eventually("the document has its tab", || browser.has_no_idle_tab()).await;
    drop(browser);
    signal(group, Signal::SIGKILL);
    assert!(text(&printing.await.expect("no panic").expect("a PDF")).contains("printed"));
    assert_ne!(pid(&*current(&renderer).await), group);
    eventually("the killed browser is gone", || is_gone(group, &profile)).await;
    renderer.shutdown().await;
}

#[tokio::test]
async fn the_crash_of_an_idle_tab_is_noticed() {
    let renderer = renderer(2, DEADLINE);
    let browser = current(&renderer).await;
    for (id, command) in processes(pid(&browser)) {
        if command.contains("--type=renderer") {
            signal(id, Signal::SIGKILL);
        }
    }
    eventually("the crash is noticed", || !browser.is_healthy()).await;
    assert!(text(&renderer.render("<p>printed".to_owned()).await.expect("a PDF")).contains("printed"));
    assert!(!Arc::ptr_eq(&browser, &current(&renderer).await));
    drop(browser);
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_tab_usable() {
    let renderer = renderer(1, DEADLINE);
    let browser = current(&renderer).await;
    let caller = tokio::spawn({
        let renderer = renderer.clone();
        async move { renderer.render(slow_html()).await }
    });
    eventually("the document has its tab", || browser.has_no_idle_tab()).await;
    caller.abort();
    assert!(text(&renderer.render("<p>next".to_owned()).await.expect("a PDF")).contains("next"));
    assert!(Arc::ptr_eq(&browser, &current(&renderer).await));
    drop(browser);
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_browser_is_replaced_after_its_number_of_documents_and_fails_none() {
    let settings = PdfSettings { tabs: 2, recycle_after: 5, ..PdfSettings::default() };
    let renderer = Renderer::start(settings);
    let first = current(&renderer).await;
    let (group, profile) = (pid(&first), first.profile.clone());
    drop(first);
    let documents: Vec<_> = (0..30)
        .map(|number| {
            let renderer = renderer.clone();
            tokio::spawn(async move { renderer.render(format!("<p>document {number}.")).await })
        })
        .collect();
    for (number, document) in documents.into_iter().enumerate() {
        let pdf = document.await.expect("no panic").expect("a PDF");
        assert!(text(&pdf).contains(&format!("document {number}.")));
    }
    eventually("the first browser is gone", || is_gone(group, &profile)).await;
    renderer.shutdown().await;
}

#[tokio::test]
async fn shutdown_finishes_what_prints_and_leaves_nothing() {
    let renderer = renderer(1, DEADLINE);
    let browser = current(&renderer).await;
    let (group, profile) = (pid(&browser), browser.profile.clone());
    let printing = tokio::spawn({
        let renderer = renderer.clone();
        async move { renderer.render(slow_html()).await }
    });
    eventually("the document has its tab", || browser.has_no_idle_tab()).await;
    drop(browser);
    renderer.shutdown().await;
    assert!(is_gone(group, &profile), "{:?}", processes(group));
    assert!(text(&printing.await.expect("no panic").expect("a PDF")).contains("printed"));
    assert!(matches!(renderer.render(String::new()).await, Err(PdfError::Stopped)));
    renderer.shutdown().await;
}

#[tokio::test]
#[ignore = "the process that the next test kills"]
async fn be_killed() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    let renderer = renderer(2, DEADLINE);
    let browser = current(&renderer).await;
    println!("\nbrowser {} {}", browser.process_id, browser.profile.display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_browser_of_a_killed_process_goes_and_its_profile_is_swept() {
    let name = format!("{}::be_killed", module_path!().split_once("::").expect("a crate").1);
    let mut process = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", &name, "--ignored", "--nocapture"])
        .env(HELPER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test runs");
    let lines = BufReader::new(process.stdout.take().expect("is piped")).lines().map_while(Result::ok);
    let line = lines.into_iter().find_map(|line| Some(line.strip_prefix("browser ")?.to_owned())).expect("a browser");
    let (group, profile) = line.split_once(' ').expect("two words");
    let (group, profile) = (group.parse().expect("a number"), PathBuf::from(profile));
    assert!(!processes(group).is_empty());
    process.kill().expect("SIGKILL");
    process.wait().expect("gone");
    eventually("the orphan exits", || processes(group).is_empty()).await;
    let renderer = renderer(1, DEADLINE);
    renderer.warm_up().await.expect("a browser");
    // Another test that starts a browser at the same moment may be sweeping this profile.
    eventually("the next start sweeps", || !profile.exists()).await;
    renderer.shutdown().await;
}

#[tokio::test]
async fn a_missing_or_broken_browser_is_named() {
    let with = |path: &str| {
        Renderer::start(PdfSettings { chromium_path: Some(PathBuf::from(path)), ..PdfSettings::default() })
    };
    let missing = with("/nowhere/chromium").warm_up().await.expect_err("there is none");
    assert!(missing.to_string().contains("/nowhere/chromium") && missing.to_string().contains("CHROMIUM_PATH"));
    let broken = with("/bin/ls").warm_up().await.expect_err("it is no browser");
    assert!(matches!(&broken, PdfError::Launch(why) if why.contains("unrecognized option")), "{broken}");
}
