"""Does with the vendor's SDK what it is told, and says what the SDK made of it: JSON, one line in, one line out.

{"do": "methods"}                                      the calls of AuditApi
{"do": "login", "url": U, "id": I, "secret": S}        OAuth client credentials; "refresh": a refresh token besides
{"do": "call", "method": M, "args": {...}}             a call of AuditApi; a body has the names of the API
{"do": "get", "path": P, "query": {...}}               what the SDK has no call for, over its transport

It judges nothing. What the SDK does not know of an answer is not in the result: only its own models are written out.
"""

import inspect
import json
import sys
from datetime import datetime, timezone

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException


def model(kind, value):
    """A request as an object of the SDK, so that the SDK itself serialises it."""
    if kind.startswith("list["):
        return [model(kind[5:-1], v) for v in value]
    made = getattr(sdk, kind, None)
    if made is None:
        return value
    instance = made()
    attributes = {name: attribute for attribute, name in instance.attribute_map.items()}
    for name, v in value.items():
        attribute = attributes[name]
        setattr(instance, attribute, model(instance.swagger_types[attribute], v))
    return instance


def plain(value):
    """What the SDK deserialised, under the names of the API. A time without a zone would show: TZ is not UTC here."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if hasattr(value, "swagger_types"):
        return {value.attribute_map[a]: plain(getattr(value, a)) for a in value.swagger_types}
    return value


class Bridge:
    client = None

    def methods(self):
        return [name for name, _ in inspect.getmembers(sdk.AuditApi, inspect.isfunction) if not name.startswith("_")]

    def login(self, url, id, secret, refresh=""):
        self.client = sdk.ApiClient(host=url)
        self.client.client_id, self.client.client_secret, self.client.refresh_token = id, secret, refresh
        self.client.get_client_credentials_token(id, secret)
        return self.client.access_token

    def call(self, method, args):
        function = getattr(sdk.AuditApi(self.client), method)
        parameters = inspect.signature(function).parameters
        for name in args:
            if name in parameters and isinstance(parameters[name].annotation, str):  # of models it is their name
                args[name] = model(parameters[name].annotation, args[name])
        return plain(function(**args))

    def get(self, path, query):
        return self.client.call_api(path, "GET", {}, query, {"Accept": "application/json"}, response_type="object",
                                    auth_settings=["PureCloud OAuth"])


bridge = Bridge()
for line in sys.stdin:
    order = json.loads(line)
    try:
        said = {"result": getattr(bridge, order.pop("do"))(**order)}
    except ApiException as e:
        said = {"raised": "ApiException", "status": e.status, "text": e.body}
    except Exception as e:
        said = {"raised": type(e).__name__, "text": str(e)}
    print(json.dumps(said), flush=True)
