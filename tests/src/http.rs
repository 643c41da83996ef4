//! One HTTP request over a bare socket: status pages of workers and servers, and inference by a worker.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::PATIENCE;

/// A response.
#[derive(Debug)]
pub struct Given {
    pub code: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Given {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("not JSON ({fault}): {self:?}"))
    }
}

/// Status code and body of one GET.
pub fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let given = read(ask(address, "GET", path, &[], b"")?)?;
    let body = String::from_utf8(given.body).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
    Ok((given.code, body))
}

/// Sends one request, and leaves its answer to be read, or not.
pub fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<TcpStream> {
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if method == "GET" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}{more}\r\n");
    send(address, &[head.as_bytes(), body].concat())
}

pub fn send(address: &str, bytes: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    Ok(stream)
}

pub fn read(mut stream: TcpStream) -> io::Result<Given> {
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let strange = || {
        let text = String::from_utf8_lossy(&reply).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP reply: {text}"))
    };
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(strange)?;
    let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
    Ok(Given { code, head, body: reply[end + 4..].to_vec() })
}
