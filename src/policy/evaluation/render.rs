//! The report as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Report, Score};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = self.point;
        writeln!(
            f,
            "strictness {}: a score of {}, a lead of {}\n",
            self.strictness.name(),
            point.threshold,
            point.margin
        )?;
        writeln!(f, "Shares with 95 % intervals (Wilson).")?;
        whole(f, "messages with a clear label", &self.clear)?;
        whole(f, "ambiguous messages", &self.ambiguous)?;
        groups(f, "language", &self.languages)?;
        groups(f, "wanted category", &self.categories)?;
        groups(f, "application", &self.applications)?;
        spread(f, "passed, by application", self.passed_spread)?;
        spread(f, "leaked, by application", self.leaked_spread)?;
        confusion(f, &self.confusion)?;
        trade_off(f, self)?;
        cross_validation(f, self)
    }
}

fn whole(f: &mut fmt::Formatter<'_>, name: &str, score: &Score) -> fmt::Result {
    writeln!(f, "\n{name}")?;
    for (what, share) in [
        ("allowed mail that passes", score.passed()),
        ("allowed mail in its exact category", score.exactly()),
        ("other mail that leaks", score.leaked()),
        ("security notices that leak", score.notices_leaked()),
    ] {
        writeln!(f, "  {what:36} {share}")?;
    }
    Ok(())
}

fn groups(f: &mut fmt::Formatter<'_>, name: &str, groups: &BTreeMap<String, Score>) -> fmt::Result {
    let none = |text: String, whole: usize| if whole == 0 { "-".to_owned() } else { text };
    writeln!(f, "\n{name:20} {:36} {:7} {:36} {:>9}", "passed", "exact", "leaked", "notices")?;
    for (group, score) in groups {
        writeln!(
            f,
            "{group:20} {:36} {:7} {:36} {:>9}",
            none(score.passed().to_string(), score.allowed),
            none(score.exact.to_string(), score.allowed),
            none(score.leaked().to_string(), score.held),
            none(format!("{} of {}", score.notices_leaking, score.notices), score.notices),
        )?;
    }
    Ok(())
}

fn spread(f: &mut fmt::Formatter<'_>, name: &str, spread: Option<super::Spread>) -> fmt::Result {
    match spread {
        Some(spread) => writeln!(f, "{name:26} {spread}   (least | quartiles | most)"),
        None => writeln!(f, "{name:26} -"),
    }
}

fn confusion(
    f: &mut fmt::Formatter<'_>,
    confusion: &BTreeMap<String, BTreeMap<String, usize>>,
) -> fmt::Result {
    let columns: BTreeSet<&str> = confusion.values().flat_map(|row| row.keys()).map(String::as_str).collect();
    write!(f, "\n{:20}", "wanted \\ got")?;
    for column in &columns {
        write!(f, " {column:>width$}", width = column.len().max(4))?;
    }
    writeln!(f)?;
    for (wanted, row) in confusion {
        write!(f, "{wanted:20}")?;
        for column in &columns {
            let count = row.get(*column).map_or_else(String::new, ToString::to_string);
            write!(f, " {count:>width$}", width = column.len().max(4))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn trade_off(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    writeln!(
        f,
        "\n{:10} {:>9} {:>6}   passed / exact / leaked / notices",
        "trade-off", "threshold", "margin"
    )?;
    for entry in &report.trade_off {
        let name = entry.strictness.map_or("", super::Strictness::name);
        let (point, score) = (entry.point, entry.score);
        writeln!(
            f,
            "{name:10} {:>9.1} {:>6.2}   {}/{}  {}  {}/{}  {}/{}",
            point.threshold,
            point.margin,
            score.passing,
            score.allowed,
            score.exact,
            score.leaking,
            score.held,
            score.notices_leaking,
            score.notices
        )?;
    }
    Ok(())
}

fn cross_validation(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let cross = &report.cross_validation;
    writeln!(
        f,
        "\ncross-validation by application: the operating point is chosen on the other applications"
    )?;
    for fold in &cross.folds {
        writeln!(
            f,
            "  {:20} at {:.1}/{:.1}: passed {}, leaked {}, notices {} of {}",
            fold.application,
            fold.point.threshold,
            fold.point.margin,
            fold.score.passed(),
            fold.score.leaked(),
            fold.score.notices_leaking,
            fold.score.notices
        )?;
    }
    spread(f, "  passed", cross.passed_spread)?;
    spread(f, "  leaked", cross.leaked_spread)?;
    whole(f, "all applications, each as if never seen", &cross.total)
}
