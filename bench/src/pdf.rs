//! PDFs printed by our renderer against a bare client of the same browser.

use std::time::Instant;

use anyhow::{Context, Error, Result, ensure};
use contracts::OrderDocument;
use messaging::TransportConfig;
use serde_json::json;
use standalone::Part;
use tokio::task::JoinSet;
use workers::documents::Brand;
use workers::invoices::{InvoiceView, invoice_html};
use workers::pdf::{PdfSettings, Renderer};

use crate::Plan;
use crate::cdp::{Browser, Page};
use crate::report::{Limit, Row};
use crate::system::{System, between_limits};
use crate::{load, requests};

const TABS: usize = 8;
const AIM: f64 = 0.9;

pub(crate) async fn measure(system: &System, plan: &Plan) -> Result<Vec<Row>> {
    let html = invoice(system).await?;
    let default = PdfSettings::default().tabs;
    let mut rows = Vec::new();
    for tabs in [TABS, default] {
        let (limits, ours) =
            between_limits(async || bare(&html, tabs, plan).await, async || rendered(&html, tabs, plan).await).await?;
        let what = format!("invoices printed, {tabs} tabs{}", if tabs == default { " (default)" } else { "" });
        let limit = Limit::new(format!("bare CDP client, {tabs} tabs"), limits, AIM);
        rows.push(Row::ratio(what, ours, limit, json!({ "html_bytes": html.len() })));
    }
    Ok(rows)
}

/// The invoice of an order that went through the system until it shipped.
async fn invoice(system: &System) -> Result<String> {
    const SHIPPED: usize = 2;
    let database = system.database("sample").await?;
    let work = async |address| {
        let mut answer = load::ask(address, &requests::place(), 201).await?;
        let placed: OrderDocument = serde_json::from_slice(&answer)?;
        for step in 0..=SHIPPED {
            answer = load::ask(address, &requests::step(placed.id, step), 200).await?;
        }
        Ok(serde_json::from_slice(&answer)?)
    };
    let order: OrderDocument =
        Box::pin(system.during(&database, &[Part::Command], TransportConfig::default(), work)).await?;
    system.drop(database).await?;
    let view = InvoiceView {
        order: &order,
        invoice_number: "AC/26-27/0000001",
        issued_at: order.shipped_at.context("the order is not shipped")?,
        e_invoice: None,
        return_window_days: 30,
    };
    Ok(invoice_html(&view, &Brand::default()).into_string())
}

async fn rendered(html: &str, tabs: usize, plan: &Plan) -> Result<f64> {
    let renderer = Renderer::start(PdfSettings { tabs, ..PdfSettings::default() });
    renderer.warm_up().await?;
    let rate = rate(html, vec![renderer.clone(); tabs], plan).await;
    renderer.shutdown().await;
    rate
}

async fn bare(html: &str, tabs: usize, plan: &Plan) -> Result<f64> {
    let mut browser = Browser::launch().await?;
    let mut pages = Vec::with_capacity(tabs);
    for _ in 0..tabs {
        pages.push(browser.open_page().await?);
    }
    let rate = rate(html, pages, plan).await;
    browser.close().await?;
    rate
}

/// Prints one document after the other.
trait Printer: Send + 'static {
    fn print(&mut self, html: &str) -> impl Future<Output = Result<()>> + Send;
}

impl Printer for Renderer {
    async fn print(&mut self, html: &str) -> Result<()> {
        let pdf = self.render(html.to_owned()).await?;
        ensure!(pdf.starts_with(b"%PDF-"), "that is not a PDF");
        Ok(())
    }
}

impl Printer for Page {
    async fn print(&mut self, html: &str) -> Result<()> {
        Self::print(self, html).await
    }
}

/// Documents per second of all printers together. A document counts when it starts within the measured time.
async fn rate<P: Printer>(html: &str, printers: Vec<P>, plan: &Plan) -> Result<f64> {
    let from = Instant::now() + plan.warm_up;
    let until = from + plan.measure;
    let mut running = JoinSet::new();
    for mut printer in printers {
        let html = html.to_owned();
        running.spawn(async move {
            let mut printed = 0_u32;
            loop {
                let started = Instant::now();
                if started >= until {
                    return Ok::<_, Error>(printed);
                }
                printer.print(&html).await?;
                printed += u32::from(started >= from);
            }
        });
    }
    let mut printed = 0;
    while let Some(count) = running.join_next().await {
        printed += count??;
    }
    Ok(f64::from(printed) / plan.measure.as_secs_f64())
}
