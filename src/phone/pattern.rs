//! Compiled patterns of the numbering plans, in bounded memory.
//!
//! A search needs working memory. The usual interface keeps some for each thread that ever searched beside another, which
//! adds up over the patterns of all territories; here each pattern owns one, behind a lock that is held for microseconds.

use std::sync::{Mutex, PoisonError};

use regex_automata::meta::{BuildError, Cache, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

/// How much memory the automaton of one pattern may cache while it runs.
const CACHE: usize = 16 * 1024;

/// A pattern, or several that are asked at once.
pub(super) struct Pattern {
    regex: Regex,
    cache: Mutex<Cache>,
}

/// What a pattern found at the start of a text.
pub(super) struct Start {
    /// Where it ends.
    pub(super) end: usize,
    /// What the replacement makes of it; only where the last group of the pattern took part.
    pub(super) replaced: Option<String>,
}

impl Pattern {
    /// Patterns that have to match the whole of a text.
    pub(super) fn whole<'a>(patterns: impl Iterator<Item = &'a str>) -> Option<Self> {
        let anchored: Vec<_> = patterns.map(|pattern| format!("^(?:{pattern}\n)$")).collect();
        Self::new(&anchored, MatchKind::All).ok()
    }

    /// A pattern that has to match at the start of a text.
    pub(super) fn start(pattern: &str) -> Option<Self> {
        Self::new(&[format!("^(?:{pattern}\n)")], MatchKind::LeftmostFirst).ok()
    }

    fn new(patterns: &[String], kind: MatchKind) -> Result<Self, Box<BuildError>> {
        let regex = Regex::builder()
            .configure(Regex::config().match_kind(kind).hybrid_cache_capacity(CACHE))
            .syntax(syntax::Config::new().unicode(false).ignore_whitespace(true))
            .build_many(patterns)
            .map_err(Box::new)?;
        let cache = Mutex::new(regex.create_cache());
        Ok(Self { regex, cache })
    }

    /// Which of the patterns match.
    pub(super) fn matching(&self, text: &str) -> PatternSet {
        let mut found = PatternSet::new(self.regex.pattern_len());
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.regex.which_overlapping_matches_with(&mut cache, &Input::new(text), &mut found);
        found
    }

    /// Where the match ends, if there is one.
    pub(super) fn end(&self, text: &str) -> Option<usize> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        self.regex.search_half_with(&mut cache, &Input::new(text)).map(|found| found.offset())
    }

    /// The match, and what `replacement` makes of it; `$1` is its first group.
    pub(super) fn find(&self, text: &str, replacement: Option<&str>) -> Option<Start> {
        let mut groups = self.regex.create_captures();
        {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            self.regex.search_captures_with(&mut cache, &Input::new(text), &mut groups);
        }
        let end = groups.get_match()?.end();
        let last = groups.group_len().checked_sub(1).filter(|last| *last > 0);
        let replaced =
            last.and_then(|last| groups.get_group(last)).zip(replacement).map(|(_, replacement)| {
                let mut whole = String::new();
                groups.interpolate_string_into(text, replacement, &mut whole);
                whole
            });
        Some(Start { end, replaced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_patterns_match_all_of_a_text_and_each_is_told() {
        let patterns = Pattern::whole([r"1\d{2}", "12 3", "12", r"(?:1|12)3"].into_iter()).unwrap();
        let found: Vec<_> = patterns.matching("123").iter().map(|id| id.as_usize()).collect();
        assert_eq!(found, [0, 1, 3]);
        assert!(patterns.matching("1234").is_empty() && patterns.matching("0123").is_empty());
    }

    #[test]
    fn a_start_is_found_at_the_start_only_and_rewritten_by_its_group() {
        let pattern = Pattern::start(r"([2-9]\d{2})$|1").unwrap();
        let found = |text| pattern.find(text, Some("441$1")).map(|start| (start.end, start.replaced));
        assert_eq!(found("234"), Some((3, Some("441234".to_owned()))));
        assert_eq!(found("1234"), Some((1, None)));
        assert_eq!(found("0234"), None);
        assert_eq!((pattern.end("1234"), pattern.end("01")), (Some(1), None));
        assert!(pattern.find("234", None).unwrap().replaced.is_none());
    }

    #[test]
    fn what_is_no_pattern_is_none() {
        assert!(Pattern::start("(").is_none() && Pattern::whole([")"].into_iter()).is_none());
    }
}
