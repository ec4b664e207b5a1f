//! Zones and block lists as operators write them: read, and every name of them asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaway_dns::views::zone_answer::ZoneQuestion;
use seaway_dns::views::{StaticZone, block_file, zone_file};
use seaway_dns::wire::name::Place;
use seaway_dns::wire::{Name, OwnedName, Response, query};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = block_file::parse(text);
    let apex = OwnedName::parse("corp.example").unwrap();
    let records = match zone_file::parse(text, &apex) {
        Ok(records) => records,
        Err(fault) => {
            assert!(fault.line >= 1 && fault.line <= text.split('\n').count() + 1, "{fault}");
            return;
        }
    };
    let owners: Vec<OwnedName> = records.iter().take(64).map(|record| record.owner.clone()).collect();
    let Ok(zone) = StaticZone::new(apex, records) else { return };
    for owner in owners {
        let question = [b"\0\0\x01\0\0\x01\0\0\0\0\0\0".as_slice(), owner.wire(), b"\0\x01\0\x01"].concat();
        let mut name = Name::root();
        let query = query::read(&question, &mut name).unwrap();
        let mut space = vec![0; 65_535];
        let mut response = Response::new(&mut space, 65_535, &query);
        let asked = ZoneQuestion { name: &name, place: Place::QUESTION, kind: query.kind, dnssec: true };
        let _ = zone.answer(asked, &mut Name::root(), &mut response);
        let _ = response.finish(None);
    }
});
