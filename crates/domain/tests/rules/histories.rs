//! Random histories of an order's money: returns are requested, received by the unit, rejected and completed, with fees or without,
//! and money is given back without a return, in any order. What they come to is checked against sums that are kept apart from the
//! code.
//!
//! `make test` plays 2,000 histories; `make test-long` plays 100,000 (`PROPTEST_CASES`).

use domain::{
    Charge, DraftLine, Goodwill, GoodwillRefusal, GstRate, OrderDraft, OrderForReturn, OrderState, Part,
    RefundShipping, RequestedItem, ReturnLine, ReturnPolicy, ReturnableItem, Supply, TaxTerms, decide_goodwill,
    decide_refund, decide_return,
};
use proptest::prelude::*;
use uuid::Uuid;

/// What happens to the order. Returns and items are picked by number, out of those that fit.
#[derive(Clone, Debug)]
enum Step {
    Request(Vec<(usize, u32)>),
    /// The warehouse counts: of each line so many are missing, and so many of the rest are rejected.
    Receive(usize, u32, u32),
    Reject(usize),
    /// With a fee.
    Complete(usize, i64),
    /// So many thousandths of what was paid, or of one item.
    GiveBack(Option<usize>, i64),
}

/// A return as the books have it.
#[derive(Clone, Debug)]
struct Return {
    lines: Vec<Line>,
    received: bool,
    completed: bool,
    /// What it was last said to refund.
    estimate: i64,
}

#[derive(Clone, Debug)]
struct Line {
    item: Uuid,
    quantity: u32,
    accepted: u32,
    rejected: u32,
    missing: u32,
    refund: ReturnLine,
}

struct Shop {
    items: Vec<ReturnableItem>,
    policy: ReturnPolicy,
    returns: Vec<Return>,
    given_back: Vec<ReturnLine>,
}

impl Shop {
    fn new(draft: &OrderDraft, shipping: RefundShipping) -> Self {
        let totals = draft.totals().expect("a valid draft");
        let none = Charge::default();
        let items = (1..).zip(draft.lines.iter().zip(&totals.lines)).map(|(id, (line, amounts))| ReturnableItem {
            id: Uuid::from_u128(id),
            quantity: u32::try_from(line.quantity).expect("few"),
            goods: amounts.goods,
            shipping: amounts.shipping,
            given_back: Part::default(),
            returned_quantity: 0,
            returned_goods: none,
            returned_shipping: none,
            kept: Part::default(),
            rejected_quantity: 0,
            missing_quantity: 0,
        });
        let policy =
            ReturnPolicy { window_days: 30, timezone: chrono_tz::Asia::Kolkata, one_return_per_order: false, shipping };
        Self { items: items.collect(), policy, returns: Vec::new(), given_back: Vec::new() }
    }

    /// The items, with what these returns have taken of them.
    fn after<'r>(&self, returns: impl Iterator<Item = &'r Return>) -> Vec<ReturnableItem> {
        let mut items = self.items.clone();
        for line in &self.given_back {
            let item = items.iter_mut().find(|item| item.id == line.order_item_id).expect("of this order");
            item.given_back = item.given_back.plus(&line.refunded());
        }
        for line in returns.flat_map(|returned| &returned.lines) {
            let item = items.iter_mut().find(|item| item.id == line.item).expect("of this order");
            item.returned_quantity += line.accepted;
            item.returned_goods = item.returned_goods.plus(&line.refund.goods);
            item.returned_shipping = item.returned_shipping.plus(&line.refund.shipping);
            item.kept = item.kept.plus(&line.refund.kept);
            item.rejected_quantity += line.rejected;
            item.missing_quantity += line.missing;
        }
        items
    }

    fn request(&mut self, wanted: &[(usize, u32)]) {
        let requested: Vec<_> = wanted
            .iter()
            .map(|(at, units)| RequestedItem {
                order_item_id: self.items[at % self.items.len()].id,
                quantity: i64::from(*units),
            })
            .collect();
        let order = OrderForReturn {
            state: OrderState::Delivered,
            delivered_at: Some(chrono::DateTime::UNIX_EPOCH),
            existing_returns: self.returns.len(),
            missed_at: None,
            items: self.after(self.returns.iter()),
        };
        let Ok(lines) = decide_return(&order, &requested, &[], &self.policy, chrono::DateTime::UNIX_EPOCH) else {
            return;
        };
        let lines = lines.into_iter().map(|refund| Line {
            item: refund.order_item_id,
            quantity: refund.quantity,
            accepted: refund.quantity,
            rejected: 0,
            missing: 0,
            refund,
        });
        let mut returned = Return { lines: lines.collect(), received: false, completed: false, estimate: 0 };
        returned.estimate = returned.refund();
        self.returns.push(returned);
    }

    /// Reckons again what a return refunds, with these other returns in the books.
    fn reckon(&mut self, at: usize, fee: i64, counts: impl Fn(&Return) -> bool) {
        let others = self.returns.iter().enumerate().filter(|(other, returned)| *other != at && counts(returned));
        let items = self.after(others.map(|(_, returned)| returned));
        let units: Vec<_> = self.returns[at].lines.iter().filter(|line| line.quantity > 0).collect();
        let units: Vec<_> = units.iter().map(|line| (line.item, line.accepted)).collect();
        let accepted = units.iter().any(|(_, units)| *units > 0);
        let shipping = if accepted { self.policy.shipping } else { RefundShipping::Never };
        let lines = decide_refund(&items, &units, shipping, fee);
        let known = self.returns[at].lines.clone();
        self.returns[at].lines = lines
            .into_iter()
            .map(|refund| match known.iter().find(|line| line.item == refund.order_item_id) {
                Some(line) => Line { refund, ..line.clone() },
                None => Line { item: refund.order_item_id, quantity: 0, accepted: 0, rejected: 0, missing: 0, refund },
            })
            .collect();
    }

    fn receive(&mut self, at: usize, missing: u32, rejected: u32) {
        let open: Vec<_> = (0..self.returns.len()).filter(|at| !self.returns[*at].received).collect();
        if open.is_empty() {
            return;
        }
        let at = open[at % open.len()];
        for line in self.returns[at].lines.iter_mut().filter(|line| line.quantity > 0) {
            line.missing = missing.min(line.quantity);
            line.rejected = rejected.min(line.quantity - line.missing);
            line.accepted = line.quantity - line.missing - line.rejected;
        }
        self.reckon(at, 0, |_| true);
        self.returns[at].received = true;
        self.returns[at].estimate = self.returns[at].refund();
    }

    fn reject(&mut self, at: usize) {
        let open: Vec<_> = (0..self.returns.len()).filter(|at| !self.returns[*at].received).collect();
        if !open.is_empty() {
            self.returns.remove(open[at % open.len()]);
        }
    }

    fn complete(&mut self, at: usize, fee: i64) -> Result<(), TestCaseError> {
        let open = (0..self.returns.len()).filter(|at| self.returns[*at].received && !self.returns[*at].completed);
        let open: Vec<_> = open.collect();
        if open.is_empty() {
            return Ok(());
        }
        let at = open[at % open.len()];
        let alone = self.returns.iter().enumerate().all(|(other, returned)| other == at || returned.completed);
        // The estimate is from the receipt; what has been decided since then may have changed it.
        self.reckon(at, fee, |_| true);
        let estimate = self.returns[at].refund();
        self.reckon(at, 0, |returned| returned.completed);
        let worth = self.returns[at].refund();
        self.reckon(at, fee, |returned| returned.completed);
        self.returns[at].completed = true;
        prop_assert_eq!(self.returns[at].refund(), (worth - fee).max(0), "of {} less a fee of {}", worth, fee);
        if alone {
            prop_assert_eq!(self.returns[at].refund(), estimate, "no other return is open");
        }
        Ok(())
    }

    fn give_back(&mut self, item: Option<usize>, thousandths: i64) -> Result<(), TestCaseError> {
        let items = self.after(self.returns.iter().filter(|returned| returned.completed));
        let paid = |item: &ReturnableItem| item.goods.paid + item.shipping.paid;
        let part = |of: i64| of / 1_000 * thousandths + of % 1_000 * thousandths / 1_000;
        let (asked, amount) = match item.map(|at| &self.items[at % self.items.len()]) {
            Some(item) => (vec![(item.id, part(paid(item)))], part(paid(item))),
            None => (Vec::new(), part(self.items.iter().map(paid).sum())),
        };
        let left = |item: &ReturnableItem| paid(item) - self.paid_back(item.id);
        let most: i64 = match asked.as_slice() {
            [(id, _)] => self.items.iter().filter(|item| item.id == *id).map(left).sum(),
            _ => self.items.iter().map(left).sum(),
        };
        let goodwill = if asked.is_empty() { Goodwill::Amount(amount) } else { Goodwill::Items(&asked) };
        match decide_goodwill(&items, goodwill) {
            Ok(lines) => {
                prop_assert!(amount <= most, "{amount} of {most}");
                prop_assert_eq!(lines.iter().map(ReturnLine::refund).sum::<i64>(), amount);
                self.given_back.extend(lines);
            }
            Err(GoodwillRefusal::ExceedsPaid { .. }) => prop_assert!(amount > most, "{amount} of {most}"),
            Err(refusal) => prop_assert!(false, "{refusal}"),
        }
        Ok(())
    }

    /// What the customer has got for an item.
    fn paid_back(&self, item: Uuid) -> i64 {
        let returned = self.completed().filter(|line| line.item == item).map(|line| line.refund.refund());
        let given_back = self.given_back.iter().filter(|line| line.order_item_id == item).map(ReturnLine::refund);
        returned.chain(given_back).sum()
    }

    fn completed(&self) -> impl Iterator<Item = &Line> {
        self.returns.iter().filter(|returned| returned.completed).flat_map(|returned| &returned.lines)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for item in &self.items {
            let own = || self.completed().filter(|line| line.item == item.id);
            let sum = |of: fn(&ReturnLine) -> i64| own().map(|line| of(&line.refund)).sum::<i64>();
            let given_back = || self.given_back.iter().filter(|line| line.order_item_id == item.id);
            let given = |of: fn(&ReturnLine) -> i64| given_back().map(of).sum::<i64>();
            let goods = sum(|line| line.refunded().goods.paid) + given(|line| line.goods.paid);
            let shipping = sum(|line| line.refunded().shipping.paid) + given(|line| line.shipping.paid);
            prop_assert!(
                goods <= item.goods.paid && shipping <= item.shipping.paid,
                "{goods} and {shipping} of {item:?}"
            );
            let refunds = || own().map(|line| &line.refund).chain(given_back()).map(ReturnLine::refunded);
            prop_assert!(refunds().all(|refund| [refund.goods, refund.shipping].iter().all(is_a_charge)));
            let accepted: u32 = own().map(|line| line.accepted).sum();
            let kept = sum(|line| line.kept.goods.paid);
            if accepted == item.quantity {
                prop_assert!(goods + kept >= item.goods.paid, "{goods} and {kept} of {item:?}");
                let taxes = sum(|line| line.refunded().goods.taxes.total()) + given(|line| line.goods.taxes.total());
                if kept == 0 {
                    prop_assert_eq!((goods, taxes), (item.goods.paid, item.goods.taxes.total()), "all of it is back");
                }
            }
            let all = self.returns.iter().flat_map(|returned| &returned.lines).filter(|line| line.item == item.id);
            let taken: u32 = all.map(|line| line.quantity - line.missing).sum();
            prop_assert!(taken <= item.quantity, "{taken} units of {item:?}");
        }
        let all_back = |item: &ReturnableItem| {
            self.completed().filter(|line| line.item == item.id).map(|line| line.accepted).sum::<u32>() == item.quantity
        };
        if self.policy.shipping == RefundShipping::FullReturn && self.items.iter().all(all_back) {
            let total: i64 = self.items.iter().map(|item| item.goods.paid + item.shipping.paid).sum();
            let back: i64 = self.items.iter().map(|item| self.paid_back(item.id)).sum();
            let kept: i64 = self.completed().map(|line| line.refund.kept.paid()).sum();
            prop_assert!(back <= total && back + kept >= total, "{back} back and {kept} kept of {total}");
        }
        Ok(())
    }
}

/// Nothing in it is below zero. Where a unit is worth a few paise, the rounding of its taxes may take a paisa each.
fn is_a_charge(charge: &Charge) -> bool {
    let taxes = charge.taxes;
    [charge.paid, charge.taxable() + 3, taxes.cgst, taxes.sgst, taxes.igst].iter().all(|amount| *amount >= 0)
}

impl Return {
    fn refund(&self) -> i64 {
        self.lines.iter().map(|line| line.refund.refund()).sum()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wanted = prop::collection::vec((0..3_usize, 1..4_u32), 1..3);
    let step = prop_oneof![
        3 => wanted.prop_map(Step::Request),
        3 => (0..8_usize, prop_oneof![3 => Just(0), 1 => 0..3_u32], prop_oneof![3 => Just(0), 1 => 0..3_u32])
            .prop_map(|(at, missing, rejected)| Step::Receive(at, missing, rejected)),
        1 => (0..8_usize).prop_map(Step::Reject),
        3 => (0..8_usize, prop_oneof![2 => Just(0), 1 => 0..300_000_i64])
            .prop_map(|(at, fee)| Step::Complete(at, fee)),
        1 => (prop::option::of(0..3_usize), prop_oneof![4 => 0..400_i64, 1 => 0..1_001_i64])
            .prop_map(|(item, thousandths)| Step::GiveBack(item, thousandths)),
    ];
    prop::collection::vec(step, 0..24)
}

fn drafts() -> impl Strategy<Value = OrderDraft> {
    let rate = prop::sample::select(vec![None, Some(0), Some(250), Some(5_000), Some(18_000)]);
    let line =
        (1..5_i64, prop_oneof![0..50_i64, 0..9_000_000_i64], rate).prop_map(|(quantity, unit_price_minor, rate)| {
            DraftLine { quantity, unit_price_minor, rate: rate.and_then(GstRate::from_thousandths) }
        });
    let supply = prop::sample::select(vec![Supply::IntraState, Supply::InterState]);
    (prop::collection::vec(line, 1..4), 0..100_i64, 0..50_000_i64, supply, any::<bool>()).prop_filter_map(
        "a priced order",
        |(lines, per_cent_off, shipping_minor, supply, prices_include_tax)| {
            let subtotal: i64 = lines.iter().map(|line| line.quantity * line.unit_price_minor).sum();
            let discount_minor = subtotal * per_cent_off / 100;
            let terms = TaxTerms { supply, prices_include_tax };
            let draft = OrderDraft { lines, discount_minor, shipping_minor, terms };
            draft.totals().is_ok().then_some(draft)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2_000), ..ProptestConfig::default() })]

    #[test]
    fn no_history_gives_back_more_than_was_paid(
        draft in drafts(),
        steps in steps(),
        shipping in prop::sample::select(vec![
            RefundShipping::Never, RefundShipping::FullReturn, RefundShipping::EachUnit]),
    ) {
        let mut shop = Shop::new(&draft, shipping);
        for step in steps {
            match step {
                Step::Request(wanted) => shop.request(&wanted),
                Step::Receive(at, missing, rejected) => shop.receive(at, missing, rejected),
                Step::Reject(at) => shop.reject(at),
                Step::Complete(at, fee) => shop.complete(at, fee)?,
                Step::GiveBack(item, thousandths) => shop.give_back(item, thousandths)?,
            }
            shop.check()?;
        }
    }
}
