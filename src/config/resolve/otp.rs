//! `[otp]`: which codes are taken, and how many of them.

use std::collections::{BTreeSet, HashSet};

use super::{Context, code_mail, or};
use crate::config::raw::{RawClient, RawOtp, RawTextLimits, Section};
use crate::config::reader::At;
use crate::guard::sms::{Config as Guard, Conversion, Limit, Smoothing};
use crate::mail::PhoneNumber;
use crate::otp;
use crate::phone::Country;
use crate::sms::CodeRule;

/// Which codes are taken. Where texts cost money, each factor is switched on by name.
pub(super) fn resolve(
    cx: &Context<'_>,
    raw: &RawOtp,
    clients: &Section<RawClient>,
    costs_money: bool,
) -> otp::Config {
    let config = otp::Config {
        primary: or(raw.primary.as_ref(), !costs_money),
        secondary: or(raw.secondary.as_ref(), !costs_money),
        code: code(cx, raw),
        default_country: raw.default_country.as_ref().map(|at| at.value),
        origin_bound: or(raw.origin_bound.as_ref(), false),
        by_mail: code_mail::resolve(cx, raw, clients),
    };
    code_mail::check_factors(cx, clients, &config);
    code_mail::check_conversion(cx, raw, &config);
    config
}

fn code(cx: &Context<'_>, raw: &RawOtp) -> CodeRule {
    let default = CodeRule::default();
    let rule = CodeRule {
        shortest: or(raw.code_shortest.as_ref(), default.shortest),
        longest: or(raw.code_longest.as_ref(), default.longest),
        letters: or(raw.code_letters.as_ref(), default.letters),
    };
    if rule.longest < rule.shortest
        && let Some(at) = raw.code_longest.as_ref().or(raw.code_shortest.as_ref())
    {
        cx.report
            .error(&at.span, "`code_longest` is less than `code_shortest`: no code would be taken")
            .help("a code has 4 to 10 characters");
    }
    rule
}

/// The numbers that are accepted and never sent anything.
pub(super) fn test_numbers(raw: &RawOtp) -> HashSet<PhoneNumber> {
    raw.test_numbers.iter().flat_map(|list| &list.value).map(|at| at.value.clone()).collect()
}

/// Who may be sent a code, and how often.
pub(super) fn guard(raw: &RawOtp, costs_money: bool) -> Guard {
    let RawTextLimits { client_rate, client_burst, number_pause, .. } = &raw.limits;
    let default = Guard::default();
    let smoothing = Smoothing {
        client_per_second: or(client_rate.as_ref(), default.smoothing.client_per_second),
        client_burst: or(client_burst.as_ref(), default.smoothing.client_burst),
        number_pause: or(number_pause.as_ref(), default.smoothing.number_pause),
    };
    let conversion = Conversion {
        countries: countries(raw.limits.conversion_countries.as_ref()),
        least_percent: or(raw.limits.conversion_least.as_ref(), default.conversion.least_percent),
    };
    Guard {
        costs_money,
        countries: countries(raw.countries.as_ref()),
        test_numbers: test_numbers(raw),
        per_number: limits(raw.limits.per_number.as_ref(), default.per_number),
        per_prefix: limits(raw.limits.per_prefix.as_ref(), default.per_prefix),
        per_client: limits(raw.limits.per_client.as_ref(), default.per_client),
        per_business: limits(raw.limits.per_business.as_ref(), default.per_business),
        in_all: limits(raw.limits.in_all.as_ref(), default.in_all),
        smoothing,
        conversion,
    }
}

fn countries(list: Option<&At<Vec<At<Country>>>>) -> BTreeSet<Country> {
    list.iter().flat_map(|list| &list.value).map(|at| at.value).collect()
}

fn limits(list: Option<&At<Vec<At<Limit>>>>, default: Vec<Limit>) -> Vec<Limit> {
    list.map_or(default, |list| list.value.iter().map(|at| at.value).collect())
}
