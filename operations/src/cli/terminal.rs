//! Where a command prints to: a terminal of some width and colours, or a pipe.

use std::io::{self, ErrorKind, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use contracts::is_control;
use serde::Serialize;

use super::format::{Look, Page, Tone, clean, paint};

/// What stdout shows. `--color`, `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` decide about colours.
pub(super) fn look() -> Look {
    let colours = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
    Look { width: size().map(|(columns, _)| columns), colours }
}

/// Columns and lines of the terminal on stdout.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = io::stdout().is_terminal().then(crossterm::terminal::size)?.ok()?;
    // A terminal that does not know its size says 0.
    Some((usize::from(size.0), usize::from(size.1))).filter(|(columns, lines)| *columns > 0 && *lines > 0)
}

/// Prints a page on stdout.
///
/// # Errors
/// As [`print()`].
pub(super) fn print_page(page: &Page) -> io::Result<bool> {
    print(&page.lay_out(look()))
}

/// Prints a document on stdout, on one line or on several.
///
/// # Errors
/// As [`print()`].
pub(super) fn print_json<T: Serialize>(report: &T, on_one_line: bool) -> anyhow::Result<bool> {
    let text = if on_one_line { serde_json::to_string(report)? } else { serde_json::to_string_pretty(report)? };
    Ok(print(&escaped(&text))?)
}

/// Prints a line. A reader that has seen enough may close the pipe: then there is no reason to go on.
///
/// # Errors
/// When stdout cannot be written to.
pub(super) fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Says on stderr what went wrong.
pub(super) fn say_error(error: &anyhow::Error) {
    let look = Look { width: None, colours: AutoStream::choice(&io::stderr()) != ColorChoice::Never };
    eprintln!("{} {}", paint("error:", Some(Tone::Bad), look), clean(&format!("{error:#}")));
}

/// serde escapes the control characters below U+0020 only. The others stand in texts alone, where they may be escaped too.
fn escaped(json: &str) -> String {
    let escape = |letter: char| match letter {
        '\n' => letter.to_string(),
        letter if is_control(letter) => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    if json.chars().any(|letter| letter != '\n' && is_control(letter)) {
        json.chars().map(escape).collect()
    } else {
        json.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_no_control_characters_and_says_the_same() {
        let text = "\u{1b}[2J \u{7f} \u{9b}31m \u{2028} नीली";
        let json = serde_json::to_string_pretty(&[text]).expect("a document");
        let shown = escaped(&json);
        assert!(!shown.chars().any(|letter| letter != '\n' && is_control(letter)), "{shown:?}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).expect("a document"), [text]);
    }
}
