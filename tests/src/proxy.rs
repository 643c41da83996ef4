//! A TCP proxy between a worker and its server, to cut, to stall in one direction, or to slow down.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The most one direction holds. Beyond it the kernel's buffers fill, and the sender waits.
const CHUNK: usize = 64 << 10;

/// The present treatment of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    cut: bool,
    /// Bytes from the worker to the server wait, like packets retransmitted by TCP during a partition.
    up_stalled: bool,
    down_stalled: bool,
    delay: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Ends with the proxy.
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `127.0.0.1:port`.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port for the proxy");
        let address = listener.local_addr().expect("the proxy's address");
        let (weather, forecast) = watch::channel(Weather::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, port, forecast));
        Self { address, weather, _tasks: tasks }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Closes every connection, and closes each new one at once.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cut = true);
    }

    /// Stalls the workers' bytes; the servers' bytes flow.
    pub fn stall_up(&self) {
        self.weather.send_modify(|weather| weather.up_stalled = true);
    }

    /// Stalls the servers' bytes; the workers' bytes flow.
    pub fn stall_down(&self) {
        self.weather.send_modify(|weather| weather.down_stalled = true);
    }

    /// Delays every chunk, in both directions.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Lets everything pass again, the stalled bytes first.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| *weather = Weather::default());
    }
}

async fn accept(listener: TcpListener, port: u16, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((worker, _)) = accepted else { continue };
                if !weather.borrow().cut {
                    connections.spawn(connection(worker, port, weather.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side closes it or the proxy is cut.
async fn connection(worker: TcpStream, port: u16, mut weather: watch::Receiver<Weather>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let _ = (worker.set_nodelay(true), server.set_nodelay(true));
    let (from_worker, to_worker) = worker.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_worker, to_server, Direction::Up, weather.clone()) => {}
        () = pass(from_server, to_worker, Direction::Down, weather.clone()) => {}
        _ = weather.wait_for(|weather| weather.cut) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        // A stall also holds back the end of a connection.
        let Ok(read) = from.read(&mut chunk).await else { return };
        let flows = |weather: &Weather| match direction {
            Direction::Up => !weather.up_stalled,
            Direction::Down => !weather.down_stalled,
        };
        let Ok(delay) = weather.wait_for(flows).await.map(|weather| weather.delay) else { return };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
