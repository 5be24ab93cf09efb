"""Prints every committed change: consume.py BROKERS TOPIC GROUP SCHEMA_FILE

PyPI confluent-kafka and fastavro.
"""

import io
import json
import sys

import fastavro
from confluent_kafka import Consumer

brokers, topic, group, schema_file = sys.argv[1:]
with open(schema_file, encoding="utf-8") as f:
    schema = fastavro.parse_schema(json.load(f))
# Single-object encoding: C3 01, and the fingerprint of the schema that the value was written with.
fingerprint = fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(schema), "CRC-64-AVRO")
marker = b"\xc3\x01" + bytes.fromhex(fingerprint)

consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": group,
        "isolation.level": "read_committed",  # librdkafka's default; said here for who copies this elsewhere
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
)
consumer.subscribe([topic])
try:
    while True:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            raise RuntimeError(message.error())
        if message.value() is None:
            # Erased: delete here what was made of this key.
            print(message.key().decode(), "erased", sep="\t", flush=True)
            consumer.commit(message, asynchronous=False)
            continue
        if message.value()[:10] != marker:
            raise ValueError(f"{message.topic()}-{message.partition()} at {message.offset()}: written with another schema")
        change = fastavro.schemaless_reader(io.BytesIO(message.value()[10:]), schema, None)
        # Deliver it here, under its key: that is the same when it comes again.
        print(message.key().decode(), change["action"], change["entityType"], change["configurationKey"], sep="\t", flush=True)
        consumer.commit(message, asynchronous=False)  # after delivery; better once for many
finally:
    consumer.close()
