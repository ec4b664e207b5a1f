//! Reading the text format of metrics (OpenMetrics 1.0 §3). Pure.

/// Samples in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

// === impl Metrics ===

impl Metrics {
    /// Reads every line that is a sample; all others are passed over.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
    }

    /// The value of a metric without labels; 0 when it is not told.
    pub(super) fn value(&self, name: &str) -> f64 {
        self.0.iter().find(|sample| sample.name == name).map_or(0.0, |sample| sample.value)
    }

    /// The values of a metric by one of its labels.
    pub(super) fn by<'a>(&'a self, name: &'a str, label: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let samples = self.0.iter().filter(move |sample| sample.name == name);
        samples.filter_map(move |sample| {
            let (_, value) = sample.labels.iter().find(|(key, _)| key == label)?;
            Some((value.as_str(), sample.value))
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        // No label of this server has a comma or an escaped quote in its value.
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        let labels = pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect();
        Some(Self { name: name.to_owned(), labels, value: value.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_label() {
        let text = "# TYPE a counter\na_total{server=\"dns://:53\",type=\"A\"} 7\na_total{server=\"dns://:53\",type=\"SRV\"} 2\nb 1.5\n# EOF\nnonsense\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.by("a_total", "type").collect::<Vec<_>>(), [("A", 7.0), ("SRV", 2.0)]);
        assert_eq!((metrics.value("b"), metrics.value("nobody")), (1.5, 0.0));
    }
}
