// Plays an order to its refund with the types that openapi-typescript makes of the API's description, and verifies the webhooks with
// the library of the Standard Webhooks specification. API is the service's address.
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import createClient from "openapi-fetch";
import { Webhook } from "standardwebhooks";
import type { components, paths } from "./schema.js";

const client = createClient<paths>({ baseUrl: process.env["API"]! });
const received: { headers: Record<string, string>; body: string }[] = [];
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  received.push({ headers: request.headers as Record<string, string>, body: Buffer.concat(chunks).toString() });
  response.writeHead(204).end();
});
await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

function ok<T>(what: string, answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(`${what}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`not within a minute: ${what}`);
}

const endpoint = ok("endpoint", await client.POST("/api/v1/ops/webhooks", {
  body: { url, event_types: [], reason: "a test" }, params: { header: { "X-Actor": "typescript" } },
}));
const items = [{ sku: "STL-01", title: "Ikat stole", quantity: 2, unit_price_minor: 450000 }];
const cart: components["schemas"]["QuoteOrder"] = { items, discount_minor: 0, shipping_minor: 15000 };
const quote = ok("quote", await client.POST("/api/v1/orders/quote", { body: cart }));
const order = ok("order", await client.POST("/api/v1/orders", {
  body: { ...cart, customer_id: "typescript", metadata: {}, tags: [] }, params: { header: { "Idempotency-Key": randomUUID() } },
}));
if (order.total_minor !== quote.total_minor) throw new Error("the quote costs something else");
const path = { id: order.id };
ok("pay", await client.POST("/api/v1/orders/{id}/pay", { params: { path }, body: { payment_transaction_id: "UPI-2" } }));
ok("process", await client.POST("/api/v1/orders/{id}/processing", { params: { path } }));
ok("ship", await client.POST("/api/v1/orders/{id}/ship", { params: { path }, body: { carrier: "India Post" } }));
const delivered = await client.POST("/api/v1/orders/{id}/deliver", { params: { path } });
const token = delivered.response.headers.get("x-consistency-token")!;
const shown = ok("read", await client.GET("/api/v1/orders/{id}", { params: { path, header: { "x-consistency-token": token } } }));
if (shown.state !== "DELIVERED" || shown.items[0]?.returnable_quantity !== 2) throw new Error(JSON.stringify(shown));
const list = ok("list", await client.GET("/api/v1/orders", { params: { query: { customer_id: "typescript", state: ["DELIVERED"] } } }));
if (list.data[0]?.id !== order.id) throw new Error(JSON.stringify(list));

const units = [{ order_item_id: order.items[0]!.id, quantity: 1 }];
const preview = ok("preview", await client.POST("/api/v1/returns/preview", { body: { order_id: order.id, items: units } }));
const returned = ok("return", await client.POST("/api/v1/returns", { body: { order_id: order.id, items: units } }));
const of = { params: { path: { id: returned.id } } };
ok("approve", await client.POST("/api/v1/returns/{id}/approve", of));
ok("send", await client.POST("/api/v1/returns/{id}/in-transit", of));
ok("receive", await client.POST("/api/v1/returns/{id}/received", of));
ok("complete", await client.POST("/api/v1/returns/{id}/complete", of));
const refund = await until("the refund is paid", async () => {
  const refund = ok("read", await client.GET("/api/v1/returns/{id}", of)).refund;
  return refund?.status === "PROCESSED" ? refund : undefined;
});
if (refund.amount_minor !== preview.refund_amount_minor) throw new Error(JSON.stringify(refund));
await until("the webhook of the refund", async () => received.find(({ body }) => body.includes('"refund.processed"')));
for (const { headers, body } of received) new Webhook(endpoint.secret).verify(body, headers);
console.log(`typescript: ${order.order_number} refunded, ${received.length} webhooks verified`);
process.exit(0);
