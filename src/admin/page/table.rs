//! Tables that stay tables for those who hear them, also where a narrow screen shows each row as a list.

use maud::{Markup, html};

use super::words::Tone;

/// A table.
pub(super) struct Table<'a> {
    /// What it is, in a few words.
    pub(super) caption: &'a str,
    /// The names of its columns. The first holds what each row is about.
    pub(super) columns: &'a [&'a str],
    /// Its rows, each with as many cells as there are columns.
    pub(super) rows: Vec<Vec<Markup>>,
}

impl Table<'_> {
    /// The table. The roles are written out: a style sheet that shows cells as blocks takes them away in some browsers.
    pub(super) fn show(&self) -> Markup {
        html! {
            table role="table" {
                caption { (self.caption) }
                thead role="rowgroup" {
                    tr role="row" {
                        @for column in self.columns {
                            th scope="col" role="columnheader" { (column) }
                        }
                    }
                }
                tbody role="rowgroup" {
                    @for row in &self.rows {
                        tr role="row" {
                            @for (index, (cell, column)) in row.iter().zip(self.columns).enumerate() {
                                @if index == 0 {
                                    th scope="row" role="rowheader" { (cell) }
                                } @else {
                                    td role="cell" data-label=(column) { div.cell { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A word with its tone.
pub(super) fn badge(word: &str, tone: Tone) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (word) } }
}

/// A number; nothing draws the eye to none.
pub(super) fn number(count: u64) -> Markup {
    html! { @if count == 0 { span.quiet { "0" } } @else { (count) } }
}

/// A value that somebody else may have written: its direction stays its own.
pub(super) fn foreign(text: &str) -> Markup {
    html! { bdi { (text) } }
}

/// A number that somebody should look at unless it is zero.
pub(super) fn alarming(count: u64) -> Markup {
    html! { @if count == 0 { span.quiet { "0" } } @else { span.alarm { (count) } } }
}
