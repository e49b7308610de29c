//! The content of an e-mail, part by part, in reading order.

/// What an e-mail says, before it becomes HTML and plain text. Both are rendered from it, so neither can say less.
#[derive(Debug, Default)]
pub(super) struct EmailContent {
    pub(super) subject: String,
    /// What mail programs show beside the subject in their list.
    pub(super) preview: String,
    pub(super) heading: &'static str,
    pub(super) greeting: String,
    pub(super) opening: Vec<String>,
    /// Names and values, in two columns.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) goods: Vec<Good>,
    pub(super) sums: Vec<(&'static str, String)>,
    /// The last of the sums.
    pub(super) total: Option<(&'static str, String)>,
    pub(super) address: Option<(&'static str, Vec<String>)>,
    pub(super) closing: Vec<String>,
}

/// One line of goods.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) title: String,
    /// SKU and price, in small print.
    pub(super) detail: String,
    pub(super) quantity: i32,
    pub(super) amount: String,
}
