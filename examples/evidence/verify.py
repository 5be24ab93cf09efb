#!/usr/bin/env python3
"""Checks the ZIP of "connector evidence export" without the connector, and names what is wrong with it.

It needs Python 3.11 and what requirements.txt beside it names. Ends with 0 where all is right, with 1 where something is not. Written from docs/evidence.md alone."""
import argparse, base64, contextlib, datetime, functools, hashlib, itertools, json, re, struct, sys, zipfile

import rfc3161_client
from cryptography import exceptions, x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

faults, b64 = [], functools.partial(base64.b64decode, validate=True)

def fault(text):
    faults.append(text)
    print("FAULT", text, file=sys.stderr)

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def note(z, name, keys):
    """The lines of a signed note (https://c2sp.org/signed-note); that none of the keys has signed it is a fault."""
    body, _, signatures = z.read(name).decode().partition("\n\n")
    body, good = body.removesuffix("\n"), False
    for origin, _, key in (k.strip().split("+", 2) for k in keys):
        for _, signer, signature in (line.split(" ") for line in signatures.splitlines()):
            if (signer, b64(signature)[:4]) == (origin, sha(f"{origin}\n".encode(), b64(key))[:4]):
                with contextlib.suppress(exceptions.InvalidSignature):
                    Ed25519PublicKey.from_public_bytes(b64(key)[1:]).verify(b64(signature)[4:], f"{body}\n".encode())
                    good = True
    if keys and not good:
        fault(f"{name}: not signed by a key that --key names")
    return body.split("\n")

# Merkle trees: RFC 9162, 2.1.3.2 and 2.1.4.2.
def climb(fn, sn, old, new, path):
    """Follows a proof upwards, from what is hashed with left siblings alone and what with all; None if it has another length."""
    for p in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            old, new = sha(b"\1", p, old), sha(b"\1", p, new)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = sha(b"\1", new, p)
        fn, sn = fn >> 1, sn >> 1
    return (old, new) if sn == 0 else None

def included(index, size, leaf, path, root):
    return 0 <= index < size and (climb(index, size - 1, leaf, leaf, path) or (0, 0))[1] == root

def consistent(first, old, second, new, path):
    if first == second or not path:
        return (first, old) == (second, new) and not path
    path = ([old] if first & (first - 1) == 0 else []) + path
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    return 0 < first < second and climb(fn, sn, path[0], path[0], path[1:]) == (old, new)

# The fields of a change record in Avro: string, null or string, int, time, array, map, or the symbols of an enum.
TYPES = "ABSENT,NULL,STRING,NUMBER,BOOLEAN,OBJECT,ARRAY"
FIELDS = [f.split(":") for f in f"""auditId:s changeIndex:i changeCount:i timestamp:t userId:n userName:n action:s entityType:s
entityId:n entityName:n configurationKey:n changeType:ADDED,REMOVED,MODIFIED,REORDERED,NONE previousValue:n newValue:n
previousType:{TYPES} newType:{TYPES} orgId:n serviceName:n clientId:n status:n level:n application:n remoteIp:a context:m
message:n transactionId:n memberId:n memberType:n memberName:n divisionId:n divisionName:n resolvedNames:a maskedFields:a""".split()]

def decode(record):
    """The fields as changes.csv has them. A record that was written before a field was there ends in front of it."""
    at = {b"\xc3": 10, b"\0": 5}[record[:1]]  # behind the framing
    def long():
        nonlocal at
        n = shift = 0
        while shift == 0 or record[at - 1] & 128:
            n, shift, at = n | (record[at] & 127) << shift, shift + 7, at + 1
        return n >> 1 ^ -(n & 1)
    def text():
        nonlocal at
        size, start = long(), at
        at += size
        if not start <= at <= len(record):
            raise ValueError("a string ends behind its record")
        return re.sub("[\udc80-\udcff]", "\ufffd", record[start:at].decode("utf-8", "surrogateescape"))
    def items(item):
        while count := long():
            count, _ = (count, 0) if count > 0 else (-count, long())
            yield from (item() for _ in range(count))
    def value(kind):
        match kind:
            case "n" | "a" | "m" if at == len(record): return ""
            case "i": return str(long())
            case "t": return (datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=long())).isoformat(timespec="milliseconds") + "Z"
            case "s": return text()
            case "n": return text() if long() else ""
            case "a": return "; ".join(items(text))
            case "m": return "; ".join(f"{k}={v}" for k, v in sorted(dict(items(lambda: (text(), text()))).items()))
        return kind.split(",")[long()]
    fields = [value(kind) for _, kind in FIELDS]
    if at != len(record):
        raise ValueError("it has fields that are not known here")
    return fields

def readable(name, values):
    try:
        return bool(values) and all(decode(v)[:3] == [name, str(at), str(len(values))] for at, v in enumerate(values))
    except (ValueError, LookupError, OverflowError):
        return False

def cell(s):
    s = s if len(s) <= 32000 else f"{s[:32000]}… ({len(s)} characters)"
    s = "'" + s if s and s[0] in "=+-@\t\r\n＝＋－＠" else s
    return '"' + s.replace('"', '""') + '"' if re.search('[",\r\n]', s) else s

def check_events(z, meta, size, root):
    changes, last, rows, records = z.open("changes.csv"), -1, 0, 0
    head = ("\ufeff" + ",".join(name for name, _ in FIELDS) + "\r\n").encode()
    if changes.read(len(head)) != head:
        return fault("changes.csv: it does not begin with the names of its columns")
    for rows, (line, event) in enumerate(itertools.zip_longest(z.open("evidence.jsonl"), z.open("events.jsonl")), 1):
        if line is None or event is None:
            return fault(f"events.jsonl and evidence.jsonl: one of them has no line {rows}")
        row = json.loads(line)
        where = f"line {rows}, entry {row['index']}, event {row['id']}"
        raw = b64(json.loads(event)) if event[:1] == b'"' else event.removesuffix(b"\n")
        values = [b64(r) for r in row["records"]]
        if sha(raw).hex() != row["raw"]:
            fault(f"events.jsonl: {where}: not the bytes that its entry is of")
        if sha(*(struct.pack(">I", len(v)) + v for v in values)).hex() != row["changes"]:
            fault(f"evidence.jsonl: {where}: not the change records that its entry is of")
        name = row["id"].encode()
        leaf = sha(b"\0", struct.pack(">H", len(name)), name, bytes.fromhex(row["raw"]), bytes.fromhex(row["changes"]))
        if not included(row["index"], size, leaf, [b64(h) for h in row.get("proof", [])], root):
            fault(f"evidence.jsonl: {where}: it is not in the log")
        if row["index"] <= last:
            fault(f"evidence.jsonl: {where}: it stands behind a later entry")
        last = row["index"]
        if row.get("unreadable") and readable(row["id"], values):
            fault(f"evidence.jsonl: {where}: its change records can be read, and changes.csv does not have them")
        for at, record in enumerate([] if row.get("unreadable") else values):
            fields, records = decode(record), records + 1
            if fields[:3] != [row["id"], str(at), str(len(values))] or not meta["from"] <= fields[3] < meta["to"]:
                fault(f"evidence.jsonl: {where}: change record {at} is of another event, or not of the interval")
            wanted = (",".join(map(cell, fields)) + "\r\n").encode()
            if changes.read(len(wanted)) != wanted:
                return fault(f"changes.csv: {where}: change {at} is not what its record says; the rest was not looked at")
    if changes.read(1):
        fault("changes.csv: it has lines that no record is of")
    if (rows, records) != (meta["events"], meta["changes"]):
        fault(f"export.json: it counts {meta['events']} events, {meta['changes']} changes; there are {rows}, {records}")

def check_stamp(z, name, size, root, ca):
    text, token = z.read(f"{name}.txt"), rfc3161_client.decode_timestamp_response(z.read(f"{name}.tsr"))
    _, count, old = text.decode().split("\n")[:3]
    if not consistent(int(count), b64(old), size, root, [b64(h) for h in json.loads(z.read(f"{name}.json"))]):
        fault(f"{name}.json: its checkpoint is not of this log")
    if token.tst_info.message_imprint.message != sha(text):
        fault(f"{name}.tsr: it is not of {name}.txt")
    elif ca:
        try:
            rfc3161_client.VerifierBuilder(roots=x509.load_pem_x509_certificates(ca)).build().verify_message(token, text)
        except rfc3161_client.VerificationError as e:
            fault(f"{name}.tsr: not by an authority of --tsa-ca: {e}")
    print(f"time stamp of {token.tst_info.gen_time}: the log had {count} entries", "" if ca else "(no --tsa-ca: not checked by whom)")

def check(z, args):
    names, sums = z.namelist(), z.read("SHA256SUMS")
    listed = [line.split("  ", 1) for line in sums.decode().splitlines()]
    for name in (set(names) ^ {name for _, name in listed}) - {"SHA256SUMS", "SHA256SUMS.note"}:
        fault(f"{name}: " + ("not in SHA256SUMS" if name in names else "gone from the ZIP"))
    for digest, name in listed:
        if names.count(name) > 1:
            fault(f"{name}: it is twice in the ZIP")
        if name in names and hashlib.file_digest(z.open(name), "sha256").hexdigest() != digest:
            fault(f"{name}: not the file that SHA256SUMS is of")
    meta = json.loads(z.read("export.json"))
    origin = "genesys-audit-connector/" + meta["org"]
    if "SHA256SUMS.note" in names:
        if note(z, "SHA256SUMS.note", args.key) != [origin + "/export", "sha256:" + sha(sums).hex()]:
            fault("SHA256SUMS.note: it is of other files")
    elif args.key and not args.unsigned:
        fault("SHA256SUMS.note: there is none: nobody vouches for the report and for completeness (--unsigned accepts that)")
    body = note(z, "checkpoint.txt", args.key)
    size, root = int(body[1]), b64(body[2])
    if body[0] != origin:
        fault(f"checkpoint.txt: it is of {body[0]}, not of {origin}")
    if body[4] != "coverage sha256:" + sha(z.read("coverage.json")).hex():
        fault("coverage.json: not the coverage that the checkpoint is of")
    check_events(z, meta, size, root)
    for name in sorted({n.rpartition(".")[0] for n in names if n.startswith("timestamps/")}):
        check_stamp(z, name, size, root, args.tsa_ca and open(args.tsa_ca, "rb").read())
    found = json.loads(z.read("verify.json"))["evidence"]
    if not found["ok"]:
        fault(f"verify.json: this was found to be wrong in Kafka when it was exported: {found['counts']}")
    print(f"{meta['events']} events of {meta['from']} to {meta['to']}, in a log of {size} entries ({body[3]})")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("zip", metavar="EXPORT.zip")
parser.add_argument("--key", action="append", default=[], metavar="VERIFIER", help="verifier's line of a key that signs (repeatable)")
parser.add_argument("--tsa-ca", metavar="FILE", help="PEM of the authorities whose time stamps are believed")
parser.add_argument("--unsigned", action="store_true", help="accept that nobody vouches for the report and for completeness")
options = parser.parse_args()
try:
    check(zipfile.ZipFile(options.zip), options)
except Exception as e:  # whatever it is: this is no export, or not any more
    fault(f"cannot be read on: {type(e).__name__}: {e}")
print(f"{len(faults)} faults" if faults else "ok" if options.key else "ok, but without --key nothing tells who made it")
sys.exit(bool(faults))
