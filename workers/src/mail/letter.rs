//! The parts of a letter, in the order in which they stand.

/// A letter to a customer, before it is HTML or text. What both must say is here, so neither can say less.
#[derive(Debug, Default)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    /// What lists of e-mails show beside the subject.
    pub(crate) preview: String,
    pub(crate) heading: &'static str,
    pub(crate) greeting: String,
    pub(crate) opening: Vec<String>,
    /// Names and values, in two columns.
    pub(crate) facts: Vec<(&'static str, String)>,
    pub(crate) goods: Vec<Good>,
    pub(crate) sums: Vec<(&'static str, String)>,
    /// The last of the sums.
    pub(crate) total: Option<(&'static str, String)>,
    pub(crate) address: Option<(&'static str, Vec<String>)>,
    pub(crate) closing: Vec<String>,
}

/// One line of goods.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) title: String,
    /// Code and price, in small letters.
    pub(crate) detail: String,
    pub(crate) quantity: i32,
    pub(crate) amount: String,
}
