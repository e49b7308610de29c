-- What is paid for shipping, item by item, and what returns give back of it.

-- `shipping_minor` is what the customer paid for the line's share of the shipping, `paid_minor` what for the goods, both with
-- the tax: together they are the order's total. The taxes in them are in the order's document.
alter table command.order_items
    add shipping_minor bigint not null default 0 constraint order_items_shipping_not_negative check (shipping_minor >= 0);
alter table command.order_items alter shipping_minor drop default;

-- Orders from before did not share their shipping out: their first line has it all.
update command.order_items as item set shipping_minor = (document ->> 'shipping_minor')::bigint
from command.orders where orders.id = item.order_id and item.line_no = 1;

-- `shipping_minor` is the part of `amount_minor` that is given back of the shipping. A return after which nothing of the order
-- is left may also give back the shipping of items that came back before: a line of no units.
alter table command.return_items
    add shipping_minor bigint not null default 0,
    add constraint return_items_shipping_range check (shipping_minor between 0 and amount_minor),
    drop constraint return_items_quantity_range,
    add constraint return_items_quantity_range check (quantity between 0 and 100000);
alter table command.return_items alter shipping_minor drop default;
