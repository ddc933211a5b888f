//! The host name: `uts_namespaces(7)`.

use nix::unistd::sethostname;
use shared::error::Call;
use shared::part::Request;
use shared::recipe::{Place, Recipe, Step};
use shared::shell::quoted;

use crate::PART;

pub(crate) fn add(recipe: &mut Recipe, request: &Request) {
    let name = request.service.hostname.clone().unwrap_or_else(|| request.name.clone());
    recipe.insert_before("chroot", hostname(name));
    if let Some(domain) = request.service.domainname.clone() {
        recipe.insert_before("chroot", domainname(domain));
    }
}

// ANCHOR: hostname
fn hostname(name: String) -> Step {
    Step::new(PART, Place::Child, "hostname")
        .what(format!("be called {name}"))
        .why("the name is its own; changing it does not rename the host")
        .section("2.1")
        .shell(format!("hostname {}", quoted(&name)))
        .does(move || sethostname(&name).call(format!("sethostname({name:?})")))
}
// ANCHOR_END: hostname

fn domainname(domain: String) -> Step {
    Step::new(PART, Place::Child, "domainname")
        .what(format!("be in the NIS domain {domain}"))
        .why("it belongs to the UTS namespace, as the host name does")
        .section("2.1")
        .shell(format!("domainname {}", quoted(&domain)))
        .does(move || {
            rustix::system::setdomainname(domain.as_bytes())
                .call(format!("setdomainname({domain:?})"))
        })
}
