//! A worker's health, readiness, status and metrics, asked over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::{PATIENCE, Worker};

impl Worker {
    /// Status code and body of one GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.admin).expect("the admin address listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound on the read");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin).expect("a request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("a reply in UTF-8");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a reply with a head");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        (code, body.to_owned())
    }

    /// The sum of the series whose line begins with `series`, for example `inferbus_swaps_total{model="digits"`.
    pub fn metric(&self, series: &str) -> f64 {
        let (code, text) = self.get("/metrics");
        assert_eq!(code, 200, "{text}");
        let lines = text.lines().filter(|line| line.starts_with(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
