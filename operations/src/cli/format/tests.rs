use std::path::Path;

use unicode_width::UnicodeWidthStr;

use super::*;

const ID: &str = "019aa2b5-2c00-7000-8000-000000000001";

/// The page in full, and at 80 columns with and without colours.
#[track_caller]
pub(in crate::cli) fn check(name: &str, page: &Page) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    let narrow = Look { width: Some(80), colours: false };
    let coloured = page.lay_out(Look { colours: true, ..narrow });
    settings.bind(|| {
        insta::assert_snapshot!(name, page.lay_out(Look::PLAIN));
        insta::assert_snapshot!(format!("{name}_80"), page.lay_out(narrow));
        insta::assert_snapshot!(format!("{name}_80_colours"), coloured.replace('\u{1b}', "␛"));
    });
    assert_eq!(without_colours(&coloured), page.lay_out(narrow), "{name}");
    assert!(page.lay_out(narrow).lines().all(|line| line.width() <= 80), "{name}");
}

/// Takes out `ESC [ … m`.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').expect("a colour ends with an m").1)
}

fn jobs() -> Table {
    let header = ["queue", "event", "status", "attempts", "worker", "error"];
    let row = |error: &str| {
        [
            "refunds".to_owned(),
            ID.to_owned(),
            "dead".to_owned(),
            "5".to_owned(),
            "worker-2".to_owned(),
            error.to_owned(),
        ]
    };
    table(header, [row("the gateway answers 503 and asks us to come back in two minutes"), row("-")])
}

#[test]
fn a_table_is_plain_text() {
    let text = table(["queue", "ready"], [["refunds".to_owned(), 3.to_string()]]).lay_out(Look::PLAIN);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["queue", "ready"], ["refunds", "3"]]);
}

#[test]
fn a_table_fits_a_terminal_of_any_width_and_loses_no_word() {
    let full = jobs().lay_out(Look::PLAIN);
    for width in 46..200 {
        let text = jobs().lay_out(Look { width: Some(width), colours: false });
        let widest = text.lines().map(UnicodeWidthStr::width).max();
        assert!(widest <= Some(width), "{width}: {widest:?}\n{text}");
        assert_eq!(text.matches(ID).count(), 2, "{width}\n{text}");
        for word in full.split_whitespace().filter(|word| *word != "-") {
            assert!(text.contains(word), "{width}: {word}\n{text}");
        }
    }
}

#[test]
fn a_table_that_fits_is_as_it_is_in_a_pipe() {
    let full = jobs().lay_out(Look::PLAIN);
    let width = full.lines().map(UnicodeWidthStr::width).max().expect("lines");
    let at = |width| jobs().lay_out(Look { width: Some(width), colours: false });
    assert_eq!(at(width), full);
    assert_ne!(at(width - 1), full);
}

#[test]
fn a_text_of_others_controls_no_terminal() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2Jgone\r\u{9b}31m \u{202e}txt";
    let page = Page::default()
        .with(table(["id", "error"], [[ID.to_owned(), HOSTILE.to_owned()]]))
        .with(Line::after(HOSTILE, Some(Tone::Bad)).text(HOSTILE, None).named("error", HOSTILE, Some(Tone::Bad)))
        .with(HOSTILE.to_owned());
    for width in [None, Some(200), Some(50)] {
        for colours in [false, true] {
            let text = page.lay_out(Look { width, colours });
            let text = if colours { without_colours(&text) } else { text };
            assert!(text.chars().all(|letter| letter == '\n' || !contracts::is_control(letter)), "{text:?}");
            assert!(!text.contains('\u{202e}') && text.contains("\\u{1b}"), "{text:?}");
        }
    }
}

#[test]
fn a_line_goes_on_below_its_text() {
    let line = Line::after("warning  ", None).text("no worker takes the jobs of this queue", None);
    let text = line.lay_out(Look { width: Some(30), colours: false });
    assert_eq!(text, "warning  no worker takes the\n         jobs of this queue");
    let word = Line::after("  ", None).text("0123456789", None).lay_out(Look { width: Some(6), colours: false });
    assert_eq!(word, "  0123\n  4567\n  89");
    let pieces = Line::after("", None).in_pieces(2).text("PAID", None).named("by", "anita", None);
    assert_eq!(pieces.lay_out(Look { width: Some(13), colours: false }), "PAID\n  by anita");
    assert_eq!(pieces.lay_out(Look { width: Some(14), colours: false }), "PAID  by anita");
}

#[test]
fn a_state_has_the_colour_of_its_first_word() {
    for (state, tone) in [
        ("dead", Some(Tone::Bad)),
        ("PARKED", Some(Tone::Bad)),
        ("parked: UNROUTABLE", Some(Tone::Bad)),
        ("in_doubt at attempt 2; last error: dead", Some(Tone::Doubtful)),
        ("out", Some(Tone::Good)),
        ("order.paid", None),
        ("", None),
    ] {
        assert_eq!(Tone::of(state), tone, "{state}");
    }
}
