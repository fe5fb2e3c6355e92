//! `authrelay check --live`: what the doctor found, one line each, with what to do below it.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::{block_on, print_json};
use crate::clock::Clock;
use crate::config::Config;
use crate::doctor::{DnsServer, Finding, Severity, examine};

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    /// Whether nothing is wrong; warnings are no errors.
    healthy: bool,
    errors: usize,
    warnings: usize,
    findings: &'a [Finding],
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Lines,
    /// For people who want to see only what is wrong.
    Wrong,
    /// For scripts.
    Json,
}

/// Looks at everything and tells; fails where something is wrong.
pub(super) fn run(config: Config, dns: Option<DnsServer>, form: Form) -> anyhow::Result<ExitCode> {
    let findings = block_on(async { Ok(examine(Arc::new(config), dns, Clock::System).await) })?;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match form {
        Form::Json => {
            print_json(&Report { healthy: errors == 0, errors, warnings, findings: &findings })?;
        }
        Form::Lines => {
            findings.iter().for_each(tell);
            say!(
                "# nothing was sent; {}, {}",
                super::plural(errors, "error"),
                super::plural(warnings, "warning")
            );
        }
        Form::Wrong => findings.iter().filter(|finding| finding.severity >= Severity::Warning).for_each(tell),
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(finding: &Finding) {
    let word = match finding.severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR",
    };
    say!("{word:<8} {} {}: {}", finding.area.as_str(), finding.subject, finding.message);
    if let Some(advice) = &finding.advice {
        say!("         -> {advice}");
    }
}
