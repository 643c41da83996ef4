//! An HTTP/1.1 client with kept connections, one per concurrent request.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The time limit of an answer.
const ANSWER: Duration = Duration::from_secs(30);
const MAX_REPLY: usize = 1 << 20;
/// Shown bytes of an error reply.
const SHOWN: usize = 300;

pub struct HttpClient {
    address: SocketAddr,
    path: String,
    /// A further header of every request, for servers that require one.
    header: Option<(HeaderName, &'static str)>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl HttpClient {
    pub fn new(address: SocketAddr, path: &str, header: Option<(&'static str, &'static str)>) -> Self {
        let header = header.map(|(name, value)| (HeaderName::from_static(name), value));
        Self { address, path: path.to_owned(), header, idle: Mutex::default() }
    }

    /// Closes idle connections. A server may close them at any time.
    pub fn close_idle(&self) {
        self.idle().clear();
    }

    pub async fn post(&self, body: Bytes) -> anyhow::Result<Bytes> {
        tokio::time::timeout(ANSWER, self.exchange(body))
            .await
            .with_context(|| format!("{}{} did not answer in time", self.address, self.path))?
    }

    async fn exchange(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let mut connection = self.connection().await?;
        let request = Request::post(&self.path)
            .header(HOST, self.address.to_string())
            .header(CONTENT_TYPE, "application/octet-stream");
        let request = match &self.header {
            Some((name, value)) => request.header(name, *value),
            None => request,
        };
        let reply = connection.send_request(request.body(Full::new(body))?).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
        let body = body.map_err(|fault| anyhow::anyhow!("the body of a reply: {fault}"))?.to_bytes();
        let text = || String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(&body)).into_owned();
        ensure!(status == StatusCode::OK, "{}{} answers {status}: {}", self.address, self.path, text());
        self.idle().push(connection);
        Ok(body)
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        while let Some(mut waiting) = self.take() {
            if waiting.ready().await.is_ok() {
                return Ok(waiting);
            }
        }
        let stream = TcpStream::connect(self.address).await.with_context(|| format!("{} is closed", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task ends with its sender. Failures are returned to the waiting request.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Sends these replies on each connection, then closes it. Returns the requests with the number of their
    /// connection.
    async fn server(replies: &'static [&'static str]) -> (SocketAddr, tokio::sync::mpsc::Receiver<(usize, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, questions) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            for number in 1.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                for reply in replies {
                    let Some(question) = question(&mut stream).await else { break };
                    asked.send((number, question)).await.unwrap();
                    stream.write_all(reply.as_bytes()).await.unwrap();
                }
            }
        });
        (address, questions)
    }

    /// A request with `!` at the end of its body; none at the end of the connection.
    async fn question(stream: &mut TcpStream) -> Option<String> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"!") {
            bytes.push(stream.read_u8().await.ok()?);
        }
        Some(String::from_utf8(bytes).unwrap().to_lowercase())
    }

    const YES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes";
    const NO: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nlate";

    #[tokio::test]
    async fn a_connection_is_reused() {
        let (address, mut questions) = server(&[YES, YES]).await;
        let client = HttpClient::new(address, "/infer", Some(("x-more", "1")));
        assert_eq!(client.post("one!".into()).await.unwrap(), "yes");
        assert_eq!(client.post("two!".into()).await.unwrap(), "yes");
        let (first, second) = (questions.recv().await.unwrap(), questions.recv().await.unwrap());
        assert_eq!((first.0, second.0), (1, 1), "both on one connection");
        assert!(first.1.starts_with("post /infer http/1.1\r\n"), "{}", first.1);
        assert!(first.1.contains("x-more: 1\r\n") && first.1.ends_with("\r\n\r\none!"), "{}", first.1);
    }

    #[tokio::test]
    async fn a_connection_closed_by_the_server_is_replaced() {
        let (address, mut questions) = server(&[YES]).await;
        let client = HttpClient::new(address, "/infer", None);
        client.post("one!".into()).await.unwrap();
        while !client.idle().iter().all(SendRequest::is_closed) {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.post("two!".into()).await.unwrap(), "yes");
        assert_eq!((questions.recv().await.unwrap().0, questions.recv().await.unwrap().0), (1, 2));
    }

    #[tokio::test]
    async fn a_closed_connection_is_replaced() {
        let (address, mut questions) = server(&[YES, YES]).await;
        let client = HttpClient::new(address, "/infer", None);
        client.post("one!".into()).await.unwrap();
        client.close_idle();
        client.post("two!".into()).await.unwrap();
        assert_eq!((questions.recv().await.unwrap().0, questions.recv().await.unwrap().0), (1, 2));
    }

    #[tokio::test]
    async fn an_error_reply_is_an_error() {
        let (address, _questions) = server(&[NO]).await;
        let fault = HttpClient::new(address, "/infer", None).post("one!".into()).await.unwrap_err();
        assert!(fault.to_string().ends_with("answers 503 Service Unavailable: late"), "{fault}");
    }
}
