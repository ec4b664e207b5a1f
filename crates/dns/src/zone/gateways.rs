//! Which names Gateways and their routes ask for. A Gateway asks for its listeners' host names, a
//! route for its own as far as the listeners it hangs on allow them; both with the Gateway's address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use seaway_model::names::{Gateway, GatewayRef, Route, RouteParent, RouteRef};

use super::catalogue::Known;
use super::claims::{Claim, Claims, Source, hostnames, records};

/// Gateways and routes as they are told.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    gateways: BTreeMap<GatewayRef, Known<Arc<Gateway>>>,
    routes: BTreeMap<RouteRef, Known<Arc<Route>>>,
    by_gateway: BTreeMap<GatewayRef, BTreeSet<RouteRef>>,
}

type Names = BTreeSet<Box<[u8]>>;

// === impl Gateways ===

impl Gateways {
    pub(super) fn gateway(
        &mut self,
        of: GatewayRef,
        now: Option<Arc<Gateway>>,
        stream: u32,
        names: &mut Claims,
        touched: &mut Names,
    ) {
        let claim = now.as_ref().and_then(|gateway| of_gateway(gateway, names));
        names.set(Source::Gateway(of.clone()), claim, stream, touched);
        match now {
            Some(value) => drop(self.gateways.insert(of.clone(), Known { stream, value })),
            None => drop(self.gateways.remove(&of)),
        }
        for route in self.by_gateway.get(&of).into_iter().flatten() {
            let claim = self.routes.get(route).and_then(|known| self.of_route(&known.value, names));
            names.set(Source::Route(route.clone()), claim, stream, touched);
        }
    }

    pub(super) fn route(
        &mut self,
        of: RouteRef,
        now: Option<Arc<Route>>,
        stream: u32,
        names: &mut Claims,
        touched: &mut Names,
    ) {
        if let Some(before) = self.routes.remove(&of) {
            for parent in &before.value.parents {
                if let Some(routes) = self.by_gateway.get_mut(&parent.gateway) {
                    routes.remove(&of);
                    if routes.is_empty() {
                        self.by_gateway.remove(&parent.gateway);
                    }
                }
            }
        }
        let claim = now.as_ref().and_then(|route| self.of_route(route, names));
        names.set(Source::Route(of.clone()), claim, stream, touched);
        let Some(value) = now else { return };
        for parent in &value.parents {
            self.by_gateway.entry(parent.gateway.clone()).or_default().insert(of.clone());
        }
        self.routes.insert(of, Known { stream, value });
    }

    /// Forgets what this stream did not tell.
    pub(super) fn sweep(&mut self, stream: u32, names: &mut Claims, touched: &mut Names) {
        let routes: Vec<_> = self.routes.iter().filter(|(_, k)| k.stream != stream).map(|(of, _)| of.clone()).collect();
        routes.into_iter().for_each(|of| self.route(of, None, stream, names, touched));
        let gateways = self.gateways.iter().filter(|(_, k)| k.stream != stream);
        let gateways: Vec<_> = gateways.map(|(of, _)| of.clone()).collect();
        gateways.into_iter().for_each(|of| self.gateway(of, None, stream, names, touched));
    }

    /// The names of a route, each with the addresses of all Gateways where it has it.
    fn of_route(&self, route: &Route, names: &Claims) -> Option<Claim> {
        let mut found: BTreeMap<String, (BTreeSet<IpAddr>, Option<&str>)> = BTreeMap::new();
        for parent in &route.parents {
            let Some(gateway) = self.gateways.get(&parent.gateway).map(|known| &*known.value) else { continue };
            for name in allowed(route, parent, gateway) {
                let (addresses, hostname) = found.entry(name).or_default();
                addresses.extend(&gateway.addresses);
                *hostname = hostname.or(gateway.hostname.as_deref());
            }
        }
        let claimed = found.into_iter().filter_map(|(name, (addresses, hostname))| {
            let records = records(addresses.into_iter().collect(), hostname, &route.annotations)?;
            Some((names.admit(&name)?, records))
        });
        let claimed: BTreeMap<_, _> = claimed.collect();
        (!claimed.is_empty()).then_some(Claim { created_at_seconds: route.created_at_seconds, names: claimed })
    }
}

fn of_gateway(gateway: &Gateway, names: &Claims) -> Option<Claim> {
    let records = records(gateway.addresses.clone(), gateway.hostname.as_deref(), &gateway.annotations)?;
    let listeners = gateway.listeners.iter().filter_map(|listener| listener.hostname.as_deref());
    let asked = listeners.chain(hostnames(&gateway.annotations)).filter_map(|name| names.admit(name));
    let asked: BTreeMap<_, _> = asked.map(|name| (name, Arc::clone(&records))).collect();
    (!asked.is_empty()).then_some(Claim { created_at_seconds: gateway.created_at_seconds, names: asked })
}

/// Host names of a route that a listener it hangs on allows.
fn allowed(route: &Route, parent: &RouteParent, gateway: &Gateway) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for listener in &gateway.listeners {
        let other = parent.listener.as_ref().is_some_and(|name| *name != listener.name)
            || parent.port.is_some_and(|port| port != listener.port);
        if other {
            continue;
        }
        if route.hostnames.is_empty() {
            names.extend(listener.hostname.clone());
        }
        for hostname in &route.hostnames {
            names.extend(both(&hostname.to_ascii_lowercase(), listener.hostname.as_deref()));
        }
    }
    names
}

/// The names that both a route and a listener mean; one of them may begin with `*.`.
fn both(route: &str, listener: Option<&str>) -> Option<String> {
    let Some(listener) = listener.map(str::to_ascii_lowercase) else { return Some(route.to_owned()) };
    let covers = |wide: &str, narrow: &str| {
        let Some(parent) = wide.strip_prefix('*') else { return wide == narrow };
        wide == narrow || (narrow.len() > parent.len() && narrow.ends_with(parent))
    };
    if covers(&listener, route) { Some(route.to_owned()) } else { covers(route, &listener).then_some(listener) }
}

#[cfg(test)]
mod tests {
    use super::both;

    #[test]
    fn a_route_has_the_names_that_its_listener_allows() {
        for (route, listener, wanted) in [
            ("shop.example.org", None, Some("shop.example.org")),
            ("shop.example.org", Some("shop.example.org"), Some("shop.example.org")),
            ("shop.example.org", Some("*.example.org"), Some("shop.example.org")),
            ("*.example.org", Some("shop.example.org"), Some("shop.example.org")),
            ("*.example.org", Some("*.example.org"), Some("*.example.org")),
            ("example.org", Some("*.example.org"), None),
            ("shop.example.com", Some("*.example.org"), None),
            ("notexample.org", Some("*.example.org"), None),
        ] {
            assert_eq!(both(route, listener).as_deref(), wanted, "{route} {listener:?}");
        }
    }
}
