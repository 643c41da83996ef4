//! The results as figures and curves.

use super::artifacts::Fetch;
use super::bump::Change;
use super::monitor::Spent;
use super::rest::Rest;
use super::start::Start;
use super::storm::Storm;
use crate::paper::curve::{Curve, Kind};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;

#[derive(Default)]
pub struct Results {
    /// Members of a group, and the server's microseconds per request.
    pub requests: Vec<(usize, f64)>,
    /// The server's bytes per connection, and seconds until all were open.
    pub connections: Option<(f64, f64)>,
    pub starts: Vec<Start>,
    pub versions: Vec<Change>,
    pub routes: Vec<Change>,
    /// The number of routes, and a change of one route.
    pub many_routes: Vec<(usize, Change)>,
    /// Puts per second, and the cost.
    pub rests: Vec<(f64, Rest)>,
    /// Keys, seconds without a server, and the recovery.
    pub storms: Vec<(usize, u64, Storm)>,
    pub fetches: Vec<Fetch>,
}

const MILLI: f64 = 1e3;
const MICRO: f64 = 1e6;

impl Results {
    pub fn add_to(&self, figures: &mut Figures) {
        self.bus(figures);
        self.starts(figures);
        self.start_curves(figures);
        changes("bump", &self.versions, figures);
        changes("route", &self.routes, figures);
        self.route_lists(figures);
        self.rests(figures);
        self.storms(figures);
        self.fetches(figures);
    }

    fn bus(&self, figures: &mut Figures) {
        for (members, micros) in &self.requests {
            let name = format!("scale.request.{members}.server_us");
            figures.add(one(&name, "µs of the server per request and answer, by members of the group", *micros));
        }
        if let Some((bytes, seconds)) = self.connections {
            figures.add(one("scale.connection.server_kb", "KB of the server for an idle connection", bytes / MILLI));
            figures.add(one("scale.connection.seconds", "s until all of them were open", seconds));
        }
    }

    fn starts(&self, figures: &mut Figures) {
        for start in &self.starts {
            let at = format!("scale.start.{}x{}", start.planes, start.keys);
            let mut add = |name: &str, unit, value| figures.add(one(&format!("{at}.{name}"), unit, value));
            add("seconds", "s until the last plane was complete, planes × keys", start.times.last());
            add("median_seconds", "s until half of them were", start.times.median());
            add("mb", "MB sent by the server", start.spent.sent_bytes / MICRO);
            add("messages", "messages sent by the server per plane", start.each(start.spent.sent));
            add("requests", "requests per plane", start.each(start.spent.taken));
            add("server_ms", "ms CPU of the server per plane", start.each(start.spent.server_cpu) * MILLI);
            add("plane_ms", "ms CPU per plane", start.each(start.spent.own_cpu) * MILLI);
            add("plane_kb", "KB more resident per plane", start.plane_memory / MILLI);
            add("server_mb", "MB of the server", start.server_memory / MICRO);
        }
    }

    fn start_curves(&self, figures: &mut Figures) {
        type Value = (&'static str, &'static str, fn(&Start) -> f64);
        let values: [Value; 4] = [
            ("seconds", "s until the last is complete", |start| start.times.last()),
            ("sent", "MB sent by the server", |start| start.spent.sent_bytes / MICRO),
            ("server", "s CPU of the server", |start| start.spent.server_cpu),
            ("planes", "s CPU of all planes", |start| start.spent.own_cpu),
        ];
        type Family = (&'static str, &'static str, fn(&Start) -> usize, fn(&Start) -> usize);
        let families: [Family; 2] = [
            ("by_planes", "planes", |start| start.planes, |start| start.keys),
            ("by_keys", "keys", |start| start.keys, |start| start.planes),
        ];
        for (family, x, along, across) in families {
            let Some(fixed) = most_frequent(self.starts.iter().map(across)) else { continue };
            for (name, y, value) in values {
                let mut on: Vec<&Start> = self.starts.iter().filter(|start| across(start) == fixed).collect();
                on.sort_unstable_by_key(|start| along(start));
                let points = on.into_iter().map(|start| (along(start) as f64, vec![value(start)]));
                figures.add_curve(Curve::of(format!("scale.start.{family}.{name}"), Kind::Cost, [x, y], points));
            }
        }
    }

    fn route_lists(&self, figures: &mut Figures) {
        for (routes, change) in &self.many_routes {
            let at = format!("scale.routes.{routes}");
            let mut add = |name: &str, unit, value| figures.add(one(&format!("{at}.{name}"), unit, value));
            add(
                "last_ms",
                "ms from the put of one route until the last plane has it, by number of routes",
                change.times.last() * MILLI,
            );
            spent_by_each(change, &mut add);
        }
    }

    fn rests(&self, figures: &mut Figures) {
        for (puts, rest) in &self.rests {
            let at = format!("scale.rest.{}x{puts}", rest.planes);
            let mut add = |name: &str, unit, value| figures.add(one(&format!("{at}.{name}"), unit, value));
            add("requests", "requests/s of all planes, planes × puts/s", rest.rate(rest.spent.taken));
            add("peak", "requests/s of all planes at most", rest.peak);
            add("messages", "messages/s sent by the server", rest.rate(rest.spent.sent));
            add("kb", "KB/s sent by the server", rest.rate(rest.spent.sent_bytes) / MILLI);
            add("server_cpu", "cores of the server", rest.rate(rest.spent.server_cpu));
            add("planes_cpu", "cores of all planes", rest.rate(rest.spent.own_cpu));
            add("lag_ms", "ms until all planes have the last put", rest.lag * MILLI);
        }
    }

    fn storms(&self, figures: &mut Figures) {
        for (keys, down, storm) in &self.storms {
            let at = format!("scale.storm.{}x{keys}.{down}s", storm.planes);
            let mut add = |name: &str, unit, value| figures.add(one(&format!("{at}.{name}"), unit, value));
            add("connected", "s from the server's return until all are connected", storm.connected);
            add("following", "s until none is behind, checked once a second", storm.following);
            add("heard", "s until all have a route put after the restart", storm.heard.last());
            add("median_heard", "s until half of them have", storm.heard.median());
            add("requests", "requests per plane", storm.spent.taken / storm.planes as f64);
            add("refused", "requests rejected by JetStream", storm.spent.refused);
            add("peak", "requests/s of all planes at most, at first", storm.peak);
            add("later_peak", "requests/s of all planes at most, later", storm.later_peak);
            add("mb", "MB sent by the server", storm.spent.sent_bytes / MICRO);
            add("server_seconds", "s CPU of the server", storm.spent.server_cpu);
            add("faults", "errors reported by the clients", storm.faults as f64);
        }
    }

    fn fetches(&self, figures: &mut Figures) {
        for fetch in &self.fetches {
            let at = format!("scale.fetch.{}", fetch.planes);
            let mut add = |name: &str, unit, value| figures.add(one(&format!("{at}.{name}"), unit, value));
            add("seconds", "s until the last plane has the artifact", fetch.times.last());
            add("ratio", "× its bytes and planes, sent by the server", overhead(fetch));
            add("mb_per_second", "MB/s sent by the server", fetch.spent.sent_bytes / MICRO / fetch.times.last());
            let sent = fetch.spent.sent_bytes / MICRO;
            add("server_ms_per_mb", "ms CPU of the server per MB", fetch.spent.server_cpu * MILLI / sent);
        }
    }
}

fn overhead(fetch: &Fetch) -> f64 {
    fetch.spent.sent_bytes / (fetch.bytes * fetch.planes as f64)
}

/// Changes of several rounds, grouped by number of planes.
fn changes(kind: &str, changes: &[Change], figures: &mut Figures) {
    let mut fleets: Vec<usize> = changes.iter().map(|change| change.planes).collect();
    fleets.sort_unstable();
    fleets.dedup();
    let last = |planes: usize| changes.iter().filter(move |change| change.planes == planes);
    for &planes in &fleets {
        let at = format!("scale.{kind}.{planes}");
        let mut add = |name: &str, unit: &str, value: fn(&Change) -> f64| {
            figures.add(Figure::of(&format!("{at}.{name}"), unit, last(planes).map(value)));
        };
        add("first_ms", "ms from the put until the first plane has it", |change| change.times.first() * MILLI);
        add("median_ms", "ms until half of them have it", |change| change.times.median() * MILLI);
        add("last_ms", "ms until the last has it", |change| change.times.last() * MILLI);
        add("requests", "requests per plane", |change| change.each(|spent| spent.taken));
        add("refused", "requests rejected by JetStream", |change| change.spent.refused);
        add("messages", "messages sent by the server per plane", |change| change.each(|spent| spent.sent));
        add("kb", "KB sent by the server per plane", |change| change.each(|spent| spent.sent_bytes) / MILLI);
        add("server_ms", "ms CPU of the server per plane", |change| change.each(|spent| spent.server_cpu) * MILLI);
        add("plane_ms", "ms CPU per plane", |change| change.each(|spent| spent.own_cpu) * MILLI);
    }
    let points = fleets.iter().map(|&planes| (planes as f64, last(planes).map(|change| change.times.last()).collect()));
    let name = format!("scale.{kind}.by_planes.last");
    figures.add_curve(Curve::of(name, Kind::Cost, ["planes", "s until the last has it"], points));
}

impl Change {
    fn each(&self, value: fn(&Spent) -> f64) -> f64 {
        value(&self.spent) / self.planes as f64
    }
}

fn spent_by_each(change: &Change, add: &mut impl FnMut(&str, &'static str, f64)) {
    add("requests", "requests per plane", change.each(|spent| spent.taken));
    add("kb", "KB sent by the server per plane", change.each(|spent| spent.sent_bytes) / MILLI);
    add("server_ms", "ms CPU of the server per plane", change.each(|spent| spent.server_cpu) * MILLI);
}

fn one(name: &str, unit: &str, value: f64) -> Figure {
    Figure::of(name, unit, [value])
}

fn most_frequent(values: impl Iterator<Item = usize>) -> Option<usize> {
    let values: Vec<usize> = values.collect();
    values.iter().copied().max_by_key(|value| values.iter().filter(|other| *other == value).count())
}
