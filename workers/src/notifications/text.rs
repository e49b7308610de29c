//! An e-mail as plain text.

use std::fmt::Write;

use super::content::EmailContent;
use crate::documents::Brand;

const RULE: &str = "----------------------------------------";

pub(super) fn render(content: &EmailContent, brand: &Brand) -> String {
    let mut parts = vec![format!("{}\n{}", brand.name.to_uppercase(), brand.tagline)];
    parts.push(format!("{}\n{RULE}", content.heading));
    parts.push(content.greeting.clone());
    parts.extend(content.opening.iter().cloned());
    parts.push(pairs(&content.facts));
    let goods = content.goods.iter();
    parts.extend(
        goods.map(|good| format!("{} x {}\n    {}\n    {}", good.quantity, good.title, good.detail, good.amount)),
    );
    let sums: Vec<_> = content.sums.iter().chain(&content.total).cloned().collect();
    parts.push(if sums.is_empty() { String::new() } else { format!("{RULE}\n{}", pairs(&sums)) });
    if let Some((name, lines)) = &content.address {
        parts.push(format!("{name}:\n{}", lines.join("\n")));
    }
    parts.extend(content.closing.iter().cloned());
    parts.push(format!("{RULE}\n{}\n{}", brand.contact, sender(brand)));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

fn pairs(pairs: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        writeln!(text, "{name}: {value}").expect("writing to a String cannot fail");
    }
    text.trim_end().to_owned()
}

/// The sender's registered name and address, in one line.
pub(super) fn sender(brand: &Brand) -> String {
    let lines = brand.address.split(';').map(str::trim).filter(|line| !line.is_empty());
    [brand.legal_name.as_str()].into_iter().chain(lines).collect::<Vec<_>>().join(", ")
}
