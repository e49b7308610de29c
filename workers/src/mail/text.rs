//! A letter as plain text.

use std::fmt::Write;

use super::letter::Letter;
use crate::invoice_template::Brand;

const RULE: &str = "----------------------------------------";

pub(super) fn render(letter: &Letter, brand: &Brand) -> String {
    let mut parts = vec![format!("{}\n{}", brand.name.to_uppercase(), brand.tagline)];
    parts.push(format!("{}\n{RULE}", letter.heading));
    parts.push(letter.greeting.clone());
    parts.extend(letter.opening.iter().cloned());
    parts.push(pairs(&letter.facts));
    let goods = letter.goods.iter();
    parts.extend(
        goods.map(|good| format!("{} x {}\n    {}\n    {}", good.quantity, good.title, good.detail, good.amount)),
    );
    let sums: Vec<_> = letter.sums.iter().chain(&letter.total).cloned().collect();
    parts.push(if sums.is_empty() { String::new() } else { format!("{RULE}\n{}", pairs(&sums)) });
    if let Some((name, lines)) = &letter.address {
        parts.push(format!("{name}:\n{}", lines.join("\n")));
    }
    parts.extend(letter.closing.iter().cloned());
    parts.push(format!("{RULE}\n{}\n{}", brand.contact, sender(brand)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

fn pairs(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        writeln!(text, "{name}: {value}").expect("a String takes all that is written");
    }
    text.trim_end().to_owned()
}

/// Who sends it, in one line.
pub(super) fn sender(brand: &Brand) -> String {
    let lines = brand.address.split(';').map(str::trim).filter(|line| !line.is_empty());
    [brand.legal_name.as_str()].into_iter().chain(lines).collect::<Vec<_>>().join(", ")
}
