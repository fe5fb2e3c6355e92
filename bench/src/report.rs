//! Figures, their medians over the rounds, and the table with ratios to Postfix.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Sent;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::relay::{PEERS, Peer};

/// What one scenario measured of one server.
pub struct Figures {
    row: &'static str,
    values: Vec<Figure>,
    notes: Vec<String>,
}

struct Figure {
    name: &'static str,
    unit: &'static str,
    better: Better,
    value: f64,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Higher,
    Lower,
}

impl Figures {
    pub fn new(row: &'static str) -> Self {
        Self { row, values: Vec::new(), notes: Vec::new() }
    }

    pub fn higher(&mut self, name: &'static str, unit: &'static str, value: f64) {
        self.values.push(Figure { name, unit, better: Better::Higher, value });
    }

    pub fn lower(&mut self, name: &'static str, unit: &'static str, value: f64) {
        self.values.push(Figure { name, unit, better: Better::Lower, value });
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Notes what makes a figure worth less: refusals, messages that did not arrive, or arrived twice.
    pub fn check(&mut self, ledger: &Ledger, sent: &Sent, expected: usize) {
        if let Some(first) = sent.refused.first() {
            self.note(format!("REFUSED {}: {first}", sent.refused.len()));
        }
        let missing = expected.saturating_sub(ledger.arrivals());
        if missing > 0 {
            self.note(format!("MISSING {missing}"));
        }
        if ledger.repeats() > 0 {
            self.note(format!("TWICE {}", ledger.repeats()));
        }
    }
}

/// Everything that was measured.
#[derive(Default)]
pub struct Report {
    /// In the order in which they first came.
    rows: Vec<Row>,
    notes: Vec<String>,
}

struct Row {
    scenario: &'static str,
    name: &'static str,
    unit: &'static str,
    better: Better,
    values: BTreeMap<Peer, Vec<f64>>,
}

impl Report {
    pub fn add(&mut self, peer: Peer, round: usize, figures: Figures) {
        for figure in figures.values {
            self.row(figures.row, &figure).values.entry(peer).or_default().push(figure.value);
        }
        let notes = figures.notes.into_iter();
        self.notes
            .extend(notes.map(|note| format!("{}, {}, round {round}: {note}", figures.row, peer.name())));
    }

    fn row(&mut self, scenario: &'static str, figure: &Figure) -> &mut Row {
        let is_it = |row: &Row| row.scenario == scenario && row.name == figure.name;
        let at = self.rows.iter().position(is_it).unwrap_or_else(|| {
            let &Figure { name, unit, better, .. } = figure;
            self.rows.push(Row { scenario, name, unit, better, values: BTreeMap::new() });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// The table as Markdown.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| what | | straight | authrelay | postfix | exim | authrelay : postfix | spread of authrelay |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        let mut last = "";
        for row in &self.rows {
            let shown = if row.scenario == last { "" } else { row.scenario };
            last = row.scenario;
            let cells: Vec<String> = PEERS.iter().map(|peer| row.cell(*peer)).collect();
            let unit = if row.unit.is_empty() { String::new() } else { format!(" [{}]", row.unit) };
            // Writing to a text does not fail.
            let _ = writeln!(
                text,
                "| {shown} | {}{} | {} | {} | {} |",
                row.name,
                unit,
                cells.join(" | "),
                row.ratio(),
                row.spread(),
            );
        }
        text
    }

    /// What is to be known about single figures.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All of it, with every round.
    pub fn json(&self, machine: &Machine) -> Value {
        let row = |row: &Row| {
            let values: BTreeMap<&str, &Vec<f64>> =
                row.values.iter().map(|(peer, values)| (peer.name(), values)).collect();
            json!({ "scenario": row.scenario, "name": row.name, "unit": row.unit, "better": row.better,
                    "rounds": values })
        };
        json!({ "machine": machine, "rows": self.rows.iter().map(row).collect::<Vec<_>>(), "notes": self.notes })
    }
}

impl Row {
    fn median(&self, peer: Peer) -> Option<f64> {
        let mut values = self.values.get(&peer)?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
            _ => Some(values[middle]),
        }
    }

    fn cell(&self, peer: Peer) -> String {
        self.median(peer).map_or_else(|| "-".to_owned(), round)
    }

    /// The median of the ratios of each round, where both are there; so that a slow hour hits both.
    fn ratio(&self) -> String {
        let (Some(ours), Some(theirs)) = (self.values.get(&Peer::Authrelay), self.values.get(&Peer::Postfix))
        else {
            return "-".to_owned();
        };
        let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        let Some(&ratio) = ratios.get(ratios.len() / 2) else { return "-".to_owned() };
        match self.better {
            Better::Lower if ratio < 0.1 && ratio > 0.0 => format!("1/{:.0}", 1.0 / ratio),
            Better::Higher | Better::Lower => format!("{ratio:.2}x"),
        }
    }

    fn spread(&self) -> String {
        let Some(values) = self.values.get(&Peer::Authrelay).filter(|values| values.len() > 1) else {
            return String::new();
        };
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} - {}", round(least), round(most))
    }
}

fn round(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
