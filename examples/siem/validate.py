"""Validates OCSF events, one JSON object a line on standard input.

Two judges, neither of which knows the other:
- the published schema of the event's own version, as JSON Schema, class by class,
  with the profiles that the event names
  (PyPI ocsf-json-schema carries it, so that nothing is asked of schema.ocsf.io);
- py-ocsf-models, for what all events have in common and for the metadata. It has
  no model of the Identity & Access Management classes.
"""

import ipaddress
import json
import sys
from collections import Counter

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from py_ocsf_models.events.base_event import BaseEvent

validators = {}
schemas = {}


def validator(version, class_uid, profiles):
    key = version, class_uid, tuple(profiles)
    if key not in validators:
        if version not in schemas:
            schemas[version] = OcsfJsonSchemaEmbedded(get_ocsf_schema(version))
        schema = schemas[version]
        name = schema.lookup_class_name_from_uid(class_uid)
        validators[key] = jsonschema.Draft202012Validator(schema.get_class_schema(name, list(profiles)))
    return validators[key]


def faults(event):
    metadata = event["metadata"]
    for e in validator(metadata["version"], event["class_uid"], metadata.get("profiles", [])).iter_errors(event):
        yield f"{e.json_path}: {e.message[:300]}"
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield "type_uid is not class_uid * 100 + activity_id"
    if event["category_uid"] != event["class_uid"] // 1000:
        yield "category_uid is not that of the class"
    for address in [event["src_endpoint"]["ip"]] if "src_endpoint" in event else []:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield f"src_endpoint.ip is no address: {address}"
    try:
        BaseEvent.model_validate(event)
    except ValueError as e:
        yield f"py-ocsf-models: {e}"


def main():
    seen, uids, bad = Counter(), Counter(), 0
    for line in sys.stdin:
        event = json.loads(line)
        found = list(faults(event))
        seen[event["class_name"], event["activity_name"]] += 1
        uids[event["metadata"]["uid"]] += 1
        if found:
            bad += 1
            print(event["metadata"]["uid"], *found, sep="\n  ")
    for (name, activity), n in sorted(seen.items()):
        print(f"{n:6} {name}: {activity}")
    twice = [uid for uid, n in uids.items() if n > 1]
    print(f"{sum(seen.values())} events, {bad} invalid, {len(twice)} ids that are not unique")
    sys.exit(1 if bad or twice or not seen else 0)


main()
