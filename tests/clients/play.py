"""Plays an order to its refund with the client that openapi-python-client makes of the API's description, and verifies the webhooks
with the library of the Standard Webhooks specification. CLIENT is the package's folder, API the service's address."""

import http.server
import os
import sys
import threading
import time
import uuid

sys.path.insert(0, os.environ["CLIENT"])

from shop_client import Client  # noqa: E402
from shop_client.api.operations import create_webhook  # noqa: E402
from shop_client.api.orders_commands import deliver_order, pay_order, place_order, process_order, quote_order, ship_order  # noqa: E402
from shop_client.api.orders_queries import get_order, list_orders  # noqa: E402
from shop_client.api.returns_commands import approve_return, complete_return, preview_return, receive_return, request_return, send_return  # noqa: E402
from shop_client.api.returns_queries import get_return  # noqa: E402
from shop_client.models import NewWebhookBody, OrderState, Pay, PlaceItem, PlaceOrder, PreviewReturn, QuoteOrder, RequestReturn, ReturnItem, Ship  # noqa: E402
from standardwebhooks import Webhook  # noqa: E402

client = Client(base_url=os.environ["API"], raise_on_unexpected_status=True)
received = []


class Hooks(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        received.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def until(what, look):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise SystemExit(f"not within a minute: {what}")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hooks)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/"
endpoint = create_webhook.sync(client=client, body=NewWebhookBody(url=url, reason="a test"), x_actor="python")

items = [PlaceItem(sku="STL-01", title="Ikat stole", quantity=2, unit_price_minor=450000)]
quote = quote_order.sync(client=client, body=QuoteOrder(items=items, shipping_minor=15000))
body = PlaceOrder(customer_id="python", items=items, shipping_minor=15000)
placed = place_order.sync_detailed(client=client, body=body, idempotency_key=str(uuid.uuid4()))
order = placed.parsed
assert placed.status_code == 201 and order.total_minor == quote.total_minor, placed
pay_order.sync(order.id, client=client, body=Pay(payment_transaction_id="UPI-1"))
process_order.sync(order.id, client=client)
ship_order.sync(order.id, client=client, body=Ship(carrier="India Post", tracking_number="EE1IN"))
delivered = deliver_order.sync_detailed(order.id, client=client)
token = delivered.headers["x-consistency-token"]
shown = get_order.sync(order.id, client=client, x_consistency_token=token)
assert shown.state == OrderState.DELIVERED and shown.items[0].returnable_quantity == 2, shown
found = list_orders.sync(client=client, customer_id="python", state=[OrderState.DELIVERED, OrderState.SHIPPED], total=True)
assert found.total >= 1 and found.data[0].id == order.id, found

units = [ReturnItem(order_item_id=order.items[0].id, quantity=1)]
preview = preview_return.sync(client=client, body=PreviewReturn(order_id=order.id, items=units))
assert preview.eligible, preview
returned = request_return.sync(client=client, body=RequestReturn(order_id=order.id, items=units))
for step in (approve_return, send_return, receive_return, complete_return):
    step.sync(returned.id, client=client)


def refunded():
    refund = get_return.sync(returned.id, client=client).refund
    return refund if refund and refund.status == "PROCESSED" else None


assert until("the refund is paid", refunded).amount_minor == preview.refund_amount_minor
until("the webhook of the refund", lambda: any(b'"refund.processed"' in body for _, body in received))
for headers, body in received:
    Webhook(endpoint.secret).verify(body, headers)
print(f"python: {order.order_number} refunded, {len(received)} webhooks verified")
