//! Tables that stay tables for those who hear them, and become cards where there is no room for columns.

use maud::{Markup, html};

/// A table's head: what stands above each column.
pub(super) type Heads<'a> = &'a [&'a str];

/// A table with one line of heads. The first cell of each row names the row.
pub(super) fn table(caption: &str, class: &str, heads: Heads<'_>, rows: &[Vec<Markup>]) -> Markup {
    let head = html! {
        tr role="row" { @for head in heads { th role="columnheader" scope="col" { (head) } } }
    };
    table_under(caption, class, &head, heads, rows)
}

/// A table under a head of its own making; `labels` name the columns where there is no room for heads.
pub(super) fn table_under(
    caption: &str,
    class: &str,
    head: &Markup,
    labels: Heads<'_>,
    rows: &[Vec<Markup>],
) -> Markup {
    html! {
        // The roles are the elements' own; a style that makes them blocks would take them away.
        table role="table" class=(class) {
            caption { (caption) }
            thead role="rowgroup" { (head) }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (place, (label, cell)) in labels.iter().zip(row).enumerate() {
                            @if place == 0 {
                                th role="rowheader" scope="row" { (cell) }
                            } @else {
                                td role="cell" data-label=(label) { div { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
