//! Figures as a table.

use std::io::Write;
use std::time::Duration;

/// What one contender did.
pub struct Row {
    /// Who.
    pub name: String,
    /// Answers that were a yes.
    pub done: u64,
    /// In how long.
    pub took: Duration,
    /// How long single answers took, sorted.
    pub latencies: Vec<Duration>,
    /// What else there is to say.
    pub remark: String,
}

impl Row {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        // Counts of a bounded bench are far below what a double holds exactly.
        self.done as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn quantile(&self, q: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
    }
}

/// A table; ratios are to the first row and to the second.
pub fn table(title: &str, rows: &[Row]) -> String {
    let mut text = format!("{title}\n");
    text.push_str(&format!(
        "{:<44}{:>10}{:>10}{:>10}{:>9}{:>9}{:>9}  {}\n",
        "", "done/s", "x first", "x second", "p50 ms", "p99 ms", "max ms", "remark"
    ));
    let rate = |n: usize| rows.get(n).map_or(f64::NAN, Row::rate);
    for row in rows {
        let millis = |q: f64| row.quantile(q).as_secs_f64() * 1000.0;
        text.push_str(&format!(
            "{:<44}{:>10.0}{:>10.2}{:>10.2}{:>9.1}{:>9.1}{:>9.1}  {}\n",
            row.name,
            row.rate(),
            row.rate() / rate(0),
            row.rate() / rate(1),
            millis(0.5),
            millis(0.99),
            millis(1.0),
            row.remark
        ));
    }
    text
}

/// Ratios next to what they should be.
pub fn aims(ratios: &[(&str, f64, f64)]) -> String {
    let line = |(what, is, aim): &(&str, f64, f64)| {
        let met = if is >= aim { "met" } else { "MISSED" };
        format!("  {what}: {is:.2} (aim: {aim}) {met}\n")
    };
    ratios.iter().map(line).collect()
}

/// To standard output; a reader that has gone is no failure.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
