//! The places at which the harness can kill a process (`runtime::faults::point`), and which processes pass them.

use super::Setup;

/// A process of ours. The relay and the workers run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Command,
    Relay,
    Workers,
    Query,
    Gateway,
}

/// The setups in which processes pass a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Always,
    Postgres,
    RabbitMq,
}

/// A place and the processes that pass it. At a place passed many times a second, the kill may come at a later pass.
#[derive(Debug)]
pub struct Place {
    pub name: &'static str,
    roles: &'static [Role],
    only: Only,
    pub often: bool,
}

impl Place {
    const fn often(name: &'static str, roles: &'static [Role], only: Only) -> Self {
        Self { name, roles, only, often: true }
    }

    const fn seldom(name: &'static str, roles: &'static [Role], only: Only) -> Self {
        Self { name, roles, only, often: false }
    }

    fn is_passed(&self, setup: Setup) -> bool {
        match self.only {
            Only::Always => true,
            Only::Postgres => !setup.rabbitmq,
            Only::RabbitMq => setup.rabbitmq,
        }
    }
}

const PLACES: &[Place] = &[
    Place::often("command.batch.ready", &[Role::Command], Only::Always),
    Place::often("command.batch.committed", &[Role::Command], Only::Always),
    Place::seldom("transaction.ready", &[Role::Command, Role::Workers], Only::Always),
    Place::seldom("transaction.committed", &[Role::Command, Role::Workers], Only::Always),
    Place::often("relay.batch.ready", &[Role::Relay], Only::Postgres),
    Place::often("relay.batch.forwarded", &[Role::Relay], Only::Postgres),
    Place::often("relay.batch.claimed", &[Role::Relay], Only::RabbitMq),
    Place::often("relay.window.published", &[Role::Relay], Only::RabbitMq),
    Place::often("relay.batch.confirmed", &[Role::Relay], Only::RabbitMq),
    Place::often("relay.batch.marked", &[Role::Relay], Only::RabbitMq),
    Place::often("intake.batch.received", &[Role::Workers], Only::RabbitMq),
    Place::often("intake.batch.committed", &[Role::Workers], Only::RabbitMq),
    Place::often("intake.batch.acknowledged", &[Role::Workers], Only::RabbitMq),
    Place::seldom("worker.jobs.claimed", &[Role::Workers], Only::Always),
    Place::seldom("refund.row.read", &[Role::Workers], Only::Always),
    Place::seldom("refund.paid", &[Role::Workers], Only::Always),
    Place::seldom("invoice.number.committed", &[Role::Workers], Only::Always),
    Place::seldom("invoice.rendered", &[Role::Workers], Only::Always),
    Place::seldom("invoice.stored", &[Role::Workers], Only::Always),
    Place::seldom("invoice.edition.stored", &[Role::Workers], Only::Always),
    Place::seldom("credit_note.number.committed", &[Role::Workers], Only::Always),
    Place::seldom("credit_note.stored", &[Role::Workers], Only::Always),
    Place::seldom("notification.recorded", &[Role::Workers], Only::Always),
    Place::seldom("notification.sent", &[Role::Workers], Only::Always),
    Place::seldom("webhook.claimed", &[Role::Workers], Only::Always),
    Place::seldom("webhook.sent", &[Role::Workers], Only::Always),
    Place::seldom("worker.completion.ready", &[Role::Workers], Only::Always),
    Place::seldom("worker.completion.committed", &[Role::Workers], Only::Always),
    Place::often("projector.batch.ready", &[Role::Query], Only::Always),
    Place::often("projector.batch.committed", &[Role::Query], Only::Always),
    Place::seldom("gateway.refund.received", &[Role::Gateway], Only::Always),
    Place::seldom("gateway.refund.entered", &[Role::Gateway], Only::Always),
];

/// The places of a setup.
pub fn under(setup: Setup) -> impl Iterator<Item = &'static Place> {
    PLACES.iter().filter(move |place| place.is_passed(setup))
}

/// The places that a process passes in a setup.
pub fn of(role: Role, setup: Setup) -> impl Iterator<Item = &'static Place> {
    under(setup).filter(move |place| place.roles.contains(&role))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The names in `faults::point("…")` of every source below a folder.
    fn called(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                called(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let calls = text.split("faults::point(\"").skip(1).filter_map(|rest| rest.split_once('"'));
                names.extend(calls.map(|(name, _)| name.to_owned()));
            }
        }
    }

    #[test]
    fn every_place_in_the_sources_is_in_the_table_and_none_besides() {
        let mut names = BTreeSet::new();
        for folder in ["command", "outbox-relay", "workers", "query", "operations", "payment-gateway", "crates"] {
            called(&crate::programs::root().join(folder), &mut names);
        }
        let known: BTreeSet<_> = PLACES.iter().map(|place| place.name.to_owned()).collect();
        assert_eq!(known, names, "left: the table, right: the calls in the sources");
        assert_eq!(known.len(), PLACES.len(), "the table has a name twice");
    }

    #[test]
    fn every_place_is_passed_in_some_setup() {
        let setups = [Setup { rabbitmq: false, read_database: false }, Setup { rabbitmq: true, read_database: true }];
        let roles = [Role::Command, Role::Relay, Role::Workers, Role::Query, Role::Gateway];
        for place in PLACES {
            let passed = setups
                .iter()
                .any(|setup| roles.iter().any(|role| of(*role, *setup).any(|passed| passed.name == place.name)));
            assert!(passed, "{}", place.name);
        }
    }
}
