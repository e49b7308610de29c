//! Tables for the terminal.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

/// A table without lines, easy to paste into a message.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_text() {
        let text = table(["queue", "ready"], [["refunds".to_owned(), 3.to_string()]]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [["queue", "ready"], ["refunds", "3"]]);
    }
}
