//! Changes while connections are made.

use seaway_model::Protocol::Tcp;
use seaway_services::plan::PlanChange;

use super::plans::{Plan as _, service};
use super::world::{Outcome, World, at, connect};
use crate::kernel::bpf::tests::namespaces::Running;

const BACKENDS: [&str; 6] = ["10.83.1.1", "10.83.1.2", "10.83.1.3", "10.83.1.4", "10.83.1.5", "10.83.1.6"];
const CLIENTS: usize = 2;
const CONNECTIONS: usize = 10_000;

#[test]
fn no_connection_fails_or_goes_astray_while_endpoints_change() {
    let world = World::new();
    for address in BACKENDS {
        world.serve(address, 8080);
    }
    // Two Services that share no backend; each has between one and three of its three.
    let revision = |round: usize| {
        let part = |all: &'static [&'static str]| [&all[..1], &all[1..], all][round % 3];
        let plan =
            |name, backends: &[&str], address| service(name).backends(backends, 8080).cluster_ip(address, Tcp, 80);
        vec![
            PlanChange::Set(plan("one", part(&BACKENDS[..3]), "10.96.0.1").into()),
            PlanChange::Set(plan("two", part(&BACKENDS[3..]), "10.96.0.2").into()),
        ]
    };
    world.apply(revision(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = ["10.96.0.1", "10.96.0.2"][client];
            world.start_client(move || {
                let failed = |outcome: &Outcome| match outcome {
                    Outcome::Answered(backend) => {
                        !BACKENDS[3 * client..][..3].contains(&backend.ip().to_string().as_str())
                    }
                    _ => true,
                };
                (0..CONNECTIONS).map(|_| connect(at(address, 80))).filter(failed).collect::<Vec<_>>()
            })
        })
        .collect();
    let changes = world.with({
        let revisions: Vec<_> = (0..3).map(revision).collect();
        move |services| {
            let changing = std::thread::spawn(move || clients.into_iter().map(Running::join).collect::<Vec<_>>());
            let mut rounds = 0;
            while !changing.is_finished() {
                crate::ServiceDatapath::apply(services, &revisions[rounds % 3]).unwrap();
                rounds += 1;
            }
            (rounds, changing.join().unwrap())
        }
    });
    let (rounds, failures) = changes;
    assert!(rounds > 100, "{rounds} revisions");
    assert_eq!(failures.concat(), []);
    assert_eq!(world.audit(), []);
}
