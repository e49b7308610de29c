//! Who may call what: one line per route, one column per role. A reviewer reads this file, and nothing else, to know it.
//!
//! A route that is not here cannot be called under `AUTH=required`. A test holds the table to the API's description, both ways, and
//! another one calls each route in each role over HTTP.

use std::collections::HashMap;
use std::sync::LazyLock;

use Reach::{All, No, Own};

use crate::principal::{Caller, Role};

/// Whose things a role reaches by a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    No,
    /// The customer's own. Those of others do not exist for it: 404, or not in the list.
    Own,
    All,
}

/// Who may call a route.
#[derive(Debug)]
pub struct Rule {
    pub method: &'static str,
    pub route: &'static str,
    reach: [Reach; Role::ALL.len()],
}

const fn rule(method: &'static str, route: &'static str, reach: [Reach; Role::ALL.len()]) -> Rule {
    Rule { method, route, reach }
}

#[rustfmt::skip]
pub static RULES: &[Rule] = &[
    //                                                        customer staff manager reporting operator admin
    // Orders. The shop says what a thing costs, so no customer places an order. The history names who of the shop did what, and from where.
    rule("POST",  "/api/v1/orders",                            [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/quote",                      [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/transitions",                [No,     All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/orders",                            [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/orders/{id}",                       [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/orders/{id}/history",               [No,     All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/orders/{id}/invoice",               [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/orders/{id}/e-invoice.json",        [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/cancel",                [Own,    All,  All,    No,       No,      All]),
    rule("PATCH", "/api/v1/orders/{id}",                       [No,     All,  All,    No,       No,      All]),
    rule("PATCH", "/api/v1/orders/{id}/state",                 [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/pay",                   [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/processing",            [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/ship",                  [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/deliver",               [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/e-invoice",             [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/invoice/send",          [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/orders/{id}/notes",                 [No,     All,  All,    No,       No,      All]),
    // Money that goes back without a return.
    rule("POST",  "/api/v1/orders/{id}/refunds",               [No,     No,   All,    No,       No,      All]),
    // Returns. Staff receive what comes back; managers decide.
    rule("POST",  "/api/v1/returns",                           [Own,    All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/preview",                   [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/returns",                           [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/returns/{id}",                      [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/returns/{id}/history",              [No,     All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/returns/{id}/credit-note",          [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/returns/{id}/e-invoice.json",       [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/withdraw",             [Own,    All,  All,    No,       No,      All]),
    rule("PATCH", "/api/v1/returns/{id}",                      [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/in-transit",           [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/received",             [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/approve",              [No,     No,   All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/reject",               [No,     No,   All,    No,       No,      All]),
    rule("POST",  "/api/v1/returns/{id}/complete",             [No,     No,   All,    No,       No,      All]),
    rule("PATCH", "/api/v1/returns/{id}/state",                [No,     No,   All,    No,       No,      All]),
    // Refunds.
    rule("GET",   "/api/v1/refunds",                           [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/refunds/{id}",                      [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/refunds/{id}/history",              [No,     All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/refunds/{id}/credit-note",          [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/refunds/{id}/e-invoice.json",       [No,     All,  All,    No,       No,      All]),
    rule("POST",  "/api/v1/refunds/{id}/retry",                [No,     No,   All,    No,       No,      All]),
    // What has happened, of all customers.
    rule("GET",   "/api/v1/events",                            [No,     All,  All,    No,       No,      All]),
    // Invoices and credit notes.
    rule("GET",   "/api/v1/invoices",                          [Own,    All,  All,    No,       No,      All]),
    rule("GET",   "/api/v1/credit-notes",                      [Own,    All,  All,    No,       No,      All]),
    // Reports.
    rule("GET",   "/api/v1/reports/daily",                     [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/gst",                       [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/gst/gstr1.json",            [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/gst/gstr1/{sheet}",         [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/lead-times",                [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/orders-by-state",           [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/refunds",                   [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/returns",                   [No,     No,   All,    All,      No,      All]),
    rule("GET",   "/api/v1/reports/sales/daily",               [No,     No,   All,    All,      No,      All]),
    // Files of lists and reports. Each is for those who may read what it has.
    rule("POST",  "/api/v1/exports",                           [No,     All,  All,    All,      No,      All]),
    rule("GET",   "/api/v1/exports",                           [No,     All,  All,    All,      No,      All]),
    rule("GET",   "/api/v1/exports/{id}",                      [No,     All,  All,    All,      No,      All]),
    // Operations.
    rule("GET",   "/api/v1/ops/actions",                       [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/audit",                         [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/bulk-acts",                     [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/bulk-acts",                     [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/bulk-acts/preview",             [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/bulk-acts/{id}",                [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/bulk-acts/{id}/cancel",         [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/doctor",                        [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/events/{id}",                   [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/events/{id}/discard",           [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/events/{id}/release",           [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/events/{id}/skip",              [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/investigations",                [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/investigations/close",          [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/jobs",                          [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/jobs/retry",                    [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/queues",                        [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/queues/{queue}/pause",          [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/queues/{queue}/resume",         [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/replay",                        [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/schedules",                     [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/schedules/{name}/run",          [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/status",                        [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/stories/{of}",                  [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/stuck",                         [No,     No,   No,     No,       All,     All]),
    // Where events are sent to. They name customers, so only an admin says where.
    rule("GET",   "/api/v1/ops/webhooks",                      [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/webhooks",                      [No,     No,   No,     No,       No,      All]),
    rule("GET",   "/api/v1/ops/webhooks/{id}",                 [No,     No,   No,     No,       All,     All]),
    rule("PATCH", "/api/v1/ops/webhooks/{id}",                 [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/webhooks/{id}/delete",          [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/webhooks/{id}/rotate-secret",   [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/webhooks/{id}/test",            [No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/webhooks/{id}/recover",         [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/webhooks/{id}/deliveries",      [No,     No,   No,     No,       All,     All]),
    rule("GET",   "/api/v1/ops/webhooks/{id}/deliveries/{event_id}",[No,     No,   No,     No,       All,     All]),
    rule("POST",  "/api/v1/ops/webhooks/{id}/deliveries/{event_id}/redeliver",[No,     No,   No,     No,       All,     All]),
    // The keys of callers.
    rule("GET",   "/api/v1/ops/keys",                          [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/keys",                          [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/keys/{id}/rotate",              [No,     No,   No,     No,       No,      All]),
    rule("POST",  "/api/v1/ops/keys/{id}/revoke",              [No,     No,   No,     No,       No,      All]),
];

/// What is not of the REST API. The endpoint of assistants asks the table again for each of its tools, by the operation that does the same.
static BESIDE: [Rule; 1] = [rule("POST", "/mcp", [No, No, No, No, All, All])];

/// What may be called without credentials. The gateway signs what it sends, and we sign the links to exports.
pub const OPEN: [&str; 2] = ["/api/v1/exports/{id}/file", "/gateway/callbacks"];

static BY_ROUTE: LazyLock<HashMap<(&str, &str), &Rule>> =
    LazyLock::new(|| all().map(|rule| ((rule.method, rule.route), rule)).collect());

fn all() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(&BESIDE)
}

/// The rule of a route. `HEAD` is answered as `GET`.
pub fn of(method: &str, route: &str) -> Option<&'static Rule> {
    let method = if method == "HEAD" { "GET" } else { method };
    BY_ROUTE.get(&(method, route)).copied()
}

/// The methods of a route, as in the header `Allow`.
pub fn methods_of(route: &str) -> Vec<&'static str> {
    all().filter(|rule| rule.route == route).map(|rule| rule.method).collect()
}

impl Caller {
    /// Whether the caller may use this route at all.
    pub fn may(&self, method: &str, route: &str) -> bool {
        match self {
            Self::Unchecked => true,
            Self::Known(principal) => of(method, route).is_some_and(|rule| rule.reach(principal.role) != No),
        }
    }
}

impl Rule {
    pub fn reach(&self, role: Role) -> Reach {
        self.reach[role as usize]
    }

    /// The roles that may call the route.
    pub fn roles(&self) -> impl Iterator<Item = (Role, Reach)> + use<'_> {
        Role::ALL.into_iter().zip(self.reach).filter(|(_, reach)| *reach != No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_there_once_and_an_admin_may_call_it() {
        assert_eq!(BY_ROUTE.len(), RULES.len() + BESIDE.len());
        for rule in all() {
            assert_eq!(rule.reach(Role::Admin), All, "{} {}", rule.method, rule.route);
            for (role, reach) in rule.roles() {
                assert_eq!(reach == Own, role == Role::Customer, "{} {}: {role}", rule.method, rule.route);
            }
        }
    }

    #[test]
    fn a_method_without_a_rule_has_none() {
        assert!(of("HEAD", "/api/v1/orders").is_some());
        assert!(of("DELETE", "/api/v1/orders").is_none());
        assert!(of("GET", "/api/v1/secrets").is_none());
        assert_eq!(methods_of("/api/v1/orders"), ["POST", "GET"]);
        assert!(methods_of("/api/v1/secrets").is_empty());
    }
}
