//! What tells the consoles of several installations apart, and how people come in.

use std::str::FromStr;

use access::ProviderSettings;
use anyhow::ensure;

/// How this installation is called in the console, and how people sign in.
#[derive(Debug, Clone, clap::Args)]
pub struct ConsoleSettings {
    /// Name of this installation in the console, as `production`; at most 40 characters.
    #[arg(long, env = "CONSOLE_NAME", default_value = "ArtiCurated", value_parser = name)]
    pub console_name: String,
    /// Colour of the bar above each page of the console, as `#8a1f11`. A colour of its own keeps one installation from being taken for
    /// another.
    #[arg(long, env = "CONSOLE_COLOUR", default_value = "#5b3a29")]
    pub console_colour: Colour,
    /// Hours after which a session of the console ends at the latest, 1 to 24.
    #[arg(long, env = "CONSOLE_SESSION_HOURS", default_value_t = SESSION_HOURS, value_parser = clap::value_parser!(u8).range(1..=24))]
    pub console_session_hours: u8,
    /// Whether people may sign in with API keys. `false` needs an identity provider.
    #[arg(long, env = "CONSOLE_KEY_SIGN_IN", default_value_t = true, action = clap::ArgAction::Set)]
    pub console_key_sign_in: bool,
    #[command(flatten)]
    pub provider: ProviderSettings,
}

const SESSION_HOURS: u8 = 12;

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            console_name: "ArtiCurated".to_owned(),
            console_colour: Colour([0x5b, 0x3a, 0x29]),
            console_session_hours: SESSION_HOURS,
            console_key_sign_in: true,
            provider: ProviderSettings::default(),
        }
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
    /// # Errors
    /// When no one could sign in, or would have to.
    pub(super) fn check(&self, is_checked: bool, has_provider: bool) -> anyhow::Result<()> {
        ensure!(
            is_checked || !has_provider,
            "OIDC_ISSUER is set, but AUTH=none asks no one who they are: set AUTH=required, or remove OIDC_ISSUER"
        );
        ensure!(
            self.console_key_sign_in || has_provider,
            "CONSOLE_KEY_SIGN_IN=false needs an identity provider: set OIDC_ISSUER, or no one can sign in to the console"
        );
        Ok(())
    }

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
    fn some_way_in_is_left_open() {
        let of = |console_key_sign_in: bool, is_checked: bool, has_provider: bool| {
            ConsoleSettings { console_key_sign_in, ..ConsoleSettings::default() }
                .check(is_checked, has_provider)
                .is_ok()
        };
        assert!(of(true, true, false) && of(true, true, true) && of(false, true, true) && of(true, false, false));
        assert!(!of(false, true, false) && !of(true, false, true) && !of(false, false, false));
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
