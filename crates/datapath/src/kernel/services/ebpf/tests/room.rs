//! Full tables (case 23): whole Services are refused, never half of one.

use seaway_model::Protocol::Tcp;
use seaway_model::ServiceRef;
use seaway_services::plan::{PlanChange, ServicePlan};

use super::plans::{Plan as _, removal, service};
use super::world::{Outcome, World, at};
use crate::ServiceDatapath as _;
use crate::kernel::bpf::ServiceTables;
use crate::services::Refusal;

const BACKENDS: [&str; 5] = ["10.83.1.1", "10.83.1.2", "10.83.1.3", "10.83.1.4", "10.83.1.5"];

fn small() -> World {
    let world = World::with_tables(ServiceTables {
        frontends: 4,
        backends: 8,
        affine_clients: 64,
        datagram_peers: 64,
        ..ServiceTables::default()
    });
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    world
}

fn web(name: &str, backends: usize, address: &str) -> ServicePlan {
    service(name).backends(&BACKENDS[..backends], 8080).cluster_ip(address, Tcp, 80)
}

fn refusal(name: &str, table: &str, limit: u64) -> Refusal {
    Refusal { service: ServiceRef::new("shop", name), table: table.to_owned(), limit }
}

#[test]
fn case_23_a_service_that_does_not_fit_stays_as_it_was_and_others_go_through() {
    let world = small();
    let report = world.apply(vec![
        PlanChange::Set(web("one", 3, "10.96.0.1").into()),
        PlanChange::Set(web("two", 5, "10.96.0.2").into()),
        PlanChange::Set(web("three", 1, "10.96.0.3").into()),
    ]);
    assert_eq!(report.refused, [refusal("three", "sw_backends", 8)]);
    assert_eq!(world.connect(at("10.96.0.3", 80)), Outcome::Refused, "not there at all");
    // A change that needs room for old and new at once.
    let report = world.apply(vec![PlanChange::Set(web("one", 4, "10.96.0.1").into())]);
    assert_eq!(report.refused, [refusal("one", "sw_backends", 8)]);
    assert!(matches!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(_)), "the last good state stays");
    // Room is made in the same batch.
    let report = world.apply(vec![
        removal("two"),
        PlanChange::Set(web("one", 4, "10.96.0.1").into()),
        PlanChange::Set(web("three", 1, "10.96.0.3").into()),
    ]);
    assert_eq!(report.refused, []);
    assert_eq!(world.connect(at("10.96.0.3", 80)), Outcome::Answered(at(BACKENDS[0], 8080)));
    assert_eq!(world.audit(), []);
    let usage = world.with(|services| services.usage().unwrap());
    assert!(usage.tables.contains(&("sw_backends".to_owned(), 5, 8)), "{usage:?}");
}

#[test]
fn case_23_frontends_have_a_limit_too() {
    let world = small();
    let many =
        (0..5).fold(web("many", 1, "10.96.0.1"), |plan, number| plan.cluster_ip("10.96.0.1", Tcp, 8000 + number));
    let report = world.apply(vec![PlanChange::Set(many.into()), PlanChange::Set(web("one", 1, "10.96.0.2").into())]);
    assert_eq!(report.refused, [refusal("many", "sw_services", 4)]);
    assert_eq!(world.connect(at("10.96.0.1", 8000)), Outcome::Refused);
    assert_eq!(world.connect(at("10.96.0.2", 80)), Outcome::Answered(at(BACKENDS[0], 8080)));
}

#[test]
fn case_23_entries_that_nobody_counted_do_no_harm() {
    use seaway_model::abi::services::BackendKey;
    let world = small();
    // Somebody else writes into the table: our count says there is room, the kernel says no.
    world.with(|services| {
        let keys: Vec<_> = (0..7).map(|slot| BackendKey { set: 4_000_000_000, slot }).collect();
        services.tables.backends.put_all(&keys, &[bytemuck::Zeroable::zeroed(); 7]).unwrap();
    });
    let report = world.apply(vec![
        PlanChange::Set(web("one", 3, "10.96.0.1").into()),
        PlanChange::Set(web("two", 1, "10.96.0.2").into()),
    ]);
    assert_eq!(report.refused, [refusal("one", "sw_backends", 8)]);
    assert_eq!(world.connect(at("10.96.0.1", 80)), Outcome::Refused);
    assert_eq!(world.connect(at("10.96.0.2", 80)), Outcome::Answered(at(BACKENDS[0], 8080)));
    assert_eq!(world.audit().len(), 7, "the audit finds them and takes them away");
    assert_eq!(world.apply(vec![PlanChange::Set(web("one", 3, "10.96.0.1").into())]).refused, []);
}

#[test]
fn case_23_a_service_refused_after_a_restart_keeps_what_the_earlier_process_wrote() {
    let mut world = small();
    world.set(web("one", 2, "10.96.0.1"));
    world.set(web("old", 1, "10.96.0.9"));
    world.kill();
    world.start();
    let report = world.apply(vec![
        PlanChange::Set(web("two", 5, "10.96.0.2").into()),
        PlanChange::Set(web("one", 3, "10.96.0.1").into()),
    ]);
    assert_eq!(report.refused, [refusal("one", "sw_backends", 8)]);
    world.with(|services| services.synced().unwrap());
    assert!(matches!(world.connect(at("10.96.0.1", 80)), Outcome::Answered(_)), "the last good state stays");
    assert_eq!(world.connect(at("10.96.0.9", 80)), Outcome::Silence, "what nobody asked for goes");
    assert_eq!(world.audit(), []);
    assert_eq!(world.apply(vec![removal("two"), PlanChange::Set(web("one", 3, "10.96.0.1").into())]).refused, []);
    world.with(|services| services.synced().unwrap());
    assert_eq!(world.audit(), []);
    let usage = world.with(|services| services.usage().unwrap());
    assert!(usage.tables.contains(&("sw_backends".to_owned(), 3, 8)), "{usage:?}");
}
