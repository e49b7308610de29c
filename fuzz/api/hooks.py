"""What schemathesis needs to know of this API that no schema says. scripts/fuzz-api.sh runs it.

A request that follows the schema gets ids that exist, a key that no other request had, and, for every second callback, a
signature. Without that, most requests end at a 404 or 412 and test nothing behind it. Requests that break the schema are sent as they
were made.
"""

import base64
import hashlib
import hmac
import itertools
import os
import time
import uuid

import requests
import schemathesis

BASE = os.environ["FUZZ_URL"]
SECRET = base64.b64decode(os.environ["GATEWAY_WEBHOOK_SECRET"].removeprefix("whsec_"))
LISTS = {"orders": "orders", "returns": "returns", "refunds": "refunds", "keys": "ops/keys"}
# The lists are read again after so many requests, so that they have what was made since.
REFRESH = 200

# The state in which a step is allowed, by the end of its path.
FROM = {
    "pay": "PENDING_PAYMENT",
    "processing": "PAID",
    "ship": "PROCESSING_IN_WAREHOUSE",
    "deliver": "SHIPPED",
    "approve": "REQUESTED",
    "reject": "REQUESTED",
    "withdraw": "REQUESTED",
    "in-transit": "APPROVED",
    "received": "IN_TRANSIT",
    "complete": "RECEIVED",
}
# Of every state the newest, or new orders would push all others out of the lists.
STATES = {
    "orders": ["PENDING_PAYMENT", "PAID", "PROCESSING_IN_WAREHOUSE", "SHIPPED", "DELIVERED", "CANCELLED"],
    "returns": ["REQUESTED", "APPROVED", "REJECTED", "IN_TRANSIT", "RECEIVED", "COMPLETED"],
}
# What an order must have for more reasons than its schema. The number of a registered buyer is made up, but its check digit is right.
PLAUSIBLE = {"gstin": "36AABCM1234L1ZL", "country": "India", "state": "Telangana", "postal_code": "500001", "currency": "INR"}

sequence = itertools.count()
documents = {}


def known(kind):
    """The documents of a list."""
    return documents.get(kind, [])


def refresh():
    for kind, path in LISTS.items():
        documents[kind] = []
        for state in STATES.get(kind, [None]):
            answer = requests.get(f"{BASE}/api/v1/{path}", params={"limit": 25, "state": state}, timeout=30)
            answer.raise_for_status()
            documents[kind] += answer.json()["data"]


def one_of(kind, instead_of, state=None):
    """A document, in this state if there is one, in place of a random id. None for an id that is real: ours have version 7."""
    try:
        made_up = uuid.UUID(str(instead_of))
    except ValueError:
        return None
    if made_up.version == 7:
        return None
    fitting = [document for document in known(kind) if document.get("state") == state] or known(kind)
    return fitting[made_up.int % len(fitting)] if fitting else None


def replace_in_path(case):
    """The document that a request is about."""
    given = (case.path_parameters or {}).get("id")
    if not given:
        return None
    # Operators look for the events of an order.
    kind = next((kind for kind in LISTS if f"/{kind}/" in case.path), "orders")
    state = FROM.get(case.path.split("/")[-1]) if next(sequence) % 4 else None
    document = one_of(kind, given, state)
    if document:
        case.path_parameters["id"] = document["id"]
    return document


def replace_in_body(body, document):
    """Puts real orders and items into a body. Whole numbers lose their `.0`: in JSON 2.0 is an integer, and serde wants a 2."""
    if isinstance(body, list):
        return [replace_in_body(element, document) for element in body]
    if isinstance(body, float) and body.is_integer():
        return int(body)
    if not isinstance(body, dict):
        return body
    order = one_of("orders", body["order_id"], "DELIVERED") if "order_id" in body else None
    document = order or document
    changed = {name: replace_in_body(value, document) for name, value in body.items()}
    if order:
        changed["order_id"] = order["id"]
    for name, value in PLAUSIBLE.items():
        if changed.get(name) and next(sequence) % 8:
            changed[name] = value
    if changed.get("order_number"):
        changed["order_number"] = f"{changed['order_number'][:20]}-{next(sequence)}"
    if "order_item_id" in changed and document and document.get("items"):
        items = document["items"]
        item = items[next(sequence) % len(items)]
        changed["order_item_id"] = item.get("order_item_id") or item.get("id")
    return changed


def sign(request):
    """Signs a callback as the Standard Webhooks specification says."""
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body
    seconds = str(int(time.time()))
    said = b".".join([b"msg_fuzz", seconds.encode(), body])
    signature = base64.b64encode(hmac.digest(SECRET, said, hashlib.sha256)).decode()
    request.headers.update(
        {"webhook-id": "msg_fuzz", "webhook-timestamp": seconds, "webhook-signature": f"v1,{signature}"}
    )
    return request


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    count = next(sequence)
    if not documents or count % REFRESH == 0:
        refresh()
    headers = case.headers or {}
    if headers.get("Idempotency-Key"):
        case.headers["Idempotency-Key"] = f"{headers['Idempotency-Key'][:200]}-{count}"
    if headers.get("If-Match") and count % 4:
        case.headers["If-Match"] = "*"
    if case.path == "/gateway/callbacks" and count % 2:
        kwargs["auth"] = sign
    document = replace_in_path(case)
    if isinstance(case.body, (dict, list)):
        case.body = replace_in_body(case.body, document)
