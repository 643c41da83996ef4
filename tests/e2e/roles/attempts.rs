//! The tables of the roles' tests: attempts beyond a role, and permitted messages with a foreign reply subject.

use inferbus_tests::roles::Role;

use Role::{Catalog, Operator, Publisher, Reader, Requester, Worker as WorkerRole};
use Verb::{Publish, Queue, Subscribe};

pub(super) enum Verb {
    /// A payload for a subject.
    Publish(&'static str, &'static str),
    Subscribe(&'static str),
    /// A subscription in a queue group.
    Queue(&'static str, &'static str),
}

const DELIVER_TO_CATALOG: &str = concat!(
    r#"{"stream_name":"INFERBUS_RESULTS_cameras","#,
    r#""config":{"deliver_subject":"$KV.models.digits","ack_policy":"none"}}"#
);

/// For each role the attempts for the server to deny by name, without any effect.
pub(super) const DENIED: &[(Role, &[(&str, Verb)])] = &[
    (Publisher, PUBLISHER),
    (Requester, REQUESTER),
    (Reader, READER),
    (WorkerRole, WORKER),
    (Catalog, CATALOG),
    (Operator, OPERATOR),
];

/// A device.
const PUBLISHER: &[(&str, Verb)] = &[
    ("activate a version", Publish("$KV.models.digits", "9.9.9")),
    ("write an entry", Publish("$KV.models.digits.9.9.9", "{}")),
    ("write a route", Publish("$KV.routes.mine", "{}")),
    ("replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    ("add to an artifact", Publish("$O.artifacts.C.x", "x")),
    ("read an artifact", Publish("$JS.API.STREAM.MSG.GET.OBJ_artifacts", r#"{"seq":1}"#)),
    ("read the catalog", Publish("$JS.API.DIRECT.GET.KV_models", r#"{"seq":1}"#)),
    ("read what others sent", Publish("$JS.API.STREAM.MSG.GET.SENSORS", r#"{"seq":1}"#)),
    ("take what others sent", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    ("acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+TERM")),
    ("empty the stream", Publish("$JS.API.STREAM.PURGE.SENSORS", "")),
    ("delete the stream", Publish("$JS.API.STREAM.DELETE.SENSORS", "")),
    ("delete a message", Publish("$JS.API.STREAM.MSG.DELETE.SENSORS", r#"{"seq":1}"#)),
    ("change the stream", Publish("$JS.API.STREAM.UPDATE.SENSORS", r#"{"name":"SENSORS"}"#)),
    ("make a stream", Publish("$JS.API.STREAM.CREATE.MINE", r#"{"name":"MINE","subjects":["mine"]}"#)),
    ("delete the consumer", Publish("$JS.API.CONSUMER.DELETE.SENSORS.inferbus-cameras", "")),
    ("forge a result", Publish("inference.cam.1", "forged")),
    ("forge a dead letter", Publish("inferbus.dlq.cameras.1", "forged")),
    ("ask a model", Publish("infer.digits", "x")),
    ("ask for a model's metadata", Publish("infer.digits.metadata", "")),
    ("answer for the server", Publish("_INBOX_worker.x", "forged")),
    ("answer another's request", Publish("_INBOX_requester.x", "forged")),
    ("name the worker's reply", Publish("_R_.x", "forged")),
    ("list the workers", Publish("$SRV.PING.inferbus", "")),
    ("forge an advisory", Publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.SENSORS.inferbus-cameras", "{}")),
    ("ask the server about itself", Publish("$SYS.REQ.SERVER.PING.VARZ", "")),
    ("hear everything", Subscribe(">")),
    ("hear other devices", Subscribe("sensors.>")),
    ("hear results", Subscribe("inference.>")),
    ("hear replies to others", Subscribe("_INBOX.>")),
    ("hear requesters' replies", Subscribe("_INBOX_requester.>")),
    ("hear advisories", Subscribe("$JS.EVENT.ADVISORY.>")),
    ("hear the system", Subscribe("$SYS.>")),
    ("pose as a worker", Queue("infer.*", "inferbus")),
];

/// A requester.
const REQUESTER: &[(&str, Verb)] = &[
    ("activate a version", Publish("$KV.models.digits", "9.9.9")),
    ("read an artifact", Publish("$JS.API.STREAM.MSG.GET.OBJ_artifacts", r#"{"seq":1}"#)),
    ("look at a stream", Publish("$JS.API.STREAM.INFO.SENSORS", "")),
    ("put sensor data", Publish("sensors.cam.1", "forged")),
    ("forge a result", Publish("inference.cam.1", "forged")),
    ("acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+ACK")),
    ("go around a queue", Publish("$SRV.INFO", "")),
    ("hear requests", Subscribe("infer.*")),
    ("pose as a worker", Queue("infer.*", "inferbus")),
    ("hear readers' messages", Subscribe("_INBOX_reader.>")),
];

/// A reader of results.
const READER: &[(&str, Verb)] = &[
    ("forge a result", Publish("inference.cam.1", "forged")),
    ("put sensor data", Publish("sensors.cam.1", "forged")),
    ("delete a result", Publish("$JS.API.STREAM.MSG.DELETE.INFERBUS_RESULTS_cameras", r#"{"seq":1}"#)),
    ("empty the results", Publish("$JS.API.STREAM.PURGE.INFERBUS_RESULTS_cameras", "")),
    ("acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+ACK")),
    ("take sensor data", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    (
        "have results delivered elsewhere",
        Publish("$JS.API.CONSUMER.CREATE.INFERBUS_RESULTS_cameras", DELIVER_TO_CATALOG),
    ),
    ("delete its consumer", Publish("$JS.API.CONSUMER.DELETE.INFERBUS_RESULTS_cameras.reader", "")),
    ("read dead letters", Publish("$JS.API.STREAM.MSG.GET.INFERBUS_DLQ", r#"{"seq":1}"#)),
    ("hear sensor data", Subscribe("sensors.>")),
    ("hear dead letters", Subscribe("inferbus.dlq.>")),
];

/// A worker.
const WORKER: &[(&str, Verb)] = &[
    ("activate a version", Publish("$KV.models.digits", "9.9.9")),
    ("write a route", Publish("$KV.routes.mine", "{}")),
    ("replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    ("put sensor data", Publish("sensors.cam.1", "forged")),
    ("dead-letter another route's message", Publish("inferbus.dlq.doors.1", "forged")),
    ("make a stream", Publish("$JS.API.STREAM.CREATE.MINE", r#"{"name":"MINE","subjects":["mine"]}"#)),
    ("change a stream", Publish("$JS.API.STREAM.UPDATE.SENSORS", r#"{"name":"SENSORS"}"#)),
    ("empty a stream", Publish("$JS.API.STREAM.PURGE.SENSORS", "")),
    ("delete the catalog", Publish("$JS.API.STREAM.DELETE.KV_models", "")),
    ("delete its consumer", Publish("$JS.API.CONSUMER.DELETE.SENSORS.inferbus-cameras", "")),
    ("make a second consumer", Publish("$JS.API.CONSUMER.CREATE.SENSORS", "{}")),
    ("acknowledge for a reader", Publish("$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK")),
    ("have raw bytes sent elsewhere", Publish("$JS.API.DIRECT.GET.INFERBUS_DLQ", r#"{"seq":1}"#)),
    ("forge an advisory", Publish("$JS.EVENT.ADVISORY.STREAM.DELETED.SENSORS", "{}")),
    ("hear everything", Subscribe(">")),
    ("hear requests of other workers", Subscribe("infer.*")),
    ("take each request a second time", Queue("infer.*", "another")),
    ("hear questions of other workers", Subscribe("infer.*.metadata")),
    ("hear replies", Subscribe("_R_.>")),
];

/// A publisher to the catalog.
const CATALOG: &[(&str, Verb)] = &[
    ("write a route", Publish("$KV.routes.mine", "{}")),
    ("delete the catalog", Publish("$JS.API.STREAM.DELETE.KV_models", "")),
    ("empty the catalog", Publish("$JS.API.STREAM.PURGE.KV_models", "")),
    ("put sensor data", Publish("sensors.cam.1", "forged")),
    ("take sensor data", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    ("forge a result", Publish("inference.cam.1", "forged")),
    ("hear what workers hear", Subscribe("_INBOX_worker.>")),
];

/// The operator, by mistake.
const OPERATOR: &[(&str, Verb)] = &[
    ("activate a version", Publish("$KV.models.digits", "9.9.9")),
    ("replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    ("dead-letter a message", Publish("inferbus.dlq.cameras.1", "forged")),
    ("forge an advisory", Publish("$JS.EVENT.ADVISORY.STREAM.DELETED.SENSORS", "{}")),
    ("hear what workers hear", Subscribe("_INBOX_worker.>")),
    ("hear everything", Subscribe(">")),
];

/// Permitted messages with another's subject as their reply subject: the answer must not arrive there.
pub(super) const DEPUTIES: &[(Role, &str, &str, &str)] = &[
    (Publisher, "sensors.other", "x", "$KV.models.digits"),
    (Publisher, "sensors.other", "x", "$JS.API.STREAM.PURGE.KV_models"),
    (Publisher, "sensors.other", "x", "$JS.API.STREAM.DELETE.KV_models"),
    (Publisher, "sensors.other", "x", "inference.cam.1"),
    (Reader, "$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK", "$JS.API.STREAM.DELETE.KV_models"),
    (Reader, "$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK", "$KV.models.digits"),
    (Reader, "$JS.API.CONSUMER.INFO.INFERBUS_RESULTS_cameras.reader", "", "$KV.models.digits"),
    (Reader, "$JS.API.CONSUMER.MSG.NEXT.INFERBUS_RESULTS_cameras.reader", "1", "$KV.models.digits"),
    (WorkerRole, "$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+WPI", "$JS.API.STREAM.DELETE.KV_models"),
    (WorkerRole, "$JS.API.STREAM.INFO.SENSORS", "", "$KV.models.digits"),
    (WorkerRole, "$JS.API.STREAM.MSG.GET.SENSORS", r#"{"seq":1}"#, "$KV.models.digits"),
    (WorkerRole, "$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1", "$KV.models.digits"),
    (WorkerRole, "inferbus.dlq.cameras.1", "x", "$JS.API.STREAM.DELETE.KV_models"),
    (Catalog, "$JS.API.STREAM.INFO.KV_models", "", "inference.cam.1"),
    (Catalog, "$KV.models.other", "1.0.0", "$KV.models.digits"),
    // Through a worker: it answers every request.
    (Requester, "infer.digits", "x", "$KV.models.digits"),
    (Requester, "infer.digits", "x", "inference.cam.1"),
    (Requester, "infer.digits", "x", "inferbus.dlq.cameras.7"),
    (Requester, "infer.digits", "x", "$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0"),
    (Requester, "infer.digits", "x", "$JS.API.STREAM.INFO.SENSORS"),
];
