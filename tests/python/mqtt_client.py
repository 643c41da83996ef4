"""An MQTT device: publishes digits on one topic through nats-server's MQTT gateway and takes the results from another.

    mqtt_client.py --port 1883 --publish camera/7 --subscribe digits/7 --records heldout.bin --expect heldout.json \\
        --count 20

Exit status 0 only if every record was answered with the expected label.
"""

import argparse
import queue
import sys

import paho.mqtt.client as mqtt

from camera import read_label, read_predictions, read_records, report

# Far above any real answer: it turns a lost message into a sentence instead of a hang.
ANSWER_SECONDS = 20


class Device:
    """A connected client whose acknowledgements and results wait in queues."""

    def __init__(self, host, port):
        self.events, self.results = queue.Queue(), queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="inferbus-test-device", protocol=mqtt.MQTTv311
        )
        self.client.on_connect = lambda client, data, flags, reason, properties: self.events.put(reason)
        self.client.on_subscribe = lambda client, data, message, reasons, properties: self.events.put(reasons[0])
        self.client.on_message = lambda client, data, message: self.results.put(message.payload)
        self.client.connect(host, port)
        self.client.loop_start()
        self.confirm("the connection")

    def confirm(self, what):
        reason = wait(self.events, f"the gateway did not confirm {what}")
        if reason.is_failure:
            sys.exit(f"the gateway refused {what}: {reason}")

    def subscribe(self, topic):
        self.client.subscribe(topic, qos=0)
        self.confirm(f"the subscription to {topic}")

    def exchange(self, topic, record):
        self.client.publish(topic, record, qos=0)
        return read_label(wait(self.results, f"no result for a record on {topic}"))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def wait(waiting, failure):
    try:
        return waiting.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        sys.exit(f"{failure} within {ANSWER_SECONDS} seconds")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--publish", required=True, help="topic of the records")
    parser.add_argument("--subscribe", required=True, help="topic of the results")
    parser.add_argument("--records", required=True)
    parser.add_argument("--expect", required=True)
    parser.add_argument("--count", type=int, help="use the first COUNT records only")
    return parser.parse_args()


def main(options):
    records = read_records(options.records)[: options.count]
    expected = read_predictions(options.expect)
    device = Device(options.host, options.port)
    device.subscribe(options.subscribe)
    labels = [device.exchange(options.publish, record) for record in records]
    device.close()
    report([(i, want, got) for i, (want, got) in enumerate(zip(expected, labels)) if want != got], len(labels))


if __name__ == "__main__":
    try:
        main(arguments())
    except OSError as fault:
        sys.exit(f"MQTT: {fault}")
