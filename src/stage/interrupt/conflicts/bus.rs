//! A slot that gives less than the device could use.

use super::Look;
use crate::model::Finding;

impl Look<'_> {
    /// Fewer or slower lanes than the device has, and too few for its port.
    pub fn narrow(&self) -> Option<Finding> {
        let link = self.device.pcie.filter(|link| link.is_narrow())?;
        let gbit = link.gbit();
        let port = self.device.port_mbit_per_second.map(|mbit| mbit as f64 / 1000.0);
        if port.is_some_and(|port| gbit >= port * self.seen.threshold(self.rule, "pcie_to_port")) {
            return None;
        }
        let against = port.map_or_else(String::new, |port| format!(", its port {port:.0}"));
        let mut finding = self.found(format!(
            "the slot gives {} {} PCIe lanes of {} GT/s where it has {} of {}: about {gbit:.0} Gbit/s{against}",
            self.name(),
            link.lanes,
            link.gigatransfers,
            link.most_lanes,
            link.most_gigatransfers
        ));
        finding.no_setting_helps = Some(
            "put the card into a slot with as many lanes, as fast as it is; or reseat it: a bad contact costs lanes too".into(),
        );
        Some(finding)
    }
}
