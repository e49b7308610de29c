//! The same document is the same file, whenever and wherever it is printed.

use chrono::{DateTime, Utc};

/// How Chromium begins the two times that it writes into every PDF, in UTC; fourteen digits follow.
const TIMES: [&[u8]; 2] = [b"/CreationDate (D:", b"/ModDate (D:"];
const TIME_DIGITS: usize = 14;
/// How it names the parts of tables, for screen readers: a number of eight digits follows, counted on from whatever the
/// tab has shown before.
const NODE: &[u8] = b"(node";
const NODE_DIGITS: usize = 8;

/// Puts `at` in the place of the times of printing, and numbers the nodes from 1. Nothing else differs between two prints
/// of a document.
///
/// A worker that was frozen may put its print into the store long after another one has stored, recorded and announced
/// its own. Like this both have put the same bytes there.
pub(crate) fn reproducible(mut pdf: Vec<u8>, at: DateTime<Utc>) -> Vec<u8> {
    let stamp = at.format("%Y%m%d%H%M%S").to_string();
    debug_assert_eq!(stamp.len(), TIME_DIGITS, "a year of four digits");
    for start in TIMES.iter().filter_map(|key| places(&pdf, key, TIME_DIGITS).next()).collect::<Vec<_>>() {
        pdf[start..start + TIME_DIGITS].copy_from_slice(stamp.as_bytes());
    }

    let nodes: Vec<usize> =
        places(&pdf, NODE, NODE_DIGITS).filter(|start| pdf.get(start + NODE_DIGITS) == Some(&b')')).collect();
    let number = |pdf: &[u8], start: usize| pdf[start..start + NODE_DIGITS].to_vec();
    // In the order of their numbers, which is the order of the index that the PDF has of them.
    let mut known: Vec<_> = nodes.iter().map(|start| number(&pdf, *start)).collect();
    known.sort_unstable();
    known.dedup();
    for start in nodes {
        let place = known.binary_search(&number(&pdf, start)).expect("each is among them");
        let renumbered = format!("{:0NODE_DIGITS$}", place + 1);
        pdf[start..start + NODE_DIGITS].copy_from_slice(renumbered.as_bytes());
    }
    pdf
}

/// Where so many digits stand behind a key.
fn places<'a>(pdf: &'a [u8], key: &'a [u8], digits: usize) -> impl Iterator<Item = usize> + 'a {
    let starts = pdf.windows(key.len()).enumerate().filter(move |(_, window)| *window == key);
    let starts = starts.map(|(place, key)| place + key.len());
    starts.filter(move |start| pdf.get(*start..start + digits).is_some_and(|text| text.iter().all(u8::is_ascii_digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reprinted(pdf: &str) -> String {
        let at = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        String::from_utf8(reproducible(pdf.as_bytes().to_vec(), at)).expect("text")
    }

    #[test]
    fn both_times_are_replaced_and_nothing_else() {
        let printed =
            "1 0 obj <</CreationDate (D:20261121171156+00'00')\n/ModDate (D:20261121171157+00'00')>> (D:2026)";
        let expected =
            "1 0 obj <</CreationDate (D:20231114221320+00'00')\n/ModDate (D:20231114221320+00'00')>> (D:2026)";
        assert_eq!(reprinted(printed), expected);
        for odd in ["", "/ModDate (D:", "/ModDate (D:2026)", "/CreationDate (D:2026112117115x+00'00')"] {
            assert_eq!(reprinted(odd), odd);
        }
    }

    #[test]
    fn nodes_are_numbered_from_one_in_their_order() {
        let printed = "/ID (node00000197) /ID (node00000195) /Headers [(node00000195) (node00000198)]";
        let expected = "/ID (node00000002) /ID (node00000001) /Headers [(node00000001) (node00000003)]";
        assert_eq!(reprinted(printed), expected);
        for odd in ["(node", "(node0000019)", "(node0000019x)", "(node00000195", "(node00000195\\)", "node00000195)"] {
            assert_eq!(reprinted(odd), odd);
        }
    }
}
