//! Figures of all peers, and the ratios between them.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// Whether more or less of a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Better {
    /// A rate.
    Higher,
    /// A time.
    Lower,
}

/// One row: a figure of every peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    /// What was measured.
    pub(super) what: String,
    /// Its unit.
    pub(super) unit: &'static str,
    /// Which direction is good.
    pub(super) better: Better,
    /// The rounds of each peer, in order.
    pub(super) rounds: BTreeMap<&'static str, Vec<f64>>,
    /// Peers whose figure is a limit: the real one lies above.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) above: BTreeSet<&'static str>,
}

/// The report's rows, in the order they first came up.
#[derive(Debug, Default)]
pub(super) struct Rows(pub(super) Vec<Row>);

/// A goal: Seaway against a peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ratio {
    /// The peer.
    pub(super) peer: &'static str,
    /// Seaway's median divided by the peer's.
    pub(super) ratio: f64,
}

/// The name our own column has.
pub(super) const OURS: &str = "seaway";

// === impl Row ===

impl Row {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, better: Better) -> Self {
        Self { what: what.into(), unit, better, rounds: BTreeMap::new(), above: BTreeSet::new() }
    }

    /// Adds the figure of one round.
    pub(super) fn add(&mut self, peer: &'static str, figure: f64) {
        self.rounds.entry(peer).or_default().push(figure);
    }

    /// The median of a peer's rounds.
    pub(super) fn median(&self, peer: &str) -> Option<f64> {
        let mut figures = self.rounds.get(peer)?.clone();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    /// Our median against that of each peer.
    pub(super) fn ratios(&self) -> Vec<Ratio> {
        let Some(ours) = self.median(OURS) else { return Vec::new() };
        let peers = self.rounds.keys().filter(|peer| **peer != OURS);
        let ratios = peers.filter_map(|peer| Some(Ratio { peer, ratio: ours / self.median(peer)? }));
        // Nothing to compare with nothing.
        ratios.filter(|ratio| ratio.ratio.is_finite()).collect()
    }
}

// === impl Rows ===

impl Rows {
    /// Adds a figure of a peer.
    pub(super) fn add(&mut self, what: &str, unit: &'static str, better: Better, peer: &'static str, figure: f64) {
        if let Some(row) = self.row(what, unit, better) {
            row.add(peer, figure);
        }
    }

    /// Notes that a peer took longer than `limit`.
    pub(super) fn add_above(&mut self, what: &str, unit: &'static str, peer: &'static str, limit: f64) {
        if let Some(row) = self.row(what, unit, Better::Lower) {
            row.add(peer, limit);
            row.above.insert(peer);
        }
    }

    fn row(&mut self, what: &str, unit: &'static str, better: Better) -> Option<&mut Row> {
        let index = self.0.iter().position(|row| row.what == what).unwrap_or_else(|| {
            self.0.push(Row::new(what, unit, better));
            self.0.len() - 1
        });
        self.0.get_mut(index)
    }
}

/// The report as a table.
pub(super) fn table(rows: &[Row], peers: &[&'static str]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut header = vec!["MEASURED".to_owned(), "UNIT".to_owned()];
    header.extend(peers.iter().map(|peer| peer.to_uppercase()));
    header.extend(peers.iter().filter(|peer| **peer != OURS).map(|peer| format!("TO {}", peer.to_uppercase())));
    let columns = header.len();
    table.set_header(header);
    for row in rows {
        let mut cells = vec![row.what.clone(), row.unit.to_owned()];
        cells.extend(peers.iter().map(|peer| {
            let above = if row.above.contains(peer) { "> " } else { "" };
            row.median(peer).map_or_else(|| "-".into(), |median| format!("{above}{}", figure(median)))
        }));
        let ratios = row.ratios();
        cells.extend(peers.iter().filter(|peer| **peer != OURS).map(|peer| {
            let below = if row.above.contains(peer) { "< " } else { "" };
            let ratio = ratios.iter().find(|ratio| ratio.peer == *peer);
            ratio.map_or_else(|| "-".into(), |ratio| format!("{below}{}", figure(ratio.ratio)))
        }));
        table.add_row(cells);
    }
    for index in 2..columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The report as JSON.
pub(super) fn json(rows: &[Row]) -> String {
    let rows: Vec<_> =
        rows.iter().map(|row| serde_json::json!({ "measurement": row, "ratios": row.ratios() })).collect();
    serde_json::to_string_pretty(&rows).unwrap_or_default()
}

fn figure(value: f64) -> String {
    if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_compare_medians_of_rounds() {
        let mut row = Row::new("tcp-rr, same node", "transactions/s", Better::Higher);
        for figure in [10.0, 90.0, 30.0] {
            row.add(OURS, figure);
        }
        for figure in [20.0, 10.0, 15.0] {
            row.add("bridge", figure);
        }
        assert_eq!(row.median(OURS), Some(30.0));
        assert_eq!(row.ratios(), vec![Ratio { peer: "bridge", ratio: 2.0 }]);
        assert!(table(&[row], &[OURS, "bridge"]).contains("2.00"));
    }
}
