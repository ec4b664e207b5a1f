use proptest::prelude::*;

use super::*;
use crate::views::block_file;
use crate::views::names::NameSetBuilder;

fn set(patterns: &[&str]) -> NameSet {
    let mut builder = NameSetBuilder::new();
    for pattern in patterns {
        let (name, below) = crate::views::compile::pattern(pattern).unwrap();
        builder.add(name.wire(), below);
    }
    builder.finish()
}

#[test]
fn a_name_is_that_name_and_an_asterisk_is_everything_below() {
    let set = set(&["ads.example", "*.tracker.example", "both.example", "*.both.example"]);
    for (asked, found) in [
        ("ads.example", Some(0)),
        ("ADS.example", Some(0)),
        ("x.ads.example", None),
        ("tracker.example", None),
        ("a.tracker.example", Some(1)),
        ("a.b.tracker.example", Some(2)),
        ("xtracker.example", None),
        ("both.example", Some(0)),
        ("a.both.example", Some(1)),
        ("example", None),
        (".", None),
    ] {
        assert_eq!(set.find(&name(asked)), found, "{asked}");
    }
    assert_eq!(set.len(), 3);
    assert_eq!(self::set(&["*"]).find(&name("any.name")), Some(2), "everything");
}

proptest! {
    #[test]
    fn every_name_that_was_added_is_found_and_no_other(
        names in proptest::collection::hash_set("[a-z]{1,6}(\\.[a-z]{1,4}){0,3}", 0..300),
        asked in "[a-z]{1,6}(\\.[a-z]{1,4}){0,3}",
    ) {
        let patterns: Vec<&str> = names.iter().map(String::as_str).collect();
        let set = set(&patterns);
        prop_assert_eq!(set.len(), names.len());
        for known in &names {
            prop_assert_eq!(set.find(&name(known)), Some(0));
        }
        prop_assert_eq!(set.find(&name(&asked)).is_some(), names.contains(&asked));
    }
}

/// What is said in docs/reference/dns-config.md of the memory of large lists.
#[test]
fn a_million_names_take_less_than_eight_octets_each_besides_their_own() {
    let mut builder = NameSetBuilder::new();
    let mut own = 0;
    for number in 0..1_000_000u32 {
        let text = format!("{}.host-{number}.example", ["www", "cdn", "ads"][number as usize % 3]);
        let parsed = OwnedName::parse(&text).unwrap();
        own += parsed.wire().len() - 1;
        builder.add(parsed.wire(), number % 2 == 0);
    }
    let set = builder.finish();
    let around = (set.octets() - own) as f64 / 1e6;
    println!("{:.1} octets a name, {around:.1} besides its own", set.octets() as f64 / 1e6);
    assert_eq!(set.len(), 1_000_000);
    assert!(around < 8.0, "{around}");
    assert_eq!(set.find(&name("cdn.host-1.example")), Some(0));
    assert_eq!(set.find(&name("a.www.host-0.example")), Some(1));
    assert_eq!(set.find(&name("www.host-1000000.example")), None);
}

#[test]
fn lists_are_read_as_names_and_as_hosts() {
    let text = "# a list\n0.0.0.0 localhost\n0.0.0.0 ads.example tracker.example # both\n:: v6.example\nplain.example\n\
                *.below.example\n\n";
    let set = block_file::parse(text).unwrap();
    for known in ["ads.example", "tracker.example", "v6.example", "plain.example", "a.below.example"] {
        assert!(set.find(&name(known)).is_some(), "{known}");
    }
    assert_eq!(set.find(&name("localhost")), None, "of the host itself");
    assert_eq!(set.len(), 5);
}

#[test]
fn a_word_that_is_no_name_is_told_by_line_and_column() {
    let fault = block_file::parse("ads.example\n0.0.0.0 good.example a..b\n").unwrap_err();
    assert_eq!(fault.to_string(), "line 2, column 22: \"a..b\" is no domain name");
}
