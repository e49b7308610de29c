//! Makes prints of the same document identical, byte for byte, whenever and wherever they are printed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

/// The keys of the two times that Chromium writes into every PDF, in UTC. Fourteen digits follow.
const TIMES: [&[u8]; 2] = [b"/CreationDate (D:", b"/ModDate (D:"];
const TIME_DIGITS: usize = 14;
/// The start of the names that Chromium gives to headings of tables, for screen readers. A number of eight digits follows.
/// It counts on from the documents that the tab has shown before.
const NODE: &[u8] = b"(node";
const NODE_DIGITS: usize = 8;
/// The element that has such a name, and the index of all names.
const ELEMENT: &[u8] = b"/ID (node";
const INDEX: &[u8] = b"/Names [(";
/// What precedes the index: its first name and its last.
const LIMITS: &[u8] = b"(node00000000) (node00000000)]\n/Names [";
/// `(node00000000)`
const NAME: usize = NODE.len() + NODE_DIGITS + 1;

/// Replaces the times of printing by `at`, and numbers the nodes from 1 in the order of the document. Nothing else differs
/// between two prints of a document.
///
/// A worker that was frozen may store its print long after another worker has stored and recorded its own. This way both
/// store the same bytes, and the recorded digest still fits the file.
pub(crate) fn reproducible(mut pdf: Vec<u8>, at: DateTime<Utc>) -> Vec<u8> {
    let stamp = at.format("%Y%m%d%H%M%S").to_string();
    debug_assert_eq!(stamp.len(), TIME_DIGITS, "a year of four digits");
    for start in TIMES.iter().filter_map(|key| places(&pdf, key, TIME_DIGITS).next()).collect::<Vec<_>>() {
        pdf[start..start + TIME_DIGITS].copy_from_slice(stamp.as_bytes());
    }

    renumber(&mut pdf);
    sort_index(&mut pdf);
    pdf
}

/// Numbers the nodes from 1, in the order of the elements that have their names: that is the order of the document. The
/// browser numbers the nodes in the order in which it visits them, and that order changes when the machine is busy.
fn renumber(pdf: &mut [u8]) {
    let number = |pdf: &[u8], start: usize| pdf[start..start + NODE_DIGITS].to_vec();
    let named = |pdf: &[u8], key| -> Vec<usize> {
        places(pdf, key, NODE_DIGITS).filter(|start| pdf.get(start + NODE_DIGITS) == Some(&b')')).collect()
    };
    let mut numbers = HashMap::new();
    for start in named(pdf, ELEMENT).into_iter().chain(named(pdf, NODE)) {
        let next = numbers.len() + 1;
        numbers.entry(number(pdf, start)).or_insert(next);
    }
    for start in named(pdf, NODE) {
        let renumbered = format!("{:0NODE_DIGITS$}", numbers[&number(pdf, start)]);
        pdf[start..start + NODE_DIGITS].copy_from_slice(renumbered.as_bytes());
    }
}

/// Sorts the index of the nodes by name. Its length does not change.
fn sort_index(pdf: &mut [u8]) {
    let starts: Vec<usize> = pdf
        .windows(INDEX.len())
        .enumerate()
        .filter(|(_, window)| *window == INDEX)
        .map(|(place, _)| place + INDEX.len() - 1)
        .collect();
    for start in starts {
        let Some(length) = pdf[start..].iter().position(|byte| *byte == b']') else { continue };
        let entries = &mut pdf[start..start + length];
        let mut sorted: Vec<Vec<u8>> =
            entries.split(|byte| *byte == b'(').skip(1).map(|entry| entry.trim_ascii_end().to_vec()).collect();
        sorted.sort_unstable();
        let sorted = sorted.into_iter().map(|entry| [b"(", entry.as_slice()].concat()).collect::<Vec<_>>().join(&b' ');
        // An index of an unknown form is left alone.
        if sorted.len() != entries.len() {
            continue;
        }
        entries.copy_from_slice(&sorted);
        let last = sorted.iter().rposition(|byte| *byte == b'(').and_then(|at| sorted.get(at..at + NAME));
        if let (Some(first), Some(last), Some(limits)) = (sorted.get(..NAME), last, start.checked_sub(LIMITS.len()))
            && pdf[limits..].starts_with(NODE)
        {
            pdf[limits..limits + NAME].copy_from_slice(first);
            let second = limits + NAME + 1;
            pdf[second..second + NAME].copy_from_slice(last);
        }
    }
}

/// The places where this many digits follow the key.
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
    fn nodes_are_numbered_in_the_order_of_the_document_and_their_index_is_sorted() {
        let printed = "/ID (node00000197) /ID (node00000195) /Headers [(node00000195) (node00000198)] \
                       <</Limits [(node00000195) (node00000198)]\n\
                       /Names [(node00000195) 9 0 R (node00000197) 17 0 R (node00000198) 8 0 R]>> /Names [(other) 1 0 R]";
        let expected = "/ID (node00000001) /ID (node00000002) /Headers [(node00000002) (node00000003)] \
                        <</Limits [(node00000001) (node00000003)]\n\
                        /Names [(node00000001) 17 0 R (node00000002) 9 0 R (node00000003) 8 0 R]>> /Names [(other) 1 0 R]";
        assert_eq!(reprinted(printed), expected);
        for odd in ["(node", "(node0000019)", "(node0000019x)", "(node00000195", "(node00000195\\)", "node00000195)"] {
            assert_eq!(reprinted(odd), odd);
        }
    }
}
