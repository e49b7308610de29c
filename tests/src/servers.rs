//! Real servers for S3, SMTP and OpenID Connect, one per test, and what other programs make of our answers. `scripts/setup.sh test` installs
//! them.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use embedded::child::{Child, Signal, bound_to_parent};
use embedded::free_port;
use mailparse::{MailHeaderMap, ParsedMail};
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::Api;
use crate::programs::{profile_folder, root};

/// Python loads many modules before it serves, and the machine may be busy.
const START: Duration = Duration::from_secs(60);

const CERTIFICATE: &str = "certificate.pem";

fn program(name: &str) -> Result<PathBuf> {
    let target = profile_folder().parent().context("target/")?.to_owned();
    let program = target.join("servers/bin").join(name);
    ensure!(program.exists(), "{} is missing: scripts/setup.sh test installs it", program.display());
    Ok(program)
}

/// The rows of a workbook with one sheet, as another program than ours reads them.
pub fn workbook_rows(workbook: &[u8]) -> Result<Vec<Vec<Value>>> {
    let mut file = tempfile::Builder::new().suffix(".xlsx").tempfile()?;
    file.write_all(workbook)?;
    let script = root().join("tests/servers/workbook_rows.py");
    let read = Command::new(program("python")?).arg(script).arg(file.path()).output()?;
    ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    Ok(serde_json::from_slice(&read.stdout)?)
}

/// What an assistant is answered: one call after the other, by the protocol's own client. See `tests/servers/assistant.py`.
pub fn assistant(job: &Value) -> Result<Value> {
    let mut command = Command::new(program("python")?);
    command.arg(root().join("tests/servers/assistant.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    serde_json::to_writer(client.stdin.take().context("its input")?, job)?;
    let ended = client.wait_with_output()?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(serde_json::from_slice(&ended.stdout)?)
}

/// axe-core: a script that says what is wrong with a page for those who do not see it well.
pub fn axe() -> Result<String> {
    let read = "import axe_core_python as axe, pathlib; print(pathlib.Path(axe.__path__[0], 'axe.min.js').read_text())";
    let read = Command::new(program("python")?).args(["-c", read]).output()?;
    ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    Ok(String::from_utf8(read.stdout)?)
}

fn serve(name: &'static str, mut command: Command, port: u16) -> Result<Child> {
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdout(Stdio::null()).stderr(Stdio::null());
    let child = Child::spawn(name, command)?;
    child.wait_until(START, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(child)
}

/// An S3 server with one bucket, `shop`.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    endpoint: String,
}

impl S3 {
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// A server that refuses every key once the bucket exists.
    pub async fn start_locked() -> Result<Self> {
        Self::start_with(&[("INITIAL_NO_AUTH_ACTION_COUNT", "1")]).await
    }

    async fn start_with(environment: &[(&str, &str)]) -> Result<Self> {
        let port = free_port()?;
        let mut command = bound_to_parent(Signal::SIGKILL, program("moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]).envs(environment.iter().copied());
        let child = serve("moto_server", command, port)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        Api::new(&endpoint)?.call(Method::PUT, "/shop").send().await?.expect(200);
        Ok(Self { child, endpoint })
    }

    /// The environment variables with which a process uses this server.
    pub fn environment(&self) -> Vec<(String, String)> {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            variable("AWS_ENDPOINT_URL", &self.endpoint),
            variable("AWS_ACCESS_KEY_ID", "shop"),
            variable("AWS_SECRET_ACCESS_KEY", "hush"),
            variable("AWS_REGION", "ap-south-1"),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}

/// An OpenID provider. It treats the subject `forged` specially: see `tests/servers/identity_provider.py`.
#[derive(Debug)]
pub struct IdentityProvider {
    child: Child,
    api: Api,
    /// Under this name it is of another site than what is at 127.0.0.1: a browser's sites know no ports.
    pub issuer: String,
}

impl IdentityProvider {
    /// On this port. It has new keys, and one client: `console`, with the secret `hush%41`, to which browsers come back at this address.
    pub fn start(port: u16, callback: &str) -> Result<Self> {
        let mut command = bound_to_parent(Signal::SIGKILL, program("python")?);
        command.arg(root().join("tests/servers/identity_provider.py")).arg(port.to_string()).arg(callback);
        let child = serve("identity_provider.py", command, port)?;
        let issuer = format!("http://localhost:{port}");
        Ok(Self { child, api: Api::new(&issuer)?, issuer })
    }

    /// What its ID tokens say of this subject.
    pub async fn says(&self, subject: &str, claims: &Value) -> Result<()> {
        self.api.call(Method::PUT, &format!("/users/{subject}")).json(claims).send().await?.expect(204);
        Ok(())
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}

/// An SMTP server and the e-mails it has accepted. It treats some recipients specially: see `tests/servers/shop_mail.py`.
#[derive(Debug)]
pub struct MailServer {
    child: Child,
    pub port: u16,
    pub url: String,
    folder: TempDir,
}

impl MailServer {
    pub fn start() -> Result<Self> {
        Self::start_at(free_port()?)
    }

    /// A server on this port, as if one that was down came back.
    pub fn start_at(port: u16) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, port, &[])
    }

    /// A server with TLS, from the first byte or after STARTTLS, and its own [certificate](Self::certificate).
    pub fn start_with_tls(from_the_first_byte: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (file(CERTIFICATE), file("key.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
        openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
        let made = openssl.args(["-keyout", &key, "-out", &certificate]).output().context("openssl")?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let kind = if from_the_first_byte { "smtps" } else { "tls" };
        Self::start_in(folder, free_port()?, &[format!("--{kind}cert={certificate}"), format!("--{kind}key={key}")])
    }

    fn start_in(folder: TempDir, port: u16, options: &[String]) -> Result<Self> {
        let mut command = bound_to_parent(Signal::SIGKILL, program("python")?);
        command.args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}")]).args(options);
        command.args(["-c", "shop_mail.Postmaster"]);
        command.arg(folder.path().join("mails")).current_dir(root().join("tests/servers"));
        let child = serve("aiosmtpd", command, port)?;
        Ok(Self { child, port, url: format!("smtp://127.0.0.1:{port}"), folder })
    }

    /// The certificate that clients must trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join(CERTIFICATE)
    }

    /// The accepted e-mails, sorted by subject.
    pub fn mails(&self) -> Result<Vec<Mail>> {
        let files = fs::read_dir(self.folder.path().join("mails/new"))?;
        let mut mails = files.map(|file| Mail::read(&fs::read(file?.path())?)).collect::<Result<Vec<_>>>()?;
        mails.sort_by(|one, other| one.subject.cmp(&other.subject));
        Ok(mails)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.child.signal(Signal::SIGKILL);
    }
}

/// An e-mail as its reader sees it.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The recipient in the envelope.
    pub recipient: String,
    pub subject: String,
    pub message_id: String,
    pub text: String,
    pub html: String,
    /// Name, media type and SHA-256.
    pub attachment: Option<(String, String, String)>,
    raw: String,
}

impl Mail {
    fn read(raw: &[u8]) -> Result<Self> {
        let mail = mailparse::parse_mail(raw)?;
        let header = |name: &str| mail.headers.get_first_value(name).with_context(|| format!("no header {name}"));
        let part = |kind: &str| {
            let found = mail.parts().find(|part| part.ctype.mimetype == kind);
            found.map(ParsedMail::get_body).with_context(|| format!("no part {kind}"))?.context("its text")
        };
        let attachment = match mail.parts().find(|part| part.ctype.mimetype == "application/pdf") {
            None => None,
            Some(part) => {
                let name = part.get_content_disposition().params.get("filename").context("a file name")?.clone();
                Some((name, part.ctype.mimetype.clone(), format!("{:x}", Sha256::digest(part.get_body_raw()?))))
            }
        };
        Ok(Self {
            recipient: header("X-Recipient")?,
            subject: header("Subject")?,
            message_id: header("Message-ID")?,
            text: part("text/plain")?,
            html: part("text/html")?,
            attachment,
            raw: String::from_utf8_lossy(raw).into_owned(),
        })
    }

    /// The value of a header that occurs exactly once.
    pub fn header(&self, name: &str) -> Option<String> {
        let mail = mailparse::parse_mail(self.raw.as_bytes()).ok()?;
        let [only] = mail.headers.get_all_values(name).try_into().ok()?;
        Some(only)
    }
}
