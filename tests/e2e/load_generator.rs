//! `inferbus bench`: every request and every stored message is counted, and every fault is reported.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use async_nats::{Client, HeaderMap, Message};
use futures_util::StreamExt as _;
use inferbus::nats::connect::round_trip;
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, Ran, Site, Worker, ask, heldout, program, python, run};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

const GOOD: Option<i32> = Some(0);
const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

const PICTURES: usize = 8;

fn bench(site: &Site, arguments: &[&str]) -> Ran {
    block_in_place(|| site.inferbus(&[&["bench", "--warm-up", "0s"], arguments].concat()))
}

/// The only run of a bench with this exit code.
#[track_caller]
fn measured(site: &Site, code: Option<i32>, arguments: &[&str]) -> Value {
    let ran = bench(site, &[arguments, &["--output", "json"]].concat());
    assert_eq!(ran.code, code, "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|fault| panic!("{fault}: {ran:?}"));
    assert_eq!(told["good"], code == GOOD, "{told}");
    told["runs"][0].clone()
}

/// The counts of all outcomes; counts without a name must be zero.
#[track_caller]
fn accounted(run: &Value, asked: u64, became: &[(&str, u64)]) {
    let total = &run["total"];
    let mut sum = 0;
    for name in ["right", "unchecked", "wrong", "differs", "lost", "not_sent", "failed", "unfinished"] {
        let expected = became.iter().find(|(named, _)| *named == name).map_or(0, |(_, count)| *count);
        assert_eq!(total[name], expected, "{name}: {run:#}");
        sum += expected;
    }
    assert_eq!((total["asked"].as_u64(), sum), (Some(asked), asked), "{run:#}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A site with a worker for digits, a folder of pictures, and one of the right answers.
struct Ground {
    site: Site,
    _worker: Worker,
    pictures: TempDir,
    answers: TempDir,
}

impl Ground {
    async fn start() -> Self {
        let site = Site::with_digits().await;
        let worker = block_in_place(|| Worker::start(site.url()));
        let (pictures, answers) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for (number, picture) in heldout().payloads.into_iter().take(PICTURES).enumerate() {
            let name = format!("picture-{number}");
            let answer = ask(&site.client, "infer.digits", picture.clone()).await;
            assert_eq!(answer.code, None);
            fs::write(pictures.path().join(&name), picture).expect("written");
            fs::write(answers.path().join(&name), answer.payload).expect("written");
        }
        Self { site, _worker: worker, pictures, answers }
    }

    fn digits(&self, code: Option<i32>, more: &[&str]) -> Value {
        let payloads = ["digits", "--payload-dir", text(self.pictures.path())];
        measured(&self.site, code, &[&payloads, more].concat())
    }
}

/// Answers requests on a subject with subjects, headers and payloads chosen by `answer`.
async fn by_hand<F>(client: &Client, subject: &str, mut answer: F)
where
    F: FnMut(u64, &Message) -> Vec<(String, HeaderMap, String)> + Send + 'static,
{
    let mut messages = client.subscribe(subject.to_owned()).await.expect("a subscription");
    assert!(round_trip(client, PATIENCE).await);
    let client = client.clone();
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(message) = messages.next().await {
            number += 1;
            for (subject, headers, payload) in answer(number, &message) {
                client.publish_with_headers(subject, headers, payload.into()).await.expect("published");
            }
        }
    });
}

/// One reply without headers.
fn reply(message: &Message, payload: impl ToString) -> Vec<(String, HeaderMap, String)> {
    let subject = message.reply.as_ref().expect("a request").to_string();
    vec![(subject, HeaderMap::new(), payload.to_string())]
}

#[tokio::test(flavor = "multi_thread")]
async fn both_loops_account_for_every_request_and_check_every_answer() {
    let ground = Ground::start().await;
    let closed = ground.digits(GOOD, &["--in-flight", "8", "--requests", "400", "--connections", "2"]);
    accounted(&closed, 400, &[("right", 400)]);
    assert_eq!((&closed["loop"], &closed["asked"]["in_flight"]), (&"closed".into(), &8.into()));

    let page = ground.answers.path().with_extension("html");
    let expect = ["--expect", text(ground.answers.path()), "--report", text(&page)];
    let open =
        ground.digits(GOOD, &[&["--rate", "200", "--requests", "200", "--arrivals", "poisson"], &expect[..]].concat());
    accounted(&open, 200, &[("right", 200)]);
    assert_eq!((&open["loop"], &open["asked"]), (&"open".into(), &json!({ "rate": 200.0, "arrivals": "poisson" })));
    for name in ["min", "mean", "p50", "p90", "p99", "p99.9", "max"] {
        assert!(open["total"]["latency_micros"][name].as_f64().is_some_and(|micros| micros > 0.0), "{name}: {open:#}");
    }
    for key in ["achieved", "sent_late_micros", "percentiles", "errors", "examples"] {
        assert!(!open["total"][key].is_null(), "{key} is missing: {open:#}");
    }
    assert!(open["generator"]["cpu_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{open:#}");

    let elements = block_in_place(|| run(python("well_formed.py").arg(&page)).json());
    assert_eq!((&elements["svg"], elements.get("script")), (&1.into(), None), "{elements}");
    let html = fs::read_to_string(&page).expect("the report");
    assert!(!html.contains("http://www.w3.org/1999/xlink") && !html.contains("href") && !html.contains("src="));
    fs::remove_file(page).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_and_errors_fail_the_run_and_are_shown() {
    let ground = Ground::start().await;
    fs::write(ground.answers.path().join("picture-3"), "something else").expect("written");
    let expect = ["--requests", "80", "--in-flight", "4", "--expect", text(ground.answers.path())];
    let run = ground.digits(REFUSED, &expect);
    accounted(&run, 80, &[("right", 70), ("wrong", 10)]);
    assert!(
        run["total"]["examples"][0].as_str().is_some_and(|text| text.contains("expected `something else`")),
        "{run:#}"
    );
    fs::remove_file(ground.answers.path().join("picture-3")).expect("removed");
    let missing =
        bench(&ground.site, &[&["digits", "--payload-dir", text(ground.pictures.path())], &expect[..]].concat());
    assert!(missing.code == REFUSED && missing.stderr.contains("the payload picture-3"), "{missing:?}");

    let payload = ["--payload-dir", text(ground.pictures.path()), "--requests", "40", "--in-flight", "4"];
    let run = measured(&ground.site, REFUSED, &[&["nobody"], &payload[..]].concat());
    accounted(&run, 40, &[("failed", 40)]);
    assert_eq!(run["total"]["errors"]["404"]["count"], 40, "{run:#}");
    assert_eq!(run["total"]["latency_micros"]["p50"], Value::Null, "errors do not have a latency");
    let said = bench(&ground.site, &[&["nobody"], &payload[..]].concat());
    assert!(said.stderr.contains("404: 40 times; the first: ") && said.stderr.contains("nobody"), "{said:?}");

    let run = measured(&ground.site, REFUSED, &[&["--subject", "no.such.service"], &payload[..]].concat());
    assert_eq!(run["total"]["errors"]["503"]["count"], 40, "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_differ_come_twice_or_never_are_told_apart() {
    let site = Site::start().await;
    by_hand(&site.client, "hand.differs", |number, message| reply(message, number.min(3))).await;
    let run = |subject: &str, code, more: &[&str]| {
        measured(&site, code, &[&["--subject", subject, "--random", "10"], more].concat())
    };
    let once = ["--requests", "64", "--in-flight", "1"];
    run("hand.differs", GOOD, &once);
    // There are 64 payloads, and each has another answer the second time.
    let both = ["--requests", "128", "--in-flight", "1"];
    by_hand(&site.client, "hand.again", |number, message| reply(message, number.min(67))).await;
    accounted(&run("hand.again", REFUSED, &both), 128, &[("right", 64), ("differs", 64)]);
    accounted(&run("hand.again", GOOD, &[&both[..], &["--allow-different"]].concat()), 128, &[("unchecked", 128)]);

    let twice = |number, message: &Message| {
        let times = if number == 7 { 2 } else { 1 };
        reply(message, "same").into_iter().cycle().take(times).collect()
    };
    by_hand(&site.client, "hand.twice", twice).await;
    let doubled = run("hand.twice", REFUSED, &once);
    accounted(&doubled, 64, &[("right", 64)]);
    assert_eq!((&doubled["twice"], &doubled["late"]), (&1.into(), &0.into()), "{doubled:#}");

    let never = |number, message: &Message| if number == 7 { Vec::new() } else { reply(message, "same") };
    by_hand(&site.client, "hand.never", never).await;
    accounted(&run("hand.never", REFUSED, &[&once[..], &["--wait", "2s"]].concat()), 64, &[("right", 63), ("lost", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_overloaded_deployment_leaves_no_room_for_is_not_sent() {
    let site = Site::start().await;
    by_hand(&site.client, "hand.silent", |_, _| Vec::new()).await;
    let bounds = ["--rate", "10000", "--requests", "50", "--max-outstanding", "10", "--wait", "3s"];
    let run = measured(&site, REFUSED, &[&["--subject", "hand.silent", "--random", "1"], &bounds[..]].concat());
    let count = |name: &str| run["total"][name].as_u64().expect(name);
    assert_eq!(count("asked"), 50);
    assert_eq!((count("not_sent") + count("lost"), count("answered")), (50, 0), "{run:#}");
    assert!(count("not_sent") > 0, "{run:#}");
    assert!(run["problems"].to_string().contains("overloaded"), "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_has_its_weights_and_each_model_its_payloads() {
    let site = Site::start().await;
    let echo = |_, message: &Message| {
        reply(message, format!("{} {}", message.subject, String::from_utf8_lossy(&message.payload)))
    };
    by_hand(&site.client, "infer.*", echo).await;
    let folder = tempfile::tempdir().expect("a folder");
    for (model, file, payload) in [("one", "a", "A"), ("two", "a", "B"), ("two", "b", "C")] {
        let (send, expect) = (folder.path().join("send").join(model), folder.path().join("expect").join(model));
        fs::create_dir_all(&send).expect("made");
        fs::create_dir_all(&expect).expect("made");
        fs::write(send.join(file), payload).expect("written");
        fs::write(expect.join(file), format!("infer.{model} {payload}")).expect("written");
    }
    let (send, expect) = (folder.path().join("send"), folder.path().join("expect"));
    let mix = ["--mix", "one=3,two=1", "--payload-dir", text(&send), "--expect", text(&expect)];
    let run = measured(&site, GOOD, &[&mix[..], &["--requests", "400", "--in-flight", "1"]].concat());
    accounted(&run, 400, &[("right", 400)]);
    let of = |at: usize| run["targets"][at]["right"].as_u64().expect("a count");
    assert_eq!((of(0) + of(1), &run["targets"][1]["name"]), (400, &"two".into()));
    assert!((250..350).contains(&of(0)), "{run:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_fit_a_model_without_plugins() {
    let site = Site::start().await;
    site.activate(&BundleFolder::new("identity", FIRST)).await;
    let _worker = block_in_place(|| Worker::start(site.url()));
    let run = measured(&site, GOOD, &["identity", "--zeros", "--requests", "50", "--in-flight", "2"]);
    accounted(&run, 50, &[("right", 50)]);
}

const ROUTE: [&str; 11] = [
    "route",
    "add",
    "--stream",
    "SENSORS",
    "--subject",
    "sensors.cam.*",
    "--model",
    "sensor",
    "--output",
    "inference.sensor.$1",
    "--name=cams",
];

const STREAM: [&str; 6] = ["--stream", "SENSORS", "--publish", "sensors.cam.1", "--results", "inference.sensor.1"];

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_message_of_a_worker_is_accounted_for() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    let _worker = block_in_place(|| Worker::start(site.url()));
    let payloads = tempfile::tempdir().expect("a folder");
    fs::write(payloads.path().join("good"), "sixteen bytes :)").expect("written");
    let folder = ["--payload-dir", text(payloads.path())];
    let loops = [["--in-flight", "16", "--requests", "300"], ["--rate", "300", "--requests", "300"]];
    for more in &loops {
        let run = measured(&site, GOOD, &[&STREAM[..], &folder, more].concat());
        accounted(&run, 300, &[("right", 300)]);
        assert_eq!((&run["twice"], &run["foreign"]), (&0.into(), &0.into()), "{run:#}");
    }
    fs::write(payloads.path().join("short"), "five.").expect("written");
    let run = measured(&site, REFUSED, &[&STREAM[..], &folder, &["--route", "cams"], &loops[0][..]].concat());
    accounted(&run, 300, &[("right", 150), ("failed", 150)]);
    let refused = &run["total"]["errors"]["refused"];
    assert!(refused["first"].as_str().is_some_and(|text| text.contains("the sensor sends 16 bytes")), "{run:#}");
    assert_eq!(site.stored("SENSORS").await.len(), 900);
}

/// A worker's messages for one message of the stream HAND.
fn result(number: u64, part: &str, payload: &str) -> (String, HeaderMap, String) {
    let mut headers = origin(number);
    headers.insert("Nats-Msg-Id", format!("HAND@1/{number}/hand{part}").as_str());
    ("results.hand".to_owned(), headers, payload.to_owned())
}

fn origin(number: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Inferbus-Stream", "HAND");
    headers.insert("Inferbus-Route", "hand");
    headers.insert("Inferbus-Sequence", number.to_string().as_str());
    headers
}

fn dead_letter(number: u64) -> (String, HeaderMap, String) {
    let mut headers = origin(number);
    headers.insert("Inferbus-Reason", "trap");
    headers.insert("Inferbus-Error", "it trapped");
    (format!("inferbus.dlq.hand.{number}"), headers, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_doubled_and_dead_messages_of_a_stream_are_noticed() {
    let site = Site::start().await;
    site.keep("HAND", &["sensors.hand"]).await;
    // The stream is new and has one publisher, so the number of a message is its sequence.
    let answer = |number, _: &Message| match number {
        3 => Vec::new(),
        5 => vec![result(5, "", "same"), result(5, "", "same")],
        7 => vec![dead_letter(7)],
        9 => vec![result(9, "", "other")],
        11 => vec![result(11, "", "same"), result(1_000_000, "", "of another client")],
        _ => vec![result(number, "", "same")],
    };
    by_hand(&site.client, "sensors.hand", answer).await;
    let payload = tempfile::NamedTempFile::new().expect("a file");
    fs::write(payload.path(), "payload").expect("written");
    let stream = ["--stream", "HAND", "--publish", "sensors.hand", "--results", "results.hand"];
    let load = ["--payload", text(payload.path()), "--in-flight", "1", "--requests", "20", "--wait", "2s"];
    let run = measured(&site, REFUSED, &[&stream[..], &load].concat());
    accounted(&run, 20, &[("right", 17), ("lost", 1), ("differs", 1), ("failed", 1)]);
    assert_eq!((&run["twice"], &run["foreign"]), (&1.into(), &1.into()), "{run:#}");
    assert_eq!(run["twice_examples"][0], "sequence 5 has its result 0 twice");
    assert_eq!(run["total"]["errors"]["trap"]["first"], "dead letter of sequence 7: it trapped");
    let examples = run["total"]["examples"].to_string();
    assert!(examples.contains("sequence 3 of HAND: stored, and neither"), "{examples}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_have_several_results() {
    let site = Site::start().await;
    site.keep("HAND", &["sensors.hand"]).await;
    let answer = |number, _: &Message| {
        let parts = if number == 4 { 2 } else { 3 };
        (1..=parts).map(|part| result(number, &format!("/{part}"), &format!("part {part}"))).collect()
    };
    by_hand(&site.client, "sensors.hand", answer).await;
    let stream = ["--stream", "HAND", "--publish", "sensors.hand", "--results", "results.hand"];
    let load = ["--random", "5", "--in-flight", "1", "--requests", "10", "--wait", "2s", "--results-per-message", "3"];
    let run = measured(&site, REFUSED, &[&stream[..], &load].concat());
    accounted(&run, 10, &[("right", 9), ("lost", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_says_what_it_tried_and_draws_it() {
    let site = Site::start().await;
    by_hand(&site.client, "hand.busy", |number, message| {
        let mut answer = reply(message, "same");
        if number > 150 {
            answer[0].1.insert("Nats-Service-Error-Code", "429");
            answer[0].1.insert("Nats-Service-Error", "<busy> & full");
        }
        answer
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let sweep = ["--sweep", "--rate", "100", "--duration", "1s", "--knee-p99", "10s", "--report", text(&page)];
    let ran = bench(&site, &[&["--subject", "hand.busy", "--random", "3", "--output", "json"], &sweep[..]].concat());
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|fault| panic!("{fault}: {ran:?}"));
    // The lowest rate may hold or not, depending on the machine. A higher one must fail.
    assert_eq!(ran.code == GOOD, told["knee"].is_number(), "{told:#}");
    let runs = told["runs"].as_array().expect("a list");
    assert!(
        runs.len() >= 2
            && runs.iter().any(|run| run["total"]["errors"]["429"]["count"].is_number() || run["breach"].is_string())
    );
    let elements = block_in_place(|| run(python("well_formed.py").arg(&page)).json());
    assert_eq!((&elements["svg"], elements.get("script")), (&3.into(), None), "{elements}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_run_and_prints_what_there_is() {
    let site = Site::start().await;
    let (seen, mut count) = mpsc::unbounded_channel();
    by_hand(&site.client, "hand.echo", move |number, message| {
        let _ = seen.send(number);
        reply(message, "same")
    })
    .await;
    let endless =
        ["bench", "--subject", "hand.echo", "--random", "3", "--rate", "200", "--duration", "1h", "--warm-up", "0s"];
    let child = Command::new(program())
        .args(endless)
        .args(["--output", "json", "--server", site.url()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    while count.recv().await.is_some_and(|number| number < 50) {}
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    let output = block_in_place(|| child.wait_with_output().expect("it ends"));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["runs"][0]["stopped"]), (GOOD, &true.into()), "{told:#}");
    assert!(told["runs"][0]["total"]["right"].as_u64().is_some_and(|right| right >= 40), "{told:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let site = Site::start().await;
    for wrong in [
        &["digits", "--random", "1"] as &[&str],
        &["digits", "--rate", "10"],
        &["digits", "--random", "1", "--rate", "10", "--in-flight", "1"],
        &["digits", "--subject", "a.b", "--random", "1", "--rate", "10"],
        &["--stream", "S", "--random", "1", "--rate", "10"],
        &["digits", "--random", "1", "--rate", "0"],
        &["digits", "--random", "1", "--rate", "10", "--duration", "soon"],
        &["--mix", "digits", "--random", "1", "--rate", "10"],
        &["digits", "--random", "1", "--sweep", "--in-flight", "1"],
    ] {
        let ran = bench(&site, wrong);
        assert_eq!(ran.code, USAGE, "{wrong:?}: {ran:?}");
    }
    let large = ["--subject", "a.b", "--random", "2000000", "--in-flight", "2"];
    let ran = bench(&site, &large);
    assert!(ran.code == REFUSED && ran.stderr.contains("nothing can be published on a.b"), "{ran:?}");
}
