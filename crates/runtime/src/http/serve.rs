//! Listening and serving.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

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
pub async fn serve(listener: TcpListener, router: axum::Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Answers are small and the client waits for them: Nagle's algorithm would delay them. This cannot fail on a
        // live socket, and a dead one fails at the next read.
        let _ = stream.set_nodelay(true);
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_AT_MOST).await;
    };
    tokio::select! {
        result = server => result.context("the HTTP server failed"),
        () = deadline => {
            tracing::warn!(?DRAIN_AT_MOST, "requests were still running and were cut off");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::HttpLimits;
    use crate::http::{ApiJson, layered};

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn start(router: Router) -> anyhow::Result<(SocketAddr, CancellationToken)> {
        let listener = bind(ANY_PORT, "PORT").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(listener, router, shutdown.clone()));
        Ok((address, shutdown))
    }

    /// Sends bytes and reads the answer until the server closes.
    async fn talk(address: SocketAddr, request: &[u8]) -> anyhow::Result<String> {
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
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";

        let mut sized = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        sized.extend_from_slice(&body);
        let answer = talk(address, &sized).await?;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("BODY_TOO_LARGE"), "{answer}");

        let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).into_bytes();
        chunked.extend_from_slice(&body);
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        let answer = talk(address, &chunked).await?;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("limit_bytes"), "{answer}");
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
        let request = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
        let client = tokio::spawn(async move { talk(address, request).await });
        entered.cancelled().await;
        shutdown.cancel();
        release.cancel();
        let answer = client.await??;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        Ok(())
    }
}
