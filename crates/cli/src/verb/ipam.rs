//! `seaway ipam`: the address blocks of this node.

use seaway_model::agent_api::BlockStatus;

use super::QueryArguments;
use crate::output::{Format, Output};
use crate::{CliError, Finding, table};

pub(crate) const EXAMPLES: &str = "\
Examples:
  seaway ipam
  kubectl get ippools,ipblocks     the same for the whole cluster";

pub(crate) fn run(arguments: &QueryArguments, output: &mut Output<'_>) -> Result<Finding, CliError> {
    let status = super::status::ask(&arguments.client())?;
    match arguments.output {
        Format::Json => output.json(&status.blocks)?,
        Format::Table => output.text(&render(&status.blocks))?,
    }
    Ok(Finding::Good)
}

fn render(blocks: &[BlockStatus]) -> String {
    if blocks.is_empty() {
        return "this node holds no blocks yet; it takes one when the first pod needs an address\n".to_owned();
    }
    let rows: Vec<_> = blocks.iter().map(row).collect();
    table::render(&["BLOCK", "POOL", "USED", "FREE", "TOTAL"], &rows)
}

fn row(block: &BlockStatus) -> Vec<String> {
    vec![
        block.cidr.to_string(),
        block.pool.clone(),
        block.used.to_string(),
        block.total.saturating_sub(block.used).to_string(),
        block.total.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_golden;

    #[test]
    fn blocks_show_how_full_they_are() {
        assert_golden("ipam.txt", &render(&super::super::status::tests::node_status().blocks));
    }
}
