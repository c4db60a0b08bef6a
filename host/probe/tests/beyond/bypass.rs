//! The data path that blinds the node's ends of veths, as Cilium's host routing makes it: what leaves one pod goes by
//! `bpf_redirect_peer` straight to the device inside the other. What is for the node itself (a kubelet's probe and its
//! answer) goes the usual way.

use crate::lab::{Pod, ip};
use crate::redirect::redirect;

/// Lets two pods of this node reach each other past the node's ends of their veths.
pub(crate) fn bypass(pods: [&Pod; 2]) {
    for (from, to) in [(pods[0], pods[1]), (pods[1], pods[0])] {
        let address = to.servers[0].ip();
        let link = peer(from);
        let hardware = to.within(|| hardware_address(&peer(to)));
        from.within(|| {
            ip(&format!(
                "route add {address}/32 dev {link}\n\
                 neigh replace {address} lladdr {hardware} dev {link} nud permanent\n"
            ));
        });
        redirect(&from.interface, &to.interface).unwrap();
    }
}

/// The pod's own end of its veth.
pub(crate) fn peer(pod: &Pod) -> String {
    pod.interface.replace("veth", "peer")
}

/// Index of an interface of this thread's namespace.
pub(crate) fn index(interface: &str) -> u32 {
    owlk8s_probe::Interface::named(interface).unwrap().index
}

fn hardware_address(interface: &str) -> String {
    let output = std::process::Command::new("ip")
        .args(["-o", "link", "show", "dev", interface])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace();
    words.find(|word| *word == "link/ether").unwrap();
    words.next().unwrap().to_owned()
}
