use proptest::prelude::*;

use super::*;

fn rule(part: DnsRewritePart, from: &str, to: &str) -> Rewrite {
    Rewrite::new(part, from, to).unwrap()
}

#[test]
fn names_are_compared_and_replaced_as_the_rule_says() {
    use DnsRewritePart::{Exact, Prefix, Suffix};
    for (part, from, to, asked, wanted) in [
        (Exact, "old.example", "new.example", "old.example", Some("new.example.")),
        (Exact, "old.example", "new.example", "a.old.example", None),
        (Suffix, "old.example", "new.example", "a.b.old.example", Some("a.b.new.example.")),
        (Suffix, "old.example", "new.example", "old.example", Some("new.example.")),
        (Suffix, "old.example", "new.example", "xold.example", None),
        (Suffix, "corp", ".", "a.b.corp", Some("a.b.")),
        (Prefix, "v2-", "", "v2-web.example", Some("web.example.")),
        (Prefix, "v2-", "canary.", "v2-web.example", None),
        (Prefix, "old.ap", "new.a", "old.api.example", Some("new.ai.example.")),
        (Prefix, "web", "", "web.example", Some("example.")),
        (Prefix, "web", "", "example.web", None),
    ] {
        let Ok(rule) = Rewrite::new(part, from, to) else {
            assert_eq!((to, wanted), ("canary.", None), "only this one cannot be used");
            continue;
        };
        let asked_name = name(asked);
        let got = rule.matches(&asked_name).then(|| rule.apply(&asked_name).unwrap().to_string());
        assert_eq!(got.as_deref(), wanted, "{part:?} {from} {to} {asked}");
    }
}

#[test]
fn a_name_that_would_be_too_long_is_not_made() {
    let label = |letter: &str| letter.repeat(60);
    let asked = name(&format!("{0}.{0}.{0}.y", label("x")));
    let rule_to = |to: &str| rule(DnsRewritePart::Suffix, "y", to);
    assert!(rule_to(&label("z")).apply(&asked).is_ok());
    assert!(rule_to(&format!("{0}.{0}", label("z"))).apply(&asked).is_err());
}

proptest! {
    /// What the client asked for is what it is told, whatever the rule.
    #[test]
    fn the_looked_up_name_leads_back_to_what_was_asked(
        part in 0..3usize,
        from in "[a-c]{1,3}(\\.[a-c]{1,3}){0,2}",
        to in "[a-c]{1,3}(\\.[a-c]{1,3}){0,2}",
        before in "([a-c]{1,3}\\.){0,2}",
        below in "([a-c]{1,3}\\.){1,2}",
    ) {
        let part = [DnsRewritePart::Exact, DnsRewritePart::Suffix, DnsRewritePart::Prefix][part];
        let asked = match part {
            DnsRewritePart::Exact => name(&from),
            DnsRewritePart::Suffix => name(&format!("{before}{from}")),
            DnsRewritePart::Prefix => name(&format!("{from}{before}example")),
        };
        let rule = rule(part, &from, &to);
        prop_assert!(rule.matches(&asked));
        let looked_up = rule.apply(&asked).unwrap();
        prop_assert_eq!(rule.restore(&looked_up, &asked, &looked_up).unwrap().to_string(), asked.to_string());
        // A target beside it, of the same zone, leads back to the client's zone.
        let target = name(&format!("{below}{to}"));
        if part == DnsRewritePart::Suffix && target.wire() != looked_up.wire() {
            let restored = rule.restore(&target, &asked, &looked_up).unwrap();
            prop_assert_eq!(rule.apply(&restored).unwrap().to_string(), target.to_string());
        }
        prop_assert!(rule.restore(&name("else.where"), &asked, &looked_up).is_none());
    }
}
