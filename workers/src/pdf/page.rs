//! One tab, cut off from scripts and the network, that prints one document after the other.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use headless_chrome::protocol::cdp::Page as Cdp;
use headless_chrome::protocol::cdp::{Emulation, Fetch, Target};

use super::connection::{Connection, Failure};

/// A blank page whose content is replaced by document after document.
#[derive(Debug)]
pub(super) struct Page {
    session: String,
    frame: String,
}

impl Page {
    pub(super) async fn open(connection: &Connection) -> Result<Self, Failure> {
        let target_id = connection.call(None, blank_target()).await?.target_id;
        let attach = Target::AttachToTarget { target_id, flatten: Some(true) };
        let session = connection.call(None, attach).await?.session_id;
        let here = Some(session.as_str());
        connection.call(here, Emulation::SetScriptExecutionDisabled { value: true }).await?;
        // Every request is paused, and then the connection refuses it. Only `data:` URIs load: the tab's own process
        // decodes them without a request.
        connection.call(here, Fetch::Enable { patterns: None, handle_auth_requests: None }).await?;
        let frame = connection.call(here, Cdp::GetFrameTree(None)).await?.frame_tree.frame.id;
        Ok(Self { session, frame })
    }

    pub(super) fn is_open(&self, connection: &Connection) -> bool {
        connection.is_open(&self.session)
    }

    /// Nothing has to be awaited between the two calls: setting the document decodes the fonts in `data:` URIs, and
    /// printing lays it out.
    pub(super) async fn print(&self, connection: &Connection, html: String) -> Result<Vec<u8>, Failure> {
        let here = Some(self.session.as_str());
        connection.call(here, Cdp::SetDocumentContent { frame_id: self.frame.clone(), html }).await?;
        let print = Cdp::PrintToPDF {
            print_background: Some(true),
            prefer_css_page_size: Some(true),
            // Screen readers need the tags. They cost a third of a document's time, and are worth it.
            generate_tagged_pdf: Some(true),
            ..Cdp::PrintToPDF::default()
        };
        let pdf = connection.call(here, print).await?.data;
        BASE64_STANDARD.decode(pdf).map_err(|error| Failure::Refused(format!("undecodable PDF: {error}")))
    }
}

fn blank_target() -> Target::CreateTarget {
    Target::CreateTarget {
        url: "about:blank".to_owned(),
        left: None,
        top: None,
        width: None,
        height: None,
        window_state: None,
        browser_context_id: None,
        enable_begin_frame_control: None,
        new_window: None,
        background: None,
        for_tab: None,
        hidden: None,
    }
}
