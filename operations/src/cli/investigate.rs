//! `ops investigate`.

use std::process::ExitCode;

use clap::Args;
use uuid::Uuid;

use super::Common;
use super::write::Justified;
use crate::write::investigate;

#[derive(Debug, Args)]
pub struct Investigate {
    #[command(flatten)]
    common: Common,
    /// Ids of the events.
    #[arg(required = true)]
    ids: Vec<Uuid>,
    /// Takes the name off them.
    #[arg(long)]
    close: bool,
    #[command(flatten)]
    justified: Justified,
}

impl Investigate {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { common, ids, close, justified } = self;
        let (operator, pool) = (justified.operator()?, common.connect().await?);
        if close {
            let changed = investigate::close(&pool, &ids, &operator).await?;
            return common
                .print(&changed, |changed| format!("no one looks into it any more: {}", changed.rows_changed));
        }
        let changed = investigate::begin(&pool, &ids, &operator).await?;
        common.print(&changed, |changed| format!("under investigation: {}", changed.rows_changed))
    }
}
