//! What tells the consoles of several installations apart, and how people come in.

use std::marker::PhantomData;
use std::str::FromStr;

use access::ProviderSettings;
use anyhow::ensure;

use super::document::encoded;

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
    pub links: Links,
    #[command(flatten)]
    pub provider: ProviderSettings,
}

/// Where other programs show what the console names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Links {
    /// Address of a trace in your tracing tool, with `{trace_id}` for its id, as `https://jaeger.example.in/trace/{trace_id}`. Unset: the
    /// console shows the id.
    #[arg(long, env = "CONSOLE_TRACE_URL")]
    pub console_trace_url: Option<Template<TraceId>>,
    /// Address of a refund at your payment gateway, with `{transaction_id}` for the gateway's name of it. Unset: the console shows the name.
    #[arg(long, env = "CONSOLE_REFUND_URL")]
    pub console_refund_url: Option<Template<TransactionId>>,
}

/// What stands in an address for the part that differs.
pub trait Placeholder {
    const TEXT: &'static str;
}

/// The id of a trace.
#[derive(Debug, Clone, Copy)]
pub struct TraceId;

/// The gateway's name of a refund.
#[derive(Debug, Clone, Copy)]
pub struct TransactionId;

impl Placeholder for TraceId {
    const TEXT: &'static str = "{trace_id}";
}

impl Placeholder for TransactionId {
    const TEXT: &'static str = "{transaction_id}";
}

/// An address with a placeholder in it.
#[derive(Debug, Clone)]
pub struct Template<P>(String, PhantomData<P>);

impl<P: Placeholder> FromStr for Template<P> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_address = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme))
            && !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if is_address && text.contains(P::TEXT) {
            return Ok(Self(text.to_owned(), PhantomData));
        }
        Err(format!("must be an address that begins with https:// or http://, and contain {}", P::TEXT))
    }
}

impl<P: Placeholder> Template<P> {
    fn of(&self, name: &str) -> String {
        self.0.replace(P::TEXT, &encoded(name).to_string())
    }
}

impl Links {
    pub(super) fn trace(&self, id: &str) -> Option<String> {
        self.console_trace_url.as_ref().map(|template| template.of(id))
    }

    pub(super) fn refund(&self, transaction_id: &str) -> Option<String> {
        self.console_refund_url.as_ref().map(|template| template.of(transaction_id))
    }
}

const SESSION_HOURS: u8 = 12;

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            console_name: "ArtiCurated".to_owned(),
            console_colour: Colour([0x5b, 0x3a, 0x29]),
            console_session_hours: SESSION_HOURS,
            console_key_sign_in: true,
            links: Links::default(),
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
    fn code(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

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
        format!(":root{{--bar:{};--on-bar:{}}}\n", self.console_colour.code(), self.console_colour.text())
    }

    /// An A in the colours of the bar, for the tab in the browser.
    pub(super) fn icon(&self) -> String {
        let (bar, on_bar) = (self.console_colour.code(), self.console_colour.text());
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="{bar}"/><path d="M4 12.5 8 3.5l4 9M5.5 9.5h5" fill="none" stroke="{on_bar}" stroke-width="1.8"/></svg>"#
        )
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
    fn a_link_has_the_name_in_it_and_nothing_else_of_it() {
        let links = Links {
            console_trace_url: "https://jaeger.example.in/trace/{trace_id}?uiFind={trace_id}".parse().ok(),
            console_refund_url: None,
        };
        let link = "https://jaeger.example.in/trace/4bf9?uiFind=4bf9";
        assert_eq!((links.trace("4bf9").as_deref(), links.refund("RF-1")), (Some(link), None));
        let refunds: Template<TransactionId> = "http://gateway/{transaction_id}".parse().expect("a template");
        assert_eq!(refunds.of("a/../b?c#d\""), "http://gateway/a%2F%2E%2E%2Fb%3Fc%23d%22");
        for wrong in [
            "",
            "https://gateway/refunds",
            "javascript:{transaction_id}",
            "gateway/{transaction_id}",
            "https://a b/{transaction_id}",
        ] {
            assert!(wrong.parse::<Template<TransactionId>>().is_err(), "{wrong}");
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
        let usual = ConsoleSettings::default();
        assert_eq!(usual.style(), ":root{--bar:#5b3a29;--on-bar:#fff}\n");
        assert!(usual.icon().contains("fill=\"#5b3a29\"") && usual.icon().contains("stroke=\"#fff\""));
        assert!(name("production").is_ok() && name("").is_err() && name(&"x".repeat(41)).is_err());
    }
}
