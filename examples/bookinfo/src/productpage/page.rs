//! The HTML of the page. No scripts, nothing fetched from elsewhere.

use super::{PartReport, Product};
use crate::details::Details;
use crate::reviews::{Rating, Reviews};

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Bookinfo</title><style>
:root{color-scheme:light dark;--ink:#1d2a35;--soft:#5c6f7d;--line:#d8e0e6;--paper:#fff;--ground:#f3f6f8;--mark:#0b6e8f;--bad:#b3261e;--badground:#fdecea}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf2;--soft:#9fb1bd;--line:#2c3a45;--paper:#18222b;--ground:#10171d;--mark:#5cc0e0;--bad:#ff8a80;--badground:#3a1d1b}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1rem}h1{margin:0 0 .3rem;font-size:2.1rem;letter-spacing:-.02em}
h2{margin:0 0 .8rem;font-size:1.1rem}p{margin:.2rem 0 1rem}.lead{color:var(--soft);max-width:46rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr))}
section{background:var(--paper);border:1px solid var(--line);border-radius:.7rem;padding:1.2rem;margin-bottom:1rem}
dl{display:grid;grid-template-columns:7rem 1fr;margin:0;gap:.25rem}dt{color:var(--soft)}dd{margin:0}
blockquote{margin:0 0 1rem;padding-left:.9rem;border-left:3px solid var(--mark)}blockquote footer{color:var(--soft)}
.black{color:var(--ink)}.red{color:#d33a2c}.stars{letter-spacing:.15em}
.broken{background:var(--badground);color:var(--bad);border-radius:.5rem;padding:.7rem .9rem;margin:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}th{text-align:left;color:var(--soft);font-weight:500}
th,td{padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}tr:last-child td{border:0}
code{font:.9em ui-monospace,monospace}.scroll{overflow-x:auto}
</style></head><body><main>
"#;

/// The whole page.
pub(crate) fn render(product: &Product) -> String {
    let mut html = String::from(HEAD);
    html.push_str(&format!("<h1>{}</h1>\n", escape(product.title)));
    html.push_str(&format!("<p class=\"lead\">{}</p>\n<div class=\"grid\">\n", escape(product.description)));
    html.push_str(&section("Book details", product.details.as_ref().map(details), product, "details"));
    html.push_str(&section("Book reviews", product.reviews.as_ref().map(reviews), product, "reviews"));
    html.push_str("</div>\n<section><h2>Where each part ran</h2><div class=\"scroll\"><table>\n");
    html.push_str("<tr><th>Part<th>Version<th>Pod<th>Node<th>Address<th>Took</tr>\n");
    for report in &product.parts {
        html.push_str(&row(report));
    }
    html.push_str("</table></div></section>\n</main></body></html>\n");
    html
}

fn section(title: &str, content: Option<String>, product: &Product, part: &str) -> String {
    let content = content.unwrap_or_else(|| {
        let error = product.parts.iter().find(|report| report.part == part).and_then(|report| report.error.as_deref());
        broken(&format!("The {part} part does not answer"), error.unwrap_or("no reason known"))
    });
    format!("<section><h2>{title}</h2>\n{content}</section>\n")
}

fn details(details: &Details) -> String {
    let rows = [
        ("Author", details.author.clone()),
        ("Year", details.year.to_string()),
        ("Type", details.kind.clone()),
        ("Pages", details.pages.to_string()),
        ("Publisher", details.publisher.clone()),
        ("Language", details.language.clone()),
        ("ISBN-10", details.isbn_10.clone()),
        ("ISBN-13", details.isbn_13.clone()),
    ];
    let rows = rows.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(&value)));
    format!("<dl>{}</dl>\n", rows.join(""))
}

fn reviews(reviews: &Reviews) -> String {
    let mut html = String::new();
    for review in &reviews.reviews {
        let stars = review.rating.as_ref().map(stars).unwrap_or_default();
        let (text, reviewer) = (escape(&review.text), escape(&review.reviewer));
        html.push_str(&format!("<blockquote>{text}<footer>{reviewer} {stars}</footer></blockquote>\n"));
    }
    if let Some(error) = &reviews.ratings_error {
        html.push_str(&broken("The ratings part does not answer, so there are no stars", error));
    }
    html
}

fn stars(rating: &Rating) -> String {
    let color = if rating.color == "black" { "black" } else { "red" };
    let given = usize::from(rating.stars.min(5));
    let (full, empty) = ("★".repeat(given), "☆".repeat(5 - given));
    format!("<span class=\"stars {color}\" aria-label=\"{given} of 5 stars\">{full}{empty}</span>")
}

fn row(report: &PartReport) -> String {
    let Some(identity) = &report.served_by else {
        let error = escape(report.error.as_deref().unwrap_or("no answer"));
        return format!("<tr><td>{}<td colspan=\"5\"><span class=\"broken\">{error}</span></tr>\n", report.part);
    };
    let shown = |text: &str| if text.is_empty() { "–".to_owned() } else { format!("<code>{}</code>", escape(text)) };
    let took = report.took_micros.map_or_else(|| "–".to_owned(), milliseconds);
    format!(
        "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{took}</tr>\n",
        report.part,
        escape(&identity.version),
        shown(&identity.pod),
        shown(&identity.node),
        shown(&identity.addresses.join(" ")),
    )
}

fn milliseconds(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

fn broken(what: &str, error: &str) -> String {
    format!("<p class=\"broken\" role=\"alert\">{}: {}</p>\n", escape(what), escape(error))
}

/// Text that other parts sent may not become markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
