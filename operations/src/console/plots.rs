//! Plots of the last hour or day, drawn here: lines, a scale, and the same figures as a table.

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Queue;
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use sqlx::PgPool;

use super::page::{exactly, table};
use super::refusal::Answer;
use crate::OperationError;
use crate::figures::{self, Figure, Hop};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Room for the numbers of the scale.
const LEFT: f64 = 64.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 20.0;

/// Which plots; the address of the page has it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// `hour` or `day`.
    #[serde(default)]
    span: String,
    #[serde(default)]
    queue: String,
}

/// A line of a plot.
struct Line {
    name: &'static str,
    class: &'static str,
    points: Vec<(DateTime<Utc>, Option<f64>)>,
}

/// What is plotted.
struct Plot {
    title: &'static str,
    /// As `ms`.
    unit: &'static str,
    lines: [Line; 2],
}

impl Line {
    fn of(figures: &[Figure], name: &'static str, class: &'static str, value: impl Fn(&Figure) -> Option<f64>) -> Self {
        Self { name, class, points: figures.iter().map(|figure| (figure.at, value(figure))).collect() }
    }
}

impl Plot {
    #[expect(clippy::cast_precision_loss, reason = "numbers of jobs in a minute")]
    fn of_jobs(title: &'static str, figures: &[Figure]) -> Self {
        let due = Line::of(figures, "due", "p50", |figure| Some(figure.jobs as f64));
        let dead = Line::of(figures, "dead", "dead", |figure| Some(figure.dead as f64));
        Self { title, unit: "", lines: [due, dead] }
    }

    fn of_hop(title: &'static str, figures: &[Figure], hop: fn(&Figure) -> Hop) -> Self {
        let p50 = Line::of(figures, "p50", "p50", |figure| hop(figure).p50.map(f64::from));
        let p99 = Line::of(figures, "p99", "p99", |figure| hop(figure).p99.map(f64::from));
        Self { title, unit: "ms", lines: [p50, p99] }
    }
}

/// The plots, and the form that chooses them.
pub(super) async fn plots(pool: &PgPool, now: DateTime<Utc>, asked: &Asked) -> Answer<Markup> {
    let queue = match &*asked.queue {
        "" => None,
        name => Some(name.parse::<Queue>().map_err(OperationError::from)?),
    };
    let (span, minutes) = if asked.span == "day" { (TimeDelta::days(1), 15) } else { (TimeDelta::hours(1), 1) };
    let figures = figures::since(pool, now - span, minutes, queue.map(Queue::as_str)).await?;
    let all = [
        Plot::of_jobs(if minutes == 1 { "Jobs per minute" } else { "Jobs per 15 minutes" }, &figures),
        Plot::of_hop("From the commit to the queue", &figures, |figure| figure.arrive),
        Plot::of_hop("From being due to the start", &figures, |figure| figure.wait),
        Plot::of_hop("From the start to the end", &figures, |figure| figure.run),
    ];
    Ok(html! {
        form .filter action="/console" {
            label { "Time" select name="span" { option value="hour" { "last hour" } option value="day" selected[minutes > 1] { "last day" } } }
            label { "Queue" select name="queue" {
                option value="" { "all" }
                @for one in Queue::ALL { option value=(one.as_str()) selected[queue == Some(one)] { (one.as_str()) } }
            } }
            button { "Show" }
        }
        @if figures.is_empty() { p { "There are no figures yet: the first minute is there three minutes after a start." } }
        @else {
            div .plots { @for plot in &all { (drawn(plot, (now - span, now))) } }
            (as_table(&figures))
        }
    })
}

fn drawn(plot: &Plot, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Markup {
    let values = plot.lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, value)| *value));
    let top = scale(values.fold(0.0, f64::max));
    let latest = plot.lines.iter().map(|line| {
        let value = line.points.iter().rev().find_map(|(_, value)| *value);
        format!("{} {}", line.name, value.map_or_else(|| "–".to_owned(), |value| number(value, plot.unit)))
    });
    let latest = latest.collect::<Vec<_>>().join(", ");
    let lines = plot.lines.iter().map(|line| polyline(line, (from, to), top)).collect::<String>();
    let (right, floor) = (WIDTH - 4.0, HEIGHT - BOTTOM);
    let svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}: {latest}"><path class="axis" d="M{LEFT} {TOP}V{floor}H{right}"/><text x="{}" y="{}" class="end">{}</text><text x="{}" y="{floor}" class="end">0</text><text x="{LEFT}" y="{}">{}</text><text x="{right}" y="{}" class="end">{}</text>{lines}</svg>"#,
        plot.title,
        LEFT - 6.0,
        TOP + 8.0,
        number(top, plot.unit),
        LEFT - 6.0,
        HEIGHT - 5.0,
        from.format("%H:%M"),
        HEIGHT - 5.0,
        to.format("%H:%M"),
    );
    html! {
        figure {
            figcaption { strong { (plot.title) } " " @for line in &plot.lines { span .key .(line.class) { (line.name) } " " } span .quiet { "latest: " (latest) } }
            // All its parts are numbers and our own words.
            (PreEscaped(svg))
        }
    }
}

/// A line with a gap where there are no figures.
fn polyline(line: &Line, (from, to): (DateTime<Utc>, DateTime<Utc>), top: f64) -> String {
    let width = (to - from).as_seconds_f64().max(1.0);
    let mut is_drawing = false;
    let points = line.points.iter().map(|(at, value)| {
        let Some(value) = value else {
            is_drawing = false;
            return String::new();
        };
        let x = LEFT + (*at - from).as_seconds_f64().max(0.0) / width * (WIDTH - 4.0 - LEFT);
        let y = HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP);
        // A value without a neighbour is a dot.
        let point = if is_drawing { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") };
        is_drawing = true;
        point
    });
    let path = points.collect::<Vec<_>>().concat();
    format!(r#"<path class="line {}" d="{path}"/>"#, line.class)
}

/// The end of a scale: 1, 2 or 5 times a power of ten.
fn scale(most: f64) -> f64 {
    if most <= 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|end| *end >= most).unwrap_or(most)
}

fn number(value: f64, unit: &str) -> String {
    match unit {
        "ms" if value >= 10_000.0 => format!("{:.0} s", value / 1_000.0),
        "ms" if value >= 1_000.0 => format!("{:.1} s", value / 1_000.0),
        "ms" if value < 10.0 => format!("{value:.1} ms"),
        "ms" => format!("{value:.0} ms"),
        _ => format!("{value:.0}"),
    }
}

fn as_table(figures: &[Figure]) -> Markup {
    let time = |value: Option<f32>| value.map_or_else(|| "–".to_owned(), |value| number(value.into(), "ms"));
    let rows = figures.iter().rev().map(|figure| {
        html! {
            td { (exactly(figure.at)) }
            td .number { (figure.jobs) }
            td .number { (figure.dead) }
            @for hop in [figure.arrive, figure.wait, figure.run] { td .number { (time(hop.p50)) } td .number { (time(hop.p99)) } }
        }
    });
    html! {
        details {
            summary { "The figures" }
            p .quiet { "Of several queues or minutes: the mean of the medians, weighted by jobs, and the greatest p99. The times from the commit compare the clocks of two machines." }
            (table("Figures", &["Minute", "Due", "Dead", "Commit to queue, p50", "p99", "Wait, p50", "p99", "Run, p50", "p99"], &rows.collect::<Vec<_>>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number() {
        for (most, end) in
            [(0.0, 1.0), (0.3, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (7.0, 10.0), (99.0, 100.0), (101.0, 200.0)]
        {
            assert!((scale(most) - end).abs() < 1e-9, "{most}: {}", scale(most));
        }
    }

    #[test]
    fn a_line_has_a_gap_where_there_are_no_figures() {
        let from = DateTime::UNIX_EPOCH;
        let to = from + TimeDelta::minutes(60);
        let points = [(0, Some(5.0)), (1, Some(10.0)), (2, None), (3, Some(0.0))];
        let points = points.map(|(minute, value)| (from + TimeDelta::minutes(minute), value)).to_vec();
        let path = polyline(&Line { name: "p50", class: "p50", points }, (from, to), 10.0);
        assert_eq!(path, r#"<path class="line p50" d="M64.0 54.0h0L72.9 8.0M90.6 100.0h0"/>"#);
    }
}
