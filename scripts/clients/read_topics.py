"""Read the raw and the changes topic with librdkafka and fastavro, clients that
share no code with the connector, and print every record as one line of JSON.

    read_topics.py --brokers B --raw TOPIC --changes TOPIC --schema FILE [--registry URL]

Lines on standard output:
    {"topic": "raw",     "key": ..., "partition": n, "sha256": hex of the value, "headers": {...}, "timestamp": ms}
    {"topic": "changes", "key": ..., "partition": n, "value": {...},             "headers": {...}, "timestamp": ms}

It reads from the beginning to what was the end of each partition when it
started, read-committed, and fails (exit code 1) on anything that it cannot decode.
"""

import argparse
import datetime
import hashlib
import io
import json
import sys
import urllib.request

import fastavro
from confluent_kafka import Consumer, KafkaError, TopicPartition


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def json_default(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(milliseconds=1)
    raise TypeError(f"{type(value)} is not JSON")


class Decoder:
    """Decodes single-object encoding, or the Confluent wire format with a registry."""

    def __init__(self, schema_file, registry):
        with open(schema_file, encoding="utf-8") as f:
            self.schema = fastavro.parse_schema(json.load(f))
        fingerprint = fastavro.schema.fingerprint(
            fastavro.schema.to_parsing_canonical_form(self.schema), "CRC-64-AVRO"
        )
        self.marker = b"\xc3\x01" + bytes.fromhex(fingerprint)
        self.registry = registry
        self.by_id = {}

    def __call__(self, value):
        if self.registry is None:
            if value[:10] != self.marker:
                raise ValueError(f"not single-object encoding of this schema: {value[:10].hex()}, not {self.marker.hex()}")
            schema, body = self.schema, io.BytesIO(value[10:])
        else:
            if value[0] != 0:
                raise ValueError(f"not the Confluent wire format: magic byte {value[0]}")
            schema, body = self.registered(int.from_bytes(value[1:5], "big")), io.BytesIO(value[5:])
        record = fastavro.schemaless_reader(body, schema, None)
        if rest := body.read():
            raise ValueError(f"{len(rest)} bytes behind the record")
        return record

    def registered(self, schema_id):
        if schema_id not in self.by_id:
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{schema_id}", timeout=10) as answer:
                self.by_id[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        return self.by_id[schema_id]


def records(brokers, topic):
    """Yield every committed message of the topic up to its present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "read-topics",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 16 << 20,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        ended = set()
        while len(ended) < len(partitions):
            message = consumer.poll(20)
            if message is None:
                raise TimeoutError(f"no end of {topic} within 20 s")
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise RuntimeError(message.error())
                ended.add(message.partition())
                continue
            yield message
    finally:
        consumer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("brokers", "raw", "changes", "schema"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--registry", help="base URL of a Confluent-compatible registry")
    args = parser.parse_args()
    decode = Decoder(args.schema, args.registry)
    for name, topic in (("raw", args.raw), ("changes", args.changes)):
        for message in records(args.brokers, topic):
            line = {
                "topic": name,
                "key": message.key().decode(),
                "partition": message.partition(),
                "timestamp": message.timestamp()[1],
                "headers": {k: v.decode() for k, v in message.headers() or []},
            }
            if name == "raw":
                line["sha256"] = hashlib.sha256(message.value()).hexdigest()
            else:
                line["value"] = decode(message.value())
            print(json.dumps(line, default=json_default))


if __name__ == "__main__":
    sys.exit(main())
