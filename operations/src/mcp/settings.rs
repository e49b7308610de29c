//! What assistants may do.

/// The endpoint for assistants.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct McpSettings {
    /// Whether assistants may act over /mcp (replay, skip, release, retry, discard, pause, resume, run schedules), as far as their role may. Otherwise they
    /// only look.
    #[arg(long, env = "MCP_ACTS", default_value_t = false, action = clap::ArgAction::Set)]
    pub mcp_acts: bool,
}
