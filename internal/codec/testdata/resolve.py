"""Reads a record with another schema than it was written with: resolve.py WRITER READER HEX

Prints it as a line of JSON, as fastavro resolves it.
"""

import binascii
import io
import json
import sys

import fastavro


def schema(name):
    with open(name, encoding="utf-8") as f:
        return fastavro.parse_schema(json.load(f))


writer, reader, value = sys.argv[1:]
body = io.BytesIO(binascii.unhexlify(value))
record = fastavro.schemaless_reader(body, schema(writer), schema(reader))
if body.read():
    raise ValueError("bytes follow the record")
print(json.dumps(record, default=str))
