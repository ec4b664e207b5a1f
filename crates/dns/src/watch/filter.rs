//! Which queries a listener wants. Pure.

use seaway_model::dns_api::{LogFilter, QueryRecord};

/// Whether a listener wants this query; `failed`, `slow`: what the server calls so.
#[must_use]
pub fn wants(filter: &LogFilter, record: &QueryRecord, failed: bool, slow: bool) -> bool {
    let pod = record.pod.as_ref();
    let is_below = |wanted: &str| {
        let (name, wanted) = (record.name.trim_end_matches('.'), wanted.trim_end_matches('.').to_ascii_lowercase());
        match wanted.strip_prefix('.') {
            Some(domain) => name == domain || name.ends_with(&wanted),
            None => name == wanted,
        }
    };
    // Either of both is wanted when both are named.
    let kind = match (filter.failed, filter.slow) {
        (false, false) => true,
        (wants_failed, wants_slow) => (wants_failed && failed) || (wants_slow && slow),
    };
    kind && filter.namespace.as_ref().is_none_or(|wanted| pod.is_some_and(|pod| pod.namespace == *wanted))
        && filter.pod.as_ref().is_none_or(|wanted| pod.is_some_and(|pod| pod.to_string() == *wanted))
        && filter.name.as_ref().is_none_or(|wanted| is_below(wanted))
        && filter.rcode.as_ref().is_none_or(|wanted| record.rcode.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaway_model::PodRef;
    use seaway_model::dns_api::Way;

    fn record() -> QueryRecord {
        QueryRecord {
            unix_millis: 0,
            client: [10, 244, 0, 3].into(),
            pod: Some(PodRef { namespace: "shop".into(), name: "web-0".into() }),
            name: "api.example.org.".to_owned(),
            kind: "A".to_owned(),
            rcode: "NXDOMAIN".to_owned(),
            answers: 0,
            way: Way::Upstream,
            took_micros: 900,
            upstream: None,
        }
    }

    #[test]
    fn all_that_is_said_must_be_true() {
        let wants = |change: &dyn Fn(&mut LogFilter)| {
            let mut filter = LogFilter::default();
            change(&mut filter);
            super::wants(&filter, &record(), true, false)
        };
        assert!(wants(&|_| {}));
        assert!(wants(&|f| f.namespace = Some("shop".into())) && !wants(&|f| f.namespace = Some("sh".into())));
        assert!(wants(&|f| f.pod = Some("shop/web-0".into())) && !wants(&|f| f.pod = Some("shop/web-1".into())));
        assert!(
            wants(&|f| f.name = Some("API.example.org".into())) && !wants(&|f| f.name = Some("example.org".into()))
        );
        assert!(wants(&|f| f.name = Some(".example.org".into())) && !wants(&|f| f.name = Some(".ample.org".into())));
        assert!(wants(&|f| f.rcode = Some("nxdomain".into())) && !wants(&|f| f.rcode = Some("SERVFAIL".into())));
        assert!(wants(&|f| f.failed = true) && !wants(&|f| f.slow = true));
        assert!(!wants(&|f| (f.failed, f.namespace) = (true, Some("other".into()))));
    }
}
