//! Listening and serving.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::connections::{Connection, Connections, Watched};
use crate::config::HttpLimits;

/// The longest head of a request, in bytes. It is also how much of a body is read at a time.
const LONGEST_HEAD: usize = 64 * 1024;
/// How often connections that take too long are looked for.
const LOOK_FOR_OVERDUE: Duration = Duration::from_secs(1);
/// How long requests in flight may take once the process is told to stop.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// Listens on `address`. `setting` is the variable that sets the port; the error names it.
pub async fn bind(address: SocketAddr, setting: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        match error.kind() {
            ErrorKind::AddrInUse => anyhow!(
                "cannot listen on {address}: the port is in use by another program; set {setting} to another one"
            ),
            ErrorKind::PermissionDenied => {
                anyhow!("cannot listen on {address}: port {port} needs privileges; set {setting} to one above 1023")
            }
            ErrorKind::AddrNotAvailable => anyhow!(
                "cannot listen on {address}: this machine has no address {}; set BIND_ADDRESS to one it has",
                address.ip()
            ),
            _ => anyhow!(error).context(format!("cannot listen on {address} ({setting})")),
        }
    })
}

/// Serves until `shutdown`, then lets requests in flight finish, for at most 10 s.
///
/// HTTP/1.1 only: HTTP/2 without TLS would let one connection ask for as much as many.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &HttpLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let connections = Connections::new(limits.max_client_connections.min(most_files() / 2));
    let open = TaskTracker::new();
    let mut overdue = tokio::time::interval(LOOK_FOR_OVERDUE);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = overdue.tick() => connections.close_overdue(),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match connections.admit() {
                    Some(connection) => {
                        let router = router.clone();
                        open.spawn(talk(stream, peer, router, connection, connections.clone(), shutdown.clone()));
                    }
                    None => turn_away(&stream),
                },
                Err(error) => {
                    // Without file descriptors the longest silence gives way too.
                    connections.make_room();
                    pause_after(&error).await;
                }
            },
        }
    }
    drop(listener);
    open.close();
    // Half a head is no request in flight.
    connections.close_half_heads();
    if timeout(DRAIN_AT_MOST, open.wait()).await.is_err() {
        tracing::warn!(?DRAIN_AT_MOST, "requests were still running and were cut off");
    }
    Ok(())
}

/// Serves one connection until its client or its time ends, or the process does.
async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    connection: Arc<Connection>,
    connections: Connections,
    shutdown: CancellationToken,
) {
    // Answers are small and the client waits for them: Nagle's algorithm would delay them. This cannot fail on a live socket, and a
    // dead one fails at the next read.
    let _ = stream.set_nodelay(true);
    let close = connection.close.clone();
    let of_requests = connection.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        of_requests.answers();
        let (router, connection) = (router.clone(), of_requests.clone());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let answer = router.oneshot(request).await;
            connection.waits();
            answer
        }
    });
    let watched = Watched { stream, connection: connection.clone() };
    let mut serving = pin!(
        http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .half_close(false)
            .serve_connection(TokioIo::new(watched), service)
    );
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // A client that hangs up or talks no HTTP is no news.
            _ = serving.as_mut() => break,
            () = close.cancelled(), if !is_stopping => {
                if !connection.is_answering() {
                    break;
                }
                // Its request came when the connection had just been found silent. It is answered.
                is_stopping = true;
            }
            () = shutdown.cancelled(), if !is_stopping => is_stopping = true,
        }
        if is_stopping {
            serving.as_mut().graceful_shutdown();
        }
    }
    connections.forget(&connection);
}

/// Every connection is being answered: one more is told so, if its buffer takes it, and closed.
fn turn_away(stream: &TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let _ = stream.try_write(ANSWER);
    tracing::warn!("all connections are being answered; one was turned away (HTTP_MAX_CONNECTIONS)");
}

/// How many files this process may have open. It takes as many as the system allows.
fn most_files() -> usize {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        Ok(hard)
    });
    raised.map_or(1_024, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// What goes wrong with one connection is its own affair. Without file descriptors no other would be accepted either.
async fn pause_after(error: &std::io::Error) {
    let is_of_the_connection = matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    );
    if !is_of_the_connection {
        tracing::error!(%error, "cannot accept connections; trying again in a second");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::{ApiJson, layered};

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn start(router: Router) -> anyhow::Result<(SocketAddr, CancellationToken)> {
        let listener = bind(ANY_PORT, "PORT").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { serve(listener, router, &HttpLimits::default(), stop).await });
        Ok((address, shutdown))
    }

    /// Sends bytes and reads the answer until the server closes.
    async fn say(address: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await??;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_taken_port_names_itself_and_its_setting() -> anyhow::Result<()> {
        let taken = bind(ANY_PORT, "PORT").await?.local_addr()?;
        let _holder = bind(taken, "PORT").await?;
        let error = bind(taken, "PORT").await.expect_err("taken");
        let expected =
            format!("cannot listen on {taken}: the port is in use by another program; set PORT to another one");
        assert_eq!(error.to_string(), expected);
        Ok(())
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_answered_not_reset() -> anyhow::Result<()> {
        let echo = |ApiJson(value): ApiJson<serde_json::Value>| async move { axum::Json(value) };
        let router = Router::new().route("/echo", axum::routing::post(echo));
        let (address, _) = start(layered(router, "test", &HttpLimits::default())).await?;
        let body = vec![b' '; 2 * 1024 * 1024];
        let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";

        let mut sized = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        sized.extend_from_slice(&body);
        let answer = say(address, &sized).await?;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("BODY_TOO_LARGE"), "{answer}");

        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).into_bytes();
        chunked.extend_from_slice(&body);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        let answer = say(address, &chunked).await?;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("limit_bytes"), "{answer}");
        Ok(())
    }

    #[tokio::test]
    async fn http_2_without_tls_and_heads_without_end_are_refused() -> anyhow::Result<()> {
        let (address, _) = start(Router::new().route("/", get(|| async { "hello" }))).await?;
        let answer = say(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        assert!(!answer.contains("hello"), "{answer}");
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(2 * LONGEST_HEAD));
        let answer = say(address, head.as_bytes()).await.unwrap_or_default();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        Ok(())
    }

    #[tokio::test]
    async fn a_client_that_talks_is_served_beside_many_that_are_silent() -> anyhow::Result<()> {
        let limits = HttpLimits { max_client_connections: 20, ..HttpLimits::default() };
        let listener = bind(ANY_PORT, "PORT").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/", get(|| async { "hello" }));
        tokio::spawn(async move { serve(listener, router, &limits, CancellationToken::new()).await });
        let mut silent = Vec::new();
        for n in 0..100 {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await?;
            silent.push(stream);
            if n % 10 == 0 {
                let answer = say(address, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
                assert!(answer.ends_with("hello"), "{answer}");
            }
        }
        // The earliest have given way.
        let mut buffer = [0; 16];
        assert_eq!(silent[0].read(&mut buffer).await.unwrap_or(0), 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_request_in_flight_is_finished_after_the_signal() -> anyhow::Result<()> {
        let (entered, release) = (CancellationToken::new(), CancellationToken::new());
        let (enter, wait) = (entered.clone(), release.clone());
        let slow = move || {
            let (enter, wait) = (enter.clone(), wait.clone());
            async move {
                enter.cancel();
                wait.cancelled().await;
                "done"
            }
        };
        let (address, shutdown) = start(Router::new().route("/slow", get(slow))).await?;
        let request = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let client = tokio::spawn(async move { say(address, request).await });
        entered.cancelled().await;
        shutdown.cancel();
        release.cancel();
        let answer = client.await??;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        Ok(())
    }
}
