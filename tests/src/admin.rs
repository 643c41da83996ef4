//! A worker's health, readiness, status and metrics, asked over HTTP.

use std::net::TcpStream;

use crate::Worker;
use crate::http;
use crate::http::Given;

impl Worker {
    /// Status code and body of one GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        http::get(&self.admin, path).expect("the admin address answers")
    }

    /// One request to the admin address.
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Given {
        self.read(self.asking(method, path, headers, body))
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Given {
        self.http("POST", path, headers, body)
    }

    /// A connection with one request sent.
    pub fn asking(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        http::ask(&self.admin, method, path, headers, body).expect("the admin address takes requests")
    }

    /// The answer on such a connection.
    pub fn read(&self, connection: TcpStream) -> Given {
        http::read(connection).expect("the admin address answers")
    }

    /// The sum of all series with this beginning, for example `inferbus_bundle_swaps_total{model="digits"`.
    pub fn metric(&self, series: &str) -> f64 {
        let (code, text) = self.get("/metrics");
        assert_eq!(code, 200, "{text}");
        let lines = text.lines().filter(|line| line.starts_with(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
