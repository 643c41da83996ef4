//! One HTTP request over a bare socket, for what workers and servers say of themselves.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::PATIENCE;

/// Status code and body of one GET.
pub fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let parts = reply.split_once("\r\n\r\n").and_then(|(head, body)| Some((head.split(' ').nth(1)?, body)));
    let code = parts.and_then(|(code, body)| Some((code.parse().ok()?, body.to_owned())));
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP reply: {reply}")))
}
