//! Asking before something is destroyed.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, bail};

/// Asks on a terminal; a script has said what it wants.
pub(super) fn confirm_on_terminal(question: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let mut terminal = io::stderr();
    let asked = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    asked.context("cannot ask on standard error")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}
