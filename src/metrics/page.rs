//! The text that Prometheus reads: its exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::{Counter, Family, Histogram};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A page of metrics. Each metric begins with [`Page::begin`], and its samples follow.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// The media type of the page.
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric. `help` is one line.
    pub fn begin(&mut self, name: &'static str, form: Form, help: &str) {
        let form = match form {
            Form::Counter => "counter",
            Form::Gauge => "gauge",
            Form::Histogram => "histogram",
        };
        self.name = name;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {form}"));
    }

    /// A sample of the metric that was begun last.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let name = self.name;
        self.named(name, "", labels, None, value);
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: &'static str, form: Form, help: &str, value: impl Display) {
        self.begin(name, form, help);
        self.sample(&[], value);
    }

    /// The samples of a distribution, of the metric that was begun last.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let name = self.name;
        let (below, all, sum) = histogram.read();
        for (end, count) in below {
            self.named(name, "_bucket", labels, Some(&end.to_string()), count);
        }
        self.named(name, "_bucket", labels, Some("+Inf"), all);
        self.named(name, "_sum", labels, None, sum);
        self.named(name, "_count", labels, None, all);
    }

    /// A whole metric of counters.
    pub fn counters(&mut self, name: &'static str, help: &str, family: &Family<Counter>) {
        self.begin(name, Form::Counter, help);
        family.each(|labels, counter| self.sample(labels, counter.get()));
    }

    /// A whole metric of distributions.
    pub fn histograms(&mut self, name: &'static str, help: &str, family: &Family<Histogram>) {
        self.begin(name, Form::Histogram, help);
        family.each(|labels, histogram| self.histogram(labels, histogram));
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn named(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        below: Option<&str>,
        value: impl Display,
    ) {
        let all = labels.iter().copied().chain(below.map(|end| ("le", end)));
        let mut shown = String::new();
        for (label, value) in all {
            let comma = if shown.is_empty() { "" } else { "," };
            // A string takes everything.
            let _ = write!(shown, "{comma}{label}=\"{}\"", escaped(value));
        }
        let labels = if shown.is_empty() { shown } else { format!("{{{shown}}}") };
        self.line(format_args!("{name}{suffix}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }
}

fn escaped(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => shown.push_str("\\\\"),
            '"' => shown.push_str("\\\""),
            '\n' => shown.push_str("\\n"),
            other => shown.push(other),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_is_in_the_form_that_prometheus_reads() {
        let mut page = Page::default();
        page.single("a_up", Form::Gauge, "Whether it is up.", 1);
        let counters: Family<Counter> = Family::new(&["name"]);
        counters.of(&["say \"no\"\\\n"]).one();
        page.counters("b_total", "Things.", &counters);
        let took = Histogram::default();
        took.observe(Duration::from_millis(20));
        page.begin("c_seconds", Form::Histogram, "Times.");
        page.histogram(&[("x", "y")], &took);
        let text = page.into_text();
        let head = "# HELP a_up Whether it is up.\n# TYPE a_up gauge\na_up 1\n# HELP b_total Things.\n\
                    # TYPE b_total counter\nb_total{name=\"say \\\"no\\\"\\\\\\n\"} 1\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains(
                "c_seconds_bucket{x=\"y\",le=\"0.01\"} 0\nc_seconds_bucket{x=\"y\",le=\"0.05\"} 1\n"
            )
        );
        assert!(text.ends_with(
            "c_seconds_bucket{x=\"y\",le=\"+Inf\"} 1\nc_seconds_sum{x=\"y\"} 0.02\nc_seconds_count{x=\"y\"} 1\n"
        ));
    }
}
