//! A person who uses the console: Chromium, and the hands that move it.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use headless_chrome::{Browser, LaunchOptions, Tab};
use nix::unistd::Uid;
use serde_json::{Value, json};
use tests::programs::root;
use tests::waiting::SOON;
use workers::pdf::find_chromium;

use super::page::Page;

/// Times a key is struck until something is reached.
const TIMES: usize = 200;
/// Width of a desk.
pub(super) const DESK: u32 = 1_280;
/// Pictures end here.
const TALLEST: f64 = 1_700.0;

/// What a person moves the console with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hands {
    Mouse,
    Keyboard,
}

/// Chromium, and one page in it.
pub(in super::super) struct Person {
    page: Page,
    hands: Hands,
    has_scripts: bool,
    _browser: (Browser, Arc<Tab>),
}

/// An element of this kind that is seen, has this text, and stands in one of the places that a selector names: as an expression.
pub(super) fn control(place: &str, kind: &str, text: &str) -> String {
    format!(
        "[...document.querySelectorAll({place:?})].flatMap(place => [...place.querySelectorAll({kind:?})])
             .find(part => part.checkVisibility() && part.textContent.trim() === {text:?})"
    )
}

impl Person {
    pub(in super::super) fn new() -> Result<Self> {
        let options = LaunchOptions::default_builder()
            .path(Some(find_chromium(None)?))
            // Chromium's sandbox does not start as root.
            .sandbox(!Uid::effective().is_root())
            .window_size(Some((DESK, 1_000)))
            // Without a word from Chromium for so long, its connection counts as lost.
            .idle_browser_timeout(10 * SOON)
            // A key that is struck before the first picture of a page counts.
            .args(vec![OsStr::new("--allow-pre-commit-input")])
            .build()?;
        let browser = Browser::new(options)?;
        let tab = browser.new_tab()?;
        let url = browser.get_ws_url();
        let (host, _) = url.split_once("/devtools/").context("an address of Chromium")?;
        let page = Page::connect(&format!("{host}/devtools/page/{}", tab.get_target_id()))?;
        for part in ["Log.enable", "Runtime.enable"] {
            page.call(part, &json!({}))?;
        }
        Ok(Self { page, hands: Hands::Mouse, has_scripts: true, _browser: (browser, tab) })
    }

    pub(super) fn by_keyboard(self) -> Self {
        Self { hands: Hands::Keyboard, ..self }
    }

    pub(super) fn without_scripts(self) -> Result<Self> {
        self.page.call("Emulation.setScriptExecutionDisabled", &json!({ "value": true }))?;
        Ok(Self { has_scripts: false, ..self })
    }

    pub(in super::super) fn open(&self, url: &str) -> Result<()> {
        self.leave(|| {
            let gone = self.page.call("Page.navigate", &json!({ "url": url }))?;
            ensure!(gone.get("errorText").is_none(), "{url}: {gone}");
            Ok(())
        })
    }

    /// Does what leads to another page, and waits until that is there.
    pub(super) fn leave(&self, go: impl FnOnce() -> Result<()>) -> Result<()> {
        self.value("globalThis.left = true")?;
        go()?;
        self.until("!globalThis.left && document.readyState === 'complete'")
    }

    /// What an expression is worth in the page. It can be asked also where the page's own scripts may not run.
    pub(in super::super) fn value(&self, expression: &str) -> Result<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.page.call("Runtime.evaluate", &asked)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            anyhow::bail!("{expression}: {exception}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// Waits until an expression is true. While a page is left there is nothing to ask.
    pub(in super::super) fn until(&self, condition: &str) -> Result<()> {
        let started = Instant::now();
        while !self.value(condition).is_ok_and(|value| value == true) {
            ensure!(started.elapsed() < SOON, "never: {condition}: {:?}", self.value("document.body.innerText"));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Follows a page until it says this.
    pub(super) fn sees(&self, sentence: &str) -> Result<()> {
        let look_again = control("[data-follow]", "a", "Look again");
        let says = format!("[document.body.innerText.includes({sentence:?}), Boolean({look_again})]");
        let started = Instant::now();
        loop {
            let (is_said, is_followed): (bool, bool) = serde_json::from_value(self.value(&says)?)?;
            if is_said {
                return Ok(());
            }
            if !is_followed || started.elapsed() > SOON {
                anyhow::bail!("it does not say {sentence:?}: {:?}", self.value("document.body.innerText"));
            }
            if self.has_scripts {
                std::thread::sleep(Duration::from_millis(20));
            } else {
                self.go(&look_again)?;
            }
        }
    }

    pub(in super::super) fn strike(&self, keys: &[&str]) -> Result<()> {
        keys.iter().try_for_each(|key| self.page.strike(key))
    }

    pub(in super::super) fn write(&self, text: &str) -> Result<()> {
        text.chars().try_for_each(|letter| self.page.strike(letter.encode_utf8(&mut [0; 4])))
    }

    /// Moves on with the tabulator until this is reached.
    pub(in super::super) fn tab_to(&self, focused: &str) -> Result<()> {
        let is_reached = format!("(element => {focused})(document.activeElement)");
        for _ in 0..TIMES {
            if self.value(&is_reached)? == true {
                return Ok(());
            }
            self.strike(&["Tab"])?;
        }
        anyhow::bail!("the tabulator does not lead to {focused} on {:?}", self.value("location.href"))
    }

    /// Where an element is, once it has been scrolled to. It must be on top of all others there.
    fn middle(&self, element: &str) -> Result<(f64, f64)> {
        let look = format!(
            "(element => {{
                 element.scrollIntoView({{ block: 'center', behavior: 'instant' }})
                 const {{ x, y, width, height }} = element.getBoundingClientRect()
                 const at = [x + width / 2, y + height / 2]
                 return element.contains(document.elementFromPoint(...at)) ? at : null
             }})({element})"
        );
        let at: Option<(f64, f64)> = serde_json::from_value(self.value(&look)?)?;
        at.with_context(|| format!("something lies upon {element}"))
    }

    /// Clicks on an element, or goes to it by keyboard and strikes a key.
    pub(super) fn choose(&self, element: &str) -> Result<()> {
        if self.hands == Hands::Mouse {
            return self.page.click(self.middle(element)?);
        }
        self.tab_to(&format!("element === ({element})"))?;
        let is_button = self.value(&format!("({element}).tagName === 'BUTTON'"))? == true;
        self.strike(&[if is_button { " " } else { "Enter" }])
    }

    /// [`choose`](Self::choose)s what leads to another page.
    pub(super) fn go(&self, element: &str) -> Result<()> {
        self.leave(|| self.choose(element))
    }

    /// Fills an empty field in, or chooses from a list.
    pub(super) fn fill(&self, field: &str, text: &str) -> Result<()> {
        // Chromium draws an open list outside of the page, where no mouse of the page comes.
        let is_list = self.value(&format!("({field}).tagName === 'SELECT'"))? == true;
        if self.hands == Hands::Mouse && !is_list {
            self.choose(field)?;
        } else {
            self.tab_to(&format!("element === ({field})"))?;
        }
        self.write(text)?;
        self.until(&format!("({field}).value === {text:?}"))
    }

    /// Unfolds a form, and fills it in. Its button.
    pub(super) fn fill_in(&self, place: &str, name: &str, fields: &[(&str, &str)]) -> Result<String> {
        let fold = control(place, "summary", name);
        self.choose(&fold)?;
        self.until(&format!("({fold}).parentElement.open"))?;
        for (field, text) in fields {
            self.fill(&format!("({fold}).parentElement.querySelector('[name={field}]')"), text)?;
        }
        Ok(format!("({fold}).parentElement.querySelector('form > button')"))
    }

    /// Unfolds a form, fills it in, and sends it.
    pub(super) fn act(&self, place: &str, name: &str, fields: &[(&str, &str)]) -> Result<()> {
        self.go(&self.fill_in(place, name, fields)?)
    }

    pub(in super::super) fn look(&self, dark: bool, width: u32) -> Result<()> {
        let scheme = if dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.page.call("Emulation.setEmulatedMedia", &json!({ "features": [feature] }))?;
        let metrics = json!({ "width": width, "height": 1_000, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.page.call("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    /// What is wrong with the page for those who do not see it well. All that axe-core knows counts.
    pub(in super::super) fn wrong(&self, axe: &str) -> Result<Vec<String>> {
        self.found(axe, "{ resultTypes: ['violations'] }")
    }

    /// Texts that stand out too little from what is behind them.
    pub(super) fn pale(&self, axe: &str) -> Result<Vec<String>> {
        self.found(axe, "{ resultTypes: ['violations'], runOnly: ['color-contrast'] }")
    }

    fn found(&self, axe: &str, options: &str) -> Result<Vec<String>> {
        self.value(&format!("globalThis.axe || {axe};true"))?;
        let run = format!(
            "axe.run({options})
                 .then(found => found.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html + ' ' + n.failureSummary).join('; ')))"
        );
        Ok(serde_json::from_value(self.value(&run)?)?)
    }

    /// What Chromium has complained about since this was asked last, as its console shows it. Its last complaint is about what is done here against the policy, so none is missed.
    pub(super) fn complaints(&self) -> Result<Vec<String>> {
        self.value("new Image().src = 'https://last.example/'")?;
        let (started, mut heard) = (Instant::now(), Vec::new());
        loop {
            self.value("null")?;
            heard.extend(self.page.events().iter().filter_map(complaint));
            if heard.pop_if(|last: &mut String| last.contains("https://last.example/")).is_some() {
                return Ok(heard);
            }
            ensure!(started.elapsed() < SOON, "Chromium does not complain about what the policy forbids");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes the whole page into `docs/console`, when `UPDATE_SCREENSHOTS` asks for it.
    pub(super) fn picture(&self, name: &str) -> Result<()> {
        if std::env::var_os("UPDATE_SCREENSHOTS").is_none() {
            return Ok(());
        }
        let size = self.value("[innerWidth, document.body.getBoundingClientRect().height]")?;
        let (width, height): (f64, f64) = serde_json::from_value(size)?;
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height.min(TALLEST), "scale": 1 });
        let asked = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
        let mut picture = self.page.call("Page.captureScreenshot", &asked)?;
        let png = BASE64_STANDARD.decode(picture["data"].take().as_str().context("a picture")?)?;
        std::fs::write(root().join("docs/console").join(format!("{name}.png")), png).map_err(Into::into)
    }
}

/// Errors and warnings, as Chromium's console shows them.
fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Log.entryAdded" => {
            let entry = &params["entry"];
            (entry["level"] == "error" || entry["level"] == "warning").then(|| entry.to_string())
        }
        "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => Some(params.to_string()),
        _ => None,
    }
}
