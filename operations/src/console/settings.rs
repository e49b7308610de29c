//! What tells the consoles of several installations apart.

use std::str::FromStr;

/// How this installation is called in the console.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ConsoleSettings {
    /// Name of this installation in the console, as `production`; at most 40 characters.
    #[arg(long, env = "CONSOLE_NAME", default_value = "ArtiCurated", value_parser = name)]
    pub console_name: String,
    /// Colour of the bar above each page of the console, as `#8a1f11`. A colour of its own keeps one installation from being taken for
    /// another.
    #[arg(long, env = "CONSOLE_COLOUR", default_value = "#5b3a29")]
    pub console_colour: Colour,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { console_name: "ArtiCurated".to_owned(), console_colour: Colour([0x5b, 0x3a, 0x29]) }
    }
}

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour([u8; 3]);

fn name(text: &str) -> Result<String, String> {
    let fits = contracts::check_text(text, 40, |_| false).is_ok();
    fits.then(|| text.trim().to_owned())
        .ok_or_else(|| "must be 1 to 40 characters, without control characters".to_owned())
}

impl FromStr for Colour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be a colour as #8a1f11".to_owned();
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6).ok_or_else(wrong)?;
        let part =
            |at: usize| digits.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok()).ok_or_else(wrong);
        Ok(Self([part(0)?, part(2)?, part(4)?]))
    }
}

impl Colour {
    /// Black or white: what can be read on it (WCAG 2, relative luminance).
    fn text(self) -> &'static str {
        let [red, green, blue] = self.0.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        if luminance > 0.179 { "#000" } else { "#fff" }
    }
}

impl ConsoleSettings {
    /// The colours of the bar, for the style sheet.
    pub(super) fn style(&self) -> String {
        let Colour([red, green, blue]) = self.console_colour;
        format!(":root{{--bar:#{red:02x}{green:02x}{blue:02x};--on-bar:{}}}\n", self.console_colour.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_readable_on_every_colour() {
        for (colour, text) in [("#000000", "#fff"), ("#ffffff", "#000"), ("#5b3a29", "#fff"), ("#ffcc00", "#000")] {
            assert_eq!(colour.parse::<Colour>().expect("a colour").text(), text, "{colour}");
        }
    }

    #[test]
    fn what_is_no_colour_does_not_get_into_the_style_sheet() {
        for wrong in ["", "red", "#fff", "#gggggg", "#ff00ff;", "#12345é", "}body{"] {
            assert!(wrong.parse::<Colour>().is_err(), "{wrong}");
        }
        assert_eq!(ConsoleSettings::default().style(), ":root{--bar:#5b3a29;--on-bar:#fff}\n");
        assert!(name("production").is_ok() && name("").is_err() && name(&"x".repeat(41)).is_err());
    }
}
