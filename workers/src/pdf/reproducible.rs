//! The same document is the same file, whenever and wherever it is printed.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

/// How Chromium begins the two times that it writes into every PDF, in UTC; fourteen digits follow.
const TIMES: [&[u8]; 2] = [b"/CreationDate (D:", b"/ModDate (D:"];
const TIME_DIGITS: usize = 14;
/// How it names the headings of tables, for screen readers: a number of eight digits follows, counted on from whatever the
/// tab has shown before.
const NODE: &[u8] = b"(node";
const NODE_DIGITS: usize = 8;
/// The part that a number is given to, and the index of all of them.
const BEARER: &[u8] = b"/ID (node";
const INDEX: &[u8] = b"/Names [(";
/// What stands before the first entry of the index: the first name and the last.
const LIMITS: &[u8] = b"(node00000000) (node00000000)]\n/Names [";
/// `(node00000000)`
const NAME: usize = NODE.len() + NODE_DIGITS + 1;

/// Puts `at` in the place of the times of printing, and numbers the nodes from 1 in the order of the document. Nothing else
/// differs between two prints of it.
///
/// A worker that was frozen may put its print into the store long after another one has stored, recorded and announced
/// its own. Like this both have put the same bytes there.
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

/// The nodes from 1, in the order of the parts that bear their numbers: that is the order of the document. The browser
/// gives the numbers in the order in which it comes across the nodes, which is another one when the machine is busy.
fn renumber(pdf: &mut [u8]) {
    let number = |pdf: &[u8], start: usize| pdf[start..start + NODE_DIGITS].to_vec();
    let named = |pdf: &[u8], key| -> Vec<usize> {
        places(pdf, key, NODE_DIGITS).filter(|start| pdf.get(start + NODE_DIGITS) == Some(&b')')).collect()
    };
    let mut numbers = HashMap::new();
    for start in named(pdf, BEARER).into_iter().chain(named(pdf, NODE)) {
        let next = numbers.len() + 1;
        numbers.entry(number(pdf, start)).or_insert(next);
    }
    for start in named(pdf, NODE) {
        let renumbered = format!("{:0NODE_DIGITS$}", numbers[&number(pdf, start)]);
        pdf[start..start + NODE_DIGITS].copy_from_slice(renumbered.as_bytes());
    }
}

/// The index of the nodes is in the order of their names, and as long as it was.
fn sort_index(pdf: &mut [u8]) {
    let begins: Vec<usize> = pdf
        .windows(INDEX.len())
        .enumerate()
        .filter(|(_, window)| *window == INDEX)
        .map(|(place, _)| place + INDEX.len() - 1)
        .collect();
    for begin in begins {
        let Some(length) = pdf[begin..].iter().position(|byte| *byte == b']') else { continue };
        let entries = &mut pdf[begin..begin + length];
        let mut sorted: Vec<Vec<u8>> =
            entries.split(|byte| *byte == b'(').skip(1).map(|entry| entry.trim_ascii_end().to_vec()).collect();
        sorted.sort_unstable();
        let sorted = sorted.into_iter().map(|entry| [b"(", entry.as_slice()].concat()).collect::<Vec<_>>().join(&b' ');
        // Of another shape than is known, and better left alone.
        if sorted.len() != entries.len() {
            continue;
        }
        entries.copy_from_slice(&sorted);
        let last = sorted.iter().rposition(|byte| *byte == b'(').and_then(|at| sorted.get(at..at + NAME));
        if let (Some(first), Some(last), Some(limits)) = (sorted.get(..NAME), last, begin.checked_sub(LIMITS.len()))
            && pdf[limits..].starts_with(NODE)
        {
            pdf[limits..limits + NAME].copy_from_slice(first);
            let second = limits + NAME + 1;
            pdf[second..second + NAME].copy_from_slice(last);
        }
    }
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
