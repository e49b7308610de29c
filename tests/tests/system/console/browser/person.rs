//! A person who uses the console: Chromium, and the hands that move it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use headless_chrome::browser::tab::point::Point;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Log, Page, Runtime};
use headless_chrome::{Browser, LaunchOptions, Tab};
use nix::unistd::Uid;
use serde_json::Value;
use tests::programs::root;
use tests::waiting::SOON;

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
    pub(in super::super) tab: Arc<Tab>,
    hands: Hands,
    has_scripts: bool,
    /// What Chromium has complained about, as its console shows it.
    complaints: Arc<Mutex<Vec<String>>>,
    _browser: Browser,
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
        let path = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_the_path);
        let options = LaunchOptions::default_builder()
            .path(Some(path.context("no Chromium on the PATH")?))
            // Chromium's sandbox does not start as root.
            .sandbox(!Uid::effective().is_root())
            .window_size(Some((DESK, 1_000)))
            // Without a word from Chromium for so long, its connection counts as lost.
            .idle_browser_timeout(2 * SOON)
            .build()?;
        let browser = Browser::new(options)?;
        let tab = browser.new_tab()?;
        tab.set_default_timeout(SOON);
        tab.enable_log()?.enable_runtime()?;
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let heard = complaints.clone();
        let listener = move |event: &Event| heard.lock().expect("not poisoned").extend(complaint(event));
        tab.add_event_listener(Arc::new(listener))?;
        Ok(Self { tab, hands: Hands::Mouse, has_scripts: true, complaints, _browser: browser })
    }

    pub(super) fn by_keyboard(self) -> Self {
        Self { hands: Hands::Keyboard, ..self }
    }

    pub(super) fn without_scripts(self) -> Result<Self> {
        self.tab.call_method(Emulation::SetScriptExecutionDisabled { value: true })?;
        Ok(Self { has_scripts: false, ..self })
    }

    pub(in super::super) fn open(&self, url: &str) -> Result<()> {
        self.leave(|| self.tab.navigate_to(url).map(drop))
    }

    /// Does what leads to another page, and waits until that is there.
    pub(super) fn leave(&self, go: impl FnOnce() -> Result<()>) -> Result<()> {
        self.value("globalThis.left = true")?;
        go()?;
        self.until("!globalThis.left && document.readyState === 'complete'")
    }

    /// What an expression is worth in the page. It can be asked also where the page's own scripts may not run.
    pub(in super::super) fn value(&self, expression: &str) -> Result<Value> {
        let evaluate = Runtime::Evaluate {
            expression: expression.to_owned(),
            return_by_value: Some(true),
            await_promise: Some(true),
            object_group: None,
            include_command_line_api: None,
            silent: None,
            context_id: None,
            generate_preview: None,
            user_gesture: None,
            throw_on_side_effect: None,
            timeout: None,
            disable_breaks: None,
            repl_mode: None,
            allow_unsafe_eval_blocked_by_csp: Some(true),
            unique_context_id: None,
            serialization_options: None,
        };
        let answer = self.tab.call_method(evaluate)?;
        if let Some(exception) = answer.exception_details {
            anyhow::bail!("{expression}: {exception:?}");
        }
        Ok(answer.result.value.unwrap_or(Value::Null))
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
        keys.iter().try_for_each(|key| self.tab.press_key(key).map(drop))
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
    fn middle(&self, element: &str) -> Result<Point> {
        let look = format!(
            "(element => {{
                 element.scrollIntoView({{ block: 'center', behavior: 'instant' }})
                 const {{ x, y, width, height }} = element.getBoundingClientRect()
                 const at = [x + width / 2, y + height / 2]
                 return element.contains(document.elementFromPoint(...at)) ? at : null
             }})({element})"
        );
        let at: Option<(f64, f64)> = serde_json::from_value(self.value(&look)?)?;
        let (x, y) = at.with_context(|| format!("something lies upon {element}"))?;
        Ok(Point { x, y })
    }

    /// Moves on to an element by keyboard. From the top of a page, its first link leads past the navigation.
    fn reach(&self, element: &str) -> Result<()> {
        let is_below = "document.activeElement === document.body && document.getElementById('main')";
        if self.value(&format!("Boolean({is_below}?.contains({element}))"))? == true {
            self.strike(&["Tab", "Enter"])?;
        }
        self.tab_to(&format!("element === ({element})"))
    }

    /// Clicks on an element, or goes to it by keyboard and strikes a key.
    pub(super) fn choose(&self, element: &str) -> Result<()> {
        if self.hands == Hands::Mouse {
            return self.tab.click_point(self.middle(element)?).map(drop);
        }
        self.reach(element)?;
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
            self.reach(field)?;
        }
        self.tab.type_str(text)?;
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
        let feature = Emulation::MediaFeature { name: "prefers-color-scheme".to_owned(), value: scheme.to_owned() };
        self.tab.call_method(Emulation::SetEmulatedMedia { media: None, features: Some(vec![feature]) })?;
        let metrics = Emulation::SetDeviceMetricsOverride {
            width,
            height: 1_000,
            device_scale_factor: 1.0,
            mobile: width < 500,
            scale: None,
            screen_width: None,
            screen_height: None,
            position_x: None,
            position_y: None,
            dont_set_visible_size: None,
            screen_orientation: None,
            viewport: None,
            display_feature: None,
            device_posture: None,
        };
        self.tab.call_method(metrics).map(drop)
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

    /// What Chromium has complained about so far. Its last complaint is about what is done here against the policy, so none is missed.
    pub(super) fn complaints(&self) -> Result<Vec<String>> {
        self.value("new Image().src = 'https://last.example/'")?;
        let started = Instant::now();
        loop {
            let mut heard = self.complaints.lock().expect("not poisoned");
            if heard.last().is_some_and(|last| last.contains("https://last.example/")) {
                heard.pop();
                return Ok(std::mem::take(&mut *heard));
            }
            drop(heard);
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
        let clip = Page::Viewport { x: 0.0, y: 0.0, width, height: height.min(TALLEST), scale: 1.0 };
        let capture = Page::CaptureScreenshot {
            format: Some(Page::CaptureScreenshotFormatOption::Png),
            quality: None,
            clip: Some(clip),
            from_surface: Some(true),
            capture_beyond_viewport: Some(true),
            optimize_for_speed: None,
        };
        let png = BASE64_STANDARD.decode(self.tab.call_method(capture)?.data)?;
        std::fs::write(root().join("docs/console").join(format!("{name}.png")), png).map_err(Into::into)
    }
}

/// Errors and warnings, as Chromium's console shows them.
fn complaint(event: &Event) -> Option<String> {
    match event {
        Event::LogEntryAdded(added) => {
            let entry = &added.params.entry;
            let is_grave = matches!(entry.level, Log::LogEntryLevel::Error | Log::LogEntryLevel::Warning);
            is_grave.then(|| format!("{}: {}", entry.url.as_deref().unwrap_or_default(), entry.text))
        }
        Event::RuntimeExceptionThrown(thrown) => Some(format!("{:?}", thrown.params.exception_details)),
        Event::RuntimeConsoleAPICalled(called) => Some(format!("{:?}", called.params.args)),
        _ => None,
    }
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}
