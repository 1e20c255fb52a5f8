//! `tallymill coordinator health`: whether the coordinator beside it is ready, for containers, which bring nothing else to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tallymill_coordinator::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::args::Common;
use crate::fault::Usage;
use crate::ui;

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of it that are looked at.
const MOST: u64 = 4_096;

pub async fn run(common: &Common, options: &Options) -> anyhow::Result<ExitCode> {
    let address = beside(options.listen)?;
    let asked = match &options.tls {
        None => tokio::time::timeout(PATIENCE, ask(address)).await,
        Some(files) => tokio::time::timeout(PATIENCE, ask_over_tls(address, &files.cert)).await,
    };
    let status = asked.context("it does not answer in time").flatten();
    let status = status.with_context(|| format!("the coordinator at {address} is not healthy"))?;
    let ready = status == 200;
    match (common.json, ready) {
        (true, _) => ui::json(&serde_json::json!({ "ready": ready, "address": address }))?,
        (false, true) => ui::line("ready"),
        (false, false) => {
            ui::line("not ready: it is about to stop, or the database takes no writes");
        }
    }
    Ok(ExitCode::from(u8::from(!ready)))
}

/// Where a coordinator that listens so is dialled from its own machine.
fn beside(listen: SocketAddr) -> Result<SocketAddr, Usage> {
    if listen.port() == 0 {
        return Err(Usage("listen: port 0 is another one at each start".to_owned()));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

/// The status of `/readyz`.
async fn ask(address: SocketAddr) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    status(&answer).context("the answer is not HTTP")
}

/// The same where TLS is spoken: the certificate is the one in the file, for whatever name.
async fn ask_over_tls(address: SocketAddr, cert: &Path) -> anyhow::Result<u16> {
    let client = tallymill_transport::pinned(cert)?.no_proxy().build()?;
    let answer = client.get(format!("https://{address}/readyz")).send().await?;
    Ok(answer.status().as_u16())
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_dialled_at_home() {
        let at = |listen: &str| beside(listen.parse().unwrap()).map(|it| it.to_string()).ok();
        assert_eq!(at("0.0.0.0:7411").as_deref(), Some("127.0.0.1:7411"));
        assert_eq!(at("[::]:7411").as_deref(), Some("[::1]:7411"));
        assert_eq!(at("192.0.2.1:80").as_deref(), Some("192.0.2.1:80"));
        assert_eq!(at("127.0.0.1:0"), None);
    }

    #[test]
    fn only_http_has_a_status() {
        assert_eq!(status(b"HTTP/1.0 503 Service Unavailable\r\n\r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0-x\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
